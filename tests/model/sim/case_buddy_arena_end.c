/* SPDX-License-Identifier: MIT */
/*
 * buddy_arena_end: who waits for a block of a buddy arena gets one as soon as there
 * is one of that size, and a destroyed one is unmapped once, behind its last block.
 * Edges [sleep] and [home]; "No wake-up is lost" in arena/waiters.c, "Tearing down"
 * in arena/arena.c.
 *
 *     word 1.0  [x .]     a cell is out for ever; the other one comes home in parts
 *     word 0.1  [.... ....]
 */

#include "cases.h"
#include "leaves.h"

enum { RANDOM = 5000 };

static struct weir_buf held[2];
static struct weir_slice slice;
static enum weir_status canceled;
static struct sim_tokens warmed; /* who comes later knows what was taken */

/* ---- Waiting ----------------------------------------------------------- */

static void
prepare_waiting(void)
{
    leaves_prepare(LEAVES_OF_TWO_CELLS, WEIR_NO_CACHE);
    leaves_leave(0, 2);
    world_prepare_queue();
    canceled = WEIR_INVALID;
    warmed = (struct sim_tokens){ .strong = true };
}

static void
warm(void)
{
    sim_expect(wr_record_of(leaves_arena) != NULL);
}

/* Threads 1 and 2 have a half each. */
static void
warm_halves(void)
{
    warm();
    if (sim_self() <= 2)
        held[sim_self() - 1] = leaves_alloc(HALF);
}

static void
warm_cell(void)
{
    warm();
    if (sim_self() == 1)
        held[0] = leaves_alloc(CELL);
}

/* Waiter 0 wants the cell, and behind it waiter 1 a leaf: there is half a cell. */
static void
warm_queue(void)
{
    warm();
    if (sim_self() == 1) {
        held[0] = leaves_alloc(HALF);
        sim_tokens_put(&warmed);
    }
    if (sim_self() != 2)
        return;
    sim_tokens_take(&warmed);
    sim_expect(leaves_wait(CELL, 0) == WEIR_PENDING);
    sim_expect(leaves_wait(LEAF, 1) == WEIR_PENDING);
}

/* Threads 1 and 2 have a leaf each, of three; there are shelves. */
static void
prepare_shelves(void)
{
    leaves_prepare(LEAVES_OF_CELL, 0);
    leaves_leave(0xe, 0);
    world_prepare_queue();
}

static void
prepare_shelves_again(void)
{
    prepare_shelves();
    leaves_arena->drought_length = 1;
}

static void
warm_shelves(void)
{
    leaves_shelves(1, 2);
    if (sim_self() <= 2)
        held[sim_self() - 1] = leaves_alloc(LEAF);
}

static void
warm_both_on_shelves(void)
{
    leaves_shelves(1, 2);
    for (unsigned i = 0; i < 2 && sim_self() == 1; i++)
        held[i] = leaves_alloc(LEAF);
}

static void
give_first(void)
{
    leaves_give(&held[0]);
}

static void
give_second(void)
{
    leaves_give(&held[1]);
}

static void
give_both(void)
{
    give_first();
    give_second();
}

static void
wait_cell(void)
{
    (void)leaves_wait(CELL, 0);
}

static void
wait_half(void)
{
    (void)leaves_wait(HALF, 0);
}

static void
wait_leaf_too(void)
{
    (void)leaves_wait(LEAF, 2);
}

static void
wait_pair(void)
{
    (void)leaves_wait(PAIR, 0);
}

/* Cuts the cell, and keeps a leaf. */
static void
cut(void)
{
    if (!leaves_take(LEAF, &held[0]))
        held[0] = (struct weir_buf){ 0 };
}

static void
trim(void)
{
    slice = leaves_trim(&held[0]);
}

static void
cancel(void)
{
    canceled = weir_waiter_cancel(&world_queue->waiters[0]);
}

static void
close(void)
{
    weir_arena_close(leaves_arena);
}

