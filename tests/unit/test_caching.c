/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"
#include "arena/caches.h"

#include "support/deny.h"
#include "support/misuse.h"
#include "support/unit.h"
#include "support/waiting.h"

#include <semaphore.h>
#include <signal.h>

enum { MANY = 4096, CACHE_MAX = 512 };

/* ---- Arenas ------------------------------------------------------------ */

/* An arena whose threads may have caches, if that can be here at all. */
static struct weir_arena *
open_cached(size_t count)
{
    struct weir_arena *arena = open_arena(64, count);
    if (stats_of(arena).caching == WEIR_CACHING_UNSUPPORTED) {
        weir_arena_destroy(&arena);
        cr_skip_test("there is no membarrier here");
    }
    return arena;
}

static void
take_many(struct weir_arena *arena, struct weir_buf *bufs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bufs[i] = take(arena);
}

static void
drop_many(struct weir_buf *bufs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weir_buf_drop(&bufs[i]);
}

/* Takes and gives back, so that the caller's cache has blocks. */
static void
fill_cache(struct weir_arena *arena)
{
    struct weir_buf bufs[8];
    take_many(arena, bufs, 8);
    drop_many(bufs, 8);
}

static void
expect_cached(struct weir_arena *arena, bool some)
{
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(int, stats.blocks_cached > 0, some));
    cr_assert(eq(u64, stats.bytes_cached, stats.blocks_cached * 64));
}

/* ---- A thread that sleeps with a full cache ---------------------------- */

struct sleeper {
    struct weir_arena *arena;
    struct weir_buf held; /* dropped when it wakes */
    struct weir_buf copy; /* of the block it released last */
    bool holds;
    sem_t asleep;
    sem_t wake;
    pthread_t thread;
};

static void *
sleep_with_cache(void *user)
{
    struct sleeper *sleeper = user;
    if (sleeper->holds)
        sleeper->held = take(sleeper->arena);
    fill_cache(sleeper->arena);
    struct weir_buf buf = take(sleeper->arena);
    sleeper->copy = buf;
    weir_buf_drop(&buf);
    (void)sem_post(&sleeper->asleep);
    while (sem_wait(&sleeper->wake) != 0)
        continue;
    weir_buf_drop(&sleeper->held);
    return NULL;
}

static void
put_to_sleep(struct sleeper *sleeper, struct weir_arena *arena, bool holds)
{
    *sleeper = (struct sleeper){ .arena = arena, .holds = holds };
    (void)sem_init(&sleeper->asleep, 0, 0);
    (void)sem_init(&sleeper->wake, 0, 0);
    sleeper->thread = start_thread(sleep_with_cache, sleeper);
    while (sem_wait(&sleeper->asleep) != 0)
        continue;
}

static void
wake_up(struct sleeper *sleeper)
{
    (void)sem_post(&sleeper->wake);
    join_thread(sleeper->thread);
}

static struct sleeper sleeper;

/* ---- What stats say ---------------------------------------------------- */

Test(caching, a_fresh_arena_may_have_caches_and_has_none)
{
    struct weir_arena *arena = open_cached(64);

    struct weir_stats stats = stats_of(arena);

    cr_assert(eq(u64, stats.caching, WEIR_CACHING_ON));
    cr_assert(zero(u64, stats.caches));
    cr_assert(zero(u64, stats.blocks_cached));
    cr_assert(zero(u64, stats.bytes_cached));
    cr_assert(zero(u64, stats.sweeps));
    close_whole(&arena);
}

Test(caching, what_a_thread_released_is_at_hand_and_not_out)
{
    struct weir_arena *arena = open_cached(64);
    struct weir_buf held = take(arena);

    fill_cache(arena);

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.caches, 1));
    cr_assert(ge(u64, stats.blocks_cached, 8));
    cr_assert(lt(u64, stats.blocks_cached, 64));
    cr_assert(eq(u64, stats.bytes_cached, stats.blocks_cached * 64));
    cr_assert(eq(u64, stats.blocks_out, 1));
    cr_assert(eq(u64, stats.allocs, 9));
    cr_assert(eq(u64, stats.releases, 8));
    weir_buf_drop(&held);
    close_whole(&arena);
}

Test(caching, the_block_released_last_is_taken_next)
{
    struct weir_arena *arena = open_cached(1000);
    struct weir_buf bufs[300];
    take_many(arena, bufs, 300);

    for (size_t i = 0; i < 300; i += 70) {
        const void *data = weir_buf_tail(&bufs[i]);
        weir_buf_drop(&bufs[i]);
        bufs[i] = take(arena);
        cr_assert(eq(ptr, weir_buf_tail(&bufs[i]), (void *)(uintptr_t)data));
    }

    drop_many(bufs, 300);
    close_whole(&arena);
}

