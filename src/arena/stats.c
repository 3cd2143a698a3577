/* SPDX-License-Identifier: MIT */
/*
 * stats: a snapshot in numbers.
 *
 * Idea
 *   What can be derived is derived: the blocks that are out are those that were
 *   handed out and did not come home. The counts are sums of what each thread
 *   counted, read effects first (record.h), so there are never fewer allocs than
 *   releases. What happens between two of the sums may make the difference
 *   greater than it ever was; it is cut to what is possible.
 */

#include "arena/arena.h"
#include "arena/caches.h"

#include <string.h>

extern inline void weir_arena_stats(
    struct weir_arena *arena, struct weir_stats *stats);

static uint64_t
at_most(uint64_t number, uint64_t limit)
{
    return number < limit ? number : limit;
}

/* Behind read_counts. */
static void
read_blocks(struct weir_arena *arena, struct weir_stats *stats)
{
    stats->block_size = arena->fixed.block_size;
    stats->block_count = wr_arena_slot_count(arena);
    stats->bytes_total = stats->block_size * stats->block_count;
    stats->spilled_blocks =
        wr_load_relaxed(&arena->spilled_blocks); /* a snapshot */
    stats->spilled_bytes =
        wr_load_relaxed(&arena->spilled_bytes); /* a snapshot */

    uint64_t out = stats->allocs - stats->releases;
    out -= at_most(stats->spilled_blocks, out);
    stats->blocks_out = at_most(out, stats->block_count);
    stats->bytes_out = stats->blocks_out * stats->block_size;
    if (stats->blocks_out > arena->blocks_out_peak)
        arena->blocks_out_peak = (uint32_t)stats->blocks_out;
    stats->blocks_out_peak = arena->blocks_out_peak;
}

static void
read_caches(const struct weir_arena *arena, struct weir_stats *stats)
{
    stats->blocks_cached =
        at_most(wr_caches_count(arena), stats->block_count - stats->blocks_out);
    stats->bytes_cached = stats->blocks_cached * stats->block_size;
    stats->caching = arena->caching;
    stats->caches = arena->caches_on;
    stats->sweeps = arena->sweeps;
}

static void
read_counts(const struct weir_arena *arena, struct weir_stats *stats)
{
    uint64_t *const fields[WR_COUNTERS] = {
        [WR_ALLOCS] = &stats->allocs,
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

void
weir_arena_stats_sized(
    struct weir_arena *arena, struct weir_stats *stats, size_t stats_size)
{
    struct weir_stats known = { 0 };
    wr_mutex_lock(&arena->mutex);
    memcpy(known.name, arena->name, sizeof(known.name));
    read_counts(arena, &known);
    read_blocks(arena, &known);
    read_caches(arena, &known);
    known.waiting = arena->waiting;
    known.meta_bytes = sizeof(*arena) + arena->books.size +
                       arena->record_count * sizeof(struct wr_record);
    wr_mutex_unlock(&arena->mutex);

    /* A longer struct is of a later release; what is new there is 0 here. */
    size_t size = stats_size < sizeof(known) ? stats_size : sizeof(known);
    memset(stats, 0, stats_size);
    memcpy(stats, &known, size);
}
