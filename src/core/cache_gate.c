/* SPDX-License-Identifier: MIT */
/*
 * cache_gate: how what one thread keeps is taken from it by another.
 *
 *     owner                          sweeper, holding the lock
 *     content  ◀─ one store           control = STOPPED
 *     control  ◀─ one load            heavy fence
 *     busy        for longer          wait for busy == 0
 *                                     take all; control = OFF
 *
 * Idea
 *   Whoever needs to know that no block is free takes the lock, sets every
 *   cache to STOPPED and issues one heavy fence: a full barrier on every thread
 *   of the process. It splits each owner's program at a point P. Stores before
 *   P are seen by the sweeper's loads behind the fence; loads after P see STOPPED.
 *   An operation of the owner is one store and one load behind it: publish, then
 *   check. So:
 *
 *     both before P   the sweeper sees the store
 *     both after P    the owner sees STOPPED and settles
 *     astride         the sweeper may or may not see the store, and the owner
 *                     sees STOPPED: it settles too
 *
 *   To settle the owner waits for the sweep to end (the lock) and compares with what
 *   the sweeper left: what it found in the word that the owner stores to. A block
 *   that was being taken and was not found there is the owner's. A block that was
 *   being released and was found there is home; else the owner takes it there. Both
 *   outcomes were decided when the sweeper read that word, so it never waits for an
 *   owner that stands still on a common path. It waits for one between begin and
 *   end, where several stores belong together: some tens of instructions.
 *
 * Edges
 *   [sweep]  what the owner stores, wr_gate_begin, publish  ->  what the sweeper
 *            loads, wr_gate_wait, observe
 *            wr_gate_stop, publish  ->  wr_gate_is_on, observe
 *            The two halves; the heavy fence stands between the sweeper's.
 *            Publishing releases: what the last owner of a block did there
 *            happens before what the next one does, also when it is handed on by
 *            a sweep.
 *   [busy]   wr_gate_end, release  ->  wr_gate_wait, acquire
 *            The sweeper sees what was moved.
 *   [off]    wr_gate_turn_off, release  ->  wr_gate_is_on, wr_gate_is_stopped,
 *            observe
 *            The owner sees what the sweeper left, and it has left the cache.
 *
 * Costs
 *   A load of a line that nobody else writes. Between begin and end two stores
 *   more. No locked instruction.
 *
 * Source
 *   Publish-then-check is the THE protocol of Cilk-5 (Frigo, Leiserson, Randall,
 *   PLDI 1998) with an asymmetric fence, as in liburcu and in hazard pointers.
 */

#include "core/cache_gate.h"

#include "platform/thread.h"

void
wr_gate_init(struct wr_gate *gate)
{
    atomic_init(&gate->control, WR_GATE_OFF);
    atomic_init(&gate->busy, 0);
}

bool
wr_gate_stop(struct wr_gate *gate)
{
    if (wr_load_relaxed(&gate->control) != WR_GATE_ON) /* under the lock */
        return false;
    wr_publish(&gate->control, WR_GATE_STOPPED); /* [sweep] */
    return true;
}

bool
wr_gate_is_stopped(const struct wr_gate *gate)
{
    return wr_observe(&gate->control) == WR_GATE_STOPPED; /* [off] */
}

void
wr_gate_wait(const struct wr_gate *gate)
{
    for (unsigned round = 0; wr_observe(&gate->busy) != 0; /* [sweep] [busy] */
         round++)
        wr_thread_yield(round);
}

void
wr_gate_turn_off(struct wr_gate *gate)
{
    wr_store_release(&gate->control, WR_GATE_OFF); /* [off] */
}

void
wr_gate_turn_on(struct wr_gate *gate)
{
    wr_store_relaxed(&gate->control, WR_GATE_ON); /* under the lock */
}
