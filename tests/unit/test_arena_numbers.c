/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"
#include "support/worker.h"

/* A new arena gets the number of a dead one, whose records threads still have. */

enum { LEAF = 256, SIZE = MIB };

static struct worker worker;

static void
take_leaf(struct worker *who)
{
    who->buf = take_of(who->arena, LEAF);
}

static void
take_smallest(struct worker *who)
{
    who->buf = take_of(who->arena, 0);
}

static void
release_there(struct worker *who)
{
    weir_slice_release(&who->slice);
}

enum kind { FIXED, FEW, SMALL, LARGE, KINDS };

static struct weir_arena *
open_kind(enum kind kind)
{
    if (kind < SMALL)
        return open_arena(LEAF, kind == FEW ? 64 : 1024);
    return kind == SMALL ? open_buddy_with(LEAF, 64 * LEAF, 0)
                         : open_buddy_with(LEAF, SIZE, 0);
}

static void
take_and_drop(struct worker *who)
{
    struct weir_buf bufs[8];
    for (size_t i = 0; i < 8; i++)
        bufs[i] = take_of(who->arena, LEAF);
    for (size_t i = 0; i < 8; i++)
        weir_buf_drop(&bufs[i]);
}

/* An arena of one kind follows one of another at the same number, in a thread that
   had blocks of the first one at hand. */
static struct weir_arena *
follow(enum kind first, enum kind second)
{
    struct weir_arena *dead = open_kind(first);
    const struct weir_arena *place = dead;
    hire(&worker, dead);
    cr_assert(eq(int, ask(dead), WEIR_OK)); /* a thread is not alone */
    have(&worker, take_and_drop);
    weir_arena_destroy(&dead);
    struct weir_arena *arena = open_kind(second);
    cr_assert(eq(ptr, arena, (void *)(uintptr_t)place));
    worker.arena = arena;
    return arena;
}

static void
end_kind(struct weir_arena *arena)
{
    let_end(&worker);
    weir_thread_flush();
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.allocs, stats.releases));
    cr_assert(eq(u64, stats.bytes_free, stats.bytes_total));
    close_whole(&arena);
}

Test(arena_numbers, a_thread_takes_from_an_arena_with_the_number_of_a_dead_one)
{
    for (int i = 0; i < 2 * KINDS * KINDS; i++) {
        int pair = i / 2;
        struct weir_arena *arena =
            follow((enum kind)(pair / KINDS), (enum kind)(pair % KINDS));
        have(&worker, i % 2 == 0 ? take_leaf : take_smallest);
        weir_arena_check(arena);
        cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
        weir_buf_drop(&worker.buf);
        have(&worker, take_and_drop);
        weir_arena_check(arena);
        cr_assert(zero(u64, stats_of(arena).blocks_out), "pair %d", pair);
        end_kind(arena);
    }
}

Test(arena_numbers,
    a_thread_releases_into_an_arena_with_the_number_of_a_dead_one)
{
    for (int pair = 0; pair < KINDS * KINDS; pair++) {
        struct weir_arena *arena =
            follow((enum kind)(pair / KINDS), (enum kind)(pair % KINDS));
        struct weir_slice slices[40];
        for (size_t i = 0; i < 40; i++)
            slices[i] = freeze_pattern(arena, LEAF, 10);
        for (size_t i = 0; i < 40; i++) {
            worker.slice = slices[i];
            have(&worker, release_there);
            weir_arena_check(arena);
            cr_assert(eq(u64, stats_of(arena).blocks_out, 39 - i),
                "pair %d block %zu", pair, i);
        }
        end_kind(arena);
    }
}

Test(arena_numbers, a_thread_trims_in_an_arena_with_the_number_of_a_dead_one)
{
    for (enum kind first = FIXED; first < KINDS; first++) {
        struct weir_arena *arena = follow(first, LARGE);
        worker.slice = freeze_pattern(arena, 4096, 10);
        cr_assert(eq(sz, weir_slice_trim(&worker.slice), 4096 - LEAF));
        have(&worker, release_there);
        weir_arena_check(arena);
        end_kind(arena);
    }
}

Test(arena_numbers, one_thread_alternates_between_kinds_at_one_number)
{
    for (int i = 0; i < 30; i++) {
        struct weir_arena *arena = open_kind((enum kind)(i % KINDS));
        struct weir_slice slice = freeze_pattern(arena, LEAF, LEAF);
        struct weir_buf buf = take_of(arena, LEAF);
        weir_arena_check(arena);
        weir_buf_drop(&buf);
        if (i % 2 == 0)
            weir_slice_release(&slice);
        weir_arena_destroy(&arena);
        weir_slice_release(&slice);
    }

    no_leaks();
}
