/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "support/misuse.h"
#include "support/unit.h"
#include "support/waiting.h"

#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

static struct weir_bell bell;
static struct guest guests[8];

/* A full arena of `count` blocks, which are in `held`. */
static struct weir_arena *
open_full(size_t count, struct weir_buf *held)
{
    struct weir_arena *arena = open_arena(64, count);
    open_bell(&bell);
    for (size_t i = 0; i < count; i++)
        held[i] = take(arena);
    return arena;
}

static void
end(struct weir_arena *arena)
{
    weir_bell_fini(&bell);
    close_whole(&arena);
}

/* A block goes home as if its releaser had looked around before the first waiter
   came: it found the arena dry, if it was, and nobody waiting. */
static void
give_quietly(struct weir_arena *arena, struct weir_buf *buf)
{
    struct wr_bitmap_hint hint = { 0 };
    wr_store_relaxed(wr_arena_refs(buf->word, buf->owner), 0);
    cr_assert(wr_fixed_give(&arena->fixed, &hint, wr_owner_slot(buf->owner)));
    (void)wr_and_relaxed(&arena->state, ~(uint32_t)(WR_SEARCHING | WR_DRY));
    wr_arena_count(arena, WR_RELEASES, 1);
    *buf = (struct weir_buf){ 0 };
}

/* ---- Asking ------------------------------------------------------------ */

