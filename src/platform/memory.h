/* SPDX-License-Identifier: MIT */
/*
 * memory: the heap behind spilled blocks and the library's own books.
 *
 * The one seam to libc's allocator; nothing else in the library calls it.
 */
#ifndef WR_MEMORY_H
#define WR_MEMORY_H

#include <stddef.h>

/* `size` bytes aligned to a cache line, not cleared. NULL: no memory, and
   errno is ENOMEM. */
void *wr_memory_alloc(size_t size);

/* The same, cleared. */
void *wr_memory_alloc_zeroed(size_t size);

/* Gives it back. NULL is fine. */
void wr_memory_release(void *memory);

#endif
