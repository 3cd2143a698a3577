/* SPDX-License-Identifier: MIT */
/*
 * waiters: a queue of requests for blocks, first come, first served.
 *
 *     arena:  first_waiter ─▶ w1 ─▶ w2 ─▶ w3 ◀─ last_waiter       state: WAITING
 *     bell:   first ─▶ w0                           (bell.c: those already served)
 *
 * Idea
 *   Who finds no block queues, under the mutex. Whoever gives a block back and
 *   then sees WR_WAITING takes the mutex and hands free blocks to the first in
 *   the queue, one each: reserved, so that nobody has to try again, and told
 *   through the waiter's bell. Ordinary allocs fail while anybody waits, so a
 *   queued waiter cannot be overtaken by those who come later.
 *
 * No wake-up is lost
 *   The waiter sets WR_WAITING, then searches the bitmap. The releaser sets its
 *   bit, then looks at the state. All four are sequentially consistent. If the
 *   releaser saw no WR_WAITING, its look came before the flag in the single
 *   order, its bit before its look, so the bit came before the waiter's search,
 *   which then finds it (or finds that somebody else took it, and that one will
 *   release it). If the releaser saw the flag it takes the mutex and serves:
 *   either the waiter is queued by then and gets the block, or the waiter holds
 *   the mutex before it and has not given up searching. The outcome that must
 *   not be, both see nothing, would need a cycle in that order.
 *
 * Invariants
 *   1. WR_WAITING is set if and only if the queue is not empty, outside the
 *      mutex.
 *   2. A queued waiter is in one list and has state QUEUED.
 *   3. While the queue is not empty, no block that the first one asked for is free
 *      whose release has returned, unless somebody holds the mutex and is about to
 *      serve. So who takes the first one out serves those behind it, who may ask for
 *      less.
 *
 * Edges
 *   [sleep]  weir_arena_wait, seq  ->  wr_arena_look_around, seq
 *            wr_bitmap_give, seq  ->  search of the bitmap, seq
 *            Both halves of the argument above.
 *
 * Costs
 *   Nothing for who finds a block. A wait that queues, a release that serves
 *   and a cancel take the mutex, and the bell's lock for one who is served. The
 *   library allocates nothing.
 *
 * Limits
 *   weir_arena_alloc_barge overtakes, and so may an alloc that looked at the
 *   state before the first waiter queued.
 *
 * Source
 *   The order "queue, then look again" is that of eventcounts; handing over
 *   instead of waking is that of fair semaphores.
 */

#include "arena/arena.h"
#include "arena/doors.h"
#include "base/check.h"

static void
enqueue(struct weir_arena *arena, struct weir_waiter *waiter)
{
    wr_waiter_set_state(waiter, WR_WAITER_QUEUED);
    waiter->next = NULL;
    waiter->previous = arena->last_waiter;
    if (waiter->previous != NULL)
        waiter->previous->next = waiter;
    else
        arena->first_waiter = waiter;
    arena->last_waiter = waiter;
    arena->waiting++;
}

/* Takes a waiter out, and the flag back with the last one. */
static void
dequeue(struct weir_arena *arena, struct weir_waiter *waiter)
{
    WR_CHECK_BLOCK(waiter->arena == arena,
        "a waiter was used again while it was cancelled", arena->name,
        WR_NO_BLOCK);
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        arena->first_waiter = waiter->next;
    if (waiter->next != NULL)
        waiter->next->previous = waiter->previous;
    else
        arena->last_waiter = waiter->previous;
    arena->waiting--;
    if (arena->first_waiter == NULL)
        (void)wr_and_relaxed(&arena->state,
            ~(uint32_t)WR_WAITING); /* seen late, it costs a look */
}

void
wr_waiters_serve(struct weir_arena *arena)
{
    struct weir_waiter *waiter;
    while ((waiter = arena->first_waiter) != NULL &&
           wr_arena_take_locked(arena, waiter->size, &waiter->buf)) {
        dequeue(arena, waiter);
        wr_record_count(&arena->shared, WR_GRANTS, 1);
        wr_bell_tell(waiter, WEIR_OK);
    }
}