Test(waiters, a_wait_that_finds_a_block_has_it_at_once)
{
    struct weir_arena *arena = open_arena(64, 1);
    open_bell(&bell);
    invite(&guests[0], 'a', &bell);

    expect_wait(arena, &guests[0], WEIR_OK);

    cr_assert(eq(sz, weir_buf_room(&guests[0].waiter.buf), 64));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    cr_assert(eq(int, guests[0].runs, 0));
    cr_assert(eq(int, served.rings, 0));
    cr_assert(eq(u64, stats_of(arena).waits, 0));
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

Test(waiters, a_wait_on_a_full_arena_is_granted_when_a_block_comes_back)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    const void *memory = weir_buf_tail(&held);
    queue_guests(arena, &bell, guests, 1);
    cr_assert(eq(u64, stats_of(arena).waiting, 1));

    weir_buf_drop(&held);

    cr_assert(eq(int, served.rings, 1));
    cr_assert(eq(int, guests[0].runs, 0));
    cr_assert(eq(u64, stats_of(arena).waiting, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    cr_assert(eq(int, guests[0].runs, 1));
    cr_assert(eq(int, guests[0].status, WEIR_OK));
    struct weir_buf *buf = &guests[0].waiter.buf;
    cr_assert(eq(ptr, weir_buf_tail(buf), (void *)(uintptr_t)memory));
    cr_assert(eq(sz, weir_buf_room(buf), 64));
    cr_assert(eq(sz, weir_buf_len(buf), 0));
    weir_buf_drop(buf);
    end(arena);
}

Test(waiters, a_granted_buf_can_be_written_prepended_and_frozen)
{
    struct weir_buf held;
    struct weir_slice slice;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);
    struct weir_buf *buf = &guests[0].waiter.buf;

    cr_assert(eq(int, weir_buf_headroom(buf, 4), WEIR_OK));
    cr_assert(eq(int, weir_buf_write(buf, "dam", 3), WEIR_OK));
    cr_assert(eq(int, weir_buf_prepend(buf, "weir", 4), WEIR_OK));
    weir_buf_freeze(buf, &slice);

    cr_assert(eq(sz, weir_slice_len(&slice), 7));
    cr_assert(zero(int, memcmp(weir_slice_data(&slice), "weirdam", 7)));
    weir_slice_release(&slice);
    end(arena);
}

Test(waiters, a_slice_released_grants_as_a_buf_dropped_does)
{
    struct weir_buf held;
    struct weir_slice slice;
    struct weir_slice clone;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    cr_assert(eq(int, weir_buf_write(&held, "weir", 4), WEIR_OK));
    weir_buf_freeze(&held, &slice);
    weir_slice_clone(&slice, &clone);

    weir_slice_release(&slice);
    cr_assert(eq(int, served.rings, 0));
    weir_slice_release(&clone);

    cr_assert(eq(int, served.rings, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

Test(waiters, a_waiter_without_a_bell_or_granted_is_invalid)
{
    struct weir_arena *arena = open_arena(64, 1);
    open_bell(&bell);

    invite(&guests[0], 'a', NULL);
    expect_wait(arena, &guests[0], WEIR_INVALID);
    invite(&guests[0], 'a', &bell);
    guests[0].waiter.granted = NULL;
    expect_wait(arena, &guests[0], WEIR_INVALID);

    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    end(arena);
}

Test(waiters, a_wait_for_too_much_fails_at_once_full_or_not)
{
    struct weir_arena *arena = open_arena(64, 1);
    open_bell(&bell);
    invite(&guests[0], 'a', &bell);
    struct weir_waiter *waiter = &guests[0].waiter;

    cr_assert(eq(int, weir_arena_wait(arena, 65, waiter), WEIR_TOO_LARGE));
    cr_assert(
        eq(int, weir_arena_wait(arena, SIZE_MAX, waiter), WEIR_TOO_LARGE));
    struct weir_buf held = take(arena);
    cr_assert(eq(int, weir_arena_wait(arena, 65, waiter), WEIR_TOO_LARGE));
    cr_assert(eq(int, weir_arena_wait(arena, ((size_t)1 << 63) + 1, waiter),
        WEIR_TOO_LARGE));

    cr_assert(eq(u64, stats_of(arena).waiting, 0));
    weir_buf_drop(&held);
    end(arena);
}

Test(waiters, a_wait_on_a_closed_arena_fails_at_once)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    invite(&guests[0], 'a', &bell);
    weir_arena_close(arena);

    expect_wait(arena, &guests[0], WEIR_CLOSED);
    weir_buf_drop(&held);
    expect_wait(arena, &guests[0], WEIR_CLOSED);

    cr_assert(eq(int, served.rings, 0));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    end(arena);
}

Test(waiters, every_size_up_to_the_block_may_be_waited_for)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    invite(&guests[0], 'a', &bell);
    invite(&guests[1], 'b', &bell);

    cr_assert(
        eq(int, weir_arena_wait(arena, 1, &guests[0].waiter), WEIR_PENDING));
    cr_assert(
        eq(int, weir_arena_wait(arena, 64, &guests[1].waiter), WEIR_PENDING));
    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);
    cr_assert(eq(sz, weir_buf_room(&guests[0].waiter.buf), 64));
    weir_buf_drop(&guests[0].waiter.buf);
    (void)weir_bell_drain(&bell, 0);
    weir_buf_drop(&guests[1].waiter.buf);

    expect_served("ab");
    end(arena);
}

/* ---- Order ------------------------------------------------------------- */

Test(waiters, first_come_is_first_served)
{
    struct weir_buf held[5];
    struct weir_arena *arena = open_full(5, held);
    queue_guests(arena, &bell, guests, 5);

    for (size_t i = 0; i < 5; i++)
        weir_buf_drop(&held[4 - i]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 5));

    expect_served("abcde");
    for (size_t i = 0; i < 5; i++)
        weir_buf_drop(&guests[i].waiter.buf);
    end(arena);
}

Test(waiters, one_block_that_comes_back_serves_one)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 3);

    weir_buf_drop(&held);
    cr_assert(eq(u64, stats_of(arena).waiting, 2));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    expect_served("a");

    weir_buf_drop(&guests[0].waiter.buf);
    (void)weir_bell_drain(&bell, 0);
    expect_served("ab");
    weir_buf_drop(&guests[1].waiter.buf);
    (void)weir_bell_drain(&bell, 0);
    expect_served("abc");
    weir_buf_drop(&guests[2].waiter.buf);
    end(arena);
}

