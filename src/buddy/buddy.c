/* SPDX-License-Identifier: MIT */
/*
 * buddy: blocks of 2^k leaves, split and joined by any thread, one word at a time.
 *
 *     level 2   [1111 ... 1110]                     the top: a bit is 4096 leaves
 *                           \
 *     level 1           [1111 ... 1101]             64 leaves, or one word below
 *                                 \
 *     level 0                [0000 ... 1100]        a leaf
 *                                      ^^
 *                                      a free block of order 1
 *
 * Idea
 *   The tree of buddies is cut into levels of six orders. 64 cells of a level are the
 *   bits of one word; all of them together are one cell of the next level. A bit is
 *   set if its cell is free and in no larger free block beyond its word. So a free
 *   block is an aligned run of set bits, and which halves are joined is not written
 *   anywhere: setting the bits of a run joins it with its neighbours, and clearing
 *   them splits what they were part of. Both are one exchange of one word.
 *
 *   Only at the edge of a word there is more to do. Who would make a word whole
 *   empties it instead, and gives the cell above (give.c). Who finds no run large
 *   enough takes a cell above, whose word is empty then, and publishes there what it
 *   does not need (take.c). Between the two exchanges the cell is nobody's but the
 *   caller's.
 *
 *   Where runs may be is said by hints, which are written without an exchange and may
 *   be wrong: 1 + the order of the longest run for each word below the top, the
 *   highest of these for each group of 64 words, and for each cell of the top the
 *   thread that splits it, so that threads split different ones.
 *
 * Invariants
 *   1. Bits of cells that are not whole leaves of the region are never set.
 *   2. A word below the top is never all ones.
 *   3. A word below a cell that is free is empty. With that, each leaf is in one free
 *      cell at most.
 *   4. While a cell is free, taken whole, or on its way between two levels, nobody
 *      but who has it makes the word below it nonzero.
 *   5. After init, words change by read-modify-write only.
 *   6. owner is not 0, and each end of a trail is less than WR_BUDDY_TRAIL.
 *
 * Edges
 *   [home]   wr_buddy_give, seq  ->  wr_buddy_is_whole, seq
 *            One half of tearing down against giving back; see arena/arena.c.
 *
 * Costs
 *   9 bytes for 64 leaves, and a line for 4096: 0.06 % of the region if a leaf has
 *   256 bytes. wr_buddy_largest looks at the top, and where that is empty at the hints
 *   of groups, and at words that may beat the best so far.
 *   wr_buddy_count and wr_buddy_check walk all words.
 *
 * Limits
 *   64 GiB, leaves from 256 bytes to 2 MiB, blocks up to 2 GiB. While others take and
 *   give, wr_buddy_largest and wr_buddy_count are about what was there; a cell on its
 *   way between two levels is in neither. What wr_buddy_is_free says can be relied on
 *   only by who holds the leaf.
 *
 * Source
 *   Aligned runs in one word, and hints who splits what: LLFree (Wrenger et al.,
 *   USENIX ATC 2023). A tree that is nowhere but in its bits: NBBS (Marotta et al.,
 *   "A Non-blocking Buddy System for Scalable Memory Allocation on Multi-core
 *   Machines").
 */

#include "buddy/buddy.h"

#include "buddy/levels.h"

enum { GROUP = WR_WORD_BITS /* words that share a parent word */ };

/* ---- How it is laid out ------------------------------------------------ */

bool
wr_buddy_geometry(
    size_t leaf_size, size_t bytes, struct wr_buddy_geometry *geometry)
{
    if (!wr_is_power_of_two(leaf_size) || bytes < leaf_size ||
        bytes > (size_t)1 << WR_BUDDY_REGION_SHIFT_MAX)
        return false;
    uint32_t shift = wr_lowest_bit(leaf_size);
    if (shift < WR_BUDDY_LEAF_SHIFT_MIN || shift > WR_BUDDY_LEAF_SHIFT_MAX)
        return false;
    size_t count = bytes >> shift;
    uint32_t order = wr_highest_bit(count);
    if (order > WR_BUDDY_BLOCK_SHIFT_MAX - shift)
        order = WR_BUDDY_BLOCK_SHIFT_MAX - shift;
    *geometry = (struct wr_buddy_geometry){ shift, (uint32_t)count, order };
    return true;
}

