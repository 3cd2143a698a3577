/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"

#include <signal.h>

enum { LEAF = 256, SIZE = 64 * KIB };

/* Blocks begin at these leaves when they are taken in this order. */
static struct weir_buf
take_at(struct weir_arena *arena, size_t size, uint32_t leaf)
{
    struct weir_buf buf = take_of(arena, size);
    cr_assert(eq(u32, wr_owner_slot(buf.owner), leaf));
    return buf;
}

static struct weir_slice
freeze_at(struct weir_arena *arena, size_t size, uint32_t leaf)
{
    struct weir_slice slice = freeze_pattern(arena, size, 100);
    cr_assert(eq(u32, wr_owner_slot(slice.owner), leaf));
    return slice;
}

/* ---- Released twice, the block free ------------------------------------ */

static void
release_twice(unsigned flags, size_t size, const char *line)
{
    struct weir_arena *arena = open_buddy_with(LEAF, SIZE, flags);
    struct weir_buf other = take_at(arena, SIZE / 2, 0);
    struct weir_slice slice = freeze_pattern(arena, size, 10);
    struct weir_slice copy = slice;
    cr_assert(eq(u32, wr_owner_slot(slice.owner), 128));
    weir_slice_release(&slice);

    expect_misuse(line);
    weir_slice_release(&copy);
    weir_buf_drop(&other);
}

Test(misuse, buddy_slice_released_twice_aborts, .signal = SIGABRT)
{
    release_twice(
        WEIR_NO_CACHE, LEAF, "weir: arena 'test': block 128: released twice");
}

Test(misuse, large_buddy_slice_released_twice_aborts, .signal = SIGABRT)
{
    release_twice(WEIR_NO_CACHE, SIZE / 2,
        "weir: arena 'test': block 128: released twice");
}

Test(misuse, buddy_slice_on_the_own_shelf_released_again_aborts,
    .signal = SIGABRT)
{
    release_twice(0, LEAF, "weir: arena 'test': block 128: released twice");
}

Test(misuse, buddy_buf_dropped_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy_with(LEAF, SIZE, 0);
    struct weir_buf buf = take_of(arena, 1000);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);

    expect_misuse("weir: arena 'test': block *: released twice");
    weir_buf_drop(&copy);
}

static void *
take_and_drop(void *user)
{
    struct weir_slice *copy = user;
    struct weir_arena *arena = wr_arena_of(copy->word, copy->owner);
    struct weir_slice slice = freeze_pattern(arena, LEAF, 10);
    *copy = slice;
    weir_slice_release(&slice);
    return NULL;
}

static void *
keep_and_release(void *user)
{
    (void)take_and_drop(user);
    struct weir_slice copy = *(struct weir_slice *)user;
    weir_slice_release(&copy);
    return NULL;
}

Test(misuse, buddy_slice_on_a_shelf_released_again_there_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy_with(LEAF, SIZE, 0);
    struct weir_slice slice = freeze_pattern(arena, LEAF, 10);

    expect_misuse("weir: arena 'test': block *: released twice");
    on_thread(keep_and_release, &slice);
}

static struct weir_slice kept;
static pthread_barrier_t gate;

static void *
sleep_with_shelf(void *user)
{
    (void)take_and_drop(user);
    (void)pthread_barrier_wait(&gate);
    (void)pthread_barrier_wait(&gate);
    return NULL;
}

Test(misuse, buddy_slice_on_a_sleeping_threads_shelf_released_again_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    kept = freeze_pattern(arena, LEAF, 10);
    cr_assert(zero(int, pthread_barrier_init(&gate, NULL, 2)));
    (void)start_thread(sleep_with_shelf, &kept);
    (void)pthread_barrier_wait(&gate);
    cr_assert(gt(u64, stats_of(arena).blocks_cached, 0));

    expect_misuse("weir: arena 'test': block *: released twice");
    weir_slice_release(&kept);
}

Test(misuse, buddy_slice_released_again_after_its_block_merged_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf first = take_at(arena, LEAF, 0);
    struct weir_slice slice = freeze_at(arena, LEAF, 1);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    weir_buf_drop(&first);
    cr_assert(eq(sz, weir_arena_largest_free(arena), SIZE));

    expect_misuse("weir: arena 'test': block 1: released twice");
    weir_slice_release(&copy);
}

