/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"

#include <sys/mman.h>

enum { LEAF = 256, SIZE = 64 * KIB };

/* ---- Room -------------------------------------------------------------- */

Test(buddy_slice, room_is_the_block)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf buf = take_of(arena, 300);

    cr_assert(eq(sz, weir_buf_room(&buf), 512));
    cr_assert(eq(int, weir_buf_reserve(&buf, 512), WEIR_OK));
    cr_assert(eq(int, weir_buf_reserve(&buf, 513), WEIR_NO_ROOM));
    write_pattern(&buf, 0, 512);
    cr_assert(eq(int, weir_buf_write(&buf, "x", 1), WEIR_NO_ROOM));
    cr_assert(is_pattern(weir_buf_data(&buf), 0, 512));

    weir_buf_drop(&buf);
    close_merged(&arena);
}

Test(buddy_slice, room_as_asked_is_what_was_asked_for)
{
    static const size_t sizes[] = { 1, 255, 256, 257, 300, 4096, 4097, SIZE };
    struct weir_arena *arena =
        open_buddy_with(LEAF, SIZE, WEIR_NO_CACHE | WEIR_ROOM_AS_ASKED);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct weir_buf buf = take_of(arena, sizes[i]);
        cr_assert(eq(sz, weir_buf_room(&buf), sizes[i]));
        cr_assert(eq(int, weir_buf_reserve(&buf, sizes[i]), WEIR_OK));
        cr_assert(eq(int, weir_buf_reserve(&buf, sizes[i] + 1), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_buf_headroom(&buf, sizes[i] + 1), WEIR_NO_ROOM));
        write_pattern(&buf, 0, sizes[i]);
        cr_assert(eq(int, weir_buf_write(&buf, "x", 1), WEIR_NO_ROOM));
        cr_assert(eq(sz, weir_buf_len(&buf), sizes[i]));
        weir_buf_drop(&buf);
    }

    close_merged(&arena);
}

Test(buddy_slice, room_as_asked_for_nothing_is_the_smallest_block)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, SIZE, WEIR_NO_CACHE | WEIR_ROOM_AS_ASKED);
    struct weir_buf buf = take_of(arena, 0);

    cr_assert(eq(sz, weir_buf_room(&buf), LEAF));

    weir_buf_drop(&buf);
    close_merged(&arena);
}

Test(buddy_slice, room_as_asked_comes_also_from_a_shelf)
{
    struct weir_arena *arena = open_buddy_with(LEAF, MIB, WEIR_ROOM_AS_ASKED);

    for (size_t size = 1; size < 1000; size += 7) {
        struct weir_buf buf = take_of(arena, size);
        cr_assert(eq(sz, weir_buf_room(&buf), size));
        weir_buf_drop(&buf);
    }

    close_merged(&arena);
}

/* ---- On the heap ------------------------------------------------------- */

static struct weir_arena *
open_spilling(unsigned flags, size_t spill_bytes_max)
{
    return open_with(&(struct weir_arena_config){ .name = "test",
        .layout = WEIR_BUDDY,
        .block_size = LEAF,
        .bytes = SIZE,
        .flags = flags | WEIR_NO_CACHE,
        .spill_bytes_max = spill_bytes_max });
}

Test(buddy_slice, a_full_arena_spills_blocks_of_the_size_they_would_have)
{
    static const size_t sizes[] = { 0, 1, 256, 257, 5000, SIZE };
    struct weir_arena *arena = open_spilling(WEIR_SPILL_FULL, 10 * SIZE);
    struct weir_buf all = take_of(arena, SIZE);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t wanted = LEAF;
        while (wanted < sizes[i])
            wanted *= 2;
        struct weir_buf buf = take_of(arena, sizes[i]);
        struct weir_stats stats = stats_of(arena);
        cr_assert(eq(int, wr_word_kind(buf.word), WR_SPILLED));
        cr_assert(eq(sz, weir_buf_room(&buf), wanted));
        cr_assert(eq(u64, stats.spilled_bytes, wanted));
        cr_assert(eq(u64, stats.spilled_blocks, 1));
        cr_assert(eq(u64, stats.blocks_out, 1));
        expect_sound(arena, SIZE);
        write_pattern(&buf, 0, wanted);
        weir_buf_drop(&buf);
    }

    weir_buf_drop(&all);
    close_merged(&arena);
}

Test(buddy_slice, a_spilled_buf_has_room_as_asked_too)
{
    struct weir_arena *arena =
        open_spilling(WEIR_SPILL_FULL | WEIR_ROOM_AS_ASKED, 0);
    struct weir_buf all = take_of(arena, SIZE);

    struct weir_buf some = take_of(arena, 300);
    struct weir_buf none = take_of(arena, 0);

    cr_assert(eq(sz, weir_buf_room(&some), 300));
    cr_assert(eq(sz, weir_buf_room(&none), LEAF));
    weir_buf_drop(&some);
    weir_buf_drop(&none);
    weir_buf_drop(&all);
    close_merged(&arena);
}

