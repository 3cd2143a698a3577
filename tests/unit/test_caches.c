/* SPDX-License-Identifier: MIT */
#include "arena/caches.h"

#include "arena/doors.h"
#include "platform/fence.h"
#include "support/prng.h"
#include "support/unit.h"
#include "support/waiting.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { KEEPERS = 3, DROUGHT = 4 };

static struct weir_arena *
open_cached(size_t count)
{
    if (!wr_fence_is_supported())
        cr_skip_test("the system has no membarrier, or denies it");
    struct weir_arena *arena = open_arena(64, count);
    cr_assert(eq(u64, stats_of(arena).caching, WEIR_CACHING_ON));
    return arena;
}

static void
expect_caches(struct weir_arena *arena, uint64_t on, uint64_t blocks)
{
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.caches, on));
    cr_assert(eq(u64, stats.blocks_cached, blocks));
    cr_assert(eq(u64, stats.bytes_cached, blocks * stats.block_size));
    weir_arena_check(arena);
}

static void
sweep(struct weir_arena *arena)
{
    wr_mutex_lock(&arena->mutex);
    wr_caches_sweep(arena);
    wr_mutex_unlock(&arena->mutex);
}

static size_t
take_to_the_end(struct weir_arena *arena, struct weir_buf *bufs)
{
    size_t count = 0;
    struct weir_buf buf;
    while (weir_arena_alloc(arena, 0, &buf) == WEIR_OK)
        bufs[count++] = buf;
    return count;
}

static void
drop_all(struct weir_buf *bufs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weir_buf_drop(&bufs[i]);
}

/* ---- Threads that keep blocks at hand ---------------------------------- */

/* A thread that took a block and gave it back, and sleeps then. */
struct keeper {
    struct weir_arena *arena;
    struct wr_record *record;
    pthread_barrier_t gate;
    pthread_t thread;
};

static void *
keep_at_hand(void *user)
{
    struct keeper *keeper = user;
    cr_assert(eq(int, ask(keeper->arena), WEIR_OK));
    keeper->record = wr_record_of(keeper->arena);
    (void)pthread_barrier_wait(&keeper->gate);
    (void)pthread_barrier_wait(&keeper->gate);
    return NULL;
}

static void
start_keeper(struct keeper *keeper, struct weir_arena *arena)
{
    keeper->arena = arena;
    cr_assert(zero(int, pthread_barrier_init(&keeper->gate, NULL, 2)));
    keeper->thread = start_thread(keep_at_hand, keeper);
    (void)pthread_barrier_wait(&keeper->gate);
}

static void
end_keeper(struct keeper *keeper)
{
    (void)pthread_barrier_wait(&keeper->gate);
    join_thread(keeper->thread);
    (void)pthread_barrier_destroy(&keeper->gate);
}

/* ---- Where there are caches -------------------------------------------- */

Test(caches, an_arena_of_64_blocks_has_them_and_a_smaller_one_has_not)
{
    struct weir_arena *tiny = open_arena(64, 63);
    struct weir_arena *small = open_cached(64);

    cr_assert(eq(int, ask(tiny), WEIR_OK));
    cr_assert(eq(int, ask(small), WEIR_OK));

    cr_assert(eq(u64, stats_of(tiny).caching, WEIR_CACHING_TINY));
    expect_caches(tiny, 0, 0);
    expect_caches(small, 1, 32);
    close_whole(&tiny);
    close_whole(&small);
}

Test(caches, an_arena_that_refuses_them_has_none)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = 64, .block_count = 1000, .flags = WEIR_NO_CACHE });

    for (int i = 0; i < 1000; i++)
        cr_assert(eq(int, ask(arena), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).caching, WEIR_CACHING_REFUSED));
    expect_caches(arena, 0, 0);
    close_whole(&arena);
    cr_assert(zero(ptr, arena));
}

Test(caches, a_threads_is_on_from_its_first_call)
{
    struct weir_arena *arena = open_cached(1000);
    expect_caches(arena, 0, 0);

    struct weir_buf buf = take(arena);

    expect_caches(arena, 1, 63);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    weir_buf_drop(&buf);
    expect_caches(arena, 1, 64);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    close_whole(&arena);
}

/* ---- Refills ----------------------------------------------------------- */

struct share {
    size_t slots;
    uint32_t threads;
    uint32_t batch;
};

