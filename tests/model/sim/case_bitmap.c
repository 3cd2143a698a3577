/* SPDX-License-Identifier: MIT */
/*
 * bitmap: no slot has two owners, and what one owner did in it happens before
 * what the next one does there. Edge [slot].
 */

#include "base/bitmap.h"
#include "cases.h"

enum { SLOTS = 2, SLOTS_MAX = WR_WORD_BITS, CELL = 8 };

static struct wr_bitmap map;
static _Atomic uint64_t *words;
static unsigned char *payload;
static unsigned owner[SLOTS_MAX];

static void
prepare_slots(uint32_t slots)
{
    words = sim_memory_take(wr_bitmap_meta_size(slots), 64);
    payload = sim_memory_take(SLOTS_MAX * CELL, 64);
    wr_bitmap_init(&map, slots, words);
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        owner[i] = 0;
}

static void
prepare(void)
{
    prepare_slots(SLOTS);
}

static void
prepare_whole(void)
{
    prepare_slots(SLOTS_MAX);
}

static void
own(uint32_t slot)
{
    sim_expect(slot < map.slot_count);
    sim_expect(owner[slot] == 0);
    owner[slot] = sim_self();
    sim_plain_write(payload + (size_t)slot * CELL, CELL);
}

static void
disown(uint32_t slot)
{
    sim_plain_write(payload + (size_t)slot * CELL, CELL);
    sim_expect(owner[slot] == sim_self());
    owner[slot] = 0;
}

static void
take_and_give(void)
{
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    if (!wr_bitmap_take(&map, &hint, &slot))
        return;
    own(slot);
    disown(slot);
    sim_expect(wr_bitmap_give(&map, &hint, slot));
}

/* The second time the hint believes in what was given. */
static void
take_and_give_twice(void)
{
    struct wr_bitmap_hint hint = { 0 };
    for (unsigned i = 0; i < 2; i++) {
        uint32_t slot;
        if (!wr_bitmap_take(&map, &hint, &slot))
            continue;
        own(slot);
        disown(slot);
        sim_expect(wr_bitmap_give(&map, &hint, slot));
    }
}

static void
take_both(void)
{
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slots[SLOTS];
    uint32_t count = 0;
    while (count < SLOTS && wr_bitmap_take(&map, &hint, &slots[count]))
        own(slots[count++]);
    while (count > 0) {
        disown(slots[--count]);
        sim_expect(wr_bitmap_give(&map, &hint, slots[count]));
    }
}

/* Both at once, or what is there. */
static void
take_batch(void)
{
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch;
    if (!wr_bitmap_take_batch(&map, &hint, map.slot_count, &batch))
        return;
    for (uint32_t slot = 0; slot < map.slot_count; slot++)
        if ((batch.mask >> slot & 1) != 0)
            own(slot);
    for (uint32_t slot = 0; slot < map.slot_count; slot++)
        if ((batch.mask >> slot & 1) != 0)
            disown(slot);
    sim_expect(wr_bitmap_give_batch(&map, &hint, &batch));
}

static void
take_batch_twice(void)
{
    take_batch();
    take_batch();
}

static void
all_are_free(void)
{
    uint32_t from = 0;
    sim_expect(wr_bitmap_is_whole(&map, &from));
    wr_bitmap_check(&map);
}

const struct sim_case bitmap_cases[] = {
    {
        .name = "bitmap",
        .claim = "three threads, two slots, one owner each",
        .before = prepare,
        .threads = { take_and_give, take_and_give, take_both },
        .after = all_are_free,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "bitmap_guess",
        .claim = "guesses that others disappoint",
        .before = prepare,
        .threads = { take_and_give_twice, take_and_give_twice, take_both },
        .after = all_are_free,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "bitmap_whole",
        .claim = "whole words",
        .before = prepare_whole,
        .threads = { take_batch_twice, take_batch, take_and_give },
        .after = all_are_free,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "bitmap_batch",
        .claim = "batches and single slots",
        .before = prepare,
        .threads = { take_batch_twice, take_batch, take_and_give_twice },
        .after = all_are_free,
        .preemptions = 3,
        .stales = 3,
    },
    { 0 },
};
