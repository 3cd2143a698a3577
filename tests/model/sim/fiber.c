/* SPDX-License-Identifier: MIT */
/*
 * fiber: a stack of its own, and the step from one to another.
 *
 * Idea
 *   A switch is a call: it saves what a callee must keep, exchanges the stack
 *   pointer and returns on the other stack. swapcontext does that and two
 *   system calls; a run switches a hundred times.
 *
 * Limits
 *   Floating point control words are not switched; nobody here changes them.
 */

#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>

#ifdef __x86_64__

void sim_fiber_swap(void **save, void *load);

__asm__(".text\n"
        ".type sim_fiber_swap, @function\n"
        "sim_fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sim_fiber_swap, . - sim_fiber_swap\n");

enum { SAVED_REGISTERS = 6 };

void
fiber_begin(struct fiber *fiber, void (*entry)(void))
{
    /* As if `entry` had been called: the stack is 8 off a multiple of 16. */
    uintptr_t *top = (uintptr_t *)(void *)(fiber->stack + FIBER_STACK_SIZE);
    *--top = 0; /* where it would return to */
    *--top = (uintptr_t)entry;
    for (int i = 0; i < SAVED_REGISTERS; i++)
        *--top = 0;
    fiber->state = top;
}

void
fiber_switch(struct fiber *from, const struct fiber *to)
{
    sim_fiber_swap(&from->state, to->state);
}

#else

#include <ucontext.h>

void
fiber_begin(struct fiber *fiber, void (*entry)(void))
{
    if (fiber->state == NULL)
        fiber->state = malloc(sizeof(ucontext_t));
    ucontext_t *context = fiber->state;
    if (context == NULL || getcontext(context) != 0)
        abort();
    context->uc_stack.ss_sp = fiber->stack;
    context->uc_stack.ss_size = FIBER_STACK_SIZE;
    context->uc_link = NULL;
    makecontext(context, entry, 0);
}

void
fiber_switch(struct fiber *from, const struct fiber *to)
{
    if (from->state == NULL)
        from->state = malloc(sizeof(ucontext_t));
    if (from->state == NULL || swapcontext(from->state, to->state) != 0)
        abort();
}

#endif
