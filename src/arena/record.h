/* SPDX-License-Identifier: MIT */
#ifndef WR_RECORD_H
#define WR_RECORD_H

#include "base/atomic.h"
#include "base/bitmap.h"

#include <stddef.h>
#include <stdint.h>

struct weir_arena;

/*
 * What a thread counts, in the order in which a sum reads it: what follows
 * before what it follows from. So no snapshot shows a grant without its wait.
 * Allocs are not here: what came home and what is out adds up to them.
 */
enum wr_counter {
    WR_RELEASES, /* the first three lie in the line of the hint */
    WR_BYTES_FROZEN,
    WR_FREEZES,
    WR_GRANTS,
    WR_CANCELS,
    WR_WAITS,
    WR_BYTES_COPIED,
    WR_SPILL_GROWS,
    WR_SPILL_FULLS,
    WR_ALLOC_FULLS,
    WR_COUNTERS
};

/* One thread's part in one arena: where it looks first, and what it counted.
   Its owner writes; others read the counts, under the arena's mutex. */
struct wr_record {
    uint64_t serial; /* of the arena it is for */
    struct wr_bitmap_hint hint;
    _Atomic uint64_t counts[WR_COUNTERS];
    struct wr_record *next;
    struct wr_record *previous;
};

#define WR_TLS __thread __attribute__((tls_model("initial-exec")))

/* The record the thread used last, and the serial of its arena; 0: none. */
struct wr_recent {
    uint64_t serial;
    struct wr_record *record;
};
extern WR_TLS struct wr_recent wr_recent;

/*
 * The calling thread's record for an arena. NULL: it can have none, because
 * there is no memory or it is ending; then it works under the arena's mutex, on
 * the arena's own record. When wr_recent bears the arena's serial it is the one
 * there: the common paths look only there.
 */
struct wr_record *wr_record_of(struct weir_arena *arena);

/* Adds `n` to a count of a record of the calling thread, or of the arena's own
   while its mutex is held. */
static inline void
wr_record_count(struct wr_record *record, enum wr_counter counter, uint64_t n)
{
    uint64_t seen = wr_load_relaxed(&record->counts[counter]); /* we own it */
    wr_store_release(&record->counts[counter], seen + n);      /* [counted] */
}

/* The sum of one count over all threads. The arena's mutex is held. */
uint64_t wr_record_sum(const struct weir_arena *arena, enum wr_counter counter);

#endif
