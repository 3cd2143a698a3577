/* SPDX-License-Identifier: MIT */
/*
 * arena: what the files of this folder share, and the two doors.
 *
 * Above this floor nobody looks into struct weir_arena; below it nobody knows
 * it. A block is known by the `kind` and `owner` of its handle.
 */
#ifndef WR_ARENA_H
#define WR_ARENA_H

#include "arena/record.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/handle.h"
#include "buddy/buddy.h"
#include "fixed/fixed.h"
#include "platform/pages.h"
#include "platform/thread.h"
#include "weir/weir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WR_ARENAS_MAX = UINT16_MAX };

/* Bits of weir_arena.state. */
enum wr_state {
    WR_CLOSED = 1 << 0,    /* allocs and waits fail */
    WR_WAITING = 1 << 1,   /* the queue of waiters is not empty */
    WR_DESTROYED = 1 << 2, /* unmap when the last block is home */
    WR_SEARCHING = 1 << 3, /* somebody wants to know that no slot is free */
    WR_DRY = 1 << 4,       /* and found that none was, and none came home */
    WR_HURRY = 1 << 5,     /* and has searched often: allocs wait for it */
    WR_DRY_SHIFT = 8,
    WR_DRY_ORDER = 31 << WR_DRY_SHIFT, /* with WR_DRY: from this order on */
    WR_SEARCHED = WR_SEARCHING | WR_DRY | WR_DRY_ORDER,
    /* What a releaser cares for. */
    WR_ATTENTION = WR_WAITING | WR_DESTROYED | WR_SEARCHING | WR_DRY
};

/*
 * The control part. It lies outside the arena's mappings and is never freed,
 * only used again, so that a releaser may touch it after its block went home.
 */
struct weir_arena {
    /* Written at creation, read by every call; but for the state and, at the end
       of `fixed`, the marks of the bitmap. */
    uint8_t *base;
    _Atomic uint64_t *counts; /* of each slot or leaf; see base/handle.h */
    uint64_t serial;          /* no two arenas have the same; 0: unused */
    uint64_t owner;           /* of a handle of slot 0 */
    uint32_t id;              /* index in the directory */
    _Atomic uint32_t state;   /* enum wr_state */
    /* The layouts; the one that is not used has no slots. No union: a late step of a
       release still sets marks in `fixed`, whatever is there by then. */
    struct wr_fixed fixed;
    enum weir_layout layout;
    bool room_as_asked; /* a flag that allocs look at */
    size_t block_max;   /* bytes of the largest block */
    struct wr_buddy buddy;

    /* Under the mutex, or written at creation. */
    struct wr_mutex mutex;
    enum weir_caching caching;
    uint32_t drought_length; /* slots past a cache before it is on again */
    uint32_t caches_on;      /* records whose cache is on */
    uint64_t sweeps;         /* times that all were emptied */
    struct wr_record shared; /* of threads without one */
    struct wr_shelves shared_shelves; /* the same, of a buddy */
    struct wr_record *records;        /* of all other threads */
    uint32_t record_count;
    uint32_t record_ordinal; /* how many there ever were */
    uint64_t retired[WR_COUNTERS];
    uint64_t retired_buddy[WR_BUDDY_COUNTERS];
    struct weir_waiter *first_waiter;
    struct weir_waiter *last_waiter;
    uint64_t waiting;
    uint32_t blocks_out_peak;
    uint32_t whole_words; /* how far the destroyed arena was found whole */
    unsigned flags;
    struct wr_region region; /* zeroed in memory of the caller's */
    struct wr_region books;
    weir_unmapped_fn *on_unmapped;
    void *user;
    char name[WEIR_NAME_SIZE];

    /* Spilled blocks; see spill.c. */
    size_t spill_bytes_max;
    _Atomic size_t spilled_bytes;
    _Atomic uint64_t spilled_blocks;

    struct weir_arena *next_unused; /* in the directory */
};

/* ---- The directory of control parts (directory.c) ---- */

extern _Atomic(struct weir_arena *) wr_directory[WR_ARENAS_MAX + 1];

/* The arena a handle's owner word names. Aborts if there never was one. */
static inline struct weir_arena *
wr_directory_at(uint32_t id)
{
    WR_ASSERT(id <= WR_ARENAS_MAX);
    struct weir_arena *arena = wr_load_acquire(&wr_directory[id]); /* [entry] */
    WR_CHECK(arena != NULL, "a handle that names no arena");
    return arena;
}

