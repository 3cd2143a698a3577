/* SPDX-License-Identifier: MIT */
/* caches: the threads' caches in front of an arena's words. */
#ifndef WR_CACHES_H
#define WR_CACHES_H

#include "arena/arena.h"

/* ---- The calling thread's own; `record` is its, or NULL ---- */

/* Nothing to be had from the cache, nor to be settled: it is off and empty. */
static inline bool
wr_caches_may_pass(const struct wr_record *record)
{
    return !wr_gate_is_on(&record->cache.gate) &&
           wr_cache_top(&record->cache) == 0;
}

/* Takes a slot through the cache, and refills that. False: it is not on, or no
   slot was met. */
bool wr_caches_take(
    struct weir_arena *arena, struct wr_record *record, uint32_t *slot);

/* Gives a slot through the cache. False: it is not on. */
bool wr_caches_give(
    struct weir_arena *arena, struct wr_record *record, uint32_t slot);

/*
 * Ends an operation on the top of a cache that was found not to be on, when the
 * sweep is over, and empties the cache. `slot` lies in the top's word. True: the
 * sweep found it on top.
 */
bool wr_caches_settle(
    struct weir_arena *arena, struct wr_record *record, uint32_t slot);

/* Counts a slot that goes past the cache; after some the cache is on again, if
   the arena's state allows. The arena is not dead. */
void wr_caches_earn(struct weir_arena *arena, struct wr_record *record);

/* ---- With the arena's mutex held ---- */

/* Takes everything back from all caches and turns them off, so that no free
   block is anywhere but in the words. */
void wr_caches_sweep(struct weir_arena *arena);

/* Turns the calling thread's cache on, if the arena may have caches now. */
void wr_caches_turn_on(struct weir_arena *arena, struct wr_record *record);

/* The calling thread's cache goes home; give_up turns it off too. */
void wr_caches_flush(struct weir_arena *arena, struct wr_record *record);
void wr_caches_give_up(struct weir_arena *arena, struct wr_record *record);

/* How many blocks are in caches, about, and how many bytes these are. */
uint64_t wr_caches_count(const struct weir_arena *arena, uint64_t *bytes);

#endif
