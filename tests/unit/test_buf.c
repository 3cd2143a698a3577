/* SPDX-License-Identifier: MIT */
#include "support/refbuf.h"

#include <stdlib.h>

enum { BLOCK = 256, BLOCKS = 4 };

static const size_t too_much[] = { BLOCK + 1, UINT32_MAX,
    (size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 2, SIZE_MAX - BLOCK,
    SIZE_MAX };

enum { TOO_MUCH = sizeof too_much / sizeof *too_much };

/* ---- The zeroed buf ---------------------------------------------------- */

Test(buf, zeroed_has_nothing)
{
    struct weir_buf buf = { 0 };

    cr_assert(eq(uptr, at(weir_buf_data(&buf)), 0));
    cr_assert(eq(uptr, at(weir_buf_tail(&buf)), 0));
    cr_assert(eq(sz, weir_buf_len(&buf), 0));
    cr_assert(eq(sz, weir_buf_room(&buf), 0));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 0));
}

Test(buf, zeroed_takes_nothing)
{
    struct weir_buf buf = { 0 };

    cr_assert(eq(int, weir_buf_write(&buf, "x", 1), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_reserve(&buf, 1), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_headroom(&buf, 1), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_prepend(&buf, "x", 1), WEIR_NO_ROOM));
    cr_assert(eq(int, is_empty_buf(&buf), 1));
}

Test(buf, zeroed_takes_no_bytes)
{
    struct weir_buf buf = { 0 };

    cr_assert(eq(int, weir_buf_write(&buf, NULL, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_reserve(&buf, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_headroom(&buf, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_prepend(&buf, NULL, 0), WEIR_OK));
    weir_buf_commit(&buf, 0);
    weir_buf_truncate(&buf, 0);
    weir_buf_clear(&buf);
    cr_assert(eq(int, is_empty_buf(&buf), 1));
}

Test(buf, zeroed_can_be_ended)
{
    struct weir_buf buf = { 0 };
    struct weir_slice slice;

    weir_buf_drop(&buf);
    weir_buf_drop(&buf);
    memset(&slice, 0xAB, sizeof slice);
    weir_buf_freeze(&buf, &slice);
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    memset(&slice, 0xAB, sizeof slice);
    weir_buf_split(&buf, &slice);

    cr_assert(eq(int, is_empty_slice(&slice), 1));
    cr_assert(eq(int, is_empty_buf(&buf), 1));
}

/* ---- Writing ----------------------------------------------------------- */

Test(buf, alloc_gives_the_whole_block)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;

    cr_assert(eq(int, weir_arena_alloc(arena, 1, &buf), WEIR_OK));

    cr_assert(eq(sz, weir_buf_len(&buf), 0));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 0));
    cr_assert(eq(uptr, at(weir_buf_tail(&buf)), at(weir_buf_data(&buf))));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, commit_says_that_bytes_were_written)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    uint8_t *start = weir_buf_tail(&buf);

    memcpy(start, "abc", 3);
    weir_buf_commit(&buf, 3);

    cr_assert(eq(int, buf_holds(&buf, "abc"), 1));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 3));
    cr_assert(eq(uptr, at(weir_buf_tail(&buf)), at(start + 3)));
    cr_assert(eq(uptr, at(weir_buf_data(&buf)), at(start)));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, commit_takes_all_the_room)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);

    weir_buf_commit(&buf, 0);
    weir_buf_commit(&buf, BLOCK);
    weir_buf_commit(&buf, 0);

    cr_assert(eq(sz, weir_buf_len(&buf), BLOCK));
    cr_assert(eq(sz, weir_buf_room(&buf), 0));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, writes_add_up)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);

    write_text(&buf, "one");
    write_text(&buf, "");
    write_text(&buf, "two");
    cr_assert(eq(int, weir_buf_write(&buf, NULL, 0), WEIR_OK));

    cr_assert(eq(int, buf_holds(&buf, "onetwo"), 1));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 6));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, write_fills_the_block_to_its_last_byte)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    uint8_t bytes[BLOCK];
    for (size_t i = 0; i < BLOCK; i++)
        bytes[i] = pattern_at(i);
    alloc(arena, &buf);

    cr_assert(eq(int, weir_buf_write(&buf, bytes, BLOCK), WEIR_OK));

    cr_assert(eq(sz, weir_buf_room(&buf), 0));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, BLOCK), 1));
    cr_assert(eq(int, weir_buf_write(&buf, bytes, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_write(&buf, bytes, 1), WEIR_NO_ROOM));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, write_is_all_or_nothing)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    uint8_t bytes[BLOCK] = { 0 };
    alloc(arena, &buf);
    write_text(&buf, "kept");
    uint8_t *tail = weir_buf_tail(&buf);
    memset(tail, 0x5A, weir_buf_room(&buf));
    struct weir_buf before = buf;

    enum weir_status status = weir_buf_write(&buf, bytes, BLOCK - 3);

    cr_assert(eq(int, status, WEIR_NO_ROOM));
    cr_assert(eq(int, same_buf(&buf, &before), 1));
    cr_assert(eq(int, buf_holds(&buf, "kept"), 1));
    cr_assert(eq(int, tail[0], 0x5A));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, reserve_finds_room_or_changes_nothing)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, "abc");
    struct weir_buf before = buf;

    cr_assert(eq(int, weir_buf_reserve(&buf, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK - 3), WEIR_OK));
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK - 2), WEIR_NO_ROOM));

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, sizes_beyond_32_bits_have_no_room)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 8), WEIR_OK));
    struct weir_buf before = buf;

    for (size_t i = 0; i < TOO_MUCH; i++) {
        size_t n = too_much[i];
        cr_assert(eq(int, weir_buf_write(&buf, "x", n), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_buf_reserve(&buf, n), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_buf_headroom(&buf, n), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_buf_prepend(&buf, "x", n), WEIR_NO_ROOM));
        weir_buf_truncate(&buf, n);
    }

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

