/* SPDX-License-Identifier: MIT */
/*
 * thread_cache: free blocks that one thread keeps at hand, and others can get.
 *
 *     top       [word 5 | 0110 ... ]  ◀─ alloc, release
 *     below[1]  [word 2 | 0001 ]
 *     below[0]  [word 9 | 1000 ]
 *
 * Idea
 *   A cache is a stack of batches. Alloc takes from the top one; a release of a
 *   block of the top's word adds to it. Both are one store to a line that only
 *   the owner writes, and then one load of the gate (core/cache_gate.c). What moves
 *   whole batches (another one comes to the top, a refill, a spill) takes several
 *   stores and is done between begin and end.
 *
 *   A release of a block of another word looks for its batch below, or makes it
 *   the new top: so the block released last is the one taken next, whatever
 *   its word, and blocks that come home in the order in which they left fill a
 *   whole word before they leave the cache, by one locked instruction for 64.
 *   When the stack is full the old top leaves, and so does one that is larger
 *   than the owner may keep below.
 *
 * Nobody hides a block
 *   A sweeper says in `stolen` what it found on top; by that the owner settles.
 *
 *   While a sweep ends, the owner may read the top and then find the word gone,
 *   and take a slot that makes no sense. Its top was read before the sweeper's,
 *   so the bit is in `stolen`, and the slot is not used.
 *
 *   A release may find its bit in `top` already: the cache was swept before,
 *   the block went out again through another thread and came to this one. Then
 *   the bit in `stolen` is that older one, and the owner puts the block into the
 *   bitmap. While the cache is on it is a block released twice.
 *
 * Invariants
 *   1. A free block is in the bitmap, or in one cache that is on, or in the
 *      hands of a call.
 *   2. `top`, `word`, `below` and `depth` are written by the owner alone; all but
 *      `top` only between begin and end, or when the cache is off and settled,
 *      or under the lock.
 *   3. `word` is WR_NO_WORD if and only if the cache holds no batch.
 *   4. Batches of a cache are of different words; those above `depth` are empty.
 *
 * Edges
 *   [sweep]  wr_cache_set_top, publish  ->  wr_cache_batch, observe
 *   [off]    wr_cache_turn_off  ->  `stolen` and `word`, for the owner
 *            Both as in core/cache_gate.c.
 *
 * Costs
 *   A hit: two loads, one store, no locked instruction, one line that nobody
 *   else writes. A batch that moves below or comes up: three more stores. Refill
 *   and spill: one locked instruction for up to 64 blocks.
 *
 * Limits
 *   512 blocks: 8 batches of 64; fewer as its limits say.
 */

#include "core/thread_cache.h"

#include "base/check.h"

void
wr_cache_init(struct wr_thread_cache *cache)
{
    wr_gate_init(&cache->gate);
    cache->stolen = 0;
    cache->batch_max = 1;
    cache->below_max = 0;
    cache->credit = 0;
    wr_cache_clear(cache);
}

void
wr_cache_clear(struct wr_thread_cache *cache)
{
    wr_store_relaxed(&cache->top, 0);           /* nobody sweeps it */
    wr_store_relaxed(&cache->word, WR_NO_WORD); /* nobody sweeps it */
    cache->depth = 0;
    for (uint32_t i = 0; i < WR_CACHE_DEPTH; i++)
        wr_store_relaxed(&cache->below[i], 0); /* nobody sweeps it */
}

/* ---- The owner --------------------------------------------------------- */

static void
set_top(struct wr_thread_cache *cache, uint32_t word, uint64_t mask)
{
    wr_store_relaxed(&cache->word, word); /* wr_gate_end orders it */
    wr_store_relaxed(&cache->top, mask);  /* wr_gate_end orders it */
}

/* Takes the lowest block of the top, which has one. */
static uint32_t
take_lowest(struct wr_thread_cache *cache)
{
    uint64_t top = wr_cache_top(cache);
    uint32_t word = wr_cache_word(cache);
    set_top(cache, word, top & (top - 1));
    return word * WR_WORD_BITS + wr_lowest_bit(top);
}

/* The batch below comes to the top. */
static bool
raise(struct wr_thread_cache *cache)
{
    if (cache->depth == 0)
        return false;
    uint32_t last = --cache->depth;
    _Atomic uint64_t *below = &cache->below[last];
    set_top(cache, cache->below_words[last],
        wr_load_relaxed(below)); /* only the owner writes it */
    wr_store_relaxed(below, 0);  /* wr_gate_end orders it */
    return true;
}

