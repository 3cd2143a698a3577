/* SPDX-License-Identifier: MIT */
/*
 * buddy_arena: a buddy behind an arena's doors: shelves hide nothing and lose
 * nothing, and WEIR_FULL is exact for each order. arena/shelves.c, core/shelf.c;
 * "Full is exact" in arena/rare.c.
 *
 *     word 0.0  [x . . . x x ... x]    three leaves are free, or seven: in the
 *                                      word or on shelves; the others are out
 *
 * Of three leaves one is alone, and who takes one leaf at a time takes that one, from
 * its shelf or past it. So a pair can always be had, even while its halves are on the
 * shelf of who takes leaves; likewise a block of four, of seven leaves.
 */

#include "cases.h"
#include "leaves.h"

enum { RANDOM = 5000 };

static struct sim_tokens tokens;
static struct weir_buf held[3]; /* by thread 1 */

static void
prepare_leaves(uint64_t leaves)
{
    leaves_prepare(LEAVES_OF_CELL, 0);
    leaves_leave(leaves, 0);
    tokens = (struct sim_tokens){ .strong = true };
}

/* Three leaves are free. */
static void
prepare(void)
{
    prepare_leaves(0xe);
}

/* Seven. */
static void
prepare_seven(void)
{
    prepare_leaves(0xfe);
}

/* Shelves are turned on again behind each block that goes past them. */
static void
prepare_again(void)
{
    prepare();
    leaves_arena->drought_length = 1;
}

/* Threads 1 and 2 have a slice each of a leaf; that of thread 1 says it is whole. */
static struct weir_slice shared[2];

static void
prepare_shared(void)
{
    prepare();
    struct weir_buf buf = leaves_alloc(LEAF);
    weir_buf_commit(&buf, 1);
    weir_buf_freeze(&buf, &shared[0]);
    weir_slice_clone_shared(&shared[0], &shared[1]);
}

/* ---- Warming up -------------------------------------------------------- */

static void
warm(void)
{
    leaves_shelves(2, 4);
}

/* Thread 1 has two leaves at hand. */
static void
warm_hoard(void)
{
    warm();
    if (sim_self() == 1)
        leaves_borrow(LEAF);
}

/* Two pairs and two leaves. */
static void
warm_hoard_orders(void)
{
    warm();
    if (sim_self() != 1)
        return;
    leaves_borrow(PAIR);
    leaves_borrow(LEAF);
}

/* It holds two leaves; nothing is at hand. */
static void
warm_held(void)
{
    warm();
    if (sim_self() != 1)
        return;
    held[0] = leaves_alloc(LEAF);
    held[1] = leaves_alloc(LEAF);
}

/* It holds one, and the two others fill its shelf. */
static void
warm_full_shelf(void)
{
    leaves_shelves(2, 2);
    if (sim_self() != 1)
        return;
    for (unsigned i = 0; i < 3; i++)
        held[i] = leaves_alloc(LEAF);
    leaves_give(&held[1]);
    leaves_give(&held[2]);
}

/* ---- What they do ------------------------------------------------------ */

static void
borrow_leaf_twice(void)
{
    leaves_borrow(LEAF);
    leaves_borrow(LEAF);
}

static void
borrow_pair(void)
{
    leaves_borrow(PAIR);
}

static void
borrow_pair_twice(void)
{
    leaves_borrow(PAIR);
    leaves_borrow(PAIR);
}

static void
borrow_four(void)
{
    leaves_borrow(FOUR);
}

static void
borrow_leaf_and_pair(void)
{
    struct weir_buf leaf = leaves_alloc(LEAF);
    struct weir_buf pair = leaves_alloc(PAIR);
    leaves_give(&leaf);
    leaves_give(&pair);
}

/* There are never four, but everybody's shelves are swept; then there is a pair. */
static void
ask_and_borrow_pair(void)
{
    struct weir_buf buf;
    sim_expect(!leaves_take(FOUR, &buf));
    sim_tokens_take(&tokens);
    leaves_borrow(PAIR);
}

static void
give_one(void)
{
    leaves_give(&held[0]);
    sim_tokens_put(&tokens);
}

static void
give_two(void)
{
    leaves_give(&held[0]);
    leaves_give(&held[1]);
    sim_tokens_put(&tokens);
}

static void
release_first(void)
{
    weir_slice_release(&shared[0]);
}

static void
release_second(void)
{
    weir_slice_release(&shared[1]);
}

static void
borrow_and_give_two(void)
{
    leaves_borrow(LEAF);
    give_two();
}

static void
borrow_and_flush(void)
{
    leaves_borrow(LEAF);
    weir_thread_flush();
    leaves_borrow(LEAF);
}

static void
borrow_and_outlive(void)
{
    leaves_borrow(LEAF);
    sim_thread_exit();
    leaves_borrow(LEAF);
}

static void
flush_and_end(void)
{
    weir_thread_flush();
    leaves_try(LEAF);
    sim_thread_exit();
}

/* ---- Full -------------------------------------------------------------- */

/* One cell is out, the other whole; no shelves. */
static void
prepare_cell(void)
{
    leaves_prepare(LEAVES_OF_TWO_CELLS, WEIR_NO_CACHE);
    leaves_leave(0, 2);
    leaves_mark();
}