/* ---- Headroom ---------------------------------------------------------- */

Test(buf, headroom_stays_free_in_front)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    const uint8_t *start = weir_buf_tail(&buf);

    cr_assert(eq(int, weir_buf_headroom(&buf, 10), WEIR_OK));

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 10));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 10));
    cr_assert(eq(sz, weir_buf_len(&buf), 0));
    cr_assert(eq(uptr, at(weir_buf_tail(&buf)), at(start + 10)));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, headroom_adds_to_what_is_there)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, weir_buf_headroom(&buf, 10), WEIR_OK));
    cr_assert(eq(int, weir_buf_headroom(&buf, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_headroom(&buf, 6), WEIR_OK));

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 16));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 16));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, headroom_may_be_the_whole_block)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    uint8_t bytes[BLOCK];
    for (size_t i = 0; i < BLOCK; i++)
        bytes[i] = pattern_at(i);
    alloc(arena, &buf);

    cr_assert(eq(int, weir_buf_headroom(&buf, BLOCK), WEIR_OK));
    cr_assert(eq(sz, weir_buf_room(&buf), 0));
    cr_assert(eq(int, weir_buf_prepend(&buf, bytes, BLOCK), WEIR_OK));
    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(sz, weir_slice_len(&slice), BLOCK));
    cr_assert(eq(int, is_pattern(weir_slice_data(&slice), 0, BLOCK), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(buf, headroom_of_the_whole_block_can_be_dropped)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, weir_buf_headroom(&buf, BLOCK), WEIR_OK));
    weir_buf_drop(&buf);

    end_arena(arena);
}

