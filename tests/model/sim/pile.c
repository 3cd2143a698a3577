/* SPDX-License-Identifier: MIT */
/* pile: what cases about heaps share. */

#include "pile.h"

#include "core/heap.h"

_Static_assert((int)PILE_PAGE == (int)WR_PAGE_BYTES, "a page");
_Static_assert((int)PILE_PAGE_BLOCKS == (int)WR_PAGE_UNITS, "its blocks");
_Static_assert((int)PILE_WIDE == (int)WR_CLASS_SMALL_MAX, "the last class");

enum { OUT_MAX = 32 };

struct weir_heap *pile;

/* What is out. */
static struct piece {
    unsigned char *memory;
    size_t size;
} out[OUT_MAX];
static unsigned out_count;

void
pile_create(size_t pages, unsigned refill, bool deep)
{
    out_count = 0;
    enum weir_status status = weir_heap_create(
        &(struct weir_heap_config){ .region_bytes = PILE_PAGE,
            .bytes_max = pages * PILE_PAGE,
            .refill_bytes = refill * (size_t)PILE_BLOCK,
            .cache_bytes = deep ? 1024 * (size_t)PILE_BLOCK : PILE_BLOCK,
            .decay_ms = 4 },
        &pile);
    sim_expect(status == WEIR_OK);
}

void
pile_warm(void)
{
    struct wr_heap_record *record = wr_heap_record_of(pile);
    record->credit = 1;
    struct wr_shelf *shelf = &record->shelves[0];
    sim_name(&shelf->count, "count");
    sim_name(&shelf->gate.control, "control");
    sim_name(&shelf->gate.busy, "busy");
}

/* ---- Blocks ------------------------------------------------------------ */

static void
own(unsigned char *memory, size_t size)
{
    for (unsigned i = 0; i < out_count; i++) {
        bool apart = memory + size <= out[i].memory ||
                     out[i].memory + out[i].size <= memory;
        if (!apart)
            sim_fail("thread %u gets a block that is out", sim_self());
    }
    sim_expect(out_count < OUT_MAX);
    out[out_count++] = (struct piece){ memory, size };
    sim_plain_write(memory, size);
}

void *
pile_try(size_t size)
{
    void *memory = NULL;
    enum weir_status status = weir_heap_alloc(pile, size, &memory);
    sim_expect(status == WEIR_OK || status == WEIR_FULL);
    if (status == WEIR_OK)
        own(memory, size);
    return memory;
}

void *
pile_take(size_t size)
{
    void *memory = pile_try(size);
    sim_expect(memory != NULL);
    return memory;
}

void
pile_disown(void *memory)
{
    unsigned i = 0;
    while (i < out_count && out[i].memory != memory)
        i++;
    sim_expect(i < out_count);
    sim_plain_write(memory, out[i].size);
    out[i] = out[--out_count];
}

void
pile_drop(void *memory)
{
    pile_disown(memory);
    sim_expect(weir_heap_release(pile, memory) == WEIR_OK);
}

/* ---- The end ----------------------------------------------------------- */

static uint64_t
count_out(size_t from, size_t to)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < out_count; i++)
        count += out[i].size >= from && out[i].size <= to;
    return count;
}

static void
expect_counted(void)
{
    struct weir_heap_stats stats;
    weir_heap_stats(pile, &stats);
    sim_expect(stats.classes[0].blocks_live == count_out(1, PILE_BLOCK));
    sim_expect(
        stats.classes[1].blocks_live == count_out(PILE_BLOCK + 1, PILE_WIDE));
    sim_expect(stats.large_live == count_out(PILE_WIDE + 1, PILE_PAGE));
}

void
pile_expect_whole(void)
{
    expect_counted();
    weir_heap_check(pile);
    while (out_count < pile->pages_max * PILE_PAGE_BLOCKS)
        (void)pile_take(PILE_BLOCK);
    while (out_count > 0)
        pile_drop(out[out_count - 1].memory);
    weir_heap_trim(pile);
    expect_counted();
    sim_expect(wr_load_relaxed(&pile->pages_used) == 0); /* it is quiet */
}
