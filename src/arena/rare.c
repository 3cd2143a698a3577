/* SPDX-License-Identifier: MIT */
/*
 * rare: what the doors do when it is not the common case.
 *
 * Idea
 *   Who finds no slot, or somebody waiting, or has no record yet, comes here
 *   from doors.h. What cannot be done without waiting is done under the mutex.
 *
 * Full is exact
 *   A search that met only empty words has not proved that they were empty at
 *   once: a slot may have come back behind it while another was taken before
 *   it. So who is about to say full adds up the counted releases, searches,
 *   and adds up again. A release sets its bit first and counts second. If the
 *   sums are equal, then every bit that was set during the search belongs to a
 *   release that is still in progress; all other slots were out when the search
 *   ended. If they are not equal somebody's release has completed, and the
 *   search is done again: the loop is paid for by the releases of others.
 *
 * Edges
 *   [gone] of the bitmap and [counted] of the records carry that argument: who
 *   sees a slot taken by a thread that saw another release complete, sees it
 *   counted.
 *
 * Costs
 *   Full: the mutex, two walks over the records, one over the words. A thread
 *   without a record takes the mutex for every call.
 */

#include "arena/arena.h"
#include "arena/doors.h"
#include "arena/spill.h"
#include "base/check.h"

/* Full is exact. The mutex is held. */
static bool
take_exact(struct weir_arena *arena, uint32_t *slot)
{
    uint64_t before;
    uint64_t after = wr_record_sum(arena, WR_RELEASES);
    do {
        before = after;
        if (wr_fixed_take(&arena->fixed, &arena->shared.hint, slot))
            return true;
        after = wr_record_sum(arena, WR_RELEASES);
    } while (after != before);
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
    wr_record_count(&arena->shared, WR_SPILL_FULLS, 1);
    return true;
}

bool
wr_arena_take_locked(struct weir_arena *arena, struct weir_buf *buf)
{
    uint32_t slot;
    if (!take_exact(arena, &slot))
        return spill_instead(arena, buf);
    wr_door_fill(arena, slot, buf);
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

enum weir_status
wr_arena_take_rarely(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    WR_CHECK_BLOCK(arena->serial != 0, "used after it was destroyed",
        arena->name, WR_NO_BLOCK);
    if (size > arena->fixed.block_size)
        return WEIR_TOO_LARGE;
    uint32_t state = wr_load_relaxed(&arena->state); /* late is in time */
    uint32_t forbids = barge ? WR_CLOSED : WR_CLOSED | WR_WAITING;
    struct wr_record *record = wr_record_of(arena);
    uint32_t slot;
    if ((state & forbids) == 0 && record != NULL &&
        wr_fixed_take(&arena->fixed, &record->hint, &slot)) {
        wr_door_fill(arena, slot, buf);
        return WEIR_OK;
    }
    return take_under_mutex(arena, barge, buf);
}

/* Sets the bit, then counts; see "Full is exact". */
static void
give_slot(struct weir_arena *arena, struct wr_record *record, uint32_t slot)
{
    if (!wr_fixed_give(&arena->fixed, &record->hint, slot))
        wr_arena_fail(arena, slot, "released twice");
    wr_record_count(record, WR_RELEASES, 1);
}

void
wr_arena_look_around(struct weir_arena *arena)
{
    uint32_t state = wr_load_seq(&arena->state); /* [sleep] */
    if ((state & WR_ATTENTION) != 0)
        wr_arena_attend(arena);
}

void
wr_arena_give_rarely(
    struct weir_arena *arena, uint32_t slot, const uint8_t *data)
{
    if (slot >= wr_arena_slot_count(arena))
        wr_arena_fail(arena, slot, "released, but the arena has no such block");
    if (!wr_door_is_place(arena, slot, data))
        wr_arena_fail(arena, slot, "released with data of another block");
    struct wr_record *record = wr_record_of(arena);
    if (record != NULL) {
        give_slot(arena, record, slot);
    } else {
        wr_mutex_lock(&arena->mutex);
        give_slot(arena, &arena->shared, slot);
        wr_mutex_unlock(&arena->mutex);
    }
    wr_arena_look_around(arena);
}

void
wr_arena_give(uint64_t word, uint64_t owner, const uint8_t *data)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    if (wr_word_kind(word) == WR_BLOCK) {
        wr_door_give(arena, owner, data);
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
wr_arena_count_freeze(uint64_t word, uint64_t owner, uint32_t len)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    wr_arena_count(arena, WR_FREEZES, 1);
    wr_arena_count(arena, WR_BYTES_FROZEN, len);
}

void
wr_arena_fail(const struct weir_arena *arena, uint32_t slot, const char *what)
{
    wr_fail(what, arena->name, slot);
}
