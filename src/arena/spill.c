/* SPDX-License-Identifier: MIT */
/*
 * spill: heap memory that counts as a block of an arena.
 *
 *     [ control: arena, refs, size | to a line ][ size bytes of data ]
 *
 * Idea
 *   A buf that outgrows its block, or an alloc that finds none, may take heap
 *   memory. It is a block like others: bufs and slices of it are counted the
 *   same way, it shows in the stats, and a destroyed arena lives until it is
 *   home. What bounds the arena's memory must bound it too, so its bytes are
 *   charged before they are taken, and refused above spill_bytes_max.
 *
 * Invariants
 *   1. spilled_bytes <= spill_bytes_max.
 *   2. spilled_blocks counts the control blocks that are not freed.
 *   3. A block that moves to the heap is given back after the heap's was
 *      counted, so that the arena never looks whole in between.
 *
 * Edges
 *   [home]   wr_spill_give, seq  ->  is_home of arena.c, seq
 *            Who sees the last spilled block gone may end the arena: all that
 *            its owner did with it happens before.
 *   [sleep]  discharge, seq  ->  charge, seq
 *            Going to sleep against giving back, for room on the heap as for a
 *            bit; see waiters.c.
 *
 * Costs
 *   An allocation, and three locked instructions on lines that all who spill
 *   share; for every use of a handle but its data a look whether it is out. Growing copies what was written; it doubles, so a byte is copied
 *   about once on average.
 *
 * Limits
 *   A block has at most 2^32 - 1 bytes. A handle of one that went home is told as
 *   long as the heap has not handed its memory out again.
 */

#include "arena/spill.h"

#include "base/check.h"
#include "core/memory.h"

#include <string.h>

_Static_assert(sizeof(struct wr_spill) <= WR_LINE_SIZE,
    "the control block must fit in front of the data");

/* Invariant 1. */
static bool
charge(struct weir_arena *arena, size_t bytes)
{
    size_t seen = wr_load_seq(&arena->spilled_bytes); /* [sleep] */
    do {
        if (bytes > arena->spill_bytes_max - seen)
            return false;
    } while (!wr_cas_relaxed(
        &arena->spilled_bytes, &seen, seen + bytes)); /* a sum, no data */
    return true;
}

/* If it was released, it names its arena as long as it lasts. */
_Noreturn static void
fail_gone(const struct wr_spill *spill, enum weir_status status)
{
    const struct weir_arena *arena =
        status == WEIR_ALREADY_RELEASED ? spill->arena : NULL;
    wr_fail("spilled memory was used or released after its release",
        wr_directory_has(arena) ? arena->name : NULL, WR_NO_BLOCK);
}

struct wr_spill *
wr_spill_at(uint64_t owner)
{
    struct wr_spill *spill = (struct wr_spill *)(uintptr_t)owner;
    enum weir_status status = wr_memory_state(spill);
    if (status != WEIR_OK)
        fail_gone(spill, status);
    return spill;
}

static void
discharge(struct weir_arena *arena, size_t bytes)
{
    size_t seen = wr_sub_seq(&arena->spilled_bytes, bytes); /* [sleep] */
    WR_ASSERT(seen >= bytes);
    (void)seen;
}

enum weir_status
wr_spill_take(struct weir_arena *arena, size_t size, struct weir_buf *buf)
{
    WR_ASSERT(size > 0 && size <= UINT32_MAX);
    if (!charge(arena, size))
        return WEIR_FULL;
    struct wr_spill *spill = wr_memory_alloc(WR_LINE_SIZE + size);
    if (spill == NULL) {
        discharge(arena, size);
        return WEIR_SYSTEM;
    }
    spill->arena = arena;
    atomic_init(&spill->refs, WR_WEIGHT_WHOLE);
    spill->size = size;
    (void)wr_add_relaxed(
        &arena->spilled_blocks, 1); /* the caller holds the arena */

    buf->data = wr_spill_data(spill);
    buf->word = wr_word_pack(WR_WEIGHT_WHOLE, WR_SPILLED, 0);
    buf->owner = (uint64_t)(uintptr_t)spill;
    buf->head = 0;
    buf->room = (uint32_t)size;
    return WEIR_OK;
}

/* The size to grow to: twice as much, if that is allowed, else what is needed. */
static enum weir_status
take_larger(struct weir_arena *arena, size_t needed, struct weir_buf *larger)
{
    size_t size = needed <= UINT32_MAX / 2 ? 2 * needed : needed;
    enum weir_status status = wr_spill_take(arena, size, larger);
    if (status != WEIR_OK && size != needed)
        status = wr_spill_take(arena, needed, larger);
    return status == WEIR_FULL ? WEIR_NO_ROOM : status;
}

enum weir_status
wr_spill_grow(struct weir_buf *buf, size_t n, struct weir_buf *old)
{
    struct weir_arena *arena = wr_arena_of(buf->word, buf->owner);
    uint32_t len = wr_word_len(buf->word);
    size_t kept = (size_t)buf->head + len;
    if (n > UINT32_MAX - kept)
        return WEIR_NO_ROOM;

    struct weir_buf larger;
    enum weir_status status = take_larger(arena, kept + n, &larger);
    if (status == WEIR_SYSTEM)
        wr_arena_look_around(arena); /* what was charged meanwhile is free */
    if (status != WEIR_OK)
        return status;
    larger.head = buf->head;
    larger.data += buf->head;
    larger.room -= (uint32_t)kept;
    larger.word = wr_word_with_len(larger.word, len);
    memcpy(larger.data, buf->data, len);
    wr_arena_count(arena, WR_ALLOCS, 1);
    wr_arena_count(arena, WR_SPILL_GROWS, 1);
    wr_arena_count(arena, WR_BYTES_COPIED, len);
    *old = *buf;
    *buf = larger;
    return WEIR_OK;
}

void
wr_spill_give(struct weir_arena *arena, uint64_t owner)
{
    struct wr_spill *spill = wr_spill_at(owner);
    size_t size = spill->size;
    struct wr_record *record = wr_record_of(arena);
    wr_memory_release(spill, "spilled memory");
    discharge(arena, size);

    if (record == NULL)
        wr_mutex_lock(&arena->mutex);
    uint64_t seen = wr_sub_seq(&arena->spilled_blocks, 1); /* [home] [sleep] */
    WR_ASSERT(seen > 0);
    (void)seen;
    wr_record_count(record != NULL ? record : &arena->shared, WR_RELEASES, 1);
    if (record == NULL)
        wr_mutex_unlock(&arena->mutex);
}
