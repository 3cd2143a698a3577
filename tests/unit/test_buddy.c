/* SPDX-License-Identifier: MIT */
#include "buddy/buddy.h"

#include "base/atomic.h"
#include "support/prng.h"
#include "support/unit.h"

#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>

enum {
    LEAF = 256,
    LEAVES_MAX = 300001,
    HINTS = 3,
    BLOCKS_MAX = 4096,
    STEPS = 3000,
    COUNTED = 256 /* steps from one walk of everything to the next */
};

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* A buddy beside a byte for each leaf, and the blocks that are out. */
struct oracle {
    struct wr_buddy buddy;
    struct wr_buddy_hint hints[HINTS];
    void *meta;
    uint32_t leaf_count;
    uint32_t order_max;
    uint32_t block_count;
    uint32_t leaves[BLOCKS_MAX];
    uint32_t orders[BLOCKS_MAX];
    uint8_t is_out[LEAVES_MAX];
};

static struct oracle oracle;

static struct oracle *
open_oracle(size_t leaf_size, size_t leaf_count)
{
    struct wr_buddy_geometry geometry;
    cr_assert(wr_buddy_geometry(leaf_size, leaf_count * leaf_size, &geometry));
    cr_assert(eq(u32, geometry.leaf_count, (uint32_t)leaf_count));
    size_t size = wr_buddy_meta_size(&geometry);
    cr_assert(eq(sz, size % WR_LINE_SIZE, 0));
    oracle.meta = aligned_alloc(WR_LINE_SIZE, size);
    cr_assert(ne(ptr, oracle.meta, NULL));
    memset(oracle.meta, 0, size);
    wr_buddy_init(&oracle.buddy, &geometry, oracle.meta);
    for (uint32_t i = 0; i < HINTS; i++)
        wr_buddy_hint_init(&oracle.buddy, i, &oracle.hints[i]);
    oracle.leaf_count = geometry.leaf_count;
    oracle.order_max = geometry.order_max;
    return &oracle;
}

static void
close_oracle(struct oracle *of)
{
    wr_buddy_check(&of->buddy);
    wr_buddy_fini(&of->buddy);
    free(of->meta);
    no_leaks_of_malloc();
}

/* ---- The same, leaf by leaf -------------------------------------------- */

static bool
are(const struct oracle *of, uint32_t leaf, uint32_t order, bool out)
{
    for (uint32_t i = 0; i < UINT32_C(1) << order; i++)
        if ((of->is_out[leaf + i] != 0) != out)
            return false;
    return true;
}

static bool
naive_has(const struct oracle *of, uint32_t order)
{
    uint32_t len = UINT32_C(1) << order;
    for (uint32_t at = 0; at + len <= of->leaf_count; at += len)
        if (are(of, at, order, false))
            return true;
    return false;
}

/* Free leaves in the largest blocks there can be. */
static void
naive_count(const struct oracle *of, uint64_t counts[WR_BUDDY_ORDERS])
{
    memset(counts, 0, WR_BUDDY_ORDERS * sizeof *counts);
    for (uint32_t at = 0; at < of->leaf_count;) {
        uint32_t order = of->order_max;
        while (order > 0 && (at % (UINT32_C(1) << order) != 0 ||
                                of->leaf_count - at < UINT32_C(1) << order ||
                                !are(of, at, order, false)))
            order--;
        counts[order] += !of->is_out[at];
        at += UINT32_C(1) << order;
    }
}

/* The counts are those of the oracle; everything that can be one block is. */
static void
expect_counts(const struct oracle *of)
{
    uint64_t counts[WR_BUDDY_ORDERS];
    uint64_t wanted[WR_BUDDY_ORDERS];
    int largest = -1;
    uint64_t leaves = 0;
    naive_count(of, wanted);
    wr_buddy_count(&of->buddy, counts);
    for (uint32_t i = 0; i < WR_BUDDY_ORDERS; i++) {
        cr_assert(eq(u64, counts[i], wanted[i]), "order %u", i);
        leaves += counts[i] << i;
        if (counts[i] != 0)
            largest = (int)i;
    }
    for (uint32_t i = 0; i < of->leaf_count; i++)
        leaves -= !of->is_out[i];
    cr_assert(eq(u64, leaves, 0));
    cr_assert(eq(int, wr_buddy_largest(&of->buddy), largest));
}

