/* SPDX-License-Identifier: MIT */
/*
 * central_pool: spans of equal blocks, a lock for each class.
 *
 *     class ──▶ span ──▶ span        those with free blocks
 *               words  [1101 ...]    a set bit is a block in nobody's hands
 *
 * Idea
 *   A class cuts runs of pages into spans of equal blocks. Blocks move between
 *   it and threads' shelves some at a time, under the lock of the class.
 *
 *   A span all of whose blocks are home gives its pages back at once, for whatever
 *   class wants them next. Spans of one page are an exception: a class keeps
 *   one, so that it does not cut the same page again and again.
 *
 * Invariants
 *   1. The list has the spans with free blocks, and only these.
 *   2. free is the number of bits in a span's words; none is set beyond count.
 *   3. The sizes of blocks that are not out are 0.
 *
 * Edges
 *   The lock's.
 *
 * Costs
 *   A lock and a search over a span's words for half a shelf of blocks.
 */

#include "core/central_pool.h"

#include "core/heap.h"

#include "base/bits.h"
#include "base/check.h"

enum {
    SPAN_BLOCKS = 8,       /* in a span, at least, if there are the pages */
    SPAN_BYTES = 512 << 10 /* and no longer, if a rest need not be left */
};

/* ---- The list ---------------------------------------------------------- */

static struct wr_span *
span_at(const struct weir_heap *heap, uint32_t page)
{
    struct wr_heap_region *region = wr_heap_region_of(heap, page);
    WR_ASSERT(region != NULL);
    return &region->spans[page - region->first_page];
}

static void
link_span(struct weir_heap *heap, struct wr_central *central, uint32_t page)
{
    struct wr_span *span = span_at(heap, page);
    span->previous = 0;
    span->next = central->first;
    if (span->next != 0)
        span_at(heap, span->next)->previous = page;
    central->first = page;
}

static void
unlink_span(struct weir_heap *heap, struct wr_central *central, uint32_t page)
{
    const struct wr_span *span = span_at(heap, page);
    if (span->previous != 0)
        span_at(heap, span->previous)->next = span->next;
    else
        central->first = span->next;
    if (span->next != 0)
        span_at(heap, span->next)->previous = span->previous;
}

/* ---- Spans ------------------------------------------------------------- */

/* How many pages a span is cut from at best. One block at hand holds its whole span,
   so those of large blocks are as short as they can be without a rest. */
static uint32_t
best_pages(uint32_t class)
{
    size_t bytes = wr_class_size(class) * SPAN_BLOCKS;
    while (bytes > SPAN_BYTES && bytes / 2 % WR_PAGE_BYTES == 0 &&
           bytes / 2 >= wr_class_size(class))
        bytes /= 2;
    return (uint32_t)((bytes + WR_PAGE_BYTES - 1) >> WR_PAGE_SHIFT);
}

uint32_t
wr_central_least_pages(uint32_t class)
{
    return (
        uint32_t)((wr_class_size(class) + WR_PAGE_BYTES - 1) >> WR_PAGE_SHIFT);
}

static void
set_entries(struct wr_heap_region *region, uint32_t page, uint32_t count,
    uint32_t entry)
{
    for (uint32_t i = 0; i < count; i++)
        wr_store_relaxed(&region->entries[page + i],
            entry); /* who has a block was given it */
}

static void
fill_words(struct wr_heap_region *region, uint32_t page)
{
    const struct wr_span *span = &region->spans[page];
    uint64_t *words = &region->words[(size_t)page * WR_PAGE_WORDS];
    uint32_t left = span->count;
    for (; left > WR_WORD_BITS; left -= WR_WORD_BITS)
        *words++ = UINT64_MAX;
    *words = wr_low_bits(left);
}

/* Cuts a span of `pages`. The class's lock is held. */
static bool
cut(struct weir_heap *heap, uint32_t class, uint32_t pages)
{
    struct wr_pages taken;
    if (!wr_heap_take_pages(heap, pages, 1, 0, &taken))
        return false;
    struct wr_heap_region *region = taken.region;
    uint32_t page = taken.page;
    uint32_t count = (uint32_t)((pages * WR_PAGE_BYTES) / wr_class_size(class));
    region->spans[page] = (struct wr_span){
        .class = class, .count = count, .free = count, .pages = pages
    };
    fill_words(region, page);
    set_entries(region, page, pages, wr_entry(WR_ENTRY_SPAN + class, page));
    struct wr_central *central = &heap->centrals[class];
    link_span(heap, central, region->first_page + page);
    central->whole++;
    central->blocks += count;
    central->free += count;
    return true;
}

/* A span of as many pages as there are. */
static bool
cut_some(struct weir_heap *heap, uint32_t class)
{
    uint32_t least = wr_central_least_pages(class);
    for (uint32_t pages = best_pages(class); pages > least; pages /= 2)
        if (cut(heap, class, pages))
            return true;
    return cut(heap, class, least);
}

/* Gives the pages of a span that is whole back. The class's lock is held. */
static void
dissolve(struct weir_heap *heap, uint32_t number)
{
    struct wr_heap_region *region = wr_heap_region_of(heap, number);
    uint32_t page = number - region->first_page;
    struct wr_span *span = &region->spans[page];
    struct wr_central *central = &heap->centrals[span->class];
    WR_ASSERT(span->free == span->count);
    unlink_span(heap, central, number);
    central->whole--;
    central->blocks -= span->count;
    central->free -= span->count;
    set_entries(region, page, span->pages, WR_ENTRY_GONE);
    wr_mutex_lock(&region->lock);
    wr_heap_give_pages(heap, region, page);
    wr_mutex_unlock(&region->lock);
}

