/* SPDX-License-Identifier: MIT */
/*
 * rare: what the doors do when it is not the common case.
 *
 * Idea
 *   Who finds nothing on top of its cache, or has none, or comes with a block of
 *   another word, comes here from doors.h: first to the cache as a whole, and
 *   when that is off, past it to the layout's words. Past the cache, taking looks at
 *   the state before, and giving behind its bit. What cannot be done without
 *   waiting is done under the mutex. What differs by layout is the first part of this
 *   file; a fixed arena has blocks of order 0 alone.
 *
 * Full is exact
 *   A search that met only empty words has not proved that they were empty at
 *   once: a slot may have come back behind it while another was taken before
 *   it. So who is about to say full takes the mutex, sweeps the caches, sets
 *   WR_SEARCHING, searches, and exchanges WR_SEARCHING for WR_DRY. A release sets
 *   its bit, looks at the state, and clears the two before it returns. Setting
 *   and searching, setting and looking are sequentially consistent. So a
 *   release whose bit the search missed sees WR_SEARCHING, or WR_DRY; if it has
 *   returned, the exchange fails and the search is done again. If the exchange
 *   succeeds, every slot that is free then belongs to a release that is still in
 *   progress: all others are out. The loop is paid for by the releases of others. So
 *   that it ends, who has searched some times in vain sets WR_HURRY too: then allocs
 *   wait for the mutex, and no more can be released than is out.
 *
 *   WR_DRY is that answer, kept: while it is set no release has completed since,
 *   and full is full without a search. Its clearing and the search for waiters
 *   are one step in the state's order: a releaser learns from the old state it
 *   cleared whether somebody began to wait meanwhile.
 *
 *   In a buddy full is full of an order: WR_DRY bears the lowest order that no free
 *   block has, and who asks for a smaller one searches. There free memory can be in no
 *   word for a moment: a release that makes a word whole takes the whole cell up, an
 *   alloc that cuts a cell puts the rest below. Both say in their hint that they are
 *   between two levels, and look at the state behind their last step, as a release
 *   does behind its bit, before they settle. The searcher who saw the cell gone waits
 *   for that, and finds SEARCHING cleared, so it searches again. A trim looks as a
 *   release does. Through a shelf nobody looks: the sweep has waited for refills
 *   and spills to end.
 *
 * Edges
 *   [sleep]  take_exact, seq  ->  wr_arena_look_around, seq
 *            wr_bitmap_give, wr_buddy_give, cut of a buddy, seq  ->  search of the
 *            words, seq
 *            "Full is exact"; and for waiters, waiters.c.
 *
 * Costs
 *   Full: one load while it lasts. The first: the mutex, a sweep if caches are
 *   on, a walk over the words that have marks, or all of a buddy's from the order's
 *   level up. A thread without a record takes the mutex for every call.
 */

#include "arena/arena.h"
#include "arena/caches.h"
#include "arena/doors.h"
#include "arena/spill.h"
#include "base/check.h"

enum { ROUNDS = 4 /* in which others may release and take again */ };

/* ---- By layout --------------------------------------------------------- */

/* Takes a block of an order from what is free, and sees what it finds. */
static bool
take_free(struct weir_arena *arena, struct wr_record *record, uint32_t order,
    uint32_t *slot)
{
    if (arena->layout == WEIR_FIXED)
        return wr_fixed_take(&arena->fixed, &record->hint, slot);
    return wr_buddy_take(
               &arena->buddy, &record->shelves->hint, order, 1, slot) != 0;
}

/* The same under the mutex, and finds whatever lies there. */
static bool
take_free_locked(struct weir_arena *arena, uint32_t order, uint32_t *slot)
{
    if (arena->layout == WEIR_FIXED)
        return wr_fixed_take_locked(&arena->fixed, &arena->shared.hint, slot);
    return wr_buddy_take_exact(
        &arena->buddy, &arena->shared_shelves.hint, order, slot);
}

/* Past the cache, straight to where free blocks are. */
static void
give_past(struct weir_arena *arena, struct wr_record *record, uint64_t owner)
{
    uint32_t slot = wr_owner_slot(owner);
    bool was_out = arena->layout == WEIR_FIXED
                       ? wr_fixed_give(&arena->fixed, &record->hint, slot)
                       : wr_buddy_give(&arena->buddy, &record->shelves->hint,
                             slot, wr_owner_order(owner));
    if (!was_out)
        wr_arena_fail(arena, slot, "released twice");
}

