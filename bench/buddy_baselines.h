/* SPDX-License-Identifier: MIT */
/*
 * buddy_baselines: two buddy allocators that weir's is compared with.
 *
 * Both cut 64 MiB into blocks of 256 bytes and up, keep their books outside,
 * and hand out addresses of a region that nobody touches. How they work is in
 * buddy_baselines.c.
 */
#ifndef BENCH_BUDDY_BASELINES_H
#define BENCH_BUDDY_BASELINES_H

#include <stddef.h>

enum {
    BUDDY_LEAF = 256,
    BUDDY_ORDERS = 19, /* up to 64 MiB, which is all */
    BUDDY_THREADS_MAX = 8
};

#define BUDDY_BYTES ((size_t)BUDDY_LEAF << (BUDDY_ORDERS - 1))

/* Free lists and a lock. */
struct spin_buddy;

struct spin_buddy *spin_buddy_create(void);

/* A block of at least `size` bytes, at most BUDDY_BYTES; NULL: none is free.
   Any thread, as all below. */
void *spin_buddy_alloc(struct spin_buddy *buddy, size_t size);

void spin_buddy_release(struct spin_buddy *buddy, void *block);

/* Fails unless everything is free, in one block. No other thread calls. */
void spin_buddy_destroy(struct spin_buddy *buddy);

/* A tree with a state for each node, without a lock. */
struct tree_buddy;

/* `largest` is the size of its largest block, a power of two. */
struct tree_buddy *tree_buddy_create(size_t largest);

/* The same; `thread` is who calls, below BUDDY_THREADS_MAX. `size` is at most
   `largest`. */
void *tree_buddy_alloc(struct tree_buddy *buddy, unsigned thread, size_t size);

void tree_buddy_release(struct tree_buddy *buddy, unsigned thread, void *block);

/* Fails unless all largest blocks are free. No other thread calls. */
void tree_buddy_destroy(struct tree_buddy *buddy);

/* Fails unless both work: two threads ask for more than there is, no two blocks
   overlap, and all merge in the end. Takes a moment. */
void buddy_baselines_prove(void);

#endif
