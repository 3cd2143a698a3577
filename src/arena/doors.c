/* SPDX-License-Identifier: MIT */
/* doors: where calls enter an arena; the doors themselves are in doors.h. */

#include "arena/doors.h"

enum weir_status
weir_arena_alloc(struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    return wr_door_take(arena, size, false, buf);
}

enum weir_status
weir_arena_alloc_barge(
    struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    return wr_door_take(arena, size, true, buf);
}

void
wr_arena_count_freeze(struct weir_arena *arena, uint32_t len)
{
    if (wr_recent.serial == arena->serial) {
        wr_record_count(wr_recent.record, WR_FREEZES, 1);
        wr_record_count(wr_recent.record, WR_BYTES_FROZEN, len);
        return;
    }
    wr_arena_count(arena, WR_FREEZES, 1);
    wr_arena_count(arena, WR_BYTES_FROZEN, len);
}
