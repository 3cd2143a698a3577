/* SPDX-License-Identifier: MIT */
/*
 * runs: contiguous pages of a region, taken and given back.
 *
 *     pages     0    1    2    3    4    5    6    7    8    9    10   11
 *              [ out, 3      ][ free, 4          ][ out, 2 ][ free, 3     ]
 *     entries   out            free           free out       free      free
 *               3              4              4    2         3         3
 *
 *     bins       1 2 3 ... 15 | 16-17 18-19 ... 30-31 | 32-35 36-39 ... | ...
 *                exact        | eight                 | eight           |
 *
 * Idea
 *   The books are a table with an entry for each page. The first page of a run
 *   says how long it is, and the last page of a free run says it again. So give
 *   looks at two entries, of the page before the run and of the page behind it:
 *   they say whether its neighbours are free and how far they reach, and one run
 *   is made of all. Pages inside a run say nothing. What they said before is
 *   wiped out when runs become one or go out, so that no page is taken for the
 *   start of a run that once was.
 *
 *   Free runs hang in bins by their length, eight to a doubling, in doubly
 *   linked lists of page numbers. A bit for each bin, and one for each eight of
 *   them, find the next bin that is not empty. Every run of a bin above that of
 *   `count` is long enough, and so is every one of its own bin if `count` is the
 *   least of that bin. Take looks at the first run of its own bin, the one that
 *   was freed last; if that will not do, it takes the first run of the first bin
 *   where all will: a good fit, though not always the best. If there is none, a
 *   run that is long enough can only lie in its own bin, and that is searched.
 *   Thus rounding never denies a run that is there.
 *
 *   With an alignment every run of count + align - 1 pages will do. If there is
 *   none, all bins from that of `count` to that of the sum are searched. What is
 *   left of a run, before the aligned pages and behind them, stays free. The low
 *   end is taken where there is a choice, so a region fills from page 0.
 *
 *   No memory is touched but the books. They start as zeroes and only what says
 *   something is written.
 *
 * Invariants
 *   1. Runs, out or free, lie end to end from page 0 to the last; none is empty.
 *   2. No two free runs are neighbours.
 *   3. The entry of the first page of a run that is out says its length in
 *      `out`; those of the first and the last page of a free one say it in
 *      `free`. The first page of a free run has links. All else is 0.
 *   4. A free run hangs in the bin of its length, once, and links go both ways.
 *   5. The bit of a bin is set if and only if a run hangs in it; the bit of a
 *      row, if and only if one of its bins' is.
 *   6. free_pages is the sum of the free runs.
 *
 * Costs
 *   give, grow, length: some lines of the books each, whatever the size. take:
 *   the same, if a bin where all runs will do is not empty. Else it walks the
 *   list of its own bin, and with an alignment some more: at most 9/8 of
 *   page_count / count runs, since each has more than 8/9 of `count`. largest
 *   walks the list of the last bin. check walks all.
 *
 * Limits
 *   2^24 pages; 16 bytes of books for each. Who gives a run back twice is told,
 *   unless another run was taken at the same page in between: then that one goes.
 *
 * Source
 *   M. Masmano, I. Ripoll, A. Crespo, J. Real: TLSF, a new dynamic memory
 *   allocator for real-time systems, ECRTS 2004. Boundary tags: D. E. Knuth, The
 *   Art of Computer Programming, volume 1, 2.5.
 */

#include "core/runs.h"

#include "base/bits.h"
#include "base/check.h"

enum { COLUMN_BITS = 3 };

#define NO_PAGE UINT32_MAX

_Static_assert(WR_RUNS_COLUMNS == 1 << COLUMN_BITS, "a row of columns");
_Static_assert(sizeof(struct wr_run_entry) == 16, "four to a cache line");

/* ---- Bins ---- */

/* How far apart the least lengths of bins are around `length`, as a power of
   two. */
static uint32_t
step_shift(uint32_t length)
{
    return wr_highest_bit(length | WR_RUNS_COLUMNS) - COLUMN_BITS;
}

/* The bin that a run of `length` pages hangs in. */
static uint32_t
bin_of(uint32_t length)
{
    uint32_t shift = step_shift(length);
    return (shift << COLUMN_BITS) + (length >> shift);
}

