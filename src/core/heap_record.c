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
 *   emptied into the central pool and turned off, as in arena/caches.c and through
 *   the same gate. A thread's shelves come on again when it has made some calls
 *   past them.
 *
 * Invariants
 *   1. A record is in the list of the heap whose serial it bears, as long as that
 *      is there.
 *   2. Shelves change by their thread alone, but for what a sweep leaves there.
 *
 * Edges
 *   Those of core/shelf.c.
 *
 * Costs
 *   3.4 KiB for each thread and heap, and 8 bytes for each block that its shelves
 *   have room for: 18 KiB if a class may keep 64 KiB, at most 104 KiB, touched where
 *   classes are used. Finding a record of another heap than the last: a walk over the
 *   thread's.
 *
 * Limits
 *   A thread whose destructors run works without a record, from the central pool. If
 *   its first call of all comes in the last round of destructors, its record stays.
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

void
wr_heap_turn_on(const struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (heap->is_cached && !wr_gate_is_on(&shelf->gate))
            wr_shelf_turn_on(shelf);
    }
}

/* What is on the shelf goes to the central pool; returns how many blocks. */
static uint32_t
empty(struct weir_heap *heap, uint32_t class, const struct wr_shelf *shelf)
{
    uint32_t count = wr_shelf_find(shelf);
    if (count != 0)
        wr_central_give(heap, class, shelf->blocks, count);
    return count;
}

static void
flush(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (!wr_gate_is_on(&shelf->gate))
            continue;
        (void)empty(heap, class, shelf);
        wr_store_relaxed(&shelf->count, 0); /* under the lock */
    }
}

/* The same for good. */
static void
give_up(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (wr_gate_is_on(&shelf->gate))
            wr_shelf_turn_off(shelf, empty(heap, class, shelf));
    }
}

static bool
stop(struct wr_heap_record *record)
{
    bool was_on = false;
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++)
        was_on |= wr_gate_stop(&record->shelves[class].gate);
    return was_on;
}

static void
take_back(struct weir_heap *heap, struct wr_heap_record *record)
{
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        struct wr_shelf *shelf = &record->shelves[class];
        if (!wr_gate_is_stopped(&shelf->gate))
            continue;
        wr_gate_wait(&shelf->gate);
        wr_shelf_turn_off(shelf, empty(heap, class, shelf));
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
    const size_t blocks =
        (size_t)WR_CLASS_SMALL_COUNT * WR_SHELF_MAX * sizeof(record->blocks[0]);
    if (record == NULL && wr_pages_map(sizeof(*record) + blocks, WR_LINE_SIZE,
                              WR_PAGES_NORMAL, &mapping))
        record = mapping.base;
    return record;
}

/* So many blocks of a size that `bytes` hold. */
static uint32_t
blocks_in(size_t bytes, uint32_t class, uint32_t most)
{
    return wr_clamp(bytes / wr_class_size(class), 1, most);
}

/* Makes it one of the heap's. */
static void
attach(struct weir_heap *heap, struct wr_heap_record *record)
{
    void **blocks = record->blocks;
    for (uint32_t class = 0; class < WR_CLASS_SMALL_COUNT; class ++) {
        uint32_t most = blocks_in(heap->cache_bytes, class, WR_SHELF_MAX);
        uint32_t refill = blocks_in(heap->refill_bytes, class, (most + 1) / 2);
        wr_shelf_init(&record->shelves[class], blocks, most, refill);
        blocks += most;
    }
    record->heap = heap;
    record->region = heap->regions[0];
    record->entry = WR_ENTRY_NEVER;
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
    if (record != NULL) {
        wr_mutex_lock(&heap->lock);
        flush(heap, record);
        wr_mutex_unlock(&heap->lock);
    }
    wr_heap_tick(heap);
}
