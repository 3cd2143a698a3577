/* SPDX-License-Identifier: MIT */
/*
 * bench_full: what does it cost to be told that an arena is full?
 *
 *     FULL, again      an alloc from an arena of which every block is out
 *     FULL, changed    the same after a release and an alloc, which is
 *                      subtracted
 *     FULL, first      the same after so many releases and allocs that the
 *                      thread keeps free blocks at hand again
 *
 * Idea
 *   Who asks a full arena asks again and again. The first answer takes back
 *   what threads keep at hand, with a barrier on every processor; from then on
 *   the answer is looked up, or searched for if a block came home meanwhile.
 *
 *   What is subtracted is a pair on an arena without caches, since caches are
 *   off while an arena is full. The first answer is timed by itself, for what
 *   goes before it takes longer; told is the lower quartile.
 *
 *   How often caches were taken back is told too: never for an answer that
 *   follows another; for one after a release and an alloc as often as caches
 *   come back, once in 64 allocs at most; and for one that is meant to be first
 *   it should be once.
 *
 * Limits
 *   One thread asks, and the other processor is idle: there the barrier costs
 *   least.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    BLOCK = 64,
    MANY = 256, /* allocs, some of which give a thread a cache again */
    TRIES = 16,
    STREAM = 10000,
    FIRSTS = 101,
    TEXT = 48
};

/* An arena that is full, but for what a loop releases and takes again. */
struct full {
    struct weir_arena *arena;
    struct weir_buf *bufs;
    uint32_t count;
};

/* ---- Loops ------------------------------------------------------------- */

static inline void
expect_full(struct weir_arena *arena)
{
    struct weir_buf none;
    if (weir_arena_alloc(arena, BLOCK, &none) != WEIR_FULL)
        bench_fail("a full arena had a block");
}

static void
loop_again(void *state, unsigned thread, size_t n)
{
    struct full *full = state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        expect_full(full->arena);
}

/* Releases `count` blocks, and takes as many. */
static inline void
exchange(struct full *full, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        weir_buf_drop(&full->bufs[i]);
    for (uint32_t i = 0; i < count; i++)
        bench_must(weir_arena_alloc(full->arena, BLOCK, &full->bufs[i]));
}

static void
loop_exchange(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++)
        exchange(state, 1);
}

static void
loop_changed(void *state, unsigned thread, size_t n)
{
    struct full *full = state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        exchange(full, 1);
        expect_full(full->arena);
    }
}

/* ---- Full arenas ------------------------------------------------------- */

enum { SIZES = 3 };

static const struct size {
    const char *name;
    uint32_t count;
    double goal_ns;  /* of every answer but the first */
    double first_ns; /* of the first. 0: no goal */
} sizes[SIZES] = {
    { "1 k", 1 << 10, 50, 4000 },
    { "64 k", 1 << 16, 50, 4000 },
    { "1 M", 1 << 20, 200, 0 },
};

static void
fill(struct full *full, uint32_t count, unsigned flags)
{
    full->arena = bench_arena(count, BLOCK, flags);
    full->count = count;
    full->bufs = calloc(count, sizeof(*full->bufs));
    if (!full->bufs)
        bench_fail("no memory");
    for (uint32_t i = 0; i < count; i++)
        bench_must(weir_arena_alloc(full->arena, BLOCK, &full->bufs[i]));
}

static void
empty(struct full *full)
{
    for (uint32_t i = 0; i < full->count; i++)
        weir_buf_drop(&full->bufs[i]);
    free(full->bufs);
    bench_arena_end(&full->arena);
}

/* ---- The questions ----------------------------------------------------- */

enum { AGAIN, CHANGED, UNCACHED, ARENAS };

static struct full fulls[SIZES][ARENAS];

/* The name lives as long as the program. */
static const char *
sized(const char *name, const struct size *size)
{
    static char texts[64][TEXT];
    static size_t used;
    if (used == sizeof(texts) / sizeof(texts[0]))
        bench_fail("too many names");
    char *text = texts[used++];
    snprintf(text, TEXT, "%s, %s", name, size->name);
    return text;
}

