/* SPDX-License-Identifier: MIT */
/* central_pool: spans of equal blocks, a lock for each class. */
#ifndef WR_CENTRAL_POOL_H
#define WR_CENTRAL_POOL_H

#include "base/bits.h"
#include "platform/thread.h"
#include "weir/heap.h"

#include <stdbool.h>
#include <stdint.h>

/* Equal blocks in pages that follow one another. Under the lock of the class. */
struct wr_span {
    uint32_t next; /* of its class, with free blocks: page numbers; 0: none */
    uint32_t previous;
    uint32_t class;
    uint32_t count; /* blocks */
    uint32_t free;  /* those in its words */
    uint32_t hint;  /* there is none in the words before */
    uint32_t pages;
};

/* Blocks of a class that are in no thread's hands: in spans that have some. */
struct wr_central {
    _Alignas(WR_LINE_SIZE) struct wr_mutex lock;
    uint32_t first;  /* a span with free blocks; 0: none */
    uint32_t whole;  /* of those, how many have all */
    uint64_t blocks; /* of all spans */
    uint64_t free;   /* in their words */
};

/* Takes up to `most` blocks, and returns how many. 0: there are none, and no pages
   for a span. */
uint32_t wr_central_take(
    struct weir_heap *heap, uint32_t class, uint32_t most, void **blocks);

/* Takes `count` blocks in, which are on no shelf. */
void wr_central_give(struct weir_heap *heap, uint32_t class,
    void *const *blocks, uint32_t count);

/* Takes the locks of all classes, in order. */
void wr_central_lock(struct weir_heap *heap);
void wr_central_unlock(struct weir_heap *heap);

/* Gives the pages of all spans back that are whole. The locks are held. */
void wr_central_trim(struct weir_heap *heap);

/* How many pages a span of a class has at least. */
uint32_t wr_central_least_pages(uint32_t class);

#endif