Test(waiters, alloc_does_not_overtake_who_waits_and_barge_does)
{
    struct weir_buf held[2];
    struct weir_buf buf;
    struct weir_arena *arena = open_full(2, held);
    queue_guests(arena, &bell, guests, 1);
    give_quietly(arena, &held[0]);

    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &buf), WEIR_OK));
    cr_assert(eq(int, guests[0].runs, 0));

    weir_buf_drop(&buf);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("a");
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&held[1]);
    end(arena);
}

Test(waiters, a_later_wait_does_not_overtake_an_earlier_one)
{
    struct weir_buf held[2];
    struct weir_arena *arena = open_full(2, held);
    queue_guests(arena, &bell, guests, 1);
    give_quietly(arena, &held[0]);

    invite(&guests[1], 'b', &bell);
    expect_wait(arena, &guests[1], WEIR_PENDING);
    wr_arena_attend(arena, wr_arena_end_search(arena));
    weir_buf_drop(&held[1]);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("ab");
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&guests[1].waiter.buf);
    end(arena);
}

Test(waiters, after_the_last_waiter_is_served_alloc_takes_again)
{
    struct weir_buf held[2];
    struct weir_arena *arena = open_full(2, held);
    queue_guests(arena, &bell, guests, 1);

    weir_buf_drop(&held[0]);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    weir_buf_drop(&held[1]);
    cr_assert(eq(int, ask(arena), WEIR_OK));

    (void)weir_bell_drain(&bell, 0);
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

Test(waiters, a_barging_alloc_does_not_cost_a_waiter_its_place)
{
    struct weir_buf held[2];
    struct weir_buf barged;
    struct weir_arena *arena = open_full(2, held);
    queue_guests(arena, &bell, guests, 3);
    give_quietly(arena, &held[0]);
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &barged), WEIR_OK));

    weir_buf_drop(&barged);
    weir_buf_drop(&held[1]);
    (void)weir_bell_drain(&bell, 0);
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&guests[1].waiter.buf);
    (void)weir_bell_drain(&bell, 0);

    expect_served("abc");
    weir_buf_drop(&guests[2].waiter.buf);
    end(arena);
}

Test(waiters, who_waits_again_stands_at_the_end)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 2);

    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);
    struct weir_buf first = guests[0].waiter.buf;
    expect_wait(arena, &guests[0], WEIR_PENDING);
    weir_buf_drop(&first);
    (void)weir_bell_drain(&bell, 0);
    weir_buf_drop(&guests[1].waiter.buf);
    (void)weir_bell_drain(&bell, 0);

    expect_served("aba");
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

/* ---- Cancelling -------------------------------------------------------- */

Test(waiters, a_cancelled_waiter_never_runs_and_the_others_keep_their_order)
{
    static const char *const rests[] = { "bcde", "acde", "abde", "abce",
        "abcd" };

    for (size_t gone = 0; gone < 5; gone++) {
        struct weir_buf held[5];
        struct weir_arena *arena = open_full(5, held);
        memset(&served, 0, sizeof served);
        queue_guests(arena, &bell, guests, 5);

        cr_assert(eq(int, weir_waiter_cancel(&guests[gone].waiter), WEIR_OK));
        cr_assert(eq(u64, stats_of(arena).waiting, 4));
        for (size_t i = 0; i < 5; i++)
            weir_buf_drop(&held[i]);
        (void)weir_bell_drain(&bell, 0);

        expect_served(rests[gone]);
        cr_assert(eq(int, guests[gone].runs, 0));
        for (size_t i = 0; i < 5; i++)
            if (i != gone)
                weir_buf_drop(&guests[i].waiter.buf);
        end(arena);
    }
}

Test(waiters, after_the_last_waiter_is_cancelled_alloc_takes_again)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 2);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    cr_assert(eq(int, weir_waiter_cancel(&guests[1].waiter), WEIR_OK));
    weir_buf_drop(&held);

    cr_assert(eq(int, served.rings, 0));
    cr_assert(eq(int, ask(arena), WEIR_OK));
    end(arena);
}