static void
fill(const struct weir_arena *arena, struct wr_record *record, uint32_t slot,
    size_t size, struct weir_buf *buf)
{
    if (arena->layout == WEIR_FIXED)
        wr_door_fill(arena, record, slot, buf);
    else
        wr_buddy_fill(arena, record,
            wr_buddy_block_at(arena, wr_arena_start(arena, slot),
                wr_arena_order(arena, size)),
            size, buf);
}

/* ---- Full is exact ----------------------------------------------------- */

/* No block of the order is free: WR_DRY said so, and nothing came home since. */
static bool
is_dry(uint32_t state, uint32_t order)
{
    return (state & WR_DRY) != 0 &&
           order >= (state & WR_DRY_ORDER) >> WR_DRY_SHIFT;
}

/* WR_DRY for WR_SEARCHING; false if a release took that away. */
static bool
turn_dry(struct weir_arena *arena, uint32_t order)
{
    uint32_t state = WR_SEARCHING;
    uint32_t dry;
    do {
        if ((state & WR_SEARCHING) == 0)
            return false;
        dry = (state & ~(uint32_t)(WR_SEARCHED | WR_HURRY)) | WR_DRY |
              order << WR_DRY_SHIFT;
    } while (!wr_cas_relaxed(&arena->state, &state, dry)); /* one word */
    return true;
}

/* Waits for the takes and gives of a buddy that are between two levels, and see the
   state before they settle. */
static void
wait_between(const struct weir_arena *arena)
{
    if (arena->layout != WEIR_BUDDY)
        return;
    const struct wr_record *record = arena->records;
    for (; record != NULL; record = record->next) {
        unsigned round = 0;
        while (wr_buddy_is_between(&record->shelves->hint))
            wr_thread_yield(round++);
    }
}

/* Found full, as many blocks are out as will be: all of a fixed arena. The mutex is
   held. */
static void
note_peak(struct weir_arena *arena)
{
    uint64_t out = wr_arena_slot_count(arena);
    if (arena->layout == WEIR_BUDDY) {
        uint64_t releases = wr_record_sum(arena, WR_RELEASES);
        uint64_t counted = wr_record_sum(arena, WR_ALLOCS) - releases;
        uint64_t spilled =
            wr_load_relaxed(&arena->spilled_blocks); /* a snapshot */
        counted -= spilled < counted ? spilled : counted;
        out = counted < out ? counted : out;
    }
    if (out > arena->blocks_out_peak)
        arena->blocks_out_peak = (uint32_t)out;
}

/* Sets the flags of a search, in which so many were in vain. */
static void
begin_search(struct weir_arena *arena, unsigned round)
{
    uint32_t flags = WR_SEARCHING;
    if (round >= ROUNDS)
        flags |= WR_HURRY;
    (void)wr_or_seq(&arena->state, flags); /* [sleep] */
}

/* Full is exact. The mutex is held. */
static bool
take_exact(struct weir_arena *arena, uint32_t order, uint32_t *slot)
{
    uint32_t state = wr_load_relaxed(&arena->state); /* a dry one says so */
    if (is_dry(state, order))
        return false;
    if (arena->caches_on != 0 && take_free(arena, &arena->shared, order, slot))
        return true; /* not worth a sweep */
    wr_caches_sweep(arena);
    unsigned round = 0;
    do {
        begin_search(arena, round++);
        if (take_free_locked(arena, order, slot)) {
            (void)wr_and_relaxed(&arena->state,
                ~(uint32_t)(WR_SEARCHING |
                            WR_HURRY)); /* seen late, it costs a look */
            return true;
        }
        wait_between(arena);
    } while (!turn_dry(arena, order));
    note_peak(arena);
    return false;
}

/* Heap memory, if the arena may have more of it. The mutex is held. */
static bool
spill_instead(struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    size_t block = wr_arena_block_size(arena, wr_arena_order(arena, size));
    if ((arena->flags & WEIR_SPILL_FULL) == 0 ||
        wr_spill_take(arena, block, buf) != WEIR_OK)
        return false;
    if (arena->room_as_asked && size != 0)
        buf->room = (uint32_t)size;
    wr_record_count(&arena->shared, WR_ALLOCS, 1);
    wr_record_count(&arena->shared, WR_SPILL_FULLS, 1);
    return true;
}

