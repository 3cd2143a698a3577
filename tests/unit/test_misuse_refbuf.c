/* SPDX-License-Identifier: MIT */
#include "support/refbuf.h"

#include "refbuf/refs.h"
#include "weir/heap.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { BLOCK = 256, BLOCKS = 4 };

/* A second handle that the library does not know of, of block `block`. */
static struct weir_slice
slice_of_block(struct weir_arena *arena, uint32_t block)
{
    struct weir_slice slice;
    struct weir_buf bufs[BLOCKS];
    struct weir_buf *wanted = NULL;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        alloc(arena, &bufs[i]);
        if (wr_owner_slot(bufs[i].owner) == block)
            wanted = &bufs[i];
    }
    cr_assert(ne(ptr, wanted, NULL));
    write_text(wanted, "text");
    weir_buf_freeze(wanted, &slice);
    for (uint32_t i = 0; i < BLOCKS; i++)
        weir_buf_drop(&bufs[i]);
    return slice;
}

/* ---- Released twice, the block free ------------------------------------ */

Test(misuse, slice_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 2: released twice");
    weir_slice_release(&copy);
}

Test(misuse, clone_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&slice);
    weir_slice_release(&clone);

    expect_misuse("weir: arena 'test': block 1: released twice");
    weir_slice_release(&copy);
}

Test(misuse, cloned_slice_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    weir_slice_release(&clone);

    expect_misuse("weir: arena 'test': block 1: released twice");
    weir_slice_release(&copy);
}

Test(misuse, shared_clone_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 3);
    struct weir_slice clone;
    weir_slice_clone_shared(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&slice);
    weir_slice_release(&clone);

    expect_misuse("weir: arena 'test': block 3: released twice");
    weir_slice_release(&copy);
}

Test(misuse, source_of_a_shared_clone_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 3);
    struct weir_slice clone;
    weir_slice_clone_shared(&slice, &clone);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    weir_slice_release(&clone);

    expect_misuse("weir: arena 'test': block 3: released twice");
    weir_slice_release(&copy);
}

Test(misuse, part_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 0);
    struct weir_slice part;
    cr_assert(eq(int, weir_slice_split_front(&slice, 2, &part), WEIR_OK));
    struct weir_slice copy = part;
    weir_slice_release(&part);
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_slice_release(&copy);
}

Test(misuse, slice_released_twice_on_another_thread_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 2: released twice");
    on_thread(release_slice, &copy);
}

Test(misuse, buf_dropped_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    alloc(arena, &buf);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_buf_drop(&copy);
}

Test(misuse, buf_dropped_after_its_freeze_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");
    struct weir_buf copy = buf;
    weir_buf_freeze(&buf, &slice);
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_buf_drop(&copy);
}

Test(misuse, copy_of_a_dropped_buf_is_found_when_it_is_released,
    .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    weir_buf_freeze(&copy, &slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_slice_release(&slice);
}

Test(misuse, split_buf_dropped_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");
    weir_buf_split(&buf, &slice);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_buf_drop(&copy);
}

Test(misuse, empty_freeze_of_a_copied_buf_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    struct weir_buf copy = buf;
    weir_buf_freeze(&buf, &slice);

    expect_misuse("weir: arena 'test': block 0: released twice");
    weir_buf_freeze(&copy, &slice);
}

Test(misuse, copied_buf_that_outgrew_its_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .name = "test",
            .block_size = BLOCK,
            .block_count = 1,
            .spill_bytes_max = 16 * BLOCK,
            .flags = WEIR_SPILL_GROW });
    struct weir_buf buf;
    alloc(arena, &buf);
    struct weir_buf copy = buf;
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK + 1), WEIR_OK));

    expect_misuse("weir: arena 'test': block 0: released twice");
    cr_assert(eq(int, weir_buf_reserve(&copy, BLOCK + 1), WEIR_OK));
}

Test(misuse, copied_chain_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_chain chain = { 0 };
    cr_assert(eq(int, weir_chain_push(&chain, &slice), WEIR_OK));
    struct weir_chain copy = chain;
    weir_chain_release(&chain);

    expect_misuse("weir: arena 'test': block 2: released twice");
    weir_chain_release(&copy);
}