void
wr_waiters_close(struct weir_arena *arena)
{
    struct weir_waiter *waiter;
    while ((waiter = arena->first_waiter) != NULL) {
        dequeue(arena, waiter);
        wr_bell_tell(waiter, WEIR_CLOSED);
    }
}

void
wr_waiters_forget(struct weir_arena *arena)
{
    struct weir_waiter *waiter;
    while ((waiter = arena->first_waiter) != NULL) {
        dequeue(arena, waiter);
        wr_waiter_set_state(waiter, WR_WAITER_IDLE);
        wr_record_count(&arena->shared, WR_CANCELS, 1);
    }
}

/* Queues, and looks again: the slot given back meanwhile may be the last. The
   mutex is held. */
static enum weir_status
wait_in_line(struct weir_arena *arena, struct weir_waiter *waiter)
{
    uint32_t state = wr_or_seq(&arena->state, WR_WAITING); /* [sleep] */
    bool first = (state & WR_WAITING) == 0;
    enqueue(arena, waiter);
    if (first && wr_arena_take_locked(arena, waiter->size, &waiter->buf)) {
        dequeue(arena, waiter);
        wr_waiter_set_state(waiter, WR_WAITER_IDLE);
        return WEIR_OK;
    }
    wr_record_count(&arena->shared, WR_WAITS, 1);
    return WEIR_PENDING;
}

enum weir_status
weir_arena_wait(
    struct weir_arena *arena, size_t size, struct weir_waiter *waiter)
{
    enum wr_waiter_state was = wr_waiter_state(waiter);
    WR_CHECK_BLOCK(was != WR_WAITER_QUEUED && was != WR_WAITER_TOLD,
        "a waiter was queued twice", arena->name, WR_NO_BLOCK);
    wr_waiter_set_state(waiter, WR_WAITER_IDLE);
    waiter->arena = arena;
    if (waiter->bell == NULL || waiter->granted == NULL)
        return WEIR_INVALID;
    enum weir_status status = wr_door_take(arena, size, false, &waiter->buf);
    if (status != WEIR_FULL)
        return status;

    waiter->size = size;
    wr_mutex_lock(&arena->mutex);
    uint32_t state =
        wr_load_relaxed(&arena->state); /* the mutex orders its changes */
    status =
        (state & WR_CLOSED) != 0 ? WEIR_CLOSED : wait_in_line(arena, waiter);
    wr_mutex_unlock(&arena->mutex);
    return status;
}

/* Takes the waiter out of whatever list it is in; returns what it was. */
static enum wr_waiter_state
take_out(struct weir_arena *arena, struct weir_waiter *waiter)
{
    enum wr_waiter_state was = wr_waiter_state(waiter);
    if (was == WR_WAITER_TOLD)
        return wr_bell_untell(waiter);
    if (was == WR_WAITER_QUEUED) {
        bool was_first = arena->first_waiter == waiter;
        dequeue(arena, waiter);
        wr_waiter_set_state(waiter, WR_WAITER_IDLE);
        if (was_first)
            wr_waiters_serve(arena); /* invariant 3 */
    }
    return was;
}

enum weir_status
weir_waiter_cancel(struct weir_waiter *waiter)
{
    struct weir_arena *arena = waiter->arena;
    if (arena == NULL)
        return WEIR_OK;
    wr_mutex_lock(&arena->mutex);
    enum wr_waiter_state was = take_out(arena, waiter);
    bool holds_block = was == WR_WAITER_TOLD && waiter->status == WEIR_OK;
    if (was == WR_WAITER_QUEUED || holds_block)
        wr_record_count(&arena->shared, WR_CANCELS, 1);
    wr_mutex_unlock(&arena->mutex);

    if (holds_block) {
        struct weir_buf buf = waiter->buf;
        waiter->buf = (struct weir_buf){ 0 };
        wr_arena_give(buf.word, buf.owner, buf.data);
    }
    return was == WR_WAITER_RUNNING ? WEIR_PENDING : WEIR_OK;
}
