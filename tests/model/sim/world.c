/* SPDX-License-Identifier: MIT */
/* world: what cases about arenas share. */

#include "world.h"

#include "arena/caches.h"

unsigned world_unmapped;
struct world_queue *world_queue;
struct sim_tokens world_rung;
unsigned world_told_count;
unsigned world_told[WORLD_WAITERS];
enum weir_status world_status[WORLD_WAITERS];
unsigned world_rings;

static struct weir_arena *made_last;

void
world_count_unmapped(void *user)
{
    (void)user;
    world_unmapped++;
}

static struct weir_arena *
create(uint32_t blocks, unsigned flags, size_t spill_bytes_max)
{
    struct weir_arena *arena = NULL;
    enum weir_status status = weir_arena_create(
        &(struct weir_arena_config){ .block_size = WORLD_BLOCK,
            .block_count = blocks,
            .flags = flags,
            .spill_bytes_max = spill_bytes_max,
            .on_unmapped = world_count_unmapped },
        &arena);
    sim_expect(status == WEIR_OK);
    sim_name(&arena->state, "state");
    sim_name(&arena->fixed.map.words[0], "word 0");
    if (blocks > WR_WORD_BITS)
        sim_name(&arena->fixed.map.words[1], "word 1");
    sim_name(&arena->counts[0], "count 0");
    sim_name(&arena->shared.counts[WR_RELEASES], "shared releases");
    sim_name(&arena->spilled_blocks, "spilled");
    made_last = arena;
    return arena;
}

struct weir_arena *
world_create(uint32_t blocks, unsigned flags)
{
    return create(blocks, flags, WORLD_BLOCK);
}

struct weir_arena *
world_create_spilling(uint32_t blocks, size_t bytes_max)
{
    return create(blocks, WEIR_SPILL_FULL | WEIR_SPILL_GROW, bytes_max);
}

struct wr_thread_cache *
world_cache(struct weir_arena *arena)
{
    struct wr_record *record = wr_record_of(arena);
    sim_expect(record != NULL);
    return &record->cache;
}

void
world_warm(void)
{
    world_cache(made_last)->below_max = WR_WORD_BITS;
}

void
world_leave(struct weir_arena *arena, uint64_t first, uint64_t second)
{
    sim_expect(wr_arena_slot_count(arena) > WR_WORD_BITS);
    atomic_init(&arena->fixed.map.words[0], first);
    atomic_init(&arena->fixed.map.words[1], second);
    for (uint32_t i = 2; i < arena->fixed.map.word_count; i++)
        atomic_init(&arena->fixed.map.words[i], 0);
    uint64_t *counts =
        (uint64_t *)(uintptr_t)arena->counts; /* nobody knows them */
    for (uint32_t i = 0; i < wr_arena_slot_count(arena); i++) {
        uint32_t word = i / WR_WORD_BITS;
        uint64_t free = word == 0 ? first : word == 1 ? second : 0;
        if ((free >> i % WR_WORD_BITS & 1) == 0)
            counts[i] = WR_WEIGHT_WHOLE;
    }
}

uint32_t
world_free_count(const struct weir_arena *arena)
{
    uint64_t bytes;
    return wr_bitmap_free_count(&arena->fixed.map) +
           (uint32_t)wr_caches_count(arena, &bytes);
}

void
world_expect_caches(const struct weir_arena *arena)
{
    uint32_t on = 0;
    const struct wr_record *record = arena->records;
    for (; record != NULL; record = record->next) {
        sim_expect(!wr_gate_is_stopped(&record->cache.gate));
        on += wr_gate_is_on(&record->cache.gate);
    }
    uint32_t state = wr_load_relaxed(&arena->state); /* it is quiet */
    sim_expect(on == arena->caches_on);
    sim_expect(on == 0 || state == 0);
    sim_expect((state & WR_SEARCHING) == 0);
    sim_expect((state & WR_DRY) == 0 || world_free_count(arena) == 0);
}

