/* SPDX-License-Identifier: MIT */
/* world: what cases about arenas share. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "arena/arena.h"
#include "sim.h"
#include "weir/weir.h"

enum {
    WORLD_BLOCK = 64,
    WORLD_TOUCHED = 8, /* bytes of a block that its owner writes */
    WORLD_WAITERS = 4
};

/* An arena of so many blocks, which may spill as much as one block has;
   `on_unmapped` counts in world_unmapped. */
struct weir_arena *world_create(uint32_t blocks, unsigned flags);

/* The same, and it may spill so many bytes. */
struct weir_arena *world_create_spilling(uint32_t blocks, size_t bytes_max);

/* Gives the calling thread its record of the arena that was made last, with room
   for every batch in its cache. */
void world_warm(void);

/* Lets the blocks of these bits in the first two words of the bitmap be free,
   and all others be out for ever; for arenas of more than 64 blocks, before
   anything was taken. */
void world_leave(struct weir_arena *arena, uint64_t first, uint64_t second);

/* How many blocks are free, in the bitmap and in caches. For who is alone. */
uint32_t world_free_count(const struct weir_arena *arena);

/* Caches are on or off as their invariants say. For who is alone. */
void world_expect_caches(const struct weir_arena *arena);

/* The calling thread's cache of an arena. */
struct wr_thread_cache *world_cache(struct weir_arena *arena);

extern unsigned world_unmapped;

/* What counts there. */
void world_count_unmapped(void *user);

/* A block must be there: it is taken and written to. */
struct weir_buf world_alloc(struct weir_arena *arena);

/* The same, if there is one. */
bool world_try(struct weir_arena *arena, struct weir_buf *buf);

/* Writes into a buf's block, if that has any room; or reads a slice; and gives
   it back. */
void world_touch(struct weir_buf *buf);
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
enum weir_status world_wait_sized(
    struct weir_arena *arena, size_t size, unsigned waiter);

/* Nobody is queued while a block is free, and flag and caches agree. */
void world_expect_served(struct weir_arena *arena);

#endif
