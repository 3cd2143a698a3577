/* SPDX-License-Identifier: MIT */
/* memory: every location's history, and what a load may still see. */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stdbool.h>

/* Forgets all. */
void memory_reset(void);

/* The calling thread writes plainly over location `number`. */
void memory_rewrite(unsigned number);

/* Aborts the run if an atomic access of location `number`, or only a write of
   it, does not happen before what the calling thread does now. */
void memory_check_past(unsigned number, bool only_writes);

/*
 * What the calling thread did so far, and what view `with` has, becomes a view
 * for others, 1 or above; 0 is the empty one. Learning it makes it known to the
 * calling thread. Views are good until the end of the run.
 */
unsigned memory_publish(unsigned with);
void memory_learn(unsigned view);

#endif
