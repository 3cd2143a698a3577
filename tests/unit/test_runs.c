/* SPDX-License-Identifier: MIT */
#include "core/runs.h"

#include "support/prng.h"
#include "support/unit.h"

#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES_MAX = 16384, STEPS = 100000 };

static struct wr_run_entry books[PAGES_MAX];

static struct wr_runs
new_runs(uint32_t page_count)
{
    struct wr_runs runs;
    cr_assert(le(sz, wr_runs_meta_size(page_count), sizeof books));
    (void)memset(books, 0, wr_runs_meta_size(page_count));
    wr_runs_init(&runs, page_count, books);
    wr_runs_check(&runs);
    return runs;
}

static uint32_t
take_run(struct wr_runs *runs, uint32_t count, uint32_t align)
{
    uint32_t first = UINT32_MAX;
    cr_assert(wr_runs_take(runs, count, align, &first));
    cr_assert(eq(u32, first % align, 0));
    cr_assert(le(u32, first + count, runs->page_count));
    cr_assert(eq(u32, wr_runs_length(runs, first), count));
    wr_runs_check(runs);
    return first;
}

static void
give_run(struct wr_runs *runs, uint32_t first)
{
    cr_assert(wr_runs_give(runs, first));
    cr_assert(eq(u32, wr_runs_length(runs, first), 0));
    wr_runs_check(runs);
}

static void
expect_full(struct wr_runs *runs, uint32_t count, uint32_t align)
{
    uint32_t first = 77;
    cr_assert(not(wr_runs_take(runs, count, align, &first)));
    cr_assert(eq(u32, first, 77));
}

static void
expect_whole(const struct wr_runs *runs)
{
    wr_runs_check(runs);
    cr_assert(eq(u32, wr_runs_free_pages(runs), runs->page_count));
    cr_assert(eq(u32, wr_runs_largest(runs), runs->page_count));
}

/* Must change nothing and be false. */
static void
expect_no_give(struct wr_runs *runs, uint32_t first)
{
    static struct wr_run_entry before[PAGES_MAX];
    struct wr_runs was;
    (void)memcpy(&was, runs, sizeof was);
    (void)memcpy(before, books, sizeof books);

    cr_assert(not(wr_runs_give(runs, first)));

    cr_assert(zero(int, memcmp(&was, runs, sizeof was)));
    cr_assert(zero(int, memcmp(before, books, sizeof books)));
}

static uint32_t geometries[] = { 1, 2, 3, 7, 8, 9, 16, 17, 255, 256, 1000 };

#define EVERY_GEOMETRY(name)                                                   \
    ParameterizedTestParameters(runs, name)                                    \
    {                                                                          \
        return cr_make_param_array(                                            \
            uint32_t, geometries, sizeof geometries / sizeof geometries[0]);   \
    }                                                                          \
    ParameterizedTest(uint32_t *page_count, runs, name)

/* ---- Books ---- */

Test(runs, books_are_16_bytes_a_page)
{
    cr_assert(eq(sz, wr_runs_meta_size(1), 16));
    cr_assert(eq(sz, wr_runs_meta_size(16384), 256 * 1024));
    cr_assert(eq(sz, wr_runs_meta_size(WR_RUNS_PAGES_MAX), (size_t)256 << 20));
}

Test(runs, init_touches_the_first_entry_and_the_last_only)
{
    static const struct wr_run_entry zeroes[PAGES_MAX];
    struct wr_runs runs;
    wr_runs_init(&runs, PAGES_MAX, books);

    cr_assert(eq(u32, books[0].free, PAGES_MAX));
    cr_assert(eq(u32, books[PAGES_MAX - 1].free, PAGES_MAX));
    cr_assert(zero(
        int, memcmp(books + 1, zeroes, (PAGES_MAX - 2) * sizeof(books[0]))));
}

Test(runs, taking_and_giving_touches_the_ends_of_runs_only)
{
    struct wr_runs runs = new_runs(PAGES_MAX);

    uint32_t first = take_run(&runs, 5000, 1);
    (void)take_run(&runs, 300, 256);
    give_run(&runs, first);

    uint32_t said = 0;
    for (uint32_t i = 0; i < PAGES_MAX; i++)
        said += (books[i].out | books[i].free | books[i].next |
                    books[i].previous) != 0;
    cr_assert(eq(u32, said, 5)); /* free, out, free */
}

