/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "platform/clock.h"
#include "support/child.h"
#include "support/heap.h"
#include "support/space.h"

#include <stdlib.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { MANY = (200 << 20) / 64 };

static void *blocks[MANY];

/* ---- Room -------------------------------------------------------------- */

Test(heap_region, what_blocks_of_32_mib_leave_makes_one_of_900)
{
    struct weir_heap *heap = open_heap(1 * GIB, 1 * GIB);
    size_t count = get_all(heap, 32 * MIB, blocks, 100);
    cr_assert(eq(sz, count, 32));

    for (size_t i = 0; i < 31; i++)
        let_go(heap, blocks[i * 7 % 31]);

    void *large = get(heap, 900 * MIB);
    void *more;
    cr_assert(eq(int, weir_heap_alloc(heap, 900 * MIB, &more), WEIR_FULL));
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 92 * MIB));
    let_go(heap, large);
    let_go(heap, blocks[31]);
    let_go(heap, get(heap, 1 * GIB));
    close_heap(&heap);
}

Test(heap_region, regions_are_added_until_bytes_max_and_all_are_used)
{
    struct weir_heap *heap = open_heap(1 * MIB, 4 * MIB);

    for (int round = 0; round < 2; round++) {
        size_t count = get_all(heap, 128, blocks, MANY);
        cr_assert(eq(sz, count, 32768));
        struct weir_heap_stats stats = numbers_of(heap);
        cr_assert(eq(u64, stats.regions, 4));
        cr_assert(eq(u64, stats.bytes_reserved, 4 * MIB));
        cr_assert(eq(u64, stats.bytes_unused, 0));
        weir_heap_check(heap);
        let_all_go(heap, blocks, count);
        weir_heap_trim(heap);
        cr_assert(eq(u64, numbers_of(heap).bytes_unused, 4 * MIB));
    }

    close_heap(&heap);
}

Test(heap_region, pages_that_bytes_max_cuts_off_are_not_used)
{
    struct weir_heap *heap = open_heap(0, 3 * 64 * KIB + 5);

    cr_assert(eq(u64, numbers_of(heap).bytes_reserved, 3 * 64 * KIB));
    cr_assert(eq(sz, get_all(heap, 64 * KIB, blocks, 10), 3));

    let_all_go(heap, blocks, 3);
    close_heap(&heap);
}

/* Threads that find no room at once come one behind the other. */
Test(heap_region, who_makes_room_late_finds_what_the_first_one_made)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *held = get(heap, 4 * MIB);

    struct wr_hunt hunts[8];
    for (int i = 0; i < 8; i++)
        hunts[i] = wr_heap_hunt(heap, 64, 1, WR_CLASS_SMALL_COUNT);
    for (int i = 0; i < 8; i++)
        cr_assert(eq(int, wr_heap_make_room(heap, &hunts[i]), WEIR_OK));

    cr_assert(eq(u64, numbers_of(heap).regions, 2));
    let_go(heap, held);
    close_heap(&heap);
}

/* Nothing is out, so nothing can be used up. */
Test(heap_region, a_heap_without_blocks_has_room_for_bytes_max)
{
    struct weir_heap *heap = open_heap(1 * MIB, 8 * MIB);
    void *memory = NULL;

    enum weir_status status = weir_heap_alloc(heap, 8 * MIB, &memory);

    cr_assert(eq(int, status, WEIR_OK), "%s", weir_status_name(status));
    let_go(heap, memory);
    close_heap(&heap);
}

/* What a buffer does that grows by moving: there is one at a time. */
Test(heap_region, blocks_that_come_one_by_one_and_larger_do_not_fill_a_heap)
{
    struct weir_heap *heap = open_heap(1 * MIB, 64 * MIB);

    for (size_t size = 2 * MIB; size <= 32 * MIB; size += 1 * MIB)
        let_go(heap, get(heap, size));

    close_heap(&heap);
}

/* ---- Address space ----------------------------------------------------- */

Test(heap_region, without_address_space_the_system_refuses_and_all_goes_on)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    struct weir_heap *other = NULL;
    void *memory = heap;
    limit_memory(4 * MIB);

    for (int i = 0; i < 100; i++) {
        errno = 0;
        cr_assert(
            eq(int, weir_heap_alloc(heap, 1 * GIB, &memory), WEIR_SYSTEM));
        cr_assert(eq(int, errno, ENOMEM));
        errno = 0;
        cr_assert(eq(int, weir_heap_create(NULL, &other), WEIR_SYSTEM));
        cr_assert(eq(int, errno, ENOMEM));
        errno = 0;
        cr_assert(zero(ptr, weir_alloc(5)));
        cr_assert(eq(int, errno, ENOMEM));
    }

    cr_assert(eq(ptr, memory, heap));
    cr_assert(zero(ptr, other));
    cr_assert(eq(u64, numbers_of(heap).regions, 1));
    limit_memory(64 * MIB);
    size_t count = get_all(heap, 16 * MIB, blocks, 3);
    cr_assert(eq(sz, count, 3));
    let_all_go(heap, blocks, count);
    close_heap(&heap);
}