Test(caching, a_tiny_arena_has_no_caches)
{
    struct weir_arena *arena = open_arena(64, 63);

    fill_cache(arena);

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.caching, WEIR_CACHING_TINY));
    cr_assert(zero(u64, stats.caches));
    cr_assert(zero(u64, stats.blocks_cached));
    close_whole(&arena);
}

Test(caching, an_arena_of_64_blocks_has)
{
    struct weir_arena *arena = open_cached(64);

    fill_cache(arena);

    cr_assert(eq(u64, stats_of(arena).caching, WEIR_CACHING_ON));
    expect_cached(arena, true);
    close_whole(&arena);
}

Test(caching, an_arena_without_caches_has_none)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = 64,
        .block_count = 1000,
        .flags = WEIR_NO_CACHE,
    });

    fill_cache(arena);

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.caching, WEIR_CACHING_REFUSED));
    cr_assert(zero(u64, stats.caches));
    cr_assert(zero(u64, stats.blocks_cached));
    close_whole(&arena);
}

Test(caching, what_a_cache_holds_is_bounded)
{
    static struct weir_buf bufs[MANY];
    struct weir_arena *arena = open_cached(MANY);
    take_many(arena, bufs, MANY);

    drop_many(bufs, MANY);

    cr_assert(le(u64, stats_of(arena).blocks_cached, CACHE_MAX));
    expect_cached(arena, true);
    close_whole(&arena);
}

Test(caching, every_block_can_be_at_hand_in_any_order_and_is_there_once)
{
    static struct weir_buf bufs[MANY];
    static bool seen[MANY];
    struct weir_arena *arena = open_cached(MANY);
    take_many(arena, bufs, MANY);
    for (size_t i = 0; i < MANY; i++)
        weir_buf_drop(&bufs[i * 1579 % MANY]);

    take_many(arena, bufs, MANY);

    for (size_t i = 0; i < MANY; i++) {
        cr_assert(not(seen[wr_owner_slot(bufs[i].owner)]));
        seen[wr_owner_slot(bufs[i].owner)] = true;
    }
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    drop_many(bufs, MANY);
    close_whole(&arena);
}

/* ---- Giving back ------------------------------------------------------- */

Test(caching, a_flush_gives_back_what_is_at_hand_of_every_arena)
{
    struct weir_arena *first = open_cached(64);
    struct weir_arena *second = open_cached(1000);
    fill_cache(first);
    fill_cache(second);
    expect_cached(first, true);
    expect_cached(second, true);

    weir_thread_flush();

    expect_cached(first, false);
    expect_cached(second, false);
    fill_cache(second);
    expect_cached(second, true);
    close_whole(&first);
    close_whole(&second);
}

Test(caching, a_flush_without_anything_at_hand_does_nothing)
{
    weir_thread_flush();

    struct weir_arena *arena = open_arena(64, 64);
    weir_thread_flush();
    fill_cache(arena);
    weir_thread_flush();
    weir_thread_flush();

    expect_cached(arena, false);
    close_whole(&arena);
}

Test(caching, a_flush_after_the_arena_is_gone_does_nothing)
{
    struct weir_arena *arena = open_arena(64, 64);
    fill_cache(arena);
    close_whole(&arena);
    struct weir_arena *next = open_arena(64, 1000);
    struct weir_buf held = take(next);

    weir_thread_flush();

    cr_assert(eq(u64, stats_of(next).blocks_out, 1));
    weir_buf_drop(&held);
    close_whole(&next);
}

Test(caching, a_flush_leaves_other_threads_their_blocks)
{
    struct weir_arena *arena = open_cached(1000);
    put_to_sleep(&sleeper, arena, false);
    fill_cache(arena);

    weir_thread_flush();

    expect_cached(arena, true);
    cr_assert(zero(u64, stats_of(arena).sweeps));
    wake_up(&sleeper);
    close_whole(&arena);
}

Test(caching, the_end_of_a_thread_gives_back)
{
    struct weir_arena *arena = open_cached(64);
    struct weir_stats before = stats_of(arena);
    put_to_sleep(&sleeper, arena, false);
    expect_cached(arena, true);
    cr_assert(gt(u64, stats_of(arena).meta_bytes, before.meta_bytes));

    wake_up(&sleeper);

    struct weir_stats stats = stats_of(arena);
    cr_assert(zero(u64, stats.blocks_cached));
    cr_assert(zero(u64, stats.caches));
    cr_assert(zero(u64, stats.sweeps));
    cr_assert(eq(u64, stats.meta_bytes, before.meta_bytes));
    close_whole(&arena);
}

