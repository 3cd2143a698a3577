/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"
#include "support/prng.h"

#include <stdatomic.h>

enum { LEAF = 256, SIZE = MIB };

static struct weir_arena *arena;
static pthread_barrier_t gate;

static void
start(size_t bytes, unsigned flags, unsigned threads)
{
    arena = open_buddy_with(LEAF, bytes, flags);
    cr_assert(zero(int, pthread_barrier_init(&gate, NULL, threads)));
}

/* ---- Merging ----------------------------------------------------------- */

enum { ROUNDS = 3000 };

static struct weir_buf halves[2];

static void *
drop_one_half(void *user)
{
    struct weir_buf *half = user;
    for (int i = 0; i < ROUNDS; i++) {
        (void)pthread_barrier_wait(&gate);
        weir_buf_drop(half);
        (void)pthread_barrier_wait(&gate);
    }
    return NULL;
}

/* In one word, and in two levels where the last of a word's cells come home. */
static void
drop_halves_at_once(size_t half)
{
    start(2 * half, WEIR_NO_CACHE, 3);
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        threads[i] = start_thread(drop_one_half, &halves[i]);

    for (int i = 0; i < ROUNDS; i++) {
        halves[0] = take_of(arena, half);
        halves[1] = take_of(arena, half);
        (void)pthread_barrier_wait(&gate);
        (void)pthread_barrier_wait(&gate);
        cr_assert(eq(int, ask_for(arena, 2 * half), WEIR_OK), "round %d", i);
    }

    for (size_t i = 0; i < 2; i++)
        join_thread(threads[i]);
    close_merged(&arena);
}

Test(buddy_threads, halves_that_come_home_at_once_merge)
{
    drop_halves_at_once(LEAF);
}

Test(buddy_threads, halves_of_a_word_that_come_home_at_once_merge)
{
    drop_halves_at_once(32 * LEAF);
}

Test(buddy_threads, halves_of_several_words_that_come_home_at_once_merge)
{
    drop_halves_at_once(64 * LEAF);
}

/* ---- Full -------------------------------------------------------------- */

static _Atomic uint64_t fulls;

static void *
hold_one_block(void *user)
{
    struct prng prng = { (uintptr_t)user };
    for (int i = 0; i < 20 * ROUNDS; i++) {
        struct weir_buf buf;
        size_t size = (size_t)LEAF << prng_below(&prng, 8);
        enum weir_status status = weir_arena_alloc(arena, size, &buf);
        if (status == WEIR_OK)
            weir_buf_drop(&buf);
        else
            atomic_fetch_add(&fulls, 1);
    }
    return NULL;
}

static void
hold_one_block_each(unsigned flags)
{
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    start(SIZE, flags, THREADS);

    for (size_t i = 0; i < THREADS; i++)
        threads[i] = start_thread(hold_one_block, (void *)(i + 1));
    for (size_t i = 0; i < THREADS; i++)
        join_thread(threads[i]);

    cr_assert(zero(u64, atomic_load(&fulls)));
    close_merged(&arena);
}

Test(buddy_threads, an_arena_that_is_nearly_empty_is_not_full)
{
    hold_one_block_each(WEIR_NO_CACHE);
}

Test(buddy_threads, an_arena_that_is_nearly_empty_is_not_full_with_shelves)
{
    hold_one_block_each(0);
}

/* ---- Churn ------------------------------------------------------------- */

static void *
churn(void *user)
{
    enum { HELD = 16, STEPS = 4000 };
    struct weir_slice held[HELD] = { { 0 } };
    struct prng prng = { (uintptr_t)user };
    for (int i = 0; i < STEPS; i++) {
        struct weir_slice *slice = &held[prng_below(&prng, HELD)];
        struct weir_buf buf;
        cr_assert(is_pattern(weir_slice_data(slice), 0, weir_slice_len(slice)));
        weir_slice_release(slice);
        size_t size = (size_t)LEAF << prng_below(&prng, 9);
        if (weir_arena_alloc(arena, size, &buf) != WEIR_OK)
            continue;
        write_pattern(&buf, 0, 1 + prng_below(&prng, 1000) % size);
        if (prng_below(&prng, 3) == 0) {
            weir_buf_drop(&buf);
            continue;
        }
        weir_buf_freeze(&buf, slice);
        if (prng_below(&prng, 3) == 0)
            (void)weir_slice_trim(slice);
    }
    for (size_t i = 0; i < HELD; i++)
        weir_slice_release(&held[i]);
    return NULL;
}

static void
churn_all(unsigned flags)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    start(SIZE, flags, THREADS);
    cr_log_info("seeds 1 to 8");

    for (size_t i = 0; i < THREADS; i++)
        threads[i] = start_thread(churn, (void *)(i + 1));
    for (size_t i = 0; i < THREADS; i++)
        join_thread(threads[i]);

    close_merged(&arena);
}

Test(buddy_threads, many_threads_leave_the_arena_whole)
{
    churn_all(0);
}

Test(buddy_threads, many_threads_without_shelves_leave_the_arena_whole)
{
    churn_all(WEIR_NO_CACHE);
}

Test(buddy_threads, many_threads_that_trim_at_each_freeze_leave_the_arena_whole)
{
    churn_all(WEIR_TRIM);
}
