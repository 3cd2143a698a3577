/* SPDX-License-Identifier: MIT */
/*
 * levels: what taking from a buddy and giving to it share.
 *
 * Cell c of level l is the 64 cells of word c of level l - 1.
 */
#ifndef WR_BUDDY_LEVELS_H
#define WR_BUDDY_LEVELS_H

#include "base/atomic.h"
#include "base/check.h"
#include "buddy/buddy.h"
#include "buddy/words.h"

/* Where blocks of an order are: at a level, runs of an order. */
struct wr_buddy_place {
    uint32_t level;
    uint32_t run;
};

static inline struct wr_buddy_place
wr_buddy_place(const struct wr_buddy *buddy, uint32_t order)
{
    uint32_t level = order / WR_RUN_MAX;
    if (level > buddy->top)
        level = buddy->top;
    return (struct wr_buddy_place){ level, order - level * WR_RUN_MAX };
}

/* The longest run of a level that is a block, but for the orders above. */
static inline uint32_t
wr_buddy_run_max(const struct wr_buddy *buddy, uint32_t level)
{
    return buddy->geometry.order_max - level * WR_RUN_MAX;
}

/* By how many orders a run is longer than another, as blocks go. */
static inline uint32_t
wr_buddy_steps(
    const struct wr_buddy *buddy, struct wr_buddy_place place, uint32_t longest)
{
    uint32_t most = wr_buddy_run_max(buddy, place.level);
    return (longest < most ? longest : most) - place.run;
}

/* The first leaf of a cell. */
static inline uint32_t
wr_buddy_leaf(uint32_t level, uint32_t cell)
{
    return cell << (WR_RUN_MAX * level);
}

/* The cell that a leaf is in. */
static inline uint32_t
wr_buddy_cell(uint32_t level, uint32_t leaf)
{
    return leaf >> (WR_RUN_MAX * level);
}

static inline _Atomic uint64_t *
wr_buddy_word(const struct wr_buddy *buddy, uint32_t level, uint32_t word)
{
    WR_ASSERT(level <= buddy->top);
    const struct wr_buddy_level *of = &buddy->levels[level];
    WR_ASSERT(word < of->word_count);
    return &of->words[(size_t)word << of->stride_shift];
}

/* What a word of a level, not the top, is said to fit. */
static inline void
wr_buddy_set_fit(
    const struct wr_buddy *buddy, uint32_t level, uint32_t word, uint32_t fit)
{
    _Atomic uint8_t *seen = &buddy->levels[level].fits[word];
    wr_store_relaxed(seen, (uint8_t)fit); /* a hint */
}

/* The word fits at least so much. Before it does, as the books may be gone
   afterwards. */
static inline void
wr_buddy_raise_fit(
    const struct wr_buddy *buddy, uint32_t level, uint32_t word, uint32_t fit)
{
    const struct wr_buddy_level *of = &buddy->levels[level];
    _Atomic uint8_t *fits = &of->fits[word];
    _Atomic uint8_t *group = &of->group_fits[word / WR_WORD_BITS];
    if (wr_load_relaxed(fits) >= fit) /* a hint */
        return;
    wr_store_relaxed(fits, (uint8_t)fit);      /* a hint */
    if (wr_load_relaxed(group) < fit)          /* a hint */
        wr_store_relaxed(group, (uint8_t)fit); /* a hint */
}

/* Counts for the hint's owner. */
static inline void
wr_buddy_tally(_Atomic uint64_t *count, uint64_t n)
{
    wr_store_relaxed(count, wr_load_relaxed(count) + n); /* we own it */
}

/* Frees the rest of a word that is empty and whose parent cell is the caller's
   (give.c). */
void wr_buddy_publish(
    struct wr_buddy *buddy, uint32_t level, uint32_t word, uint64_t rest);

#endif
