/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "arena/caches.h"
#include "support/oracle.h"
#include "support/prng.h"
#include "support/unit.h"

#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>

static void
silent_ring(struct weir_bell *bell)
{
    (void)bell;
}

static void
keep_waiting(struct weir_waiter *waiter, enum weir_status status)
{
    (void)waiter;
    (void)status;
}

/* ---- Taking ------------------------------------------------------------ */

Test(doors, size_0_is_the_block_size_and_every_size_up_to_it_fits)
{
    struct weir_arena *arena = open_arena(100, 1);
    static const size_t sizes[] = { 0, 1, 100, 128 };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct weir_buf buf;
        cr_assert(eq(int, weir_arena_alloc(arena, sizes[i], &buf), WEIR_OK));
        cr_assert(eq(sz, weir_buf_room(&buf), 128));
        cr_assert(eq(sz, weir_buf_len(&buf), 0));
        cr_assert(eq(sz, weir_buf_headroom_left(&buf), 0));
        weir_buf_drop(&buf);
    }
    close_whole(&arena);
}

static void
expect_too_large(struct weir_arena *arena)
{
    static const size_t sizes[] = { 65, 4096, UINT32_MAX,
        (size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 65, (size_t)1 << 63,
        ((size_t)1 << 63) + 1, SIZE_MAX - 63, SIZE_MAX };
    struct weir_bell bell;
    weir_bell_init(&bell, silent_ring, NULL);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct weir_buf buf;
        struct weir_waiter waiter = { .bell = &bell, .granted = keep_waiting };
        cr_assert(
            eq(int, weir_arena_alloc(arena, sizes[i], &buf), WEIR_TOO_LARGE));
        cr_assert(eq(int, weir_arena_alloc_barge(arena, sizes[i], &buf),
            WEIR_TOO_LARGE));
        cr_assert(
            eq(int, weir_arena_wait(arena, sizes[i], &waiter), WEIR_TOO_LARGE));
    }
    weir_bell_fini(&bell);
}

Test(doors, a_size_above_the_block_is_too_large_and_never_waits)
{
    struct weir_arena *arena = open_arena(64, 2);

    expect_too_large(arena);
    cr_assert(eq(u64, stats_of(arena).waits, 0));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 0));

    close_whole(&arena);
}

Test(doors, too_large_is_told_from_full)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_buf held = take(arena);

    cr_assert(eq(int, ask(arena), WEIR_FULL));
    expect_too_large(arena);
    cr_assert(eq(int, ask(arena), WEIR_FULL));

    weir_buf_drop(&held);
    close_whole(&arena);
}

Test(doors, a_size_above_the_block_is_too_large_with_spill_too)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = 64,
        .block_count = 1,
        .flags = WEIR_SPILL_FULL | WEIR_SPILL_GROW,
        .spill_bytes_max = 1 << 20,
    });
    struct weir_buf held = take(arena);

    expect_too_large(arena);
    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 0));

    weir_buf_drop(&held);
    close_whole(&arena);
}

Test(doors, a_refused_alloc_leaves_the_buf_untouched)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_buf held = take(arena);
    struct weir_buf buf;
    memset(&buf, 0x5a, sizeof buf);
    struct weir_buf before;
    memcpy(&before, &buf, sizeof buf);

    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(int, weir_arena_alloc(arena, 65, &buf), WEIR_TOO_LARGE));
    weir_arena_close(arena);
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_CLOSED));

    cr_assert(zero(int, memcmp(&before, &buf, sizeof buf)));
    weir_buf_drop(&held);
    close_whole(&arena);
}

ParameterizedTestParameters(doors, every_block_goes_out_before_it_is_full)
{
    static size_t counts[] = { 1, 63, 64, 65, 128, 1000 };
    return cr_make_param_array(
        size_t, counts, sizeof counts / sizeof counts[0]);
}

static size_t
take_to_the_end(struct weir_arena *arena, struct weir_buf *bufs, bool barge)
{
    size_t count = 0;
    struct weir_buf buf;
    enum weir_status status;
    while ((status = barge ? weir_arena_alloc_barge(arena, 0, &buf)
                           : weir_arena_alloc(arena, 0, &buf)) == WEIR_OK)
        bufs[count++] = buf;
    cr_assert(eq(int, status, WEIR_FULL));
    return count;
}

