/* SPDX-License-Identifier: MIT */
/*
 * barrier: publish-then-check, the pair of fences of the thread cache.
 *
 *     owner    publish n; observe ctl            light: no instruction at all
 *     sweeper  ctl = 1; heavy fence; load n      membarrier
 *
 * The claim: not both see the old value. Without the heavy fence they may.
 */

#include "base/atomic.h"
#include "cases.h"

static struct shared {
    _Atomic uint32_t n;
    _Atomic uint32_t ctl;
} * shared;
static uint32_t seen_ctl;
static uint32_t seen_n;

static void
prepare(void)
{
    shared = sim_memory_take(sizeof(*shared), 64);
    atomic_init(&shared->n, 0);
    atomic_init(&shared->ctl, 0);
    seen_ctl = 1;
    seen_n = 1;
}

static void
own(void)
{
    wr_publish(&shared->n, 1);
    seen_ctl = wr_observe(&shared->ctl);
}

/* Owns for longer: at most its last store can be missed. */
static void
own_on(void)
{
    for (uint32_t i = 1; i <= 3; i++) {
        wr_publish(&shared->n, i);
        seen_ctl = wr_observe(&shared->ctl);
        if (seen_ctl != 0)
            break;
    }
}

static void
sweep(void)
{
    wr_store_relaxed(&shared->ctl, 1);
    wr_heavy_fence();
    seen_n = wr_load_acquire(&shared->n);
}

static void
sweep_without(void)
{
    wr_store_relaxed(&shared->ctl, 1);
    seen_n = wr_load_acquire(&shared->n);
}

static void
one_was_seen(void)
{
    sim_expect(seen_ctl == 1 || seen_n == 1);
}

static void
none_was_seen(void)
{
    if (seen_ctl == 0 && seen_n == 0)
        sim_seen();
}

/* What the sweeper read is what the owner left, or one store behind it. */
static void
at_most_one_was_missed(void)
{
    uint32_t n = wr_load_relaxed(&shared->n);
    sim_expect(seen_n == n || (seen_n + 1 == n && seen_ctl == 1));
}

const struct sim_case barrier_cases[] = {
    {
        .name = "barrier",
        .claim = "with the heavy fence one side sees the other",
        .before = prepare,
        .threads = { own, sweep },
        .after = one_was_seen,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "barrier_missing",
        .claim = "without it both may be late",
        .before = prepare,
        .threads = { own, sweep_without },
        .after = none_was_seen,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "barrier_window",
        .claim = "at most one operation straddles the fence",
        .before = prepare,
        .threads = { own_on, sweep },
        .after = at_most_one_was_missed,
        .preemptions = 3,
        .stales = 4,
    },
    { 0 },
};
