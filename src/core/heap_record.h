/* SPDX-License-Identifier: MIT */
/* heap_record: what one thread keeps of one heap. */
#ifndef WR_HEAP_RECORD_H
#define WR_HEAP_RECORD_H

#include "core/heap_region.h"
#include "core/shelf.h"
#include "core/size_class.h"
#include "weir/heap.h"

#include <stdint.h>

/* Calls past its caches until a thread has them again, and of the central pool
   until it looks at the clock. */
enum { WR_HEAP_CREDIT = 2048, WR_HEAP_TICK = 256 };

/* The shelves behind those of classes are always full: a release comes to them whose
   block another release has taken home meanwhile. */
struct wr_heap_record {
    struct wr_shelf shelves[WR_ENTRY_KINDS - WR_ENTRY_SPAN]; /* by class */
    uint64_t serial;               /* of the heap; 0: none */
    struct wr_heap_region *region; /* where the thread released last */
    struct wr_shelf *shelf;        /* on which, */
    uint32_t entry;                /* and that of the page */
    uint32_t credit;     /* calls past the shelves until they are on */
    uint32_t until_tick; /* calls of the central pool */
    struct weir_heap *heap;
    struct wr_heap_record *next; /* in the heap's list */
    struct wr_heap_record *previous;
    struct wr_heap_record *next_mine; /* of the thread's, or spare */
    void *blocks[];                   /* the shelves' */
};

extern __thread __attribute__((
    tls_model("initial-exec"))) struct wr_heap_record *wr_heap_recent;

/* The calling thread's record for the heap. NULL: it can have none. */
struct wr_heap_record *wr_heap_record_of(struct weir_heap *heap);

/* The caches of a record are empty, and on or off. The heap's lock is held. */
void wr_heap_turn_on(
    const struct weir_heap *heap, struct wr_heap_record *record);

/* What all threads keep goes to the central pool; their caches are off. The heap's
   lock is held. */
void wr_heap_sweep(struct weir_heap *heap);

/* Only the calling thread is left: the others' records are to spare. Every lock is
   held. */
void wr_heap_forget_threads(struct weir_heap *heap);
void wr_heap_lock_spare(void);
void wr_heap_unlock_spare(void);

#endif
