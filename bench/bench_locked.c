/* SPDX-License-Identifier: MIT */
/*
 * bench_locked: how many locked instructions does each call take, and how many
 * writes to lines that another thread writes?
 *
 * Idea
 *   This counts where the other benches measure (counting.c), so the answer is
 *   the same on every machine, however busy. It is the proof of scaling that
 *   two processors can give, and the gate that every change has to pass.
 *
 *   Everything is done by two threads on one arena, in turns; on a buddy arena
 *   by one (locked_buddy.c). A scenario is done once to warm up, then some
 *   hundred times. Printed are the locked instructions of an operation on
 *   average, the most that were counted at once, the writes of an operation to
 *   cache lines that both threads write, and, for hand-offs, those for which
 *   the line had to move. In a hand-off the byte that says whether a block is
 *   out is written by both threads, without a lock; 64 blocks have theirs in
 *   one line. The goals are the promises of weir.h and of bench/README.md.
 *
 * Limits
 *   Threads in turns: no exchange ever fails. Built without the counter it
 *   says so and exits with 77; exits with 1 if a goal is missed.
 */
#include "counting.h"
#include "locked.h"

#include <weir/weir.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WEIR_COUNT_ATOMICS

enum {
    SMALL = 256, /* blocks: all bits of the bitmap in one cache line */
    LARGE = 4096,
    LEAST = 128, /* 64 for each thread */
    ROUNDS = 10, /* of both threads */
    TIMES = 30,  /* in a round */
    CLONES = 40,
    READERS = 8,
    HELD = 16,
    BURST = 1024,
    FLIGHT_MAX = 1024, /* on their way to the other thread */
    MESSAGE = 64,
    NONE = -1 /* no goal */
};

_Static_assert(
    (int)ROWS <= (int)COUNTING_ROWS_MAX, "more rows than are counted");

/* A row and its goals: of an operation on average, of a measurement at most,
   and of an operation to shared lines. */
static const struct promise {
    const char *name;
    const char *goal;
    double average;
    double most;
    double shared;
} promises[ROWS] = {
    [ALLOC] = { "alloc", "", 0, NONE, 0 },
    [DROP] = { "drop", "", 0, NONE, 0 },
    [FREEZE] = { "freeze", "", NONE, 0, 0 },
    [CLONE] = { "clone, the first 40 of a handle", "", NONE, 0, 0 },
    [CLONE_SHARED] = { "clone_shared", "", 1, NONE, NONE },
    [SUB] = { "sub", "", NONE, 0, 0 },
    [SPLIT] = { "split", "", NONE, 0, 0 },
    [RELEASE_SOLE] = { "release, never cloned", "", 0, NONE, 0 },
    [RELEASE_CLONE] = { "release of a clone", "", 1, NONE, NONE },
    [RELEASE_LAST] = { "release of the last of 41", "", 1, NONE, NONE },
    [PAIR] = { "alloc, drop", "G1", 0, NONE, 0 },
    [CYCLE_SOLE] = { "alloc, freeze, release", "G2", 0, NONE, 0 },
    [CYCLE] = { "full cycle with a clone", "G3", 1, NONE, NONE },
    [CYCLE_CLONE_FIRST] = { "the same, the clone released first", "G3", 1, NONE,
        NONE },
    [FAN_OUT] = { "fan-out 8", "G4", READERS, NONE, NONE },
    [REPLACE] = { "hold 16, replace one", "G8", 0, NONE, 0 },
    [BURST_ALLOC] = { "alloc, 1024 in a row", "", 1.0 / 32, NONE, NONE },
    [BURST_DROP] = { "drop, 1024 in a row", "", 1.0 / 32, NONE, NONE },
    [APART_SOLE] = { "2 threads, alloc, freeze, release", "G7", 0, NONE, 0 },
    [APART_CYCLE] = { "2 threads, full cycle", "G7", 1, NONE, 0 },
    [HANDOFF_LEAST_32] = { "hand-off, 32 at once, 128 blocks", "G5", 1.0 / 16,
        NONE, NONE },
    [HANDOFF_LEAST_64] = { "hand-off, 64 at once, 128 blocks", "G5", 1.0 / 16,
        NONE, NONE },
    [HANDOFF_32] = { "hand-off, 32 at once", "G5", 1.0 / 16, NONE, NONE },
    [HANDOFF_64] = { "hand-off, 64 at once", "G5", 1.0 / 16, NONE, NONE },
    [HANDOFF_1024] = { "hand-off, 1024 at once", "G5", 1.0 / 16, NONE, NONE },
    [UNCACHED_ALLOC] = { "no cache: alloc", "", 1, NONE, NONE },
    [UNCACHED_DROP] = { "no cache: drop", "", 1, NONE, NONE },
    [UNCACHED_PAIR] = { "no cache: alloc, drop", "", 2, NONE, NONE },
    [FULL_FIRST] = { "FULL, the first", "", NONE, NONE, NONE },
    [FULL_AGAIN] = { "FULL, again", "G10", 0, NONE, 0 },
    [BUDDY_PAIR_SMALL] = { "buddy: alloc, drop, 256 B", "G11", 0, NONE, NONE },
    [BUDDY_PAIR] = { "buddy: alloc, drop, 4 KiB", "G11", 0, NONE, NONE },
    [BUDDY_MIXED] = { "buddy: mixed, 50 %", "G11", 0.5, NONE, NONE },
    [BUDDY_MIXED_FULLER] = { "buddy: mixed, 86 %", "", NONE, NONE, NONE },
    [BUDDY_UNCACHED_MIXED] = { "buddy, no cache: mixed, 50 %", "G11", 2.1, NONE,
        NONE },
    [BUDDY_UNCACHED_FULLER] = { "buddy, no cache: mixed, 86 %", "", NONE, NONE,
        NONE },
};

