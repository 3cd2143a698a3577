/* SPDX-License-Identifier: MIT */
/*
 * What the system refuses, call by call: each call that the heap makes fails once,
 * and then each and all behind it. A refusal is a status, after which all goes on
 * when the system gives again; and no address space is lost.
 *
 * Linked with --wrap. Every case has a process of its own, since a process makes
 * some of these calls once.
 */
#include "support/child.h"
#include "support/heap.h"

#include <limits.h>
#include <sys/mman.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum kind { MMAP, MPROTECT, MADVISE, KEY, SPECIFIC, ATFORK, KINDS };

struct weakness {
    enum kind kind;
    unsigned from; /* the first call that fails, from 1; 0: none does */
    bool for_ever; /* until it is lifted, and all kinds */
};

/* Shared with children. */
struct report {
    unsigned calls[KINDS];
    size_t left;       /* address space, at the end */
    size_t by_default; /* of it, what the default heap's regions take */
};

static struct weakness weakness;
static struct report *report;
static size_t mapped;

static bool
fails(enum kind kind)
{
    if (report == NULL) /* at load: what fails then is asked for again */
        return kind == ATFORK;
    unsigned call = ++report->calls[kind];
    if (weakness.from == 0)
        return false;
    if (weakness.for_ever)
        return report->calls[weakness.kind] >= weakness.from;
    return kind == weakness.kind && call == weakness.from;
}

/* ---- The system -------------------------------------------------------- */

void *__real_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __real_mprotect(void *, size_t, int);
int __real_madvise(void *, size_t, int);
int __real_pthread_key_create(pthread_key_t *, void (*)(void *));
int __real_pthread_setspecific(pthread_key_t, const void *);
int __real_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));

void *__wrap_mmap(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);
int __wrap_mprotect(void *, size_t, int);
int __wrap_madvise(void *, size_t, int);
int __wrap_pthread_key_create(pthread_key_t *, void (*)(void *));
int __wrap_pthread_setspecific(pthread_key_t, const void *);
int __wrap_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));

void *
__wrap_mmap(void *at, size_t size, int access, int flags, int file, off_t from)
{
    if (fails(MMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *memory = __real_mmap(at, size, access, flags, file, from);
    if (memory != MAP_FAILED && (flags & MAP_FIXED) == 0)
        mapped += size;
    return memory;
}

int
__wrap_munmap(void *memory, size_t size)
{
    mapped -= size;
    return __real_munmap(memory, size);
}

int
__wrap_mprotect(void *memory, size_t size, int access)
{
    if (!fails(MPROTECT))
        return __real_mprotect(memory, size, access);
    errno = ENOMEM;
    return -1;
}

int
__wrap_madvise(void *memory, size_t size, int advice)
{
    if (!fails(MADVISE))
        return __real_madvise(memory, size, advice);
    errno = EINVAL;
    return -1;
}

int
__wrap_pthread_key_create(pthread_key_t *key, void (*at_exit)(void *))
{
    return fails(KEY) ? EAGAIN : __real_pthread_key_create(key, at_exit);
}

int
__wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return fails(SPECIFIC) ? ENOMEM : __real_pthread_setspecific(key, value);
}

int
__wrap_pthread_atfork(
    void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    return fails(ATFORK) ? ENOMEM
                         : __real_pthread_atfork(before, in_parent, in_child);
}

/* ---- A process that uses everything ------------------------------------ */

static const size_t sizes[] = { 64, 5000, 70000, 1 << 20, (1 << 20) + 1,
    3 << 20 };

static struct weir_heap *heap;

/* A refusal has changed nothing, and is over when the weakness is. */
static void *
insist(size_t size, bool zeroed)
{
    void *memory = heap;
    enum weir_status status = zeroed
                                  ? weir_heap_alloc_zeroed(heap, size, &memory)
                                  : weir_heap_alloc(heap, size, &memory);
    if (status != WEIR_OK) {
        NEED(status == WEIR_SYSTEM && memory == heap);
        struct weakness kept = weakness;
        weakness.from = 0;
        NEED(weir_heap_alloc_zeroed(heap, size, &memory) == WEIR_OK);
        weakness = kept;
    }
    if (zeroed)
        NEED(is_painted(memory, size, 0));
    (void)memset(memory, 0xff, size);
    return memory;
}

static void *
use_heap(void *unused)
{
    void *held[2 * COUNT_OF(sizes)];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(held); i++)
            held[i] = insist(sizes[i / 2], i % 2 != 0);
        for (size_t i = 0; i < COUNT_OF(held); i++)
            NEED(weir_heap_release(heap, held[i]) == WEIR_OK);
        NEED(weir_heap_release(heap, held[0]) == WEIR_ALREADY_RELEASED);
        weir_heap_trim(heap);
    }
    return unused;
}

