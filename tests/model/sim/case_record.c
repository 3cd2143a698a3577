/* SPDX-License-Identifier: MIT */
/*
 * record: what a thread keeps of an arena outlives neither in a wrong place.
 * Thread exit against the death of the arena and a new one under its number;
 * snapshots of the stats meanwhile.
 *
 * At the end all memory but the control parts was given back, once.
 */

#include "arena/caches.h"
#include "cases.h"
#include "world.h"

static struct weir_arena *arena;
static struct weir_arena *other;
static struct weir_buf held;
static unsigned control_parts;

static void
prepare(void)
{
    world_unmapped = 0;
    arena = world_create(2, 0);
    other = NULL;
    control_parts = 1;
}

/* With caches: two blocks, the others are out for ever. */
static void
prepare_cached(void)
{
    world_unmapped = 0;
    arena = world_create(WR_WORD_BITS + 2, 0);
    arena->drought_length = 1;
    world_leave(arena, 3, 0);
    other = NULL;
}

static void
prepare_held(void)
{
    prepare();
    held = world_alloc(arena);
}

static void
prepare_other(void)
{
    prepare();
    other = world_create(1, 0);
    control_parts = 2;
}

static void
borrow_from(struct weir_arena *from)
{
    struct weir_buf buf;
    if (world_try(from, &buf))
        world_drop(&buf);
}

static void
borrow(void)
{
    borrow_from(arena);
}

/* Other destructors run behind the library's, and use it too. */
static void
borrow_and_outlive(void)
{
    borrow();
    sim_thread_exit();
    borrow();
}

static void
borrow_from_both(void)
{
    borrow_from(arena);
    borrow_from(other);
}

static void
give_held(void)
{
    world_drop(&held);
}

static void
destroy(void)
{
    weir_arena_destroy(&arena);
}

/* Its record is for the dead arena, then for the new one. */
static void
borrow_destroy_create_borrow(void)
{
    borrow();
    destroy();
    struct weir_arena *mine = world_create(1, 0);
    borrow_from(mine);
    weir_arena_destroy(&mine);
}

static struct weir_stats
look(void)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    sim_expect(stats.blocks_out + stats.blocks_cached <= stats.block_count);
    sim_expect(stats.grants + stats.cancels <= stats.waits);
    sim_expect(stats.releases <= stats.allocs);
    return stats;
}

static void
look_twice(void)
{
    struct weir_stats first = look();
    struct weir_stats second = look();
    sim_expect(first.releases <= second.releases);
    sim_expect(first.allocs <= second.allocs);
}

/* ---- The end ----------------------------------------------------------- */

static void
nothing_is_left(void)
{
    sim_thread_exit();
    unsigned used = control_parts;
    weir_arena_destroy(&other);
    sim_expect(sim_memory_count() <= used);
}

static void
it_is_sound(void)
{
    world_expect_whole(arena);
    destroy();
    nothing_is_left();
}

static void
counts_are_exact(void)
{
    sim_expect(look().releases <= 3);
    sim_expect(look().allocs == look().releases);
    it_is_sound();
}

static void
blocks_are_exact(void)
{
    struct weir_stats stats = look();
    uint64_t bytes;
    weir_arena_check(arena);
    world_expect_caches(arena);
    sim_expect(stats.allocs == stats.releases);
    sim_expect(stats.blocks_out == 0);
    sim_expect(stats.blocks_cached == wr_caches_count(arena, &bytes));
    sim_expect(world_free_count(arena) == 2);
}

static void
one_is_gone(void)
{
    sim_expect(world_unmapped == 1);
    nothing_is_left();
}

static void
two_are_gone(void)
{
    sim_expect(world_unmapped == 2);
    control_parts = 2;
    nothing_is_left();
}

const struct sim_case record_cases[] = {
    {
        .name = "record",
        .claim = "threads end while others sum up",
        .before = prepare,
        .threads = { borrow, borrow_and_outlive, look_twice },
        .after = counts_are_exact,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "record_end",
        .claim = "threads end while the arena dies",
        .before = prepare_held,
        .threads = { give_held, borrow_destroy_create_borrow },
        .after = two_are_gone,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "record_late",
        .claim = "the thread of the last block ends",
        .before = prepare_held,
        .threads = { give_held, destroy },
        .after = one_is_gone,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "record_both",
        .claim = "threads with two arenas",
        .before = prepare_other,
        .threads = { borrow_from_both, borrow_from_both, look_twice },
        .after = it_is_sound,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "record_cached",
        .claim = "caches fill, are swept and end while others sum up",
        .before = prepare_cached,
        .warm = world_warm,
        .threads = { borrow, borrow, look_twice },
        .after = blocks_are_exact,
        .preemptions = 2,
        .stales = 1,
    },
    { 0 },
};
