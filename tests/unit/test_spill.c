/* SPDX-License-Identifier: MIT */
#include "arena/spill.h"

#include "support/prng.h"
#include "support/space.h"
#include "support/unit.h"
#include "weir/heap.h"

static struct weir_arena *
open_spilling(size_t block_count, unsigned flags, size_t spill_bytes_max)
{
    return open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = 64,
        .block_count = block_count,
        .flags = flags,
        .spill_bytes_max = spill_bytes_max,
    });
}

/* Takes until it is full; returns how many. */
static size_t
take_all(struct weir_arena *arena, struct weir_buf *bufs, size_t most)
{
    size_t count = 0;
    while (count < most && weir_arena_alloc(arena, 0, &bufs[count]) == WEIR_OK)
        count++;
    return count;
}

static void
drop_all(struct weir_buf *bufs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weir_buf_drop(&bufs[i]);
}

/* ---- A full arena ------------------------------------------------------ */

Test(spill, without_the_flag_a_full_arena_is_full)
{
    struct weir_buf bufs[8];
    struct weir_arena *arena = open_spilling(2, WEIR_SPILL_GROW, 0);

    cr_assert(eq(sz, take_all(arena, bufs, 8), 2));
    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 0));

    drop_all(bufs, 2);
    close_whole(&arena);
}

Test(spill, with_the_flag_a_full_arena_takes_heap_memory)
{
    struct weir_buf bufs[3];
    struct iovec memory;
    struct weir_arena *arena = open_spilling(2, WEIR_SPILL_FULL, 0);
    weir_arena_memory(arena, &memory);

    cr_assert(eq(sz, take_all(arena, bufs, 3), 3));

    char *data = weir_buf_tail(&bufs[2]);
    uintptr_t from_start = (uintptr_t)data - (uintptr_t)memory.iov_base;
    cr_assert(ge(sz, from_start, memory.iov_len));
    cr_assert(eq(sz, (uintptr_t)data % 64, 0));
    cr_assert(eq(sz, weir_buf_room(&bufs[2]), 64));
    memset(data, 0xff, 64);
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.blocks_out, 2));
    cr_assert(eq(u64, stats.spilled_blocks, 1));
    cr_assert(eq(u64, stats.spilled_bytes, 64));
    cr_assert(eq(u64, stats.spill_fulls, 1));
    cr_assert(eq(u64, stats.allocs, 3));
    cr_assert(eq(u64, stats.alloc_fulls, 0));
    drop_all(bufs, 3);
    cr_assert(eq(u64, stats_of(arena).releases, 3));
    close_whole(&arena);
}

struct bound {
    size_t most;    /* spill_bytes_max */
    size_t spilled; /* blocks that come of it */
};

Test(spill, spilling_stops_at_spill_bytes_max)
{
    static const struct bound bounds[] = { { 1, 0 }, { 63, 0 }, { 64, 1 },
        { 127, 1 }, { 128, 2 }, { 64 * 5 + 63, 5 }, { 0, 2 } };
    struct weir_buf bufs[16];

    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        struct weir_arena *arena =
            open_spilling(2, WEIR_SPILL_FULL, bounds[i].most);
        size_t count = take_all(arena, bufs, 16);
        cr_assert(eq(sz, count, 2 + bounds[i].spilled));
        cr_assert(
            eq(u64, stats_of(arena).spilled_bytes, 64 * bounds[i].spilled));
        cr_assert(eq(int, ask(arena), WEIR_FULL));
        drop_all(bufs, count);
        close_whole(&arena);
    }
}

Test(spill, what_was_spilled_and_came_home_can_be_spilled_again)
{
    struct weir_buf bufs[16];
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_FULL, 128);

    cr_assert(eq(sz, take_all(arena, bufs, 16), 3));
    for (int i = 0; i < 100; i++) {
        weir_buf_drop(&bufs[2]);
        bufs[2] = take(arena);
        cr_assert(eq(int, ask(arena), WEIR_FULL));
    }

    cr_assert(eq(u64, stats_of(arena).spill_fulls, 102));
    drop_all(bufs, 3);
    close_whole(&arena);
}