/* What came behind the two that wait gets nothing before them. */
static void
try_leaf_behind(void)
{
    struct weir_buf buf;
    if (!leaves_take(LEAF, &buf))
        return;
    sim_expect(leaves_arena->first_waiter == NULL);
    leaves_give(&buf);
}

/* ---- Behind them ------------------------------------------------------- */

static void
settle(void)
{
    leaves_expect_served();
    while (leaves_give_granted(0) || leaves_give_granted(1) ||
           leaves_give_granted(2))
        leaves_expect_served();
    sim_expect(leaves_arena->first_waiter == NULL);
    weir_bell_fini(&world_queue->bell);
    leaves_expect_whole();
}

static void
half_is_served(void)
{
    leaves_expect_served();
    if (weir_buf_room(&held[0]) != 0) {
        sim_expect(leaves_arena->first_waiter == NULL); /* there is a half */
        leaves_give(&held[0]);
    }
    settle();
}

static void
both_were_served(void)
{
    leaves_expect_served();
    sim_expect(leaves_arena->first_waiter == NULL);
    leaves_release(&slice);
    settle();
}

/* As they came, or the second if the first went away. */
static void
served_in_order(void)
{
    leaves_expect_served();
    sim_expect(world_told_count > 0);
    sim_expect(world_told[0] == (canceled == WEIR_OK));
    settle();
}

static void
others_were_served(void)
{
    leaves_expect_served();
    sim_expect(leaves_arena->first_waiter == NULL);
    leaves_give(&held[0]);
    settle();
}

static void
all_are_told(void)
{
    leaves_expect_served();
    sim_expect(leaves_arena->first_waiter == NULL);
    settle();
}

/* ---- The end ----------------------------------------------------------- */

static struct sim_tokens made;
static struct weir_arena *next;
static struct weir_buf gift;

static void
prepare_end(void)
{
    leaves_prepare(LEAVES_OF_TWO_CELLS + 2, WEIR_NO_CACHE);
    made = (struct sim_tokens){ .strong = true };
    warmed = (struct sim_tokens){ .strong = true };
    next = NULL;
}

static void
tell_destroyer(void)
{
    if (sim_self() <= 2) {
        sim_tokens_put(&warmed);
        return;
    }
    sim_tokens_take(&warmed);
    sim_tokens_take(&warmed);
}

static void
warm_last_halves(void)
{
    warm_halves();
    tell_destroyer();
}

static void
warm_last_shelves(void)
{
    warm_shelves();
    tell_destroyer();
}

/* The calling thread looks for a leaf in this word first. */
static void
place_hint(uint32_t word)
{
    struct wr_buddy_hint *hint = &wr_record_of(leaves_arena)->shelves->hint;
    hint->trails[LEAF][hint->ends[LEAF]] = word;
}

/* Thread 1 has a cell, and thread 2 a leaf behind the cells. */
static void
warm_last_cell_and_leaf(void)
{
    warm();
    if (sim_self() == 1)
        held[0] = leaves_alloc(CELL);
    if (sim_self() == 2) {
        place_hint(2);
        held[1] = leaves_alloc(LEAF);
        sim_expect(wr_owner_slot(held[1].owner) >= LEAVES_OF_TWO_CELLS);
    }
    tell_destroyer();
}

/* With shelves, on which they come home. */
static void
prepare_end_shelves(void)
{
    leaves_prepare(LEAVES_OF_CELL, 0);
    made = (struct sim_tokens){ .strong = true };
    warmed = (struct sim_tokens){ .strong = true };
    next = NULL;
}

static void
destroy(void)
{
    weir_arena_destroy(&leaves_arena);
}

/* And the next one has the number: thread 1 has a block of it too, elsewhere. */
static void
destroy_and_make(void)
{
    weir_arena_destroy(&leaves_arena);
    next = leaves_create(2, 0);
    struct weir_buf first;
    sim_expect(weir_arena_alloc(next, 0, &first) == WEIR_OK);
    sim_expect(weir_arena_alloc(next, 0, &gift) == WEIR_OK);
    weir_buf_drop(&first);
    sim_tokens_put(&made);
}

