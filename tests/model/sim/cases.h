/* SPDX-License-Identifier: MIT */
/* cases: all there is to run. */
#ifndef SIM_CASES_H
#define SIM_CASES_H

#include "sim.h"

/* Lists end with a case without a name. */
extern const struct sim_case litmus_cases[];  /* the simulator itself */
extern const struct sim_case barrier_cases[]; /* publish, observe, fence */
extern const struct sim_case bitmap_cases[];
extern const struct sim_case buddy_cases[];
extern const struct sim_case buddy_full_cases[];      /* and the end */
extern const struct sim_case buddy_arena_cases[];     /* shelves, and full */
extern const struct sim_case buddy_arena_end_cases[]; /* and waiters */
extern const struct sim_case sweep_cases[]; /* a thread's cache alone */
extern const struct sim_case full_cases[];
extern const struct sim_case cache_cases[]; /* caches in the library */
extern const struct sim_case refs_cases[];
extern const struct sim_case waiter_cases[];
extern const struct sim_case end_cases[]; /* close, destroy, id reuse */
extern const struct sim_case record_cases[];
extern const struct sim_case heap_cases[];      /* blocks, and sweeps */
extern const struct sim_case heap_life_cases[]; /* threads and heaps end */

#endif
