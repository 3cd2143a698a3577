/* SPDX-License-Identifier: MIT */
/*
 * arena: how one begins and ends.
 *
 *     control part     in the directory, for ever      name, state, mutex, queue
 *     region           [ guard | blocks | guard ]      or memory of the caller's
 *     books            [ guard | bitmap | counts | guard ]
 *
 * Idea
 *   An arena is two mappings, one for the blocks and one for the books, and a
 *   control part outside both. Destroying marks the control part; the mappings
 *   go when the last block is home, on whatever thread that happens. No block
 *   holds a count on the arena: that would be a line shared by all threads in
 *   every call. Instead a releaser looks at the state after its block's bit is
 *   set, and when the arena is destroyed, looks whether it is whole.
 *
 * Tearing down
 *   The destroyer sets the state, then looks whether the arena is whole. A
 *   releaser sets its bit, then looks at the state. All four are sequentially
 *   consistent, so it cannot be that the last releaser sees the old state and
 *   the destroyer sees the bit not set: one of them, at least, finds the
 *   arena destroyed and whole. Both decide under the mutex, where the first one
 *   takes the mappings out of the control part; a second finds serial 0. After
 *   its bit a releaser touches the control part and its own record, and these
 *   are never unmapped.
 *
 * Invariants
 *   1. serial != 0 from create until the mappings are given back.
 *   2. WR_DESTROYED implies WR_CLOSED; a closed arena has no waiter queued.
 *   3. The count of a slot is 0 if and only if the slot is free: in the bitmap
 *      or in one cache.
 *
 * Edges
 *   [home]   wr_bitmap_give, wr_spill_give, seq  ->  is_home, seq
 *            What the last owner of a block did happens before the unmapping.
 *   [sleep]  weir_arena_destroy, seq  ->  wr_door_give, seq
 *            Tearing down, above.
 *
 * Costs
 *   Creating maps twice; destroying unmaps twice. A release in a destroyed
 *   arena takes the mutex; looking whether it is whole is one pass over the
 *   words in all.
 *
 * Limits
 *   A block has at most 2^32 - 1 bytes, an arena 2^32 - 65 blocks.
 */

#include "arena/arena.h"

#include "arena/caches.h"
#include "base/check.h"
#include "base/config.h"
#include "platform/fence.h"

#include <errno.h>
#include <string.h>

enum {
    DEFAULT_BYTES = 4 << 20,
    DEFAULT_BLOCK_SIZE = 4096,
    DEFAULT_ALIGN = 64,
    ALIGN_MAX = 2 << 20,
    KNOWN_FLAGS = WEIR_PREFAULT | WEIR_LOCK | WEIR_SPILL_GROW |
                  WEIR_SPILL_FULL | WEIR_NO_CACHE,
    CACHED_FROM = 64,     /* slots; smaller arenas have no caches */
    DROUGHT_LENGTH = 2048 /* slots past a cache cost about what a sweep costs */
};

_Static_assert((int)WR_PAGES_NORMAL == (int)WEIR_PAGES_NORMAL &&
                   (int)WR_PAGES_HUGE_IF_FREE == (int)WEIR_PAGES_HUGE_IF_FREE &&
                   (int)WR_PAGES_HUGE == (int)WEIR_PAGES_HUGE,
    "the platform's kinds of pages are the public ones");

extern inline enum weir_status weir_arena_create(
    const struct weir_arena_config *config, struct weir_arena **arena);

/* Copies what this library knows of a configuration of another release. False:
   it sets something unknown. */
static bool
adopt(const struct weir_arena_config *config, size_t config_size,
    struct weir_arena_config *known)
{
    return wr_config_adopt(known, sizeof(*known), config, config_size) &&
           known->layout == WEIR_FIXED &&
           (unsigned)known->pages <= WEIR_PAGES_HUGE &&
           (known->flags & ~(unsigned)KNOWN_FLAGS) == 0;
}

