/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "support/unit.h"
#include "support/waiting.h"

#include <signal.h>

enum { GUESTS = 6 };

static struct weir_bell bell;
static struct guest guests[GUESTS];
static struct weir_buf held[GUESTS];

/* An arena without a free block, and guests in its queue. */
static struct weir_arena *
open_queue(void)
{
    struct weir_arena *arena = open_arena(64, GUESTS);
    open_bell(&bell);
    for (size_t i = 0; i < GUESTS; i++)
        held[i] = take(arena);
    queue_guests(arena, &bell, guests, GUESTS);
    return arena;
}

static void
drop_held(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        weir_buf_drop(&held[i]);
}

static void
end(struct weir_arena *arena)
{
    for (size_t i = 0; i < GUESTS; i++)
        weir_buf_drop(&guests[i].waiter.buf);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(bell, init_sets_all_whatever_was_there)
{
    static char user[] = "user";
    memset(&bell, 0xff, sizeof bell);

    weir_bell_init(&bell, note_ring, user);

    cr_assert(eq(ptr, bell.user, user));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    cr_assert(eq(int, served.rings, 0));
    weir_bell_fini(&bell);
    no_leaks();
}

Test(bell, can_be_made_again_after_its_end)
{
    open_bell(&bell);
    weir_bell_fini(&bell);
    open_bell(&bell);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    weir_bell_fini(&bell);
}

Test(bell, rings_once_for_any_number_of_waiters)
{
    struct weir_arena *arena = open_queue();

    drop_held(0, GUESTS);

    cr_assert(eq(int, served.rings, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), GUESTS));
    cr_assert(eq(int, served.rings, 1));
    expect_served("abcdef");
    end(arena);
}

Test(bell, rings_again_after_a_drain_has_begun)
{
    struct weir_arena *arena = open_queue();

    drop_held(0, 2);
    cr_assert(eq(int, served.rings, 1));
    (void)weir_bell_drain(&bell, 0);
    drop_held(2, GUESTS);

    cr_assert(eq(int, served.rings, 2));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 4));
    end(arena);
}

Test(bell, a_drain_stops_at_its_maximum_and_rings_for_the_rest)
{
    struct weir_arena *arena = open_queue();
    drop_held(0, GUESTS);

    cr_assert(eq(sz, weir_bell_drain(&bell, 2), 2));
    expect_served("ab");
    cr_assert(eq(int, served.rings, 2));
    cr_assert(eq(sz, weir_bell_drain(&bell, 1), 1));
    cr_assert(eq(int, served.rings, 3));
    cr_assert(eq(sz, weir_bell_drain(&bell, 3), 3));
    cr_assert(eq(int, served.rings, 3));
    cr_assert(eq(sz, weir_bell_drain(&bell, 1), 0));

    expect_served("abcdef");
    end(arena);
}

Test(bell, a_maximum_above_what_is_there_is_fine)
{
    struct weir_arena *arena = open_queue();
    drop_held(0, GUESTS);

    cr_assert(eq(sz, weir_bell_drain(&bell, SIZE_MAX), GUESTS));

    end(arena);
}

Test(bell, a_drain_without_a_ring_does_nothing)
{
    struct weir_arena *arena = open_queue();

    for (int i = 0; i < 10; i++)
        cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    cr_assert(eq(int, served.rings, 0));
    drop_held(0, GUESTS);

    cr_assert(eq(int, served.rings, 1));
    (void)weir_bell_drain(&bell, 0);
    end(arena);
}

Test(bell, who_is_told_during_a_drain_is_rung_for_and_runs_in_the_next)
{
    struct weir_arena *arena = open_queue();
    for (size_t i = 0; i < GUESTS; i++)
        guests[i].hurries = true;
    drop_held(0, 1);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("a");
    cr_assert(eq(int, served.rings, 2));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("ab");
    cr_assert(eq(int, served.rings, 3));

    drop_held(1, GUESTS);
    while (weir_bell_drain(&bell, 0) > 0)
        ;
    expect_served("abcdef");
    end(arena);
}

