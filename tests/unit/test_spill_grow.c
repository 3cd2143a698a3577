/* SPDX-License-Identifier: MIT */
#include "support/refbuf.h"

#include "arena/spill.h"

enum { BLOCK = 64, BLOCKS = 4, LIMIT = 1024 };

static struct weir_arena *
open_growing(size_t spill_bytes_max)
{
    return open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = BLOCK,
        .block_count = BLOCKS,
        .flags = WEIR_SPILL_GROW,
        .spill_bytes_max = spill_bytes_max,
    });
}

static enum weir_status
grow(struct weir_buf *buf, size_t from, size_t n)
{
    uint8_t bytes[4 * LIMIT];
    cr_assert(le(sz, n, sizeof bytes));
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern_at(from + i);
    return weir_buf_write(buf, bytes, n);
}

static void
expect_spilled(struct weir_arena *arena, size_t blocks, size_t bytes)
{
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.spilled_blocks, blocks));
    cr_assert(eq(u64, stats.spilled_bytes, bytes));
}

/* ---- Growing ----------------------------------------------------------- */

Test(spill_grow, nothing_moves_while_there_is_room)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, grow(&buf, 0, BLOCK), WEIR_OK));
    cr_assert(eq(int, weir_buf_reserve(&buf, 0), WEIR_OK));

    expect_spilled(arena, 0, 0);
    cr_assert(eq(u64, stats_of(arena).spill_grows, 0));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, write_moves_to_the_heap_and_sends_the_block_home)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, grow(&buf, 0, 60), WEIR_OK));

    cr_assert(eq(int, grow(&buf, 60, 5), WEIR_OK));

    cr_assert(eq(sz, weir_buf_len(&buf), 65));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, 65), 1));
    cr_assert(eq(sz, blocks_out(arena), 0));
    expect_spilled(arena, 1, 2 * 65);
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.spill_grows, 1));
    cr_assert(eq(u64, stats.bytes_copied, 60));
    cr_assert(eq(u64, stats.releases, 1));
    cr_assert(eq(u64, stats.allocs, 2));
    weir_buf_drop(&buf);
    expect_spilled(arena, 0, 0);
    end_arena(arena);
}

Test(spill_grow, reserve_moves_to_the_heap)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, grow(&buf, 0, 10), WEIR_OK));

    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));

    cr_assert(ge(sz, weir_buf_room(&buf), BLOCK));
    cr_assert(eq(sz, weir_buf_len(&buf), 10));
    cr_assert(eq(sz, blocks_out(arena), 0));
    write_pattern(&buf, 10, BLOCK);
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, 10 + BLOCK), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, empty_buf_can_outgrow_its_block)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, grow(&buf, 0, BLOCK + 1), WEIR_OK));

    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, BLOCK + 1), 1));
    cr_assert(eq(u64, stats_of(arena).bytes_copied, 0));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, grows_again_and_again)
{
    struct weir_arena *arena = open_growing(64 * LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);

    for (size_t i = 0; i < LIMIT; i++) {
        cr_assert(eq(int, grow(&buf, 7 * i, 7), WEIR_OK));
        cr_assert(eq(sz, weir_buf_len(&buf), 7 * i + 7));
        cr_assert(le(sz, spilled_blocks(arena), 1));
    }

    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, 7 * LIMIT), 1));
    cr_assert(le(u64, stats_of(arena).spill_grows, 8));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, headroom_is_kept)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 16), WEIR_OK));
    write_text(&buf, "body");

    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 16));
    cr_assert(eq(int, weir_buf_reserve(&buf, 4 * BLOCK), WEIR_OK));

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 16));
    cr_assert(eq(int, weir_buf_prepend(&buf, "0123456789ab", 12), WEIR_OK));
    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));
    cr_assert(eq(int, weir_buf_prepend(&buf, "x", 1), WEIR_NO_ROOM));
    cr_assert(eq(int, buf_holds(&buf, "head0123456789abbody"), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, buf_of_nothing_but_headroom_can_grow)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, BLOCK), WEIR_OK));

    write_text(&buf, "body");

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), BLOCK));
    cr_assert(eq(int, buf_holds(&buf, "body"), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, headroom_of_a_spilled_buf_does_not_grow)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_reserve(&buf, 2 * BLOCK), WEIR_OK));
    size_t room = weir_buf_room(&buf);
    uint64_t grows = stats_of(arena).spill_grows;

    cr_assert(eq(int, weir_buf_headroom(&buf, room + 1), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_headroom(&buf, room), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).spill_grows, grows));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, commit_fills_what_was_reserved)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_reserve(&buf, 200), WEIR_OK));

    write_pattern(&buf, 0, weir_buf_room(&buf));
    size_t len = weir_buf_len(&buf);
    weir_buf_freeze(&buf, &slice);

    cr_assert(ge(sz, len, 200));
    cr_assert(eq(sz, weir_slice_len(&slice), len));
    cr_assert(eq(int, is_pattern(weir_slice_data(&slice), 0, len), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

/* ---- Split bufs -------------------------------------------------------- */

Test(spill_grow, split_buf_takes_only_its_own_bytes)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slices[2];
    alloc(arena, &buf);
    write_text(&buf, "first");
    weir_buf_split(&buf, &slices[0]);
    write_text(&buf, "second");

    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));

    cr_assert(eq(int, buf_holds(&buf, "second"), 1));
    cr_assert(eq(int, slice_holds(&slices[0], "first"), 1));
    cr_assert(eq(u64, stats_of(arena).bytes_copied, 6));
    cr_assert(eq(sz, blocks_out(arena), 1));
    cr_assert(eq(int, weir_slice_is_sole(&slices[0]), 1));
    weir_buf_freeze(&buf, &slices[1]);
    weir_slice_release(&slices[0]);
    cr_assert(eq(sz, blocks_out(arena), 0));
    cr_assert(eq(int, slice_holds(&slices[1], "second"), 1));
    weir_slice_release(&slices[1]);
    end_arena(arena);
}

