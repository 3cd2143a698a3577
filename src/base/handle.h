/* SPDX-License-Identifier: MIT */
/*
 * handle: what the words of a buf and a slice mean.
 *
 *     word    63        36 35   32 31           0
 *             [  weight   | kind  |     len      ]
 *
 *     owner   63        48 47   32 31           0
 *             [   arena   |   0   |     slot     ]     kind BLOCK
 *             [ pointer to the control block     ]     kinds SPILLED, FOREIGN
 *
 * Length and kind of the empty handle are 0, so that a zeroed one is empty.
 * The upper half of `word` equals one constant if and only if the handle is an
 * arena block's and has its whole weight; so one comparison finds the common
 * case of a release.
 */
#ifndef WR_HANDLE_H
#define WR_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

enum wr_kind {
    WR_EMPTY = 0,
    WR_BLOCK,   /* a block of an arena */
    WR_SPILLED, /* heap memory that counts as a block of an arena */
    WR_FOREIGN, /* somebody else's memory, with a release function */
    WR_STATIC   /* memory that is always there */
};

/* The weight of all handles of one block together. */
#define WR_WEIGHT_WHOLE (UINT32_C(1) << 27)

enum { WR_KIND_SHIFT = 32, WR_WEIGHT_SHIFT = 36 };

/* The upper half of the word of a handle that has the whole weight of an arena's
   block. */
#define WR_WHOLE_BLOCK (WR_WEIGHT_WHOLE << 4 | WR_BLOCK)

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

/* The same for a handle of at least one byte. */
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

#endif
