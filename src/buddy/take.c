/* SPDX-License-Identifier: MIT */
/*
 * take: how a block is found, and cut out of what it is in.
 *
 * Idea
 *   A thread remembers for each order the words where it lately gave blocks back, a
 *   trail of eight. Gives make it longer, a take that leaves no more blocks of its
 *   order in the word makes it shorter. So most takes look at one word and exchange
 *   it once, and the block is one whose memory this core has used. The word that was
 *   exchanged last is remembered with its value: a take from just there does not load
 *   it, as a load behind a locked instruction on the same line stalls for as long as
 *   the instruction. A wrong guess costs an exchange that fails.
 *
 *   In a word a run is taken that is no half of a longer one, if there is such a run.
 *   Where the trail leads nowhere the hints are searched: the group nearby and what is
 *   above it, then all groups, both in cells that no other thread splits; then a
 *   cell of the top is split; then anything is taken that there is. Words that fit
 *   exactly come before those that fit more. A word that has less than is said of it
 *   gets a true hint by who looked in vain.
 *
 *   A cell of a higher level is cut down on the way: each word below it is empty and
 *   its own, so the rest is added with no comparison.
 *
 * Edges
 *   [block]  give_run, wr_buddy_give, wr_buddy_publish, wr_buddy_trim, seq
 *               ->  take_runs, wr_buddy_take, acquire
 *            What the last owner did in a block happens before what the next does.
 *            Exchanges on other bits of the word may lie between; by invariant 5 of
 *            buddy.c they keep the release sequence whole. A block that went up a
 *            level and came down again passed through its giver and its taker.
 *   [between]  take_runs, acq_rel; give_run, seq  ->  take_from, seq
 *            wr_buddy_settle, release  ->  wr_buddy_is_between, acquire
 *            Who sees that a cell went to another level sees that its thread is
 *            between, or what that has done before it settled.
 *   [sleep]  wr_buddy_give, wr_buddy_publish, wr_buddy_trim, seq  ->  take_from, seq
 *            One half of going to sleep against giving back; the argument stands in
 *            arena/waiters.c. A take whose guess fails looks at the word again in
 *            take_from.
 *
 * Linearization
 *   The exchange that clears the run's bits; of a block cut out of a cell above, the
 *   one that clears the cell's. That a word changed and changed back in between does
 *   not matter: the exchange succeeds only if these bits are set now, and that is all
 *   they mean.
 *
 * Costs
 *   One locked instruction, and two more for each level that is crossed. An exchange
 *   fails only by another that succeeded: no thread waits for another.
 *
 * Limits
 *   A 0 from wr_buddy_take says that hints led nowhere. A false from
 *   wr_buddy_take_exact says that each word had none when this thread looked at it,
 *   and not that all had none at once: a cell on its way between two levels is seen
 *   in none.
 */

#include "buddy/levels.h"

enum {
    OCTET = 8,           /* fits that are read at once */
    GROUP = WR_WORD_BITS /* words that have a parent word together */
};

#define EVERY_BYTE UINT64_C(0x0101010101010101)

/* What is looked for, and by whom. */
struct wanted {
    struct wr_buddy *buddy;
    struct wr_buddy_hint *hint;
    uint32_t level; /* of the blocks */
    uint32_t run;
    uint32_t most;
    bool steals; /* from what others like to split, too */
};

/* Runs that were taken from a word, a bit for the start of each, and what the word
   was before. */
struct taken {
    uint64_t starts;
    uint64_t seen;
};

/* The first leaf of a block that was taken from a word, `seen` before, where it begins
   with `cell`. */
static inline uint32_t
note(const struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    struct wr_buddy_place place, uint32_t cell, uint64_t seen)
{
    uint32_t longest = wr_run_around(seen, cell % WR_WORD_BITS);
    wr_buddy_tally(&hint->splits, wr_buddy_steps(buddy, place, longest));
    return wr_buddy_leaf(place.level, cell);
}

