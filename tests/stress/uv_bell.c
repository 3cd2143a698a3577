/* SPDX-License-Identifier: MIT */
/*
 * uv_bell seed seconds: no wake-up is lost between threads that release blocks
 * and a loop that sleeps.
 *
 * More waiters than blocks live on the adapter's bell. A block that is granted
 * goes to one of two threads, which releases it at once or a little later, and
 * its waiter waits again. The loop has nothing else to do, so it sleeps
 * whenever it may, and a ring that is lost stops everything. Ends after a
 * million grants, or when the time is over.
 */

#include "weir/uv.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WAITERS = 5,
    BLOCKS = 2,
    RELEASERS = 2,
    ENOUGH = 1000000,
    TICK_MS = 100,
    PATIENCE_TICKS = 50
};

static struct weir_arena *arena;
static uv_loop_t loop;
static struct weir_uv uv;
static uv_timer_t timer;
static struct weir_waiter waiters[WAITERS];
static size_t grants;
static size_t grants_seen; /* by the timer */
static unsigned silent_ticks;
static double ticks_left;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct weir_buf bufs[BLOCKS];
static size_t buf_count;
static atomic_bool done;

static void
expect(bool truth, const char *what)
{
    if (truth)
        return;
    (void)fprintf(stderr, "uv_bell: %s\n", what);
    exit(1);
}

static void
pass_on(struct weir_buf *buf)
{
    pthread_mutex_lock(&mutex);
    expect(buf_count < BLOCKS, "more blocks than there are");
    bufs[buf_count++] = *buf;
    *buf = (struct weir_buf){ 0 };
    pthread_mutex_unlock(&mutex);
}

static void *
releaser(void *user)
{
    uint64_t random = *(uint64_t *)user;
    while (!atomic_load(&done)) {
        struct weir_buf buf = { 0 };
        pthread_mutex_lock(&mutex);
        if (buf_count > 0) {
            buf = bufs[--buf_count];
            bufs[buf_count] = (struct weir_buf){ 0 };
        }
        pthread_mutex_unlock(&mutex);
        random = random * UINT64_C(6364136223846793005) + 1;
        if (random >> 62 == 0)
            (void)sched_yield();
        weir_buf_drop(&buf);
    }
    return NULL;
}

static void on_granted(struct weir_waiter *waiter, enum weir_status status);

static void
wait_again(struct weir_waiter *waiter)
{
    for (;;) {
        *waiter =
            (struct weir_waiter){ .bell = &uv.bell, .granted = on_granted };
        enum weir_status status = weir_arena_wait(arena, 0, waiter);
        if (status == WEIR_PENDING)
            return;
        expect(status == WEIR_OK, "a wait failed");
        pass_on(&waiter->buf);
    }
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    expect(status == WEIR_OK, "a grant failed");
    grants++;
    pass_on(&waiter->buf);
    wait_again(waiter);
}

static void
on_timer(uv_timer_t *handle)
{
    silent_ticks = grants == grants_seen ? silent_ticks + 1 : 0;
    grants_seen = grants;
    expect(silent_ticks < PATIENCE_TICKS, "a wake-up was lost");
    if (--ticks_left > 0 && grants < ENOUGH)
        return;

    for (size_t i = 0; i < WAITERS; i++)
        expect(weir_waiter_cancel(&waiters[i]) == WEIR_OK, "no cancel");
    weir_uv_close(&uv, NULL);
    uv_close((uv_handle_t *)handle, NULL);
}

int
main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    ticks_left = seconds * 1000 / TICK_MS;
    struct weir_arena_config config = {
        .name = "bell", .block_size = 64, .block_count = BLOCKS
    };
    expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    expect(uv_loop_init(&loop) == 0, "no loop");
    expect(weir_uv_init(&uv, &loop, arena, NULL) == 0, "no adapter");
    (void)uv_timer_init(&loop, &timer);
    (void)uv_timer_start(&timer, on_timer, TICK_MS, TICK_MS);
    for (size_t i = 0; i < WAITERS; i++)
        wait_again(&waiters[i]);

    pthread_t threads[RELEASERS];
    uint64_t seeds[RELEASERS] = { seed * 2 + 1, seed * 2 + 2 };
    for (size_t i = 0; i < RELEASERS; i++)
        expect(pthread_create(&threads[i], NULL, releaser, &seeds[i]) == 0,
            "no thread");
    expect(uv_run(&loop, UV_RUN_DEFAULT) == 0, "the loop stopped early");
    atomic_store(&done, true);
    for (size_t i = 0; i < RELEASERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < BLOCKS; i++)
        weir_buf_drop(&bufs[i]);

    printf(
        "uv_bell: seed %llu, %zu grants\n", (unsigned long long)seed, grants);
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    expect(stats.blocks_out == 0, "blocks are not home");
    expect(grants > 0, "no grants");
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
    return uv_loop_close(&loop) == 0 ? 0 : 1;
}
