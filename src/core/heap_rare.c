/* SPDX-License-Identifier: MIT */
/*
 * heap_rare: what the doors of the heap do when it is not the common case.
 *
 * Idea
 *   Who finds a shelf empty or full moves some blocks from or to the central pool;
 *   whose shelf is off, or who has none, moves one past it. Who finds no page for a
 *   span makes room under the heap's lock: another region, or, where there may or
 *   can be none, all that threads keep, back in their spans, and the pages of spans
 *   that are whole then. With every class locked there is a moment at which nothing
 *   that is free is anywhere else; who finds that nothing would do then is told that
 *   the heap is full, and nobody else.
 *
 * Costs
 *   The lock of a class for half a shelf. Making room: every lock, a heavy
 *   fence, and each thread's shelves.
 */

#include "core/heap.h"

#include "base/check.h"
#include "platform/poison.h"

#include <errno.h>
#include <string.h>

/* ---- A shelf ----------------------------------------------------------- */

/* Ends an operation on the block at this place of a shelf that is not on; as in
   arena/caches.c. True: the block was taken from it. */
static bool
settle(struct weir_heap *heap, struct wr_shelf *shelf, uint32_t place)
{
    if (wr_gate_is_stopped(&shelf->gate)) {
        wr_mutex_lock(&heap->lock); /* the sweeper holds it to the end */
        wr_mutex_unlock(&heap->lock);
    }
    wr_shelf_clear(shelf);
    return wr_shelf_was_stolen(shelf, place);
}

/* False: the shelf is not on, and is empty now. */
static bool
begin(struct weir_heap *heap, struct wr_shelf *shelf)
{
    if (wr_gate_is_on(&shelf->gate) && wr_gate_begin(&shelf->gate))
        return true;
    if (shelf->room != 0)
        (void)settle(heap, shelf, 0);
    return false;
}

/* Between begin and end. */
static void
set_count(struct wr_shelf *shelf, uint32_t count)
{
    wr_store_relaxed(&shelf->count, count); /* wr_gate_end orders it */
}

/* Takes a block from the shelf. False: it is not on, or there was none. */
static bool
take_cached(struct weir_heap *heap, struct wr_shelf *shelf, uint32_t class,
    void **block)
{
    if (!begin(heap, shelf))
        return false;
    uint32_t count = wr_shelf_count(shelf);
    if (count == 0)
        count = wr_central_take(heap, class, shelf->refill, shelf->blocks);
    if (count != 0) {
        *block = shelf->blocks[count - 1];
        set_count(shelf, count - 1);
    }
    wr_gate_end(&shelf->gate);
    return count != 0;
}

/* Half of a full shelf, what lies there longest, goes to the central pool; returns
   how much is left. */
static uint32_t
spill(struct weir_heap *heap, struct wr_shelf *shelf, uint32_t class)
{
    uint32_t count = wr_shelf_count(shelf);
    uint32_t half = (count + 1) / 2;
    wr_central_give(heap, class, shelf->blocks, half);
    memmove(shelf->blocks, shelf->blocks + half,
        (count - half) * sizeof(shelf->blocks[0]));
    return count - half;
}

/* Puts a block on the shelf. False: it is not on. */
static bool
give_cached(
    struct weir_heap *heap, struct wr_shelf *shelf, uint32_t class, void *block)
{
    if (!begin(heap, shelf))
        return false;
    uint32_t count = wr_shelf_count(shelf);
    if (count == shelf->room)
        count = spill(heap, shelf, class);
    shelf->blocks[count] = block;
    set_count(shelf, count + 1);
    wr_gate_end(&shelf->gate);
    return true;
}

/* ---- A thread ---------------------------------------------------------- */

/* A call that left the shelf: the time may have come for this and that. */
static void
count_call(struct weir_heap *heap, struct wr_heap_record *record)
{
    if (--record->until_tick == 0) {
        record->until_tick = WR_HEAP_TICK;
        wr_heap_tick(heap);
    }
}

/* A call past the cache; after some, caches are on again. */
static void
earn(struct weir_heap *heap, struct wr_heap_record *record)
{
    if (!heap->is_cached || --record->credit != 0)
        return;
    record->credit = WR_HEAP_CREDIT;
    if (!wr_mutex_try_lock(&heap->lock))
        return;
    wr_heap_turn_on(heap, record);
    wr_mutex_unlock(&heap->lock);
}

/* Takes a block from wherever there is one. */
static bool
take(struct weir_heap *heap, struct wr_heap_record *record, uint32_t class,
    void **block)
{
    if (record != NULL) {
        struct wr_shelf *shelf = &record->shelves[class];
        count_call(heap, record);
        if (take_cached(heap, shelf, class, block))
            return true;
        if (!wr_gate_is_on(&shelf->gate))
            earn(heap, record);
    }
    return wr_central_take(heap, class, 1, block) != 0;
}

