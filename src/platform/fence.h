/* SPDX-License-Identifier: MIT */
/* fence: a full barrier on every thread of the process, paid for by the caller. */
#ifndef WR_FENCE_H
#define WR_FENCE_H

#include <stdbool.h>

/*
 * True if the system lets this process use heavy fences: Linux's membarrier, from
 * 4.14 on, unless a filter denies it. Asks the system anew on each call.
 */
bool wr_fence_is_supported(void);

/*
 * Every other thread of the process executes a full barrier while this call
 * runs. Aborts if the system refuses: what relies on it would lose memory.
 */
void wr_fence_heavy(void);

#endif
