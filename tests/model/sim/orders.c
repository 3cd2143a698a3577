/* SPDX-License-Identifier: MIT */
/*
 * orders: every atomic access of the library, and what if its order were weaker.
 *
 * Idea
 *   An order that nobody misses is either a mistake or a gap in the cases. So
 *   each access is made weaker in every way there is, one at a time, and the
 *   cases must notice. The cases take turns with growing numbers of random
 *   runs, since one that notices mostly does so within some hundred; what is
 *   left then is searched exhaustively, unless it is known not to be noticed.
 *
 *   An access is named by its file, function and operation. Two of one name
 *   change together; an inline function has one record in each source.
 */

#include "orders.h"

#include "explore.h"
#include "jobs.h"

#include <stdio.h>
#include <string.h>

enum { TURNS = 4, TURN_RUNS = 300, WALK_RUNS = 8000, NAME_SIZE = 160 };

extern struct sim_site *sites_begin[] __asm__("__start_sim_sites");
extern struct sim_site *sites_end[] __asm__("__stop_sim_sites");

static const struct {
    enum sim_order order;
    const char *name;
} orders[] = {
    { SIM_RELAXED, "relaxed" },
    { SIM_ACQUIRE, "acquire" },
    { SIM_RELEASE, "release" },
    { SIM_ACQ_REL, "acq_rel" },
    { SIM_SEQ, "seq" },
};
enum { ORDERS = sizeof orders / sizeof orders[0] };

static const char *
order_name(enum sim_order order)
{
    for (unsigned i = 0; i < ORDERS; i++)
        if (orders[i].order == order)
            return orders[i].name;
    return "?";
}

const char *
orders_file(const struct sim_site *site)
{
    const char *file = NULL;
    for (const char *at = site->file; (at = strstr(at, "/src/")) != NULL; at++)
        file = at + strlen("/src/");
    const char *slash = file != NULL ? strchr(file, '/') : NULL;
    bool is_on_floor = slash != NULL && strchr(slash + 1, '/') == NULL;
    return is_on_floor ? file : NULL;
}

/* "arena/doors.h:wr_door_give:wr_load_seq"; false: it is not the library's. */
static bool
site_name(const struct sim_site *site, char name[NAME_SIZE])
{
    const char *file = strstr(site->file, "src/");
    if (file == NULL)
        return false;
    (void)snprintf(
        name, NAME_SIZE, "%s:%s:%s", file + 4, site->function, site->operation);
    return true;
}

/* Gives all of that name an order; returns how many there are. */
static unsigned
set_order(const char *name, enum sim_order order)
{
    unsigned count = 0;
    char other[NAME_SIZE];
    for (struct sim_site **site = sites_begin; site < sites_end; site++)
        if (site_name(*site, other) && strcmp(name, other) == 0) {
            (*site)->order = order;
            count++;
        }
    return count;
}

static bool
is_first_of_name(struct sim_site *const *site, const char *name)
{
    char other[NAME_SIZE];
    for (struct sim_site **before = sites_begin; before < site; before++)
        if (site_name(*before, other) && strcmp(name, other) == 0)
            return false;
    return true;
}

int
orders_list(void)
{
    char name[NAME_SIZE];
    for (struct sim_site **site = sites_begin; site < sites_end; site++)
        if (site_name(*site, name) && is_first_of_name(site, name))
            (void)printf("%-56s line %-4d %s\n", name, (*site)->line,
                order_name((*site)->order));
    return 0;
}

bool
orders_weaken(const char *what)
{
    const char *equals = strrchr(what, '=');
    if (equals == NULL || equals - what >= NAME_SIZE)
        return false;
    char name[NAME_SIZE];
    memcpy(name, what, (size_t)(equals - what));
    name[equals - what] = '\0';
    for (unsigned i = 0; i < ORDERS; i++)
        if (strcmp(orders[i].name, equals + 1) == 0)
            return set_order(name, orders[i].order) > 0;
    return false;
}

