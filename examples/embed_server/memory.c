/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

void *
memory_zeroed(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        (void)fputs("embed_server: out of memory\n", stderr);
        abort();
    }
    return memory;
}
