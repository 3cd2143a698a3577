/* SPDX-License-Identifier: MIT */
#ifndef WR_BITMAP_H
#define WR_BITMAP_H

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WR_MARK_WORDS = 16 };

struct wr_bitmap {
    _Atomic uint64_t *words; /* dense: one bit a slot, set when free */
    uint32_t word_count;
    uint32_t slot_count;
    uint32_t mark_shift; /* 2^this words have a mark; 0: there are few words */
    _Atomic uint64_t marks[WR_MARK_WORDS];
};

/*
 * Where a thread looks first: a word, and which of its slots it believes to be
 * free; and the words from `home` on, when it wants a whole one. Belongs to one
 * thread. Zeroed, it starts at the first word and believes nothing.
 */
struct wr_bitmap_hint {
    uint64_t guess;
    uint32_t word;
    uint32_t home; /* with WR_AWAY while there is nothing to be had there */
};

#define WR_AWAY (UINT32_C(1) << 31)

/* Slots of one word. */
struct wr_batch {
    uint64_t mask;
    uint32_t word;
};

/* How many bytes the books of `slot_count` slots take. */
size_t wr_bitmap_meta_size(uint32_t slot_count);

/*
 * Makes all slots free; 1 to 2^32 - 65 of them. `meta` is memory of
 * wr_bitmap_meta_size bytes, aligned to a word; the caller keeps it until every
 * slot is home, and `map` for ever: the last steps of a give still set a mark
 * there, if it is another's map by then too, where one too many does no harm.
 */
void wr_bitmap_init(struct wr_bitmap *map, uint32_t slot_count, void *meta);

/* There are no slots any more. Gives that are about to return may still set
   marks. */
void wr_bitmap_fini(struct wr_bitmap *map);

/* The part of take that searches: where the guess is used up or was wrong. */
bool wr_bitmap_search(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t *slot);

/* Takes the lowest slot the hint believes in; forgets all at the first
   disappointment. The guess is not 0. */
static inline bool
wr_bitmap_take_guess(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t *slot)
{
    uint64_t guess = hint->guess;
    uint32_t word = hint->word;
    uint32_t index = wr_lowest_bit(guess);
    bool was_free = wr_clear_bit_acquire(&map->words[word], index); /* [slot] */
    hint->guess = was_free ? guess & (guess - 1) : 0;
    *slot = word * WR_WORD_BITS + index;
    WR_ASSERT(*slot < map->slot_count);
    return was_free;
}

/*
 * Takes a free slot, searching from the hint on. Any number of threads. False
 * when no free slot was met; see "Limits" in bitmap.c.
 */
static inline bool
wr_bitmap_take(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t *slot)
{
    WR_ASSERT(hint->word < map->word_count);
    if (hint->guess != 0 && wr_bitmap_take_guess(map, hint, slot))
        return true;
    return wr_bitmap_search(map, hint, slot);
}

/* The same for the one thread that may, by a lock of the caller's. It takes the
   marks of words without a free slot away, so that the next search passes over
   them. */
bool wr_bitmap_take_locked(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t *slot);

/* There may be free slots where mark `index` stands. Behind the addition; nothing
   of the map but its marks is looked at. */
void wr_bitmap_mark(struct wr_bitmap *map, uint32_t index);

/*
 * Gives back a slot that was taken, by any thread, which will look there first.
 * False if it was free: then the word is corrupt, and the caller must stop.
 * Adding a bit that is known to be 0 sets it and tells what was there, in one
 * instruction everywhere.
 */
static inline bool
wr_bitmap_give(
    struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t slot)
{
    WR_ASSERT(slot < map->slot_count);
    uint32_t word = slot / WR_WORD_BITS;
    uint64_t bit = UINT64_C(1) << slot % WR_WORD_BITS;
    uint32_t shift = map->mark_shift;
    uint64_t seen =
        wr_add_seq(&map->words[word], bit); /* [slot] [sleep] [home] [mark] */
    if (shift != 0)
        wr_bitmap_mark(map, word >> shift);
    uint64_t others = hint->word == word ? hint->guess : 0;
    hint->word = word;
    hint->guess = others | bit;
    return (seen & bit) == 0;
}

/*
 * Takes up to `most` free slots of one word, 1 to 64, searching from the hint's
 * word on; for 64 of them at home first. As wr_bitmap_take otherwise.
 */
bool wr_bitmap_take_batch(struct wr_bitmap *map, struct wr_bitmap_hint *hint,
    uint32_t most, struct wr_batch *batch);

/* Gives the slots of a batch back, as wr_bitmap_give. */
bool wr_bitmap_give_batch(struct wr_bitmap *map, struct wr_bitmap_hint *hint,
    const struct wr_batch *batch);

/* True if the slot was free while this call ran. */
static inline bool
wr_bitmap_is_free(const struct wr_bitmap *map, uint32_t slot)
{
    WR_ASSERT(slot < map->slot_count);
    uint64_t seen = wr_load_relaxed(
        &map->words[slot / WR_WORD_BITS]); /* who holds it sees it clear */
    return (seen >> slot % WR_WORD_BITS & 1) != 0;
}

/* Has every word searched again: after threads went without a trace (fork). */
void wr_bitmap_mark_all(struct wr_bitmap *map);

/* True if a free slot was met. */
bool wr_bitmap_has_free(const struct wr_bitmap *map);

/* How many slots were free, word by word, while this call ran. */
uint32_t wr_bitmap_free_count(const struct wr_bitmap *map);

/*
 * True if all slots are free, while no thread takes any. Starts at word
 * `*from`, 0 at first, and remembers there how far it came, so that asking
 * after every give costs one pass in all.
 */
bool wr_bitmap_is_whole(const struct wr_bitmap *map, uint32_t *from);

/* Aborts if an invariant is broken. Only while no other thread calls. */
void wr_bitmap_check(const struct wr_bitmap *map);

#endif
