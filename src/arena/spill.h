/* SPDX-License-Identifier: MIT */
/* spill: heap memory that counts as a block of an arena. */
#ifndef WR_SPILL_H
#define WR_SPILL_H

#include "arena/arena.h"

/* The control block; the data lies behind it, a line further. */
struct wr_spill {
    struct weir_arena *arena;
    _Atomic uint64_t refs; /* the weight that is out */
    size_t size;           /* of the data */
};

/* The control block of a handle. Aborts if it is not out. */
struct wr_spill *wr_spill_at(uint64_t owner);

static inline uint8_t *
wr_spill_data(struct wr_spill *spill)
{
    return (uint8_t *)spill + WR_LINE_SIZE;
}

/*
 * Fills `buf` with heap memory of `size` bytes, whole and empty, that counts as
 * a block of `arena`. WEIR_FULL: it would exceed spill_bytes_max, and nothing
 * happened. WEIR_SYSTEM: no memory. Counts no alloc.
 */
enum weir_status wr_spill_take(
    struct weir_arena *arena, size_t size, struct weir_buf *buf);

/*
 * Moves what `buf` holds to heap memory with room for `n` more bytes behind it;
 * the old block is given back by the caller, from `old`. Fails as take, with
 * WEIR_NO_ROOM for too much; the buf is unchanged then.
 */
enum weir_status wr_spill_grow(
    struct weir_buf *buf, size_t n, struct weir_buf *old);

/* Frees it. The caller looks at the arena's state afterwards. */
void wr_spill_give(struct weir_arena *arena, uint64_t owner);

#endif
