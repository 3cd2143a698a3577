/* SPDX-License-Identifier: MIT */
/*
 * heap_region: a heap's address space, page by page, and when it goes back.
 *
 *     region  [ page | page | page | . . . ]         reserved, not committed
 *     books   entries, sizes, words, spans, runs     another mapping, touched
 *                                                    where the pages are in use
 *
 * Idea
 *   A region is reserved whole and handed out in runs of 64 KiB pages
 *   (core/runs.c). All that is known of a page lies in the books at the page's
 *   number, so a pointer leads to its block by a subtraction and a shift, and
 *   what lies at the pointer is not looked at.
 *
 *   Where address space is short, as under a limit of the process, a region whose
 *   size nobody asked for is as large as the system grants by halves.
 *
 *   A page that is given back stays resident for a while, since it is likely to be
 *   taken again. It is noted as young. A tick, every half of the decay, gives all
 *   that is old to the system, and makes old what was young; who takes a page
 *   removes the note. So a page goes between half a decay and a whole one after
 *   it was given back, and with it the sizes of its blocks, which are all 0: a
 *   sixteenth of it. There is no thread for that: the calls of the heap that
 *   leave the thread's cache look at the clock.
 *
 * Invariants
 *   1. A page is in a run that is out, or free, and noted only if it is free.
 *   2. A page that is free and not noted reads as zero when it is touched.
 *   3. Regions are only added; their page numbers follow one another.
 *
 * Edges
 *   [region]  wr_heap_add_region, release  ->  wr_heap_region_count, acquire
 *             What is in a region's books when it is made.
 *
 * Costs
 *   Finding a region by an address: a comparison for each. Runs: under the
 *   region's lock.
 *
 * Limits
 *   1024 regions, 2^22 pages (256 GiB) in all.
 */

#include "core/heap_region.h"

#include "core/heap.h"

#include "base/bits.h"
#include "base/check.h"
#include "platform/clock.h"
#include "platform/poison.h"

#include <errno.h>

/* What the sizes of a page take: a page of the system's, or less. */
#define SIZES_BYTES ((size_t)WR_PAGE_UNITS * sizeof(uint32_t))

/* ---- Making one -------------------------------------------------------- */

/* Where the parts of the books start. */
struct layout {
    size_t entries;
    size_t sizes;
    size_t words;
    size_t spans;
    size_t larges;
    size_t young;
    size_t old;
    size_t runs;
    size_t total;
};

/* The next part, `size` bytes, on a line of its own. */
static size_t
place(struct layout *layout, size_t size)
{
    size_t at = layout->total;
    layout->total += (size + WR_LINE_SIZE - 1) & ~((size_t)WR_LINE_SIZE - 1);
    return at;
}

static struct layout
lay_out(uint32_t pages)
{
    struct layout layout = { 0 };
    size_t map = (pages / WR_WORD_BITS + 1) * sizeof(uint64_t);
    (void)place(&layout, sizeof(struct wr_heap_region));
    layout.entries = place(&layout, pages * sizeof(uint32_t));
    layout.total = (layout.total + SIZES_BYTES - 1) & ~(SIZES_BYTES - 1);
    layout.sizes = place(&layout, pages * SIZES_BYTES);
    layout.words =
        place(&layout, (size_t)pages * WR_PAGE_WORDS * sizeof(uint64_t));
    layout.spans = place(&layout, pages * sizeof(struct wr_span));
    layout.larges = place(&layout, pages * sizeof(uint64_t));
    layout.young = place(&layout, map);
    layout.old = place(&layout, map);
    layout.runs = place(&layout, wr_runs_meta_size(pages));
    return layout;
}

static struct wr_heap_region *
furnish(struct wr_region *books, const struct wr_region *mapping)
{
    uint32_t pages = (uint32_t)(mapping->size >> WR_PAGE_SHIFT);
    struct layout layout = lay_out(pages);
    char *memory = books->base;
    struct wr_heap_region *region = books->base;
    region->base = mapping->base;
    region->bytes = mapping->size;
    region->page_count = pages;
    region->entries = (_Atomic uint32_t *)(void *)(memory + layout.entries);
    region->sizes = (_Atomic uint32_t *)(void *)(memory + layout.sizes);
    region->words = (uint64_t *)(void *)(memory + layout.words);
    region->spans = (struct wr_span *)(void *)(memory + layout.spans);
    region->larges = (uint64_t *)(void *)(memory + layout.larges);
    region->young = (uint64_t *)(void *)(memory + layout.young);
    region->old = (uint64_t *)(void *)(memory + layout.old);
    wr_mutex_init(&region->lock);
    wr_runs_init(&region->runs, pages, memory + layout.runs);
    region->mapping = *mapping;
    region->books = *books;
    return region;
}