static void
create(void)
{
    struct weir_heap_config config = { .region_bytes = 1 * MIB };
    enum weir_status status = weir_heap_create(&config, &heap);
    if (status == WEIR_OK)
        return;
    NEED(status == WEIR_SYSTEM && errno == ENOMEM && heap == NULL);
    NEED(mapped == 0);
    struct weakness kept = weakness;
    weakness.from = 0;
    NEED(weir_heap_create(&config, &heap) == WEIR_OK);
    weakness = kept;
}

static void
use_default_heap(void)
{
    void *memory = weir_alloc(100);
    if (memory == NULL) {
        NEED(errno == ENOMEM);
        weakness.from = 0;
        memory = weir_alloc(100);
    }
    NEED(memory != NULL && weir_release(memory) == WEIR_OK);
    report->by_default = numbers_of(weir_heap_default()).bytes_reserved;
}

static void
use_everything(void)
{
    pthread_t thread;
    create();
    (void)use_heap(NULL);
    NEED(pthread_create(&thread, NULL, use_heap, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    use_default_heap();
    weakness.from = 0;
    (void)use_heap(NULL);
    weir_heap_check(heap);
    weir_heap_destroy(&heap);
    report->left = mapped;
}

/* ---- Every call once --------------------------------------------------- */

/* Returns what is left of the address space, and how many calls there were. */
static struct report
try_with(const struct weakness *weak)
{
    weakness = *weak;
    *report = (struct report){ .calls = { 0 } };
    expect_good_child(use_everything);
    return *report;
}

static struct report
share_report(void)
{
    report = __real_mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(ne(ptr, report, MAP_FAILED));
    return try_with(&(struct weakness){ .from = 0 });
}

/* Calls of a kind that are told apart. Of those that are much alike, the first. */
static unsigned
count_calls(const struct report *whole, enum kind kind)
{
    unsigned most = kind == MADVISE ? 12 : UINT_MAX;
    return whole->calls[kind] < most ? whole->calls[kind] : most;
}

Test(heap_faults, each_call_of_the_system_may_fail_once)
{
    struct report whole = share_report();

    for (enum kind kind = MMAP; kind < KINDS; kind++) {
        cr_assert(gt(u32, whole.calls[kind], 0), "kind %d", (int)kind);
        for (unsigned i = 1; i <= count_calls(&whole, kind); i++) {
            struct report now =
                try_with(&(struct weakness){ .kind = kind, .from = i });
            if (now.by_default == whole.by_default)
                cr_assert(eq(sz, now.left, whole.left), "kind %d, call %u",
                    (int)kind, i);
            else /* its region was refused, and the next one is half of it */
                cr_assert(lt(sz, now.left, whole.left), "kind %d, call %u",
                    (int)kind, i);
        }
    }
}

Test(heap_faults, from_each_call_on_all_may_fail)
{
    struct report whole = share_report();

    for (enum kind kind = MMAP; kind < KINDS; kind++)
        for (unsigned i = 1; i <= count_calls(&whole, kind); i++) {
            struct report now = try_with(&(struct weakness){
                .kind = kind, .from = i, .for_ever = true });
            cr_assert(
                le(sz, now.left, whole.left), "kind %d, call %u", (int)kind, i);
        }
}
