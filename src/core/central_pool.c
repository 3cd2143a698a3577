/* SPDX-License-Identifier: MIT */
/*
 * central_pool: spans of equal blocks, a lock for each class.
 *
 *     class ──▶ span ──▶ span        those with free blocks
 *               words  [1101 ...]    a set bit is a block in nobody's hands
 *
 * Idea
 *   A class cuts runs of pages into spans of equal blocks. Blocks move between
 *   it and threads' caches as batches: up to 64 of one word, under the lock of the
 *   class. So that a batch is never much more than a thread may keep, fewer
 *   blocks share a word where they are large: as many as 64 KiB hold, in powers
 *   of two, and at least one.
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
 *   A lock and a search over a span's words for up to 64 blocks.
 */

#include "core/central_pool.h"

#include "core/heap.h"

#include "base/bits.h"
#include "base/check.h"

enum {
    WORD_BYTES = 1 << 16, /* blocks of one word hold about so much */
    SPAN_BLOCKS = 8       /* in a span, at least, if there are the pages */
};

uint32_t
wr_central_shift(uint32_t class)
{
    uint32_t shift = 6;
    while (shift > 0 && wr_class_size(class) << shift > WORD_BYTES)
        shift--;
    return shift;
}

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

/* How many pages a span is cut from at best. */
static uint32_t
best_pages(uint32_t class)
{
    size_t bytes = wr_class_size(class) * SPAN_BLOCKS;
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
    uint32_t most = UINT32_C(1) << wr_central_shift(span->class);
    uint64_t *words = &region->words[(size_t)page * WR_PAGE_WORDS];
    uint32_t left = span->count;
    for (; left > most; left -= most)
        *words++ = wr_low_bits(most);
    *words = wr_low_bits(left);
}

/* Cuts a span of `pages`. The class's lock is held. */
static bool
cut(struct weir_heap *heap, uint32_t class, uint32_t pages)
{
    struct wr_pages taken;
    if (!wr_heap_take_pages(heap, pages, 1, &taken))
        return false;
    struct wr_heap_region *region = taken.region;
    uint32_t page = taken.page;
    uint32_t count = (uint32_t)((pages * WR_PAGE_BYTES) / wr_class_size(class));
    region->spans[page] = (struct wr_span){
        .class = class, .count = count, .free = count, .pages = pages
    };
    fill_words(region, page);
    set_entries(region, page, pages, page << WR_ENTRY_SHIFT | (class + 1));
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
    wr_heap_give_pages(heap, region, page, span->pages);
}

void
wr_central_trim(struct weir_heap *heap)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_central *central = &heap->centrals[class];
        wr_mutex_lock(&central->lock);
        uint32_t page = central->first;
        while (page != 0) {
            const struct wr_span *span = span_at(heap, page);
            uint32_t next = span->next;
            if (span->free == span->count)
                dissolve(heap, page);
            page = next;
        }
        wr_mutex_unlock(&central->lock);
    }
}

/* ---- Batches ----------------------------------------------------------- */

/* Takes from the first span of the list, which has free blocks. */
static void
take_from_first(struct weir_heap *heap, struct wr_central *central,
    uint32_t most, struct wr_batch *batch)
{
    uint32_t number = central->first;
    struct wr_heap_region *region = wr_heap_region_of(heap, number);
    uint32_t page = number - region->first_page;
    struct wr_span *span = &region->spans[page];
    uint64_t *words = &region->words[(size_t)page * WR_PAGE_WORDS];
    while (words[span->hint] == 0)
        span->hint++;
    batch->mask = wr_lowest_bits(words[span->hint], most);
    batch->word = number * WR_PAGE_WORDS + span->hint;
    words[span->hint] &= ~batch->mask;
    if (span->free == span->count)
        central->whole--;
    uint32_t count = wr_count_bits(batch->mask);
    span->free -= count;
    central->free -= count;
    if (span->free == 0)
        unlink_span(heap, central, number);
}

bool
wr_central_take(struct weir_heap *heap, uint32_t class, uint32_t most,
    struct wr_batch *batch)
{
    struct wr_central *central = &heap->centrals[class];
    wr_mutex_lock(&central->lock);
    bool found = central->first != 0 || cut_some(heap, class);
    if (found)
        take_from_first(heap, central, most, batch);
    wr_mutex_unlock(&central->lock);
    return found;
}

/* The span, whole now, is one more than the class keeps. */
static bool
is_too_many(const struct wr_central *central, const struct wr_span *span)
{
    return span->pages > 1 || central->whole > 1;
}

/* The class's lock is held. False: a block of them was there. */
static bool
give(struct weir_heap *heap, struct wr_central *central,
    const struct wr_batch *batch)
{
    uint32_t number = batch->word / WR_PAGE_WORDS;
    struct wr_heap_region *region = wr_heap_region_of(heap, number);
    uint32_t entry = wr_load_relaxed(
        &region->entries[number - region->first_page]); /* under the lock */
    uint32_t page = entry >> WR_ENTRY_SHIFT;
    uint32_t first = region->first_page + page;
    uint32_t word = batch->word - first * WR_PAGE_WORDS;
    struct wr_span *span = &region->spans[page];
    uint64_t *at = &region->words[(size_t)page * WR_PAGE_WORDS + word];
    WR_ASSERT(word << wr_central_shift(span->class) < span->count);
    if ((*at & batch->mask) != 0)
        return false;
    *at |= batch->mask;
    if (span->free == 0)
        link_span(heap, central, first);
    uint32_t count = wr_count_bits(batch->mask);
    span->free += count;
    central->free += count;
    if (word < span->hint)
        span->hint = word;
    if (span->free == span->count) {
        central->whole++;
        if (is_too_many(central, span))
            dissolve(heap, first);
    }
    return true;
}

void
wr_central_give(
    struct weir_heap *heap, uint32_t class, const struct wr_batch *batch)
{
    struct wr_central *central = &heap->centrals[class];
    if (batch->mask == 0)
        return;
    wr_mutex_lock(&central->lock);
    bool was_out = give(heap, central, batch);
    wr_mutex_unlock(&central->lock);
    if (!was_out)
        wr_heap_fail(heap, "a block was released twice");
}