struct place {
    struct weir_arena *arena;
    size_t flight; /* of a hand-off */
    enum row row;
    struct weir_slice slices[FLIGHT_MAX];
};

static void
must(enum weir_status status)
{
    if (status != WEIR_OK)
        counting_fail(weir_status_name(status));
}

static void
open_place(struct place *place, size_t count, unsigned flags)
{
    must(weir_arena_create(
        &(struct weir_arena_config){
            .block_count = count, .block_size = MESSAGE, .flags = flags },
        &place->arena));
}

static void
close_place(struct place *place)
{
    struct weir_stats stats;
    weir_arena_check(place->arena);
    weir_arena_stats(place->arena, &stats);
    if (stats.blocks_out != 0)
        counting_fail("a block did not come home");
    weir_arena_destroy(&place->arena);
}

/* ---- Calls ------------------------------------------------------------- */

static void
count_alloc(struct weir_arena *arena, struct weir_buf *buf)
{
    struct counting_span span = counting_from(ALLOC);
    must(weir_arena_alloc(arena, 0, buf));
    counting_until(span, 1);
    memset(weir_buf_tail(buf), 0, MESSAGE);
    weir_buf_commit(buf, MESSAGE);
}

static void
count_message(struct weir_arena *arena, struct weir_slice *slice)
{
    struct weir_buf buf;
    count_alloc(arena, &buf);
    struct counting_span span = counting_from(FREEZE);
    weir_buf_freeze(&buf, slice);
    counting_until(span, 1);
}

static void
count_release(enum row row, struct weir_slice *slice)
{
    struct counting_span span = counting_from(row);
    weir_slice_release(slice);
    counting_until(span, 1);
}

static void
count_pair(struct weir_arena *arena)
{
    struct counting_span pair = counting_from(PAIR);
    struct weir_buf buf;
    count_alloc(arena, &buf);
    struct counting_span span = counting_from(DROP);
    weir_buf_drop(&buf);
    counting_until(span, 1);
    counting_until(pair, 1);
}

static void
count_cycle_sole(struct weir_arena *arena)
{
    struct counting_span cycle = counting_from(CYCLE_SOLE);
    struct weir_slice slice;
    count_message(arena, &slice);
    count_release(RELEASE_SOLE, &slice);
    counting_until(cycle, 1);
}