Test(caches, a_refill_is_half_of_a_threads_share_and_at_most_a_word)
{
    static const struct share shares[] = { { 64, 1, 32 }, { 65, 1, 32 },
        { 100, 1, 50 }, { 128, 1, 64 }, { 5000, 1, 64 }, { 64, 2, 16 },
        { 64, 3, 10 }, { 384, 3, 64 }, { 383, 3, 63 }, { 64, 32, 1 },
        { 64, 33, 1 }, { 64, 10000, 1 } };

    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        struct weir_arena *arena = open_cached(shares[i].slots);
        struct wr_record *record = wr_record_of(arena);
        wr_mutex_lock(&arena->mutex);
        wr_caches_give_up(arena, record);
        arena->record_count = shares[i].threads;
        wr_caches_turn_on(arena, record);
        arena->record_count = 1;
        wr_mutex_unlock(&arena->mutex);

        struct weir_buf buf = take(arena);

        cr_assert(eq(u64, stats_of(arena).blocks_cached, shares[i].batch - 1));
        weir_buf_drop(&buf);
        close_whole(&arena);
    }
}

Test(caches, a_thread_that_comes_later_refills_less)
{
    struct keeper keepers[KEEPERS];
    struct weir_arena *arena = open_cached(192);

    uint64_t cached = 0;
    for (size_t i = 0; i < KEEPERS; i++) {
        static const uint64_t batches[KEEPERS] = { 64, 48, 32 };
        start_keeper(&keepers[i], arena);
        cached += batches[i];
        expect_caches(arena, i + 1, cached);
    }

    for (size_t i = 0; i < KEEPERS; i++)
        end_keeper(&keepers[i]);
    expect_caches(arena, 0, 0);
    close_whole(&arena);
}

Test(caches, one_refill_lasts_for_as_many_takes)
{
    struct weir_buf bufs[129];
    struct weir_arena *arena = open_cached(1000);

    for (size_t i = 0; i < 129; i++) {
        bufs[i] = take(arena);
        cr_assert(eq(u64, stats_of(arena).blocks_cached, 63 - i % 64));
    }

    drop_all(bufs, 129);
    expect_caches(arena, 1, 192);
    close_whole(&arena);
}

Test(caches, what_there_is_no_room_for_goes_to_the_bitmap)
{
    enum { COUNT = 1280 };
    static struct weir_buf bufs[COUNT];
    struct weir_arena *arena = open_cached(COUNT);
    for (size_t i = 0; i < COUNT; i++)
        bufs[i] = take(arena);
    cr_assert(eq(u64, stats_of(arena).blocks_cached, 0));

    for (size_t i = 0; i < COUNT; i++) {
        weir_buf_drop(&bufs[i * 67 % COUNT]);
        struct weir_stats stats = stats_of(arena);
        cr_assert(eq(u64, stats.blocks_out, COUNT - 1 - i));
        cr_assert(eq(u64, stats.releases, i + 1));
        cr_assert(le(u64, stats.blocks_cached, 512));
    }

    weir_arena_check(arena);
    cr_assert(eq(u64, stats_of(arena).caches, 1));
    cr_assert(eq(sz, take_to_the_end(arena, bufs), COUNT));
    drop_all(bufs, COUNT);
    close_whole(&arena);
}

/* How many blocks a cache holds when one of every `every` came home in order, as
   the cache of one of `threads`. */
static uint64_t
blocks_at_hand(uint32_t slots, uint32_t threads, size_t every)
{
    static struct weir_buf bufs[1280];
    struct weir_arena *arena = open_cached(slots);
    struct wr_record *record = wr_record_of(arena);
    for (size_t i = 0; i < slots; i++)
        bufs[i] = take(arena);
    wr_mutex_lock(&arena->mutex);
    wr_caches_give_up(arena, record);
    arena->record_count = threads;
    wr_caches_turn_on(arena, record);
    arena->record_count = 1;
    wr_mutex_unlock(&arena->mutex);

    for (size_t i = 0; i < slots; i += every)
        weir_buf_drop(&bufs[i]);
    uint64_t count = stats_of(arena).blocks_cached;
    weir_arena_check(arena);
    drop_all(bufs, slots);
    close_whole(&arena);
    return count;
}

Test(caches, single_blocks_of_eight_words_are_kept_however_small_the_share)
{
    cr_assert(eq(u64, blocks_at_hand(127, 1, 64), 2));
    cr_assert(eq(u64, blocks_at_hand(512, 1, 64), 8));
    cr_assert(eq(u64, blocks_at_hand(1280, 1, 64), 8));
    cr_assert(eq(u64, blocks_at_hand(1280, 1000, 64), 8));
}