Test(caching, a_closed_arena_has_no_block_in_any_cache)
{
    struct weir_arena *arena = open_cached(1000);
    put_to_sleep(&sleeper, arena, true);
    fill_cache(arena);
    cr_assert(eq(u64, stats_of(arena).caches, 2));

    weir_arena_close(arena);

    struct weir_stats stats = stats_of(arena);
    cr_assert(zero(u64, stats.blocks_cached));
    cr_assert(zero(u64, stats.caches));
    cr_assert(eq(u64, stats.sweeps, 1));
    cr_assert(eq(u64, stats.blocks_out, 1));
    wake_up(&sleeper);
    cr_assert(zero(u64, stats_of(arena).blocks_cached));
    close_whole(&arena);
}

static int unmapped;

static void
note_unmapped(void *user)
{
    (void)user;
    unmapped++;
}

static struct weir_arena *
open_noted(void)
{
    return open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = 64,
        .block_count = 1000,
        .on_unmapped = note_unmapped,
    });
}

Test(caching, a_destroyed_arena_goes_while_threads_sleep_that_had_its_blocks)
{
    struct weir_arena *arena = open_noted();
    put_to_sleep(&sleeper, arena, false);
    fill_cache(arena);

    weir_arena_destroy(&arena);

    cr_assert(eq(int, unmapped, 1));
    wake_up(&sleeper);
    cr_assert(eq(int, unmapped, 1));
    no_leaks();
}

Test(caching, a_destroyed_arena_goes_with_the_last_block_of_a_thread)
{
    struct weir_arena *arena = open_noted();
    put_to_sleep(&sleeper, arena, true);
    weir_arena_destroy(&arena);
    cr_assert(zero(int, unmapped));

    wake_up(&sleeper);

    cr_assert(eq(int, unmapped, 1));
    no_leaks();
}

/* ---- Nothing is hidden ------------------------------------------------- */

Test(caching, blocks_of_a_sleeping_thread_are_there_for_others)
{
    struct weir_buf bufs[100];
    struct weir_arena *arena = open_cached(100);
    put_to_sleep(&sleeper, arena, true);
    expect_cached(arena, true);

    take_many(arena, bufs, 99);

    cr_assert(eq(int, ask(arena), WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 100));
    cr_assert(zero(u64, stats_of(arena).blocks_cached));
    cr_assert(ge(u64, stats_of(arena).sweeps, 1));
    wake_up(&sleeper);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 99));
    drop_many(bufs, 99);
    close_whole(&arena);
}

Test(caching, full_once_found_costs_no_further_sweeps)
{
    struct weir_buf bufs[64];
    struct weir_arena *arena = open_cached(64);
    take_many(arena, bufs, 64);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    uint64_t sweeps = stats_of(arena).sweeps;

    for (int i = 0; i < 100; i++)
        cr_assert(eq(int, ask(arena), WEIR_FULL));

    cr_assert(eq(u64, stats_of(arena).sweeps, sweeps));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 101));
    drop_many(bufs, 64);
    close_whole(&arena);
}

Test(caching, full_is_over_with_the_next_release)
{
    struct weir_buf bufs[64];
    struct weir_arena *arena = open_cached(64);
    take_many(arena, bufs, 64);

    for (size_t i = 0; i < 64; i++) {
        cr_assert(eq(int, ask(arena), WEIR_FULL));
        weir_buf_drop(&bufs[i]);
        bufs[i] = take(arena);
    }

    drop_many(bufs, 64);
    close_whole(&arena);
}

Test(caching, heap_memory_is_taken_only_when_no_cache_has_a_block)
{
    struct weir_buf bufs[65];
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = 64,
        .block_count = 64,
        .flags = WEIR_SPILL_FULL,
        .spill_bytes_max = 64,
    });
    put_to_sleep(&sleeper, arena, false);

    take_many(arena, bufs, 64);
    cr_assert(zero(u64, stats_of(arena).spill_fulls));
    take_many(arena, &bufs[64], 1);
    cr_assert(eq(u64, stats_of(arena).spill_fulls, 1));
    cr_assert(eq(int, ask(arena), WEIR_FULL));

    drop_many(bufs, 65);
    wake_up(&sleeper);
    close_whole(&arena);
}

