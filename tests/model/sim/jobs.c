/* SPDX-License-Identifier: MIT */
/*
 * jobs: several processes share what there is to try.
 *
 * Idea
 *   The simulator is full of static variables, so it is forked, not threaded. A
 *   counter in shared memory deals out the numbers of what is to be tried; all
 *   processes count alike. Each prints whole lines.
 */

#include "jobs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_uint *next;
static unsigned children; /* of the first process */
static bool is_child;

void
jobs_begin(unsigned count)
{
    next = mmap(NULL, sizeof(*next), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (next == MAP_FAILED)
        abort();
    atomic_init(next, 0);
    (void)fflush(stdout);
    for (children = 0; children + 1 < count && !is_child; children++) {
        pid_t pid = fork();
        if (pid < 0)
            abort();
        is_child = pid == 0;
    }
}

unsigned
jobs_next(void)
{
    return atomic_fetch_add(next, 1);
}

int
jobs_end(int status)
{
    (void)fflush(stdout);
    if (is_child)
        _exit(status);
    for (; children > 0; children--) {
        int how;
        if (wait(&how) < 0 || !WIFEXITED(how))
            status = 1;
        else if (WEXITSTATUS(how) > status)
            status = WEXITSTATUS(how);
    }
    return status;
}
