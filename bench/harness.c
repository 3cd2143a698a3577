/* SPDX-License-Identifier: MIT */
/*
 * harness: measures cases side by side, in units of one locked instruction.
 *
 * Idea
 *   R is one uncontended `lock xadd` on a word in the first-level cache, back
 *   to back on the same word, the result used: the price of one atomic
 *   read-modify-write in this run, on this machine, at this clock rate. Nothing
 *   is subtracted, neither from R nor from a case; the empty loop is printed so
 *   that a reader can.
 *
 *   Every round gives each case one window, R and the empty loop among them, so
 *   that whatever the machine does meanwhile is done to all; and each round in
 *   another order, so that nobody always follows the case that empties the
 *   caches. A case of one thread runs for an eighth of its window before the
 *   clock starts, to warm them again. A window is shorter than a slice of the
 *   scheduler, so most see no preemption at all, and a low quantile is a time
 *   without one. Printed are minimum, lower quartile, median and 99th
 *   percentile; ratios and goals compare lower quartiles, of a case and of R or
 *   its base, in the same run.
 *
 *   With BENCH_CPU a case is charged the processor time of all its threads,
 *   divided by their number: right however many they are and whoever else runs.
 *
 *   A second thread is parked before anything is measured: glibc drops lock
 *   prefixes in a process that has only one, and would look twice as fast as in
 *   any server. Threads are pinned to the first two processors we may use.
 *
 * Limits
 *   BENCH_CASES_MAX cases, BENCH_THREADS_MAX threads, two processors.
 */
#include "harness.h"

#include "print.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum {
    ROUNDS_QUICK = 5,
    WINDOW_US = 200,
    WINDOW_US_QUICK = 100,
    PASSES_MIN = 8,
    LEAD_IN = 8, /* such a part of a window runs before it */
    SPINS = 2000
};

static struct bench_about bench;
static int cpus[2];
static unsigned cpu_count;

static struct bench_measured cases[BENCH_CASES_MAX];
static size_t case_count;

/* Cases 0 and 1 of every bench. */
enum { EMPTY, R, FIRST };

void
bench_fail(const char *what)
{
    fprintf(stderr, "bench_%s: %s\n", bench.name ? bench.name : "?", what);
    exit(1);
}

/* ---- The crew: threads that wait to be needed -------------------------- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_cond_t done;
    pthread_t threads[BENCH_THREADS_MAX];
    unsigned count; /* the main thread, which is number 0, included */
    unsigned busy;
    unsigned long job; /* which one; a new number wakes the crew */
    bool quit;
    const struct bench_case *what;
    size_t passes;
    uint64_t ns; /* of all threads but the main one */
    _Atomic unsigned ready;
} crew = { .mutex = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
    .count = 1 };