static void
note_out(struct oracle *of, uint32_t leaf, uint32_t order)
{
    uint32_t len = UINT32_C(1) << order;
    if (leaf % len != 0 || leaf >= of->leaf_count ||
        of->leaf_count - leaf < len)
        cr_fail("leaf %u is no place for order %u", leaf, order);
    if (!are(of, leaf, order, false))
        cr_fail("leaf %u, order %u: it is out already", leaf, order);
    memset(&of->is_out[leaf], 1, len);
    of->leaves[of->block_count] = leaf;
    of->orders[of->block_count++] = order;
}

static bool
take_exact(struct oracle *of, struct wr_buddy_hint *hint, uint32_t order)
{
    uint32_t leaf;
    bool has = wr_buddy_take_exact(&of->buddy, hint, order, &leaf);
    if (has)
        note_out(of, leaf, order);
    return has;
}

/* Takes up to `most`, all of one word; returns how many. */
static uint32_t
take_some(struct oracle *of, struct wr_buddy_hint *hint, uint32_t order,
    uint32_t most)
{
    uint32_t leaves[WR_WORD_BITS];
    uint32_t level = order / 6;
    if (level > of->buddy.top)
        level = of->buddy.top;
    uint32_t count = wr_buddy_take(&of->buddy, hint, order, most, leaves);
    if (count > most)
        cr_fail("%u blocks and not %u", count, most);
    for (uint32_t i = 0; i < count; i++) {
        if (leaves[i] >> 6 * (level + 1) != leaves[0] >> 6 * (level + 1))
            cr_fail("leaves %u and %u are of two words", leaves[0], leaves[i]);
        note_out(of, leaves[i], order);
    }
    return count;
}

static void
forget_one(struct oracle *of, uint32_t index)
{
    memset(&of->is_out[of->leaves[index]], 0, (size_t)1 << of->orders[index]);
    of->block_count--;
    of->leaves[index] = of->leaves[of->block_count];
    of->orders[index] = of->orders[of->block_count];
}

static void
give_one(struct oracle *of, struct wr_buddy_hint *hint, uint32_t index)
{
    uint32_t leaf = of->leaves[index];
    uint32_t order = of->orders[index];
    if (!wr_buddy_give(&of->buddy, hint, leaf, order))
        cr_fail("leaf %u, order %u: it is free", leaf, order);
    forget_one(of, index);
}

static void
trim_one(struct oracle *of, struct wr_buddy_hint *hint, uint32_t index,
    uint32_t kept)
{
    uint32_t leaf = of->leaves[index];
    uint32_t order = of->orders[index];
    wr_buddy_trim(&of->buddy, hint, leaf, order, kept);
    forget_one(of, index);
    note_out(of, leaf, kept);
}

static void
give_all(struct oracle *of)
{
    while (of->block_count > 0)
        give_one(of, &of->hints[of->block_count % HINTS], of->block_count - 1);
}

/* Everything is as it was in the beginning, and comes out in largest blocks. */
static void
expect_whole(struct oracle *of)
{
    uint64_t splits = 0;
    uint64_t coalesces = 0;
    uint32_t leaf;
    for (uint32_t i = 0; i < HINTS; i++) {
        splits += wr_load_relaxed(&of->hints[i].splits);
        coalesces += wr_load_relaxed(&of->hints[i].coalesces);
    }
    cr_assert(eq(u64, splits, coalesces));
    cr_assert(wr_buddy_is_whole(&of->buddy));
    expect_counts(of);
    for (uint32_t i = 0; i < of->leaf_count >> of->order_max; i++) {
        cr_assert(eq(u32, take_some(of, &of->hints[0], of->order_max, 1), 1));
        cr_assert(not(wr_buddy_is_whole(&of->buddy)));
    }
    cr_assert(not(
        wr_buddy_take_exact(&of->buddy, &of->hints[0], of->order_max, &leaf)));
    give_all(of);
    cr_assert(wr_buddy_is_whole(&of->buddy));
}

