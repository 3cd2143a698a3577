/* SPDX-License-Identifier: MIT */
/*
 * rare: what the doors do when it is not the common case.
 *
 * Idea
 *   Who finds nothing on top of its cache, or has none, or comes with a block of
 *   another word, comes here from doors.h: first to the cache as a whole, and
 *   when that is off, past it to the bitmap. Past the cache, taking looks at the
 *   state before, and giving behind its bit. What cannot be done without
 *   waiting is done under the mutex.
 *
 * Full is exact
 *   A search that met only empty words has not proved that they were empty at
 *   once: a slot may have come back behind it while another was taken before
 *   it. So who is about to say full takes the mutex, sweeps the caches, sets
 *   WR_SEARCHING, searches, and exchanges WR_SEARCHING for WR_DRY. A release sets
 *   its bit, looks at the state, and clears the two before it returns. Setting
 *   and searching, setting and looking are sequentially consistent. So a
 *   release whose bit the search missed sees WR_SEARCHING, or WR_DRY; if it has
 *   returned, the exchange fails and the search is done again. If the exchange
 *   succeeds, every slot that is free then belongs to a release that is still in
 *   progress: all others are out. The loop is paid for by the releases of others.
 *
 *   WR_DRY is that answer, kept: while it is set no release has completed since,
 *   and full is full without a search. Its clearing and the search for waiters
 *   are one step in the state's order: a releaser learns from the old state it
 *   cleared whether somebody began to wait meanwhile.
 *
 * Edges
 *   [sleep]  take_exact, seq  ->  wr_arena_look_around, seq
 *            wr_bitmap_give, seq  ->  search of the bitmap, seq
 *            "Full is exact"; and for waiters, waiters.c.
 *
 * Costs
 *   Full: one load while it lasts. The first: the mutex, a sweep if caches are
 *   on, a walk over the words that have marks. A thread without a record takes the mutex for
 *   every call.
 */

#include "arena/arena.h"
#include "arena/caches.h"
#include "arena/doors.h"
#include "arena/spill.h"
#include "base/check.h"

/* WR_DRY for WR_SEARCHING; false if a release took that away. */
static bool
turn_dry(struct weir_arena *arena)
{
    uint32_t state = WR_SEARCHING;
    uint32_t dry;
    do {
        if ((state & WR_SEARCHING) == 0)
            return false;
        dry = (state & ~(uint32_t)WR_SEARCHING) | WR_DRY;
    } while (!wr_cas_relaxed(&arena->state, &state, dry)); /* one word */
    return true;
}

/* Full is exact. The mutex is held. */
static bool
take_exact(struct weir_arena *arena, uint32_t *slot)
{
    uint32_t state = wr_load_relaxed(&arena->state); /* a dry one says so */
    if ((state & WR_DRY) != 0)
        return false;
    if (arena->caches_on != 0 &&
        wr_fixed_take(&arena->fixed, &arena->shared.hint, slot))
        return true; /* not worth a sweep */
    wr_caches_sweep(arena);
    do {
        (void)wr_or_seq(&arena->state, WR_SEARCHING); /* [sleep] */
        if (wr_fixed_take_locked(&arena->fixed, &arena->shared.hint, slot)) {
            (void)wr_and_relaxed(&arena->state,
                ~(uint32_t)WR_SEARCHING); /* seen late, it costs a look */
            return true;
        }
    } while (!turn_dry(arena));
    arena->blocks_out_peak = arena->fixed.map.slot_count;
    return false;
}

/* Heap memory, if the arena may have more of it. The mutex is held. */
static bool
spill_instead(struct weir_arena *arena, struct weir_buf *buf)
{
    if ((arena->flags & WEIR_SPILL_FULL) == 0 ||
        wr_spill_take(arena, arena->fixed.block_size, buf) != WEIR_OK)
        return false;
    wr_record_count(&arena->shared, WR_ALLOCS, 1);
    wr_record_count(&arena->shared, WR_SPILL_FULLS, 1);
    return true;
}

bool
wr_arena_take_locked(struct weir_arena *arena, struct weir_buf *buf)
{
    uint32_t slot;
    if (!take_exact(arena, &slot))
        return spill_instead(arena, buf);
    wr_door_fill(arena, &arena->shared, slot, buf);
    return true;
}