static uint64_t
now(enum bench_clock clock)
{
    struct timespec time;
    clock_gettime(
        clock == BENCH_CPU ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* All threads of a case leave here together. */
static void
line_up(unsigned threads)
{
    atomic_fetch_add_explicit(&crew.ready, 1, memory_order_acq_rel);
    for (unsigned spins = 0;
         atomic_load_explicit(&crew.ready, memory_order_acquire) < threads;
         spins++)
        if (spins > SPINS)
            sched_yield();
}

static uint64_t
take_part(const struct bench_case *what, unsigned thread, size_t passes)
{
    if (what->threads > 1)
        line_up(what->threads);
    uint64_t start = now(what->clock);
    what->loop(what->state, thread, passes);
    return now(what->clock) - start;
}

static void
pin(unsigned thread)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpus[thread % cpu_count], &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void *
member(void *number)
{
    unsigned thread = (unsigned)(uintptr_t)number;
    unsigned long seen = 0;
    pin(thread);
    pthread_mutex_lock(&crew.mutex);
    for (;;) {
        while (crew.job == seen && !crew.quit)
            pthread_cond_wait(&crew.wake, &crew.mutex);
        if (crew.quit)
            break;
        seen = crew.job;
        if (thread < crew.what->threads) {
            pthread_mutex_unlock(&crew.mutex);
            uint64_t ns = take_part(crew.what, thread, crew.passes);
            pthread_mutex_lock(&crew.mutex);
            crew.ns += ns;
        }
        if (--crew.busy == 0)
            pthread_cond_signal(&crew.done);
    }
    pthread_mutex_unlock(&crew.mutex);
    return NULL;
}

static void
crew_grow(unsigned count)
{
    for (; crew.count < count; crew.count++)
        if (pthread_create(&crew.threads[crew.count], NULL, member,
                (void *)(uintptr_t)crew.count))
            bench_fail("cannot start a thread");
}

static void
crew_dismiss(void)
{
    pthread_mutex_lock(&crew.mutex);
    crew.quit = true;
    pthread_cond_broadcast(&crew.wake);
    pthread_mutex_unlock(&crew.mutex);
    for (unsigned i = 1; i < crew.count; i++)
        pthread_join(crew.threads[i], NULL);
}

/*
 * All threads of `what` do `passes` passes. Returns the nanoseconds of the main
 * thread; those of the others are in the crew.
 */
static uint64_t
work_together(const struct bench_case *what, size_t passes)
{
    pthread_mutex_lock(&crew.mutex);
    crew.what = what;
    crew.passes = passes;
    crew.ns = 0;
    crew.busy = crew.count - 1;
    crew.job++;
    atomic_store_explicit(&crew.ready, 0, memory_order_relaxed);
    pthread_cond_broadcast(&crew.wake);
    pthread_mutex_unlock(&crew.mutex);

    uint64_t ns = take_part(what, 0, passes);
    pthread_mutex_lock(&crew.mutex);
    while (crew.busy > 0)
        pthread_cond_wait(&crew.done, &crew.mutex);
    pthread_mutex_unlock(&crew.mutex);
    return ns;
}

/* ---- Measuring --------------------------------------------------------- */

/* Nanoseconds for `passes` passes, by the clock of the case. */
static double
window(const struct bench_case *what, size_t passes)
{
    if (what->threads == 1) {
        what->loop(what->state, 0, passes / LEAD_IN); /* warms the caches */
        return (double)take_part(what, 0, passes);
    }
    uint64_t ns = work_together(what, passes);
    if (what->clock == BENCH_CPU)
        return (double)(ns + crew.ns) / what->threads;
    return (double)ns;
}

/* The best of three, since one of them may have been preempted. */
static double
quiet_window(const struct bench_case *what, size_t passes)
{
    double best = window(what, passes);
    for (int i = 0; i < 2; i++) {
        double ns = window(what, passes);
        best = ns < best ? ns : best;
    }
    return best;
}

/* Finds how many passes fill a window; warms everything up as it does. */
static void
calibrate(struct bench_measured *one)
{
    double us = bench.quick ? WINDOW_US_QUICK : WINDOW_US;
    if (one->what.window_us > 0)
        us = bench.quick ? one->what.window_us / 10.0 : one->what.window_us;
    size_t passes = PASSES_MIN;
    double ns = quiet_window(&one->what, passes);
    while (ns < us * 250 && passes < SIZE_MAX / 2) {
        passes *= 2;
        ns = quiet_window(&one->what, passes);
    }
    one->passes = (size_t)((double)passes * us * 1000 / ns);
    if (one->passes < PASSES_MIN)
        one->passes = PASSES_MIN;
}

static int
compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static void
summarize(struct bench_measured *one, size_t rounds)
{
    qsort(one->ns, rounds, sizeof(one->ns[0]), compare);
    one->minimum = one->ns[0];
    one->quartile = one->ns[(rounds - 1) / 4];
    one->median = one->ns[(rounds - 1) / 2];
    one->high = one->ns[(rounds - 1) * 99 / 100];
}

/* The cases in a new order. */
static void
shuffle(size_t *order, uint64_t *row)
{
    for (size_t i = 0; i < case_count; i++)
        order[i] = i;
    for (size_t i = case_count - 1; i > 0; i--) {
        size_t other = bench_random_below(row, (uint32_t)i + 1);
        size_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

/* One window of every case. */
static void
run_round(size_t round, uint64_t *row)
{
    size_t order[BENCH_CASES_MAX];
    shuffle(order, row);
    for (size_t i = 0; i < case_count; i++) {
        struct bench_measured *one = &cases[order[i]];
        if (!one->what.skipped)
            one->ns[round] = window(&one->what, one->passes) /
                             (double)one->passes / one->what.per;
    }
}

static void
measure(void)
{
    size_t rounds = bench.quick ? ROUNDS_QUICK : BENCH_ROUNDS;
    uint64_t row = 1;
    for (size_t i = 0; i < case_count; i++)
        if (!cases[i].what.skipped)
            calibrate(&cases[i]);
    for (size_t round = 0; round < rounds; round++)
        run_round(round, &row);
    for (size_t i = 0; i < case_count; i++)
        if (!cases[i].what.skipped)
            summarize(&cases[i], rounds);
}

/* ---- Empty loop and R -------------------------------------------------- */

static void
loop_empty(void *state, unsigned thread, size_t n)
{
    (void)state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        bench_keep(i);
}

static void
loop_r(void *state, unsigned thread, size_t n)
{
    _Atomic uint64_t *word = state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        bench_keep(atomic_fetch_add_explicit(word, 1, memory_order_relaxed));
}

/* ---- Start ------------------------------------------------------------- */

static void
find_machine(void)
{
    char model[80] = "unknown processor";
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "model name : %79[^\n]", model) == 1)
            break;
    if (file)
        fclose(file);

    struct utsname system;
    uname(&system);
    snprintf(bench.machine, sizeof(bench.machine), "%s, %ld CPUs, %.20s %.20s",
        model, sysconf(_SC_NPROCESSORS_ONLN), system.sysname, system.release);
    const char *commit = getenv("WEIR_COMMIT");
    bench.commit = commit ? commit : "unknown";
    bench.linked = dlsym(RTLD_DEFAULT, "weir_version") ? "shared" : "static";
    getloadavg(&bench.load, 1);
}

static void
find_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set))
        bench_fail("cannot tell which processors are ours");
    for (int cpu = 0; cpu < CPU_SETSIZE && cpu_count < 2; cpu++)
        if (CPU_ISSET((size_t)cpu, &set))
            cpus[cpu_count++] = cpu;
}

