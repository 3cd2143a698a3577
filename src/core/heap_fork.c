/* SPDX-License-Identifier: MIT */
/*
 * heap_fork: heaps in a child.
 *
 *     before     lock all heaps, sweep each, lock its classes and regions
 *     parent     unlock
 *     child      forget the other threads, unlock
 *
 * Idea
 *   As with arenas (arena/fork.c): with every lock held nothing that a lock guards
 *   is half done, and behind a sweep no free block is in the cache of a thread that
 *   the child does not have. The other threads' records are spare then.
 *
 *   Arenas use the heap while they hold their locks. So these are taken first, and
 *   let go last: that is what the ranks of platform/thread.h are for.
 *
 * Costs
 *   Caches come on again as after any sweep.
 *
 * Limits
 *   A block that another thread was taking or releasing at that instant may be out
 *   in the child for ever.
 */

#include "core/heap.h"

static void
hold(struct weir_heap *heap)
{
    wr_mutex_lock(&heap->lock);
    wr_heap_sweep(heap);
    wr_central_lock(heap);
    for (uint32_t i = 0; i < wr_heap_region_count(heap); i++)
        wr_mutex_lock(&heap->regions[i]->lock);
}

static void
let_go(struct weir_heap *heap)
{
    for (uint32_t i = 0; i < wr_heap_region_count(heap); i++)
        wr_mutex_unlock(&heap->regions[i]->lock);
    wr_central_unlock(heap);
    wr_mutex_unlock(&heap->lock);
}

static void
before(void)
{
    wr_heap_lock_default();
    wr_heaps_lock();
    for (struct weir_heap *heap = wr_heaps_first(); heap != NULL;
         heap = heap->next)
        hold(heap);
    wr_heap_lock_spare();
}

static void
in_parent(void)
{
    wr_heap_unlock_spare();
    for (struct weir_heap *heap = wr_heaps_first(); heap != NULL;
         heap = heap->next)
        let_go(heap);
    wr_heaps_unlock();
    wr_heap_unlock_default();
}

static void
in_child(void)
{
    for (struct weir_heap *heap = wr_heaps_first(); heap != NULL;
         heap = heap->next)
        wr_heap_forget_threads(heap);
    in_parent();
}

bool
wr_heap_fork_prepare(void)
{
    return wr_thread_at_fork(WR_FORK_INNER, before, in_parent, in_child);
}

/* As arena/fork.c does, for programs that use no arena. */
__attribute__((constructor)) static void
prepare_early(void)
{
    (void)wr_heap_fork_prepare();
}
