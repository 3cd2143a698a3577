/* SPDX-License-Identifier: MIT */
/*
 * size_class: sizes of blocks, of which the heap cuts the first 52.
 *
 *     units        1  2  3  4 | 5  6  7  8 | 10 12 14 16 | 20 24 28 32 | ...
 *     class        0  1  2  3 | 4  5  6  7 |  8  9 10 11 | 12 13 14 15 | ...
 *
 * Why the numbers are what they are stands in size_class.c.
 */
#ifndef WR_SIZE_CLASS_H
#define WR_SIZE_CLASS_H

#include "base/bits.h"
#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WR_CLASS_UNIT = 64, /* bytes; every block is a multiple */
    WR_CLASS_COUNT = 68,
    WR_CLASS_SMALL_COUNT = 52, /* these are cached by threads */
    WR_CLASS_SMALL_MAX = 1 << 20,
    WR_CLASS_SIZE_MAX = 16 << 20,
    WR_CLASS_ALIGN_MAX = 64 << 10,
    WR_CLASS_SPAN_UNITS = 1 << 18, /* that wr_class_index can divide */
    WR_CLASS_INVERSE_BITS = 36
};

/* 2^36 divided by the units of each class, rounded up. */
extern const uint64_t wr_class_inverse[WR_CLASS_COUNT];

/* The smallest class whose blocks hold `size` bytes, 1 to 16 MiB. */
static inline uint32_t
wr_class_of(size_t size)
{
    WR_ASSERT(size >= 1 && size <= WR_CLASS_SIZE_MAX);
    uint64_t n = (size - 1) / WR_CLASS_UNIT;
    uint32_t shift = wr_highest_bit(n | 4) - 2;
    return (shift << 2) + (uint32_t)(n >> shift);
}

/* How many units a block of the class has. */
static inline uint32_t
wr_class_units(uint32_t class)
{
    WR_ASSERT(class < WR_CLASS_COUNT);
    uint32_t doubles = class >> 2;
    uint32_t above = doubles != 0; /* the first four start at 1, not at 5 */
    return ((class & 3) + 1 + 4 * above) << (doubles - above);
}

/* The same in bytes. */
static inline size_t
wr_class_size(uint32_t class)
{
    return (size_t)wr_class_units(class) * WR_CLASS_UNIT;
}

/* Which block lies `units` units behind the start of the first, below 2^18,
   where blocks of the class lie end to end. */
static inline uint32_t
wr_class_index(uint32_t class, uint32_t units)
{
    WR_ASSERT(class < WR_CLASS_COUNT && units < WR_CLASS_SPAN_UNITS);
    return (uint32_t)(units * wr_class_inverse[class] >> WR_CLASS_INVERSE_BITS);
}

/*
 * The smallest class whose blocks hold `size` bytes, at least 1, and are
 * multiples of `align`, a power of two up to 64 KiB. False: there is none, since
 * `size` is above 16 MiB.
 */
static inline bool
wr_class_aligned(size_t size, size_t align, uint32_t *class)
{
    WR_ASSERT(wr_is_power_of_two(align) && align <= WR_CLASS_ALIGN_MAX);
    size_t rounded;
    if (wr_round_up_overflows(size, align, &rounded) ||
        rounded > WR_CLASS_SIZE_MAX)
        return false;
    *class = wr_class_of(rounded);
    return true;
}

#endif
