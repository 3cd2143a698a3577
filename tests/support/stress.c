/* SPDX-License-Identifier: MIT */
/* stress: what the programs in tests/stress share. */

#include "support/stress.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    HANG_S = 40,         /* after the time is over */
    JOLT_GAP_US = 40,    /* between two jolts, at least */
    JOLT_SLEEP_US = 64,  /* at most */
    SPINS_PER_YIELD = 64 /* in a gate */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

#if defined(__SANITIZE_THREAD__)
#define HAS_SIGNALS false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_SIGNALS false
#endif
#endif
#ifndef HAS_SIGNALS
#define HAS_SIGNALS true
#endif

static const char *program = "?";
static uint64_t seed = 1;
static double seconds = 2;
static bool is_control;
static cpu_set_t processors;
static double deadline;
static _Atomic bool over;

/* ---- Random numbers ---------------------------------------------------- */

uint64_t
stress_draw(struct stress_random *random)
{
    uint64_t mixed = random->state += UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ mixed >> 31;
}

uint32_t
stress_below(struct stress_random *random, uint32_t limit)
{
    return (uint32_t)((stress_draw(random) >> 32) * limit >> 32);
}

bool
stress_chance(struct stress_random *random, uint32_t percent)
{
    return stress_below(random, 100) < percent;
}

/* ---- The program ------------------------------------------------------- */

double
stress_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void
stress_begin(const char *name, int argc, char **argv)
{
    program = name;
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        seconds = strtod(argv[2], NULL);
    if (argc > 3)
        is_control = strcmp(argv[3], "control") == 0;
    (void)sched_getaffinity(0, sizeof processors, &processors);
    printf("%s: seed %" PRIu64 ", %g s\n", program, seed, seconds);
    (void)fflush(stdout);
    stress_part(1);
}

uint64_t
stress_seed(void)
{
    return seed;
}

double
stress_seconds(void)
{
    return seconds;
}

bool
stress_is_control(void)
{
    return is_control;
}

const char *
stress_control_lacks(void)
{
    if (IS_SANITIZED)
        return "sanitizers slow down what must collide";
    if (CPU_COUNT(&processors) < 2)
        return "nothing collides on one processor";
    return NULL;
}

void
stress_part(double share)
{
    deadline = stress_now() + share * seconds;
    atomic_store_explicit(&over, false, memory_order_relaxed);
}

bool
stress_is_sanitized(void)
{
    return IS_SANITIZED;
}

bool
stress_has_signals(void)
{
    return HAS_SIGNALS;
}

void
stress_fail(const char *what)
{
    (void)fprintf(stderr, "%s: seed %" PRIu64 ": %s\n", program, seed, what);
    _Exit(1); /* other threads still run */
}

void
stress_expect(bool truth, const char *what)
{
    if (!truth)
        stress_fail(what);
}

void
stress_expect_equal(uint64_t is, uint64_t should_be, const char *what)
{
    if (is == should_be)
        return;
    (void)fprintf(
        stderr, "%" PRIu64 " instead of %" PRIu64 "\n", is, should_be);
    stress_fail(what);
}

void
stress_report(const char *name, uint64_t number)
{
    printf("%s: %s %" PRIu64 "\n", program, name, number);
}

int
stress_skip(const char *why)
{
    printf("%s: not possible here: %s\n", program, why);
    return 77;
}

int
stress_end(void)
{
    printf("ok %s seed=%" PRIu64 "\n", program, seed);
    return 0;
}

/* ---- Threads ----------------------------------------------------------- */

struct worker {
    const struct stress_crew *crew;
    uint32_t index;
    pthread_t thread;
};

static _Atomic uint32_t crews;   /* seeds every crew differently */
static _Atomic uint32_t at_work; /* threads that have not returned */
static struct stress_gate start;

void
stress_nap(uint32_t us)
{
    struct timespec time = { us / 1000000, us % 1000000 * 1000 };
    (void)nanosleep(&time, NULL);
}

static void
on_jolt(int number)
{
    static _Atomic uint32_t jolts;
    (void)number;
    int why = errno;
    uint32_t n = atomic_fetch_add_explicit(&jolts, 1, memory_order_relaxed);
    if (n % 4 == 0)
        (void)sched_yield();
    else
        stress_nap(n * 37 % JOLT_SLEEP_US);
    errno = why;
}

static void *
work(void *context)
{
    const struct worker *worker = context;
    struct stress_random random = { seed };
    uint32_t crew = atomic_load_explicit(&crews, memory_order_relaxed);
    random.state += (uint64_t)crew << 32 | worker->index;
    random.state = stress_draw(&random);

    (void)prctl(PR_SET_TIMERSLACK, 1); /* short sleeps are short */
    stress_gate_pass(&start);
    worker->crew->body(worker->index, &random);
    (void)atomic_fetch_sub_explicit(&at_work, 1, memory_order_relaxed);
    return NULL;
}

