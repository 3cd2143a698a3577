/* SPDX-License-Identifier: MIT */
#include "base/bitmap.h"

#include "support/prng.h"
#include "support/unit.h"

#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 7168, THREADS = 8 };

static _Atomic uint64_t words[SLOTS_MAX / WR_WORD_BITS];
static bool out[SLOTS_MAX];

static uint32_t geometries[] = { 1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096,
    4097, 7168 };

#define EVERY_GEOMETRY(name)                                                   \
    ParameterizedTestParameters(bitmap, name)                                  \
    {                                                                          \
        return cr_make_param_array(                                            \
            uint32_t, geometries, sizeof geometries / sizeof geometries[0]);   \
    }                                                                          \
    ParameterizedTest(uint32_t *slot_count, bitmap, name)

static struct wr_bitmap
new_map(uint32_t slot_count)
{
    struct wr_bitmap map;
    wr_bitmap_init(&map, slot_count, words);
    return map;
}

/* Takes every slot there is, each of them once. */
static uint32_t
drain(struct wr_bitmap *map, struct wr_bitmap_hint *hint)
{
    uint32_t count = 0;
    uint32_t slot;
    while (wr_bitmap_take(map, hint, &slot)) {
        cr_assert(lt(u32, slot, map->slot_count));
        cr_assert(not(out[slot]), "slot %u came twice", slot);
        out[slot] = true;
        count++;
    }
    return count;
}

static void
give_all(struct wr_bitmap *map, struct wr_bitmap_hint *hint)
{
    for (uint32_t i = 0; i < map->slot_count; i++) {
        cr_assert(wr_bitmap_give(map, hint, i));
        out[i] = false;
    }
}

EVERY_GEOMETRY(take_gives_each_slot_once)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };

    uint32_t count = drain(&map, &hint);

    cr_assert(eq(u32, count, *slot_count));
    cr_assert(eq(u32, wr_bitmap_free_count(&map), 0));
    wr_bitmap_check(&map);
}

EVERY_GEOMETRY(an_empty_map_gives_nothing_however_often_it_is_asked)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    (void)drain(&map, &hint);

    for (uint32_t word = 0; word < map.word_count; word++) {
        uint32_t slot;
        struct wr_bitmap_hint elsewhere = { .word = word };
        cr_assert(not(wr_bitmap_take(&map, &elsewhere, &slot)));
    }
}

EVERY_GEOMETRY(after_all_came_back_the_same_slots_go_out_again)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    (void)drain(&map, &hint);

    give_all(&map, &hint);
    uint32_t again = drain(&map, &hint);

    cr_assert(eq(u32, again, *slot_count));
}

EVERY_GEOMETRY(the_only_free_slot_is_found_wherever_it_is)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    (void)drain(&map, &hint);

    for (uint32_t i = 0; i < *slot_count; i++) {
        struct wr_bitmap_hint giver = { 0 };
        struct wr_bitmap_hint taker = { .word = (i * 7) % map.word_count };
        uint32_t slot;
        cr_assert(wr_bitmap_give(&map, &giver, i));
        cr_assert(wr_bitmap_take(&map, &taker, &slot));
        cr_assert(eq(u32, slot, i));
    }
}

EVERY_GEOMETRY(random_walk_agrees_with_a_shadow)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hints[3] = { { 0 } };
    struct prng prng = { *slot_count };
    uint32_t free_count = *slot_count;
    cr_log_info("seed %u", *slot_count);

    for (int step = 0; step < 20000; step++) {
        struct wr_bitmap_hint *hint = &hints[prng_below(&prng, 3)];
        uint32_t slot = (uint32_t)prng_below(&prng, *slot_count);
        if (out[slot]) {
            cr_assert(wr_bitmap_give(&map, hint, slot));
            out[slot] = false;
            free_count++;
        } else {
            cr_assert(wr_bitmap_take(&map, hint, &slot));
            cr_assert(not(out[slot]));
            out[slot] = true;
            free_count--;
        }
        cr_assert(eq(int, wr_bitmap_is_free(&map, slot), !out[slot]));
        cr_assert(lt(u32, hint->word, map.word_count));
        if (step % 64 == 0)
            cr_assert(eq(u32, wr_bitmap_free_count(&map), free_count));
    }
    wr_bitmap_check(&map);
}

