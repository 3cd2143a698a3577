/* SPDX-License-Identifier: MIT */
/*
 * bitmap: equal slots, one bit each, taken and given by any thread.
 *
 *     word 0                word 1                     a set bit is a free slot
 *     [1111 ... 0110]       [1111 ... 1111]
 *                     ▲
 *                     hint: this word, and a guess at its set bits
 *
 * Idea
 *   A thread clears one bit with one locked instruction and owns the slot if
 *   the bit was set. Which bit to try it takes from its hint, which it keeps
 *   itself: the word where it last gave a slot back, with the bits it last saw
 *   set there, less those it took and more those it gave. So the common take
 *   reads no shared word before it writes it (a load behind a locked
 *   instruction on the same line stalls for as long as the instruction), and
 *   the common slot is the one whose memory is still in this core's cache. A
 *   guess may be wrong, since others take from the word too; the old bit decides.
 *   When the guess is used up the words are searched from there on.
 *
 *   A thread that takes whole words and gives none back, because its slots come
 *   home through other threads, would so walk through all memory in turns. It
 *   looks first whether one of the words it began with is whole again: their
 *   memory is more likely to be in some cache, and in the tables of pages. If
 *   none of 64 is, it stays away until its search has come around.
 *
 *   Where a search found nothing before, it should not look again. From 64 words
 *   on there are marks, at most 1024, each for as many words: eight, or more of a
 *   large map. A clear mark says that no slot there is free, but for one
 *   whose give has not returned. A give sets a mark it finds clear, behind its bit.
 *   Marks are cleared only under a lock of the caller's, by a search that met no
 *   free slot at any of 64 marks: it clears these, looks at the words again, and
 *   sets them again if it finds a slot now. So a search of a million slots that are
 *   all out reads 16 words. The marks lie beside the map and not with the words: a
 *   give sets its mark when its slot may have been the last to come home, and the
 *   words gone.
 *
 * Invariants
 *   1. Bits past slot_count are never set.
 *   2. A clear bit below slot_count has exactly one owner.
 *   3. After init, words change by read-modify-write only.
 *   4. hint.word < word_count, and so is hint.home but for WR_AWAY.
 *   5. A word with a free slot is marked, or a give is in progress that will mark
 *      it, or the lock for clearing marks is held.
 *
 * Edges
 *   [slot]   wr_bitmap_give, release  ->  wr_bitmap_take, acquire
 *            What the last owner did in the slot happens before what the next
 *            owner does there. Instructions on other bits of the word may lie
 *            in between; by invariant 3 they keep the release sequence whole.
 *   [sleep]  wr_bitmap_give, seq  ->  has_line_any, find_word_in, seq
 *            One half of going to sleep against giving back; the argument
 *            stands in arena/waiters.c.
 *   [mark]   wr_bitmap_give, seq  ->  has_line_any, find_word_in, seq
 *            find_or_forget, seq  ->  wr_bitmap_mark, seq
 *            wr_bitmap_mark, seq  ->  find_or_forget, seq
 *            Adding a bit and looking at the mark, clearing the mark and looking at
 *            the words: one of the two sees what the other did. If it is the
 *            giver, it sets the mark before it returns.
 *   [home]   wr_bitmap_give, seq  ->  wr_bitmap_is_whole, seq
 *            One half of tearing down against giving back; see arena/arena.c.
 *
 * Linearization
 *   take: the clearing of a bit that was set; of a batch, the exchange of a word
 *   in which all its bits were set. give: the addition of bits that their owner
 *   knows to be 0, which sets them and touches no other. An update cannot be
 *   lost: each changes its own bits in place, whatever the others of the word
 *   do. A bit given twice carries into its neighbour; the old word tells, and
 *   the program stops.
 *
 * Costs
 *   take: one locked instruction where the guess holds, plus one load for each
 *   word searched where it does not. give: one locked instruction. A batch costs
 *   what a slot costs. Setting a mark, and clearing 64, is one more. None ever waits
 *   for another thread: a take that lost its bit, or its word, lost it to a call
 *   that succeeded.
 *
 * Limits
 *   2^32 - 65 slots. A false from take says that each word was empty, or without a
 *   mark, when this thread looked, not that all were empty at once: a slot given
 *   behind the search is missed. Who must not miss it says first that it searches
 *   (arena/rare.c), or queues first and asks again (arena/waiters.c).
 *   Between a double give and the end of the program other threads may be
 *   handed slots that are out.
 */