Test(misuse, copied_chain_advanced_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_chain chain = { 0 };
    cr_assert(eq(int, weir_chain_push(&chain, &slice), WEIR_OK));
    struct weir_chain copy = chain;
    cr_assert(eq(int, weir_chain_advance(&chain, 4), WEIR_OK));

    expect_misuse("weir: arena 'test': block 2: released twice");
    cr_assert(eq(int, weir_chain_advance(&copy, 4), WEIR_OK));
}

/* ---- Released too often, others alive ---------------------------------- */

Test(misuse, clone_released_too_often_is_found_by_the_last, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&clone);
    weir_slice_release(&copy);

    expect_misuse("weir: arena 'test': block 1: released once too often");
    weir_slice_release(&slice);
}

Test(misuse, heavy_handle_released_too_often_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);

    expect_misuse("weir: arena 'test': block 1: released once too often");
    weir_slice_release(&copy);
}

Test(misuse, two_copies_released_too_often_abort, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clones[2];
    weir_slice_clone(&slice, &clones[0]);
    weir_slice_clone(&slice, &clones[1]);
    struct weir_slice copies[2] = { clones[0], clones[1] };
    for (size_t i = 0; i < 2; i++) {
        weir_slice_release(&clones[i]);
        weir_slice_release(&copies[i]);
    }

    expect_misuse("weir: arena 'test': block 1: released once too often");
    weir_slice_release(&slice);
}

/* 9/16, 3/16 and four times the same 4/16 of the weight. */
Test(misuse, copies_that_add_up_are_found_by_the_next, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clones[2];
    weir_slice_clone(&slice, &clones[0]);
    weir_slice_clone(&slice, &clones[1]);
    for (size_t i = 0; i < 4; i++) {
        struct weir_slice copy = clones[0];
        weir_slice_release(&copy);
    }
    cr_assert(eq(sz, blocks_out(arena), 0));

    expect_misuse("weir: arena 'test': block 1: released twice");
    weir_slice_release(&slice);
}

Test(misuse, shared_clone_released_too_often_is_found, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone_shared(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&clone);
    weir_slice_release(&copy);

    expect_misuse("weir: arena 'test': block 1: released once too often");
    weir_slice_release(&slice);
}

Test(misuse, slice_too_often_is_found_by_the_buf, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");
    weir_buf_split(&buf, &slice);
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    weir_slice_release(&copy);

    expect_misuse("weir: arena 'test': block 0: released once too often");
    weir_buf_drop(&buf);
}

Test(misuse, spilled_memory_released_too_often_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .name = "heap",
            .block_size = BLOCK,
            .block_count = 1,
            .spill_bytes_max = 16 * BLOCK,
            .flags = WEIR_SPILL_GROW });
    struct weir_buf buf;
    struct weir_slice slice;
    struct weir_slice clone;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK + 1), WEIR_OK));
    write_text(&buf, "text");
    weir_buf_freeze(&buf, &slice);
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&clone);
    weir_slice_release(&copy);

    expect_misuse("weir: arena 'heap': released once too often");
    weir_slice_release(&slice);
}

static void
ignore_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    (void)user;
}

Test(misuse, foreign_memory_released_too_often_aborts, .signal = SIGABRT)
{
    struct weir_slice slice;
    struct weir_slice clone;
    cr_assert(eq(int,
        weir_slice_foreign("text", 4, ignore_release, NULL, &slice), WEIR_OK));
    weir_slice_clone(&slice, &clone);
    struct weir_slice copy = clone;
    weir_slice_release(&clone);
    weir_slice_release(&copy);

    expect_misuse("weir: foreign memory was released once too often");
    weir_slice_release(&slice);
}

/* ---- Heap memory that went home ---------------------------------------- */

static struct weir_arena *
open_full(void)
{
    struct weir_buf held;
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .name = "heap",
            .block_size = BLOCK,
            .block_count = 1,
            .flags = WEIR_SPILL_FULL });
    alloc(arena, &held);
    return arena;
}

static struct weir_slice
spill_text(const char *text)
{
    struct weir_slice slice;
    freeze_text(open_full(), text, &slice);
    cr_assert(eq(int, wr_word_kind(slice.word), WR_SPILLED));
    return slice;
}

