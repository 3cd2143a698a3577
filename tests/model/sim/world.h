/* SPDX-License-Identifier: MIT */
/* world: what cases about arenas share. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "arena/arena.h"
#include "sim.h"
#include "weir/weir.h"

enum { WORLD_BLOCK = 64, WORLD_WAITERS = 4 };

/* An arena of so many blocks, which may spill as much as one block has;
   `on_unmapped` counts in world_unmapped. */
struct weir_arena *world_create(uint32_t blocks, unsigned flags);

/* The same, and it may spill so many bytes. */
struct weir_arena *world_create_spilling(uint32_t blocks, size_t bytes_max);

/* Gives the calling thread its record of the arena that was made last. */
void world_warm(void);

/* Lets one block in each of the first two words of the bitmap be free, and all
   others be out for ever; for arenas of more than 64 blocks. */
void world_leave_two(struct weir_arena *arena);

extern unsigned world_unmapped;

/* A block must be there: it is taken and written to. */
struct weir_buf world_alloc(struct weir_arena *arena);

/* The same, if there is one. */
bool world_try(struct weir_arena *arena, struct weir_buf *buf);

/* Writes into a buf's block, or reads a slice, and gives it back. */
void world_drop(struct weir_buf *buf);
void world_read(const struct weir_slice *slice);
void world_release(struct weir_slice *slice);

/* A slice of a block that was just written. */
struct weir_slice world_slice(struct weir_arena *arena);

/* Every block is home, and the arena is sound. */
void world_expect_whole(struct weir_arena *arena);

/* ---- Waiters ----------------------------------------------------------- */

/* One bell and some waiters on it, in memory that is looked after. */
struct world_queue {
    struct weir_bell bell;
    struct weir_waiter waiters[WORLD_WAITERS];
};

extern struct world_queue *world_queue;
extern struct sim_tokens world_rung; /* one for each ring */

/* What `granted` was told, in order; and the blocks it got. */
extern unsigned world_told_count;
extern unsigned world_told[WORLD_WAITERS];
extern enum weir_status world_status[WORLD_WAITERS];
extern unsigned world_rings;

void world_prepare_queue(void);

/* Waits with a waiter; a block that comes at once is kept in its buf. */
enum weir_status world_wait(struct weir_arena *arena, unsigned waiter);

/* Nobody is queued while a block is free, and the flag agrees. */
void world_expect_served(struct weir_arena *arena);

#endif
