/* SPDX-License-Identifier: MIT */
/*
 * buddy_full: what an arena may build on a buddy: that "full" is exact, and that
 * the books may go behind the last block. Edges [sleep] and [home]; the flags are
 * those of arena/rare.c and arena/arena.c, in one word here.
 *
 *     word 1.0  [. . x]        a block may move from one word to another behind
 *     word 0.0  [.... xxxx]    the search, or up, or down, and be nowhere for a
 *     word 0.1  [xxxx ....]    while
 *
 * Who says full has set SEARCHING, looked into every word, and exchanged SEARCHING
 * for DRY. Who gives a block, and who takes one from a level above its own and so
 * leaves the rest of a cell free, looks at the flags behind its last step and
 * clears the two. So when the exchange succeeds nothing is free of what was looked
 * for, unless a call is in progress that has something to give. Whether there is
 * something, and whether a call is in progress, the case sees with no access of the
 * model: these are facts of the schedule.
 */

#include "base/atomic.h"
#include "buddies.h"
#include "cases.h"
#include "platform/thread.h"

enum { HALF = 5, CELL = 6, TWO_CELLS_OF = 128, TWO_WORDS_OF = 8192 };
enum { SEARCHING = 1, DRY = 2, DESTROYED = 4 };

static _Atomic uint32_t state;
static struct wr_mutex mutex;
static unsigned in_progress;     /* calls that may have something to give */
static bool looks_behind_take;   /* else what is claimed is not true */
static struct sim_tokens tokens; /* who has one must get a block */
static struct block mine[SIM_WORKERS_MAX + 1]; /* what a thread has at first */

static void
prepare(uint32_t leaf_count)
{
    buddies_prepare(leaf_count);
    atomic_init(&state, 0);
    sim_name(&state, "state");
    wr_mutex_init(&mutex);
    in_progress = 0;
    looks_behind_take = true;
    tokens = (struct sim_tokens){ .strong = true };
}

/* ---- Full -------------------------------------------------------------- */

static void
look_around(void)
{
    if ((wr_load_seq(&state) & (SEARCHING | DRY)) != 0)
        (void)wr_and_relaxed(&state, ~(uint32_t)(SEARCHING | DRY));
}

/* A call is over, and others may run before the next one begins. */
static void
end_call(void)
{
    in_progress--;
    (void)wr_load_relaxed(&state);
}

static void
give(const struct block *block)
{
    in_progress++;
    buddies_give(block);
    look_around();
    end_call();
}

/* A taker of less than a cell may have published the rest of one. */
static void
look_behind_take(uint32_t order)
{
    if (looks_behind_take && order < buddies->top * CELL)
        look_around();
}

static bool
turn_dry(uint32_t order)
{
    uint32_t seen = SEARCHING;
    do {
        if ((seen & SEARCHING) == 0)
            return false;
    } while (
        !wr_cas_relaxed(&state, &seen, (seen & ~(uint32_t)SEARCHING) | DRY));
    sim_expect(in_progress > 0 || !buddies_have(order));
    return true;
}

static bool
take_exact(struct block *block)
{
    uint32_t order = block->order;
    if ((wr_load_relaxed(&state) & DRY) != 0)
        return false;
    do {
        (void)wr_or_seq(&state, SEARCHING);
        if (wr_buddy_take_exact(buddies, buddies_hint(), order, &block->leaf)) {
            in_progress++;
            (void)wr_and_relaxed(&state, ~(uint32_t)SEARCHING);
            buddies_own(block);
            look_behind_take(order);
            end_call();
            return true;
        }
    } while (!turn_dry(order));
    return false;
}

/* False: it is full. */
static bool
take_slowly(uint32_t order, struct block *block)
{
    block->order = order;
    wr_mutex_lock(&mutex);
    bool taken = take_exact(block);
    wr_mutex_unlock(&mutex);
    return taken;
}

static bool
take_near(uint32_t order, struct block *block)
{
    in_progress++;
    bool taken = buddies_take(order, block);
    if (taken)
        look_behind_take(order);
    end_call();
    return taken;
}

