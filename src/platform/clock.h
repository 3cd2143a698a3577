/* SPDX-License-Identifier: MIT */
/* clock: what time it is, roughly. */
#ifndef WR_CLOCK_H
#define WR_CLOCK_H

#include <stdint.h>

/* Milliseconds since some instant; never falls, and is a few late. */
uint64_t wr_clock_ms(void);

#endif