struct shortage {
    size_t left;
    size_t most; /* that the region can have then */
};

/* In a child, whose default heap there was not yet. */
static void
use_default_heap(void)
{
    void *held[2] = { weir_alloc(100), weir_alloc(2 * MIB) };
    NEED(held[0] != NULL && held[1] != NULL);
    memset(held[0], 1, 100);
    memset(held[1], 1, 2 * MIB);
    NEED(weir_release(held[0]) == WEIR_OK);
    NEED(weir_release(held[1]) == WEIR_OK);
    weir_heap_check(weir_heap_default());
}

static const struct shortage *shortage;

static void
be_short(void)
{
    struct weir_heap_stats stats;
    limit_memory(shortage->left);
    use_default_heap();
    weir_heap_stats(weir_heap_default(), &stats);
    NEED(stats.regions == 1);
    NEED(stats.bytes_reserved == shortage->most);
}

Test(heap_region, a_default_heap_takes_what_address_space_there_is)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    static const struct shortage shortages[] = { { 8 * MIB, 4 * MIB },
        { 16 * MIB, 8 * MIB }, { 64 * MIB, 32 * MIB }, { 256 * MIB, 128 * MIB },
        { 1000 * MIB, 512 * MIB }, { 1300 * MIB, 1024 * MIB } };

    for (size_t i = 0; i < COUNT_OF(shortages); i++) {
        shortage = &shortages[i];
        expect_good_child(be_short);
    }
}

/* The first regions take it; the next ones take what they need. */
static void
fill_what_there_is(void)
{
    size_t count = 0;
    limit_memory(64 * MIB);
    while (count < MANY && (blocks[count] = weir_alloc(64 * KIB)) != NULL)
        count++;
    NEED(errno == ENOMEM);
    NEED(count * 64 * KIB > 44 * MIB);
    NEED(numbers_of(weir_heap_default()).regions > 1);
    while (count > 0)
        NEED(weir_release(blocks[--count]) == WEIR_OK);
    NEED(live_blocks(weir_heap_default()) == 0);
    use_default_heap();
}

Test(heap_region, a_default_heap_goes_on_in_smaller_regions)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");

    expect_good_child(fill_what_there_is);
}

Test(heap_region, a_region_of_a_size_that_was_asked_for_has_it)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    struct weir_heap *heap = NULL;
    struct weir_heap_config config = { .region_bytes = 64 * MIB };
    limit_memory(64 * MIB);

    cr_assert(eq(int, weir_heap_create(&config, &heap), WEIR_SYSTEM));

    config.region_bytes = 32 * MIB;
    cr_assert(eq(int, weir_heap_create(&config, &heap), WEIR_OK));
    cr_assert(eq(u64, numbers_of(heap).bytes_reserved, 32 * MIB));
    close_heap(&heap);
}

Test(heap_region, a_heap_that_could_not_be_made_leaves_nothing_mapped)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    struct weir_heap *heap = NULL;
    struct weir_heap_config exact = { .region_bytes = 8 * MIB };
    size_t refused = 0;
    size_t before = mapped_bytes();

    for (size_t left = 0; left <= 16 * MIB; left += 64 * KIB) {
        limit_memory(left);
        for (int i = 0; i < 2; i++) {
            errno = 0;
            enum weir_status status =
                weir_heap_create(i == 0 ? NULL : &exact, &heap);
            refused += status == WEIR_SYSTEM;
            if (status == WEIR_SYSTEM)
                cr_assert(eq(int, errno, ENOMEM));
            weir_heap_destroy(&heap);
            cr_assert(eq(sz, mapped_bytes(), before));
        }
    }

    cr_assert(gt(sz, refused, 2 * 64));
}

Test(heap_region, heaps_that_end_leave_no_address_space_behind)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    struct weir_heap *heap = open_heap(0, 0);
    let_go(heap, get(heap, 100));
    weir_heap_destroy(&heap);
    cr_assert(ne(ptr, weir_heap_default(), NULL));
    limit_memory(4 * GIB);

    for (int i = 0; i < 200; i++) {
        heap = open_heap(0, 0);
        let_go(heap, get(heap, 100));
        let_go(heap, get(heap, 2 * GIB));
        close_heap(&heap);
    }
}

