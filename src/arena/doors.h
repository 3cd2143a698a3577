/* SPDX-License-Identifier: MIT */
/*
 * doors: every block leaves an arena through one function here, and returns
 * through one.
 *
 *     alloc, wait ──▶ wr_door_take ──▶ (cache, else bitmap) ──▶ a buf
 *     drop, release ──▶ wr_door_give ──▶ (cache, else bitmap) ──▶ who waits?
 *
 * Idea
 *   Taking takes the lowest slot of the top batch of the thread's cache; giving
 *   adds to it. When the top has the slot's word, as it nearly always has, that
 *   is all, and all that stands here, to be inlined where a call enters the
 *   library. Everything else is behind functions in rare.c, each the last thing
 *   that its caller does, so that the common paths save no registers. A cache that
 *   is on proves that the arena's state is 0 (caches.c), so nobody looks at that
 *   here.
 *
 *   A block that comes back from another thread has its first line in that one's
 *   cache. Blocks that went round in order leave in order again: so taking one asks
 *   for the line of the block four places on, if that is free and ours, and it
 *   is there when it is written.
 *
 * Edges
 *   [last]  give_weight of refbuf/refs.c, release  ->  wr_door_give, acquire
 *           What the owners of other handles read happens before the block goes
 *           home with the only one that is left.
 *
 * Costs
 *   No locked instruction and no line that another thread writes, but the slot's
 *   count where blocks go from thread to thread.
 *
 * Limits
 *   What is seen here of misuse: a slot out of range, data outside the slot, a
 *   block that is free. A stale handle of a block that was handed out again is
 *   not seen.
 */
#ifndef WR_DOORS_H
#define WR_DOORS_H

#include "arena/arena.h"
#include "arena/doors_buddy.h"

/* How many slots ahead a block is fetched to be written, while it is still free
   and ours: it was last read where it was released. */
enum { WR_AHEAD = 4 };

/* The handle of a slot that was just taken; `record` counts it. */
static inline void
wr_door_fill(const struct weir_arena *arena, struct wr_record *record,
    uint32_t slot, struct weir_buf *buf)
{
    _Atomic uint64_t *count = wr_arena_refs_at(arena, slot);
    if (wr_load_relaxed(count) != 0) /* who took it sees what its giver did */
        wr_arena_fail(arena, slot, "released twice, and out");
    wr_store_relaxed(count, WR_WEIGHT_WHOLE); /* nobody else has a handle */
    buf->data = arena->base + wr_fixed_offset(&arena->fixed, slot);
    buf->word = wr_word_pack(WR_WEIGHT_WHOLE, WR_BLOCK, 0);
    buf->owner = arena->owner | slot;
    buf->head = 0;
    buf->room = (uint32_t)arena->fixed.block_size;
    wr_record_count(record, WR_ALLOCS, 1);
}

/* How far from block `bit` of the top, its lowest, the one lies whose line is
   asked for: nowhere, if that is not on top. A branch would be guessed wrong
   where blocks come and go at random. */
static inline size_t
wr_door_ahead(const struct weir_arena *arena, uint64_t top, uint32_t bit)
{
    /* Beyond the last bit are those below the lowest, and not set. */
    uint64_t is_there = top >> (bit + WR_AHEAD) % WR_WORD_BITS & 1;
    return WR_AHEAD * arena->fixed.stride & -(size_t)is_there;
}

/* A buddy comes here always: it has no fixed blocks, and nothing on top. */
static inline enum weir_status
wr_door_take_otherwise(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    return arena->layout == WEIR_BUDDY
               ? wr_buddy_door_take(arena, size, barge, buf)
               : wr_arena_take_rarely(arena, size, barge, buf);
}

/* Fills `buf` with a block, whole and empty. Fails as weir_arena_alloc; `barge`
   overtakes waiters. */
static inline enum weir_status
wr_door_take(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    struct wr_record *record = wr_recent.record;
    if (wr_recent.arena != arena || size > arena->fixed.block_size)
        return wr_door_take_otherwise(arena, size, barge, buf);
    uint64_t top = wr_cache_top(&record->cache);
    if (top == 0)
        return wr_door_take_otherwise(arena, size, barge, buf);
    uint32_t bit = wr_lowest_bit(top);
    uint32_t slot = wr_cache_word(&record->cache) * WR_WORD_BITS + bit;
    wr_cache_set_top(&record->cache, top & (top - 1));
    if (!wr_gate_is_on(&record->cache.gate))
        return wr_arena_take_swept(arena, slot, size, barge, buf);
    wr_door_fill(arena, record, slot, buf);
    wr_prefetch_write(buf->data + wr_door_ahead(arena, top, bit));
    return WEIR_OK;
}

/* Slot and data belong together, and to this arena. */
static inline bool
wr_door_is_place(
    const struct weir_arena *arena, uint64_t slot, const uint8_t *data)
{
    uintptr_t start = (uintptr_t)arena->base + slot * arena->fixed.stride;
    return (uintptr_t)data - start <= arena->fixed.block_size;
}

/*
 * True if a block came home to the top of the cache: that of a handle with all
 * the weight `out`, if the count says that this is all, or of one that has
 * given its weight back, with 0. `data` is where the handle pointed. Nothing of
 * the arena is looked at once the block is on top. False: nothing happened.
 */
static inline bool
wr_door_give(uint64_t owner, const uint8_t *data, uint64_t out)
{
    struct wr_record *record = wr_recent.record;
    uint64_t slot = owner - wr_recent.owner; /* of another arena: too large */
    if (slot / WR_WORD_BITS != wr_cache_wide_word(&record->cache))
        return false;
    struct weir_arena *arena = wr_recent.arena;
    /* A word of the bitmap has 64 counts, also the last one. */
    _Atomic uint64_t *count = &arena->counts[slot];
    if (wr_load_acquire(count) != out || /* [last] */
        !wr_door_is_place(arena, slot, data))
        return false;
    uint64_t top = wr_cache_top(&record->cache);
    if (wr_set_bit(&top, slot))
        return false;
    wr_store_relaxed(count, 0); /* we are alone */
    wr_cache_set_top(&record->cache, top);
    if (!wr_gate_is_on(&record->cache.gate))
        wr_arena_give_swept((uint32_t)slot);
    else
        wr_record_count(record, WR_RELEASES, 1);
    return true;
}

/* The same for a handle with all the weight, of the recent arena, whose word is
   not on top. */
bool wr_arena_give_below(uint64_t owner, const uint8_t *data);

/* Counts the freeze of a handle that is not empty; false where that is not to be
   done here, but by wr_arena_count_freeze. */
static inline bool
wr_door_count_freeze(uint64_t word, uint64_t owner)
{
    struct wr_record *record = wr_recent.record;
    if (!wr_word_is_whole_bytes(word) ||
        owner - wr_recent.owner >= wr_recent.slot_count ||
        !wr_gate_is_on(&record->cache.gate))
        return false;
    wr_record_count(record, WR_FREEZES, 1);
    wr_record_count(record, WR_BYTES_FROZEN, wr_word_len(word));
    return true;
}

#endif
