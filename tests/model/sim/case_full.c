/* SPDX-License-Identifier: MIT */
/*
 * full: WEIR_FULL is exact. Edge [sleep]; "Full is exact" in arena/rare.c.
 *
 *     word 0  [x x x ... x .]      one slot free in each of two words; the others
 *     word 1  [x x x ... x .]      are out for ever
 *
 * Who has one of two tokens and asks for a block must get one. A token goes back
 * behind its block, with an order and nothing more. The hole that moves from one
 * word to the other behind the search is what WR_SEARCHING is for. Blocks pass
 * through the threads' caches here, as long as these are on; case_cache.c has
 * what is only about them.
 */

#include "cases.h"
#include "world.h"

static struct weir_arena *arena;
static struct sim_tokens tokens;
static struct weir_buf held;

static void
prepare(void)
{
    arena = world_create(WR_WORD_BITS + 2, 0);
    world_leave(arena, 1, 1);
    tokens = (struct sim_tokens){ .strong = true, .count = 2 };
    held = (struct weir_buf){ 0 };
}

/* One block is out already, and its token too. */
static void
prepare_held(void)
{
    prepare();
    held = world_alloc(arena);
    tokens.count = 1;
}

/* And the words of the arena are more than those of a line. */
static void
prepare_line(void)
{
    arena = world_create(10 * WR_WORD_BITS, 0);
    world_leave(arena, 1, 1);
    tokens = (struct sim_tokens){ .strong = true, .count = 1 };
    held = world_alloc(arena);
}

/* And the lines that are searched are those with marks: two, with a slot each. */
static void
prepare_marks(void)
{
    enum { SLOTS = 4096, WORD = 8 };
    arena = world_create(SLOTS, 0);
    struct wr_bitmap *map = &arena->fixed.map;
    world_leave(arena, 1, 0);
    atomic_init(&map->words[WORD], 1);
    atomic_init(&arena->counts[WORD * WR_WORD_BITS], 0);
    atomic_init(&map->marks[0], 3);
    sim_name(&map->words[WORD], "word 8");
    sim_name(&map->marks[0], "marks");
    tokens = (struct sim_tokens){ .strong = true, .count = 1 };
    held = world_alloc(arena);
}

/* Every thread has used another arena since. */
static struct weir_arena *other;

static void
prepare_rarely(void)
{
    prepare_held();
    other = world_create(1, 0);
}

static void
warm_rarely(void)
{
    sim_expect(wr_record_of(arena) != NULL);
    sim_expect(wr_record_of(other) != NULL);
}

static void
borrow(void)
{
    sim_tokens_take(&tokens);
    struct weir_buf buf = world_alloc(arena);
    world_drop(&buf);
    sim_tokens_put(&tokens);
}

static void
borrow_twice(void)
{
    borrow();
    borrow();
}

static void
give_held(void)
{
    world_drop(&held);
    sim_tokens_put(&tokens);
}

/* It has the second word in its hint, from a block it gave back there. */
static void
borrow_from_behind(void)
{
    sim_tokens_take(&tokens);
    struct wr_record *record = wr_record_of(arena);
    sim_expect(record != NULL);
    record->hint.word = 1;
    struct weir_buf buf = world_alloc(arena);
    world_drop(&buf);
    sim_tokens_put(&tokens);
}

/* Somebody without a token, who may be told that the arena is full. As long as
   it asks, or has got a block, nobody can count on one. */
static bool excess;
static struct weir_buf got;

static void
prepare_excess(void)
{
    prepare_held();
    excess = false;
    got = (struct weir_buf){ 0 };
}

static void
prepare_excess_marks(void)
{
    prepare_marks();
    excess = false;
    got = (struct weir_buf){ 0 };
}

static void
ask(void)
{
    excess = true;
    excess = world_try(arena, &got);
}