static struct wr_heap_region *
try_region(size_t bytes)
{
    struct wr_region mapping;
    struct wr_region books;
    if (!wr_pages_reserve(bytes, WR_HUGE_PAGE_SIZE, &mapping))
        return NULL;
    size_t size = lay_out((uint32_t)(bytes >> WR_PAGE_SHIFT)).total;
    if (wr_pages_reserve(size, WR_LINE_SIZE, &books))
        return furnish(&books, &mapping);
    int why = errno;
    wr_pages_unmap(&mapping);
    errno = why;
    return NULL;
}

/* As large as the system lets it be: half as much when it refuses, and so on. */
static struct wr_heap_region *
make_region(size_t bytes, size_t least)
{
    struct wr_heap_region *region = try_region(bytes);
    while (region == NULL && bytes > least) {
        bytes = (bytes / 2 + WR_PAGE_BYTES - 1) & ~(WR_PAGE_BYTES - 1);
        if (bytes < least)
            bytes = least;
        region = try_region(bytes);
    }
    return region;
}

/* How large the next region is, that `pages` fit in, and at least. */
static enum weir_status
choose_size(
    const struct weir_heap *heap, size_t pages, size_t *bytes, size_t *least)
{
    size_t left = (size_t)(WR_PAGES_MAX - heap->page_count) << WR_PAGE_SHIFT;
    if (pages > left >> WR_PAGE_SHIFT ||
        wr_heap_region_count(heap) == WR_REGIONS_MAX)
        return WEIR_FULL;
    size_t needed = pages << WR_PAGE_SHIFT;
    *bytes = heap->region_bytes > needed ? heap->region_bytes : needed;
    if (*bytes > left)
        *bytes = left;
    *least = heap->region_least > needed ? heap->region_least : needed;
    return WEIR_OK;
}

enum weir_status
wr_heap_add_region(struct weir_heap *heap, size_t pages)
{
    size_t bytes;
    size_t least;
    enum weir_status status = choose_size(heap, pages, &bytes, &least);
    if (status != WEIR_OK)
        return status;
    struct wr_heap_region *region = make_region(bytes, least);
    if (region == NULL)
        return WEIR_SYSTEM;
    uint32_t count = wr_load_relaxed(&heap->region_count); /* under the lock */
    region->first_page = heap->page_count;
    heap->page_count += region->page_count;
    heap->bytes_reserved += region->bytes;
    heap->regions[count] = region;
    wr_store_release(&heap->region_count, count + 1); /* [region] */
    return WEIR_OK;
}

/* ---- What leak checkers are shown -------------------------------------- */

/* They read all they are shown, so it is what was taken, doubled as it grows. */
enum { SHOWN_FIRST = 16 };

/* Where the part ends that begins at `from`. */
static uint32_t
part_end(const struct wr_heap_region *region, uint32_t from)
{
    uint32_t to = from == 0 ? SHOWN_FIRST : 2 * from;
    return to < region->page_count ? to : region->page_count;
}

/* Pages below `end` were taken. */
static void
show_pages(struct wr_heap_region *region, uint32_t end)
{
    while (region->shown < end) {
        uint32_t to = part_end(region, region->shown);
        wr_roots_add(region->base + region->shown * WR_PAGE_BYTES,
            (to - region->shown) * WR_PAGE_BYTES);
        region->shown = to;
    }
}

/* What is mapped there next is open, and no business of ours. */
static void
hide_pages(const struct wr_heap_region *region)
{
    size_t size = region->shown * WR_PAGE_BYTES;
    uint32_t to;
    for (uint32_t from = 0; from < region->shown; from = to) {
        to = part_end(region, from);
        wr_roots_remove(
            region->base + from * WR_PAGE_BYTES, (to - from) * WR_PAGE_BYTES);
    }
    wr_poison_open(region->base, size, size);
}

