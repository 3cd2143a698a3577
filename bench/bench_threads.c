/* SPDX-License-Identifier: MIT */
/*
 * bench_threads: what does a message cost when others are at work too?
 *
 *     2 threads, independent        alloc, write 64, freeze, release on one
 *                                   arena, each its own blocks
 *     8 threads on 2 processors     each holds 16 blocks, releases one at
 *                                   random and allocs one: threads are stopped
 *                                   anywhere, and a lock would be held
 * meanwhile
 *
 * Idea
 *   Both are compared with the same loop on one thread. Times are processor
 *   time of a thread per operation, which neither other programs nor waiting
 *   for the processor adds to. The windows of the second question are longer
 *   than a slice of the scheduler, so that threads do get preempted.
 *
 *   The peers are malloc with a count in front (counted.h).
 */
#include "counted.h"
#include "harness.h"

#include <stdio.h>
#include <string.h>

enum {
    BLOCK = 4096,
    BLOCKS = 4096,
    MESSAGE = 64,
    HELD = 16,
    MANY = BENCH_THREADS_MAX,
    WINDOW_US = 5000,
    LINE = 64
};

/* What one thread holds, on lines of its own. */
struct hand {
    _Alignas(LINE) uint64_t random;
    struct weir_buf bufs[HELD];
    struct counted *counted[HELD];
};

struct crowd {
    struct weir_arena *arena;
    struct bench_peer peer;
    struct hand hands[MANY];
};

static uint8_t message[MESSAGE];

/* ---- Loops ------------------------------------------------------------- */

static void
weir_message(void *state, unsigned thread, size_t n)
{
    struct weir_arena *arena = ((struct crowd *)state)->arena;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf buf;
        struct weir_slice slice;
        bench_must(weir_arena_alloc(arena, BLOCK, &buf));
        memcpy(weir_buf_tail(&buf), message, MESSAGE);
        weir_buf_commit(&buf, MESSAGE);
        weir_buf_freeze(&buf, &slice);
        weir_slice_release(&slice);
    }
}

static void
counted_message(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = ((struct crowd *)state)->peer;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct counted *counted = counted_alloc(&peer, BLOCK);
        memcpy(counted->data, message, MESSAGE);
        counted_release(&peer, counted);
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

/* ---- Questions --------------------------------------------------------- */

/* `loop` by one thread, and by `threads`. */
static void
ask(const struct bench_case *what, const char *alone, const char *together,
    unsigned threads)
{
    struct bench_case one = *what;
    one.clock = BENCH_CPU;
    one.name = alone;
    one.base = bench_add(&one);
    one.name = together;
    one.threads = threads;
    bench_add(&one);
}

static void
ask_both(struct crowd *crowd, const char *candidate, const char *skipped,
    bench_loop_fn *each, bench_loop_fn *replace)
{
    for (unsigned i = 0; i < MANY; i++)
        crowd->hands[i].random = i;
    ask(&(struct bench_case){ .candidate = candidate,
            .loop = each,
            .state = crowd,
            .skipped = skipped },
        "alloc, write 64, release", "2 threads, independent", 2);
    ask(&(struct bench_case){ .candidate = candidate,
            .loop = replace,
            .state = crowd,
            .skipped = skipped,
            .window_us = WINDOW_US },
        "hold 16, replace one", "8 threads on 2 processors", MANY);
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
    static struct crowd crowds[1 + BENCH_PEER_COUNT];
    bench_start("threads", argc, argv);
    struct bench_peer *peers = bench_peers();
    crowds[0].arena = bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT);
    ask_both(&crowds[0], "weir", NULL, weir_message, weir_replace);
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++) {
        crowds[1 + i].peer = peers[i];
        ask_both(&crowds[1 + i], peers[i].name, peers[i].skipped,
            counted_message, counted_replace);
    }

    int status = bench_run();
    for (size_t i = 0; i < 1 + BENCH_PEER_COUNT; i++)
        empty_hands(&crowds[i]);
    bench_arena_end(&crowds[0].arena);
    return status;
}
