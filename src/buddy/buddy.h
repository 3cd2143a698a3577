/* SPDX-License-Identifier: MIT */
#ifndef WR_BUDDY_H
#define WR_BUDDY_H

#include "base/atomic.h"
#include "base/bits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WR_BUDDY_LEVELS = 4,
    WR_BUDDY_ORDERS = 24,          /* of a block: 0 to 23 */
    WR_BUDDY_TRAIL = 8,            /* a power of two */
    WR_BUDDY_LEAF_SHIFT_MIN = 8,   /* 256 bytes */
    WR_BUDDY_LEAF_SHIFT_MAX = 21,  /* 2 MiB */
    WR_BUDDY_BLOCK_SHIFT_MAX = 31, /* 2 GiB */
    WR_BUDDY_REGION_SHIFT_MAX = 36 /* 64 GiB */
};

/* How a region is cut. The smallest block is a leaf; one of order k is 2^k of
   them. */
struct wr_buddy_geometry {
    uint32_t leaf_shift; /* a leaf has 2^this bytes */
    uint32_t leaf_count;
    uint32_t order_max; /* of the largest block */
};

/* The words of one level: a bit for each cell of 64^level leaves. Above the lowest
   they are few, and each has a line, as different threads want them. */
struct wr_buddy_level {
    _Atomic uint64_t *words;
    _Atomic uint8_t *fits;       /* of a word: 1 + an order in it, about */
    _Atomic uint8_t *group_fits; /* the highest of 64 words */
    uint32_t word_count;
    uint32_t stride_shift; /* from one to the next are 2^this words */
};

struct wr_buddy {
    struct wr_buddy_geometry geometry;
    uint32_t top;            /* the highest level; its words have no parents */
    _Atomic uint8_t *owners; /* of a cell of the top: who likes to split it */
    struct wr_buddy_level levels[WR_BUDDY_LEVELS];
};

/* Where a thread looks first, and what it did. Belongs to one thread; others read
   the counts. */
struct wr_buddy_hint {
    /* For each order words where blocks were given lately, as a ring. */
    uint32_t trails[WR_BUDDY_ORDERS][WR_BUDDY_TRAIL];
    uint8_t ends[WR_BUDDY_ORDERS]; /* where the last one is */
    _Atomic uint64_t *last; /* the word that it exchanged last, if known, */
    uint64_t last_value;    /* and what that became */
    uint8_t owner;          /* what it writes into owners; not 0 */
    uint32_t near[WR_BUDDY_LEVELS]; /* a word of the level */
    _Atomic uint32_t between;       /* see wr_buddy_is_between */
    _Atomic uint64_t splits;
    _Atomic uint64_t coalesces;
};

/*
 * Cuts `bytes`, whose whole leaves are used, into leaves of `leaf_size` bytes.
 * False: a limit is exceeded, `leaf_size` is no power of two, or there is no whole
 * leaf.
 */
bool wr_buddy_geometry(
    size_t leaf_size, size_t bytes, struct wr_buddy_geometry *geometry);

static inline size_t
wr_buddy_block_size(const struct wr_buddy *buddy, uint32_t order)
{
    return (size_t)1 << (buddy->geometry.leaf_shift + order);
}

/* Where a leaf starts, in bytes from the first. */
static inline size_t
wr_buddy_offset(const struct wr_buddy *buddy, uint32_t leaf)
{
    return (size_t)leaf << buddy->geometry.leaf_shift;
}

/* The order of the smallest block of `size` bytes; `size` is at most that of the
   largest. */
static inline uint32_t
wr_buddy_order(const struct wr_buddy *buddy, size_t size)
{
    size_t last = (size - (size != 0)) >> buddy->geometry.leaf_shift;
    return wr_highest_bit(2 * last + 1); /* without a branch on `last` == 0 */
}

/* How many bytes the books take. */
size_t wr_buddy_meta_size(const struct wr_buddy_geometry *geometry);

/* Makes everything free, in the largest blocks there can be. `meta` is zeroed
   memory of wr_buddy_meta_size bytes, aligned to a line; the caller keeps it until
   every block is home. */
void wr_buddy_init(struct wr_buddy *buddy,
    const struct wr_buddy_geometry *geometry, void *meta);

/* The books go. */
void wr_buddy_fini(struct wr_buddy *buddy);

/* A hint for thread number `ordinal`: threads begin in different places. */
void wr_buddy_hint_init(
    const struct wr_buddy *buddy, uint32_t ordinal, struct wr_buddy_hint *hint);

/*
 * Takes up to `most` blocks of an order, at most 64 and all of one word; their
 * first leaves are in `leaves`. Returns how many: 0 when none was met, though there
 * may be one. Any thread.
 */
uint32_t wr_buddy_take(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    uint32_t order, uint32_t most, uint32_t *leaves);

/* Takes one block, and looks into every word for it. False: at the time when it was
   looked at, no word had one. */
bool wr_buddy_take_exact(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    uint32_t order, uint32_t *leaf);

/*
 * Gives a block back, by any thread. False: part of it was free in the word
 * that it lies in, and no block is changed; see "Limits" in give.c. Nothing of the
 * books is looked at once the block is free.
 */
bool wr_buddy_give(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    uint32_t leaf, uint32_t order);

/*
 * A take or give of the hint's owner is, or was until it is settled, between two
 * levels: what it had of the words is more than the block. Who meets none in the words,
 * and no hint that is between, has met all that is free. By any thread.
 */
static inline bool
wr_buddy_is_between(const struct wr_buddy_hint *hint)
{
    return wr_load_acquire(&hint->between) != 0; /* [between] */
}

/* By the owner, behind the call, when it has done what others are to see. */
static inline void
wr_buddy_settle(struct wr_buddy_hint *hint)
{
    if (wr_load_relaxed(&hint->between) != 0) /* we own it */
        wr_store_release(&hint->between, 0);  /* [between] */
}

/* Gives back all of a block of `order` but the first block of order `kept`, which
   is less. */
void wr_buddy_trim(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    uint32_t leaf, uint32_t order, uint32_t kept);

/* The highest order of which there is a free block, about; -1: nothing is free. */
int wr_buddy_largest(const struct wr_buddy *buddy);

/* How many blocks of each order are free, word by word, while this call ran. Walks
   everything. */
void wr_buddy_count(
    const struct wr_buddy *buddy, uint64_t counts[WR_BUDDY_ORDERS]);

/* The same as bytes in all. */
uint64_t wr_buddy_free_bytes(const struct wr_buddy *buddy);

/* True if `leaf` was part of a free block while this call ran. */
bool wr_buddy_is_free(const struct wr_buddy *buddy, uint32_t leaf);

/* True if everything is free, while no thread takes any. */
bool wr_buddy_is_whole(const struct wr_buddy *buddy);

/* Aborts if an invariant is broken. Only while no other thread calls. */
void wr_buddy_check(const struct wr_buddy *buddy);

#endif
