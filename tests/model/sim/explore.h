/* SPDX-License-Identifier: MIT */
/* explore: who answers "which of n?", and how often a case is run. */
#ifndef SIM_EXPLORE_H
#define SIM_EXPLORE_H

#include "sim.h"

/* What is asked. */
enum explore_question {
    EXPLORE_NEXT,    /* who runs, where nobody can go on */
    EXPLORE_PREEMPT, /* who runs, where 0 goes on */
    EXPLORE_STALE    /* how many values back a load looks; 0: the last one */
};

/* How a case is searched. */
struct explore_search {
    bool exhaustive;
    uint64_t runs_max;  /* 0: until all were run */
    uint64_t seed;      /* of the random runs */
    const char *replay; /* NULL, or the answers of the only run */
};

/* What came of it. */
struct explore_result {
    uint64_t runs;
    uint64_t steps;    /* atomic accesses and locks in all runs */
    uint64_t blind;    /* see memory.c */
    uint64_t seen;     /* runs that called sim_seen */
    uint64_t restarts; /* because two threads met at a new place */
    double seconds;    /* of the processor */
    bool complete;     /* all runs within the bounds */
    bool failed;
    char what[256];     /* how */
    char answers[4096]; /* for the replay */
};

/* Runs a case as often as the search says, or until a run fails. */
void explore(const struct sim_case *model, const struct explore_search *search,
    struct explore_result *result);

/* Whether the result is what the case says. */
bool explore_is_expected(
    const struct sim_case *model, const struct explore_result *result);

/* ---- For the machine --------------------------------------------------- */

/* The number of the run; no two have the same, and none has 0. */
extern uint32_t explore_run;

/* True while a replay prints what happens. */
extern bool explore_tracing;

/* An answer below `options`, which is above 0. */
unsigned explore_choose(enum explore_question question, unsigned options);

/* Prints a line of the trace, if there is one. */
void explore_trace(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* Counts an access to the model's memory that it only approximates. */
void explore_blind(void);

/*
 * A place where threads may meet. Only where two threads of the case do, and
 * one of them writes, is it worth asking who runs next; which places these are
 * is learned from the runs, for each case anew.
 */
struct explore_place {
    uintptr_t object;
    uint8_t readers; /* threads, as bits */
    uint8_t writers;
    bool is_shared;
};

struct explore_place *explore_place(const volatile void *object);

/* The calling thread is there. False: it is not worth asking who runs next. */
bool explore_visit(struct explore_place *place, bool writes);

#endif
