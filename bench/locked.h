/* SPDX-License-Identifier: MIT */
/* locked: between bench_locked.c, which asks and prints, and locked_buddy.c,
   which asks about buddy arenas. */
#ifndef BENCH_LOCKED_H
#define BENCH_LOCKED_H

enum row {
    ALLOC,
    DROP,
    FREEZE,
    CLONE,
    CLONE_SHARED,
    SUB,
    SPLIT,
    RELEASE_SOLE,
    RELEASE_CLONE,
    RELEASE_LAST,
    PAIR,
    CYCLE_SOLE,
    CYCLE,
    CYCLE_CLONE_FIRST,
    FAN_OUT,
    REPLACE,
    BURST_ALLOC,
    BURST_DROP,
    APART_SOLE,
    APART_CYCLE,
    HANDOFF_LEAST_32,
    HANDOFF_LEAST_64,
    HANDOFF_32,
    HANDOFF_64,
    HANDOFF_1024,
    UNCACHED_ALLOC,
    UNCACHED_DROP,
    UNCACHED_PAIR,
    FULL_FIRST,
    FULL_AGAIN,
    BUDDY_PAIR_SMALL, /* the first of those of one thread */
    BUDDY_PAIR,
    BUDDY_MIXED,
    BUDDY_MIXED_FULLER,
    BUDDY_UNCACHED_MIXED,
    BUDDY_UNCACHED_FULLER,
    ROWS
};

/* Counts all rows of buddy arenas. */
void locked_buddy(void);

#endif