/* ---- Geometry ----------------------------------------------------------- */

static void
expect_refused(size_t leaf_size, size_t bytes)
{
    struct wr_buddy_geometry geometry = { 1, 2, 3 };

    cr_assert(not(wr_buddy_geometry(leaf_size, bytes, &geometry)));

    cr_assert(eq(u32, geometry.leaf_shift, 1));
    cr_assert(eq(u32, geometry.leaf_count, 2));
    cr_assert(eq(u32, geometry.order_max, 3));
}

static void
expect_geometry(
    size_t leaf_size, size_t bytes, uint32_t leaf_count, uint32_t order_max)
{
    struct wr_buddy_geometry geometry;

    cr_assert(wr_buddy_geometry(leaf_size, bytes, &geometry));

    cr_assert(eq(sz, (size_t)1 << geometry.leaf_shift, leaf_size));
    cr_assert(eq(u32, geometry.leaf_count, leaf_count));
    cr_assert(eq(u32, geometry.order_max, order_max));
}

Test(buddy, a_leaf_is_a_power_of_two_from_256_bytes_to_2_mib)
{
    expect_refused(0, MIB);
    expect_refused(1, MIB);
    expect_refused(128, MIB);
    expect_refused(255, MIB);
    expect_refused(257, MIB);
    expect_refused(384, MIB);
    expect_refused(4 * MIB, 8 * MIB);
    expect_refused((size_t)1 << 63, SIZE_MAX);
    expect_refused(SIZE_MAX, SIZE_MAX);
    expect_geometry(256, MIB, 4096, 12);
    expect_geometry(2 * MIB, 2 * MIB, 1, 0);
    expect_geometry(2 * MIB, 64 * MIB, 32, 5);
}

Test(buddy, a_region_has_a_leaf_and_at_most_64_gib)
{
    expect_refused(256, 0);
    expect_refused(256, 255);
    expect_refused(256, 64 * GIB + 1);
    expect_refused(256, SIZE_MAX);
    expect_refused(256, SIZE_MAX - 255);
    expect_refused(2 * MIB, SIZE_MAX);
    expect_geometry(256, 256, 1, 0);
    expect_geometry(256, 64 * GIB, UINT32_C(1) << 28, 23);
    expect_geometry(2 * MIB, 64 * GIB, 32768, 10);
}

Test(buddy, what_is_no_whole_leaf_is_left_out)
{
    expect_geometry(256, 511, 1, 0);
    expect_geometry(4 * KIB, 3 * 4 * KIB + 4095, 3, 1);
    expect_geometry(256, 64 * GIB - 1, (UINT32_C(1) << 28) - 1, 23);
}

Test(buddy, the_largest_block_has_2_gib)
{
    expect_geometry(256, 2 * GIB, UINT32_C(1) << 23, 23);
    expect_geometry(256, 2 * GIB - 1, (UINT32_C(1) << 23) - 1, 22);
    expect_geometry(256, 4 * GIB, UINT32_C(1) << 24, 23);
    expect_geometry(MIB, 64 * GIB, 65536, 11);
}

Test(buddy, an_order_is_that_of_the_smallest_block_that_is_large_enough)
{
    struct oracle *of = open_oracle(512, 4096);

    cr_assert(eq(u32, wr_buddy_order(&of->buddy, 0), 0));
    cr_assert(eq(u32, wr_buddy_order(&of->buddy, 1), 0));
    for (uint32_t order = 0; order <= of->order_max; order++) {
        size_t size = wr_buddy_block_size(&of->buddy, order);
        cr_assert(eq(sz, size, (size_t)512 << order));
        cr_assert(eq(u32, wr_buddy_order(&of->buddy, size), order));
        cr_assert(eq(u32, wr_buddy_order(&of->buddy, size / 2 + 1), order));
    }

    close_oracle(of);
}

