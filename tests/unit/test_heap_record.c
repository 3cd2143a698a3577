/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "support/deny.h"
#include "support/heap.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { SMALLEST = 65536 }; /* blocks of 64 bytes in 4 MiB */

static void *blocks[SMALLEST + 1];

/* ---- Another thread that keeps blocks ---------------------------------- */

enum { GUEST_MAX = 4000 };

/* Allocates, releases all but `held`, and sleeps until it is let go. */
struct guest {
    struct weir_heap *heap;
    size_t size;
    size_t count;
    size_t held;
    void *blocks[GUEST_MAX];
    pthread_barrier_t gate;
    pthread_t thread;
};

static void *
be_guest(void *user)
{
    struct guest *guest = user;
    struct weir_heap *heap = guest->heap;
    size_t got = get_all(heap, guest->size, guest->blocks, guest->count);
    cr_assert(eq(sz, got, guest->count));
    let_all_go(heap, guest->blocks + guest->held, got - guest->held);
    (void)pthread_barrier_wait(&guest->gate);
    (void)pthread_barrier_wait(&guest->gate);
    let_all_go(heap, guest->blocks, guest->held);
    return NULL;
}

/* Returns when it sleeps. */
static void
invite(struct guest *guest)
{
    cr_assert(zero(int, pthread_barrier_init(&guest->gate, NULL, 2)));
    guest->thread = start_thread(be_guest, guest);
    (void)pthread_barrier_wait(&guest->gate);
}

static void
see_off(struct guest *guest)
{
    (void)pthread_barrier_wait(&guest->gate);
    join_thread(guest->thread);
    cr_assert(zero(int, pthread_barrier_destroy(&guest->gate)));
}

/* ---- Full is exact ----------------------------------------------------- */

static const struct guest guests[] = { { .size = 64, .count = 1 },
    { .size = 64, .count = 500 }, { .size = 64, .count = 4000 },
    { .size = 64, .count = 700, .held = 77 }, { .size = 256, .count = 300 },
    { .size = 4096, .count = 100 }, { .size = 65536, .count = 3 },
    { .size = 1 << 20, .count = 2 } };

Test(heap_record, what_a_sleeping_thread_keeps_is_found_before_a_heap_is_full)
{
    static struct guest guest;
    need_caches();

    for (size_t i = 0; i < COUNT_OF(guests); i++) {
        struct weir_heap *heap = open_heap(4 * MIB, 4 * MIB);
        guest = guests[i];
        guest.heap = heap;
        invite(&guest);
        cr_assert(ge(u64, cached_blocks(heap), 1));
        size_t count = get_all(heap, 64, blocks, SMALLEST + 1);
        cr_assert(
            eq(sz, count, SMALLEST - guest.held), "guest %zu: %zu", i, count);
        cr_assert(eq(u64, numbers_of(heap).classes[0].blocks_live, SMALLEST));
        weir_heap_check(heap);
        let_all_go(heap, blocks, count);
        see_off(&guest);
        close_heap(&heap);
    }
}

Test(heap_record, what_a_sleeping_thread_keeps_makes_room_for_a_large_block)
{
    static struct guest guest;
    need_caches();

    for (size_t i = 0; i < COUNT_OF(guests); i++) {
        if (guests[i].held != 0)
            continue;
        struct weir_heap *heap = open_heap(4 * MIB, 4 * MIB);
        guest = guests[i];
        guest.heap = heap;
        invite(&guest);
        let_go(heap, get(heap, 4 * MIB));
        cr_assert(ge(u64, numbers_of(heap).sweeps, 1));
        see_off(&guest);
        close_heap(&heap);
    }
}

/* Where there can be no other region, though there might. */
Test(heap_record,
    what_a_sleeping_thread_keeps_is_found_before_the_system_refuses)
{
    static struct guest guest = { .size = 65536, .count = 64 };
    struct rlimit old;
    struct weir_heap *heap;
    struct weir_heap_config config = { .region_bytes = 4 * MIB,
        .cache_bytes = 1 << 30 };
    need_caches();
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    cr_assert(eq(int, weir_heap_create(&config, &heap), WEIR_OK));
    guest.heap = heap;
    invite(&guest);
    cr_assert(eq(u64, cached_blocks(heap), 64));
    cr_assert(zero(int, getrlimit(RLIMIT_AS, &old)));
    struct rlimit tight = { 1, old.rlim_max };
    void *block = NULL;
    char *memory[64];

    cr_assert(zero(int, setrlimit(RLIMIT_AS, &tight)));
    size_t count = 0;
    while (count < 64 &&
           weir_heap_alloc(heap, 65536, (void **)&memory[count]) == WEIR_OK)
        count++;
    enum weir_status beyond = weir_heap_alloc(heap, 65536, &block);
    int why = errno;
    cr_assert(zero(int, setrlimit(RLIMIT_AS, &old)));

    cr_assert(eq(sz, count, 64));
    cr_assert(eq(int, beyond, WEIR_SYSTEM));
    cr_assert(eq(int, why, ENOMEM));
    for (size_t i = 0; i < count; i++)
        let_go(heap, memory[i]);
    see_off(&guest);
    close_heap(&heap);
}