Test(waiters, a_told_waiter_that_is_cancelled_passes_its_block_on_in_order)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 3);
    weir_buf_drop(&held);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    cr_assert(eq(u64, stats_of(arena).waiting, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    expect_served("b");
    weir_buf_drop(&guests[1].waiter.buf);
    (void)weir_bell_drain(&bell, 0);
    expect_served("bc");
    cr_assert(eq(int, guests[0].runs, 0));
    weir_buf_drop(&guests[2].waiter.buf);
    end(arena);
}

Test(waiters, a_told_waiter_that_is_cancelled_last_gives_its_block_back)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    cr_assert(zero(ptr, guests[0].waiter.buf.data));
    cr_assert(eq(int, ask(arena), WEIR_OK));
    end(arena);
}

static void
cancel_itself(struct weir_waiter *waiter, enum weir_status status)
{
    note_granted(waiter, status);
    struct guest *guest = waiter->user;
    guest->status = weir_waiter_cancel(waiter);
}

Test(waiters, a_waiter_that_runs_or_has_run_cannot_be_cancelled)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    invite(&guests[0], 'a', &bell);
    guests[0].waiter.granted = cancel_itself;
    expect_wait(arena, &guests[0], WEIR_PENDING);
    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);

    cr_assert(eq(int, guests[0].status, WEIR_PENDING));
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_PENDING));
    cr_assert(eq(u64, stats_of(arena).cancels, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

Test(waiters, a_waiter_that_is_not_queued_can_always_be_cancelled)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_waiter zeroed = { 0 };
    open_bell(&bell);
    invite(&guests[0], 'a', &bell);

    cr_assert(eq(int, weir_waiter_cancel(&zeroed), WEIR_OK));
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    expect_wait(arena, &guests[0], WEIR_OK);
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    struct weir_buf held = guests[0].waiter.buf;
    cr_assert(
        eq(int, weir_arena_wait(arena, 65, &guests[0].waiter), WEIR_TOO_LARGE));
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    expect_wait(arena, &guests[0], WEIR_PENDING);
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).cancels, 1));
    weir_buf_drop(&held);
    end(arena);
}

Test(misuse, a_waiter_queued_twice_aborts, .signal = SIGABRT)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);

    expect_misuse("weir: arena 'test': a waiter was queued twice");
    expect_wait(arena, &guests[0], WEIR_PENDING);
}

Test(misuse, a_waiter_told_and_queued_again_aborts, .signal = SIGABRT)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);

    expect_misuse("weir: arena 'test': a waiter was queued twice");
    expect_wait(arena, &guests[0], WEIR_PENDING);
}

Test(waiters, a_waiter_that_ran_and_lost_its_bell_can_be_cancelled)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);
    weir_buf_drop(&guests[0].waiter.buf);

    guests[0].waiter.bell = NULL;
    expect_wait(arena, &guests[0], WEIR_INVALID);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    end(arena);
}

Test(waiters, a_waiter_that_ran_can_be_cancelled_after_its_bell_ended)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);
    weir_buf_drop(&guests[0].waiter.buf);
    weir_bell_fini(&bell);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_PENDING));
    close_whole(&arena);
}

Test(waiters, a_waiter_served_at_once_can_be_cancelled_after_its_bell_ended)
{
    struct weir_arena *arena = open_arena(64, 1);
    open_bell(&bell);
    invite(&guests[0], 'a', &bell);
    expect_wait(arena, &guests[0], WEIR_OK);
    weir_buf_drop(&guests[0].waiter.buf);
    weir_bell_fini(&bell);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    close_whole(&arena);
}

Test(waiters, a_cancelled_waiter_can_wait_again)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 1);
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    expect_wait(arena, &guests[0], WEIR_PENDING);
    weir_buf_drop(&held);
    (void)weir_bell_drain(&bell, 0);

    expect_served("a");
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

/* ---- Closing ----------------------------------------------------------- */

