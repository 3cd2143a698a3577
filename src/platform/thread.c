/* SPDX-License-Identifier: MIT */
/*
 * thread: mutual exclusion, and the end of a thread.
 *
 * Idea
 *   A thin layer over pthreads. The lock and unlock of a mutex that we made
 *   and hold cannot fail; if one does, memory is corrupt, and we stop.
 */

#include "platform/thread.h"

#include "base/check.h"

#include <sched.h>
#include <stddef.h>
#include <time.h>

void
wr_mutex_init(struct wr_mutex *mutex)
{
    int failed = pthread_mutex_init(&mutex->handle, NULL);
    WR_CHECK(failed == 0, "a mutex could not be made");
}

void
wr_mutex_fini(struct wr_mutex *mutex)
{
    int failed = pthread_mutex_destroy(&mutex->handle);
    WR_CHECK(failed == 0, "a mutex was ended while it was held");
}

void
wr_mutex_lock(struct wr_mutex *mutex)
{
    int failed = pthread_mutex_lock(&mutex->handle);
    WR_CHECK(failed == 0, "a mutex is corrupt");
}

void
wr_mutex_unlock(struct wr_mutex *mutex)
{
    int failed = pthread_mutex_unlock(&mutex->handle);
    WR_CHECK(failed == 0, "a mutex is corrupt");
}

bool
wr_mutex_try_lock(struct wr_mutex *mutex)
{
    return pthread_mutex_trylock(&mutex->handle) == 0;
}

enum { YIELDS = 64, NAP_NS = 50000 };

void
wr_thread_yield(unsigned round)
{
    const struct timespec nap = { 0, NAP_NS };
    if (round < YIELDS)
        (void)sched_yield();
    else
        (void)nanosleep(&nap, NULL);
}

/* Of wr_thread_at_exit. */
static struct wr_mutex mutex = WR_MUTEX_INITIAL;

static void
hold_mutex(void)
{
    wr_mutex_lock(&mutex);
}

static void
let_go_mutex(void)
{
    wr_mutex_unlock(&mutex);
}

bool
wr_thread_at_fork(
    void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    return pthread_atfork(hold_mutex, let_go_mutex, let_go_mutex) == 0 &&
           pthread_atfork(before, in_parent, in_child) == 0;
}

bool
wr_thread_at_exit(void (*at_exit)(void *))
{
    static pthread_key_t key;
    static void (*made_for)(void *);
    wr_mutex_lock(&mutex);
    if (made_for == NULL && pthread_key_create(&key, at_exit) == 0)
        made_for = at_exit;
    bool can = made_for != NULL;
    WR_ASSERT(!can || made_for == at_exit);
    wr_mutex_unlock(&mutex);
    return can && pthread_setspecific(key, &key) == 0; /* any but NULL */
}
