/* SPDX-License-Identifier: MIT */
/*
 * scheduler: virtual threads on one real one; who runs next.
 *
 *     explorer ──▶ thread 0: before ─ (waits) ─ after ──▶ explorer
 *                             └▶ 1: ──·──·───·── ends      · a point: who runs
 *                             └▶ 2: ───·───·──── ends        next is asked
 *
 * Idea
 *   A virtual thread is a fiber. It runs alone until a point, which lies before
 *   each access that another thread could notice; there the explorer is asked
 *   whether it goes on or another one does. What lies between two points cannot
 *   be told apart from the outside, so nothing is lost by not stopping there.
 *   Where a thread blocks or ends the explorer has to choose another.
 *
 *   Thread-local variables lie in a section of their own (under/base/atomic.h),
 *   and are exchanged with the thread.
 *
 * Limits
 *   STEPS_MAX accesses in a run: more of them are a loop without end.
 */

#include "scheduler.h"

#include "fiber.h"
#include "memory.h"
#include "plain.h"
#include "platform.h"
#include "platform/thread.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 1 + SIM_WORKERS_MAX, STEPS_MAX = 20000, TLS_MAX = 256 };

_Static_assert((int)THREADS <= (int)VIEW_THREADS, "every thread has a clock");

enum state { UNUSED, READY, BLOCKED, ENDED };

struct thread {
    struct fiber fiber;
    enum state state;
    const void *blocked_on;
    void (*at_exit[WR_AT_EXIT_MAX])(void *); /* the first is run first */
    bool has_exited; /* its hooks ran; what is hooked now runs no more */
    unsigned char tls[TLS_MAX];
};

unsigned scheduler_self;
struct view scheduler_views[VIEW_THREADS];

static struct thread threads[THREADS];
static struct fiber explorer;
static struct fiber nowhere; /* what is left for ever */
static const struct sim_case *running;
static bool has_begun; /* after the warming up */
static unsigned steps;
static bool failed;
static char failure[256];

extern unsigned char tls_begin[] __asm__("__start_sim_tls");
extern unsigned char tls_end[] __asm__("__stop_sim_tls");
static unsigned char tls_image[TLS_MAX]; /* what a new thread's are */

unsigned
sim_self(void)
{
    return scheduler_self;
}

unsigned
scheduler_steps(void)
{
    return steps;
}

/* ---- Switching --------------------------------------------------------- */

static void
go_to(unsigned next)
{
    if (next == scheduler_self)
        return;
    size_t tls_size = (size_t)(tls_end - tls_begin);
    struct thread *from = &threads[scheduler_self];
    memcpy(from->tls, tls_begin, tls_size);
    memcpy(tls_begin, threads[next].tls, tls_size);
    scheduler_self = next;
    fiber_switch(&from->fiber, &threads[next].fiber);
}

void
sim_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
    failed = true;
    explore_trace("failed: %s", failure);
    fiber_switch(&nowhere, &explorer);
    __builtin_unreachable();
}

void
scheduler_stop(void)
{
    fiber_switch(&nowhere, &explorer);
    __builtin_unreachable();
}

/* Lists who could run, the calling thread first, from it upwards. */
static unsigned
list_ready(unsigned ready[THREADS])
{
    unsigned count = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        unsigned t = (scheduler_self + i) % THREADS;
        if (threads[t].state == READY)
            ready[count++] = t;
    }
    return count;
}

/* Goes to somebody else; the calling thread cannot go on. */
static void
leave(void)
{
    unsigned ready[THREADS];
    unsigned count = list_ready(ready);
    if (count == 0)
        sim_fail("deadlock: every thread waits for another");
    go_to(ready[explore_choose(EXPLORE_NEXT, count)]);
}

void
scheduler_point(struct explore_place *place, bool writes)
{
    if (++steps > STEPS_MAX)
        sim_fail("no end after %d steps", STEPS_MAX);
    if (scheduler_self == 0 || !has_begun)
        return; /* alone */
    if (!explore_visit(place, writes))
        return;
    unsigned ready[THREADS];
    unsigned count = list_ready(ready);
    go_to(ready[explore_choose(EXPLORE_PREEMPT, count)]);
}

void
scheduler_block(const void *what)
{
    explore_trace("blocks");
    threads[scheduler_self].state = BLOCKED;
    threads[scheduler_self].blocked_on = what;
    leave();
}

