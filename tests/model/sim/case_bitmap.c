/* SPDX-License-Identifier: MIT */
/*
 * bitmap: no slot has two owners, and what one owner did in it happens before
 * what the next one does there. Edge [slot].
 */

#include "base/bitmap.h"
#include "cases.h"

enum { SLOTS = 2, CELL = 8 };

static struct wr_bitmap map;
static _Atomic uint64_t *words;
static unsigned char *payload;
static unsigned owner[SLOTS];

static void
prepare(void)
{
    words = sim_memory_take(wr_bitmap_meta_size(SLOTS), 64);
    payload = sim_memory_take(SLOTS * CELL, 64);
    wr_bitmap_init(&map, SLOTS, words);
    for (unsigned i = 0; i < SLOTS; i++)
        owner[i] = 0;
}

static void
own(uint32_t slot)
{
    sim_expect(slot < SLOTS);
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
    { 0 },
};
