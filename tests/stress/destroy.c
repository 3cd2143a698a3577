/* SPDX-License-Identifier: MIT */
/*
 * destroy seed seconds: an arena dies once, when its last block is home, on
 * whatever thread that happens, and nobody touches it afterwards.
 *
 * Traffic: threads take blocks from a few arenas, freeze, clone and exchange
 * them; now and then one destroys an arena, whose slices live on for a while
 * among those of later arenas with the same number.
 *
 * Duel: one thread destroys an arena in the moment in which another releases
 * its last blocks.
 *
 * Each arena counts those who have still to end something: its handles and its
 * destroyer. Who brings that to 0, after the call returned, must find that
 * on_unmapped ran once. Half of the arenas lie in memory of ours, which loses
 * its access in on_unmapped and goes a good deal later, so that a late touch
 * faults.
 */

#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    THREADS = 6,
    SHELVES = 4,
    HELD = 24,
    BLOCK_SIZE = 256,
    MEMORY_SIZE = 4 * 4096,
    BLOCKS_MAX = 130,
    GRAVES = 64, /* memory without access that is still ours */
    BOX = 16,
    DUELLISTS = 2
};

/* An arena's life, from outside. */
struct life {
    struct weir_arena *arena;
    uint8_t *memory;          /* ours; NULL: the arena's own */
    _Atomic uint32_t handles; /* that were not yet released */
    _Atomic uint32_t
        unfinished; /* handles and the destroyer, till they return */
    _Atomic uint32_t unmapped;
};

struct held {
    struct weir_slice slice;
    struct life *life;
    uint64_t stamp;
};

/* Where threads find an arena. */
struct shelf {
    pthread_rwlock_t lock;
    struct life *life;
};

struct worker {
    struct stress_random *random;
    struct held held[HELD];
    uint32_t count;
    uint64_t serial;
    uint64_t creates;
    uint64_t allocs;
    uint64_t duels;
};

static struct worker workers[THREADS];
static struct shelf shelves[SHELVES];
static _Atomic uint64_t deaths;

/* ---- One life ---------------------------------------------------------- */

/* Keeps what died last without access, and unmaps what died before that. */
static void
bury(uint8_t *memory)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static uint8_t *graves[GRAVES];
    static uint32_t next;
    stress_expect(mprotect(memory, MEMORY_SIZE, PROT_NONE) == 0, "no mprotect");
    pthread_mutex_lock(&mutex);
    uint8_t *old = graves[next];
    graves[next] = memory;
    next = (next + 1) % GRAVES;
    pthread_mutex_unlock(&mutex);
    if (old != NULL)
        stress_expect(munmap(old, MEMORY_SIZE) == 0, "no munmap");
}

static void
on_unmapped(void *user)
{
    struct life *life = user;
    uint32_t handles =
        atomic_load_explicit(&life->handles, memory_order_relaxed);
    stress_expect(handles == 0, "unmapped while a handle lives");
    if (life->memory != NULL) {
        for (uint32_t at = 0; at < MEMORY_SIZE; at += BLOCK_SIZE)
            life->memory[at] = 0; /* it is ours again */
        bury(life->memory);
    }
    (void)atomic_fetch_add_explicit(&life->unmapped, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&deaths, 1, memory_order_relaxed);
}

static uint8_t *
map_memory(void)
{
    void *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stress_expect(memory != MAP_FAILED, "no memory");
    return memory;
}

static struct life *
begin_life(struct worker *worker, uint32_t blocks, bool ours, unsigned flags)
{
    struct life *life = calloc(1, sizeof(*life));
    stress_expect(life != NULL, "no memory");
    atomic_store_explicit(&life->unfinished, 1, memory_order_relaxed);
    struct weir_arena_config config = {
        .name = "destroy",
        .block_size = BLOCK_SIZE,
        .block_count = blocks,
        .flags = flags,
        .spill_bytes_max = (size_t)8 * BLOCK_SIZE,
        .on_unmapped = on_unmapped,
        .user = life,
    };
    if (ours) {
        life->memory = map_memory();
        config.memory = life->memory;
        config.bytes = MEMORY_SIZE;
        config.block_count = 0;
    }
    stress_expect(
        weir_arena_create(&config, &life->arena) == WEIR_OK, "no arena");
    worker->creates++;
    return life;
}