/* ---- Regions of all kinds ----------------------------------------------- */

static uint32_t regions[] = { 1, 2, 63, 64, 65, 127, 128, 200, 4095, 4096, 4097,
    12345, 262143, 262144, LEAVES_MAX };

#define EVERY_REGION(name)                                                     \
    ParameterizedTestParameters(buddy, name)                                   \
    {                                                                          \
        return cr_make_param_array(                                            \
            uint32_t, regions, sizeof regions / sizeof regions[0]);            \
    }                                                                          \
    ParameterizedTest(uint32_t *leaf_count, buddy, name)

EVERY_REGION(in_the_beginning_all_is_free_in_the_largest_blocks)
{
    struct oracle *of = open_oracle(LEAF, *leaf_count);

    cr_assert(eq(u32, of->order_max, wr_highest_bit(*leaf_count)));
    expect_whole(of);
    for (uint32_t i = 0; i < of->leaf_count; i++)
        if (!wr_buddy_is_free(&of->buddy, i))
            cr_fail("leaf %u is not free", i);

    close_oracle(of);
}

EVERY_REGION(leaves_come_out_once_each_and_then_no_more)
{
    struct oracle *of = open_oracle(LEAF, *leaf_count);
    uint32_t leaves[WR_WORD_BITS];
    uint32_t taken = 0;
    uint32_t count;

    while ((count = wr_buddy_take(&of->buddy, &of->hints[taken % HINTS], 0,
                taken % WR_WORD_BITS + 1, leaves)) != 0)
        for (uint32_t i = 0; i < count; i++, taken++) {
            if (leaves[i] >= of->leaf_count || of->is_out[leaves[i]])
                cr_fail("leaf %u came twice", leaves[i]);
            of->is_out[leaves[i]] = 1;
        }
    cr_assert(eq(u32, taken, of->leaf_count));
    cr_assert(
        not(wr_buddy_take_exact(&of->buddy, &of->hints[0], 0, &leaves[0])));
    cr_assert(eq(int, wr_buddy_largest(&of->buddy), -1));
    wr_buddy_check(&of->buddy);
    for (uint32_t i = 0; i < taken; i++) {
        if (wr_buddy_is_free(&of->buddy, i) ||
            !wr_buddy_give(&of->buddy, &of->hints[i % HINTS], i, 0))
            cr_fail("leaf %u was free", i);
        of->is_out[i] = 0;
    }

    expect_whole(of);
    close_oracle(of);
}

/* One step of a walk: something is taken, given back or trimmed. */
static void
step(struct oracle *of, struct prng *prng)
{
    struct wr_buddy_hint *hint = &of->hints[prng_below(prng, HINTS)];
    uint32_t order = (uint32_t)prng_below(prng, of->order_max + 1);
    uint32_t other = (uint32_t)prng_below(prng, of->order_max + 1);
    uint32_t room = BLOCKS_MAX - of->block_count;
    uint32_t most = (uint32_t)prng_below(prng, 8) == 0
                        ? (uint32_t)prng_below(prng, WR_WORD_BITS) + 1
                        : 1;
    order = order < other ? order : other;
    if (of->block_count > 0 && (prng_below(prng, 100) < 45 || room < most)) {
        uint32_t index = (uint32_t)prng_below(prng, of->block_count);
        uint32_t kept = (uint32_t)prng_below(prng, of->order_max + 1);
        if (kept < of->orders[index] && prng_below(prng, 4) == 0)
            trim_one(of, hint, index, kept);
        else
            give_one(of, hint, index);
        return;
    }
    if (take_some(of, hint, order, most) == 0)
        cr_assert(eq(int, take_exact(of, hint, order), naive_has(of, order)));
}