ParameterizedTest(size_t *count, doors, every_block_goes_out_before_it_is_full)
{
    struct weir_arena *arena = open_arena(64, *count);
    struct weir_buf *bufs = calloc(*count, sizeof *bufs);

    for (int round = 0; round < 3; round++) {
        size_t taken = take_to_the_end(arena, bufs, round == 1);
        cr_assert(eq(sz, taken, *count));
        cr_assert(eq(u64, stats_of(arena).blocks_out, *count));
        cr_assert(eq(int, ask(arena), WEIR_FULL));
        for (size_t i = 0; i < *count; i++)
            weir_buf_drop(&bufs[(i * 7 + 3) % *count]);
        for (size_t i = 0; i < *count; i++)
            weir_buf_drop(&bufs[i]);
        cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    }

    free(bufs);
    close_whole(&arena);
}

Test(doors, in_a_full_arena_the_one_block_that_comes_back_is_found)
{
    struct weir_arena *arena = open_arena(64, 1000);
    struct weir_buf bufs[1000];
    (void)take_to_the_end(arena, bufs, false);

    for (size_t i = 0; i < 1000; i += 13) {
        weir_buf_drop(&bufs[i]);
        bufs[i] = take(arena);
        cr_assert(eq(int, ask(arena), WEIR_FULL));
    }

    for (size_t i = 0; i < 1000; i++)
        weir_buf_drop(&bufs[i]);
    close_whole(&arena);
}

Test(doors, random_walk_agrees_with_the_naive_allocator)
{
    enum { COUNT = 150 };
    struct weir_arena *arena = open_arena(100, COUNT);
    struct prng prng = { 42 };
    struct weir_buf bufs[COUNT];
    struct iovec memory;
    struct oracle oracle;
    weir_arena_memory(arena, &memory);
    oracle_init(&oracle, &memory, COUNT);
    size_t out = 0;
    cr_log_info("seed 42");

    for (int step = 0; step < 20000; step++) {
        if (prng_below(&prng, COUNT) >= out) {
            bufs[out] = take(arena);
            cr_assert(oracle_take(&oracle, weir_buf_tail(&bufs[out]), 128));
            out++;
        } else {
            size_t i = prng_below(&prng, out);
            cr_assert(oracle_give(&oracle, weir_buf_tail(&bufs[i])));
            weir_buf_drop(&bufs[i]);
            bufs[i] = bufs[--out];
        }
        if (step % 500 == 0) {
            cr_assert(eq(u64, stats_of(arena).blocks_out, out));
            weir_arena_check(arena);
        }
    }
    while (out > 0)
        weir_buf_drop(&bufs[--out]);
    oracle_fini(&oracle);
    close_whole(&arena);
}

