/* SPDX-License-Identifier: MIT */
#include "fixed/fixed.h"

#include "support/unit.h"

#include <criterion/parameterized.h>
#include <signal.h>

static struct wr_fixed_geometry
geometry_of(size_t block_size, size_t count, size_t align, bool spread)
{
    struct wr_fixed_geometry geometry = { 0 };
    cr_assert(wr_fixed_geometry(block_size, count, align, spread, &geometry));
    return geometry;
}

static void
expect_refused(size_t block_size, size_t count, size_t align, bool spread)
{
    struct wr_fixed_geometry geometry = { 1, 2, 3, 4 };

    cr_assert(
        not(wr_fixed_geometry(block_size, count, align, spread, &geometry)));

    cr_assert(eq(sz, geometry.block_size, 1));
    cr_assert(eq(sz, geometry.stride, 2));
    cr_assert(eq(sz, geometry.bytes, 3));
    cr_assert(eq(u32, geometry.slot_count, 4));
}

Test(fixed, a_block_is_rounded_up_to_the_alignment)
{
    struct wr_fixed_geometry one = geometry_of(1, 10, 64, false);
    struct wr_fixed_geometry exact = geometry_of(64, 10, 64, false);
    struct wr_fixed_geometry more = geometry_of(65, 10, 64, false);
    struct wr_fixed_geometry bytes = geometry_of(7, 10, 1, false);

    cr_assert(eq(sz, one.block_size, 64));
    cr_assert(eq(sz, one.bytes, 640));
    cr_assert(eq(u32, one.slot_count, 10));
    cr_assert(eq(sz, exact.block_size, 64));
    cr_assert(eq(sz, more.block_size, 128));
    cr_assert(eq(sz, more.stride, 128));
    cr_assert(eq(sz, bytes.block_size, 7));
    cr_assert(eq(sz, bytes.bytes, 70));
}

Test(fixed, the_largest_block_has_32_bits)
{
    struct wr_fixed_geometry geometry = geometry_of(UINT32_MAX, 1, 1, false);

    cr_assert(eq(sz, geometry.block_size, UINT32_MAX));
    expect_refused((size_t)UINT32_MAX + 1, 1, 1, false);
    expect_refused(UINT32_MAX, 1, 64, false);
    cr_assert(eq(sz, geometry_of(UINT32_MAX - 63, 1, 64, false).block_size,
        UINT32_MAX - 63));
}

Test(fixed, the_most_blocks_are_2_to_the_32_less_64)
{
    struct wr_fixed_geometry geometry =
        geometry_of(64, UINT32_MAX - 64, 64, false);

    cr_assert(eq(u32, geometry.slot_count, UINT32_MAX - 64));
    expect_refused(64, UINT32_MAX - 63, 64, false);
    expect_refused(64, (size_t)UINT32_MAX + 2, 64, false);
    expect_refused(64, SIZE_MAX, 64, false);
}

Test(fixed, the_largest_of_all_does_not_overflow)
{
    struct wr_fixed_geometry geometry =
        geometry_of(UINT32_MAX - 127, UINT32_MAX - 64, 64, true);

    cr_assert(eq(sz, geometry.bytes / geometry.stride, geometry.slot_count));
    cr_assert(eq(sz, geometry.bytes % geometry.stride, 0));
}

Test(fixed, a_size_that_rounds_past_the_largest_is_refused)
{
    expect_refused(SIZE_MAX, 1, 64, false);
    expect_refused(SIZE_MAX - 62, 1, 64, true);
    expect_refused(((size_t)1 << 63) + 1, 1, 4096, false);
    expect_refused(SIZE_MAX, SIZE_MAX, (size_t)2 << 20, true);
}

struct spread {
    size_t block_size;
    size_t align;
    size_t stride;
};

ParameterizedTestParameters(fixed, starts_are_spread_where_it_is_cheap)
{
    static struct spread spreads[] = {
        { 64, 64, 64 },
        { 512, 64, 512 },
        { 960, 64, 960 },
        { 1024, 64, 1088 },
        { 1088, 64, 1088 },
        { 2048, 64, 2112 },
        { 4096, 64, 4160 },
        { 65536, 64, 65600 },
        { 4096, 256, 4352 },
        { 2048, 256, 2048 },
        { 65536, 2048, 67584 },
        { 100, 1, 101 },
    };
    return cr_make_param_array(
        struct spread, spreads, sizeof spreads / sizeof spreads[0]);
}