Test(spill_grow, block_left_alone_by_its_slices_goes_home_at_once)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "first");
    weir_buf_split(&buf, &slice);
    on_thread(release_slice, &slice);
    cr_assert(eq(sz, blocks_out(arena), 1));

    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));

    cr_assert(eq(sz, blocks_out(arena), 0));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, spilled_buf_can_be_split)
{
    struct weir_arena *arena = open_growing(4 * LIMIT);
    struct weir_buf buf;
    struct weir_slice slices[3];
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_reserve(&buf, LIMIT / 2), WEIR_OK));

    write_text(&buf, "first");
    weir_buf_split(&buf, &slices[0]);
    write_text(&buf, "second");
    weir_buf_split(&buf, &slices[1]);
    cr_assert(eq(sz, spilled_blocks(arena), 1));
    cr_assert(eq(int, weir_buf_reserve(&buf, LIMIT), WEIR_OK));
    cr_assert(eq(sz, spilled_blocks(arena), 2));
    write_text(&buf, "third");
    weir_buf_freeze(&buf, &slices[2]);

    cr_assert(eq(int, slice_holds(&slices[0], "first"), 1));
    cr_assert(eq(int, slice_holds(&slices[1], "second"), 1));
    cr_assert(eq(int, slice_holds(&slices[2], "third"), 1));
    weir_slice_release(&slices[0]);
    cr_assert(eq(sz, spilled_blocks(arena), 2));
    on_thread(release_slice, &slices[1]);
    cr_assert(eq(sz, spilled_blocks(arena), 1));
    weir_slice_release(&slices[2]);
    end_arena(arena);
}

/* ---- Slices of spilled memory ------------------------------------------ */

Test(spill_grow, slices_of_it_are_counted)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slices[100];
    alloc(arena, &buf);
    cr_assert(eq(int, grow(&buf, 0, 100), WEIR_OK));
    weir_buf_freeze(&buf, &slices[0]);
    cr_assert(eq(int, weir_slice_is_sole(&slices[0]), 1));

    for (size_t i = 1; i < 100; i++)
        if (i % 3 == 0)
            weir_slice_clone_shared(&slices[0], &slices[i]);
        else
            cr_assert(
                eq(int, weir_slice_sub(&slices[i - 1], 0, 100 - i, &slices[i]),
                    WEIR_OK));
    for (size_t i = 0; i < 100; i++) {
        size_t len = weir_slice_len(&slices[i]);
        cr_assert(eq(int, is_pattern(weir_slice_data(&slices[i]), 0, len), 1));
        cr_assert(eq(sz, spilled_blocks(arena), 1));
        weir_slice_release(&slices[i]);
    }

    expect_spilled(arena, 0, 0);
    end_arena(arena);
}

