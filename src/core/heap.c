/* SPDX-License-Identifier: MIT */
/*
 * heap: the doors of the heap: alloc and release of blocks up to 1 MiB.
 *
 *     alloc     class ──▶ shelf: the last address
 *     release   address ──▶ what was asked for ──▶ page's entry: class ──▶ shelf
 *
 * Idea
 *   A thread has a shelf for each class (core/shelf.c): a stack of blocks that
 *   nobody has. Alloc takes the last one and notes what was asked for in the table of
 *   sizes, at the block's place there; release sees in the table that the block is
 *   out, strikes it out, finds the class in the table of pages and puts the block on
 *   the shelf. That is all that stands here; what finds a shelf empty, full or swept
 *   goes to heap_rare.c.
 *
 *   The table has a number for each 64 bytes that blocks may start at: what was
 *   asked for where one starts that is out, else 0. So every release of what is not
 *   a block that is out is seen before anything is done, and nothing is ever written
 *   into a block, or read from one.
 *
 * Invariants
 *   1. A block whose size is not 0 is on no shelf and in no span's words.
 *
 * Edges
 *   Those of core/shelf.c, and of the locks.
 *
 * Costs
 *   No locked instruction, and no line that another thread writes but that of the
 *   sizes where blocks go from thread to thread: those of 1 KiB share one.
 *
 * Limits
 *   What cannot be told: a release of a block that was released before and is out
 *   again. Of two releases that race, the second is told when its block is given
 *   to a span that has it or while it is out, or taken while it is out: then the
 *   program stops. Where two threads take it at once, neither sees that it is out:
 *   both have it, and one of them is told when it releases it.
 */

#include "core/heap.h"

static inline enum weir_status
alloc_small(struct weir_heap *heap, size_t size, void **memory, uint32_t class)
{
    struct wr_heap_record *record = wr_heap_recent;
    struct wr_shelf *shelf = &record->shelves[class];
    uint32_t count = wr_shelf_count(shelf);
    if (record->serial != heap->serial || count == 0)
        return wr_heap_alloc_rarely(heap, size, memory, class);
    void *block = shelf->blocks[count - 1];
    wr_shelf_set_count(shelf, count - 1);
    if (!wr_gate_is_on(&shelf->gate))
        return wr_heap_alloc_swept(heap, size, memory, class);
    const struct wr_heap_region *region = record->region;
    size_t offset = (uintptr_t)block - (uintptr_t)region->base;
    if (offset >= region->bytes)
        return wr_heap_hand_out(heap, size, memory, block);
    _Atomic uint32_t *asked = &region->sizes[offset / WR_CLASS_UNIT];
    if (wr_load_relaxed(asked) != 0) /* who took it sees what its giver did */
        return wr_heap_hand_out(heap, size, memory, block);
    wr_store_relaxed(asked, (uint32_t)size); /* nobody else has it */
    *memory = block;
    return WEIR_OK;
}

enum weir_status
weir_heap_alloc(struct weir_heap *heap, size_t size, void **memory)
{
    if (size - 1 >= heap->small_max)
        return wr_heap_alloc_otherwise(heap, size, memory);
    return alloc_small(heap, size, memory, wr_class_of(size));
}

enum weir_status
wr_heap_alloc_class(
    struct weir_heap *heap, size_t size, void **memory, uint32_t class)
{
    return alloc_small(heap, size, memory, class);
}

/*
 * The shelf for the blocks of a page. That of the block before is remembered: a
 * thread that takes what it has just released would otherwise wait for the address,
 * from it for the entry, and from that for the shelf, again and again; so the
 * processor guesses that it is the one, and goes on.
 */
static inline struct wr_shelf *
shelf_for(struct wr_heap_record *record, uint32_t entry)
{
    if (record->entry != entry) {
        record->entry = entry;
        record->shelf = &record->shelves[wr_entry_kind(entry) - WR_ENTRY_SPAN];
    }
    return record->shelf;
}

/* `size` is what was asked for, or 0 if it is not to be looked at. */
static inline enum weir_status
release(struct weir_heap *heap, void *memory, size_t size)
{
    struct wr_heap_record *record = wr_heap_recent;
    if (record->serial != heap->serial)
        return wr_heap_release_rarely(heap, memory, size);
    const struct wr_heap_region *region = record->region;
    size_t offset = (uintptr_t)memory - (uintptr_t)region->base;
    if (offset >= region->bytes)
        return wr_heap_release_rarely(heap, memory, size);
    _Atomic uint32_t *asked = &region->sizes[offset / WR_CLASS_UNIT];
    uint32_t was = wr_load_relaxed(asked); /* who releases it knows of it */
    if (was == 0 || offset % WR_CLASS_UNIT != 0 || (size != 0 && size != was))
        return wr_heap_release_rarely(heap, memory, size);
    uint32_t entry = wr_load_relaxed(
        &region->entries[offset >> WR_PAGE_SHIFT]); /* see the type */
    struct wr_shelf *shelf = shelf_for(record, entry);
    uint32_t count = wr_shelf_count(shelf);
    if (count == shelf->room)
        return wr_heap_release_full(heap, memory, shelf, asked);
    wr_store_relaxed(asked, 0); /* it was ours */
    shelf->blocks[count] = memory;
    wr_shelf_set_count(shelf, count + 1);
    if (!wr_gate_is_on(&shelf->gate))
        return wr_heap_release_swept(heap, memory, shelf);
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

/* There is no heap that it could be of. */
static enum weir_status
refuse(const void *memory)
{
    return memory == NULL ? WEIR_OK : WEIR_FOREIGN;
}

enum weir_status
weir_release(void *memory)
{
    struct weir_heap *heap = wr_heap_default();
    return heap == NULL ? refuse(memory) : release(heap, memory, 0);
}

enum weir_status
weir_release_sized(void *memory, size_t size)
{
    struct weir_heap *heap = wr_heap_default();
    return heap == NULL ? refuse(memory)
                        : weir_heap_release_sized(heap, memory, size);
}
