/* SPDX-License-Identifier: MIT */
/* fiber: a stack of its own, and the step from one to another. */
#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include <stddef.h>

enum { FIBER_STACK_SIZE = 64 * 1024 };

struct fiber {
    void *state; /* what fiber_switch needs to go on */
    _Alignas(64) unsigned char stack[FIBER_STACK_SIZE];
};

/* Makes `fiber` begin with `entry`, which never returns, at the next switch. */
void fiber_begin(struct fiber *fiber, void (*entry)(void));

/* Leaves `from`, to come back when somebody switches to it, for `to`. */
void fiber_switch(struct fiber *from, const struct fiber *to);

#endif