void
wr_heap_unmap_regions(struct weir_heap *heap)
{
    uint32_t count = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < count; i++) {
        struct wr_heap_region *region = heap->regions[i];
        struct wr_region books = region->books;
        hide_pages(region);
        wr_pages_unmap(&region->mapping);
        wr_mutex_fini(&region->lock);
        wr_pages_unmap(&books);
    }
}

/* ---- Finding one ------------------------------------------------------- */

struct wr_heap_region *
wr_heap_region_at(const struct weir_heap *heap, const void *memory)
{
    uint32_t count = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < count; i++) {
        struct wr_heap_region *region = heap->regions[i];
        if ((uintptr_t)memory - (uintptr_t)region->base < region->bytes)
            return region;
    }
    return NULL;
}

struct wr_heap_region *
wr_heap_region_of(const struct weir_heap *heap, uint32_t page)
{
    uint32_t count = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < count; i++) {
        struct wr_heap_region *region = heap->regions[i];
        if (page - region->first_page < region->page_count)
            return region;
    }
    return NULL;
}

/* ---- Notes ------------------------------------------------------------- */

/* The bits of pages `from` to `to` in word `from` / 64; `to` may lie beyond. */
static uint64_t
bits_between(uint32_t from, uint32_t to)
{
    uint32_t rest = WR_WORD_BITS - from % WR_WORD_BITS;
    uint32_t count = to - from < rest ? to - from : rest;
    return wr_low_bits(count) << from % WR_WORD_BITS;
}

static uint32_t
next_word(uint32_t page)
{
    return (page / WR_WORD_BITS + 1) * WR_WORD_BITS;
}

/* Removes the notes of pages that are taken; true if there were none. */
static bool
remove_notes(struct wr_heap_region *region, uint32_t from, uint32_t to)
{
    uint64_t seen = 0;
    for (uint32_t page = from; page < to; page = next_word(page)) {
        uint64_t bits = bits_between(page, to);
        uint32_t word = page / WR_WORD_BITS;
        seen |= (region->young[word] | region->old[word]) & bits;
        region->young[word] &= ~bits;
        region->old[word] &= ~bits;
    }
    return seen == 0;
}

static void
note(struct wr_heap_region *region, uint32_t from, uint32_t to)
{
    for (uint32_t page = from; page < to; page = next_word(page))
        region->young[page / WR_WORD_BITS] |= bits_between(page, to);
}

/* Gives the pages of these bits to the system; returns those it refused. */
static uint64_t
discard_bits(const struct wr_heap_region *region, uint32_t word, uint64_t bits)
{
    uint64_t refused = 0;
    while (bits != 0) {
        uint32_t from = wr_lowest_bit(bits);
        uint32_t count = wr_lowest_run(bits);
        uint64_t run = wr_low_bits(count) << from;
        size_t page = (size_t)word * WR_WORD_BITS + from;
        if (!wr_pages_discard(
                region->base + page * WR_PAGE_BYTES, count * WR_PAGE_BYTES))
            refused |= run;
        else /* no block of it is out */
            wr_pages_discard_zeros(
                (void *)(uintptr_t)&region->sizes[page * WR_PAGE_UNITS],
                count * SIZES_BYTES);
        bits &= ~run;
    }
    return refused;
}

/* Gives what is old to the system, and with `all` what is young too. What it does
   not take, as it is locked into memory, stays old. */
static void
discard(struct wr_heap_region *region, bool all)
{
    for (uint32_t word = 0; word <= region->page_count / WR_WORD_BITS; word++) {
        uint64_t young = region->young[word];
        uint64_t old = region->old[word];
        if ((young | old) == 0)
            continue;
        uint64_t kept = discard_bits(region, word, all ? young | old : old);
        region->old[word] = kept | (all ? 0 : young);
        region->young[word] = 0;
    }
}

static void
discard_everywhere(struct weir_heap *heap, bool all)
{
    uint32_t regions = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < regions; i++) {
        wr_mutex_lock(&heap->regions[i]->lock);
        discard(heap->regions[i], all);
        wr_mutex_unlock(&heap->regions[i]->lock);
    }
}

