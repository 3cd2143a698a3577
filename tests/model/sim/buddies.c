/* SPDX-License-Identifier: MIT */
/* buddies: a buddy under the simulator, and who has what of it. */

#include "buddies.h"

#include "buddy/levels.h"
#include "sim.h"

#include <string.h>

enum { LEAF_SIZE = 256, HELD_MAX = 160, CELL = 4, TOUCHED_MAX = 64 };

struct wr_buddy *buddies;
void *buddies_meta;

static struct wr_buddy unwatched;
static struct wr_buddy_hint hints[1 + SIM_WORKERS_MAX];
static unsigned char *payload; /* a cell for each leaf */

static struct held {
    struct block block;
    unsigned by;
} held[HELD_MAX];
static unsigned held_count;

static struct block left_out[16];
static unsigned left_out_count;

static const char *const word_names[][3] = {
    { "word 0.0", "word 0.1", "word 0.2" },
    { "word 1.0", "word 1.1", "word 1.2" },
    { "word 2.0", "word 2.1", "word 2.2" },
};

void
buddies_prepare(uint32_t leaf_count)
{
    struct wr_buddy_geometry geometry;
    sim_expect(wr_buddy_geometry(
        LEAF_SIZE, (size_t)leaf_count * LEAF_SIZE, &geometry));
    size_t size = wr_buddy_meta_size(&geometry);
    buddies_meta = sim_memory_take(size, WR_LINE_SIZE);
    memset(buddies_meta, 0, size);
    payload = sim_memory_take((size_t)leaf_count * CELL, WR_LINE_SIZE);
    buddies = &unwatched;
    wr_buddy_init(buddies, &geometry, buddies_meta);
    for (uint32_t i = 0; i <= SIM_WORKERS_MAX; i++)
        wr_buddy_hint_init(buddies, i, &hints[i]);
    for (uint32_t level = 0; level <= buddies->top; level++)
        for (uint32_t i = 0; i < 3 && i < buddies->levels[level].word_count;
             i++)
            sim_name(wr_buddy_word(buddies, level, i), word_names[level][i]);
    held_count = 0;
    left_out_count = 0;
}

void
buddies_watch(void)
{
    buddies = sim_memory_take(sizeof(*buddies), WR_LINE_SIZE);
    *buddies = unwatched;
}

struct wr_buddy_hint *
buddies_hint(void)
{
    return &hints[sim_self()];
}

/* ---- Who has what ------------------------------------------------------ */

static void
touch(const struct block *block)
{
    uint32_t leaves = UINT32_C(1) << block->order;
    uint32_t step = leaves > TOUCHED_MAX ? leaves / TOUCHED_MAX : 1;
    for (uint32_t i = 0; i < leaves; i += step)
        sim_plain_write(payload + (size_t)(block->leaf + i) * CELL, CELL);
}

static bool
overlap(const struct block *one, const struct block *other)
{
    uint32_t order = one->order > other->order ? one->order : other->order;
    return one->leaf >> order == other->leaf >> order;
}

void
buddies_own(const struct block *block)
{
    uint32_t leaves = UINT32_C(1) << block->order;
    sim_expect(block->leaf % leaves == 0);
    sim_expect(block->leaf + leaves <= buddies->geometry.leaf_count);
    for (unsigned i = 0; i < held_count; i++)
        if (overlap(&held[i].block, block))
            sim_fail("thread %u takes leaf %u, order %u, and thread %u has "
                     "leaf %u, order %u",
                sim_self(), block->leaf, block->order, held[i].by,
                held[i].block.leaf, held[i].block.order);
    sim_expect(held_count < HELD_MAX);
    held[held_count++] = (struct held){ *block, sim_self() };
    touch(block);
}

void
buddies_disown(const struct block *block)
{
    touch(block);
    unsigned i = 0;
    while (i < held_count && (held[i].block.leaf != block->leaf ||
                                 held[i].block.order != block->order))
        i++;
    sim_expect(i < held_count);
    held[i] = held[--held_count];
}

/* ---- Taking and giving ------------------------------------------------- */

uint32_t
buddies_take_more(uint32_t order, uint32_t most, struct block *blocks)
{
    uint32_t leaves[WR_WORD_BITS];
    uint32_t count =
        wr_buddy_take(buddies, buddies_hint(), order, most, leaves);
    sim_expect(count <= most);
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = (struct block){ leaves[i], order };
        buddies_own(&blocks[i]);
    }
    return count;
}

bool
buddies_take(uint32_t order, struct block *block)
{
    return buddies_take_more(order, 1, block) == 1;
}

void
buddies_give(const struct block *block)
{
    buddies_disown(block);
    sim_expect(
        wr_buddy_give(buddies, buddies_hint(), block->leaf, block->order));
}

void
buddies_trim(struct block *block, uint32_t kept)
{
    struct block rest = *block;
    buddies_disown(block);
    block->order = kept;
    buddies_own(block);
    wr_buddy_trim(buddies, buddies_hint(), rest.leaf, rest.order, kept);
}

void
buddies_borrow(uint32_t order)
{
    struct block block;
    if (buddies_take(order, &block))
        buddies_give(&block);
}

struct block
buddies_leave_out(uint32_t order)
{
    struct block *block = &left_out[left_out_count++];
    sim_expect(buddies_take(order, block));
    return *block;
}

/* ---- The end ----------------------------------------------------------- */

bool
buddies_have(uint32_t order)
{
    for (uint32_t level = 0; level <= buddies->top; level++) {
        uint32_t first = level * WR_RUN_MAX;
        uint32_t run = order > first ? order - first : 0;
        for (uint32_t i = 0; i < buddies->levels[level].word_count; i++) {
            const volatile uint64_t *word =
                (const volatile uint64_t *)(uintptr_t)wr_buddy_word(
                    buddies, level, i);
            if (run <= WR_RUN_MAX && wr_run_fit(*word) > run)
                return true;
        }
    }
    return false;
}

/* Every split was undone. */
static void
expect_equal_tallies(void)
{
    uint64_t splits = 0;
    uint64_t coalesces = 0;
    for (unsigned i = 0; i <= SIM_WORKERS_MAX; i++) {
        splits += atomic_load(&hints[i].splits);
        coalesces += atomic_load(&hints[i].coalesces);
    }
    sim_expect(splits == coalesces);
}

void
buddies_expect_whole(void)
{
    wr_buddy_check(buddies);
    while (left_out_count > 0)
        buddies_give(&left_out[--left_out_count]);
    sim_expect(held_count == 0);
    sim_expect(wr_buddy_is_whole(buddies));
    expect_equal_tallies();

    uint32_t order = buddies->geometry.order_max;
    uint32_t leaf;
    sim_expect(wr_buddy_largest(buddies) == (int)order);
    sim_expect(wr_buddy_take_exact(buddies, buddies_hint(), order, &leaf));
}