Test(buddy_slice, what_is_spilled_at_once_has_a_limit_in_bytes)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_FULL, 8192);
    struct weir_buf all = take_of(arena, SIZE);
    struct weir_buf half = take_of(arena, 4096);

    cr_assert(eq(int, ask_for(arena, 4097), WEIR_FULL));
    cr_assert(eq(int, ask_for(arena, 4096), WEIR_OK));
    cr_assert(eq(int, ask_for(arena, SIZE), WEIR_FULL));

    weir_buf_drop(&half);
    weir_buf_drop(&all);
    close_merged(&arena);
}

Test(buddy_slice, spilling_defaults_to_as_much_as_the_arena_has)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_FULL, 0);
    struct weir_buf bufs[3] = { take_of(arena, SIZE), take_of(arena, SIZE) };

    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));

    cr_assert(eq(u64, stats_of(arena).spilled_bytes, SIZE));
    weir_buf_drop(&bufs[1]);
    weir_buf_drop(&bufs[0]);
    close_merged(&arena);
}

Test(buddy_slice, a_buf_that_outgrows_its_block_moves_and_its_block_merges)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_GROW, MIB);
    struct weir_buf buf = take_of(arena, 1000);
    write_pattern(&buf, 0, 1024);

    cr_assert(eq(int, weir_buf_reserve(&buf, 1), WEIR_OK));

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.spill_grows, 1));
    cr_assert(eq(u64, stats.bytes_copied, 1024));
    cr_assert(eq(u64, stats.spilled_bytes, 2050));
    cr_assert(eq(u64, stats.largest_free, SIZE));
    expect_sound(arena, 0);
    write_pattern(&buf, 1024, weir_buf_room(&buf));
    cr_assert(is_pattern(weir_buf_data(&buf), 0, weir_buf_len(&buf)));
    struct weir_slice slice;
    weir_buf_freeze(&buf, &slice);
    cr_assert(zero(sz, weir_slice_trim(&slice)));
    weir_slice_release(&slice);
    close_merged(&arena);
}

Test(buddy_slice, a_buf_with_room_as_asked_grows_to_the_heap)
{
    struct weir_arena *arena =
        open_spilling(WEIR_SPILL_GROW | WEIR_ROOM_AS_ASKED, MIB);
    struct weir_buf buf = take_of(arena, 300);
    write_pattern(&buf, 0, 300);

    cr_assert(eq(int, weir_buf_write(&buf, "x", 1), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).spill_grows, 1));
    cr_assert(is_pattern(weir_buf_data(&buf), 0, 300));
    weir_buf_drop(&buf);
    close_merged(&arena);
}

/* ---- Slices ------------------------------------------------------------ */

enum { PARTS = 6 };

/* Handles of one block of `size` bytes, made in all the ways there are. */
static void
make_parts(struct weir_arena *arena, size_t size, struct weir_slice *parts)
{
    parts[0] = freeze_pattern(arena, size, size);
    weir_slice_clone(&parts[0], &parts[1]);
    weir_slice_clone_shared(&parts[0], &parts[2]);
    cr_assert(
        eq(int, weir_slice_sub(&parts[1], 3, size / 2, &parts[3]), WEIR_OK));
    cr_assert(
        eq(int, weir_slice_split_front(&parts[2], 10, &parts[4]), WEIR_OK));
    cr_assert(
        eq(int, weir_slice_split_back(&parts[0], 20, &parts[5]), WEIR_OK));
}

static void
expect_parts(size_t size, const struct weir_slice *parts)
{
    static const size_t at_start[PARTS] = { 0, 0, 10, 3, 0, 0 };
    for (size_t i = 0; i < PARTS; i++) {
        size_t from = i == 5 ? size - 20 : at_start[i];
        if (is_empty_slice(&parts[i]))
            continue;
        cr_assert(is_pattern(weir_slice_data(&parts[i]), from,
                      weir_slice_len(&parts[i])),
            "part %zu", i);
        cr_assert(eq(sz, size_of_slice(&parts[i]), size));
    }
}

Test(buddy_slice, a_block_goes_home_with_the_last_of_its_slices_in_any_order)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);

    for (size_t size = LEAF; size <= SIZE; size *= 4)
        for (size_t first = 0; first < PARTS; first++)
            for (size_t stride = 1; stride < PARTS; stride += 4) {
                struct weir_slice parts[PARTS];
                make_parts(arena, size, parts);
                for (size_t i = 0; i < PARTS; i++) {
                    expect_parts(size, parts);
                    expect_sound(arena, size);
                    weir_slice_release(&parts[(first + i * stride) % PARTS]);
                }
                expect_sound(arena, 0);
            }

    close_merged(&arena);
}

