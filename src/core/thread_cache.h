/* SPDX-License-Identifier: MIT */
/*
 * thread_cache: free blocks that one thread keeps at hand.
 *
 * A batch is a word of a bitmap and a mask of blocks in it. What fills a cache,
 * and where its batches go, is the business of whoever embeds one: a cache
 * knows batches and nothing else.
 */
#ifndef WR_THREAD_CACHE_H
#define WR_THREAD_CACHE_H

#include "base/atomic.h"
#include "base/bitmap.h"
#include "base/bits.h"
#include "core/cache_gate.h"

#include <stdbool.h>
#include <stdint.h>

enum { WR_CACHE_DEPTH = 7 };

#define WR_NO_WORD UINT32_MAX

struct wr_thread_cache {
    _Atomic uint64_t top;  /* blocks of `word`; the common paths use these */
    _Atomic uint32_t word; /* WR_NO_WORD: holds nothing, or was swept */
    struct wr_gate gate;   /* how others get what is here */
    uint8_t depth;         /* how many batches lie below the top */
    uint8_t below_max;     /* blocks of one that may lie there: 0 to 64 */
    uint8_t batch_max;     /* blocks to refill with: 1 to 64 */
    uint64_t stolen;       /* what a sweep found in `top` */
    uint32_t credit;       /* direct takes until it may be on again */
    _Atomic uint64_t below[WR_CACHE_DEPTH];
    uint32_t below_words[WR_CACHE_DEPTH];
};

/* Empty, and off. */
#define WR_CACHE_EMPTY                                                         \
    {                                                                          \
        .word = WR_NO_WORD, .batch_max = 1                                     \
    }
void wr_cache_init(struct wr_thread_cache *cache);

/* ---- The common paths: the owner ---- */

/* What the owner sees on top. */
static inline uint64_t
wr_cache_top(const struct wr_thread_cache *cache)
{
    return wr_load_relaxed(&cache->top); /* only the owner writes it */
}

/* The word of the top. A sweep makes it WR_NO_WORD. */
static inline uint32_t
wr_cache_word(const struct wr_thread_cache *cache)
{
    return wr_load_relaxed(&cache->word); /* [sweep] decides */
}

/* The same for comparing with any number of 64 bits: WR_NO_WORD is one that no
   word's number is, however far off. */
static inline uint64_t
wr_cache_wide_word(const struct wr_thread_cache *cache)
{
    return (uint64_t)(int64_t)(int32_t)wr_cache_word(cache);
}

/* Half an operation: the new top. wr_gate_is_on is the other half. */
static inline void
wr_cache_set_top(struct wr_thread_cache *cache, uint64_t top)
{
    wr_publish(&cache->top, top); /* [sweep] */
}

/* ---- The owner, for more than the top ---- */

/* Takes a block out, from whatever batch; between begin and end. */
bool wr_cache_take(struct wr_thread_cache *cache, uint32_t *slot);

/* Makes `batch` the top of a cache that is empty; between begin and end. */
void wr_cache_fill(struct wr_thread_cache *cache, const struct wr_batch *batch);

/*
 * Puts a block in; between begin and end. What there was no room for is in
 * `spilled`, with an empty mask if there was room for all. False: the block was
 * in already.
 */
bool wr_cache_give(
    struct wr_thread_cache *cache, uint32_t slot, struct wr_batch *spilled);

/* Empties a cache that is off and whose sweep is over, or whose lock is held. */
void wr_cache_clear(struct wr_thread_cache *cache);

/* ---- Whoever holds the lock ---- */

/* Batch `index` of a cache, 0 to WR_CACHE_DEPTH; its mask may be empty. Of one
   that is stopped and waited for, or by its owner. */
struct wr_batch wr_cache_batch(
    const struct wr_thread_cache *cache, uint32_t index);

/* Ends the sweep: `top` is what the sweeper took from the top. */
void wr_cache_turn_off(struct wr_thread_cache *cache, uint64_t top);

/* After the sweep, for its owner: the block, one of the top's word, was on top
   then. */
bool wr_cache_was_stolen(const struct wr_thread_cache *cache, uint32_t slot);

/* Turns a cleared cache on, with these limits. By its owner. */
void wr_cache_turn_on(
    struct wr_thread_cache *cache, uint32_t batch_max, uint32_t below_max);

/* How many blocks are in it, about; 0 if it is off. */
uint32_t wr_cache_count(const struct wr_thread_cache *cache);

#endif