#include "base/bitmap.h"

enum {
    WORDS_IN_LINE = 8,
    HOME_WORDS = 64,
    MARKED_FROM = 64,    /* words */
    MARK_SHIFT_LEAST = 3 /* a line */
};

_Static_assert(WORDS_IN_LINE * sizeof(uint64_t) == WR_LINE_SIZE, "a line");

/* What a word is when all its slots are free. */
static uint64_t
whole_word(const struct wr_bitmap *map, uint32_t word)
{
    uint32_t used = map->slot_count - word * WR_WORD_BITS;
    return wr_low_bits(used < WR_WORD_BITS ? used : WR_WORD_BITS);
}

size_t
wr_bitmap_meta_size(uint32_t slot_count)
{
    size_t words = ((size_t)slot_count + WR_WORD_BITS - 1) / WR_WORD_BITS;
    return words * sizeof(uint64_t);
}

/* How many words have a mark together, as a power of two. */
static uint32_t
choose_shift(uint32_t word_count)
{
    uint32_t shift = MARK_SHIFT_LEAST;
    if (word_count < MARKED_FROM)
        return 0;
    while ((word_count - 1) >> shift >= WR_MARK_WORDS * WR_WORD_BITS)
        shift++;
    return shift;
}

/* How many words of marks there are. */
static uint32_t
mark_word_count(const struct wr_bitmap *map)
{
    if (map->mark_shift == 0)
        return 0;
    return ((map->word_count - 1) >> map->mark_shift) / WR_WORD_BITS + 1;
}

void
wr_bitmap_mark_all(struct wr_bitmap *map)
{
    for (uint32_t i = 0; i < mark_word_count(map); i++)
        wr_store_relaxed(&map->marks[i], UINT64_MAX); /* one too many is none */
}

void
wr_bitmap_init(struct wr_bitmap *map, uint32_t slot_count, void *meta)
{
    WR_ASSERT(slot_count > 0 && slot_count <= UINT32_MAX - WR_WORD_BITS);
    WR_ASSERT((uintptr_t)meta % sizeof(uint64_t) == 0);

    map->words = meta;
    map->slot_count = slot_count;
    map->word_count = (slot_count - 1) / WR_WORD_BITS + 1;
    map->mark_shift = choose_shift(map->word_count);
    wr_bitmap_mark_all(map);
    for (uint32_t i = 0; i < map->word_count; i++)
        atomic_init(&map->words[i], whole_word(map, i));
}

void
wr_bitmap_fini(struct wr_bitmap *map)
{
    map->words = NULL;
    map->slot_count = 0;
    map->word_count = 0;
    map->mark_shift = 0;
}

/* True if there is a free slot in the words of a line. Written out, because as a
   loop over atomics it stays one. */
static bool
has_line_any(const _Atomic uint64_t *words)
{
    return (wr_load_seq(&words[0]) | wr_load_seq(&words[1]) |
               wr_load_seq(&words[2]) | wr_load_seq(&words[3]) |
               wr_load_seq(&words[4]) | wr_load_seq(&words[5]) |
               wr_load_seq(&words[6]) | wr_load_seq(&words[7])) !=
           0; /* [sleep] */
}

/* Points the hint at the first word with free slots, of those from `from` up to
   `to`. */
static bool
find_word_in(const struct wr_bitmap *map, uint32_t from, uint32_t to,
    struct wr_bitmap_hint *hint)
{
    for (uint32_t word = from; word < to; word++) {
        uint64_t seen = wr_load_seq(&map->words[word]); /* [sleep] */
        if (seen != 0) {
            hint->word = word;
            hint->guess = seen;
            return true;
        }
    }
    return false;
}

