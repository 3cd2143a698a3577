/* SPDX-License-Identifier: MIT */
/*
 * bell: how a loop learns that some of its waiters were served.
 *
 *     bell:  first ─▶ w0 ─▶ w4 ─▶ w7 ◀─ last        rung: yes
 *
 * Idea
 *   Served waiters go into the bell's list, and the bell is rung if it was not
 *   rung since the last drain began. A drain first takes that mark back and
 *   then empties the list, so what is told during a drain rings again. There is
 *   one ring for any number of waiters. The mark matters for more than thrift:
 *   libuv's uv_async_send looks first whether a wake-up is pending, with no
 *   order to what the sender wrote before, and may miss; a sender that has
 *   passed our mark knows that the drain after the last wake-up has begun.
 *
 * Invariants
 *   1. Under the lock: a list that is not empty has been rung for.
 *   2. A waiter in the list has state TOLD, and `status` says what it was told.
 *
 * Costs
 *   The lock, once to tell and once for each waiter drained. The ring is under
 *   the lock, so that ending the bell can wait for ringers by taking it.
 *
 * Limits
 *   Ring functions must not call weir: the arena's mutex is held too.
 */

#include "arena/arena.h"
#include "base/check.h"

_Static_assert(sizeof(struct wr_mutex) <= sizeof(((struct weir_bell *)0)->lock),
    "the lock of a bell must hold a mutex");
_Static_assert(_Alignof(struct wr_mutex) <= _Alignof(uint64_t),
    "the lock of a bell must align a mutex");

static struct wr_mutex *
lock_of(struct weir_bell *bell)
{
    return (struct wr_mutex *)(void *)bell->lock;
}

void
weir_bell_init(struct weir_bell *bell, weir_ring_fn *ring, void *user)
{
    WR_CHECK(ring != NULL, "a bell without a ring");
    *bell = (struct weir_bell){ .ring = ring, .user = user };
    wr_mutex_init(lock_of(bell));
}

static void
ring_once(struct weir_bell *bell)
{
    if (bell->rung)
        return;
    bell->rung = true;
    bell->ring(bell);
}

void
wr_bell_tell(struct weir_waiter *waiter, enum weir_status status)
{
    struct weir_bell *bell = waiter->bell;
    wr_mutex_lock(lock_of(bell));
    wr_waiter_set_state(waiter, WR_WAITER_TOLD);
    waiter->status = status;
    waiter->next = NULL;
    waiter->previous = bell->last;
    if (bell->last != NULL)
        bell->last->next = waiter;
    else
        bell->first = waiter;
    bell->last = waiter;
    ring_once(bell);
    wr_mutex_unlock(lock_of(bell));
}

/* Takes a waiter out of the list. The lock is held. */
static void
unlink_waiter(struct weir_bell *bell, struct weir_waiter *waiter)
{
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        bell->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->previous = waiter->previous;
    else
        bell->last = waiter->previous;
}

enum wr_waiter_state
wr_bell_untell(struct weir_waiter *waiter)
{
    struct weir_bell *bell = waiter->bell;
    wr_mutex_lock(lock_of(bell));
    enum wr_waiter_state was = wr_waiter_state(waiter);
    WR_ASSERT(was != WR_WAITER_QUEUED);
    if (was == WR_WAITER_TOLD) {
        unlink_waiter(bell, waiter);
        wr_waiter_set_state(waiter, WR_WAITER_IDLE);
    }
    wr_mutex_unlock(lock_of(bell));
    return was;
}

/* Takes the next waiter to run. */
static struct weir_waiter *
next_told(struct weir_bell *bell)
{
    wr_mutex_lock(lock_of(bell));
    struct weir_waiter *waiter = bell->first;
    if (waiter != NULL) {
        unlink_waiter(bell, waiter);
        wr_waiter_set_state(waiter, WR_WAITER_RUNNING);
    }
    wr_mutex_unlock(lock_of(bell));
    return waiter;
}

/* Takes the mark back; returns how many waiters there are, at most `max`. */
static size_t
begin_drain(struct weir_bell *bell, size_t max)
{
    size_t count = 0;
    wr_mutex_lock(lock_of(bell));
    bell->rung = false;
    struct weir_waiter *waiter = bell->first;
    for (; waiter != NULL && count < max; waiter = waiter->next)
        count++;
    wr_mutex_unlock(lock_of(bell));
    return count;
}

size_t
weir_bell_drain(struct weir_bell *bell, size_t max)
{
    max = begin_drain(bell, max != 0 ? max : SIZE_MAX);
    size_t done = 0;
    struct weir_waiter *waiter;
    while (done < max && (waiter = next_told(bell)) != NULL) {
        waiter->granted(waiter, waiter->status);
        done++;
    }

    wr_mutex_lock(lock_of(bell));
    if (bell->first != NULL)
        ring_once(bell);
    wr_mutex_unlock(lock_of(bell));
    return done;
}

void
weir_bell_fini(struct weir_bell *bell)
{
    wr_mutex_lock(lock_of(bell));
    WR_CHECK(bell->first == NULL, "a bell was ended before its waiters ran");
    wr_mutex_unlock(lock_of(bell));
    wr_mutex_fini(lock_of(bell));
}