static const char gone[] =
    "weir: arena 'heap': spilled memory was used or released after its release";

Test(misuse, spilled_slice_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_slice slice = spill_text("text");
    struct weir_slice copy = slice;
    weir_slice_release(&slice);

    expect_misuse(gone);
    weir_slice_release(&copy);
}

Test(misuse, spilled_buf_dropped_twice_aborts, .signal = SIGABRT)
{
    struct weir_buf buf;
    alloc(open_full(), &buf);
    struct weir_buf copy = buf;
    weir_buf_drop(&buf);

    expect_misuse(gone);
    weir_buf_drop(&copy);
}

Test(misuse, spilled_slice_cloned_after_its_release_aborts, .signal = SIGABRT)
{
    struct weir_slice slice = spill_text("text");
    const struct weir_slice copy = slice;
    struct weir_slice clone;
    weir_slice_release(&slice);

    expect_misuse(gone);
    weir_slice_clone_shared(&copy, &clone);
}

Test(misuse, spilled_slice_thawed_after_its_release_aborts, .signal = SIGABRT)
{
    struct weir_slice slice = spill_text("text");
    struct weir_slice copy = slice;
    struct weir_buf buf;
    weir_slice_release(&slice);

    expect_misuse(gone);
    cr_assert(eq(int, weir_slice_thaw(&copy, &buf), WEIR_OK));
}

/* The system has its page, and what stood there. */
Test(misuse, spilled_slice_released_long_ago_aborts, .signal = SIGABRT)
{
    struct weir_slice slice = spill_text("text");
    struct weir_slice copy = slice;
    weir_slice_release(&slice);
    weir_heap_trim(weir_heap_default());

    expect_misuse(
        "weir: spilled memory was used or released after its release");
    weir_slice_release(&copy);
}

static struct weir_slice
wrap_text(const char *text)
{
    struct weir_slice slice;
    cr_assert(eq(int,
        weir_slice_foreign(text, strlen(text), ignore_release, NULL, &slice),
        WEIR_OK));
    return slice;
}

Test(misuse, foreign_slice_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_slice slice = wrap_text("text");
    struct weir_slice copy = slice;
    weir_slice_release(&slice);

    expect_misuse(
        "weir: foreign memory was used or released after its release");
    weir_slice_release(&copy);
}

Test(misuse, foreign_slice_cloned_after_its_release_aborts, .signal = SIGABRT)
{
    struct weir_slice slice = wrap_text("text");
    const struct weir_slice copy = slice;
    struct weir_slice clone;
    weir_slice_release(&slice);

    expect_misuse(
        "weir: foreign memory was used or released after its release");
    weir_slice_clone_shared(&copy, &clone);
}

Test(misuse, copied_long_chain_released_twice_aborts, .signal = SIGABRT)
{
    struct weir_chain chain = { 0 };
    for (size_t i = 0; i <= WEIR_CHAIN_INLINE; i++) {
        struct weir_slice slice;
        static_text("text", &slice);
        cr_assert(eq(int, weir_chain_push(&chain, &slice), WEIR_OK));
    }
    struct weir_chain copy = chain;
    weir_chain_release(&chain);

    expect_misuse("weir: a chain was released twice");
    weir_chain_release(&copy);
}

/* ---- A handle into itself, or of an arena that is gone ------------------ */

Test(misuse, clone_of_a_slice_into_itself_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_slice slice;
    freeze_text(arena, "text", &slice);

    expect_misuse("weir: a slice was cloned into itself");
    weir_slice_clone(&slice, &slice);
}

Test(misuse, sub_of_a_slice_into_itself_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_slice slice;
    freeze_text(arena, "text", &slice);

    expect_misuse("weir: a slice was cut into itself");
    cr_assert(eq(int, weir_slice_sub(&slice, 1, 2, &slice), WEIR_OK));
}

Test(misuse, freeze_of_a_copy_after_its_arena_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    weir_buf_commit(&buf, 4);
    struct weir_buf copy = buf;
    weir_arena_destroy(&arena);
    weir_buf_drop(&buf);

    expect_misuse("weir: arena 'test': block 0: frozen, but the arena has no "
                  "such block");
    weir_buf_freeze(&copy, &slice);
}