/* The same for many words: passes over empty lines with one branch each. */
static bool
find_word_between(const struct wr_bitmap *map, uint32_t from, uint32_t to,
    struct wr_bitmap_hint *hint)
{
    uint32_t word = from;
    for (; to - word >= WORDS_IN_LINE; word += WORDS_IN_LINE)
        if (has_line_any(&map->words[word]) &&
            find_word_in(map, word, word + WORDS_IN_LINE, hint))
            return true;
    return find_word_in(map, word, to, hint);
}

/* The same for the words from `least` on of those marks that are in `marks`, of
   the 64 of index `i`. Marks that follow one another are one range. */
static bool
find_word_marked(const struct wr_bitmap *map, uint32_t i, uint64_t marks,
    uint32_t least, struct wr_bitmap_hint *hint)
{
    while (marks != 0) {
        uint32_t lowest = wr_lowest_bit(marks);
        uint32_t run = wr_lowest_run(marks);
        uint64_t from = (uint64_t)(i * WR_WORD_BITS + lowest)
                        << map->mark_shift;
        uint64_t to = from + ((uint64_t)run << map->mark_shift);
        if (from < least)
            from = least;
        if (to > map->word_count)
            to = map->word_count;
        if (from >= to)
            return false; /* marks without words */
        if (find_word_between(map, (uint32_t)from, (uint32_t)to, hint))
            return true;
        marks &= ~(wr_low_bits(run) << lowest);
    }
    return false;
}

/* The same for all words from `from` up to `to`, and some more: up to the last
   of 64 marks. */
static bool
find_word_marked_between(const struct wr_bitmap *map, uint32_t from,
    uint32_t to, struct wr_bitmap_hint *hint)
{
    uint32_t mark = from >> map->mark_shift;
    uint32_t last = (to - 1) >> map->mark_shift;
    uint64_t behind = UINT64_MAX << mark % WR_WORD_BITS;
    for (uint32_t i = mark / WR_WORD_BITS; i <= last / WR_WORD_BITS; i++) {
        uint64_t seen =
            wr_load_relaxed(&map->marks[i]); /* who must know asks again */
        if (find_word_marked(map, i, seen & behind, from, hint))
            return true;
        behind = UINT64_MAX;
    }
    return false;
}

/* The same for all words, once around from the hint's. */
static bool
find_word(const struct wr_bitmap *map, struct wr_bitmap_hint *hint)
{
    uint32_t start = hint->word;
    if (map->mark_shift != 0) {
        if (find_word_marked_between(map, start, map->word_count, hint))
            return true;
        hint->home &= ~WR_AWAY;
        return find_word_marked_between(map, 0, start + 1, hint);
    }
    if (find_word_between(map, start, map->word_count, hint))
        return true;
    hint->home &= ~WR_AWAY;
    return find_word_between(map, 0, start, hint);
}

/* Takes a whole word of the first at home. If there is none it is not tried again
   until a search has come around. */
static bool
take_at_home(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, struct wr_batch *batch)
{
    uint32_t word = hint->home;
    if ((word & WR_AWAY) != 0)
        return false;
    uint32_t rest = map->word_count - word;
    uint32_t end = word + (rest < HOME_WORDS ? rest : HOME_WORDS);
    for (; word < end; word++) {
        uint64_t seen =
            wr_load_relaxed(&map->words[word]); /* the exchange decides */
        if (seen == UINT64_MAX &&
            wr_cas_acquire(&map->words[word], &seen, 0)) { /* [slot] */
            hint->word = word;
            hint->guess = 0;
            *batch = (struct wr_batch){ UINT64_MAX, word };
            return true;
        }
    }
    hint->home |= WR_AWAY;
    return false;
}

bool
wr_bitmap_search(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t *slot)
{
    while (find_word(map, hint))
        if (wr_bitmap_take_guess(map, hint, slot))
            return true;
    return false;
}

/* Points the hint at a word with free slots of the 64 marks of index `i`. If there
   is none it clears these; see "Idea". */