/* Two readers; either may be the last. */
static void
count_cycle(enum row row, struct weir_arena *arena)
{
    struct counting_span cycle = counting_from(row);
    struct weir_slice slice;
    struct weir_slice copy;
    bool clone_first = row == CYCLE_CLONE_FIRST;
    count_message(arena, &slice);
    weir_slice_clone(&slice, &copy);
    weir_slice_release(clone_first ? &copy : &slice);
    weir_slice_release(clone_first ? &slice : &copy);
    counting_until(cycle, 1);
}

static void
count_fan_out(struct weir_arena *arena)
{
    struct counting_span all = counting_from(FAN_OUT);
    struct weir_slice slice;
    struct weir_slice copies[READERS];
    count_message(arena, &slice);
    for (int i = 0; i < READERS; i++)
        weir_slice_clone(&slice, &copies[i]);
    weir_slice_release(&slice);
    for (int i = 0; i < READERS; i++)
        weir_slice_release(&copies[i]);
    counting_until(all, 1);
}

static void
count_clones(struct weir_arena *arena)
{
    struct weir_slice slice;
    struct weir_slice copies[CLONES];
    count_message(arena, &slice);
    for (int i = 0; i < CLONES; i++) {
        struct counting_span span = counting_from(CLONE);
        weir_slice_clone(&slice, &copies[i]);
        counting_until(span, 1);
    }
    for (int i = 0; i < CLONES; i++)
        count_release(RELEASE_CLONE, &copies[i]);
    count_release(RELEASE_LAST, &slice);
}

static void
count_parts(struct weir_arena *arena)
{
    struct weir_slice slice;
    struct weir_slice part;
    struct weir_slice copy;
    count_message(arena, &slice);
    struct counting_span span = counting_from(SUB);
    must(weir_slice_sub(&slice, 1, MESSAGE / 2, &part));
    counting_until(span, 1);
    span = counting_from(CLONE_SHARED);
    weir_slice_clone_shared(&slice, &copy);
    counting_until(span, 1);
    weir_slice_release(&copy);
    weir_slice_release(&part);
    weir_slice_release(&slice);
}

static void
count_split(struct weir_arena *arena)
{
    struct weir_buf buf;
    struct weir_slice slice;
    count_alloc(arena, &buf);
    struct counting_span span = counting_from(SPLIT);
    weir_buf_split(&buf, &slice);
    counting_until(span, 1);
    weir_buf_drop(&buf);
    weir_slice_release(&slice);
}

/* ---- Scenarios --------------------------------------------------------- */

static void
part_calls(void *state)
{
    struct place *place = state;
    struct weir_arena *arena = place->arena;
    for (int i = 0; i < TIMES; i++) {
        count_pair(arena);
        count_cycle_sole(arena);
        count_cycle(CYCLE, arena);
        count_cycle(CYCLE_CLONE_FIRST, arena);
        count_fan_out(arena);
        count_clones(arena);
        count_parts(arena);
        count_split(arena);
    }
}

/* Each holds 16, and replaces one of them. */
static void
part_replace(void *state)
{
    struct place *place = state;
    static uint32_t row = 1;
    struct weir_buf bufs[HELD];
    for (int i = 0; i < HELD; i++)
        must(weir_arena_alloc(place->arena, 0, &bufs[i]));
    for (int i = 0; i < TIMES * HELD; i++) {
        row = row * 1103515245 + 12345;
        struct weir_buf *buf = &bufs[row >> 16 & (HELD - 1)];
        struct counting_span span = counting_from(REPLACE);
        weir_buf_drop(buf);
        must(weir_arena_alloc(place->arena, 0, buf));
        counting_until(span, 1);
    }
    for (int i = 0; i < HELD; i++)
        weir_buf_drop(&bufs[i]);
}

