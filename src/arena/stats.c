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
    stats->spilled_blocks =
        wr_load_relaxed(&arena->spilled_blocks); /* a snapshot */
    stats->spilled_bytes =
        wr_load_relaxed(&arena->spilled_bytes); /* a snapshot */

    uint64_t out = stats->allocs - stats->releases;
    out -= at_most(stats->spilled_blocks, out);
    stats->blocks_out = at_most(out, stats->block_count);
    if (stats->blocks_out > arena->blocks_out_peak)
        arena->blocks_out_peak = (uint32_t)stats->blocks_out;
    stats->blocks_out_peak = arena->blocks_out_peak;
}

static void
read_caches(const struct weir_arena *arena, struct weir_stats *stats)
{
    uint64_t bytes;
    stats->blocks_cached = at_most(
        wr_caches_count(arena, &bytes), stats->block_count - stats->blocks_out);
    stats->bytes_cached = bytes;
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

/* What is free by size, where sizes differ: not under the mutex, as it walks the
   books. A block that merges meanwhile may be met twice. */
static void
read_free(const struct weir_arena *arena, struct weir_stats *stats)
{
    stats->block_size = wr_arena_block_size(arena, 0);
    stats->block_count = wr_arena_slot_count(arena);
    stats->bytes_total = stats->block_size * stats->block_count;
    stats->block_size_max = arena->block_max;
    if (arena->layout == WEIR_FIXED)
        return;
    wr_buddy_count(&arena->buddy, stats->free_blocks);
    for (uint32_t i = WEIR_ORDERS; i-- > 0;) {
        uint64_t size = stats->block_size << i;
        uint64_t rest = stats->bytes_total - stats->bytes_free;
        stats->free_blocks[i] = at_most(stats->free_blocks[i], rest / size);
        stats->bytes_free += stats->free_blocks[i] * size;
        if (stats->free_blocks[i] != 0 && stats->largest_free == 0)
            stats->largest_free = size;
    }
}

/* Of a whole, in thousandths; 0 of nothing. */
static uint64_t
permille(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (uint64_t)((double)part / (double)whole * 1000);
}

static void
read_buddy(const struct weir_arena *arena, struct weir_stats *stats)
{
    stats->splits = wr_record_sum_buddy(arena, WR_SPLITS);
    stats->coalesces = wr_record_sum_buddy(arena, WR_COALESCES);
    stats->trims = wr_record_sum_buddy(arena, WR_TRIMS);
    stats->bytes_trimmed = wr_record_sum_buddy(arena, WR_BYTES_TRIMMED);
    stats->bytes_asked = wr_record_sum_buddy(arena, WR_BYTES_ASKED);
    stats->bytes_got = wr_record_sum_buddy(arena, WR_BYTES_GOT);
    stats->waste_permille = permille(
        stats->bytes_got - at_most(stats->bytes_asked, stats->bytes_got),
        stats->bytes_got);
    stats->fragmentation_permille =
        permille(stats->bytes_free - stats->largest_free, stats->bytes_free);
}

/* Bytes are in one of three places; what moves between two while this looks is
   counted once. Behind all others. */
static void
share_bytes(const struct weir_arena *arena, struct weir_stats *stats)
{
    uint64_t rest = stats->bytes_total;
    if (arena->layout == WEIR_FIXED) {
        stats->bytes_out = stats->blocks_out * stats->block_size;
        stats->bytes_cached = stats->blocks_cached * stats->block_size;
        stats->bytes_free = rest - stats->bytes_out - stats->bytes_cached;
        stats->largest_free = stats->bytes_free != 0 ? stats->block_size : 0;
        return;
    }
    rest -= stats->bytes_free;
    stats->bytes_cached = at_most(stats->bytes_cached, rest);
    stats->bytes_out = rest - stats->bytes_cached;
}

void
weir_arena_stats_sized(
    struct weir_arena *arena, struct weir_stats *stats, size_t stats_size)
{
    struct weir_stats known = { 0 };
    read_free(arena, &known);
    wr_mutex_lock(&arena->mutex);
    memcpy(known.name, arena->name, sizeof(known.name));
    read_counts(arena, &known);
    read_blocks(arena, &known);
    read_caches(arena, &known);
    read_buddy(arena, &known);
    share_bytes(arena, &known);
    known.waiting = arena->waiting;
    known.meta_bytes = sizeof(*arena) + arena->books.size +
                       arena->record_count * wr_record_size(arena);
    wr_mutex_unlock(&arena->mutex);

    /* A longer struct is of a later release; what is new there is 0 here. */
    size_t size = stats_size < sizeof(known) ? stats_size : sizeof(known);
    memset(stats, 0, stats_size);
    memcpy(stats, &known, size);
}