/* ---- Threads ----------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 3000, HELD_MAX = 20 };

struct worker {
    struct weir_arena *arena;
    uint64_t seed;
    uint64_t allocs;
    uint64_t fulls;
    uint64_t wrong;
};

static void *
come_and_go(void *user)
{
    struct worker *worker = user;
    struct prng prng = { worker->seed };
    struct weir_buf held[HELD_MAX];
    size_t count = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (count < HELD_MAX && prng_below(&prng, 2) == 0) {
            struct weir_buf buf;
            if (weir_arena_alloc(worker->arena, 0, &buf) != WEIR_OK) {
                worker->fulls++;
                continue;
            }
            memset(weir_buf_tail(&buf), (int)worker->seed, 64);
            held[count++] = buf;
            worker->allocs++;
        } else if (count > 0) {
            struct weir_buf *buf = &held[--count];
            const unsigned char *bytes = weir_buf_tail(buf);
            for (size_t at = 0; at < 64; at++)
                worker->wrong += bytes[at] != (unsigned char)worker->seed;
            weir_buf_drop(buf);
        }
    }
    while (count > 0)
        weir_buf_drop(&held[--count]);
    return NULL;
}

Test(doors, after_threads_came_and_went_every_block_is_home)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    uint64_t allocs = 0;
    uint64_t fulls = 0;

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .arena = arena, .seed = i + 1 };
        threads[i] = start_thread(come_and_go, &workers[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        join_thread(threads[i]);
        allocs += workers[i].allocs;
        fulls += workers[i].fulls;
        cr_assert(eq(u64, workers[i].wrong, 0));
    }

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.allocs, allocs));
    cr_assert(eq(u64, stats.releases, allocs));
    cr_assert(eq(u64, stats.alloc_fulls, fulls));
    struct weir_buf bufs[70];
    cr_assert(eq(sz, take_to_the_end(arena, bufs, false), 70));
    for (size_t i = 0; i < 70; i++)
        weir_buf_drop(&bufs[i]);
    close_whole(&arena);
}

static void *
take_and_keep(void *user)
{
    struct worker *worker = user;
    struct weir_buf kept;
    while (weir_arena_alloc(worker->arena, 0, &kept) == WEIR_OK)
        worker->allocs++;
    return NULL;
}

Test(doors, threads_that_drain_it_get_every_block_between_them)
{
    struct weir_arena *arena = open_arena(64, 1000);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    uint64_t allocs = 0;

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .arena = arena };
        threads[i] = start_thread(take_and_keep, &workers[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        join_thread(threads[i]);
        allocs += workers[i].allocs;
    }

    cr_assert(eq(u64, allocs, 1000));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1000));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, THREADS));
}

struct hand_over {
    struct weir_buf buf;
    struct weir_arena *arena;
};

static void *
drop_there(void *user)
{
    struct hand_over *hand_over = user;
    weir_buf_drop(&hand_over->buf);
    return NULL;
}

Test(doors, a_block_may_come_home_on_another_thread)
{
    struct weir_arena *arena = open_arena(64, 1);

    for (int i = 0; i < 20; i++) {
        struct hand_over hand_over = { .buf = take(arena) };
        cr_assert(eq(int, ask(arena), WEIR_FULL));
        on_thread(drop_there, &hand_over);
        cr_assert(eq(int, ask(arena), WEIR_OK));
    }

    cr_assert(eq(u64, stats_of(arena).releases, 40));
    close_whole(&arena);
}

/* ---- Full is exact ----------------------------------------------------- */

enum { FULL_SIZE = 130 };

static struct weir_buf held[FULL_SIZE];

/* An arena whose blocks are all in `held`, and which knows that it is full. */
static struct weir_arena *
open_dry(unsigned flags)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = 64,
        .block_count = FULL_SIZE,
        .flags = flags,
        .spill_bytes_max = 128,
    });
    struct weir_buf buf;
    for (size_t i = 0; i < FULL_SIZE; i++)
        held[i] = take(arena);
    cr_assert(zero(u32, wr_load_relaxed(&arena->state)));
    if ((flags & WEIR_SPILL_FULL) == 0) {
        cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
        cr_assert(eq(u32, wr_load_relaxed(&arena->state), WR_DRY));
    }
    return arena;
}

static void
end_dry(struct weir_arena *arena)
{
    for (size_t i = 0; i < FULL_SIZE; i++)
        weir_buf_drop(&held[i]);
    close_whole(&arena);
}

/* A free slot that no release has put there: only who searches can find it. */
static void
set_free(struct weir_arena *arena, uint32_t slot)
{
    struct wr_bitmap_hint hint = { 0 };
    cr_assert(wr_fixed_give(&arena->fixed, &hint, slot));
}

static void
set_taken(struct weir_arena *arena, uint32_t slot)
{
    struct wr_bitmap_hint hint = { 0 };
    uint32_t taken;
    cr_assert(wr_fixed_take(&arena->fixed, &hint, &taken));
    cr_assert(eq(u32, taken, slot));
}

