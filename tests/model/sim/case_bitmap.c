/* SPDX-License-Identifier: MIT */
/*
 * bitmap: no slot has two owners, and what one owner did in it happens before
 * what the next one does there. Edge [slot].
 */

#include "base/bitmap.h"
#include "cases.h"
#include "platform/thread.h"

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

/* Two lines, of which one slot each is out and comes back; another thread says
   meanwhile that there is none, again and again. */
enum { MARKED_SLOTS = 4096, LINE_SLOTS = 8 * WR_WORD_BITS };

static struct wr_mutex lock;

static void
prepare_marks(void)
{
    words = sim_memory_take(wr_bitmap_meta_size(MARKED_SLOTS), 64);
    payload = sim_memory_take(SLOTS_MAX * CELL, 64);
    wr_mutex_init(&lock);
    wr_bitmap_init(&map, MARKED_SLOTS, words);
    for (uint32_t i = 0; i < map.word_count; i++)
        atomic_init(&words[i], 0);
    atomic_init(&map.marks[0], 3);
    sim_name(&words[0], "word 0");
    sim_name(&words[LINE_SLOTS / WR_WORD_BITS], "word 8");
    sim_name(&map.marks[0], "marks");
}

static void
give_first_line(void)
{
    struct wr_bitmap_hint hint = { 0 };
    sim_expect(wr_bitmap_give(&map, &hint, 0));
}

static void
give_second_line(void)
{
    struct wr_bitmap_hint hint = { 0 };
    struct wr_batch batch = { 1, LINE_SLOTS / WR_WORD_BITS };
    sim_expect(wr_bitmap_give_batch(&map, &hint, &batch));
}

static void
take_locked(void)
{
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    wr_mutex_lock(&lock);
    bool taken = wr_bitmap_take_locked(&map, &hint, &slot);
    wr_mutex_unlock(&lock);
    if (taken)
        sim_expect(wr_bitmap_give(&map, &hint, slot));
}

static void
take_locked_twice(void)
{
    take_locked();
    take_locked();
}

static void
both_are_found(void)
{
    struct wr_bitmap_hint hint = { 0 };
    uint32_t slot;
    wr_bitmap_check(&map);
    sim_expect(wr_bitmap_take(&map, &hint, &slot));
    sim_expect(wr_bitmap_take(&map, &hint, &slot));
    sim_expect(!wr_bitmap_take(&map, &hint, &slot));
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
    {
        .name = "bitmap_marks",
        .claim = "no line with a free slot is forgotten",
        .before = prepare_marks,
        .threads = { give_first_line, give_second_line, take_locked_twice },
        .after = both_are_found,
        .preemptions = 3,
        .stales = 3,
    },
    { 0 },
};
