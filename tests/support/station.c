/* SPDX-License-Identifier: MIT */
/* station: threads that wait for blocks, and the arenas they wait for. */

#include "support/station.h"

#include "arena/arena.h"
#include "base/handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PATIENCE_TICKS = 5000 / STRESS_TICK_MS, /* a wait lasts no longer */
    WAIT_LOT = 64,
    SPILL_EVERY = 4 /* stages */
};

struct crewman station_crew[STATION_THREADS];

static _Atomic uint64_t waits_so_far; /* added in lots */
static uint64_t waits_wanted;
static _Atomic uint32_t tick;
static struct stage *all_stages;
static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;

/* ---- Stages and platforms ---------------------------------------------- */

static void
on_unmapped(void *user)
{
    struct stage *stage = user;
    (void)atomic_fetch_add_explicit(&stage->unmapped, 1, memory_order_relaxed);
}

static struct stage *
begin_stage(uint32_t blocks)
{
    static uint32_t begun;
    struct stage *stage = calloc(1, sizeof(*stage));
    stress_expect(stage != NULL, "no memory");
    pthread_mutex_lock(&all_mutex);
    stage->older = all_stages;
    all_stages = stage;
    bool spills = ++begun % SPILL_EVERY == 0;
    pthread_mutex_unlock(&all_mutex);

    struct weir_arena_config config = {
        .name = "station",
        .block_size = STATION_BLOCK_SIZE,
        .block_count = blocks,
        .flags = spills ? WEIR_SPILL_FULL : 0,
        .spill_bytes_max = STATION_BLOCK_SIZE,
        .on_unmapped = on_unmapped,
        .user = stage,
    };
    stress_expect(
        weir_arena_create(&config, &stage->arena) == WEIR_OK, "no arena");
    stage->arena->drought_length = 1;
    return stage;
}

void
platform_init(struct platform *platform, uint32_t blocks)
{
    pthread_rwlockattr_t kind;
    (void)pthread_rwlockattr_init(&kind);
    (void)pthread_rwlockattr_setkind_np(
        &kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&platform->lock, &kind);
    (void)pthread_rwlockattr_destroy(&kind);
    platform->blocks = blocks;
    platform->stage = begin_stage(blocks);
}

static void
note_sweeps(struct platform *platform, struct weir_arena *arena)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    (void)atomic_fetch_add_explicit(
        &platform->sweeps, stats.sweeps, memory_order_relaxed);
}

void
platform_replace(struct platform *platform, const struct stage *old)
{
    struct stage *stage = NULL;
    pthread_rwlock_wrlock(&platform->lock);
    if (platform->stage == old) {
        stage = platform->stage;
        platform->stage = begin_stage(platform->blocks);
    }
    pthread_rwlock_unlock(&platform->lock);
    if (stage == NULL)
        return;
    note_sweeps(platform, stage->arena);
    weir_arena_destroy(&stage->arena); /* nobody is in a call on it */
}

static void
expect_counted(const struct stage *stage, const struct weir_stats *stats)
{
    uint64_t waits = atomic_load_explicit(&stage->waits, memory_order_relaxed);
    uint64_t grants =
        atomic_load_explicit(&stage->grants, memory_order_relaxed);
    uint64_t cancels =
        atomic_load_explicit(&stage->cancels, memory_order_relaxed);
    stress_expect_equal(stats->waits, waits, "waits");
    stress_expect_equal(grants + cancels, waits, "grants and cancels");
    stress_expect_equal(stats->cancels, cancels, "cancels");
    stress_expect(stats->grants >= grants && stats->grants <= waits, "grants");
}

uint64_t
platform_expect_whole(struct platform *platform)
{
    struct stage *stage = platform->stage;
    struct weir_stats stats;
    weir_arena_stats(stage->arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.spilled_blocks, 0, "heap blocks are not home");
    stress_expect_equal(stats.waiting, 0, "waiters are left");
    stress_expect_equal(stats.allocs, stats.releases, "releases");
    weir_arena_check(stage->arena);
    if (!atomic_load_explicit(&stage->closed, memory_order_relaxed))
        expect_counted(stage, &stats);
    note_sweeps(platform, stage->arena);
    uint64_t sweeps =
        atomic_load_explicit(&platform->sweeps, memory_order_relaxed);
    stress_expect(
        stats.caching != WEIR_CACHING_ON || sweeps > 0, "there were no sweeps");
    return sweeps;
}

void
platform_fini(struct platform *platform)
{
    weir_arena_destroy(&platform->stage->arena);
    (void)pthread_rwlock_destroy(&platform->lock);
}

void
stages_expect_unmapped(void)
{
    while (all_stages != NULL) {
        struct stage *stage = all_stages;
        all_stages = stage->older;
        stress_expect_equal(
            atomic_load_explicit(&stage->unmapped, memory_order_relaxed), 1,
            "calls of on_unmapped");
        free(stage);
    }
}

/* ---- Blocks ------------------------------------------------------------ */