Test(caches, whole_words_are_kept_only_where_a_threads_share_has_room)
{
    cr_assert(eq(u64, blocks_at_hand(1280, 1, 1), 512));
    cr_assert(eq(u64, blocks_at_hand(1024, 2, 1), 512));
    cr_assert(eq(u64, blocks_at_hand(1024, 3, 1), 64));
    cr_assert(eq(u64, blocks_at_hand(128, 2, 1), 64));
    cr_assert(eq(u64, blocks_at_hand(64, 8, 1), 64));
}

Test(caches, as_many_blocks_of_a_word_are_kept_below_as_an_eighth_of_the_share)
{
    cr_assert(eq(u64, blocks_at_hand(512, 2, 2), 8 * 32));
    cr_assert(eq(u64, blocks_at_hand(512, 3, 2), 32));
    cr_assert(eq(u64, blocks_at_hand(512, 4, 4), 8 * 16));
    cr_assert(eq(u64, blocks_at_hand(512, 5, 4), 16));
}

Test(caches, the_block_given_last_is_taken_next)
{
    struct weir_buf bufs[300];
    struct weir_arena *arena = open_cached(1000);
    for (size_t i = 0; i < 300; i++)
        bufs[i] = take(arena);
    const void *first = weir_buf_tail(&bufs[7]);
    const void *last = weir_buf_tail(&bufs[100]);

    weir_buf_drop(&bufs[7]);
    weir_buf_drop(&bufs[100]);

    bufs[100] = take(arena);
    bufs[7] = take(arena);
    cr_assert(eq(ptr, weir_buf_tail(&bufs[100]), (void *)(uintptr_t)last));
    cr_assert(eq(ptr, weir_buf_tail(&bufs[7]), (void *)(uintptr_t)first));
    drop_all(bufs, 300);
    close_whole(&arena);
}

/* ---- Sweeps ------------------------------------------------------------ */

Test(caches, a_sweep_takes_everything_back_and_turns_all_off)
{
    struct keeper keepers[KEEPERS];
    struct weir_arena *arena = open_cached(1000);
    for (size_t i = 0; i < KEEPERS; i++)
        start_keeper(&keepers[i], arena);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    expect_caches(arena, KEEPERS + 1, 64 * (KEEPERS + 1));

    sweep(arena);

    expect_caches(arena, 0, 0);
    cr_assert(eq(u32, wr_bitmap_free_count(&arena->fixed.map), 1000));
    cr_assert(eq(u64, stats_of(arena).sweeps, 1));
    for (size_t i = 0; i < KEEPERS; i++)
        cr_assert(not(wr_gate_is_on(&keepers[i].record->cache.gate)));
    for (size_t i = 0; i < KEEPERS; i++)
        end_keeper(&keepers[i]);
    close_whole(&arena);
}

Test(caches, a_sweep_takes_back_what_lies_below_the_top)
{
    enum { COUNT = 640, WORDS = WR_CACHE_DEPTH + 1 };
    struct weir_buf bufs[COUNT];
    struct weir_arena *arena = open_cached(COUNT);
    for (size_t i = 0; i < COUNT; i++)
        bufs[i] = take(arena);
    for (size_t i = 0; i < WORDS; i++)
        weir_buf_drop(&bufs[64 * i + i]);
    expect_caches(arena, 1, WORDS);

    sweep(arena);

    expect_caches(arena, 0, 0);
    cr_assert(eq(u32, wr_bitmap_free_count(&arena->fixed.map), WORDS));
    for (size_t i = 0; i < WORDS; i++)
        cr_assert(wr_bitmap_is_free(&arena->fixed.map, (uint32_t)(64 * i + i)));
    drop_all(bufs, COUNT);
    close_whole(&arena);
}

Test(caches, a_sweep_of_no_caches_is_none)
{
    struct weir_arena *arena = open_cached(1000);

    sweep(arena);
    cr_assert(eq(u64, stats_of(arena).sweeps, 0));
    cr_assert(eq(int, ask(arena), WEIR_OK));
    sweep(arena);
    sweep(arena);

    cr_assert(eq(u64, stats_of(arena).sweeps, 1));
    close_whole(&arena);
}

