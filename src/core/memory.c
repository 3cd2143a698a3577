/* SPDX-License-Identifier: MIT */
/*
 * memory: spilled blocks and the library's own books, from the default heap.
 *
 * Idea
 *   A handle of spilled or foreign memory holds the address of its control block,
 *   and copies of handles may outlive it. The heap knows which blocks are out
 *   without looking into them, and never unmaps a region of the default heap. So
 *   before such an address is trusted the heap is asked, and who comes with one
 *   that was released is told, in one line.
 *
 * Costs
 *   Those of the heap: a store and a load where the thread has a block at hand. To
 *   ask: three loads.
 *
 * Limits
 *   An address that was released and is out again, as something else, is out. Of
 *   two releases that race, the second is told as in core/heap.c.
 */

#include "core/memory.h"

#include "core/heap.h"

#include "base/check.h"

#include <stdio.h>

void *
wr_memory_alloc(size_t size)
{
    WR_ASSERT(size > 0);
    return weir_alloc(size);
}

void *
wr_memory_alloc_zeroed(size_t size)
{
    WR_ASSERT(size > 0);
    struct weir_heap *heap = wr_heap_default();
    void *memory;
    if (heap == NULL)
        return NULL;
    enum weir_status status = weir_heap_alloc_zeroed(heap, size, &memory);
    return status == WEIR_OK ? memory : wr_heap_alloc_failed(status);
}

_Noreturn static void
fail(enum weir_status status, const char *what)
{
    char line[128];
    (void)snprintf(line, sizeof line, "%s was released %s", what,
        status == WEIR_FOREIGN ? "that is not there" : "twice");
    wr_fail(line, NULL, WR_NO_BLOCK);
}

void
wr_memory_release(void *memory, const char *what)
{
    if (memory == NULL)
        return;
    enum weir_status status = weir_release(memory);
    if (status != WEIR_OK)
        fail(status, what);
}

enum weir_status
wr_memory_state(const void *memory)
{
    struct weir_heap *heap = wr_heap_default();
    struct wr_place place;
    return heap == NULL ? WEIR_FOREIGN : wr_heap_find(heap, memory, &place);
}
