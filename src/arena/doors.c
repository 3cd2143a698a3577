/* SPDX-License-Identifier: MIT */
/*
 * doors: every block leaves an arena through one function here, and returns
 * through one.
 *
 *     alloc, wait ──▶ wr_arena_take ──▶ (bitmap) ──▶ a buf
 *     drop, release ──▶ wr_arena_give_block ──▶ (bitmap) ──▶ anybody waiting?
 *
 * Idea
 *   Taking looks at the state and claims a slot; giving sets the slot's bit and
 *   looks at the state. When the state is 0, as it nearly always is, that is
 *   all, and all that stands here. Everything else is in rare.c: a file of its
 *   own, so that the common path saves no registers for it.
 *
 * Edges
 *   [sleep]  see waiters.c, and arena.c for tearing down
 *
 * Costs
 *   take and give: one locked instruction each (the bitmap's), one load of the
 *   state, and stores to what the thread owns.
 *
 * Limits
 *   What is seen here of misuse: a slot out of range, data outside the slot, a
 *   block that is free. A stale handle of a block that was handed out again is
 *   not seen.
 */

#include "arena/arena.h"

enum weir_status
wr_arena_take(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    struct wr_record *record = wr_record_recent(arena->id, arena->serial);
    uint32_t state = wr_load_relaxed(&arena->state); /* late is in time */
    uint32_t slot;
    if (state == 0 && record != NULL && record->hint.guess != 0 &&
        size <= arena->fixed.block_size &&
        wr_bitmap_take_guess(&arena->fixed.map, &record->hint, &slot)) {
        wr_arena_fill(arena, slot, buf);
        return WEIR_OK;
    }
    return wr_arena_take_rarely(arena, size, barge, buf);
}

enum weir_status
weir_arena_alloc(struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    return wr_arena_take(arena, size, false, buf);
}

enum weir_status
weir_arena_alloc_barge(
    struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    return wr_arena_take(arena, size, true, buf);
}

/* Slot and data belong together, and to this arena. */
static bool
is_place(const struct weir_arena *arena, uint32_t slot, const uint8_t *data)
{
    if (slot >= arena->fixed.map.slot_count)
        return false;
    uintptr_t start = (uintptr_t)arena->base + slot * arena->fixed.stride;
    return (uintptr_t)data - start <= arena->fixed.block_size;
}

void
wr_arena_give_block(
    struct weir_arena *arena, uint64_t owner, const uint8_t *data)
{
    uint32_t slot = wr_owner_slot(owner);
    if (!is_place(arena, slot, data))
        wr_arena_fail(arena, slot, "released with data of another block");
    struct wr_record *record =
        wr_record_recent(wr_owner_arena(owner), arena->serial);
    if (record == NULL) {
        wr_arena_give_rarely(arena, slot);
        return;
    }
    if (!wr_fixed_give(&arena->fixed, &record->hint, slot))
        wr_arena_fail(arena, slot, "released twice");
    wr_record_count(record, WR_RELEASES, 1);

    uint32_t state = wr_load_seq(&arena->state); /* [sleep] */
    if ((state & WR_ATTENTION) != 0)
        wr_arena_attend(arena);
}

void
wr_arena_count_freeze(struct weir_arena *arena, uint32_t len)
{
    struct wr_record *record = wr_record_recent(arena->id, arena->serial);
    if (record != NULL) {
        wr_record_count(record, WR_FREEZES, 1);
        wr_record_count(record, WR_BYTES_FROZEN, len);
        return;
    }
    wr_arena_count(arena, WR_FREEZES, 1);
    wr_arena_count(arena, WR_BYTES_FROZEN, len);
}
