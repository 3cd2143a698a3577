/* SPDX-License-Identifier: MIT */
/*
 * buddies seed seconds: no merge is lost.
 *
 * Two threads hold the halves of a block, of every order in turns, and give
 * them back at the same instant; all else is free, so that each race goes up
 * through all levels. Then everything must be whole again. Some races are for
 * several pairs of a word at once, and some give a half back in two steps.
 *
 * The strawman is the algorithm that other allocators have: who gives a block
 * back claims its buddy's bit if it is set, and else sets its own. Two buddies
 * that come at once may each find that the other is not there. It runs the same
 * races, and what it loses says how many of them were close; as a control the
 * program takes the strawman's losses for the library's, and so must fail.
 *
 * In a bare build there are a hundred thousand races, in a run of a minute and
 * more ten million.
 */

#include "buddy/buddy.h"
#include "support/stress.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    RACERS = 2,
    PAIRS_MAX = 32, /* in a word */
    TURN = 64,      /* races with one order */
    CHECK_EVERY = 1024,
    DELAY_MAX = 128, /* loads, before who is first starts */
    SPINS_PER_YIELD = 1 << 16,
    ENOUGH = 100000,
    ENOUGH_LONG = 10000000
};

/* What each of the two holds, until the next race is set up. */
struct race {
    uint32_t order; /* of the halves */
    uint32_t count;
    uint32_t kept[RACERS];   /* an order: trims the first half to it before */
    uint32_t delays[RACERS]; /* before it gives anything */
    uint32_t which;          /* of the subject's books */
    uint32_t number;
    uint32_t leaves[RACERS][PAIRS_MAX];
};

struct subject {
    void (*set_up)(struct race *race, struct stress_random *random);
    void (*give)(const struct race *race, uint32_t racer);
    bool (*is_whole)(const struct race *race);
    _Atomic uint64_t races;
    uint64_t lost;
};

/* ---- The library ------------------------------------------------------- */

#define SHAPES 8

/* One word, two words, one level more, words that are not whole. */
static const uint32_t leaf_counts[SHAPES] = { 2, 64, 100, 128, 1 << 12, 4305,
    70000, 1 << 18 };

static void *books[SHAPES];
static struct wr_buddy buddies[SHAPES];
static struct wr_buddy_hint hints[SHAPES][RACERS];
static uint64_t levels_crossed;

static void
init_buddies(struct stress_random *random)
{
    for (uint32_t i = 0; i < SHAPES; i++) {
        struct wr_buddy_geometry geometry;
        size_t bytes = (size_t)leaf_counts[i] << WR_BUDDY_LEAF_SHIFT_MIN;
        stress_expect(wr_buddy_geometry((size_t)1 << WR_BUDDY_LEAF_SHIFT_MIN,
                          bytes, &geometry),
            "no geometry");
        size_t size = wr_buddy_meta_size(&geometry);
        books[i] = aligned_alloc(64, (size + 63) / 64 * 64);
        stress_expect(books[i] != NULL, "no memory");
        memset(books[i], 0, size);
        wr_buddy_init(&buddies[i], &geometry, books[i]);
        for (uint32_t j = 0; j < RACERS; j++)
            wr_buddy_hint_init(
                &buddies[i], stress_below(random, 1000), &hints[i][j]);
    }
}

static void
fini_buddies(void)
{
    for (uint32_t i = 0; i < SHAPES; i++) {
        wr_buddy_check(&buddies[i]);
        wr_buddy_fini(&buddies[i]);
        free(books[i]);
    }
}

/* The next order, of the next books after the last. */
static void
choose_order(struct race *race)
{
    if (race->number++ % TURN != 0)
        return;
    race->order++;
    while (race->order >= buddies[race->which].geometry.order_max) {
        race->which = (race->which + 1) % SHAPES;
        race->order = 0;
    }
}

/* Takes as many blocks as wanted, and more, so that those that are halved lie
   anywhere in the word; the others are given back. */