Test(waiters, closing_tells_every_waiter_once_and_gives_them_nothing)
{
    struct weir_buf held[2];
    struct weir_arena *arena = open_full(2, held);
    queue_guests(arena, &bell, guests, 4);

    weir_arena_close(arena);
    weir_arena_close(arena);
    weir_buf_drop(&held[0]);

    cr_assert(eq(int, served.rings, 1));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 4));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    expect_served("abcd");
    for (size_t i = 0; i < 4; i++) {
        cr_assert(eq(int, guests[i].status, WEIR_CLOSED));
        cr_assert(zero(ptr, guests[i].waiter.buf.data));
    }
    cr_assert(eq(u64, stats_of(arena).waiting, 0));
    cr_assert(eq(u64, stats_of(arena).grants, 0));
    weir_buf_drop(&held[1]);
    end(arena);
}

Test(waiters, who_was_granted_before_the_close_has_the_block)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 2);
    weir_buf_drop(&held);

    weir_arena_close(arena);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));

    cr_assert(eq(int, guests[0].status, WEIR_OK));
    cr_assert(eq(int, guests[1].status, WEIR_CLOSED));
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

Test(waiters, who_was_told_of_the_close_can_still_be_cancelled)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 2);
    weir_arena_close(arena);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));

    expect_served("b");
    weir_buf_drop(&held);
    end(arena);
}

Test(waiters, destroying_tells_every_waiter_and_bells_outlive_the_arena)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 3);

    weir_arena_destroy(&arena);
    weir_buf_drop(&held);

    cr_assert(eq(int, weir_waiter_cancel(&guests[1].waiter), WEIR_OK));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("ac");
    cr_assert(eq(int, guests[0].status, WEIR_CLOSED));
    weir_bell_fini(&bell);
    no_leaks();
}

Test(waiters, a_granted_block_keeps_a_destroyed_arena_mapped)
{
    struct weir_buf held;
    struct iovec memory;
    struct weir_arena *arena = open_full(1, &held);
    weir_arena_memory(arena, &memory);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);

    weir_arena_destroy(&arena);
    cr_assert(is_readable(memory.iov_base));
    (void)weir_bell_drain(&bell, 0);
    cr_assert(eq(int, guests[0].status, WEIR_OK));
    weir_buf_drop(&guests[0].waiter.buf);

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    weir_bell_fini(&bell);
    no_leaks();
}

Test(waiters, cancelling_the_last_granted_block_unmaps_a_destroyed_arena)
{
    struct weir_buf held;
    struct iovec memory;
    struct weir_arena *arena = open_full(1, &held);
    weir_arena_memory(arena, &memory);
    queue_guests(arena, &bell, guests, 1);
    weir_buf_drop(&held);
    weir_arena_destroy(&arena);

    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    weir_bell_fini(&bell);
    no_leaks();
}

/* ---- What `granted` may do --------------------------------------------- */

static void
free_itself(struct weir_waiter *waiter, enum weir_status status)
{
    struct guest *guest = waiter->user;
    note_granted(waiter, status);
    weir_buf_drop(&waiter->buf);
    free(guest);
}

Test(waiters, granted_may_free_its_waiter)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    for (char name = 'a'; name < 'd'; name++) {
        struct guest *guest = malloc(sizeof *guest);
        invite(guest, name, &bell);
        guest->waiter.granted = free_itself;
        expect_wait(arena, guest, WEIR_PENDING);
    }

    weir_buf_drop(&held);
    while (weir_bell_drain(&bell, 0) > 0)
        ;

    expect_served("abc");
    end(arena);
}

static void
wait_again(struct weir_waiter *waiter, enum weir_status status)
{
    struct guest *guest = waiter->user;
    note_granted(waiter, status);
    struct weir_buf buf = waiter->buf;
    if (guest->runs < 3)
        expect_wait(waiter->arena, guest, WEIR_PENDING);
    weir_buf_drop(&buf);
}