static void
part_burst(void *state)
{
    struct place *place = state;
    struct weir_buf bufs[BURST];
    struct counting_span span = counting_from(BURST_ALLOC);
    for (int i = 0; i < BURST; i++)
        must(weir_arena_alloc(place->arena, 0, &bufs[i]));
    counting_until(span, BURST);
    span = counting_from(BURST_DROP);
    for (int i = 0; i < BURST; i++)
        weir_buf_drop(&bufs[i]);
    counting_until(span, BURST);
}

/* Nothing but messages, as two threads that know nothing of each other do. */
static void
part_apart(void *state)
{
    struct place *place = state;
    for (int i = 0; i < TIMES; i++) {
        struct weir_buf buf;
        struct weir_slice slice;
        struct counting_span span = counting_from(place->row);
        must(weir_arena_alloc(place->arena, 0, &buf));
        weir_buf_commit(&buf, MESSAGE);
        weir_buf_freeze(&buf, &slice);
        if (place->row == APART_CYCLE) {
            struct weir_slice copy;
            weir_slice_clone(&slice, &copy);
            weir_slice_release(&copy);
        }
        weir_slice_release(&slice);
        counting_until(span, 1);
    }
}

/* Takes and gives nothing back; the other thread does that. */
static void
part_produce(void *state)
{
    struct place *place = state;
    struct counting_span span = counting_from(place->row);
    for (size_t i = 0; i < place->flight; i++) {
        struct weir_buf buf;
        must(weir_arena_alloc(place->arena, 0, &buf));
        weir_buf_commit(&buf, MESSAGE);
        weir_buf_freeze(&buf, &place->slices[i]);
    }
    counting_until(span, (uint32_t)place->flight);
}

/* The operations were counted when they began. */
static void
part_consume(void *state)
{
    struct place *place = state;
    struct counting_span span = counting_from(place->row);
    for (size_t i = 0; i < place->flight; i++)
        weir_slice_release(&place->slices[i]);
    counting_until(span, 0);
}

static void
part_uncached(void *state)
{
    struct place *place = state;
    for (int i = 0; i < TIMES; i++) {
        struct weir_buf buf;
        struct counting_span pair = counting_from(UNCACHED_PAIR);
        struct counting_span span = counting_from(UNCACHED_ALLOC);
        must(weir_arena_alloc(place->arena, 0, &buf));
        counting_until(span, 1);
        span = counting_from(UNCACHED_DROP);
        weir_buf_drop(&buf);
        counting_until(span, 1);
        counting_until(pair, 1);
    }
}

static void
count_full(enum row row, struct weir_arena *arena)
{
    struct weir_buf none;
    struct counting_span span = counting_from(row);
    if (weir_arena_alloc(arena, 0, &none) != WEIR_FULL)
        counting_fail("a full arena had a block");
    counting_until(span, 1);
}

static void
part_full_first(void *state)
{
    struct place *place = state;
    count_full(FULL_FIRST, place->arena);
}

static void
part_full(void *state)
{
    struct place *place = state;
    for (int i = 0; i < TIMES; i++)
        count_full(FULL_AGAIN, place->arena);
}

/* ---- The questions ----------------------------------------------------- */

/* Both threads do the same. `row` is for a part that serves several. */
static void
ask_each(void (*part)(void *place), enum row row, size_t count, unsigned flags)
{
    static struct place place;
    open_place(&place, count, flags);
    place.row = row;
    counting_turns(ROUNDS, part, part, &place);
    close_place(&place);
}

static void
ask_handoff(enum row row, size_t count, size_t flight)
{
    static struct place place;
    open_place(&place, count, 0);
    place.flight = flight;
    place.row = row;
    counting_turns(ROUNDS, part_produce, part_consume, &place);
    close_place(&place);
}

/* One message by each thread, so that both have a cache. */
static void
part_visit(void *state)
{
    struct place *place = state;
    struct weir_buf buf;
    must(weir_arena_alloc(place->arena, 0, &buf));
    weir_buf_drop(&buf);
}

