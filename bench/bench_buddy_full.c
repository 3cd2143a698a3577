/* SPDX-License-Identifier: MIT */
/*
 * bench_buddy_full: what does it cost to be told what a buddy arena has free?
 *
 *     largest_free     while most of 64 MiB is in one piece; while the largest
 *                      pieces are of 64 KiB or of 4 KiB, or of whatever size;
 *                      while nothing is free
 *     FULL             an alloc of 64 KiB while nothing is free, again
 *     FULL, in pieces  the same while half is free, in pieces of 4 KiB
 *
 * Idea
 *   An arena is cut into blocks of one size, and every other one of them is
 *   released: then no two that are free can merge. "of whatever size" is what
 *   bench_buddy leaves at 86 %. What largest_free says is checked before.
 *
 *   Everything is told by the same thread that cut, and nothing changes
 *   meanwhile. The arenas are without caches, which could keep what shall be
 *   free; but FULL is asked with caches too. The spin lock and the trees are
 *   those of bench_buddy; for them FULL is a search.
 *
 * Limits
 *   One thread.
 */
#include "buddy_baselines.h"
#include "harness.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
    MEDIUM = 4 << 10,
    LARGE = 64 << 10,
    ORDERS = 9, /* 256 bytes to 64 KiB */
    RANDOM_OUT = 3968,
    BLOCKS_MAX = 16384
};

/* Who has been asked for blocks until there were no more. */
struct full {
    struct weir_arena *arena;
    struct spin_buddy *spin;
    struct tree_buddy *tree;
    size_t count;
    struct weir_buf *bufs;
    void **blocks;
};

/* ---- Loops ------------------------------------------------------------- */

static void
loop_largest(void *state, unsigned thread, size_t n)
{
    const struct full *full = state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        bench_keep(weir_arena_largest_free(full->arena));
}

static void
loop_weir(void *state, unsigned thread, size_t n)
{
    const struct full *full = state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf none;
        if (weir_arena_alloc(full->arena, LARGE, &none) != WEIR_FULL)
            bench_fail("a full arena had a block");
    }
}

static void
loop_spin(void *state, unsigned thread, size_t n)
{
    const struct full *full = state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        if (spin_buddy_alloc(full->spin, LARGE))
            bench_fail("a baseline that is full had a block");
}

static void
loop_tree(void *state, unsigned thread, size_t n)
{
    const struct full *full = state;
    for (size_t i = 0; i < n; i++)
        if (tree_buddy_alloc(full->tree, thread, LARGE))
            bench_fail("a baseline that is full had a block");
}

/* ---- Full, or in pieces ------------------------------------------------ */

static struct weir_arena *
buddy_arena(unsigned flags)
{
    struct weir_arena *arena;
    bench_must(weir_arena_create(&(struct weir_arena_config){ .name = "bench",
                                     .layout = WEIR_BUDDY,
                                     .bytes = BUDDY_BYTES,
                                     .block_size = BUDDY_LEAF,
                                     .flags = flags },
        &arena));
    return arena;
}

static void
take(struct full *full, size_t index, size_t size)
{
    void **block = &full->blocks[index];
    if (full->arena) {
        bench_must(weir_arena_alloc(full->arena, size, &full->bufs[index]));
        return;
    }
    *block = full->spin ? spin_buddy_alloc(full->spin, size)
                        : tree_buddy_alloc(full->tree, 0, size);
    if (!*block)
        bench_fail("a baseline has no memory");
}

static void
give(struct full *full, size_t index)
{
    void **block = &full->blocks[index];
    weir_buf_drop(&full->bufs[index]);
    if (*block && full->spin)
        spin_buddy_release(full->spin, *block);
    else if (*block)
        tree_buddy_release(full->tree, 0, *block);
    *block = NULL;
}

static void
begin(struct full *full, size_t count)
{
    full->count = count;
    full->bufs = calloc(count, sizeof(*full->bufs));
    full->blocks = calloc(count, sizeof(*full->blocks));
    if (!full->bufs || !full->blocks)
        bench_fail("no memory");
}

/* Takes all, in blocks of `size`; `in_pieces`: gives back every other one. */
static void
cut(struct full *full, size_t size, bool in_pieces)
{
    begin(full, BUDDY_BYTES / size);
    for (size_t i = 0; i < full->count; i++)
        take(full, i, size);
    for (size_t i = 0; i < full->count && in_pieces; i += 2)
        give(full, i);
}