/* ---- Memory goes back -------------------------------------------------- */

enum { BURST = 200 << 20 };

/* What the process has before a burst; the table of its blocks is in it. */
static size_t
resident_before(void)
{
    (void)memset(blocks, 1, sizeof blocks);
    return resident_bytes();
}

/* Touches 200 MiB, and releases them. */
static void
burst(struct weir_heap *heap, size_t size)
{
    size_t count = BURST / size;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = get(heap, size);
        (void)memset(blocks[i], 1, size);
    }
    cr_assert(ge(u64, numbers_of(heap).bytes_resident, BURST));
    let_all_go(heap, blocks, count);
}

static void
expect_little(struct weir_heap *heap, size_t before)
{
    cr_assert(le(u64, numbers_of(heap).bytes_resident, 2 * MIB));
    if (!under_asan())
        cr_assert(le(sz, resident_bytes(), before + 4 * MIB));
}

static const size_t burst_sizes[] = { 64, 1000, 4096, 70000, 1 << 20, 5 << 20,
    200 << 20 };

Test(heap_region, a_trim_gives_a_burst_back)
{
    for (size_t i = 0; i < COUNT_OF(burst_sizes); i++) {
        struct weir_heap *heap = open_heap(0, 0);
        size_t before = resident_before();
        burst(heap, burst_sizes[i]);
        weir_heap_trim(heap);
        expect_little(heap, before);
        cr_assert(eq(u64, numbers_of(heap).bytes_unused, 1 * GIB));
        close_heap(&heap);
    }
}

static struct weir_heap *
open_forgetful(unsigned decay_ms, size_t region_bytes)
{
    struct weir_heap *heap = NULL;
    cr_assert(eq(int,
        weir_heap_create(&(struct weir_heap_config){ .decay_ms = decay_ms,
                             .region_bytes = region_bytes },
            &heap),
        WEIR_OK));
    return heap;
}

/* Calls it, by blocks of so many bytes, until no more than `least` bytes are
   resident, but for 3 seconds at most. */
static void
call_until(struct weir_heap *heap, size_t size, size_t count, size_t least)
{
    uint64_t start = wr_clock_ms();
    while (numbers_of(heap).bytes_resident > least &&
           wr_clock_ms() - start < 3000) {
        for (size_t i = 0; i < count; i++)
            blocks[i] = get(heap, size);
        let_all_go(heap, blocks, count);
        (void)usleep(10000);
    }
}

Test(heap_region, a_burst_decays_while_the_heap_is_called)
{
    for (size_t i = 0; i < COUNT_OF(burst_sizes); i++) {
        struct weir_heap *heap = open_forgetful(50, 0);
        size_t before = resident_before();
        burst(heap, burst_sizes[i]);
        weir_heap_flush(heap); /* a block that is kept holds its span */
        call_until(heap, 1000, 600, 2 * MIB);
        expect_little(heap, before);
        close_heap(&heap);
    }
}

Test(heap_region, a_burst_decays_in_all_regions_whatever_blocks_are_called_for)
{
    struct weir_heap *heap = open_forgetful(50, 32 * MIB);
    void *held = get(heap, 20 * MIB); /* leaves 12 in the first */
    void *far = get(heap, 20 * MIB);
    cr_assert(eq(u64, numbers_of(heap).regions, 2));
    (void)memset(far, 1, 20 * MIB);
    let_go(heap, far);

    call_until(heap, 2 * MIB, 1, 23 * MIB);

    cr_assert(le(u64, numbers_of(heap).bytes_resident, 23 * MIB));
    let_go(heap, held);
    close_heap(&heap);
}

Test(heap_region, what_is_used_again_and_again_stays_resident)
{
    struct weir_heap *heap = open_forgetful(60000, 0);

    for (int i = 0; i < 20; i++) {
        void *block = get(heap, 8 * MIB);
        memset(block, 1, 8 * MIB);
        let_go(heap, block);
    }

    cr_assert(ge(u64, numbers_of(heap).bytes_resident, 8 * MIB));
    cr_assert(le(u64, numbers_of(heap).bytes_resident, 9 * MIB));
    close_heap(&heap);
}

/* ---- Notes ------------------------------------------------------------- */

static struct wr_pages
take_pages(struct weir_heap *heap, uint32_t count)
{
    struct wr_pages pages = { 0 };
    cr_assert(wr_heap_take_pages(heap, count, 1, 0, &pages));
    uint8_t *first = pages.region->base + pages.page * WR_PAGE_BYTES;
    wr_poison_open(first, WR_PAGE_BYTES, WR_PAGE_BYTES);
    *first = 1;
    return pages;
}