bool
wr_arena_take_locked(
    struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    uint32_t slot;
    if (!take_exact(arena, wr_arena_order(arena, size), &slot))
        return spill_instead(arena, size, buf);
    fill(arena, &arena->shared, slot, size, buf);
    return true;
}

/* Nothing was found, or not looked for because somebody waits. */
static enum weir_status
take_under_mutex(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    wr_mutex_lock(&arena->mutex);
    uint32_t state =
        wr_load_relaxed(&arena->state); /* the mutex orders its changes */
    bool taken = false;
    if ((state & WR_CLOSED) == 0) {
        bool may_search = barge || (state & WR_WAITING) == 0;
        taken = may_search ? wr_arena_take_locked(arena, size, buf)
                           : spill_instead(arena, size, buf);
    }
    bool full = !taken && (state & WR_CLOSED) == 0;
    if (full)
        wr_record_count(&arena->shared, WR_ALLOC_FULLS, 1);
    wr_mutex_unlock(&arena->mutex);
    if (taken)
        return WEIR_OK;
    return full ? WEIR_FULL : WEIR_CLOSED;
}

/* As wr_record_of: the recent one, if it is the arena's. */
static struct wr_record *
record_of(struct weir_arena *arena)
{
    if (wr_recent.arena == arena && wr_recent.record->serial == arena->serial)
        return wr_recent.record;
    return wr_record_of(arena);
}

/* Past the cache. What a take of a buddy leaves free of a block that it cut was
   nowhere for a moment, as a block is that is given. */
static bool
take_past(struct weir_arena *arena, struct wr_record *record, uint32_t order,
    uint32_t *slot)
{
    if (!take_free(arena, record, order, slot))
        return false;
    wr_caches_earn(arena, record);
    if (arena->layout == WEIR_BUDDY &&
        wr_buddy_is_between(&record->shelves->hint))
        wr_arena_look_around_buddy(arena, &record->shelves->hint);
    return true;
}

/* Through the cache. */
static bool
take_cached(struct weir_arena *arena, struct wr_record *record, uint32_t order,
    uint32_t *slot)
{
    if (arena->layout == WEIR_BUDDY)
        return wr_shelves_take(arena, record->shelves, order, slot);
    return !wr_caches_may_pass(record) && wr_caches_take(arena, record, slot);
}

enum weir_status
wr_arena_take_rarely(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    WR_CHECK_BLOCK(arena->serial != 0, "used after it was destroyed",
        arena->name, WR_NO_BLOCK);
    if (size > arena->block_max)
        return WEIR_TOO_LARGE;
    uint32_t order = wr_arena_order(arena, size);
    struct wr_record *record = record_of(arena);
    uint32_t state = wr_load_relaxed(&arena->state); /* late is in time */
    uint32_t forbids = WR_CLOSED | WR_HURRY;
    if (!barge)
        forbids |= WR_WAITING;
    if (record == NULL || (state & forbids) != 0)
        return take_under_mutex(arena, size, barge, buf);
    if (is_dry(state, order)) {
        if ((arena->flags & WEIR_SPILL_FULL) != 0)
            return take_under_mutex(arena, size, barge, buf);
        wr_record_count(record, WR_ALLOC_FULLS, 1);
        return WEIR_FULL;
    }
    uint32_t slot;
    if (!take_cached(arena, record, order, &slot) &&
        !take_past(arena, record, order, &slot))
        return take_under_mutex(arena, size, barge, buf);
    fill(arena, record, slot, size, buf);
    return WEIR_OK;
}

enum weir_status
wr_arena_take_swept(struct weir_arena *arena, uint32_t slot, size_t size,
    bool barge, struct weir_buf *buf)
{
    struct wr_record *record = wr_recent.record;
    if (wr_caches_settle(arena, record, slot))
        return wr_arena_take_rarely(arena, size, barge, buf);
    wr_door_fill(arena, record, slot, buf);
    return WEIR_OK;
}

void
wr_arena_look_around(struct weir_arena *arena)
{
    uint32_t state = wr_load_seq(&arena->state); /* [sleep] */
    if ((state & WR_ATTENTION) != 0)
        wr_arena_attend(arena, wr_arena_end_search(arena));
}

void
wr_arena_look_around_buddy(struct weir_arena *arena, struct wr_buddy_hint *hint)
{
    uint32_t state = wr_load_seq(&arena->state); /* [sleep] */
    uint32_t said = 0;
    if ((state & WR_ATTENTION) != 0)
        said = wr_arena_end_search(arena);
    wr_buddy_settle(hint);
    wr_arena_attend(arena, said);
}