Test(doors, a_full_arena_stays_full_without_a_search)
{
    struct weir_buf buf;
    struct weir_arena *arena = open_dry(0);
    struct wr_record *record = wr_record_of(arena);
    struct wr_bitmap_hint before = { .guess = 5, .word = 2 };
    record->hint = before;
    arena->shared.hint = before;
    set_free(arena, 77);

    for (int i = 0; i < 10; i++) {
        cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
        cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &buf), WEIR_FULL));
    }

    cr_assert(eq(u64, record->hint.guess, 5));
    cr_assert(eq(u32, record->hint.word, 2));
    cr_assert(eq(u64, arena->shared.hint.guess, 5));
    cr_assert(eq(u32, arena->shared.hint.word, 2));
    cr_assert(eq(u32, wr_load_relaxed(&arena->state), WR_DRY));
    set_taken(arena, 77);
    end_dry(arena);
}

Test(doors, a_release_ends_a_drought)
{
    struct weir_arena *arena = open_dry(0);

    for (size_t i = 0; i < FULL_SIZE; i += 7) {
        weir_buf_drop(&held[i]);
        cr_assert(zero(u32, wr_load_relaxed(&arena->state)));
        held[i] = take(arena);
        cr_assert(eq(int, ask(arena), WEIR_FULL));
        cr_assert(eq(u32, wr_load_relaxed(&arena->state), WR_DRY));
    }

    end_dry(arena);
}

Test(doors, a_release_on_another_thread_ends_a_drought)
{
    struct weir_arena *arena = open_dry(0);

    for (size_t i = 0; i < FULL_SIZE; i += 7) {
        struct hand_over hand_over = { .buf = held[i] };
        on_thread(drop_there, &hand_over);
        cr_assert(zero(u32, wr_load_relaxed(&arena->state)));
        held[i] = take(arena);
        cr_assert(eq(int, ask(arena), WEIR_FULL));
    }

    end_dry(arena);
}

Test(doors, a_slice_released_ends_a_drought)
{
    struct weir_slice slice;
    struct weir_slice clone;
    struct weir_arena *arena = open_dry(0);
    cr_assert(eq(int, weir_buf_write(&held[9], "weir", 4), WEIR_OK));
    weir_buf_freeze(&held[9], &slice);
    weir_slice_clone(&slice, &clone);

    weir_slice_release(&slice);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    weir_slice_release(&clone);
    held[9] = take(arena);

    end_dry(arena);
}

Test(doors, who_searches_and_finds_leaves_the_state_as_it_was)
{
    struct weir_arena *arena = open_dry(0);
    (void)wr_and_relaxed(&arena->state, ~(uint32_t)WR_DRY);
    set_free(arena, 77);
    wr_store_relaxed(&arena->counts[77], 0);
    struct weir_buf buf;
    wr_mutex_lock(&arena->mutex);

    bool taken = wr_arena_take_locked(arena, 0, &buf);

    cr_assert(taken);
    cr_assert(zero(u32, wr_load_relaxed(&arena->state)));
    cr_assert(not(wr_arena_take_locked(arena, 0, &buf)));
    cr_assert(eq(u32, wr_load_relaxed(&arena->state), WR_DRY));
    wr_mutex_unlock(&arena->mutex);
    cr_assert(eq(u32, wr_owner_slot(buf.owner), 77));
    wr_arena_count(arena, WR_RELEASES, 1);
    end_dry(arena);
}

Test(doors, who_finds_a_block_under_the_mutex_does_not_sweep)
{
    struct weir_arena *arena = open_arena(64, FULL_SIZE);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    uint64_t caches = stats_of(arena).caches;
    struct weir_buf buf;
    wr_mutex_lock(&arena->mutex);

    bool taken = wr_arena_take_locked(arena, 0, &buf);

    wr_mutex_unlock(&arena->mutex);
    cr_assert(taken);
    cr_assert(zero(u64, stats_of(arena).sweeps));
    cr_assert(eq(u64, stats_of(arena).caches, caches));
    cr_assert(zero(u32, wr_load_relaxed(&arena->state)));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

/* Whoever holds the mutex and finds that somebody else has searched in vain
   since it looked does not search again. */
Test(doors, who_finds_it_dry_under_the_mutex_does_not_search)
{
    struct weir_buf buf;
    struct weir_arena *arena = open_dry(0);
    set_free(arena, 77);
    wr_mutex_lock(&arena->mutex);

    bool taken = wr_arena_take_locked(arena, 0, &buf);

    wr_mutex_unlock(&arena->mutex);
    cr_assert(not(taken));
    set_taken(arena, 77);
    end_dry(arena);
}

Test(doors, a_closed_arena_says_so_also_when_it_is_dry)
{
    struct weir_bell bell;
    struct weir_buf buf;
    struct weir_waiter waiter = { .bell = &bell, .granted = keep_waiting };
    weir_bell_init(&bell, silent_ring, NULL);
    struct weir_arena *arena = open_dry(0);

    weir_arena_close(arena);

    cr_assert(ne(u32, wr_load_relaxed(&arena->state) & WR_DRY, 0));
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_CLOSED));
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &buf), WEIR_CLOSED));
    cr_assert(eq(int, weir_arena_wait(arena, 0, &waiter), WEIR_CLOSED));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 1));
    weir_buf_drop(&held[0]);
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_CLOSED));
    weir_bell_fini(&bell);
    end_dry(arena);
}

