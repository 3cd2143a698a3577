/* SPDX-License-Identifier: MIT */
/*
 * words: what stands in one word of a buddy's level, a bit for each of 64 cells.
 *
 * A run of order r, 0 to 6, is 2^r set bits that start at a multiple of 2^r. It is
 * a free block unless it is half of a longer one. These are decisions about a value;
 * nothing here is shared.
 */
#ifndef WR_BUDDY_WORDS_H
#define WR_BUDDY_WORDS_H

#include "base/bits.h"
#include "base/check.h"

#include <stdint.h>

enum { WR_RUN_MAX = 6 /* the order of a whole word */ };

/* The lowest bits: as many as a run has. */
static inline uint64_t
wr_run_bits(uint32_t order)
{
    static const uint64_t bits[WR_RUN_MAX + 1] = { 1, 3, 0xf, 0xff, 0xffff,
        UINT32_MAX, UINT64_MAX };
    return bits[order];
}

/* The bits of a run that starts at bit `start`. */
static inline uint64_t
wr_run_mask(uint32_t start, uint32_t order)
{
    WR_ASSERT(order <= WR_RUN_MAX && start % (UINT32_C(1) << order) == 0);
    return wr_run_bits(order) << start;
}

/* Where runs may start; those of twice a word's bits nowhere. */
static inline uint64_t
wr_run_starts(uint32_t order)
{
    static const uint64_t starts[WR_RUN_MAX + 2] = { UINT64_MAX,
        UINT64_C(0x5555555555555555), UINT64_C(0x1111111111111111),
        UINT64_C(0x0101010101010101), UINT64_C(0x0001000100010001),
        UINT64_C(0x0000000100000001), 1, 0 };
    return starts[order];
}

/* Where runs start in a word: one bit for each. One is added to each place of a run
   without its last bit: where all the others are set it arrives there. */
static inline uint64_t
wr_runs(uint64_t word, uint32_t order)
{
    static const uint64_t others[WR_RUN_MAX + 1] = { 0,
        UINT64_C(0x5555555555555555), UINT64_C(0x7777777777777777),
        UINT64_C(0x7f7f7f7f7f7f7f7f), UINT64_C(0x7fff7fff7fff7fff),
        UINT64_C(0x7fffffff7fffffff), UINT64_MAX >> 1 };
    uint64_t starts = wr_run_starts(order);
    uint64_t sums = (word & others[order]) + starts;
    return (sums & word) >> ((UINT32_C(1) << order) - 1) & starts;
}

/* Of runs, those that are no half of a longer one. */
static inline uint64_t
wr_runs_alone(uint64_t runs, uint32_t order)
{
    uint32_t len = (UINT32_C(1) << order) % WR_WORD_BITS;
    uint64_t pairs = runs & runs >> len & wr_run_starts(order + 1);
    return runs & ~(pairs | pairs << len);
}

/*
 * The order of the longest run that bit `at`, which is set, is in. Clear bits bound
 * it, and of them those that are nearest: from bit q on, the runs that do not have q
 * are those of orders up to the highest bit in which `at` and q differ. Where there
 * is none q is -1 or 64, which differ from `at` in bit 6 and above.
 */
static inline uint32_t
wr_run_around(uint64_t word, uint32_t at)
{
    uint64_t low = (UINT64_C(1) << at) - 1;
    uint64_t below = (~word & low) << 1 | 1;
    uint64_t above = (~word & ~low) >> 1 | UINT64_C(1) << 63;
    uint32_t left = (wr_highest_bit(below) - 1) ^ at;
    uint32_t right = (wr_lowest_bit(above) + 1) ^ at;
    return wr_highest_bit(left < right ? left : right);
}

/* 1 + the order of the longest run; 0: there is none. */
static inline uint32_t
wr_run_fit(uint64_t word)
{
    uint32_t fit = word != 0;
    for (uint32_t order = 1; order <= WR_RUN_MAX; order++)
        fit += wr_runs(word, order) != 0;
    return fit;
}

/* The run to take, of those of an order in a word: one that is alone, if there is, so
   that longer ones stay whole. */
static inline uint64_t
wr_runs_choose_one(uint64_t runs, uint32_t order)
{
    uint64_t alone = wr_runs_alone(runs, order);
    uint64_t best = alone != 0 ? alone : runs;
    return best & -best;
}

/* The same for up to `most`, as one bit for each. */
static inline uint64_t
wr_runs_choose(uint64_t runs, uint32_t order, uint32_t most)
{
    if (most == 1)
        return wr_runs_choose_one(runs, order);
    uint64_t alone = wr_runs_alone(runs, order);
    uint64_t chosen = wr_lowest_bits(alone, most);
    uint32_t missing = most - wr_count_bits(chosen);
    return chosen | wr_lowest_bits(runs & ~alone, missing);
}

/* All bits of the runs of an order that start at the set bits: none overlap, so the
   product carries nothing. */
static inline uint64_t
wr_runs_fill(uint64_t starts, uint32_t order)
{
    return starts * wr_run_bits(order);
}

#endif