static void
trim_and_release(void)
{
    trim();
    leaves_release(&slice);
}

static void
give_first_and_use_next(void)
{
    give_first();
    sim_tokens_take(&made);
    weir_buf_drop(&gift);
    struct weir_buf buf;
    sim_expect(weir_arena_alloc(next, 0, &buf) == WEIR_OK);
    weir_buf_drop(&buf);
}

static void
give_and_exit(void)
{
    give_first();
    sim_thread_exit();
}

static void
it_is_gone(void)
{
    sim_expect(leaves_arena == NULL);
    sim_expect(world_unmapped == 1);
}

static void
it_is_gone_and_next_is_sound(void)
{
    struct weir_stats stats;
    it_is_gone();
    weir_arena_check(next);
    weir_arena_stats(next, &stats);
    sim_expect(stats.allocs == stats.releases);
    weir_arena_destroy(&next);
    sim_expect(world_unmapped == 2);
}

const struct sim_case buddy_arena_end_cases[] = {
    {
        .name = "queue_halves",
        .claim = "a wait for a cell whose halves come home",
        .before = prepare_waiting,
        .warm = warm_halves,
        .threads = { give_first, give_second, wait_cell },
        .after = settle,
        .preemptions = 2,
        .stales = 0,
        .random = RANDOM,
    },
    {
        .name = "queue_cut",
        .claim = "a wait while somebody cuts a cell for less",
        .before = prepare_waiting,
        .warm = warm,
        .threads = { cut, wait_half },
        .after = half_is_served,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "queue_trim",
        .claim = "or trims one",
        .before = prepare_waiting,
        .warm = warm_cell,
        .threads = { trim, wait_half },
        .after = both_were_served,
        .preemptions = 3,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "queue_shelves",
        .claim = "a wait for a pair whose leaves come home to shelves",
        .before = prepare_shelves_again,
        .warm = warm_both_on_shelves,
        .threads = { give_both, wait_pair },
        .after = settle,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "queue_order",
        .claim = "who wants less and came later comes later",
        .before = prepare_waiting,
        .warm = warm_queue,
        .threads = { give_first, try_leaf_behind },
        .after = served_in_order,
        .preemptions = 3,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "queue_cancel",
        .claim = "the first, who wants more than there is, goes away",
        .before = prepare_waiting,
        .warm = warm_queue,
        .threads = { give_first, cancel },
        .after = served_in_order,
        .preemptions = 3,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "queue_leave",
        .claim = "and there is enough for the next one",
        .before = prepare_waiting,
        .warm = warm_queue,
        .threads = { wait_leaf_too, cancel },
        .after = others_were_served,
        .preemptions = 3,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "queue_close",
        .claim = "the arena closes on waiters",
        .before = prepare_waiting,
        .warm = warm_queue,
        .threads = { give_first, close, wait_leaf_too },
        .after = all_are_told,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "last_halves",
        .claim = "two last halves that are a cell, against destroy",
        .before = prepare_end,
        .warm = warm_last_halves,
        .threads = { give_first, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "last_trim",
        .claim = "a last trim, and a leaf that completes nothing",
        .before = prepare_end,
        .warm = warm_last_cell_and_leaf,
        .threads = { trim_and_release, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "last_shelves",
        .claim = "two last leaves that come home to shelves",
        .before = prepare_end_shelves,
        .warm = warm_last_shelves,
        .threads = { give_and_exit, give_second, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 0,
        .random = RANDOM,
    },
    {
        .name = "last_next",
        .claim = "a new arena under the old number",
        .before = prepare_end_shelves,
        .warm = warm_last_shelves,
        .threads = { give_first_and_use_next, give_second, destroy_and_make },
        .after = it_is_gone_and_next_is_sound,
        .preemptions = 1,
        .stales = 1,
        .random = RANDOM,
    },
    { 0 },
};