/* A call that ended something has returned. */
static void
finish(struct life *life)
{
    uint32_t had =
        atomic_fetch_sub_explicit(&life->unfinished, 1, memory_order_acq_rel);
    if (had != 1)
        return;
    stress_expect_equal(
        atomic_load_explicit(&life->unmapped, memory_order_relaxed), 1,
        "calls of on_unmapped when the last handle was released");
    free(life);
}

static void
begin_handle(struct life *life)
{
    (void)atomic_fetch_add_explicit(&life->handles, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&life->unfinished, 1, memory_order_relaxed);
}

/* Before the library hears of it. */
static void
end_handle(struct life *life)
{
    (void)atomic_fetch_sub_explicit(&life->handles, 1, memory_order_relaxed);
}

static void
release(struct held *held)
{
    stress_verify(weir_slice_data(&held->slice), weir_slice_len(&held->slice),
        held->stamp, 0, "a block was written after its arena was destroyed");
    end_handle(held->life);
    weir_slice_release(&held->slice);
    finish(held->life);
}

static bool
take(struct worker *worker, struct life *life, struct held *held)
{
    struct weir_buf buf;
    begin_handle(life);
    enum weir_status status = weir_arena_alloc(life->arena, 0, &buf);
    if (status != WEIR_OK) {
        stress_expect(status == WEIR_FULL, "an alloc failed");
        end_handle(life);
        (void)atomic_fetch_sub_explicit(
            &life->unfinished, 1, memory_order_relaxed);
        return false;
    }
    worker->allocs++;
    *held = (struct held){ .life = life };
    held->stamp = (uint64_t)(worker - workers + 1) << 56 | ++worker->serial;

    uint8_t bytes[2 * BLOCK_SIZE];
    size_t len = 1 + stress_below(worker->random, BLOCK_SIZE);
    if (stress_chance(worker->random, 10))
        len *= 2; /* outgrows its block, where that is allowed */
    stress_fill(bytes, len, held->stamp, 0);
    status = weir_buf_write(&buf, bytes, len);
    if (status != WEIR_OK) {
        stress_expect(status == WEIR_NO_ROOM, "a write failed");
        stress_expect(weir_buf_write(&buf, bytes, 1) == WEIR_OK, "no byte");
    }
    weir_buf_freeze(&buf, &held->slice);
    return true;
}

/* ---- Traffic ----------------------------------------------------------- */

static struct box {
    pthread_mutex_t mutex;
    struct held held[BOX];
    uint32_t count;
} box = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static struct held
pick(struct worker *worker)
{
    uint32_t index = stress_below(worker->random, worker->count);
    struct held held = worker->held[index];
    worker->held[index] = worker->held[--worker->count];
    return held;
}

static void
release_any(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    release(&held);
}

/* Exchanges a slice with whoever comes. */
static void
exchange(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    pthread_mutex_lock(&box.mutex);
    if (box.count < BOX) {
        box.held[box.count++] = held;
        held.life = NULL;
    } else {
        uint32_t index = stress_below(worker->random, BOX);
        struct held other = box.held[index];
        box.held[index] = held;
        held = other;
    }
    pthread_mutex_unlock(&box.mutex);
    if (held.life != NULL)
        worker->held[worker->count++] = held;
}

static void
copy(struct worker *worker)
{
    if (worker->count == 0 || worker->count == HELD)
        return;
    struct held *held =
        &worker->held[stress_below(worker->random, worker->count)];
    struct held made = *held;
    begin_handle(held->life);
    weir_slice_clone(&held->slice, &made.slice);
    worker->held[worker->count++] = made;
}

static struct life *
begin_any_life(struct worker *worker)
{
    static const unsigned flags[] = { 0, WEIR_SPILL_GROW, WEIR_SPILL_FULL,
        WEIR_SPILL_GROW | WEIR_SPILL_FULL };
    uint32_t blocks = stress_chance(worker->random, 50)
                          ? 1 + stress_below(worker->random, 4)
                          : 1 + stress_below(worker->random, BLOCKS_MAX);
    bool ours = stress_chance(worker->random, 50);
    return begin_life(
        worker, blocks, ours, flags[stress_below(worker->random, 4)]);
}

static void
put_on_shelf(struct worker *worker, struct shelf *shelf)
{
    pthread_rwlock_wrlock(&shelf->lock);
    if (shelf->life == NULL)
        shelf->life = begin_any_life(worker);
    pthread_rwlock_unlock(&shelf->lock);
}

