/* SPDX-License-Identifier: MIT */
/*
 * buddy: no leaf has two owners, what one owner did in it happens before what the
 * next one does there, and what was cut is whole again in the end. Edge [block].
 *
 *     word 1.0  [. x]         the cells of level 1: one is out for ever, the
 *     word 0.0  [.... ....]   other is cut into the 64 leaves of a word, and
 *                             put together, again and again
 *
 * A block of order 5 is half of such a word, one of order 6 a cell.
 *
 * Writes that are blind here are those of hints, which may be anything.
 */

#include "buddies.h"
#include "cases.h"

enum {
    HALF = 5,
    CELL = 6,
    TWO_CELLS = 7,
    MANY_CELLS = 11,
    WORD = 12, /* of cells */
    TWO_CELLS_OF = 128,
    TWO_WORDS_OF = 8192 /* three levels */
};

static struct block mine[SIM_WORKERS_MAX + 1]; /* what a thread has at first */

static void
prepare_two(void)
{
    buddies_prepare(TWO_CELLS_OF);
}

/* One cell is free, of two. */
static void
prepare_one(void)
{
    prepare_two();
    (void)buddies_leave_out(CELL);
}

static void
borrow_leaf(void)
{
    buddies_borrow(0);
}

static void
borrow_half(void)
{
    buddies_borrow(HALF);
}

static void
borrow_quarter(void)
{
    buddies_borrow(HALF - 1);
}

static void
borrow_cell(void)
{
    buddies_borrow(CELL);
}

static void
borrow_cell_then_leaf(void)
{
    buddies_borrow(CELL);
    buddies_borrow(0);
}

static void
borrow_half_then_cell(void)
{
    buddies_borrow(HALF);
    buddies_borrow(CELL);
}

static void
borrow_two_cells(void)
{
    buddies_borrow(TWO_CELLS);
}

/* What the calling thread has at first. */
static void
give_mine(void)
{
    buddies_give(&mine[sim_self()]);
}

/* Threads 1 and 2 have the halves of a cell. */
static void
prepare_halves(void)
{
    prepare_two();
    sim_expect(buddies_take_more(HALF, 2, &mine[1]) == 2);
}

/* Thread 1 has one; the other is free. */
static void
prepare_half(void)
{
    prepare_two();
    sim_expect(buddies_take(HALF, &mine[1]));
}

/* Threads 1 and 2 have a leaf each of a word; all others are free. */
static void
prepare_leaves(void)
{
    struct block *halves = &mine[3];
    prepare_two();
    sim_expect(buddies_take_more(HALF, 2, halves) == 2);
    buddies_trim(&halves[0], 0);
    buddies_trim(&halves[1], 0);
    mine[1] = halves[0];
    mine[2] = halves[1];
}

/* Of a word, all but the last two leaves are out for ever. */
static void
prepare_last_leaves(void)
{
    prepare_one();
    for (uint32_t order = HALF; order > 0; order--)
        (void)buddies_leave_out(order);
}

static void
borrow_leaf_twice(void)
{
    buddies_borrow(0);
    buddies_borrow(0);
}

static void
borrow_pair(void)
{
    buddies_borrow(1);
}

/* Up to three at once, of one word. */
static void
borrow_more(uint32_t order)
{
    struct block blocks[3];
    uint32_t count = buddies_take_more(order, 3, blocks);
    while (count > 0)
        buddies_give(&blocks[--count]);
}

static void
borrow_leaves(void)
{
    borrow_more(0);
}

static void
borrow_quarters(void)
{
    borrow_more(HALF - 1);
}

static void
borrow_halves(void)
{
    borrow_more(HALF);
}

/* The word goes through 0 and back to what it was, with another owner in
   between. */
static void
give_mine_and_take_it_again(void)
{
    struct block block;
    give_mine();
    if (!buddies_take(CELL, &block))
        return;
    buddies_trim(&block, HALF);
    buddies_give(&block);
}