EVERY_GEOMETRY(no_bit_past_the_last_slot_is_ever_set)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    uint64_t beyond = *slot_count % WR_WORD_BITS == 0
                          ? 0
                          : UINT64_MAX << (*slot_count % WR_WORD_BITS);
    _Atomic uint64_t *last = &words[map.word_count - 1];

    cr_assert(eq(u64, wr_load_relaxed(last) & beyond, 0));
    (void)drain(&map, &hint);
    cr_assert(eq(u64, wr_load_relaxed(last), 0));
    give_all(&map, &hint);
    cr_assert(eq(u64, wr_load_relaxed(last) & beyond, 0));
}

EVERY_GEOMETRY(is_whole_only_when_all_slots_are_free)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t from = 0;
    (void)drain(&map, &hint);

    for (uint32_t i = 0; i < *slot_count; i++) {
        cr_assert(not(wr_bitmap_is_whole(&map, &from)));
        cr_assert(le(u32, from, i / WR_WORD_BITS));
        cr_assert(wr_bitmap_give(&map, &hint, i));
    }

    cr_assert(wr_bitmap_is_whole(&map, &from));
    cr_assert(eq(u32, from, map.word_count));
    cr_assert(wr_bitmap_is_whole(&map, &from));
}

Test(bitmap, is_whole_goes_on_where_it_stopped)
{
    struct wr_bitmap map = new_map(256);
    struct wr_bitmap_hint hint = { 0 };
    (void)drain(&map, &hint);
    for (uint32_t i = 0; i < 192; i++)
        cr_assert(wr_bitmap_give(&map, &hint, i));

    uint32_t from = 0;
    bool whole = wr_bitmap_is_whole(&map, &from);

    cr_assert(not(whole));
    cr_assert(eq(u32, from, 3));
}

Test(bitmap, books_are_one_bit_a_slot_in_whole_words)
{
    cr_assert(eq(sz, wr_bitmap_meta_size(1), 8));
    cr_assert(eq(sz, wr_bitmap_meta_size(64), 8));
    cr_assert(eq(sz, wr_bitmap_meta_size(65), 16));
    cr_assert(
        eq(sz, wr_bitmap_meta_size(UINT32_MAX - 63), ((size_t)1 << 29) - 8));
}

Test(bitmap, a_zeroed_hint_starts_at_the_first_slot)
{
    struct wr_bitmap map = new_map(200);
    struct wr_bitmap_hint hint = { 0 };

    for (uint32_t i = 0; i < 200; i++) {
        uint32_t slot;
        cr_assert(wr_bitmap_take(&map, &hint, &slot));
        cr_assert(eq(u32, slot, i));
    }
}

Test(bitmap, hints_in_different_words_do_not_meet)
{
    struct wr_bitmap map = new_map(192);
    struct wr_bitmap_hint hints[3] = { { .word = 0 }, { .word = 1 },
        { .word = 2 } };

    for (uint32_t i = 0; i < 64; i++) {
        for (uint32_t h = 0; h < 3; h++) {
            uint32_t slot;
            cr_assert(wr_bitmap_take(&map, &hints[h], &slot));
            cr_assert(eq(u32, slot / WR_WORD_BITS, h));
        }
    }
}

Test(bitmap, the_slot_given_last_is_taken_next)
{
    struct wr_bitmap map = new_map(1000);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    (void)drain(&map, &hint);
    cr_assert(wr_bitmap_give(&map, &hint, 3));
    cr_assert(wr_bitmap_give(&map, &hint, 700));

    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(eq(u32, slot, 700));
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(eq(u32, slot, 3));
}

Test(bitmap, a_wrong_guess_costs_nothing_but_a_search)
{
    struct wr_bitmap map = new_map(128);
    struct wr_bitmap_hint mine = { 0 };
    struct wr_bitmap_hint other = { 0 };
    uint32_t slot;
    (void)drain(&map, &mine);
    cr_assert(wr_bitmap_give(&map, &mine, 5));
    cr_assert(wr_bitmap_take(&map, &other, &slot));
    cr_assert(eq(u32, slot, 5));
    cr_assert(wr_bitmap_give(&map, &other, 100));

    bool taken = wr_bitmap_take(&map, &mine, &slot);

    cr_assert(taken);
    cr_assert(eq(u32, slot, 100));
    cr_assert(eq(u64, mine.guess, 0));
}