Test(doors, a_dry_arena_spills_as_a_full_one_does)
{
    struct weir_buf spilled[2];
    struct weir_buf buf;
    struct weir_arena *arena = open_dry(WEIR_SPILL_FULL);

    spilled[0] = take(arena);
    cr_assert(eq(u32, wr_load_relaxed(&arena->state), WR_DRY));
    spilled[1] = take(arena);

    cr_assert(eq(u64, stats_of(arena).spill_fulls, 2));
    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 2));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 0));
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 2));
    weir_buf_drop(&spilled[0]);
    spilled[0] = take(arena);
    cr_assert(eq(u64, stats_of(arena).spill_fulls, 3));
    weir_buf_drop(&spilled[0]);
    weir_buf_drop(&spilled[1]);
    end_dry(arena);
}

struct asker {
    struct weir_arena *arena;
    enum weir_status status;
};

static void *
ask_ten_times(void *user)
{
    struct asker *asker = user;
    for (int i = 0; i < 10; i++) {
        asker->status = ask(asker->arena);
        if (asker->status != WEIR_FULL)
            break;
    }
    return NULL;
}

Test(doors, every_alloc_that_finds_it_dry_is_counted)
{
    struct asker asker = { .arena = open_dry(0) };

    for (uint64_t i = 1; i <= 5; i++) {
        on_thread(ask_ten_times, &asker);
        cr_assert(eq(int, asker.status, WEIR_FULL));
        cr_assert(eq(u64, stats_of(asker.arena).alloc_fulls, 1 + 10 * i));
    }
    (void)ask_ten_times(&asker);

    cr_assert(eq(u64, stats_of(asker.arena).alloc_fulls, 61));
    end_dry(asker.arena);
}

Test(doors, who_found_it_full_has_seen_all_blocks_out)
{
    struct weir_arena *arena = open_arena(64, FULL_SIZE);
    for (size_t i = 0; i < FULL_SIZE; i++)
        held[i] = take(arena);
    cr_assert(eq(u64, arena->blocks_out_peak, 0));

    cr_assert(eq(int, ask(arena), WEIR_FULL));

    for (size_t i = 0; i < FULL_SIZE; i++)
        weir_buf_drop(&held[i]);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out_peak, FULL_SIZE));
    close_whole(&arena);
}

/* ---- Misuse ------------------------------------------------------------ */

Test(misuse, a_block_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    expect_misuse("weir: arena 'test': block 0: released twice");

    weir_buf_drop(&copy);
}

Test(misuse, a_full_arenas_block_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 65);
    struct weir_buf bufs[65];
    (void)take_to_the_end(arena, bufs, false);
    struct weir_buf copy = bufs[64];
    weir_buf_drop(&bufs[64]);
    expect_misuse("weir: arena 'test': block 64: released twice");

    weir_buf_drop(&copy);
}

static void *
drop_a_copy(void *user)
{
    struct hand_over *hand_over = user;
    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_buf_drop(&hand_over->buf);
    return NULL;
}

Test(misuse, a_block_released_again_on_a_thread_without_a_record_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct hand_over hand_over = { .buf = buf };
    weir_buf_drop(&buf);

    on_thread(drop_a_copy, &hand_over);
}