Test(spill, a_block_that_is_home_is_taken_before_heap_memory)
{
    struct weir_buf bufs[16];
    struct weir_arena *arena = open_spilling(2, WEIR_SPILL_FULL, 0);
    cr_assert(eq(sz, take_all(arena, bufs, 3), 3));

    weir_buf_drop(&bufs[0]);
    bufs[0] = take(arena);

    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 1));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 2));
    drop_all(bufs, 3);
    close_whole(&arena);
}

Test(spill, a_barging_alloc_spills_too)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_FULL, 0);
    struct weir_buf held = take(arena);
    struct weir_buf buf;

    cr_assert(eq(int, weir_arena_alloc_barge(arena, 64, &buf), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 1));
    weir_buf_drop(&buf);
    weir_buf_drop(&held);
    close_whole(&arena);
}

Test(spill, a_closed_arena_does_not_spill)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_FULL, 0);
    struct weir_buf held = take(arena);

    weir_arena_close(arena);

    cr_assert(eq(int, ask(arena), WEIR_CLOSED));
    weir_buf_drop(&held);
    close_whole(&arena);
}

Test(spill, spilled_memory_is_counted_and_shared_as_a_block_is)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_FULL, 0);
    struct weir_buf held = take(arena);
    struct weir_buf buf = take(arena);
    struct weir_slice first;
    struct weir_slice second;
    struct weir_slice clone;
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    weir_buf_split(&buf, &first);
    cr_assert(eq(int, weir_buf_write(&buf, "dam", 3), WEIR_OK));
    weir_buf_freeze(&buf, &second);
    weir_slice_clone(&second, &clone);

    weir_slice_release(&first);
    weir_slice_release(&second);
    cr_assert(zero(int, memcmp(weir_slice_data(&clone), "dam", 3)));
    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 1));
    weir_slice_release(&clone);

    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 0));
    cr_assert(eq(u64, stats_of(arena).freezes, 2));
    weir_buf_drop(&held);
    close_whole(&arena);
}

/* ---- The end ----------------------------------------------------------- */

static void *
drop_there(void *user)
{
    weir_buf_drop(user);
    return NULL;
}

Test(spill, a_spilled_block_keeps_a_destroyed_arena)
{
    struct iovec memory;
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_FULL, 0);
    weir_arena_memory(arena, &memory);
    struct weir_buf held = take(arena);
    struct weir_buf spilled = take(arena);
    uint32_t id = wr_owner_arena(held.owner);

    weir_arena_destroy(&arena);
    weir_buf_drop(&held);
    struct weir_arena *next = open_spilling(1, 0, 0);
    cr_assert(ne(u32, next->id, id));
    cr_assert(is_mapped(memory.iov_base, memory.iov_len));
    on_thread(drop_there, &spilled);

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    close_whole(&next);
}

Test(spill, a_buf_may_outgrow_a_block_of_a_destroyed_arena)
{
    struct iovec memory;
    struct weir_arena *arena = open_spilling(100, WEIR_SPILL_GROW, 0);
    weir_arena_memory(arena, &memory);
    struct weir_buf buf = take(arena);
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    weir_arena_destroy(&arena);

    cr_assert(eq(int, weir_buf_reserve(&buf, 100), WEIR_OK));
    cr_assert(is_mapped(memory.iov_base, memory.iov_len));
    cr_assert(zero(int, memcmp(weir_buf_data(&buf), "weir", 4)));
    weir_buf_drop(&buf);

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

/* ---- Growing ----------------------------------------------------------- */

Test(spill, a_buf_that_outgrows_its_block_sends_it_home_at_once)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_GROW, 1000);
    struct weir_buf buf = take(arena);
    cr_assert(eq(int, weir_buf_headroom(&buf, 8), WEIR_OK));
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));

    cr_assert(eq(int, weir_buf_reserve(&buf, 100), WEIR_OK));

    cr_assert(zero(int, memcmp(weir_buf_data(&buf), "weir", 4)));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 8));
    cr_assert(ge(sz, weir_buf_room(&buf), 100));
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.blocks_out, 0));
    cr_assert(eq(u64, stats.spilled_blocks, 1));
    cr_assert(eq(u64, stats.spill_grows, 1));
    cr_assert(eq(u64, stats.spill_fulls, 0));
    cr_assert(eq(u64, stats.bytes_copied, 4));
    cr_assert(eq(int, ask(arena), WEIR_OK));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(spill, a_block_that_a_growing_buf_leaves_serves_who_waits)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_GROW, 1000);
    struct weir_buf buf = take(arena);
    struct weir_buf other;

    cr_assert(eq(int, weir_arena_alloc(arena, 0, &other), WEIR_FULL));
    cr_assert(eq(int, weir_buf_reserve(&buf, 65), WEIR_OK));
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &other), WEIR_OK));

    weir_buf_drop(&buf);
    weir_buf_drop(&other);
    close_whole(&arena);
}