/* The highest level: the largest block is a run of one of its words. */
static uint32_t
top_of(const struct wr_buddy_geometry *geometry)
{
    if (geometry->order_max <= WR_RUN_MAX)
        return 0;
    return (geometry->order_max - 1) / WR_RUN_MAX;
}

/* How many cells of a level are whole. */
static uint32_t
cell_count(const struct wr_buddy_geometry *geometry, uint32_t level)
{
    return geometry->leaf_count >> (WR_RUN_MAX * level);
}

static uint32_t
word_count(const struct wr_buddy_geometry *geometry, uint32_t level)
{
    return ((geometry->leaf_count - 1) >> (WR_RUN_MAX * (level + 1))) + 1;
}

static size_t
round_up(size_t count, size_t to)
{
    return (count + to - 1) / to * to;
}

static uint32_t
stride_shift(uint32_t level)
{
    return level == 0 ? 0 : 3;
}

/* Bytes of a level's words, of their fits, and of their groups'. */
static size_t
words_size(const struct wr_buddy_geometry *geometry, uint32_t level)
{
    return round_up(
        word_count(geometry, level) * sizeof(uint64_t) << stride_shift(level),
        WR_LINE_SIZE);
}

static size_t
fits_size(const struct wr_buddy_geometry *geometry, uint32_t level)
{
    return round_up(word_count(geometry, level), GROUP);
}

static size_t
group_fits_size(const struct wr_buddy_geometry *geometry, uint32_t level)
{
    return round_up(fits_size(geometry, level) / GROUP, WR_LINE_SIZE);
}

static size_t
owners_size(const struct wr_buddy_geometry *geometry)
{
    uint32_t top = top_of(geometry);
    return round_up(cell_count(geometry, top) + (size_t)1, WR_LINE_SIZE);
}

size_t
wr_buddy_meta_size(const struct wr_buddy_geometry *geometry)
{
    uint32_t top = top_of(geometry);
    size_t size = owners_size(geometry);
    for (uint32_t level = 0; level <= top; level++)
        size += words_size(geometry, level);
    for (uint32_t level = 0; level < top; level++)
        size += fits_size(geometry, level) + group_fits_size(geometry, level);
    return size;
}

/* What a word is when everything is free: the bits of whole cells, unless all of
   them together are a cell of the next level. */
static uint64_t
whole_word(const struct wr_buddy *buddy, uint32_t level, uint32_t word)
{
    uint32_t cells = cell_count(&buddy->geometry, level);
    uint32_t first = word * WR_WORD_BITS;
    if (cells <= first)
        return 0;
    if (cells - first >= WR_WORD_BITS)
        return level < buddy->top ? 0 : UINT64_MAX;
    return wr_low_bits(cells - first);
}

static void
init_level(struct wr_buddy *buddy, uint32_t index)
{
    struct wr_buddy_level *level = &buddy->levels[index];
    uint32_t last = level->word_count - 1; /* below the top all others are 0 */
    for (uint32_t i = index < buddy->top ? last : 0; i <= last; i++)
        atomic_init(
            wr_buddy_word(buddy, index, i), whole_word(buddy, index, i));
    if (index == buddy->top)
        return;
    uint8_t fit = (uint8_t)wr_run_fit(whole_word(buddy, index, last));
    atomic_init(&level->fits[last], fit);
    atomic_init(&level->group_fits[last / GROUP], fit);
}

void
wr_buddy_init(struct wr_buddy *buddy, const struct wr_buddy_geometry *geometry,
    void *meta)
{
    WR_ASSERT((uintptr_t)meta % WR_LINE_SIZE == 0);

    uint8_t *next = meta;
    buddy->geometry = *geometry;
    buddy->top = top_of(geometry);
    for (uint32_t i = 0; i <= buddy->top; i++) {
        struct wr_buddy_level *level = &buddy->levels[i];
        level->word_count = word_count(geometry, i);
        level->stride_shift = stride_shift(i);
        level->words = (_Atomic uint64_t *)(void *)next;
        next += words_size(geometry, i);
        if (i < buddy->top) {
            level->fits = (_Atomic uint8_t *)next;
            next += fits_size(geometry, i);
            level->group_fits = (_Atomic uint8_t *)next;
            next += group_fits_size(geometry, i);
        }
        init_level(buddy, i);
    }
    buddy->owners = (_Atomic uint8_t *)next;
}

