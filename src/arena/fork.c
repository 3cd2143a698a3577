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
 *   The other threads' records are added up and freed. Waiters belong to loops
 *   of the parent, which a bell rung by the child would wake; so the child's
 *   queues are emptied and nobody is told.
 *
 * Limits
 *   A block that another thread was taking or giving at that instant is out in
 *   the child for ever. Bells are not made sound: the child may not use them.
 */

#include "arena/arena.h"
#include "arena/caches.h"
#include "platform/memory.h"

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

/*
 * What another thread had counted at that instant may be one step behind what it
 * had done. The bitmap, which holds every free block now, is the truth.
 */
static void
correct_counts(struct weir_arena *arena)
{
    uint64_t spilled = wr_load_relaxed(&arena->spilled_blocks); /* alone */
    uint64_t out = wr_arena_slot_count(arena) -
                   wr_bitmap_free_count(&arena->fixed.map) + spilled;
    arena->retired[WR_ALLOCS] += wr_record_sum(arena, WR_RELEASES) + out -
                                 wr_record_sum(arena, WR_ALLOCS);
}

/* All records but the one of the thread that forked. */
static void
forget_threads(struct weir_arena *arena)
{
    const struct wr_record *mine = wr_record_seen(arena);
    struct wr_record *record = arena->records;
    while (record != NULL) {
        struct wr_record *next = record->next;
        if (record != mine) {
            wr_record_retire(arena, record);
            wr_memory_release(record);
        }
        record = next;
    }
}

static void
begin_alone(struct weir_arena *arena)
{
    if (arena->serial != 0) {
        forget_threads(arena);
        wr_waiters_forget(arena);
        correct_counts(arena);
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
    return wr_thread_at_fork(before, in_parent, in_child);
}
