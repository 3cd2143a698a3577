/* SPDX-License-Identifier: MIT */
#ifndef WR_FIXED_H
#define WR_FIXED_H

#include "base/bitmap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Equal slots, each `block_size` bytes at a multiple of `stride`. */
struct wr_fixed {
    size_t stride;
    size_t block_size;
    struct wr_bitmap map;
};

/* How the slots lie. */
struct wr_fixed_geometry {
    size_t block_size; /* rounded up to the alignment */
    size_t stride;     /* from one start to the next */
    size_t bytes;      /* from the first start to the last end */
    uint32_t slot_count;
};

/*
 * Lays out `count` slots of `block_size` bytes, both above 0, with starts at
 * multiples of `align`, a power of two, and spread over the cache sets if
 * `spread`. False: a number overflows.
 */
bool wr_fixed_geometry(size_t block_size, size_t count, size_t align,
    bool spread, struct wr_fixed_geometry *geometry);

/* How many bytes the books take. */
size_t wr_fixed_meta_size(const struct wr_fixed_geometry *geometry);

/* Makes all slots free. `meta` as in wr_bitmap_init. */
void wr_fixed_init(struct wr_fixed *fixed,
    const struct wr_fixed_geometry *geometry, void *meta);

/* The books go: there are no slots any more. As wr_bitmap_fini. */
void wr_fixed_fini(struct wr_fixed *fixed);

/* Takes one slot; as wr_bitmap_take. */
static inline bool
wr_fixed_take(
    struct wr_fixed *fixed, struct wr_bitmap_hint *hint, uint32_t *slot)
{
    return wr_bitmap_take(&fixed->map, hint, slot);
}

/* The same under the one lock for it; as wr_bitmap_take_locked. */
static inline bool
wr_fixed_take_locked(
    struct wr_fixed *fixed, struct wr_bitmap_hint *hint, uint32_t *slot)
{
    return wr_bitmap_take_locked(&fixed->map, hint, slot);
}

/* Gives one back; false if it was free. As wr_bitmap_give. */
static inline bool
wr_fixed_give(
    struct wr_fixed *fixed, struct wr_bitmap_hint *hint, uint32_t slot)
{
    return wr_bitmap_give(&fixed->map, hint, slot);
}

/* Where a slot starts, in bytes from the first. */
static inline size_t
wr_fixed_offset(const struct wr_fixed *fixed, uint32_t slot)
{
    WR_ASSERT(slot < fixed->map.slot_count);
    return slot * fixed->stride;
}

/* How many bytes are free, about. */
uint64_t wr_fixed_free_bytes(const struct wr_fixed *fixed);

/* Aborts if an invariant is broken. Only while no other thread calls. */
void wr_fixed_check(const struct wr_fixed *fixed);

#endif