Test(waiters, granted_may_wait_again_and_everybody_has_a_turn)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    for (size_t i = 0; i < 3; i++) {
        invite(&guests[i], (char)('a' + i), &bell);
        guests[i].waiter.granted = wait_again;
        expect_wait(arena, &guests[i], WEIR_PENDING);
    }

    weir_buf_drop(&held);
    while (weir_bell_drain(&bell, 0) > 0)
        ;

    expect_served("abcabcabc");
    end(arena);
}

static void
cancel_the_next(struct weir_waiter *waiter, enum weir_status status)
{
    note_granted(waiter, status);
    guests[1].status = weir_waiter_cancel(&guests[1].waiter);
}

Test(waiters, granted_may_cancel_one_that_was_told_in_the_same_drain)
{
    struct weir_buf held[3];
    struct weir_arena *arena = open_full(3, held);
    queue_guests(arena, &bell, guests, 3);
    guests[0].waiter.granted = cancel_the_next;
    for (size_t i = 0; i < 3; i++)
        weir_buf_drop(&held[i]);

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));

    expect_served("ac");
    cr_assert(eq(int, guests[1].status, WEIR_OK));
    cr_assert(eq(int, guests[1].runs, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 2));
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&guests[2].waiter.buf);
    end(arena);
}

static void
close_arena(struct weir_waiter *waiter, enum weir_status status)
{
    note_granted(waiter, status);
    weir_arena_close(waiter->arena);
}

Test(waiters, granted_may_close_the_arena)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 3);
    guests[0].waiter.granted = close_arena;
    weir_buf_drop(&held);

    while (weir_bell_drain(&bell, 0) > 0)
        ;

    expect_served("abc");
    cr_assert(eq(int, guests[2].status, WEIR_CLOSED));
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

/* ---- A block, or the end, that comes between asking and queueing -------- */

static pthread_barrier_t gate;

static void *
wait_there(void *user)
{
    struct guest *guest = user;
    struct weir_arena *arena = guest->waiter.arena;
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    (void)pthread_barrier_wait(&gate);
    (void)pthread_barrier_wait(&gate);
    guest->status = weir_arena_wait(arena, 0, &guest->waiter);
    return NULL;
}

/* A guest that has found a dry arena full and is about to queue: the mutex is
   held. */
static pthread_t
start_to_wait(struct weir_arena *arena)
{
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    cr_assert(eq(u32, wr_load_relaxed(&arena->state), WR_DRY));
    cr_assert(zero(int, pthread_barrier_init(&gate, NULL, 2)));
    invite(&guests[0], 'a', &bell);
    guests[0].waiter.arena = arena;
    pthread_t thread = start_thread(wait_there, &guests[0]);
    (void)pthread_barrier_wait(&gate);
    wr_mutex_lock(&arena->mutex);
    uint64_t fulls = wr_record_sum(arena, WR_ALLOC_FULLS);
    (void)pthread_barrier_wait(&gate);
    while (wr_record_sum(arena, WR_ALLOC_FULLS) == fulls)
        (void)usleep(100);
    return thread;
}

Test(waiters, a_block_that_comes_back_before_the_queue_is_taken_at_once)
{
    struct weir_buf held[2];
    struct weir_arena *arena = open_full(2, held);
    pthread_t thread = start_to_wait(arena);

    weir_buf_drop(&held[1]);
    wr_mutex_unlock(&arena->mutex);
    join_thread(thread);

    cr_assert(eq(int, guests[0].status, WEIR_OK));
    cr_assert(eq(int, guests[0].runs, 0));
    cr_assert(eq(u64, stats_of(arena).waits, 0));
    cr_assert(eq(u64, stats_of(arena).waiting, 0));
    cr_assert(zero(u32, wr_load_relaxed(&arena->state) & WR_WAITING));
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&held[0]);
    end(arena);
}

Test(waiters, an_arena_closed_before_the_queue_is_closed_for_who_waits)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    pthread_t thread = start_to_wait(arena);

    (void)wr_or_relaxed(&arena->state, WR_CLOSED);
    wr_mutex_unlock(&arena->mutex);
    join_thread(thread);

    cr_assert(eq(int, guests[0].status, WEIR_CLOSED));
    cr_assert(eq(u64, stats_of(arena).waits, 0));
    weir_buf_drop(&held);
    end(arena);
}

