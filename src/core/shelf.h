/* SPDX-License-Identifier: MIT */
/* shelf: free blocks of one size that one thread keeps at hand. */
#ifndef WR_SHELF_H
#define WR_SHELF_H

#include "base/atomic.h"
#include "base/bits.h"
#include "core/cache_gate.h"

#include <stdbool.h>
#include <stdint.h>

enum { WR_SHELF_MAX = 256 /* blocks */ };

struct wr_shelf {
    _Alignas(WR_LINE_SIZE) _Atomic uint32_t count; /* blocks at hand */
    uint32_t room; /* for so many in all; 0: it is off */
    void **blocks; /* the last one is the next to go */
    struct wr_gate gate;
    uint32_t most;   /* its room when it is on */
    uint32_t refill; /* blocks to take at a time */
    uint32_t stolen; /* what a sweep found in `count` */
};

/* Empty, and off. `blocks` has room for `most`. */
void wr_shelf_init(
    struct wr_shelf *shelf, void **blocks, uint32_t most, uint32_t refill);

/* ---- The owner ---- */

static inline uint32_t
wr_shelf_count(const struct wr_shelf *shelf)
{
    return wr_load_relaxed(&shelf->count); /* only the owner writes it */
}

/* Half an operation; wr_gate_is_on is the other half. */
static inline void
wr_shelf_set_count(struct wr_shelf *shelf, uint32_t count)
{
    wr_publish(&shelf->count, count); /* [sweep] */
}

/* Empties a shelf that is off and whose sweep is over. */
void wr_shelf_clear(struct wr_shelf *shelf);

/* Behind a sweep: the block at this place was among those that it took. */
static inline bool
wr_shelf_was_stolen(const struct wr_shelf *shelf, uint32_t place)
{
    return place < shelf->stolen;
}

/* Turns a shelf that is off on; the lock is held. */
void wr_shelf_turn_on(struct wr_shelf *shelf);

/* ---- Whoever holds the lock ---- */

/* How many blocks are to be taken from a shelf that is stopped and waited for; or
   by its owner. */
static inline uint32_t
wr_shelf_find(const struct wr_shelf *shelf)
{
    return wr_observe(&shelf->count); /* [sweep] */
}

/* Ends the sweep, which took `found` blocks. */
void wr_shelf_turn_off(struct wr_shelf *shelf, uint32_t found);

#endif
