/* SPDX-License-Identifier: MIT */
#include "core/thread_cache.h"

#include "support/prng.h"
#include "support/unit.h"

#include <signal.h>
#include <stdatomic.h>

enum {
    BATCHES = WR_CACHE_DEPTH + 1,
    WORDS = 12, /* more than a cache has room for */
    SLOTS = WORDS * WR_WORD_BITS
};

static struct wr_thread_cache cache;

static void
open_cache(void)
{
    wr_cache_init(&cache);
    wr_cache_turn_on(&cache, WR_WORD_BITS, WR_WORD_BITS);
}

static void
fill(uint32_t word, uint64_t mask)
{
    struct wr_batch batch = { mask, word };
    cr_assert(wr_gate_begin(&cache.gate));
    wr_cache_fill(&cache, &batch);
    wr_gate_end(&cache.gate);
}

/* A block that goes in where there is room. */
static void
give(uint32_t slot)
{
    struct wr_batch spilled = { 7, 7 };
    cr_assert(wr_gate_begin(&cache.gate));
    cr_assert(wr_cache_give(&cache, slot, &spilled));
    wr_gate_end(&cache.gate);
    cr_assert(zero(u64, spilled.mask));
}

static uint32_t
take_one(void)
{
    uint32_t slot = UINT32_MAX;
    cr_assert(wr_gate_begin(&cache.gate));
    cr_assert(wr_cache_take(&cache, &slot));
    wr_gate_end(&cache.gate);
    return slot;
}

static void
expect_empty(void)
{
    uint32_t slot = 4711;
    cr_assert(wr_gate_begin(&cache.gate));
    cr_assert(not(wr_cache_take(&cache, &slot)));
    wr_gate_end(&cache.gate);
    cr_assert(eq(u32, slot, 4711));
    cr_assert(eq(u32, wr_cache_count(&cache), 0));
}

/* ---- Taking ------------------------------------------------------------ */

Test(thread_cache, a_new_one_is_empty_and_off)
{
    memset(&cache, 0xff, sizeof cache);

    wr_cache_init(&cache);

    cr_assert(not(wr_gate_is_on(&cache.gate)));
    cr_assert(not(wr_gate_is_stopped(&cache.gate)));
    cr_assert(eq(u32, wr_cache_word(&cache), WR_NO_WORD));
    for (uint32_t i = 0; i < BATCHES; i++)
        cr_assert(zero(u64, wr_cache_batch(&cache, i).mask));
    wr_cache_turn_on(&cache, 1, WR_WORD_BITS);
    cr_assert(wr_gate_is_on(&cache.gate));
    expect_empty();
}

Test(thread_cache, blocks_of_a_batch_go_out_from_the_lowest_on)
{
    open_cache();
    fill(3, UINT64_C(0x8000000000000106));
    cr_assert(eq(u32, wr_cache_count(&cache), 4));

    cr_assert(eq(u32, take_one(), 3 * 64 + 1));
    cr_assert(eq(u32, take_one(), 3 * 64 + 2));
    cr_assert(eq(u32, take_one(), 3 * 64 + 8));
    cr_assert(eq(u32, wr_cache_count(&cache), 1));
    cr_assert(eq(u32, take_one(), 3 * 64 + 63));

    expect_empty();
}

Test(thread_cache, a_whole_word_goes_out_once)
{
    open_cache();
    fill(0, UINT64_MAX);

    for (uint32_t i = 0; i < 64; i++)
        cr_assert(eq(u32, take_one(), i));

    expect_empty();
    fill(5, 1);
    cr_assert(eq(u32, take_one(), 5 * 64));
}

Test(thread_cache, the_block_given_last_is_taken_next)
{
    open_cache();

    for (uint32_t i = 0; i < BATCHES; i++)
        give(i * 64 + i);

    for (uint32_t i = BATCHES; i > 0; i--)
        cr_assert(eq(u32, take_one(), (i - 1) * 64 + i - 1));
    expect_empty();
}