static void
set_up_buddies(struct race *race, struct stress_random *random)
{
    choose_order(race);
    struct wr_buddy *buddy = &buddies[race->which];
    struct wr_buddy_hint *hint = &hints[race->which][0];
    uint32_t half = UINT32_C(1) << race->order;
    uint32_t count = 1;
    uint32_t most = 1;
    if (stress_chance(random, 20))
        most += stress_below(random, PAIRS_MAX);
    if (stress_chance(random, 20))
        count += stress_below(random, PAIRS_MAX);
    uint32_t leaves[PAIRS_MAX];
    most = most < count ? count : most;
    most = wr_buddy_take(buddy, hint, race->order + 1, most, leaves);
    stress_expect(most > 0, "no block of what is whole");
    race->count = count < most ? count : most;
    uint32_t others = most - race->count;
    for (uint32_t i = 0; i < others; i++)
        stress_expect(wr_buddy_give(buddy, hint, leaves[i], race->order + 1),
            "what is out is free");
    for (uint32_t i = 0; i < race->count; i++) {
        uint32_t left = stress_below(random, RACERS);
        race->leaves[left][i] = leaves[others + i];
        race->leaves[1 - left][i] = leaves[others + i] + half;
    }
    for (uint32_t i = 0; i < RACERS; i++)
        race->kept[i] = stress_chance(random, 90)
                            ? race->order
                            : stress_below(random, race->order + 1);
    levels_crossed += buddies[race->which].top - race->order / 6;
}

static void
give_buddies(const struct race *race, uint32_t racer)
{
    struct wr_buddy *buddy = &buddies[race->which];
    struct wr_buddy_hint *hint = &hints[race->which][racer];
    const uint32_t *leaves = race->leaves[racer];
    uint32_t kept = race->kept[racer];
    if (kept < race->order)
        wr_buddy_trim(buddy, hint, leaves[0], race->order, kept);
    bool given = wr_buddy_give(buddy, hint, leaves[0], kept);
    for (uint32_t i = 1; i < race->count; i++)
        given &= wr_buddy_give(buddy, hint, leaves[i], race->order);
    stress_expect(given, "what is out is free");
}

static bool
are_buddies_whole(const struct race *race)
{
    struct wr_buddy *buddy = &buddies[race->which];
    struct wr_buddy_hint *hint = &hints[race->which][0];
    uint32_t order_max = buddy->geometry.order_max;
    uint32_t leaf;
    if (!wr_buddy_is_whole(buddy) ||
        wr_buddy_largest(buddy) != (int)order_max ||
        wr_buddy_take(buddy, hint, order_max, 1, &leaf) != 1)
        return false;
    if (race->number % CHECK_EVERY == 0)
        wr_buddy_check(buddy);
    return wr_buddy_give(buddy, hint, leaf, order_max);
}

static struct subject library = { .set_up = set_up_buddies,
    .give = give_buddies,
    .is_whole = are_buddies_whole };

/* ---- The strawman ------------------------------------------------------ */

enum { STRAW_ORDERS = 13, STRAW_WORDS = 64 };

/* Of each order a bit for each block: it is free. */
static _Atomic uint64_t straws[STRAW_ORDERS][STRAW_WORDS];

/* Clears the block's bit. False: it was clear. */
static bool
claim(uint32_t order, uint32_t block)
{
    uint64_t bit = UINT64_C(1) << block % 64;
    return (atomic_fetch_and_explicit(
                &straws[order][block / 64], ~bit, memory_order_acq_rel) &
               bit) != 0;
}

static void
publish(uint32_t order, uint32_t block)
{
    (void)atomic_fetch_or_explicit(&straws[order][block / 64],
        UINT64_C(1) << block % 64, memory_order_acq_rel);
}

static void
give_straw(const struct race *race, uint32_t racer)
{
    uint32_t block = race->leaves[racer][0] >> race->order;
    uint32_t order = race->order;
    for (; order < STRAW_ORDERS - 1 && claim(order, block ^ 1); order++)
        block /= 2;
    publish(order, block);
}

/* Merges what was left in pieces: in the order of the pieces nobody is late. */
static void
mend_straws(void)
{
    for (uint32_t order = 0; order < STRAW_ORDERS - 1; order++)
        for (uint32_t block = 0; block < 1U << (STRAW_ORDERS - 1 - order);
             block += 2)
            if (claim(order, block) && claim(order, block + 1))
                publish(order + 1, block / 2);
}

/* Claims everything, and splits it down to two halves somewhere. */
static void
set_up_straws(struct race *race, struct stress_random *random)
{
    if (race->number++ % TURN == 0)
        race->order = (race->order + 1) % (STRAW_ORDERS - 1);
    if (!claim(STRAW_ORDERS - 1, 0)) {
        mend_straws();
        stress_expect(claim(STRAW_ORDERS - 1, 0), "the strawman is in pieces");
    }
    uint32_t block = 0;
    for (uint32_t order = STRAW_ORDERS - 2; order > race->order; order--) {
        block = 2 * block + stress_below(random, 2);
        publish(order, block ^ 1);
    }
    uint32_t left = stress_below(random, RACERS);
    race->count = 1;
    race->leaves[left][0] = 2 * block << race->order;
    race->leaves[1 - left][0] = (2 * block + 1) << race->order;
}

