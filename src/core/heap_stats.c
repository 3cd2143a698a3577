/* SPDX-License-Identifier: MIT */
/*
 * heap_stats: a heap in numbers, and whether it is sound.
 *
 * Idea
 *   Nothing is counted where blocks come and go: what is out is what spans have
 *   less what is in them and in threads' caches.
 */

#include "core/heap.h"

#include "base/bits.h"
#include "base/check.h"

#include <string.h>

extern inline void weir_heap_stats(
    struct weir_heap *heap, struct weir_heap_stats *stats);

static uint64_t
count_cached(const struct weir_heap *heap, uint32_t class)
{
    uint64_t count = 0;
    const struct wr_heap_record *record = heap->records;
    for (; record != NULL; record = record->next)
        if (wr_gate_is_on(&record->shelves[class].gate))
            count += wr_shelf_count(&record->shelves[class]);
    return count;
}

static void
read_class(
    struct weir_heap *heap, uint32_t class, struct weir_heap_class_stats *stats)
{
    struct wr_central *central = &heap->centrals[class];
    uint64_t cached = count_cached(heap, class);
    wr_mutex_lock(&central->lock);
    uint64_t held = central->blocks - central->free;
    stats->block_size = wr_class_size(class);
    stats->blocks_central = central->free;
    stats->blocks_cached = cached < held ? cached : held;
    stats->blocks_live = held - stats->blocks_cached;
    wr_mutex_unlock(&central->lock);
}

static uint64_t
noted_pages(const struct wr_heap_region *region)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i <= region->page_count / WR_WORD_BITS; i++)
        count += wr_count_bits(region->young[i] | region->old[i]);
    return count;
}

static void
add_region(struct wr_heap_region *region, struct weir_heap_stats *stats)
{
    wr_mutex_lock(&region->lock);
    uint64_t unused = wr_runs_free_pages(&region->runs);
    uint64_t largest = (uint64_t)wr_runs_largest(&region->runs)
                       << WR_PAGE_SHIFT;
    stats->bytes_reserved += region->bytes;
    stats->bytes_unused += unused << WR_PAGE_SHIFT;
    stats->bytes_resident += (region->page_count - unused + noted_pages(region))
                             << WR_PAGE_SHIFT;
    stats->large_live += region->large_live;
    stats->large_bytes += region->large_bytes;
    if (stats->large_reusable < largest)
        stats->large_reusable = largest;
    wr_mutex_unlock(&region->lock);
}

void
weir_heap_stats_sized(
    struct weir_heap *heap, struct weir_heap_stats *stats, size_t stats_size)
{
    struct weir_heap_stats all = { 0 };
    wr_mutex_lock(&heap->lock);
    memcpy(all.name, heap->name, sizeof(all.name));
    all.regions = wr_heap_region_count(heap);
    for (uint32_t i = 0; i < all.regions; i++)
        add_region(heap->regions[i], &all);
    for (uint32_t i = 0; i < WR_CLASS_SMALL_COUNT; i++)
        read_class(heap, i, &all.classes[i]);
    all.caches = heap->record_count;
    all.sweeps = heap->sweeps;
    wr_mutex_unlock(&heap->lock);
    memset(stats, 0, stats_size);
    memcpy(stats, &all, stats_size < sizeof(all) ? stats_size : sizeof(all));
}

/* ---- Soundness --------------------------------------------------------- */

/* Bits in a span's words; checks that none is beyond its blocks, or out. */
static uint32_t
check_words(const struct wr_heap_region *region, uint32_t page)
{
    const struct wr_span *span = &region->spans[page];
    size_t units = wr_class_units(span->class);
    uint32_t free = 0;
    for (uint32_t i = 0; i < span->count; i++) {
        uint64_t word =
            region->words[(size_t)page * WR_PAGE_WORDS + i / WR_WORD_BITS];
        bool is_free = (word >> i % WR_WORD_BITS & 1) != 0;
        uint32_t asked = wr_load_relaxed(
            &region
                 ->sizes[(size_t)page * WR_PAGE_UNITS + i * units]); /* quiet */
        WR_CHECK(!is_free || asked == 0, "invariant 2 of heap broken");
        free += is_free;
    }
    return free;
}

static void
check_class(struct weir_heap *heap, uint32_t class)
{
    struct wr_central *central = &heap->centrals[class];
    uint64_t free = 0;
    uint32_t whole = 0;
    for (uint32_t number = central->first; number != 0;) {
        struct wr_heap_region *region = wr_heap_region_of(heap, number);
        const struct wr_span *span =
            &region->spans[number - region->first_page];
        WR_CHECK(span->class == class && span->free != 0,
            "invariant 1 of central_pool broken");
        WR_CHECK(check_words(region, number - region->first_page) == span->free,
            "invariant 2 of central_pool broken");
        free += span->free;
        whole += span->free == span->count;
        number = span->next;
    }
    WR_CHECK(free == central->free && whole == central->whole,
        "invariant 2 of central_pool broken");
}

void
weir_heap_check(struct weir_heap *heap)
{
    WR_CHECK(heap->serial != 0, "a heap was used after it was destroyed");
    for (uint32_t i = 0; i < wr_heap_region_count(heap); i++)
        wr_runs_check(&heap->regions[i]->runs);
    for (uint32_t i = 0; i < WR_CLASS_SMALL_COUNT; i++)
        check_class(heap, i);
}
