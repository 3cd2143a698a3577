/* SPDX-License-Identifier: MIT */
/*
 * counting: what bench_locked counts with, two threads that take turns.
 *
 * How it counts is in counting.c. Only where WEIR_COUNT_ATOMICS is defined.
 */
#ifndef BENCH_COUNTING_H
#define BENCH_COUNTING_H

#include <stdbool.h>
#include <stdint.h>

enum { COUNTING_ROWS_MAX = 64 };

/* What was counted of one row. */
struct counting_tally {
    unsigned long operations;
    unsigned long locked;
    unsigned long most;   /* locked ones in one span */
    unsigned long shared; /* writes to lines that both threads wrote */
    unsigned long moved;  /* those to a line that the other one wrote last */
};

/* What happens between two points of one thread. */
struct counting_span {
    unsigned row;
    uint32_t operations;
    unsigned long locked;
    uint32_t from; /* writes */
    uint32_t to;
};

/* Starts and ends the other thread. */
void counting_start(void);
void counting_end(void);

/* Runs `part` on the other thread, uncounted, and waits for its end. */
void counting_visit(void (*part)(void *place), void *place);

/*
 * Runs both parts in turns, `rounds` times, after a turn that warms up: `ours`
 * on this thread and `theirs` on the other. Then adds up what was counted.
 */
void counting_turns(unsigned rounds, void (*ours)(void *place),
    void (*theirs)(void *place), void *place);

/* Runs one part on this thread, counted, without warming up. */
void counting_once(void (*part)(void *place), void *place);

/* Begins a span of a row; what it returns goes to counting_until, on the same
   thread, with the operations that were done. Spans may lie in each other. */
struct counting_span counting_from(unsigned row);
void counting_until(struct counting_span span, uint32_t operations);

/* The sum of a row. */
const struct counting_tally *counting_of(unsigned row);

/* False if the library was built so that it notes no writes. */
bool counting_works(void);

/* Ends the program with a line that says why. */
_Noreturn void counting_fail(const char *what);

#endif
