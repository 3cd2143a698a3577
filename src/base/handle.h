/* SPDX-License-Identifier: MIT */
/*
 * handle: what the words of a buf and a slice mean.
 *
 *     word    63        36 35   32 31           0
 *             [  weight   | kind  |     len      ]
 *
 *     owner   63        48 47   32 31           0
 *             [   arena   |   0   |     slot     ]     kind BLOCK
 *             [   arena   | order |     leaf     ]     kind BUDDY
 *             [ pointer to the control block     ]     kinds SPILLED, FOREIGN
 *
 * Length and kind of the empty handle are 0, so that a zeroed one is empty.
 * The upper half of `word` equals one constant if and only if the handle is an
 * arena block's and has its whole weight; so one comparison finds the common
 * case of a release.
 *
 *     count   63    58 57                       0
 *             [ order |    weight that is out    ]     of a block; 0: free
 *
 * The order is that of a buddy's block, else 0. So a handle of a block that was cut
 * anew finds a count it cannot be of.
 */
#ifndef WR_HANDLE_H
#define WR_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

enum wr_kind {
    WR_EMPTY = 0,
    WR_BLOCK,   /* a block of a fixed arena */
    WR_SPILLED, /* heap memory that counts as a block of an arena */
    WR_FOREIGN, /* somebody else's memory, with a release function */
    WR_STATIC,  /* memory that is always there */
    WR_BUDDY    /* a block of a buddy arena */
};

/* The weight of all handles of one block together. */
#define WR_WEIGHT_WHOLE (UINT32_C(1) << 27)

enum { WR_KIND_SHIFT = 32, WR_WEIGHT_SHIFT = 36, WR_ORDER_SHIFT = 58 };

/* The upper half of the word of a handle that has the whole weight of an arena's
   block. */
#define WR_WHOLE_BLOCK (WR_WEIGHT_WHOLE << 4 | WR_BLOCK)
#define WR_WHOLE_BUDDY (WR_WEIGHT_WHOLE << 4 | WR_BUDDY)

static inline uint64_t
wr_word_pack(uint32_t weight, enum wr_kind kind, uint32_t len)
{
    return (uint64_t)weight << WR_WEIGHT_SHIFT |
           (uint64_t)kind << WR_KIND_SHIFT | len;
}

static inline uint32_t
wr_word_len(uint64_t word)
{
    return (uint32_t)word;
}

static inline enum wr_kind
wr_word_kind(uint64_t word)
{
    return (enum wr_kind)(word >> WR_KIND_SHIFT & 15);
}

/* The one comparison that finds the common case. */
static inline bool
wr_word_is_whole_block(uint64_t word)
{
    return (uint32_t)(word >> WR_KIND_SHIFT) == WR_WHOLE_BLOCK;
}

static inline bool
wr_word_is_whole_buddy(uint64_t word)
{
    return (uint32_t)(word >> WR_KIND_SHIFT) == WR_WHOLE_BUDDY;
}

/* A block of an arena, whatever its layout. */
static inline bool
wr_word_is_block(uint64_t word)
{
    return wr_word_kind(word) == WR_BLOCK || wr_word_kind(word) == WR_BUDDY;
}

/* The same as wr_word_is_whole_block, for a handle of at least one byte. */
static inline bool
wr_word_is_whole_bytes(uint64_t word)
{
    uint64_t no_bytes = (uint64_t)WR_WHOLE_BLOCK << WR_KIND_SHIFT;
    return word - no_bytes - 1 < UINT32_MAX;
}

static inline uint32_t
wr_word_weight(uint64_t word)
{
    return (uint32_t)(word >> WR_WEIGHT_SHIFT);
}

static inline uint64_t
wr_word_with_len(uint64_t word, uint32_t len)
{
    return (word & ~(uint64_t)UINT32_MAX) | len;
}

static inline uint64_t
wr_word_with_weight(uint64_t word, uint32_t weight)
{
    return (word & ((UINT64_C(1) << WR_WEIGHT_SHIFT) - 1)) |
           (uint64_t)weight << WR_WEIGHT_SHIFT;
}

static inline uint64_t
wr_owner_pack(uint32_t arena, uint32_t slot)
{
    return (uint64_t)arena << 48 | slot;
}

static inline uint32_t
wr_owner_arena(uint64_t owner)
{
    return (uint32_t)(owner >> 48);
}

static inline uint32_t
wr_owner_slot(uint64_t owner)
{
    return (uint32_t)owner;
}

static inline uint32_t
wr_owner_order(uint64_t owner)
{
    return owner >> 32 & UINT16_MAX;
}

static inline uint64_t
wr_owner_with_order(uint64_t owner, uint32_t order)
{
    return (owner & ~((uint64_t)UINT16_MAX << 32)) | (uint64_t)order << 32;
}

/* What a count has besides the weight, of a block of this order. */
static inline uint64_t
wr_order_tag(uint32_t order)
{
    return (uint64_t)order << WR_ORDER_SHIFT;
}

static inline uint32_t
wr_count_order(uint64_t count)
{
    return (uint32_t)(count >> WR_ORDER_SHIFT);
}

/* The same for the block of a handle. */
static inline uint64_t
wr_handle_tag(uint64_t word, uint64_t owner)
{
    return wr_word_kind(word) == WR_BUDDY ? wr_order_tag(wr_owner_order(owner))
                                          : 0;
}

#endif