/* The same for more; returns how many. */
static uint32_t
note_all(const struct wanted *wanted, struct wr_buddy_place place,
    uint32_t first, struct taken taken, uint32_t *leaves)
{
    uint32_t count = 0;
    do {
        uint32_t start = wr_lowest_bit(taken.starts);
        leaves[count++] =
            note(wanted->buddy, wanted->hint, place, first + start, taken.seen);
        taken.seen &= ~wr_run_mask(start, place.run);
        taken.starts &= taken.starts - 1;
    } while (taken.starts != 0);
    return count;
}

/* Takes up to `most` runs from a word that is perhaps `seen`. None: it has none. */
static struct taken
take_runs(_Atomic uint64_t *word, uint64_t seen, uint32_t run, uint32_t most)
{
    uint64_t starts;
    do {
        starts = wr_runs_choose(wr_runs(seen, run), run, most);
    } while (starts != 0 &&
             !wr_cas_acq_rel(word, &seen,
                 seen & ~wr_runs_fill(starts, run))); /* [block] [between] */
    return (struct taken){ starts, seen };
}

/* Takes what is wanted at a level from one word; higher up, one cell. Returns how
   many; where they begin is in `leaves`. */
static uint32_t
take_from(const struct wanted *wanted, uint32_t level, uint32_t word,
    uint32_t *leaves)
{
    bool is_theirs = level == wanted->level;
    uint32_t run = is_theirs ? wanted->run : 0;
    uint32_t most = is_theirs ? wanted->most : 1;
    _Atomic uint64_t *place = wr_buddy_word(wanted->buddy, level, word);
    uint64_t seen = wr_load_seq(place); /* [sleep] [between] */
    struct taken taken = take_runs(place, seen, run, most);
    wanted->hint->last = NULL;
    if (taken.starts == 0) {
        if (level < wanted->buddy->top)
            wr_buddy_set_fit(
                wanted->buddy, level, word, wr_run_fit(taken.seen));
        return 0;
    }
    wanted->hint->near[level] = word;
    return note_all(wanted, (struct wr_buddy_place){ level, run },
        word * WR_WORD_BITS, taken, leaves);
}

/* Cuts a cell of a level above theirs, which is the caller's, down to what is
   wanted, and leaves the rest free. */
static uint32_t
cut(const struct wanted *wanted, uint32_t level, uint32_t *leaves)
{
    struct wr_buddy *buddy = wanted->buddy;
    uint32_t cell = wr_buddy_cell(level, leaves[0]);
    if (level == buddy->top)
        wr_store_relaxed(
            &buddy->owners[cell], wanted->hint->owner); /* a hint */
    while (--level > wanted->level) {
        wr_buddy_publish(buddy, level, cell, ~UINT64_C(1));
        wr_buddy_tally(&wanted->hint->splits, WR_RUN_MAX);
        wanted->hint->near[level] = cell;
        cell *= WR_WORD_BITS;
    }
    uint64_t runs = wr_run_starts(wanted->run);
    struct taken taken = { wr_runs_choose(runs, wanted->run, wanted->most),
        UINT64_MAX };
    if (taken.starts != runs)
        wr_buddy_publish(
            buddy, level, cell, ~wr_runs_fill(taken.starts, wanted->run));
    wanted->hint->near[level] = cell;
    return note_all(wanted, (struct wr_buddy_place){ level, wanted->run },
        cell * WR_WORD_BITS, taken, leaves);
}

/* The same from a word of whatever level, theirs or above. */
static uint32_t
take_or_cut(const struct wanted *wanted, uint32_t level, uint32_t word,
    uint32_t *leaves)
{
    if (level == wanted->level)
        return take_from(wanted, level, word, leaves);
    _Atomic uint32_t *between = &wanted->hint->between;
    wr_store_relaxed(between, 1); /* the exchange orders it */
    if (take_from(wanted, level, word, leaves) != 0)
        return cut(wanted, level, leaves);
    wr_store_relaxed(between, 0); /* nothing was done */
    return 0;
}

/* ---- Where there may be some ------------------------------------------- */

/* Of eight fits, those that are at least `fit`, as the highest bit of their byte;
   both are small. */