static bool
take(uint32_t order, struct block *block)
{
    return take_near(order, block) || take_slowly(order, block);
}

/* Who does not mind whether there is one. */
static void
ask(uint32_t order)
{
    struct block block;
    if (take(order, &block))
        give(&block);
}

static void
ask_exactly(uint32_t order)
{
    struct block block;
    if (take_slowly(order, &block))
        give(&block);
}

static void
give_mine(void)
{
    give(&mine[sim_self()]);
}

static void
trim_mine(void)
{
    in_progress++;
    buddies_trim(&mine[sim_self()], 0);
    look_around();
    end_call();
    give_mine();
}

static void
ask_leaf(void)
{
    ask(0);
}

/* It does not look into all of the many words. */
static void
borrow_leaf(void)
{
    struct block block;
    if (take_near(0, &block))
        give(&block);
}

static void
ask_quarter_exactly(void)
{
    ask_exactly(HALF - 1);
}

static void
ask_half_exactly(void)
{
    ask_exactly(HALF);
}

static void
ask_cell_exactly(void)
{
    ask_exactly(CELL);
}

/* Thread 1 has the only half that is not out for ever. */
static void
prepare_mine(void)
{
    prepare(TWO_CELLS_OF);
    (void)buddies_leave_out(CELL);
    (void)buddies_leave_out(HALF);
    sim_expect(buddies_take(HALF, &mine[1]));
}

/* Threads 1 and 2 have the halves of the last cell. */
static void
prepare_halves(void)
{
    prepare(TWO_CELLS_OF);
    (void)buddies_leave_out(CELL);
    sim_expect(buddies_take_more(HALF, 2, &mine[1]) == 2);
}

/* A cell is free, the other is out. */
static void
prepare_cell(void)
{
    prepare(TWO_CELLS_OF);
    (void)buddies_leave_out(CELL);
}

/* And the same a level up. */
static void
prepare_word(void)
{
    prepare(TWO_WORDS_OF);
    (void)buddies_leave_out(2 * CELL);
}

static void
prepare_silent(void)
{
    prepare_cell();
    looks_behind_take = false;
}

/* Half a cell is free in each of two words, and there is a token for each; thread 1
   has one of them. */
static void
prepare_tokens(void)
{
    prepare(TWO_CELLS_OF + WR_WORD_BITS);
    (void)buddies_leave_out(CELL);
    (void)buddies_leave_out(HALF);
    sim_expect(buddies_take(HALF, &mine[1]));
    (void)buddies_leave_out(HALF);
    tokens.count = 1;
}

static void
give_mine_and_token(void)
{
    give_mine();
    sim_tokens_put(&tokens);
}

static void
borrow_half(void)
{
    struct block block;
    sim_tokens_take(&tokens);
    sim_expect(take(HALF, &block));
    give(&block);
    sim_tokens_put(&tokens);
}

static void
borrow_half_exactly(void)
{
    struct block block;
    sim_tokens_take(&tokens);
    sim_expect(take_slowly(HALF, &block));
    give(&block);
    sim_tokens_put(&tokens);
}

/* Somebody without a token, who may be told that it is full. As long as it asks,
   or has got a block, nobody can count on one. */
static bool excess;
static struct block got;

static void
prepare_excess(void)
{
    prepare_tokens();
    excess = false;
}

static void
ask_and_keep(void)
{
    excess = true;
    excess = take(HALF, &got);
}

static void
borrow_half_unless_excess(void)
{
    struct block block;
    sim_tokens_take(&tokens);
    bool taken = take(HALF, &block);
    sim_expect(taken || excess);
    if (taken)
        give(&block);
    sim_tokens_put(&tokens);
}

static void
borrow_both_unless_excess(void)
{
    struct block block;
    sim_tokens_take(&tokens);
    bool taken = take(HALF, &block);
    sim_expect(taken || excess);
    borrow_half_unless_excess();
    if (taken)
        give(&block);
    sim_tokens_put(&tokens);
}

static void
all_but_excess_is_whole(void)
{
    if (excess)
        buddies_give(&got);
    buddies_expect_whole();
}

/* ---- The end ----------------------------------------------------------- */

