/* SPDX-License-Identifier: MIT */
/*
 * heap: the doors of the heap: alloc and release of blocks up to 1 MiB.
 *
 *     alloc     class ──▶ shelf: lowest bit of the top ──▶ base + bit * size
 *     release   address ──▶ page's entry: class, first page ──▶ bit of the top
 *
 * Idea
 *   A thread has a shelf for each class: a cache (core/thread_cache.c) of blocks
 *   that nobody has, as batches of a span's words. Alloc takes the lowest block of
 *   the top and notes what was asked for in the table of sizes; release finds
 *   class and span of an address in the table of pages, and its block by one
 *   multiplication, sees in the table of sizes that it is out, strikes it out and
 *   adds it to the top. That is all that stands here; what finds nothing on top,
 *   or a block of another word, goes to heap_rare.c.
 *
 *   The size is what is known of a block: 0 while it is not out. So every release
 *   of what is not a block that is out is seen before anything is done, and
 *   nothing is ever written into a block, or read from one.
 *
 * Invariants
 *   1. base and sizes of a shelf are those of the word on top, if its cache is not
 *      empty.
 *   2. A block whose size is not 0 is in no cache and in no span's words.
 *
 * Edges
 *   Those of core/thread_cache.c, and of the locks.
 *
 * Costs
 *   No locked instruction, and no line that another thread writes but that of the
 *   sizes where blocks go from thread to thread: 16 blocks share one.
 *
 * Limits
 *   What cannot be told: a release of a block that was released before and is out
 *   again. Of two releases that race, the second is told when its block is given
 *   to a span that has it, or taken while it is out: then the program stops.
 */

#include "core/heap.h"

#include "base/bits.h"
#include "base/check.h"

_Static_assert(sizeof(struct wr_heap_record) <= 10 * 1024 + 64, "Costs");

/*
 * The address of a block of the top. That of the block released last is
 * remembered: a thread that takes what it has just released would otherwise wait
 * for the address, from it for the class, and from that for the bit, again and
 * again; so the processor guesses that it is the one, and goes on.
 */
static inline void *
block_at(const struct wr_shelf *shelf, uint32_t bit)
{
    if (bit == shelf->last_bit)
        return shelf->last;
    return shelf->base + (size_t)bit * shelf->units * WR_CLASS_UNIT;
}

static inline enum weir_status
alloc_small(struct weir_heap *heap, uint32_t class, size_t size, void **memory)
{
    struct wr_heap_record *record = wr_heap_recent;
    struct wr_shelf *shelf = &record->shelves[class];
    uint64_t top = wr_cache_top(&shelf->cache);
    if (record->serial != heap->serial || top == 0)
        return wr_heap_alloc_rarely(heap, class, (uint32_t)size, memory);
    uint32_t bit = wr_lowest_bit(top);
    wr_cache_set_top(&shelf->cache, top & (top - 1));
    if (!wr_cache_is_on(&shelf->cache))
        return wr_heap_alloc_swept(heap, class, bit, (uint32_t)size, memory);
    _Atomic uint32_t *asked = &shelf->sizes[bit];
    if (wr_load_relaxed(asked) != 0) /* who took it sees what its giver did */
        wr_heap_fail(heap, "a block was released twice, and is out");
    wr_store_relaxed(asked, (uint32_t)size); /* nobody else has it */
    *memory = block_at(shelf, bit);
    return WEIR_OK;
}

enum weir_status
weir_heap_alloc(struct weir_heap *heap, size_t size, void **memory)
{
    if (size - 1 >= WR_CLASS_SMALL_MAX)
        return wr_heap_large_alloc(heap, size, 1, false, memory);
    return alloc_small(heap, wr_class_of(size), size, memory);
}

enum weir_status
wr_heap_alloc_class(
    struct weir_heap *heap, uint32_t class, size_t size, void **memory)
{
    return alloc_small(heap, class, size, memory);
}

/* `size` is what was asked for, or 0 if it is not to be looked at. */
static inline enum weir_status
release(struct weir_heap *heap, void *memory, size_t size)
{
    struct wr_heap_record *record = wr_heap_recent;
    if (record->serial != heap->serial)
        return wr_heap_release_rarely(heap, memory, size);
    const struct wr_heap_region *region = record->region;
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)region->base;
    if (offset >= region->bytes)
        return wr_heap_release_rarely(heap, memory, size);
    uint32_t entry = wr_load_relaxed(
        &region->entries[offset >> WR_PAGE_SHIFT]); /* see the type */
    uint32_t class = (entry & ((1 << WR_ENTRY_SHIFT) - 1)) - 1;
    if (class >= WR_CLASS_SMALL_COUNT || offset % WR_CLASS_UNIT != 0)
        return wr_heap_release_rarely(heap, memory, size);

    struct wr_shelf *shelf = &record->shelves[class];
    uint32_t first = (entry >> WR_ENTRY_SHIFT) * WR_PAGE_SLOTS;
    uint32_t units = (uint32_t)(offset / WR_CLASS_UNIT) - first;
    uint32_t index =
        (uint32_t)(units * shelf->inverse >> WR_CLASS_INVERSE_BITS);
    _Atomic uint32_t *asked = &region->sizes[(size_t)first + index];
    size_t bit = (size_t)(asked - shelf->sizes);
    uint32_t was = wr_load_relaxed(asked); /* who releases it knows of it */
    if (index * shelf->units != units || was == 0 || (size != 0 && size != was))
        return wr_heap_release_rarely(heap, memory, size);
    const struct wr_place place = { record->region, entry >> WR_ENTRY_SHIFT,
        class, index };
    if (bit > shelf->mask)
        return wr_heap_release_below(heap, &place);
    uint64_t top = wr_cache_top(&shelf->cache);
    if (wr_set_bit(&top, bit)) /* of a top that was swept, or see there */
        return wr_heap_release_rarely(heap, memory, size);
    wr_store_relaxed(asked, 0); /* it was ours */
    shelf->last = memory;
    shelf->last_bit = (uint32_t)bit;
    wr_cache_set_top(&shelf->cache, top);
    if (!wr_cache_is_on(&shelf->cache))
        wr_heap_release_swept(heap, &place, (uint32_t)bit);
    return WEIR_OK;
}

enum weir_status
weir_heap_release(struct weir_heap *heap, void *memory)
{
    return release(heap, memory, 0);
}

enum weir_status
weir_heap_release_sized(struct weir_heap *heap, void *memory, size_t size)
{
    if (size == 0)
        return wr_heap_release_rarely(heap, memory, SIZE_MAX);
    return release(heap, memory, size);
}

/* ---- The default heap -------------------------------------------------- */

void *
weir_alloc(size_t size)
{
    struct weir_heap *heap = wr_heap_default();
    void *memory;
    if (heap == NULL)
        return NULL;
    enum weir_status status = weir_heap_alloc(heap, size, &memory);
    return status == WEIR_OK ? memory : wr_heap_alloc_failed(status);
}

enum weir_status
weir_release(void *memory)
{
    struct weir_heap *heap = wr_heap_default();
    return heap == NULL ? WEIR_FOREIGN : release(heap, memory, 0);
}

enum weir_status
weir_release_sized(void *memory, size_t size)
{
    struct weir_heap *heap = wr_heap_default();
    return heap == NULL ? WEIR_FOREIGN
                        : weir_heap_release_sized(heap, memory, size);
}
