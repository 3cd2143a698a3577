/* SPDX-License-Identifier: MIT */
#include "platform/fence.h"

#include "base/atomic.h"
#include "support/deny.h"
#include "support/unit.h"

#include <signal.h>
#include <stdatomic.h>

static void
need_fences(void)
{
    if (!wr_fence_is_supported())
        cr_skip_test("the system has no membarrier, or denies it");
}

Test(fence, support_is_the_same_however_often_one_asks)
{
    bool supported = wr_fence_is_supported();

    for (int i = 0; i < 100; i++)
        cr_assert(eq(int, wr_fence_is_supported(), supported));
}

Test(fence, a_heavy_fence_does_not_fail)
{
    need_fences();

    for (int i = 0; i < 1000; i++)
        wr_fence_heavy();
}

/* ---- What it is for ---------------------------------------------------- */

enum { ROUNDS = 30000 };

/* Two threads that each say something and look for what the other one says;
   only one of them pays. In no round may both see nothing. */
static struct {
    _Alignas(128) _Atomic uint32_t light_says;
    _Alignas(128) _Atomic uint32_t heavy_says;
    _Alignas(128) atomic_uint light_is_in;
    _Alignas(128) atomic_uint heavy_is_in;
    _Alignas(128) uint32_t light_saw[ROUNDS];
    uint32_t heavy_saw[ROUNDS];
} pair;

/* Both begin a round together. */
static void
meet(atomic_uint *mine, atomic_uint *others, unsigned round)
{
    atomic_store(mine, round);
    for (unsigned spins = 0; atomic_load(others) < round; spins++)
        if (spins > 1000)
            (void)usleep(0);
}

static void *
be_light(void *unused)
{
    for (unsigned round = 1; round <= ROUNDS; round++) {
        meet(&pair.light_is_in, &pair.heavy_is_in, round);
        wr_publish(&pair.light_says, round);
        pair.light_saw[round - 1] = wr_observe(&pair.heavy_says);
    }
    return unused;
}

static void
be_heavy(void)
{
    for (unsigned round = 1; round <= ROUNDS; round++) {
        meet(&pair.heavy_is_in, &pair.light_is_in, round);
        wr_publish(&pair.heavy_says, round);
        wr_fence_heavy();
        pair.heavy_saw[round - 1] = wr_observe(&pair.light_says);
    }
}

Test(fence, of_two_that_say_and_look_one_at_least_sees_the_other)
{
    need_fences();
    pthread_t light = start_thread(be_light, NULL);

    be_heavy();

    join_thread(light);
    for (unsigned round = 1; round <= ROUNDS; round++)
        cr_assert(pair.light_saw[round - 1] >= round ||
                      pair.heavy_saw[round - 1] >= round,
            "in round %u neither saw the other", round);
}

/* ---- Denied ------------------------------------------------------------ */

static void
need_denial(void)
{
    if (!deny_membarrier())
        cr_skip_test("this process cannot deny itself membarrier");
}

Test(fence, where_it_is_denied_it_is_not_supported)
{
    need_denial();

    cr_assert(not(wr_fence_is_supported()));
}

Test(misuse, a_heavy_fence_that_is_denied_aborts, .signal = SIGABRT)
{
    if (!deny_membarrier())
        abort();
    expect_misuse("weir: the system denies membarrier*");

    wr_fence_heavy();
}