/* Through the cache. */
static bool
give_cached(struct weir_arena *arena, struct wr_record *record, uint64_t owner)
{
    uint32_t slot = wr_owner_slot(owner);
    if (arena->layout == WEIR_FIXED)
        return !wr_caches_may_pass(record) &&
               wr_caches_give(arena, record, slot);
    if (!wr_shelves_give(arena, record->shelves, slot, wr_owner_order(owner)))
        return false;
    wr_record_count(record, WR_RELEASES, 1);
    return true;
}

/* Through the cache, or past it. */
static void
give_block(struct weir_arena *arena, struct wr_record *record, uint64_t owner)
{
    if (give_cached(arena, record, owner))
        return;
    bool is_fixed = arena->layout == WEIR_FIXED;
    wr_caches_earn(arena, record); /* while the block keeps the arena */
    give_past(arena, record, owner);
    wr_record_count(record, WR_RELEASES, 1);
    if (is_fixed)
        wr_arena_look_around(arena);
    else
        wr_arena_look_around_buddy(arena, &record->shelves->hint);
}

/* A handle's data are in its block. */
static bool
is_place(const struct weir_arena *arena, uint64_t owner, const uint8_t *data)
{
    const uint8_t *start = wr_arena_start(arena, wr_owner_slot(owner));
    return (uintptr_t)data - (uintptr_t)start <=
           wr_arena_block_size(arena, wr_owner_order(owner));
}

void
wr_arena_give_rarely(
    struct weir_arena *arena, uint64_t owner, const uint8_t *data)
{
    uint32_t slot = wr_owner_slot(owner);
    if (!is_place(arena, owner, data))
        wr_arena_fail(arena, slot, "released with data of another block");
    struct wr_record *record = record_of(arena);
    if (record == NULL) {
        wr_mutex_lock(&arena->mutex); /* then it is between nothing */
        give_past(arena, &arena->shared, owner);
        wr_record_count(&arena->shared, WR_RELEASES, 1);
        wr_mutex_unlock(&arena->mutex);
        wr_arena_look_around(arena);
    } else {
        give_block(arena, record, owner);
    }
}

bool
wr_arena_give_below(uint64_t owner, const uint8_t *data)
{
    struct weir_arena *arena = wr_recent.arena;
    struct wr_record *record = wr_recent.record;
    uint64_t slot = owner - wr_recent.owner;
    if (slot >= wr_recent.slot_count || record->serial != arena->serial)
        return false;
    _Atomic uint64_t *count = wr_arena_refs_at(arena, (uint32_t)slot);
    if (wr_load_acquire(count) != WR_WEIGHT_WHOLE || /* [last] */
        !wr_door_is_place(arena, slot, data))
        return false;
    wr_store_relaxed(count, 0); /* we are alone */
    if (!wr_caches_give(arena, record, (uint32_t)slot))
        give_block(arena, record, owner);
    return true;
}

void
wr_arena_give_swept(uint32_t slot)
{
    struct weir_arena *arena = wr_recent.arena;
    struct wr_record *record = wr_recent.record;
    wr_record_count(record, WR_RELEASES, 1);
    if (wr_caches_settle(arena, record, slot))
        return; /* the sweeper has put it into the bitmap */
    give_past(arena, record, slot);
    wr_arena_look_around(arena);
}

enum weir_status
wr_arena_take_swept_buddy(
    struct weir_arena *arena, size_t size, bool barge, struct weir_buf *buf)
{
    uint32_t order = wr_arena_order(arena, size);
    struct wr_shelf *shelf = &wr_recent.shelves[order];
    uint32_t place = wr_shelf_count(shelf);
    struct wr_buddy_block block =
        wr_buddy_block_at(arena, shelf->blocks[place], order);
    if (wr_shelves_settle(arena, shelf, place))
        return wr_arena_take_rarely(arena, size, barge, buf);
    wr_buddy_fill(arena, wr_recent.record, block, size, buf);
    return WEIR_OK;
}

bool
wr_arena_give_swept_buddy(uint64_t owner)
{
    struct weir_arena *arena = wr_recent.arena;
    struct wr_record *record = wr_recent.record;
    struct wr_shelf *shelf = &wr_recent.shelves[wr_owner_order(owner)];
    wr_record_count(record, WR_RELEASES, 1);
    if (wr_shelves_settle(arena, shelf, wr_shelf_count(shelf) - 1))
        return true; /* the sweeper has given it */
    give_past(arena, record, owner);
    wr_arena_look_around_buddy(arena, &record->shelves->hint);
    return true;
}