void
wr_buddy_fini(struct wr_buddy *buddy)
{
    *buddy = (struct wr_buddy){ 0 };
}

void
wr_buddy_hint_init(
    const struct wr_buddy *buddy, uint32_t ordinal, struct wr_buddy_hint *hint)
{
    uint32_t top = buddy->top;
    *hint = (struct wr_buddy_hint){ .owner = (uint8_t)(ordinal % 255 + 1) };
    hint->near[top] = ordinal % buddy->levels[top].word_count;
    for (uint32_t level = top; level-- > 0;)
        hint->near[level] = (ordinal << WR_RUN_MAX * (top - 1 - level)) %
                            buddy->levels[level].word_count;
    for (uint32_t order = 0; order <= buddy->geometry.order_max; order++)
        for (uint32_t i = 0; i < WR_BUDDY_TRAIL; i++)
            hint->trails[order][i] =
                hint->near[wr_buddy_place(buddy, order).level];
}

/* ---- What there is ----------------------------------------------------- */

/* 1 + the highest order in a word, as far as blocks may be so large. */
static uint32_t
fit_of(const struct wr_buddy *buddy, uint32_t level, uint64_t word)
{
    uint32_t most = wr_buddy_run_max(buddy, level) + 1;
    uint32_t fit = wr_run_fit(word);
    return fit < most ? fit : most;
}

/* The highest fit of a group of words, as they are; at most what is said of it. */
static uint32_t
best_in_group(
    const struct wr_buddy *buddy, uint32_t index, uint32_t group, uint32_t said)
{
    const struct wr_buddy_level *level = &buddy->levels[index];
    uint32_t best = 0;
    uint32_t end = (group + 1) * GROUP;
    if (end > level->word_count)
        end = level->word_count;
    for (uint32_t i = group * GROUP; i < end && best < said; i++) {
        uint32_t fit = wr_load_relaxed(&level->fits[i]); /* a hint */
        if (fit <= best)
            continue;
        uint64_t seen =
            wr_load_relaxed(wr_buddy_word(buddy, index, i)); /* a snapshot */
        uint32_t is = wr_run_fit(seen);
        if (is < fit)
            wr_buddy_set_fit(buddy, index, i, is);
        best = is > best ? is : best;
    }
    return best;
}

/* The same of a level below the top. */
static uint32_t
best_in_level(const struct wr_buddy *buddy, uint32_t index)
{
    const struct wr_buddy_level *level = &buddy->levels[index];
    uint32_t best = 0;
    for (uint32_t group = 0; group * GROUP < level->word_count; group++) {
        _Atomic uint8_t *fit = &level->group_fits[group];
        uint32_t said = wr_load_relaxed(fit); /* a hint */
        if (said <= best)
            continue;
        uint32_t found = best_in_group(buddy, index, group, said);
        if (found < said)
            wr_store_relaxed(fit, (uint8_t)found); /* a hint */
        best = found > best ? found : best;
    }
    return best;
}

int
wr_buddy_largest(const struct wr_buddy *buddy)
{
    const struct wr_buddy_level *top = &buddy->levels[buddy->top];
    uint32_t best = 0;
    for (uint32_t i = 0; i < top->word_count; i++) {
        uint64_t seen = wr_load_relaxed(
            wr_buddy_word(buddy, buddy->top, i)); /* a snapshot */
        uint32_t fit = fit_of(buddy, buddy->top, seen);
        best = fit > best ? fit : best;
        if (best > wr_buddy_run_max(buddy, buddy->top))
            break;
    }
    uint32_t level = buddy->top;
    while (best == 0 && level > 0)
        best = best_in_level(buddy, --level);
    return best == 0 ? -1 : (int)(level * WR_RUN_MAX + best - 1);
}