static void
set_defaults(struct weir_arena_config *config)
{
    if (config->name == NULL)
        config->name = "weir";
    if (config->block_align == 0)
        config->block_align = DEFAULT_ALIGN;
    if (config->block_size == 0)
        config->block_size = DEFAULT_BLOCK_SIZE;
    if (config->bytes == 0 && config->block_count == 0 &&
        config->memory == NULL)
        config->bytes = DEFAULT_BYTES;
}

/* What the caller prepares, and where it lies, if the memory is the caller's. */
static bool
is_valid_memory(const struct weir_arena_config *config)
{
    uintptr_t start = (uintptr_t)config->memory;
    return start % config->block_align == 0 &&
           config->pages == WEIR_PAGES_NORMAL &&
           (config->flags & (WEIR_PREFAULT | WEIR_LOCK)) == 0;
}

static bool
is_valid(const struct weir_arena_config *config)
{
    return wr_config_is_name(config->name) &&
           wr_is_power_of_two(config->block_align) &&
           config->block_align <= ALIGN_MAX &&
           (config->bytes == 0) != (config->block_count == 0) &&
           (config->memory == NULL || is_valid_memory(config));
}

/* How many slots, and how they lie. */
static bool
lay_out(
    const struct weir_arena_config *config, struct wr_fixed_geometry *geometry)
{
    size_t block_size;
    if (wr_round_up_overflows(
            config->block_size, config->block_align, &block_size))
        return false;
    size_t count = config->block_count;
    if (count == 0)
        count = config->bytes / block_size;
    bool spread =
        config->memory == NULL && config->block_align < wr_page_size();
    size_t end;
    return count > 0 &&
           wr_fixed_geometry(
               block_size, count, config->block_align, spread, geometry) &&
           !wr_add_overflows((uintptr_t)config->memory, geometry->bytes, &end);
}

static enum weir_status
map_blocks(const struct weir_arena_config *config,
    const struct wr_fixed_geometry *geometry, struct wr_region *region)
{
    if (config->memory != NULL)
        return WEIR_OK;
    if (!wr_pages_map(geometry->bytes, config->block_align,
            (enum wr_page_kind)config->pages, region))
        return config->pages == WEIR_PAGES_HUGE ? WEIR_UNSUPPORTED
                                                : WEIR_SYSTEM;
    if (((config->flags & WEIR_LOCK) != 0 && !wr_pages_lock(region)) ||
        ((config->flags & WEIR_PREFAULT) != 0 && !wr_pages_prefault(region)))
        return WEIR_SYSTEM;
    return WEIR_OK;
}

/* The bitmap first, then the counts, in a line of their own: for each bit of a
   word one, used or not. */
static bool
map_books(const struct wr_fixed_geometry *geometry, unsigned flags,
    struct wr_region *books, size_t *counts_at)
{
    size_t meta = wr_fixed_meta_size(geometry);
    size_t counts;
    size_t total;
    if (wr_round_up_overflows(meta, WR_LINE_SIZE, counts_at) ||
        wr_multiply_overflows(meta, WR_WORD_BITS, &counts) ||
        wr_add_overflows(*counts_at, counts, &total)) {
        errno = ENOMEM;
        return false;
    }
    return wr_pages_map(total, WR_LINE_SIZE, WR_PAGES_NORMAL, books) &&
           ((flags & WEIR_PREFAULT) == 0 || wr_pages_prefault(books));
}

static void
reset(struct weir_arena *arena)
{
    for (unsigned i = 0; i < WR_COUNTERS; i++) {
        arena->retired[i] = 0;
        wr_store_relaxed(&arena->shared.counts[i], 0); /* under the mutex */
    }
    arena->shared.hint = (struct wr_bitmap_hint){ 0 };
    arena->drought_length = DROUGHT_LENGTH;
    arena->caches_on = 0;
    arena->sweeps = 0;
    arena->records = NULL;
    arena->record_count = 0;
    arena->record_ordinal = 0;
    arena->first_waiter = NULL;
    arena->last_waiter = NULL;
    arena->waiting = 0;
    arena->blocks_out_peak = 0;
    arena->whole_words = 0;
    wr_store_relaxed(&arena->spilled_bytes, 0);  /* under the mutex */
    wr_store_relaxed(&arena->spilled_blocks, 0); /* under the mutex */
    wr_store_relaxed(&arena->state, 0);          /* under the mutex */
}

