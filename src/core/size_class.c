/* SPDX-License-Identifier: MIT */
/*
 * size_class: the reciprocals of the classes, and why the arithmetic is exact.
 *
 *     class   0    1    2    3  |   4    5    6    7  |   8    9   10   11  | ...
 *     bytes  64  128  192  256  | 320  384  448  512  | 640  768  896 1024  | ...
 *                                 step 64               step 128
 *
 * Idea
 *   Four sizes to a doubling: a request wastes less than a fifth of its block,
 *   from 257 bytes on, and below that less than a unit, which is a cache line.
 *   Every power of two from 64 to 16 MiB is a class.
 *
 *   With n = (size - 1) / 64 the two bits below the highest one of n say which
 *   of the four it is, and the place of the highest bit says which four. The 4
 *   that is added as a bit makes the sizes up to 256 fall into the first step
 *   of 64 as well, without a branch.
 *
 *   A block is found from the address of a byte in it by a multiplication. Let
 *   d be the units of a class and r = (2^36 + e) / d its reciprocal, rounded up,
 *   with 0 <= e < d. For an offset of u = q * d + m units, m < d:
 *
 *     u * r / 2^36 = u / d + u * e / (d * 2^36) = q + (m + u * e / 2^36) / d
 *
 *   Since u < 2^18 and e < d <= 2^18, u * e / 2^36 is below 1; so m and what is
 *   added to it stay below d, and what is rounded down is q. 32 bits would not
 *   do: with 2^32 byte 163839 * 64 of a block of 10 MiB falls into the next one.
 *
 *   The smallest class that is a multiple of an alignment is the class of the
 *   size rounded up to the alignment, t. For let s be the step at that class. If
 *   s is a multiple of the alignment, so is the class. Else the alignment is a
 *   multiple of s, so t is one too, and the class is t itself. No smaller class
 *   would do: there is no multiple between the size and t.
 *
 * Costs
 *   class_of, units, index: some instructions without a branch. index reads 8
 *   bytes of the table: nine lines for all classes, seven for the small ones.
 *
 * Limits
 *   Blocks of 64 bytes to 16 MiB; a span of blocks end to end up to 16 MiB.
 */

#include "core/size_class.h"

#define INVERSE(units)                                                         \
    (((UINT64_C(1) << WR_CLASS_INVERSE_BITS) + (units)-1) / (units))

/* The four of a doubling. */
#define INVERSES(shift)                                                        \
    INVERSE(UINT64_C(5) << (shift)), INVERSE(UINT64_C(6) << (shift)),          \
        INVERSE(UINT64_C(7) << (shift)), INVERSE(UINT64_C(8) << (shift))

const uint64_t wr_class_inverse[WR_CLASS_COUNT] = { INVERSE(1), INVERSE(2),
    INVERSE(3), INVERSE(4),                               /* up to 256 bytes */
    INVERSES(0), INVERSES(1), INVERSES(2), INVERSES(3),   /* 4 KiB */
    INVERSES(4), INVERSES(5), INVERSES(6), INVERSES(7),   /* 64 KiB */
    INVERSES(8), INVERSES(9), INVERSES(10), INVERSES(11), /* 1 MiB */
    INVERSES(12), INVERSES(13), INVERSES(14), INVERSES(15) };

_Static_assert(
    (UINT64_C(8) << 15) * WR_CLASS_UNIT == WR_CLASS_SIZE_MAX, "the last class");