static inline uint64_t
fitting(uint64_t octet, uint32_t fit)
{
    return (octet + (0x80 - fit) * EVERY_BYTE) & 0x80 * EVERY_BYTE;
}

/* The same of 64, as a bit for each. The product collects the bits of eight bytes in
   the highest one. */
static inline uint64_t
fitting_in_group(const _Atomic uint8_t *fits, uint32_t fit)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i < GROUP; i += OCTET) {
        uint64_t octet = wr_load_eight_relaxed(&fits[i]); /* hints */
        uint64_t ones = fitting(octet, fit) >> 7;
        found |= (ones * UINT64_C(0x0102040810204080)) >> 56 << i;
    }
    return found;
}

/* Somebody else likes to split the cell of the top that a word of a lower level
   lies in. */
static bool
is_anothers(const struct wanted *wanted, uint32_t level, uint32_t word)
{
    const struct wr_buddy *buddy = wanted->buddy;
    uint32_t cell = word >> (WR_RUN_MAX * (buddy->top - 1 - level));
    uint8_t owner = wr_load_relaxed(&buddy->owners[cell]); /* a hint */
    return owner != 0 && owner != wanted->hint->owner;
}

/* Takes from one of a group's words that are set in `words` and not another's, from the
   near one on around. */
static uint32_t
take_in_words(const struct wanted *wanted, uint32_t level, uint32_t group,
    uint64_t words, uint32_t *leaves)
{
    uint32_t near = wanted->hint->near[level];
    uint32_t from = near / GROUP == group ? near % GROUP : 0;
    words = words >> from | words << (GROUP - from) % GROUP;
    for (; words != 0; words &= words - 1) {
        uint32_t word = group * GROUP + (from + wr_lowest_bit(words)) % GROUP;
        if (!wanted->steals && is_anothers(wanted, level, word))
            continue;
        uint32_t count = take_or_cut(wanted, level, word, leaves);
        if (count != 0)
            return count;
    }
    return 0;
}

/* Takes from a group of words of a level below the top: from one that fits exactly,
   else from one that fits. */
static uint32_t
take_in_group(const struct wanted *wanted, uint32_t level, uint32_t group,
    uint32_t *leaves)
{
    const struct wr_buddy_level *of = &wanted->buddy->levels[level];
    const _Atomic uint8_t *fits = &of->fits[(size_t)group * GROUP];
    uint32_t fit = level == wanted->level ? wanted->run + 1 : 1;
    uint64_t more = fitting_in_group(fits, fit + 1);
    uint64_t exact = fitting_in_group(fits, fit) & ~more;
    uint32_t count = take_in_words(wanted, level, group, exact, leaves);
    if (count == 0)
        count = take_in_words(wanted, level, group, more, leaves);
    if (count == 0 && wanted->steals) {
        wr_store_relaxed(
            &of->group_fits[group], (uint8_t)(fit - 1)); /* a hint */
        if (fitting_in_group(fits, fit) != 0)            /* raised meanwhile */
            wr_store_relaxed(&of->group_fits[group], WR_RUN_MAX); /* a hint */
    }
    return count;
}

/* The same anywhere at the level, from the near group around. */
static uint32_t
take_in_level(const struct wanted *wanted, uint32_t level, uint32_t *leaves)
{
    const struct wr_buddy_level *of = &wanted->buddy->levels[level];
    uint32_t fit = level == wanted->level ? wanted->run + 1 : 1;
    uint32_t groups = (of->word_count - 1) / GROUP + 1;
    uint32_t octets = (groups - 1) / OCTET + 1;
    uint32_t from = wanted->hint->near[level] / GROUP / OCTET;
    for (uint32_t i = 0; i < octets; i++) {
        uint32_t at = (from + i) % octets * OCTET;
        uint64_t octet = wr_load_eight_relaxed(&of->group_fits[at]); /* hints */
        uint64_t enough = fitting(octet, fit);
        for (; enough != 0; enough &= enough - 1) {
            uint32_t group = at + wr_lowest_bit(enough) / 8;
            uint32_t count = take_in_group(wanted, level, group, leaves);
            if (count != 0)
                return count;
        }
    }
    return 0;
}

