/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"
#include "support/waiting.h"

enum { LEAF = 256 };

static const size_t whole = (size_t)LEAF << 15; /* 8 MiB: three levels */

static size_t
round_up(size_t used)
{
    size_t size = LEAF;
    while (size < used)
        size *= 2;
    return size;
}

Test(trim, five_kb_of_a_block_of_64_kib_give_back_56_kib)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 5000);
    expect_sound(arena, 64 * KIB);

    cr_assert(eq(sz, weir_slice_trim(&slice), 56 * KIB));

    struct weir_stats stats = stats_of(arena);
    expect_sound(arena, 8 * KIB);
    cr_assert(eq(u64, stats.trims, 1));
    cr_assert(eq(u64, stats.bytes_trimmed, 56 * KIB));
    cr_assert(eq(u64, stats.splits, 3));
    cr_assert(eq(u64, stats.blocks_out, 1));
    cr_assert(eq(u64, stats.largest_free, 32 * KIB));
    cr_assert(eq(u64, free_of(arena, 16 * KIB), 1));
    cr_assert(eq(u64, free_of(arena, 8 * KIB), 1));
    cr_assert(is_pattern(weir_slice_data(&slice), 0, 5000));
    cr_assert(eq(sz, size_of_slice(&slice), 8 * KIB));
    weir_slice_release(&slice);
    cr_assert(eq(u64, stats_of(arena).coalesces, 3));
    close_merged(&arena);
}

/* From each size to each smaller one, at both ends of the arena, also across the
   borders of levels. */
Test(trim, a_block_can_become_any_smaller_one)
{
    struct weir_arena *arena = open_buddy(LEAF, 2 * whole);

    for (size_t from = 2 * LEAF; from <= 2 * whole; from *= 2)
        for (size_t to = LEAF; to < from; to *= 2) {
            struct weir_buf first = { 0 };
            if (from < 2 * whole)
                first = take_of(arena, from);
            struct weir_buf buf = take_of(arena, from);
            struct weir_slice slice;
            weir_buf_commit(&buf, to == LEAF ? 1 : to / 2 + 1);
            weir_buf_freeze(&buf, &slice);
            size_t out = from < 2 * whole ? from : 0;

            cr_assert(eq(sz, weir_slice_trim(&slice), from - to));
            expect_sound(arena, out + to);
            cr_assert(eq(sz, size_of_slice(&slice), to));

            weir_buf_drop(&first);
            weir_slice_release(&slice);
            expect_sound(arena, 0);
            cr_assert(eq(sz, weir_arena_largest_free(arena), 2 * whole));
        }

    close_merged(&arena);
}

Test(trim, what_is_given_back_can_be_written_without_disturbing_what_is_kept)
{
    struct weir_arena *arena = open_buddy(LEAF, whole);
    struct weir_buf bufs[64];

    for (size_t to = LEAF; to < whole; to *= 2) {
        struct weir_slice slice = freeze_pattern(arena, whole, to);
        const uint8_t *kept = weir_slice_data(&slice);
        cr_assert(eq(sz, weir_slice_trim(&slice), whole - to));
        size_t count = 0;
        for (size_t size = whole / 2; size >= to; size /= 2) {
            bufs[count] = take_of(arena, size);
            uint8_t *start = weir_buf_tail(&bufs[count]);
            cr_assert(start >= kept + to || start + size <= kept);
            memset(start, 0xff, size);
            count++;
        }
        cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
        expect_sound(arena, whole);
        cr_assert(is_pattern(kept, 0, to));
        while (count > 0)
            weir_buf_drop(&bufs[--count]);
        weir_slice_release(&slice);
    }

    close_merged(&arena);
}

Test(trim, the_end_of_what_was_written_decides_to_the_byte)
{
    static const size_t lens[] = { 1, 255, 256, 257, 511, 512, 513, 4095, 4096,
        4097, 32767, 32768, 32769, 65535, 65536 };
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);

    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct weir_slice slice = freeze_pattern(arena, 64 * KIB, lens[i]);
        size_t kept = round_up(lens[i]);
        cr_assert(eq(sz, weir_slice_trim(&slice), 64 * KIB - kept));
        expect_sound(arena, kept);
        cr_assert(is_pattern(weir_slice_data(&slice), 0, lens[i]));
        weir_slice_release(&slice);
    }

    close_merged(&arena);
}

Test(trim, headroom_is_kept)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_buf buf = take_of(arena, 64 * KIB);
    struct weir_slice slice;
    cr_assert(eq(int, weir_buf_headroom(&buf, 4000), WEIR_OK));
    write_pattern(&buf, 0, 96);
    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(sz, weir_slice_trim(&slice), 60 * KIB));

    expect_sound(arena, 4 * KIB);
    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 4000));
    cr_assert(zero(sz, weir_buf_room(&buf)));
    weir_buf_drop(&buf);
    close_merged(&arena);
}

