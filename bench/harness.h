/* SPDX-License-Identifier: MIT */
/*
 * harness: cases side by side, in one process, in units of R.
 *
 *     round 1   empty  R  case 1  case 2  ...  case n     one window each
 *     round 2   empty  R  case 1  case 2  ...  case n
 *     ...
 *
 * A bench declares cases with bench_add and calls bench_run, which prints one
 * JSON line a case. A case is a loop of its own: what it calls is called
 * directly, so that no function pointer stands between the candidate and the
 * clock. How the numbers are made, and why so, is in harness.c.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <weir/weir.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_CASES_MAX = 128, BENCH_THREADS_MAX = 8 };

enum bench_clock {
    BENCH_WALL, /* of the first thread */
    BENCH_CPU   /* of all threads, a thread's share: good under any load */
};

/*
 * Does `n` passes. Thread 0 is the main thread; the threads of a case run its
 * loop at once and with the same `n`.
 */
typedef void bench_loop_fn(void *state, unsigned thread, size_t n);

struct bench_case {
    const char *name;      /* what is done */
    const char *candidate; /* by whom */
    bench_loop_fn *loop;
    void *state;
    unsigned threads;   /* 0: one */
    unsigned per;       /* operations in one pass. 0: one */
    unsigned window_us; /* 0: 200 */
    enum bench_clock clock;
    const struct bench_case *base; /* also compared with this one */
    const char *skipped;           /* why it cannot run here. NULL: it can */

    /* What it is held to, in lower quartiles. 0: no goal. */
    const char *goal;  /* its name in README.md. NULL: it has none */
    double goal_r;     /* at most so many R */
    double goal_ns;    /* at most so many ns */
    double goal_base;  /* at most so many of `base` */
    double goal_least; /* at least so many of `base` */
    double goal_more;  /* at most so many ns more than `base` */
};

/* What is counted or looked up, and not measured. */
struct bench_fact {
    const char *name;
    double value;
    const char *unit;
    const char *goal; /* its name in README.md. NULL: there is no goal */
    double limit;     /* the goal: at most so much */
};

/* An allocator to compare with. */
struct bench_peer {
    const char *name;
    void *(*alloc)(size_t size);
    void *(*alloc_aligned)(size_t align, size_t size);
    void (*release)(void *memory);
    const char *skipped; /* why it is not there. NULL: it is */
};

enum {
    BENCH_GLIBC,
    BENCH_MIMALLOC,
    BENCH_JEMALLOC,
    BENCH_TCMALLOC,
    BENCH_PEER_COUNT
};

/*
 * Reads the arguments (--quick, --table), pins this thread, parks a second one
 * and loads the peers. It may start the program anew, so it comes first.
 */
void bench_start(const char *name, int argc, char **argv);

/* True if it only has to work: --quick. After bench_start. */
bool bench_is_quick(void);

/* Starts the program anew, with `argv`, if the peers need that. */
void bench_peers_prepare(char **argv);

/* Loads the peers. bench_start does both. */
void bench_peers_load(void);

/* BENCH_PEER_COUNT of them, in the order of their names above. */
struct bench_peer *bench_peers(void);

/* Adds a case; what it returns is good for `base` of a later one. */
const struct bench_case *bench_add(const struct bench_case *one);

/* Measures, prints, and returns what main returns. */
int bench_run(void);

/* Prints a fact, at once. */
void bench_tell(const struct bench_fact *fact);

/* Ends the program with a line that says why. */
_Noreturn void bench_fail(const char *what);

/* An arena of `count` blocks of `size` bytes, every page touched or none. */
struct weir_arena *bench_arena(size_t count, size_t size, unsigned flags);

/* Fails unless the arena is sound and every block is home; destroys it. */
void bench_arena_end(struct weir_arena **arena);

/* Every call in a bench is meant to succeed. */
static inline void
bench_must(enum weir_status status)
{
    if (status != WEIR_OK)
        bench_fail(weir_status_name(status));
}

/* Makes the compiler believe that somebody looks at `value`. */
static inline void
bench_keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value));
}

/* The next of a row of numbers; the high bits are the random ones. */
static inline uint64_t
bench_random(uint64_t *row)
{
    *row = *row * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *row;
}

/* A number below `limit`. */
static inline uint32_t
bench_random_below(uint64_t *row, uint32_t limit)
{
    return (uint32_t)(((bench_random(row) >> 32) * limit) >> 32);
}

#endif