Test(bitmap, a_search_goes_around_the_end)
{
    struct wr_bitmap map = new_map(640);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    (void)drain(&map, &hint);
    struct wr_bitmap_hint giver = { 0 };
    cr_assert(wr_bitmap_give(&map, &giver, 70));

    struct wr_bitmap_hint last = { .word = 9 };
    cr_assert(wr_bitmap_take(&map, &last, &slot));

    cr_assert(eq(u32, slot, 70));
    cr_assert(eq(u32, last.word, 1));
}

Test(bitmap, giving_a_free_slot_is_told)
{
    struct wr_bitmap map = new_map(100);
    struct wr_bitmap_hint hint = { 0 };

    cr_assert(not(wr_bitmap_give(&map, &hint, 99)));
}

Test(bitmap, a_second_give_is_told)
{
    struct wr_bitmap map = new_map(100);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    cr_assert(wr_bitmap_take(&map, &hint, &slot));

    cr_assert(wr_bitmap_give(&map, &hint, slot));
    cr_assert(not(wr_bitmap_give(&map, &hint, slot)));
}

/* ---- Batches ----------------------------------------------------------- */

static uint32_t limits[] = { 1, 2, 7, 63, 64 };

#define EVERY_LIMIT(name)                                                      \
    ParameterizedTestParameters(bitmap, name)                                  \
    {                                                                          \
        return cr_make_param_array(                                            \
            uint32_t, limits, sizeof limits / sizeof limits[0]);               \
    }                                                                          \
    ParameterizedTest(uint32_t *most, bitmap, name)

/* The slots of a batch are out now, which they were not. */
static uint32_t
batch_goes(const struct wr_bitmap *map, const struct wr_batch *batch)
{
    cr_assert(ne(u64, batch->mask, 0));
    cr_assert(lt(u32, batch->word, map->word_count));
    for (uint32_t bit = 0; bit < WR_WORD_BITS; bit++) {
        uint32_t slot = batch->word * WR_WORD_BITS + bit;
        if ((batch->mask >> bit & 1) == 0)
            continue;
        cr_assert(lt(u32, slot, map->slot_count));
        cr_assert(not(out[slot]), "slot %u came twice", slot);
        out[slot] = true;
    }
    return wr_count_bits(batch->mask);
}

EVERY_LIMIT(batches_give_each_slot_once_and_none_is_larger_than_asked)
{
    for (size_t i = 0; i < sizeof geometries / sizeof geometries[0]; i++) {
        struct wr_bitmap map = new_map(geometries[i]);
        struct wr_bitmap_hint hint = { 0 };
        struct wr_batch batch;
        uint32_t count = 0;
        memset(out, 0, sizeof out);

        while (wr_bitmap_take_batch(&map, &hint, *most, &batch)) {
            uint32_t taken = batch_goes(&map, &batch);
            uint32_t rest = map.slot_count - batch.word * WR_WORD_BITS;
            rest = (rest < WR_WORD_BITS ? rest : WR_WORD_BITS) -
                   (uint32_t)(wr_lowest_bit(batch.mask));
            cr_assert(eq(u32, taken, rest < *most ? rest : *most));
            cr_assert(eq(u32, hint.word, batch.word));
            count += taken;
        }

        cr_assert(eq(u32, count, geometries[i]));
        cr_assert(eq(u32, wr_bitmap_free_count(&map), 0));
    }
}

Test(bitmap, a_batch_is_the_lowest_free_slots_of_its_word)
{
    struct wr_bitmap map = new_map(200);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch;
    (void)drain(&map, &hint);
    static const uint32_t free_ones[] = { 64, 67, 68, 90, 127, 130 };
    for (size_t i = 0; i < 6; i++)
        cr_assert(
            wr_bitmap_give(&map, &(struct wr_bitmap_hint){ 0 }, free_ones[i]));
    hint = (struct wr_bitmap_hint){ .word = 3 };

    cr_assert(wr_bitmap_take_batch(&map, &hint, 3, &batch));
    cr_assert(eq(u32, batch.word, 1));
    cr_assert(eq(u64, batch.mask, 0x19));
    cr_assert(wr_bitmap_take_batch(&map, &hint, 3, &batch));
    cr_assert(eq(u32, batch.word, 1));
    cr_assert(eq(u64, batch.mask, UINT64_C(0x8000000004000000)));
    cr_assert(wr_bitmap_take_batch(&map, &hint, 3, &batch));
    cr_assert(eq(u32, batch.word, 2));
    cr_assert(eq(u64, batch.mask, 4));
    cr_assert(not(wr_bitmap_take_batch(&map, &hint, 3, &batch)));
    cr_assert(eq(u64, batch.mask, 4));
}