Test(runs, the_largest_region_can_be_taken_whole)
{
    struct wr_runs runs;
    size_t size = wr_runs_meta_size(WR_RUNS_PAGES_MAX);
    void *meta = calloc(1, size);
    cr_assert(not(zero(ptr, meta)));
    wr_runs_init(&runs, WR_RUNS_PAGES_MAX, meta);

    uint32_t first;
    cr_assert(eq(u32, wr_runs_largest(&runs), WR_RUNS_PAGES_MAX));
    cr_assert(wr_runs_take(&runs, WR_RUNS_PAGES_MAX, 1, &first));
    cr_assert(zero(u32, first));
    cr_assert(wr_runs_give(&runs, 0));
    cr_assert(wr_runs_take(&runs, WR_RUNS_PAGES_MAX - 1, 1, &first));
    cr_assert(wr_runs_take(&runs, 1, 1, &first));
    cr_assert(eq(u32, first, WR_RUNS_PAGES_MAX - 1));
    cr_assert(zero(u32, wr_runs_free_pages(&runs)));
    free(meta);
}

/* ---- Taking and giving ---- */

EVERY_GEOMETRY(a_whole_region_is_one_run)
{
    struct wr_runs runs = new_runs(*page_count);
    expect_whole(&runs);

    cr_assert(zero(u32, take_run(&runs, *page_count, 1)));
    cr_assert(zero(u32, wr_runs_free_pages(&runs)));
    cr_assert(zero(u32, wr_runs_largest(&runs)));
    expect_full(&runs, 1, 1);
    give_run(&runs, 0);

    expect_whole(&runs);
    expect_full(&runs, *page_count + 1, 1);
    expect_full(&runs, UINT32_MAX, 1);
}

EVERY_GEOMETRY(single_pages_fill_a_region_and_come_home)
{
    struct wr_runs runs = new_runs(*page_count);

    for (uint32_t i = 0; i < *page_count; i++) {
        cr_assert(eq(u32, take_run(&runs, 1, 1), i));
        cr_assert(eq(u32, wr_runs_free_pages(&runs), *page_count - i - 1));
    }
    expect_full(&runs, 1, 1);
    for (uint32_t i = 0; i < *page_count; i += 2)
        give_run(&runs, i);
    cr_assert(eq(u32, wr_runs_largest(&runs), 1));
    expect_full(&runs, 2, 1);
    for (uint32_t i = 1; i < *page_count; i += 2)
        give_run(&runs, i);

    expect_whole(&runs);
}

Test(runs, neighbours_become_one_in_any_order)
{
    static const uint32_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 },
        { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

    for (uint32_t i = 0; i < 6; i++) {
        struct wr_runs runs = new_runs(60);
        for (uint32_t run = 0; run < 3; run++)
            cr_assert(eq(u32, take_run(&runs, 20, 1), 20 * run));
        for (uint32_t step = 0; step < 3; step++)
            give_run(&runs, 20 * orders[i][step]);
        expect_whole(&runs);
    }
}

Test(runs, given_runs_of_512_make_room_for_one_of_14400)
{
    enum { RUNS = 31, PAGES = 512 };
    struct wr_runs runs = new_runs(RUNS * PAGES);

    for (uint32_t i = 0; i < RUNS; i++)
        cr_assert(eq(u32, take_run(&runs, PAGES, 1), i * PAGES));
    expect_full(&runs, 1, 1);
    for (uint32_t i = 0; i < RUNS; i++)
        give_run(&runs, i * 12 % RUNS * PAGES);

    expect_whole(&runs);
    cr_assert(zero(u32, take_run(&runs, 14400, 1)));
    cr_assert(eq(u32, wr_runs_largest(&runs), RUNS * PAGES - 14400));
}

Test(runs, a_run_that_is_there_is_never_denied_by_rounding)
{
    for (uint32_t count = 1; count <= 2048; count++) {
        struct wr_runs runs = new_runs(count);
        cr_assert(zero(u32, take_run(&runs, count, 1)));
        expect_full(&runs, 1, 1);
    }
}