EVERY_REGION(a_random_walk_agrees_with_a_shadow)
{
    struct oracle *of = open_oracle(LEAF, *leaf_count);
    struct prng prng = { *leaf_count };
    cr_log_info("seed %u", *leaf_count);

    for (uint32_t i = 0; i < STEPS; i++) {
        step(of, &prng);
        wr_buddy_check(&of->buddy);
        if (i % COUNTED == 0)
            expect_counts(of);
    }
    expect_counts(of);
    for (uint32_t i = 0; i < of->leaf_count; i++)
        if (wr_buddy_is_free(&of->buddy, i) == (of->is_out[i] != 0))
            cr_fail("leaf %u is not what it is said to be", i);
    give_all(of);

    expect_whole(of);
    close_oracle(of);
}

/* Where a bare take says no there is nothing: as long as hints are true, which
   they are while one thread takes. */
EVERY_REGION(one_thread_meets_what_there_is)
{
    struct oracle *of = open_oracle(LEAF, *leaf_count);
    struct prng prng = { *leaf_count };
    uint32_t missed = 0;

    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t order = (uint32_t)prng_below(&prng, of->order_max + 1);
        if (of->block_count > 0 && prng_below(&prng, 100) < 45)
            give_one(of, &of->hints[0],
                (uint32_t)prng_below(&prng, of->block_count));
        else if (take_some(of, &of->hints[0], order, 1) == 0)
            missed += naive_has(of, order);
    }

    cr_assert(eq(u32, missed, 0));
    give_all(of);
    close_oracle(of);
}

EVERY_REGION(every_block_can_be_trimmed_to_every_order)
{
    struct oracle *of = open_oracle(LEAF, *leaf_count);
    struct wr_buddy_hint *hint = &of->hints[1];

    for (uint32_t order = 1; order <= of->order_max; order++)
        for (uint32_t kept = 0; kept < order; kept++) {
            uint32_t both = take_exact(of, hint, order) +
                            (uint32_t)take_exact(of, hint, order);
            trim_one(of, hint, both - 1, kept);
            wr_buddy_check(&of->buddy);
            if (of->leaf_count <= 4097)
                expect_counts(of);
            give_one(of, hint, both - 1);
            wr_buddy_check(&of->buddy);
            give_all(of);
            cr_assert(wr_buddy_is_whole(&of->buddy), "%u to %u", order, kept);
        }

    expect_whole(of);
    close_oracle(of);
}

/* ---- Single things ------------------------------------------------------ */

Test(buddy, more_than_4_gib_of_leaves_have_blocks_of_2_gib)
{
    static struct wr_buddy_hint hint;
    struct wr_buddy_geometry geometry;
    struct wr_buddy buddy;
    uint64_t counts[WR_BUDDY_ORDERS];
    uint32_t leaves[3];
    cr_assert(wr_buddy_geometry(LEAF, 4 * GIB + 3 * LEAF, &geometry));
    void *meta = aligned_alloc(WR_LINE_SIZE, wr_buddy_meta_size(&geometry));
    memset(meta, 0, wr_buddy_meta_size(&geometry));
    wr_buddy_init(&buddy, &geometry, meta);
    wr_buddy_hint_init(&buddy, 0, &hint);

    wr_buddy_count(&buddy, counts);
    for (uint32_t i = 0; i < WR_BUDDY_ORDERS; i++)
        cr_assert(eq(u64, counts[i], i == 23 ? 2 : i < 2));
    cr_assert(eq(int, wr_buddy_largest(&buddy), 23));
    cr_assert(eq(u32, wr_buddy_take(&buddy, &hint, 23, 1, &leaves[0]), 1));
    cr_assert(eq(u32, wr_buddy_take(&buddy, &hint, 23, 1, &leaves[1]), 1));
    cr_assert(not(wr_buddy_take_exact(&buddy, &hint, 23, &leaves[2])));
    cr_assert(eq(u32, leaves[0] ^ leaves[1], UINT32_C(1) << 23));
    cr_assert(eq(u64, wr_load_relaxed(&hint.splits), 0));
    cr_assert(eq(int, wr_buddy_largest(&buddy), 1));
    for (uint32_t kept = 23; kept-- > 0;) {
        wr_buddy_trim(&buddy, &hint, leaves[0], kept + 1, kept);
        cr_assert(eq(int, wr_buddy_largest(&buddy), 22));
    }
    wr_buddy_check(&buddy);
    cr_assert(wr_buddy_give(&buddy, &hint, leaves[0], 0));
    cr_assert(wr_buddy_give(&buddy, &hint, leaves[1], 23));
    cr_assert(wr_buddy_is_whole(&buddy));
    wr_buddy_check(&buddy);
    cr_assert(eq(u64, wr_load_relaxed(&hint.splits), 23));
    cr_assert(eq(u64, wr_load_relaxed(&hint.coalesces), 23));

    free(meta);
}