/* How long the block is that starts at an offset. */
static size_t
room_at(const struct wr_heap_region *region, size_t offset)
{
    uint32_t entry = wr_load_relaxed(
        &region->entries[offset >> WR_PAGE_SHIFT]); /* the block is ours */
    return wr_class_size(wr_entry_kind(entry) - WR_ENTRY_SPAN);
}

enum weir_status
wr_heap_hand_out(
    struct weir_heap *heap, size_t size, void **memory, void *block)
{
    const struct wr_heap_region *region = wr_heap_region_at(heap, block);
    WR_ASSERT(region != NULL);
    size_t offset = (uintptr_t)block - (uintptr_t)region->base;
    _Atomic uint32_t *asked = &region->sizes[offset / WR_CLASS_UNIT];
    if (wr_load_relaxed(asked) != 0) /* who took it sees what its giver did */
        wr_heap_fail(heap, "a block was released twice, and is out");
    wr_store_relaxed(asked, (uint32_t)size); /* nobody else has it */
    wr_poison_open(block, size, room_at(region, offset));
    *memory = block;
    return WEIR_OK;
}

enum weir_status
wr_heap_alloc_rarely(
    struct weir_heap *heap, size_t size, void **memory, uint32_t class)
{
    WR_CHECK(heap->serial != 0, "a heap was used after it was destroyed");
    struct wr_heap_record *record = wr_heap_record_of(heap);
    struct wr_hunt hunt =
        wr_heap_hunt(heap, wr_central_least_pages(class), 1, class);
    void *block;
    if (hunt.pages > heap->pages_max)
        return WEIR_TOO_LARGE;
    while (!take(heap, record, class, &block)) {
        enum weir_status status = wr_heap_make_room(heap, &hunt);
        if (status != WEIR_OK)
            return status;
    }
    return wr_heap_hand_out(heap, size, memory, block);
}

enum weir_status
wr_heap_alloc_swept(
    struct weir_heap *heap, size_t size, void **memory, uint32_t class)
{
    struct wr_shelf *shelf = &wr_heap_recent->shelves[class];
    uint32_t place = wr_shelf_count(shelf);
    void *block = shelf->blocks[place];
    if (settle(heap, shelf, place))
        return wr_heap_alloc_rarely(heap, size, memory, class);
    return wr_heap_hand_out(heap, size, memory, block);
}

/* ---- Room -------------------------------------------------------------- */

struct wr_hunt
wr_heap_hunt(const struct weir_heap *heap, uint32_t pages, uint32_t align,
    uint32_t class)
{
    return (struct wr_hunt){ pages, align, class, wr_heap_region_count(heap) };
}

/* All that threads keep goes home, and all spans that are whole; says whether
   there was something that would do then, at one moment. */
static bool
gather(struct weir_heap *heap, const struct wr_hunt *hunt)
{
    wr_heap_sweep(heap);
    wr_central_lock(heap);
    wr_central_trim(heap);
    bool found = wr_heap_has_pages(heap, hunt->pages, hunt->align) ||
                 (hunt->class < WR_CLASS_SMALL_COUNT &&
                     heap->centrals[hunt->class].free != 0);
    wr_central_unlock(heap);
    return found;
}

/* Another region. WEIR_FULL: there may be none. */
static enum weir_status
extend(struct weir_heap *heap, struct wr_hunt *hunt)
{
    if (!wr_heap_may_take(heap, hunt->pages))
        return WEIR_FULL;
    enum weir_status status = wr_heap_add_region(heap, hunt->pages);
    hunt->regions = wr_heap_region_count(heap);
    return status;
}

/* The heap's lock is held. */
static enum weir_status
make_room(struct weir_heap *heap, struct wr_hunt *hunt)
{
    uint32_t regions = wr_heap_region_count(heap);
    if (regions != hunt->regions) { /* somebody else made some meanwhile */
        hunt->regions = regions;
        return WEIR_OK;
    }
    if (wr_heap_has_pages(heap, hunt->pages, hunt->align))
        return WEIR_OK; /* somebody gave them back meanwhile */
    enum weir_status status = extend(heap, hunt);
    int why = errno;
    if (status == WEIR_OK || gather(heap, hunt))
        return WEIR_OK;
    if (status == WEIR_FULL) /* what came home may make one possible */
        return extend(heap, hunt);
    errno = why;
    return status;
}

enum weir_status
wr_heap_make_room(struct weir_heap *heap, struct wr_hunt *hunt)
{
    wr_mutex_lock(&heap->lock);
    enum weir_status status = make_room(heap, hunt);
    wr_mutex_unlock(&heap->lock);
    return status;
}

/* ---- Release ----------------------------------------------------------- */

