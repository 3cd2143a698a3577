/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"
#include "support/prng.h"
#include "support/waiting.h"

#include <criterion/parameterized.h>
#include <stdlib.h>

enum { LEAF = 256, SIZE = 64 * KIB, LEAVES = SIZE / LEAF };

static struct weir_bell bell;

/* ---- Geometries -------------------------------------------------------- */

struct geometry {
    size_t leaf;
    size_t bytes;
    size_t largest;
};

static struct geometry geometries[] = {
    { 256, 256, 256 },
    { 256, 512, 512 },
    { 256, 768, 512 },
    { 256, 63 * 256, 32 * 256 },
    { 256, 64 * 256, 64 * 256 },
    { 256, 65 * 256, 64 * 256 },
    { 256, 4096 * 256, 4096 * 256 },
    { 256, 4097 * 256, 4096 * 256 },
    { 256, 8191 * 256, 4096 * 256 },
    { 512, 7 * MIB, 4 * MIB },
    { 4096, 12 * KIB, 8 * KIB },
    { 4096, 4 * MIB, 4 * MIB },
    { 2 * MIB, 6 * MIB, 4 * MIB },
};

#define GEOMETRIES                                                             \
    cr_make_param_array(                                                       \
        struct geometry, geometries, sizeof geometries / sizeof geometries[0])

ParameterizedTestParameters(
    buddy_arena, a_fresh_arena_is_free_in_the_largest_blocks)
{
    return GEOMETRIES;
}

ParameterizedTest(struct geometry *g, buddy_arena,
    a_fresh_arena_is_free_in_the_largest_blocks)
{
    struct weir_arena *arena = open_buddy(g->leaf, g->bytes);
    struct weir_stats stats = stats_of(arena);
    size_t rest = g->bytes;

    expect_sound(arena, 0);
    cr_assert(eq(u64, stats.block_size, g->leaf));
    cr_assert(eq(u64, stats.block_count, g->bytes / g->leaf));
    cr_assert(eq(u64, stats.block_size_max, g->largest));
    cr_assert(eq(sz, weir_arena_largest_free(arena), g->largest));
    for (size_t size = g->largest; size >= g->leaf; size /= 2) {
        cr_assert(eq(u64, free_of(arena, size), rest / size));
        rest %= size;
    }
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    cr_assert(eq(sz, memory.iov_len, g->bytes));

    close_merged(&arena);
}

ParameterizedTestParameters(buddy_arena, blocks_of_each_size_fill_the_arena)
{
    return GEOMETRIES;
}

/* Exactly so many as fit are there, each where its size says, none twice; and all
   merge again. */
ParameterizedTest(
    struct geometry *g, buddy_arena, blocks_of_each_size_fill_the_arena)
{
    struct weir_arena *arena = open_buddy(g->leaf, g->bytes);
    struct weir_buf *bufs = calloc(g->bytes / g->leaf, sizeof *bufs);
    struct iovec memory;
    weir_arena_memory(arena, &memory);

    for (size_t size = g->leaf; size <= g->largest; size *= 2) {
        size_t natural = size < 4096 ? size : 4096;
        size_t count = 0;
        while (weir_arena_alloc(arena, size, &bufs[count]) == WEIR_OK) {
            uint8_t *start = weir_buf_tail(&bufs[count]);
            cr_assert(eq(sz, weir_buf_room(&bufs[count]), size));
            cr_assert(zero(sz, at(start) % natural));
            cr_assert(zero(sz, (at(start) - at(memory.iov_base)) % size));
            cr_assert(le(sz, at(start) - at(memory.iov_base) + size, g->bytes));
            memset(start, (int)(count % 251), size);
            count++;
        }
        cr_assert(eq(sz, count, g->bytes / size));
        cr_assert(eq(int, ask_for(arena, size), WEIR_FULL));
        expect_sound(arena, count * size);
        for (size_t i = 0; i < count; i++) {
            const uint8_t *bytes = weir_buf_tail(&bufs[i]);
            cr_assert(eq(int, bytes[0], (int)(i % 251)));
            cr_assert(eq(int, bytes[size - 1], (int)(i % 251)));
            weir_buf_drop(&bufs[i]);
        }
        expect_sound(arena, 0);
        cr_assert(eq(sz, weir_arena_largest_free(arena), g->largest));
    }

    free(bufs);
    close_merged(&arena);
}

/* ---- Sizes ------------------------------------------------------------- */

Test(buddy_arena, a_block_is_the_smallest_power_of_two_that_holds_the_size)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    size_t wanted = LEAF;

    for (size_t size = 1; size <= SIZE; size++) {
        if (size > wanted)
            wanted *= 2;
        struct weir_buf buf = take_of(arena, size);
        cr_assert(eq(sz, weir_buf_room(&buf), wanted));
        cr_assert(eq(sz, size_of_buf(&buf), wanted));
        weir_buf_drop(&buf);
    }

    close_merged(&arena);
}