Test(bell, a_drain_of_many_that_hurry_ends)
{
    struct weir_arena *arena = open_queue();
    for (size_t i = 0; i < GUESTS; i++)
        guests[i].hurries = true;
    drop_held(0, 3);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 3));
    expect_served("abc");
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 3));

    expect_served("abcdef");
    drop_held(3, GUESTS);
    end(arena);
}

Test(bell, one_serves_waiters_of_several_arenas_in_the_order_of_telling)
{
    struct weir_arena *arena = open_queue();
    struct weir_arena *other = open_arena(64, 1);
    struct weir_buf block = take(other);
    struct guest guest;
    invite(&guest, 'z', &bell);
    expect_wait(other, &guest, WEIR_PENDING);

    drop_held(0, 2);
    weir_buf_drop(&block);
    drop_held(2, GUESTS);

    cr_assert(eq(int, served.rings, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), GUESTS + 1));
    expect_served("abzcdef");
    weir_buf_drop(&guest.waiter.buf);
    close_whole(&other);
    end(arena);
}

Test(bell, each_drains_its_own_waiters_only)
{
    struct weir_bell second;
    struct weir_arena *arena = open_arena(64, 2);
    held[0] = take(arena);
    held[1] = take(arena);
    open_bell(&bell);
    open_bell(&second);
    invite(&guests[0], 'a', &bell);
    invite(&guests[1], 'b', &second);
    expect_wait(arena, &guests[0], WEIR_PENDING);
    expect_wait(arena, &guests[1], WEIR_PENDING);

    drop_held(0, 2);

    cr_assert(eq(int, served.rings, 2));
    cr_assert(eq(sz, weir_bell_drain(&second, 0), 1));
    expect_served("b");
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("ba");
    weir_bell_fini(&second);
    end(arena);
}

Test(bell, a_cancelled_waiter_leaves_a_ring_and_nothing_to_do)
{
    struct weir_arena *arena = open_arena(64, 1);
    held[0] = take(arena);
    open_bell(&bell);
    queue_guests(arena, &bell, guests, 1);
    drop_held(0, 1);
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(int, served.rings, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    weir_bell_fini(&bell);

    close_whole(&arena);
}

Test(bell, told_waiters_may_be_cancelled_at_either_end_and_between)
{
    struct weir_arena *arena = open_queue();
    drop_held(0, GUESTS);

    cr_assert(eq(int, weir_waiter_cancel(&guests[2].waiter), WEIR_OK));
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    cr_assert(eq(int, weir_waiter_cancel(&guests[5].waiter), WEIR_OK));

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 3));
    expect_served("bde");
    end(arena);
}

struct ringing {
    struct weir_bell bell;
    pthread_t thread;
};

static void
note_thread(struct weir_bell *rung)
{
    struct ringing *ringing = rung->user;
    ringing->thread = pthread_self();
}

static void *
drop_there(void *user)
{
    weir_buf_drop(user);
    return NULL;
}

Test(bell, rings_on_the_thread_that_releases)
{
    struct ringing ringing;
    struct weir_arena *arena = open_arena(64, 1);
    held[0] = take(arena);
    weir_bell_init(&ringing.bell, note_thread, &ringing);
    invite(&guests[0], 'a', &ringing.bell);
    expect_wait(arena, &guests[0], WEIR_PENDING);

    pthread_t other = start_thread(drop_there, &held[0]);
    join_thread(other);

    cr_assert(ne(int, pthread_equal(ringing.thread, other), 0));
    cr_assert(eq(sz, weir_bell_drain(&ringing.bell, 0), 1));
    weir_buf_drop(&guests[0].waiter.buf);
    weir_bell_fini(&ringing.bell);
    close_whole(&arena);
}

Test(misuse, a_bell_ended_before_its_waiters_ran_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_queue();
    (void)arena;
    drop_held(0, 1);
    expect_misuse("weir: a bell was ended before its waiters ran");

    weir_bell_fini(&bell);
}
