/* SPDX-License-Identifier: MIT */
/*
 * cache_gate: how what one thread keeps is taken from it by another.
 *
 * A cache that embeds a gate has an owner, whose common paths are one store and
 * then one load of the gate, and a sweeper, who holds a lock. Why nothing is lost
 * between them stands in cache_gate.c.
 */
#ifndef WR_CACHE_GATE_H
#define WR_CACHE_GATE_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

/* Bits of nothing: off. Who turns a cache off, or on, holds the lock. */
enum wr_gate_control {
    WR_GATE_OFF = 0,
    WR_GATE_ON,
    WR_GATE_STOPPED /* the cache is being emptied by another thread */
};

struct wr_gate {
    _Atomic uint32_t control; /* enum wr_gate_control */
    _Atomic uint32_t busy;    /* 1 while the owner does more than one store */
};

/* Off. */
void wr_gate_init(struct wr_gate *gate);

/* ---- The owner ---- */

/* Half an operation, behind its store. False: the cache was swept, or is being;
   then the operation is not yet over, and the owner settles. */
static inline bool
wr_gate_is_on(const struct wr_gate *gate)
{
    return wr_observe(&gate->control) == WR_GATE_ON; /* [sweep] [off] */
}

static inline void
wr_gate_end(struct wr_gate *gate)
{
    wr_store_release(&gate->busy, 0); /* [busy] */
}

/* Keeps sweeps out until wr_gate_end. False: the cache is not on. */
static inline bool
wr_gate_begin(struct wr_gate *gate)
{
    wr_publish(&gate->busy, 1); /* [sweep] */
    if (wr_gate_is_on(gate))
        return true;
    wr_gate_end(gate);
    return false;
}

/* ---- Whoever holds the lock ---- */

/* Begins to sweep; a heavy fence follows. False: it was not on. */
bool wr_gate_stop(struct wr_gate *gate);

/* True if wr_gate_stop was called and the sweep has not ended. */
bool wr_gate_is_stopped(const struct wr_gate *gate);

/* Behind the fence: waits for an owner between begin and end. */
void wr_gate_wait(const struct wr_gate *gate);

/* Ends the sweep. */
void wr_gate_turn_off(struct wr_gate *gate);

/* By the owner of a cache that is off and empty. */
void wr_gate_turn_on(struct wr_gate *gate);

#endif
