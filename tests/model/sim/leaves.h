/* SPDX-License-Identifier: MIT */
/* leaves: a buddy arena under the simulator, and who has which of its leaves. */
#ifndef SIM_LEAVES_H
#define SIM_LEAVES_H

#include "world.h"

/* Orders of blocks: a cell is the 64 leaves of a word. */
enum { LEAF, PAIR, FOUR, EIGHT, QUARTER, HALF, CELL };
enum { LEAVES_OF_CELL = 64, LEAVES_OF_TWO_CELLS = 128 };

extern struct weir_arena *leaves_arena; /* that was prepared */

/* A buddy arena of so many leaves of 256 bytes, all free; `on_unmapped` counts in
   world_unmapped. */
struct weir_arena *leaves_create(uint32_t leaf_count, unsigned flags);

/* The same, for one whose leaves are watched. */
void leaves_prepare(uint32_t leaf_count, unsigned flags);

/* The same before anything was taken: of its words only these bits stay; all other
   blocks are out for ever. */
void leaves_leave(uint64_t leaves, uint64_t cells);

/* While threads warm up: the calling one has shelves for the lowest `orders`, of
   `most` blocks each, half of which a refill takes. */
void leaves_shelves(uint32_t orders, uint32_t most);

/* Takes a block and says so; nobody else has any leaf of it, or had without an
   order. False: there is none. */
bool leaves_take(uint32_t order, struct weir_buf *buf);

/* The same where there must be one. */
struct weir_buf leaves_alloc(uint32_t order);

/* Gives it back. */
void leaves_give(struct weir_buf *buf);

/* Takes one, if there is one, or where there must be one, and gives it back. */
void leaves_try(uint32_t order);
void leaves_borrow(uint32_t order);

/* A block becomes a leaf of one byte; and that goes home. */
struct weir_slice leaves_trim(struct weir_buf *buf);
void leaves_release(struct weir_slice *slice);

/* ---- Full is exact ----------------------------------------------------- */

/*
 * From leaves_mark on all of these note when they begin and when they have returned,
 * and who is told that there is no block has a right to know what has returned
 * before it asked. Then there was none, or another call was in progress while this
 * one ran.
 */
void leaves_mark(void);

/* ---- Waiters ----------------------------------------------------------- */

enum weir_status leaves_wait(uint32_t order, unsigned waiter);

/* For who is alone: drains the bell; the blocks that waiters got are theirs. Nobody
   is queued first whose block is free. */
void leaves_expect_served(void);

/* And gives back what a waiter got, at once or later; false: it got nothing. */
bool leaves_give_granted(unsigned waiter);

/* ---- The end ----------------------------------------------------------- */

/* For who is alone: shelves are on or off as their invariants say, and everything that
   was free at first is so again, in as few blocks. */
void leaves_expect_whole(void);

#endif
