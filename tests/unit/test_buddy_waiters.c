/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"
#include "support/prng.h"
#include "support/waiting.h"

enum { LEAF = 256, SIZE = 64 * KIB };

static struct weir_bell bell;
static struct guest guests[16];

/* Guest `i`, called by its letter, waits for so much. */
static void
wait_for(
    struct weir_arena *arena, size_t i, size_t size, enum weir_status wanted)
{
    invite(&guests[i], (char)('a' + i), &bell);
    cr_assert(eq(int, weir_arena_wait(arena, size, &guests[i].waiter), wanted));
}

/* An arena whose blocks of half its size are both out, and a bell. */
static struct weir_arena *
open_halved(struct weir_buf *halves)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    open_bell(&bell);
    halves[0] = take_of(arena, SIZE / 2);
    halves[1] = take_of(arena, SIZE / 2);
    return arena;
}

static void
expect_granted(size_t i, size_t size)
{
    cr_assert(eq(int, guests[i].runs, 1));
    cr_assert(eq(int, guests[i].status, WEIR_OK));
    cr_assert(eq(sz, weir_buf_room(&guests[i].waiter.buf), size));
}

static void
drop_guest(size_t i)
{
    weir_buf_drop(&guests[i].waiter.buf);
}

static void
end(struct weir_arena *arena)
{
    weir_bell_fini(&bell);
    close_merged(&arena);
}

Test(buddy_waiters, a_wait_that_finds_a_block_has_it_at_once)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    open_bell(&bell);

    wait_for(arena, 0, 5000, WEIR_OK);

    cr_assert(eq(sz, weir_buf_room(&guests[0].waiter.buf), 8192));
    expect_sound(arena, 8192);
    drop_guest(0);
    end(arena);
}

Test(buddy_waiters, a_wait_for_more_than_there_ever_is_fails_at_once)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);

    wait_for(arena, 0, SIZE + 1, WEIR_TOO_LARGE);
    wait_for(arena, 0, SIZE_MAX, WEIR_TOO_LARGE);

    cr_assert(zero(u64, stats_of(arena).waiting));
    weir_buf_drop(&halves[0]);
    weir_buf_drop(&halves[1]);
    end(arena);
}

Test(buddy_waiters, a_large_request_is_served_when_enough_has_merged)
{
    enum { COUNT = SIZE / LEAF };
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf bufs[COUNT];
    open_bell(&bell);
    for (size_t i = 0; i < COUNT; i++)
        bufs[i] = take_of(arena, LEAF);
    wait_for(arena, 0, SIZE, WEIR_PENDING);

    for (size_t i = 0; i < COUNT; i++) {
        cr_assert(zero(sz, weir_bell_drain(&bell, 0)));
        expect_sound(arena, (COUNT - i) * LEAF);
        weir_buf_drop(&bufs[i * 37 % COUNT]);
    }

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_granted(0, SIZE);
    expect_sound(arena, SIZE);
    drop_guest(0);
    end(arena);
}

Test(buddy_waiters, small_allocs_do_not_overtake_a_large_request)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    struct weir_buf buf;
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    weir_buf_drop(&halves[0]);

    cr_assert(eq(int, weir_arena_alloc(arena, LEAF, &buf), WEIR_FULL));
    cr_assert(eq(int, weir_arena_alloc(arena, SIZE / 2, &buf), WEIR_FULL));
    cr_assert(eq(sz, weir_arena_largest_free(arena), SIZE / 2));
    expect_sound(arena, SIZE / 2);

    weir_buf_drop(&halves[1]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_granted(0, SIZE);
    drop_guest(0);
    end(arena);
}

Test(buddy_waiters, small_waiters_do_not_overtake_a_large_one)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    wait_for(arena, 1, LEAF, WEIR_PENDING);
    wait_for(arena, 2, SIZE / 2, WEIR_PENDING);

    weir_buf_drop(&halves[0]);
    cr_assert(zero(sz, weir_bell_drain(&bell, 0)));
    weir_buf_drop(&halves[1]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("a");
    drop_guest(0);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("abc");

    expect_granted(1, LEAF);
    expect_granted(2, SIZE / 2);
    expect_sound(arena, SIZE / 2 + LEAF);
    drop_guest(1);
    drop_guest(2);
    end(arena);
}

