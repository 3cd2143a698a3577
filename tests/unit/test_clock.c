/* SPDX-License-Identifier: MIT */
#include "platform/clock.h"

#include "support/unit.h"

#include <time.h>

Test(clock, time_never_falls)
{
    uint64_t last = wr_clock_ms();
    uint64_t start = last;

    for (int i = 0; i < 100000; i++) {
        uint64_t now = wr_clock_ms();
        cr_assert(now >= last);
        last = now;
    }

    cr_assert(le(u64, last - start, 60000));
}

Test(clock, a_sleep_takes_its_time_or_a_few_milliseconds_less)
{
    uint64_t start = wr_clock_ms();

    (void)usleep(100000);

    uint64_t took = wr_clock_ms() - start;
    cr_assert(ge(u64, took, 80));
    cr_assert(le(u64, took, 20000));
}

/* The exact clock of the system, before and behind; ours is a tick late. */
Test(clock, it_is_the_systems_clock_that_does_not_jump)
{
    struct timespec before;
    struct timespec behind;
    cr_assert(zero(int, clock_gettime(CLOCK_MONOTONIC, &before)));
    uint64_t now = wr_clock_ms();
    cr_assert(zero(int, clock_gettime(CLOCK_MONOTONIC, &behind)));

    uint64_t least =
        (uint64_t)before.tv_sec * 1000 + (uint64_t)before.tv_nsec / 1000000;
    uint64_t most =
        (uint64_t)behind.tv_sec * 1000 + (uint64_t)behind.tv_nsec / 1000000;
    cr_assert(ge(u64, now + 20, least));
    cr_assert(le(u64, now, most));
}

static void *
read_clock(void *user)
{
    *(uint64_t *)user = wr_clock_ms();
    return NULL;
}

Test(clock, threads_see_one_clock)
{
    uint64_t there = 0;
    uint64_t before = wr_clock_ms();

    on_thread(read_clock, &there);

    cr_assert(ge(u64, there, before));
    cr_assert(le(u64, there, wr_clock_ms()));
}