Test(trim, a_thawed_slice_has_the_head_and_room_that_are_left)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_buf buf = take_of(arena, 64 * KIB);
    struct weir_slice slice;
    cr_assert(eq(int, weir_buf_headroom(&buf, 1000), WEIR_OK));
    write_pattern(&buf, 0, 5000);
    weir_buf_freeze(&buf, &slice);
    cr_assert(eq(sz, weir_slice_trim(&slice), 56 * KIB));

    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 1000));
    cr_assert(eq(sz, weir_buf_len(&buf), 5000));
    cr_assert(eq(sz, weir_buf_room(&buf), 8192 - 6000));
    write_pattern(&buf, 5000, 2192);
    cr_assert(eq(int, weir_buf_write(&buf, "x", 1), WEIR_NO_ROOM));
    weir_buf_freeze(&buf, &slice);
    cr_assert(zero(sz, weir_slice_trim(&slice)));
    expect_sound(arena, 8192);
    weir_slice_release(&slice);
    close_merged(&arena);
}

Test(trim, what_lies_in_front_of_a_slice_that_starts_late_stays)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 40000);
    struct weir_buf buf;
    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));
    weir_buf_clear(&buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 30000), WEIR_OK));
    write_pattern(&buf, 0, 10);
    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(sz, weir_slice_trim(&slice), 32 * KIB));

    expect_sound(arena, 32 * KIB);
    cr_assert(is_pattern(weir_slice_data(&slice), 0, 10));
    weir_slice_release(&slice);
    close_merged(&arena);
}

/* ---- Where nothing is given back --------------------------------------- */

/* Nothing is given back, and the handle is as it was. */
static void
expect_untrimmed(struct weir_slice *slice)
{
    struct weir_slice before = *slice;
    cr_assert(zero(sz, weir_slice_trim(slice)));
    cr_assert(same_slice(slice, &before));
}

Test(trim, a_second_trim_gives_nothing_back)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 5000);
    cr_assert(eq(sz, weir_slice_trim(&slice), 56 * KIB));

    expect_untrimmed(&slice);

    cr_assert(eq(u64, stats_of(arena).trims, 1));
    expect_sound(arena, 8 * KIB);
    weir_slice_release(&slice);
    close_merged(&arena);
}

static void
share_clone(struct weir_slice *slice, struct weir_slice *other)
{
    weir_slice_clone(slice, other);
}

static void
share_clone_shared(struct weir_slice *slice, struct weir_slice *other)
{
    weir_slice_clone_shared(slice, other);
}

static void
share_sub(struct weir_slice *slice, struct weir_slice *other)
{
    cr_assert(eq(int, weir_slice_sub(slice, 0, 10, other), WEIR_OK));
}

static void
share_split(struct weir_slice *slice, struct weir_slice *other)
{
    cr_assert(eq(int, weir_slice_split_back(slice, 10, other), WEIR_OK));
}

Test(trim, a_slice_that_others_share_is_not_trimmed)
{
    static void (*const share[])(struct weir_slice *, struct weir_slice *) = {
        share_clone, share_clone_shared, share_sub, share_split
    };
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);

    for (size_t i = 0; i < sizeof share / sizeof share[0]; i++) {
        struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 100);
        struct weir_slice other;
        share[i](&slice, &other);
        expect_untrimmed(&slice);
        expect_untrimmed(&other);
        expect_sound(arena, 64 * KIB);
        weir_slice_release(&other);
        weir_slice_release(&slice);
    }

    cr_assert(zero(u64, stats_of(arena).trims));
    close_merged(&arena);
}

Test(trim, the_last_of_several_handles_is_not_trimmed)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 100);
    struct weir_slice last;
    weir_slice_clone(&slice, &last);
    weir_slice_release(&slice);

    expect_untrimmed(&last);

    expect_sound(arena, 64 * KIB);
    weir_slice_release(&last);
    close_merged(&arena);
}

Test(trim, a_block_that_was_split_is_not_trimmed)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_buf buf = take_of(arena, 64 * KIB);
    struct weir_slice first;
    struct weir_slice second;
    write_pattern(&buf, 0, 100);
    weir_buf_split(&buf, &first);

    expect_untrimmed(&first);
    write_pattern(&buf, 100, 100);
    weir_buf_freeze(&buf, &second);
    expect_untrimmed(&second);
    weir_slice_release(&first);
    expect_untrimmed(&second);

    expect_sound(arena, 64 * KIB);
    weir_slice_release(&second);
    close_merged(&arena);
}