Test(thread_cache, a_block_joins_the_batch_of_its_word_wherever_that_lies)
{
    open_cache();
    give(64 + 5);
    give(2 * 64);
    give(3 * 64);

    give(64 + 4);
    give(2 * 64 + 1);
    give(3 * 64 + 1);

    cr_assert(eq(u32, wr_cache_count(&cache), 6));
    cr_assert(eq(u32, take_one(), 3 * 64));
    cr_assert(eq(u32, take_one(), 3 * 64 + 1));
    cr_assert(eq(u32, take_one(), 2 * 64));
    cr_assert(eq(u32, take_one(), 2 * 64 + 1));
    cr_assert(eq(u32, take_one(), 64 + 4));
    cr_assert(eq(u32, take_one(), 64 + 5));
    expect_empty();
}

Test(thread_cache, a_batch_that_is_used_up_makes_room)
{
    open_cache();
    give(0);
    give(64);
    (void)take_one();

    for (uint32_t i = 2; i < BATCHES + 1; i++)
        give(i * 64);

    cr_assert(eq(u32, wr_cache_count(&cache), BATCHES));
    for (uint32_t i = BATCHES; i > 1; i--)
        cr_assert(eq(u32, take_one(), i * 64));
    cr_assert(eq(u32, take_one(), 0));
    expect_empty();
}

Test(thread_cache, a_word_that_is_used_up_takes_its_blocks_back)
{
    open_cache();
    fill(9, 1);
    (void)take_one();

    give(9 * 64 + 7);

    cr_assert(eq(u32, wr_cache_count(&cache), 1));
    cr_assert(eq(u32, take_one(), 9 * 64 + 7));
    expect_empty();
}

/* ---- Giving ------------------------------------------------------------ */

/* One block each of words 0, 1, 2 ... , the last of them on top. */
static void
give_to_the_brim(void)
{
    for (uint32_t i = 0; i < BATCHES; i++)
        give(i * 64);
}

Test(thread_cache, when_it_is_full_the_old_top_leaves)
{
    struct wr_batch spilled;
    open_cache();
    give_to_the_brim();
    give((BATCHES - 1) * 64 + 3);
    cr_assert(wr_gate_begin(&cache.gate));

    cr_assert(wr_cache_give(&cache, BATCHES * 64 + 1, &spilled));

    wr_gate_end(&cache.gate);
    cr_assert(eq(u64, spilled.mask, 9));
    cr_assert(eq(u32, spilled.word, BATCHES - 1));
    cr_assert(eq(u32, wr_cache_count(&cache), BATCHES));
    cr_assert(eq(u32, take_one(), BATCHES * 64 + 1));
    for (uint32_t i = BATCHES - 1; i > 0; i--)
        cr_assert(eq(u32, take_one(), (i - 1) * 64));
    expect_empty();
}

Test(thread_cache, a_top_that_is_too_large_to_lie_below_leaves)
{
    for (uint32_t limit = 0; limit <= WR_WORD_BITS; limit++) {
        for (uint32_t count = 1; count <= WR_WORD_BITS; count++) {
            struct wr_batch spilled;
            wr_cache_init(&cache);
            wr_cache_turn_on(&cache, 1, limit);
            for (uint32_t i = 0; i < count; i++)
                give(i);

            cr_assert(wr_gate_begin(&cache.gate));
            cr_assert(wr_cache_give(&cache, 64, &spilled));
            wr_gate_end(&cache.gate);

            bool leaves = count > limit;
            uint32_t stay = leaves ? 0 : count;
            cr_assert(eq(u64, spilled.mask, leaves ? wr_low_bits(count) : 0));
            cr_assert(eq(u32, wr_cache_count(&cache), stay + 1));
        }
    }
}

