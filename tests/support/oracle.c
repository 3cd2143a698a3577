/* SPDX-License-Identifier: MIT */
/* oracle: the naive allocator, which knows what is out and is never wrong. */

#include "support/oracle.h"

#include <stdlib.h>

void
oracle_init(struct oracle *oracle, const struct iovec *memory, size_t capacity)
{
    *oracle = (struct oracle){
        .memory = *memory,
        .out = malloc(capacity * sizeof(*oracle->out)),
        .capacity = capacity,
    };
    if (oracle->out == NULL)
        abort();
}

static bool
is_inside(const struct iovec *memory, uintptr_t start, size_t size)
{
    uintptr_t first = (uintptr_t)memory->iov_base;
    return start >= first && size <= memory->iov_len &&
           start - first <= memory->iov_len - size;
}

bool
oracle_take(struct oracle *oracle, const void *start, size_t size)
{
    uintptr_t at = (uintptr_t)start;
    if (oracle->count == oracle->capacity ||
        !is_inside(&oracle->memory, at, size))
        return false;
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_block *other = &oracle->out[i];
        if (at < other->start + other->size && other->start < at + size)
            return false;
    }
    oracle->out[oracle->count++] = (struct oracle_block){ at, size };
    return true;
}

bool
oracle_give(struct oracle *oracle, const void *start)
{
    for (size_t i = 0; i < oracle->count; i++) {
        if (oracle->out[i].start != (uintptr_t)start)
            continue;
        oracle->out[i] = oracle->out[--oracle->count];
        return true;
    }
    return false;
}

void
oracle_fini(struct oracle *oracle)
{
    free(oracle->out);
    *oracle = (struct oracle){ 0 };
}