/* It is one of the control parts; NULL is none. Walks them. */
bool wr_directory_has(const struct weir_arena *arena);

/* An unused control part, its mutex made and held; NULL: errno says why. */
struct weir_arena *wr_directory_take(void);

/* Makes one unused. The mutex is not held. */
void wr_directory_give(struct weir_arena *arena);

/* Keeps parts from being made, and calls `each` for all there are; let_go ends
   it. For fork.c. */
void wr_directory_hold(void (*each)(struct weir_arena *));
void wr_directory_let_go(void (*each)(struct weir_arena *));

/* Has fork keep arenas sound. No lock is held. False: no memory; errno says
   why. */
bool wr_fork_prepare(void);

/* ---- Behind the two doors of doors.h (rare.c) ---- */

/* The rest of wr_door_take, and giving a block whose count is 0 whichever way
   there is. */
enum weir_status wr_arena_take_rarely(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf);
void wr_arena_give_rarely(
    struct weir_arena *arena, uint64_t owner, const uint8_t *data);

/* The same from where the cache was found not to be on, behind its half of the
   operation; wr_recent's arena and record. */
enum weir_status wr_arena_take_swept(struct weir_arena *arena, uint32_t slot,
    size_t size, bool barge, struct weir_buf *buf);
void wr_arena_give_swept(uint32_t slot);

/* The same of a buddy, for the shelf of the block's order. */
enum weir_status wr_arena_take_swept_buddy(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf);
bool wr_arena_give_swept_buddy(uint64_t owner); /* true */

/* Takes a block with the mutex held, for whoever is first in the queue. */
bool wr_arena_take_locked(
    struct weir_arena *arena, size_t size, struct weir_buf *buf);

/* Attends to the arena if its state asks for it: what everybody does who gave
   something back. The arena may be gone by then; its control part is not. */
void wr_arena_look_around(struct weir_arena *arena);

/* The same behind a take or give of a buddy with this hint, which may be between two
   levels and settles before it waits for the mutex: who holds that may wait for it. */
void wr_arena_look_around_buddy(
    struct weir_arena *arena, struct wr_buddy_hint *hint);

/* The block of a BLOCK or SPILLED handle with all the weight goes home. */
void wr_arena_give(uint64_t word, uint64_t owner, const uint8_t *data);

/* Aborts: `what` was done to a block. */
_Noreturn void wr_arena_fail(
    const struct weir_arena *arena, uint32_t slot, const char *what);

/* The arena of a BLOCK or SPILLED handle. */
struct weir_arena *wr_arena_of(uint64_t word, uint64_t owner);

/* The count of a BLOCK or SPILLED handle. */
_Atomic uint64_t *wr_arena_refs(uint64_t word, uint64_t owner);

/* How many slots or leaves there are; 0 of a dead arena. */
static inline uint32_t
wr_arena_slot_count(const struct weir_arena *arena)
{
    return arena->layout == WEIR_FIXED ? arena->fixed.map.slot_count
                                       : arena->buddy.geometry.leaf_count;
}

/* The block of a handle whose owner word names this arena could be one. */
static inline bool
wr_arena_has_block(
    const struct weir_arena *arena, uint64_t word, uint64_t owner)
{
    bool is_buddy = arena->layout == WEIR_BUDDY;
    uint32_t order_max =
        arena->layout == WEIR_FIXED ? 0 : arena->buddy.geometry.order_max;
    return is_buddy == (wr_word_kind(word) == WR_BUDDY) &&
           wr_owner_slot(owner) < wr_arena_slot_count(arena) &&
           wr_owner_order(owner) <= order_max;
}

/* The order of a block of `size` bytes, which is at most block_max. */
static inline uint32_t
wr_arena_order(const struct weir_arena *arena, size_t size)
{
    return arena->layout == WEIR_FIXED ? 0
                                       : wr_buddy_order(&arena->buddy, size);
}

/* How many bytes a block of an order holds. */
static inline size_t
wr_arena_block_size(const struct weir_arena *arena, uint32_t order)
{
    return arena->layout == WEIR_FIXED
               ? arena->fixed.block_size
               : wr_buddy_block_size(&arena->buddy, order);
}