Test(spill, growing_doubles_where_it_may_and_is_exact_where_it_must)
{
    struct weir_arena *arena = open_spilling(2, WEIR_SPILL_GROW, 300);
    struct weir_buf first = take(arena);
    struct weir_buf second = take(arena);

    cr_assert(eq(int, weir_buf_reserve(&first, 100), WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 200));
    cr_assert(eq(int, weir_buf_reserve(&second, 100), WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 300));
    cr_assert(eq(sz, weir_buf_room(&second), 100));

    weir_buf_drop(&first);
    weir_buf_drop(&second);
    close_whole(&arena);
}

Test(spill, growing_past_the_bound_has_no_room_and_changes_nothing)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_GROW, 100);
    struct weir_buf buf = take(arena);
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    struct weir_buf before = buf;

    cr_assert(eq(int, weir_buf_reserve(&buf, 97), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_reserve(&buf, UINT32_MAX), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_reserve(&buf, SIZE_MAX), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_reserve(&buf, SIZE_MAX - 3), WEIR_NO_ROOM));

    cr_assert(zero(int, memcmp(&before, &buf, sizeof buf)));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    cr_assert(eq(u64, stats_of(arena).spill_grows, 0));
    cr_assert(eq(int, weir_buf_reserve(&buf, 96), WEIR_OK));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(spill, a_spilled_buf_grows_on_and_frees_what_it_left)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_GROW, 1 << 20);
    struct weir_buf buf = take(arena);

    for (int i = 0; i < 10000; i++)
        cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(sz, weir_buf_len(&buf), 40000));
    cr_assert(eq(u64, stats.spilled_blocks, 1));
    cr_assert(eq(u64, stats.blocks_out, 0));
    cr_assert(le(u64, stats.spilled_bytes, 2 * 40000 + 8));
    cr_assert(le(u64, stats.bytes_copied, 2 * 40000));
    cr_assert(eq(u64, stats.allocs, stats.spill_grows + 1));
    const char *bytes = weir_buf_data(&buf);
    for (size_t i = 0; i < 40000; i += 4)
        cr_assert(zero(int, memcmp(bytes + i, "weir", 4)));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(spill, a_spilled_buf_frozen_or_dropped_is_freed_once)
{
    struct weir_arena *arena = open_spilling(1, WEIR_SPILL_GROW, 1000);

    for (int freeze = 0; freeze < 2; freeze++) {
        struct weir_slice slice = { 0 };
        struct weir_buf buf = take(arena);
        cr_assert(eq(int, weir_buf_reserve(&buf, 100), WEIR_OK));
        cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
        if (freeze == 1)
            weir_buf_freeze(&buf, &slice);
        else
            weir_buf_drop(&buf);
        weir_slice_release(&slice);
        cr_assert(eq(u64, stats_of(arena).spilled_blocks, 0));
    }

    cr_assert(eq(u64, stats_of(arena).allocs, stats_of(arena).releases));
    close_whole(&arena);
}

/* ---- No memory --------------------------------------------------------- */

/* The heap takes a small region only, as it finds no more. */
static void
begin_small(void)
{
    limit_memory(32 << 20);
    cr_assert(eq(int, weir_release(weir_alloc(1)), WEIR_OK));
}