Test(buddy, giving_what_is_free_changes_nothing)
{
    struct oracle *of = open_oracle(LEAF, 5000);
    struct wr_buddy_hint *hint = &of->hints[0];
    (void)take_some(of, hint, 0, 1);
    (void)take_some(of, hint, 3, 1);
    (void)take_some(of, hint, 6, 1);
    uint32_t leaf = of->leaves[0];

    cr_assert(wr_buddy_give(&of->buddy, hint, leaf, 0));
    cr_assert(not(wr_buddy_give(&of->buddy, hint, leaf, 0)));
    cr_assert(not(wr_buddy_give(&of->buddy, hint, leaf & ~UINT32_C(1), 1)));
    forget_one(of, 0);
    expect_counts(of);
    cr_assert(not(wr_buddy_give(&of->buddy, hint, 4992, 3)));
    cr_assert(not(wr_buddy_give(&of->buddy, hint, 4992, 0)));
    expect_counts(of);
    give_all(of);

    expect_whole(of);
    close_oracle(of);
}

Test(buddy, a_thread_takes_what_others_like_before_it_finds_nothing)
{
    struct oracle *of = open_oracle(LEAF, 4096);
    for (uint32_t i = 0; i < HINTS; i++)
        (void)take_some(of, &of->hints[i], 0, 1);

    while (take_some(of, &of->hints[2], 1, 1) != 0)
        cr_assert(lt(u32, of->block_count, BLOCKS_MAX));

    cr_assert(not(naive_has(of, 1)));
    give_all(of);
    expect_whole(of);
    close_oracle(of);
}

Test(buddy, threads_begin_in_words_of_their_own)
{
    struct oracle *of = open_oracle(LEAF, 262144);

    for (uint32_t i = 0; i < HINTS; i++)
        for (uint32_t order = 0; order < 12; order++)
            cr_assert(eq(u32, take_some(of, &of->hints[i], order, 1), 1));

    for (uint32_t i = 0; i < of->block_count; i++)
        for (uint32_t j = i / 12 * 12; j < of->block_count; j++)
            cr_assert(eq(int, of->leaves[i] >> 12 == of->leaves[j] >> 12,
                i / 12 == j / 12));
    give_all(of);
    expect_whole(of);
    close_oracle(of);
}

Test(buddy, what_was_given_last_is_taken_first)
{
    struct oracle *of = open_oracle(LEAF, 4096);
    struct wr_buddy_hint *hint = &of->hints[0];
    uint32_t given[WR_BUDDY_TRAIL];
    for (uint32_t i = 0; i < 2 * WR_BUDDY_TRAIL; i++)
        cr_assert(eq(u32, take_some(of, hint, 5, 1), 1));

    for (uint32_t i = 0; i < WR_BUDDY_TRAIL; i++) {
        uint32_t index = 0;
        while (of->leaves[index] != i * 64)
            index++;
        given[i] = of->leaves[index];
        give_one(of, hint, index);
    }

    for (uint32_t i = WR_BUDDY_TRAIL; i-- > 0;) {
        cr_assert(eq(u32, take_some(of, hint, 5, 1), 1));
        cr_assert(eq(u32, of->leaves[of->block_count - 1], given[i]));
    }
    give_all(of);
    expect_whole(of);
    close_oracle(of);
}

