/* SPDX-License-Identifier: MIT */
#include "buddy/words.h"

#include "support/prng.h"
#include "support/unit.h"

#include <signal.h>

enum { WORDS = 4000 };

/* ---- The same, bit by bit ---------------------------------------------- */

static bool
naive_is_run(uint64_t word, uint32_t start, uint32_t order)
{
    for (uint32_t i = 0; i < UINT32_C(1) << order; i++)
        if ((word >> (start + i) & 1) == 0)
            return false;
    return true;
}

static uint64_t
naive_runs(uint64_t word, uint32_t order)
{
    uint64_t runs = 0;
    for (uint32_t at = 0; at < WR_WORD_BITS; at += UINT32_C(1) << order)
        if (naive_is_run(word, at, order))
            runs |= UINT64_C(1) << at;
    return runs;
}

static uint32_t
naive_around(uint64_t word, uint32_t at)
{
    uint32_t order = 0;
    while (order < WR_RUN_MAX &&
           naive_is_run(word, at >> (order + 1) << (order + 1), order + 1))
        order++;
    return order;
}

static uint32_t
naive_fit(uint64_t word)
{
    uint32_t fit = WR_RUN_MAX + 1;
    while (fit > 0 && naive_runs(word, fit - 1) == 0)
        fit--;
    return fit;
}

static uint64_t
naive_alone(uint64_t word, uint32_t order)
{
    uint64_t alone = 0;
    for (uint32_t at = 0; at < WR_WORD_BITS; at++)
        if ((naive_runs(word, order) >> at & 1) != 0 &&
            naive_around(word, at) == order)
            alone |= UINT64_C(1) << at;
    return alone;
}

static uint64_t
naive_fill(uint64_t starts, uint32_t order)
{
    uint64_t bits = 0;
    for (uint32_t at = 0; at < WR_WORD_BITS; at++)
        if ((starts >> at & 1) != 0)
            for (uint32_t i = 0; i < UINT32_C(1) << order; i++)
                bits |= UINT64_C(1) << (at + i);
    return bits;
}

/* ---- Words -------------------------------------------------------------- */

/* At first those at the edges; then random ones, of few and of many bits and of
   long runs. */
static uint64_t
word_of(uint32_t number, struct prng *prng)
{
    if (number == 0)
        return 0;
    if (number == 1)
        return UINT64_MAX;
    if (number < 66)
        return UINT64_C(1) << (number - 2);
    if (number < 130)
        return ~(UINT64_C(1) << (number - 66));
    if (number < 194)
        return UINT64_MAX >> (number - 130);
    if (number < 258)
        return UINT64_MAX << (number - 194);
    uint64_t word = prng_next(prng);
    if (number % 4 == 1)
        word &= prng_next(prng) & prng_next(prng);
    if (number % 4 == 2)
        word |= prng_next(prng) | prng_next(prng);
    if (number % 4 == 3)
        word = naive_fill(naive_runs(UINT64_MAX, 3) & word, 3) |
               (UINT64_C(1) << number % WR_WORD_BITS);
    return word;
}

#define FOR_EVERY_WORD(word)                                                   \
    struct prng prng = { 7 };                                                  \
    for (uint32_t number = 0; number < WORDS; number++)                        \
        for (uint64_t word = word_of(number, &prng), once = 1; once != 0;      \
             once = 0)

static void
expect_same(uint64_t is, uint64_t wanted, uint32_t order, uint64_t word)
{
    if (is != wanted)
        cr_fail("%" PRIx64 " and not %" PRIx64 ": order %u of %" PRIx64, is,
            wanted, order, word);
}

Test(words, runs_are_those_that_a_loop_finds)
{
    FOR_EVERY_WORD(word)
    for (uint32_t order = 0; order <= WR_RUN_MAX; order++)
        expect_same(wr_runs(word, order), naive_runs(word, order), order, word);
}

Test(words, runs_alone_are_halves_of_no_longer_one)
{
    FOR_EVERY_WORD(word)
    for (uint32_t order = 0; number % 16 == 0 && order <= WR_RUN_MAX; order++)
        expect_same(wr_runs_alone(wr_runs(word, order), order),
            naive_alone(word, order), order, word);
}

Test(words, the_run_around_a_bit_is_the_longest_that_has_it)
{
    FOR_EVERY_WORD(word)
    for (uint32_t at = 0; at < WR_WORD_BITS; at++)
        if ((word >> at & 1) != 0)
            expect_same(
                wr_run_around(word, at), naive_around(word, at), at, word);
}

Test(words, a_word_fits_its_longest_run)
{
    FOR_EVERY_WORD(word)
    expect_same(wr_run_fit(word), naive_fit(word), 0, word);
}

Test(words, masks_have_the_bits_of_a_run)
{
    for (uint32_t order = 0; order <= WR_RUN_MAX; order++) {
        cr_assert(eq(u64, wr_run_bits(order), naive_fill(1, order)));
        cr_assert(eq(u64, wr_run_starts(order), naive_runs(UINT64_MAX, order)));
        for (uint32_t at = 0; at < WR_WORD_BITS; at += UINT32_C(1) << order)
            cr_assert(eq(u64, wr_run_mask(at, order),
                naive_fill(UINT64_C(1) << at, order)));
    }
}

Test(words, filling_gives_all_bits_of_the_runs)
{
    FOR_EVERY_WORD(word)
    for (uint32_t order = 0; order <= WR_RUN_MAX; order++) {
        uint64_t runs = wr_runs(word, order);
        expect_same(
            wr_runs_fill(runs, order), naive_fill(runs, order), order, word);
    }
}

Test(words, one_run_is_chosen_alone_if_there_is_such_a_one)
{
    FOR_EVERY_WORD(word)
    for (uint32_t order = 0; number % 16 == 0 && order <= WR_RUN_MAX; order++) {
        uint64_t runs = naive_runs(word, order);
        uint64_t alone = naive_alone(word, order);
        uint64_t chosen = wr_runs_choose_one(runs, order);

        expect_same(chosen & (chosen - 1), 0, order, word);
        expect_same(chosen & ~(alone != 0 ? alone : runs), 0, order, word);
        expect_same(chosen != 0, runs != 0, order, word);
    }
}

Test(words, many_runs_are_chosen_those_alone_first)
{
    FOR_EVERY_WORD(word)
    for (uint32_t order = 0; number % 16 == 0 && order <= WR_RUN_MAX; order++) {
        uint32_t most = (uint32_t)prng_below(&prng, 64) + 1;
        uint64_t runs = naive_runs(word, order);
        uint64_t alone = naive_alone(word, order);
        uint64_t chosen = wr_runs_choose(runs, order, most);
        uint32_t all = wr_count_bits(runs);

        expect_same(chosen & ~runs, 0, order, word);
        expect_same(
            wr_count_bits(chosen), all < most ? all : most, order, word);
        if ((alone & ~chosen) != 0)
            expect_same(chosen & ~alone, 0, order, word);
    }
}

#ifndef NDEBUG
Test(misuse, a_run_that_starts_out_of_its_place_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: order <= WR_RUN_MAX*");

    (void)wr_run_mask(2, 2);
}
#endif
