/* SPDX-License-Identifier: MIT */
/* buddies: a buddy under the simulator, and who has what of it. */
#ifndef SIM_BUDDIES_H
#define SIM_BUDDIES_H

#include "buddy/buddy.h"

#include <stdbool.h>
#include <stdint.h>

struct block {
    uint32_t leaf;
    uint32_t order;
};

extern struct wr_buddy *buddies;
extern void *buddies_meta; /* its books */

/* Everything is free, in a region of so many leaves. */
void buddies_prepare(uint32_t leaf_count);

/* Before the threads begin: has the struct watched too, as who buries an arena clears
   it. */
void buddies_watch(void);

/* The calling thread's. */
struct wr_buddy_hint *buddies_hint(void);

/* Before the threads begin: takes a block that comes home behind them. */
struct block buddies_leave_out(uint32_t order);

/* Says that the calling thread has a block, which nobody else has any leaf of, or
   had without an order; or has it no longer. A wide block's leaves are looked at
   here and there. */
void buddies_own(const struct block *block);
void buddies_disown(const struct block *block);

/* What the buddy does, and what is said about it. */
bool buddies_take(uint32_t order, struct block *block);
uint32_t buddies_take_more(uint32_t order, uint32_t most, struct block *blocks);
void buddies_give(const struct block *block);
void buddies_trim(struct block *block, uint32_t kept);

/* As a rule one block of each order: takes it, if it is met, and gives it back. */
void buddies_borrow(uint32_t order);

/* Whether there is a free block of an order, as the words are now. It is no access
   of the model. */
bool buddies_have(uint32_t order);

/* For who is alone: what was left out comes home, and then all is in one piece. */
void buddies_expect_whole(void);

#endif