Test(buddy_waiters,
    a_large_request_is_not_starved_by_small_ones_that_come_and_go)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    struct weir_buf small[4];
    weir_buf_drop(&halves[1]);
    for (size_t i = 0; i < 4; i++)
        small[i] = take_of(arena, LEAF);
    wait_for(arena, 0, SIZE, WEIR_PENDING);

    for (size_t i = 0; i < 4; i++) {
        struct weir_buf buf;
        weir_buf_drop(&small[i]);
        cr_assert(eq(int, weir_arena_alloc(arena, LEAF, &buf), WEIR_FULL));
    }
    weir_buf_drop(&halves[0]);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_granted(0, SIZE);
    drop_guest(0);
    end(arena);
}

Test(buddy_waiters, one_release_serves_as_many_as_it_can_in_order)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    static const size_t sizes[] = { LEAF, SIZE / 4, 300, SIZE / 8, SIZE / 4,
        LEAF };
    for (size_t i = 0; i < 6; i++)
        wait_for(arena, i, sizes[i], WEIR_PENDING);

    weir_buf_drop(&halves[0]);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 4));
    expect_served("abcd");
    expect_sound(arena, SIZE / 2 + LEAF + SIZE / 4 + 512 + SIZE / 8);
    weir_buf_drop(&halves[1]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("abcdef");
    for (size_t i = 0; i < 6; i++)
        drop_guest(i);
    end(arena);
}

Test(buddy_waiters, barging_overtakes)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    struct weir_buf buf;
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    weir_buf_drop(&halves[0]);

    cr_assert(eq(int, weir_arena_alloc_barge(arena, SIZE, &buf), WEIR_FULL));
    cr_assert(eq(int, weir_arena_alloc_barge(arena, LEAF, &buf), WEIR_OK));
    weir_buf_drop(&halves[1]);
    cr_assert(zero(sz, weir_bell_drain(&bell, 0)));
    expect_sound(arena, LEAF);

    weir_buf_drop(&buf);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_granted(0, SIZE);
    drop_guest(0);
    end(arena);
}

/* ---- Cancelling -------------------------------------------------------- */

Test(buddy_waiters,
    who_was_behind_a_large_request_is_served_when_that_is_cancelled)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    wait_for(arena, 1, LEAF, WEIR_PENDING);
    wait_for(arena, 2, SIZE / 4, WEIR_PENDING);
    wait_for(arena, 3, SIZE, WEIR_PENDING);
    wait_for(arena, 4, LEAF, WEIR_PENDING);
    weir_buf_drop(&halves[0]);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("bc");
    expect_sound(arena, SIZE / 2 + LEAF + SIZE / 4);
    cr_assert(eq(int, weir_waiter_cancel(&guests[3].waiter), WEIR_OK));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("bce");
    cr_assert(zero(u64, stats_of(arena).waiting));
    weir_buf_drop(&halves[1]);
    drop_guest(1);
    drop_guest(2);
    drop_guest(4);
    end(arena);
}

Test(
    buddy_waiters, allocs_find_blocks_again_when_the_large_request_is_cancelled)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    weir_buf_drop(&halves[0]);
    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_OK));
    cr_assert(eq(int, ask_for(arena, SIZE / 2), WEIR_OK));
    cr_assert(eq(int, ask_for(arena, SIZE), WEIR_FULL));
    weir_buf_drop(&halves[1]);
    end(arena);
}

Test(buddy_waiters, cancelling_one_in_the_middle_lets_nobody_overtake)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    wait_for(arena, 1, SIZE, WEIR_PENDING);
    wait_for(arena, 2, LEAF, WEIR_PENDING);
    weir_buf_drop(&halves[0]);

    cr_assert(eq(int, weir_waiter_cancel(&guests[1].waiter), WEIR_OK));

    cr_assert(zero(sz, weir_bell_drain(&bell, 0)));
    weir_buf_drop(&halves[1]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("a");
    drop_guest(0);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("ac");
    drop_guest(2);
    end(arena);
}