Test(bitmap, a_batch_is_searched_around_the_end)
{
    struct wr_bitmap map = new_map(640);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch = { 6, 1 };
    (void)drain(&map, &hint);
    cr_assert(wr_bitmap_give_batch(&map, &hint, &batch));

    struct wr_bitmap_hint last = { .word = 9 };
    cr_assert(wr_bitmap_take_batch(&map, &last, 64, &batch));

    cr_assert(eq(u32, batch.word, 1));
    cr_assert(eq(u64, batch.mask, 6));
    cr_assert(eq(u32, last.word, 1));
}

/* What it believed of the word was taken with the batch, or by others. */
Test(bitmap, behind_a_batch_the_hint_believes_nothing)
{
    struct wr_bitmap map = new_map(128);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch;
    uint32_t slot;
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(ne(u64, hint.guess, 0));

    cr_assert(wr_bitmap_take_batch(&map, &hint, 2, &batch));
    cr_assert(eq(u64, batch.mask, 6));
    cr_assert(zero(u64, hint.guess));
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(eq(u32, slot, 3));

    cr_assert(wr_bitmap_give_batch(&map, &hint, &batch));
    cr_assert(zero(u64, hint.guess));
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(eq(u32, slot, 1));
}

Test(bitmap, a_batch_given_is_looked_for_where_it_lies)
{
    struct wr_bitmap map = new_map(640);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch = { UINT64_MAX, 7 };
    uint32_t slot;
    (void)drain(&map, &hint);
    cr_assert(wr_bitmap_give(&map, &(struct wr_bitmap_hint){ 0 }, 0));

    cr_assert(wr_bitmap_give_batch(&map, &hint, &batch));

    cr_assert(eq(u32, wr_bitmap_free_count(&map), 65));
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(eq(u32, slot, 7 * 64));
}

Test(bitmap, a_batch_with_a_free_slot_in_it_is_told)
{
    static const uint64_t free_ones[] = { 1, 8, UINT64_C(1) << 63 };

    for (size_t i = 0; i < 3; i++) {
        struct wr_bitmap map = new_map(192);
        struct wr_bitmap_hint hint = { 0 };
        struct wr_batch batch;
        struct wr_batch one = { free_ones[i], 1 };
        hint.word = 1;
        hint.home = 1;
        cr_assert(wr_bitmap_take_batch(&map, &hint, 64, &batch));
        cr_assert(wr_bitmap_give_batch(&map, &hint, &one));

        cr_assert(not(wr_bitmap_give_batch(&map, &hint, &batch)));
    }
}

/* ---- At home ----------------------------------------------------------- */

enum { HOME_WORDS = 64, WORDS_MAX = SLOTS_MAX / WR_WORD_BITS };

static uint32_t
word_of_batch(struct wr_bitmap *map, struct wr_bitmap_hint *hint, uint32_t most)
{
    struct wr_batch batch;
    cr_assert(wr_bitmap_take_batch(map, hint, most, &batch));
    cr_assert(eq(u32, wr_count_bits(batch.mask), most));
    cr_assert(eq(u32, hint->word, batch.word));
    cr_assert(zero(u64, hint->guess));
    return batch.word;
}

/* Takes slot 0 of a word, or gives it back. */
static void
break_word(uint32_t word)
{
    cr_assert(wr_clear_bit_acquire(&words[word], 0));
}

static void
mend_word(struct wr_bitmap *map, uint32_t word)
{
    struct wr_bitmap_hint hint = { 0 };
    cr_assert(wr_bitmap_give(map, &hint, word * WR_WORD_BITS));
}

Test(bitmap, a_whole_word_at_home_is_taken_before_others)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { .word = 90, .home = 20 };

    for (uint32_t i = 0; i < HOME_WORDS; i++)
        cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 20 + i));

    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 84));
    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 85));
}

Test(bitmap, only_who_wants_a_whole_word_looks_at_home)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { .word = 90, .home = 20 };

    cr_assert(eq(u32, word_of_batch(&map, &hint, 63), 90));
    cr_assert(eq(u32, word_of_batch(&map, &hint, 1), 90));
    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 20));
}

