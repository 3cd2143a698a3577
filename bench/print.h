/* SPDX-License-Identifier: MIT */
/* print: between harness.c, which measures, and print.c, which prints. */
#ifndef BENCH_PRINT_H
#define BENCH_PRINT_H

#include "harness.h"

#include <stdbool.h>
#include <stddef.h>

enum { BENCH_ROUNDS = 101, BENCH_MACHINE_SIZE = 192 };

/* A case and its nanoseconds an operation. */
struct bench_measured {
    struct bench_case what;
    size_t passes; /* in one window */
    double ns[BENCH_ROUNDS];
    double minimum;
    double quartile;
    double median;
    double high; /* 99 of 100 are below */
};

/* What is the same for all cases of a run. */
struct bench_about {
    const char *name;
    char machine[BENCH_MACHINE_SIZE];
    const char *commit;
    const char *linked;
    double load;
    bool quick;
    bool table;
};

/* Prints a case as a JSON line on stdout; `r` is the case that measured R. */
void bench_print_case(const struct bench_about *about,
    const struct bench_measured *one, const struct bench_measured *r);

/* Prints a fact as a JSON line on stdout. */
void bench_print_fact(
    const struct bench_about *about, const struct bench_fact *fact);

/* Prints `count` cases as a table on stderr. */
void bench_print_table(const struct bench_about *about,
    const struct bench_measured *cases, size_t count,
    const struct bench_measured *r);

#endif
