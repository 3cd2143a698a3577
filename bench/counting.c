/* SPDX-License-Identifier: MIT */
/*
 * counting: locked instructions and writes to shared lines, counted.
 *
 * Idea
 *   In a build with WEIR_COUNT_ATOMICS each locked instruction of the library's
 *   adds to a counter of its thread, and each atomic write, locked or not, is
 *   told to wr_note_write, which writes down its cache line and its thread. A
 *   mutex is one locked instruction when it is taken and one when it is given
 *   back: the linker puts functions of this file before the system's (--wrap).
 *
 *   When a scenario is over, the lines that both threads have written are the
 *   shared ones, and every write to one of them, from the first on, was one to a
 *   shared line. So nobody has to say beforehand which lines are whose, and two
 *   things that lie in one line by accident are found too. A write to a line
 *   that the other thread wrote last is one for which the line has to move.
 *
 *   The two threads work in turns, so that nothing is left to chance, and what
 *   they write down needs no lock.
 *
 * Limits
 *   What is written without atomics, under a mutex or by its owner alone, is
 *   not noted.
 */
#include "counting.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WEIR_COUNT_ATOMICS

extern __thread unsigned long wr_locked_count; /* of base/atomic.h */
void wr_note_write(const volatile void *object);

/* The names the linker looks for. */
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

enum { LINE_BITS = 6, WRITES_MAX = 1 << 20, SPANS_MAX = 1 << 17 };

/* A write of the library's to an atomic object. */
struct write {
    uintptr_t line;
    uint32_t number;
    unsigned thread;
};

static struct write writes[WRITES_MAX];
static uint32_t write_count;
static struct counting_span spans[SPANS_MAX];
static uint32_t span_count;
static struct counting_tally tallies[COUNTING_ROWS_MAX];
static bool counted;
static bool ever_noted;
static __thread unsigned thread_number;

_Noreturn void
counting_fail(const char *what)
{
    fprintf(stderr, "bench_locked: %s\n", what);
    exit(1);
}

/* ---- Noting ------------------------------------------------------------ */

void
wr_note_write(const volatile void *object)
{
    if (!counted)
        return;
    if (write_count == WRITES_MAX)
        counting_fail("too many writes");
    writes[write_count] =
        (struct write){ .line = (uintptr_t)object >> LINE_BITS,
            .number = write_count,
            .thread = thread_number };
    write_count++;
}

static void
count_mutex(const pthread_mutex_t *mutex)
{
    wr_locked_count++;
    wr_note_write(mutex);
}

int
__wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    count_mutex(mutex);
    return __real_pthread_mutex_lock(mutex);
}

int
__wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    count_mutex(mutex);
    return __real_pthread_mutex_trylock(mutex);
}

int
__wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    count_mutex(mutex);
    return __real_pthread_mutex_unlock(mutex);
}

struct counting_span
counting_from(unsigned row)
{
    return (struct counting_span){
        .row = row, .locked = wr_locked_count, .from = write_count
    };
}

void
counting_until(struct counting_span span, uint32_t operations)
{
    if (!counted)
        return;
    if (span_count == SPANS_MAX)
        counting_fail("too many spans");
    span.operations = operations;
    span.locked = wr_locked_count - span.locked;
    span.to = write_count;
    spans[span_count++] = span;
}

/* ---- Adding up --------------------------------------------------------- */

/* How many of the writes before one were such. */
static uint32_t shared_before[WRITES_MAX + 1];
static uint32_t moved_before[WRITES_MAX + 1];

/* Those to one line in the order in which they happened. */
static int
by_line(const void *left, const void *right)
{
    const struct write *a = left;
    const struct write *b = right;
    if (a->line != b->line)
        return a->line > b->line ? 1 : -1;
    return (a->number > b->number) - (a->number < b->number);
}

/* All writes to one line. */
static void
judge_line(const struct write *of_line, uint32_t count)
{
    bool shared = false;
    for (uint32_t i = 1; i < count; i++) {
        bool moved = of_line[i].thread != of_line[i - 1].thread;
        moved_before[of_line[i].number + 1] = moved;
        shared |= moved;
    }
    for (uint32_t i = 0; i < count; i++)
        shared_before[of_line[i].number + 1] = shared;
}

static void
judge_writes(void)
{
    memset(shared_before, 0, sizeof(shared_before));
    memset(moved_before, 0, sizeof(moved_before));
    qsort(writes, write_count, sizeof(writes[0]), by_line);
    uint32_t from = 0;
    for (uint32_t i = 1; i <= write_count; i++)
        if (i == write_count || writes[i].line != writes[from].line) {
            judge_line(&writes[from], i - from);
            from = i;
        }
    for (uint32_t i = 0; i < write_count; i++) {
        shared_before[i + 1] += shared_before[i];
        moved_before[i + 1] += moved_before[i];
    }
}

/* Adds up what was noted of one scenario, and forgets it. */
static void
add_up(void)
{
    judge_writes();
    for (uint32_t i = 0; i < span_count; i++) {
        const struct counting_span *span = &spans[i];
        struct counting_tally *tally = &tallies[span->row];
        tally->operations += span->operations;
        tally->locked += span->locked;
        tally->most = span->locked > tally->most ? span->locked : tally->most;
        tally->shared += shared_before[span->to] - shared_before[span->from];
        tally->moved += moved_before[span->to] - moved_before[span->from];
    }
    ever_noted |= write_count > 0;
    write_count = 0;
    span_count = 0;
}

const struct counting_tally *
counting_of(unsigned row)
{
    return &tallies[row];
}

bool
counting_works(void)
{
    return ever_noted;
}

/* ---- Two threads, in turns --------------------------------------------- */

static struct {
    pthread_t thread;
    sem_t asked;
    sem_t done;
    void (*part)(void *place); /* NULL: end */
    void *place;
} other;

static void *
other_thread(void *nothing)
{
    thread_number = 1;
    for (;;) {
        sem_wait(&other.asked);
        if (!other.part)
            return nothing;
        other.part(other.place);
        sem_post(&other.done);
    }
}

void
counting_start(void)
{
    sem_init(&other.asked, 0, 0);
    sem_init(&other.done, 0, 0);
    if (pthread_create(&other.thread, NULL, other_thread, NULL))
        counting_fail("cannot start a thread");
}

void
counting_end(void)
{
    other.part = NULL;
    sem_post(&other.asked);
    pthread_join(other.thread, NULL);
}

void
counting_visit(void (*part)(void *place), void *place)
{
    other.part = part;
    other.place = place;
    sem_post(&other.asked);
    sem_wait(&other.done);
}

void
counting_turns(unsigned rounds, void (*ours)(void *place),
    void (*theirs)(void *place), void *place)
{
    for (unsigned i = 0; i <= rounds; i++) {
        counted = i > 0;
        ours(place);
        counting_visit(theirs, place);
    }
    counted = false;
    add_up();
}

void
counting_once(void (*part)(void *place), void *place)
{
    counted = true;
    part(place);
    counted = false;
    add_up();
}

#else

typedef int counting_is_not_empty; /* a translation unit may not be */

#endif