Test(heap_record, what_the_caller_itself_keeps_is_found_too)
{
    struct weir_heap *heap = open_heap(4 * MIB, 4 * MIB);

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++) {
        size_t count =
            get_all(heap, wr_class_size(class), blocks, SMALLEST + 1);
        let_all_go(heap, blocks, count);
        let_go(heap, get(heap, 4 * MIB));
    }

    cr_assert(eq(sz, get_all(heap, 64, blocks, SMALLEST + 1), SMALLEST));
    for (int i = 0; i < 5000; i++) {
        let_go(heap, blocks[i * 13]);
        blocks[i * 13] = get(heap, 64);
    }
    cr_assert(eq(int, weir_heap_alloc(heap, 1, &blocks[SMALLEST]), WEIR_FULL));
    let_all_go(heap, blocks, SMALLEST);
    close_heap(&heap);
}

Test(heap_record, without_heavy_fences_nothing_is_kept_and_full_is_exact)
{
    static struct guest guest = { .size = 64, .count = 1000 };
    if (!deny_membarrier())
        cr_skip_test("the system has no filters");
    struct weir_heap *heap = open_heap(4 * MIB, 4 * MIB);
    guest.heap = heap;

    invite(&guest);
    cr_assert(eq(u64, cached_blocks(heap), 0));
    cr_assert(eq(sz, get_all(heap, 64, blocks, SMALLEST + 1), SMALLEST));
    cr_assert(eq(
        int, weir_heap_release_sized(heap, blocks[5], 63), WEIR_SIZE_MISMATCH));
    let_all_go(heap, blocks, SMALLEST);
    cr_assert(
        eq(int, weir_heap_release(heap, blocks[5]), WEIR_ALREADY_RELEASED));

    see_off(&guest);
    close_heap(&heap);
}

/* ---- What threads keep ------------------------------------------------- */

static const size_t mixed[] = { 1, 64, 100, 257, 1000, 4096, 5000, 20000, 65536,
    100000, 300000, 1 << 20, 2 << 20 };

static void
churn(struct weir_heap *heap)
{
    void *mine[COUNT_OF(mixed) * 3];
    for (size_t i = 0; i < COUNT_OF(mine); i++) {
        mine[i] = get(heap, mixed[i % COUNT_OF(mixed)]);
        *(char *)mine[i] = 1;
    }
    let_all_go(heap, mine, COUNT_OF(mine));
}

static void *
churn_there(void *user)
{
    churn(user);
    return NULL;
}

Test(heap_record, a_thread_that_ends_leaves_nothing)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    on_thread(churn_there, heap);
    cr_assert(eq(u64, numbers_of(heap).caches, 0));
    cr_assert(eq(u64, cached_blocks(heap), 0));
    weir_heap_trim(heap);
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 64 * MIB));

    close_heap(&heap);
}

Test(heap_record, a_thousand_short_threads_leave_nothing)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    churn(heap);
    weir_heap_flush(heap);
    for (int i = 0; i < 50; i++)
        on_thread(churn_there, heap);
    size_t resident = resident_bytes();

    for (int i = 0; i < 1000; i++)
        on_thread(churn_there, heap);

    cr_assert(eq(u64, numbers_of(heap).caches, 1));
    cr_assert(eq(u64, cached_blocks(heap), 0));
    cr_assert(eq(u64, numbers_of(heap).regions, 1));
    if (!under_asan())
        cr_assert(le(sz, resident_bytes(), resident + 1 * MIB));
    close_heap(&heap);
}

Test(heap_record, a_flush_gives_all_that_the_thread_keeps_to_the_central_pool)
{
    need_caches();
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    weir_heap_flush(heap); /* it knows nothing of the heap yet */
    cr_assert(eq(u64, numbers_of(heap).caches, 0));
    churn(heap);
    cr_assert(ge(u64, cached_blocks(heap), COUNT_OF(mixed) - 1));
    weir_heap_flush(heap);
    cr_assert(eq(u64, cached_blocks(heap), 0));
    cr_assert(eq(u64, numbers_of(heap).caches, 1));
    weir_heap_check(heap);
    churn(heap);
    cr_assert(ge(u64, cached_blocks(heap), 1));

    close_heap(&heap);
}

