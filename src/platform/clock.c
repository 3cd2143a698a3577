/* SPDX-License-Identifier: MIT */
/* clock: what time it is, roughly. */

#include "platform/clock.h"

#include <time.h>

uint64_t
wr_clock_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* always there */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