static void
ask(struct full *all, const struct size *size)
{
    bench_add(&(struct bench_case){ .name = sized("FULL, again", size),
        .candidate = "weir",
        .loop = loop_again,
        .state = &all[AGAIN],
        .goal = "G10",
        .goal_ns = size->goal_ns });
    const struct bench_case *pair = bench_add(
        &(struct bench_case){ .name = sized("a release, an alloc", size),
            .candidate = "weir, no cache",
            .loop = loop_exchange,
            .state = &all[UNCACHED] });
    bench_add(&(struct bench_case){ .name = sized("FULL, changed", size),
        .candidate = "weir",
        .loop = loop_changed,
        .state = &all[CHANGED],
        .base = pair,
        .goal = "G10",
        .goal_more = size->goal_ns });
}

/* ---- What is told ------------------------------------------------------ */

static double
now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int
compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* How often an arena took caches back, and said full. */
static void
look(const struct full *full, double *sweeps, double *answers)
{
    struct weir_stats stats;
    weir_arena_stats(full->arena, &stats);
    *sweeps = (double)stats.sweeps - *sweeps;
    *answers = (double)stats.alloc_fulls - *answers;
}

static void
tell_sweeps(const char *name, double sweeps, double answers, double limit)
{
    bench_tell(&(struct bench_fact){ .name = name,
        .value = sweeps / answers,
        .unit = "sweeps an answer",
        .goal = limit < 0 ? NULL : "G10",
        .limit = limit });
}

static void
tell_of_stream(
    const char *name, struct full *full, bench_loop_fn *loop, double limit)
{
    double sweeps = 0;
    double answers = 0;
    loop(full, 0, 1);
    look(full, &sweeps, &answers);
    loop(full, 0, STREAM);
    look(full, &sweeps, &answers);
    tell_sweeps(name, sweeps, answers, limit);
}

/* Releases and allocs until the thread keeps blocks at hand again, or will not. */
static void
end_drought(struct full *full)
{
    struct weir_stats stats = { 0 };
    for (int i = 0; i < TRIES && stats.caches == 0; i++) {
        exchange(full, MANY);
        weir_arena_stats(full->arena, &stats);
    }
}

/* The clock's own time is in it. */
static void
tell_of_first(struct full *full, const struct size *size)
{
    double ns[FIRSTS];
    double sweeps = 0;
    double answers = 0;
    look(full, &sweeps, &answers);
    for (size_t i = 0; i < FIRSTS; i++) {
        end_drought(full);
        double start = now_ns();
        expect_full(full->arena);
        ns[i] = now_ns() - start;
    }
    look(full, &sweeps, &answers);
    qsort(ns, FIRSTS, sizeof(ns[0]), compare);
    bench_tell(&(struct bench_fact){ .name = sized("FULL, first", size),
        .value = ns[FIRSTS / 4],
        .unit = "ns",
        .goal = size->first_ns > 0 ? "G10" : NULL,
        .limit = size->first_ns });
    tell_sweeps(sized("sweeps, FULL, first", size), sweeps, answers, -1);
}

static void
tell(struct full *all, const struct size *size)
{
    tell_of_stream(
        sized("sweeps, FULL, again", size), &all[AGAIN], loop_again, 0);
    tell_of_stream(sized("sweeps, FULL, changed", size), &all[CHANGED],
        loop_changed, 1.0 / 64);
    tell_of_first(&all[CHANGED], size);
}

int
main(int argc, char **argv)
{
    bench_start("full", argc, argv);
    size_t size_count = bench_is_quick() ? SIZES - 1 : SIZES;
    for (size_t i = 0; i < size_count; i++) {
        for (size_t k = 0; k < ARENAS; k++)
            fill(&fulls[i][k], sizes[i].count,
                k == UNCACHED ? WEIR_NO_CACHE : 0);
        tell(fulls[i], &sizes[i]);
        ask(fulls[i], &sizes[i]);
    }

    int status = bench_run();
    for (size_t i = 0; i < size_count; i++)
        for (size_t k = 0; k < ARENAS; k++)
            empty(&fulls[i][k]);
    return status;
}