static void
look_at_the_clock(const struct stress_crew *crew, double *next_tick)
{
    double now = stress_now();
    bool enough = crew->enough == NULL || crew->enough();
    if (now >= deadline && !enough)
        deadline = now;
    if (now >= deadline && enough)
        atomic_store_explicit(&over, true, memory_order_relaxed);
    if (now > deadline + HANG_S)
        stress_fail("threads hang");
    if (crew->watch == NULL || now < *next_tick)
        return;
    *next_tick = now + STRESS_TICK_MS * 1e-3;
    crew->watch();
}

static void
conduct(const struct stress_crew *crew, struct worker *workers)
{
    struct stress_random random = { seed };
    double next_tick = 0;
    bool jolts = HAS_SIGNALS && !crew->is_calm;
    while (atomic_load_explicit(&at_work, memory_order_relaxed) > 0) {
        look_at_the_clock(crew, &next_tick);
        uint32_t index = stress_below(&random, crew->count);
        if (jolts)
            (void)pthread_kill(workers[index].thread, SIGUSR1);
        stress_nap(jolts ? JOLT_GAP_US : 1000);
    }
}

void
stress_run(const struct stress_crew *crew)
{
    static struct worker workers[STRESS_THREADS_MAX];
    struct sigaction action = { .sa_handler = on_jolt, .sa_flags = SA_RESTART };
    stress_expect(crew->count <= STRESS_THREADS_MAX, "too many threads");
    stress_expect(sigaction(SIGUSR1, &action, NULL) == 0, "no signal");

    (void)atomic_fetch_add_explicit(&crews, 1, memory_order_relaxed);
    atomic_store_explicit(&at_work, crew->count, memory_order_relaxed);
    start = (struct stress_gate){ .count = crew->count };
    for (uint32_t i = 0; i < crew->count; i++) {
        workers[i] = (struct worker){ .crew = crew, .index = i };
        stress_expect(
            pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0,
            "no thread");
    }
    conduct(crew, workers);
    for (uint32_t i = 0; i < crew->count; i++)
        pthread_join(workers[i].thread, NULL);
}

bool
stress_is_over(void)
{
    return atomic_load_explicit(&over, memory_order_relaxed);
}

void
stress_pin(uint32_t processor)
{
    int count = CPU_COUNT(&processors);
    uint32_t left = count > 0 ? processor % (uint32_t)count : 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &processors) || left-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

void
stress_pause(uint32_t round)
{
    if (round % SPINS_PER_YIELD == SPINS_PER_YIELD - 1)
        (void)sched_yield();
}

/* ---- A gate ------------------------------------------------------------ */

void
stress_gate_pass(struct stress_gate *gate)
{
    uint32_t round = atomic_load_explicit(&gate->round, memory_order_relaxed);
    uint32_t before =
        atomic_fetch_add_explicit(&gate->arrived, 1, memory_order_acq_rel);
    if (before + 1 == gate->count) {
        atomic_store_explicit(&gate->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&gate->round, round + 1, memory_order_release);
        return;
    }
    for (uint32_t i = 0;
         atomic_load_explicit(&gate->round, memory_order_acquire) == round; i++)
        stress_pause(i);
}

/* ---- Who owns which block ---------------------------------------------- */

void
stress_shadow_take(struct stress_shadow *shadow, uint32_t block, uint8_t owner)
{
    stress_expect(block < STRESS_BLOCKS_MAX, "a block that does not exist");
    uint8_t was = atomic_exchange_explicit(
        &shadow->owner[block], owner, memory_order_relaxed);
    stress_expect(was == 0, "a block has two owners");
}

void
stress_shadow_give(struct stress_shadow *shadow, uint32_t block, uint8_t owner)
{
    stress_expect(block < STRESS_BLOCKS_MAX, "a block that does not exist");
    uint8_t was = atomic_exchange_explicit(
        &shadow->owner[block], 0, memory_order_relaxed);
    stress_expect(was == owner, "a block was somebody else's");
}

void
stress_shadow_expect_free(const struct stress_shadow *shadow, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        stress_expect(
            atomic_load_explicit(&shadow->owner[i], memory_order_relaxed) == 0,
            "a block is still owned");
}

/* ---- What stands in a block -------------------------------------------- */

void
stress_fill(uint8_t *bytes, size_t n, uint64_t stamp, uint32_t offset)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = stress_byte(stamp, offset + (uint32_t)i);
}

void
stress_verify(const uint8_t *bytes, size_t n, uint64_t stamp, uint32_t offset,
    const char *what)
{
    uint8_t wrong = 0;
    for (size_t i = 0; i < n; i++)
        wrong |= (uint8_t)(bytes[i] ^ stress_byte(stamp, offset + (uint32_t)i));
    stress_expect(wrong == 0, what);
}
