/* SPDX-License-Identifier: MIT */
/*
 * waits seed seconds: no wake-up is lost, no block is granted twice, and every
 * waiter is told once.
 *
 * Fifo: one thread queues, others release; grants come in the order of
 * waiting. Pair: two threads take turns with one block, so that each wait may
 * be the first and each release the last, and nothing else would wake them.
 * Fair: the same with all threads. Storm: waits, cancels by anybody, allocs that
 * barge and such that do not; arenas are closed, destroyed and replaced. A
 * thread sleeps only when all its stations wait, so a block that lies about
 * while somebody waits is a station that waits for seconds.
 *
 * All of this on arenas that are too small for caches. Then pair and fair once
 * more behind a dam: in an arena of 64 blocks of which all but one are out for
 * good, so that this one is always in a cache or on its way. And a storm on a
 * lake of 64 blocks, where mostly there are enough, until somebody takes all of
 * them for a moment: caches go on and off all the time.
 *
 * In a bare build the storm goes on until there were a million waits, in a run
 * of a minute and more a hundred million.
 */

#include "support/station.h"

enum {
    STATIONS = 4,
    FIFO_THREADS = 4,
    FIFO_STATIONS = STATION_MAX,
    FEW = 4, /* blocks */
    PLATFORMS = 2,
    LAKE = STATION_BLOCKS_MAX,
    PAIR_LOOKS = 1000,
    ENOUGH = 1000000,
    ENOUGH_LONG = 100000000
};

static struct platform platforms[PLATFORMS];
static struct platform lake;
static struct platform dam;

/* Where pair, fair and storm take place. */
static struct platform *scene;
static uint32_t scene_size;
static bool has_floods;

/* ---- Fifo -------------------------------------------------------------- */

/* Blocks on their way to those who release; one more may be on the heap. */
static struct {
    pthread_mutex_t mutex;
    struct station_block blocks[FEW + 1];
    uint32_t count;
    bool done;
} belt = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void
put_on_belt(struct crewman *crewman)
{
    pthread_mutex_lock(&belt.mutex);
    while (crewman->count > 0) {
        stress_expect(belt.count <= FEW, "more blocks than there are");
        belt.blocks[belt.count++] = crewman->blocks[--crewman->count];
    }
    pthread_mutex_unlock(&belt.mutex);
}

static void
queue_all(struct crewman *crewman)
{
    for (uint32_t i = 0; i < FIFO_STATIONS; i++) {
        struct station *station = &crewman->stations[i];
        if (station_phase_of(station) == STATION_IDLE)
            (void)station_wait(station, &platforms[1]);
    }
}

/* Not always: a cancel passes a block on, and so hides a ring that was lost. */
static void
cancel_rarely(struct crewman *crewman)
{
    uint32_t index = stress_below(crewman->random, FIFO_STATIONS);
    if (stress_chance(crewman->random, 10))
        station_cancel(crewman, &crewman->stations[index]);
}

static void
queue_up(struct crewman *crewman)
{
    crewman->in_order = true;
    while (!stress_is_over()) {
        queue_all(crewman);
        put_on_belt(crewman);
        if (crewman->counts.waits / 1024 % 2 == 0)
            cancel_rarely(crewman);
        if (station_look(crewman) == FIFO_STATIONS)
            (void)station_answer(crewman, STATION_SLEEP_MS);
    }
    put_on_belt(crewman);
    while (station_look(crewman) > 0) {
        (void)station_answer(crewman, STATION_SLEEP_MS);
        put_on_belt(crewman);
    }
    pthread_mutex_lock(&belt.mutex);
    belt.done = true;
    pthread_mutex_unlock(&belt.mutex);
}

static void
release_from_belt(void)
{
    bool done = false;
    for (uint32_t i = 0; !done; i++) {
        struct station_block block = { .stage = NULL };
        pthread_mutex_lock(&belt.mutex);
        if (belt.count > 0)
            block = belt.blocks[--belt.count];
        else
            done = belt.done;
        pthread_mutex_unlock(&belt.mutex);
        if (block.stage != NULL)
            station_release(&block);
        else
            stress_pause(i);
    }
}

static void
fifo(uint32_t index, struct stress_random *random)
{
    struct crewman *crewman = station_begin(index, random);
    if (index == 0)
        queue_up(crewman);
    else
        release_from_belt();
}

/* ---- Pair and fair ----------------------------------------------------- */