/* The first bin all whose runs have at least `length` pages. */
static uint32_t
sure_bin_of(uint32_t length)
{
    uint32_t step = UINT32_C(1) << step_shift(length);
    return bin_of(length + step - 1);
}

/* The first bin from `from` on that is not empty. */
static bool
find_bin(const struct wr_runs *runs, uint32_t from, uint32_t *bin)
{
    uint32_t row = from / WR_RUNS_COLUMNS;
    uint32_t columns = runs->columns[row] & UINT32_MAX
                                                << from % WR_RUNS_COLUMNS;
    if (columns == 0) {
        uint32_t rows = runs->rows & UINT32_MAX << (row + 1);
        if (rows == 0)
            return false;
        row = wr_lowest_bit(rows);
        columns = runs->columns[row];
    }
    *bin = row * WR_RUNS_COLUMNS + wr_lowest_bit(columns);
    return true;
}

/* The head of `bin` becomes `first`. */
static void
set_head(struct wr_runs *runs, uint32_t bin, uint32_t first)
{
    uint32_t row = bin / WR_RUNS_COLUMNS;
    uint32_t column = UINT32_C(1) << bin % WR_RUNS_COLUMNS;
    bool any = first != NO_PAGE;
    uint32_t others = runs->columns[row] & ~column;
    runs->heads[bin] = first;
    runs->columns[row] = (uint8_t)(others | (any ? column : 0));
    if (runs->columns[row] != 0)
        runs->rows |= UINT32_C(1) << row;
    else
        runs->rows &= ~(UINT32_C(1) << row);
}

/* ---- Free runs ---- */

/* Hangs `length` pages in, as a free run; 0 of them are none. Their entries are
   0, and their neighbours are out. */
static void
hang_in(struct wr_runs *runs, uint32_t first, uint32_t length)
{
    if (length == 0)
        return;
    uint32_t bin = bin_of(length);
    uint32_t next = runs->heads[bin];
    if (next != NO_PAGE)
        runs->entries[next].previous = first;
    runs->entries[first + length - 1].free = length;
    runs->entries[first] = (struct wr_run_entry){
        .free = length, .next = next, .previous = NO_PAGE
    };
    set_head(runs, bin, first);
    runs->free_pages += length;
}

/* Takes a free run out of its bin, and wipes out what its pages say. Tells its
   length. */
static uint32_t
take_out(struct wr_runs *runs, uint32_t first)
{
    struct wr_run_entry gone = runs->entries[first];
    WR_ASSERT(gone.free > 0 && gone.free <= runs->free_pages);
    if (gone.next != NO_PAGE)
        runs->entries[gone.next].previous = gone.previous;
    if (gone.previous != NO_PAGE)
        runs->entries[gone.previous].next = gone.next;
    else
        set_head(runs, bin_of(gone.free), gone.next);
    runs->entries[first] = (struct wr_run_entry){ 0 };
    runs->entries[first + gone.free - 1] = (struct wr_run_entry){ 0 };
    runs->free_pages -= gone.free;
    return gone.free;
}

/* Frees pages whose entries are 0, and makes one run of them and the free ones
   around them. */
static void
bring_home(struct wr_runs *runs, uint32_t first, uint32_t length)
{
    uint32_t end = first + length;
    uint32_t before = first == 0 ? 0 : runs->entries[first - 1].free;
    if (before != 0) {
        first -= before;
        (void)take_out(runs, first);
    }
    if (end < runs->page_count && runs->entries[end].free != 0)
        end += take_out(runs, end);
    hang_in(runs, first, end - first);
}

/* Of the free run at `page`, `count` pages from `first` on go out. */
static void
send_out(struct wr_runs *runs, uint32_t page, uint32_t first, uint32_t count)
{
    uint32_t end = page + take_out(runs, page);
    WR_ASSERT(page <= first && first + count <= end);
    hang_in(runs, page, first - page);
    runs->entries[first].out = count;
    hang_in(runs, first + count, end - first - count);
}

/* The `more` pages from `end` on, where a run ends, go out with it. False, and
   nothing changes: they are not free. */
