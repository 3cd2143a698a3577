/* SPDX-License-Identifier: MIT */
/*
 * end: a destroyed arena is unmapped once, behind its last block, and nobody
 * touches it afterwards. Edges [home] and [sleep]; "Tearing down" in
 * arena/arena.c.
 *
 * Unmapped memory is poison to the simulator, and unmapping counts as writing
 * it: whoever may still touch it, or did without an order, is caught.
 */

#include "arena/spill.h"
#include "cases.h"
#include "world.h"

static struct weir_arena *arena;
static struct weir_arena *next;
static struct weir_buf bufs[2];
static struct weir_slice slices[2];

static void
prepare_blocks(uint32_t blocks, unsigned flags)
{
    world_unmapped = 0;
    next = NULL;
    arena = world_create(blocks, flags);
    for (uint32_t i = 0; i < 2; i++)
        bufs[i] = world_alloc(arena);
}

static void
prepare(void)
{
    prepare_blocks(2, 0);
}

/* Threads 1 and 2 hold a block each, and have half a word of others at hand. */
static struct sim_tokens made;
static struct weir_buf gift; /* of the next arena, for thread 1 */

static void
prepare_cached(void)
{
    prepare_blocks(WR_WORD_BITS + 2, 0);
    weir_buf_drop(&bufs[0]);
    weir_buf_drop(&bufs[1]);
    made = (struct sim_tokens){ .strong = true };
}

static void
warm_cached(void)
{
    world_warm();
    if (sim_self() <= 2)
        bufs[sim_self() - 1] = world_alloc(arena);
}

/* One block of the arena's, one on the heap. */
static void
prepare_spill(void)
{
    prepare_blocks(1, WEIR_SPILL_FULL | WEIR_SPILL_GROW);
}

/* Blocks that may grow. */
static void
prepare_growing(void)
{
    world_unmapped = 0;
    arena = world_create_spilling(2, (size_t)4 * WORLD_BLOCK);
    for (uint32_t i = 0; i < 2; i++)
        bufs[i] = world_alloc(arena);
}

/* And somebody waits for one. */
static void
prepare_waiting(void)
{
    prepare();
    world_prepare_queue();
    sim_expect(world_wait(arena, 0) == WEIR_PENDING);
}

/* One block, two slices. */
static void
prepare_slices(void)
{
    prepare();
    world_drop(&bufs[1]);
    weir_buf_commit(&bufs[0], WORLD_BLOCK);
    weir_buf_freeze(&bufs[0], &slices[0]);
    weir_slice_clone(&slices[0], &slices[1]);
}

static void
give_first(void)
{
    world_drop(&bufs[0]);
}

static void
give_second(void)
{
    world_drop(&bufs[1]);
}

static void
release_first(void)
{
    world_release(&slices[0]);
}

static void
release_second(void)
{
    world_release(&slices[1]);
}

static void
destroy(void)
{
    weir_arena_destroy(&arena);
}

/* The control part and the number may be those of the arena that just died,
   while others still look at them. */
static void
destroy_and_create(void)
{
    weir_arena_destroy(&arena);
    next = world_create(1, 0);
    struct weir_buf buf = world_alloc(next);
    world_drop(&buf);
}

/* The next one is destroyed too, before its block is home. */
static void
destroy_twice(void)
{
    weir_arena_destroy(&arena);
    next = world_create(1, 0);
    struct weir_buf buf = world_alloc(next);
    weir_arena_destroy(&next);
    world_drop(&buf);
}

/* The same with caches, and who gave a block back to the first gives one back to
   the second, then takes one there. */
static void
destroy_and_make(void)
{
    weir_arena_destroy(&arena);
    next = world_create(WR_WORD_BITS + 2, 0);
    gift = world_alloc(next);
    sim_tokens_put(&made);
}

static void
give_first_and_use_next(void)
{
    give_first();
    sim_tokens_take(&made);
    world_drop(&gift);
    struct weir_buf buf = world_alloc(next);
    world_drop(&buf);
}

/* From its cache, as long as the arena is there. */
static void
give_and_exit(void)
{
    give_first();
    sim_thread_exit();
    struct weir_buf late = bufs[1];
    bufs[1] = (struct weir_buf){ 0 };
    world_drop(&late);
}

static void
use_next(void)
{
    give_first();
    struct weir_arena *mine = world_create(1, 0);
    struct weir_buf buf = world_alloc(mine);
    world_drop(&buf);
    weir_arena_destroy(&mine);
}

/* Moves its block to the heap, and drops it there. */
static void
grow(void)
{
    static const char more[WORLD_BLOCK];
    weir_buf_commit(&bufs[0], WORLD_BLOCK / 4);
    sim_expect(weir_buf_write(&bufs[0], more, sizeof more) == WEIR_OK);
    weir_buf_drop(&bufs[0]);
}

/* ---- The end ----------------------------------------------------------- */

static void
it_is_gone(void)
{
    sim_expect(arena == NULL);
    sim_expect(world_unmapped == 1);
}

/* The waiter was granted a block, which keeps the arena, or was told. */
static void
it_is_gone_with_the_waiter(void)
{
    sim_expect(weir_bell_drain(&world_queue->bell, 0) == 1);
    sim_expect(world_status[0] == WEIR_OK || world_status[0] == WEIR_CLOSED);
    if (world_status[0] == WEIR_OK) {
        sim_expect(world_unmapped == 0);
        world_drop(&world_queue->waiters[0].buf);
    }
    it_is_gone();
}

static void
it_is_gone_and_next_is_sound(void)
{
    it_is_gone();
    world_expect_whole(next);
    weir_arena_destroy(&next);
    sim_expect(world_unmapped == 2);
}

static void
both_are_gone(void)
{
    sim_expect(world_unmapped == 2);
}

const struct sim_case end_cases[] = {
    {
        .name = "end",
        .claim = "two last blocks against destroy",
        .before = prepare,
        .warm = world_warm,
        .threads = { give_first, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_slices",
        .claim = "the last two slices of a block against destroy",
        .before = prepare_slices,
        .warm = world_warm,
        .threads = { release_first, release_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_spill",
        .claim = "a block on the heap against destroy",
        .before = prepare_spill,
        .warm = world_warm,
        .threads = { give_first, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_grow",
        .claim = "a block that moves to the heap against destroy",
        .before = prepare_growing,
        .warm = world_warm,
        .threads = { grow, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_waiting",
        .claim = "with a waiter, who is granted a block or told",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { give_first, give_second, destroy },
        .after = it_is_gone_with_the_waiter,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_next",
        .claim = "a new arena under the old number",
        .before = prepare,
        .threads = { give_first, give_second, destroy_and_create },
        .after = it_is_gone_and_next_is_sound,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_next_destroyed",
        .claim = "and that destroyed in its turn",
        .before = prepare,
        .warm = world_warm,
        .threads = { give_first, give_second, destroy_twice },
        .after = both_are_gone,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_next_elsewhere",
        .claim = "made by who released",
        .before = prepare,
        .warm = world_warm,
        .threads = { use_next, give_second, destroy },
        .after = both_are_gone,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "end_cached",
        .claim = "two last blocks that come home to caches",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { give_first, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "end_cached_exit",
        .claim = "and one behind the end of its thread's cache",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { give_and_exit, NULL, destroy },
        .after = it_is_gone,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "end_cached_next",
        .claim = "a new arena under the old number",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { give_first_and_use_next, give_second, destroy_and_make },
        .after = it_is_gone_and_next_is_sound,
        .preemptions = 2,
        .stales = 1,
    },
    { 0 },
};