Test(runs, a_run_between_two_that_are_out_is_used_to_its_last_page)
{
    for (uint32_t count = 1; count <= 500; count++) {
        struct wr_runs runs = new_runs(count + 2);
        (void)take_run(&runs, 1, 1);
        uint32_t first = take_run(&runs, count, 1);
        (void)take_run(&runs, 1, 1);

        give_run(&runs, first);

        cr_assert(eq(u32, wr_runs_largest(&runs), count));
        expect_full(&runs, count + 1, 1);
        cr_assert(eq(u32, take_run(&runs, count, 1), first));
    }
}

/* Cuts free runs of these lengths, with a page that is out behind each. Where
   they start is in `firsts`. */
static void
cut_holes(struct wr_runs *runs, const uint32_t *lengths, uint32_t hole_count,
    uint32_t *firsts)
{
    for (uint32_t i = 0; i < hole_count; i++) {
        firsts[i] = take_run(runs, lengths[i], 1);
        (void)take_run(runs, 1, 1);
    }
    while (wr_runs_free_pages(runs) > 0)
        (void)take_run(runs, wr_runs_largest(runs), 1);
    for (uint32_t i = 0; i < hole_count; i++)
        give_run(runs, firsts[i]);
}

Test(runs, the_one_run_of_a_bin_that_is_long_enough_is_found)
{
    static const uint32_t lengths[] = { 67, 64, 71, 65, 66, 64 };
    struct wr_runs runs = new_runs(1000);
    uint32_t firsts[6];
    cut_holes(&runs, lengths, 6, firsts);

    cr_assert(eq(u32, wr_runs_largest(&runs), 71));
    expect_full(&runs, 72, 1);
    cr_assert(eq(u32, take_run(&runs, 68, 1), firsts[2]));
    cr_assert(eq(u32, take_run(&runs, 67, 1), firsts[0]));
    cr_assert(eq(u32, take_run(&runs, 66, 1), firsts[4]));
    expect_full(&runs, 66, 1);
}

Test(runs, a_run_that_just_came_home_goes_out_again)
{
    static const uint32_t lengths[] = { 300, 17, 200 };
    struct wr_runs runs = new_runs(1000);
    uint32_t firsts[3];
    cut_holes(&runs, lengths, 3, firsts);

    for (uint32_t i = 0; i < 10; i++) {
        cr_assert(eq(u32, take_run(&runs, 17, 1), firsts[1]));
        give_run(&runs, firsts[1]);
    }
}

Test(runs, a_short_run_is_cut_from_the_shortest_that_surely_will_do)
{
    static const uint32_t lengths[] = { 300, 20, 200, 4 };
    struct wr_runs runs = new_runs(1000);
    uint32_t firsts[4];
    cut_holes(&runs, lengths, 4, firsts);

    cr_assert(eq(u32, take_run(&runs, 12, 1), firsts[1]));
    cr_assert(eq(u32, take_run(&runs, 12, 1), firsts[2]));
    cr_assert(eq(u32, take_run(&runs, 8, 1), firsts[1] + 12));
    cr_assert(eq(u32, take_run(&runs, 4, 1), firsts[3]));
}

/* ---- Alignment ---- */

Test(runs, an_aligned_run_fits_exactly)
{
    for (uint32_t align = 1; align <= 256; align *= 2) {
        struct wr_runs runs = new_runs(256);
        cr_assert(zero(u32, take_run(&runs, 256, align)));
        give_run(&runs, 0);
        expect_whole(&runs);
    }
}

Test(runs, what_an_aligned_run_leaves_stays_free)
{
    struct wr_runs runs = new_runs(1024);
    uint32_t page = take_run(&runs, 1, 1);

    cr_assert(eq(u32, take_run(&runs, 100, 256), 256));
    cr_assert(eq(u32, wr_runs_free_pages(&runs), 1024 - 101));
    cr_assert(eq(u32, wr_runs_largest(&runs), 1024 - 356));
    cr_assert(eq(u32, take_run(&runs, 255, 1), 1));
    give_run(&runs, 256);
    give_run(&runs, 1);
    give_run(&runs, page);

    expect_whole(&runs);
}

Test(runs, aligned_runs_fill_every_place_there_is)
{
    struct wr_runs runs = new_runs(1000);
    (void)take_run(&runs, 1, 1);

    for (uint32_t i = 1; i < 15; i++)
        (void)take_run(&runs, 64, 64);
    expect_full(&runs, 64, 64);
    cr_assert(eq(u32, wr_runs_free_pages(&runs), 1000 - 1 - 14 * 64));
    cr_assert(eq(u32, take_run(&runs, 40, 64), 960));
    expect_full(&runs, 1, 64);
}

