/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "support/unit.h"
#include "support/waiting.h"

#include <stdatomic.h>

Test(stats, a_fresh_arena_has_done_nothing)
{
    struct weir_arena *arena = open_arena(100, 10);
    struct weir_stats stats;
    memset(&stats, 0xff, sizeof stats);

    weir_arena_stats(arena, &stats);

    expect_text(stats.name, "test");
    cr_assert(eq(u64, stats.block_size, 128));
    cr_assert(eq(u64, stats.block_count, 10));
    cr_assert(eq(u64, stats.bytes_total, 1280));
    cr_assert(gt(u64, stats.meta_bytes, 10 * 8));
    struct weir_stats nothing = { .block_size = 128,
        .block_count = 10,
        .bytes_total = 1280,
        .meta_bytes = stats.meta_bytes,
        .caching = WEIR_CACHING_TINY,
        .block_size_max = 128,
        .bytes_free = 1280,
        .largest_free = 128 };
    memcpy(nothing.name, stats.name, sizeof nothing.name);
    cr_assert(zero(int, memcmp(&stats, &nothing, sizeof stats)));
    close_whole(&arena);
}

Test(stats, blocks_out_are_those_that_are_out)
{
    struct weir_arena *arena = open_arena(64, 100);
    struct weir_buf bufs[100];

    for (size_t i = 0; i < 100; i++) {
        bufs[i] = take(arena);
        struct weir_stats stats = stats_of(arena);
        cr_assert(eq(u64, stats.blocks_out, i + 1));
        cr_assert(eq(u64, stats.bytes_out, 64 * (i + 1)));
        cr_assert(eq(u64, stats.allocs, i + 1));
    }
    for (size_t i = 0; i < 100; i++) {
        weir_buf_drop(&bufs[i]);
        struct weir_stats stats = stats_of(arena);
        cr_assert(eq(u64, stats.blocks_out, 99 - i));
        cr_assert(eq(u64, stats.releases, i + 1));
        cr_assert(eq(u64, stats.allocs, 100));
        cr_assert(eq(u64, stats.blocks_out_peak, 100));
    }

    close_whole(&arena);
}

Test(stats, the_peak_is_what_a_reading_has_seen)
{
    struct weir_arena *arena = open_arena(64, 4);
    struct weir_buf first = take(arena);
    struct weir_buf second = take(arena);
    weir_buf_drop(&second);

    cr_assert(eq(u64, stats_of(arena).blocks_out_peak, 1));
    weir_buf_drop(&first);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out_peak, 1));

    close_whole(&arena);
}

Test(stats, the_peak_is_all_once_an_alloc_found_it_full)
{
    struct weir_arena *arena = open_arena(64, 3);
    struct weir_buf bufs[3];
    for (size_t i = 0; i < 3; i++)
        bufs[i] = take(arena);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    for (size_t i = 0; i < 3; i++)
        weir_buf_drop(&bufs[i]);

    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    cr_assert(eq(u64, stats_of(arena).blocks_out_peak, 3));

    close_whole(&arena);
}

