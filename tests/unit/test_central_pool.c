/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "support/heap.h"
#include "support/prng.h"

#include <signal.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { PAGES = 64, SMALLEST = PAGES * WR_PAGE_UNITS };

static void *blocks[SMALLEST + 1];

/* All of it: 64 pages. */
static struct weir_heap *
open_small_heap(void)
{
    return open_heap(4 * MIB, 4 * MIB);
}

static uint64_t
unused_pages(struct weir_heap *heap)
{
    return numbers_of(heap).bytes_unused / WR_PAGE_BYTES;
}

/* ---- Memory moves between classes -------------------------------------- */

struct filling {
    size_t size;
    size_t count;
};

Test(central_pool, what_one_class_gives_back_another_can_have_all_of)
{
    static const struct filling fillings[] = { { 64, 65536 }, { 256, 16384 },
        { 4096, 1024 }, { 65536, 64 }, { 4 << 20, 1 }, { 1 << 20, 4 },
        { 5120, 12 * 64 }, { 192, 341 * 64 }, { 3 << 20, 1 }, { 128, 32768 },
        { 4 << 20, 1 }, { 64, 65536 } };
    struct weir_heap *heap = open_small_heap();

    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < COUNT_OF(fillings); i++) {
            size_t count =
                get_all(heap, fillings[i].size, blocks, SMALLEST + 1);
            cr_assert(eq(sz, count, fillings[i].count), "%zu bytes: %zu",
                fillings[i].size, count);
            let_all_go(heap, blocks, count);
            cr_assert(eq(u64, live_blocks(heap), 0));
            weir_heap_check(heap);
        }

    close_heap(&heap);
}

/* A class keeps a page at hand. It must not lie in the way of others. */
Test(central_pool, what_small_blocks_leave_many_pages_in_a_row_can_have_all_of)
{
    struct weir_heap *heap = open_small_heap();
    size_t count = get_all(heap, 192, blocks, SMALLEST + 1);
    let_all_go(heap, blocks, count);
    cr_assert(eq(u64, live_blocks(heap), 0));

    count = get_all(heap, 512 * KIB, blocks, SMALLEST + 1);

    cr_assert(eq(sz, count, 8));
    let_all_go(heap, blocks, count);
    close_heap(&heap);
}

/* Every block of a class, and what it holds in the first and last bytes. */
static size_t
fill_and_sign(struct weir_heap *heap, size_t size)
{
    size_t count = get_all(heap, size, blocks, SMALLEST + 1);
    for (size_t i = 0; i < count; i++) {
        char *end = (char *)blocks[i] + size;
        memcpy(blocks[i], &i, sizeof i);
        memcpy(end - sizeof i, &i, sizeof i);
    }
    return count;
}

static size_t
count_forged(size_t size, size_t count)
{
    size_t forged = 0;
    for (size_t i = 0; i < count; i++) {
        const char *end = (char *)blocks[i] + size;
        forged += memcmp(blocks[i], &i, sizeof i) != 0 ||
                  memcmp(end - sizeof i, &i, sizeof i) != 0;
    }
    return forged;
}

Test(central_pool, every_class_can_have_all_pages_and_no_blocks_overlap)
{
    struct weir_heap *heap = open_small_heap();

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++) {
        size_t size = wr_class_size(class);
        size_t pages = (size + WR_PAGE_BYTES - 1) / WR_PAGE_BYTES;
        size_t least = PAGES / pages * (pages * WR_PAGE_BYTES / size);
        size_t count = fill_and_sign(heap, size);
        cr_assert(ge(sz, count, least), "%zu bytes: %zu", size, count);
        cr_assert(lt(u64, unused_pages(heap), pages));
        cr_assert(eq(sz, count_forged(size, count), 0));
        let_all_go(heap, blocks, count);
        weir_heap_check(heap);
    }

    let_go(heap, get(heap, 4 * MIB));
    close_heap(&heap);
}

Test(central_pool, one_block_that_stays_holds_its_span_and_no_more)
{
    struct weir_heap *heap = open_small_heap();
    size_t count = get_all(heap, 64, blocks, SMALLEST + 1);
    char *kept = blocks[30000];
    blocks[30000] = NULL;
    kept[63] = 'k';

    let_all_go(heap, blocks, count);

    cr_assert(eq(sz, get_all(heap, 65536, blocks, 100), PAGES - 1));
    for (size_t i = 0; i < PAGES - 1; i++)
        (void)memset(blocks[i], 1, 65536);
    cr_assert(eq(chr, kept[63], 'k'));
    let_all_go(heap, blocks, PAGES - 1);
    let_go(heap, kept);
    close_heap(&heap);
}

/* ---- Spans ------------------------------------------------------------- */

struct spanning {
    size_t size;
    size_t count;  /* blocks of a span */
    size_t pages;  /* it is cut from */
    uint64_t kept; /* when all its blocks are home */
};