/* ---- Written past the end ---------------------------------------------- */

Test(misuse, commit_beyond_the_room_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    alloc(arena, &buf);
    weir_buf_commit(&buf, BLOCK - 1);

    expect_misuse("weir: arena 'test': block 0: committed more than there was "
                  "room for");
    weir_buf_commit(&buf, 2);
}

Test(misuse, commit_beyond_32_bits_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    alloc(arena, &buf);

    expect_misuse("weir: arena 'test': block 0: committed more than there was "
                  "room for");
    weir_buf_commit(&buf, (size_t)UINT32_MAX + 1);
}

Test(misuse, commit_to_the_empty_buf_aborts, .signal = SIGABRT)
{
    struct weir_buf buf = { 0 };

    expect_misuse("weir: committed more than there was room for");
    weir_buf_commit(&buf, 1);
}

Test(misuse, commit_to_a_frozen_buf_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");
    weir_buf_freeze(&buf, &slice);

    expect_misuse("weir: committed more than there was room for");
    weir_buf_commit(&buf, 1);
}

Test(misuse, commit_beyond_the_room_on_the_heap_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .name = "heap",
            .block_size = BLOCK,
            .block_count = 1,
            .flags = WEIR_SPILL_FULL });
    struct weir_buf bufs[2];
    alloc(arena, &bufs[0]);
    alloc(arena, &bufs[1]);

    expect_misuse("weir: arena 'heap': committed more than there was room for");
    weir_buf_commit(&bufs[1], BLOCK + 1);
}

/* ---- Forged handles ---------------------------------------------------- */

Test(misuse, release_of_a_block_that_is_not_there_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    slice.owner = wr_owner_pack(arena->id, BLOCKS);

    expect_misuse("weir: arena 'test': block 4: *");
    weir_slice_release(&slice);
}

Test(misuse, release_of_a_block_far_away_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    slice.owner = wr_owner_pack(arena->id, UINT32_MAX);

    expect_misuse("weir: arena 'test': block 4294967295: *");
    weir_slice_release(&slice);
}

Test(misuse, release_of_a_clone_of_no_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    clone.owner = wr_owner_pack(arena->id, UINT32_MAX);

    expect_misuse("weir: arena 'test': block 4294967295: *");
    weir_slice_release(&clone);
}

Test(
    misuse, clone_shared_of_a_block_that_is_not_there_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_slice copy;
    slice.owner = wr_owner_pack(arena->id, BLOCKS);

    expect_misuse("weir: arena 'test': block 4: used, but the arena has no "
                  "such block");
    weir_slice_clone_shared(&slice, &copy);
}

Test(misuse, thaw_of_a_block_that_is_not_there_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 2);
    struct weir_buf buf;
    slice.owner = wr_owner_pack(arena->id, BLOCKS);

    expect_misuse("weir: arena 'test': block 4: used, but the arena has no "
                  "such block");
    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));
}

Test(misuse, release_with_data_of_the_next_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    slice.data += arena->fixed.stride + 1;

    expect_misuse("weir: arena 'test': block 1: released with data of another "
                  "block");
    weir_slice_release(&slice);
}

Test(misuse, release_with_data_in_front_of_the_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    slice.data -= 1;

    expect_misuse("weir: arena 'test': block 1: released with data of another "
                  "block");
    weir_slice_release(&slice);
}

Test(misuse, release_as_a_free_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    slice.owner = wr_owner_pack(arena->id, 3);

    expect_misuse("weir: arena 'test': block 3: released *");
    weir_slice_release(&slice);
}