Test(runs, the_one_run_with_an_aligned_part_is_found)
{
    static const uint32_t lengths[] = { 20, 20, 20, 20, 20 };
    struct wr_runs runs = new_runs(200);
    uint32_t firsts[5];
    (void)take_run(&runs, 1, 1);
    cut_holes(&runs, lengths, 5, firsts);

    cr_assert(eq(u32, firsts[3], 64));
    expect_full(&runs, 21, 32);
    cr_assert(eq(u32, take_run(&runs, 16, 32), 64));
    expect_full(&runs, 16, 32);
    cr_assert(eq(u32, take_run(&runs, 10, 32), 32));
    cr_assert(eq(u32, take_run(&runs, 10, 2), 22));
}

Test(runs, no_page_but_the_first_is_aligned_to_more_than_there_are)
{
    struct wr_runs runs = new_runs(100);

    cr_assert(zero(u32, take_run(&runs, 3, UINT32_C(1) << 31)));
    expect_full(&runs, 1, 128);
    cr_assert(eq(u32, take_run(&runs, 1, 64), 64));
}

/* ---- Lengths ---- */

Test(runs, only_the_first_page_of_a_run_that_is_out_has_a_length)
{
    struct wr_runs runs = new_runs(100);
    uint32_t first = take_run(&runs, 10, 16);
    uint32_t second = take_run(&runs, 5, 32);

    for (uint32_t page = 0; page < 200; page++) {
        uint32_t length = page == first ? 10 : page == second ? 5 : 0;
        cr_assert(eq(u32, wr_runs_length(&runs, page), length));
    }
    cr_assert(zero(u32, wr_runs_length(&runs, UINT32_MAX)));
}

Test(runs, giving_a_wrong_page_changes_nothing)
{
    struct wr_runs runs = new_runs(100);
    uint32_t first = take_run(&runs, 10, 16);
    (void)take_run(&runs, 5, 32);

    for (uint32_t page = 0; page < 120; page++)
        if (wr_runs_length(&runs, page) == 0)
            expect_no_give(&runs, page);
    expect_no_give(&runs, UINT32_MAX);
    give_run(&runs, first);
    expect_no_give(&runs, first);
}

Test(runs, giving_where_runs_once_started_changes_nothing)
{
    struct wr_runs runs = new_runs(64);
    for (uint32_t i = 0; i < 64; i++)
        (void)take_run(&runs, 1, 1);
    for (uint32_t i = 0; i < 64; i++)
        give_run(&runs, i * 7 % 64);

    uint32_t first = take_run(&runs, 64, 1);
    for (uint32_t page = 1; page < 64; page++)
        expect_no_give(&runs, page);
    give_run(&runs, first);
    for (uint32_t page = 0; page < 64; page++)
        expect_no_give(&runs, page);
}

/* ---- Growing and shrinking ---- */

Test(runs, a_run_grows_into_all_that_is_free_behind_it)
{
    struct wr_runs runs = new_runs(100);
    (void)take_run(&runs, 10, 1);
    uint32_t second = take_run(&runs, 20, 1);
    (void)take_run(&runs, 70, 1);
    give_run(&runs, second);

    cr_assert(wr_runs_grow(&runs, 0, 30));

    wr_runs_check(&runs);
    cr_assert(eq(u32, wr_runs_length(&runs, 0), 30));
    cr_assert(zero(u32, wr_runs_free_pages(&runs)));
    give_run(&runs, 0);
    give_run(&runs, 30);
    expect_whole(&runs);
}

Test(runs, a_run_grows_page_by_page_to_the_end)
{
    struct wr_runs runs = new_runs(100);
    (void)take_run(&runs, 1, 1);

    for (uint32_t count = 1; count <= 100; count++) {
        cr_assert(wr_runs_grow(&runs, 0, count));
        wr_runs_check(&runs);
        cr_assert(eq(u32, wr_runs_length(&runs, 0), count));
        cr_assert(eq(u32, wr_runs_free_pages(&runs), 100 - count));
    }
    cr_assert(not(wr_runs_grow(&runs, 0, 101)));
    cr_assert(not(wr_runs_grow(&runs, 0, UINT32_MAX)));
    cr_assert(eq(u32, wr_runs_length(&runs, 0), 100));
}

