/* SPDX-License-Identifier: MIT */
/* pages: memory from the system, with a guard at either end. */
#ifndef WR_PAGES_H
#define WR_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/* Guard, `size` bytes at `base`, guard. Zeroed when there is none. */
struct wr_region {
    void *base;
    size_t size;
    void *mapping; /* with its guards */
    size_t mapping_size;
};

enum wr_page_kind {
    WR_PAGES_NORMAL,
    WR_PAGES_HUGE_IF_FREE, /* reserved huge pages, else transparent ones */
    WR_PAGES_HUGE          /* reserved huge pages or failure */
};

/* The size of an ordinary page. */
size_t wr_page_size(void);

/* The size of a huge page, as far as this library uses them. */
enum { WR_HUGE_PAGE_SIZE = 2 << 20 };

/*
 * Maps at least `size` bytes, zeroed, aligned to `align`, a power of two, and
 * to a page, between two pages that fault. False: errno says why, and nothing
 * is mapped; ENOMEM also for sizes that overflow.
 */
bool wr_pages_map(size_t size, size_t align, enum wr_page_kind kind,
    struct wr_region *region);

/* The same without a promise that there is memory for it all: pages are found when
   they are touched. */
bool wr_pages_reserve(size_t size, size_t align, struct wr_region *region);

/* Gives the memory of whole pages to the system; they are zeroed when they are
   touched again. False: it does not take them; they are locked, perhaps, or not
   whole pages. */
bool wr_pages_discard(void *base, size_t size);

/* The same for memory that is zero already: who reads it meanwhile sees nothing of
   it. */
void wr_pages_discard_zeros(void *base, size_t size);

/* Touches every page, so that none faults later. False: errno says why. */
bool wr_pages_prefault(const struct wr_region *region);

/* Locks every page into RAM. False: errno says why. */
bool wr_pages_lock(const struct wr_region *region);

/* Gives the region back. A zeroed one is fine. */
void wr_pages_unmap(struct wr_region *region);

#endif
