/* SPDX-License-Identifier: MIT */
/*
 * heap_record: what one thread keeps of one heap.
 *
 *     thread  mine ──▶ record of heap 1 ──▶ record of heap 2
 *     heap    records ──▶ those of all threads
 *
 * Idea
 *   A thread has a record for each heap it uses: a shelf for each class. It knows
 *   by the heap's serial number that a record is for this heap and not for one that
 *   ended; a record of an ended heap is used for the next. When a thread ends, what
 *   its shelves hold goes to the central pool, and its records to those to spare.
 *
 *   Who needs to know that no block is free sweeps: every shelf of every thread is
 *   emptied into the central pool and turned off, as in arena/caches.c and by the
 *   same protocol. A thread's shelves come on again when it has made some calls
 *   past them.
 *
 * Invariants
 *   1. A record is in the list of the heap whose serial it bears, as long as that
 *      is there.
 *   2. Shelves change by their thread alone, but for what a sweep writes in the
 *      caches.
 *
 * Edges
 *   Those of core/thread_cache.c.
 *
 * Costs
 *   10 KiB for each thread and heap. Finding a record of another heap than the
 *   last: a walk over the thread's.
 *
 * Limits
 *   A thread whose destructors run works without a record, from the central pool.
 */

#include "core/heap_record.h"

#include "core/heap.h"

#include "base/check.h"
#include "platform/fence.h"

#define TLS __thread __attribute__((tls_model("initial-exec")))

/* The recent record of a thread that has none: of no heap. */
static struct wr_heap_record none;

TLS struct wr_heap_record *wr_heap_recent = &none;
static TLS struct wr_heap_record *mine;
static TLS bool ended;

static struct wr_mutex spare_lock = WR_MUTEX_INITIAL;
static struct wr_heap_record *spare;

/* ---- Shelves ----------------------------------------------------------- */

void *
wr_heap_block(const struct weir_heap *heap, uint32_t class, uint32_t slot,
    _Atomic uint32_t **asked)
{
    uint32_t word = slot / WR_WORD_BITS;
    uint32_t number = word / WR_PAGE_WORDS;
    struct wr_heap_region *region = wr_heap_region_of(heap, number);
    WR_ASSERT(region != NULL);
    uint32_t entry = wr_load_relaxed(
        &region->entries[number - region->first_page]); /* its block is ours */
    uint32_t page = entry >> WR_ENTRY_SHIFT;
    uint32_t first_word = (region->first_page + page) * WR_PAGE_WORDS;
    uint32_t index =
        ((word - first_word) << wr_central_shift(class)) + slot % WR_WORD_BITS;
    *asked = &region->sizes[(size_t)page * WR_PAGE_SLOTS + index];
    return region->base + ((size_t)page << WR_PAGE_SHIFT) +
           index * wr_class_size(class);
}

void
wr_heap_clear_shelf(struct wr_shelf *shelf)
{
    wr_cache_clear(&shelf->cache);
    shelf->sizes = NULL;
    shelf->last_bit = WR_WORD_BITS;
}

void
wr_heap_turn_on(const struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        size_t size = wr_class_size(class);
        if (wr_cache_is_on(&shelf->cache))
            continue;
        wr_heap_clear_shelf(shelf);
        if (heap->is_cached)
            wr_cache_turn_on(&shelf->cache,
                wr_clamp(heap->refill_bytes / size, 1, WR_WORD_BITS),
                wr_clamp(heap->cache_bytes / size / 4, 0, WR_WORD_BITS));
    }
}

/* What is in the shelf goes to the central pool; returns what was on top. */
static uint64_t
empty(struct weir_heap *heap, uint32_t class, const struct wr_shelf *shelf)
{
    struct wr_batch top = wr_cache_batch(&shelf->cache, 0);
    wr_central_give(heap, class, &top);
    for (uint32_t i = 1; i <= WR_CACHE_DEPTH; i++) {
        struct wr_batch below = wr_cache_batch(&shelf->cache, i);
        wr_central_give(heap, class, &below);
    }
    return top.mask;
}

static void
flush(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (!wr_cache_is_on(&shelf->cache))
            continue;
        (void)empty(heap, class, shelf);
        wr_heap_clear_shelf(shelf);
    }
}

/* The same for good. */
static void
give_up(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (wr_cache_is_on(&shelf->cache))
            wr_cache_turn_off(&shelf->cache, empty(heap, class, shelf));
    }
}

static bool
stop(struct wr_heap_record *record)
{
    bool was_on = false;
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++)
        was_on |= wr_cache_stop(&record->shelves[class].cache);
    return was_on;
}

static void
take_back(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (!wr_cache_is_stopped(&shelf->cache))
            continue;
        wr_cache_wait(&shelf->cache);
        wr_cache_turn_off(&shelf->cache, empty(heap, class, shelf));
    }
}

void
wr_heap_sweep(struct weir_heap *heap)
{
    bool was_on = false;
    struct wr_heap_record *record;
    for (record = heap->records; record != NULL; record = record->next)
        was_on |= stop(record);
    if (!was_on)
        return;
    wr_fence_heavy();
    for (record = heap->records; record != NULL; record = record->next)
        take_back(heap, record);
    heap->sweeps++;
}

