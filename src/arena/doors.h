/* SPDX-License-Identifier: MIT */
/*
 * doors: every block leaves an arena through one function here, and returns
 * through one.
 *
 *     alloc, wait ──▶ wr_door_take ──▶ (bitmap) ──▶ a buf
 *     drop, release ──▶ wr_door_give ──▶ (bitmap) ──▶ anybody waiting?
 *
 * Idea
 *   Taking looks at the state and claims a slot; giving sets the slot's bit and
 *   looks at the state. When the state is 0, as it nearly always is, that is
 *   all, and all that stands here, to be inlined where a call enters the
 *   library. Everything else is behind functions in rare.c.
 *
 * Edges
 *   [sleep]  see waiters.c, and arena.c for tearing down
 *
 * Costs
 *   One locked instruction each (the bitmap's), one load of the state, and
 *   stores to what the thread owns.
 *
 * Limits
 *   What is seen here of misuse: a slot out of range, data outside the slot, a
 *   block that is free. A stale handle of a block that was handed out again is
 *   not seen.
 */
#ifndef WR_DOORS_H
#define WR_DOORS_H

#include "arena/arena.h"

/* The handle of a slot that was just taken. */
static inline void
wr_door_fill(struct weir_arena *arena, uint32_t slot, struct weir_buf *buf)
{
    buf->data = arena->base + wr_fixed_offset(&arena->fixed, slot);
    buf->word = wr_word_pack(WR_WEIGHT_WHOLE, WR_BLOCK, 0);
    buf->owner = wr_owner_pack(arena->id, slot);
    buf->head = 0;
    buf->room = (uint32_t)arena->fixed.block_size;
}

/* Fills `buf` with a block, whole and empty. Fails as weir_arena_alloc; `barge`
   overtakes waiters. */
static inline enum weir_status
wr_door_take(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    struct wr_record *record = wr_recent.record;
    uint32_t state = wr_load_relaxed(&arena->state); /* late is in time */
    uint32_t slot;
    if (wr_recent.serial != arena->serial || state != 0 ||
        record->hint.guess == 0 || size > arena->fixed.block_size ||
        !wr_bitmap_take_guess(&arena->fixed.map, &record->hint, &slot))
        return wr_arena_take_rarely(arena, size, barge, buf);
    wr_door_fill(arena, slot, buf);
    return WEIR_OK;
}

/* Slot and data belong together, and to this arena. */
static inline bool
wr_door_is_place(
    const struct weir_arena *arena, uint32_t slot, const uint8_t *data)
{
    uintptr_t start = (uintptr_t)arena->base + slot * arena->fixed.stride;
    return (uintptr_t)data - start <= arena->fixed.block_size;
}

/*
 * A block goes home; `data` is where its handle pointed. Its count is at rest
 * already. Aborts on every misuse that can be seen here. Nothing of the arena
 * but the control part's name and state is looked at after the bit is set.
 */
static inline void
wr_door_give(struct weir_arena *arena, uint64_t owner, const uint8_t *data)
{
    uint32_t slot = wr_owner_slot(owner);
    struct wr_record *record = wr_recent.record;
    if (wr_recent.serial != arena->serial ||
        slot >= wr_arena_slot_count(arena)) {
        wr_arena_give_rarely(arena, slot, data);
        return;
    }
    bool is_place = wr_door_is_place(arena, slot, data);
    if (!wr_fixed_give(&arena->fixed, &record->hint, slot))
        wr_arena_fail(arena, slot, "released twice");
    wr_record_count(record, WR_RELEASES, 1);
    if (!is_place)
        wr_arena_fail(arena, slot, "released with data of another block");

    uint32_t state = wr_load_seq(&arena->state); /* [sleep] */
    if ((state & WR_ATTENTION) != 0)
        wr_arena_attend(arena);
}

/* Counts a freeze of `len` bytes of a handle that is not empty. */
static inline void
wr_door_count_freeze(uint64_t word, uint64_t owner, uint32_t len)
{
    if (wr_word_kind(word) == WR_BLOCK) {
        const struct weir_arena *arena = wr_directory_at(wr_owner_arena(owner));
        uint32_t slot = wr_owner_slot(owner);
        if (slot >= wr_arena_slot_count(arena))
            wr_arena_fail(
                arena, slot, "frozen, but the arena has no such block");
        if (wr_recent.serial == arena->serial) {
            wr_record_count(wr_recent.record, WR_FREEZES, 1);
            wr_record_count(wr_recent.record, WR_BYTES_FROZEN, len);
            return;
        }
    }
    wr_arena_count_freeze(word, owner, len);
}

#endif
