/* SPDX-License-Identifier: MIT */
/* child: what a forked child must find, in unit tests. */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include "support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_PATIENCE = 60 /* seconds; then it hangs */ };

void __gcov_dump(void) __attribute__((weak));

/* In a child: what must be true, or it ends with `line`. */
static inline void
need(bool truth, int line)
{
    if (truth)
        return;
    (void)fprintf(stderr, "line %d in the child\n", line);
    _exit(1);
}

#define NEED(truth) need((truth), __LINE__)

/* Runs it in a child, which must end well. */
static inline void
expect_good_child(void (*run)(void))
{
    pid_t child = fork();
    cr_assert(ge(int, child, 0));
    if (child == 0) {
        (void)alarm(CHILD_PATIENCE);
        run();
        if (__gcov_dump != NULL)
            __gcov_dump();
        _exit(0);
    }
    int how = 0;
    cr_assert(eq(int, waitpid(child, &how, 0), child));
    cr_assert(eq(int, how, 0));
}

#endif
