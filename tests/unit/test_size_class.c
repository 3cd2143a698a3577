/* SPDX-License-Identifier: MIT */
#include "core/size_class.h"

#include "support/unit.h"

#include <signal.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

Test(size_class, powers_of_two_are_classes)
{
    for (size_t size = 64; size <= 16 * MIB; size *= 2)
        cr_assert(eq(sz, wr_class_size(wr_class_of(size)), size));
    cr_assert(eq(u32, wr_class_of(64), 0));
    cr_assert(eq(u32, wr_class_of(256), 3));
    cr_assert(eq(u32, wr_class_of(4 * KIB), 19));
    cr_assert(eq(u32, wr_class_of(256 * KIB), 43));
    cr_assert(eq(u32, wr_class_of(MIB), WR_CLASS_SMALL_COUNT - 1));
    cr_assert(eq(u32, wr_class_of(16 * MIB), WR_CLASS_COUNT - 1));
}

Test(size_class, there_are_four_to_a_doubling)
{
    static const size_t sizes[] = { 64, 128, 192, 256, 320, 384, 448, 512, 640,
        768, 896, 1024, 1280, 1536, 1792, 2048 };

    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        cr_assert(eq(sz, wr_class_size(i), sizes[i]));
    for (uint32_t i = 4; i + 4 < WR_CLASS_COUNT; i++)
        cr_assert(eq(sz, wr_class_size(i + 4), 2 * wr_class_size(i)));
}

Test(size_class, known_sizes_have_known_classes)
{
    cr_assert(eq(sz, wr_class_size(wr_class_of(1)), 64));
    cr_assert(eq(sz, wr_class_size(wr_class_of(65)), 128));
    cr_assert(eq(sz, wr_class_size(wr_class_of(257)), 320));
    cr_assert(eq(sz, wr_class_size(wr_class_of(6144)), 6144));
    cr_assert(eq(sz, wr_class_size(wr_class_of(6145)), 7168));
    cr_assert(eq(sz, wr_class_size(wr_class_of(70000)), 80 * KIB));
    cr_assert(eq(sz, wr_class_size(wr_class_of(MIB + 1)), MIB + MIB / 4));
}

Test(size_class, every_size_has_the_smallest_class_that_holds_it)
{
    size_t wrong = 0;
    size_t below = 0; /* the size of the class before */
    uint32_t class = 0;
    for (size_t size = 1; size <= WR_CLASS_SIZE_MAX; size++) {
        if (size > wr_class_size(class))
            below = wr_class_size(class ++);
        if (wr_class_of(size) != class || size <= below)
            wrong = size;
    }

    cr_assert(eq(sz, wrong, 0));
    cr_assert(eq(u32, class, WR_CLASS_COUNT - 1));
}

Test(size_class, no_size_above_192_wastes_a_quarter)
{
    size_t wrong = 0;
    for (size_t size = 193; size <= WR_CLASS_SIZE_MAX; size++) {
        size_t block = wr_class_size(wr_class_of(size));
        if (4 * (block - size) >= block)
            wrong = size;
    }

    cr_assert(eq(sz, wrong, 0));
}

Test(size_class, no_size_above_256_wastes_a_fifth)
{
    size_t wrong = 0;
    for (size_t size = 257; size <= WR_CLASS_SIZE_MAX; size++) {
        size_t block = wr_class_size(wr_class_of(size));
        if (5 * (block - size) >= block)
            wrong = size;
    }

    cr_assert(eq(sz, wrong, 0));
}

Test(size_class, the_index_of_a_block_is_what_division_says)
{
    uint32_t wrong = 0;
    for (uint32_t class = 0; class < WR_CLASS_COUNT; class ++) {
        uint32_t d = wr_class_units(class);
        for (uint32_t units = 0; units < WR_CLASS_SPAN_UNITS; units++)
            wrong += wr_class_index(class, units) != units / d;
    }

    cr_assert(eq(u32, wrong, 0));
}