Test(buddy_slice, slices_may_be_released_on_other_threads)
{
    struct weir_arena *arena = open_buddy_with(LEAF, SIZE, 0);

    for (size_t size = LEAF; size <= SIZE; size *= 2) {
        struct weir_slice parts[PARTS];
        make_parts(arena, size, parts);
        for (size_t i = 0; i < PARTS; i++)
            on_thread(release_slice, &parts[i]);
        cr_assert(zero(u64, stats_of(arena).blocks_out));
        weir_arena_check(arena);
    }

    close_merged(&arena);
}

Test(buddy_slice, a_slice_is_sole_until_it_is_cloned_or_cut)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_pattern(arena, 5000, 5000);
    struct weir_slice clone;
    struct weir_slice shared;

    cr_assert(weir_slice_is_sole(&slice));
    weir_slice_clone(&slice, &clone);
    cr_assert(not(weir_slice_is_sole(&slice)));
    cr_assert(not(weir_slice_is_sole(&clone)));
    weir_slice_release(&slice);
    cr_assert(weir_slice_is_sole(&clone));
    weir_slice_clone_shared(&clone, &shared);
    cr_assert(not(weir_slice_is_sole(&clone)));
    weir_slice_release(&clone);
    cr_assert(weir_slice_is_sole(&shared));

    weir_slice_release(&shared);
    close_merged(&arena);
}

Test(buddy_slice, a_sole_slice_thaws_with_head_and_room_of_its_block)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf buf = take_of(arena, 5000);
    struct weir_slice slice;
    struct weir_slice clone;
    cr_assert(eq(int, weir_buf_headroom(&buf, 100), WEIR_OK));
    write_pattern(&buf, 0, 1000);
    weir_buf_freeze(&buf, &slice);
    weir_slice_clone(&slice, &clone);

    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_SHARED));
    weir_slice_release(&clone);
    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));

    cr_assert(is_empty_slice(&slice));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 100));
    cr_assert(eq(sz, weir_buf_len(&buf), 1000));
    cr_assert(eq(sz, weir_buf_room(&buf), 8192 - 1100));
    write_pattern(&buf, 1000, weir_buf_room(&buf));
    cr_assert(is_pattern(weir_buf_data(&buf), 0, 8092));
    expect_sound(arena, 8192);
    weir_buf_drop(&buf);
    close_merged(&arena);
}

Test(buddy_slice, many_messages_share_one_block)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf buf = take_of(arena, 8192);
    struct weir_slice slices[8];

    for (size_t i = 0; i < 8; i++) {
        write_pattern(&buf, i * 1000, 1000);
        weir_buf_split(&buf, &slices[i]);
    }
    weir_buf_drop(&buf);

    expect_sound(arena, 8192);
    for (size_t i = 0; i < 8; i++) {
        cr_assert(is_pattern(weir_slice_data(&slices[i]), i * 1000, 1000));
        cr_assert(zero(sz, weir_slice_trim(&slices[i])));
        weir_slice_release(&slices[i]);
    }
    close_merged(&arena);
}

/* ---- Ends -------------------------------------------------------------- */

Test(buddy_slice,
    blocks_of_all_sizes_come_home_to_a_destroyed_arena_in_any_order)
{
    static const size_t sizes[] = { 256, 16384, 512, 8192, 256, 4096 };
    enum { COUNT = sizeof sizes / sizeof sizes[0] };

    for (size_t first = 0; first < COUNT; first++)
        for (unsigned caches = 0; caches < 2; caches++) {
            struct weir_arena *arena =
                open_buddy_with(LEAF, SIZE, caches ? 0 : WEIR_NO_CACHE);
            struct weir_slice slices[COUNT];
            struct iovec memory;
            weir_arena_memory(arena, &memory);
            for (size_t i = 0; i < COUNT; i++)
                slices[i] = freeze_pattern(arena, sizes[i], sizes[i]);
            weir_arena_destroy(&arena);
            for (size_t i = 0; i < COUNT; i++) {
                size_t which = (first + i * 5) % COUNT;
                cr_assert(is_pattern(
                    weir_slice_data(&slices[which]), 0, sizes[which]));
                cr_assert(is_mapped(memory.iov_base, memory.iov_len));
                weir_slice_release(&slices[which]);
            }
            cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
        }

    no_leaks();
}

