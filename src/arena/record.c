/* SPDX-License-Identifier: MIT */
/*
 * record: what one thread keeps of one arena.
 *
 *     thread-local           arena 3                       arena 7
 *     [ . . . r3 . . . r7 ]  records: r3 ─ (others)        records: r7 ─ (others)
 *             │        └──────────────────────────────────────────┘
 *             └──────────────────────────┘
 *
 * Idea
 *   Counters that all threads share cost a cache line's journey for each call.
 *   So every thread has, for each arena it uses, a record of its own: a cache of
 *   free blocks, a hint where to search and counts that only it writes. Whoever
 *   wants a sum adds the records up. A thread finds its record by the arena's id in a table of its
 *   own, and knows by the arena's serial number that it is for this arena and
 *   not for a dead one that had the id before; so it never looks at a dead arena.
 *
 * Invariants
 *   1. A record is written by its thread alone, but for what a sweep writes in
 *      the cache. It is in the list of the arena whose serial it bears, as long
 *      as that arena is alive.
 *   2. Lists, retired counts and the arena's own record: under the mutex.
 *   3. A record is freed by its own thread alone, out of every list, and its
 *      cache is off then. An arena that dies drops its list and leaves the
 *      records to their threads. (In the child of a fork there are no other
 *      threads: it frees theirs; fork.c.)
 *
 * Edges
 *   [counted]  wr_record_count, release  ->  wr_record_sum, acquire
 *              Who sees an effect counted sees its cause counted, on whatever
 *              thread that was: the block went from there to here.
 *
 * Costs
 *   A call on the arena that the thread used last: two loads and a compare to
 *   find the record; on another one a call and the table. Plain stores to count.
 *   The first call of a thread on an arena takes the mutex and memory, and the first
 *   at all what the heap keeps for a thread (core/heap_record.c). A sum walks the
 *   records. 256 bytes for each thread and arena; of a buddy also a line and up to 256
 *   bytes for each shelf (shelves.c).
 *
 * Limits
 *   A thread whose destructors run, or that has no memory for a record, works
 *   under the mutex; its records go back to the heap also when the heap's part of
 *   the thread has ended before. One that uses weir for the first time in the last round of
 *   its destructors leaves its records behind, as pthreads runs no further round;
 *   a sweep still gets what they hold. A thread's table has an entry for each id up to the largest
 *   it used.
 */

#include "arena/record.h"

#include "arena/arena.h"
#include "arena/caches.h"
#include "base/check.h"
#include "core/memory.h"

#include <string.h>

_Static_assert(sizeof(struct wr_record) <= 256, "Costs, and SHELVES_AT");

/* The recent record of a thread that has none; never written. */
static struct wr_record none = { .cache = WR_CACHE_EMPTY };

WR_TLS struct wr_recent wr_recent = { .record = &none };

static WR_TLS struct wr_record **table;
static WR_TLS uint32_t table_size;
static WR_TLS bool ended;

enum {
    TABLE_SIZE_MIN = 8,
    SHELVES_AT = 256 /* bytes behind the start of a buddy's record */
};

static void
link_record(struct weir_arena *arena, struct wr_record *record)
{
    record->previous = NULL;
    record->next = arena->records;
    if (record->next != NULL)
        record->next->previous = record;
    arena->records = record;
    arena->record_count++;
}

static void
unlink_record(struct weir_arena *arena, struct wr_record *record)
{
    if (record->previous != NULL)
        record->previous->next = record->next;
    else
        arena->records = record->next;
    if (record->next != NULL)
        record->next->previous = record->previous;
    arena->record_count--;
}

void
wr_record_retire(struct weir_arena *arena, struct wr_record *record)
{
    for (unsigned i = 0; i < WR_COUNTERS; i++)
        arena->retired[i] += wr_load_relaxed(
            &record->counts[i]); /* its thread is here, or gone */
    for (unsigned i = 0; i < WR_BUDDY_COUNTERS; i++)
        if (arena->layout == WEIR_BUDDY)
            arena->retired_buddy[i] +=
                wr_shelves_counted(record->shelves, (enum wr_buddy_counter)i);
    unlink_record(arena, record);
}

/* Hands what the thread has and counted to the arena, if that is still the
   one. */
static void
end_record(uint32_t id, struct wr_record *record)
{
    struct weir_arena *arena = wr_directory_at(id);
    wr_mutex_lock(&arena->mutex);
    if (arena->serial == record->serial) {
        wr_caches_give_up(arena, record);
        wr_record_retire(arena, record);
    }
    wr_mutex_unlock(&arena->mutex);
    wr_memory_release(record, "a thread's record");
}

/* What the thread keeps at hand goes home, if the arena is still the one. */
static void
flush_record(uint32_t id, struct wr_record *record)
{
    struct weir_arena *arena = wr_directory_at(id);
    wr_mutex_lock(&arena->mutex);
    if (arena->serial == record->serial)
        wr_caches_flush(arena, record);
    wr_mutex_unlock(&arena->mutex);
}

void
weir_thread_flush(void)
{
    for (uint32_t id = 0; id < table_size; id++)
        if (table[id] != NULL)
            flush_record(id, table[id]);
}

