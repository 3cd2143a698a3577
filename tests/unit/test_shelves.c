/* SPDX-License-Identifier: MIT */
#include "arena/shelves.h"

#include "support/buddies.h"
#include "support/worker.h"

enum { LEAF = 256, SIZE = MIB };

/* ---- What the worker does ---------------------------------------------- */

/* Blocks of every size lie at hand. */
static void
fill_shelves(struct worker *worker)
{
    for (size_t size = LEAF; size <= 64 * KIB; size *= 2) {
        struct weir_buf bufs[4];
        size_t count = 0;
        while (count < 4 &&
               weir_arena_alloc(worker->arena, size, &bufs[count]) == WEIR_OK)
            count++;
        while (count > 0)
            weir_buf_drop(&bufs[--count]);
    }
}

static void
release_there(struct worker *worker)
{
    weir_slice_release(&worker->slice);
}

static void
flush_there(struct worker *worker)
{
    (void)worker;
    weir_thread_flush();
}

static struct worker worker;

static void
expect_cached(struct weir_arena *arena, bool some)
{
    struct weir_stats stats = stats_of(arena);
    expect_sound(arena, 0);
    cr_assert(eq(int, stats.blocks_cached > 0, some));
    cr_assert(eq(int, stats.bytes_cached > 0, some));
    cr_assert(ge(u64, stats.bytes_cached, stats.blocks_cached * LEAF));
}

/* ---- What is at hand --------------------------------------------------- */

Test(shelves, what_a_thread_released_is_at_hand_and_not_out)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    struct weir_buf buf = take_of(arena, 1000);
    const void *start = weir_buf_tail(&buf);
    cr_assert(eq(u64, stats_of(arena).caches, 1));
    weir_buf_drop(&buf);

    expect_cached(arena, true);
    buf = take_of(arena, 600);
    cr_assert(eq(ptr, weir_buf_tail(&buf), (void *)(uintptr_t)start));

    weir_buf_drop(&buf);
    weir_thread_flush();
    expect_cached(arena, false);
    close_merged(&arena);
}

Test(shelves, numbers_add_up_at_every_step_with_caches_on)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    struct weir_buf bufs[10];
    uint64_t out = 0;

    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 10; i++) {
            bufs[i] = take_of(arena, (size_t)LEAF << (i + (size_t)round) % 10);
            out += size_of_buf(&bufs[i]);
            expect_sound(arena, out);
        }
        for (size_t i = 0; i < 10; i++) {
            struct weir_buf *buf = &bufs[(i * 3 + (size_t)round) % 10];
            out -= size_of_buf(buf);
            weir_buf_drop(buf);
            expect_sound(arena, out);
        }
    }

    close_merged(&arena);
}

Test(shelves, what_a_thread_keeps_is_bounded)
{
    enum { COUNT = 2000 };
    static struct weir_buf bufs[COUNT];
    struct weir_arena *arena = open_shelved(LEAF, SIZE);

    for (size_t size = LEAF; size <= SIZE; size *= 2) {
        size_t count = 0;
        while (count < SIZE / size / 2 && count < COUNT)
            bufs[count++] = take_of(arena, size);
        while (count > 0)
            weir_buf_drop(&bufs[--count]);
    }

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.caches, 1));
    cr_assert(le(u64, stats.bytes_cached, SIZE / 8));
    expect_sound(arena, 0);
    close_merged(&arena);
}

Test(shelves, tiny_arenas_have_none)
{
    static const size_t leaves[] = { 1, 2, 3, 63 };

    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        struct weir_arena *arena = open_buddy_with(LEAF, leaves[i] * LEAF, 0);
        struct weir_buf buf = take_of(arena, 0);
        cr_assert(eq(u64, stats_of(arena).caching, WEIR_CACHING_TINY));
        expect_sound(arena, LEAF);
        weir_buf_drop(&buf);
        expect_cached(arena, false);
        cr_assert(eq(sz, weir_arena_largest_free(arena), arena->block_max));
        close_merged(&arena);
    }
}

Test(shelves, an_arena_of_64_leaves_has_and_every_leaf_is_there)
{
    struct weir_arena *arena = open_shelved(LEAF, 64 * LEAF);
    struct weir_buf bufs[64];

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 64; i++)
            bufs[i] = take_of(arena, LEAF);
        cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
        expect_sound(arena, 64 * LEAF);
        for (size_t i = 0; i < 64; i++)
            weir_buf_drop(&bufs[i]);
        cr_assert(eq(int, ask_for(arena, 64 * LEAF), WEIR_OK));
    }

    close_merged(&arena);
}

Test(shelves, blocks_that_are_too_large_go_past_them)
{
    struct weir_arena *arena = open_shelved(1024 * KIB, 64 * MIB);
    struct weir_buf bufs[64];

    for (size_t i = 0; i < 64; i++)
        bufs[i] = take_of(arena, 0);
    cr_assert(eq(u64, stats_of(arena).caches, 1));
    expect_sound(arena, 64 * MIB);
    for (size_t i = 0; i < 64; i++)
        weir_buf_drop(&bufs[i]);

    expect_cached(arena, false);
    close_merged(&arena);
}