Test(buddy_slice, a_trim_in_a_destroyed_arena_is_fine)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    struct weir_slice slice = freeze_pattern(arena, SIZE, 5000);
    weir_arena_destroy(&arena);

    cr_assert(eq(sz, weir_slice_trim(&slice), SIZE - 8192));

    cr_assert(is_pattern(weir_slice_data(&slice), 0, 5000));
    cr_assert(is_mapped(memory.iov_base, memory.iov_len));
    weir_slice_release(&slice);
    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

/* ---- Memory of the caller's -------------------------------------------- */

static void
note_unmapped(void *user)
{
    (*(int *)user)++;
}

Test(buddy_slice, memory_of_the_callers_is_never_written_at_creation_nor_freed)
{
    enum { LENGTH = SIZE + 5 * LEAF };
    static _Alignas(4096) uint8_t memory[LENGTH + 100];
    int unmapped = 0;
    memset(memory, 0xa5, sizeof memory);
    struct weir_arena_config config = { .name = "test",
        .layout = WEIR_BUDDY,
        .block_size = LEAF,
        .bytes = LENGTH + 100,
        .flags = WEIR_NEAREST,
        .memory = memory,
        .on_unmapped = note_unmapped,
        .user = &unmapped };
    struct weir_arena *arena = open_with(&config);

    struct weir_buf all = take_of(arena, SIZE);
    struct weir_buf four = take_of(arena, 4 * LEAF);
    struct weir_buf one = take_of(arena, LEAF);
    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
    expect_sound(arena, LENGTH);
    weir_buf_drop(&all);
    weir_buf_drop(&four);
    struct weir_slice slice;
    write_text(&one, "text");
    weir_buf_freeze(&one, &slice);
    weir_arena_destroy(&arena);

    cr_assert(zero(int, unmapped));
    cr_assert(slice_holds(&slice, "text"));
    weir_slice_release(&slice);
    cr_assert(eq(int, unmapped, 1));
    size_t changed = 0;
    for (size_t i = 0; i < sizeof memory; i++)
        changed += memory[i] != 0xa5;
    cr_assert(eq(sz, changed, 4));
    no_leaks();
}

Test(buddy_slice, memory_that_is_refused_stays_the_callers)
{
    static _Alignas(4096) uint8_t memory[8192];
    int unmapped = 0;
    struct weir_arena *arena = NULL;
    struct weir_arena_config config = { .layout = WEIR_BUDDY,
        .block_size = 256,
        .bytes = 4096,
        .memory = memory + 256,
        .on_unmapped = note_unmapped,
        .user = &unmapped };

    cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_INVALID));

    cr_assert(zero(ptr, arena));
    cr_assert(zero(int, unmapped));
    no_leaks();
}

/* ---- Above 4 GiB ------------------------------------------------------- */

#define GIB ((size_t)1 << 30)

/* Offsets do not fit into 32 bits. Only what is written needs memory. */
Test(buddy_slice, a_region_of_5_gib_is_used_from_end_to_end)
{
    if (under_asan())
        cr_skip_test("the sanitizer would need a shadow of it");
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = mmap(NULL, 5 * GIB, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        cr_skip_test("there are no 5 GiB of addresses");
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .name = "test",
            .layout = WEIR_BUDDY,
            .block_size = MIB,
            .bytes = 5 * GIB,
            .flags = WEIR_NO_CACHE,
            .memory = memory });
    expect_sound(arena, 0);
    cr_assert(eq(u64, stats_of(arena).block_size_max, 2 * GIB));

    struct weir_buf bufs[3] = { take_of(arena, 2 * GIB),
        take_of(arena, 2 * GIB), take_of(arena, GIB) };

    cr_assert(eq(int, ask_for(arena, 1), WEIR_FULL));
    cr_assert(eq(int, ask_for(arena, 2 * GIB + 1), WEIR_TOO_LARGE));
    expect_sound(arena, 5 * GIB);
    bool seen[5] = { false };
    for (size_t i = 0; i < 3; i++) {
        uint8_t *start = weir_buf_tail(&bufs[i]);
        size_t offset = at(start) - at(memory);
        size_t size = i < 2 ? 2 * GIB : GIB;
        cr_assert(eq(sz, weir_buf_room(&bufs[i]), size));
        cr_assert(zero(sz, offset % size));
        for (size_t part = 0; part < size / GIB; part++) {
            cr_assert(not(seen[offset / GIB + part]));
            seen[offset / GIB + part] = true;
        }
        start[0] = (uint8_t)(i + 1);
        start[size - 1] = (uint8_t)(i + 1);
    }
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *start = weir_buf_tail(&bufs[i]);
        cr_assert(eq(int, start[0], (int)i + 1));
        weir_buf_drop(&bufs[i]);
    }
    struct weir_buf small = take_of(arena, 5);
    expect_sound(arena, MIB);
    weir_buf_drop(&small);
    close_merged(&arena);
    cr_assert(zero(int, munmap(memory, 5 * GIB)));
}
