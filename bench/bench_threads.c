/* SPDX-License-Identifier: MIT */
/*
 * bench_threads: what does a message cost when others are at work too?
 *
 *     2 threads, independent        alloc, write 64, freeze, release on one
 *                                   arena, each its own blocks
 *     2 threads, full cycle         the same with one clone
 *     8 threads on 2 processors     each holds 16 blocks, releases one at
 *                                   random and allocs one: threads are stopped
 *                                   anywhere, and a lock would be held
 * meanwhile
 *
 * Idea
 *   Each is compared with the same loop on one thread. Times are processor
 *   time of a thread per operation, which neither other programs nor waiting
 *   for the processor adds to. The windows of the last question are longer than
 *   a slice of the scheduler, so that threads do get preempted.
 *
 *   The peers are malloc with a count in front (counted.h), and a pool as one
 *   writes it by hand: a stack of free blocks and a mutex. With eight threads
 *   they are compared with weir.
 */
#include "counted.h"
#include "harness.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum {
    BLOCK = 4096,
    BLOCKS = 4096,
    MESSAGE = 64,
    HELD = 16,
    MANY = BENCH_THREADS_MAX,
    WINDOW_US = 1000,      /* starting a window must not count */
    LONG_WINDOW_US = 5000, /* longer than a slice of the scheduler */
    LINE = 64
};

/* What one thread holds, on lines of its own. */
struct hand {
    _Alignas(LINE) uint64_t random;
    struct weir_buf bufs[HELD];
    struct counted *counted[HELD];
};

/* Weir has an arena, all others are a peer. */
struct crowd {
    struct weir_arena *arena;
    struct bench_peer peer;
    struct hand hands[MANY];
};

static uint8_t message[MESSAGE];

/* ---- A pool with a mutex ----------------------------------------------- */

enum { POOL_BLOCKS = 1024, POOL_STRIDE = BLOCK + LINE };

static struct {
    pthread_mutex_t mutex;
    size_t count;
    void *free[POOL_BLOCKS];
    _Alignas(LINE) uint8_t blocks[POOL_BLOCKS][POOL_STRIDE];
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void *
pool_alloc(size_t size)
{
    void *block = NULL;
    pthread_mutex_lock(&pool.mutex);
    if (pool.count > 0 && size <= POOL_STRIDE)
        block = pool.free[--pool.count];
    pthread_mutex_unlock(&pool.mutex);
    return block;
}

static void
pool_release(void *block)
{
    pthread_mutex_lock(&pool.mutex);
    pool.free[pool.count++] = block;
    pthread_mutex_unlock(&pool.mutex);
}

static void
pool_fill(void)
{
    memset(pool.blocks, 1, sizeof(pool.blocks)); /* touch every page */
    for (size_t i = 0; i < POOL_BLOCKS; i++)
        pool_release(pool.blocks[i]);
}

/* ---- weir -------------------------------------------------------------- */

static inline void
weir_message(struct weir_arena *arena, struct weir_slice *slice)
{
    struct weir_buf buf;
    bench_must(weir_arena_alloc(arena, BLOCK, &buf));
    memcpy(weir_buf_tail(&buf), message, MESSAGE);
    weir_buf_commit(&buf, MESSAGE);
    weir_buf_freeze(&buf, slice);
}

static void
weir_sole(void *state, unsigned thread, size_t n)
{
    struct weir_arena *arena = ((struct crowd *)state)->arena;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice;
        weir_message(arena, &slice);
        weir_slice_release(&slice);
    }
}

static void
weir_cycle(void *state, unsigned thread, size_t n)
{
    struct weir_arena *arena = ((struct crowd *)state)->arena;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice;
        struct weir_slice copy;
        weir_message(arena, &slice);
        weir_slice_clone(&slice, &copy);
        weir_slice_release(&slice);
        weir_slice_release(&copy);
    }
}

static void
weir_replace(void *state, unsigned thread, size_t n)
{
    struct crowd *crowd = state;
    struct hand *hand = &crowd->hands[thread];
    for (size_t i = 0; i < n; i++) {
        struct weir_buf *buf =
            &hand->bufs[bench_random_below(&hand->random, HELD)];
        weir_buf_drop(buf);
        bench_must(weir_arena_alloc(crowd->arena, BLOCK, buf));
    }
}

/* ---- malloc, or the pool, and a count ---------------------------------- */

static inline void
counted_message(const struct bench_peer *peer, struct counted_slice *slice)
{
    struct counted *counted = counted_alloc(peer, BLOCK);
    memcpy(counted->data, message, MESSAGE);
    counted_freeze(counted, MESSAGE, slice);
}

static void
counted_sole(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = ((struct crowd *)state)->peer;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct counted_slice slice;
        counted_message(&peer, &slice);
        counted_release(&peer, slice.owner);
    }
}