Test(caching, a_cache_is_on_again_after_some_blocks_past_it)
{
    struct weir_buf bufs[64];
    struct weir_arena *arena = open_cached(64);
    arena->drought_length = 4;
    take_many(arena, bufs, 64);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    drop_many(bufs, 2);
    take_many(arena, bufs, 1);
    cr_assert(zero(u64, stats_of(arena).caches));

    take_many(arena, &bufs[1], 1);
    cr_assert(eq(u64, stats_of(arena).caches, 1));
    drop_many(bufs, 64);
    expect_cached(arena, true);
    close_whole(&arena);
}

Test(caching, a_cache_that_is_on_is_counted_once)
{
    struct weir_buf bufs[64];
    struct weir_arena *arena = open_cached(64);
    arena->drought_length = 1;
    put_to_sleep(&sleeper, arena, false);

    for (int i = 0; i < 10; i++) {
        take_many(arena, bufs, 64);
        cr_assert(eq(int, ask(arena), WEIR_FULL));
        drop_many(bufs, 64);
        fill_cache(arena);
        cr_assert(eq(u64, stats_of(arena).caches, 1));
    }

    wake_up(&sleeper);
    weir_arena_close(arena);
    cr_assert(zero(u64, stats_of(arena).caches));
    close_whole(&arena);
}

/* A take past a cache that is on: its block came home just when the cache had
   been found empty, and the bitmap too. */
Test(caching, a_cache_that_earns_while_it_is_on_is_counted_once)
{
    struct weir_arena *arena = open_cached(64);
    arena->drought_length = 1;
    fill_cache(arena);
    weir_thread_flush();
    struct wr_record *record = wr_record_of(arena);

    for (int i = 0; i < 1000; i++)
        wr_caches_earn(arena, record);

    cr_assert(eq(u64, stats_of(arena).caches, 1));
    close_whole(&arena);
}

/* ---- Waiting ----------------------------------------------------------- */

static struct weir_bell bell;
static struct guest guest;