Test(misuse, release_as_another_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf bufs[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        alloc(arena, &bufs[i]);
    uint64_t owner = bufs[1].owner;
    bufs[1].owner = wr_owner_pack(arena->id, 3);
    cr_assert(ne(u64, bufs[1].owner, owner));

    expect_misuse("weir: arena 'test': block 3: released with data of another "
                  "block");
    weir_buf_drop(&bufs[1]);
}

Test(misuse, release_to_another_arena_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_arena *other = open_with(&(struct weir_arena_config){
        .name = "other", .block_size = BLOCK, .block_count = BLOCKS });
    struct weir_slice slice = slice_of_block(arena, 1);
    slice.owner = wr_owner_pack(other->id, 1);

    expect_misuse("weir: arena 'other': block 1: released *");
    weir_slice_release(&slice);
}

Test(misuse, release_to_another_arena_with_all_out_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_arena *other = open_with(&(struct weir_arena_config){
        .name = "other", .block_size = BLOCK, .block_count = 1 });
    struct weir_slice slice = slice_of_block(arena, 0);
    struct weir_buf buf;
    alloc(other, &buf);
    slice.owner = buf.owner;

    expect_misuse("weir: arena 'other': block 0: released with data of another "
                  "block");
    weir_slice_release(&slice);
}

Test(misuse, release_to_another_arena_on_a_new_thread_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_arena *other = open_with(&(struct weir_arena_config){
        .name = "other", .block_size = BLOCK, .block_count = 1 });
    struct weir_slice slice = slice_of_block(arena, 0);
    struct weir_buf buf;
    alloc(other, &buf);
    slice.owner = buf.owner;

    expect_misuse("weir: arena 'other': block 0: released with data of another "
                  "block");
    on_thread(release_slice, &slice);
}

Test(misuse, last_of_two_with_data_of_another_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    weir_slice_release(&slice);
    clone.data += 2 * arena->fixed.stride;

    expect_misuse("weir: arena 'test': block 1: released with data of another "
                  "block");
    weir_slice_release(&clone);
}

Test(misuse, drop_with_data_of_another_block_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf bufs[2];
    alloc(arena, &bufs[0]);
    alloc(arena, &bufs[1]);
    cr_assert(eq(u32, wr_owner_slot(bufs[0].owner), 0));
    bufs[0].data = bufs[1].data + BLOCK;

    expect_misuse("weir: arena 'test': block 0: released with data of another "
                  "block");
    weir_buf_drop(&bufs[0]);
}

Test(misuse, handle_that_names_no_arena_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    slice.owner = wr_owner_pack(40000, 1);

    expect_misuse("weir: a handle that names no arena");
    weir_slice_release(&slice);
}

Test(misuse, clone_that_names_no_arena_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice clone;
    weir_slice_clone(&slice, &clone);
    clone.owner = wr_owner_pack(WR_ARENAS_MAX, 1);

    expect_misuse("weir: a handle that names no arena");
    weir_slice_release(&clone);
}

Test(misuse, clone_of_a_handle_without_weight_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice = slice_of_block(arena, 1);
    struct weir_slice copy;
    slice.word = wr_word_with_weight(slice.word, 0);

    expect_misuse("weir: a slice was used after it was released");
    weir_slice_clone(&slice, &copy);
}

/* ---- After the end of the arena ---------------------------------------- */

/* A copy of the only slice, which was the last thing of its arena. */
static struct weir_slice
slice_of_the_past(void)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .name = "past", .block_size = BLOCK, .block_count = BLOCKS });
    struct weir_slice slice = slice_of_block(arena, 3);
    struct weir_slice copy = slice;
    weir_arena_destroy(&arena);
    weir_slice_release(&slice);
    return copy;
}

Test(misuse, release_after_the_end_of_the_arena_aborts, .signal = SIGABRT)
{
    struct weir_slice copy = slice_of_the_past();

    expect_misuse("weir: arena 'past': block 3: *");
    weir_slice_release(&copy);
}

Test(misuse, release_of_a_clone_after_the_end_of_the_arena_aborts,
    .signal = SIGABRT)
{
    struct weir_slice copy = slice_of_the_past();
    copy.word = wr_word_with_weight(copy.word, WR_WEIGHT_WHOLE / 4);

    expect_misuse("weir: arena 'past': block 3: *");
    weir_slice_release(&copy);
}

Test(misuse, release_after_the_end_on_a_new_thread_aborts, .signal = SIGABRT)
{
    struct weir_slice copy = slice_of_the_past();

    expect_misuse("weir: arena 'past': block 3: *");
    on_thread(release_slice, &copy);
}

Test(misuse, clone_shared_after_the_end_of_the_arena_aborts, .signal = SIGABRT)
{
    struct weir_slice copy = slice_of_the_past();
    struct weir_slice clone;

    expect_misuse("weir: arena 'past': block 3: used, but the arena has no "
                  "such block");
    weir_slice_clone_shared(&copy, &clone);
}

