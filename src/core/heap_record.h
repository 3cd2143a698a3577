/* SPDX-License-Identifier: MIT */
/* heap_record: what one thread keeps of one heap. */
#ifndef WR_HEAP_RECORD_H
#define WR_HEAP_RECORD_H

#include "core/size_class.h"
#include "core/thread_cache.h"
#include "weir/heap.h"

#include <stdint.h>

struct wr_heap_region;

/* Calls past its caches until a thread has them again, and of the central pool
   until it looks at the clock. */
enum { WR_HEAP_CREDIT = 2048, WR_HEAP_TICK = 256 };

/* One thread's blocks of one class. What the common paths use is one line. */
struct wr_shelf {
    _Alignas(WR_LINE_SIZE) uint8_t *base; /* where the blocks of the top lie */
    _Atomic uint32_t *sizes; /* and what was asked for; NULL: there is no top */
    uint64_t inverse;        /* see core/size_class.h */
    uint8_t *last;           /* the block that came to the top last, */
    uint32_t last_bit;       /* and its bit; WR_WORD_BITS: none since */
    uint32_t units;          /* of WR_CLASS_UNIT bytes, in a block */
    uint32_t mask;           /* one less than the blocks that share a word */
    struct wr_thread_cache cache;
    uint32_t shift; /* 2^this blocks share a word */
};

struct wr_heap_record {
    struct weir_heap *heap;
    struct wr_heap_region *region; /* where the thread released last */
    uint64_t serial;               /* of the heap; 0: none */
    uint32_t credit;               /* calls past the caches until they are on */
    uint32_t until_tick;           /* calls of the central pool */
    struct wr_heap_record *next;   /* in the heap's list */
    struct wr_heap_record *previous;
    struct wr_heap_record *next_mine; /* of the thread's, or spare */
    struct wr_shelf shelves[WR_CLASS_SMALL_COUNT];
};

extern __thread __attribute__((
    tls_model("initial-exec"))) struct wr_heap_record *wr_heap_recent;

/* The calling thread's record for the heap. NULL: it can have none. */
struct wr_heap_record *wr_heap_record_of(struct weir_heap *heap);

/* The caches of a record are empty, and on or off. The heap's lock is held. */
void wr_heap_turn_on(
    const struct weir_heap *heap, struct wr_heap_record *record);

/* Empties it; by its owner, or while nobody sweeps. */
void wr_heap_clear_shelf(struct wr_shelf *shelf);

/* What all threads keep goes to the central pool; their caches are off. The heap's
   lock is held. */
void wr_heap_sweep(struct weir_heap *heap);

/* Only the calling thread is left: the others' records are to spare. Every lock is
   held. */
void wr_heap_forget_threads(struct weir_heap *heap);
void wr_heap_lock_spare(void);
void wr_heap_unlock_spare(void);

/* Where a slot of a class lies, and its size's place. */
void *wr_heap_block(const struct weir_heap *heap, uint32_t class, uint32_t slot,
    _Atomic uint32_t **asked);

#endif