Test(misuse, a_block_released_again_after_its_arena_is_gone_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_arena_destroy(&arena);
    weir_buf_drop(&buf);
    expect_misuse("weir: arena 'test': block 0: released*");

    weir_buf_drop(&copy);
}

static void *
drop_a_copy_of_the_gone(void *user)
{
    struct hand_over *hand_over = user;
    expect_misuse("weir: arena 'test': block 0: released*");
    weir_buf_drop(&hand_over->buf);
    return NULL;
}

Test(misuse, a_block_of_an_arena_that_is_gone_released_elsewhere_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct hand_over hand_over = { .buf = buf };
    weir_arena_destroy(&arena);
    weir_buf_drop(&buf);

    on_thread(drop_a_copy_of_the_gone, &hand_over);
}

Test(misuse, a_block_released_again_while_its_arena_dies_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct weir_buf other = take(arena);
    struct weir_buf copy = buf;
    weir_arena_destroy(&arena);
    weir_buf_drop(&buf);
    expect_misuse("weir: arena 'test': block 0: released twice");

    weir_buf_drop(&copy);
    weir_buf_drop(&other);
}

Test(misuse, a_stale_block_in_the_next_arena_of_its_number_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *first = open_arena(64, 70);
    struct weir_buf buf = take(first);
    struct weir_buf copy = buf;
    weir_arena_destroy(&first);
    weir_buf_drop(&buf);
    struct weir_arena *second = open_arena(64, 70);
    cr_assert(eq(int, ask(second), WEIR_OK));
    expect_misuse("weir: arena 'test': block 0: released*");

    weir_buf_drop(&copy);
}

Test(misuse, a_part_of_a_block_released_again_when_all_are_home_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct weir_slice slice;
    struct weir_slice clone;
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    weir_buf_freeze(&buf, &slice);
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&slice);
    weir_slice_release(&clone);
    expect_misuse("weir: arena 'test': block 0: released twice");

    weir_slice_release(&copy);
}

Test(misuse, a_slot_of_another_arena_aborts, .signal = SIGABRT)
{
    struct weir_arena *first = open_arena(64, 70);
    struct weir_arena *second = open_arena(64, 70);
    struct weir_buf buf = take(first);
    struct weir_buf other = take(second);
    expect_misuse(
        "weir: arena 'test': block 0: released with data of another block");

    buf.owner = other.owner;
    weir_buf_drop(&buf);
}

Test(misuse, a_neighbours_data_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf first = take(arena);
    struct weir_buf second = take(arena);
    expect_misuse(
        "weir: arena 'test': block 0: released with data of another block");

    first.data = second.data + 1;
    weir_buf_drop(&first);
}

Test(misuse, data_in_front_of_the_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf first = take(arena);
    struct weir_buf second = take(arena);
    expect_misuse(
        "weir: arena 'test': block 1: released with data of another block");

    second.data = first.data + 63;
    weir_buf_drop(&second);
    weir_buf_drop(&first);
}

static void *
drop_elsewhere(void *user)
{
    struct hand_over *hand_over = user;
    expect_misuse(
        "weir: arena 'test': block 0: released with data of another block");
    weir_buf_drop(&hand_over->buf);
    return NULL;
}

Test(misuse, a_neighbours_data_on_a_thread_without_a_record_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct hand_over hand_over = { .buf = take(arena) };

    hand_over.buf.data += 65;
    on_thread(drop_elsewhere, &hand_over);
}

Test(misuse, a_slot_out_of_range_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse("weir: arena 'test': block 70: *the arena has no such block");

    buf.owner = wr_owner_pack(wr_owner_arena(buf.owner), 70);
    weir_buf_drop(&buf);
}

Test(misuse, a_slot_far_out_of_range_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse(
        "weir: arena 'test': block 4294967295: *the arena has no such block");

    buf.owner = wr_owner_pack(wr_owner_arena(buf.owner), UINT32_MAX);
    weir_buf_drop(&buf);
}

Test(misuse, the_count_of_a_slot_out_of_range_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse(
        "weir: arena 'test': block 70: used, but the arena has no such block");

    (void)wr_arena_refs(buf.word, wr_owner_pack(wr_owner_arena(buf.owner), 70));
}