/* Whether an access of the kind can have the order, and it is weaker. */
static bool
is_weaker(const struct sim_site *site, enum sim_order order)
{
    if ((order & site->order) != order || order == site->order)
        return false;
    return site->kind == SIM_CHANGE ||
           (site->kind == SIM_LOAD && (order & SIM_RELEASE) == 0) ||
           (site->kind == SIM_STORE && (order & SIM_ACQUIRE) == 0);
}

/* The case that fails within so many turns; NULL: none does. */
static const struct sim_case *
find_refuter(const struct sim_case *const *lists, size_t list_count,
    unsigned turns, struct explore_result *result)
{
    uint64_t runs = TURN_RUNS;
    for (unsigned turn = 0; turn < turns; turn++, runs *= 5)
        for (size_t i = 0; i < list_count; i++)
            for (const struct sim_case *c = lists[i]; c->name != NULL; c++) {
                if (c->verdict != SIM_HOLDS)
                    continue;
                struct explore_search search = { .seed = 77, .runs_max = runs };
                if (turn == TURNS - 1)
                    search = (struct explore_search){ .exhaustive = true,
                        .runs_max = WALK_RUNS };
                explore(c, &search, result);
                if (result->failed)
                    return c;
            }
    return NULL;
}

/* Whether a line of the file begins with the mutant's name; and its reason. */
static bool
is_accepted(const char *accept, const char *mutant, char *reason, size_t size)
{
    FILE *file = accept != NULL ? fopen(accept, "r") : NULL;
    if (file == NULL)
        return false;
    bool found = false;
    char line[512];
    size_t len = strlen(mutant);
    while (!found && fgets(line, sizeof line, file) != NULL) {
        found = strncmp(line, mutant, len) == 0 && line[len] == ' ';
        if (found) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(reason, size, "%s", line + len + 1);
        }
    }
    (void)fclose(file);
    return found;
}

static bool
try_one(const char *name, const struct sim_site *site, enum sim_order order,
    const struct sim_case *const *lists, size_t list_count, const char *accept)
{
    enum sim_order original = site->order;
    struct explore_result result;
    char mutant[NAME_SIZE + 16];
    char reason[256] = "";
    (void)snprintf(mutant, sizeof mutant, "%s=%s", name, order_name(order));
    bool accepted = is_accepted(accept, mutant, reason, sizeof reason);
    (void)set_order(name, order);
    const struct sim_case *refuter =
        find_refuter(lists, list_count, accepted ? TURNS - 1 : TURNS, &result);
    (void)set_order(name, original);

    bool good = (refuter != NULL) != accepted;
    (void)printf("%-4s %-64s ", good ? "ok" : "BAD", mutant);
    if (refuter != NULL)
        (void)printf("%s, run %llu: %s\n", refuter->name,
            (unsigned long long)result.runs, result.what);
    else
        (void)printf("not refuted: %s\n", accepted ? reason : "why?");
    (void)fflush(stdout);
    return good;
}

int
orders_refute(const struct sim_case *const *lists, size_t list_count)
{
    struct explore_result result;
    const struct sim_case *refuter =
        find_refuter(lists, list_count, TURNS, &result);
    if (refuter != NULL)
        (void)printf("%s, run %llu: %s\n", refuter->name,
            (unsigned long long)result.runs, result.what);
    return refuter != NULL;
}

int
orders_try(const struct sim_case *const *lists, size_t list_count,
    const char *accept, unsigned jobs)
{
    bool good = true;
    unsigned count = 0;
    char name[NAME_SIZE];
    jobs_begin(jobs);
    unsigned mine = jobs_next();
    for (struct sim_site **site = sites_begin; site < sites_end; site++) {
        if (!site_name(*site, name) || !is_first_of_name(site, name))
            continue;
        for (unsigned i = 0; i < ORDERS; i++)
            if (is_weaker(*site, orders[i].order) && count++ == mine) {
                good = try_one(name, *site, orders[i].order, lists, list_count,
                           accept) &&
                       good;
                mine = jobs_next();
            }
    }
    int status = jobs_end(good ? 0 : 1);
    (void)printf("%u weaker orders tried\n", count);
    return status;
}