Test(heap_record, caches_are_on_again_some_calls_behind_a_trim)
{
    need_caches();
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    churn(heap);
    weir_heap_trim(heap);
    cr_assert(eq(u64, cached_blocks(heap), 0));

    for (int i = 0; i < 1000; i++)
        churn(heap);

    cr_assert(ge(u64, cached_blocks(heap), COUNT_OF(mixed) - 1));
    cr_assert(eq(u64, numbers_of(heap).sweeps, 1));
    close_heap(&heap);
}

/* ---- Destructors of other keys ----------------------------------------- */

static struct weir_heap *late_heap;
static pthread_key_t keys[2]; /* made before the heap's, and behind it */

static void
churn_late(void *held)
{
    if (held != keys)
        let_go(late_heap, held);
    churn(late_heap);
}

static void *
end_with_destructors(void *user)
{
    if (user != NULL)
        churn(late_heap);
    for (int i = 0; i < 2; i++) {
        void *value = user != NULL ? get(late_heap, 100) : keys;
        cr_assert(zero(int, pthread_setspecific(keys[i], value)));
    }
    return NULL;
}

Test(heap_record, destructors_of_a_thread_may_use_the_heap)
{
    cr_assert(zero(int, pthread_key_create(&keys[0], churn_late)));
    late_heap = open_heap(64 * MIB, 0);
    churn(late_heap);
    weir_heap_flush(late_heap);
    cr_assert(zero(int, pthread_key_create(&keys[1], churn_late)));

    for (int i = 0; i < 20; i++) {
        on_thread(end_with_destructors, keys);
        on_thread(end_with_destructors, NULL); /* only they use it */
        cr_assert(eq(u64, numbers_of(late_heap).caches, 1));
        cr_assert(eq(u64, cached_blocks(late_heap), 0));
    }

    close_heap(&late_heap);
}

/* ---- A heap where another one was -------------------------------------- */

static struct weir_heap *current;
static pthread_barrier_t turn;

static void *
use_each_heap(void *user)
{
    const int *rounds = user;
    for (int i = 0; i < *rounds; i++) {
        (void)pthread_barrier_wait(&turn);
        churn(current);
        (void)pthread_barrier_wait(&turn);
        (void)pthread_barrier_wait(&turn); /* it is looked at */
    }
    return NULL;
}

Test(heap_record, a_heap_where_one_was_is_not_taken_for_it)
{
    int rounds = 300;
    int same = 0;
    const struct weir_heap *last = NULL;
    cr_assert(zero(int, pthread_barrier_init(&turn, NULL, 2)));
    pthread_t thread = start_thread(use_each_heap, &rounds);

    for (int i = 0; i < rounds; i++) {
        current = open_heap(16 * MIB, 0);
        same += current == last;
        last = current;
        void *held = get(current, 64);
        (void)pthread_barrier_wait(&turn);
        churn(current);
        (void)pthread_barrier_wait(&turn);
        cr_assert(eq(u64, live_blocks(current), 1));
        cr_assert(eq(u64, numbers_of(current).caches, 2));
        weir_heap_check(current);
        (void)pthread_barrier_wait(&turn);
        if (i % 2 == 0)
            let_go(current, held);
        weir_heap_destroy(&current);
    }

    join_thread(thread);
    if (!under_asan())
        cr_assert(ge(int, same, 1));
    no_leaks();
}

Test(heap_record, a_thread_uses_many_heaps_in_turn)
{
    struct weir_heap *heaps[20];
    for (size_t i = 0; i < COUNT_OF(heaps); i++)
        heaps[i] = open_heap(16 * MIB, 0);

    for (size_t i = 0; i < 10 * COUNT_OF(heaps); i++) {
        struct weir_heap *heap = heaps[i * 7 % COUNT_OF(heaps)];
        void *memory = get(heap, 100);
        churn(heaps[i % COUNT_OF(heaps)]);
        let_go(heap, memory);
        cr_assert(
            eq(int, weir_heap_release(heap, memory), WEIR_ALREADY_RELEASED));
    }

    for (size_t i = 0; i < COUNT_OF(heaps); i++) {
        cr_assert(eq(u64, numbers_of(heaps[i]).caches, 1));
        close_heap(&heaps[i]);
    }
}

/* ---- Misuse ------------------------------------------------------------ */

/* A release that races with another one of the same block has seen that it is
   out. */
static void
forget_release(struct weir_heap *heap, void *memory)
{
    struct wr_place place;
    cr_assert(
        eq(int, wr_heap_find(heap, memory, &place), WEIR_ALREADY_RELEASED));
    wr_store_relaxed(wr_heap_asked_at(&place), 64); /* as it was */
}