Test(central_pool, a_span_that_is_whole_gives_its_pages_back)
{
    static const struct spanning spannings[] = { { 64, 1024, 1, 1 },
        { 8192, 8, 1, 1 }, { 10240, 12, 2, 0 }, { 65536, 8, 8, 0 },
        { 98304, 4, 6, 0 }, { 114688, 4, 7, 0 }, { 163840, 2, 5, 0 },
        { 327680, 1, 5, 0 }, { 1 << 20, 1, 16, 0 } };

    for (size_t i = 0; i < COUNT_OF(spannings); i++) {
        const struct spanning *spanning = &spannings[i];
        struct weir_heap *heap = open_small_heap();
        for (size_t k = 0; k < 3 * spanning->count; k++)
            blocks[k] = get(heap, spanning->size);
        weir_heap_flush(heap);
        cr_assert(eq(u64, unused_pages(heap), PAGES - 3 * spanning->pages));
        let_all_go(heap, blocks, 3 * spanning->count);
        weir_heap_flush(heap);
        cr_assert(eq(u64, unused_pages(heap), PAGES - spanning->kept));
        weir_heap_trim(heap);
        cr_assert(eq(u64, unused_pages(heap), PAGES));
        close_heap(&heap);
    }
}

Test(central_pool, a_pointer_into_pages_that_went_was_released_already)
{
    struct weir_heap *heap = open_small_heap();
    size_t count = get_all(heap, 65536, blocks, 8);
    cr_assert(eq(sz, count, 8));
    let_all_go(heap, blocks, 8);
    weir_heap_trim(heap);

    for (size_t i = 0; i < 8; i++) {
        cr_assert(
            eq(int, weir_heap_release(heap, blocks[i]), WEIR_ALREADY_RELEASED));
        cr_assert(eq(
            int, weir_heap_release(heap, (char *)blocks[i] + 1), WEIR_FOREIGN));
    }

    void *large = get(heap, 4 * MIB); /* over all of them */
    for (size_t i = 0; i < 8; i++)
        if (blocks[i] != large)
            cr_assert(eq(int, weir_heap_release(heap, blocks[i]),
                WEIR_ALREADY_RELEASED));
    let_go(heap, large);
    close_heap(&heap);
}

Test(central_pool, a_class_that_keeps_a_page_gives_it_to_who_needs_it)
{
    struct weir_heap *heap = open_small_heap();
    for (uint32_t class = 0; wr_class_size(class) <= 8192; class ++)
        let_go(heap, get(heap, wr_class_size(class)));
    weir_heap_flush(heap);
    cr_assert(lt(u64, unused_pages(heap), PAGES));

    let_go(heap, get(heap, 4 * MIB));

    close_heap(&heap);
}

/* ---- Blocks ------------------------------------------------------------ */

/* Spans are cut when none has a block; so a class that has pages gives all that was
   asked for, or all of the last span. */
Test(central_pool, it_gives_no_more_than_was_asked_for_and_each_block_once)
{
    struct weir_heap *heap = open_small_heap();

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++)
        for (uint32_t most = 1; most <= WR_SHELF_MAX; most += 15) {
            uint32_t count = wr_central_take(heap, class, most, blocks);
            cr_assert(count >= 1 && count <= most);
            for (uint32_t i = 1; i < count; i++)
                cr_assert(ne(ptr, blocks[i - 1], blocks[i]));
            weir_heap_check(heap);
            wr_central_give(heap, class, blocks, count);
            weir_heap_check(heap);
        }

    weir_heap_trim(heap);
    cr_assert(eq(u64, unused_pages(heap), PAGES));
    close_heap(&heap);
}

