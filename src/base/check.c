/* SPDX-License-Identifier: MIT */
/*
 * check: one line, then the end.
 *
 * Idea
 *   A program that released a block twice has two owners writing into one
 *   memory; going on would corrupt somebody's data. So it stops, in every
 *   build, and says who. The line is built without allocating.
 */

#include "base/check.h"

#include "weir/weir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static weir_misuse_fn *on_misuse;
static void *on_misuse_user;

void
weir_on_misuse(weir_misuse_fn *misuse, void *user)
{
    on_misuse = misuse;
    on_misuse_user = user;
}

#ifdef WR_COVERAGE
void __gcov_dump(void);
#endif

void
wr_fail(const char *what, const char *arena, int64_t block)
{
    char line[192];
    if (arena == NULL)
        (void)snprintf(line, sizeof line, "weir: %s", what);
    else if (block == WR_NO_BLOCK)
        (void)snprintf(line, sizeof line, "weir: arena '%s': %s", arena, what);
    else
        (void)snprintf(line, sizeof line,
            "weir: arena '%s': block %" PRId64 ": %s", arena, block, what);

    if (on_misuse != NULL)
        on_misuse(line, on_misuse_user);
    else
        (void)fprintf(stderr, "%s\n", line);
#ifdef WR_COVERAGE
    __gcov_dump(); /* abort would lose what this test covered */
#endif
    abort();
}