Test(shelves, an_arena_may_refuse_them)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    hire(&worker, arena);

    have(&worker, fill_shelves);

    cr_assert(eq(u64, stats_of(arena).caching, WEIR_CACHING_REFUSED));
    expect_cached(arena, false);
    cr_assert(eq(sz, weir_arena_largest_free(arena), SIZE));
    let_end(&worker);
    close_merged(&arena);
}

/* ---- Taking it back ---------------------------------------------------- */

Test(shelves, what_idle_threads_keep_is_never_a_reason_for_full)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    hire(&worker, arena);
    have(&worker, fill_shelves);
    expect_cached(arena, true);

    struct weir_buf all = take_of(arena, SIZE);

    cr_assert(eq(u64, stats_of(arena).sweeps, 1));
    cr_assert(zero(u64, stats_of(arena).blocks_cached));
    expect_sound(arena, SIZE);
    weir_buf_drop(&all);
    have(&worker, fill_shelves);
    let_end(&worker);
    close_merged(&arena);
}

Test(shelves, what_the_own_thread_keeps_is_no_reason_for_full_either)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    struct worker me = { .arena = arena };

    for (int round = 0; round < 5; round++) {
        fill_shelves(&me);
        struct weir_buf all = take_of(arena, SIZE);
        expect_sound(arena, SIZE);
        weir_buf_drop(&all);
    }

    close_merged(&arena);
}

Test(shelves, leaves_at_hand_of_many_threads_are_found_to_the_last)
{
    enum { WORKERS = 5 };
    static struct worker workers[WORKERS];
    struct weir_arena *arena = open_shelved(LEAF, 64 * KIB);
    struct weir_buf bufs[256];
    for (size_t i = 0; i < WORKERS; i++) {
        hire(&workers[i], arena);
        have(&workers[i], fill_shelves);
    }

    for (size_t i = 0; i < 256; i++)
        bufs[i] = take_of(arena, LEAF);

    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
    expect_sound(arena, 64 * KIB);
    for (size_t i = 0; i < 256; i++)
        weir_buf_drop(&bufs[i]);
    for (size_t i = 0; i < WORKERS; i++)
        let_end(&workers[i]);
    close_merged(&arena);
}

Test(shelves, a_swept_thread_goes_on_and_has_shelves_again_after_a_while)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    struct worker me = { .arena = arena };
    fill_shelves(&me);
    struct weir_buf all = take_of(arena, SIZE);
    weir_buf_drop(&all);
    cr_assert(zero(u64, stats_of(arena).caches));

    for (uint32_t i = 0; i <= arena->drought_length; i++)
        cr_assert(eq(int, ask_for(arena, LEAF), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).caches, 1));
    expect_cached(arena, true);
    close_merged(&arena);
}

Test(shelves, a_flush_gives_back_what_is_at_hand)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    hire(&worker, arena);
    have(&worker, fill_shelves);
    expect_cached(arena, true);

    have(&worker, flush_there);

    expect_cached(arena, false);
    cr_assert(eq(sz, weir_arena_largest_free(arena), SIZE));
    cr_assert(eq(u64, stats_of(arena).caches, 1));
    let_end(&worker);
    close_merged(&arena);
}

Test(shelves, the_end_of_a_thread_gives_back_and_its_counts_stay)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    hire(&worker, arena);
    have(&worker, fill_shelves);
    struct weir_stats before = stats_of(arena);

    let_end(&worker);

    struct weir_stats after = stats_of(arena);
    expect_cached(arena, false);
    cr_assert(eq(u64, after.allocs, before.allocs));
    cr_assert(eq(u64, after.bytes_asked, before.bytes_asked));
    cr_assert(eq(u64, after.bytes_got, before.bytes_got));
    cr_assert(eq(u64, after.splits, before.splits));
    cr_assert(eq(u64, after.splits, after.coalesces));
    cr_assert(zero(u64, after.caches));
    close_merged(&arena);
}

Test(shelves, what_is_released_on_another_thread_lies_on_its_shelf)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    hire(&worker, arena);
    have(&worker, fill_shelves);
    have(&worker, flush_there);
    worker.slice = freeze_pattern(arena, 1000, 1000);
    weir_thread_flush();
    expect_sound(arena, 1024);

    have(&worker, release_there);

    cr_assert(eq(u64, stats_of(arena).bytes_cached, 1024));
    let_end(&worker);
    close_merged(&arena);
}

Test(shelves, a_closed_arena_has_none)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    hire(&worker, arena);
    have(&worker, fill_shelves);
    struct weir_buf buf = take_of(arena, LEAF);

    weir_arena_close(arena);

    cr_assert(zero(u64, stats_of(arena).blocks_cached));
    weir_buf_drop(&buf);
    expect_cached(arena, false);
    let_end(&worker);
    close_merged(&arena);
}

Test(shelves, a_destroyed_arena_goes_while_threads_sleep_that_keep_its_blocks)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    hire(&worker, arena);
    have(&worker, fill_shelves);

    weir_arena_destroy(&arena);

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    let_end(&worker);
    no_leaks();
}