/* Whether threads may keep free blocks at hand, and if not, why. */
static enum weir_caching
caching(const struct weir_arena_config *config, uint32_t slot_count)
{
    if ((config->flags & WEIR_NO_CACHE) != 0)
        return WEIR_CACHING_REFUSED;
    if (slot_count < CACHED_FROM)
        return WEIR_CACHING_TINY;
    return wr_fence_is_supported() ? WEIR_CACHING_ON : WEIR_CACHING_UNSUPPORTED;
}

/* The control part's mutex is held. */
static void
configure(struct weir_arena *arena, const struct weir_arena_config *config,
    const struct wr_region *region)
{
    arena->base = region->base != NULL ? region->base : config->memory;
    arena->region = *region;
    arena->flags = config->flags;
    arena->caching = caching(config, arena->fixed.map.slot_count);
    arena->on_unmapped = config->on_unmapped;
    arena->user = config->user;
    memcpy(arena->name, config->name, strlen(config->name) + 1);
    size_t bytes = arena->fixed.block_size * arena->fixed.map.slot_count;
    arena->spill_bytes_max =
        config->spill_bytes_max != 0 ? config->spill_bytes_max : bytes;
}

static enum weir_status
build(const struct weir_arena_config *config,
    const struct wr_fixed_geometry *geometry, struct weir_arena **built)
{
    struct wr_region region = { 0 };
    struct wr_region books = { 0 };
    size_t counts_at = 0;
    enum weir_status status = map_blocks(config, geometry, &region);
    if (status != WEIR_OK)
        goto fail;
    status = WEIR_SYSTEM;
    if (!map_books(geometry, config->flags, &books, &counts_at))
        goto fail;
    struct weir_arena *arena = wr_directory_take();
    if (arena == NULL)
        goto fail;

    reset(arena);
    wr_fixed_init(&arena->fixed, geometry, books.base);
    arena->books = books;
    arena->counts =
        (_Atomic uint64_t *)(void *)((char *)books.base + counts_at);
    configure(arena, config, &region);
    wr_mutex_unlock(&arena->mutex);
    *built = arena;
    return WEIR_OK;

fail:;
    int why = errno;
    wr_pages_unmap(&books);
    wr_pages_unmap(&region);
    errno = why;
    return status;
}

enum weir_status
weir_arena_create_sized(const struct weir_arena_config *config,
    size_t config_size, struct weir_arena **arena)
{
    struct weir_arena_config known;
    if (!adopt(config, config_size, &known))
        return WEIR_UNSUPPORTED;
    set_defaults(&known);
    struct wr_fixed_geometry geometry;
    if (!is_valid(&known) || !lay_out(&known, &geometry))
        return WEIR_INVALID;
    return build(&known, &geometry, arena);
}

/* ---- The end ----------------------------------------------------------- */

/* What is left to do for a dead arena once the mutex is free. */
struct remains {
    struct wr_region region;
    struct wr_region books;
    weir_unmapped_fn *on_unmapped;
    void *user;
};

/* Tearing down: no block is out. The bitmap is read before the spilled blocks;
   see invariant 3 of spill.c. */
static bool
is_home(struct weir_arena *arena)
{
    return wr_bitmap_is_whole(&arena->fixed.map, &arena->whole_words) &&
           wr_load_seq(&arena->spilled_blocks) == 0; /* [home] */
}

