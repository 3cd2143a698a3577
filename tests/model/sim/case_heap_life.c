/* SPDX-License-Identifier: MIT */
/*
 * heap_life: threads come to a heap and end, heaps end, and blocks are released
 * twice. core/heap_life.c, heap_record.c; Limits in core/heap.c.
 *
 *     thread  mine ──▶ record       who ends gives up what it has, unless its heap
 *     heap    records ──▶ . . .     has ended before, or is just ending
 */

#include "cases.h"
#include "pile.h"

#include "core/heap.h"

static struct sim_tokens tokens;
static void *held; /* by thread 1 */

static void
prepare(size_t pages)
{
    pile_create(pages, PILE_PAGE_BLOCKS, true);
    tokens = (struct sim_tokens){ .strong = true };
    held = NULL;
}

static void
prepare_page(void)
{
    prepare(1);
}

/* ---- Threads come and end ---------------------------------------------- */

/* Every one has room for its own, in regions that are still to be made. */
static void
prepare_regions(void)
{
    prepare(3);
}

static void
take_and_drop(void)
{
    pile_drop(pile_take(PILE_BLOCK));
}

/* Nobody has come yet, but for one who left a record to spare. */
static void
prepare_new(void)
{
    prepare(1);
    take_and_drop();
    sim_thread_exit();
    tokens.count = PILE_PAGE_BLOCKS;
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

static void
borrow(void)
{
    sim_tokens_take(&tokens);
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

/* Its caches are gone, and it goes on without. */
static void
borrow_and_outlive(void)
{
    borrow();
    sim_thread_exit();
    borrow();
}

static void
trim(void)
{
    weir_heap_trim(pile);
}

static void
use_page(void)
{
    pile_drop(pile_take(PILE_PAGE));
}

static void
use_pages(void)
{
    void *first = pile_take(PILE_WIDE);
    use_page();
    pile_drop(first);
}

/* There is one. */
static unsigned pages_kept;

static void
prepare_limit(void)
{
    prepare(1);
    pages_kept = 0;
}

static void
keep_page(void)
{
    pages_kept += pile_try(PILE_PAGE) != NULL;
}

static void
one_is_kept(void)
{
    sim_expect(pages_kept == 1);
}

/* ---- Heaps end --------------------------------------------------------- */

static struct sim_tokens over; /* all calls are; nobody orders their ends */

static void
prepare_end(void)
{
    prepare(1);
    over = (struct sim_tokens){ .strong = true };
}

static void
finish(void)
{
    take_and_drop();
    sim_tokens_put(&over);
}

static void
destroy(void)
{
    take_and_drop();
    sim_tokens_take(&over);
    struct weir_heap *heap = pile;
    weir_heap_destroy(&heap);
}

/* It has a record of a heap that ended, and comes to another one. */
static void
destroy_and_begin(void)
{
    destroy();
    prepare(1);
    take_and_drop();
}

static void
nothing_is_mapped(void)
{
    sim_expect(sim_memory_count() <= 2); /* records to spare */
}

/* ---- The default heap -------------------------------------------------- */

static void
use_default(void)
{
    unsigned char *block = weir_alloc(PILE_BLOCK);
    sim_expect(block != NULL);
    sim_plain_write(block, PILE_BLOCK);
    sim_expect(weir_release(block) == WEIR_OK);
}

static void
default_is_sound(void)
{
    weir_heap_check(weir_heap_default());
}

/* ---- Blocks are released twice ----------------------------------------- */

static enum weir_status told[2];
static struct sim_tokens other_did[2]; /* orders nothing */
static struct sim_tokens shown;        /* it was, to the other one */
static struct sim_tokens taken;
static unsigned owners;
static void *again[2];

static void
prepare_twice(void)
{
    prepare(1);
    sim_allow_stop("released twice");
    other_did[0] = (struct sim_tokens){ .strong = false };
    other_did[1] = (struct sim_tokens){ .strong = false };
    shown = (struct sim_tokens){ .strong = true };
    taken = (struct sim_tokens){ .strong = true };
    owners = 0;
    told[0] = WEIR_OK;
    told[1] = WEIR_OK;
}

/* Thread 1 holds a block, and has others at hand. */
static void
warm_one(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    (void)pile_take(PILE_BLOCK);
    held = pile_take(PILE_BLOCK);
    (void)pile_take(PILE_BLOCK);
    (void)pile_take(PILE_BLOCK);
    pile_disown(held);
    sim_tokens_put(&shown);
}

/* It holds the only one. */
static void
warm_only(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    held = pile_take(PILE_BLOCK);
    pile_disown(held);
    sim_tokens_put(&shown);
    weir_heap_flush(pile);
}

static void
release_it(void)
{
    unsigned self = sim_self() - 1;
    if (self == 1)
        sim_tokens_take(&shown);
    told[self] = weir_heap_release(pile, held);
    sim_tokens_put(&other_did[1 - self]);
}

/* Behind both releases, as a rule. */
static void
take_again(void)
{
    unsigned self = sim_self() - 1;
    if (weir_heap_alloc(pile, PILE_BLOCK, &again[self]) == WEIR_OK)
        owners++;
}

static bool
both_have_it(void)
{
    return owners == 2 && again[0] == again[1];
}

static void
release_and_take_first(void)
{
    release_it();
    sim_tokens_take(&other_did[sim_self() - 1]);
    take_again();
    sim_tokens_put(&taken);
}

static void
release_and_take_second(void)
{
    release_it();
    sim_tokens_take(&other_did[sim_self() - 1]);
    sim_tokens_take(&taken);
    take_again();
    sim_expect(!both_have_it());
}

static void
release_and_take(void)
{
    release_it();
    sim_tokens_take(&other_did[sim_self() - 1]);
    take_again();
    if (both_have_it())
        sim_seen();
}

/* One of them was told, or this stops. */
static void
it_is_told(void)
{
    bool first = told[0] == WEIR_OK;
    bool second = told[1] == WEIR_OK;
    sim_expect(first || second);
    void *memory;
    if (first && second)
        while (weir_heap_alloc(pile, PILE_BLOCK, &memory) == WEIR_OK)
            continue;
    sim_expect(!(first && second));
    if (owners == 0)
        pile_expect_whole();
}

/* The same, and it starts where no block of the other class does. */
static void
warm_odd(void)
{
    pile_warm();
    if (sim_self() != 1)
        return;
    void *even = pile_take(PILE_BLOCK);
    held = pile_take(PILE_BLOCK);
    pile_disown(held);
    sim_tokens_put(&shown);
    pile_drop(even);
    weir_heap_flush(pile);
}

/* Its page is of that class then. */
static void
trim_and_keep_wides(void)
{
    trim();
    void *memory;
    for (unsigned i = 0; i < PILE_PAGE_WIDES; i++)
        if (weir_heap_alloc(pile, PILE_WIDE, &memory) == WEIR_OK)
            owners++;
}

static void
nothing(void)
{
}

const struct sim_case heap_life_cases[] = {
    {
        .name = "heap_new",
        .claim = "threads come to a heap, while others ask",
        .before = prepare_new,
        .threads = { borrow, borrow_two },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_exit",
        .claim = "one ends, and other destructors go on",
        .before = prepare_page,
        .warm = warm_hoard,
        .threads = { borrow_and_outlive, borrow_two },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_regions",
        .claim = "regions are made, while others look for pages",
        .before = prepare_regions,
        .warm = pile_warm,
        .threads = { use_page, use_pages },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_limit",
        .claim = "two want the last page",
        .before = prepare_limit,
        .warm = pile_warm,
        .threads = { keep_page, keep_page },
        .after = one_is_kept,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_destroy",
        .claim = "a heap ends, and the threads that used it",
        .before = prepare_end,
        .threads = { finish, destroy },
        .after = nothing_is_mapped,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_next",
        .claim = "and one of them goes on with another heap",
        .before = prepare_end,
        .threads = { finish, destroy_and_begin },
        .after = pile_expect_whole,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_default",
        .claim = "two make the default heap",
        .threads = { use_default, use_default },
        .after = default_is_sound,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_twice",
        .claim = "a block is released twice at once: it is told, or stops",
        .before = prepare_twice,
        .warm = warm_one,
        .threads = { release_it, release_it, trim },
        .after = it_is_told,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "heap_twice_span",
        .claim = "the same, where its page goes back behind the first",
        .before = prepare_twice,
        .warm = warm_only,
        .threads = { release_it, release_it, trim },
        .after = it_is_told,
        .preemptions = 2,
    },
    {
        .name = "heap_twice_cut",
        .claim = "and goes to another class",
        .before = prepare_twice,
        .warm = warm_odd,
        .threads = { release_it, release_it, trim_and_keep_wides },
        .after = it_is_told,
        .preemptions = 2,
        .stales = 0,
    },
    {
        .name = "heap_twice_taken",
        .claim = "then one takes it, and later the other: only one has it",
        .before = prepare_twice,
        .warm = warm_one,
        .threads = { release_and_take_first, release_and_take_second },
        .after = nothing,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_twice_out",
        .claim = "then one takes it: it is told, or stops when it is taken",
        .before = prepare_twice,
        .warm = warm_one,
        .threads = { release_and_take_first, release_it },
        .after = it_is_told,
        .preemptions = 2,
        .stales = 2,
    },
    {
        .name = "heap_twice_limit",
        .claim = "but if they take it at once too, both may have it",
        .before = prepare_twice,
        .warm = warm_one,
        .threads = { release_and_take, release_and_take },
        .after = nothing,
        .verdict = SIM_HAPPENS,
        .preemptions = 1,
        .stales = 2,
    },
    { 0 },
};