Test(spill, without_memory_growing_is_refused_by_the_system)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    struct weir_arena *arena =
        open_spilling(1, WEIR_SPILL_GROW, (size_t)4 << 30);
    struct weir_buf buf = take(arena);
    struct weir_buf before = buf;
    limit_memory(64 << 20);

    cr_assert(eq(int, weir_buf_reserve(&buf, 1 << 30), WEIR_SYSTEM));

    cr_assert(zero(int, memcmp(&before, &buf, sizeof buf)));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(spill, without_memory_for_twice_as_much_what_is_needed_is_taken)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    begin_small();
    struct weir_arena *arena =
        open_spilling(1, WEIR_SPILL_GROW, (size_t)4 << 30);
    struct weir_buf buf = take(arena);
    limit_memory(256 << 20);

    cr_assert(eq(int, weir_buf_reserve(&buf, 150 << 20), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 150 << 20));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(spill, without_memory_a_full_arena_is_full)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    begin_small();
    limit_memory(1 << 30);
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = 256 << 20,
        .block_count = 1,
        .flags = WEIR_SPILL_FULL,
    });
    struct weir_buf held = take(arena);
    limit_memory(64 << 20);

    cr_assert(eq(int, ask(arena), WEIR_FULL));

    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 0));
    cr_assert(eq(u64, stats_of(arena).spill_fulls, 0));
    weir_buf_drop(&held);
    close_whole(&arena);
}

/* In a process that may have 256 MiB in all, the heap was to have 1 GiB. */
Test(spill, with_little_address_space_a_small_arena_spills)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    limit_memory(256 << 20);
    struct weir_buf bufs[32];
    struct weir_arena *arena =
        open_spilling(2, WEIR_SPILL_FULL | WEIR_SPILL_GROW, 16 << 20);

    size_t count = take_all(arena, bufs, 32);
    cr_assert(eq(sz, count, 32));
    cr_assert(eq(int, weir_buf_reserve(&bufs[0], 8 << 20), WEIR_OK));
    memset(weir_buf_tail(&bufs[0]), 1, 8 << 20);

    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 31));
    cr_assert(ge(u64, stats_of(arena).spilled_bytes, (8 << 20) + 30 * 64));
    drop_all(bufs, 32);
    close_whole(&arena);
}

/* ---- Behind the doors -------------------------------------------------- */

Test(spill, take_charges_before_it_allocates)
{
    struct weir_buf buf;
    struct weir_arena *arena = open_spilling(1, 0, 100);

    cr_assert(eq(int, wr_spill_take(arena, 101, &buf), WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 0));
    cr_assert(eq(int, wr_spill_take(arena, 100, &buf), WEIR_OK));
    cr_assert(eq(sz, weir_buf_room(&buf), 100));
    struct weir_buf more;
    cr_assert(eq(int, wr_spill_take(arena, 1, &more), WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 100));

    wr_arena_count(arena, WR_ALLOCS, 1);
    weir_buf_drop(&buf);
    close_whole(&arena);
}

/* ---- Threads ----------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 2000, HELD_MAX = 6 };

struct worker {
    struct weir_arena *arena;
    uint64_t seed;
    uint64_t allocs;
    uint64_t lies;
};

static void *
spill_and_grow(void *user)
{
    struct worker *worker = user;
    struct prng prng = { worker->seed };
    struct weir_buf held[HELD_MAX];
    size_t count = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (count < HELD_MAX && prng_below(&prng, 2) == 0) {
            if (weir_arena_alloc(worker->arena, 0, &held[count]) != WEIR_OK)
                continue;
            worker->allocs++;
            if (prng_below(&prng, 3) == 0 &&
                weir_buf_reserve(&held[count], 70) == WEIR_OK)
                worker->allocs++;
            count++;
        } else if (count > 0) {
            weir_buf_drop(&held[--count]);
        }
        if (i % 32 == 0)
            worker->lies += stats_of(worker->arena).spilled_bytes > 1000;
    }
    drop_all(held, count);
    return NULL;
}

Test(spill, threads_that_spill_never_pass_the_bound)
{
    struct weir_arena *arena =
        open_spilling(4, WEIR_SPILL_FULL | WEIR_SPILL_GROW, 1000);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    uint64_t allocs = 0;

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .arena = arena, .seed = i };
        threads[i] = start_thread(spill_and_grow, &workers[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        join_thread(threads[i]);
        cr_assert(eq(u64, workers[i].lies, 0));
        allocs += workers[i].allocs;
    }

    struct weir_stats stats = stats_of(arena);
    cr_assert(ge(u64, stats.allocs, allocs));
    cr_assert(eq(u64, stats.allocs, stats.releases));
    close_whole(&arena);
}