static uint32_t
take_in_top(const struct wanted *wanted, uint32_t *leaves)
{
    uint32_t top = wanted->buddy->top;
    uint32_t words = wanted->buddy->levels[top].word_count;
    uint32_t from = wanted->hint->near[top];
    for (uint32_t i = 0; i < words; i++) {
        uint32_t count = take_or_cut(wanted, top, (from + i) % words, leaves);
        if (count != 0)
            return count;
    }
    return 0;
}

/* Near, then in what nobody else likes, then in what is whole, then anywhere. */
static __attribute__((noinline)) uint32_t
search(struct wr_buddy *buddy, struct wr_buddy_hint *hint, uint32_t order,
    uint32_t most, uint32_t *leaves)
{
    struct wr_buddy_place place = wr_buddy_place(buddy, order);
    struct wanted wanted = { buddy, hint, place.level, place.run, most, false };
    uint32_t top = buddy->top;
    uint32_t *hinted = &hint->trails[order][hint->ends[order]];
    uint32_t count = take_from(&wanted, place.level, *hinted, leaves);
    for (uint32_t level = place.level; level < top && count == 0; level++)
        count =
            take_in_group(&wanted, level, hint->near[level] / GROUP, leaves);
    for (uint32_t level = place.level; level < top && count == 0; level++)
        count = take_in_level(&wanted, level, leaves);
    if (count == 0)
        count = take_in_top(&wanted, leaves);
    wanted.steals = true;
    for (uint32_t level = place.level; level < top && count == 0; level++)
        count = take_in_level(&wanted, level, leaves);
    if (count != 0)
        *hinted = wr_buddy_cell(place.level, leaves[0]) / WR_WORD_BITS;
    return count;
}

uint32_t
wr_buddy_take(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    uint32_t order, uint32_t most, uint32_t *leaves)
{
    WR_ASSERT(order <= buddy->geometry.order_max && most > 0);
    struct wr_buddy_place place = wr_buddy_place(buddy, order);
    uint32_t end = hint->ends[order];
    uint32_t index = hint->trails[order][end];
    _Atomic uint64_t *word = wr_buddy_word(buddy, place.level, index);
    uint64_t seen = hint->last_value;
    if (word != hint->last)
        seen = wr_load_relaxed(word); /* a guess */
    uint64_t runs = wr_runs(seen, place.run);
    uint64_t start = wr_runs_choose_one(runs, place.run);
    uint64_t next = seen - wr_runs_fill(start, place.run);
    if (most != 1 || start == 0 ||
        !wr_cas_acquire(word, &seen, next)) /* [block] */
        return search(buddy, hint, order, most, leaves);
    hint->ends[order] = (uint8_t)((end - (runs == start)) % WR_BUDDY_TRAIL);
    *leaves = note(
        buddy, hint, place, index * WR_WORD_BITS + wr_lowest_bit(start), seen);
    return 1;
}

/* A word's hints say at least what is there. They may say less where somebody lowered
   them while another raised them. */
static void
mend_fit(const struct wr_buddy *buddy, uint32_t level, uint32_t word)
{
    uint64_t seen =
        wr_load_relaxed(wr_buddy_word(buddy, level, word)); /* for a hint */
    if (level < buddy->top)
        wr_buddy_raise_fit(buddy, level, word, wr_run_fit(seen));
}

bool
wr_buddy_take_exact(struct wr_buddy *buddy, struct wr_buddy_hint *hint,
    uint32_t order, uint32_t *leaf)
{
    struct wr_buddy_place place = wr_buddy_place(buddy, order);
    struct wanted wanted = { buddy, hint, place.level, place.run, 1, true };
    for (uint32_t level = place.level; level <= buddy->top; level++)
        for (uint32_t i = 0; i < buddy->levels[level].word_count; i++)
            if (take_or_cut(&wanted, level, i, leaf) != 0) {
                mend_fit(buddy, level, i);
                return true;
            }
    return false;
}