ParameterizedTest(
    struct spread *spread, fixed, starts_are_spread_where_it_is_cheap)
{
    struct wr_fixed_geometry with =
        geometry_of(spread->block_size, 100, spread->align, true);
    struct wr_fixed_geometry without =
        geometry_of(spread->block_size, 100, spread->align, false);

    cr_assert(eq(sz, with.stride, spread->stride));
    cr_assert(eq(sz, with.block_size, spread->block_size));
    cr_assert(eq(sz, with.stride % spread->align, 0));
    cr_assert(le(sz, with.bytes - without.bytes, without.bytes / 16));
    cr_assert(eq(sz, without.stride, spread->block_size));
}

Test(fixed, spread_starts_fall_into_every_cache_set)
{
    static _Atomic uint64_t meta[1];
    struct wr_fixed fixed;
    struct wr_fixed_geometry geometry = geometry_of(4096, 64, 64, true);
    wr_fixed_init(&fixed, &geometry, meta);

    uint64_t sets = 0;
    for (uint32_t i = 0; i < 64; i++)
        sets |= UINT64_C(1) << wr_fixed_offset(&fixed, i) / 64 % 64;

    cr_assert(eq(u64, sets, UINT64_MAX));
}

Test(fixed, slots_beyond_4_gib_have_their_offset)
{
    static _Atomic uint64_t meta[1024];
    struct wr_fixed fixed;
    struct wr_fixed_geometry geometry =
        geometry_of((size_t)1 << 31, 65536, 4096, false);
    cr_assert(le(sz, wr_fixed_meta_size(&geometry), sizeof meta));
    wr_fixed_init(&fixed, &geometry, meta);

    cr_assert(eq(sz, wr_fixed_offset(&fixed, 0), 0));
    cr_assert(eq(sz, wr_fixed_offset(&fixed, 65535), (size_t)65535 << 31));
    cr_assert(eq(u64, wr_fixed_free_bytes(&fixed), UINT64_C(1) << 47));
}

Test(fixed, free_bytes_follow_what_is_taken_and_given)
{
    static _Atomic uint64_t meta[2];
    struct wr_fixed fixed;
    struct wr_bitmap_hint hint = { 0 };
    struct wr_fixed_geometry geometry = geometry_of(100, 65, 4, true);
    cr_assert(eq(sz, wr_fixed_meta_size(&geometry), sizeof meta));
    wr_fixed_init(&fixed, &geometry, meta);

    uint32_t slot;
    for (uint32_t i = 0; i < 65; i++) {
        cr_assert(eq(u64, wr_fixed_free_bytes(&fixed), (65 - i) * 100));
        cr_assert(wr_fixed_take(&fixed, &hint, &slot));
    }
    cr_assert(not(wr_fixed_take(&fixed, &hint, &slot)));
    cr_assert(eq(u64, wr_fixed_free_bytes(&fixed), 0));
    cr_assert(wr_fixed_give(&fixed, &hint, 64));
    cr_assert(eq(u64, wr_fixed_free_bytes(&fixed), 100));
    wr_fixed_check(&fixed);
    cr_assert(not(wr_fixed_give(&fixed, &hint, 64)));
}

Test(misuse, fixed_slots_that_overlap_abort, .signal = SIGABRT)
{
    static _Atomic uint64_t meta[1];
    struct wr_fixed fixed;
    struct wr_fixed_geometry geometry = geometry_of(128, 64, 64, false);
    wr_fixed_init(&fixed, &geometry, meta);
    expect_misuse("weir: invariant 1 of fixed broken");
    wr_fixed_check(&fixed);

    fixed.stride = 64;
    wr_fixed_check(&fixed);
}

#ifndef NDEBUG
Test(misuse, the_offset_of_a_slot_past_the_end_aborts, .signal = SIGABRT)
{
    static _Atomic uint64_t meta[1];
    struct wr_fixed fixed;
    struct wr_fixed_geometry geometry = geometry_of(128, 63, 64, false);
    wr_fixed_init(&fixed, &geometry, meta);
    expect_misuse("weir: assertion failed: slot < fixed->map.slot_count");

    (void)wr_fixed_offset(&fixed, 63);
}

Test(misuse, a_geometry_without_blocks_aborts, .signal = SIGABRT)
{
    struct wr_fixed_geometry geometry;
    expect_misuse("weir: assertion failed: block_size > 0*");

    (void)wr_fixed_geometry(64, 0, 64, false, &geometry);
}
#endif