static uint64_t turns[STATION_THREADS]; /* that were waited for */
static uint32_t looks; /* at the bell, before a thread sleeps */

static void
take_turns(uint32_t index, struct stress_random *random)
{
    struct crewman *crewman = station_begin(index, random);
    struct station *station = &crewman->stations[0];
    while (!stress_is_over()) {
        bool queued = station_wait(station, scene) == WEIR_PENDING;
        for (uint32_t i = 0; station_phase_of(station) != STATION_IDLE; i++)
            (void)station_answer(crewman, i < looks ? 0 : STATION_SLEEP_MS);
        if (queued)
            turns[index]++;
        station_release_any(crewman);
    }
}

static void
forget_turns(void)
{
    for (uint32_t i = 0; i < STATION_THREADS; i++)
        turns[i] = 0;
}

static void
report_turns(void)
{
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (uint32_t i = 0; i < STATION_THREADS; i++) {
        least = turns[i] < least ? turns[i] : least;
        most = turns[i] > most ? turns[i] : most;
    }
    stress_report("fewest turns of a thread", least);
    stress_report("most turns of a thread", most);
    stress_expect(least > 0, "a thread got no turn");
}

/* ---- Storm ------------------------------------------------------------- */

/* Of one thread. */
struct tally {
    uint64_t steps;
    uint64_t allocs;
    uint64_t sleeps;
    uint64_t closes;
    uint64_t floods;
};

static struct tally tallies[STATION_THREADS];

static void
wait_any(struct crewman *crewman, struct platform *platform)
{
    uint32_t index = stress_below(crewman->random, STATIONS);
    struct station *station = &crewman->stations[index];
    if (station_phase_of(station) == STATION_IDLE &&
        crewman->count < STATION_HELD)
        (void)station_wait(station, platform);
}

static void
cancel_any(struct crewman *crewman, struct crewman *whose)
{
    uint32_t index = stress_below(crewman->random, STATIONS);
    station_cancel(crewman, &whose->stations[index]);
}

static void
alloc_any(
    struct crewman *crewman, struct platform *platform, struct tally *tally)
{
    if (crewman->count >= STATION_HELD)
        return;
    struct weir_buf buf;
    pthread_rwlock_rdlock(&platform->lock);
    struct stage *stage = platform->stage;
    enum weir_status status =
        stress_chance(crewman->random, 50)
            ? weir_arena_alloc(stage->arena, 0, &buf)
            : weir_arena_alloc_barge(stage->arena, 0, &buf);
    pthread_rwlock_unlock(&platform->lock);
    if (status == WEIR_OK) {
        tally->allocs++;
        station_own(crewman, stage, &buf);
    } else if (status == WEIR_CLOSED) {
        platform_replace(platform, stage);
    }
}

/* Closes the arena, for others to find and replace, or replaces it. */
static void
close_any(
    struct crewman *crewman, struct platform *platform, struct tally *tally)
{
    pthread_rwlock_rdlock(&platform->lock);
    struct stage *stage = platform->stage;
    bool closes = stress_chance(crewman->random, 50);
    if (closes) {
        atomic_store_explicit(&stage->closed, true, memory_order_relaxed);
        weir_arena_close(stage->arena);
    }
    pthread_rwlock_unlock(&platform->lock);
    if (!closes)
        platform_replace(platform, stage);
    tally->closes++;
}

/* Takes every block there is, and lets them go in some order. */
static void
flood(struct crewman *crewman, struct platform *platform, struct tally *tally)
{
    struct weir_buf buf;
    pthread_rwlock_rdlock(&platform->lock);
    struct stage *stage = platform->stage;
    while (crewman->count < STATION_BLOCKS_MAX &&
           weir_arena_alloc_barge(stage->arena, 0, &buf) == WEIR_OK)
        station_own(crewman, stage, &buf);
    pthread_rwlock_unlock(&platform->lock);
    if (stress_chance(crewman->random, 50))
        stress_nap(stress_below(crewman->random, 200));
    while (crewman->count > 0)
        station_release_any(crewman);
    tally->floods++;
}

static void
sleep_a_while(struct crewman *crewman, struct tally *tally)
{
    while (crewman->count > 0)
        station_release_any(crewman);
    if (station_look(crewman) < STATIONS)
        return;
    tally->sleeps++;
    (void)station_answer(crewman, STATION_SLEEP_MS);
}

