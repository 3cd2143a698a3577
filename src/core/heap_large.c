/* SPDX-License-Identifier: MIT */
/*
 * heap_large: blocks above 1 MiB.
 *
 * Idea
 *   A large block is a run of pages, and noted at its first one: that it is, and
 *   what was asked for. It is split from a free run and joins its free neighbours
 *   when it comes back (core/runs.c), so what large blocks leave is whole for
 *   larger ones, and for spans.
 *
 * Costs
 *   The region's lock. A cleared block is not written where the system has just
 *   given its pages.
 */

#include "core/heap.h"

#include "base/check.h"
#include "platform/poison.h"

#include <string.h>

static size_t
pages_for(size_t size)
{
    return (size >> WR_PAGE_SHIFT) + (size % WR_PAGE_BYTES != 0);
}

/* More than a heap may ever have. */
static bool
is_too_large(const struct weir_heap *heap, size_t size)
{
    return pages_for(size) > heap->pages_max || pages_for(size) >= WR_PAGES_MAX;
}

enum weir_status
wr_heap_large_alloc(struct weir_heap *heap, size_t size, size_t align,
    bool zeroed, void **memory)
{
    WR_CHECK(heap->serial != 0, "a heap was used after it was destroyed");
    if (size == 0)
        return WEIR_INVALID;
    if (is_too_large(heap, size))
        return WEIR_TOO_LARGE;
    uint32_t count = (uint32_t)pages_for(size);
    uint32_t align_by =
        align > WR_PAGE_BYTES ? (uint32_t)(align >> WR_PAGE_SHIFT) : 1;
    struct wr_pages taken;
    struct wr_hunt hunt =
        wr_heap_hunt(heap, count, align_by, WR_CLASS_SMALL_COUNT);
    while (!wr_heap_take_pages(heap, count, align_by, size, &taken)) {
        enum weir_status status = wr_heap_make_room(heap, &hunt);
        if (status != WEIR_OK)
            return status;
    }
    *memory = taken.region->base + ((size_t)taken.page << WR_PAGE_SHIFT);
    wr_poison_open(*memory, size, (size_t)count << WR_PAGE_SHIFT);
    if (zeroed && !taken.is_zero)
        memset(*memory, 0, size);
    wr_heap_tick(heap);
    return WEIR_OK;
}

static const void *
start_of(const struct wr_place *place)
{
    return place->region->base + ((size_t)place->page << WR_PAGE_SHIFT);
}

/* The block is out, and of that size if one is given. The lock is held. */
static enum weir_status
check_out(const struct wr_place *place, size_t size)
{
    const struct wr_heap_region *region = place->region;
    uint32_t entry =
        wr_load_relaxed(&region->entries[place->page]); /* under the lock */
    if (entry != wr_entry(WR_ENTRY_LARGE, place->page))
        return WEIR_ALREADY_RELEASED;
    return size != 0 && size != region->larges[place->page] ? WEIR_SIZE_MISMATCH
                                                            : WEIR_OK;
}

enum weir_status
wr_heap_large_release(
    struct weir_heap *heap, const struct wr_place *place, size_t size)
{
    struct wr_heap_region *region = place->region;
    wr_mutex_lock(&region->lock);
    enum weir_status status = check_out(place, size);
    if (status == WEIR_OK) {
        size_t bytes = (size_t)wr_runs_length(&region->runs, place->page)
                       << WR_PAGE_SHIFT;
        region->large_live--;
        region->large_bytes -= bytes;
        wr_poison_shut(start_of(place), bytes);
        wr_store_relaxed(
            &region->entries[place->page], WR_ENTRY_GONE); /* it was ours */
        wr_heap_give_pages(heap, region, place->page);
    }
    wr_mutex_unlock(&region->lock);
    if (status == WEIR_OK)
        wr_heap_tick(heap);
    return status;
}

enum weir_status
wr_heap_large_resize(
    struct weir_heap *heap, const struct wr_place *place, size_t size)
{
    struct wr_heap_region *region = place->region;
    if (is_too_large(heap, size))
        return WEIR_NO_ROOM;
    wr_mutex_lock(&region->lock);
    enum weir_status status = check_out(place, 0);
    uint32_t had = wr_runs_length(&region->runs, place->page);
    uint32_t count = (uint32_t)pages_for(size);
    if (status == WEIR_OK && count != had &&
        !wr_heap_resize_run(heap, region, place->page, count))
        status = WEIR_NO_ROOM;
    if (status == WEIR_OK) {
        region->larges[place->page] = size;
        region->large_bytes += (uint64_t)count << WR_PAGE_SHIFT;
        region->large_bytes -= (uint64_t)had << WR_PAGE_SHIFT;
        wr_poison_open(start_of(place), size,
            (size_t)(count > had ? count : had) << WR_PAGE_SHIFT);
    }
    wr_mutex_unlock(&region->lock);
    wr_heap_tick(heap);
    return status;
}

size_t
wr_heap_large_usable(const struct wr_place *place)
{
    struct wr_heap_region *region = place->region;
    wr_mutex_lock(&region->lock);
    size_t pages = wr_runs_length(&region->runs, place->page);
    wr_mutex_unlock(&region->lock);
    return pages << WR_PAGE_SHIFT;
}