Test(buf, headroom_beyond_the_room_changes_nothing)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 10), WEIR_OK));
    struct weir_buf before = buf;

    enum weir_status status = weir_buf_headroom(&buf, BLOCK - 9);

    cr_assert(eq(int, status, WEIR_NO_ROOM));
    cr_assert(eq(int, same_buf(&buf, &before), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, headroom_behind_written_bytes_is_refused)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, "a");
    struct weir_buf before = buf;

    cr_assert(eq(int, weir_buf_headroom(&buf, 1), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_headroom(&buf, 0), WEIR_OK));

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, prepend_puts_bytes_in_front)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 7), WEIR_OK));
    write_text(&buf, "body");

    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));
    cr_assert(eq(int, weir_buf_prepend(&buf, NULL, 0), WEIR_OK));
    cr_assert(eq(int, weir_buf_prepend(&buf, "on:", 3), WEIR_OK));

    cr_assert(eq(int, buf_holds(&buf, "on:headbody"), 1));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 0));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 11));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, prepend_beyond_the_headroom_changes_nothing)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 3), WEIR_OK));
    write_text(&buf, "body");
    struct weir_buf before = buf;

    enum weir_status status = weir_buf_prepend(&buf, "head", 4);

    cr_assert(eq(int, status, WEIR_NO_ROOM));
    cr_assert(eq(int, same_buf(&buf, &before), 1));
    cr_assert(eq(int, buf_holds(&buf, "body"), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, prepend_needs_nothing_written_behind)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 4), WEIR_OK));

    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));
    write_text(&buf, "body");

    cr_assert(eq(int, buf_holds(&buf, "headbody"), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

/* ---- Forgetting -------------------------------------------------------- */

Test(buf, truncate_gives_room_back)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, "abcdef");

    weir_buf_truncate(&buf, 2);

    cr_assert(eq(int, buf_holds(&buf, "ab"), 1));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 2));
    write_text(&buf, "xy");
    cr_assert(eq(int, buf_holds(&buf, "abxy"), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, truncate_makes_nothing_longer)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, "abc");
    struct weir_buf before = buf;

    weir_buf_truncate(&buf, 3);
    weir_buf_truncate(&buf, 4);
    weir_buf_truncate(&buf, (size_t)UINT32_MAX + 2);
    weir_buf_truncate(&buf, SIZE_MAX);

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, clear_keeps_the_headroom_that_is_free)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 10), WEIR_OK));
    write_text(&buf, "body");
    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));

    weir_buf_clear(&buf);

    cr_assert(eq(sz, weir_buf_len(&buf), 0));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 6));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 6));
    cr_assert(eq(int, weir_buf_headroom(&buf, 4), WEIR_OK));
    weir_buf_drop(&buf);
    end_arena(arena);
}

/* ---- Freezing ---------------------------------------------------------- */

Test(buf, freeze_copies_nothing_and_clears_the_buf)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    alloc(arena, &buf);
    write_text(&buf, "abc");
    const void *data = weir_buf_data(&buf);

    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(int, is_empty_buf(&buf), 1));
    cr_assert(eq(uptr, at(weir_slice_data(&slice)), at(data)));
    cr_assert(eq(int, slice_holds(&slice, "abc"), 1));
    cr_assert(eq(sz, blocks_out(arena), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(buf, freeze_leaves_the_headroom_out)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 32), WEIR_OK));
    write_text(&buf, "body");
    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));

    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(int, slice_holds(&slice, "headbody"), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(buf, freeze_of_nothing_sends_the_block_home)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    alloc(arena, &buf);

    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(int, is_empty_buf(&buf), 1));
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    cr_assert(eq(sz, blocks_out(arena), 0));
    cr_assert(eq(u64, stats_of(arena).freezes, 0));
    end_arena(arena);
}

Test(buf, freezes_and_splits_are_counted_with_their_bytes)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slices[3];
    alloc(arena, &buf);

    write_text(&buf, "12345");
    weir_buf_split(&buf, &slices[0]);
    weir_buf_split(&buf, &slices[1]);
    write_text(&buf, "123");
    weir_buf_freeze(&buf, &slices[2]);

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.freezes, 2));
    cr_assert(eq(u64, stats.bytes_frozen, 8));
    for (size_t i = 0; i < 3; i++)
        weir_slice_release(&slices[i]);
    end_arena(arena);
}

Test(buf, drop_clears_and_sends_home)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, "abc");

    weir_buf_drop(&buf);

    cr_assert(eq(int, is_empty_buf(&buf), 1));
    cr_assert(eq(sz, blocks_out(arena), 0));
    weir_buf_drop(&buf);
    cr_assert(eq(u64, stats_of(arena).releases, 1));
    end_arena(arena);
}

Test(buf, drop_runs_on_any_thread)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf bufs[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        alloc(arena, &bufs[i]);
        write_pattern(&bufs[i], i, i);
    }

    for (size_t i = 0; i < BLOCKS; i++)
        on_thread(drop_buf, &bufs[i]);

    cr_assert(eq(sz, blocks_out(arena), 0));
    cr_assert(eq(u64, stats_of(arena).releases, BLOCKS));
    end_arena(arena);
}

/* ---- Splitting --------------------------------------------------------- */