Test(spill_grow, thaw_restores_the_heap_block)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slice;
    struct weir_slice part;
    alloc(arena, &buf);
    cr_assert(eq(int, grow(&buf, 0, 100), WEIR_OK));
    weir_buf_freeze(&buf, &slice);
    cr_assert(eq(int, weir_slice_sub(&slice, 10, 80, &part), WEIR_OK));
    cr_assert(eq(int, weir_slice_thaw(&part, &buf), WEIR_SHARED));
    weir_slice_release(&slice);

    cr_assert(eq(int, weir_slice_thaw(&part, &buf), WEIR_OK));

    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 10));
    cr_assert(eq(sz, weir_buf_room(&buf), 2 * 100 - 90));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 10, 80), 1));
    cr_assert(eq(int, grow(&buf, 90, 200), WEIR_OK));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 10, 280), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, freeze_of_nothing_frees_it)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK + 1), WEIR_OK));

    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(int, is_empty_slice(&slice), 1));
    expect_spilled(arena, 0, 0);
    end_arena(arena);
}

/* ---- Bounds ------------------------------------------------------------ */

Test(spill_grow, without_the_flag_there_is_no_room)
{
    static const unsigned flags[] = { 0, WEIR_SPILL_FULL };

    for (size_t i = 0; i < 2; i++) {
        struct weir_arena *arena = open_with(&(struct weir_arena_config){
            .block_size = BLOCK, .block_count = 1, .flags = flags[i] });
        struct weir_buf buf;
        alloc(arena, &buf);
        struct weir_buf before = buf;

        cr_assert(eq(int, grow(&buf, 0, BLOCK + 1), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK + 1), WEIR_NO_ROOM));

        cr_assert(eq(int, same_buf(&buf, &before), 1));
        cr_assert(eq(u64, stats_of(arena).spill_grows, 0));
        weir_buf_drop(&buf);
        end_arena(arena);
    }
}

Test(spill_grow, spilled_by_alloc_does_not_grow_without_the_flag)
{
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .block_size = BLOCK,
            .block_count = 1,
            .spill_bytes_max = LIMIT,
            .flags = WEIR_SPILL_FULL });
    struct weir_buf bufs[2];
    alloc(arena, &bufs[0]);
    alloc(arena, &bufs[1]);
    expect_spilled(arena, 1, BLOCK);

    cr_assert(eq(sz, weir_buf_room(&bufs[1]), BLOCK));
    cr_assert(eq(int, grow(&bufs[1], 0, BLOCK), WEIR_OK));
    cr_assert(eq(int, grow(&bufs[1], 0, 1), WEIR_NO_ROOM));

    weir_buf_drop(&bufs[0]);
    weir_buf_drop(&bufs[1]);
    end_arena(arena);
}

Test(spill_grow, spilled_by_alloc_grows_with_both_flags)
{
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .block_size = BLOCK,
            .block_count = 1,
            .spill_bytes_max = LIMIT,
            .flags = WEIR_SPILL_FULL | WEIR_SPILL_GROW });
    struct weir_buf bufs[2];
    alloc(arena, &bufs[0]);
    alloc(arena, &bufs[1]);

    cr_assert(eq(int, grow(&bufs[1], 0, BLOCK), WEIR_OK));
    cr_assert(eq(int, grow(&bufs[1], BLOCK, 1), WEIR_OK));

    cr_assert(eq(int, is_pattern(weir_buf_data(&bufs[1]), 0, BLOCK + 1), 1));
    expect_spilled(arena, 1, 2 * (BLOCK + 1));
    weir_buf_drop(&bufs[0]);
    weir_buf_drop(&bufs[1]);
    end_arena(arena);
}

Test(spill_grow, limit_is_reached_to_the_byte)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, grow(&buf, 0, LIMIT), WEIR_OK));

    expect_spilled(arena, 1, LIMIT);
    cr_assert(eq(sz, weir_buf_room(&buf), 0));
    cr_assert(eq(int, grow(&buf, LIMIT, 1), WEIR_NO_ROOM));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, LIMIT), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, beyond_the_limit_nothing_changes)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 8), WEIR_OK));
    cr_assert(eq(int, grow(&buf, 0, 40), WEIR_OK));
    struct weir_buf before = buf;
    struct weir_stats stats = stats_of(arena);

    cr_assert(eq(int, grow(&buf, 40, LIMIT - 47), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_buf_reserve(&buf, LIMIT - 47), WEIR_NO_ROOM));

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, 40), 1));
    struct weir_stats now = stats_of(arena);
    cr_assert(eq(int, memcmp(&now, &stats, sizeof now), 0));
    cr_assert(eq(int, grow(&buf, 40, LIMIT - 48), WEIR_OK));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, LIMIT - 8), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, limit_is_shared_by_all_bufs)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf bufs[2];
    alloc(arena, &bufs[0]);
    alloc(arena, &bufs[1]);
    cr_assert(eq(int, grow(&bufs[0], 0, LIMIT - 100), WEIR_OK));

    cr_assert(eq(int, grow(&bufs[1], 0, 101), WEIR_NO_ROOM));
    cr_assert(eq(int, grow(&bufs[1], 0, 100), WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, LIMIT));
    weir_buf_drop(&bufs[0]);

    expect_spilled(arena, 1, 100);
    cr_assert(eq(int, grow(&bufs[1], 100, LIMIT - 300), WEIR_OK));
    weir_buf_drop(&bufs[1]);
    end_arena(arena);
}