Test(runs, a_run_that_cannot_grow_stays_as_it_is)
{
    struct wr_runs runs = new_runs(100);
    (void)take_run(&runs, 10, 1);
    uint32_t second = take_run(&runs, 20, 1);
    uint32_t third = take_run(&runs, 10, 1);

    cr_assert(not(wr_runs_grow(&runs, 0, 11)));
    give_run(&runs, second);
    cr_assert(not(wr_runs_grow(&runs, 0, 31)));
    cr_assert(not(wr_runs_grow(&runs, second, 5)));
    cr_assert(not(wr_runs_grow(&runs, 1, 5)));
    cr_assert(not(wr_runs_grow(&runs, 100, 1)));
    cr_assert(not(wr_runs_grow(&runs, third, UINT32_MAX)));

    wr_runs_check(&runs);
    cr_assert(eq(u32, wr_runs_length(&runs, 0), 10));
    cr_assert(eq(u32, wr_runs_length(&runs, third), 10));
    cr_assert(eq(u32, wr_runs_free_pages(&runs), 80));
    cr_assert(eq(u32, wr_runs_largest(&runs), 60));
}

Test(runs, the_tail_of_a_run_that_shrinks_goes_home)
{
    struct wr_runs runs = new_runs(100);
    (void)take_run(&runs, 40, 1);
    uint32_t second = take_run(&runs, 10, 1);

    cr_assert(wr_runs_grow(&runs, 0, 40));
    cr_assert(wr_runs_grow(&runs, 0, 25));
    wr_runs_check(&runs);
    cr_assert(eq(u32, wr_runs_free_pages(&runs), 65));
    expect_no_give(&runs, 25);
    cr_assert(wr_runs_grow(&runs, second, 1));
    wr_runs_check(&runs);
    cr_assert(eq(u32, wr_runs_largest(&runs), 59));
    give_run(&runs, second);
    cr_assert(eq(u32, wr_runs_largest(&runs), 75));
    cr_assert(wr_runs_grow(&runs, 0, 1));
    give_run(&runs, 0);

    expect_whole(&runs);
}

/* ---- Against a naive one ---- */

struct run {
    uint32_t first;
    uint32_t count;
};

/* Who owns each page: 0 is free, else 1 more than the first page of the run. */
struct shadow {
    struct wr_runs runs;
    struct prng prng;
    uint32_t owners[PAGES_MAX];
    struct run held[PAGES_MAX];
    uint32_t held_count;
    uint32_t free_pages;
};

static uint32_t
free_from(const struct shadow *shadow, uint32_t page)
{
    uint32_t end = page;
    while (end < shadow->runs.page_count && shadow->owners[end] == 0)
        end++;
    return end - page;
}

static uint32_t
naive_largest(const struct shadow *shadow)
{
    uint32_t largest = 0;
    uint32_t page = 0;
    while (page < shadow->runs.page_count) {
        uint32_t length = free_from(shadow, page);
        largest = length > largest ? length : largest;
        page += length + 1;
    }
    return largest;
}

static bool
naive_fits(const struct shadow *shadow, uint32_t count, uint32_t align)
{
    uint64_t page = 0;
    while (page < shadow->runs.page_count) {
        uint32_t length = free_from(shadow, (uint32_t)page);
        if (length >= count)
            return true;
        page += (length / align + 1) * (uint64_t)align;
    }
    return false;
}

/* Changes the owner of pages; they must have had the other one. */
static void
own(struct shadow *shadow, struct run run, uint32_t from, uint32_t to)
{
    uint32_t wrong = 0;
    for (uint32_t page = run.first; page < run.first + run.count; page++) {
        wrong += shadow->owners[page] != from;
        shadow->owners[page] = to;
    }
    shadow->free_pages += to == 0 ? run.count : -run.count;
    cr_assert(zero(u32, wrong), "%u pages of others", wrong);
}

static void
step_take(struct shadow *shadow, uint32_t count_max)
{
    uint32_t bits = 1 + (uint32_t)prng_below(&shadow->prng, 15);
    uint32_t count =
        1 + (uint32_t)prng_next(&shadow->prng) % (UINT32_C(1) << bits);
    uint32_t align = prng_below(&shadow->prng, 3) == 0
                         ? UINT32_C(1) << prng_below(&shadow->prng, 10)
                         : 1;
    count = (count - 1) % count_max + 1;
    struct run run = { .count = count };
    if (!wr_runs_take(&shadow->runs, count, align, &run.first)) {
        cr_assert(not(naive_fits(shadow, count, align)),
            "%u pages of %u denied", count, align);
        return;
    }
    cr_assert(zero(u32, run.first % align));
    cr_assert(le(u32, run.first + count, shadow->runs.page_count));
    own(shadow, run, 0, run.first + 1);
    shadow->held[shadow->held_count++] = run;
}