Test(thread_cache, when_it_is_full_a_block_of_a_word_it_has_still_goes_in)
{
    open_cache();
    give_to_the_brim();

    for (uint32_t i = 0; i < BATCHES; i++)
        for (uint32_t bit = 1; bit < 64; bit++)
            give(i * 64 + bit);

    cr_assert(eq(u32, wr_cache_count(&cache), BATCHES * 64));
    for (uint32_t i = BATCHES; i > 0; i--)
        for (uint32_t bit = 0; bit < 64; bit++)
            cr_assert(eq(u32, take_one(), (i - 1) * 64 + bit));
    expect_empty();
}

Test(thread_cache, blocks_that_come_home_in_order_leave_in_whole_words)
{
    enum { MANY = 100 };
    struct wr_batch spilled;
    uint32_t whole = 0;
    open_cache();

    for (uint32_t slot = 0; slot < MANY * 64; slot++) {
        cr_assert(wr_gate_begin(&cache.gate));
        cr_assert(wr_cache_give(&cache, slot, &spilled));
        wr_gate_end(&cache.gate);
        if (spilled.mask == 0)
            continue;
        cr_assert(eq(u64, spilled.mask, UINT64_MAX));
        cr_assert(eq(u32, slot % 64, 0));
        cr_assert(eq(u32, spilled.word, slot / 64 - 1));
        whole++;
    }

    cr_assert(eq(u32, whole, MANY - BATCHES));
    cr_assert(eq(u32, wr_cache_count(&cache), BATCHES * 64));
}

Test(thread_cache, a_block_that_is_in_already_is_told_on_top_and_below)
{
    struct wr_batch spilled = { 7, 7 };
    open_cache();
    give_to_the_brim();
    cr_assert(wr_gate_begin(&cache.gate));

    for (uint32_t i = 0; i < BATCHES; i++) {
        cr_assert(not(wr_cache_give(&cache, i * 64, &spilled)));
        cr_assert(zero(u64, spilled.mask));
    }

    wr_gate_end(&cache.gate);
    cr_assert(eq(u32, wr_cache_count(&cache), BATCHES));
}

/* ---- Its batches ------------------------------------------------------- */

Test(thread_cache, batch_0_is_the_top_and_the_others_lie_below_it)
{
    open_cache();
    give(2 * 64 + 3);
    give(5 * 64 + 6);
    give(1 * 64 + 0);

    struct wr_batch top = wr_cache_batch(&cache, 0);
    struct wr_batch lowest = wr_cache_batch(&cache, 1);
    struct wr_batch middle = wr_cache_batch(&cache, 2);

    cr_assert(eq(u32, top.word, 1));
    cr_assert(eq(u64, top.mask, 1));
    cr_assert(eq(u32, lowest.word, 2));
    cr_assert(eq(u64, lowest.mask, 8));
    cr_assert(eq(u32, middle.word, 5));
    cr_assert(eq(u64, middle.mask, 64));
    for (uint32_t i = 3; i < BATCHES; i++)
        cr_assert(zero(u64, wr_cache_batch(&cache, i).mask));
}

Test(thread_cache, a_batch_that_came_to_the_top_is_not_below_any_more)
{
    open_cache();
    give(2 * 64);
    give(2 * 64 + 1);
    give(5 * 64);
    (void)take_one();
    (void)take_one();

    cr_assert(eq(u32, wr_cache_word(&cache), 2));
    cr_assert(eq(u64, wr_cache_batch(&cache, 0).mask, 2));
    cr_assert(zero(u64, wr_cache_batch(&cache, 1).mask));
    cr_assert(eq(u32, wr_cache_count(&cache), 1));
}

Test(thread_cache, clearing_leaves_nothing)
{
    open_cache();
    give_to_the_brim();

    wr_cache_clear(&cache);

    cr_assert(eq(u32, wr_cache_word(&cache), WR_NO_WORD));
    for (uint32_t i = 0; i < BATCHES; i++)
        cr_assert(zero(u64, wr_cache_batch(&cache, i).mask));
    expect_empty();
    give_to_the_brim();
    cr_assert(eq(u32, wr_cache_count(&cache), BATCHES));
}

