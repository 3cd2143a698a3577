/* SPDX-License-Identifier: MIT */
/*
 * bench_locked: how many locked instructions does each call take?
 *
 * Idea
 *   The library's atomics have names (src/base/atomic.h). Compiled together
 *   with this file and WEIR_COUNT_ATOMICS, each locked one adds to a counter of
 *   its thread. So this counts where the other benches measure, and the answer
 *   is the same on every machine, however busy.
 *
 *   Every call is made a few hundred times on a warm arena. Printed are the
 *   average and the most of any single call. The goals are the promises of
 *   weir.h: freezing, cutting, and the first 40 clones of a handle take none,
 *   ever; alloc and release together at most 2, and the full cycle, with one
 *   clone, at most 3, on average, whichever of the two is released last.
 *
 * Limits
 *   One thread, so no exchange ever fails. Mutexes are the system's and are not
 *   counted. Built without the counter it says so and exits with 77; exits with
 *   1 if a goal is missed.
 */
#include <weir/weir.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WEIR_COUNT_ATOMICS

extern __thread unsigned long wr_locked_count; /* of base/atomic.h */

enum { BLOCKS = 256, TIMES = 300, CLONES = 40, MESSAGE = 64 };

struct tally {
    const char *name;
    double average_goal; /* below 0: none */
    double most_goal;    /* below 0: none */
    unsigned long total;
    unsigned long most;
    unsigned long calls;
};

enum call {
    ALLOC,
    DROP,
    FREEZE,
    CLONE,
    CLONE_SHARED,
    SUB,
    SPLIT,
    RELEASE_SOLE,
    RELEASE_CLONE,
    RELEASE_LAST,
    PAIR,
    CYCLE_SOLE,
    CYCLE,
    CYCLE_CLONE_FIRST
};

static struct tally tallies[] = {
    [ALLOC] = { "alloc", -1, -1, 0, 0, 0 },
    [DROP] = { "drop", -1, -1, 0, 0, 0 },
    [FREEZE] = { "freeze", -1, 0, 0, 0, 0 },
    [CLONE] = { "clone, the first 40 of a handle", -1, 0, 0, 0, 0 },
    [CLONE_SHARED] = { "clone_shared", -1, -1, 0, 0, 0 },
    [SUB] = { "sub", -1, 0, 0, 0, 0 },
    [SPLIT] = { "split", -1, -1, 0, 0, 0 },
    [RELEASE_SOLE] = { "release, never cloned", -1, -1, 0, 0, 0 },
    [RELEASE_CLONE] = { "release of a clone", -1, -1, 0, 0, 0 },
    [RELEASE_LAST] = { "release of the last of 41", -1, -1, 0, 0, 0 },
    [PAIR] = { "alloc, drop", 2, -1, 0, 0, 0 },
    [CYCLE_SOLE] = { "alloc, freeze, release", 2, -1, 0, 0, 0 },
    [CYCLE] = { "full cycle with a clone", 3, -1, 0, 0, 0 },
    [CYCLE_CLONE_FIRST] = { "the same, the clone released first", 3, -1, 0, 0,
        0 },
};

static void
must(enum weir_status status)
{
    if (status == WEIR_OK)
        return;
    fprintf(stderr, "bench_locked: %s\n", weir_status_name(status));
    exit(1);
}

/* Counts what happened since the counter stood at `before`. */
static void
add(enum call call, unsigned long before)
{
    struct tally *tally = &tallies[call];
    unsigned long count = wr_locked_count - before;
    tally->total += count;
    tally->most = count > tally->most ? count : tally->most;
    tally->calls++;
}

/* ---- Calls ------------------------------------------------------------- */

static void
count_alloc(struct weir_arena *arena, struct weir_buf *buf)
{
    unsigned long before = wr_locked_count;
    must(weir_arena_alloc(arena, 0, buf));
    add(ALLOC, before);
    memset(weir_buf_tail(buf), 0, MESSAGE);
    weir_buf_commit(buf, MESSAGE);
}

static void
count_message(struct weir_arena *arena, struct weir_slice *slice)
{
    struct weir_buf buf;
    count_alloc(arena, &buf);
    unsigned long before = wr_locked_count;
    weir_buf_freeze(&buf, slice);
    add(FREEZE, before);
}