Test(caches, who_finds_none_gets_what_threads_keep_that_sleep)
{
    struct keeper keepers[KEEPERS];
    struct weir_buf bufs[300];
    struct weir_arena *arena = open_cached(300);
    for (size_t i = 0; i < KEEPERS; i++)
        start_keeper(&keepers[i], arena);
    cr_assert(gt(u64, stats_of(arena).blocks_cached, 100));

    size_t count = take_to_the_end(arena, bufs);

    cr_assert(eq(sz, count, 300));
    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 300));
    drop_all(bufs, 300);
    for (size_t i = 0; i < KEEPERS; i++)
        end_keeper(&keepers[i]);
    close_whole(&arena);
}

Test(caches, who_waits_is_handed_what_a_thread_keeps_that_sleeps)
{
    struct weir_bell bell;
    struct guest guest;
    struct keeper keeper;
    struct weir_buf bufs[64];
    struct weir_arena *arena = open_cached(64);
    for (size_t i = 0; i < 63; i++)
        bufs[i] = take(arena);
    weir_thread_flush();
    start_keeper(&keeper, arena);
    expect_caches(arena, 2, 1);
    open_bell(&bell);
    invite(&guest, 'a', &bell);

    expect_wait(arena, &guest, WEIR_OK);

    expect_caches(arena, 0, 0);
    weir_buf_drop(&guest.waiter.buf);
    drop_all(bufs, 63);
    end_keeper(&keeper);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

/* ---- Settling ---------------------------------------------------------- */

/* The lowest block of the calling thread's top. */
static uint32_t
next_slot(const struct wr_thread_cache *cache)
{
    return wr_cache_word(cache) * WR_WORD_BITS +
           wr_lowest_bit(wr_cache_top(cache));
}

/* The half of a take that comes before its look at the control. */
static void
half_take(struct wr_thread_cache *cache)
{
    uint64_t top = wr_cache_top(cache);
    wr_cache_set_top(cache, top & (top - 1));
}

static void
half_give(struct wr_thread_cache *cache, uint32_t slot)
{
    uint64_t bit = UINT64_C(1) << slot % WR_WORD_BITS;
    wr_cache_set_top(cache, wr_cache_top(cache) | bit);
}

Test(caches, a_block_taken_before_the_sweep_looked_is_the_takers)
{
    struct weir_buf buf;
    struct weir_arena *arena = open_cached(1000);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    struct wr_thread_cache *cache = &wr_record_of(arena)->cache;
    uint32_t slot = next_slot(cache);

    half_take(cache);
    sweep(arena);
    enum weir_status status = wr_arena_take_swept(arena, slot, 0, false, &buf);

    cr_assert(eq(int, status, WEIR_OK));
    cr_assert(eq(u32, wr_owner_slot(buf.owner), slot));
    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(caches, a_block_that_the_sweep_found_is_not_the_takers)
{
    struct weir_buf buf;
    struct weir_arena *arena = open_cached(1000);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    struct wr_thread_cache *cache = &wr_record_of(arena)->cache;
    uint32_t slot = next_slot(cache);

    sweep(arena);
    uint32_t first;
    struct wr_bitmap_hint hint = { 0 };
    cr_assert(wr_fixed_take(&arena->fixed, &hint, &first));
    cr_assert(eq(u32, first, slot));
    half_take(cache);
    enum weir_status status = wr_arena_take_swept(arena, slot, 0, false, &buf);

    cr_assert(eq(int, status, WEIR_OK));
    cr_assert(ne(u32, wr_owner_slot(buf.owner), slot));
    cr_assert(eq(u32, wr_bitmap_free_count(&arena->fixed.map), 998));
    cr_assert(wr_fixed_give(&arena->fixed, &hint, first));
    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(caches, who_lost_the_last_block_to_a_sweep_finds_it_full)
{
    struct weir_buf buf;
    struct weir_buf bufs[64];
    struct weir_arena *arena = open_cached(64);
    for (size_t i = 0; i < 63; i++)
        bufs[i] = take(arena);
    cr_assert(eq(u64, stats_of(arena).blocks_cached, 1));
    struct wr_thread_cache *cache = &wr_record_of(arena)->cache;
    uint32_t slot = next_slot(cache);

    sweep(arena);
    uint32_t last;
    struct wr_bitmap_hint hint = { 0 };
    cr_assert(wr_fixed_take(&arena->fixed, &hint, &last));
    half_take(cache);
    enum weir_status status = wr_arena_take_swept(arena, slot, 0, false, &buf);

    cr_assert(eq(u32, last, slot));
    cr_assert(eq(int, status, WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 1));
    cr_assert(wr_fixed_give(&arena->fixed, &hint, last));
    drop_all(bufs, 63);
    close_whole(&arena);
}

Test(caches, a_block_given_before_the_sweep_looked_is_home)
{
    struct weir_arena *arena = open_cached(1000);
    struct weir_buf buf = take(arena);
    struct wr_thread_cache *cache = &wr_record_of(arena)->cache;
    uint32_t slot = wr_owner_slot(buf.owner);
    wr_store_relaxed(wr_arena_refs(buf.word, buf.owner), 0);

    half_give(cache, slot);
    sweep(arena);
    wr_arena_give_swept(slot);

    cr_assert(wr_bitmap_is_free(&arena->fixed.map, slot));
    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).releases, 1));
    close_whole(&arena);
}

