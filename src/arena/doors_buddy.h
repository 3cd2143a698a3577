/* SPDX-License-Identifier: MIT */
/*
 * doors_buddy: the two doors of doors.h where the arena is a buddy.
 *
 *     alloc ──▶ the shelf of the order, else rare.c ──▶ a buf
 *     drop, release ──▶ the shelf of the order, else rare.c
 *
 * Idea
 *   The order comes from the size, or from the handle, whose count must bear it too.
 *   Then it is the top of a stack that the thread owns: a store and a load of the
 *   gate, as in doors.h. A shelf that is on proves that the arena's state is 0, and
 *   that the arena is the one that the thread used last and not another in its
 *   place.
 *
 * Edges
 *   [last]  give_weight of refbuf/refs.c, release  ->  wr_buddy_door_give, acquire
 *           As in doors.h.
 *
 * Costs
 *   No locked instruction and no line that another thread writes, but the block's
 *   count where blocks go from thread to thread.
 *
 * Limits
 *   As in doors.h. A handle of a block that was cut anew, or merged, since it went home
 *   is told by the count, unless one of the same order starts there again.
 */
#ifndef WR_DOORS_BUDDY_H
#define WR_DOORS_BUDDY_H

#include "arena/arena.h"

/* A block of a buddy. */
struct wr_buddy_block {
    uint8_t *start;
    uint32_t leaf;
    uint32_t order;
    size_t size;
};

static inline struct wr_buddy_block
wr_buddy_block_at(
    const struct weir_arena *arena, uint8_t *start, uint32_t order)
{
    uint32_t shift = arena->buddy.geometry.leaf_shift;
    uint32_t leaf = (uint32_t)((size_t)(start - arena->base) >> shift);
    return (struct wr_buddy_block){ start, leaf, order,
        (size_t)1 << (shift + order) };
}

/* The handle of a block that was just taken for `size` bytes; `record` counts it. */
static inline void
wr_buddy_fill(const struct weir_arena *arena, struct wr_record *record,
    struct wr_buddy_block block, size_t size, struct weir_buf *buf)
{
    size_t asked = size != 0 ? size : block.size;
    _Atomic uint64_t *count = wr_arena_refs_at(arena, block.leaf);
    if (wr_load_relaxed(count) != 0) /* who took it sees what its giver did */
        wr_arena_fail(arena, block.leaf, "released twice, and out");
    wr_store_relaxed(count, WR_WEIGHT_WHOLE | wr_order_tag(block.order));
    /* nobody else has a handle */
    buf->data = block.start;
    buf->word = wr_word_pack(WR_WEIGHT_WHOLE, WR_BUDDY, 0);
    buf->owner = arena->owner | (uint64_t)block.order << 32 | block.leaf;
    buf->head = 0;
    buf->room = (uint32_t)(arena->room_as_asked ? asked : block.size);
    wr_record_count(record, WR_ALLOCS, 1);
    wr_record_count_buddy(record, WR_BYTES_ASKED, asked);
    wr_record_count_buddy(record, WR_BYTES_GOT, block.size);
}

/* As wr_door_take, of a buddy. */
enum weir_status wr_buddy_door_take(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf);

/* As wr_door_give, of a handle of kind BUDDY: onto its shelf. `out` is what the
   count must say. */
static inline bool
wr_buddy_door_give(uint64_t owner, const uint8_t *data, uint64_t out)
{
    struct weir_arena *arena = wr_recent.arena;
    uint32_t order = wr_owner_order(owner);
    uint32_t leaf = wr_owner_slot(owner);
    if ((owner ^ wr_recent.owner) >> 48 != 0 || order >= wr_recent.shelf_count)
        return false;
    struct wr_shelf *shelf = &wr_recent.shelves[order];
    if (!wr_gate_is_on(&shelf->gate) ||
        leaf >= arena->buddy.geometry.leaf_count)
        return false;
    uint32_t place = wr_shelf_count(shelf);
    _Atomic uint64_t *count = &arena->counts[leaf];
    uint8_t *start = arena->base + wr_buddy_offset(&arena->buddy, leaf);
    size_t size = wr_buddy_block_size(&arena->buddy, order);
    if (place >= shelf->room || wr_load_acquire(count) != out || /* [last] */
        (uintptr_t)data - (uintptr_t)start > size)
        return false;
    wr_store_relaxed(count, 0); /* we are alone */
    shelf->blocks[place] = start;
    wr_shelf_set_count(shelf, place + 1);
    if (!wr_gate_is_on(&shelf->gate))
        return wr_arena_give_swept_buddy(owner);
    wr_record_count(wr_recent.record, WR_RELEASES, 1);
    return true;
}

#endif
