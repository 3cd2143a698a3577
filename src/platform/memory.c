/* SPDX-License-Identifier: MIT */
/* memory: the heap behind spilled blocks and the library's own books. */

#include "platform/memory.h"

#include "base/bits.h"
#include "base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *
wr_memory_alloc(size_t size)
{
    WR_ASSERT(size > 0);
    void *memory = NULL;
    int failed = posix_memalign(&memory, WR_LINE_SIZE, size);
    if (failed != 0) {
        errno = failed;
        return NULL;
    }
    return memory;
}

void *
wr_memory_alloc_zeroed(size_t size)
{
    void *memory = wr_memory_alloc(size);
    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

void
wr_memory_release(void *memory)
{
    free(memory);
}