Test(buddy_arena, size_0_is_the_smallest_block)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf buf = take_of(arena, 0);

    cr_assert(eq(sz, weir_buf_room(&buf), LEAF));
    cr_assert(eq(u64, stats_of(arena).bytes_asked, LEAF));
    expect_sound(arena, LEAF);

    weir_buf_drop(&buf);
    close_merged(&arena);
}

static void
silent_ring(struct weir_bell *silent)
{
    (void)silent;
}

static void
expect_too_large(struct weir_arena *arena, size_t largest)
{
    const size_t sizes[] = { largest + 1, 2 * largest, UINT32_MAX,
        (size_t)UINT32_MAX + 1, (size_t)1 << 62, ((size_t)1 << 63) - 1,
        (size_t)1 << 63, ((size_t)1 << 63) + 1, SIZE_MAX - 255, SIZE_MAX - 63,
        SIZE_MAX };
    weir_bell_init(&bell, silent_ring, NULL);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct weir_buf buf;
        struct weir_waiter waiter = { .bell = &bell, .granted = note_granted };
        cr_assert(
            eq(int, weir_arena_alloc(arena, sizes[i], &buf), WEIR_TOO_LARGE));
        cr_assert(eq(int, weir_arena_alloc_barge(arena, sizes[i], &buf),
            WEIR_TOO_LARGE));
        cr_assert(
            eq(int, weir_arena_wait(arena, sizes[i], &waiter), WEIR_TOO_LARGE));
    }
    cr_assert(zero(u64, stats_of(arena).waiting));
    cr_assert(zero(u64, stats_of(arena).alloc_fulls));
    weir_bell_fini(&bell);
}

Test(buddy_arena, sizes_above_the_largest_block_are_too_large_and_never_wrap)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    expect_too_large(arena, SIZE);
    close_merged(&arena);
}

Test(buddy_arena, too_large_is_too_large_also_when_full_or_with_spill)
{
    struct weir_arena *arena =
        open_buddy_with(LEAF, SIZE + LEAF, WEIR_NO_CACHE | WEIR_SPILL_FULL);
    struct weir_buf all = take_of(arena, SIZE);
    struct weir_buf last = take_of(arena, LEAF);

    expect_too_large(arena, SIZE);

    cr_assert(zero(u64, stats_of(arena).spilled_blocks));
    weir_buf_drop(&all);
    weir_buf_drop(&last);
    close_merged(&arena);
}

Test(buddy_arena, full_is_full_of_a_size)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf half = take_of(arena, SIZE / 2);
    struct weir_buf leaf = take_of(arena, LEAF);

    cr_assert(eq(int, ask_for(arena, SIZE), WEIR_FULL));
    cr_assert(eq(int, ask_for(arena, SIZE / 2), WEIR_FULL));
    cr_assert(eq(int, ask_for(arena, SIZE / 4), WEIR_OK));
    cr_assert(eq(int, ask_for(arena, SIZE / 2), WEIR_FULL));
    cr_assert(eq(int, ask_for(arena, SIZE / 4 + 1), WEIR_FULL));
    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_OK));
    expect_sound(arena, SIZE / 2 + LEAF);
    weir_buf_drop(&leaf);
    cr_assert(eq(int, ask_for(arena, SIZE / 2), WEIR_OK));
    cr_assert(eq(int, ask_for(arena, SIZE), WEIR_FULL));

    weir_buf_drop(&half);
    cr_assert(eq(int, ask_for(arena, SIZE), WEIR_OK));
    close_merged(&arena);
}

Test(buddy_arena, the_largest_block_exhausts_the_arena)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf all = take_of(arena, SIZE - LEAF + 1);

    for (size_t size = LEAF; size <= SIZE; size *= 2)
        cr_assert(eq(int, ask_for(arena, size), WEIR_FULL));
    expect_sound(arena, SIZE);
    cr_assert(zero(sz, weir_arena_largest_free(arena)));

    weir_buf_drop(&all);
    close_merged(&arena);
}

Test(buddy_arena, what_is_behind_the_largest_block_is_used_too)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE + 3 * LEAF);
    struct weir_buf all = take_of(arena, SIZE);
    struct weir_buf two = take_of(arena, 2 * LEAF);
    struct weir_buf one = take_of(arena, LEAF);

    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
    expect_sound(arena, SIZE + 3 * LEAF);

    weir_buf_drop(&two);
    weir_buf_drop(&all);
    weir_buf_drop(&one);
    close_merged(&arena);
}