static void
prepare_marked(void)
{
    prepare();
    leaves_mark();
}

static void
prepare_marked_again(void)
{
    prepare_again();
    leaves_mark();
}

static void
warm_record(void)
{
    sim_expect(wr_record_of(leaves_arena) != NULL);
}

/* Thread 1 has the cell. */
static void
warm_held_cell(void)
{
    warm_record();
    if (sim_self() == 1)
        held[0] = leaves_alloc(CELL);
}

/* Threads 1 and 2 have the halves. */
static void
warm_held_halves(void)
{
    warm_record();
    if (sim_self() <= 2)
        held[sim_self() - 1] = leaves_alloc(HALF);
}

/* Thread 1 has both. */
static void
warm_held_both(void)
{
    warm_record();
    if (sim_self() != 1)
        return;
    held[0] = leaves_alloc(HALF);
    held[1] = leaves_alloc(HALF);
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
trim_and_release(void)
{
    struct weir_slice slice = leaves_trim(&held[0]);
    leaves_try(HALF);
    leaves_release(&slice);
}

static void
try_pair_twice(void)
{
    leaves_try(PAIR);
    leaves_try(PAIR);
}

static void
try_half_twice(void)
{
    leaves_try(HALF);
    leaves_try(HALF);
}

static void
try_cell_twice(void)
{
    leaves_try(CELL);
    leaves_try(CELL);
}

/* It knows that there is no cell, and then whether there is less. */
static void
try_cell_and_less(void)
{
    leaves_try(CELL);
    leaves_try(HALF);
    leaves_try(LEAF);
}

static void
try_leaf_then_half(void)
{
    struct weir_buf leaf;
    bool has_leaf = leaves_take(LEAF, &leaf);
    leaves_try(HALF);
    if (has_leaf)
        leaves_give(&leaf);
}

const struct sim_case buddy_arena_cases[] = {
    {
        .name = "shelves_take",
        .claim = "one hits, another one asks for what it has at hand",
        .before = prepare,
        .warm = warm_hoard,
        .threads = { borrow_leaf_twice, borrow_pair },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "shelves_give",
        .claim = "one gives two, and another one asks for them",
        .before = prepare,
        .warm = warm_held,
        .threads = { give_two, ask_and_borrow_pair },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "shelves_refill",
        .claim = "a refill against a sweep",
        .before = prepare,
        .warm = warm,
        .threads = { borrow_leaf_twice, borrow_pair },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "shelves_spill",
        .claim = "a release to a full shelf against a sweep",
        .before = prepare,
        .warm = warm_full_shelf,
        .threads = { give_one, ask_and_borrow_pair },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "shelves_orders",
        .claim = "leaves and pairs at hand, and somebody asks for four",
        .before = prepare_seven,
        .warm = warm_hoard_orders,
        .threads = { borrow_leaf_and_pair, borrow_four },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "shelves_shared",
        .claim = "a slice that believes it is the only one",
        .before = prepare_shared,
        .warm = warm,
        .threads = { release_first, release_second },
        .after = leaves_expect_whole,
        .preemptions = 3,
        .stales = 3,
        .random = RANDOM,
    },
    {
        .name = "shelves_again",
        .claim = "shelves go on and off",
        .before = prepare_again,
        .warm = warm,
        .threads = { borrow_leaf_twice, borrow_pair_twice },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 2,
        .random = RANDOM,
    },
    {
        .name = "shelves_flush",
        .claim = "one flushes its shelves",
        .before = prepare,
        .warm = warm_hoard,
        .threads = { borrow_and_flush, borrow_pair },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 3,
        .random = RANDOM,
    },
    {
        .name = "shelves_exit",
        .claim = "one ends, and other destructors go on",
        .before = prepare,
        .warm = warm_hoard,
        .threads = { borrow_and_outlive, borrow_pair },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 3,
        .random = RANDOM,
    },
    {
        .name = "dry_shelves",
        .claim = "who is told that there is no pair knows of all that returned",
        .before = prepare_marked,
        .warm = warm_hoard,
        .threads = { flush_and_end, try_pair_twice },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "dry_again",
        .claim = "and shelves do not go on before somebody has returned one",
        .before = prepare_marked_again,
        .warm = warm_held,
        .threads = { borrow_and_give_two, try_pair_twice },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "dry_order",
        .claim = "there is no cell, and small blocks go on",
        .before = prepare_cell,
        .warm = warm_held_both,
        .threads = { give_both, try_cell_and_less },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    {
        .name = "dry_merge",
        .claim = "there is one when its halves have come home",
        .before = prepare_cell,
        .warm = warm_held_halves,
        .threads = { give_first, give_second, try_cell_twice },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 0,
        .random = RANDOM,
    },
    {
        .name = "dry_cut",
        .claim = "there is a half when somebody has cut a cell",
        .before = prepare_cell,
        .warm = warm_record,
        .threads = { try_leaf_then_half, try_half_twice },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 0,
        .random = RANDOM,
    },
    {
        .name = "dry_trim",
        .claim = "or trimmed one",
        .before = prepare_cell,
        .warm = warm_held_cell,
        .threads = { trim_and_release, try_half_twice },
        .after = leaves_expect_whole,
        .preemptions = 2,
        .stales = 1,
        .random = RANDOM,
    },
    { 0 },
};
