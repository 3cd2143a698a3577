/* SPDX-License-Identifier: MIT */
/*
 * heap: threads keep blocks of a heap, and hide none. core/heap.c, heap_rare.c,
 * heap_record.c, shelf.c, cache_gate.c, central_pool.c.
 *
 *     page 0  [x x . .]      a page holds four blocks; two are out for ever, as a
 *     page 1  [x x x .]      rule, and those that are free are in spans or caches
 *
 * As in case_cache.c, who has a token and asks for a block must get one: whatever
 * the caches of others hold, of whatever class. Those without tokens keep nothing
 * in order between them but the heap: what one writes into a block must happen
 * before what the next one does there by its means alone.
 */

#include "cases.h"
#include "core/heap.h"
#include "pile.h"

static struct sim_tokens tokens;
static void *held[2]; /* by thread 1 */

static void
prepare(size_t pages, unsigned refill, bool deep)
{
    pile_create(pages, refill, deep);
    tokens = (struct sim_tokens){ .strong = true };
    held[0] = NULL;
    held[1] = NULL;
}

static void
prepare_page(void)
{
    prepare(1, PILE_PAGE_BLOCKS, true);
}

static void
prepare_pages(void)
{
    prepare(2, PILE_PAGE_BLOCKS, true);
}

/* A batch of one word stays on top, or leaves. */
static void
prepare_shallow(void)
{
    prepare(2, PILE_PAGE_BLOCKS, false);
}

/* ---- Warming up -------------------------------------------------------- */

static void
take_and_drop(void)
{
    pile_drop(pile_take(PILE_BLOCK));
}

/* Thread 1 has two blocks at hand; all others are out. */
static void
warm_hoard(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    (void)pile_take(PILE_BLOCK);
    (void)pile_take(PILE_BLOCK);
    take_and_drop();
    tokens.count = 2;
}

/* It has them at hand, in two batches. */
static void
warm_hoard_words(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    for (unsigned i = 0; i < PILE_PAGE_BLOCKS - 1; i++)
        (void)pile_take(PILE_BLOCK);
    held[0] = pile_take(PILE_BLOCK);
    for (unsigned i = 0; i < PILE_PAGE_BLOCKS - 1; i++)
        (void)pile_take(PILE_BLOCK);
    take_and_drop();
    pile_drop(held[0]);
    tokens.count = 2;
}

/* It holds two of one page; all others are out. */
static void
warm_held(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    (void)pile_take(PILE_BLOCK);
    (void)pile_take(PILE_BLOCK);
    held[0] = pile_take(PILE_BLOCK);
    held[1] = pile_take(PILE_BLOCK);
}

/* It holds one of either page. */
static void
warm_held_words(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    for (unsigned i = 0; i < PILE_PAGE_BLOCKS - 1; i++)
        (void)pile_take(PILE_BLOCK);
    held[0] = pile_take(PILE_BLOCK);
    held[1] = pile_take(PILE_BLOCK);
    for (unsigned i = 0; i < PILE_PAGE_BLOCKS - 1; i++)
        (void)pile_take(PILE_BLOCK);
}

/* It holds one of the first page, and has two of the second at hand. */
static void
warm_spill(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    for (unsigned i = 0; i < PILE_PAGE_BLOCKS - 1; i++)
        (void)pile_take(PILE_BLOCK);
    held[0] = pile_take(PILE_BLOCK);
    (void)pile_take(PILE_BLOCK);
    (void)pile_take(PILE_BLOCK);
    take_and_drop();
    tokens.count = 2;
}

/* The page is free. */
static void
warm_one(void)
{
    pile_warm();
    tokens.count = 1;
}

/* Thread 1 has all of it at hand. */
static void
warm_all(void)
{
    pile_warm();
    if (sim_self() == 1)
        take_and_drop();
}

/* It has all blocks of two pages at hand, of which the class keeps one. */
static void
warm_both(void)
{
    void *taken[2 * PILE_PAGE_BLOCKS];
    pile_warm();
    if (sim_self() != 1)
        return;
    for (unsigned i = 0; i < 2 * PILE_PAGE_BLOCKS; i++)
        taken[i] = pile_take(PILE_BLOCK);
    for (unsigned i = 0; i < 2 * PILE_PAGE_BLOCKS; i++)
        pile_drop(taken[i]);
}

/* ---- What they do ------------------------------------------------------ */

static void
borrow_of(size_t size)
{
    sim_tokens_take(&tokens);
    pile_drop(pile_take(size));
    sim_tokens_put(&tokens);
}

static void
borrow(void)
{
    borrow_of(PILE_BLOCK);
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
    void *first = pile_take(PILE_BLOCK);
    sim_tokens_take(&tokens);
    void *second = pile_take(PILE_BLOCK);
    pile_drop(first);
    sim_tokens_put(&tokens);
    pile_drop(second);
    sim_tokens_put(&tokens);
}

static void
borrow_wide(void)
{
    borrow_of(PILE_WIDE);
}

static void
borrow_page(void)
{
    borrow_of(PILE_PAGE);
}

static void
borrow_and_wide(void)
{
    borrow();
    borrow_wide();
}

static void
give_one(void)
{
    pile_drop(held[0]);
    sim_tokens_put(&tokens);
}

static void
give_held(void)
{
    give_one();
    pile_drop(held[1]);
    sim_tokens_put(&tokens);
}

static void
borrow_and_flush(void)
{
    borrow();
    weir_heap_flush(pile);
    borrow();
}

static void
flush(void)
{
    weir_heap_flush(pile);
}