void
wr_heap_tick(struct weir_heap *heap)
{
    uint64_t last = wr_load_relaxed(&heap->tick_ms); /* a hint */
    uint64_t now = wr_clock_ms();
    if (now > last && now - last >= heap->decay_ms / 2 &&
        wr_cas_relaxed(&heap->tick_ms, &last, now)) /* one is enough */
        discard_everywhere(heap, false);
}

void
wr_heap_discard(struct weir_heap *heap)
{
    discard_everywhere(heap, true);
}

/* ---- Runs -------------------------------------------------------------- */

/* A large block starts at the page. */
static void
set_large(
    struct wr_heap_region *region, uint32_t page, uint32_t count, size_t size)
{
    region->larges[page] = size;
    region->large_live++;
    region->large_bytes += (uint64_t)count << WR_PAGE_SHIFT;
    wr_store_relaxed(&region->entries[page],
        wr_entry(WR_ENTRY_LARGE, page)); /* who has a block was given it */
}

static bool
take_from(struct wr_heap_region *region, uint32_t count, uint32_t align,
    size_t size, struct wr_pages *pages)
{
    wr_mutex_lock(&region->lock);
    bool taken = wr_runs_take(&region->runs, count, align, &pages->page);
    if (taken) {
        pages->is_zero = remove_notes(region, pages->page, pages->page + count);
        if (size != 0)
            set_large(region, pages->page, count, size);
        show_pages(region, pages->page + count);
    }
    wr_mutex_unlock(&region->lock);
    return taken;
}

bool
wr_heap_may_take(const struct weir_heap *heap, size_t pages)
{
    size_t used = wr_load_relaxed(&heap->pages_used); /* a number */
    return pages <= heap->pages_max && used <= heap->pages_max - pages;
}

/* Counts pages as used; false: they would be too many. */
static bool
reserve_pages(struct weir_heap *heap, size_t count)
{
    size_t used = wr_load_relaxed(&heap->pages_used); /* the exchange decides */
    do {
        if (count > heap->pages_max || used > heap->pages_max - count)
            return false;
    } while (
        !wr_cas_relaxed(&heap->pages_used, &used, used + count)); /* a number */
    return true;
}

bool
wr_heap_take_pages(struct weir_heap *heap, uint32_t count, uint32_t align,
    size_t size, struct wr_pages *pages)
{
    if (!reserve_pages(heap, count))
        return false;
    uint32_t regions = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < regions; i++)
        if (take_from(heap->regions[i], count, align, size, pages)) {
            pages->region = heap->regions[i];
            wr_poison_shut(
                pages->region->base + (size_t)pages->page * WR_PAGE_BYTES,
                count * WR_PAGE_BYTES); /* until blocks there are out */
            return true;
        }
    (void)wr_sub_relaxed(&heap->pages_used, count); /* a number */
    return false;
}

bool
wr_heap_has_pages(const struct weir_heap *heap, uint32_t count, uint32_t align)
{
    bool found = false;
    uint32_t regions = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < regions && !found; i++) {
        struct wr_heap_region *region = heap->regions[i];
        wr_mutex_lock(&region->lock);
        found = wr_runs_has(&region->runs, count, align);
        wr_mutex_unlock(&region->lock);
    }
    return found && wr_heap_may_take(heap, count);
}

void
wr_heap_give_pages(
    struct weir_heap *heap, struct wr_heap_region *region, uint32_t page)
{
    uint32_t count = wr_runs_length(&region->runs, page);
    note(region, page, page + count);
    if (!wr_runs_give(&region->runs, page))
        wr_heap_fail(heap, "the books of the heap are broken");
    (void)wr_sub_relaxed(&heap->pages_used, count); /* a number */
}

bool
wr_heap_resize_run(struct weir_heap *heap, struct wr_heap_region *region,
    uint32_t page, uint32_t count)
{
    uint32_t had = wr_runs_length(&region->runs, page);
    if (count > had && !reserve_pages(heap, count - had))
        return false;
    bool done = wr_runs_grow(&region->runs, page, count);
    if (count > had && done) {
        (void)remove_notes(region, page + had, page + count);
        show_pages(region, page + count);
    } else if (count > had)
        (void)wr_sub_relaxed(&heap->pages_used, count - had); /* a number */
    else if (done) {
        note(region, page + count, page + had);
        (void)wr_sub_relaxed(&heap->pages_used, had - count); /* a number */
    }
    return done;
}