Test(caching, a_wait_gets_a_block_out_of_a_sleeping_threads_cache)
{
    struct weir_buf bufs[63];
    struct weir_arena *arena = open_cached(64);
    take_many(arena, bufs, 55);
    put_to_sleep(&sleeper, arena, false);
    take_many(arena, &bufs[55], 8);
    open_bell(&bell);
    invite(&guest, 'a', &bell);

    expect_wait(arena, &guest, WEIR_OK);

    drop_many(bufs, 63);
    weir_buf_drop(&guest.waiter.buf);
    wake_up(&sleeper);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(caching, a_waiter_is_granted_what_a_thread_with_a_cache_releases)
{
    struct weir_buf bufs[63];
    struct weir_arena *arena = open_cached(64);
    put_to_sleep(&sleeper, arena, true);
    take_many(arena, bufs, 63);
    open_bell(&bell);
    queue_guests(arena, &bell, &guest, 1);

    wake_up(&sleeper);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    cr_assert(eq(int, guest.status, WEIR_OK));
    weir_buf_drop(&guest.waiter.buf);
    drop_many(bufs, 63);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(caching, no_cache_is_on_while_somebody_waits)
{
    struct weir_buf bufs[64];
    struct weir_buf barged;
    struct weir_arena *arena = open_cached(64);
    arena->drought_length = 1;
    take_many(arena, bufs, 64);
    open_bell(&bell);
    queue_guests(arena, &bell, &guest, 1);

    for (int i = 0; i < 10; i++) {
        cr_assert(
            eq(int, weir_arena_alloc_barge(arena, 0, &barged), WEIR_FULL));
        cr_assert(zero(u64, stats_of(arena).caches));
    }
    weir_buf_drop(&bufs[0]);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    bufs[0] = guest.waiter.buf;
    drop_many(bufs, 64);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

/* ---- OpenMetrics ------------------------------------------------------- */

Test(caching, openmetrics_has_the_numbers_of_caches)
{
    static char text[1 << 16];
    struct weir_stats stats = { .name = "a" };
    stats.blocks_cached = 201;
    stats.bytes_cached = 202;
    stats.caching = WEIR_CACHING_TINY;
    stats.caches = 203;
    stats.sweeps = 204;

    size_t len = weir_stats_openmetrics(&stats, 1, text, sizeof text);

    cr_assert(lt(sz, len, sizeof text));
    static const char *const lines[] = {
        "\nweir_cached_blocks{arena=\"a\"} 201\n",
        "\nweir_cached_bytes{arena=\"a\"} 202\n",
        "\nweir_caching{arena=\"a\"} 2\n",
        "\nweir_caches{arena=\"a\"} 203\n",
        "\nweir_sweeps_total{arena=\"a\"} 204\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        cr_assert(not(zero(ptr, strstr(text, lines[i]))), "%s", lines[i]);
}

/* ---- A system without membarrier --------------------------------------- */

Test(caching, without_membarrier_there_are_none_and_all_works)
{
    struct weir_buf bufs[999];
    if (!deny_membarrier())
        cr_skip_test("the system has no seccomp");
    struct weir_arena *arena = open_arena(64, 1000);
    cr_assert(eq(u64, stats_of(arena).caching, WEIR_CACHING_UNSUPPORTED));
    put_to_sleep(&sleeper, arena, true);
    fill_cache(arena);
    cr_assert(zero(u64, stats_of(arena).caches));
    expect_cached(arena, false);

    take_many(arena, bufs, 999);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    open_bell(&bell);
    queue_guests(arena, &bell, &guest, 1);
    wake_up(&sleeper);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    weir_buf_drop(&guest.waiter.buf);
    weir_thread_flush();

    drop_many(bufs, 999);
    cr_assert(zero(u64, stats_of(arena).sweeps));
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(misuse, a_filter_that_denies_membarrier_too_late_aborts, .signal = SIGABRT)
{
    struct weir_buf bufs[100];
    struct weir_arena *arena = open_cached(100);
    put_to_sleep(&sleeper, arena, false);
    if (!deny_membarrier())
        abort();
    expect_misuse("weir: the system denies membarrier*");

    take_many(arena, bufs, 100);
}

/* ---- Releasing twice --------------------------------------------------- */

/* The block of `copy` was released before. */
static void
expect_twice(const struct weir_buf *copy)
{
    static char pattern[128];
    (void)snprintf(pattern, sizeof pattern,
        "weir: arena 'test': block %u: released twice",
        (unsigned)wr_owner_slot(copy->owner));
    expect_misuse(pattern);
}

Test(misuse, a_block_in_the_own_cache_released_again_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(1000);
    fill_cache(arena);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    cr_assert(gt(u64, stats_of(arena).blocks_cached, 0));
    expect_twice(&copy);

    weir_buf_drop(&copy);
}

Test(misuse, a_block_below_the_top_of_the_own_cache_released_again_aborts,
    .signal = SIGABRT)
{
    struct weir_buf bufs[300];
    struct weir_arena *arena = open_cached(1000);
    take_many(arena, bufs, 300);
    struct weir_buf copy = bufs[0];
    drop_many(bufs, 300);
    expect_twice(&copy);

    weir_buf_drop(&copy);
}

Test(misuse, a_block_that_was_flushed_released_again_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(1000);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    weir_thread_flush();
    expect_twice(&copy);

    weir_buf_drop(&copy);
}

Test(misuse, a_block_in_a_sleeping_threads_cache_released_again_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(1000);
    put_to_sleep(&sleeper, arena, false);
    fill_cache(arena);
    expect_twice(&sleeper.copy);

    weir_buf_drop(&sleeper.copy);
}

Test(misuse, a_block_that_another_cache_took_since_released_again_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(64);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    weir_thread_flush();
    put_to_sleep(&sleeper, arena, false);
    expect_twice(&copy);

    weir_buf_drop(&copy);
}

Test(misuse, a_slice_in_the_own_cache_released_again_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(1000);
    struct weir_buf buf = take(arena);
    struct weir_buf was = buf;
    struct weir_slice slice;
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    weir_buf_freeze(&buf, &slice);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    expect_twice(&was);

    weir_slice_release(&copy);
}

Test(misuse, a_block_released_again_after_a_sweep_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(1000);
    fill_cache(arena);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    weir_arena_close(arena);
    cr_assert(eq(u64, stats_of(arena).sweeps, 1));
    expect_twice(&copy);

    weir_buf_drop(&copy);
}

/* Had blocks of the same word in its cache when the arena went. */
static void *
drop_when_gone(void *user)
{
    struct sleeper *late = user;
    struct weir_buf buf = take(late->arena);
    late->copy = buf;
    fill_cache(late->arena);
    weir_buf_drop(&buf);
    (void)sem_post(&late->asleep);
    while (sem_wait(&late->wake) != 0)
        continue;
    expect_misuse("weir: arena 'test': block *: released*");
    weir_buf_drop(&late->copy);
    return NULL;
}

Test(misuse, a_block_of_a_gone_arena_released_by_who_had_a_cache_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_cached(1000);
    sleeper.arena = arena;
    (void)sem_init(&sleeper.asleep, 0, 0);
    (void)sem_init(&sleeper.wake, 0, 0);
    sleeper.thread = start_thread(drop_when_gone, &sleeper);
    while (sem_wait(&sleeper.asleep) != 0)
        continue;
    weir_arena_destroy(&arena);

    wake_up(&sleeper);
}