/* Takes the mappings out of the control part. The mutex is held. */
static struct remains
dismantle(struct weir_arena *arena)
{
    struct remains remains = { arena->region, arena->books, arena->on_unmapped,
        arena->user };
    arena->serial = 0;
    arena->base = NULL;
    arena->counts = NULL;
    wr_fixed_fini(&arena->fixed);
    arena->records = NULL; /* they are their threads' to free */
    return remains;
}

static void
bury(struct weir_arena *arena, struct remains *remains)
{
    wr_pages_unmap(&remains->region);
    wr_pages_unmap(&remains->books);
    wr_directory_give(arena);
    if (remains->on_unmapped != NULL)
        remains->on_unmapped(remains->user);
}

void
wr_arena_attend(struct weir_arena *arena)
{
    uint32_t seen = wr_and_relaxed(&arena->state,
        ~(uint32_t)(WR_SEARCHING | WR_DRY)); /* one word: see "Full is exact" */
    if ((seen & (WR_WAITING | WR_DESTROYED)) == 0)
        return;
    wr_mutex_lock(&arena->mutex);
    uint32_t state =
        wr_load_relaxed(&arena->state); /* the mutex orders its changes */
    if ((state & WR_WAITING) != 0)
        wr_waiters_serve(arena);
    bool dies =
        arena->serial != 0 && (state & WR_DESTROYED) != 0 && is_home(arena);
    struct remains remains;
    if (dies)
        remains = dismantle(arena);
    wr_mutex_unlock(&arena->mutex);
    if (dies)
        bury(arena, &remains);
}

void
weir_arena_close(struct weir_arena *arena)
{
    wr_mutex_lock(&arena->mutex);
    (void)wr_or_relaxed(&arena->state, WR_CLOSED); /* late is in time */
    wr_caches_sweep(arena);
    wr_waiters_close(arena);
    wr_mutex_unlock(&arena->mutex);
}

void
weir_arena_destroy(struct weir_arena **arena)
{
    struct weir_arena *dying = *arena;
    *arena = NULL;
    if (dying == NULL)
        return;
    uint32_t state = wr_load_relaxed(&dying->state); /* who destroys is alone */
    WR_CHECK_BLOCK((state & WR_DESTROYED) == 0, "destroyed twice", dying->name,
        WR_NO_BLOCK);
    weir_arena_close(dying);
    (void)wr_or_seq(&dying->state, WR_DESTROYED); /* [sleep] */
    wr_arena_attend(dying);
}

void
weir_arena_memory(const struct weir_arena *arena, struct iovec *memory)
{
    const struct wr_fixed *fixed = &arena->fixed;
    memory->iov_base = arena->base;
    memory->iov_len =
        (fixed->map.slot_count - 1) * fixed->stride + fixed->block_size;
}

void
weir_arena_check(const struct weir_arena *arena)
{
    uint32_t state = wr_load_relaxed(&arena->state); /* it is quiet */
    WR_CHECK(arena->serial != 0, "invariant 1 of arena broken");
    WR_CHECK((state & WR_DESTROYED) == 0 || (state & WR_CLOSED) != 0,
        "invariant 2 of arena broken");
    WR_CHECK((state & WR_CLOSED) == 0 || arena->first_waiter == NULL,
        "invariant 2 of arena broken");
    wr_fixed_check(&arena->fixed);
    uint64_t free_count = 0;
    for (uint32_t i = 0; i < arena->fixed.map.slot_count; i++) {
        uint64_t out = wr_load_relaxed(&arena->counts[i]); /* it is quiet */
        WR_CHECK_BLOCK(!wr_bitmap_is_free(&arena->fixed.map, i) || out == 0,
            "invariant 3 of arena broken", arena->name, i);
        free_count += out == 0;
    }
    uint64_t known_free =
        wr_bitmap_free_count(&arena->fixed.map) + wr_caches_count(arena);
    WR_CHECK_BLOCK(free_count == known_free, "invariant 3 of arena broken",
        arena->name, WR_NO_BLOCK);
}
