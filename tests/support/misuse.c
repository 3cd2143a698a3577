/* SPDX-License-Identifier: MIT */
/* misuse: a test that must end in an abort, and in no other. */

#include "support/misuse.h"

#include "weir/weir.h"

#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { OTHER_LINE = 3, OTHER_ABORT, SANITIZER };

static void
on_misuse(const char *line, void *user)
{
    const char *pattern = user;
    if (fnmatch(pattern, line, 0) != 0) {
        (void)fprintf(stderr, "misuse: expected \"%s\"\n", pattern);
        (void)fprintf(stderr, "misuse: it was   \"%s\"\n", line);
        _exit(OTHER_LINE);
    }
    (void)signal(SIGABRT, SIG_DFL);
}

static void
on_abort(int number)
{
    (void)number;
    _exit(OTHER_ABORT);
}

static void
on_report(void)
{
    _exit(SANITIZER);
}

void __sanitizer_set_death_callback(void (*callback)(void))
    __attribute__((weak));

void
expect_misuse(const char *pattern)
{
    (void)signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(on_report);
    weir_on_misuse(on_misuse, (void *)(uintptr_t)pattern);
}