Test(misuse, buddy_slice_released_again_inside_a_larger_block_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf first = take_at(arena, LEAF, 0);
    struct weir_slice slice = freeze_at(arena, LEAF, 1);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    weir_buf_drop(&first);
    (void)take_at(arena, SIZE, 0);

    expect_misuse("weir: arena 'test': block 1: released twice");
    weir_slice_release(&copy);
}

/* ---- Handed out again, and of another size ----------------------------- */

Test(misuse, buddy_slice_released_again_after_its_block_was_split_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_at(arena, SIZE, 0);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    (void)take_at(arena, LEAF, 0);

    expect_misuse("weir: arena 'test': block 0: released once too often");
    weir_slice_release(&copy);
}

Test(misuse, buddy_slice_released_again_after_its_block_grew_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_at(arena, LEAF, 0);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    (void)take_at(arena, 4096, 0);

    expect_misuse("weir: arena 'test': block 0: released once too often");
    weir_slice_release(&copy);
}

Test(misuse, buddy_slice_released_again_with_shelves_and_another_size_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_shelved(LEAF, SIZE);
    struct weir_slice slice = freeze_pattern(arena, SIZE, 10);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    (void)take_at(arena, LEAF, 0);

    expect_misuse("weir: arena 'test': block 0: released once too often");
    weir_slice_release(&copy);
}

/* ---- Weights ----------------------------------------------------------- */

Test(misuse, buddy_clone_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_at(arena, 1000, 0);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&clone);
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_slice_release(&copy);
}

Test(misuse, buddy_slice_released_once_too_often_with_clones_aborts,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_at(arena, 1000, 0);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 0: released once too often");
    weir_slice_release(&copy);
}

/* ---- Handles that were altered ----------------------------------------- */

/* With shelves it is large enough to have one for 1 KiB. */
static struct weir_arena *
open_roomy(unsigned flags)
{
    return open_buddy_with(LEAF, flags == 0 ? MIB : SIZE, flags);
}

/* Releases a slice of leaf 0, 1 KiB, with another owner word. */
static void
release_altered(unsigned flags, uint64_t flip, const char *line)
{
    struct weir_arena *arena = open_roomy(flags);
    struct weir_slice slice = freeze_at(arena, 1024, 0);
    slice.owner ^= flip;

    expect_misuse(line);
    weir_slice_release(&slice);
}

Test(misuse, a_handle_with_a_larger_order_aborts, .signal = SIGABRT)
{
    release_altered(WEIR_NO_CACHE, UINT64_C(1) << 32,
        "weir: arena 'test': block 0: released once too often");
}

Test(misuse, a_handle_with_a_smaller_order_aborts, .signal = SIGABRT)
{
    release_altered(WEIR_NO_CACHE, UINT64_C(2) << 32,
        "weir: arena 'test': block 0: released once too often");
}

Test(misuse, a_handle_with_another_order_aborts_with_shelves_too,
    .signal = SIGABRT)
{
    release_altered(0, UINT64_C(3) << 32,
        "weir: arena 'test': block 0: released once too often");
}

Test(misuse, a_handle_with_an_order_there_is_not_aborts, .signal = SIGABRT)
{
    release_altered(WEIR_NO_CACHE, UINT64_C(0x80) << 32,
        "weir: arena 'test': block 0: released, but the arena has no such "
        "block");
}

Test(misuse, a_leaf_there_is_not_aborts, .signal = SIGABRT)
{
    release_altered(0, 4096,
        "weir: arena 'test': block 4096: released, but the arena has no such "
        "block");
}

Test(misuse, a_leaf_far_out_aborts, .signal = SIGABRT)
{
    release_altered(WEIR_NO_CACHE, UINT32_MAX,
        "weir: arena 'test': block 4294967295: released, but the arena has no "
        "such block");
}

Test(misuse, a_leaf_inside_a_block_aborts, .signal = SIGABRT)
{
    release_altered(0, 1, "weir: arena 'test': block 1: released twice");
}

