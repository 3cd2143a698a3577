/* SPDX-License-Identifier: MIT */
/*
 * buf: the writable rest of a block.
 *
 *     block  [ (slices split off) | head | data: len | room ]
 *                                        ▲
 *                                        buf.data
 *
 * Idea
 *   A buf is a slice that may still grow: the same three words, and how much is
 *   free on either side. Freezing drops the two numbers; splitting gives the
 *   slice part of the weight and begins again behind it.
 *
 * Invariants
 *   1. head, len and room lie inside the block, and no slice lies in them.
 *   2. The empty buf is all zero.
 *   3. weight > 0 in a buf that is not empty.
 *
 * Costs
 *   No locked instruction but those of refs.c and the arena's doors.
 *
 * Limits
 *   2^32 - 1 bytes.
 */

#include "arena/arena.h"
#include "arena/spill.h"
#include "base/check.h"
#include "refbuf/freeze.h"
#include "refbuf/refs.h"

#include <string.h>

void
weir_buf_overrun(const struct weir_buf *buf, size_t n)
{
    (void)n;
    static const char what[] = "committed more than there was room for";
    if (wr_word_kind(buf->word) == WR_EMPTY)
        wr_fail(what, NULL, WR_NO_BLOCK);
    int64_t block = wr_word_is_block(buf->word)
                        ? (int64_t)wr_owner_slot(buf->owner)
                        : WR_NO_BLOCK;
    wr_fail(what, wr_arena_of(buf->word, buf->owner)->name, block);
}

/* Makes room for `n` bytes, on the heap if it must and may. `old` is the block
   the buf has left, for the caller to drop, or the empty buf. */
static enum weir_status
make_room(struct weir_buf *buf, size_t n, struct weir_buf *old)
{
    *old = (struct weir_buf){ 0 };
    if (n <= buf->room)
        return WEIR_OK;
    if (wr_word_kind(buf->word) == WR_EMPTY)
        return WEIR_NO_ROOM;
    struct weir_arena *arena = wr_arena_of(buf->word, buf->owner);
    if ((arena->flags & WEIR_SPILL_GROW) == 0)
        return WEIR_NO_ROOM;
    return wr_spill_grow(buf, n, old);
}

enum weir_status
weir_buf_reserve(struct weir_buf *buf, size_t n)
{
    struct weir_buf old;
    enum weir_status status = make_room(buf, n, &old);
    weir_buf_drop(&old);
    return status;
}

enum weir_status
weir_buf_write(struct weir_buf *buf, const void *bytes, size_t n)
{
    struct weir_buf old;
    enum weir_status status = make_room(buf, n, &old);
    if (status == WEIR_OK && n > 0) {
        memcpy(weir_buf_tail(buf), bytes, n); /* perhaps from the old block */
        weir_buf_commit(buf, n);
    }
    weir_buf_drop(&old);
    return status;
}

enum weir_status
weir_buf_headroom(struct weir_buf *buf, size_t n)
{
    if (n > buf->room || (n > 0 && wr_word_len(buf->word) > 0))
        return WEIR_NO_ROOM;
    buf->head += (uint32_t)n;
    buf->room -= (uint32_t)n;
    if (n > 0)
        buf->data += n;
    return WEIR_OK;
}

enum weir_status
weir_buf_prepend(struct weir_buf *buf, const void *bytes, size_t n)
{
    if (n > buf->head)
        return WEIR_NO_ROOM;
    if (n == 0)
        return WEIR_OK;
    buf->data -= n;
    buf->head -= (uint32_t)n;
    buf->word += n;
    memcpy(buf->data, bytes, n);
    return WEIR_OK;
}

void
weir_buf_truncate(struct weir_buf *buf, size_t len)
{
    uint32_t had = wr_word_len(buf->word);
    if (len >= had)
        return;
    buf->word = wr_word_with_len(buf->word, (uint32_t)len);
    buf->room += had - (uint32_t)len;
}

void
weir_buf_clear(struct weir_buf *buf)
{
    weir_buf_truncate(buf, 0);
}

void
wr_buf_freeze_rarely(struct weir_buf *buf, struct weir_slice *slice)
{
    if (wr_word_len(buf->word) == 0) {
        *slice = (struct weir_slice){ 0 };
        weir_buf_drop(buf);
        return;
    }
    wr_arena_count_freeze(buf->word, buf->owner);
    wr_buf_to_slice(buf, slice);
    if (wr_word_kind(slice->word) == WR_BUDDY &&
        (wr_arena_of(slice->word, slice->owner)->flags & WEIR_TRIM) != 0)
        (void)weir_slice_trim(slice);
}

void
weir_buf_split(struct weir_buf *buf, struct weir_slice *slice)
{
    uint32_t len = wr_word_len(buf->word);
    if (len == 0) {
        *slice = (struct weir_slice){ 0 };
        return;
    }
    if (!wr_door_count_freeze(buf->word, buf->owner))
        wr_arena_count_freeze(buf->word, buf->owner);
    slice->data = buf->data;
    slice->word = wr_refs_divide(&buf->word, buf->owner);
    slice->owner = buf->owner;
    buf->data += len;
    buf->word = wr_word_with_len(buf->word, 0);
    buf->head = 0;
}

void
weir_buf_drop(struct weir_buf *buf)
{
    uint64_t word = buf->word;
    uint64_t owner = buf->owner;
    const uint8_t *data = buf->data;
    *buf = (struct weir_buf){ 0 };
    wr_refs_drop(word, owner, data);
}