/* Adds the free blocks of a word, by order. */
static void
count_word(const struct wr_buddy *buddy, uint32_t level, uint64_t word,
    uint64_t counts[WR_BUDDY_ORDERS])
{
    uint32_t order = level * WR_RUN_MAX;
    for (uint32_t run = 0; word != 0; run++, order++) {
        uint64_t runs = wr_runs(word, run);
        uint64_t alone = wr_runs_alone(runs, run);
        if (order == buddy->geometry.order_max)
            alone = runs;
        counts[order] += wr_count_bits(alone);
        word &= ~wr_runs_fill(alone, run);
    }
}

void
wr_buddy_count(const struct wr_buddy *buddy, uint64_t counts[WR_BUDDY_ORDERS])
{
    for (uint32_t i = 0; i < WR_BUDDY_ORDERS; i++)
        counts[i] = 0;
    for (uint32_t level = 0; level <= buddy->top; level++)
        for (uint32_t i = 0; i < buddy->levels[level].word_count; i++)
            count_word(buddy, level,
                wr_load_relaxed(
                    wr_buddy_word(buddy, level, i)), /* a snapshot */
                counts);
}

uint64_t
wr_buddy_free_bytes(const struct wr_buddy *buddy)
{
    uint64_t counts[WR_BUDDY_ORDERS];
    uint64_t bytes = 0;
    wr_buddy_count(buddy, counts);
    for (uint32_t i = 0; i <= buddy->geometry.order_max; i++)
        bytes += counts[i] * wr_buddy_block_size(buddy, i);
    return bytes;
}

bool
wr_buddy_is_free(const struct wr_buddy *buddy, uint32_t leaf)
{
    for (uint32_t level = 0; level <= buddy->top; level++) {
        uint32_t cell = wr_buddy_cell(level, leaf);
        uint64_t seen = wr_load_relaxed(wr_buddy_word(
            buddy, level, cell / WR_WORD_BITS)); /* who holds it sees it */
        if ((seen >> cell % WR_WORD_BITS & 1) != 0)
            return true;
    }
    return false;
}

/* All words of the top, and of each level below the last: what is whole there is a
   cell above. */
bool
wr_buddy_is_whole(const struct wr_buddy *buddy)
{
    for (uint32_t level = 0; level <= buddy->top; level++) {
        uint32_t count = buddy->levels[level].word_count;
        for (uint32_t i = level < buddy->top ? count - 1 : 0; i < count; i++)
            if (wr_load_seq(wr_buddy_word(buddy, level, i)) !=
                whole_word(buddy, level, i)) /* [home] */
                return false;
    }
    return true;
}

/* Nothing below a cell that is free is. */
static bool
is_hidden(const struct wr_buddy *buddy, uint32_t level, uint32_t word)
{
    uint32_t cell = word;
    while (++level <= buddy->top) {
        uint64_t seen = wr_load_relaxed(
            wr_buddy_word(buddy, level, cell / WR_WORD_BITS)); /* it is quiet */
        if ((seen >> cell % WR_WORD_BITS & 1) != 0)
            return true;
        cell /= WR_WORD_BITS;
    }
    return false;
}

static void
check_word(const struct wr_buddy *buddy, uint32_t level, uint32_t index)
{
    uint64_t word =
        wr_load_relaxed(wr_buddy_word(buddy, level, index)); /* it is quiet */
    uint32_t cells = cell_count(&buddy->geometry, level);
    uint32_t first = index * WR_WORD_BITS;
    uint64_t exist = 0;
    if (cells > first)
        exist = cells - first >= WR_WORD_BITS ? UINT64_MAX
                                              : wr_low_bits(cells - first);
    WR_CHECK((word & ~exist) == 0, "invariant 1 of buddy broken");
    WR_CHECK(level == buddy->top || word != UINT64_MAX,
        "invariant 2 of buddy broken");
    WR_CHECK(word == 0 || !is_hidden(buddy, level, index),
        "invariant 3 of buddy broken");
}

void
wr_buddy_check(const struct wr_buddy *buddy)
{
    for (uint32_t level = 0; level <= buddy->top; level++)
        for (uint32_t i = 0; i < buddy->levels[level].word_count; i++)
            check_word(buddy, level, i);
}