static void
take_from_shelf(struct worker *worker, struct shelf *shelf)
{
    pthread_rwlock_rdlock(&shelf->lock);
    struct life *life = shelf->life;
    if (life != NULL && worker->count < HELD &&
        take(worker, life, &worker->held[worker->count]))
        worker->count++;
    pthread_rwlock_unlock(&shelf->lock);
    if (life == NULL)
        put_on_shelf(worker, shelf);
}

static void
destroy_on_shelf(struct shelf *shelf)
{
    pthread_rwlock_wrlock(&shelf->lock);
    struct life *life = shelf->life;
    shelf->life = NULL;
    pthread_rwlock_unlock(&shelf->lock);
    if (life == NULL)
        return;
    weir_arena_destroy(&life->arena);
    finish(life);
}

static void
traffic(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->random = random;
    while (!stress_is_over()) {
        struct shelf *shelf = &shelves[stress_below(random, SHELVES)];
        uint32_t what = stress_below(random, 100);
        if (what < 40)
            take_from_shelf(worker, shelf);
        else if (what < 50)
            copy(worker);
        else if (what < 60)
            exchange(worker);
        else if (what < 97)
            release_any(worker);
        else
            destroy_on_shelf(shelf);
    }
    destroy_on_shelf(&shelves[index % SHELVES]);
    while (worker->count > 0)
        release_any(worker);
}

/* ---- Duel -------------------------------------------------------------- */

enum { LAST_BLOCKS = 2, HASTE = 1024 };

static struct stress_gate gate;
static struct life *duel;
static struct held last_blocks[LAST_BLOCKS];
static _Atomic bool last_duel;

/* A moment of random length. */
static void
hesitate(struct stress_random *random)
{
    volatile uint32_t left = stress_below(random, HASTE);
    while (left > 0)
        left--;
}

static void
take_last_blocks(struct worker *worker)
{
    for (uint32_t i = 0; i < LAST_BLOCKS; i++)
        stress_expect(take(worker, duel, &last_blocks[i]), "no block");
}

static void
destroy_in_duel(struct worker *worker)
{
    struct life *life = duel;
    hesitate(worker->random);
    weir_arena_destroy(&life->arena);
    finish(life);
}

static void
release_in_duel(struct worker *worker)
{
    hesitate(worker->random);
    for (uint32_t i = 0; i < LAST_BLOCKS; i++)
        release(&last_blocks[i]);
}

/* Mostly the releaser took the blocks itself, and releases as quickly as can
   be; else it releases its first block of an arena it has never used. */
static void
fight(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->random = random;
    bool last;
    do {
        if (index == 0) {
            duel = begin_life(worker, 3, stress_chance(random, 50), 0);
            worker->duels++;
            if (worker->duels % 4 == 0)
                take_last_blocks(worker);
            atomic_store_explicit(
                &last_duel, stress_is_over(), memory_order_relaxed);
        }
        stress_gate_pass(&gate);
        last = atomic_load_explicit(&last_duel, memory_order_relaxed);
        if (index == 1 && workers[0].duels % 4 != 0)
            take_last_blocks(worker);
        stress_gate_pass(&gate);
        if (index == 0)
            destroy_in_duel(worker);
        else
            release_in_duel(worker);
        stress_gate_pass(&gate);
    } while (!last);
}

/* ------------------------------------------------------------------------ */

static void
expect_all_dead(void)
{
    uint64_t creates = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        creates += workers[i].creates;
    stress_expect_equal(atomic_load_explicit(&deaths, memory_order_relaxed),
        creates, "arenas that were unmapped");
}

int
main(int argc, char **argv)
{
    stress_begin("destroy", argc, argv);
    for (uint32_t i = 0; i < SHELVES; i++)
        (void)pthread_rwlock_init(&shelves[i].lock, NULL);

    stress_part(0.6);
    stress_run(&(struct stress_crew){ .count = THREADS, .body = traffic });
    for (uint32_t i = 0; i < SHELVES; i++)
        destroy_on_shelf(&shelves[i]);
    while (box.count > 0)
        release(&box.held[--box.count]);
    expect_all_dead();

    stress_part(0.4);
    gate = (struct stress_gate){ .count = DUELLISTS };
    stress_run(&(struct stress_crew){ .count = DUELLISTS, .body = fight });
    expect_all_dead();

    uint64_t allocs = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        allocs += workers[i].allocs;
    stress_report("allocs", allocs);
    stress_report(
        "arenas", atomic_load_explicit(&deaths, memory_order_relaxed));
    stress_report("duels", workers[0].duels);
    return stress_end();
}