/* Nothing was found, or not looked for because somebody waits. */
static enum weir_status
take_under_mutex(struct weir_arena *arena, bool barge, struct weir_buf *buf)
{
    wr_mutex_lock(&arena->mutex);
    uint32_t state =
        wr_load_relaxed(&arena->state); /* the mutex orders its changes */
    bool taken = false;
    if ((state & WR_CLOSED) == 0) {
        bool may_search = barge || (state & WR_WAITING) == 0;
        taken = may_search ? wr_arena_take_locked(arena, buf)
                           : spill_instead(arena, buf);
    }
    bool full = !taken && (state & WR_CLOSED) == 0;
    if (full)
        wr_record_count(&arena->shared, WR_ALLOC_FULLS, 1);
    wr_mutex_unlock(&arena->mutex);
    if (taken)
        return WEIR_OK;
    return full ? WEIR_FULL : WEIR_CLOSED;
}

/* As wr_record_of: the recent one, if it is the arena's. */
static struct wr_record *
record_of(struct weir_arena *arena)
{
    if (wr_recent.arena == arena && wr_recent.record->serial == arena->serial)
        return wr_recent.record;
    return wr_record_of(arena);
}

/* Past the cache, straight from the bitmap. */
static bool
take_past(struct weir_arena *arena, struct wr_record *record, uint32_t *slot)
{
    if (!wr_fixed_take(&arena->fixed, &record->hint, slot))
        return false;
    wr_caches_earn(arena, record);
    return true;
}

enum weir_status
wr_arena_take_rarely(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    WR_CHECK_BLOCK(arena->serial != 0, "used after it was destroyed",
        arena->name, WR_NO_BLOCK);
    if (size > arena->fixed.block_size)
        return WEIR_TOO_LARGE;
    struct wr_record *record = record_of(arena);
    uint32_t state = wr_load_relaxed(&arena->state); /* late is in time */
    uint32_t forbids = barge ? WR_CLOSED : WR_CLOSED | WR_WAITING;
    if (record == NULL || (state & forbids) != 0)
        return take_under_mutex(arena, barge, buf);
    if ((state & WR_DRY) != 0) {
        if ((arena->flags & WEIR_SPILL_FULL) != 0)
            return take_under_mutex(arena, barge, buf);
        wr_record_count(record, WR_ALLOC_FULLS, 1);
        return WEIR_FULL;
    }
    uint32_t slot;
    if ((wr_caches_may_pass(record) || !wr_caches_take(arena, record, &slot)) &&
        !take_past(arena, record, &slot))
        return take_under_mutex(arena, barge, buf);
    wr_door_fill(arena, record, slot, buf);
    return WEIR_OK;
}

enum weir_status
wr_arena_take_swept(struct weir_arena *arena, uint32_t slot, size_t size,
    bool barge, struct weir_buf *buf)
{
    struct wr_record *record = wr_recent.record;
    if (wr_caches_settle(arena, record, slot))
        return wr_arena_take_rarely(arena, size, barge, buf);
    wr_door_fill(arena, record, slot, buf);
    return WEIR_OK;
}

/* Past the cache, straight to the bitmap. */
static void
give_past(struct weir_arena *arena, struct wr_record *record, uint32_t slot)
{
    if (!wr_fixed_give(&arena->fixed, &record->hint, slot))
        wr_arena_fail(arena, slot, "released twice");
}

void
wr_arena_look_around(struct weir_arena *arena)
{
    uint32_t state = wr_load_seq(&arena->state); /* [sleep] */
    if ((state & WR_ATTENTION) != 0)
        wr_arena_attend(arena);
}

/* Through the cache, or past it. */
static void
give_slot(struct weir_arena *arena, struct wr_record *record, uint32_t slot)
{
    if (!wr_caches_may_pass(record) && wr_caches_give(arena, record, slot))
        return;
    wr_caches_earn(arena, record); /* while the block keeps the arena */
    give_past(arena, record, slot);
    wr_record_count(record, WR_RELEASES, 1);
    wr_arena_look_around(arena);
}

void
wr_arena_give_rarely(
    struct weir_arena *arena, uint32_t slot, const uint8_t *data)
{
    if (slot >= wr_arena_slot_count(arena))
        wr_arena_fail(arena, slot, "released, but the arena has no such block");
    if (!wr_door_is_place(arena, slot, data))
        wr_arena_fail(arena, slot, "released with data of another block");
    struct wr_record *record = record_of(arena);
    if (record == NULL) {
        wr_mutex_lock(&arena->mutex);
        give_past(arena, &arena->shared, slot);
        wr_record_count(&arena->shared, WR_RELEASES, 1);
        wr_mutex_unlock(&arena->mutex);
        wr_arena_look_around(arena);
    } else {
        give_slot(arena, record, slot);
    }
}