static void
count_release(enum call call, struct weir_slice *slice)
{
    unsigned long before = wr_locked_count;
    weir_slice_release(slice);
    add(call, before);
}

static void
count_pair(struct weir_arena *arena)
{
    unsigned long all = wr_locked_count;
    struct weir_buf buf;
    count_alloc(arena, &buf);
    unsigned long before = wr_locked_count;
    weir_buf_drop(&buf);
    add(DROP, before);
    add(PAIR, all);
}

static void
count_cycle_sole(struct weir_arena *arena)
{
    unsigned long all = wr_locked_count;
    struct weir_slice slice;
    count_message(arena, &slice);
    count_release(RELEASE_SOLE, &slice);
    add(CYCLE_SOLE, all);
}

/* Two readers; either may be the last. */
static void
count_cycle(enum call call, struct weir_arena *arena)
{
    unsigned long all = wr_locked_count;
    struct weir_slice slice;
    struct weir_slice copy;
    count_message(arena, &slice);
    weir_slice_clone(&slice, &copy);
    weir_slice_release(call == CYCLE ? &slice : &copy);
    weir_slice_release(call == CYCLE ? &copy : &slice);
    add(call, all);
}

static void
count_clones(struct weir_arena *arena)
{
    struct weir_slice slice;
    struct weir_slice copies[CLONES];
    count_message(arena, &slice);
    for (int i = 0; i < CLONES; i++) {
        unsigned long before = wr_locked_count;
        weir_slice_clone(&slice, &copies[i]);
        add(CLONE, before);
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
    unsigned long before = wr_locked_count;
    must(weir_slice_sub(&slice, 1, MESSAGE / 2, &part));
    add(SUB, before);
    before = wr_locked_count;
    weir_slice_clone_shared(&slice, &copy);
    add(CLONE_SHARED, before);
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
    unsigned long before = wr_locked_count;
    weir_buf_split(&buf, &slice);
    add(SPLIT, before);
    weir_buf_drop(&buf);
    weir_slice_release(&slice);
}

/* The first call on an arena makes the thread's record of it. */
static void
warm(struct weir_arena *arena)
{
    struct weir_buf buf;
    must(weir_arena_alloc(arena, 0, &buf));
    weir_buf_drop(&buf);
}

/* ---- Answers ----------------------------------------------------------- */

/* Prints one tally; true if its goals were met. */
static bool
print(const struct tally *tally)
{
    const char *commit = getenv("WEIR_COMMIT");
    double average = (double)tally->total / (double)tally->calls;
    bool average_met =
        tally->average_goal < 0 || average <= tally->average_goal;
    bool most_met =
        tally->most_goal < 0 || (double)tally->most <= tally->most_goal;
    printf("{\"bench\":\"locked\",\"case\":\"%s\",\"candidate\":\"weir\","
           "\"threads\":1,\"locked\":%.3f,\"locked_most\":%lu",
        tally->name, average, tally->most);
    if (tally->average_goal >= 0)
        printf(",\"goal\":%.0f,\"goal_of\":\"locked\",\"pass\":%s",
            tally->average_goal, average_met ? "true" : "false");
    if (tally->most_goal >= 0)
        printf(",\"goal\":%.0f,\"goal_of\":\"locked_most\",\"pass\":%s",
            tally->most_goal, most_met ? "true" : "false");
    printf(",\"commit\":\"%s\"}\n", commit ? commit : "unknown");
    return average_met && most_met;
}

int
main(void)
{
    struct weir_arena *arena;
    bool met = true;
    must(weir_arena_create(
        &(struct weir_arena_config){ .block_count = BLOCKS }, &arena));
    warm(arena);
    for (int i = 0; i < TIMES; i++) {
        count_pair(arena);
        count_cycle_sole(arena);
        count_cycle(CYCLE, arena);
        count_cycle(CYCLE_CLONE_FIRST, arena);
        count_clones(arena);
        count_parts(arena);
        count_split(arena);
    }
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
    for (size_t i = 0; i < sizeof(tallies) / sizeof(tallies[0]); i++)
        met &= print(&tallies[i]);
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
