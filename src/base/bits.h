/* SPDX-License-Identifier: MIT */
/* bits: words of 64 bits, and sizes that must not overflow. */
#ifndef WR_BITS_H
#define WR_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WR_WORD_BITS = 64, WR_LINE_SIZE = 64 };

_Static_assert(sizeof(size_t) == 8, "sizes of 32-bit counts must not overflow");

/* The index of the lowest set bit; `word` is not 0. */
static inline uint32_t
wr_lowest_bit(uint64_t word)
{
    return (uint32_t)__builtin_ctzll(word);
}

/* The index of the highest set bit; `word` is not 0. */
static inline uint32_t
wr_highest_bit(uint64_t word)
{
    return 63 ^ (uint32_t)__builtin_clzll(word);
}

/* How many bits are set one after the other, from the lowest that is; `word` is
   not 0. */
static inline uint32_t
wr_lowest_run(uint64_t word)
{
    if (word == UINT64_MAX)
        return WR_WORD_BITS;
    return wr_lowest_bit(~(word >> wr_lowest_bit(word)));
}

/* The lowest `most` of the bits that are set. */
static inline uint64_t
wr_lowest_bits(uint64_t word, uint32_t most)
{
    uint64_t rest = word;
    for (uint32_t i = 0; i < most && rest != 0; i++)
        rest &= rest - 1;
    return word & ~rest;
}

/* Sets bit `index` % 64; true if it was set. */
static inline bool
wr_set_bit(uint64_t *word, uint64_t index)
{
#ifdef __x86_64__
    bool was_set; /* compilers forget what the instruction tells */
    uint64_t bits = *word;
    __asm__("btsq %2, %0" : "+r"(bits), "=@ccc"(was_set) : "r"(index));
    *word = bits;
    return was_set;
#else
    uint64_t bit = UINT64_C(1) << index % WR_WORD_BITS;
    bool was_set = (*word & bit) != 0;
    *word |= bit;
    return was_set;
#endif
}

static inline uint32_t
wr_count_bits(uint64_t word)
{
    return (uint32_t)__builtin_popcountll(word);
}

/* The lowest `count` bits set, for 1 to 64. */
static inline uint64_t
wr_low_bits(uint32_t count)
{
    return UINT64_MAX >> (WR_WORD_BITS - count);
}

/* `number`, or whichever of the two bounds it lies beyond. */
static inline uint32_t
wr_clamp(size_t number, uint32_t least, uint32_t most)
{
    if (number < least)
        return least;
    return number < most ? (uint32_t)number : most;
}

static inline bool
wr_is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* True if the sum does not fit; else it is in `sum`. */
static inline bool
wr_add_overflows(size_t a, size_t b, size_t *sum)
{
    return __builtin_add_overflow(a, b, sum);
}

/* True if the product does not fit; else it is in `product`. */
static inline bool
wr_multiply_overflows(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}

/* `value` rounded up to a multiple of `align`, a power of two. True if that
   does not fit; else it is in `rounded`. */
static inline bool
wr_round_up_overflows(size_t value, size_t align, size_t *rounded)
{
    size_t sum;
    if (wr_add_overflows(value, align - 1, &sum))
        return true;
    *rounded = sum & ~(align - 1);
    return false;
}

/* Asks for a line that is soon to be written. Harmless for any address. Of the
   builtin the usual x86 would make a fetch for reading, and the line has to
   be asked for again; where it lacks the instruction it does nothing. */
static inline void
wr_prefetch_write(const void *address)
{
#ifdef __x86_64__
    __asm__ __volatile__("prefetchw (%0)" : : "r"(address));
#else
    __builtin_prefetch(address, 1);
#endif
}

#endif