/* ---- The common paths -------------------------------------------------- */

Test(thread_cache, the_top_is_what_was_filled_in_and_set)
{
    open_cache();
    fill(4, 12);
    cr_assert(eq(u64, wr_cache_top(&cache), 12));
    cr_assert(eq(u32, wr_cache_word(&cache), 4));

    wr_cache_set_top(&cache, 8);

    cr_assert(eq(u64, wr_cache_top(&cache), 8));
    cr_assert(eq(u64, wr_cache_batch(&cache, 0).mask, 8));
    cr_assert(eq(u32, take_one(), 4 * 64 + 3));
}

/* ---- Sweeping ---------------------------------------------------------- */

/* What a sweep does with one cache. */
static struct wr_batch
sweep(void)
{
    cr_assert(wr_gate_stop(&cache.gate));
    wr_gate_wait(&cache.gate);
    struct wr_batch top = wr_cache_batch(&cache, 0);
    wr_cache_turn_off(&cache, top.mask);
    return top;
}

Test(thread_cache, one_that_is_stopped_lets_its_owner_do_nothing)
{
    open_cache();
    fill(4, 12);

    cr_assert(wr_gate_stop(&cache.gate));

    cr_assert(wr_gate_is_stopped(&cache.gate));
    cr_assert(not(wr_gate_is_on(&cache.gate)));
    cr_assert(not(wr_gate_begin(&cache.gate)));
    cr_assert(eq(u32, wr_cache_count(&cache), 0));
    wr_gate_wait(&cache.gate);
    cr_assert(eq(u64, wr_cache_batch(&cache, 0).mask, 12));
}

Test(thread_cache, only_one_that_is_on_can_be_stopped)
{
    wr_cache_init(&cache);
    cr_assert(not(wr_gate_stop(&cache.gate)));
    cr_assert(not(wr_gate_is_stopped(&cache.gate)));

    wr_cache_turn_on(&cache, 1, WR_WORD_BITS);
    cr_assert(wr_gate_stop(&cache.gate));
    cr_assert(not(wr_gate_stop(&cache.gate)));
    cr_assert(wr_gate_is_stopped(&cache.gate));
    wr_cache_turn_off(&cache, 0);

    cr_assert(not(wr_gate_stop(&cache.gate)));
    cr_assert(not(wr_gate_is_stopped(&cache.gate)));
    cr_assert(not(wr_gate_is_on(&cache.gate)));
}

Test(thread_cache, after_a_sweep_the_owner_knows_what_was_stolen_from_the_top)
{
    open_cache();
    give(2 * 64 + 3);
    give(UINT32_MAX - 64);
    give(UINT32_MAX - 127);

    (void)sweep();

    cr_assert(wr_cache_was_stolen(&cache, UINT32_MAX - 64));
    cr_assert(wr_cache_was_stolen(&cache, UINT32_MAX - 127));
    cr_assert(not(wr_cache_was_stolen(&cache, UINT32_MAX - 65)));
    cr_assert(not(wr_cache_was_stolen(&cache, 62)));
    cr_assert(not(wr_cache_was_stolen(&cache, 2 * 64 + 3)));
    cr_assert(eq(u32, wr_cache_word(&cache), WR_NO_WORD));
    cr_assert(eq(u32, wr_cache_count(&cache), 0));
    cr_assert(not(wr_gate_begin(&cache.gate)));
}

Test(thread_cache, a_clear_leaves_what_was_stolen)
{
    open_cache();
    fill(4, 12);
    (void)sweep();

    wr_cache_clear(&cache);

    cr_assert(wr_cache_was_stolen(&cache, 4 * 64 + 2));
    cr_assert(wr_cache_was_stolen(&cache, 4 * 64 + 3));
    cr_assert(not(wr_cache_was_stolen(&cache, 4 * 64 + 1)));
}