static void
counted_cycle(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = ((struct crowd *)state)->peer;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct counted_slice slice;
        struct counted_slice copy;
        counted_message(&peer, &slice);
        counted_clone(&slice, &copy);
        counted_release(&peer, slice.owner);
        counted_release(&peer, copy.owner);
    }
}

static void
counted_replace(void *state, unsigned thread, size_t n)
{
    struct crowd *crowd = state;
    struct hand *hand = &crowd->hands[thread];
    const struct bench_peer peer = crowd->peer;
    for (size_t i = 0; i < n; i++) {
        struct counted **held =
            &hand->counted[bench_random_below(&hand->random, HELD)];
        if (*held)
            counted_release(&peer, *held);
        *held = counted_alloc(&peer, BLOCK);
    }
}

/* ---- The questions ----------------------------------------------------- */

/* One thread's loop, and weir's goal for it on many threads, in what it costs on
   one. */
static const struct question {
    const char *alone;
    const char *together;
    bench_loop_fn *weir;
    bench_loop_fn *counted;
    unsigned threads;
    unsigned window_us;
    const char *goal;
    double goal_alone;
} questions[] = {
    { "alloc, write 64, release", "2 threads, independent", weir_sole,
        counted_sole, 2, WINDOW_US, "G7", 1 / 0.95 },
    { "full cycle with a clone", "2 threads, full cycle", weir_cycle,
        counted_cycle, 2, WINDOW_US, "G7", 1 / 0.9 },
    { "hold 16, replace one", "8 threads on 2 processors", weir_replace,
        counted_replace, MANY, LONG_WINDOW_US, "G8", 1.3 },
};

enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

/* How many times as much as weir a peer has to cost with eight threads. */
enum { LEAST_OF_PEERS = 4, LEAST_OF_POOL = 12 };

enum { CACHED, UNCACHED, POOL, PEERS, ALL = PEERS + BENCH_PEER_COUNT };

static struct crowd crowds[ALL];

/* The same on one thread and on many; returns the latter. */
static const struct bench_case *
ask_weir(const struct question *question, struct crowd *crowd,
    const char *candidate, double goal)
{
    struct bench_case one = { .name = question->alone,
        .candidate = candidate,
        .loop = question->weir,
        .state = crowd,
        .window_us = question->window_us,
        .clock = BENCH_CPU };
    one.base = bench_add(&one);
    one.name = question->together;
    one.threads = question->threads;
    one.goal = question->goal;
    one.goal_base = goal;
    return bench_add(&one);
}

static void
ask_peer(const struct question *question, struct crowd *crowd, double least,
    const struct bench_case *weir)
{
    struct bench_case one = { .name = question->alone,
        .candidate = crowd->peer.name,
        .loop = question->counted,
        .state = crowd,
        .window_us = question->window_us,
        .clock = BENCH_CPU,
        .skipped = crowd->peer.skipped };
    const struct bench_case *alone = bench_add(&one);
    bool many = question->threads == MANY;
    one.name = question->together;
    one.threads = question->threads;
    one.base = many ? weir : alone;
    one.goal = question->goal;
    one.goal_least = many ? least : 0;
    bench_add(&one);
}

static void
ask(const struct question *question)
{
    const struct bench_case *weir =
        ask_weir(question, &crowds[CACHED], "weir", question->goal_alone);
    ask_weir(question, &crowds[UNCACHED], "weir, no cache", 0);
    ask_peer(question, &crowds[POOL], LEAST_OF_POOL, weir);
    for (size_t i = PEERS; i < ALL; i++)
        ask_peer(question, &crowds[i], LEAST_OF_PEERS, weir);
}

static void
gather(void)
{
    pool_fill();
    crowds[CACHED].arena = bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT);
    crowds[UNCACHED].arena =
        bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT | WEIR_NO_CACHE);
    crowds[POOL].peer = (struct bench_peer){ .name = "a pool with a mutex",
        .alloc = pool_alloc,
        .release = pool_release };
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++)
        crowds[PEERS + i].peer = bench_peers()[i];
    for (size_t i = 0; i < ALL; i++)
        for (unsigned k = 0; k < MANY; k++)
            crowds[i].hands[k].random = k;
}

static void
empty_hands(struct crowd *crowd)
{
    for (unsigned i = 0; i < MANY; i++)
        for (unsigned k = 0; k < HELD; k++) {
            weir_buf_drop(&crowd->hands[i].bufs[k]);
            if (crowd->hands[i].counted[k])
                counted_release(&crowd->peer, crowd->hands[i].counted[k]);
        }
}

int
main(int argc, char **argv)
{
    bench_start("threads", argc, argv);
    gather();
    for (size_t i = 0; i < QUESTIONS; i++)
        ask(&questions[i]);

    int status = bench_run();
    for (size_t i = 0; i < ALL; i++)
        empty_hands(&crowds[i]);
    bench_arena_end(&crowds[CACHED].arena);
    bench_arena_end(&crowds[UNCACHED].arena);
    return status;
}