static void
set_owner(struct stage *stage, const struct weir_buf *buf, uint8_t from,
    uint8_t to, const char *what)
{
    if (wr_word_kind(buf->word) != WR_BLOCK)
        return;
    uint32_t block = wr_owner_slot(buf->owner);
    stress_expect(block < STATION_BLOCKS_MAX, "a block that does not exist");
    uint8_t was = atomic_exchange_explicit(
        &stage->owner[block], to, memory_order_relaxed);
    stress_expect(was == from, what);
}

void
station_own(struct crewman *crewman, struct stage *stage, struct weir_buf *buf)
{
    stress_expect(
        weir_buf_room(buf) >= STATION_BLOCK_SIZE, "a block without room");
    uint8_t owner = (uint8_t)(crewman - station_crew + 1);
    set_owner(stage, buf, 0, owner, "a block has two owners");
    *(uint8_t *)weir_buf_tail(buf) = owner;
    stress_expect(
        crewman->count < STATION_CARRIED_MAX, "a thread has too many blocks");
    crewman->blocks[crewman->count++] =
        (struct station_block){ *buf, stage, owner };
    *buf = (struct weir_buf){ 0 };
}

void
station_release(struct station_block *block)
{
    uint8_t there = *(const uint8_t *)weir_buf_tail(&block->buf);
    stress_expect(there == block->owner, "somebody wrote into a block");
    set_owner(block->stage, &block->buf, block->owner, 0,
        "a block was somebody else's");
    weir_buf_drop(&block->buf);
}

void
station_release_any(struct crewman *crewman)
{
    if (crewman->count == 0)
        return;
    uint32_t index = stress_below(crewman->random, crewman->count);
    struct station_block block = crewman->blocks[index];
    crewman->blocks[index] = crewman->blocks[--crewman->count];
    station_release(&block);
}

/* ---- Stations ---------------------------------------------------------- */

static bool
moves(struct station *station, enum station_phase from, enum station_phase to)
{
    uint32_t seen = from;
    return atomic_compare_exchange_strong_explicit(
        &station->phase, &seen, to, memory_order_acq_rel, memory_order_acquire);
}

enum station_phase
station_phase_of(struct station *station)
{
    return (enum station_phase)atomic_load_explicit(
        &station->phase, memory_order_acquire);
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct station *station = (struct station *)(void *)waiter;
    for (uint32_t i = 0; !moves(station, STATION_ARMED, STATION_IDLE); i++) {
        enum station_phase phase = station_phase_of(station);
        stress_expect(phase == STATION_CANCELING || phase == STATION_ARMED,
            "told, but it did not wait");
        stress_pause(i);
    }
    struct crewman *crewman = station->crewman;
    if (status == WEIR_CLOSED) {
        crewman->counts.closes_told++;
        return;
    }
    stress_expect(status == WEIR_OK, "a grant failed");
    stress_expect(!crewman->in_order || station->ticket > crewman->last_ticket,
        "a grant overtook an older one");
    crewman->last_ticket = station->ticket;
    crewman->counts.grants++;
    (void)atomic_fetch_add_explicit(
        &station->stage->grants, 1, memory_order_relaxed);
    station_own(crewman, station->stage, &waiter->buf);
}

static void
arm(struct station *station)
{
    struct crewman *crewman = station->crewman;
    station->ticket = ++crewman->counts.waits;
    if (station->ticket % WAIT_LOT == 0)
        (void)atomic_fetch_add_explicit(
            &waits_so_far, WAIT_LOT, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(
        &station->stage->waits, 1, memory_order_relaxed);
    uint32_t now = atomic_load_explicit(&tick, memory_order_relaxed);
    atomic_store_explicit(&station->armed_tick, now, memory_order_relaxed);
    atomic_store_explicit(&station->phase, STATION_ARMED, memory_order_release);
}

enum weir_status
station_wait(struct station *station, struct platform *platform)
{
    struct crewman *crewman = station->crewman;
    struct weir_waiter *waiter = &station->waiter;
    waiter->bell = &crewman->doorbell.bell;
    waiter->granted = on_granted;

    pthread_rwlock_rdlock(&platform->lock);
    struct stage *stage = platform->stage;
    station->stage = stage;
    enum weir_status status = weir_arena_wait(stage->arena, 0, waiter);
    if (status == WEIR_PENDING)
        arm(station);
    pthread_rwlock_unlock(&platform->lock);
    if (status == WEIR_OK)
        station_own(crewman, stage, &waiter->buf);
    else if (status == WEIR_CLOSED)
        platform_replace(platform, stage);
    else
        stress_expect(status == WEIR_PENDING, "a wait failed");
    return status;
}

void
station_cancel(struct crewman *crewman, struct station *station)
{
    if (!moves(station, STATION_ARMED, STATION_CANCELING))
        return;
    bool own = station->crewman == crewman;
    struct stage *stage = station->stage;
    enum weir_status status = weir_waiter_cancel(&station->waiter);
    if (status == WEIR_PENDING) {
        stress_expect(!own, "a cancel came late without a drain");
        crewman->counts.cancels_late++;
        stress_expect(moves(station, STATION_CANCELING, STATION_ARMED),
            "told while it was cancelled");
        return;
    }
    stress_expect(status == WEIR_OK, "a cancel failed");
    crewman->counts.cancels++;
    (void)atomic_fetch_add_explicit(&stage->cancels, 1, memory_order_relaxed);
    stress_expect(moves(station, STATION_CANCELING, STATION_CANCELED),
        "told while it was cancelled");
    if (!own)
        doorbell_ring(&station->crewman->doorbell);
}

uint32_t
station_look(struct crewman *crewman)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < crewman->station_count; i++) {
        struct station *station = &crewman->stations[i];
        if (!moves(station, STATION_CANCELED, STATION_IDLE) &&
            station_phase_of(station) != STATION_IDLE)
            waiting++;
    }
    return waiting;
}