/* Past the shelf, to the central pool. */
static void
give_past(struct weir_heap *heap, uint32_t class, void *block)
{
    wr_poison_shut(block, wr_class_size(class));
    wr_central_give(heap, class, &block, 1);
}

enum weir_status
wr_heap_release_swept(
    struct weir_heap *heap, void *memory, struct wr_shelf *shelf)
{
    uint32_t class = (uint32_t)(shelf - wr_heap_recent->shelves);
    if (!settle(heap, shelf, wr_shelf_count(shelf) - 1))
        give_past(heap, class, memory);
    /* Else the sweeper has put it into its span. */
    return WEIR_OK;
}

/* A block whose size is struck out. */
static void
give(struct weir_heap *heap, struct wr_heap_record *record, uint32_t class,
    void *block)
{
    count_call(heap, record);
    if (give_cached(heap, &record->shelves[class], class, block))
        return;
    earn(heap, record);
    give_past(heap, class, block);
}

enum weir_status
wr_heap_release_full(struct weir_heap *heap, void *memory,
    const struct wr_shelf *shelf, _Atomic uint32_t *asked)
{
    struct wr_heap_record *record = wr_heap_recent;
    uint32_t class = (uint32_t)(shelf - record->shelves);
    if (class >= WR_CLASS_SMALL_COUNT)
        wr_heap_fail(heap, "a block was released twice");
    wr_store_relaxed(asked, 0); /* it was ours */
    give(heap, record, class, memory);
    return WEIR_OK;
}

/* Behind the last block of a span there may be room, but not for another. */
static bool
ends_in_span(const struct wr_place *place, uint32_t entry, size_t offset)
{
    size_t last = (offset + wr_class_size(place->class) - 1) >> WR_PAGE_SHIFT;
    return last < place->region->page_count &&
           wr_load_relaxed(&place->region->entries[last]) == entry;
}

static enum weir_status
find_small(uint32_t entry, size_t offset, struct wr_place *place)
{
    place->page = wr_entry_page(entry);
    place->class = wr_entry_kind(entry) - WR_ENTRY_SPAN;
    uint32_t units =
        (uint32_t)(offset / WR_CLASS_UNIT) - place->page * WR_PAGE_UNITS;
    place->index = wr_class_index(place->class, units);
    if (offset % WR_CLASS_UNIT != 0 ||
        place->index * wr_class_units(place->class) != units ||
        !ends_in_span(place, entry, offset))
        return WEIR_FOREIGN;
    uint32_t asked =
        wr_load_relaxed(wr_heap_asked_at(place)); /* who has it knows of it */
    return asked == 0 ? WEIR_ALREADY_RELEASED : WEIR_OK;
}

enum weir_status
wr_heap_find(
    const struct weir_heap *heap, const void *memory, struct wr_place *place)
{
    place->region = wr_heap_region_at(heap, memory);
    if (place->region == NULL)
        return WEIR_FOREIGN;
    size_t offset =
        (size_t)((uintptr_t)memory - (uintptr_t)place->region->base);
    uint32_t entry =
        wr_load_relaxed(&place->region->entries[offset >> WR_PAGE_SHIFT]);
    uint32_t kind = wr_entry_kind(entry);
    if (kind == WR_ENTRY_GONE)
        return offset % WR_CLASS_UNIT == 0 ? WEIR_ALREADY_RELEASED
                                           : WEIR_FOREIGN;
    if (kind == WR_ENTRY_NEVER)
        return WEIR_FOREIGN;
    if (kind != WR_ENTRY_LARGE)
        return find_small(entry, offset, place);
    place->page = wr_entry_page(entry);
    place->class = WR_CLASS_SMALL_COUNT;
    return offset == (size_t)place->page << WR_PAGE_SHIFT ? WEIR_OK
                                                          : WEIR_FOREIGN;
}

enum weir_status
wr_heap_release_rarely(struct weir_heap *heap, void *memory, size_t size)
{
    struct wr_place place;
    WR_CHECK(heap->serial != 0, "a heap was used after it was destroyed");
    if (memory == NULL)
        return WEIR_OK;
    enum weir_status status = wr_heap_find(heap, memory, &place);
    if (status != WEIR_OK)
        return status;
    if (place.class == WR_CLASS_SMALL_COUNT)
        return wr_heap_large_release(heap, &place, size);
    _Atomic uint32_t *asked = wr_heap_asked_at(&place);
    uint32_t was = wr_load_relaxed(asked); /* who releases it knows of it */
    if (size != 0 && size != was)
        return WEIR_SIZE_MISMATCH;
    struct wr_heap_record *record = wr_heap_record_of(heap);
    wr_store_relaxed(asked, 0); /* it was ours */
    if (record == NULL) {
        give_past(heap, place.class, memory);
        return WEIR_OK;
    }
    record->region = place.region;
    give(heap, record, place.class, memory);
    return WEIR_OK;
}