Test(caches, a_block_given_behind_the_sweep_goes_to_the_bitmap)
{
    struct weir_arena *arena = open_cached(1000);
    struct weir_buf buf = take(arena);
    struct wr_thread_cache *cache = &wr_record_of(arena)->cache;
    uint32_t slot = wr_owner_slot(buf.owner);
    wr_store_relaxed(wr_arena_refs(buf.word, buf.owner), 0);

    sweep(arena);
    cr_assert(not(wr_bitmap_is_free(&arena->fixed.map, slot)));
    half_give(cache, slot);
    wr_arena_give_swept(slot);

    cr_assert(wr_bitmap_is_free(&arena->fixed.map, slot));
    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).releases, 1));
    close_whole(&arena);
}

static struct weir_buf taken_elsewhere[1000];

static void *
take_a_thousand(void *arena)
{
    for (size_t i = 0; i < 1000; i++)
        taken_elsewhere[i] = take(arena);
    return NULL;
}

/* Its bit is in the top still, from before the sweep. */
Test(caches, a_block_that_was_swept_and_went_out_elsewhere_comes_home)
{
    struct weir_arena *arena = open_cached(1000);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    struct wr_thread_cache *cache = &wr_record_of(arena)->cache;
    uint64_t stale = wr_cache_top(cache);
    cr_assert(ne(u64, stale, 0));

    sweep(arena);
    on_thread(take_a_thousand, arena);
    cr_assert(eq(u64, wr_cache_top(cache), stale));
    drop_all(taken_elsewhere, 1000);

    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    close_whole(&arena);
}

Test(caches, settling_empties_the_cache)
{
    struct weir_arena *arena = open_cached(1000);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    struct wr_record *record = wr_record_of(arena);
    sweep(arena);
    cr_assert(ne(u64, wr_cache_top(&record->cache), 0));

    cr_assert(eq(int, ask(arena), WEIR_OK));

    cr_assert(zero(u64, wr_cache_top(&record->cache)));
    cr_assert(eq(u32, wr_cache_word(&record->cache), WR_NO_WORD));
    close_whole(&arena);
}

struct taker {
    struct weir_arena *arena;
    struct wr_record *record;
    pthread_barrier_t gate;
    struct weir_buf buf;
    bool gives;
    atomic_bool done;
};

static void *
take_or_give_while_swept(void *user)
{
    struct taker *taker = user;
    taker->buf = take(taker->arena);
    taker->record = wr_record_of(taker->arena);
    if (!taker->gives)
        weir_buf_drop(&taker->buf);
    (void)pthread_barrier_wait(&taker->gate);
    (void)pthread_barrier_wait(&taker->gate);
    if (taker->gives)
        weir_buf_drop(&taker->buf);
    else
        taker->buf = take(taker->arena);
    atomic_store(&taker->done, true);
    return NULL;
}

static void
expect_to_wait_for_the_sweep(bool gives)
{
    struct taker taker = { .arena = open_cached(1000), .gives = gives };
    struct weir_arena *arena = taker.arena;
    cr_assert(zero(int, pthread_barrier_init(&taker.gate, NULL, 2)));
    pthread_t thread = start_thread(take_or_give_while_swept, &taker);
    (void)pthread_barrier_wait(&taker.gate);

    wr_mutex_lock(&arena->mutex);
    cr_assert(wr_gate_stop(&taker.record->cache.gate));
    wr_fence_heavy();
    (void)pthread_barrier_wait(&taker.gate);
    (void)usleep(20000);
    cr_assert(not(atomic_load(&taker.done)));
    wr_caches_sweep(arena);
    wr_mutex_unlock(&arena->mutex);
    join_thread(thread);

    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).blocks_out, gives ? 0 : 1));
    weir_buf_drop(&taker.buf);
    close_whole(&arena);
}