static void
ignore_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    (void)user;
}

Test(trim, other_memory_is_not_trimmed)
{
    struct weir_arena *fixed = open_arena(4096, 2);
    struct weir_slice slice = { 0 };

    expect_untrimmed(&slice);
    static_text("text", &slice);
    expect_untrimmed(&slice);
    cr_assert(eq(int,
        weir_slice_foreign("text", 4, ignore_release, NULL, &slice), WEIR_OK));
    expect_untrimmed(&slice);
    weir_slice_release(&slice);
    freeze_text(fixed, "text", &slice);
    expect_untrimmed(&slice);

    cr_assert(zero(u64, stats_of(fixed).trims));
    weir_slice_release(&slice);
    close_whole(&fixed);
}

Test(trim, a_spilled_block_is_not_trimmed)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, 64 * KIB, WEIR_SPILL_FULL | WEIR_TRIM);
    struct weir_buf all = take_of(arena, 64 * KIB);
    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 10);
    cr_assert(eq(int, wr_word_kind(slice.word), WR_SPILLED));

    expect_untrimmed(&slice);

    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 64 * KIB));
    weir_slice_release(&slice);
    weir_buf_drop(&all);
    close_merged(&arena);
}

/* ---- At a freeze ------------------------------------------------------- */

Test(trim, an_arena_may_trim_at_every_freeze)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, 64 * KIB, WEIR_NO_CACHE | WEIR_TRIM);

    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 5000);

    expect_sound(arena, 8 * KIB);
    cr_assert(eq(u64, stats_of(arena).trims, 1));
    cr_assert(is_pattern(weir_slice_data(&slice), 0, 5000));
    expect_untrimmed(&slice);
    weir_slice_release(&slice);
    close_merged(&arena);
}

Test(trim, a_freeze_behind_a_split_trims_nothing)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, 64 * KIB, WEIR_NO_CACHE | WEIR_TRIM);
    struct weir_buf buf = take_of(arena, 64 * KIB);
    struct weir_slice slices[2];
    write_pattern(&buf, 0, 100);
    weir_buf_split(&buf, &slices[0]);
    write_pattern(&buf, 100, 100);
    weir_buf_freeze(&buf, &slices[1]);

    cr_assert(zero(u64, stats_of(arena).trims));
    expect_sound(arena, 64 * KIB);
    cr_assert(is_pattern(weir_slice_data(&slices[1]), 100, 100));

    weir_slice_release(&slices[0]);
    weir_slice_release(&slices[1]);
    close_merged(&arena);
}

Test(trim, freezing_nothing_sends_the_block_home)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, 64 * KIB, WEIR_NO_CACHE | WEIR_TRIM);
    struct weir_buf buf = take_of(arena, 64 * KIB);
    struct weir_slice slice;

    weir_buf_freeze(&buf, &slice);

    cr_assert(is_empty_slice(&slice));
    expect_sound(arena, 0);
    close_merged(&arena);
}

/* ---- Who wants it ------------------------------------------------------ */

Test(trim, a_trim_ends_fullness_and_serves_waiters)
{
    struct weir_arena *arena = open_buddy(LEAF, 64 * KIB);
    struct weir_slice slice = freeze_pattern(arena, 64 * KIB, 100);
    struct weir_bell bell;
    struct guest guests[2];
    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
    open_bell(&bell);
    queue_guests(arena, &bell, guests, 2);

    cr_assert(eq(sz, weir_slice_trim(&slice), 64 * KIB - LEAF));

    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 2));
    expect_served("ab");
    expect_sound(arena, 3 * LEAF);
    cr_assert(eq(int, ask_for(arena, 32 * KIB), WEIR_OK));
    weir_buf_drop(&guests[0].waiter.buf);
    weir_buf_drop(&guests[1].waiter.buf);
    weir_bell_fini(&bell);
    weir_slice_release(&slice);
    close_merged(&arena);
}

static void *
trim_there(void *slice)
{
    (void)weir_slice_trim(slice);
    return NULL;
}

Test(trim, a_thread_may_trim_what_another_has_written)
{
    struct weir_arena *arena = open_buddy_with(LEAF, whole, 0);
    struct weir_slice slice = freeze_pattern(arena, whole, 700);

    on_thread(trim_there, &slice);

    weir_thread_flush();
    expect_sound(arena, 1024);
    cr_assert(eq(u64, stats_of(arena).trims, 1));
    cr_assert(is_pattern(weir_slice_data(&slice), 0, 700));
    weir_slice_release(&slice);
    close_merged(&arena);
}