static void
give_pages(struct weir_heap *heap, const struct wr_pages *pages)
{
    wr_mutex_lock(&pages->region->lock);
    wr_heap_give_pages(heap, pages->region, pages->page);
    wr_mutex_unlock(&pages->region->lock);
}

/* As if that much time had gone by. */
static void
let_time_pass(struct weir_heap *heap, unsigned ms)
{
    wr_store_relaxed(&heap->tick_ms, wr_load_relaxed(&heap->tick_ms) - ms);
    wr_heap_tick(heap);
}

static uint64_t
noted(const uint64_t *map)
{
    uint64_t count = 0;
    for (size_t word = 0; word <= 256 / 64; word++)
        count += wr_count_bits(map[word]);
    return count;
}

static void
expect_notes(struct weir_heap *heap, uint64_t young, uint64_t old)
{
    const struct wr_heap_region *region = heap->regions[0];
    cr_assert(eq(u64, noted(region->young), young));
    cr_assert(eq(u64, noted(region->old), old));
}

Test(heap_region, pages_are_young_then_old_then_gone)
{
    struct weir_heap *heap = open_forgetful(100000, 16 * MIB);
    struct wr_pages pages = take_pages(heap, 100);
    const unsigned char *first = pages.region->base;
    cr_assert(pages.is_zero);
    expect_notes(heap, 0, 0);

    give_pages(heap, &pages);
    expect_notes(heap, 100, 0);
    let_time_pass(heap, 40000);
    expect_notes(heap, 100, 0);
    let_time_pass(heap, 10000);
    expect_notes(heap, 0, 100);
    let_time_pass(heap, 49000);
    cr_assert(eq(int, first[0], 1));
    let_time_pass(heap, 1000);
    expect_notes(heap, 0, 0);
    cr_assert(eq(int, first[0], 0));

    pages = take_pages(heap, 100);
    cr_assert(pages.is_zero);
    give_pages(heap, &pages);
    weir_heap_destroy(&heap);
}

Test(heap_region, pages_that_are_taken_again_are_neither_zero_nor_given_away)
{
    struct weir_heap *heap = open_forgetful(100000, 16 * MIB);
    struct wr_pages pages = take_pages(heap, 100);
    const unsigned char *first = pages.region->base;
    give_pages(heap, &pages);
    let_time_pass(heap, 50000);
    expect_notes(heap, 0, 100);

    pages = take_pages(heap, 70);
    cr_assert(not(pages.is_zero));
    expect_notes(heap, 0, 30);
    let_time_pass(heap, 50000);
    let_time_pass(heap, 50000);
    expect_notes(heap, 0, 0);
    cr_assert(eq(int, first[0], 1));

    struct wr_pages rest = take_pages(heap, 30);
    cr_assert(rest.is_zero);
    give_pages(heap, &rest);
    give_pages(heap, &pages);
    expect_notes(heap, 100, 0);
    wr_heap_discard(heap);
    expect_notes(heap, 0, 0);
    cr_assert(eq(int, first[0], 0));
    weir_heap_destroy(&heap);
}

Test(heap_region, one_page_that_was_touched_makes_a_run_not_zero)
{
    struct weir_heap *heap = open_forgetful(100000, 16 * MIB);

    for (uint32_t at = 0; at < 256; at += 51) {
        struct wr_pages before = { 0 };
        if (at != 0)
            before = take_pages(heap, at);
        struct wr_pages one = take_pages(heap, 1);
        give_pages(heap, &one);
        if (at != 0)
            give_pages(heap, &before);
        struct wr_pages all = take_pages(heap, 256);
        cr_assert(not(all.is_zero));
        give_pages(heap, &all);
        wr_heap_discard(heap);
        all = take_pages(heap, 256);
        cr_assert(all.is_zero);
        give_pages(heap, &all);
        wr_heap_discard(heap);
    }

    weir_heap_destroy(&heap);
}

Test(heap_region, the_tail_of_a_run_is_noted_and_growing_removes_the_note)
{
    struct weir_heap *heap = open_forgetful(100000, 16 * MIB);
    struct wr_heap_region *region = heap->regions[0];
    struct wr_pages pages = take_pages(heap, 200);

    cr_assert(wr_heap_resize_run(heap, region, pages.page, 50));
    expect_notes(heap, 150, 0);
    cr_assert(wr_heap_resize_run(heap, region, pages.page, 120));
    expect_notes(heap, 80, 0);
    cr_assert(not(wr_heap_resize_run(heap, region, pages.page, 257)));
    expect_notes(heap, 80, 0);

    give_pages(heap, &pages);
    expect_notes(heap, 200, 0);
    weir_heap_destroy(&heap);
}
