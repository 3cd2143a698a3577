/* SPDX-License-Identifier: MIT */
/*
 * fence: a full barrier on every thread of the process.
 *
 * Idea
 *   membarrier(PRIVATE_EXPEDITED) interrupts every processor that runs a thread
 *   of this process; threads that do not run are behind a barrier anyway, that
 *   of the scheduler. So the other side of a Dekker pair needs no fence at all.
 *   A process must register before. That is cheap while it has one thread and
 *   takes milliseconds later, so it is done when the library is loaded.
 *
 *   Under ThreadSanitizer, which knows no such fence, publishing and observing
 *   are sequentially consistent (base/atomic.h), and this is nothing.
 *
 * Costs
 *   0.1 to 2 microseconds, more with many processors that run this process.
 *
 * Limits
 *   A filter (seccomp) that begins to deny membarrier after an arena was created
 *   stops the program at the first fence.
 */

#include "platform/fence.h"

#include "base/atomic.h"
#include "base/check.h"
#include "platform/thread.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef WR_SYMMETRIC_FENCES

bool
wr_fence_is_supported(void)
{
    return true;
}

void
wr_fence_heavy(void)
{
}

#else

/* The kernel may be short of memory for a moment. */
static bool
membarrier(int command)
{
    int kept = errno;
    long failed;
    unsigned round = 0;
    while ((failed = syscall(SYS_membarrier, command, 0, 0)) != 0 &&
           errno == ENOMEM)
        wr_thread_yield(round++);
    errno = kept;
    return failed == 0;
}

/* While there is one thread. */
__attribute__((constructor)) static void
register_process(void)
{
    (void)membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

bool
wr_fence_is_supported(void)
{
    if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
        return true;
    register_process(); /* another constructor may run before ours */
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void
wr_fence_heavy(void)
{
    WR_CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED),
        "the system denies membarrier, which it did not when the arena was "
        "created");
}

#endif