/* ---- What went wrong elsewhere ----------------------------------------- */

Test(waiters, waiters_do_not_wake_each_other_for_ever)
{
    struct weir_buf held;
    struct weir_buf barged;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 4);
    give_quietly(arena, &held);
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &barged), WEIR_OK));

    for (int i = 0; i < 1000; i++)
        cr_assert(eq(sz, weir_bell_drain(&bell, 0), 0));
    cr_assert(eq(int, served.rings, 0));

    weir_buf_drop(&barged);
    size_t runs = 0;
    for (int i = 0; i < 1000; i++)
        runs += weir_bell_drain(&bell, 0);
    cr_assert(eq(sz, runs, 1));
    cr_assert(eq(int, served.rings, 1));
    weir_arena_close(arena);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 3));
    weir_buf_drop(&guests[0].waiter.buf);
    end(arena);
}

Test(waiters, one_release_rings_at_most_once)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 8);
    for (size_t i = 0; i < 8; i++)
        guests[i].hurries = true;

    weir_buf_drop(&held);
    int rounds = 0;
    while (weir_bell_drain(&bell, 0) > 0)
        rounds++;

    expect_served("abcdefgh");
    cr_assert(le(int, served.rings, 8));
    cr_assert(eq(int, rounds, 8));
    end(arena);
}

static size_t
heap_bytes(void)
{
    return mallinfo2().uordblks + books_bytes();
}

Test(waiters, a_wait_allocates_nothing)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    struct weir_stats stats;
    invite(&guests[0], 'a', &bell);
    guests[0].hurries = true;
    expect_wait(arena, &guests[0], WEIR_PENDING);
    cr_assert(eq(int, weir_waiter_cancel(&guests[0].waiter), WEIR_OK));
    size_t before = heap_bytes();

    bool right = true;
    for (int i = 0; i < 100000; i++) {
        right = right &&
                weir_arena_wait(arena, 0, &guests[0].waiter) == WEIR_PENDING;
        if (i % 2 == 0) {
            right = right && weir_waiter_cancel(&guests[0].waiter) == WEIR_OK;
            continue;
        }
        weir_buf_drop(&held);
        right = right && weir_bell_drain(&bell, 0) == 1;
        right = right && weir_arena_alloc(arena, 0, &held) == WEIR_OK;
    }

    size_t after = heap_bytes();
    weir_arena_stats(arena, &stats);
    cr_assert(right);
    cr_assert(eq(sz, after, before));
    cr_assert(eq(u64, stats.waits, 100001));
    cr_assert(eq(u64, stats.grants, 50000));
    cr_assert(eq(u64, stats.cancels, 50001));
    weir_buf_drop(&held);
    end(arena);
}

/* ---- Spilling ---------------------------------------------------------- */

Test(waiters, a_wait_takes_heap_memory_before_it_queues)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = 64,
        .block_count = 1,
        .flags = WEIR_SPILL_FULL,
        .spill_bytes_max = 64,
    });
    open_bell(&bell);
    struct weir_buf held = take(arena);
    for (size_t i = 0; i < 3; i++)
        invite(&guests[i], (char)('a' + i), &bell);

    expect_wait(arena, &guests[0], WEIR_OK);
    expect_wait(arena, &guests[1], WEIR_PENDING);
    expect_wait(arena, &guests[2], WEIR_PENDING);
    cr_assert(eq(u64, stats_of(arena).spilled_blocks, 1));

    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&held);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("bc");
    weir_buf_drop(&guests[1].waiter.buf);
    weir_buf_drop(&guests[2].waiter.buf);
    end(arena);
}

/* ---- Threads ----------------------------------------------------------- */

static sem_t rung;

static void
post(struct weir_bell *unused)
{
    (void)unused;
    (void)sem_post(&rung);
}