static bool
add_behind(struct wr_runs *runs, uint32_t end, uint32_t more)
{
    uint32_t room = end < runs->page_count ? runs->entries[end].free : 0;
    if (more > room)
        return false;
    (void)take_out(runs, end);
    hang_in(runs, end + more, room - more);
    return true;
}

/* ---- Searching ---- */

/* `page`, or the next multiple of `align`. */
static uint32_t
round_up(uint32_t page, uint32_t align)
{
    return (page + align - 1) & ~(align - 1);
}

/* True if the free run at `page` has `count` pages in a row, the first of them a
   multiple of `align`. */
static bool
will_do(
    const struct wr_runs *runs, uint32_t page, uint32_t count, uint32_t align)
{
    uint32_t skipped = round_up(page, align) - page;
    return skipped + count <= runs->entries[page].free;
}

/* The first run of a bin that will do; NO_PAGE: none will. */
static uint32_t
find_in_bin(
    const struct wr_runs *runs, uint32_t bin, uint32_t count, uint32_t align)
{
    uint32_t page = runs->heads[bin];
    while (page != NO_PAGE && !will_do(runs, page, count, align))
        page = runs->entries[page].next;
    return page;
}

/* A free run that will do; NO_PAGE: there is none. */
static uint32_t
find_run(const struct wr_runs *runs, uint32_t count, uint32_t align)
{
    uint32_t from = bin_of(count);
    uint32_t page = runs->heads[from];
    uint32_t enough = count + align - 1;
    uint32_t bin;
    if (page != NO_PAGE && will_do(runs, page, count, align))
        return page;
    if (enough <= runs->page_count && find_bin(runs, sure_bin_of(enough), &bin))
        return runs->heads[bin];
    page = NO_PAGE;
    for (; page == NO_PAGE && find_bin(runs, from, &bin); from = bin + 1)
        page = find_in_bin(runs, bin, count, align);
    return page;
}

/* ---- What the header names ---- */

size_t
wr_runs_meta_size(uint32_t page_count)
{
    return (size_t)page_count * sizeof(struct wr_run_entry);
}

void
wr_runs_init(struct wr_runs *runs, uint32_t page_count, void *meta)
{
    WR_ASSERT(page_count > 0 && page_count <= WR_RUNS_PAGES_MAX);
    WR_ASSERT((uintptr_t)meta % sizeof(uint32_t) == 0);

    *runs = (struct wr_runs){ .entries = meta, .page_count = page_count };
    for (uint32_t bin = 0; bin < WR_RUNS_BINS; bin++)
        runs->heads[bin] = NO_PAGE;
    hang_in(runs, 0, page_count);
}

bool
wr_runs_take(
    struct wr_runs *runs, uint32_t count, uint32_t align, uint32_t *first)
{
    WR_ASSERT(count > 0 && wr_is_power_of_two(align));
    if (count > runs->free_pages)
        return false;
    uint32_t page = find_run(runs, count, align);
    if (page == NO_PAGE)
        return false;
    *first = round_up(page, align);
    send_out(runs, page, *first, count);
    return true;
}

bool
wr_runs_has(const struct wr_runs *runs, uint32_t count, uint32_t align)
{
    return count <= runs->free_pages && find_run(runs, count, align) != NO_PAGE;
}

bool
wr_runs_give(struct wr_runs *runs, uint32_t first)
{
    uint32_t length = wr_runs_length(runs, first);
    if (length == 0)
        return false;
    WR_ASSERT(length <= runs->page_count - first);
    runs->entries[first].out = 0;
    bring_home(runs, first, length);
    return true;
}

uint32_t
wr_runs_length(const struct wr_runs *runs, uint32_t first)
{
    return first < runs->page_count ? runs->entries[first].out : 0;
}

bool
wr_runs_grow(struct wr_runs *runs, uint32_t first, uint32_t count)
{
    WR_ASSERT(count > 0);
    uint32_t length = wr_runs_length(runs, first);
    if (length == 0 ||
        (count > length && !add_behind(runs, first + length, count - length)))
        return false;
    runs->entries[first].out = count;
    if (count < length)
        bring_home(runs, first + count, length - count);
    return true;
}

uint32_t
wr_runs_free_pages(const struct wr_runs *runs)
{
    return runs->free_pages;
}