/* ---- Records ----------------------------------------------------------- */

static void
link_record(struct weir_heap *heap, struct wr_heap_record *record)
{
    record->previous = NULL;
    record->next = heap->records;
    if (record->next != NULL)
        record->next->previous = record;
    heap->records = record;
    heap->record_count++;
}

static void
unlink_record(struct weir_heap *heap, const struct wr_heap_record *record)
{
    if (record->previous != NULL)
        record->previous->next = record->next;
    else
        heap->records = record->next;
    if (record->next != NULL)
        record->next->previous = record->previous;
    heap->record_count--;
}

/* What the record has goes home, if its heap is still there. */
static void
end_record(struct wr_heap_record *record)
{
    struct weir_heap *heap = record->heap;
    if (wr_heaps_have(heap, record->serial)) {
        wr_mutex_lock(&heap->lock);
        give_up(heap, record);
        unlink_record(heap, record);
        wr_mutex_unlock(&heap->lock);
    }
    record->serial = 0;
    wr_mutex_lock(&spare_lock);
    record->next_mine = spare;
    spare = record;
    wr_mutex_unlock(&spare_lock);
}

void
wr_heap_lock_spare(void)
{
    wr_mutex_lock(&spare_lock);
}

void
wr_heap_unlock_spare(void)
{
    wr_mutex_unlock(&spare_lock);
}

static bool
is_mine(const struct wr_heap_record *record)
{
    const struct wr_heap_record *own = mine;
    while (own != NULL && own != record)
        own = own->next_mine;
    return own != NULL;
}

void
wr_heap_forget_threads(struct weir_heap *heap)
{
    struct wr_heap_record *record = heap->records;
    while (record != NULL) {
        struct wr_heap_record *next = record->next;
        if (!is_mine(record)) {
            unlink_record(heap, record);
            record->serial = 0;
            record->next_mine = spare;
            spare = record;
        }
        record = next;
    }
}

static void
thread_ends(void *unused)
{
    (void)unused;
    ended = true;
    wr_heap_recent = &none;
    wr_heaps_lock();
    while (mine != NULL) {
        struct wr_heap_record *record = mine;
        mine = record->next_mine;
        end_record(record);
    }
    wr_heaps_unlock();
}

/* Memory for a record, cleared once. */
static struct wr_heap_record *
find_memory(void)
{
    wr_mutex_lock(&spare_lock);
    struct wr_heap_record *record = spare;
    if (record != NULL)
        spare = record->next_mine;
    wr_mutex_unlock(&spare_lock);
    struct wr_region mapping;
    if (record == NULL &&
        wr_pages_map(sizeof(*record), WR_LINE_SIZE, WR_PAGES_NORMAL, &mapping))
        record = mapping.base;
    return record;
}

/* Makes it one of the heap's. */
static void
attach(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        wr_cache_init(&shelf->cache);
        shelf->inverse = wr_class_inverse[class];
        shelf->units = wr_class_units(class);
        shelf->shift = wr_central_shift(class);
        shelf->mask = (UINT32_C(1) << shelf->shift) - 1;
        shelf->sizes = NULL;
    }
    record->heap = heap;
    record->region = heap->regions[0];
    record->serial = heap->serial;
    record->credit = WR_HEAP_CREDIT;
    record->until_tick = WR_HEAP_TICK;
    wr_mutex_lock(&heap->lock);
    link_record(heap, record);
    wr_heap_turn_on(heap, record);
    wr_mutex_unlock(&heap->lock);
}

/* A record of the thread's whose heap has ended. */
static struct wr_heap_record *
find_idle(void)
{
    struct wr_heap_record *record = mine;
    wr_heaps_lock();
    while (record != NULL && wr_heaps_have(record->heap, record->serial))
        record = record->next_mine;
    wr_heaps_unlock();
    return record;
}

static struct wr_heap_record *
make_record(struct weir_heap *heap)
{
    if (ended || (mine == NULL && !wr_thread_at_exit(thread_ends)))
        return NULL;
    struct wr_heap_record *record = find_idle();
    if (record == NULL) {
        record = find_memory();
        if (record == NULL)
            return NULL;
        record->next_mine = mine;
        mine = record;
    }
    attach(heap, record);
    return record;
}

struct wr_heap_record *
wr_heap_record_of(struct weir_heap *heap)
{
    struct wr_heap_record *record = wr_heap_recent;
    if (record->serial == heap->serial)
        return record;
    record = mine;
    while (record != NULL && record->serial != heap->serial)
        record = record->next_mine;
    if (record == NULL)
        record = make_record(heap);
    if (record != NULL)
        wr_heap_recent = record;
    return record;
}

void
weir_heap_flush(struct weir_heap *heap)
{
    struct wr_heap_record *record = mine;
    while (record != NULL && record->serial != heap->serial)
        record = record->next_mine;
    if (record == NULL)
        return;
    wr_mutex_lock(&heap->lock);
    flush(heap, record);
    wr_mutex_unlock(&heap->lock);
}