Test(caches, a_take_that_meets_a_sweep_waits_for_its_end)
{
    expect_to_wait_for_the_sweep(false);
}

Test(caches, a_release_that_meets_a_sweep_waits_for_its_end)
{
    expect_to_wait_for_the_sweep(true);
}

/* ---- Coming on again --------------------------------------------------- */

/* An arena whose only cache is off, and would be on again after DROUGHT takes. */
static struct weir_arena *
open_in_drought(struct wr_record **record)
{
    struct weir_arena *arena = open_cached(1000);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    *record = wr_record_of(arena);
    sweep(arena);
    arena->drought_length = DROUGHT;
    (*record)->cache.credit = DROUGHT;
    return arena;
}

static void
earn(struct weir_arena *arena, struct wr_record *record, int times)
{
    for (int i = 0; i < times; i++)
        wr_caches_earn(arena, record);
}

Test(caches, one_comes_on_again_after_as_many_slots_as_a_sweep_is_worth)
{
    struct wr_record *record;
    struct weir_arena *arena = open_in_drought(&record);

    for (int i = 0; i < DROUGHT / 2; i++) {
        expect_caches(arena, 0, 0);
        cr_assert(eq(int, ask(arena), WEIR_OK)); /* takes one and gives one */
    }

    expect_caches(arena, 1, 0);
    struct weir_buf first = take(arena);
    struct weir_buf second = take(arena);
    expect_caches(arena, 1, 62);
    weir_buf_drop(&first);
    weir_buf_drop(&second);
    expect_caches(arena, 1, 64);
    cr_assert(eq(u64, stats_of(arena).sweeps, 1));
    close_whole(&arena);
}

Test(caches, one_comes_on_again_on_a_thread_that_only_gives)
{
    struct wr_record *record;
    struct weir_arena *arena = open_in_drought(&record);
    struct weir_buf bufs[DROUGHT];
    for (int i = 0; i < DROUGHT; i++)
        bufs[i] = take(arena);
    sweep(arena);
    record->cache.credit = DROUGHT;

    for (int i = 0; i < DROUGHT; i++) {
        expect_caches(arena, 0, 0);
        weir_buf_drop(&bufs[i]);
    }

    cr_assert(eq(u64, stats_of(arena).caches, 1));
    close_whole(&arena);
}

Test(caches, after_every_full_2048_blocks_go_past_a_threads_cache)
{
    enum { COUNT = 1000 };
    static struct weir_buf bufs[COUNT];
    struct weir_arena *arena = open_cached(COUNT);

    for (uint64_t round = 1; round <= 3; round++) {
        cr_assert(eq(sz, take_to_the_end(arena, bufs), COUNT));
        cr_assert(eq(u64, stats_of(arena).sweeps, round));
        drop_all(bufs, COUNT);
        for (int i = 0; i < (2048 - COUNT) / 2; i++) {
            expect_caches(arena, 0, 0);
            cr_assert(eq(int, ask(arena), WEIR_OK));
        }
        cr_assert(eq(u64, stats_of(arena).caches, 1));
    }

    close_whole(&arena);
}

Test(caches, while_the_state_is_not_0_none_comes_on)
{
    static const uint32_t states[] = { WR_CLOSED, WR_WAITING, WR_SEARCHING,
        WR_DRY, WR_CLOSED | WR_DESTROYED };
    struct wr_record *record;
    struct weir_arena *arena = open_in_drought(&record);

    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        (void)wr_or_relaxed(&arena->state, states[i]);
        earn(arena, record, 3 * DROUGHT);
        expect_caches(arena, 0, 0);
        (void)wr_and_relaxed(&arena->state, ~states[i]);
        earn(arena, record, DROUGHT - 1);
        expect_caches(arena, 0, 0);
        earn(arena, record, 1);
        expect_caches(arena, 1, 0);
        sweep(arena);
    }

    close_whole(&arena);
}

Test(caches, while_somebody_has_the_mutex_none_comes_on)
{
    struct wr_record *record;
    struct weir_arena *arena = open_in_drought(&record);

    wr_mutex_lock(&arena->mutex);
    earn(arena, record, 3 * DROUGHT);
    wr_mutex_unlock(&arena->mutex);

    expect_caches(arena, 0, 0);
    earn(arena, record, DROUGHT - 1);
    expect_caches(arena, 0, 0);
    earn(arena, record, 1);
    expect_caches(arena, 1, 0);
    close_whole(&arena);
}

