/* SPDX-License-Identifier: MIT */
/*
 * bench_cycle: what does a message cost on one thread?
 *
 *     alloc, release                    a block out and home, nothing written
 *     alloc, write, freeze, release     64 bytes, one reader
 *     full cycle                        the same with one clone: two readers
 *     fan-out 8                         eight clones; the cost of one handle
 *
 * Writing is copying to the tail and committing, as after recv. The other way,
 * weir_buf_write, is a line of its own, and so is an arena without caches: what
 * a thread pays while caches are off because an arena ran full.
 *
 * The peers do the same with malloc of 4096 bytes and a count in front of them
 * (counted.h). Their locked instructions are the count's; what their allocator
 * takes comes on top.
 */
#include "counted.h"
#include "harness.h"

#include <string.h>

enum { BLOCK = 4096, BLOCKS = 1024, MESSAGE = 64, READERS = 8 };

static uint8_t message[MESSAGE];

/* ---- weir -------------------------------------------------------------- */

static void
weir_alloc_release(void *state, unsigned thread, size_t n)
{
    struct weir_arena *arena = state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf buf;
        bench_must(weir_arena_alloc(arena, BLOCK, &buf));
        weir_buf_drop(&buf);
    }
}

/* A slice of 64 fresh bytes, written in place. */
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
weir_freeze_release(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice;
        weir_message(state, &slice);
        weir_slice_release(&slice);
    }
}

static void
weir_write_freeze_release(void *state, unsigned thread, size_t n)
{
    struct weir_arena *arena = state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf buf;
        struct weir_slice slice;
        bench_must(weir_arena_alloc(arena, BLOCK, &buf));
        bench_must(weir_buf_write(&buf, message, MESSAGE));
        weir_buf_freeze(&buf, &slice);
        weir_slice_release(&slice);
    }
}

static void
weir_full_cycle(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice;
        struct weir_slice copy;
        weir_message(state, &slice);
        weir_slice_clone(&slice, &copy);
        weir_slice_release(&slice);
        weir_slice_release(&copy);
    }
}

static void
weir_fan_out(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice;
        struct weir_slice copies[READERS];
        weir_message(state, &slice);
        for (size_t k = 0; k < READERS; k++)
            weir_slice_clone(&slice, &copies[k]);
        weir_slice_release(&slice);
        for (size_t k = 0; k < READERS; k++)
            weir_slice_release(&copies[k]);
    }
}

/* ---- malloc and a count ------------------------------------------------ */

static void
counted_alloc_release(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = *(const struct bench_peer *)state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        counted_release(&peer, counted_alloc(&peer, BLOCK));
}

static inline void
counted_message(const struct bench_peer *peer, struct counted_slice *slice)
{
    struct counted *counted = counted_alloc(peer, BLOCK);
    memcpy(counted->data, message, MESSAGE);
    counted_freeze(counted, MESSAGE, slice);
}

static void
counted_freeze_release(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = *(const struct bench_peer *)state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct counted_slice slice;
        counted_message(&peer, &slice);
        counted_release(&peer, slice.owner);
    }
}

static void
counted_full_cycle(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = *(const struct bench_peer *)state;
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
counted_fan_out(void *state, unsigned thread, size_t n)
{
    const struct bench_peer peer = *(const struct bench_peer *)state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct counted_slice slice;
        struct counted_slice copies[READERS];
        counted_message(&peer, &slice);
        for (size_t k = 0; k < READERS; k++)
            counted_clone(&slice, &copies[k]);
        counted_release(&peer, slice.owner);
        for (size_t k = 0; k < READERS; k++)
            counted_release(&peer, copies[k].owner);
    }
}

/* ---- The questions ----------------------------------------------------- */

/* A question, the goal of weir's answer, and how many times as much a peer's has
   to be at least. 0: no goal. */
struct question {
    const char *name;
    bench_loop_fn *weir;
    bench_loop_fn *counted;
    unsigned per;
    const char *goal;
    double goal_r;
    double least[BENCH_PEER_COUNT];
};

static const struct question questions[] = {
    { "alloc, release", weir_alloc_release, counted_alloc_release, 1, "G1",
        0.95,
        { [BENCH_MIMALLOC] = 5, [BENCH_JEMALLOC] = 5, [BENCH_TCMALLOC] = 2 } },
    { "alloc, write 64, freeze, release", weir_freeze_release,
        counted_freeze_release, 1, "G2", 0.9, { 0 } },
    { "full cycle with a clone", weir_full_cycle, counted_full_cycle, 1, "G3",
        2.3, { 1.5, 1.5, 1.5, 1.5 } },
    { "fan-out 8, per handle", weir_fan_out, counted_fan_out, READERS + 1, "G4",
        1.2, { 0 } },
};

/* A second way to do the same; no goal. */
static void
ask_variant(const struct bench_case *weir, const char *candidate,
    bench_loop_fn *loop, struct weir_arena *arena)
{
    struct bench_case variant = *weir;
    variant.candidate = candidate;
    variant.loop = loop;
    variant.state = arena;
    variant.base = weir;
    variant.goal_r = 0;
    bench_add(&variant);
}

static void
ask_peers(const struct question *question, const struct bench_case *weir)
{
    struct bench_peer *peers = bench_peers();
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++)
        bench_add(&(struct bench_case){ .name = question->name,
            .candidate = peers[i].name,
            .loop = question->counted,
            .state = &peers[i],
            .per = question->per,
            .base = weir,
            .goal = question->goal,
            .goal_least = question->least[i],
            .skipped = peers[i].skipped });
}

static void
ask(const struct question *question, struct weir_arena *arena,
    struct weir_arena *uncached)
{
    const struct bench_case *weir =
        bench_add(&(struct bench_case){ .name = question->name,
            .candidate = "weir",
            .loop = question->weir,
            .state = arena,
            .per = question->per,
            .goal = question->goal,
            .goal_r = question->goal_r });
    if (question->weir == weir_freeze_release)
        ask_variant(weir, "weir, buf_write", weir_write_freeze_release, arena);
    ask_variant(weir, "weir, no cache", question->weir, uncached);
    ask_peers(question, weir);
}

int
main(int argc, char **argv)
{
    bench_start("cycle", argc, argv);
    struct weir_arena *arena = bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT);
    struct weir_arena *uncached =
        bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT | WEIR_NO_CACHE);
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
        ask(&questions[i], arena, uncached);

    int status = bench_run();
    bench_arena_end(&arena);
    bench_arena_end(&uncached);
    return status;
}
