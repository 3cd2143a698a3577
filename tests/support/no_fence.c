/* SPDX-License-Identifier: MIT */
/*
 * no_fence: what the library's fence is for.
 *
 * Stands in for platform/fence.c and does nothing. A test linked with it must
 * fail, else it could not see a fence that is missing.
 */

#include "platform/fence.h"

bool
wr_fence_is_supported(void)
{
    return true;
}

void
wr_fence_heavy(void)
{
}
