/* SPDX-License-Identifier: MIT */
/*
 * arena: how one begins and ends.
 *
 *     control part     in the directory, for ever      name, state, mutex, queue
 *     region           [ guard | blocks | guard ]      or memory of the caller's
 *     books            [ guard | the layout's | counts | guard ]
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
 *   3. The count of a slot, or of a leaf where a block starts, is 0 if and only if
 *      it is free: in the words or in one cache. That of a leaf inside a block is 0.
 *
 * Edges
 *   [home]   wr_bitmap_give, wr_buddy_give, wr_spill_give, seq  ->  is_home, seq
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
 *   A block has at most 2^32 - 1 bytes, an arena 2^32 - 65 blocks; of a buddy 2 GiB
 *   and 64 GiB.
 */

#include "arena/arena.h"

#include "arena/caches.h"
#include "arena/plan.h"
#include "base/check.h"
#include "platform/fence.h"

#include <errno.h>
#include <string.h>

enum {
    CACHED_FROM = 64,     /* slots; smaller arenas have no caches */
    DROUGHT_LENGTH = 2048 /* slots past a cache cost about what a sweep costs */
};

_Static_assert((int)WR_PAGES_NORMAL == (int)WEIR_PAGES_NORMAL &&
                   (int)WR_PAGES_HUGE_IF_FREE == (int)WEIR_PAGES_HUGE_IF_FREE &&
                   (int)WR_PAGES_HUGE == (int)WEIR_PAGES_HUGE,
    "the platform's kinds of pages are the public ones");

extern inline enum weir_status weir_arena_create(
    const struct weir_arena_config *config, struct weir_arena **arena);

static enum weir_status
map_blocks(const struct wr_plan *plan, struct wr_region *region)
{
    const struct weir_arena_config *config = &plan->config;
    if (config->memory != NULL)
        return WEIR_OK;
    if (!wr_pages_map(
            plan->bytes, plan->align, (enum wr_page_kind)config->pages, region))
        return config->pages == WEIR_PAGES_HUGE ? WEIR_UNSUPPORTED
                                                : WEIR_SYSTEM;
    if (((config->flags & WEIR_LOCK) != 0 && !wr_pages_lock(region)) ||
        ((config->flags & WEIR_PREFAULT) != 0 && !wr_pages_prefault(region)))
        return WEIR_SYSTEM;
    return WEIR_OK;
}

/* The layout's first, then the counts, in a line of their own. */
static bool
map_books(
    const struct wr_plan *plan, struct wr_region *books, size_t *counts_at)
{
    size_t counts;
    size_t total;
    if (wr_round_up_overflows(plan->meta_size, WR_LINE_SIZE, counts_at) ||
        wr_multiply_overflows(plan->counts, sizeof(uint64_t), &counts) ||
        wr_add_overflows(*counts_at, counts, &total)) {
        errno = ENOMEM;
        return false;
    }
    return wr_pages_map(total, WR_LINE_SIZE, WR_PAGES_NORMAL, books) &&
           ((plan->config.flags & WEIR_PREFAULT) == 0 ||
               wr_pages_prefault(books));
}