bool
wr_cache_take(struct wr_thread_cache *cache, uint32_t *slot)
{
    if (wr_cache_top(cache) == 0 && !raise(cache))
        return false;
    *slot = take_lowest(cache);
    return true;
}

void
wr_cache_fill(struct wr_thread_cache *cache, const struct wr_batch *batch)
{
    WR_ASSERT(wr_cache_top(cache) == 0 && cache->depth == 0);
    set_top(cache, batch->word, batch->mask);
}

/* The place of a word's batch below the top; `depth` if there is none. */
static uint32_t
find_below(const struct wr_thread_cache *cache, uint32_t word)
{
    uint32_t i = 0;
    while (i < cache->depth && cache->below_words[i] != word)
        i++;
    return i;
}

/* Too large to lie below. */
static bool
is_large(const struct wr_thread_cache *cache, uint64_t mask)
{
    return cache->below_max < WR_WORD_BITS &&
           wr_count_bits(mask) > cache->below_max;
}

/* Makes room on the top: the old one moves below, or out. */
static struct wr_batch
lower(struct wr_thread_cache *cache)
{
    struct wr_batch old = { wr_cache_top(cache), wr_cache_word(cache) };
    if (old.mask == 0 || cache->depth == WR_CACHE_DEPTH ||
        is_large(cache, old.mask))
        return old;
    uint32_t next = cache->depth++;
    cache->below_words[next] = old.word;
    wr_store_relaxed(&cache->below[next], old.mask); /* wr_gate_end orders it */
    return (struct wr_batch){ 0 };
}

bool
wr_cache_give(
    struct wr_thread_cache *cache, uint32_t slot, struct wr_batch *spilled)
{
    uint32_t word = slot / WR_WORD_BITS;
    uint64_t bit = UINT64_C(1) << slot % WR_WORD_BITS;
    uint64_t seen;
    uint32_t place;
    *spilled = (struct wr_batch){ 0 };
    if (word == wr_cache_word(cache)) {
        seen = wr_cache_top(cache);
        set_top(cache, word, seen | bit);
    } else if ((place = find_below(cache, word)) < cache->depth) {
        _Atomic uint64_t *below = &cache->below[place];
        seen = wr_load_relaxed(below);       /* only the owner writes it */
        wr_store_relaxed(below, seen | bit); /* wr_gate_end orders it */
    } else {
        seen = 0;
        *spilled = lower(cache);
        set_top(cache, word, bit);
    }
    return (seen & bit) == 0;
}

/* ---- The sweeper ------------------------------------------------------- */

struct wr_batch
wr_cache_batch(const struct wr_thread_cache *cache, uint32_t index)
{
    WR_ASSERT(index <= WR_CACHE_DEPTH);
    if (index == 0)
        return (struct wr_batch){ wr_observe(&cache->top), /* [sweep] */
            wr_cache_word(cache) };
    const _Atomic uint64_t *below = &cache->below[index - 1];
    return (struct wr_batch){ wr_load_relaxed(below), /* behind [busy] */
        cache->below_words[index - 1] };
}

void
wr_cache_turn_off(struct wr_thread_cache *cache, uint64_t top)
{
    cache->stolen = top;
    wr_store_relaxed(&cache->word, WR_NO_WORD); /* [off] orders it */
    wr_gate_turn_off(&cache->gate);
}

bool
wr_cache_was_stolen(const struct wr_thread_cache *cache, uint32_t slot)
{
    return (cache->stolen >> slot % WR_WORD_BITS & 1) != 0;
}

void
wr_cache_turn_on(
    struct wr_thread_cache *cache, uint32_t batch_max, uint32_t below_max)
{
    WR_ASSERT(batch_max <= WR_WORD_BITS && below_max <= WR_WORD_BITS);
    WR_ASSERT(wr_cache_word(cache) == WR_NO_WORD && wr_cache_top(cache) == 0);
    cache->batch_max = (uint8_t)batch_max;
    cache->below_max = (uint8_t)below_max;
    wr_gate_turn_on(&cache->gate);
}

uint32_t
wr_cache_count(const struct wr_thread_cache *cache)
{
    if (!wr_gate_is_on(&cache->gate))
        return 0;
    uint32_t count = wr_count_bits(wr_cache_top(cache));
    for (uint32_t i = 0; i < WR_CACHE_DEPTH; i++)
        count +=
            wr_count_bits(wr_load_relaxed(&cache->below[i])); /* a snapshot */
    return count;
}