Test(buf, split_goes_on_behind_the_slice)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    alloc(arena, &buf);
    write_text(&buf, "first");
    const uint8_t *data = weir_buf_data(&buf);

    weir_buf_split(&buf, &slice);

    cr_assert(eq(int, slice_holds(&slice, "first"), 1));
    cr_assert(eq(uptr, at(weir_slice_data(&slice)), at(data)));
    cr_assert(eq(sz, weir_buf_len(&buf), 0));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 5));
    cr_assert(eq(uptr, at(weir_buf_tail(&buf)), at(data + 5)));
    weir_slice_release(&slice);
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, split_of_nothing_gives_the_empty_slice)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 9), WEIR_OK));
    struct weir_buf before = buf;

    weir_buf_split(&buf, &slice);

    cr_assert(eq(int, is_empty_slice(&slice), 1));
    cr_assert(eq(int, same_buf(&buf, &before), 1));
    weir_slice_release(&slice);
    cr_assert(eq(sz, blocks_out(arena), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, split_leaves_no_headroom)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 9), WEIR_OK));
    write_text(&buf, "first");

    weir_buf_split(&buf, &slice);

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 0));
    cr_assert(eq(int, weir_buf_prepend(&buf, "x", 1), WEIR_NO_ROOM));
    cr_assert(eq(int, slice_holds(&slice, "first"), 1));
    weir_slice_release(&slice);
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(buf, headroom_can_be_left_again_after_a_split)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice first;
    struct weir_slice second;
    alloc(arena, &buf);
    write_text(&buf, "first");
    weir_buf_split(&buf, &first);

    cr_assert(eq(int, weir_buf_headroom(&buf, 4), WEIR_OK));
    write_text(&buf, "body");
    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));
    weir_buf_freeze(&buf, &second);

    cr_assert(eq(int, slice_holds(&first, "first"), 1));
    cr_assert(eq(int, slice_holds(&second, "headbody"), 1));
    weir_slice_release(&first);
    weir_slice_release(&second);
    end_arena(arena);
}

Test(buf, nothing_done_after_a_split_reaches_the_slice)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "first");
    weir_buf_split(&buf, &slice);

    write_text(&buf, "second");
    weir_buf_truncate(&buf, 0);
    weir_buf_clear(&buf);
    memset(weir_buf_tail(&buf), 0xFF, weir_buf_room(&buf));
    weir_buf_commit(&buf, weir_buf_room(&buf));

    cr_assert(eq(int, slice_holds(&slice, "first"), 1));
    weir_buf_drop(&buf);
    cr_assert(eq(int, slice_holds(&slice, "first"), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(buf, block_goes_home_with_the_last_of_slices_and_buf)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slices[2];
    for (unsigned last = 0; last < 3; last++) {
        alloc(arena, &buf);
        write_text(&buf, "one");
        weir_buf_split(&buf, &slices[0]);
        write_text(&buf, "two");
        weir_buf_split(&buf, &slices[1]);

        for (unsigned i = 0; i < 2; i++)
            if (i != last)
                weir_slice_release(&slices[i]);
        if (last != 2)
            weir_buf_drop(&buf);
        cr_assert(eq(sz, blocks_out(arena), 1));
        weir_slice_release(&slices[0]);
        weir_slice_release(&slices[1]);
        weir_buf_drop(&buf);

        cr_assert(eq(sz, blocks_out(arena), 0));
        weir_arena_check(arena);
    }
    end_arena(arena);
}

Test(buf, split_works_until_the_block_is_used_up)
{
    struct weir_arena *arena = open_arena(4096, 1);
    struct weir_buf buf;
    struct weir_slice *slices = calloc(4096, sizeof *slices);
    alloc(arena, &buf);

    for (size_t i = 0; i < 4096; i++) {
        write_pattern(&buf, i, 1);
        weir_buf_split(&buf, &slices[i]);
    }

    cr_assert(eq(sz, weir_buf_room(&buf), 0));
    cr_assert(eq(int, weir_buf_write(&buf, "x", 1), WEIR_NO_ROOM));
    weir_buf_drop(&buf);
    for (size_t i = 0; i < 4096; i++) {
        cr_assert(eq(sz, weir_slice_len(&slices[i]), 1));
        cr_assert(eq(int, is_pattern(weir_slice_data(&slices[i]), i, 1), 1));
        cr_assert(eq(sz, blocks_out(arena), 1));
        weir_slice_release(&slices[i]);
    }
    free(slices);
    end_arena(arena);
}

Test(buf, used_up_buf_may_be_the_last_to_go)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf bufs[BLOCKS];
    struct weir_slice slice;

    for (size_t i = 0; i < BLOCKS; i++) {
        alloc(arena, &bufs[i]);
        weir_buf_commit(&bufs[i], BLOCK);
        weir_buf_split(&bufs[i], &slice);
        weir_slice_release(&slice);
    }
    cr_assert(eq(sz, blocks_out(arena), BLOCKS));
    for (size_t i = 0; i < BLOCKS; i += 2)
        weir_buf_drop(&bufs[i]);
    for (size_t i = 1; i < BLOCKS; i += 2) {
        weir_buf_freeze(&bufs[i], &slice);
        cr_assert(eq(int, is_empty_slice(&slice), 1));
    }

    end_arena(arena);
}

