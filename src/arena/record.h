/* SPDX-License-Identifier: MIT */
#ifndef WR_RECORD_H
#define WR_RECORD_H

#include "arena/shelves.h"
#include "base/atomic.h"
#include "base/bitmap.h"
#include "core/thread_cache.h"

#include <stddef.h>
#include <stdint.h>

struct weir_arena;

/*
 * What a thread counts, in the order in which a sum reads it: what follows
 * before what it follows from. So no snapshot shows a release without its alloc
 * or a grant without its wait.
 */
enum wr_counter {
    WR_RELEASES, /* the first four lie in one line */
    WR_BYTES_FROZEN,
    WR_FREEZES,
    WR_ALLOCS,
    WR_GRANTS,
    WR_CANCELS,
    WR_WAITS,
    WR_BYTES_COPIED,
    WR_SPILL_GROWS,
    WR_SPILL_FULLS,
    WR_ALLOC_FULLS,
    WR_COUNTERS
};

/* One thread's part in one arena: the free blocks it keeps at hand, where it
   looks for others, and what it counted. Its owner writes; others read the
   counts and sweep the cache, under the arena's mutex. */
struct wr_record {
    struct wr_thread_cache cache;
    _Atomic uint64_t counts[WR_COUNTERS];
    union {
        struct wr_bitmap_hint hint; /* of a fixed arena */
        struct wr_shelves *shelves; /* of a buddy; they lie behind the record */
    };
    uint64_t serial; /* of the arena it is for */
    struct wr_record *next;
    struct wr_record *previous;
};

#define WR_TLS __thread __attribute__((tls_model("initial-exec")))

/*
 * The record that the thread used last, its arena, and which owners that one's
 * handles have. None: no arena, no slots, and a record whose cache is never on.
 * All of it may be of an arena that is dead, and whose control part and number
 * another one has now. But a dead arena's caches are off (arena/caches.c): while
 * the record's cache is on, it is of the arena that is there.
 */
struct wr_recent {
    struct weir_arena *arena;
    struct wr_record *record;
    uint64_t owner;           /* of slot 0 */
    uint64_t slot_count;      /* of a fixed arena */
    struct wr_shelf *shelves; /* of a buddy, by order */
    uint32_t shelf_count;
};
extern WR_TLS struct wr_recent wr_recent;

/*
 * The calling thread's record for an arena. NULL: it can have none, because
 * there is no memory or it is ending; then it works under the arena's mutex, on
 * the arena's own record.
 */
struct wr_record *wr_record_of(struct weir_arena *arena);

/* The same if there is one, and NULL if not. The arena's mutex is held. */
struct wr_record *wr_record_seen(const struct weir_arena *arena);

/* How many bytes a record of the arena takes. */
size_t wr_record_size(const struct weir_arena *arena);

/* How many blocks of the heap the calling thread's records and their table are.
   For tests. */
uint32_t wr_record_books(void);

/* Adds what a record counted to the arena's own sums and takes it out of the
   list. The arena's mutex is held; the cache is off. */
void wr_record_retire(struct weir_arena *arena, struct wr_record *record);

/* Adds `n` to a count of a record of the calling thread, or of the arena's own
   while its mutex is held. */
static inline void
wr_record_count(struct wr_record *record, enum wr_counter counter, uint64_t n)
{
    uint64_t seen = wr_load_relaxed(&record->counts[counter]); /* we own it */
    wr_store_release(&record->counts[counter], seen + n);      /* [counted] */
}

/* The same for what only records of buddy arenas count. */
static inline void
wr_record_count_buddy(
    struct wr_record *record, enum wr_buddy_counter counter, uint64_t n)
{
    _Atomic uint64_t *count = &record->shelves->counts[counter];
    wr_store_relaxed(count, wr_load_relaxed(count) + n); /* we own it */
}

/* The sum of one count over all threads. The arena's mutex is held. */
uint64_t wr_record_sum(const struct weir_arena *arena, enum wr_counter counter);
uint64_t wr_record_sum_buddy(
    const struct weir_arena *arena, enum wr_buddy_counter counter);

#endif