static void
step_give(struct shadow *shadow)
{
    uint32_t i = (uint32_t)prng_below(&shadow->prng, shadow->held_count);
    struct run run = shadow->held[i];
    cr_assert(eq(u32, wr_runs_length(&shadow->runs, run.first), run.count));
    cr_assert(wr_runs_give(&shadow->runs, run.first));
    own(shadow, run, run.first + 1, 0);
    shadow->held[i] = shadow->held[--shadow->held_count];
}

static void
step_grow(struct shadow *shadow)
{
    uint32_t i = (uint32_t)prng_below(&shadow->prng, shadow->held_count);
    struct run *run = &shadow->held[i];
    uint32_t owner = run->first + 1;
    uint32_t count = 1 + (uint32_t)prng_below(&shadow->prng, 2 * run->count);
    uint32_t end = run->first + run->count;
    bool fits = count <= run->count + free_from(shadow, end);
    cr_assert(eq(int, wr_runs_grow(&shadow->runs, run->first, count), fits));
    if (!fits)
        return;
    if (count > run->count)
        own(shadow, (struct run){ end, count - run->count }, 0, owner);
    else
        own(shadow, (struct run){ run->first + count, run->count - count },
            owner, 0);
    run->count = count;
}

static void
step_wrong(struct shadow *shadow)
{
    uint32_t page = (uint32_t)prng_below(
        &shadow->prng, shadow->runs.page_count + UINT64_C(2));
    bool starts =
        page < shadow->runs.page_count && shadow->owners[page] == page + 1;
    if (starts)
        return;
    cr_assert(not(wr_runs_give(&shadow->runs, page)));
    cr_assert(not(wr_runs_grow(&shadow->runs, page, 1)));
}

static void
compare(const struct shadow *shadow)
{
    uint32_t wrong = 0;
    wr_runs_check(&shadow->runs);
    cr_assert(eq(u32, wr_runs_largest(&shadow->runs), naive_largest(shadow)));
    for (uint32_t i = 0; i < shadow->held_count; i++)
        wrong += wr_runs_length(&shadow->runs, shadow->held[i].first) !=
                 shadow->held[i].count;
    cr_assert(zero(u32, wrong));
}

static void
step(struct shadow *shadow, uint32_t count_max)
{
    uint32_t what = (uint32_t)prng_below(&shadow->prng, 100);
    if (what < 50 || shadow->held_count == 0)
        step_take(shadow, count_max);
    else if (what < 85)
        step_give(shadow);
    else if (what < 97)
        step_grow(shadow);
    else
        step_wrong(shadow);
    cr_assert(eq(u32, wr_runs_free_pages(&shadow->runs), shadow->free_pages));
}

struct walk {
    uint32_t page_count;
    uint32_t count_max;
};

ParameterizedTestParameters(runs, a_random_walk_agrees_with_a_naive_one)
{
    static struct walk walks[] = {
        { 1, 1 },
        { 2, 2 },
        { 3, 4 },
        { 17, 9 },
        { 255, 4 },
        { 255, 300 },
        { 1000, 40 },
        { 16384, 64 },
        { 16384, 1024 },
        { 16384, 16384 },
    };
    return cr_make_param_array(
        struct walk, walks, sizeof walks / sizeof walks[0]);
}

ParameterizedTest(
    struct walk *walk, runs, a_random_walk_agrees_with_a_naive_one)
{
    uint64_t seed = walk->page_count * UINT64_C(31) + walk->count_max;
    struct shadow *shadow = calloc(1, sizeof *shadow);
    void *meta = calloc(1, wr_runs_meta_size(walk->page_count));
    cr_assert(shadow != NULL && meta != NULL);
    shadow->prng.state = seed;
    shadow->free_pages = walk->page_count;
    wr_runs_init(&shadow->runs, walk->page_count, meta);
    cr_log_info("seed %" PRIu64, seed);

