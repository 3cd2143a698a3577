/* SPDX-License-Identifier: MIT */
/*
 * cache: caches hide nothing, and lose nothing. arena/caches.c and
 * core/cache_gate.c.
 *
 *     word 0  [x x x ... . .]      two or three blocks are free, in bitmap or
 *     word 1  [x x x ... x .]      caches; the others are out for ever
 *
 * As in case_full.c, who has a token and asks for a block must get one: whatever
 * the caches of others hold, while they hit, push a batch below, refill, spill,
 * flush, end, or are turned on again, which here is after one block taken past
 * them. Waiting and the end of an arena with caches on: case_waiter.c and
 * case_end.c.
 */

#include "cases.h"
#include "world.h"

#include "arena/caches.h"

static struct weir_arena *arena;
static struct sim_tokens tokens;
static struct weir_buf held[2]; /* by thread 1 */
static uint32_t all;            /* blocks that are free when nobody has any */

static void
prepare_free(uint32_t blocks, uint64_t first, uint64_t second)
{
    bool is_large = blocks > 2 * WR_WORD_BITS;
    arena = world_create(blocks, is_large ? WEIR_NO_CACHE : 0);
    arena->drought_length = 1;
    world_leave(arena, first, second);
    all = wr_count_bits(first) + wr_count_bits(second);
    tokens = (struct sim_tokens){ .strong = true, .count = all };
    held[0] = (struct weir_buf){ 0 };
    held[1] = (struct weir_buf){ 0 };
}

/* Two in one word: a refill takes them both. */
static void
prepare_two(void)
{
    prepare_free(WR_WORD_BITS + 2, 3, 0);
}

/* One in each of two words. */
static void
prepare_words(void)
{
    prepare_free(WR_WORD_BITS + 2, 1, 1);
}

static void
prepare_three(void)
{
    prepare_free(WR_WORD_BITS + 2, 3, 1);
}

static void
prepare_open(void)
{
    prepare_two();
    tokens.count = 0; /* the arena is closed, so nobody can count on a block */
}

/* The block is held, by no thread that has a record yet. */
static enum weir_status waited;

static void
prepare_waiting(void)
{
    prepare_free(WR_WORD_BITS + 2, 1, 0);
    world_prepare_queue();
    held[0] = world_alloc(arena);
    waited = WEIR_INVALID;
}

/* The same without caches, and with more words than a line has. */
static void
prepare_waiting_large(void)
{
    prepare_free(10 * WR_WORD_BITS, 1, 0);
    world_prepare_queue();
    held[0] = world_alloc(arena);
    waited = WEIR_INVALID;
}

/* ---- Warming up -------------------------------------------------------- */

static void
take_and_drop(void)
{
    struct weir_buf buf = world_alloc(arena);
    world_drop(&buf);
}

/* Thread 1 has both blocks at hand, in one batch. */
static void
warm_hoard(void)
{
    world_warm();
    if (sim_self() == 1)
        take_and_drop();
}

/* Thread 1 has them at hand, in two batches. */
static void
warm_hoard_words(void)
{
    world_warm();
    if (sim_self() != 1)
        return;
    struct weir_buf first = world_alloc(arena);
    struct weir_buf second = world_alloc(arena);
    world_drop(&first);
    world_drop(&second);
    sim_expect(world_cache(arena)->depth == 1);
}

/* Thread 1 holds two blocks, and has their tokens. */
static void
warm_held(void)
{
    world_warm();
    if (sim_self() != 1)
        return;
    held[0] = world_alloc(arena);
    held[1] = world_alloc(arena);
    tokens.count -= 2;
}

/* Thread 1 holds a block, and has two of another word at hand, for which there is
   no room below. */
static void
prepare_spill(void)
{
    prepare_free(WR_WORD_BITS + 2, 1, 3);
}

static void
warm_spill(void)
{
    world_warm();
    if (sim_self() != 1)
        return;
    world_cache(arena)->below_max = 0;
    held[0] = world_alloc(arena);
    tokens.count--;
    take_and_drop();
    sim_expect(wr_cache_word(world_cache(arena)) == 1);
}

/* ---- What they do ------------------------------------------------------ */

static void
borrow(void)
{
    sim_tokens_take(&tokens);
    take_and_drop();
    sim_tokens_put(&tokens);
}

static void
borrow_twice(void)
{
    borrow();
    borrow();
}

/* With one token, so that it takes what it just gave. */
static void
borrow_and_hit(void)
{
    sim_tokens_take(&tokens);
    take_and_drop();
    take_and_drop();
    sim_tokens_put(&tokens);
}

static void
borrow_two(void)
{
    sim_tokens_take(&tokens);
    struct weir_buf first = world_alloc(arena);
    sim_tokens_take(&tokens);
    struct weir_buf second = world_alloc(arena);
    world_drop(&first);
    sim_tokens_put(&tokens);
    world_drop(&second);
    sim_tokens_put(&tokens);
}

static void
give_one(void)
{
    world_drop(&held[0]);
    sim_tokens_put(&tokens);
}