static void *
drop_there(void *user)
{
    weir_buf_drop(user);
    return NULL;
}

Test(waiters, a_release_on_another_thread_rings_there_and_grants_here)
{
    struct weir_arena *arena = open_arena(64, 1);
    cr_assert(zero(int, sem_init(&rung, 0, 0)));
    weir_bell_init(&bell, post, NULL);

    for (int i = 0; i < 50; i++) {
        struct weir_buf held = take(arena);
        invite(&guests[0], 'a', &bell);
        expect_wait(arena, &guests[0], WEIR_PENDING);
        pthread_t other = start_thread(drop_there, &held);
        cr_assert(zero(int, sem_wait(&rung)));
        cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
        cr_assert(eq(int, guests[0].status, WEIR_OK));
        weir_buf_drop(&guests[0].waiter.buf);
        join_thread(other);
    }

    end(arena);
}

static void *
cancel_there(void *user)
{
    struct guest *guest = user;
    guest->status = weir_waiter_cancel(&guest->waiter);
    return NULL;
}

Test(waiters, any_thread_may_cancel)
{
    struct weir_buf held;
    struct weir_arena *arena = open_full(1, &held);
    queue_guests(arena, &bell, guests, 3);

    on_thread(cancel_there, &guests[1]);
    cr_assert(eq(int, guests[1].status, WEIR_OK));
    weir_buf_drop(&held);
    on_thread(cancel_there, &guests[0]);
    cr_assert(eq(int, guests[0].status, WEIR_OK));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    on_thread(cancel_there, &guests[2]);
    cr_assert(eq(int, guests[2].status, WEIR_PENDING));

    expect_served("c");
    weir_buf_drop(&guests[2].waiter.buf);
    end(arena);
}

enum { LOOPS = 3, TURNS = 300 };

struct loop {
    struct weir_arena *arena;
    struct weir_bell bell;
    struct weir_waiter waiter;
    sem_t rung;
    int turns;
    int wrong;
};

static void
wake_loop(struct weir_bell *rung_bell)
{
    struct loop *loop = rung_bell->user;
    (void)sem_post(&loop->rung);
}

static void
take_turn(struct weir_waiter *waiter, enum weir_status status)
{
    struct loop *loop = waiter->user;
    loop->turns++;
    loop->wrong += status != WEIR_OK;
    weir_buf_drop(&waiter->buf);
}

static void *
run_loop(void *user)
{
    struct loop *loop = user;
    while (loop->turns < TURNS) {
        enum weir_status status =
            weir_arena_wait(loop->arena, 0, &loop->waiter);
        if (status == WEIR_OK) {
            take_turn(&loop->waiter, status);
            continue;
        }
        int turns = loop->turns;
        while (loop->turns == turns) {
            (void)sem_wait(&loop->rung);
            (void)weir_bell_drain(&loop->bell, 0);
        }
    }
    return NULL;
}

Test(waiters, loops_that_share_one_block_all_have_their_turns)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct loop loops[LOOPS];
    pthread_t threads[LOOPS];
    struct weir_buf held = take(arena);
    memset(loops, 0, sizeof loops);
    for (size_t i = 0; i < LOOPS; i++) {
        loops[i].arena = arena;
        (void)sem_init(&loops[i].rung, 0, 0);
        weir_bell_init(&loops[i].bell, wake_loop, &loops[i]);
        loops[i].waiter = (struct weir_waiter){
            .bell = &loops[i].bell, .granted = take_turn, .user = &loops[i]
        };
        threads[i] = start_thread(run_loop, &loops[i]);
    }

    weir_buf_drop(&held);
    for (size_t i = 0; i < LOOPS; i++) {
        join_thread(threads[i]);
        cr_assert(eq(int, loops[i].turns, TURNS));
        cr_assert(eq(int, loops[i].wrong, 0));
        weir_bell_fini(&loops[i].bell);
    }

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.waits, stats.grants));
    close_whole(&arena);
}