static void
trim(uint32_t order, uint32_t kept)
{
    struct block block;
    if (!buddies_take(order, &block))
        return;
    buddies_trim(&block, kept);
    buddies_give(&block);
}

static void
trim_cell_to_leaf(void)
{
    trim(CELL, 0);
}

static void
trim_half_to_leaf(void)
{
    trim(HALF, 0);
}

/* ---- Three levels ------------------------------------------------------ */

static void
prepare_three_levels(void)
{
    buddies_prepare(TWO_WORDS_OF);
}

/* One cell of the top is free, of two. */
static void
prepare_one_of_top(void)
{
    prepare_three_levels();
    (void)buddies_leave_out(WORD);
}

/* Threads 1 and 2 have the halves of a cell; whose word misses it only. */
static void
prepare_halves_of_top(void)
{
    prepare_three_levels();
    sim_expect(buddies_take_more(HALF, 2, &mine[1]) == 2);
}

static void
borrow_many_cells(void)
{
    buddies_borrow(MANY_CELLS);
}

static void
trim_word_to_leaf(void)
{
    trim(WORD, 0);
}

/* ---- Twice ------------------------------------------------------------- */

/* Threads 1 and 2 both believe that a leaf is theirs. */
static unsigned given;
static struct block doubly;

static void
prepare_double(void)
{
    prepare_last_leaves();
    given = 0;
    sim_expect(buddies_take(0, &doubly));
    sim_expect(buddies_take(0, &mine[3]));
    buddies_disown(&doubly);
}

static void
give_doubly(void)
{
    given += wr_buddy_give(buddies, buddies_hint(), doubly.leaf, doubly.order);
}

static void
one_was_told(void)
{
    sim_expect(given == 1);
    buddies_expect_whole();
}

const struct sim_case buddy_cases[] = {
    {
        .name = "buddy",
        .claim = "a cell, cut and put together again and again",
        .before = prepare_one,
        .threads = { borrow_cell_then_leaf, borrow_half,
            borrow_half_then_cell },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_halves",
        .claim = "two halves that come home at once",
        .before = prepare_halves,
        .threads = { give_mine, give_mine, borrow_two_cells },
        .after = buddies_expect_whole,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "buddy_leaves",
        .claim = "two leaves, and somebody cuts what they complete",
        .before = prepare_leaves,
        .threads = { give_mine, give_mine, borrow_half_then_cell },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "buddy_merge",
        .claim = "a half that comes home while the cell is cut",
        .before = prepare_half,
        .threads = { give_mine, borrow_leaf, borrow_two_cells },
        .after = buddies_expect_whole,
        .preemptions = 3,
        .stales = 2,
    },
    {
        .name = "buddy_stale",
        .claim = "a word that is again what it was",
        .before = prepare_half,
        .threads = { give_mine_and_take_it_again, borrow_half, borrow_cell },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "buddy_last_leaves",
        .claim = "the last leaves of a word",
        .before = prepare_last_leaves,
        .threads = { borrow_leaf_twice, borrow_pair, borrow_leaves },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_batches",
        .claim = "several at once",
        .before = prepare_one,
        .threads = { borrow_leaves, borrow_halves, borrow_quarters },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_trim",
        .claim = "blocks of which the first leaf is kept",
        .before = prepare_one,
        .threads = { trim_cell_to_leaf, trim_half_to_leaf, borrow_quarter },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_double",
        .claim = "who gives what is free is told so",
        .before = prepare_double,
        .threads = { give_doubly, give_doubly, give_mine },
        .after = one_was_told,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "buddy_levels_up",
        .claim = "two halves that complete a cell of the third level",
        .before = prepare_halves_of_top,
        .threads = { give_mine, give_mine, borrow_many_cells },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "buddy_levels_down",
        .claim = "a cell of the third level, cut to leaves or trimmed to one",
        .before = prepare_one_of_top,
        .threads = { trim_word_to_leaf, borrow_leaf, borrow_cell },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    { 0 },
};