/* ---- Splitting and merging --------------------------------------------- */

Test(buddy_arena, a_split_leaves_one_half_free_at_every_size)
{
    struct weir_arena *arena = open_buddy(LEAF, 16 * SIZE);
    struct weir_buf leaf = take_of(arena, LEAF);

    for (size_t size = LEAF; size <= 8 * SIZE; size *= 2)
        cr_assert(eq(u64, free_of(arena, size), 1));
    cr_assert(zero(u64, free_of(arena, 16 * SIZE)));
    cr_assert(eq(u64, stats_of(arena).splits, 12));
    cr_assert(zero(u64, stats_of(arena).coalesces));
    expect_sound(arena, LEAF);

    weir_buf_drop(&leaf);
    cr_assert(eq(u64, stats_of(arena).coalesces, 12));
    cr_assert(eq(u64, free_of(arena, 16 * SIZE), 1));
    close_merged(&arena);
}

Test(buddy_arena, halves_merge_whichever_comes_home_first)
{
    struct weir_arena *arena = open_buddy(LEAF, 2 * LEAF);

    for (int order = 0; order < 2; order++) {
        struct weir_buf bufs[2] = { take_of(arena, LEAF),
            take_of(arena, LEAF) };
        weir_buf_drop(&bufs[order]);
        expect_sound(arena, LEAF);
        cr_assert(eq(int, ask_for(arena, 2 * LEAF), WEIR_FULL));
        weir_buf_drop(&bufs[1 - order]);
        expect_sound(arena, 0);
        cr_assert(eq(int, ask_for(arena, 2 * LEAF), WEIR_OK));
    }

    close_merged(&arena);
}

Test(buddy_arena, neighbours_that_are_no_buddies_do_not_merge)
{
    struct weir_arena *arena = open_buddy(LEAF, 4 * LEAF);
    struct weir_buf bufs[4];
    struct weir_buf *by_place[4];
    for (size_t i = 0; i < 4; i++)
        bufs[i] = take_of(arena, LEAF);
    for (size_t i = 0; i < 4; i++)
        by_place[wr_owner_slot(bufs[i].owner)] = &bufs[i];

    weir_buf_drop(by_place[1]);
    weir_buf_drop(by_place[2]);

    cr_assert(eq(int, ask_for(arena, 2 * LEAF), WEIR_FULL));
    cr_assert(eq(u64, free_of(arena, LEAF), 2));
    expect_sound(arena, 2 * LEAF);
    weir_buf_drop(by_place[0]);
    cr_assert(eq(int, ask_for(arena, 2 * LEAF), WEIR_OK));
    expect_sound(arena, LEAF);
    weir_buf_drop(by_place[3]);
    close_merged(&arena);
}

Test(buddy_arena, one_leaf_that_is_out_keeps_only_its_own_parents_apart)
{
    struct weir_arena *arena = open_buddy(LEAF, 16 * SIZE);
    enum { ALL = 16 * LEAVES };
    struct weir_buf *bufs = calloc(ALL, sizeof *bufs);
    for (size_t i = 0; i < ALL; i++)
        bufs[i] = take_of(arena, LEAF);

    for (size_t i = 0; i < ALL; i++)
        if (wr_owner_slot(bufs[i].owner) != 1000)
            weir_buf_drop(&bufs[i]);

    for (size_t size = LEAF; size <= 8 * SIZE; size *= 2)
        cr_assert(eq(u64, free_of(arena, size), 1));
    expect_sound(arena, LEAF);
    for (size_t i = 0; i < ALL; i++)
        weir_buf_drop(&bufs[i]);
    free(bufs);
    close_merged(&arena);
}

Test(buddy_arena, an_alloc_cuts_the_smallest_block_that_will_do)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf leaf = take_of(arena, LEAF);
    uint64_t splits = stats_of(arena).splits;

    struct weir_buf other = take_of(arena, 4 * LEAF);

    cr_assert(eq(u64, stats_of(arena).splits, splits));
    cr_assert(eq(sz, weir_arena_largest_free(arena), SIZE / 2));
    expect_sound(arena, 5 * LEAF);
    weir_buf_drop(&leaf);
    weir_buf_drop(&other);
    close_merged(&arena);
}

/* ---- A random life ----------------------------------------------------- */

ParameterizedTestParameters(buddy_arena, a_random_walk_keeps_the_numbers_right)
{
    return GEOMETRIES;
}