static bool
find_or_forget(struct wr_bitmap *map, uint32_t i, struct wr_bitmap_hint *hint)
{
    _Atomic uint64_t *marks = &map->marks[i];
    uint64_t seen = wr_load_seq(marks); /* [mark] */
    if (find_word_marked(map, i, seen, 0, hint))
        return true;
    if ((seen & (seen - 1)) == 0)
        return false; /* a single one is sooner looked at than forgotten */
    (void)wr_and_seq(marks, ~seen); /* [mark] */
    if (!find_word_marked(map, i, seen, 0, hint))
        return false;
    (void)wr_or_relaxed(marks, seen); /* the lock orders it */
    return true;
}

bool
wr_bitmap_take_locked(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t *slot)
{
    if (map->mark_shift == 0)
        return wr_bitmap_take(map, hint, slot);
    for (uint32_t i = 0; i < mark_word_count(map); i++)
        while (find_or_forget(map, i, hint))
            if (wr_bitmap_take_guess(map, hint, slot))
                return true;
    return false;
}

void
wr_bitmap_mark(struct wr_bitmap *map, uint32_t index)
{
    _Atomic uint64_t *marks = &map->marks[index / WR_WORD_BITS];
    uint64_t mark = UINT64_C(1) << index % WR_WORD_BITS;
    uint64_t seen = wr_load_seq(marks); /* [mark] */
    if ((seen & mark) == 0)
        (void)wr_or_seq(marks, mark); /* [mark] */
}

bool
wr_bitmap_take_batch(struct wr_bitmap *map, struct wr_bitmap_hint *hint,
    uint32_t most, struct wr_batch *batch)
{
    WR_ASSERT(most >= 1 && most <= WR_WORD_BITS);
    if (most == WR_WORD_BITS && take_at_home(map, hint, batch))
        return true;
    while (find_word(map, hint)) {
        uint64_t seen = hint->guess;
        uint64_t mask =
            most == WR_WORD_BITS ? seen : wr_lowest_bits(seen, most);
        hint->guess = 0;
        if (wr_cas_acquire(
                &map->words[hint->word], &seen, seen & ~mask)) { /* [slot] */
            *batch = (struct wr_batch){ mask, hint->word };
            return true;
        }
    }
    return false;
}

bool
wr_bitmap_give_batch(struct wr_bitmap *map, struct wr_bitmap_hint *hint,
    const struct wr_batch *batch)
{
    WR_ASSERT(batch->word < map->word_count);
    uint32_t shift = map->mark_shift;
    uint64_t seen = wr_add_seq(&map->words[batch->word],
        batch->mask); /* [slot] [sleep] [home] [mark] */
    if (shift != 0)
        wr_bitmap_mark(map, batch->word >> shift);
    hint->word = batch->word;
    hint->guess = 0;
    return (seen & batch->mask) == 0;
}

bool
wr_bitmap_has_free(const struct wr_bitmap *map)
{
    struct wr_bitmap_hint from_the_first = { 0 };
    return find_word(map, &from_the_first);
}

uint32_t
wr_bitmap_free_count(const struct wr_bitmap *map)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->word_count; i++)
        count +=
            wr_count_bits(wr_load_relaxed(&map->words[i])); /* a snapshot */
    return count;
}

bool
wr_bitmap_is_whole(const struct wr_bitmap *map, uint32_t *from)
{
    while (*from < map->word_count) {
        uint64_t seen = wr_load_seq(&map->words[*from]); /* [home] */
        if (seen != whole_word(map, *from))
            return false;
        (*from)++;
    }
    return true;
}

static bool
is_marked(const struct wr_bitmap *map, uint32_t word)
{
    uint32_t index = word >> map->mark_shift;
    if (map->mark_shift == 0)
        return true;
    uint64_t seen =
        wr_load_relaxed(&map->marks[index / WR_WORD_BITS]); /* it is quiet */
    return (seen >> index % WR_WORD_BITS & 1) != 0;
}

void
wr_bitmap_check(const struct wr_bitmap *map)
{
    for (uint32_t i = 0; i < map->word_count; i++) {
        uint64_t seen = wr_load_relaxed(&map->words[i]); /* it is quiet */
        WR_CHECK(
            (seen & ~whole_word(map, i)) == 0, "invariant 1 of bitmap broken");
        WR_CHECK(
            seen == 0 || is_marked(map, i), "invariant 5 of bitmap broken");
    }
}
