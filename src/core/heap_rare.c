/* SPDX-License-Identifier: MIT */
/*
 * heap_rare: what the doors of the heap do when it is not the common case.
 *
 * Idea
 *   Who finds nothing on top, or brings a block of another word, comes here: first
 *   to the shelf as a whole, then, if its cache is off, to the central pool. Who
 *   finds no page for a span makes room under the heap's lock: another region, or,
 *   where there may be none, all that threads keep, back in their spans, and the
 *   pages of spans that are whole then. Only who finds nothing behind that is told
 *   that the heap is full.
 *
 * Costs
 *   The lock of a class for up to 64 blocks. Making room: every lock, a heavy
 *   fence, and each thread's shelves.
 */

#include "core/heap.h"

#include "base/check.h"

enum { TRIES_MAX = 3 };

/* ---- A shelf ----------------------------------------------------------- */

/* Invariant 1 of heap.c, where the top's word is another one than before. */
static void
face(const struct weir_heap *heap, struct wr_shelf *shelf, uint32_t class)
{
    uint32_t word = wr_cache_word(&shelf->cache);
    shelf->last_bit = WR_WORD_BITS;
    shelf->sizes = NULL;
    if (word != WR_NO_WORD)
        shelf->base =
            wr_heap_block(heap, class, word * WR_WORD_BITS, &shelf->sizes);
}

/* The same where it may be that of a block that was given. */
static void
face_block(struct wr_shelf *shelf, const struct wr_place *place, uint32_t slot)
{
    if (wr_cache_word(&shelf->cache) != slot / WR_WORD_BITS)
        return;
    uint32_t start = place->index & ~shelf->mask;
    shelf->last_bit = WR_WORD_BITS;
    shelf->sizes = wr_heap_asked_at(place) - (place->index - start);
    shelf->base = place->region->base + ((size_t)place->page << WR_PAGE_SHIFT) +
                  (size_t)start * shelf->units * WR_CLASS_UNIT;
}

/* Ends an operation on the top of a cache that is not on; as in arena/caches.c. */
static bool
settle(struct weir_heap *heap, struct wr_shelf *shelf, uint32_t bit)
{
    if (wr_cache_is_stopped(&shelf->cache)) {
        wr_mutex_lock(&heap->lock); /* the sweeper holds it to the end */
        wr_mutex_unlock(&heap->lock);
    }
    wr_heap_clear_shelf(shelf);
    return wr_cache_was_stolen(&shelf->cache, bit);
}

/* False: the cache is not on, and is empty now. */
static bool
begin(struct weir_heap *heap, struct wr_shelf *shelf)
{
    if (wr_cache_is_on(&shelf->cache) && wr_cache_begin(&shelf->cache))
        return true;
    if (wr_cache_top(&shelf->cache) != 0)
        (void)settle(heap, shelf, 0);
    return false;
}

static bool
refill(struct weir_heap *heap, struct wr_shelf *shelf, uint32_t class)
{
    struct wr_batch batch;
    if (!wr_central_take(heap, class, shelf->cache.batch_max, &batch))
        return false;
    wr_cache_fill(&shelf->cache, &batch);
    return true;
}