    for (uint32_t i = 0; i < STEPS; i++) {
        step(shadow, walk->count_max);
        if (i % (walk->page_count / 32 + 1) == 0)
            compare(shadow);
    }
    while (shadow->held_count > 0)
        step_give(shadow);

    expect_whole(&shadow->runs);
    free(meta);
    free(shadow);
    no_leaks();
}

/* ---- Misuse ---- */

/* Pages 0 to 9 are out, 10 to 14 free, 15 to 19 out, 20 to 99 free. */
static struct wr_runs
new_mixed(void)
{
    struct wr_runs runs = new_runs(100);
    (void)take_run(&runs, 10, 1);
    (void)take_run(&runs, 5, 1);
    (void)take_run(&runs, 5, 1);
    give_run(&runs, 10);
    return runs;
}

Test(misuse, a_run_without_pages_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 1 of runs broken");

    books[0].out = 0;
    wr_runs_check(&runs);
}

Test(misuse, a_run_past_the_last_page_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 1 of runs broken");

    books[0].out = 101;
    wr_runs_check(&runs);
}

Test(misuse, free_runs_that_are_neighbours_abort, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 2 of runs broken");

    books[15] = (struct wr_run_entry){ .free = 5 };
    books[19] = (struct wr_run_entry){ .free = 5 };
    wr_runs_check(&runs);
}

Test(misuse, a_run_that_is_out_and_free_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 3 of runs broken");

    books[0].free = 10;
    wr_runs_check(&runs);
}

Test(misuse, a_page_inside_a_run_that_says_something_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 3 of runs broken");

    books[5].out = 3;
    wr_runs_check(&runs);
}

Test(misuse, a_last_page_with_another_length_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 3 of runs broken");

    books[14].free = 4;
    wr_runs_check(&runs);
}

Test(misuse, a_free_run_in_no_bin_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 4 of runs broken");

    runs.heads[5] = UINT32_MAX;
    wr_runs_check(&runs);
}

Test(misuse, a_free_run_in_the_wrong_bin_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 4 of runs broken");

    runs.heads[6] = runs.heads[5];
    runs.heads[5] = UINT32_MAX;
    wr_runs_check(&runs);
}

Test(misuse, a_bin_with_a_page_past_the_last_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 4 of runs broken");

    books[10].next = 100;
    wr_runs_check(&runs);
}

Test(misuse, a_link_that_goes_one_way_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 4 of runs broken");

    books[10].next = 10;
    wr_runs_check(&runs);
}

Test(misuse, a_bit_of_an_empty_bin_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 5 of runs broken");

    runs.columns[0] |= 1 << 7;
    wr_runs_check(&runs);
}

Test(misuse, a_row_without_its_bit_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 5 of runs broken");

    runs.rows &= ~UINT32_C(1);
    wr_runs_check(&runs);
}

Test(misuse, a_bit_of_no_row_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 5 of runs broken");

    runs.rows |= UINT32_C(1) << WR_RUNS_ROWS;
    wr_runs_check(&runs);
}

Test(misuse, free_pages_that_do_not_add_up_abort, .signal = SIGABRT)
{
    struct wr_runs runs = new_mixed();
    expect_misuse("weir: invariant 6 of runs broken");

    runs.free_pages++;
    wr_runs_check(&runs);
}

#ifndef NDEBUG
Test(misuse, a_region_without_pages_aborts, .signal = SIGABRT)
{
    struct wr_runs runs;
    expect_misuse("weir: assertion failed: page_count > 0*");

    wr_runs_init(&runs, 0, books);
}

Test(misuse, a_region_of_too_many_pages_aborts, .signal = SIGABRT)
{
    struct wr_runs runs;
    expect_misuse("weir: assertion failed: page_count > 0*");

    wr_runs_init(&runs, WR_RUNS_PAGES_MAX + 1, books);
}

Test(misuse, taking_no_page_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_runs(10);
    uint32_t first;
    expect_misuse("weir: assertion failed: count > 0*");

    (void)wr_runs_take(&runs, 0, 1, &first);
}

Test(misuse, shrinking_a_run_to_no_page_aborts, .signal = SIGABRT)
{
    struct wr_runs runs = new_runs(10);
    (void)take_run(&runs, 5, 1);
    expect_misuse("weir: assertion failed: count > 0");

    (void)wr_runs_grow(&runs, 0, 0);
}
#endif