/* The thread ends. Destructors that run behind this one do without records. */
static void
thread_ends(void *unused)
{
    (void)unused;
    for (uint32_t id = 0; id < table_size; id++)
        if (table[id] != NULL)
            end_record(id, table[id]);
    wr_memory_release(table, "a thread's table");
    table = NULL;
    table_size = 0;
    wr_recent = (struct wr_recent){ .record = &none };
    ended = true;
}

/* Makes the table large enough for `id`. */
static bool
grow_table(uint32_t id)
{
    uint32_t size = table_size == 0 ? TABLE_SIZE_MIN : table_size;
    while (size <= id)
        size *= 2;
    struct wr_record **larger =
        wr_memory_alloc_zeroed(size * sizeof(struct wr_record *));
    if (larger == NULL)
        return false;
    if (table_size == 0 && !wr_thread_at_exit(thread_ends)) {
        wr_memory_release(larger, "a thread's table");
        return false;
    }
    if (table_size != 0)
        memcpy(larger, table, table_size * sizeof(struct wr_record *));
    wr_memory_release(table, "a thread's table");
    table = larger;
    table_size = size;
    return true;
}

/* Where a thread begins to search: in different cache lines of the bitmap. */
static void
place_hint(
    const struct weir_arena *arena, struct wr_record *record, uint32_t ordinal)
{
    enum { WORDS_IN_LINE = WR_LINE_SIZE / sizeof(uint64_t) };
    switch (arena->layout) {
    case WEIR_FIXED:
        record->hint.home =
            ordinal * WORDS_IN_LINE % arena->fixed.map.word_count;
        record->hint.word = record->hint.home;
        break;
    case WEIR_BUDDY:
        record->shelves =
            (struct wr_shelves *)(void *)((char *)record + SHELVES_AT);
        wr_shelves_init(arena, ordinal, record->shelves);
    }
}

/* Makes `record` the calling thread's for `arena`. */
static void
attach(struct weir_arena *arena, struct wr_record *record)
{
    memset(record, 0, sizeof(*record));
    wr_cache_init(&record->cache);
    record->serial = arena->serial;

    wr_mutex_lock(&arena->mutex);
    place_hint(arena, record, arena->record_ordinal++);
    link_record(arena, record);
    wr_caches_turn_on(arena, record);
    wr_mutex_unlock(&arena->mutex);
}

size_t
wr_record_size(const struct weir_arena *arena)
{
    return arena->layout == WEIR_FIXED ? sizeof(struct wr_record)
                                       : SHELVES_AT + wr_shelves_size(arena);
}

static struct wr_record *
make_record(struct weir_arena *arena)
{
    if (ended || (arena->id >= table_size && !grow_table(arena->id)))
        return NULL;
    struct wr_record *record = wr_memory_alloc(wr_record_size(arena));
    if (record == NULL)
        return NULL;
    struct wr_record *old = table[arena->id]; /* of a dead arena, in no list */
    if (wr_recent.record == old)
        wr_recent = (struct wr_recent){ .record = &none };
    wr_memory_release(old, "a thread's record");
    table[arena->id] = record;
    attach(arena, record);
    return record;
}

uint32_t
wr_record_books(void)
{
    if (table == NULL)
        return 0;
    uint32_t count = 1;
    for (uint32_t id = 0; id < table_size; id++)
        count += table[id] != NULL;
    return count;
}

struct wr_record *
wr_record_seen(const struct weir_arena *arena)
{
    uint32_t id = arena->id;
    struct wr_record *record = id < table_size ? table[id] : NULL;
    return record != NULL && record->serial == arena->serial ? record : NULL;
}

struct wr_record *
wr_record_of(struct weir_arena *arena)
{
    WR_ASSERT(arena->serial != 0);
    struct wr_record *record = wr_record_seen(arena);
    if (record == NULL)
        record = make_record(arena);
    if (record != NULL)
        wr_recent = (struct wr_recent){ .arena = arena,
            .record = record,
            .owner = arena->owner,
            .slot_count = arena->fixed.map.slot_count };
    if (record != NULL && arena->layout == WEIR_BUDDY) {
        wr_recent.shelves = record->shelves->of_order;
        wr_recent.shelf_count = record->shelves->count;
    }
    return record;
}

uint64_t
wr_record_sum(const struct weir_arena *arena, enum wr_counter counter)
{
    uint64_t sum =
        arena->retired[counter] +
        wr_load_acquire(&arena->shared.counts[counter]); /* [counted] */
    const struct wr_record *record = arena->records;
    for (; record != NULL; record = record->next)
        sum += wr_load_acquire(&record->counts[counter]); /* [counted] */
    return sum;
}

uint64_t
wr_record_sum_buddy(
    const struct weir_arena *arena, enum wr_buddy_counter counter)
{
    if (arena->layout != WEIR_BUDDY)
        return 0;
    uint64_t sum = arena->retired_buddy[counter] +
                   wr_shelves_counted(&arena->shared_shelves, counter);
    const struct wr_record *record = arena->records;
    for (; record != NULL; record = record->next)
        sum += wr_shelves_counted(record->shelves, counter);
    return sum;
}