void
wr_arena_give(uint64_t word, uint64_t owner, const uint8_t *data)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    wr_store_relaxed(wr_arena_refs(word, owner), 0); /* we are alone */
    if (wr_word_is_block(word)) {
        wr_arena_give_rarely(arena, owner, data);
        return;
    }
    wr_spill_give(arena, owner);
    wr_arena_look_around(arena);
}

struct weir_arena *
wr_arena_of(uint64_t word, uint64_t owner)
{
    WR_ASSERT(wr_word_is_block(word) || wr_word_kind(word) == WR_SPILLED);
    if (wr_word_kind(word) == WR_SPILLED)
        return wr_spill_at(owner)->arena;
    return wr_directory_at(wr_owner_arena(owner));
}

_Atomic uint64_t *
wr_arena_refs(uint64_t word, uint64_t owner)
{
    if (wr_word_kind(word) == WR_SPILLED)
        return &wr_spill_at(owner)->refs;
    struct weir_arena *arena = wr_directory_at(wr_owner_arena(owner));
    uint32_t slot = wr_owner_slot(owner);
    if (!wr_arena_has_block(arena, word, owner))
        wr_arena_fail(arena, slot, "used, but the arena has no such block");
    return wr_arena_refs_at(arena, slot);
}

uint8_t *
wr_arena_block(uint64_t word, uint64_t owner, size_t *size)
{
    if (wr_word_kind(word) == WR_SPILLED) {
        struct wr_spill *spill = wr_spill_at(owner);
        *size = spill->size;
        return wr_spill_data(spill);
    }
    struct weir_arena *arena = wr_arena_of(word, owner);
    *size = wr_arena_block_size(arena, wr_owner_order(owner));
    return wr_arena_start(arena, wr_owner_slot(owner));
}

size_t
wr_arena_trim(uint64_t *owner, const uint8_t *data, size_t len)
{
    struct weir_arena *arena = wr_directory_at(wr_owner_arena(*owner));
    uint32_t leaf = wr_owner_slot(*owner);
    uint32_t order = wr_owner_order(*owner);
    size_t used = (size_t)(data - wr_arena_start(arena, leaf)) + len;
    uint32_t kept = wr_buddy_order(&arena->buddy, used);
    if (kept >= order)
        return 0;
    size_t rest = wr_buddy_block_size(&arena->buddy, order) -
                  wr_buddy_block_size(&arena->buddy, kept);
    struct wr_record *record = record_of(arena);
    if (record == NULL)
        wr_mutex_lock(&arena->mutex);
    struct wr_record *mine = record != NULL ? record : &arena->shared;
    wr_store_relaxed(wr_arena_refs_at(arena, leaf),
        WR_WEIGHT_WHOLE | wr_order_tag(kept)); /* we are alone */
    wr_buddy_trim(&arena->buddy, &mine->shelves->hint, leaf, order, kept);
    wr_record_count_buddy(mine, WR_TRIMS, 1);
    wr_record_count_buddy(mine, WR_BYTES_TRIMMED, rest);
    if (record == NULL)
        wr_mutex_unlock(&arena->mutex);
    *owner = wr_owner_with_order(*owner, kept);
    wr_arena_look_around(arena);
    return rest;
}

void
wr_arena_count(struct weir_arena *arena, enum wr_counter counter, uint64_t n)
{
    struct wr_record *record = wr_record_of(arena);
    if (record != NULL) {
        wr_record_count(record, counter, n);
        return;
    }
    wr_mutex_lock(&arena->mutex);
    wr_record_count(&arena->shared, counter, n);
    wr_mutex_unlock(&arena->mutex);
}

void
wr_arena_count_freeze(uint64_t word, uint64_t owner)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    uint32_t slot = wr_owner_slot(owner);
    if (wr_word_is_block(word) && !wr_arena_has_block(arena, word, owner))
        wr_arena_fail(arena, slot, "frozen, but the arena has no such block");
    wr_arena_count(arena, WR_FREEZES, 1);
    wr_arena_count(arena, WR_BYTES_FROZEN, wr_word_len(word));
}

void
wr_arena_fail(const struct weir_arena *arena, uint32_t slot, const char *what)
{
    wr_fail(what, arena->name, slot);
}