static unsigned buried;

static void
prepare_end(uint32_t leaf_count)
{
    prepare(leaf_count);
    buddies_watch();
    buried = 0;
}

static void
bury(void)
{
    wr_mutex_lock(&mutex);
    if (buried == 0 && wr_buddy_is_whole(buddies)) {
        wr_buddy_fini(buddies);
        sim_memory_give(buddies_meta);
        buried++;
    }
    wr_mutex_unlock(&mutex);
}

static void
give_and_leave(const struct block *block)
{
    buddies_give(block);
    if ((wr_load_seq(&state) & DESTROYED) != 0)
        bury();
}

static void
give_mine_and_leave(void)
{
    give_and_leave(&mine[sim_self()]);
}

static void
trim_and_leave(void)
{
    struct block *block = &mine[sim_self()];
    buddies_trim(block, 0);
    give_and_leave(block);
}

static void
destroy(void)
{
    (void)wr_or_seq(&state, DESTROYED);
    bury();
}

static void
it_is_gone(void)
{
    sim_expect(buried == 1);
}

static void
prepare_last_halves(void)
{
    prepare_end(TWO_CELLS_OF);
    sim_expect(buddies_take_more(HALF, 2, &mine[1]) == 2);
}

static void
prepare_last_halves_of_top(void)
{
    prepare_end(TWO_WORDS_OF);
    sim_expect(buddies_take_more(HALF, 2, &mine[1]) == 2);
}

/* Behind the cells there are two leaves; one is out, and a half. */
static void
prepare_last_half_and_leaf(void)
{
    prepare_end(TWO_CELLS_OF + 2);
    sim_expect(buddies_take(0, &mine[2]) && mine[2].leaf >= TWO_CELLS_OF);
    sim_expect(buddies_take(HALF, &mine[1]));
}

const struct sim_case buddy_full_cases[] = {
    {
        .name = "buddy_full",
        .claim = "who has a token finds a half, wherever the hole moves",
        .before = prepare_tokens,
        .threads = { give_mine_and_token, borrow_half, borrow_half_exactly },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "buddy_full_dry",
        .claim = "also when somebody else was told that there is none",
        .before = prepare_excess,
        .threads = { give_mine_and_token, borrow_both_unless_excess,
            ask_and_keep },
        .after = all_but_excess_is_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_full_up",
        .claim = "nor is it full when halves become a cell",
        .before = prepare_halves,
        .threads = { give_mine, give_mine, ask_cell_exactly },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "buddy_full_down",
        .claim = "nor when a cell is cut",
        .before = prepare_cell,
        .threads = { ask_leaf, ask_half_exactly, ask_leaf },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_full_trim",
        .claim = "nor when a half is trimmed",
        .before = prepare_mine,
        .threads = { trim_mine, ask_quarter_exactly, ask_quarter_exactly },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "buddy_full_levels",
        .claim = "nor when a word of cells is",
        .before = prepare_word,
        .threads = { borrow_leaf, ask_cell_exactly, ask_cell_exactly },
        .after = buddies_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "buddy_full_silent",
        .claim = "it is when who cuts a cell does not look",
        .before = prepare_silent,
        .threads = { ask_leaf, ask_half_exactly },
        .verdict = SIM_FAILS,
        .why = "in_progress > 0",
        .preemptions = 2,
        .stales = 0,
    },
    {
        .name = "buddy_end",
        .claim = "two last halves against destroy",
        .before = prepare_last_halves,
        .threads = { give_mine_and_leave, give_mine_and_leave, destroy },
        .after = it_is_gone,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "buddy_end_rest",
        .claim = "and a leaf of a word that completes nothing",
        .before = prepare_last_half_and_leaf,
        .threads = { trim_and_leave, give_mine_and_leave, destroy },
        .after = it_is_gone,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "buddy_end_levels",
        .claim = "two halves that complete a cell of the third level",
        .before = prepare_last_halves_of_top,
        .threads = { give_mine_and_leave, give_mine_and_leave, destroy },
        .after = it_is_gone,
        .preemptions = 2,
        .stales = 3,
    },
    { 0 },
};