/* Replaces blocks of random sizes, at random, until they lie anywhere. */
static void
cut_at_random(struct full *full)
{
    uint64_t random = 1;
    begin(full, RANDOM_OUT);
    for (size_t i = 0; i < BLOCKS_MAX; i++) {
        size_t index =
            i < RANDOM_OUT ? i : bench_random_below(&random, RANDOM_OUT);
        size_t size = (size_t)BUDDY_LEAF << bench_random_below(&random, ORDERS);
        weir_buf_drop(&full->bufs[index]);
        enum weir_status status =
            weir_arena_alloc(full->arena, size, &full->bufs[index]);
        if (status != WEIR_FULL)
            bench_must(status);
    }
}

static void
expect_largest(const struct full *full, size_t least, size_t most)
{
    size_t largest = weir_arena_largest_free(full->arena);
    if (largest < least || largest > most)
        bench_fail("the largest free block is of another size");
}

static void
end(struct full *full)
{
    for (size_t i = 0; i < full->count; i++)
        give(full, i);
    free(full->bufs);
    free(full->blocks);
    if (full->arena)
        bench_arena_end(&full->arena);
    if (full->spin)
        spin_buddy_destroy(full->spin);
    if (full->tree)
        tree_buddy_destroy(full->tree);
}

/* ---- The questions ----------------------------------------------------- */

/* What largest_free may cost while 1 MiB is free, and else. */
#define UNIT_GOAL 5.0
#define ELSE_GOAL 200.0

enum { UNIT, OF_64_KIB, OF_4_KIB, ANY, NOTHING, LARGESTS };
enum { CACHED, UNCACHED, LOCKED, WHOLE, LOW, ASKED };

static const char *const largest_names[LARGESTS] = {
    "largest_free, 1 MiB and more", "largest_free, 64 KiB",
    "largest_free, 4 KiB", "largest_free, mixed, 86 %", "largest_free, 0"
};
static const char *const asked_names[ASKED] = { "weir", "weir, no cache",
    "spin lock", "tree, to 64 MiB", "tree, to 64 KiB" };
static bench_loop_fn *const asked_loops[ASKED] = { loop_weir, loop_weir,
    loop_spin, loop_tree, loop_tree };

static struct full largests[LARGESTS];
static struct full fulls[2][ASKED]; /* nothing is free, or pieces are */

static void
ask_largest(void)
{
    for (size_t i = 0; i < LARGESTS; i++)
        largests[i].arena = buddy_arena(WEIR_NO_CACHE);
    begin(&largests[UNIT], 1);
    take(&largests[UNIT], 0, BUDDY_LEAF);
    cut(&largests[OF_64_KIB], LARGE, true);
    cut(&largests[OF_4_KIB], MEDIUM, true);
    cut_at_random(&largests[ANY]);
    cut(&largests[NOTHING], LARGE, false);
    expect_largest(&largests[UNIT], BUDDY_BYTES / 2, BUDDY_BYTES / 2);
    expect_largest(&largests[OF_64_KIB], LARGE, LARGE);
    expect_largest(&largests[OF_4_KIB], MEDIUM, MEDIUM);
    expect_largest(&largests[ANY], 0, BUDDY_BYTES / 2);
    expect_largest(&largests[NOTHING], 0, 0);
    for (size_t i = 0; i < LARGESTS; i++)
        bench_add(&(struct bench_case){ .name = largest_names[i],
            .candidate = "weir, no cache",
            .loop = loop_largest,
            .state = &largests[i],
            .goal = "G13",
            .goal_ns = i == UNIT ? UNIT_GOAL : ELSE_GOAL });
}

static void
ask_full(const char *name, struct full *all, bool in_pieces)
{
    all[CACHED].arena = buddy_arena(0);
    all[UNCACHED].arena = buddy_arena(WEIR_NO_CACHE);
    all[LOCKED].spin = spin_buddy_create();
    all[WHOLE].tree = tree_buddy_create(BUDDY_BYTES);
    all[LOW].tree = tree_buddy_create(LARGE);
    const struct bench_case *weir = NULL;
    for (size_t who = 0; who < ASKED; who++) {
        cut(&all[who], in_pieces ? MEDIUM : LARGE, in_pieces);
        const struct bench_case *asked =
            bench_add(&(struct bench_case){ .name = name,
                .candidate = asked_names[who],
                .loop = asked_loops[who],
                .state = &all[who],
                .base = weir });
        weir = who == 0 ? asked : weir;
    }
}

int
main(int argc, char **argv)
{
    bench_start("buddy_full", argc, argv);
    ask_largest();
    ask_full("FULL", fulls[0], false);
    ask_full("FULL, in pieces", fulls[1], true);

    int status = bench_run();
    for (size_t i = 0; i < LARGESTS; i++)
        end(&largests[i]);
    for (size_t i = 0; i < ASKED; i++) {
        end(&fulls[0][i]);
        end(&fulls[1][i]);
    }
    return status;
}