Test(bitmap, a_word_at_home_that_is_not_whole_is_passed_over)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { .word = 90, .home = 20 };
    for (uint32_t i = 0; i < HOME_WORDS; i++)
        if (i != 17)
            break_word(20 + i);

    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 37));
}

Test(bitmap, who_found_no_whole_word_at_home_stays_away_for_one_search_around)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { .word = 90, .home = 20 };
    for (uint32_t i = 0; i < HOME_WORDS; i++)
        break_word(20 + i);

    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 90));
    mend_word(&map, 50);
    for (uint32_t word = 91; word < WORDS_MAX; word++)
        cr_assert(eq(u32, word_of_batch(&map, &hint, 64), word));
    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 0));

    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 50));
    cr_assert(eq(u32, hint.home & ~WR_AWAY, 20));
}

Test(bitmap, home_ends_with_the_last_word)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { .word = 3, .home = WORDS_MAX - 2 };
    break_word(WORDS_MAX - 2);

    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), WORDS_MAX - 1));
    cr_assert(eq(u32, word_of_batch(&map, &hint, 64), 0));
}

EVERY_GEOMETRY(random_walk_with_batches_agrees_with_a_shadow)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hints[3] = { { 0 }, { .home = map.word_count / 2 },
        { .home = map.word_count - 1 } };
    struct prng prng = { *slot_count };
    uint32_t free_count = *slot_count;
    cr_log_info("seed %u", *slot_count);

    for (int step = 0; step < 20000; step++) {
        struct wr_bitmap_hint *hint = &hints[prng_below(&prng, 3)];
        uint32_t word = (uint32_t)prng_below(&prng, map.word_count);
        struct wr_batch batch = { 0, word };
        uint64_t some = prng_next(&prng);
        for (uint32_t bit = 0; bit < WR_WORD_BITS; bit++)
            if ((some >> bit & 1) != 0 && out[word * WR_WORD_BITS + bit])
                batch.mask |= UINT64_C(1) << bit;
        if (prng_below(&prng, 2) == 0 && batch.mask != 0) {
            cr_assert(wr_bitmap_give_batch(&map, hint, &batch));
            for (uint32_t bit = 0; bit < WR_WORD_BITS; bit++)
                if ((batch.mask >> bit & 1) != 0)
                    out[word * WR_WORD_BITS + bit] = false;
            free_count += wr_count_bits(batch.mask);
        } else if (prng_below(&prng, 4) == 0) {
            uint32_t slot;
            cr_assert(
                eq(int, wr_bitmap_take(&map, hint, &slot), free_count > 0));
            if (free_count == 0)
                continue;
            cr_assert(not(out[slot]));
            out[slot] = true;
            free_count--;
        } else {
            uint32_t most = 1 + (uint32_t)prng_below(&prng, 64);
            bool taken = wr_bitmap_take_batch(&map, hint, most, &batch);
            cr_assert(eq(int, taken, free_count > 0));
            if (!taken)
                continue;
            uint32_t count = batch_goes(&map, &batch);
            cr_assert(le(u32, count, most));
            free_count -= count;
        }
        cr_assert(lt(u32, hint->word, map.word_count));
        cr_assert(eq(u32, wr_bitmap_free_count(&map), free_count));
    }
    for (uint32_t slot = 0; slot < *slot_count; slot++)
        cr_assert(eq(int, wr_bitmap_is_free(&map, slot), !out[slot]));
    wr_bitmap_check(&map);
}

/* ---- Threads ----------------------------------------------------------- */

struct worker {
    struct wr_bitmap *map;
    pthread_barrier_t *start;
    uint32_t *slots; /* what it took */
    uint32_t count;
    uint32_t ordinal;
    uint32_t lies; /* counts above the total */
};

static void
run_workers(struct wr_bitmap *map, struct worker *workers, void *(*run)(void *))
{
    pthread_barrier_t start;
    pthread_t threads[THREADS];
    cr_assert(zero(int, pthread_barrier_init(&start, NULL, THREADS)));
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){
            .map = map,
            .start = &start,
            .slots = calloc(map->slot_count, sizeof(uint32_t)),
            .ordinal = i,
        };
        threads[i] = start_thread(run, &workers[i]);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    (void)pthread_barrier_destroy(&start);
}