Test(thread_cache, a_sweep_of_nothing_has_stolen_nothing)
{
    open_cache();
    fill(0, 3);
    (void)sweep();
    wr_cache_clear(&cache);
    wr_cache_turn_on(&cache, 1, WR_WORD_BITS);

    (void)sweep();

    for (uint32_t slot = 0; slot < 64; slot++)
        cr_assert(not(wr_cache_was_stolen(&cache, slot)));
}

/* The owner is the only one to write the top: it still has what the sweep has
   found there, and must clear it before it goes on. */
Test(thread_cache, a_sweep_leaves_the_top_to_its_owner)
{
    open_cache();
    fill(4, 12);

    (void)sweep();

    cr_assert(eq(u64, wr_cache_top(&cache), 12));
}

Test(thread_cache, one_that_was_turned_on_again_is_as_new)
{
    open_cache();
    give_to_the_brim();
    (void)sweep();
    wr_cache_clear(&cache);

    wr_cache_turn_on(&cache, 17, WR_WORD_BITS);

    cr_assert(wr_gate_is_on(&cache.gate));
    cr_assert(eq(u32, cache.batch_max, 17));
    expect_empty();
    give_to_the_brim();
    cr_assert(eq(u32, take_one(), (BATCHES - 1) * 64));
}

static atomic_bool waits;
static atomic_bool waited;

static void *
wait_for_owner(void *unused)
{
    cr_assert(wr_gate_stop(&cache.gate));
    atomic_store(&waits, true);
    wr_gate_wait(&cache.gate);
    atomic_store(&waited, true);
    return unused;
}

Test(thread_cache, a_sweeper_waits_for_an_owner_who_has_begun)
{
    struct wr_batch spilled;
    open_cache();
    cr_assert(wr_gate_begin(&cache.gate));
    pthread_t sweeper = start_thread(wait_for_owner, NULL);
    while (!atomic_load(&waits))
        ;

    (void)usleep(20000);
    cr_assert(not(atomic_load(&waited)));
    cr_assert(wr_cache_give(&cache, 70, &spilled));
    wr_gate_end(&cache.gate);

    join_thread(sweeper);
    cr_assert(eq(u64, wr_cache_batch(&cache, 0).mask, 64));
    cr_assert(not(wr_gate_begin(&cache.gate)));
}

/* ---- Against the naive set --------------------------------------------- */

static bool in[SLOTS];
static uint32_t in_count;