static void
step(struct weir_arena *arena, const struct geometry *g, struct prng *prng,
    struct weir_buf *buf, uint64_t *out)
{
    if (weir_buf_room(buf) != 0) {
        *out -= size_of_buf(buf);
        weir_buf_drop(buf);
        return;
    }
    size_t most = g->largest >> prng_below(prng, 12);
    size_t size = prng_below(prng, most + 1);
    size_t largest = weir_arena_largest_free(arena);
    enum weir_status status = weir_arena_alloc(arena, size, buf);
    size_t needs = size < g->leaf ? g->leaf : size;
    cr_assert(eq(int, status, needs <= largest ? WEIR_OK : WEIR_FULL));
    if (status == WEIR_OK)
        *out += size_of_buf(buf);
}

ParameterizedTest(
    struct geometry *g, buddy_arena, a_random_walk_keeps_the_numbers_right)
{
    enum { STEPS = 600, MOST = 40 };
    struct weir_arena *arena = open_buddy(g->leaf, g->bytes);
    struct weir_buf bufs[MOST] = { { 0 } };
    struct prng prng = { g->bytes };
    cr_log_info("seed %zu", g->bytes);
    uint64_t out = 0;

    for (int i = 0; i < STEPS; i++) {
        step(arena, g, &prng, &bufs[prng_below(&prng, MOST)], &out);
        expect_sound(arena, out);
    }

    for (size_t i = 0; i < MOST; i++)
        weir_buf_drop(&bufs[i]);
    close_merged(&arena);
}

/* ---- Numbers ----------------------------------------------------------- */

Test(buddy_arena, numbers_are_right_at_every_step)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf a = take_of(arena, 5000);
    struct weir_stats stats = stats_of(arena);
    expect_sound(arena, 8192);
    cr_assert(eq(u64, stats.bytes_asked, 5000));
    cr_assert(eq(u64, stats.bytes_got, 8192));
    cr_assert(eq(u64, stats.waste_permille, 389));
    cr_assert(eq(u64, stats.fragmentation_permille, 428));
    cr_assert(eq(u64, stats.blocks_out, 1));
    cr_assert(eq(u64, stats.splits, 3));

    struct weir_buf b = take_of(arena, 256);
    stats = stats_of(arena);
    expect_sound(arena, 8448);
    cr_assert(eq(u64, stats.bytes_asked, 5256));
    cr_assert(eq(u64, stats.bytes_got, 8448));
    cr_assert(eq(u64, stats.splits, 8));
    cr_assert(eq(u64, stats.blocks_out_peak, 2));
    cr_assert(eq(u64, stats.largest_free, 32768));

    weir_buf_drop(&a);
    stats = stats_of(arena);
    expect_sound(arena, 256);
    cr_assert(eq(u64, stats.blocks_out, 1));
    cr_assert(eq(u64, stats.blocks_out_peak, 2));
    cr_assert(zero(u64, stats.coalesces));

    weir_buf_drop(&b);
    stats = stats_of(arena);
    cr_assert(eq(u64, stats.coalesces, 8));
    cr_assert(zero(u64, stats.fragmentation_permille));
    close_merged(&arena);
}

Test(buddy_arena, the_peak_counts_what_an_alloc_that_found_it_full_has_seen)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_buf bufs[3] = { take_of(arena, SIZE / 2),
        take_of(arena, SIZE / 4), take_of(arena, SIZE / 4) };
    cr_assert(eq(int, ask_for(arena, LEAF), WEIR_FULL));
    for (size_t i = 0; i < 3; i++)
        weir_buf_drop(&bufs[i]);

    cr_assert(eq(u64, stats_of(arena).blocks_out_peak, 3));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 1));

    close_merged(&arena);
}

Test(buddy_arena, a_fixed_arena_has_a_largest_free_block_too)
{
    struct weir_arena *arena = open_arena(100, 2);
    struct weir_buf bufs[2];

    cr_assert(eq(sz, weir_arena_largest_free(arena), 128));
    bufs[0] = take(arena);
    cr_assert(eq(sz, weir_arena_largest_free(arena), 128));
    bufs[1] = take(arena);
    cr_assert(zero(sz, weir_arena_largest_free(arena)));

    weir_buf_drop(&bufs[0]);
    weir_buf_drop(&bufs[1]);
    close_whole(&arena);
}

Test(buddy_arena, stats_of_an_earlier_release_end_where_they_did)
{
    struct weir_arena *arena = open_buddy(LEAF, SIZE);
    struct weir_stats stats;
    memset(&stats, 0xff, sizeof stats);

    weir_arena_stats_sized(
        arena, &stats, offsetof(struct weir_stats, block_size_max));

    cr_assert(eq(u64, stats.bytes_total, SIZE));
    cr_assert(eq(u64, stats.block_size_max, UINT64_MAX));
    cr_assert(eq(u64, stats.free_blocks[0], UINT64_MAX));
    close_merged(&arena);
}
