/* SPDX-License-Identifier: MIT */
/*
 * weir_model: runs cases, replays failures, and tries weaker orders.
 *
 *     weir_model list
 *     weir_model check [--walk N] [--random N] [--seed S] [--preemptions N]
 *                      [--stales N] [--jobs N] [CASE...]
 *     weir_model replay CASE ANSWERS
 *     weir_model sites
 *     weir_model orders [--accept FILE] [--jobs N]
 *     weir_model refute
 *
 * `check` walks through at most N runs (0: to the end) within the bounds of each
 * case, or others, and then makes N random ones. `wait*` names many cases.
 * --jobs: in so many processes. For a long night: --walk 0 --preemptions 3 --stales 2 --random 10000000.
 *
 * With --weaken SITE=ORDER before the verb one access of the library has another
 * order, as `sites` and `orders` name them. Exit 0: as claimed; 1: not; 2: bad
 * arguments.
 */

#include "cases.h"
#include "explore.h"
#include "jobs.h"
#include "orders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WALK_RUNS = 200000, RANDOM_RUNS = 100000 };

static const struct sim_case *const lists[] = { litmus_cases, barrier_cases,
    bitmap_cases, sweep_cases, full_cases, cache_cases, refs_cases,
    waiter_cases, end_cases, record_cases, heap_cases, heap_life_cases,
    buddy_cases, buddy_full_cases, buddy_arena_cases, buddy_arena_end_cases };

struct options {
    uint64_t walk; /* runs; 0: to the end */
    uint64_t random;
    uint64_t seed;
    uint64_t preemptions; /* 0: as the case says */
    uint64_t stales;
    unsigned jobs;
    const char *accept;
    char **names;
    int name_count;
};

static bool
is_wanted(const struct options *options, const char *name)
{
    for (int i = 0; i < options->name_count; i++) {
        const char *pattern = options->names[i];
        size_t len = strlen(pattern);
        bool is_prefix = len > 0 && pattern[len - 1] == '*';
        if (is_prefix ? strncmp(pattern, name, len - 1) == 0
                      : strcmp(pattern, name) == 0)
            return true;
    }
    return options->name_count == 0;
}

static void
print_result(const struct sim_case *model, const char *how,
    const struct explore_result *result, bool good)
{
    (void)printf("%-4s %-22s %-6s %8llu runs %7.2f s %8.0f/s",
        good ? "ok" : "BAD", model->name, how, (unsigned long long)result->runs,
        result->seconds, (double)result->runs / (result->seconds + 1e-9));
    if (result->complete)
        (void)printf("  complete");
    if (result->blind > 0)
        (void)printf("  %llu blind writes", (unsigned long long)result->blind);
    (void)printf("\n");
    if (good)
        return;
    if (result->failed)
        (void)printf("     %s\n     replay %s %s\n", result->what, model->name,
            result->answers[0] != '\0' ? result->answers : "0:0");
    else
        (void)printf("     expected, and did not come: %s\n", model->claim);
}

static bool
check_case(const struct sim_case *original, const struct options *options)
{
    struct explore_result result;
    struct sim_case bounded = *original;
    const struct sim_case *model = &bounded;
    if (options->preemptions != 0)
        bounded.preemptions = (uint8_t)options->preemptions;
    if (options->stales != 0)
        bounded.stales = (uint8_t)options->stales;
    struct explore_search search = { .exhaustive = true,
        .runs_max = options->walk };
    explore(model, &search, &result);
    bool good = explore_is_expected(model, &result);
    print_result(model, "walk", &result, good);
    if (!good || model->verdict != SIM_HOLDS || options->random == 0)
        return good;
    bool is_few = model->random != 0 && options->random == RANDOM_RUNS;
    search = (struct explore_search){ .runs_max = is_few ? model->random
                                                         : options->random,
        .seed = options->seed };
    explore(model, &search, &result);
    good = explore_is_expected(model, &result);
    print_result(model, "random", &result, good);
    return good;
}

static int
check(const struct options *options)
{
    bool good = true;
    unsigned count = 0;
    jobs_begin(options->jobs);
    unsigned mine = jobs_next();
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct sim_case *c = lists[i]; c->name != NULL; c++) {
            if (!is_wanted(options, c->name) || count++ != mine)
                continue;
            good = check_case(c, options) && good;
            (void)fflush(stdout);
            mine = jobs_next();
        }
    int status = jobs_end(good && count > 0 ? 0 : 1);
    if (count == 0)
        (void)printf("no such case\n");
    return status;
}

static int
list(void)
{
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct sim_case *c = lists[i]; c->name != NULL; c++)
            (void)printf("%-22s %s\n", c->name, c->claim);
    return 0;
}

static int
replay(const struct options *options)
{
    if (options->name_count != 2)
        return 2;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct sim_case *c = lists[i]; c->name != NULL; c++) {
            if (strcmp(c->name, options->names[0]) != 0)
                continue;
            struct explore_search search = { .replay = options->names[1] };
            struct explore_result result;
            (void)printf("%s: %s\n", c->name, c->claim);
            explore(c, &search, &result);
            (void)printf("%s\n", result.failed ? result.what : "no failure");
            return 0;
        }
    return 2;
}

/* Takes what stands before the verb and behind it; false: it makes no sense. */
static bool
read_option(struct options *options, const char *name, const char *value)
{
    if (strcmp(name, "--walk") == 0)
        options->walk = strtoull(value, NULL, 10);
    else if (strcmp(name, "--random") == 0)
        options->random = strtoull(value, NULL, 10);
    else if (strcmp(name, "--seed") == 0)
        options->seed = strtoull(value, NULL, 10);
    else if (strcmp(name, "--preemptions") == 0)
        options->preemptions = strtoull(value, NULL, 10);
    else if (strcmp(name, "--stales") == 0)
        options->stales = strtoull(value, NULL, 10);
    else if (strcmp(name, "--jobs") == 0)
        options->jobs = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(name, "--accept") == 0)
        options->accept = value;
    else if (strcmp(name, "--weaken") == 0)
        return orders_weaken(value);
    else
        return false;
    return true;
}

static int
run(const char *verb, const struct options *options)
{
    if (strcmp(verb, "list") == 0)
        return list();
    if (strcmp(verb, "check") == 0)
        return check(options);
    if (strcmp(verb, "replay") == 0)
        return replay(options);
    if (strcmp(verb, "sites") == 0)
        return orders_list();
    if (strcmp(verb, "refute") == 0)
        return orders_refute(lists, sizeof lists / sizeof lists[0]);
    if (strcmp(verb, "orders") == 0)
        return orders_try(lists, sizeof lists / sizeof lists[0],
            options->accept, options->jobs);
    return 2;
}

int
main(int argc, char **argv)
{
    struct options options = {
        .walk = WALK_RUNS, .random = RANDOM_RUNS, .seed = 1, .jobs = 1
    };
    const char *verb = "";
    int at = 1;
    for (; at < argc; at++) {
        if (strncmp(argv[at], "--", 2) == 0) {
            if (at + 1 == argc ||
                !read_option(&options, argv[at], argv[at + 1]))
                return (void)fprintf(stderr, "what is %s?\n", argv[at]), 2;
            at++;
        } else if (verb[0] == '\0') {
            verb = argv[at];
        } else {
            break;
        }
    }
    options.names = argv + at;
    options.name_count = argc - at;
    int status = run(verb, &options);
    if (status == 2)
        (void)fprintf(stderr,
            "usage: weir_model list|check|replay|sites|orders|refute; "
            "see the top of main.c\n");
    return status;
}
