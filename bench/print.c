/* SPDX-License-Identifier: MIT */
/*
 * print: what was measured, a JSON line a case, or a table.
 *
 * Idea
 *   A line has everything that is known of a case, and for each of its goals
 *   the number that is judged, the limit and the verdict. So a reader of lines,
 *   such as report.py, needs to know no goal.
 */
#include "print.h"

#include <stdbool.h>
#include <stdio.h>

/* One thing a case is held to. */
struct goal {
    const char *of; /* what the number counts */
    double value;
    double limit; /* 0: it is not held to this */
    bool least;
};

static const struct bench_measured *
base_of(const struct bench_measured *one)
{
    const struct bench_case *base = one->what.base;
    if (!base || base->skipped)
        return NULL;
    return (const struct bench_measured *)base; /* its first member */
}

static void
print_goal(const char *name, const struct goal *goal, const char **separator)
{
    if (goal->limit <= 0)
        return;
    bool met =
        goal->least ? goal->value >= goal->limit : goal->value <= goal->limit;
    printf("%s{\"goal\":\"%s\",\"of\":\"%s\",\"value\":%.3f,\"limit\":%.4g,"
           "\"least\":%s,\"pass\":%s}",
        *separator, name ? name : "", goal->of, goal->value, goal->limit,
        goal->least ? "true" : "false", met ? "true" : "false");
    *separator = ",";
}

static void
print_goals(const struct bench_measured *one, const struct bench_measured *r)
{
    const struct bench_case *what = &one->what;
    const struct bench_measured *base = base_of(one);
    const char *separator = "";
    double ns = one->quartile;
    double base_ns = base ? base->quartile : 0;
    const struct goal goals[] = {
        { "R", ns / r->quartile, what->goal_r, false },
        { "ns", ns, what->goal_ns, false },
        { "base", base ? ns / base_ns : 0, base ? what->goal_base : 0, false },
        { "base", base ? ns / base_ns : 0, base ? what->goal_least : 0, true },
        { "more ns", ns - base_ns, base ? what->goal_more : 0, false },
    };
    printf(",\"goals\":[");
    for (size_t i = 0; i < sizeof(goals) / sizeof(goals[0]); i++)
        print_goal(what->goal, &goals[i], &separator);
    printf("]");
}

static void
print_numbers(const struct bench_measured *one, const struct bench_measured *r)
{
    const struct bench_measured *base = base_of(one);
    printf(",\"clock\":\"%s\",\"min_ns\":%.3f,\"p25_ns\":%.3f,"
           "\"median_ns\":%.3f,\"p99_ns\":%.3f",
        one->what.clock == BENCH_CPU ? "cpu" : "wall", one->minimum,
        one->quartile, one->median, one->high);
    printf(
        ",\"r\":%.3f,\"ratio\":%.3f,\"ratio_min\":%.3f,\"ratio_median\":%.3f",
        r->quartile, one->quartile / r->quartile, one->minimum / r->minimum,
        one->median / r->median);
    if (base)
        printf(",\"base\":\"%s: %s\",\"base_ratio\":%.3f", base->what.name,
            base->what.candidate, one->quartile / base->quartile);
    print_goals(one, r);
}

/* The end of every line. */
static void
print_about(const struct bench_about *about)
{
    printf(",\"quick\":%s,\"linked\":\"%s\",\"load\":%.2f,"
           "\"machine\":\"%s\",\"commit\":\"%s\"}\n",
        about->quick ? "true" : "false", about->linked, about->load,
        about->machine, about->commit);
}

void
bench_print_case(const struct bench_about *about,
    const struct bench_measured *one, const struct bench_measured *r)
{
    printf("{\"bench\":\"%s\",\"case\":\"%s\",\"candidate\":\"%s\","
           "\"threads\":%u",
        about->name, one->what.name, one->what.candidate, one->what.threads);
    if (one->what.skipped)
        printf(",\"skipped\":\"%s\"", one->what.skipped);
    else
        print_numbers(one, r);
    print_about(about);
}

void
bench_print_fact(const struct bench_about *about, const struct bench_fact *fact)
{
    printf("{\"bench\":\"%s\",\"case\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"",
        about->name, fact->name, fact->value, fact->unit);
    if (fact->goal)
        printf(",\"goals\":[{\"goal\":\"%s\",\"of\":\"%s\",\"value\":%.3f,"
               "\"limit\":%.4g,\"least\":false,\"pass\":%s}]",
            fact->goal, fact->unit, fact->value, fact->limit,
            fact->value <= fact->limit ? "true" : "false");
    print_about(about);
}

static void
print_row(const struct bench_measured *one, const struct bench_measured *r)
{
    const struct bench_case *what = &one->what;
    fprintf(
        stderr, "%-34s %-20s %u", what->name, what->candidate, what->threads);
    if (what->skipped) {
        fprintf(stderr, "  skipped: %s\n", what->skipped);
        return;
    }
    fprintf(stderr, " %8.2f %8.2f %8.2f %7.2f", one->minimum, one->quartile,
        one->median, one->quartile / r->quartile);
    if (base_of(one))
        fprintf(stderr, " %7.2f", one->quartile / base_of(one)->quartile);
    fputc('\n', stderr);
}

void
bench_print_table(const struct bench_about *about,
    const struct bench_measured *cases, size_t count,
    const struct bench_measured *r)
{
    fprintf(stderr, "bench_%s on %s, weir linked %s, load %.2f\n", about->name,
        about->machine, about->linked, about->load);
    fprintf(stderr, "%-34s %-20s %s %8s %8s %8s %7s %7s\n", "case", "candidate",
        "t", "min ns", "p25 ns", "median", "R", "base");
    for (size_t i = 0; i < count; i++)
        print_row(&cases[i], r);
}