Test(misuse, release_into_the_next_arena_aborts, .signal = SIGABRT)
{
    struct weir_slice copy = slice_of_the_past();
    (void)open_with(&(struct weir_arena_config){
        .name = "next", .block_size = BLOCK, .block_count = BLOCKS });

    expect_misuse("weir: arena 'next': block 3: released *");
    weir_slice_release(&copy);
}

Test(misuse, release_into_the_next_and_smaller_arena_aborts, .signal = SIGABRT)
{
    struct weir_slice copy = slice_of_the_past();
    (void)open_with(&(struct weir_arena_config){
        .name = "next", .block_size = BLOCK, .block_count = 1 });

    expect_misuse("weir: arena 'next': block 3: *");
    weir_slice_release(&copy);
}

/* ---- Two at once ------------------------------------------------------- */

enum { ROUNDS = 150, EXIT_UNSEEN = 9 };

/* Two handles that are released at the same moment. */
struct race {
    struct weir_slice slices[2];
    _Atomic int here;
};

static void *
release_second(void *user)
{
    struct race *race = user;
    atomic_fetch_add_explicit(&race->here, 1, memory_order_relaxed);
    while (atomic_load_explicit(&race->here, memory_order_relaxed) < 2)
        (void)sched_yield();
    weir_slice_release(&race->slices[1]);
    return NULL;
}

static void
release_both(struct race *race)
{
    pthread_t second;
    if (pthread_create(&second, NULL, release_second, race) != 0)
        _exit(1);
    atomic_fetch_add_explicit(&race->here, 1, memory_order_relaxed);
    while (atomic_load_explicit(&race->here, memory_order_relaxed) < 2)
        (void)sched_yield();
    weir_slice_release(&race->slices[0]);
    (void)pthread_join(second, NULL);
}

typedef void race_fn(struct weir_arena *arena);

/* How many of ROUNDS processes ended by the misuse of block 0. */
static int
count_caught(race_fn *race, const char *pattern)
{
    int caught = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct weir_arena *arena = open_arena(BLOCK, 1);
            expect_misuse(pattern);
            race(arena);
            _exit(EXIT_UNSEEN);
        }
        int how = 0;
        cr_assert(gt(int, child, 0));
        cr_assert(eq(int, waitpid(child, &how, 0), child));
        if (WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT)
            caught++;
        else
            cr_assert(eq(int, WEXITSTATUS(how), EXIT_UNSEEN));
    }
    return caught;
}

static void
race_sole_copies(struct weir_arena *arena)
{
    struct race race = { 0 };
    freeze_text(arena, "text", &race.slices[0]);
    race.slices[1] = race.slices[0];
    release_both(&race);
}

Test(misuse, racing_releases_of_a_sole_slice_abort)
{
    int caught = count_caught(
        race_sole_copies, "weir: arena 'test': block 0: released *");

    cr_assert(eq(int, caught, ROUNDS));
}

static void
race_clones(struct weir_arena *arena)
{
    struct race race = { 0 };
    struct weir_slice slice;
    freeze_text(arena, "text", &slice);
    weir_slice_clone(&slice, &race.slices[0]);
    race.slices[1] = race.slices[0];
    release_both(&race);
    weir_slice_release(&slice);
}

Test(misuse, racing_releases_of_a_clone_abort_at_the_last)
{
    int caught = count_caught(
        race_clones, "weir: arena 'test': block 0: released once too often");

    cr_assert(eq(int, caught, ROUNDS));
}

/* What is not seen at once is seen by the next owner's release. */
static void
race_last_clones(struct weir_arena *arena)
{
    struct race race = { 0 };
    struct weir_slice slice;
    freeze_text(arena, "text", &slice);
    weir_slice_clone(&slice, &race.slices[0]);
    race.slices[1] = race.slices[0];
    weir_slice_release(&slice);
    release_both(&race);
    freeze_text(arena, "next", &slice);
    weir_slice_release(&slice);
}

Test(misuse, racing_releases_of_the_last_clone_abort_at_the_next)
{
    int caught = count_caught(
        race_last_clones, "weir: arena 'test': block 0: released *");

    cr_assert(eq(int, caught, ROUNDS));
}
