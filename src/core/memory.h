/* SPDX-License-Identifier: MIT */
/*
 * memory: spilled blocks and the library's own books, from the default heap.
 *
 * Arenas, records and their tables, what is spilled, the control blocks of foreign
 * slices, the arrays of long chains. The heap's own books are mapped
 * (platform/pages.h), so nothing of this is needed to make one.
 */
#ifndef WR_MEMORY_H
#define WR_MEMORY_H

#include "weir/weir.h"

#include <stddef.h>

/* `size` bytes aligned to a cache line, not cleared. NULL: no memory, and errno
   says why. */
void *wr_memory_alloc(size_t size);

/* The same, cleared. */
void *wr_memory_alloc_zeroed(size_t size);

/* Gives it back. NULL is fine. Aborts if it is not out, in a line about `what`:
   a caller's handle may have led here twice. */
void wr_memory_release(void *memory, const char *what);

/* WEIR_OK: it is out. Else as weir_heap_release; what lies in memory that was
   released may be read. */
enum weir_status wr_memory_state(const void *memory);

#endif