Test(buf, goes_on_after_its_slices_were_released_on_another_thread)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);

    for (size_t i = 0; i < BLOCK; i += 16) {
        write_pattern(&buf, i, 16);
        weir_buf_split(&buf, &slice);
        cr_assert(eq(int, is_pattern(weir_slice_data(&slice), i, 16), 1));
        on_thread(release_slice, &slice);
        cr_assert(eq(sz, blocks_out(arena), 1));
    }

    weir_buf_drop(&buf);
    end_arena(arena);
}

/* ---- Granted bufs ------------------------------------------------------ */

static void
ignore_ring(struct weir_bell *bell)
{
    (void)bell;
}

static void
take_granted(struct weir_waiter *waiter, enum weir_status status)
{
    cr_assert(eq(int, status, WEIR_OK));
    *(struct weir_buf *)waiter->user = waiter->buf;
}

Test(buf, granted_one_is_like_any_other)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_bell bell;
    struct weir_buf buf;
    struct weir_buf granted = { 0 };
    struct weir_slice slice;
    struct weir_waiter waiter = {
        .bell = &bell, .granted = take_granted, .user = &granted
    };
    weir_bell_init(&bell, ignore_ring, NULL);
    alloc(arena, &buf);
    cr_assert(eq(int, weir_arena_wait(arena, 0, &waiter), WEIR_PENDING));

    weir_buf_drop(&buf);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));

    cr_assert(eq(sz, weir_buf_room(&granted), BLOCK));
    cr_assert(eq(int, weir_buf_headroom(&granted, 4), WEIR_OK));
    write_text(&granted, "body");
    cr_assert(eq(int, weir_buf_prepend(&granted, "head", 4), WEIR_OK));
    weir_buf_freeze(&granted, &slice);
    cr_assert(eq(int, slice_holds(&slice, "headbody"), 1));
    weir_slice_release(&slice);
    weir_bell_fini(&bell);
    end_arena(arena);
}

/* ---- The end of its arena ---------------------------------------------- */

static void
count_unmapped(void *user)
{
    ++*(int *)user;
}

Test(buf, stays_good_in_a_closed_arena)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slices[2];
    alloc(arena, &buf);

    weir_arena_close(arena);
    write_text(&buf, "one");
    weir_buf_split(&buf, &slices[0]);
    write_text(&buf, "two");
    weir_buf_freeze(&buf, &slices[1]);

    cr_assert(eq(int, slice_holds(&slices[0], "one"), 1));
    cr_assert(eq(int, slice_holds(&slices[1], "two"), 1));
    weir_slice_release(&slices[0]);
    weir_slice_release(&slices[1]);
    end_arena(arena);
}

Test(buf, stays_good_when_its_arena_is_destroyed)
{
    int unmapped = 0;
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .block_size = BLOCK,
            .block_count = BLOCKS,
            .on_unmapped = count_unmapped,
            .user = &unmapped });
    struct weir_buf buf;
    struct weir_slice slices[2];
    alloc(arena, &buf);

    weir_arena_destroy(&arena);
    write_text(&buf, "one");
    weir_buf_split(&buf, &slices[0]);
    write_text(&buf, "two");
    weir_buf_freeze(&buf, &slices[1]);

    cr_assert(eq(int, unmapped, 0));
    cr_assert(eq(int, slice_holds(&slices[0], "one"), 1));
    weir_slice_release(&slices[0]);
    cr_assert(eq(int, unmapped, 0));
    on_thread(release_slice, &slices[1]);
    cr_assert(eq(int, unmapped, 1));
    no_leaks();
}
