/* SPDX-License-Identifier: MIT */
/*
 * fixed: equal slots over one bitmap.
 *
 *     offset 0            stride               2 * stride
 *     [ block_size ]......[ block_size ]......[ block_size ]
 *
 * Idea
 *   Slot i starts at i * stride. A stride that is a multiple of 4096 would put
 *   every start into the same set of a first-level cache (64 lines of 64 bytes
 *   each way), where servers write their headers; with some tens of blocks in
 *   use each first touch would then miss. So a stride that is large enough is
 *   made an odd number of `align`s, which walks through all sets. The layout
 *   hands out numbers and never touches the memory they stand for.
 *
 * Invariants
 *   1. stride >= block_size, and both are multiples of the alignment.
 *   2. The bitmap's.
 *
 * Costs
 *   The bitmap's. Spreading costs at most 1/16 of the memory.
 */

#include "fixed/fixed.h"

#include "base/bits.h"
#include "base/check.h"

enum { SPREAD_FROM = 16 }; /* aligns in a stride from which one more is cheap */

bool
wr_fixed_geometry(size_t block_size, size_t count, size_t align, bool spread,
    struct wr_fixed_geometry *geometry)
{
    WR_ASSERT(block_size > 0 && count > 0 && wr_is_power_of_two(align));

    struct wr_fixed_geometry made = { 0 };
    if (wr_round_up_overflows(block_size, align, &made.block_size) ||
        made.block_size > UINT32_MAX || count > UINT32_MAX - WR_WORD_BITS)
        return false;

    made.stride = made.block_size;
    size_t aligns = made.stride / align;
    if (spread && aligns >= SPREAD_FROM && aligns % 2 == 0)
        made.stride += align;
    made.slot_count = (uint32_t)count;
    if (wr_multiply_overflows(made.stride, count, &made.bytes))
        return false;
    *geometry = made;
    return true;
}

size_t
wr_fixed_meta_size(const struct wr_fixed_geometry *geometry)
{
    return wr_bitmap_meta_size(geometry->slot_count);
}

void
wr_fixed_init(struct wr_fixed *fixed, const struct wr_fixed_geometry *geometry,
    void *meta)
{
    WR_ASSERT(geometry->stride >= geometry->block_size);

    wr_bitmap_init(&fixed->map, geometry->slot_count, meta);
    fixed->stride = geometry->stride;
    fixed->block_size = geometry->block_size;
}

void
wr_fixed_fini(struct wr_fixed *fixed)
{
    wr_bitmap_fini(&fixed->map);
    fixed->stride = 0;
    fixed->block_size = 0;
}

uint64_t
wr_fixed_free_bytes(const struct wr_fixed *fixed)
{
    return (uint64_t)wr_bitmap_free_count(&fixed->map) * fixed->block_size;
}

void
wr_fixed_check(const struct wr_fixed *fixed)
{
    WR_CHECK(fixed->stride >= fixed->block_size, "invariant 1 of fixed broken");
    wr_bitmap_check(&fixed->map);
}