Test(caches, a_thread_that_begins_in_a_drought_has_its_cache_off)
{
    struct keeper keeper;
    struct weir_arena *arena = open_cached(1000);
    (void)wr_or_relaxed(&arena->state, WR_SEARCHING);

    wr_mutex_lock(&arena->mutex);
    wr_caches_sweep(arena);
    wr_mutex_unlock(&arena->mutex);
    struct wr_record *record = wr_record_of(arena);

    cr_assert(not(wr_gate_is_on(&record->cache.gate)));
    cr_assert(eq(u32, record->cache.credit, 2048));
    expect_caches(arena, 0, 0);
    (void)wr_and_relaxed(&arena->state, ~(uint32_t)WR_SEARCHING);
    start_keeper(&keeper, arena);
    expect_caches(arena, 1, 64);
    end_keeper(&keeper);
    close_whole(&arena);
}

Test(caches, where_there_are_none_nothing_is_earned)
{
    struct weir_arena *arena = open_arena(64, 10);
    struct wr_record *record = wr_record_of(arena);
    record->cache.credit = 1;

    earn(arena, record, 1000);

    expect_caches(arena, 0, 0);
    cr_assert(eq(u32, record->cache.credit, 1));
    close_whole(&arena);
}

/* ---- Flushes and ends -------------------------------------------------- */

Test(caches, a_flush_gives_back_what_the_thread_keeps_of_every_arena)
{
    struct keeper keeper;
    struct weir_arena *first = open_cached(1000);
    struct weir_arena *second = open_cached(1000);
    struct weir_arena *none = open_arena(64, 4);
    start_keeper(&keeper, first);
    cr_assert(eq(int, ask(first), WEIR_OK));
    cr_assert(eq(int, ask(second), WEIR_OK));
    cr_assert(eq(int, ask(none), WEIR_OK));

    weir_thread_flush();

    expect_caches(first, 2, 64);
    expect_caches(second, 1, 0);
    expect_caches(none, 0, 0);
    cr_assert(eq(u64, stats_of(first).sweeps, 0));
    cr_assert(eq(int, ask(first), WEIR_OK));
    expect_caches(first, 2, 128);
    end_keeper(&keeper);
    close_whole(&first);
    close_whole(&second);
    close_whole(&none);
}

Test(caches, a_flush_in_a_drought_does_nothing)
{
    struct wr_record *record;
    struct weir_arena *arena = open_in_drought(&record);

    weir_thread_flush();

    expect_caches(arena, 0, 0);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    close_whole(&arena);
}

static void *
flush_only(void *unused)
{
    weir_thread_flush();
    return unused;
}

Test(caches, a_thread_that_has_nothing_may_flush)
{
    struct weir_arena *arena = open_cached(1000);
    cr_assert(eq(int, ask(arena), WEIR_OK));

    on_thread(flush_only, NULL);

    expect_caches(arena, 1, 64);
    close_whole(&arena);
}

Test(caches, a_flush_touches_no_arena_that_came_after_a_dead_one)
{
    struct keeper keeper;
    struct weir_arena *first = open_cached(1000);
    uint32_t id = first->id;
    cr_assert(eq(int, ask(first), WEIR_OK));
    close_whole(&first);
    struct weir_arena *second = open_cached(1000);
    cr_assert(eq(u32, second->id, id));
    start_keeper(&keeper, second);

    weir_thread_flush();

    expect_caches(second, 1, 64);
    end_keeper(&keeper);
    close_whole(&second);
}

static void *
ask_and_end(void *arena)
{
    cr_assert(eq(int, ask(arena), WEIR_OK));
    return NULL;
}

Test(caches, a_thread_that_ends_keeps_nothing)
{
    struct weir_arena *arena = open_cached(1000);

    for (int i = 0; i < 20; i++) {
        on_thread(ask_and_end, arena);
        expect_caches(arena, 0, 0);
        cr_assert(eq(u32, wr_bitmap_free_count(&arena->fixed.map), 1000));
    }

    cr_assert(eq(u64, stats_of(arena).sweeps, 0));
    close_whole(&arena);
}

Test(caches, giving_up_one_that_is_off_changes_nothing)
{
    struct keeper keeper;
    struct wr_record *record;
    struct weir_arena *arena = open_in_drought(&record);
    start_keeper(&keeper, arena);
    expect_caches(arena, 1, 64);

    wr_mutex_lock(&arena->mutex);
    wr_caches_give_up(arena, record);
    wr_mutex_unlock(&arena->mutex);

    expect_caches(arena, 1, 64);
    end_keeper(&keeper);
    close_whole(&arena);
}

