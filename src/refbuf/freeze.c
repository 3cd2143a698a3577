/* SPDX-License-Identifier: MIT */
/*
 * freeze: a buf becomes a slice.
 *
 * In a file of its own, so that the common path calls nothing and saves no
 * registers: the rest is in buf.c, out of sight of the compiler.
 */

#include "refbuf/freeze.h"

#include "arena/doors.h"

void
weir_buf_freeze(struct weir_buf *buf, struct weir_slice *slice)
{
    if (!wr_door_count_freeze(buf->word, buf->owner))
        wr_buf_freeze_rarely(buf, slice);
    else
        wr_buf_to_slice(buf, slice);
}