uint32_t
wr_runs_largest(const struct wr_runs *runs)
{
    if (runs->rows == 0)
        return 0;
    uint32_t row = wr_highest_bit(runs->rows);
    uint32_t bin = row * WR_RUNS_COLUMNS + wr_highest_bit(runs->columns[row]);
    uint32_t largest = 0;
    uint32_t page = runs->heads[bin];
    while (page != NO_PAGE) {
        const struct wr_run_entry *entry = &runs->entries[page];
        largest = entry->free > largest ? entry->free : largest;
        page = entry->next;
    }
    return largest;
}

/* ---- Checking ---- */

struct tally {
    uint32_t runs;
    uint32_t pages;
};

/* Invariant 3 of the pages of a run behind its first. */
static void
check_rest(const struct wr_run_entry *first, uint32_t length)
{
    for (uint32_t i = 1; i < length; i++) {
        const struct wr_run_entry *entry = first + i;
        uint32_t says = i == length - 1 ? first->free : 0;
        WR_CHECK(entry->free == says, "invariant 3 of runs broken");
        WR_CHECK((entry->out | entry->next | entry->previous) == 0,
            "invariant 3 of runs broken");
    }
}

/* Invariants 1 and 3 of the run that starts at `page`. Tells its length. */
static uint32_t
check_run(const struct wr_runs *runs, uint32_t page)
{
    const struct wr_run_entry *first = &runs->entries[page];
    uint32_t length = first->out != 0 ? first->out : first->free;
    WR_CHECK(length > 0 && length <= runs->page_count - page,
        "invariant 1 of runs broken");
    WR_CHECK(
        first->out == 0 || (first->free | first->next | first->previous) == 0,
        "invariant 3 of runs broken");
    check_rest(first, length);
    return length;
}

/* Invariants 1 to 3. Tells what is free by the entries. */
static struct tally
check_entries(const struct wr_runs *runs)
{
    struct tally free = { 0 };
    bool was_free = false;
    uint32_t page = 0;
    while (page < runs->page_count) {
        uint32_t length = check_run(runs, page);
        bool is_free = runs->entries[page].free != 0;
        WR_CHECK(!(was_free && is_free), "invariant 2 of runs broken");
        free.runs += is_free;
        free.pages += is_free ? length : 0;
        was_free = is_free;
        page += length;
    }
    return free;
}

/* Invariant 4 of one bin. Adds what hangs there to `free`. */
static void
check_bin(const struct wr_runs *runs, uint32_t bin, struct tally *free)
{
    uint32_t previous = NO_PAGE;
    uint32_t page = runs->heads[bin];
    while (page != NO_PAGE) {
        WR_CHECK(page < runs->page_count, "invariant 4 of runs broken");
        const struct wr_run_entry *entry = &runs->entries[page];
        WR_CHECK(entry->free != 0 && bin_of(entry->free) == bin &&
                     entry->previous == previous,
            "invariant 4 of runs broken");
        free->runs++;
        free->pages += entry->free;
        previous = page;
        page = entry->next;
    }
}

/* Invariant 5 of one row. */
static void
check_row(const struct wr_runs *runs, uint32_t row)
{
    uint32_t columns = 0;
    for (uint32_t i = 0; i < WR_RUNS_COLUMNS; i++)
        if (runs->heads[row * WR_RUNS_COLUMNS + i] != NO_PAGE)
            columns |= UINT32_C(1) << i;
    WR_CHECK(runs->columns[row] == columns, "invariant 5 of runs broken");
    WR_CHECK((runs->rows >> row & 1) == (columns != 0),
        "invariant 5 of runs broken");
}

void
wr_runs_check(const struct wr_runs *runs)
{
    struct tally free = check_entries(runs);
    struct tally hung = { 0 };
    for (uint32_t bin = 0; bin < WR_RUNS_BINS; bin++)
        check_bin(runs, bin, &hung);
    WR_CHECK(hung.runs == free.runs && hung.pages == free.pages,
        "invariant 4 of runs broken");
    for (uint32_t row = 0; row < WR_RUNS_ROWS; row++)
        check_row(runs, row);
    WR_CHECK(runs->rows >> WR_RUNS_ROWS == 0, "invariant 5 of runs broken");
    WR_CHECK(runs->free_pages == free.pages, "invariant 6 of runs broken");
}
