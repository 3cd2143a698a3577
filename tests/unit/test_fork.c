/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "support/child.h"
#include "support/unit.h"
#include "support/waiting.h"
#include "weir/heap.h"

#include <stdatomic.h>

enum { COUNT = 300, OUT = 10, SLEEPERS = 3 };

/* ---- A parent with threads --------------------------------------------- */

static struct weir_arena *arena;
static struct weir_buf out[COUNT];
static pthread_barrier_t gate;
static pthread_t sleepers[SLEEPERS];

static void *
sleep_with_blocks(void *user)
{
    struct weir_buf *buf = user;
    *buf = take(arena);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    (void)pthread_barrier_wait(&gate);
    (void)pthread_barrier_wait(&gate);
    weir_buf_drop(buf);
    return NULL;
}

/* Blocks 0 to OUT - 1 of `out` are ours, the next ones the sleepers', and all of
   us have free blocks at hand. */
static void
begin(void)
{
    arena = open_arena(64, COUNT);
    for (size_t i = 0; i < OUT; i++)
        out[i] = take(arena);
    cr_assert(zero(int, pthread_barrier_init(&gate, NULL, SLEEPERS + 1)));
    for (size_t i = 0; i < SLEEPERS; i++)
        sleepers[i] = start_thread(sleep_with_blocks, &out[OUT + i]);
    (void)pthread_barrier_wait(&gate);
    cr_assert(eq(u64, stats_of(arena).blocks_out, OUT + SLEEPERS));
    weir_arena_check(arena);
}

static void
end(void)
{
    (void)pthread_barrier_wait(&gate);
    for (size_t i = 0; i < SLEEPERS; i++)
        join_thread(sleepers[i]);
    for (size_t i = 0; i < OUT; i++)
        weir_buf_drop(&out[i]);
    close_whole(&arena);
}

/* Till the only thread has free blocks at hand, where threads may. */
static void
ask_often(void)
{
    for (uint32_t i = 0; i <= arena->drought_length; i++)
        NEED(ask(arena) == WEIR_OK);
    NEED(stats_of(arena).caches == (arena->caching == WEIR_CACHING_ON));
}

static void
take_the_rest_and_drop_all(void)
{
    struct weir_buf bufs[COUNT];
    size_t count = 0;
    ask_often();
    while (weir_arena_alloc(arena, 0, &bufs[count]) == WEIR_OK)
        count++;
    NEED(count == COUNT - OUT - SLEEPERS);
    NEED(stats_of(arena).blocks_out == COUNT);
    while (count > 0)
        weir_buf_drop(&bufs[--count]);
    for (size_t i = 0; i < OUT + SLEEPERS; i++)
        weir_buf_drop(&out[i]);
    struct weir_stats stats = stats_of(arena);
    NEED(stats.blocks_out == 0);
    NEED(stats.allocs == stats.releases);
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
}

/* Another thread had given it and not yet looked around. */
static void
take_what_nobody_told_of(void)
{
    struct weir_buf buf;
    NEED(weir_arena_alloc(arena, 0, &buf) == WEIR_OK);
}

