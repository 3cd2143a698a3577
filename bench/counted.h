/* SPDX-License-Identifier: MIT */
/*
 * counted: malloc and a count, as one writes it by hand.
 *
 *     malloc ──▶ [ refs | size | 4096 bytes ]      a slice: data, len, owner
 *
 * What weir is compared with: the count lies in front of the bytes, a clone is
 * one locked add, a release one locked subtract, and the last one frees. The
 * allocator under it is reached through a pointer, which costs what a call
 * through the PLT costs.
 */
#ifndef BENCH_COUNTED_H
#define BENCH_COUNTED_H

#include "harness.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct counted {
    _Atomic size_t refs;
    size_t size;
    uint8_t data[];
};

struct counted_slice {
    const uint8_t *data;
    size_t len;
    struct counted *owner;
};

static inline struct counted *
counted_alloc(const struct bench_peer *peer, size_t size)
{
    struct counted *counted = peer->alloc(sizeof(*counted) + size);
    if (!counted)
        bench_fail("no memory");
    atomic_store_explicit(&counted->refs, 1, memory_order_relaxed);
    counted->size = size;
    return counted;
}

/* The slice takes over the reference that alloc made. */
static inline void
counted_freeze(struct counted *counted, size_t len, struct counted_slice *slice)
{
    slice->data = counted->data;
    slice->len = len;
    slice->owner = counted;
}

static inline void
counted_clone(const struct counted_slice *slice, struct counted_slice *copy)
{
    atomic_fetch_add_explicit(&slice->owner->refs, 1, memory_order_relaxed);
    *copy = *slice;
}

static inline void
counted_release(const struct bench_peer *peer, struct counted *counted)
{
    if (atomic_fetch_sub_explicit(&counted->refs, 1, memory_order_acq_rel) == 1)
        peer->release(counted);
}

#endif
