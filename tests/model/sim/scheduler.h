/* SPDX-License-Identifier: MIT */
/* scheduler: virtual threads on one real one; who runs next. */
#ifndef SIM_SCHEDULER_H
#define SIM_SCHEDULER_H

#include "explore.h"
#include "sim.h"
#include "view.h"

/* Runs `model` once, on fresh memory. False: it failed, and `what` says how. */
bool scheduler_run(const struct sim_case *model, char *what, size_t what_size);

/* How many accesses the run has made so far. */
unsigned scheduler_steps(void);

/* The calling thread is about to do what others can see at `place`; somebody
   else may run before. */
void scheduler_point(struct explore_place *place, bool writes);

/* Blocks the calling thread until somebody wakes those blocked on `what`. */
void scheduler_block(const void *what);
void scheduler_wake(const void *what);

extern unsigned scheduler_self;
extern struct view scheduler_views[VIEW_THREADS];

/* What the calling thread knows. */
static inline struct view *
scheduler_view(void)
{
    return &scheduler_views[scheduler_self];
}

/* Ends the run: it did not fail. */
_Noreturn void scheduler_stop(void);

/* Lets others run, if there are others who can; else time passes until the
   calling thread knows all that anybody did. */
void scheduler_yield(void);

/* Calls `hook` when the calling thread ends, as a key's destructor. */
void scheduler_at_exit(void (*hook)(void *));

#endif
