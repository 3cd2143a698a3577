/* SPDX-License-Identifier: MIT */
/*
 * bench_memory: what do an arena's books cost in memory?
 *
 *     books of a block         the arena's books, divided by its blocks
 *     books of a thread        by how much they grow with another thread
 *     written into blocks      bytes, by 1000 messages that write none
 *
 * Idea
 *   Told, not measured: meta_bytes of the stats before and after. The arena for
 *   the last question lies in memory of the caller's, full of a pattern, and the
 *   bytes that differ afterwards are counted.
 *
 * Limits
 *   Books of what a thread keeps for all arenas together are not an arena's.
 */
#include "harness.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 64,
    SMALL = 1 << 16,
    LARGE = 1 << 20,
    THREADS = 16,
    MESSAGES = 1000
};

static void
tell(const char *name, double value, double limit)
{
    bench_tell(&(struct bench_fact){ .name = name,
        .value = value,
        .unit = "bytes",
        .goal = "G14",
        .limit = limit });
}

static double
meta_bytes(struct weir_arena *arena)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    return (double)stats.meta_bytes;
}

/* A message, so that the thread has books of this arena. */
static void
use(struct weir_arena *arena)
{
    struct weir_buf buf;
    bench_must(weir_arena_alloc(arena, BLOCK, &buf));
    weir_buf_drop(&buf);
}

static void
tell_of_blocks(const char *name, size_t count)
{
    struct weir_arena *arena = bench_arena(count, BLOCK, 0);
    tell(name, meta_bytes(arena) / (double)count, 9.2);
    bench_arena_end(&arena);
}

/* ---- Books of a thread ------------------------------------------------- */

/* Threads that use the arena once, and stay until all did and were counted. */
struct visit {
    struct weir_arena *arena;
    pthread_barrier_t used;
    pthread_barrier_t counted;
};

static void *
visitor(void *state)
{
    struct visit *visit = state;
    use(visit->arena);
    pthread_barrier_wait(&visit->used);
    pthread_barrier_wait(&visit->counted);
    return NULL;
}

static void
tell_of_threads(void)
{
    struct visit visit = { .arena = bench_arena(SMALL, BLOCK, 0) };
    pthread_t threads[THREADS];
    use(visit.arena);
    double before = meta_bytes(visit.arena);
    pthread_barrier_init(&visit.used, NULL, THREADS + 1);
    pthread_barrier_init(&visit.counted, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, visitor, &visit))
            bench_fail("cannot start a thread");

    pthread_barrier_wait(&visit.used);
    double after = meta_bytes(visit.arena);
    tell("books of a thread", (after - before) / THREADS, 256);
    pthread_barrier_wait(&visit.counted);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&visit.used);
    pthread_barrier_destroy(&visit.counted);
    bench_arena_end(&visit.arena);
}

/* ---- Bytes inside the blocks ------------------------------------------- */

static void
pass_message(struct weir_arena *arena)
{
    struct weir_buf buf;
    struct weir_slice slice;
    struct weir_slice copy;
    bench_must(weir_arena_alloc(arena, BLOCK, &buf));
    weir_buf_commit(&buf, 1); /* of what happens to stand there */
    weir_buf_freeze(&buf, &slice);
    weir_slice_clone(&slice, &copy);
    weir_slice_release(&slice);
    weir_slice_release(&copy);
}

static void
tell_of_insides(void)
{
    enum { PATTERN = 0xa5, BYTES = BLOCK * MESSAGES };
    uint8_t *memory = aligned_alloc(BLOCK, BYTES);
    struct weir_arena *arena;
    size_t written = 0;
    if (!memory)
        bench_fail("no memory");
    memset(memory, PATTERN, BYTES);
    bench_must(weir_arena_create(
        &(struct weir_arena_config){
            .bytes = BYTES, .block_size = BLOCK, .memory = memory },
        &arena));
    for (size_t i = 0; i < MESSAGES; i++)
        pass_message(arena);
    bench_arena_end(&arena);
    for (size_t i = 0; i < BYTES; i++)
        written += memory[i] != PATTERN;
    tell("written into blocks", (double)written, 0);
    free(memory);
}

int
main(int argc, char **argv)
{
    bench_start("memory", argc, argv);
    tell_of_blocks("books of a block, 64 k", SMALL);
    tell_of_blocks("books of a block, 1 M", LARGE);
    tell_of_threads();
    tell_of_insides();
    return 0;
}
