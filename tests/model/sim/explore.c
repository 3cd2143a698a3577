/* SPDX-License-Identifier: MIT */
/*
 * explore: who answers "which of n?", and how often a case is run.
 *
 *     answers of one run    0 0 1 0 2 0 0 1        (only where n > 1)
 *     the next one          0 0 1 0 2 0 1          (the last that can, goes on)
 *
 * Idea
 *   Exhaustive: a walk through the tree of all answers, depth first. A run is
 *   repeated up to where the last one is to differ; beyond, all answers are 0,
 *   which means "go on" and "the last value". Two bounds keep the tree small:
 *   how often in a run somebody is preempted who could go on, and how often a
 *   load reads an old value. Most errors need one or two of either.
 *
 *   Random: each run has a seed, and draws from it how inclined it is to preempt
 *   and to read old values, then answers by these odds; so among many runs there
 *   are calm ones, that go deep, and wild ones.
 *
 *   Places: asking who runs next pays only where two threads meet. The places
 *   are learned; when an exhaustive search finds a new one it begins again, so
 *   in the end none was left out.
 *
 * Limits
 *   ANSWERS_MAX questions in a run; PLACES places.
 */

#include "explore.h"

#include "scheduler.h"
#include "support/prng.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWERS_MAX = 4000, PLACES = 2048, ODDS_ONE = 64 };

uint32_t explore_run;
bool explore_tracing;

static struct answer {
    uint32_t question; /* its number in the run */
    uint8_t given;
    uint8_t options;
} answers[ANSWERS_MAX];
static unsigned questions; /* in this run, also those that were not put */
static unsigned asked;     /* of them, those that were */
static unsigned given;     /* so many are decided; a run repeats them */
static bool repeating;

static struct bounds {
    unsigned preemptions;
    unsigned stales;
} left;

static struct {
    bool on;
    struct prng prng;
    unsigned preempt; /* of ODDS_ONE */
    unsigned stale;
} dice;

static struct explore_place places[PLACES];
static unsigned place_count;
static bool places_grew;
static uint64_t blind;
static bool seen;

/* ---- Places ------------------------------------------------------------ */

struct explore_place *
explore_place(const volatile void *object)
{
    unsigned at = (unsigned)(uintptr_t)object * 2654435761u;
    for (at = at >> 16 & (PLACES - 1);; at = (at + 1) & (PLACES - 1)) {
        struct explore_place *place = &places[at];
        if (place->object == (uintptr_t)object)
            return place;
        if (place->object == 0) {
            if (++place_count == PLACES)
                sim_fail("more than %d places", PLACES);
            place->object = (uintptr_t)object;
            return place;
        }
    }
}

/* The places where `who` was, and now is one of two who do not only read. */
static void
meet(struct explore_place *place, uint8_t who, bool writes)
{
    place->readers |= who;
    if (writes)
        place->writers |= who;
    bool is_alone = (place->readers & (place->readers - 1)) == 0;
    if (place->writers != 0 && !is_alone) {
        place->is_shared = true;
        places_grew = true;
    }
}

bool
explore_visit(struct explore_place *place, bool writes)
{
    if (!place->is_shared)
        meet(place, (uint8_t)(1u << sim_self()), writes);
    if (place->is_shared || repeating)
        return true;
    questions++; /* numbers are the same whether it is put or not */
    return false;
}

/* ---- Answers ----------------------------------------------------------- */

static unsigned
roll(unsigned limit)
{
    return (unsigned)prng_below(&dice.prng, limit);
}

static unsigned
throw_dice(enum explore_question question, unsigned options)
{
    unsigned odds = question == EXPLORE_PREEMPT ? dice.preempt : dice.stale;
    if (question == EXPLORE_NEXT)
        return roll(options);
    if (roll(ODDS_ONE) >= odds)
        return 0;
    return 1 + roll(options - 1);
}

/* What an answer other than 0 is charged to; NULL: it is free. */
static unsigned *
budget_of(enum explore_question question)
{
    switch (question) {
    case EXPLORE_NEXT:
        return NULL;
    case EXPLORE_PREEMPT:
        return &left.preemptions;
    case EXPLORE_STALE:
        return &left.stales;
    }
    return NULL;
}

/* The answer that a replay has for this question. */
static unsigned
look_up(void)
{
    if (asked == given || answers[asked].question != questions)
        return 0;
    return answers[asked++].given;
}