Test(stats, alloc_fulls_are_allocs_and_waits_that_found_it_full)
{
    struct weir_bell bell;
    struct guest guest;
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_buf held = take(arena);
    struct weir_buf buf;
    open_bell(&bell);
    invite(&guest, 'a', &bell);

    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 1));
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 2));
    expect_wait(arena, &guest, WEIR_PENDING);
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 3));
    cr_assert(eq(int, weir_arena_alloc(arena, 65, &buf), WEIR_TOO_LARGE));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 3));

    cr_assert(eq(int, weir_waiter_cancel(&guest.waiter), WEIR_OK));
    weir_buf_drop(&held);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(stats, freezes_and_splits_are_counted_with_their_bytes)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_buf buf = take(arena);
    struct weir_slice first;
    struct weir_slice second;

    weir_buf_split(&buf, &first);
    cr_assert(eq(u64, stats_of(arena).freezes, 0));
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));
    weir_buf_split(&buf, &first);
    cr_assert(eq(u64, stats_of(arena).freezes, 1));
    cr_assert(eq(u64, stats_of(arena).bytes_frozen, 4));
    cr_assert(eq(int, weir_buf_write(&buf, "dam", 3), WEIR_OK));
    weir_buf_freeze(&buf, &second);
    cr_assert(eq(u64, stats_of(arena).freezes, 2));
    cr_assert(eq(u64, stats_of(arena).bytes_frozen, 7));

    cr_assert(eq(u64, stats_of(arena).bytes_copied, 0));
    cr_assert(eq(u64, stats_of(arena).allocs, 1));
    weir_slice_release(&first);
    weir_slice_release(&second);
    cr_assert(eq(u64, stats_of(arena).releases, 1));
    close_whole(&arena);
}

Test(stats, freezing_or_dropping_nothing_counts_a_release_only)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_slice slice;
    struct weir_buf buf = take(arena);

    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(u64, stats_of(arena).freezes, 0));
    cr_assert(eq(u64, stats_of(arena).releases, 1));
    close_whole(&arena);
}

Test(stats, waits_grants_and_cancels_add_up)
{
    struct weir_bell bell;
    struct guest guests[4];
    struct weir_buf bufs[2];
    struct weir_arena *arena = open_arena(64, 2);
    open_bell(&bell);
    bufs[0] = take(arena);
    bufs[1] = take(arena);
    queue_guests(arena, &bell, guests, 4);

    weir_buf_drop(&bufs[0]);
    weir_buf_drop(&bufs[1]);
    cr_assert(eq(int, weir_waiter_cancel(&guests[3].waiter), WEIR_OK));
    cr_assert(eq(int, weir_waiter_cancel(&guests[1].waiter), WEIR_OK));

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.waits, 4));
    cr_assert(eq(u64, stats.grants, 3));
    cr_assert(eq(u64, stats.cancels, 2));
    cr_assert(eq(u64, stats.waiting, 0));
    cr_assert(eq(u64, stats.allocs, 5));
    cr_assert(eq(u64, stats.blocks_out, 2));
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&guests[2].waiter.buf);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(stats, a_waiter_that_was_told_of_the_close_was_not_granted)
{
    struct weir_bell bell;
    struct guest guests[2];
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_buf held = take(arena);
    open_bell(&bell);
    queue_guests(arena, &bell, guests, 2);

    weir_arena_close(arena);
    (void)weir_bell_drain(&bell, 0);

    cr_assert(eq(u64, stats_of(arena).waits, 2));
    cr_assert(eq(u64, stats_of(arena).grants, 0));
    cr_assert(eq(u64, stats_of(arena).cancels, 0));
    weir_buf_drop(&held);
    weir_bell_fini(&bell);
    close_whole(&arena);
}

Test(stats, a_closed_arena_still_has_its_numbers)
{
    struct weir_arena *arena = open_arena(64, 2);
    struct weir_buf held = take(arena);

    weir_arena_close(arena);

    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    cr_assert(eq(u64, stats_of(arena).allocs, 1));
    weir_buf_drop(&held);
    cr_assert(eq(u64, stats_of(arena).blocks_out, 0));
    close_whole(&arena);
}

/* ---- Other releases ---------------------------------------------------- */

Test(stats, a_shorter_struct_is_filled_as_far_as_it_goes)
{
    struct weir_arena *arena = open_arena(64, 2);
    struct weir_stats stats;
    memset(&stats, 0xff, sizeof stats);
    size_t size = offsetof(struct weir_stats, bytes_total);

    weir_arena_stats_sized(arena, &stats, size);

    expect_text(stats.name, "test");
    cr_assert(eq(u64, stats.block_count, 2));
    const unsigned char *bytes = (const unsigned char *)&stats;
    for (size_t i = size; i < sizeof stats; i++)
        cr_assert(eq(u8, bytes[i], 0xff));
    close_whole(&arena);
}