Test(misuse, giving_back_a_slot_out_of_range_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse("weir: arena 'test': block 70: *the arena has no such block");

    wr_arena_give(
        buf.word, wr_owner_pack(wr_owner_arena(buf.owner), 70), buf.data);
}

Test(misuse, freezing_a_slot_out_of_range_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct weir_slice slice;
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    expect_misuse(
        "weir: arena 'test': block 70: *but the arena has no such block");

    buf.owner = wr_owner_pack(wr_owner_arena(buf.owner), 70);
    weir_buf_freeze(&buf, &slice);
}

Test(misuse, a_handle_of_an_arena_that_is_not_there_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse("weir: a handle that names no arena");

    buf.owner = wr_owner_pack(WR_ARENAS_MAX - 1, 0);
    weir_buf_drop(&buf);
}

Test(misuse, a_handle_with_a_made_up_owner_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse(
        "weir: arena 'test': block 0: *but the arena has no such block");

    buf.owner |= UINT64_C(1) << 40;
    weir_buf_drop(&buf);
}

/* So far off that its word's number would be WR_NO_WORD, if that had 32 bits. */
#define NO_WORDS_SLOT ((uint64_t)WR_NO_WORD * WR_WORD_BITS)

Test(misuse, a_handle_of_no_word_aborts_where_the_cache_is_empty,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    weir_thread_flush();
    expect_misuse("weir: arena 'test': block *: *but the arena has no such "
                  "block");

    buf.owner += NO_WORDS_SLOT;
    weir_buf_drop(&buf);
}

static void *
drop_of_no_word(void *user)
{
    weir_buf_drop(user);
    return NULL;
}

Test(misuse, and_on_a_thread_that_has_none, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse("weir: arena 'test': block *: *but the arena has no such "
                  "block");

    buf.owner += NO_WORDS_SLOT;
    join_thread(start_thread(drop_of_no_word, &buf));
}

Test(misuse, a_handle_of_no_kind_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    expect_misuse("weir: a handle of no kind was released");

    buf.word |= UINT64_C(9) << WR_KIND_SHIFT;
    weir_buf_drop(&buf);
}

Test(misuse, a_handle_without_weight_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf buf = take(arena);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    expect_misuse("weir: arena 'test': block 0: released once too often");

    copy.word = wr_word_with_weight(copy.word, 0);
    weir_buf_drop(&copy);
}

/* ---- Misuse of blocks that a thread keeps at hand ---------------------- */

enum { KEPT = 256 };

/* All blocks of an arena; block i is in bufs[i]. */
static struct weir_arena *
take_them_all(struct weir_buf *bufs)
{
    struct weir_arena *arena = open_arena(64, KEPT);
    for (uint32_t i = 0; i < KEPT; i++) {
        bufs[i] = take(arena);
        cr_assert(eq(u32, wr_owner_slot(bufs[i].owner), i));
    }
    return arena;
}

/* A release that races with another one of the same block has seen the whole
   weight there too. */
static void
race(struct weir_arena *arena, struct weir_buf *copy)
{
    wr_store_relaxed(
        &arena->counts[wr_owner_slot(copy->owner)], WR_WEIGHT_WHOLE);
    weir_buf_drop(copy);
}

struct keeper {
    struct weir_arena *arena;
    struct weir_buf buf;
    pthread_barrier_t gate;
};

static void *
drop_and_keep(void *user)
{
    struct keeper *keeper = user;
    cr_assert(ne(ptr, wr_record_of(keeper->arena), NULL));
    weir_buf_drop(&keeper->buf);
    (void)pthread_barrier_wait(&keeper->gate);
    (void)pause();
    return NULL;
}

/* Another thread gives block 70 back and sleeps; the copy is ours. */
static struct weir_buf
have_kept(struct weir_arena *arena, struct weir_buf *bufs)
{
    static struct keeper keeper;
    keeper.arena = arena;
    keeper.buf = bufs[70];
    cr_assert(zero(int, pthread_barrier_init(&keeper.gate, NULL, 2)));
    (void)start_thread(drop_and_keep, &keeper);
    (void)pthread_barrier_wait(&keeper.gate);
    return bufs[70];
}

