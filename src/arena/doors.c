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