/* In whatever order, and of however many spans. */
Test(central_pool, blocks_of_many_spans_go_home_together)
{
    enum { COUNT = 5000, STEP = 1999 };
    struct weir_heap *heap = open_small_heap();
    void *shuffled[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        cr_assert(eq(u32, wr_central_take(heap, 3, 1, &blocks[i]), 1));
    for (size_t i = 0; i < COUNT; i++)
        shuffled[i] = blocks[i * STEP % COUNT];

    wr_central_give(heap, 3, shuffled, COUNT);

    weir_heap_check(heap);
    weir_heap_trim(heap);
    cr_assert(eq(u64, unused_pages(heap), PAGES));
    close_heap(&heap);
}

Test(misuse, a_block_that_is_given_twice_aborts, .signal = SIGABRT)
{
    struct weir_heap *heap = open_small_heap();
    cr_assert(eq(u32, wr_central_take(heap, 0, 3, blocks), 3));
    wr_central_give(heap, 0, blocks, 2);
    expect_misuse("weir: heap 'test': a block was released twice");

    wr_central_give(heap, 0, blocks + 1, 2);
}

Test(misuse, a_block_that_is_given_twice_at_once_aborts, .signal = SIGABRT)
{
    struct weir_heap *heap = open_small_heap();
    cr_assert(eq(u32, wr_central_take(heap, 0, 3, blocks), 3));
    blocks[2] = blocks[0];
    expect_misuse("weir: heap 'test': a block was released twice");

    wr_central_give(heap, 0, blocks, 3);
}

/* Its pages are gone, or another class's by then. */
Test(misuse, a_block_of_a_span_that_is_gone_aborts, .signal = SIGABRT)
{
    struct weir_heap *heap = open_small_heap();
    cr_assert(eq(u32, wr_central_take(heap, 40, 1, blocks), 1));
    wr_central_give(heap, 40, blocks, 1);
    weir_heap_trim(heap);
    expect_misuse("weir: heap 'test': a block was released twice");

    wr_central_give(heap, 40, blocks, 1);
}

/* ---- Numbers ----------------------------------------------------------- */

Test(central_pool, numbers_are_exact_when_the_heap_is_quiet)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    uint64_t out[WEIR_HEAP_CLASSES] = { 0 };
    struct prng prng = { 1 };
    size_t count = 0;

    for (; count < 3000; count++) {
        uint32_t class = (uint32_t)prng_below(&prng, 36);
        blocks[count] = get(heap, wr_class_size(class));
        out[class]++;
    }
    for (size_t i = 0; i < 1000; i++) {
        size_t usable = 0;
        cr_assert(eq(int, weir_heap_usable(heap, blocks[i], &usable), WEIR_OK));
        out[wr_class_of(usable)]--;
        let_go(heap, blocks[i]);
    }

    for (int round = 0; round < 2; round++) {
        struct weir_heap_stats stats = numbers_of(heap);
        for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++) {
            const struct weir_heap_class_stats *numbers = &stats.classes[class];
            cr_assert(eq(u64, numbers->block_size, wr_class_size(class)));
            cr_assert(eq(u64, numbers->blocks_live, out[class]));
            cr_assert(eq(u64,
                numbers->blocks_live + numbers->blocks_cached +
                    numbers->blocks_central,
                heap->centrals[class].blocks));
        }
        cr_assert(eq(u64, stats.large_live, 0));
        cr_assert(eq(u64, stats.large_bytes, 0));
        weir_heap_flush(heap);
    }
    cr_assert(eq(u64, cached_blocks(heap), 0));

    let_all_go(heap, blocks + 1000, count - 1000);
    close_heap(&heap);
}

/* ---- At random --------------------------------------------------------- */

enum { HELD_MAX = 600, STEPS = 60000 };

struct holding {
    unsigned char *memory;
    size_t size;
};

/* Sizes of all magnitudes, small ones more often. */
static size_t
some_size(struct prng *prng)
{
    size_t most = (size_t)2 << prng_below(prng, 21);
    return 1 + (size_t)prng_below(prng, most);
}

/* The first and last bytes tell whose the block is. */
static void
sign(const struct holding *holding)
{
    holding->memory[0] = (unsigned char)holding->size;
    holding->memory[holding->size - 1] = (unsigned char)holding->size;
}

static bool
is_signed(const struct holding *holding)
{
    return holding->memory[0] == (unsigned char)holding->size &&
           holding->memory[holding->size - 1] == (unsigned char)holding->size;
}

static void
drop(struct weir_heap *heap, struct holding *holding)
{
    cr_assert(is_signed(holding));
    cr_assert(
        eq(int, weir_heap_release_sized(heap, holding->memory, holding->size),
            WEIR_OK));
    *holding = (struct holding){ 0 };
}

static void
step(struct weir_heap *heap, struct prng *prng, struct holding *holding)
{
    size_t size = some_size(prng);
    void *memory = NULL;
    if (holding->memory != NULL && prng_below(prng, 4) != 0) {
        drop(heap, holding);
    } else if (holding->memory != NULL) {
        cr_assert(is_signed(holding));
        if (weir_heap_resize(heap, holding->memory, size) == WEIR_OK)
            holding->size = size;
        sign(holding);
    } else if (weir_heap_alloc_aligned(heap, size,
                   (size_t)1 << prng_below(prng, 14), &memory) == WEIR_OK) {
        *holding = (struct holding){ memory, size };
        sign(holding);
    }
}

Test(central_pool, whatever_is_done_every_block_is_its_holders_alone)
{
    static struct holding holdings[HELD_MAX];
    struct weir_heap *heap = open_heap(8 * MIB, 24 * MIB);
    struct prng prng = { 2 };

    for (size_t i = 0; i < STEPS; i++) {
        step(heap, &prng, &holdings[prng_below(&prng, HELD_MAX)]);
        if (i % 2000 == 0) {
            weir_heap_check(heap);
            if (i % 6000 == 0)
                weir_heap_trim(heap);
        }
    }

    for (size_t i = 0; i < HELD_MAX; i++)
        if (holdings[i].memory != NULL)
            drop(heap, &holdings[i]);
    weir_heap_trim(heap);
    struct weir_heap_stats stats = numbers_of(heap);
    cr_assert(eq(u64, stats.bytes_unused, stats.bytes_reserved));
    close_heap(&heap);
}
