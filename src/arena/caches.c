/* SPDX-License-Identifier: MIT */
/*
 * caches: the threads' caches in front of an arena's words.
 *
 *     thread's record          the arena, under its mutex
 *     cache ──spill──▶ words     sweep: every cache ──▶ words, all off
 *           ◀─refill──
 *
 * Idea
 *   While the arena's state is 0, each thread takes and gives through a cache of
 *   its own: of a fixed arena batches of its bitmap (core/thread_cache.c), of a buddy
 *   shelves (shelves.c), beside which the record's gate only says that they are
 *   on. Whoever must know that no block is free, or
 *   is about to change the state so that releases must look at it, sweeps first:
 *   under the mutex all caches are emptied into the words and turned off. From
 *   then on, in the drought, the words are the only truth and every call goes to
 *   them. So a cache that is on proves that the state is 0, and the one load of its
 *   `control` says at once: nobody sweeps, nobody waits, the arena is not closed.
 *
 *   A thread's cache comes on again when the thread has taken and given as many
 *   slots past it as a sweep is worth, and the state is 0. So a drought that lasts
 *   costs no further sweeps, and the worst that changing demand can do is to
 *   double what the slots past the caches cost.
 *
 * Invariants
 *   1. caches_on is the number of records in the list whose cache is on. It and
 *      every change of `control` are under the mutex.
 *   2. While caches_on is above 0 and nobody holds the mutex, state is 0: before
 *      who set a bit unlocks, a sweep has followed or the bit is taken back.
 *
 * Edges
 *   Those of core/thread_cache.c or core/shelf.c, and of the words.
 *
 * Costs
 *   A sweep: one heavy fence, and for each cache that is on two lines, and one
 *   locked instruction for each batch found.
 *
 * Limits
 *   A refill takes at most half of a thread's share of the slots, and what a cache
 *   keeps of seven words below its top is at most another share, so that in small
 *   arenas threads do not empty each other's plates in turns. The share is that
 *   of the moment when the cache came on.
 */

#include "arena/caches.h"

#include "base/check.h"
#include "platform/fence.h"

/* A batch goes home. */
static void
give_batch(struct weir_arena *arena, struct wr_bitmap_hint *hint,
    const struct wr_batch *batch)
{
    if (batch->mask == 0 ||
        wr_bitmap_give_batch(&arena->fixed.map, hint, batch))
        return;
    wr_arena_fail(arena,
        batch->word * WR_WORD_BITS + wr_lowest_bit(batch->mask),
        "this block, or one of the 63 behind it, was released twice");
}

/* ---- The calling thread's own ------------------------------------------ */

/* The top is used up and nothing lies below. */
static bool
refill(struct weir_arena *arena, struct wr_record *record)
{
    struct wr_batch batch;
    if (!wr_bitmap_take_batch(
            &arena->fixed.map, &record->hint, record->cache.batch_max, &batch))
        return false;
    wr_cache_fill(&record->cache, &batch);
    return true;
}

/* False: the cache is not on, and is empty now. */
static bool
begin(struct weir_arena *arena, struct wr_record *record)
{
    struct wr_thread_cache *cache = &record->cache;
    if (wr_gate_is_on(&cache->gate) && wr_gate_begin(&cache->gate))
        return true;
    if (wr_cache_top(cache) != 0)
        (void)wr_caches_settle(arena, record, 0);
    return false;
}

bool
wr_caches_take(
    struct weir_arena *arena, struct wr_record *record, uint32_t *slot)
{
    struct wr_thread_cache *cache = &record->cache;
    if (!begin(arena, record))
        return false;
    bool taken = wr_cache_take(cache, slot) ||
                 (refill(arena, record) && wr_cache_take(cache, slot));
    wr_gate_end(&cache->gate);
    return taken;
}

bool
wr_caches_give(
    struct weir_arena *arena, struct wr_record *record, uint32_t slot)
{
    struct wr_thread_cache *cache = &record->cache;
    if (!begin(arena, record))
        return false;
    struct wr_batch spilled;
    bool was_out = wr_cache_give(cache, slot, &spilled);
    give_batch(arena, &record->hint, &spilled);
    wr_record_count(record, WR_RELEASES, 1);
    wr_gate_end(&cache->gate);
    if (!was_out)
        wr_arena_fail(arena, slot, "released twice");
    return true;
}