Test(stats, a_longer_struct_has_zeros_where_this_release_ends)
{
    struct {
        struct weir_stats known;
        unsigned char unknown[40];
        unsigned char beyond;
    } stats;
    struct weir_arena *arena = open_arena(64, 2);
    memset(&stats, 0xff, sizeof stats);

    weir_arena_stats_sized(
        arena, &stats.known, sizeof stats.known + sizeof stats.unknown);

    cr_assert(eq(u64, stats.known.block_count, 2));
    cr_assert(eq(u64, stats.known.cancels, 0));
    for (size_t i = 0; i < sizeof stats.unknown; i++)
        cr_assert(eq(u8, stats.unknown[i], 0));
    cr_assert(eq(u8, stats.beyond, 0xff));
    close_whole(&arena);
}

Test(stats, a_struct_of_no_bytes_stays_as_it_is)
{
    struct weir_arena *arena = open_arena(64, 2);
    struct weir_stats stats = { .allocs = 7 };

    weir_arena_stats_sized(arena, &stats, 0);

    cr_assert(eq(u64, stats.allocs, 7));
    close_whole(&arena);
}

/* ---- During traffic ---------------------------------------------------- */

enum { ROUNDS = 30000, THREADS = 3 };

struct worker {
    struct weir_arena *arena;
    uint64_t allocs;
    uint64_t fulls;
};

static atomic_uint running;

static void *
come_and_go(void *user)
{
    struct worker *worker = user;
    struct weir_buf held[2] = { { 0 } };
    for (int i = 0; i < ROUNDS; i++) {
        struct weir_buf *buf = &held[i % 2];
        weir_buf_drop(buf);
        if (weir_arena_alloc(worker->arena, 0, buf) == WEIR_OK)
            worker->allocs++;
        else
            worker->fulls++;
    }
    weir_buf_drop(&held[0]);
    weir_buf_drop(&held[1]);
    atomic_fetch_sub_explicit(&running, 1, memory_order_relaxed);
    return NULL;
}

/* What must be true of two readings, one after the other. */
static void
expect_sound(const struct weir_stats *before, const struct weir_stats *now)
{
    cr_assert(le(u64, now->blocks_out, now->block_count));
    cr_assert(le(u64, now->blocks_out_peak, now->block_count));
    cr_assert(le(u64, now->blocks_out, now->blocks_out_peak));
    cr_assert(le(u64, now->releases, now->allocs));
    cr_assert(le(u64, before->allocs, now->allocs));
    cr_assert(le(u64, before->releases, now->releases));
    cr_assert(le(u64, before->alloc_fulls, now->alloc_fulls));
    cr_assert(le(u64, before->blocks_out_peak, now->blocks_out_peak));
}

Test(stats, readings_during_traffic_are_never_above_the_total_and_never_fall)
{
    struct weir_arena *arena = open_arena(64, 5);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    uint64_t allocs = 0;
    uint64_t fulls = 0;
    struct weir_stats before = stats_of(arena);
    atomic_store_explicit(&running, THREADS, memory_order_relaxed);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .arena = arena };
        threads[i] = start_thread(come_and_go, &workers[i]);
    }

    while (atomic_load_explicit(&running, memory_order_relaxed) > 0) {
        struct weir_stats now = stats_of(arena);
        expect_sound(&before, &now);
        before = now;
    }
    for (size_t i = 0; i < THREADS; i++) {
        join_thread(threads[i]);
        allocs += workers[i].allocs;
        fulls += workers[i].fulls;
    }

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.allocs, allocs));
    cr_assert(eq(u64, stats.releases, allocs));
    cr_assert(eq(u64, stats.alloc_fulls, fulls));
    close_whole(&arena);
}