static void
borrow_unless_excess(void)
{
    struct weir_buf buf = { 0 };
    sim_tokens_take(&tokens);
    bool taken = world_try(arena, &buf);
    sim_expect(taken || excess);
    if (taken)
        world_drop(&buf);
    sim_tokens_put(&tokens);
}

static void
keep_and_borrow(void)
{
    struct weir_buf buf = { 0 };
    sim_tokens_take(&tokens);
    bool taken = world_try(arena, &buf);
    sim_expect(taken || excess);
    borrow_unless_excess();
    if (taken)
        world_drop(&buf);
    sim_tokens_put(&tokens);
}

static void
all_but_excess_is_home(void)
{
    sim_expect(tokens.count == 2);
    sim_expect(world_free_count(arena) == (excess ? 1 : 2));
    world_expect_caches(arena);
}

static void
all_is_home(void)
{
    sim_expect(world_free_count(arena) == 2);
    world_expect_caches(arena);
    sim_expect(tokens.count == 2);
}

/* The exact search alone, which alloc begins only behind a search of its own. */
static void
borrow_exactly(void)
{
    struct weir_buf buf;
    sim_tokens_take(&tokens);
    wr_mutex_lock(&arena->mutex);
    bool taken = wr_arena_take_locked(arena, 0, &buf);
    wr_mutex_unlock(&arena->mutex);
    sim_expect(taken);
    world_drop(&buf);
    sim_tokens_put(&tokens);
}

/* Without tokens: no block comes back, so both blocks must be found. */
static unsigned found;

static void
prepare_race(void)
{
    prepare();
    found = 0;
}

static void
take_all(void)
{
    struct weir_buf buf;
    while (world_try(arena, &buf))
        found++;
}

static void
both_were_found(void)
{
    sim_expect(found == 2);
}

const struct sim_case full_cases[] = {
    {
        .name = "full",
        .claim = "who has a token never finds the arena full",
        .before = prepare,
        .warm = world_warm,
        .threads = { borrow, borrow, borrow_from_behind },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "full_moving",
        .claim = "nor while the hole moves behind the search",
        .before = prepare_held,
        .warm = world_warm,
        .threads = { give_held, borrow_from_behind, borrow },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "full_dry",
        .claim = "nor when somebody else was told so, rightly",
        .before = prepare_excess,
        .warm = world_warm,
        .threads = { keep_and_borrow, give_held, ask },
        .after = all_but_excess_is_home,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "full_dry_marks",
        .claim = "nor then where lines were forgotten",
        .before = prepare_excess_marks,
        .warm = world_warm,
        .threads = { keep_and_borrow, give_held, ask },
        .after = all_but_excess_is_home,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "full_exact",
        .claim = "nor may the exact search miss it",
        .before = prepare_held,
        .warm = world_warm,
        .threads = { give_held, borrow_from_behind, borrow_exactly },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "full_exact_line",
        .claim = "nor where it passes over a line at once",
        .before = prepare_line,
        .warm = world_warm,
        .threads = { give_held, borrow_from_behind, borrow_exactly },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "full_exact_marks",
        .claim = "nor where it forgets lines",
        .before = prepare_marks,
        .warm = world_warm,
        .threads = { give_held, borrow, borrow_exactly },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "full_exact_rarely",
        .claim = "nor where releases take the long way",
        .before = prepare_rarely,
        .warm = warm_rarely,
        .threads = { give_held, borrow_from_behind, borrow_exactly },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "full_twice",
        .claim = "nor when blocks come and go",
        .before = prepare,
        .warm = world_warm,
        .threads = { borrow_twice, borrow_twice, borrow_from_behind },
        .after = all_is_home,
        .preemptions = 1,
        .stales = 3,
    },
    {
        .name = "full_race",
        .claim = "all who ask get all there is",
        .before = prepare_race,
        .warm = world_warm,
        .threads = { take_all, take_all, take_all },
        .after = both_were_found,
        .preemptions = 2,
        .stales = 3,
    },
    { 0 },
};
