/* SPDX-License-Identifier: MIT */
/*
 * books: what the library itself has out in the default heap. Leak checkers see
 * memory from malloc; this is for the rest.
 */
#ifndef SUPPORT_BOOKS_H
#define SUPPORT_BOOKS_H

#include "weir/heap.h"

#include <stddef.h>
#include <stdint.h>

/* Blocks of the default heap that are out. Exact while it is quiet. */
static inline uint64_t
books_blocks(void)
{
    struct weir_heap *heap = weir_heap_default();
    struct weir_heap_stats stats = { .large_live = 0 };
    if (heap != NULL)
        weir_heap_stats(heap, &stats);
    uint64_t count = stats.large_live;
    for (size_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        count += stats.classes[i].blocks_live;
    return count;
}

/* The bytes they hold. */
static inline uint64_t
books_bytes(void)
{
    struct weir_heap *heap = weir_heap_default();
    struct weir_heap_stats stats = { .large_live = 0 };
    if (heap != NULL)
        weir_heap_stats(heap, &stats);
    uint64_t bytes = stats.large_bytes;
    for (size_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        bytes += stats.classes[i].blocks_live * stats.classes[i].block_size;
    return bytes;
}

#endif