/* True if the slot or leaf was free, and in no cache, while this call ran. */
static inline bool
wr_arena_is_free(const struct weir_arena *arena, uint32_t slot)
{
    return arena->layout == WEIR_FIXED
               ? wr_bitmap_is_free(&arena->fixed.map, slot)
               : wr_buddy_is_free(&arena->buddy, slot);
}

/* How many bytes are free, and in no cache, about. Walks them. */
static inline uint64_t
wr_arena_free_bytes(const struct weir_arena *arena)
{
    return arena->layout == WEIR_FIXED ? wr_fixed_free_bytes(&arena->fixed)
                                       : wr_buddy_free_bytes(&arena->buddy);
}

/* Where a block starts. */
static inline uint8_t *
wr_arena_start(const struct weir_arena *arena, uint32_t slot)
{
    size_t offset = arena->layout == WEIR_FIXED
                        ? wr_fixed_offset(&arena->fixed, slot)
                        : wr_buddy_offset(&arena->buddy, slot);
    return arena->base + offset;
}

/* The count of a block below the slot count. */
static inline _Atomic uint64_t *
wr_arena_refs_at(const struct weir_arena *arena, uint32_t slot)
{
    WR_ASSERT(slot < wr_arena_slot_count(arena));
    return &arena->counts[slot];
}

/* Where the block of a BLOCK or SPILLED handle starts, and its size. */
uint8_t *wr_arena_block(uint64_t word, uint64_t owner, size_t *size);

/*
 * Gives back what the block of a sole BUDDY handle has behind the handle's bytes, by
 * halves, and changes its owner word; returns how many bytes.
 */
size_t wr_arena_trim(uint64_t *owner, const uint8_t *data, size_t len);

/* Counts for the calling thread. */
void wr_arena_count(
    struct weir_arena *arena, enum wr_counter counter, uint64_t n);

/* Counts the freeze of a handle that is not empty. */
void wr_arena_count_freeze(uint64_t word, uint64_t owner);

/* ---- Its life (arena.c) ---- */

/* Ends what the state says of a search, and returns what it said: what a releaser
   does that found it not to be 0. */
uint32_t wr_arena_end_search(struct weir_arena *arena);

/* Serves waiters and, when the arena is destroyed and whole, unmaps it: what it does
   then, if the state said that there is something of that to do. Takes the mutex. */
void wr_arena_attend(struct weir_arena *arena, uint32_t said);

/* ---- Waiters (waiters.c) ---- */

/* Where a waiter is. */
enum wr_waiter_state {
    WR_WAITER_IDLE = 0,
    WR_WAITER_QUEUED, /* in the arena's queue; under the arena's mutex */
    WR_WAITER_TOLD,   /* in the bell's list; under the bell's lock */
    WR_WAITER_RUNNING /* `granted` was begun */
};

/*
 * Where a waiter is. Changed under the lock that the state names; read without
 * it, to learn whether there is a lock to take: a bell may have ended once its
 * waiters ran. Then the lock decides.
 */
static inline enum wr_waiter_state
wr_waiter_state(struct weir_waiter *waiter)
{
    _Atomic uint32_t *state = (_Atomic uint32_t *)(void *)&waiter->state;
    return (enum wr_waiter_state)wr_load_relaxed(state); /* the lock decides */
}

static inline void
wr_waiter_set_state(struct weir_waiter *waiter, enum wr_waiter_state is)
{
    _Atomic uint32_t *state = (_Atomic uint32_t *)(void *)&waiter->state;
    wr_store_relaxed(state, (uint32_t)is); /* the lock orders it */
}

/* Hands free blocks to waiters, first come, first served. The mutex is held. */
void wr_waiters_serve(struct weir_arena *arena);

/* Tells every waiter that the arena is closed. The mutex is held. */
void wr_waiters_close(struct weir_arena *arena);

/* Empties the queue and tells nobody. The mutex is held. */
void wr_waiters_forget(struct weir_arena *arena);

/* ---- The bell of a waiter (bell.c) ---- */

/* Queues a served waiter for its bell's drain and rings. The mutex of its
   arena is held. */
void wr_bell_tell(struct weir_waiter *waiter, enum weir_status status);

/* Makes a told waiter idle again, before its drain; returns what it was. */
enum wr_waiter_state wr_bell_untell(struct weir_waiter *waiter);

#endif