void
wr_central_lock(struct weir_heap *heap)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++)
        wr_mutex_lock(&heap->centrals[class].lock);
}

void
wr_central_unlock(struct weir_heap *heap)
{
    for (uint32_t class = WR_CLASS_SMALL_COUNT; class > 0; class --)
        wr_mutex_unlock(&heap->centrals[class - 1].lock);
}

void
wr_central_trim(struct weir_heap *heap)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        uint32_t page = heap->centrals[class].first;
        while (page != 0) {
            const struct wr_span *span = span_at(heap, page);
            uint32_t next = span->next;
            if (span->free == span->count)
                dissolve(heap, page);
            page = next;
        }
    }
}

/* ---- Blocks ------------------------------------------------------------ */

/* Takes up to `most` from the first span of the list, which has free blocks. */
static uint32_t
take_from_first(struct weir_heap *heap, struct wr_central *central,
    uint32_t most, void **blocks)
{
    uint32_t number = central->first;
    struct wr_heap_region *region = wr_heap_region_of(heap, number);
    uint32_t page = number - region->first_page;
    struct wr_span *span = &region->spans[page];
    uint64_t *words = &region->words[(size_t)page * WR_PAGE_WORDS];
    uint8_t *start = region->base + ((size_t)page << WR_PAGE_SHIFT);
    const size_t size = wr_class_size(span->class);
    uint32_t count = most < span->free ? most : span->free;
    if (span->free == span->count)
        central->whole--;
    for (uint32_t i = 0; i < count; i++) {
        while (words[span->hint] == 0)
            span->hint++;
        uint64_t *word = &words[span->hint];
        size_t index = (size_t)span->hint * WR_WORD_BITS + wr_lowest_bit(*word);
        *word &= *word - 1;
        blocks[count - 1 - i] = start + index * size; /* it goes first */
    }
    span->free -= count;
    central->free -= count;
    if (span->free == 0)
        unlink_span(heap, central, number);
    return count;
}

uint32_t
wr_central_take(
    struct weir_heap *heap, uint32_t class, uint32_t most, void **blocks)
{
    struct wr_central *central = &heap->centrals[class];
    uint32_t count = 0;
    wr_mutex_lock(&central->lock);
    if (central->first == 0)
        (void)cut_some(heap, class);
    while (count < most && central->first != 0)
        count += take_from_first(heap, central, most - count, blocks + count);
    wr_mutex_unlock(&central->lock);
    return count;
}

/* The span, whole now, is one more than the class keeps. */
static bool
is_too_many(const struct wr_central *central, const struct wr_span *span)
{
    return span->pages > 1 || central->whole > 1;
}

/* The span of a block, or NULL: it is of none of the class. */
static struct wr_span *
find_span(const struct weir_heap *heap, uint32_t class, const void *block,
    struct wr_heap_region **region)
{
    *region = wr_heap_region_at(heap, block);
    WR_ASSERT(*region != NULL);
    size_t offset = (uintptr_t)block - (uintptr_t)(*region)->base;
    uint32_t entry = wr_load_relaxed(
        &(*region)->entries[offset >> WR_PAGE_SHIFT]); /* under the lock */
    if (wr_entry_kind(entry) != WR_ENTRY_SPAN + class)
        return NULL;
    return &(*region)->spans[wr_entry_page(entry)];
}

/* Gives a block `offset` bytes behind the start of the region. False: it is in the
   span already, or out, or none of the span. */
static inline bool
give_one(struct wr_heap_region *region, struct wr_span *span, uint32_t page,
    size_t offset)
{
    size_t units = offset / WR_CLASS_UNIT - (size_t)page * WR_PAGE_UNITS;
    uint32_t index = wr_class_index(span->class, (uint32_t)units);
    uint32_t word = index / WR_WORD_BITS;
    uint32_t asked = wr_load_relaxed(
        &region->sizes[offset / WR_CLASS_UNIT]); /* who has it struck it out */
    if (word < span->hint)
        span->hint = word;
    return asked == 0 && (size_t)index * wr_class_units(span->class) == units &&
           !wr_set_bit(
               &region->words[(size_t)page * WR_PAGE_WORDS + word], index);
}

/* Gives those of `blocks` that are of the first one's span and stand together, and
   returns how many. The lock of the class is held. 0: one was there, or out. */
static uint32_t
give_some(
    struct weir_heap *heap, uint32_t class, void *const *blocks, uint32_t count)
{
    struct wr_central *central = &heap->centrals[class];
    struct wr_heap_region *region;
    struct wr_span *span = find_span(heap, class, blocks[0], &region);
    if (span == NULL)
        return 0;
    uint32_t page = (uint32_t)(span - region->spans);
    uint32_t given = 0;
    do {
        size_t offset = (uintptr_t)blocks[given] - (uintptr_t)region->base;
        if ((offset >> WR_PAGE_SHIFT) - page >= span->pages)
            break;
        if (!give_one(region, span, page, offset))
            return 0;
    } while (++given < count);
    if (span->free == 0)
        link_span(heap, central, region->first_page + page);
    span->free += given;
    central->free += given;
    if (span->free == span->count) {
        central->whole++;
        if (is_too_many(central, span))
            dissolve(heap, region->first_page + page);
    }
    return given;
}

void
wr_central_give(
    struct weir_heap *heap, uint32_t class, void *const *blocks, uint32_t count)
{
    struct wr_central *central = &heap->centrals[class];
    uint32_t given = 1;
    wr_mutex_lock(&central->lock);
    for (; count > 0 && given > 0; blocks += given, count -= given)
        given = give_some(heap, class, blocks, count);
    wr_mutex_unlock(&central->lock);
    if (given == 0)
        wr_heap_fail(heap, "a block was released twice");
}