Test(fork, a_child_finds_a_block_whose_giver_had_not_looked_around)
{
    arena = open_arena(64, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        out[i] = take(arena);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    wr_store_relaxed(&arena->counts[7], 0);
    struct wr_bitmap_hint hint = { 0 };
    cr_assert(wr_fixed_give(&arena->fixed, &hint, 7));
    cr_assert(eq(int, ask(arena), WEIR_FULL), "the flag is there");

    expect_good_child(take_what_nobody_told_of);
}

Test(fork, a_child_has_all_blocks_that_were_not_out)
{
    begin();

    expect_good_child(take_the_rest_and_drop_all);

    end();
}

Test(fork, the_parent_goes_on_as_if_nothing_had_been)
{
    struct weir_buf rest[COUNT];
    size_t count = 0;
    begin();
    struct weir_stats before = stats_of(arena);

    expect_good_child(take_the_rest_and_drop_all);

    struct weir_stats after = stats_of(arena);
    cr_assert(eq(u64, after.allocs, before.allocs));
    cr_assert(eq(u64, after.releases, before.releases));
    cr_assert(eq(u64, after.blocks_out, OUT + SLEEPERS));
    cr_assert(eq(u32, arena->record_count, SLEEPERS + 1));
    weir_arena_check(arena);
    while (weir_arena_alloc(arena, 0, &rest[count]) == WEIR_OK)
        count++;
    cr_assert(eq(sz, count, COUNT - OUT - SLEEPERS));
    while (count > 0)
        weir_buf_drop(&rest[--count]);
    end();
}

static void
expect_one_record(void)
{
    struct weir_stats stats = stats_of(arena);
    NEED(arena->record_count == 1);
    NEED(arena->records == wr_record_of(arena));
    NEED(arena->records->next == NULL);
    NEED(stats.releases == SLEEPERS);
    NEED(stats.allocs == OUT + 2 * SLEEPERS);
    NEED(stats.caches == 0);
}

Test(fork, a_child_has_the_counts_of_threads_that_it_has_not)
{
    begin();

    expect_good_child(expect_one_record);

    end();
}

static void
fork_again(void)
{
    pid_t child = fork();
    if (child == 0) {
        take_the_rest_and_drop_all();
        _exit(0);
    }
    int how = 1;
    NEED(child > 0);
    NEED(waitpid(child, &how, 0) == child);
    NEED(how == 0);
    take_the_rest_and_drop_all();
}

Test(fork, a_child_may_have_children)
{
    begin();

    expect_good_child(fork_again);

    end();
}

static void *
ask_and_end(void *unused)
{
    NEED(ask(arena) == WEIR_OK);
    return unused;
}

static void
start_threads(void)
{
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        NEED(pthread_create(&thread, NULL, ask_and_end, NULL) == 0);
        NEED(pthread_join(thread, NULL) == 0);
        NEED(arena->record_count == 1);
    }
    take_the_rest_and_drop_all();
}

Test(fork, a_child_may_have_threads_that_end)
{
    begin();

    expect_good_child(start_threads);

    end();
}

static void
create_and_destroy(void)
{
    struct weir_arena *another;
    NEED(weir_arena_create(NULL, &another) == WEIR_OK);
    NEED(ask(another) == WEIR_OK);
    weir_arena_check(another);
    weir_arena_destroy(&another);
    take_the_rest_and_drop_all();
}

Test(fork, a_child_may_create_arenas_in_the_place_of_dead_ones)
{
    begin();
    struct weir_arena *dead[2] = { open_arena(64, 100), open_arena(64, 100) };
    weir_arena_destroy(&dead[0]);
    weir_arena_destroy(&dead[1]);

    expect_good_child(create_and_destroy);

    end();
}

static void *
fork_there(void *unused)
{
    expect_good_child(take_the_rest_and_drop_all);
    return unused;
}

Test(fork, a_thread_that_never_used_the_arena_may_fork)
{
    begin();

    on_thread(fork_there, NULL);

    end();
}

/* ---- Ends -------------------------------------------------------------- */

static struct iovec memory;

static void
drop_the_last(void)
{
    NEED(is_mapped(memory.iov_base, memory.iov_len));
    weir_buf_drop(&out[0]);
    NEED(!is_mapped(memory.iov_base, memory.iov_len));
}

