/* SPDX-License-Identifier: MIT */
/*
 * oracle: the naive allocator, which knows what is out and is never wrong.
 *
 * It keeps a list and walks all of it, so that there is nothing in it that
 * could share a mistake with what it judges. One thread at a time.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct oracle_block {
    uintptr_t start;
    size_t size;
};

struct oracle {
    struct iovec memory; /* blocks lie inside */
    struct oracle_block *out;
    size_t count;
    size_t capacity;
};

/* Nothing is out; no more than `capacity` blocks ever will be. */
void oracle_init(
    struct oracle *oracle, const struct iovec *memory, size_t capacity);

/* A block leaves. False: it is not all inside, overlaps one that is out, or is
   one too many. */
bool oracle_take(struct oracle *oracle, const void *start, size_t size);

/* A block comes back. False: none that starts there is out. */
bool oracle_give(struct oracle *oracle, const void *start);

void oracle_fini(struct oracle *oracle);

#endif
