/* SPDX-License-Identifier: MIT */
/*
 * give: how a block, or a part of it, is free again and joined with its neighbours.
 *
 * Idea
 *   One exchange sets the bits of the block in its word. Whatever its neighbours are
 *   at that moment, it is joined with them by that: there is no other place where it
 *   would be written. If all 64 bits were set then, the exchange empties the word
 *   instead, and the cell above is given in the same way. Since the exchange decides
 *   between the two, no thread can leave a whole word behind, and no join is lost
 *   when two neighbours come home at once.
 *
 *   A word's hints are raised before the exchange: once the block is free the region
 *   may be whole, and its owner may take the books away.
 *
 * Invariants
 *   Those of buddy.c; 2 is kept here.
 *
 * Edges
 *   [block]  give_run, wr_buddy_give, wr_buddy_publish, wr_buddy_trim, seq
 *               ->  take_runs, wr_buddy_take, acquire
 *   [sleep]  wr_buddy_give, wr_buddy_publish, wr_buddy_trim, seq  ->  take_from, seq
 *   [home]   wr_buddy_give, seq  ->  wr_buddy_is_whole, seq
 *   [between]  give_run, seq  ->  take_from, seq
 *            See take.c and buddy.c.
 *
 * Linearization
 *   The last exchange: the one that sets bits. Before it the block, and what was
 *   collected on the way up, is the caller's. Of a trim, each addition for its part.
 *
 * Costs
 *   One locked instruction, and one more for each level that gets whole. trim: one
 *   for each level between the two orders.
 *
 * Limits
 *   That a block was free is seen if some of its bits in the word of its order's level
 *   are set. If it is part of a larger free block above its word, or has free parts
 *   below, it is not: who cannot trust its callers asks wr_buddy_is_free, or keeps a
 *   state of its own for each block.
 */

#include "buddy/levels.h"

/* One exchange: the run is free, or, if that makes the word whole and it has a
   parent, the word is empty and the whole cell the caller's. */
enum outcome { FREE, WHOLE, WAS_FREE };

static enum outcome
give_run(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    struct wr_buddy_place place, uint32_t cell)
{
    uint32_t level = place.level;
    uint32_t index = cell / WR_WORD_BITS;
    uint32_t start = cell % WR_WORD_BITS;
    uint64_t mask = wr_run_mask(start, place.run);
    _Atomic uint64_t *word = wr_buddy_word(buddy, level, index);
    uint64_t seen = wr_load_relaxed(word); /* the exchange decides */
    uint64_t next;
    uint32_t steps;
    do {
        if ((seen & mask) != 0)
            return WAS_FREE;
        next = seen | mask;
        uint32_t order = wr_run_around(next, start);
        steps = wr_buddy_steps(buddy, place, order);
        if (level < buddy->top && next == UINT64_MAX)
            next = 0;
        else if (level < buddy->top)
            wr_buddy_raise_fit(buddy, level, index, order + 1);
    } while (
        !wr_cas_seq(word, &seen, next)); /* [block] [sleep] [home] [between] */
    wr_buddy_tally(&hint->coalesces, steps);
    return next != 0 ? FREE : WHOLE;
}

/* Gives a run, and what gets whole by it. */
static __attribute__((noinline)) bool
give_up(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    struct wr_buddy_place place, uint32_t cell)
{
    enum outcome outcome;
    hint->last = NULL;
    wr_store_relaxed(&hint->between, 1); /* the exchange orders it */
    while ((outcome = give_run(buddy, hint, place, cell)) == WHOLE) {
        cell /= WR_WORD_BITS;
        wr_buddy_set_fit(buddy, place.level, cell, 0);
        place = (struct wr_buddy_place){ place.level + 1, 0 };
    }
    return outcome == FREE;
}

/* The order's trail goes on to a word. */
static inline void
follow(struct wr_buddy_hint *hint, uint32_t order, uint32_t word)
{
    uint32_t *trail = hint->trails[order];
    uint32_t end = hint->ends[order];
    end = (end + (trail[end] != word)) % WR_BUDDY_TRAIL;
    trail[end] = word;
    hint->ends[order] = (uint8_t)end;
}

bool
wr_buddy_give(struct wr_buddy *buddy, struct wr_buddy_hint *hint, uint32_t leaf,
    uint32_t order)
{
    WR_ASSERT(leaf < buddy->geometry.leaf_count);
    struct wr_buddy_place place = wr_buddy_place(buddy, order);
    uint32_t cell = wr_buddy_cell(place.level, leaf);
    uint32_t index = cell / WR_WORD_BITS;
    uint32_t start = cell % WR_WORD_BITS;
    _Atomic uint64_t *word = wr_buddy_word(buddy, place.level, index);
    uint64_t seen = wr_load_relaxed(word); /* a guess */
    uint64_t mask = wr_run_mask(start, place.run);
    uint64_t next = seen | mask;
    uint32_t longest = wr_run_around(next, start);
    uint32_t steps = wr_buddy_steps(buddy, place, longest);
    follow(hint, order, index);
    if ((seen & mask) != 0 || next == UINT64_MAX)
        return give_up(buddy, hint, place, cell);
    if (place.level < buddy->top)
        wr_buddy_raise_fit(buddy, place.level, index, longest + 1);
    if (!wr_cas_seq(word, &seen, next)) /* [block] [sleep] [home] */
        return give_up(buddy, hint, place, cell);
    hint->last = word;
    hint->last_value = next;
    wr_buddy_tally(&hint->coalesces, steps);
    return true;
}

void
wr_buddy_publish(
    struct wr_buddy *buddy, uint32_t level, uint32_t word, uint64_t rest)
{
    wr_buddy_raise_fit(buddy, level, word, wr_run_fit(rest));
    uint64_t seen = wr_add_seq(
        wr_buddy_word(buddy, level, word), rest); /* [block] [sleep] */
    WR_CHECK(seen == 0, "a block was released twice, and split");
}

void
wr_buddy_trim(struct wr_buddy *buddy, struct wr_buddy_hint *hint, uint32_t leaf,
    uint32_t order, uint32_t kept)
{
    WR_ASSERT(kept < order);
    hint->last = NULL;
    struct wr_buddy_place from = wr_buddy_place(buddy, order);
    struct wr_buddy_place to = wr_buddy_place(buddy, kept);
    uint32_t cell = wr_buddy_cell(from.level, leaf);
    uint32_t start = cell % WR_WORD_BITS;
    uint64_t rest = wr_run_mask(start, from.run);
    rest &= ~wr_run_mask(start, from.level == to.level ? to.run : 0);
    if (rest != 0) {
        uint32_t index = cell / WR_WORD_BITS;
        if (from.level < buddy->top)
            wr_buddy_raise_fit(buddy, from.level, index, from.run);
        (void)wr_add_seq(wr_buddy_word(buddy, from.level, index),
            rest); /* [block] [sleep] */
    }
    for (uint32_t level = from.level; level-- > to.level;) {
        uint32_t run = level == to.level ? to.run : 0;
        wr_buddy_publish(buddy, level, cell, ~wr_run_mask(0, run));
        cell *= WR_WORD_BITS;
    }
    wr_buddy_tally(&hint->splits, order - kept);
}
