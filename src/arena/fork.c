/* SPDX-License-Identifier: MIT */
/*
 * fork: arenas in a child.
 *
 *     before     lock the directory, lock every arena, sweep its caches
 *     parent     unlock
 *     child      forget the other threads, unlock
 *
 * Idea
 *   A child has one thread and a copy of all memory, made at an instant that the
 *   other threads know nothing of. With every lock held nothing that a lock
 *   guards is half done, and behind a sweep no free block is in the cache of a
 *   thread that the child does not have. What is out at that instant stays out
 *   in the child. Lock-free steps are single writes: done, or not.
 *
 *   The other threads' records are added up and freed. A slot that one of them was
 *   taking or giving at that instant is neither in the bitmap nor does its count
 *   say that it is out: it goes home. Waiters belong to loops of the parent, which
 *   a bell rung by the child would wake; so the child's queues are emptied and
 *   nobody is told.
 *
 *   The heap is locked behind all arenas, which use it under their locks, and is let
 *   go before them: the ranks of platform/thread.h see to that. So the child
 *   releases the others' records to a heap that is sound.
 *
 * Costs
 *   The caches come on again as after any sweep. The child walks the counts of
 *   arenas that other threads used.
 *
 * Limits
 *   A block that another thread had taken, and whose alloc had not returned, is
 *   out in the child for ever. Bells are not made sound: the child may not use
 *   them. A destroyed arena whose last block another thread was just giving home
 *   stays mapped in the child.
 */

#include "arena/arena.h"
#include "arena/caches.h"
#include "core/memory.h"

static void
hold(struct weir_arena *arena)
{
    wr_mutex_lock(&arena->mutex);
    if (arena->serial != 0)
        wr_caches_sweep(arena);
}

static void
let_go(struct weir_arena *arena)
{
    wr_mutex_unlock(&arena->mutex);
}

/* Slots of a word that are neither in the bitmap nor out. */
static uint64_t
find_lost(struct weir_arena *arena, uint32_t word)
{
    uint64_t lost = 0;
    uint32_t first = word * WR_WORD_BITS;
    uint32_t rest = wr_arena_slot_count(arena) - first;
    for (uint32_t i = 0; i < WR_WORD_BITS && i < rest; i++) {
        uint64_t out = wr_load_relaxed(&arena->counts[first + i]); /* alone */
        if (out == 0 && !wr_bitmap_is_free(&arena->fixed.map, first + i))
            lost |= UINT64_C(1) << i;
    }
    return lost;
}

/* The same of a buddy, leaf by leaf, which become blocks again as they come home. */
static void
recover_leaves(struct weir_arena *arena)
{
    uint32_t leaf = 0;
    while (leaf < wr_arena_slot_count(arena)) {
        uint64_t out = wr_load_relaxed(&arena->counts[leaf]); /* alone */
        if ((out & ~wr_order_tag(wr_count_order(out))) != 0) {
            leaf += UINT32_C(1) << wr_count_order(out);
            continue;
        }
        wr_store_relaxed(&arena->counts[leaf], 0); /* alone */
        if (!wr_buddy_is_free(&arena->buddy, leaf))
            (void)wr_buddy_give(
                &arena->buddy, &arena->shared_shelves.hint, leaf, 0);
        leaf++;
    }
}

/* What another thread was taking or giving at that instant goes home. */
static void
recover_lost(struct weir_arena *arena)
{
    if (arena->layout == WEIR_BUDDY) {
        recover_leaves(arena);
        return;
    }
    wr_bitmap_mark_all(&arena->fixed.map);
    for (uint32_t word = 0; word < arena->fixed.map.word_count; word++) {
        struct wr_batch lost = { find_lost(arena, word), word };
        if (lost.mask != 0)
            (void)wr_bitmap_give_batch(
                &arena->fixed.map, &arena->shared.hint, &lost);
    }
}

/* What another thread had counted may be a step behind what it had done. The
   bitmap, which holds every free block now, is the truth. */
static void
correct_counts(struct weir_arena *arena)
{
    uint64_t spilled = wr_load_relaxed(&arena->spilled_blocks); /* alone */
    uint64_t out = spilled;
    for (uint32_t i = 0; i < wr_arena_slot_count(arena); i++)
        out += wr_load_relaxed(&arena->counts[i]) != 0; /* alone */
    arena->retired[WR_ALLOCS] += wr_record_sum(arena, WR_RELEASES) + out -
                                 wr_record_sum(arena, WR_ALLOCS);
}

/* All records but the one of the thread that forked. False: there were none. */
static bool
forget_threads(struct weir_arena *arena)
{
    bool had_others = false;
    const struct wr_record *mine = wr_record_seen(arena);
    struct wr_record *record = arena->records;
    while (record != NULL) {
        struct wr_record *next = record->next;
        if (record != mine) {
            wr_record_retire(arena, record);
            wr_memory_release(record, "a thread's record");
            had_others = true;
        }
        record = next;
    }
    return had_others;
}

static void
begin_alone(struct weir_arena *arena)
{
    if (arena->serial != 0) {
        bool had_others = forget_threads(arena);
        wr_waiters_forget(arena);
        /* Who gave a block under the mutex may not have looked around yet. */
        (void)wr_and_relaxed(&arena->state, ~(uint32_t)WR_SEARCHED); /* alone */
        if (had_others) {
            recover_lost(arena);
            correct_counts(arena);
        }
    }
    wr_mutex_unlock(&arena->mutex);
}

static void
before(void)
{
    wr_directory_hold(hold);
}

static void
in_parent(void)
{
    wr_directory_let_go(let_go);
}

static void
in_child(void)
{
    wr_directory_let_go(begin_alone);
}

bool
wr_fork_prepare(void)
{
    return wr_thread_at_fork(WR_FORK_OUTER, before, in_parent, in_child);
}

/* Before the program's own handlers, so that they run outside ours and may use
   arenas. */
__attribute__((constructor)) static void
prepare_early(void)
{
    (void)wr_fork_prepare();
}