static void
give_held(void)
{
    give_one();
    world_drop(&held[1]);
    sim_tokens_put(&tokens);
}

static void
borrow_and_flush(void)
{
    borrow();
    weir_thread_flush();
    borrow();
}

/* Its cache is gone, and it goes on without. */
static void
borrow_and_outlive(void)
{
    borrow();
    sim_thread_exit();
    borrow();
}

/* Keeps what it gets, and its token. */
static void
keep_one(void)
{
    sim_tokens_take(&tokens);
    (void)world_alloc(arena);
    all--;
}

static void
keep_all(void)
{
    while (all > 0)
        keep_one();
}

/* A block that thread 1 has at hand is swept, goes out to thread 3, and comes
   back to thread 1. */
static struct sim_tokens gifts;
static struct weir_buf gift;

static void
prepare_gift(void)
{
    prepare_free(WR_WORD_BITS + 2, 1, 0);
    gifts = (struct sim_tokens){ .strong = true };
    gift = (struct weir_buf){ 0 };
}

static void
drop_gift(void)
{
    sim_tokens_take(&gifts);
    world_drop(&gift);
}

static void
make_gift(void)
{
    (void)world_try(arena, &gift);
    sim_tokens_put(&gifts);
}

static void
try(void)
{
    struct weir_buf buf;
    if (world_try(arena, &buf))
        world_drop(&buf);
}

static void
try_twice(void)
{
    try();
    try();
}

static void
close(void)
{
    weir_arena_close(arena);
    wr_mutex_lock(&arena->mutex);
    sim_expect(arena->caches_on == 0);
    wr_mutex_unlock(&arena->mutex);
}

static void
wait(void)
{
    waited = world_wait(arena, 0);
}

static void
give_first(void)
{
    world_drop(&held[0]);
}

static void
barge(void)
{
    struct weir_buf buf;
    if (weir_arena_alloc_barge(arena, 0, &buf) == WEIR_OK)
        world_drop(&buf);
}

/* ---- The end ----------------------------------------------------------- */

static void
all_is_home(void)
{
    world_expect_caches(arena);
    sim_expect(world_free_count(arena) == all);
}

static void
all_is_home_and_known(void)
{
    all_is_home();
    sim_expect(tokens.count == all);
}

/* At once, not with their threads. */
static void
all_is_in_the_bitmap(void)
{
    all_is_home();
    sim_expect(arena->caches_on == 0);
    sim_expect(wr_bitmap_free_count(&arena->fixed.map) == all);
}

static void
it_was_served(void)
{
    world_expect_served(arena);
    if (waited == WEIR_PENDING)
        sim_expect(weir_bell_drain(&world_queue->bell, 0) == 1);
    world_drop(&world_queue->waiters[0].buf);
    all_is_home();
}

const struct sim_case cache_cases[] = {
    {
        .name = "cache",
        .claim = "one hits, others ask for what it has at hand",
        .before = prepare_two,
        .warm = warm_hoard,
        .threads = { borrow_and_hit, borrow, borrow },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "cache_two",
        .claim = "one hits, another one asks for both",
        .before = prepare_two,
        .warm = warm_hoard,
        .threads = { borrow_twice, borrow_two },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "cache_words",
        .claim = "who hits has another batch below",
        .before = prepare_words,
        .warm = warm_hoard_words,
        .threads = { borrow_two, borrow },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "cache_give",
        .claim = "one gives blocks of two words, others ask for them",
        .before = prepare_words,
        .warm = warm_held,
        .threads = { give_held, borrow, borrow },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "cache_spill",
        .claim = "and has no room for what was on top",
        .before = prepare_spill,
        .warm = warm_spill,
        .threads = { give_one, keep_all },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "cache_back",
        .claim = "a block comes back to the cache that it was swept from",
        .before = prepare_gift,
        .warm = warm_hoard,
        .threads = { drop_gift, try, make_gift },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "cache_again",
        .claim = "caches go on and off",
        .before = prepare_three,
        .warm = world_warm,
        .threads = { borrow_twice, borrow_twice, keep_one },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "cache_flush",
        .claim = "one flushes its cache",
        .before = prepare_two,
        .warm = warm_hoard,
        .threads = { borrow_and_flush, borrow_two },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "cache_exit",
        .claim = "one ends, and other destructors go on",
        .before = prepare_two,
        .warm = warm_hoard,
        .threads = { borrow_and_outlive, borrow_two },
        .after = all_is_home_and_known,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "cache_wait",
        .claim = "threads come, or barge, while somebody waits",
        .before = prepare_waiting,
        .threads = { wait, give_first, barge },
        .after = it_was_served,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "cache_none",
        .claim = "a wait in a large arena without caches",
        .before = prepare_waiting_large,
        .warm = world_warm,
        .threads = { wait, give_first },
        .after = it_was_served,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "cache_close",
        .claim = "caches of a closed arena come home at once",
        .before = prepare_open,
        .warm = warm_hoard,
        .threads = { try_twice, try_twice, close },
        .after = all_is_in_the_bitmap,
        .preemptions = 2,
        .stales = 1,
    },
    { 0 },
};