Test(size_class, an_inverse_is_rounded_up)
{
    for (uint32_t class = 0; class < WR_CLASS_COUNT; class ++) {
        uint64_t d = wr_class_units(class);
        uint64_t more = wr_class_inverse[class] * d - (UINT64_C(1) << 36);

        cr_assert(lt(u64, more, d));
    }
}

/* The smallest class that will do, by looking at all. */
static uint32_t
search_aligned(size_t size, size_t align)
{
    uint32_t class = 0;
    while (wr_class_size(class) < size || wr_class_size(class) % align != 0)
        class ++;
    return class;
}

Test(size_class, an_aligned_class_is_the_smallest_that_is_a_multiple)
{
    size_t wrong = 0;
    for (size_t align = 1; align <= WR_CLASS_ALIGN_MAX; align *= 2)
        for (uint32_t i = 0; i < WR_CLASS_COUNT; i++)
            for (size_t size = wr_class_size(i) - 1;
                 size <= wr_class_size(i) + 1 && size <= WR_CLASS_SIZE_MAX;
                 size++) {
                uint32_t class = UINT32_MAX;
                bool found = wr_class_aligned(size, align, &class);
                wrong += !found || class != search_aligned(size, align);
            }

    cr_assert(eq(sz, wrong, 0));
}

Test(size_class, known_alignments_have_known_classes)
{
    uint32_t class;

    cr_assert(wr_class_aligned(1, 1, &class));
    cr_assert(eq(sz, wr_class_size(class), 64));
    cr_assert(wr_class_aligned(100, 4096, &class));
    cr_assert(eq(sz, wr_class_size(class), 4096));
    cr_assert(wr_class_aligned(320, 128, &class));
    cr_assert(eq(sz, wr_class_size(class), 384));
    cr_assert(wr_class_aligned(4097, 4096, &class));
    cr_assert(eq(sz, wr_class_size(class), 8192));
    cr_assert(wr_class_aligned(MIB + 1, 64 * KIB, &class));
    cr_assert(eq(sz, wr_class_size(class), MIB + MIB / 4));
    cr_assert(wr_class_aligned(16 * MIB, 64 * KIB, &class));
    cr_assert(eq(sz, wr_class_size(class), 16 * MIB));
}

Test(size_class, above_16_mib_there_is_no_class)
{
    uint32_t class = 7;

    cr_assert(not(wr_class_aligned(16 * MIB + 1, 1, &class)));
    cr_assert(not(wr_class_aligned(16 * MIB + 1, 64 * KIB, &class)));
    cr_assert(not(wr_class_aligned(SIZE_MAX, 1, &class)));
    cr_assert(not(wr_class_aligned(SIZE_MAX, 64 * KIB, &class)));
    cr_assert(not(wr_class_aligned(SIZE_MAX / 2, 64 * KIB, &class)));
    cr_assert(eq(u32, class, 7));
}

#ifndef NDEBUG
Test(misuse, the_class_of_no_byte_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: size >= 1*");

    (void)wr_class_of(0);
}

Test(misuse, the_class_of_too_many_bytes_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: size >= 1*");

    (void)wr_class_of(WR_CLASS_SIZE_MAX + 1);
}

Test(misuse, the_units_of_a_class_past_the_last_abort, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: class < WR_CLASS_COUNT");

    (void)wr_class_units(WR_CLASS_COUNT);
}

Test(misuse, an_offset_past_the_largest_span_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: class < WR_CLASS_COUNT && units*");

    (void)wr_class_index(0, WR_CLASS_SPAN_UNITS);
}

Test(misuse, an_alignment_that_is_no_power_of_two_aborts, .signal = SIGABRT)
{
    uint32_t class;
    expect_misuse("weir: assertion failed: wr_is_power_of_two(align)*");

    (void)wr_class_aligned(64, 96, &class);
}
#endif