static void *
park(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

static void
read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bench.quick |= strcmp(argv[i], "--quick") == 0;
        bench.table |= strcmp(argv[i], "--table") == 0;
        if (strcmp(argv[i], "--quick") != 0 && strcmp(argv[i], "--table") != 0)
            bench_fail("usage: [--quick] [--table]");
    }
}

void
bench_start(const char *name, int argc, char **argv)
{
    static _Atomic uint64_t word;
    pthread_t parked;
    bench.name = name;
    read_arguments(argc, argv);
    bench_peers_prepare(argv);
    find_machine();
    find_cpus();
    pin(0);
    if (pthread_create(&parked, NULL, park, NULL))
        bench_fail("cannot start a thread");
    pthread_detach(parked);
    bench_peers_load();
    bench_add(&(struct bench_case){
        .name = "empty loop", .candidate = "-", .loop = loop_empty });
    bench_add(&(struct bench_case){ .name = "R, one lock xadd",
        .candidate = "-",
        .loop = loop_r,
        .state = &word });
}

bool
bench_is_quick(void)
{
    return bench.quick;
}

const struct bench_case *
bench_add(const struct bench_case *one)
{
    if (case_count == BENCH_CASES_MAX)
        bench_fail("too many cases");
    struct bench_case *added = &cases[case_count++].what;
    *added = *one;
    added->threads += added->threads == 0;
    added->per += added->per == 0;
    if (added->threads > BENCH_THREADS_MAX)
        bench_fail("too many threads");
    if (added->threads > 1 && cpu_count < 2)
        added->skipped = "only one processor";
    return added;
}

int
bench_run(void)
{
    for (size_t i = 0; i < case_count; i++)
        if (!cases[i].what.skipped)
            crew_grow(cases[i].what.threads);
    measure();
    crew_dismiss();
    for (size_t i = 0; i < case_count; i++)
        bench_print_case(&bench, &cases[i], &cases[R]);
    fflush(stdout);
    if (bench.table)
        bench_print_table(&bench, cases, case_count, &cases[R]);
    return 0;
}

void
bench_tell(const struct bench_fact *fact)
{
    bench_print_fact(&bench, fact);
}

/* ---- Arenas ------------------------------------------------------------ */

struct weir_arena *
bench_arena(size_t count, size_t size, unsigned flags)
{
    struct weir_arena *arena;
    bench_must(weir_arena_create(&(struct weir_arena_config){ .name = "bench",
                                     .block_count = count,
                                     .block_size = size,
                                     .flags = flags },
        &arena));
    return arena;
}

void
bench_arena_end(struct weir_arena **arena)
{
    struct weir_stats stats;
    weir_arena_check(*arena);
    weir_arena_stats(*arena, &stats);
    if (stats.blocks_out != 0)
        bench_fail("a block did not come home");
    weir_arena_destroy(arena);
}