Test(fork, a_dying_arena_goes_with_its_last_block_in_each_process)
{
    arena = open_arena(64, COUNT);
    weir_arena_memory(arena, &memory);
    out[0] = take(arena);
    weir_arena_destroy(&arena);

    expect_good_child(drop_the_last);

    cr_assert(is_mapped(memory.iov_base, memory.iov_len));
    weir_buf_drop(&out[0]);
    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

static void
drop_and_take(void)
{
    struct weir_buf buf;
    NEED(weir_arena_alloc(arena, 0, &buf) == WEIR_FULL);
    weir_buf_drop(&out[0]);
    NEED(weir_arena_alloc(arena, 0, &out[0]) == WEIR_OK);
    NEED(weir_arena_alloc(arena, 0, &buf) == WEIR_FULL);
}

Test(fork, a_full_arena_is_full_in_the_child_until_a_release_there)
{
    arena = open_arena(64, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        out[i] = take(arena);
    cr_assert(eq(int, ask(arena), WEIR_FULL));

    expect_good_child(drop_and_take);

    cr_assert(eq(int, ask(arena), WEIR_FULL));
    for (size_t i = 0; i < COUNT; i++)
        weir_buf_drop(&out[i]);
    close_whole(&arena);
}

/* ---- Waiters ----------------------------------------------------------- */

static struct weir_bell bell;
static struct guest guests[3];

static void
find_nobody_waiting(void)
{
    struct weir_stats stats = stats_of(arena);
    NEED(stats.waiting == 0);
    NEED(stats.waits == 3);
    NEED(stats.cancels == 3);
    weir_buf_drop(&out[0]);
    NEED(served.rings == 0);
    NEED(ask(arena) == WEIR_OK);
    NEED(weir_waiter_cancel(&guests[1].waiter) == WEIR_OK);
    NEED(stats_of(arena).cancels == 3);
    weir_buf_drop(&out[1]);
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
}

Test(fork, waiters_are_the_parents)
{
    arena = open_arena(64, 2);
    out[0] = take(arena);
    out[1] = take(arena);
    open_bell(&bell);
    queue_guests(arena, &bell, guests, 3);

    expect_good_child(find_nobody_waiting);

    cr_assert(eq(u64, stats_of(arena).waiting, 3));
    cr_assert(eq(u64, stats_of(arena).cancels, 0));
    weir_buf_drop(&out[0]);
    weir_buf_drop(&out[1]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("ab");
    weir_buf_drop(&guests[0].waiter.buf);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    weir_buf_drop(&guests[1].waiter.buf);
    weir_buf_drop(&guests[2].waiter.buf);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

/* ---- What another thread was in the middle of -------------------------- */

/* One more is free than a thread without calls in progress would have left. */
static void
take_one_more(void)
{
    struct weir_buf bufs[COUNT];
    size_t count = 0;
    weir_arena_check(arena);
    NEED(stats_of(arena).blocks_out == OUT + SLEEPERS - 1);
    while (weir_arena_alloc(arena, 0, &bufs[count]) == WEIR_OK)
        count++;
    NEED(count == COUNT - OUT - SLEEPERS + 1);
    while (count > 0)
        weir_buf_drop(&bufs[--count]);
    NEED(stats_of(arena).blocks_out == OUT + SLEEPERS - 1);
}

/* Runs in a child that was forked when all of block 0's release was done but
   setting its bit, or also that but telling anybody. */
static void
expect_that_a_half_release_goes_home(bool bit_was_set)
{
    begin();
    _Atomic uint64_t *count = wr_arena_refs(out[0].word, out[0].owner);
    uint32_t slot = wr_owner_slot(out[0].owner);
    struct wr_bitmap_hint hint = { 0 };
    if (bit_was_set)
        (void)wr_or_seq(&arena->state, WR_DRY);
    wr_store_relaxed(count, 0);
    if (bit_was_set)
        cr_assert(wr_fixed_give(&arena->fixed, &hint, slot));

    expect_good_child(take_one_more);

    if (!bit_was_set)
        cr_assert(wr_fixed_give(&arena->fixed, &hint, slot));
    (void)wr_and_relaxed(&arena->state, ~(uint32_t)WR_DRY);
    wr_arena_count(arena, WR_RELEASES, 1);
    out[0] = (struct weir_buf){ 0 };
    end();
}

Test(fork, a_block_that_a_dead_thread_was_giving_is_free_in_the_child)
{
    expect_that_a_half_release_goes_home(false);
}

Test(fork, a_child_is_not_full_for_a_release_that_a_dead_thread_did_not_tell)
{
    expect_that_a_half_release_goes_home(true);
}

Test(fork, an_arena_that_could_not_be_made_does_not_make_fork_hang)
{
    for (int i = 0; i < 3; i++)
        cr_assert(wr_fork_prepare());
    begin();

    expect_good_child(take_the_rest_and_drop_all);

    end();
}

/* ---- Arenas on the heap ------------------------------------------------ */

enum { BUSY = 3, CHILDREN = 60 };

static atomic_bool is_over;

static void
ignore_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    (void)user;
}

/* A chain with an array of its own, of foreign slices. */
static void
chain_foreign(void)
{
    struct weir_chain chain = { 0 };
    for (int i = 0; i < 2 * WEIR_CHAIN_INLINE; i++) {
        struct weir_slice slice;
        NEED(weir_slice_foreign("text", 4, ignore_release, NULL, &slice) ==
             WEIR_OK);
        NEED(weir_chain_push(&chain, &slice) == WEIR_OK);
    }
    weir_chain_release(&chain);
}

/* What makes the library allocate, under its locks and without. */
static void
spill_into(struct weir_arena *into, size_t size)
{
    struct weir_buf bufs[8];
    size_t count = 0;
    while (count < 8 && weir_arena_alloc(into, 0, &bufs[count]) == WEIR_OK)
        count++;
    if (count > 0)
        NEED(weir_buf_reserve(&bufs[0], size) == WEIR_OK);
    while (count > 0)
        weir_buf_drop(&bufs[--count]);
}

static struct weir_arena *
open_spilling(void)
{
    struct weir_arena *opened = NULL;
    struct weir_arena_config config = { .block_size = 64,
        .block_count = 4,
        .spill_bytes_max = 1 << 30,
        .flags = WEIR_SPILL_GROW | WEIR_SPILL_FULL };
    NEED(weir_arena_create(&config, &opened) == WEIR_OK);
    return opened;
}

static void
live_on_the_heap(size_t round)
{
    struct weir_arena *own = open_spilling();
    spill_into(own, round % 3000 + 1);
    spill_into(arena, round * 997 % 100000 + 1);
    chain_foreign();
    NEED(weir_release(weir_alloc(round % 5000 + 1)) == WEIR_OK);
    weir_arena_destroy(&own);
}

static void *
be_busy(void *unused)
{
    for (size_t i = 0; !atomic_load_explicit(&is_over, memory_order_relaxed);
         i++)
        live_on_the_heap(i);
    return unused;
}

static void *
live_once(void *unused)
{
    live_on_the_heap(1);
    return unused;
}

static void
live_in_the_child(void)
{
    pthread_t thread;
    for (size_t i = 0; i < 20; i++)
        live_on_the_heap(i * 100);
    NEED(pthread_create(&thread, NULL, live_once, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    weir_arena_destroy(&arena);
}

static void
fork_while_others_spill(void)
{
    pthread_t threads[BUSY];
    for (size_t i = 0; i < BUSY; i++)
        threads[i] = start_thread(be_busy, NULL);
    for (int i = 0; i < CHILDREN; i++)
        expect_good_child(live_in_the_child);
    atomic_store_explicit(&is_over, true, memory_order_relaxed);
    for (size_t i = 0; i < BUSY; i++)
        join_thread(threads[i]);
    weir_heap_check(weir_heap_default());
    close_whole(&arena);
}

Test(fork, children_spill_where_the_heap_was_used_before_any_arena)
{
    cr_assert(eq(int, weir_release(weir_alloc(100)), WEIR_OK));
    arena = open_spilling();

    fork_while_others_spill();
}

Test(fork, children_spill_where_an_arena_was_used_before_the_heap)
{
    arena = open_spilling();
    cr_assert(eq(int, ask(arena), WEIR_OK));

    fork_while_others_spill();
}

static void
begin_in_the_child(void)
{
    arena = open_spilling();
    live_in_the_child();
}

Test(fork, a_child_may_be_the_first_to_use_any_of_it)
{
    expect_good_child(begin_in_the_child);
}