static void *
take_all(void *user)
{
    struct worker *worker = user;
    struct wr_bitmap_hint hint = { .word = worker->ordinal % 3 };
    uint32_t slot;
    (void)pthread_barrier_wait(worker->start);
    while (wr_bitmap_take(worker->map, &hint, &slot))
        worker->slots[worker->count++] = slot;
    return NULL;
}

Test(bitmap, threads_that_drain_it_get_no_slot_twice)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct worker workers[THREADS];

    run_workers(&map, workers, take_all);

    uint32_t count = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        for (uint32_t j = 0; j < workers[i].count; j++) {
            cr_assert(not(out[workers[i].slots[j]]));
            out[workers[i].slots[j]] = true;
        }
        count += workers[i].count;
        free(workers[i].slots);
    }
    cr_assert(eq(u32, count, SLOTS_MAX));
    no_leaks();
}

static void *
take_and_give(void *user)
{
    struct worker *worker = user;
    struct wr_bitmap_hint hint = { .word = worker->ordinal % 3 };
    struct prng prng = { worker->ordinal };
    (void)pthread_barrier_wait(worker->start);
    for (int i = 0; i < 10000; i++) {
        uint32_t slot;
        if (prng_below(&prng, 2) == 0 &&
            wr_bitmap_take(worker->map, &hint, &slot))
            worker->slots[worker->count++] = slot;
        else if (worker->count > 0)
            (void)wr_bitmap_give(
                worker->map, &hint, worker->slots[--worker->count]);
        if (i % 16 == 0)
            worker->lies +=
                wr_bitmap_free_count(worker->map) > worker->map->slot_count;
    }
    while (worker->count > 0)
        (void)wr_bitmap_give(
            worker->map, &hint, worker->slots[--worker->count]);
    return NULL;
}

Test(bitmap, after_threads_came_and_went_every_slot_is_there)
{
    struct wr_bitmap map = new_map(130);
    struct wr_bitmap_hint hint = { 0 };
    struct worker workers[THREADS];

    run_workers(&map, workers, take_and_give);

    for (uint32_t i = 0; i < THREADS; i++) {
        cr_assert(eq(u32, workers[i].lies, 0));
        free(workers[i].slots);
    }
    cr_assert(eq(u32, wr_bitmap_free_count(&map), 130));
    cr_assert(eq(u32, drain(&map, &hint), 130));
    wr_bitmap_check(&map);
    no_leaks();
}

static void *
move_batches(void *user)
{
    struct worker *worker = user;
    struct wr_bitmap_hint hint = { .word = worker->ordinal % 3 };
    struct prng prng = { worker->ordinal };
    struct wr_batch held[4];
    (void)pthread_barrier_wait(worker->start);
    for (int i = 0; i < 10000; i++) {
        uint32_t most = 1 + (uint32_t)prng_below(&prng, 64);
        if (worker->count < 4 && prng_below(&prng, 2) == 0 &&
            wr_bitmap_take_batch(
                worker->map, &hint, most, &held[worker->count]))
            worker->lies += wr_count_bits(held[worker->count++].mask) > most;
        else if (worker->count > 0)
            worker->lies += !wr_bitmap_give_batch(
                worker->map, &hint, &held[--worker->count]);
    }
    while (worker->count > 0)
        worker->lies +=
            !wr_bitmap_give_batch(worker->map, &hint, &held[--worker->count]);
    return NULL;
}

Test(bitmap, after_threads_moved_batches_every_slot_is_there)
{
    struct wr_bitmap map = new_map(130);
    struct wr_bitmap_hint hint = { 0 };
    struct worker workers[THREADS];

    run_workers(&map, workers, move_batches);

    for (uint32_t i = 0; i < THREADS; i++) {
        cr_assert(eq(u32, workers[i].lies, 0));
        free(workers[i].slots);
    }
    cr_assert(eq(u32, drain(&map, &hint), 130));
    wr_bitmap_check(&map);
    no_leaks();
}

/* ---- Marks ------------------------------------------------------------- */

static uint64_t
marks_of(const struct wr_bitmap *map)
{
    return wr_load_relaxed(&map->marks[0]);
}

static void
drain_locked(struct wr_bitmap *map)
{
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    for (uint32_t i = 0; i < map->slot_count; i++)
        cr_assert(wr_bitmap_take_locked(map, &hint, &slot));
    cr_assert(not(wr_bitmap_take_locked(map, &hint, &slot)));
}