void
world_touch(struct weir_buf *buf)
{
    size_t room = weir_buf_room(buf);
    sim_plain_write(
        weir_buf_tail(buf), room < WORLD_TOUCHED ? room : WORLD_TOUCHED);
}

bool
world_try(struct weir_arena *arena, struct weir_buf *buf)
{
    if (weir_arena_alloc(arena, 0, buf) != WEIR_OK)
        return false;
    world_touch(buf);
    return true;
}

struct weir_buf
world_alloc(struct weir_arena *arena)
{
    struct weir_buf buf = { 0 };
    sim_expect(world_try(arena, &buf));
    return buf;
}

void
world_drop(struct weir_buf *buf)
{
    world_touch(buf);
    weir_buf_drop(buf);
}

void
world_read(const struct weir_slice *slice)
{
    sim_plain_read(weir_slice_data(slice), weir_slice_len(slice));
}

void
world_release(struct weir_slice *slice)
{
    world_read(slice);
    weir_slice_release(slice);
}

struct weir_slice
world_slice(struct weir_arena *arena)
{
    struct weir_slice slice;
    struct weir_buf buf = world_alloc(arena);
    weir_buf_commit(&buf, WORLD_BLOCK);
    weir_buf_freeze(&buf, &slice);
    return slice;
}

void
world_expect_whole(struct weir_arena *arena)
{
    struct weir_stats stats;
    weir_arena_check(arena);
    world_expect_caches(arena);
    weir_arena_stats(arena, &stats);
    sim_expect(stats.blocks_out == 0);
    sim_expect(stats.spilled_blocks == 0);
    sim_expect(stats.spilled_bytes == 0);
    sim_expect(stats.allocs == stats.releases);
}

/* ---- Waiters ----------------------------------------------------------- */

static void
ring(struct weir_bell *bell)
{
    (void)bell;
    world_rings++;
    sim_tokens_put(&world_rung);
}

static void
note(struct weir_waiter *waiter, enum weir_status status)
{
    sim_expect(world_told_count < WORLD_WAITERS);
    world_told[world_told_count] = (unsigned)(waiter - world_queue->waiters);
    world_status[world_told_count] = status;
    world_told_count++;
    if (status == WEIR_OK)
        world_touch(&waiter->buf);
}

void
world_prepare_queue(void)
{
    world_queue = sim_memory_take(sizeof(*world_queue), 64);
    sim_plain_write(world_queue, sizeof(*world_queue));
    *world_queue = (struct world_queue){ 0 };
    weir_bell_init(&world_queue->bell, ring, NULL);
    world_rung = (struct sim_tokens){ .strong = false };
    world_told_count = 0;
    world_rings = 0;
}

enum weir_status
world_wait(struct weir_arena *arena, unsigned waiter)
{
    return world_wait_sized(arena, 0, waiter);
}

enum weir_status
world_wait_sized(struct weir_arena *arena, size_t size, unsigned waiter)
{
    struct weir_waiter *mine = &world_queue->waiters[waiter];
    sim_plain_write(mine, sizeof(*mine));
    *mine = (struct weir_waiter){ .bell = &world_queue->bell, .granted = note };
    enum weir_status status = weir_arena_wait(arena, size, mine);
    if (status == WEIR_OK)
        world_touch(&mine->buf);
    return status;
}

void
world_expect_served(struct weir_arena *arena)
{
    bool waits = arena->first_waiter != NULL;
    sim_expect(!(waits && world_free_count(arena) > 0));
    world_expect_caches(arena);
    size_t spilled = wr_load_relaxed(&arena->spilled_bytes); /* likewise */
    bool may_spill = (arena->flags & WEIR_SPILL_FULL) != 0 &&
                     spilled + WORLD_BLOCK <= arena->spill_bytes_max;
    sim_expect(!(waits && may_spill));
    uint32_t state = wr_load_relaxed(&arena->state); /* it is quiet */
    sim_expect(((state & WR_WAITING) != 0) == waits);
}
