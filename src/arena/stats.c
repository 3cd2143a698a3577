/* SPDX-License-Identifier: MIT */
/*
 * stats: a snapshot in numbers.
 *
 * Idea
 *   What can be derived is derived: the blocks that are out are the clear bits
 *   of the bitmap, so there can never be more of them than blocks; the allocs
 *   are these and the releases. The rest is the sum of what each thread
 *   counted, read effects first (record.h).
 */

#include "arena/arena.h"

#include <string.h>

extern inline void weir_arena_stats(
    struct weir_arena *arena, struct weir_stats *stats);

static void
read_blocks(struct weir_arena *arena, struct weir_stats *stats)
{
    const struct wr_bitmap *map = &arena->fixed.map;
    uint32_t out = map->slot_count - wr_bitmap_free_count(map);
    if (out > arena->blocks_out_peak)
        arena->blocks_out_peak = out;
    stats->block_size = arena->fixed.block_size;
    stats->block_count = map->slot_count;
    stats->bytes_total = stats->block_size * stats->block_count;
    stats->blocks_out = out;
    stats->bytes_out = out * stats->block_size;
    stats->blocks_out_peak = arena->blocks_out_peak;
    stats->spilled_blocks =
        wr_load_relaxed(&arena->spilled_blocks); /* a snapshot */
    stats->spilled_bytes =
        wr_load_relaxed(&arena->spilled_bytes); /* a snapshot */
    stats->waiting = arena->waiting;
    stats->meta_bytes = sizeof(*arena) + arena->books.size +
                        arena->record_count * sizeof(struct wr_record);
}

static void
read_counts(const struct weir_arena *arena, struct weir_stats *stats)
{
    uint64_t *const fields[WR_COUNTERS] = {
        [WR_RELEASES] = &stats->releases,
        [WR_GRANTS] = &stats->grants,
        [WR_CANCELS] = &stats->cancels,
        [WR_WAITS] = &stats->waits,
        [WR_FREEZES] = &stats->freezes,
        [WR_BYTES_FROZEN] = &stats->bytes_frozen,
        [WR_BYTES_COPIED] = &stats->bytes_copied,
        [WR_SPILL_GROWS] = &stats->spill_grows,
        [WR_SPILL_FULLS] = &stats->spill_fulls,
        [WR_ALLOC_FULLS] = &stats->alloc_fulls,
    };
    for (unsigned i = 0; i < WR_COUNTERS; i++)
        *fields[i] = wr_record_sum(arena, (enum wr_counter)i);
}

/* What was handed out came home or is out. A release that is between its bit
   and its count is in neither sum; a count must not fall for that. */
static void
derive_allocs(struct weir_arena *arena, struct weir_stats *stats)
{
    uint64_t allocs =
        stats->releases + stats->blocks_out + stats->spilled_blocks;
    if (allocs > arena->allocs_seen)
        arena->allocs_seen = allocs;
    stats->allocs = arena->allocs_seen;
}

void
weir_arena_stats_sized(
    struct weir_arena *arena, struct weir_stats *stats, size_t stats_size)
{
    struct weir_stats known = { 0 };
    wr_mutex_lock(&arena->mutex);
    memcpy(known.name, arena->name, sizeof(known.name));
    read_counts(arena, &known);
    read_blocks(arena, &known);
    derive_allocs(arena, &known);
    wr_mutex_unlock(&arena->mutex);

    /* A longer struct is of a later release; what is new there is 0 here. */
    size_t size = stats_size < sizeof(known) ? stats_size : sizeof(known);
    memset(stats, 0, stats_size);
    memcpy(stats, &known, size);
}