bool
wr_caches_settle(
    struct weir_arena *arena, struct wr_record *record, uint32_t slot)
{
    struct wr_thread_cache *cache = &record->cache;
    if (wr_gate_is_stopped(&cache->gate)) {
        wr_mutex_lock(&arena->mutex); /* the sweeper holds it to the end */
        wr_mutex_unlock(&arena->mutex);
    }
    wr_cache_clear(cache);
    return wr_cache_was_stolen(cache, slot);
}

void
wr_caches_earn(struct weir_arena *arena, struct wr_record *record)
{
    if (arena->caching != WEIR_CACHING_ON ||
        wr_gate_is_on(&record->cache.gate) || --record->cache.credit != 0)
        return;
    record->cache.credit = arena->drought_length;
    if (!wr_mutex_try_lock(&arena->mutex))
        return;
    wr_caches_turn_on(arena, record);
    wr_mutex_unlock(&arena->mutex);
}

/* ---- With the mutex held ----------------------------------------------- */

/* Everything in the cache goes home; returns what was on top. */
static uint64_t
empty(struct weir_arena *arena, const struct wr_thread_cache *cache)
{
    struct wr_batch top = wr_cache_batch(cache, 0);
    give_batch(arena, &arena->shared.hint, &top);
    for (uint32_t i = 1; i <= WR_CACHE_DEPTH; i++) {
        struct wr_batch below = wr_cache_batch(cache, i);
        give_batch(arena, &arena->shared.hint, &below);
    }
    return top.mask;
}

void
wr_caches_sweep(struct weir_arena *arena)
{
    if (arena->caches_on == 0)
        return;
    struct wr_record *record;
    for (record = arena->records; record != NULL; record = record->next) {
        wr_gate_stop(&record->cache.gate);
        if (arena->layout == WEIR_BUDDY)
            wr_shelves_stop(record->shelves);
    }
    wr_fence_heavy();
    for (record = arena->records; record != NULL; record = record->next) {
        struct wr_thread_cache *cache = &record->cache;
        if (!wr_gate_is_stopped(&cache->gate))
            continue;
        wr_gate_wait(&cache->gate);
        wr_cache_turn_off(cache, empty(arena, cache));
        if (arena->layout == WEIR_BUDDY)
            wr_shelves_take_back(arena, record->shelves);
    }
    arena->caches_on = 0;
    arena->sweeps++;
}

void
wr_caches_turn_on(struct weir_arena *arena, struct wr_record *record)
{
    record->cache.credit = arena->drought_length;
    uint32_t state =
        wr_load_relaxed(&arena->state); /* the mutex orders its changes */
    if (arena->caching != WEIR_CACHING_ON || state != 0)
        return;
    if (arena->layout == WEIR_BUDDY)
        wr_shelves_turn_on(arena, record->shelves);
    wr_cache_clear(&record->cache);
    uint32_t share = wr_arena_slot_count(arena) / arena->record_count;
    wr_cache_turn_on(&record->cache, wr_clamp(share / 2, 1, WR_WORD_BITS),
        wr_clamp(share / 8, 1, WR_WORD_BITS));
    arena->caches_on++;
}

void
wr_caches_flush(struct weir_arena *arena, struct wr_record *record)
{
    if (!wr_gate_is_on(&record->cache.gate))
        return;
    (void)empty(arena, &record->cache);
    wr_cache_clear(&record->cache);
    if (arena->layout == WEIR_BUDDY)
        wr_shelves_flush(arena, record->shelves);
}

void
wr_caches_give_up(struct weir_arena *arena, struct wr_record *record)
{
    if (!wr_gate_is_on(&record->cache.gate))
        return;
    wr_cache_turn_off(&record->cache, empty(arena, &record->cache));
    if (arena->layout == WEIR_BUDDY)
        wr_shelves_give_up(arena, record->shelves);
    arena->caches_on--;
}

uint64_t
wr_caches_count(const struct weir_arena *arena, uint64_t *bytes)
{
    uint64_t count = 0;
    *bytes = 0;
    const struct wr_record *record = arena->records;
    for (; record != NULL; record = record->next) {
        if (arena->layout == WEIR_BUDDY)
            count += wr_shelves_count(arena, record->shelves, bytes);
        else
            count += wr_cache_count(&record->cache);
    }
    if (arena->layout == WEIR_FIXED)
        *bytes = count * arena->fixed.block_size;
    return count;
}