/* The other thread has a cache and sleeps when the arena is found full. */
static void
ask_full(void)
{
    static struct place place;
    static struct weir_buf bufs[LARGE];
    open_place(&place, LARGE, 0);
    counting_visit(part_visit, &place);
    for (size_t i = 0; i < LARGE; i++)
        must(weir_arena_alloc(place.arena, 0, &bufs[i]));
    weir_buf_drop(&bufs[0]);
    must(weir_arena_alloc(place.arena, 0, &bufs[0]));

    counting_once(part_full_first, &place);
    counting_turns(ROUNDS, part_full, part_full, &place);
    for (size_t i = 0; i < LARGE; i++)
        weir_buf_drop(&bufs[i]);
    close_place(&place);
}

/* ---- Answers ----------------------------------------------------------- */

/* Prints a goal of a row; true if there is none, or it was met. */
static bool
print_goal(const char *name, const char *of, double value, double limit,
    const char **separator)
{
    bool met = limit < 0 || value <= limit;
    if (limit >= 0)
        printf("%s{\"goal\":\"%s\",\"of\":\"%s\",\"value\":%.4f,"
               "\"limit\":%g,\"least\":false,\"pass\":%s}",
            *separator, name, of, value, limit, met ? "true" : "false");
    *separator = limit >= 0 ? "," : *separator;
    return met;
}

/* Prints one row; true if its goals were met. */
static bool
print(enum row row)
{
    const struct promise *promise = &promises[row];
    const struct counting_tally *tally = counting_of(row);
    bool is_handoff = row >= HANDOFF_LEAST_32 && row <= HANDOFF_1024;
    const char *commit = getenv("WEIR_COMMIT");
    const char *separator = "";
    double average = (double)tally->locked / (double)tally->operations;
    double shared = (double)tally->shared / (double)tally->operations;
    double most = (double)tally->most;
    bool met = true;
    printf("{\"bench\":\"locked\",\"case\":\"%s\",\"candidate\":\"weir\","
           "\"threads\":%d,\"locked\":%.4f,\"locked_most\":%lu,"
           "\"shared\":%.4f",
        promise->name, row < BUDDY_PAIR_SMALL ? 2 : 1, average, tally->most,
        shared);
    if (is_handoff)
        printf(",\"moved\":%.4f",
            (double)tally->moved / (double)tally->operations);
    printf(",\"goals\":[");
    met &= print_goal(
        promise->goal, "locked", average, promise->average, &separator);
    met &= print_goal(promise->goal, "most", most, promise->most, &separator);
    met &= print_goal(
        promise->goal, "shared", shared, promise->shared, &separator);
    printf("],\"commit\":\"%s\"}\n", commit ? commit : "unknown");
    return met;
}

int
main(void)
{
    bool met = true;
    counting_start();
    ask_each(part_calls, ROWS, SMALL, 0);
    ask_each(part_replace, REPLACE, SMALL, 0);
    ask_each(part_burst, BURST_ALLOC, LARGE, 0);
    ask_each(part_apart, APART_SOLE, SMALL, 0);
    ask_each(part_apart, APART_CYCLE, SMALL, 0);
    ask_handoff(HANDOFF_LEAST_32, LEAST, 32);
    ask_handoff(HANDOFF_LEAST_64, LEAST, 64);
    ask_handoff(HANDOFF_32, LARGE, 32);
    ask_handoff(HANDOFF_64, LARGE, 64);
    ask_handoff(HANDOFF_1024, LARGE, FLIGHT_MAX);
    ask_each(part_uncached, UNCACHED_PAIR, SMALL, WEIR_NO_CACHE);
    ask_full();
    locked_buddy();
    counting_end();
    if (!counting_works())
        counting_fail(
            "base/atomic.h notes no writes: this would count nothing");
    for (enum row row = 0; row < ROWS; row++)
        met &= print(row);
    return met ? 0 : 1;
}

#else

int
main(void)
{
    puts("{\"bench\":\"locked\",\"case\":\"all\",\"candidate\":\"weir\","
         "\"threads\":1,\"skipped\":\"built without WEIR_COUNT_ATOMICS\"}");
    return 77;
}

#endif
