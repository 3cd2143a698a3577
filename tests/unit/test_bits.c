/* SPDX-License-Identifier: MIT */
#include "base/bits.h"

#include "support/unit.h"

Test(bits, the_lowest_set_bit_is_found_at_every_place)
{
    for (uint32_t i = 0; i < WR_WORD_BITS; i++) {
        uint64_t alone = UINT64_C(1) << i;
        uint64_t with_all_above = UINT64_MAX << i;

        cr_assert(eq(u32, wr_lowest_bit(alone), i));
        cr_assert(eq(u32, wr_lowest_bit(with_all_above), i));
    }
}

Test(bits, set_bits_are_counted)
{
    cr_assert(eq(u32, wr_count_bits(0), 0));
    cr_assert(eq(u32, wr_count_bits(UINT64_MAX), 64));
    cr_assert(eq(u32, wr_count_bits(UINT64_C(0x8000000000000001)), 2));
    cr_assert(eq(u32, wr_count_bits(UINT64_C(0x5555555555555555)), 32));
}

Test(bits, low_bits_are_as_many_as_asked_for)
{
    for (uint32_t count = 1; count <= WR_WORD_BITS; count++) {
        uint64_t word = wr_low_bits(count);

        cr_assert(eq(u32, wr_count_bits(word), count));
        cr_assert(eq(u32, wr_lowest_bit(word), 0));
        cr_assert(eq(u64, word & (word + 1), 0));
    }
}

Test(bits, powers_of_two_are_told_from_other_numbers)
{
    cr_assert(not(wr_is_power_of_two(0)));
    cr_assert(not(wr_is_power_of_two(3)));
    cr_assert(not(wr_is_power_of_two(SIZE_MAX)));
    for (unsigned i = 0; i < 64; i++) {
        size_t power = (size_t)1 << i;
        cr_assert(wr_is_power_of_two(power));
        cr_assert(eq(int, wr_is_power_of_two(power + 1), power == 1));
    }
}

Test(bits, a_sum_that_does_not_fit_is_reported)
{
    size_t sum;

    cr_assert(not(wr_add_overflows(SIZE_MAX - 1, 1, &sum)));
    cr_assert(eq(sz, sum, SIZE_MAX));
    cr_assert(wr_add_overflows(SIZE_MAX, 1, &sum));
    cr_assert(wr_add_overflows(SIZE_MAX, SIZE_MAX, &sum));
}

Test(bits, a_product_that_does_not_fit_is_reported)
{
    size_t product;

    cr_assert(not(wr_multiply_overflows(SIZE_MAX, 0, &product)));
    cr_assert(eq(sz, product, 0));
    cr_assert(not(wr_multiply_overflows(SIZE_MAX / 2, 2, &product)));
    cr_assert(eq(sz, product, SIZE_MAX - 1));
    cr_assert(wr_multiply_overflows(SIZE_MAX / 2 + 1, 2, &product));
    cr_assert(wr_multiply_overflows(SIZE_MAX, SIZE_MAX, &product));
}

Test(bits, rounding_up_gives_the_next_multiple)
{
    size_t rounded = 1;

    cr_assert(not(wr_round_up_overflows(0, 64, &rounded)));
    cr_assert(eq(sz, rounded, 0));
    cr_assert(not(wr_round_up_overflows(1, 64, &rounded)));
    cr_assert(eq(sz, rounded, 64));
    cr_assert(not(wr_round_up_overflows(64, 64, &rounded)));
    cr_assert(eq(sz, rounded, 64));
    cr_assert(not(wr_round_up_overflows(65, 64, &rounded)));
    cr_assert(eq(sz, rounded, 128));
    cr_assert(not(wr_round_up_overflows(7, 1, &rounded)));
    cr_assert(eq(sz, rounded, 7));
}

Test(bits, highest_bit_is_the_last_that_is_set)
{
    for (uint32_t i = 0; i < 64; i++) {
        cr_assert(eq(u32, wr_highest_bit(UINT64_C(1) << i), i));
        cr_assert(eq(u32, wr_highest_bit(wr_low_bits(i + 1)), i));
    }
}

Test(bits, lowest_run_ends_at_the_first_gap)
{
    cr_assert(eq(u32, wr_lowest_run(UINT64_MAX), 64));
    cr_assert(eq(u32, wr_lowest_run(1), 1));
    cr_assert(eq(u32, wr_lowest_run(0xb7), 3));
    cr_assert(eq(u32, wr_lowest_run(0xf0), 4));
    cr_assert(eq(u32, wr_lowest_run(UINT64_C(7) << 61), 3));
    cr_assert(eq(u32, wr_lowest_run(UINT64_C(1) << 63), 1));
    cr_assert(eq(u32, wr_lowest_run(UINT64_MAX << 1), 63));
}

Test(bits, set_bit_tells_what_was_there)
{
    uint64_t word = 4;
    cr_assert(wr_set_bit(&word, 2));
    cr_assert(eq(u64, word, 4));
    cr_assert(not(wr_set_bit(&word, 0)));
    cr_assert(not(wr_set_bit(&word, 64 + 63)));
    cr_assert(eq(u64, word, UINT64_C(1) << 63 | 5));
    cr_assert(wr_set_bit(&word, 63));
}

Test(bits, rounding_up_past_the_largest_size_is_reported)
{
    size_t rounded = 5;

    cr_assert(not(wr_round_up_overflows(SIZE_MAX - 63, 64, &rounded)));
    cr_assert(eq(sz, rounded, SIZE_MAX - 63));
    cr_assert(wr_round_up_overflows(SIZE_MAX - 62, 64, &rounded));
    cr_assert(wr_round_up_overflows(SIZE_MAX, 64, &rounded));
    cr_assert(wr_round_up_overflows(SIZE_MAX, (size_t)1 << 63, &rounded));
    cr_assert(eq(sz, rounded, SIZE_MAX - 63));
}