/* Takes a slot through the cache. False: it is not on, or there was none. */
static bool
take_cached(struct weir_heap *heap, struct wr_shelf *shelf, uint32_t class,
    uint32_t *slot)
{
    if (!begin(heap, shelf))
        return false;
    uint32_t before = wr_cache_word(&shelf->cache);
    bool taken =
        wr_cache_take(&shelf->cache, slot) ||
        (refill(heap, shelf, class) && wr_cache_take(&shelf->cache, slot));
    if (wr_cache_word(&shelf->cache) != before || shelf->sizes == NULL)
        face(heap, shelf, class);
    wr_cache_end(&shelf->cache);
    return taken;
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

/* Takes a slot from wherever there is one. */
static bool
take(struct weir_heap *heap, struct wr_heap_record *record, uint32_t class,
    uint32_t *slot)
{
    struct wr_batch batch;
    if (record != NULL) {
        count_call(heap, record);
        if (take_cached(heap, &record->shelves[class], class, slot))
            return true;
        if (!wr_cache_is_on(&record->shelves[class].cache))
            earn(heap, record);
    }
    if (!wr_central_take(heap, class, 1, &batch))
        return false;
    *slot = batch.word * WR_WORD_BITS + wr_lowest_bit(batch.mask);
    return true;
}

static void
fill(const struct weir_heap *heap, uint32_t class, uint32_t slot, uint32_t size,
    void **memory)
{
    _Atomic uint32_t *asked;
    void *block = wr_heap_block(heap, class, slot, &asked);
    if (wr_load_relaxed(asked) != 0) /* who took it sees what its giver did */
        wr_heap_fail(heap, "a block was released twice, and is out");
    wr_store_relaxed(asked, size); /* nobody else has it */
    *memory = block;
}

enum weir_status
wr_heap_alloc_rarely(
    struct weir_heap *heap, uint32_t class, uint32_t size, void **memory)
{
    WR_CHECK(heap->serial != 0, "a heap was used after it was destroyed");
    struct wr_heap_record *record = wr_heap_record_of(heap);
    struct wr_hunt hunt = wr_heap_hunt(heap, wr_central_least_pages(class));
    uint32_t slot;
    if (hunt.pages > heap->pages_max)
        return WEIR_TOO_LARGE;
    while (!take(heap, record, class, &slot)) {
        enum weir_status status = wr_heap_make_room(heap, &hunt);
        if (status != WEIR_OK)
            return status;
    }
    fill(heap, class, slot, size, memory);
    return WEIR_OK;
}

enum weir_status
wr_heap_alloc_swept(struct weir_heap *heap, uint32_t class, uint32_t bit,
    uint32_t size, void **memory)
{
    struct wr_shelf *shelf = &wr_heap_recent->shelves[class];
    void *block = shelf->base + (size_t)bit * wr_class_size(class);
    _Atomic uint32_t *asked = &shelf->sizes[bit];
    if (settle(heap, shelf, bit))
        return wr_heap_alloc_rarely(heap, class, size, memory);
    wr_store_relaxed(asked, size); /* nobody else has it */
    *memory = block;
    return WEIR_OK;
}

/* ---- Room -------------------------------------------------------------- */

struct wr_hunt
wr_heap_hunt(const struct weir_heap *heap, size_t pages)
{
    return (struct wr_hunt){ pages, wr_heap_region_count(heap), 0 };
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
    if (wr_heap_may_take(heap, hunt->pages)) {
        enum weir_status status = wr_heap_add_region(heap, hunt->pages);
        hunt->regions = wr_heap_region_count(heap);
        if (status != WEIR_FULL)
            return status;
    }
    if (hunt->tries++ == TRIES_MAX)
        return WEIR_FULL;
    wr_heap_sweep(heap);
    wr_central_trim(heap);
    return WEIR_OK;
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

/* The slot of a small block. */
static uint32_t
slot_of(const struct wr_place *place, uint32_t shift)
{
    uint32_t word = (place->region->first_page + place->page) * WR_PAGE_WORDS +
                    (place->index >> shift);
    return word * WR_WORD_BITS + (place->index & ((UINT32_C(1) << shift) - 1));
}

/* Past the cache, to the central pool. */
static void
give_past(struct weir_heap *heap, uint32_t class, uint32_t slot)
{
    struct wr_batch batch = { UINT64_C(1) << slot % WR_WORD_BITS,
        slot / WR_WORD_BITS };
    wr_central_give(heap, class, &batch);
}

/* Gives a block through the cache. False: it is not on. */
static bool
give_cached(struct weir_heap *heap, struct wr_shelf *shelf,
    const struct wr_place *place, uint32_t slot)
{
    struct wr_batch spilled;
    if (!begin(heap, shelf))
        return false;
    bool was_out = wr_cache_give(&shelf->cache, slot, &spilled);
    face_block(shelf, place, slot);
    if (was_out)
        wr_central_give(heap, place->class, &spilled); /* in nobody's hands */
    wr_cache_end(&shelf->cache);
    if (!was_out)
        wr_heap_fail(heap, "a block was released twice");
    return true;
}

enum weir_status
wr_heap_release_below(struct weir_heap *heap, const struct wr_place *place)
{
    struct wr_heap_record *record = wr_heap_recent;
    struct wr_shelf *shelf = &record->shelves[place->class];
    uint32_t slot = slot_of(place, shelf->shift);
    wr_store_relaxed(wr_heap_asked_at(place), 0); /* it was ours */
    count_call(heap, record);
    if (!give_cached(heap, shelf, place, slot)) {
        earn(heap, record);
        give_past(heap, place->class, slot);
    }
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
    place->page = entry >> WR_ENTRY_SHIFT;
    place->class = (entry & ((1 << WR_ENTRY_SHIFT) - 1)) - 1;
    uint32_t units =
        (uint32_t)(offset / WR_CLASS_UNIT) - place->page * WR_PAGE_SLOTS;
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
    uint32_t kind = entry & ((1 << WR_ENTRY_SHIFT) - 1);
    if (kind == WR_ENTRY_GONE)
        return offset % WR_CLASS_UNIT == 0 ? WEIR_ALREADY_RELEASED
                                           : WEIR_FOREIGN;
    if (kind == 0)
        return WEIR_FOREIGN;
    if (kind != WR_ENTRY_LARGE)
        return find_small(entry, offset, place);
    place->page = entry >> WR_ENTRY_SHIFT;
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
    if (record != NULL) {
        record->region = place.region;
        return wr_heap_release_below(heap, &place);
    }
    wr_store_relaxed(asked, 0); /* it was ours */
    give_past(
        heap, place.class, slot_of(&place, wr_central_shift(place.class)));
    return WEIR_OK;
}

void
wr_heap_release_swept(
    struct weir_heap *heap, const struct wr_place *place, uint32_t bit)
{
    const uint32_t shift = wr_central_shift(place->class);
    if (!settle(heap, &wr_heap_recent->shelves[place->class], bit))
        give_past(heap, place->class, slot_of(place, shift));
    /* Else the sweeper has put it into its span. */
}