static void
reset(struct weir_arena *arena)
{
    for (unsigned i = 0; i < WR_COUNTERS; i++) {
        arena->retired[i] = 0;
        wr_store_relaxed(&arena->shared.counts[i], 0); /* under the mutex */
    }
    for (unsigned i = 0; i < WR_BUDDY_COUNTERS; i++)
        arena->retired_buddy[i] = 0;
    for (unsigned i = 0; i < WR_SPLITS; i++)
        wr_store_relaxed(
            &arena->shared_shelves.counts[i], 0); /* under the mutex */
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

/* The layout's books are made, in memory of theirs. */
static void
cut(struct weir_arena *arena, const struct wr_plan *plan, void *meta)
{
    arena->layout = plan->config.layout;
    switch (arena->layout) {
    case WEIR_FIXED:
        wr_fixed_init(&arena->fixed, &plan->fixed, meta);
        arena->shared.hint = (struct wr_bitmap_hint){ 0 };
        arena->block_max = plan->fixed.block_size;
        break;
    case WEIR_BUDDY:
        wr_buddy_init(&arena->buddy, &plan->buddy, meta);
        wr_buddy_hint_init(&arena->buddy, 0, &arena->shared_shelves.hint);
        arena->shared.shelves = &arena->shared_shelves;
        arena->block_max =
            wr_buddy_block_size(&arena->buddy, plan->buddy.order_max);
    }
}

/* The control part's mutex is held, and the arena cut. */
static void
configure(struct weir_arena *arena, const struct weir_arena_config *config,
    const struct wr_region *region)
{
    arena->base = region->base != NULL ? region->base : config->memory;
    arena->region = *region;
    arena->flags = config->flags;
    arena->room_as_asked = (config->flags & WEIR_ROOM_AS_ASKED) != 0;
    arena->caching = caching(config, wr_arena_slot_count(arena));
    arena->on_unmapped = config->on_unmapped;
    arena->user = config->user;
    memcpy(arena->name, config->name, strlen(config->name) + 1);
    size_t bytes = wr_arena_block_size(arena, 0) * wr_arena_slot_count(arena);
    arena->spill_bytes_max =
        config->spill_bytes_max != 0 ? config->spill_bytes_max : bytes;
}

static enum weir_status
build(const struct wr_plan *plan, struct weir_arena **built)
{
    struct wr_region region = { 0 };
    struct wr_region books = { 0 };
    size_t counts_at = 0;
    enum weir_status status = map_blocks(plan, &region);
    if (status != WEIR_OK)
        goto fail;
    status = WEIR_SYSTEM;
    if (!map_books(plan, &books, &counts_at))
        goto fail;
    struct weir_arena *arena = wr_directory_take();
    if (arena == NULL)
        goto fail;

    reset(arena);
    cut(arena, plan, books.base);
    arena->books = books;
    arena->counts =
        (_Atomic uint64_t *)(void *)((char *)books.base + counts_at);
    configure(arena, &plan->config, &region);
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
    struct wr_plan plan;
    enum weir_status status = wr_plan_make(config, config_size, &plan);
    return status == WEIR_OK ? build(&plan, arena) : status;
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
    bool whole =
        arena->layout == WEIR_FIXED
            ? wr_bitmap_is_whole(&arena->fixed.map, &arena->whole_words)
            : wr_buddy_is_whole(&arena->buddy);
    return whole && wr_load_seq(&arena->spilled_blocks) == 0; /* [home] */
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
    wr_buddy_fini(&arena->buddy);
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

uint32_t
wr_arena_end_search(struct weir_arena *arena)
{
    return wr_and_relaxed(&arena->state,
        ~(uint32_t)WR_SEARCHED); /* one word: see "Full is exact" */
}

void
wr_arena_attend(struct weir_arena *arena, uint32_t said)
{
    if ((said & (WR_WAITING | WR_DESTROYED)) == 0)
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
    wr_arena_attend(dying, WR_DESTROYED);
}

void
weir_arena_memory(const struct weir_arena *arena, struct iovec *memory)
{
    uint32_t last = wr_arena_slot_count(arena) - 1;
    memory->iov_base = arena->base;
    memory->iov_len = (size_t)(wr_arena_start(arena, last) - arena->base) +
                      wr_arena_block_size(arena, 0);
}

size_t
weir_arena_largest_free(const struct weir_arena *arena)
{
    if (arena->layout == WEIR_FIXED)
        return wr_bitmap_has_free(&arena->fixed.map) ? arena->fixed.block_size
                                                     : 0;
    int order = wr_buddy_largest(&arena->buddy);
    return order < 0 ? 0 : wr_buddy_block_size(&arena->buddy, (uint32_t)order);
}

/* ---- Whether it is sound ----------------------------------------------- */

/* Invariant 3 of one block; returns how many slots or leaves it is that are out, or
   0: `slot` is free. */
static uint32_t
check_block(const struct weir_arena *arena, uint32_t slot)
{
    uint64_t out = wr_load_relaxed(&arena->counts[slot]); /* it is quiet */
    if (out == 0)
        return 0;
    uint32_t len = UINT32_C(1) << wr_count_order(out);
    WR_CHECK_BLOCK(slot % len == 0 && len <= wr_arena_slot_count(arena) - slot,
        "invariant 3 of arena broken", arena->name, slot);
    for (uint32_t i = 0; i < len; i++)
        WR_CHECK_BLOCK(
            !wr_arena_is_free(arena, slot + i) &&
                (i == 0 || wr_load_relaxed(&arena->counts[slot + i]) ==
                               0), /* it is quiet */
            "invariant 3 of arena broken", arena->name, slot);
    return len;
}

/* How many slots or leaves are out. */
static uint64_t
count_out(const struct weir_arena *arena)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < wr_arena_slot_count(arena);) {
        uint32_t len = check_block(arena, i);
        count += len;
        i += len != 0 ? len : 1;
    }
    return count;
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
    if (arena->layout == WEIR_FIXED)
        wr_fixed_check(&arena->fixed);
    else
        wr_buddy_check(&arena->buddy);
    uint64_t cached;
    (void)wr_caches_count(arena, &cached);
    uint64_t total =
        wr_arena_slot_count(arena) * (uint64_t)wr_arena_block_size(arena, 0);
    uint64_t out = count_out(arena) * wr_arena_block_size(arena, 0);
    WR_CHECK_BLOCK(out + cached + wr_arena_free_bytes(arena) == total,
        "invariant 3 of arena broken", arena->name, WR_NO_BLOCK);
}