static bool
are_straws_whole(const struct race *race)
{
    (void)race;
    return (atomic_load_explicit(
                &straws[STRAW_ORDERS - 1][0], memory_order_relaxed) &
               1) != 0;
}

static struct subject strawman = {
    .set_up = set_up_straws, .give = give_straw, .is_whole = are_straws_whole
};

/* ---- The race ---------------------------------------------------------- */

static struct subject *subject;
static struct race race;
static _Atomic uint32_t at_the_start[RACERS]; /* in which race */
static _Atomic uint32_t at_the_goal;

#define NO_MORE UINT32_MAX

/* A start is close only if nobody has left the processor. */
static uint32_t
await(const _Atomic uint32_t *place, uint32_t last)
{
    uint32_t seen;
    for (uint32_t i = 0;
         (seen = atomic_load_explicit(place, memory_order_acquire)) == last;
         i++)
        if (i % SPINS_PER_YIELD == SPINS_PER_YIELD - 1)
            (void)sched_yield();
    return seen;
}

static void
start(uint32_t racer)
{
    for (uint32_t i = 0; i < race.delays[racer]; i++)
        (void)atomic_load_explicit(&at_the_goal, memory_order_relaxed);
    subject->give(&race, racer);
}

static void
host(struct stress_random *random)
{
    uint32_t round = 0;
    while (!stress_is_over()) {
        subject->set_up(&race, random);
        for (uint32_t i = 0; i < RACERS; i++)
            race.delays[i] = stress_below(random, DELAY_MAX >> 2 * i);
        (void)await(&at_the_start[1], round++);
        atomic_store_explicit(&at_the_start[0], round, memory_order_release);
        start(0);
        (void)await(&at_the_goal, round - 1);
        if (!subject->is_whole(&race)) {
            subject->lost++;
            stress_expect(subject == &strawman && !stress_is_control(),
                "a merge was lost");
        }
        (void)atomic_fetch_add_explicit(
            &subject->races, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&at_the_start[0], NO_MORE, memory_order_release);
}

static void
visit(void)
{
    for (uint32_t round = 0;; round++) {
        atomic_store_explicit(
            &at_the_start[1], round + 1, memory_order_release);
        if (await(&at_the_start[0], round) == NO_MORE)
            return;
        start(1);
        atomic_store_explicit(&at_the_goal, round + 1, memory_order_release);
    }
}

static void
run_race(uint32_t racer, struct stress_random *random)
{
    stress_pin(racer);
    if (racer == 0)
        host(random);
    else
        visit();
}

static bool
is_enough(void)
{
    uint64_t races = atomic_load_explicit(&library.races, memory_order_relaxed);
    if (stress_is_sanitized() || stress_seconds() < 2)
        return true;
    return races >= (stress_seconds() < 60 ? ENOUGH : ENOUGH_LONG);
}

/* Jolted threads meet less often, but stand still in the middle. */
static void
run(struct subject *whose, double share, bool is_calm)
{
    subject = whose;
    for (uint32_t i = 0; i < RACERS; i++)
        atomic_store_explicit(&at_the_start[i], 0, memory_order_relaxed);
    atomic_store_explicit(&at_the_goal, 0, memory_order_relaxed);
    race = (struct race){ 0 };
    bool counts = whose == &library && is_calm;
    stress_part(share);
    stress_run(&(struct stress_crew){ .count = RACERS,
        .body = run_race,
        .enough = counts ? is_enough : NULL,
        .is_calm = is_calm });
}

static void
report(struct subject *whose, const char *races, const char *lost)
{
    stress_report(
        races, atomic_load_explicit(&whose->races, memory_order_relaxed));
    stress_report(lost, whose->lost);
}

int
main(int argc, char **argv)
{
    stress_begin("buddies", argc, argv);
    const char *lacks = stress_control_lacks();
    if (stress_is_control() && lacks != NULL)
        return stress_skip(lacks);
    publish(STRAW_ORDERS - 1, 0);
    if (!stress_is_control()) {
        struct stress_random random = { stress_seed() };
        init_buddies(&random);
        run(&library, 0.6, true);
        run(&library, 0.2, false);
        fini_buddies();
    }
    run(&strawman, stress_is_control() ? 1 : 0.2, true);
    report(&library, "races", "merges lost");
    stress_report("levels crossed", levels_crossed);
    report(&strawman, "races of the strawman", "merges the strawman lost");
    return stress_end();
}