void
scheduler_wake(const void *what)
{
    for (unsigned t = 0; t < THREADS; t++)
        if (threads[t].state == BLOCKED && threads[t].blocked_on == what)
            threads[t].state = READY;
}

void
scheduler_yield(void)
{
    if (++steps > STEPS_MAX)
        sim_fail("no end after %d steps", STEPS_MAX);
    unsigned ready[THREADS];
    unsigned count = list_ready(ready);
    if (count > 1) {
        go_to(ready[1 + explore_choose(EXPLORE_NEXT, count - 1)]);
        return;
    }
    for (unsigned t = 0; t < THREADS; t++)
        view_join(scheduler_view(), &scheduler_views[t]);
}

/* ---- The life of a run ------------------------------------------------- */

/* Before the first run changes them. */
__attribute__((constructor)) static void
keep_tls_image(void)
{
    if ((size_t)(tls_end - tls_begin) <= TLS_MAX)
        memcpy(tls_image, tls_begin, (size_t)(tls_end - tls_begin));
}

void
scheduler_at_exit(void (*hook)(void *))
{
    struct thread *thread = &threads[scheduler_self];
    unsigned next = thread->at_exit[0] != NULL;
    if (!thread->has_exited && thread->at_exit[0] != hook)
        thread->at_exit[next] = hook;
}

void
sim_thread_exit(void)
{
    struct thread *thread = &threads[scheduler_self];
    thread->has_exited = true;
    for (unsigned i = 0; i < WR_AT_EXIT_MAX; i++) {
        void (*hook)(void *) = thread->at_exit[i];
        thread->at_exit[i] = NULL;
        if (hook != NULL)
            hook(NULL);
    }
}

static void
work(void)
{
    if (running->warm != NULL)
        running->warm();
    go_to(0); /* until the case begins */
    running->threads[scheduler_self - 1]();
    sim_thread_exit();
    explore_trace("ends");
    threads[scheduler_self].state = ENDED;
    bool last = true;
    for (unsigned t = 1; t < THREADS; t++)
        last = last && threads[t].state != READY && threads[t].state != BLOCKED;
    if (last)
        threads[0].state = READY;
    leave();
}

/* Begins the case's threads, which know what thread 0 knows. */
static void
begin_workers(void)
{
    for (unsigned t = 1; t < THREADS; t++) {
        if (running->threads[t - 1] == NULL)
            continue;
        view_copy(&scheduler_views[t], &scheduler_views[0]);
        scheduler_views[t].at[t] = 1;
        fiber_begin(&threads[t].fiber, work);
        go_to(t); /* to warm up; the others stand still */
        threads[t].state = READY;
    }
    scheduler_views[0].at[0]++;
    has_begun = true;
}

static void
direct(void)
{
    if (running->before != NULL)
        running->before();
    begin_workers();
    threads[0].state = BLOCKED;
    threads[0].blocked_on = NULL;
    leave();
    for (unsigned t = 1; t < THREADS; t++)
        view_join(&scheduler_views[0], &scheduler_views[t]);
    explore_trace("all ended");
    if (running->after != NULL)
        running->after();
    sim_thread_exit();
    fiber_switch(&nowhere, &explorer);
}

bool
scheduler_run(const struct sim_case *model, char *what, size_t what_size)
{
    running = model;
    scheduler_self = 0;
    steps = 0;
    has_begun = false;
    failed = false;
    if ((size_t)(tls_end - tls_begin) > TLS_MAX)
        return (void)snprintf(what, what_size, "too many thread-locals"), false;
    memcpy(tls_begin, tls_image, (size_t)(tls_end - tls_begin));
    for (unsigned t = 0; t < THREADS; t++) {
        threads[t].state = UNUSED;
        memset(threads[t].at_exit, 0, sizeof threads[t].at_exit);
        threads[t].has_exited = false;
        memcpy(threads[t].tls, tls_image, TLS_MAX);
    }
    memset(scheduler_views, 0, sizeof scheduler_views);
    scheduler_views[0].at[0] = 1;
    threads[0].state = READY;
    memory_reset();
    plain_reset();
    platform_reset();

    fiber_begin(&threads[0].fiber, direct);
    fiber_switch(&explorer, &threads[0].fiber);
    if (failed)
        (void)snprintf(what, what_size, "%s", failure);
    return !failed;
}