Test(spill_grow, limit_of_zero_is_as_much_as_the_blocks)
{
    struct weir_arena *arena = open_growing(0);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, grow(&buf, 0, BLOCK * BLOCKS + 1), WEIR_NO_ROOM));
    cr_assert(eq(int, grow(&buf, 0, BLOCK * BLOCKS), WEIR_OK));

    expect_spilled(arena, 1, BLOCK * BLOCKS);
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, limit_below_a_block_allows_no_spill)
{
    struct weir_arena *arena = open_growing(1);
    struct weir_buf buf;
    alloc(arena, &buf);

    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK + 1), WEIR_NO_ROOM));

    expect_spilled(arena, 0, 0);
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, more_than_32_bits_have_no_room)
{
    static const size_t sizes[] = { UINT32_MAX - 9, UINT32_MAX,
        (size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 10, SIZE_MAX - 10,
        SIZE_MAX };
    struct weir_arena *arena = open_growing(SIZE_MAX);
    struct weir_buf buf;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 4), WEIR_OK));
    cr_assert(eq(int, grow(&buf, 0, 6), WEIR_OK));
    struct weir_buf before = buf;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cr_assert(eq(int, weir_buf_reserve(&buf, sizes[i]), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_buf_write(&buf, "x", sizes[i]), WEIR_NO_ROOM));
    }

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    expect_spilled(arena, 0, 0);
    weir_buf_drop(&buf);
    end_arena(arena);
}

/* ---- Bytes of its own -------------------------------------------------- */

Test(spill_grow, bytes_of_a_slice_split_off_can_be_written)
{
    struct weir_arena *arena = open_growing(LIMIT);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    cr_assert(eq(int, grow(&buf, 0, BLOCK), WEIR_OK));
    weir_buf_split(&buf, &slice);

    cr_assert(
        eq(int, weir_buf_write(&buf, weir_slice_data(&slice), BLOCK), WEIR_OK));

    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, BLOCK), 1));
    weir_slice_release(&slice);
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(spill_grow, own_bytes_can_be_written_again)
{
    struct weir_arena *arena = open_growing(16 * LIMIT);
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, "0123456789abcdef0123456789abcdef");

    for (size_t len = 32; len < LIMIT; len *= 2)
        cr_assert(
            eq(int, weir_buf_write(&buf, weir_buf_data(&buf), len), WEIR_OK));

    const char *data = weir_buf_data(&buf);
    cr_assert(eq(sz, weir_buf_len(&buf), LIMIT));
    for (size_t i = 0; i < LIMIT; i++)
        cr_assert(eq(chr, data[i], "0123456789abcdef"[i % 16]));
    weir_buf_drop(&buf);
    end_arena(arena);
}

/* ---- The end of its arena ---------------------------------------------- */

static void
count_unmapped(void *user)
{
    ++*(int *)user;
}

Test(spill_grow, spilled_memory_keeps_a_destroyed_arena)
{
    int unmapped = 0;
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .block_size = BLOCK,
            .block_count = BLOCKS,
            .flags = WEIR_SPILL_GROW,
            .spill_bytes_max = LIMIT,
            .on_unmapped = count_unmapped,
            .user = &unmapped });
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);

    weir_arena_destroy(&arena);
    cr_assert(eq(int, grow(&buf, 0, 100), WEIR_OK));
    cr_assert(eq(int, unmapped, 0));
    cr_assert(eq(int, grow(&buf, 100, 200), WEIR_OK));
    cr_assert(eq(int, unmapped, 0));
    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(int, is_pattern(weir_slice_data(&slice), 0, 300), 1));
    on_thread(release_slice, &slice);
    cr_assert(eq(int, unmapped, 1));
    no_leaks();
}