/* Who was told without a ring would sleep for ever: where there was no ring,
   nobody is there, or the ring is under way. */
bool
station_answer(struct crewman *crewman, int timeout_ms)
{
    struct doorbell *doorbell = &crewman->doorbell;
    bool rung = doorbell_listen(doorbell, timeout_ms);
    if (!rung && weir_bell_drain(&doorbell->bell, 0) > 0) {
        rung = doorbell_listen(doorbell, 0);
        stress_expect(rung, "told, but not rung for");
    }
    if (rung)
        (void)weir_bell_drain(
            &doorbell->bell, stress_below(crewman->random, 3));
    return rung;
}

void
station_finish(struct crewman *crewman)
{
    for (;;) {
        while (crewman->count > 0)
            station_release_any(crewman);
        if (station_look(crewman) == 0)
            return;
        uint32_t index = stress_below(crewman->random, crewman->station_count);
        if (stress_chance(crewman->random, 50))
            station_cancel(crewman, &crewman->stations[index]);
        else
            (void)station_answer(crewman, STATION_SLEEP_MS);
    }
}

/* ---- The crew ---------------------------------------------------------- */

static void
dump(const struct station *station)
{
    struct weir_stats stats = { 0 };
    if (station->stage->arena != NULL)
        weir_arena_stats(station->stage->arena, &stats);
    (void)fprintf(stderr,
        "station %td of thread %td still waits, its waiter is in state %u; "
        "%" PRIu64 " of %" PRIu64 " blocks out, %" PRIu64 " waiting, %" PRIu64
        " waits, %" PRIu64 " grants\n",
        station - station->crewman->stations, station->crewman - station_crew,
        station->waiter.state, stats.blocks_out, stats.block_count,
        stats.waiting, stats.waits, stats.grants);
}

static void
watch_station(struct station *station, uint32_t now)
{
    uint32_t since =
        atomic_load_explicit(&station->armed_tick, memory_order_relaxed);
    if (station_phase_of(station) != STATION_ARMED ||
        now - since < PATIENCE_TICKS)
        return;
    dump(station);
    stress_fail("a wake-up was lost");
}

static void
watch(void)
{
    uint32_t now =
        1 + atomic_fetch_add_explicit(&tick, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < STATION_THREADS; i++)
        for (uint32_t k = 0; k < station_crew[i].station_count; k++)
            watch_station(&station_crew[i].stations[k], now);
}

static bool
is_enough(void)
{
    return atomic_load_explicit(&waits_so_far, memory_order_relaxed) >=
           waits_wanted;
}

void
station_run(
    uint32_t threads, uint32_t stations, uint64_t waits, stress_body_fn *body)
{
    waits_wanted = waits;
    for (uint32_t i = 0; i < STATION_THREADS; i++) {
        struct crewman *crewman = &station_crew[i];
        crewman->station_count = i < threads ? stations : 0;
        crewman->in_order = false;
        for (uint32_t k = 0; k < stations; k++)
            crewman->stations[k].crewman = crewman;
        doorbell_init(&crewman->doorbell, i % 2 == 1);
    }
    stress_run(&(struct stress_crew){
        .count = threads, .body = body, .watch = watch, .enough = is_enough });
    for (uint32_t i = 0; i < STATION_THREADS; i++)
        doorbell_fini(&station_crew[i].doorbell);
}

struct crewman *
station_begin(uint32_t index, struct stress_random *random)
{
    station_crew[index].random = random;
    return &station_crew[index];
}

struct station_counts
station_sum(void)
{
    struct station_counts sum = { 0 };
    for (uint32_t i = 0; i < STATION_THREADS; i++) {
        const struct station_counts *counts = &station_crew[i].counts;
        sum.waits += counts->waits;
        sum.grants += counts->grants;
        sum.closes_told += counts->closes_told;
        sum.cancels += counts->cancels;
        sum.cancels_late += counts->cancels_late;
    }
    stress_expect_equal(sum.grants + sum.closes_told + sum.cancels, sum.waits,
        "waiters that were told");
    return sum;
}