unsigned
explore_choose(enum explore_question question, unsigned options)
{
    unsigned *budget = budget_of(question);
    questions++;
    if (repeating)
        return look_up();
    if (options < 2 || (budget != NULL && *budget == 0))
        return 0;
    if (asked == ANSWERS_MAX)
        sim_fail("more than %d questions in a run", ANSWERS_MAX);
    struct answer *answer = &answers[asked];
    if (asked == given) {
        unsigned drawn = dice.on ? throw_dice(question, options) : 0;
        *answer =
            (struct answer){ questions, (uint8_t)drawn, (uint8_t)options };
        given++;
    }
    asked++;
    if (budget != NULL && answer->given != 0)
        (*budget)--;
    return answer->given;
}

/* The next run in the walk. False: this was the last one. */
static bool
turn(void)
{
    given = asked;
    while (given > 0) {
        struct answer *last = &answers[given - 1];
        if (++last->given < last->options)
            return true;
        given--;
    }
    return false;
}

/* "QUESTION:ANSWER,...": all that are not 0. */
static void
write_answers(char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < asked && at < size; i++)
        if (answers[i].given != 0)
            at += (size_t)snprintf(text + at, size - at, "%s%u:%u",
                at == 0 ? "" : ",", answers[i].question, answers[i].given);
}

static void
read_answers(const char *text)
{
    char *end;
    given = 0;
    while (*text != '\0' && given < ANSWERS_MAX) {
        unsigned long question = strtoul(text, &end, 10);
        unsigned long answer = *end == ':' ? strtoul(end + 1, &end, 10) : 0;
        answers[given++] =
            (struct answer){ (uint32_t)question, (uint8_t)answer, UINT8_MAX };
        text = *end == ',' ? end + 1 : "";
    }
}

/* ---- Runs -------------------------------------------------------------- */

void
explore_trace(const char *format, ...)
{
    if (!explore_tracing || sim_self() == 0)
        return; /* what is done alone is of no interest */
    va_list arguments;
    va_start(arguments, format);
    (void)printf("  thread %u  ", sim_self());
    (void)vprintf(format, arguments);
    (void)printf("\n");
    va_end(arguments);
}

void
explore_blind(void)
{
    explore_trace("  (a blind write)");
    blind++;
}

void
sim_seen(void)
{
    explore_trace("seen");
    seen = true;
}

static void
run_once(const struct sim_case *model, struct explore_result *result)
{
    asked = 0;
    questions = 0;
    seen = false;
    explore_run++;
    result->runs++;
    result->failed = !scheduler_run(model, result->what, sizeof result->what);
    result->steps += scheduler_steps();
    result->seen += seen;
    if (result->failed)
        write_answers(result->answers, sizeof result->answers);
}

static void
walk(const struct sim_case *model, uint64_t runs_max,
    struct explore_result *result)
{
    const struct bounds bounds = { model->preemptions, model->stales };
    dice.on = false;
    given = 0;
    do {
        left = bounds;
        run_once(model, result);
        if (result->failed)
            return;
        if (places_grew) {
            places_grew = false;
            result->restarts++;
            given = 0;
            asked = 0;
            continue;
        }
        if (!turn()) {
            result->complete = true;
            return;
        }
    } while (runs_max == 0 || result->runs < runs_max);
}

static void
wander(const struct sim_case *model, const struct explore_search *search,
    struct explore_result *result)
{
    static const uint8_t odds[] = { 1, 4, 12, 32 };
    dice.on = true;
    for (uint64_t i = 0; i < search->runs_max && !result->failed; i++) {
        dice.prng = (struct prng){ (search->seed << 32) + i };
        dice.preempt = odds[roll(4)];
        dice.stale = odds[roll(4)];
        left = (struct bounds){ ANSWERS_MAX, ANSWERS_MAX };
        given = 0;
        run_once(model, result);
    }
    dice.on = false;
}

static void
repeat(const struct sim_case *model, const char *text,
    struct explore_result *result)
{
    read_answers(text);
    repeating = true;
    explore_tracing = true;
    run_once(model, result);
    explore_tracing = false;
    repeating = false;
}

void
explore(const struct sim_case *model, const struct explore_search *search,
    struct explore_result *result)
{
    struct timespec begin;
    struct timespec end;
    memset(result, 0, sizeof(*result));
    memset(places, 0, sizeof places);
    place_count = 0;
    places_grew = false;
    blind = 0;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    if (search->replay != NULL)
        repeat(model, search->replay, result);
    else if (search->exhaustive)
        walk(model, search->runs_max, result);
    else
        wander(model, search, result);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    result->blind = blind;
    result->seconds = (double)(end.tv_sec - begin.tv_sec) +
                      (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

bool
explore_is_expected(
    const struct sim_case *model, const struct explore_result *result)
{
    switch (model->verdict) {
    case SIM_HOLDS:
        return !result->failed;
    case SIM_HAPPENS:
        return !result->failed && result->seen > 0;
    case SIM_FAILS:
        return result->failed && strstr(result->what, model->why) != NULL;
    }
    return false;
}