Test(misuse, a_block_swept_from_another_thread_released_again_aborts,
    .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = have_kept(arena, bufs);
    wr_mutex_lock(&arena->mutex);
    wr_caches_sweep(arena);
    wr_mutex_unlock(&arena->mutex);
    cr_assert(wr_bitmap_is_free(&arena->fixed.map, 70));
    expect_misuse("weir: arena 'test': block 70: released twice");

    weir_buf_drop(&copy);
}

/* What is not seen at once: the block is out again, and loses its new owner's weight.
   That one's release tells. */
Test(misuse, a_block_released_again_when_it_is_out_again_aborts_at_the_next,
    .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = bufs[70];
    weir_buf_drop(&bufs[70]);
    struct weir_buf again = take(arena);
    cr_assert(eq(u32, wr_owner_slot(again.owner), 70));
    weir_buf_drop(&copy);
    expect_misuse("weir: arena 'test': block 70: released twice");

    weir_buf_drop(&again);
}

Test(misuse, racing_releases_that_meet_on_top_of_a_cache_abort,
    .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = bufs[70];
    weir_buf_drop(&bufs[70]);
    expect_misuse("weir: arena 'test': block 70: released twice");

    race(arena, &copy);
}

Test(
    misuse, racing_releases_that_meet_below_in_a_cache_abort, .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = bufs[70];
    weir_buf_drop(&bufs[70]);
    weir_buf_drop(&bufs[5]);
    expect_misuse("weir: arena 'test': block 70: released twice");

    race(arena, &copy);
}

Test(misuse, racing_releases_that_meet_in_the_bitmap_abort, .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = bufs[70];
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    weir_buf_drop(&bufs[70]);
    expect_misuse("weir: arena 'test': block 70: released twice");

    race(arena, &copy);
}

Test(misuse, racing_releases_of_two_threads_abort_when_one_is_swept,
    .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = have_kept(arena, bufs);
    race(arena, &copy);
    expect_misuse("weir: arena 'test': block 70: this block, or one of the 63 "
                  "behind it, was released twice");

    weir_arena_close(arena);
}

Test(misuse, racing_releases_of_two_threads_abort_when_one_is_flushed,
    .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    struct weir_buf copy = bufs[70];
    weir_buf_drop(&bufs[70]);
    weir_thread_flush();
    race(arena, &copy);
    weir_buf_drop(&bufs[64]);
    expect_misuse("weir: arena 'test': block 64: this block, or one of the 63 "
                  "behind it, was released twice");

    weir_thread_flush();
}

Test(misuse, taking_a_block_that_is_out_aborts, .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_buf buf;
    struct weir_arena *arena = take_them_all(bufs);
    weir_buf_drop(&bufs[70]);
    wr_store_relaxed(&arena->counts[70], WR_WEIGHT_WHOLE);
    expect_misuse("weir: arena 'test': block 70: released twice, and out");

    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_OK));
}

Test(misuse, data_of_another_block_aborts_though_its_word_is_not_at_hand,
    .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    (void)take_them_all(bufs);
    weir_buf_drop(&bufs[70]);
    expect_misuse(
        "weir: arena 'test': block 5: released with data of another block");

    bufs[5].data = bufs[6].data + 1;
    weir_buf_drop(&bufs[5]);
}

Test(misuse, data_of_another_block_aborts_in_a_drought, .signal = SIGABRT)
{
    struct weir_buf bufs[KEPT];
    struct weir_arena *arena = take_them_all(bufs);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    expect_misuse(
        "weir: arena 'test': block 5: released with data of another block");

    bufs[5].data = bufs[6].data + 1;
    weir_buf_drop(&bufs[5]);
}

Test(misuse, a_slot_past_the_last_of_its_word_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 70);
    struct weir_buf bufs[70];
    (void)take_to_the_end(arena, bufs, false);
    for (size_t i = 0; i < 69; i++)
        weir_buf_drop(&bufs[i]);
    expect_misuse("weir: arena 'test': block 70: *the arena has no such block");

    bufs[69].owner = wr_owner_pack(wr_owner_arena(bufs[69].owner), 70);
    weir_buf_drop(&bufs[69]);
}