Test(buddy_waiters, a_block_of_one_who_was_told_and_cancelled_goes_to_the_next)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    wait_for(arena, 0, SIZE / 2, WEIR_PENDING);
    wait_for(arena, 1, LEAF, WEIR_PENDING);
    wait_for(arena, 2, SIZE / 4, WEIR_PENDING);
    weir_buf_drop(&halves[0]);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("bc");
    expect_sound(arena, SIZE / 2 + LEAF + SIZE / 4);
    weir_buf_drop(&halves[1]);
    drop_guest(1);
    drop_guest(2);
    end(arena);
}

/* Nobody is lost, served twice or overtaken, whoever cancels. */
Test(buddy_waiters, waiting_and_cancelling_at_random_loses_nobody)
{
    enum { ROUNDS = 300, GUESTS = 6 };
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct prng prng = { 7 };
    cr_log_info("seed 7");
    open_bell(&bell);

    for (int round = 0; round < ROUNDS; round++) {
        struct weir_buf held[4] = { { 0 } };
        bool pending[GUESTS] = { false };
        size_t wanted = 0;
        for (size_t i = 0; i < 4; i++)
            held[i] = take_of(arena, SIZE / 4);
        memset(&served, 0, sizeof served);
        for (size_t i = 0; i < GUESTS; i++) {
            invite(&guests[i], (char)('a' + i), &bell);
            guests[i].hurries = true;
            size_t size = (size_t)SIZE >> prng_below(&prng, 9);
            enum weir_status status =
                weir_arena_wait(arena, size, &guests[i].waiter);
            cr_assert(eq(int, status, WEIR_PENDING));
            pending[i] = true;
        }
        for (size_t i = 0; i < 4; i++) {
            size_t who = prng_below(&prng, GUESTS);
            if (prng_below(&prng, 2) != 0 &&
                weir_waiter_cancel(&guests[who].waiter) == WEIR_OK)
                pending[who] = guests[who].runs != 0;
            weir_buf_drop(&held[i]);
            (void)weir_bell_drain(&bell, prng_below(&prng, 3));
        }
        while (weir_bell_drain(&bell, 0) != 0)
            continue;
        for (size_t i = 0; i < GUESTS; i++) {
            wanted += pending[i];
            cr_assert(eq(int, guests[i].runs, pending[i]));
        }
        cr_assert(eq(sz, served.count, wanted));
        for (size_t i = 1; i < served.count; i++)
            cr_assert(lt(int, served.names[i - 1], served.names[i]));
        expect_sound(arena, 0);
    }

    end(arena);
}

/* ---- Ends -------------------------------------------------------------- */

Test(buddy_waiters, closing_tells_everybody_whatever_they_wait_for)
{
    struct weir_buf halves[2];
    struct weir_arena *arena = open_halved(halves);
    wait_for(arena, 0, SIZE, WEIR_PENDING);
    wait_for(arena, 1, LEAF, WEIR_PENDING);
    weir_buf_drop(&halves[0]);

    weir_arena_close(arena);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("ab");
    cr_assert(eq(int, guests[0].status, WEIR_CLOSED));
    cr_assert(eq(int, guests[1].status, WEIR_CLOSED));
    wait_for(arena, 2, LEAF, WEIR_CLOSED);
    weir_buf_drop(&halves[1]);
    end(arena);
}

Test(buddy_waiters, a_waiter_is_served_from_what_idle_threads_keep)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    open_bell(&bell);
    for (size_t size = LEAF; size <= 4096; size *= 2)
        cr_assert(eq(int, ask_for(arena, size), WEIR_OK));
    cr_assert(gt(u64, stats_of(arena).bytes_cached, 0));

    wait_for(arena, 0, SIZE, WEIR_OK);

    expect_sound(arena, SIZE);
    drop_guest(0);
    end(arena);
}

Test(buddy_waiters, a_waiter_may_be_served_from_the_heap)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, SIZE, WEIR_NO_CACHE | WEIR_SPILL_FULL);
    open_bell(&bell);
    struct weir_buf bufs[2] = { take_of(arena, SIZE), take_of(arena, SIZE) };
    wait_for(arena, 0, 5000, WEIR_PENDING);

    weir_buf_drop(&bufs[1]);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_granted(0, 8192);
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 8192));
    weir_buf_drop(&bufs[0]);
    drop_guest(0);
    end(arena);
}