Test(buddy, what_a_thread_exchanged_last_may_have_changed)
{
    struct oracle *of = open_oracle(LEAF, 64);
    struct wr_buddy_hint *mine = &of->hints[0];
    struct wr_buddy_hint *theirs = &of->hints[1];

    for (uint32_t i = 0; i < 31; i++) {
        cr_assert(eq(u32, take_some(of, mine, 0, 1), 1));
        cr_assert(eq(u32, take_some(of, theirs, 0, 1), 1));
    }
    give_one(of, mine, 20);
    give_one(of, theirs, 30);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert(eq(u32, take_some(of, i % 2 == 0 ? mine : theirs, 0, 1), 1));
    cr_assert(eq(u32, take_some(of, mine, 0, 1), 0));
    cr_assert(eq(u32, take_some(of, theirs, 0, 1), 0));

    give_all(of);
    expect_whole(of);
    close_oracle(of);
}

Test(buddy, what_another_thread_took_meanwhile_is_not_handed_out)
{
    struct oracle *of = open_oracle(LEAF, 64);
    struct wr_buddy_hint *mine = &of->hints[0];
    struct wr_buddy_hint *theirs = &of->hints[1];

    for (uint32_t i = 0; i < 64; i++)
        cr_assert(eq(u32, take_some(of, i % 3 == 0 ? theirs : mine, 0, 1), 1));
    cr_assert(eq(u32, take_some(of, mine, 0, 1), 0));
    give_one(of, theirs, 5);
    cr_assert(eq(u32, take_some(of, mine, 0, 1), 1));
    give_all(of);

    expect_whole(of);
    close_oracle(of);
}

/* ---- Misuse ------------------------------------------------------------- */

static struct wr_buddy *
open_buddy(uint32_t leaf_count)
{
    return &open_oracle(LEAF, leaf_count)->buddy;
}

Test(misuse, a_buddy_with_leaves_past_its_end_aborts, .signal = SIGABRT)
{
    struct wr_buddy *buddy = open_buddy(65);
    expect_misuse("weir: invariant 1 of buddy broken");
    wr_buddy_check(buddy);

    (void)wr_add_relaxed(&buddy->levels[0].words[1], 2);
    wr_buddy_check(buddy);
}

Test(misuse, a_whole_word_below_the_top_aborts, .signal = SIGABRT)
{
    struct wr_buddy *buddy = open_buddy(4096);
    uint32_t leaf;
    cr_assert(wr_buddy_take_exact(buddy, &oracle.hints[0], 6, &leaf));
    expect_misuse("weir: invariant 2 of buddy broken");
    wr_buddy_check(buddy);

    wr_store_relaxed(&buddy->levels[0].words[leaf / 64], UINT64_MAX);
    wr_buddy_check(buddy);
}

Test(misuse, a_leaf_that_is_free_twice_aborts, .signal = SIGABRT)
{
    struct wr_buddy *buddy = open_buddy(4096);
    expect_misuse("weir: invariant 3 of buddy broken");
    wr_buddy_check(buddy);

    wr_store_relaxed(&buddy->levels[0].words[7], 1);
    wr_buddy_check(buddy);
}

Test(misuse, splitting_a_block_that_was_released_aborts, .signal = SIGABRT)
{
    struct wr_buddy *buddy = open_buddy(8192);
    uint32_t leaf;
    cr_assert(wr_buddy_take_exact(buddy, &oracle.hints[0], 6, &leaf));
    cr_assert(wr_buddy_give(buddy, &oracle.hints[0], leaf + 1, 0));
    expect_misuse("weir: a block was released twice, and split");

    wr_buddy_trim(buddy, &oracle.hints[0], leaf, 6, 0);
}
