/* SPDX-License-Identifier: MIT */
/*
 * What the system can refuse the heap and what lives on it is refused once, and
 * from there on: each time in a child whose default heap there was not yet. This
 * is linked with --wrap=mmap, --wrap=mprotect and --wrap=pthread_setspecific.
 */
#include "core/memory.h"

#include "support/child.h"
#include "support/heap.h"
#include "support/space.h"

#include <sys/mman.h>

enum { BLOCK = 64, NONE_WAS_REFUSED = 0, ONE_WAS_REFUSED = 3 };

void *__real_mmap(
    void *at, size_t size, int may, int how, int file, off_t from);
void *__wrap_mmap(
    void *at, size_t size, int may, int how, int file, off_t from);
int __real_mprotect(void *at, size_t size, int may);
int __wrap_mprotect(void *at, size_t size, int may);
int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);

static struct {
    size_t calls;
    size_t fail_at; /* the number of the call; 0: never */
    bool for_ever;  /* and of all that follow */
    size_t failed;
} faults;

static bool
fails(void)
{
    faults.calls++;
    bool fails = faults.fail_at != 0 &&
                 (faults.for_ever ? faults.calls >= faults.fail_at
                                  : faults.calls == faults.fail_at);
    faults.failed += fails;
    if (fails)
        errno = ENOMEM;
    return fails;
}

void *
__wrap_mmap(void *at, size_t size, int may, int how, int file, off_t from)
{
    return fails() ? MAP_FAILED : __real_mmap(at, size, may, how, file, from);
}

int
__wrap_mprotect(void *at, size_t size, int may)
{
    return fails() ? -1 : __real_mprotect(at, size, may);
}

int
__wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return fails() ? ENOMEM : __real_pthread_setspecific(key, value);
}

/* ---- A life ------------------------------------------------------------ */

/* In a child: what failed is left out; nothing else may be wrong. */
static size_t refusals;

static bool
works(enum weir_status status)
{
    NEED(status == WEIR_OK || status == WEIR_SYSTEM || status == WEIR_FULL);
    NEED(status != WEIR_SYSTEM || errno == ENOMEM);
    refusals += status != WEIR_OK;
    return status == WEIR_OK;
}

/* A heap of its own, which leaves no address space behind if it fails. */
static void
have_a_heap(void)
{
    struct weir_heap *heap = NULL;
    void *memory;
    size_t before = mapped_bytes();
    if (!works(weir_heap_create(NULL, &heap))) {
        NEED(mapped_bytes() == before);
        return;
    }
    if (works(weir_heap_alloc(heap, 100, &memory)))
        NEED(weir_heap_release(heap, memory) == WEIR_OK);
    weir_heap_destroy(&heap);
}

static void
have_a_block(void)
{
    void *memory = weir_alloc(3000);
    refusals += memory == NULL;
    NEED(memory != NULL || errno == ENOMEM);
    if (memory != NULL)
        NEED(weir_release(memory) == WEIR_OK);
}

static void
ignore_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    ++*(int *)user;
}

static void
push_foreign(struct weir_chain *chain, int *released)
{
    struct weir_slice slice;
    if (!works(weir_slice_foreign("text", 4, ignore_release, released, &slice)))
        return;
    if (!works(weir_chain_push(chain, &slice)))
        weir_slice_release(&slice);
}

/* Large ones too, and of a region that may have to be made. */
static void
spill(struct weir_arena *arena)
{
    struct weir_buf bufs[8];
    size_t count = 0;
    while (count < 8 && works(weir_arena_alloc(arena, 0, &bufs[count])))
        count++;
    for (size_t i = 0; i < count; i++) {
        size_t n = (size_t)1000 << 2 * i;
        if (works(weir_buf_reserve(&bufs[i], n)))
            memset(weir_buf_tail(&bufs[i]), 1, n);
    }
    for (size_t i = 0; i < count; i++)
        weir_buf_drop(&bufs[i]);
}

static void *
live(void *unused)
{
    struct weir_arena *arena;
    struct weir_chain chain = { 0 };
    int released = 0;
    struct weir_arena_config config = { .block_size = BLOCK,
        .block_count = 2,
        .spill_bytes_max = 64 << 20,
        .flags = WEIR_SPILL_FULL | WEIR_SPILL_GROW };
    have_a_block();
    have_a_heap();
    if (works(weir_arena_create(&config, &arena))) {
        spill(arena);
        NEED(stats_of(arena).blocks_out == 0);
        NEED(stats_of(arena).spilled_bytes == 0);
        NEED(stats_of(arena).allocs == stats_of(arena).releases);
        weir_arena_destroy(&arena);
    }
    for (int i = 0; i < 20; i++)
        push_foreign(&chain, &released);
    weir_chain_release(&chain);
    return unused;
}

/* On this thread and on another one. */
static void
live_twice(void)
{
    pthread_t thread;
    (void)live(NULL);
    NEED(pthread_create(&thread, NULL, live, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
}

/* Nothing is lost: all goes well, again and again in the same space. */
static void
live_well(void)
{
    refusals = 0;
    live_twice();
    size_t before = mapped_bytes();
    live_twice();
    NEED(refusals == 0);
    NEED(mapped_bytes() == before);
    NEED(books_blocks() == lasting_books());
    weir_heap_check(weir_heap_default());
}

static int
be_child(size_t call, bool for_ever)
{
    (void)alarm(CHILD_PATIENCE);
    faults.fail_at = call;
    faults.for_ever = for_ever;
    live_twice();
    size_t failed = faults.failed;
    faults.fail_at = 0;
    live_well();
    if (__gcov_dump != NULL)
        __gcov_dump();
    return failed > 0 ? ONE_WAS_REFUSED : NONE_WAS_REFUSED;
}

/* Whether the call was made. */
static bool
is_survived(size_t call, bool for_ever)
{
    pid_t child = fork();
    cr_assert(ge(int, child, 0));
    if (child == 0)
        _exit(be_child(call, for_ever));
    int how = -1;
    cr_assert(eq(int, waitpid(child, &how, 0), child));
    bool has_ended = WIFEXITED(how);
    cr_assert(has_ended, "call %zu", call);
    int result = WEXITSTATUS(how);
    cr_assert(result == NONE_WAS_REFUSED || result == ONE_WAS_REFUSED,
        "call %zu", call);
    return result == ONE_WAS_REFUSED;
}

Test(system_faults, every_refusal_may_come_once)
{
    size_t call = 1;

    while (is_survived(call, false))
        call++;

    cr_assert(gt(sz, call, 30));
}

Test(system_faults, every_refusal_may_be_for_ever)
{
    size_t call = 1;

    while (is_survived(call, true))
        call++;

    cr_assert(gt(sz, call, 30));
}