Test(caches, closing_takes_everything_back_and_none_comes_on_again)
{
    struct keeper keeper;
    struct weir_buf bufs[300];
    struct weir_arena *arena = open_cached(1000);
    start_keeper(&keeper, arena);
    for (size_t i = 0; i < 300; i++)
        bufs[i] = take(arena);

    weir_arena_close(arena);

    expect_caches(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 300));
    for (int i = 0; i < 1000; i++)
        cr_assert(eq(int, ask(arena), WEIR_CLOSED));
    drop_all(bufs, 300);
    expect_caches(arena, 0, 0);
    end_keeper(&keeper);
    close_whole(&arena);
}

Test(caches, an_arena_dies_at_once_though_threads_keep_blocks_of_it)
{
    struct keeper keeper;
    struct iovec memory;
    struct weir_arena *arena = open_cached(1000);
    weir_arena_memory(arena, &memory);
    start_keeper(&keeper, arena);
    cr_assert(eq(int, ask(arena), WEIR_OK));

    weir_arena_destroy(&arena);

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    end_keeper(&keeper);
    no_leaks();
}

Test(caches, a_thread_goes_on_with_the_arena_that_came_after_a_dead_one)
{
    for (int i = 0; i < 10; i++) {
        struct weir_arena *arena = open_cached(1000);
        cr_assert(eq(int, ask(arena), WEIR_OK));
        expect_caches(arena, 1, 64);
        close_whole(&arena);
    }
}

Test(caches, one_thread_keeps_blocks_of_two_arenas_apart)
{
    enum { COUNT = 200 };
    struct prng prng = { 11 };
    struct weir_buf bufs[2][COUNT];
    size_t out[2] = { 0 };
    struct weir_arena *arenas[2] = { open_cached(COUNT), open_cached(COUNT) };
    cr_log_info("seed 11");

    for (int step = 0; step < 20000; step++) {
        size_t which = prng_below(&prng, 2);
        struct weir_buf *mine = bufs[which];
        if (prng_below(&prng, COUNT) >= out[which]) {
            mine[out[which]] = take(arenas[which]);
            out[which]++;
        } else {
            size_t i = prng_below(&prng, out[which]);
            weir_buf_drop(&mine[i]);
            mine[i] = mine[--out[which]];
        }
        if (step % 100 == 0)
            for (size_t i = 0; i < 2; i++) {
                cr_assert(eq(u64, stats_of(arenas[i]).blocks_out, out[i]));
                weir_arena_check(arenas[i]);
            }
    }

    for (size_t i = 0; i < 2; i++) {
        drop_all(bufs[i], out[i]);
        cr_assert(eq(u64, stats_of(arenas[i]).caches, 1));
        close_whole(&arenas[i]);
    }
}

/* ---- A sweep that waits for an owner ----------------------------------- */

/* Asks until it is told full, which takes a sweep. */
struct asker {
    struct weir_arena *arena;
    struct weir_buf bufs[100];
    size_t count;
    _Atomic bool is_done;
};

static void *
ask_to_the_end(void *user)
{
    struct asker *asker = user;
    asker->count = take_to_the_end(asker->arena, asker->bufs);
    atomic_store_explicit(&asker->is_done, true, memory_order_release);
    return NULL;
}

Test(caches, a_sweep_that_waits_is_not_cancelled_with_the_mutex_held)
{
    const struct timespec a_while = { 0, 50000000 };
    static struct asker asker;
    asker.arena = open_cached(100);
    cr_assert(eq(int, ask(asker.arena), WEIR_OK));
    struct wr_record *record = wr_record_of(asker.arena);
    cr_assert(wr_gate_begin(&record->cache.gate));
    pthread_t thread = start_thread(ask_to_the_end, &asker);
    cr_assert(zero(int, nanosleep(&a_while, NULL)));
    cr_assert(zero(int, pthread_cancel(thread)));
    cr_assert(zero(int, nanosleep(&a_while, NULL)));

    wr_gate_end(&record->cache.gate);

    cr_assert(zero(int, pthread_join(thread, NULL)));
    cr_assert(atomic_load_explicit(&asker.is_done, memory_order_acquire));
    cr_assert(eq(sz, asker.count, 100));
    drop_all(asker.bufs, asker.count);
    close_whole(&asker.arena);
}