static void
release_with_data_of(unsigned flags, size_t offset)
{
    struct weir_arena *arena = open_roomy(flags);
    struct weir_slice slice = freeze_at(arena, 1024, 0);
    slice.data += offset;

    expect_misuse(
        "weir: arena 'test': block 0: released with data of another block");
    weir_slice_release(&slice);
}

Test(misuse, buddy_data_behind_the_block_aborts, .signal = SIGABRT)
{
    release_with_data_of(WEIR_NO_CACHE, 1025);
}

Test(misuse, buddy_data_behind_the_block_aborts_with_shelves_too,
    .signal = SIGABRT)
{
    release_with_data_of(0, 1025);
}

Test(misuse, buddy_data_before_the_block_aborts, .signal = SIGABRT)
{
    release_with_data_of(0, (size_t)-1);
}

/* ---- Trimmed ----------------------------------------------------------- */

Test(misuse, a_stale_handle_after_a_trim_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_at(arena, SIZE, 0);
    struct weir_slice stale = slice;
    cr_assert(eq(sz, weir_slice_trim(&slice), SIZE - LEAF));

    expect_misuse("weir: arena 'test': block 0: released once too often");
    weir_slice_release(&stale);
}

Test(
    misuse, a_stale_handle_after_a_trim_and_a_release_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy_with(LEAF, SIZE, 0);
    struct weir_slice slice = freeze_at(arena, SIZE, 0);
    struct weir_slice stale = slice;
    cr_assert(eq(sz, weir_slice_trim(&slice), SIZE - LEAF));
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_slice_release(&stale);
}

Test(trim, a_stale_handle_is_not_trimmed_again)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_slice slice = freeze_at(arena, SIZE, 0);
    struct weir_slice stale = slice;
    cr_assert(eq(sz, weir_slice_trim(&slice), SIZE - LEAF));

    cr_assert(zero(sz, weir_slice_trim(&stale)));

    expect_sound(arena, LEAF);
    weir_slice_release(&slice);
    close_merged(&arena);
}

/* ---- Beyond the room --------------------------------------------------- */

Test(misuse, a_commit_beyond_the_room_as_asked_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, SIZE, WEIR_ROOM_AS_ASKED | WEIR_NO_CACHE);
    struct weir_buf buf = take_at(arena, 300, 0);

    expect_misuse(
        "weir: arena 'test': block 0: committed more than there was room for");
    weir_buf_commit(&buf, 301);
}

/* ---- Broken books ------------------------------------------------------ */

Test(misuse, a_free_leaf_with_references_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    wr_store_relaxed(&arena->counts[77], WR_WEIGHT_WHOLE);

    expect_misuse("weir: arena 'test': block 77: invariant 3 of arena broken");
    weir_arena_check(arena);
}

Test(misuse, a_leaf_inside_a_block_with_references_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    (void)take_at(arena, 1024, 0);
    wr_store_relaxed(&arena->counts[2], WR_WEIGHT_WHOLE);

    expect_misuse("weir: arena 'test': block 0: invariant 3 of arena broken");
    weir_arena_check(arena);
}

Test(misuse, a_block_that_is_nowhere_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    (void)take_at(arena, 1024, 0);
    wr_store_relaxed(&arena->counts[0], 0);

    expect_misuse("weir: arena 'test': invariant 3 of arena broken");
    weir_arena_check(arena);
}

/* ---- A handle of another kind of arena ---------------------------------- */

/* The number, the memory and the first block are those of the handle's arena. */
Test(misuse, a_fixed_block_released_into_a_buddy_of_its_number_aborts,
    .signal = SIGABRT)
{
    static _Alignas(4096) uint8_t memory[SIZE];
    struct weir_arena_config config = {
        .name = "test", .bytes = SIZE, .block_size = LEAF, .memory = memory
    };
    struct weir_arena *arena;
    cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_OK));
    struct weir_buf buf = take_of(arena, LEAF);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    weir_arena_destroy(&arena);
    config.layout = WEIR_BUDDY;
    cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_OK));
    struct weir_buf mine = take_of(arena, LEAF);
    cr_assert(eq(u64, mine.owner, copy.owner));

    expect_misuse("weir: arena 'test': block 0: released, but the arena has no "
                  "such block");
    weir_buf_drop(&copy);
    weir_buf_drop(&mine);
}