/* Every block of the set lies in exactly one batch, and no other. */
static void
expect_set(void)
{
    uint64_t seen[WORDS] = { 0 };
    uint32_t words_met[BATCHES];
    uint32_t met = 0;
    for (uint32_t i = 0; i < BATCHES; i++) {
        struct wr_batch batch = wr_cache_batch(&cache, i);
        if (batch.mask == 0)
            continue;
        cr_assert(lt(u32, batch.word, WORDS));
        for (uint32_t other = 0; other < met; other++)
            cr_assert(ne(u32, words_met[other], batch.word));
        words_met[met++] = batch.word;
        seen[batch.word] = batch.mask;
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        cr_assert(eq(int, (int)(seen[slot / 64] >> slot % 64 & 1), in[slot]));
    cr_assert(eq(u32, wr_cache_count(&cache), in_count));
}

static void
leave(uint32_t slot)
{
    cr_assert(in[slot]);
    in[slot] = false;
    in_count--;
}

static void
leave_all(const struct wr_batch *batch)
{
    for (uint32_t bit = 0; bit < 64; bit++)
        if ((batch->mask >> bit & 1) != 0)
            leave(batch->word * 64 + bit);
}

static void
step_take(void)
{
    uint32_t slot;
    cr_assert(wr_gate_begin(&cache.gate));
    bool taken = wr_cache_take(&cache, &slot);
    wr_gate_end(&cache.gate);
    cr_assert(eq(int, taken, in_count > 0));
    if (taken)
        leave(slot);
}

/* The next block taken is this one, if its word was on top or not there. */
static void
step_give(uint32_t slot)
{
    struct wr_batch spilled;
    bool was_in = in[slot];
    cr_assert(wr_gate_begin(&cache.gate));
    bool was_out = wr_cache_give(&cache, slot, &spilled);
    wr_gate_end(&cache.gate);
    cr_assert(eq(int, was_out, !was_in));
    if (!was_in)
        in_count++;
    in[slot] = true;
    if (spilled.mask == 0)
        return;
    cr_assert(ne(u32, spilled.word, slot / 64));
    leave_all(&spilled);
}

static void
step_refill(struct prng *prng)
{
    if (in_count > 0)
        return;
    struct wr_batch batch = { prng_next(prng) & prng_next(prng),
        (uint32_t)prng_below(prng, WORDS) };
    fill(batch.word, batch.mask);
    for (uint32_t bit = 0; bit < 64; bit++)
        in[batch.word * 64 + bit] = (batch.mask >> bit & 1) != 0;
    in_count = wr_count_bits(batch.mask);
}

static void
step_sweep(void)
{
    cr_assert(wr_gate_stop(&cache.gate));
    wr_gate_wait(&cache.gate);
    struct wr_batch top = wr_cache_batch(&cache, 0);
    for (uint32_t i = 0; i < BATCHES; i++) {
        struct wr_batch batch = wr_cache_batch(&cache, i);
        leave_all(&batch);
    }
    wr_cache_turn_off(&cache, top.mask);
    cr_assert(eq(u32, in_count, 0));
    wr_cache_clear(&cache);
    for (uint32_t slot = 0; slot < WR_WORD_BITS; slot++)
        cr_assert(eq(int, wr_cache_was_stolen(&cache, slot),
            (top.mask >> slot & 1) != 0));
    wr_cache_turn_on(&cache, 64, WR_WORD_BITS);
}

Test(thread_cache, random_walk_agrees_with_the_naive_set)
{
    struct prng prng = { 7 };
    open_cache();
    cr_log_info("seed 7");

    for (int step = 0; step < 40000; step++) {
        bool falls = step / 1000 % 2 != 0;
        uint64_t what = prng_below(&prng, 1000);
        if (what == 0)
            step_sweep();
        else if (what < 10)
            step_refill(&prng);
        else if (what < (falls ? 600 : 400))
            step_take();
        else
            step_give((uint32_t)prng_below(&prng, SLOTS));
        if (step % 16 == 0)
            expect_set();
    }

    while (in_count > 0)
        step_take();
    step_take();
    expect_set();
}

/* ---- Misuse ------------------------------------------------------------ */

#ifndef NDEBUG
Test(misuse, filling_a_cache_that_has_blocks_aborts, .signal = SIGABRT)
{
    struct wr_batch batch = { 1, 1 };
    open_cache();
    fill(0, 1);
    expect_misuse("weir: assertion failed: wr_cache_top(cache) == 0*");

    wr_cache_fill(&cache, &batch);
}

Test(misuse, filling_a_cache_that_has_blocks_below_aborts, .signal = SIGABRT)
{
    struct wr_batch batch = { 1, 1 };
    open_cache();
    give(0);
    give(64);
    (void)take_one();
    expect_misuse("weir: assertion failed: wr_cache_top(cache) == 0*");

    wr_cache_fill(&cache, &batch);
}

Test(misuse, a_batch_of_a_cache_beyond_the_last_aborts, .signal = SIGABRT)
{
    open_cache();
    expect_misuse("weir: assertion failed: index <= WR_CACHE_DEPTH");

    (void)wr_cache_batch(&cache, BATCHES);
}

Test(misuse, turning_on_a_cache_that_has_blocks_aborts, .signal = SIGABRT)
{
    wr_cache_init(&cache);
    wr_cache_turn_on(&cache, 1, WR_WORD_BITS);
    fill(0, 1);
    expect_misuse("weir: assertion failed: wr_cache_word(cache) == *");

    wr_cache_turn_on(&cache, 1, WR_WORD_BITS);
}
#endif