static void
step(struct crewman *crewman, struct tally *tally)
{
    struct stress_random *random = crewman->random;
    struct platform *platform = &scene[stress_below(random, scene_size)];
    uint32_t what = stress_below(random, 10000);
    if (what < 4000)
        wait_any(crewman, platform);
    else if (what < 5500)
        station_release_any(crewman);
    else if (what < 6500)
        (void)station_answer(crewman, 0);
    else if (what < 7500)
        cancel_any(crewman, crewman);
    else if (what < 8500)
        cancel_any(
            crewman, &station_crew[stress_below(random, STATION_THREADS)]);
    else if (what < 9000)
        alloc_any(crewman, platform, tally);
    else if (what < 9001)
        close_any(crewman, platform, tally);
    else if (what < 9050 && has_floods)
        flood(crewman, platform, tally);
    else
        sleep_a_while(crewman, tally);
}

static void
storm(uint32_t index, struct stress_random *random)
{
    struct crewman *crewman = station_begin(index, random);
    struct tally *tally = &tallies[index];
    for (; !stress_is_over(); tally->steps++) {
        (void)station_look(crewman);
        step(crewman, tally);
    }
    station_finish(crewman);
}

static void
report_storm(void)
{
    struct tally sum = { 0 };
    for (uint32_t i = 0; i < STATION_THREADS; i++) {
        sum.steps += tallies[i].steps;
        sum.allocs += tallies[i].allocs;
        sum.sleeps += tallies[i].sleeps;
        sum.closes += tallies[i].closes;
        sum.floods += tallies[i].floods;
    }
    stress_report("steps", sum.steps);
    stress_report("allocs", sum.allocs);
    stress_report("sleeps", sum.sleeps);
    stress_report("closes", sum.closes);
    stress_report("floods", sum.floods);
}

/* ------------------------------------------------------------------------ */

static void
report_waits(void)
{
    struct station_counts sum = station_sum();
    stress_report("waits", sum.waits);
    stress_report("grants", sum.grants);
    stress_report("told of a close", sum.closes_told);
    stress_report("cancels", sum.cancels);
    stress_report("cancels that came late", sum.cancels_late);
}

static uint64_t
wanted(void)
{
    if (stress_is_sanitized() || stress_seconds() < 2)
        return 0;
    return stress_seconds() < 60 ? ENOUGH : ENOUGH_LONG;
}

static void
run_turns(uint32_t threads, double share)
{
    stress_part(share);
    looks = threads == 2 ? PAIR_LOOKS : 0;
    forget_turns();
    station_run(threads, 1, 0, take_turns);
}

static void
run_uncached(void)
{
    platform_init(&platforms[0], 1);
    platform_init(&platforms[1], FEW);
    scene = platforms;
    scene_size = PLATFORMS;
    stress_part(0.1);
    station_run(FIFO_THREADS, FIFO_STATIONS, 0, fifo);
    run_turns(2, 0.1);
    run_turns(STATION_THREADS, 0.05);
    report_turns();
    stress_part(0.35);
    station_run(STATION_THREADS, STATIONS, wanted(), storm);
    for (uint32_t i = 0; i < PLATFORMS; i++) {
        (void)platform_expect_whole(&platforms[i]);
        platform_fini(&platforms[i]);
    }
}

/* The dam's arena is one that never takes heap memory. */
static void
run_dam(void)
{
    struct weir_buf held[LAKE];
    platform_init(&dam, LAKE);
    scene = &dam;
    for (uint32_t i = 1; i < LAKE; i++)
        stress_expect(
            weir_arena_alloc(dam.stage->arena, 0, &held[i]) == WEIR_OK,
            "no dam");
    run_turns(2, 0.15);
    run_turns(STATION_THREADS, 0.05);
    for (uint32_t i = 1; i < LAKE; i++)
        weir_buf_drop(&held[i]);
    report_turns();
    stress_report("sweeps behind the dam", platform_expect_whole(&dam));
    platform_fini(&dam);
}

static void
run_lake(void)
{
    platform_init(&lake, LAKE);
    scene = &lake;
    scene_size = 1;
    has_floods = true;
    stress_part(0.2);
    station_run(STATION_THREADS, STATIONS, 0, storm);
    stress_report("sweeps of the lake", platform_expect_whole(&lake));
    platform_fini(&lake);
}

int
main(int argc, char **argv)
{
    stress_begin("waits", argc, argv);
    run_dam();
    run_uncached();
    run_lake();
    stages_expect_unmapped();
    report_storm();
    report_waits();
    return stress_end();
}