EVERY_GEOMETRY(take_locked_finds_the_only_free_slot_wherever_it_is)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    drain_locked(&map);

    for (uint32_t i = 0; i < *slot_count; i++) {
        struct wr_bitmap_hint giver = { 0 };
        uint32_t slot;
        cr_assert(wr_bitmap_give(&map, &giver, i));
        wr_bitmap_check(&map);
        cr_assert(wr_bitmap_take_locked(&map, &hint, &slot));
        cr_assert(eq(u32, slot, i));
        cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));
        wr_bitmap_check(&map);
    }
}

EVERY_GEOMETRY(take_finds_the_only_free_slot_when_lines_were_forgotten)
{
    struct wr_bitmap map = new_map(*slot_count);
    drain_locked(&map);

    for (uint32_t i = 0; i < *slot_count; i++) {
        struct wr_bitmap_hint giver = { 0 };
        struct wr_bitmap_hint taker = { .word = (i * 7) % map.word_count };
        struct wr_batch batch = { UINT64_C(1) << i % 64, i / 64 };
        uint32_t slot;
        cr_assert(wr_bitmap_give_batch(&map, &giver, &batch));
        cr_assert(wr_bitmap_take(&map, &taker, &slot));
        cr_assert(eq(u32, slot, i));
    }
}

Test(bitmap, a_search_that_finds_nothing_forgets_lines_under_the_lock_alone)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    cr_assert(eq(u64, marks_of(&map), UINT64_MAX));

    (void)drain(&map, &hint);
    cr_assert(eq(u64, marks_of(&map), UINT64_MAX));

    cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));
    cr_assert(zero(u64, marks_of(&map)));
}

Test(bitmap, a_give_marks_its_line_and_a_search_keeps_a_single_one)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    drain_locked(&map);

    cr_assert(wr_bitmap_give(&map, &hint, 13 * 512));
    cr_assert(eq(u64, marks_of(&map), UINT64_C(1) << 13));
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));
    cr_assert(eq(u64, marks_of(&map), UINT64_C(1) << 13));

    cr_assert(wr_bitmap_give(&map, &hint, 0));
    cr_assert(eq(u64, marks_of(&map), UINT64_C(1) << 13 | 1));
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));
    cr_assert(zero(u64, marks_of(&map)));
}

Test(bitmap, there_are_1024_marks_at_most)
{
    static const struct {
        uint32_t words;
        uint32_t shift;
    } known[] = { { 1, 0 }, { 63, 0 }, { 64, 3 }, { 8192, 3 }, { 8193, 4 },
        { 16384, 4 }, { 16385, 5 }, { 1 << 20, 10 } };
    uint64_t *memory = calloc(1 << 20, sizeof(uint64_t));
    cr_assert(ne(ptr, memory, NULL));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct wr_bitmap map;
        wr_bitmap_init(&map, known[i].words * WR_WORD_BITS, memory);
        cr_assert(eq(u32, map.mark_shift, known[i].shift));
    }
    free(memory);
}

Test(bitmap, the_last_slot_of_a_large_map_is_found)
{
    enum { SLOTS = 8193 * 64 + 1 };
    struct wr_bitmap map;
    struct wr_bitmap_hint hint = { 0 };
    uint64_t *memory = calloc(8194, sizeof(uint64_t));
    cr_assert(ne(ptr, memory, NULL));
    wr_bitmap_init(&map, SLOTS, memory);
    memset(memory, 0, 8194 * sizeof(uint64_t));
    uint32_t slot;
    cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));
    for (uint32_t i = 0; i <= (8193 >> 4) / 64; i++)
        cr_assert(zero(u64, wr_load_relaxed(&map.marks[i])));

    cr_assert(wr_bitmap_give(&map, &hint, SLOTS - 1));
    hint = (struct wr_bitmap_hint){ 0 };
    cr_assert(wr_bitmap_take(&map, &hint, &slot));
    cr_assert(eq(u32, slot, SLOTS - 1));
    cr_assert(wr_bitmap_give(&map, &hint, SLOTS - 1));
    cr_assert(wr_bitmap_take_locked(&map, &hint, &slot));
    cr_assert(eq(u32, slot, SLOTS - 1));
    free(memory);
}

