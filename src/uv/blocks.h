/* SPDX-License-Identifier: MIT */
#ifndef WR_BLOCKS_H
#define WR_BLOCKS_H

#include "weir/uv.h"

/* Readers in order. A reader is in one list at most. */
void wr_readers_push(
    struct weir_uv_readers *readers, struct weir_uv_reader *reader);
void wr_readers_remove(
    struct weir_uv_readers *readers, struct weir_uv_reader *reader);

/* Moves a buf; `from` is empty afterwards. */
void wr_blocks_move(struct weir_buf *from, struct weir_buf *to);

/*
 * Gives the room for the next read of `reader`, or of nobody we know when it is
 * NULL. A zero length: the arena has no block now.
 */
void wr_blocks_room(
    struct weir_uv *uv, struct weir_uv_reader *reader, uv_buf_t *room);

/* What one block for `reader` is asked for with. */
static inline size_t
wr_blocks_size(const struct weir_uv_reader *reader)
{
    return reader->whole > 0 ? reader->whole : reader->uv->block_size;
}

/* Makes a slice of the `n` bytes, more than 0, that were read into that room.
   False: they are part of a whole, and more of it is to come. */
bool wr_blocks_commit(struct weir_uv *uv, struct weir_uv_reader *reader,
    size_t n, struct weir_slice *slice);

/* Moves `buf` to `reader`, which has none, for its next read. */
void wr_blocks_grant(struct weir_uv_reader *reader, struct weir_buf *buf);

/* Sends home what was granted to `reader`, if anything. */
void wr_blocks_ungrant(struct weir_uv_reader *reader);

#endif
