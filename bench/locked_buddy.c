/* SPDX-License-Identifier: MIT */
/*
 * locked_buddy: how many locked instructions takes a block of a buddy arena?
 *
 * Idea
 *   The questions of bench_buddy, with fewer draws and on one thread: the same
 *   arena, the same orders, the same share of it out. What it takes to split,
 *   to merge and to go from one level to another is part of the pair in which
 *   it happens, so a count is an average over many. Random numbers are the
 *   same in every run, and so are the counts.
 */
#include "locked.h"

#include "counting.h"

#include <weir/weir.h>

#include <stdint.h>

#ifdef WEIR_COUNT_ATOMICS

enum {
    LEAF = 256,
    MEDIUM = 4096,
    ORDERS = 9,  /* 256 bytes to 64 KiB */
    HALF = 2304, /* blocks, of 14.2 KiB on average: 50 % of what there is */
    MOST = 3968, /* 86 % */
    PAIRS = 1000,
    TURNS = 20000
};

#define BYTES ((size_t)64 << 20)

struct place {
    struct weir_arena *arena;
    enum row row;
    size_t size;   /* of pairs */
    uint32_t held; /* of those that are replaced */
    uint64_t random;
    struct weir_buf bufs[MOST];
};

static void
must(enum weir_status status)
{
    if (status != WEIR_OK)
        counting_fail(weir_status_name(status));
}

static void
open_place(struct place *place, unsigned flags)
{
    must(weir_arena_create(&(struct weir_arena_config){ .layout = WEIR_BUDDY,
                               .bytes = BYTES,
                               .block_size = LEAF,
                               .flags = flags },
        &place->arena));
}

/* In the end everything is one block again. */
static void
close_place(struct place *place)
{
    struct weir_buf all;
    for (uint32_t i = 0; i < place->held; i++)
        weir_buf_drop(&place->bufs[i]);
    weir_thread_flush();
    must(weir_arena_alloc(place->arena, BYTES, &all));
    weir_buf_drop(&all);
    weir_arena_check(place->arena);
    weir_arena_destroy(&place->arena);
}

static uint32_t
below(struct place *place, uint32_t limit)
{
    place->random = place->random * UINT64_C(6364136223846793005) +
                    UINT64_C(1442695040888963407);
    return (uint32_t)(((place->random >> 32) * limit) >> 32);
}

/* At 86 % there may be none. */
static void
take(struct place *place, uint32_t index)
{
    size_t size = (size_t)LEAF << below(place, ORDERS);
    enum weir_status status =
        weir_arena_alloc(place->arena, size, &place->bufs[index]);
    if (status != WEIR_FULL)
        must(status);
}

static void
part_pairs(void *state)
{
    struct place *place = state;
    for (int i = 0; i < PAIRS; i++) {
        struct weir_buf buf;
        struct counting_span span = counting_from(place->row);
        must(weir_arena_alloc(place->arena, place->size, &buf));
        weir_buf_drop(&buf);
        counting_until(span, 1);
    }
}

static void
part_mixed(void *state)
{
    struct place *place = state;
    for (int i = 0; i < TURNS; i++) {
        uint32_t index = below(place, place->held);
        struct counting_span span = counting_from(place->row);
        weir_buf_drop(&place->bufs[index]);
        take(place, index);
        counting_until(span, 1);
    }
}

static void
ask_pairs(enum row row, size_t size)
{
    static struct place place;
    open_place(&place, 0);
    place.row = row;
    place.size = size;
    part_pairs(&place);
    counting_once(part_pairs, &place);
    close_place(&place);
}

static void
ask_mixed(enum row row, uint32_t held, unsigned flags)
{
    static struct place place;
    open_place(&place, flags);
    place.row = row;
    place.held = held;
    place.random = 1;
    for (uint32_t i = 0; i < held; i++)
        take(&place, i);
    part_mixed(&place);
    counting_once(part_mixed, &place);
    close_place(&place);
}

void
locked_buddy(void)
{
    ask_pairs(BUDDY_PAIR_SMALL, LEAF);
    ask_pairs(BUDDY_PAIR, MEDIUM);
    ask_mixed(BUDDY_MIXED, HALF, 0);
    ask_mixed(BUDDY_MIXED_FULLER, MOST, 0);
    ask_mixed(BUDDY_UNCACHED_MIXED, HALF, WEIR_NO_CACHE);
    ask_mixed(BUDDY_UNCACHED_FULLER, MOST, WEIR_NO_CACHE);
}

#endif
