/* SPDX-License-Identifier: MIT */
/*
 * library_life: core/heap_life.c, and the way back to its beginning.
 *
 * What it takes for no limit is one that the default heap's memory fits in.
 */

#include "core/heap.h"

#include "base/config.h"

#undef SIZE_MAX
#define SIZE_MAX (2 * WR_PAGE_BYTES)
#include "core/heap_life.c"

#include "library.h"

void
library_reset_life(void)
{
    heaps = NULL;
    serials = 0;
    sim_init(&the_default, sizeof(the_default), 0);
}
