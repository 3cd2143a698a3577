/* SPDX-License-Identifier: MIT */
/* space: how much address space the process has, and may have, in unit tests. */
#ifndef SUPPORT_SPACE_H
#define SUPPORT_SPACE_H

#include "support/unit.h"

#include <sys/resource.h>

/* Allocates nothing. */
static inline size_t
mapped_bytes(void)
{
    char line[128] = "";
    size_t pages = 0;
    int file = open("/proc/self/statm", O_RDONLY);
    cr_assert(gt(int, (int)read(file, line, sizeof line - 1), 0));
    (void)close(file);
    cr_assert(eq(int, sscanf(line, "%zu", &pages), 1));
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Leaves the process so much more; may be called again. */
static inline void
limit_memory(size_t left)
{
    struct rlimit limit;
    cr_assert(zero(int, getrlimit(RLIMIT_AS, &limit)));
    limit.rlim_cur = mapped_bytes() + left;
    cr_assert(zero(int, setrlimit(RLIMIT_AS, &limit)));
}

#endif
