/* SPDX-License-Identifier: MIT */
/* heap_region: a heap's address space, page by page. */
#ifndef WR_HEAP_REGION_H
#define WR_HEAP_REGION_H

#include "core/runs.h"
#include "core/size_class.h"
#include "platform/pages.h"
#include "platform/thread.h"
#include "weir/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wr_span;

enum {
    WR_PAGE_SHIFT = 16,     /* a page of the heap is 64 KiB */
    WR_PAGE_UNITS = 1024,   /* places where blocks may start in a page */
    WR_PAGE_WORDS = 16,     /* and words of their bits */
    WR_PAGES_MAX = 1 << 22, /* of a heap */
    WR_REGIONS_MAX = 1024
};

#define WR_PAGE_BYTES ((size_t)1 << WR_PAGE_SHIFT)

/*
 * What a page belongs to: a kind, and for some of them the page where that starts.
 * Written by who takes the page or is about to give it back; a release reads it
 * without a lock, since the entry of a block that is out does not change.
 */
enum wr_entry_kind {
    WR_ENTRY_NEVER = 0, /* nothing, ever */
    WR_ENTRY_SPAN,      /* and so on: a span of class 0, 1, ... */
    WR_ENTRY_GONE = WR_ENTRY_SPAN + WR_CLASS_SMALL_COUNT, /* nothing now */
    WR_ENTRY_LARGE, /* the first page of a large block */
    WR_ENTRY_KINDS
};

static inline uint32_t
wr_entry(uint32_t kind, uint32_t page)
{
    return page << 8 | kind;
}

static inline uint32_t
wr_entry_kind(uint32_t entry)
{
    return entry & 0xff;
}

static inline uint32_t
wr_entry_page(uint32_t entry)
{
    return entry >> 8;
}

struct wr_heap_region {
    uint8_t *base;
    size_t bytes;
    uint32_t page_count;
    uint32_t first_page;       /* the number of its first in the heap: from 1 */
    _Atomic uint32_t *entries; /* one a page */
    _Atomic uint32_t *sizes;   /* WR_PAGE_UNITS a page: where a block starts
                                  that is out what was asked for, else 0 */
    uint64_t *words;       /* WR_PAGE_WORDS a page; under the class's lock */
    struct wr_span *spans; /* one a page */
    uint64_t *larges;      /* one a page: what was asked for */

    struct wr_mutex lock;
    struct wr_runs runs;
    uint64_t *young; /* free pages that are resident, a bit each: since the */
    uint64_t *old;   /* last tick, and since before */
    uint64_t large_live;
    uint64_t large_bytes;
    uint32_t shown; /* pages below this, about, were taken once */

    struct wr_region mapping;
    struct wr_region books; /* this too */
};

/* Adds a region with a run of `pages`. The heap's lock is held. */
enum weir_status wr_heap_add_region(struct weir_heap *heap, size_t pages);

/* The region that `memory` points into, or that has the page; NULL: none. */
struct wr_heap_region *wr_heap_region_at(
    const struct weir_heap *heap, const void *memory);
struct wr_heap_region *wr_heap_region_of(
    const struct weir_heap *heap, uint32_t page);

struct wr_pages {
    struct wr_heap_region *region;
    uint32_t page; /* the first; the region's own number */
    bool is_zero;  /* they were not touched since the system gave them */
};

/* Takes pages that follow one another, from whatever region has them: for a large
   block of `size` bytes, which is noted, or for a span if that is 0. */
bool wr_heap_take_pages(struct weir_heap *heap, uint32_t count, uint32_t align,
    size_t size, struct wr_pages *pages);

/* The same pages could be taken, of regions that there are. */
bool wr_heap_has_pages(
    const struct weir_heap *heap, uint32_t count, uint32_t align);

/* Gives all that were taken together back. The region's lock is held. */
void wr_heap_give_pages(
    struct weir_heap *heap, struct wr_heap_region *region, uint32_t page);

/* Makes a run longer or shorter where it is. The region's lock is held. */
bool wr_heap_resize_run(struct weir_heap *heap, struct wr_heap_region *region,
    uint32_t page, uint32_t count);

/* False: so many pages more would be too many. */
bool wr_heap_may_take(const struct weir_heap *heap, size_t pages);

/* Gives pages that are free for long to the system, if the time has come; or all
   that are free. */
void wr_heap_tick(struct weir_heap *heap);
void wr_heap_discard(struct weir_heap *heap);

void wr_heap_unmap_regions(struct weir_heap *heap);

#endif