bool
wr_arena_give_below(uint64_t owner, const uint8_t *data)
{
    struct weir_arena *arena = wr_recent.arena;
    struct wr_record *record = wr_recent.record;
    uint64_t slot = owner - wr_recent.owner;
    if (slot >= wr_recent.slot_count || record->serial != arena->serial)
        return false;
    _Atomic uint64_t *count = wr_arena_refs_at(arena, (uint32_t)slot);
    if (wr_load_acquire(count) != WR_WEIGHT_WHOLE || /* [last] */
        !wr_door_is_place(arena, slot, data))
        return false;
    wr_store_relaxed(count, 0); /* we are alone */
    if (!wr_caches_give(arena, record, (uint32_t)slot))
        give_slot(arena, record, (uint32_t)slot);
    return true;
}

void
wr_arena_give_swept(uint32_t slot)
{
    struct weir_arena *arena = wr_recent.arena;
    struct wr_record *record = wr_recent.record;
    wr_record_count(record, WR_RELEASES, 1);
    if (wr_caches_settle(arena, record, slot))
        return; /* the sweeper has put it into the bitmap */
    give_past(arena, record, slot);
    wr_arena_look_around(arena);
}

void
wr_arena_give(uint64_t word, uint64_t owner, const uint8_t *data)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    wr_store_relaxed(wr_arena_refs(word, owner), 0); /* we are alone */
    if (wr_word_kind(word) == WR_BLOCK) {
        wr_arena_give_rarely(arena, wr_owner_slot(owner), data);
        return;
    }
    wr_spill_give(arena, owner);
    wr_arena_look_around(arena);
}

struct weir_arena *
wr_arena_of(uint64_t word, uint64_t owner)
{
    WR_ASSERT(
        wr_word_kind(word) == WR_BLOCK || wr_word_kind(word) == WR_SPILLED);
    if (wr_word_kind(word) == WR_SPILLED)
        return wr_spill_at(owner)->arena;
    return wr_directory_at(wr_owner_arena(owner));
}

_Atomic uint64_t *
wr_arena_refs(uint64_t word, uint64_t owner)
{
    if (wr_word_kind(word) == WR_SPILLED)
        return &wr_spill_at(owner)->refs;
    struct weir_arena *arena = wr_directory_at(wr_owner_arena(owner));
    uint32_t slot = wr_owner_slot(owner);
    if (slot >= wr_arena_slot_count(arena))
        wr_arena_fail(arena, slot, "used, but the arena has no such block");
    return wr_arena_refs_at(arena, slot);
}

uint8_t *
wr_arena_block(uint64_t word, uint64_t owner, size_t *size)
{
    if (wr_word_kind(word) == WR_SPILLED) {
        struct wr_spill *spill = wr_spill_at(owner);
        *size = spill->size;
        return wr_spill_data(spill);
    }
    struct weir_arena *arena = wr_arena_of(word, owner);
    *size = arena->fixed.block_size;
    return arena->base + wr_fixed_offset(&arena->fixed, wr_owner_slot(owner));
}

void
wr_arena_count(struct weir_arena *arena, enum wr_counter counter, uint64_t n)
{
    struct wr_record *record = wr_record_of(arena);
    if (record != NULL) {
        wr_record_count(record, counter, n);
        return;
    }
    wr_mutex_lock(&arena->mutex);
    wr_record_count(&arena->shared, counter, n);
    wr_mutex_unlock(&arena->mutex);
}

void
wr_arena_count_freeze(uint64_t word, uint64_t owner)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    uint32_t slot = wr_owner_slot(owner);
    if (wr_word_kind(word) == WR_BLOCK && slot >= wr_arena_slot_count(arena))
        wr_arena_fail(arena, slot, "frozen, but the arena has no such block");
    wr_arena_count(arena, WR_FREEZES, 1);
    wr_arena_count(arena, WR_BYTES_FROZEN, wr_word_len(word));
}

void
wr_arena_fail(const struct weir_arena *arena, uint32_t slot, const char *what)
{
    wr_fail(what, arena->name, slot);
}
