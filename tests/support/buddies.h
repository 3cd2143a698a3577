/* SPDX-License-Identifier: MIT */
/* buddies: buddy arenas in unit tests, and what their numbers must add up to. */
#ifndef SUPPORT_BUDDIES_H
#define SUPPORT_BUDDIES_H

#include "support/refbuf.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

static inline struct weir_arena *
open_buddy_with(size_t leaf, size_t bytes, unsigned flags)
{
    return open_with(&(struct weir_arena_config){
        .name = "test",
        .layout = WEIR_BUDDY,
        .block_size = leaf,
        .bytes = bytes,
        .flags = flags,
    });
}

/* Without caches, so that what is not out is free at once. */
static inline struct weir_arena *
open_buddy(size_t leaf, size_t bytes)
{
    return open_buddy_with(leaf, bytes, WEIR_NO_CACHE);
}

/* Its threads have caches, if that can be here at all. */
static inline struct weir_arena *
open_shelved(size_t leaf, size_t bytes)
{
    struct weir_arena *arena = open_buddy_with(leaf, bytes, 0);
    if (stats_of(arena).caching == WEIR_CACHING_UNSUPPORTED) {
        weir_arena_destroy(&arena);
        cr_skip_test("there is no membarrier here");
    }
    return arena;
}

static inline struct weir_buf
take_of(struct weir_arena *arena, size_t size)
{
    struct weir_buf buf;
    cr_assert(eq(int, weir_arena_alloc(arena, size, &buf), WEIR_OK),
        "a block of %zu bytes", size);
    return buf;
}

/* What asking for so much says, without keeping it. */
static inline enum weir_status
ask_for(struct weir_arena *arena, size_t size)
{
    struct weir_buf buf;
    enum weir_status status = weir_arena_alloc(arena, size, &buf);
    if (status == WEIR_OK)
        weir_buf_drop(&buf);
    return status;
}

/* How large the block of a handle is. */
static inline size_t
block_of(uint64_t word, uint64_t owner)
{
    size_t size;
    (void)wr_arena_block(word, owner, &size);
    return size;
}

static inline size_t
size_of_buf(const struct weir_buf *buf)
{
    return block_of(buf->word, buf->owner);
}

static inline size_t
size_of_slice(const struct weir_slice *slice)
{
    return block_of(slice->word, slice->owner);
}

static inline uint64_t
thousandths(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : part * 1000 / whole;
}

/* The arena is sound, so many bytes are out, and its numbers agree. */
static inline void
expect_sound(struct weir_arena *arena, uint64_t bytes_out)
{
    struct weir_stats stats = stats_of(arena);
    uint64_t free_bytes = 0;
    uint64_t largest = 0;
    for (size_t i = 0; i < WEIR_ORDERS; i++) {
        uint64_t size = stats.block_size << i;
        free_bytes += stats.free_blocks[i] * size;
        if (stats.free_blocks[i] != 0)
            largest = size;
    }
    weir_arena_check(arena);
    cr_assert(eq(u64, stats.bytes_out, bytes_out));
    cr_assert(eq(u64, stats.bytes_free, free_bytes));
    cr_assert(eq(u64, stats.largest_free, largest));
    cr_assert(eq(sz, weir_arena_largest_free(arena), (size_t)largest));
    cr_assert(le(u64, largest, stats.block_size_max));
    cr_assert(eq(u64, stats.bytes_total, stats.block_size * stats.block_count));
    cr_assert(eq(u64, stats.bytes_out + stats.bytes_cached + stats.bytes_free,
        stats.bytes_total));
    cr_assert(eq(u64, stats.blocks_out,
        stats.allocs - stats.releases - stats.spilled_blocks));
    cr_assert(ge(u64, stats.blocks_out_peak, stats.blocks_out));
    cr_assert(eq(u64, stats.waste_permille,
        thousandths(stats.bytes_got - stats.bytes_asked, stats.bytes_got)));
    cr_assert(eq(u64, stats.fragmentation_permille,
        thousandths(free_bytes - largest, free_bytes)));
}

/* How many blocks of `size` bytes are free. */
static inline uint64_t
free_of(struct weir_arena *arena, size_t size)
{
    struct weir_stats stats = stats_of(arena);
    for (size_t i = 0; i < WEIR_ORDERS; i++)
        if (stats.block_size << i == size)
            return stats.free_blocks[i];
    return 0;
}

/* A slice of `len` bytes of a block for `size`, each known by its place. */
static inline struct weir_slice
freeze_pattern(struct weir_arena *arena, size_t size, size_t len)
{
    struct weir_slice slice;
    struct weir_buf buf = take_of(arena, size);
    write_pattern(&buf, 0, len);
    weir_buf_freeze(&buf, &slice);
    return slice;
}

/* All is home and has merged: sees that, and ends the arena. */
static inline void
close_merged(struct weir_arena **arena)
{
    weir_thread_flush();
    expect_sound(*arena, 0);
    struct weir_stats stats = stats_of(*arena);
    cr_assert(eq(u64, stats.allocs, stats.releases));
    cr_assert(eq(u64, stats.splits, stats.coalesces));
    cr_assert(eq(u64, stats.largest_free, stats.block_size_max));
    close_whole(arena);
}

#endif