Test(misuse, racing_releases_that_meet_on_a_shelf_abort_when_they_go_home,
    .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *memory = get(heap, 64);
    let_go(heap, memory);
    forget_release(heap, memory);
    let_go(heap, memory);
    expect_misuse("weir: heap 'test': a block was released twice");

    weir_heap_flush(heap);
}

Test(misuse, racing_releases_that_meet_on_a_shelf_abort_at_the_second_alloc,
    .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *memory = get(heap, 64);
    let_go(heap, memory);
    forget_release(heap, memory);
    let_go(heap, memory);
    cr_assert(eq(ptr, get(heap, 64), memory));
    expect_misuse("weir: heap 'test': a block was released twice, and is out");

    (void)get(heap, 64);
}

/* The other thread's is out again when it goes home. */
Test(misuse, racing_releases_abort_when_one_goes_home_that_is_out,
    .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *memory = get(heap, 64);
    let_go(heap, memory);
    forget_release(heap, memory);
    let_go(heap, memory);
    cr_assert(eq(ptr, get(heap, 64), memory));
    expect_misuse("weir: heap 'test': a block was released twice");

    weir_heap_flush(heap);
}

/* The other has taken it home, and its span with it, behind the first look. */
Test(misuse, a_release_whose_span_goes_meanwhile_aborts, .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *memory = get(heap, 64);
    struct wr_place place;
    cr_assert(eq(int, wr_heap_find(heap, memory, &place), WEIR_OK));
    wr_store_relaxed(&place.region->entries[place.page], WR_ENTRY_GONE);
    expect_misuse("weir: heap 'test': a block was released twice");

    (void)weir_heap_release(heap, memory);
}

Test(misuse, racing_releases_that_meet_in_a_span_abort, .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *held = get(heap, 64);
    void *memory = get(heap, 64);
    let_go(heap, memory);
    weir_heap_flush(heap);
    forget_release(heap, memory);
    (void)weir_heap_release(heap, memory);
    cr_assert(ne(ptr, held, memory));
    expect_misuse("weir: heap 'test': a block was released twice");

    weir_heap_flush(heap);
}

static struct guest sleeper = { .size = 64, .count = 2, .held = 1 };

Test(misuse, racing_releases_of_two_threads_abort_when_both_are_swept,
    .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    sleeper.heap = heap;
    invite(&sleeper);
    forget_release(heap, sleeper.blocks[1]);
    (void)weir_heap_release(heap, sleeper.blocks[1]);
    expect_misuse("weir: heap 'test': a block was released twice");

    weir_heap_trim(heap);
}

Test(misuse, a_block_that_is_kept_and_out_aborts_when_it_is_taken,
    .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *memory = get(heap, 64);
    let_go(heap, memory);
    forget_release(heap, memory);
    expect_misuse("weir: heap 'test': a block was released twice, and is out");

    (void)get(heap, 64);
}

Test(misuse, a_block_that_is_free_and_out_aborts_when_the_heap_is_checked,
    .signal = SIGABRT)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *memory = get(heap, 64);
    let_go(heap, memory);
    weir_heap_flush(heap);
    forget_release(heap, memory);
    expect_misuse("weir: invariant 2 of heap broken");

    weir_heap_check(heap);
}

static struct weir_heap *span_heap;

/* Releases a block, sleeps while its span goes, and gives the block back. */
static void *
release_late(void *memory)
{
    let_go(span_heap, memory);
    (void)pthread_barrier_wait(&turn);
    (void)pthread_barrier_wait(&turn);
    weir_heap_flush(span_heap);
    return NULL;
}

Test(misuse, racing_releases_abort_though_another_class_has_their_span,
    .signal = SIGABRT)
{
    void *larger[8];
    span_heap = open_heap(1 * MIB, 1 * MIB);
    cr_assert(eq(sz, get_all(span_heap, 64, blocks, 2048), 2048));
    cr_assert(zero(int, pthread_barrier_init(&turn, NULL, 2)));
    pthread_t thread = start_thread(release_late, blocks[20]);
    (void)pthread_barrier_wait(&turn);
    forget_release(span_heap, blocks[20]);
    let_all_go(span_heap, blocks + 1024, 1024);
    weir_heap_flush(span_heap);
    let_all_go(span_heap, blocks, 1024);
    weir_heap_flush(span_heap);
    cr_assert(eq(sz, get_all(span_heap, 8192, larger, 8), 8));
    expect_misuse("weir: heap 'test': a block was released twice");

    (void)pthread_barrier_wait(&turn);
    join_thread(thread);
}
