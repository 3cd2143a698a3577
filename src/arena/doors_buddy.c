/* SPDX-License-Identifier: MIT */
/* doors_buddy: the way out of a buddy; see doors_buddy.h. */

#include "arena/doors_buddy.h"

enum weir_status
wr_buddy_door_take(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    if (wr_recent.arena != arena || size > arena->block_max)
        return wr_arena_take_rarely(arena, size, barge, buf);
    uint32_t order = wr_buddy_order(&arena->buddy, size);
    if (order >= wr_recent.shelf_count)
        return wr_arena_take_rarely(arena, size, barge, buf);
    struct wr_shelf *shelf = &wr_recent.shelves[order];
    uint32_t count = wr_shelf_count(shelf);
    if (count == 0)
        return wr_arena_take_rarely(arena, size, barge, buf);
    struct wr_buddy_block block =
        wr_buddy_block_at(arena, shelf->blocks[count - 1], order);
    wr_shelf_set_count(shelf, count - 1);
    if (!wr_gate_is_on(&shelf->gate))
        return wr_arena_take_swept_buddy(arena, size, barge, buf);
    wr_buddy_fill(arena, wr_recent.record, block, size, buf);
    return WEIR_OK;
}