Test(bitmap, marks_without_words_do_no_harm)
{
    struct wr_bitmap map = new_map(4097);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    drain_locked(&map);
    wr_store_relaxed(&map.marks[0], UINT64_MAX);
    wr_store_relaxed(&map.marks[15], UINT64_MAX);
    cr_assert(not(wr_bitmap_take(&map, &hint, &slot)));
    cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));
    wr_bitmap_check(&map);
}

Test(bitmap, mark_all_has_every_line_searched_again)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    drain_locked(&map);
    wr_store_relaxed(&words[77], 4); /* a give that never came to its mark */
    cr_assert(not(wr_bitmap_take_locked(&map, &hint, &slot)));

    wr_bitmap_mark_all(&map);

    cr_assert(eq(u64, marks_of(&map), UINT64_MAX));
    cr_assert(wr_bitmap_take_locked(&map, &hint, &slot));
    cr_assert(eq(u32, slot, 77 * 64 + 2));
}

/* ---- Misuse ------------------------------------------------------------ */

Test(misuse, a_bitmap_with_a_free_slot_in_a_line_without_mark_aborts,
    .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(SLOTS_MAX);
    expect_misuse("weir: invariant 5 of bitmap broken");
    wr_bitmap_check(&map);

    wr_store_relaxed(&map.marks[0], wr_low_bits(13));
    wr_bitmap_check(&map);
}

Test(misuse, a_bitmap_with_a_bit_past_its_end_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(65);
    expect_misuse("weir: invariant 1 of bitmap broken");
    wr_bitmap_check(&map);

    wr_store_relaxed(&words[1], 3);
    wr_bitmap_check(&map);
}

#ifndef NDEBUG
Test(misuse, a_bitmap_of_no_slots_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map;
    expect_misuse("weir: assertion failed: slot_count > 0*");

    wr_bitmap_init(&map, 0, words);
}

Test(misuse, a_bitmap_of_too_many_slots_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map;
    expect_misuse("weir: assertion failed: slot_count > 0*");

    wr_bitmap_init(&map, UINT32_MAX - 63, words);
}

Test(misuse, a_bitmap_in_memory_that_is_not_aligned_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map;
    expect_misuse("weir: assertion failed: *meta*");

    wr_bitmap_init(&map, 64, (void *)((uintptr_t)words + 4));
}

Test(misuse, a_hint_past_the_last_word_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(64);
    struct wr_bitmap_hint hint = { .word = 1 };
    uint32_t slot;
    expect_misuse("weir: assertion failed: hint->word < map->word_count");

    (void)wr_bitmap_take(&map, &hint, &slot);
}

Test(misuse, giving_a_slot_past_the_end_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(65);
    struct wr_bitmap_hint hint = { 0 };
    expect_misuse("weir: assertion failed: slot < map->slot_count");

    (void)wr_bitmap_give(&map, &hint, 65);
}

Test(misuse, asking_for_a_slot_past_the_end_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(65);
    expect_misuse("weir: assertion failed: slot < map->slot_count");

    (void)wr_bitmap_is_free(&map, 65);
}

Test(misuse, a_batch_of_no_slots_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(65);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch;
    expect_misuse("weir: assertion failed: most >= 1*");

    (void)wr_bitmap_take_batch(&map, &hint, 0, &batch);
}

Test(misuse, a_batch_of_more_than_a_word_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(65);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch;
    expect_misuse("weir: assertion failed: most >= 1*");

    (void)wr_bitmap_take_batch(&map, &hint, 65, &batch);
}

Test(misuse, giving_a_batch_of_a_word_past_the_end_aborts, .signal = SIGABRT)
{
    struct wr_bitmap map = new_map(65);
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch = { 1, 2 };
    expect_misuse("weir: assertion failed: batch->word < map->word_count");

    (void)wr_bitmap_give_batch(&map, &hint, &batch);
}
#endif

EVERY_GEOMETRY(one_free_slot_is_met_wherever_it_is)
{
    struct wr_bitmap map = new_map(*slot_count);
    struct wr_bitmap_hint hint = { 0 };
    cr_assert(wr_bitmap_has_free(&map));
    cr_assert(eq(u32, drain(&map, &hint), *slot_count));
    cr_assert(not(wr_bitmap_has_free(&map)));

    cr_assert(wr_bitmap_give(&map, &hint, *slot_count - 1));

    cr_assert(wr_bitmap_has_free(&map));
}