/* Keeps what it gets, and its token. */
static void
keep_one(void)
{
    sim_tokens_take(&tokens);
    (void)pile_take(PILE_BLOCK);
}

static void
keep_three(void)
{
    keep_one();
    keep_one();
    keep_one();
}

static void
trim(void)
{
    weir_heap_trim(pile);
}

/* Without tokens. */
static void
try(void)
{
    void *memory = pile_try(PILE_BLOCK);
    if (memory != NULL)
        pile_drop(memory);
}

static void
try_twice(void)
{
    try();
    try();
}

static void
try_wide(void)
{
    void *memory = pile_try(PILE_WIDE);
    if (memory != NULL)
        pile_drop(memory);
}

static void
try_two(void)
{
    (void)pile_try(PILE_BLOCK);
    (void)pile_try(PILE_BLOCK);
}

static void
drop_held(void)
{
    pile_drop(held[0]);
    pile_drop(held[1]);
}

static void
trim_and_try(void)
{
    trim();
    (void)pile_try(PILE_BLOCK);
}

/* A sweep, and the central pool, with nothing of the heap above them. */
static void
sweep_and_draw(void)
{
    void *block;
    wr_mutex_lock(&pile->lock);
    wr_heap_sweep(pile);
    wr_mutex_unlock(&pile->lock);
    if (wr_central_take(pile, 0, 1, &block) != 0)
        wr_central_give(pile, 0, &block, 1);
}

static void
look(void)
{
    struct weir_heap_stats stats;
    weir_heap_stats(pile, &stats);
    sim_expect(stats.classes[0].blocks_cached <= 2 * PILE_PAGE_BLOCKS);
}

/* A block that thread 1 has at hand is swept, goes out to thread 3, and comes
   back to thread 1. */
static struct sim_tokens gifts;
static void *gift;

static void
prepare_gift(void)
{
    prepare_page();
    gifts = (struct sim_tokens){ .strong = true };
    gift = NULL;
}

static void
drop_gift(void)
{
    sim_tokens_take(&gifts);
    if (gift != NULL)
        pile_drop(gift);
}

static void
make_gift(void)
{
    gift = pile_try(PILE_BLOCK);
    sim_tokens_put(&gifts);
}

/* What is taken by one thread is given by another one. */
static struct sim_tokens sent;
static void *message;

static void
prepare_post(void)
{
    prepare_page();
    sent = (struct sim_tokens){ .strong = true };
}

static void
send(void)
{
    sim_tokens_take(&tokens);
    message = pile_take(PILE_BLOCK);
    sim_tokens_put(&sent);
    borrow();
}

static void
receive(void)
{
    sim_tokens_take(&sent);
    pile_drop(message);
    sim_tokens_put(&tokens);
    borrow();
}

const struct sim_case heap_cases[] = {
    {
        .name = "heap_hits",
        .claim = "one hits, others ask for what it has at hand",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { borrow_and_hit, borrow, borrow },
        .after = pile_expect_whole,
        .preemptions = 2,
    },
    {
        .name = "heap_trim",
        .claim = "two sweep at once, while one takes and gives",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { try_twice, trim, trim },
        .after = pile_expect_whole,
        .preemptions = 2,
    },
    {
        .name = "heap_take",
        .claim = "two takes from the top against a sweep",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { try_two, trim_and_try },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "heap_give",
        .claim = "two releases to the top against a sweep",
        .before = prepare_page,
        .warm = warm_held,
        .threads = { drop_held, trim_and_try },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "heap_words",
        .claim = "who hits has another batch below",
        .before = prepare_pages,
        .warm = warm_hoard_words,
        .threads = { borrow_two, borrow },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_give_words",
        .claim = "one gives blocks of two words, others ask for them",
        .before = prepare_pages,
        .warm = warm_held_words,
        .threads = { give_held, borrow_two },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_spill",
        .claim = "and has no room for what was on top",
        .before = prepare_shallow,
        .warm = warm_spill,
        .threads = { give_one, keep_three },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_class",
        .claim = "two classes, and room for a span of one",
        .before = prepare_page,
        .warm = warm_one,
        .threads = { borrow_and_wide, borrow_wide },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_pages",
        .claim = "a page goes from class to class under a sweep",
        .before = prepare_page,
        .warm = warm_all,
        .threads = { try, trim, try_wide },
        .after = pile_expect_whole,
        .preemptions = 2,
    },
    {
        .name = "heap_whole",
        .claim = "a page goes back with a flush, and another class wants it",
        .before = prepare_pages,
        .warm = warm_both,
        .threads = { flush, try_wide },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_large",
        .claim = "a large block wants the page of what one has at hand",
        .before = prepare_page,
        .warm = warm_one,
        .threads = { borrow_twice, borrow_page, borrow_page },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_back",
        .claim = "a block comes back to the cache that it was swept from",
        .before = prepare_gift,
        .warm = warm_hoard,
        .threads = { drop_gift, trim, make_gift },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_post",
        .claim = "one takes, another one gives, a third one sweeps",
        .before = prepare_post,
        .warm = warm_hoard,
        .threads = { send, receive, trim },
        .after = pile_expect_whole,
        .preemptions = 2,
    },
    {
        .name = "heap_again",
        .claim = "caches go on and off",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { borrow_twice, borrow_two },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_flush",
        .claim = "one flushes its cache",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { borrow_and_flush, borrow_two },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_draw",
        .claim = "a sweep, and a take from the central pool behind it",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { try_two, sweep_and_draw },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_stats",
        .claim = "one counts, while others take, give and sweep",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { try, trim, look },
        .after = pile_expect_whole,
        .preemptions = 2,
    },
    { 0 },
};
