/* SPDX-License-Identifier: MIT */
/*
 * thread: mutual exclusion, and the end of a thread.
 *
 * Idea
 *   A thin layer over pthreads. The lock and unlock of a mutex that we made
 *   and hold cannot fail; if one does, memory is corrupt, and we stop.
 *
 *   The handlers of a fork have ranks, since pthread_atfork would run them in the
 *   opposite order of their coming, and nobody knows which part of the library a
 *   program uses first. The lock that guards them is the last one a fork takes, so
 *   nobody comes between the last handler and the fork.
 */

#include "platform/thread.h"

#include "base/check.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void
wr_mutex_init(struct wr_mutex *mutex)
{
    pthread_mutexattr_t kind;
    int failed = pthread_mutexattr_init(&kind);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
    /* Who finds it held looks again a few times: what is done under it is short. */
    if (failed == 0)
        failed = pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    if (failed == 0)
        failed = pthread_mutex_init(&mutex->handle, &kind);
    WR_CHECK(failed == 0, "a mutex could not be made");
    (void)pthread_mutexattr_destroy(&kind);
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
    int kept = errno;
    if (round < YIELDS)
        (void)sched_yield();
    else /* not nanosleep, where a thread may be cancelled that holds locks */
        (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
    errno = kept;
}

/* Behind all other locks; held while somebody forks. */
static struct wr_mutex mutex = WR_MUTEX_INITIAL;

/* By rank. Written once, before its bit is set. */
static struct {
    void (*before)(void);
    void (*in_parent)(void);
    void (*in_child)(void);
} forkers[WR_FORK_RANKS];
static unsigned registered; /* a bit for each rank; under the mutex */

static void
run_before(unsigned ranks)
{
    for (unsigned i = 0; i < WR_FORK_RANKS; i++)
        if ((ranks >> i & 1) != 0)
            forkers[i].before();
}

static void
run_in_parent(unsigned ranks)
{
    for (unsigned i = WR_FORK_RANKS; i > 0; i--)
        if ((ranks >> (i - 1) & 1) != 0)
            forkers[i - 1].in_parent();
}

static void
run_in_child(unsigned ranks)
{
    for (unsigned i = WR_FORK_RANKS; i > 0; i--)
        if ((ranks >> (i - 1) & 1) != 0)
            forkers[i - 1].in_child();
}

/* Who comes while the others' locks are taken may hold some of its own at once,
   and may have to be before them: so all begins again. */
static void
before_fork(void)
{
    unsigned ran = 0;
    wr_mutex_lock(&mutex);
    while (ran != registered) {
        unsigned known = registered;
        wr_mutex_unlock(&mutex);
        run_in_parent(ran);
        run_before(known);
        ran = known;
        wr_mutex_lock(&mutex);
    }
}

static void
after_fork_in_parent(void)
{
    unsigned ran = registered;
    wr_mutex_unlock(&mutex);
    run_in_parent(ran);
}

static void
after_fork_in_child(void)
{
    unsigned ran = registered;
    wr_mutex_unlock(&mutex);
    run_in_child(ran);
}

bool
wr_thread_at_fork(enum wr_fork_rank rank, void (*before)(void),
    void (*in_parent)(void), void (*in_child)(void))
{
    int failed = 0;
    wr_mutex_lock(&mutex);
    if (registered == 0)
        failed = pthread_atfork(
            before_fork, after_fork_in_parent, after_fork_in_child);
    if (failed == 0 && (registered >> rank & 1) == 0) {
        forkers[rank].before = before;
        forkers[rank].in_parent = in_parent;
        forkers[rank].in_child = in_child;
        registered |= 1U << rank;
    }
    wr_mutex_unlock(&mutex);
    if (failed != 0)
        errno = failed;
    return failed == 0;
}

bool
wr_thread_at_exit(void (*at_exit)(void *))
{
    static struct {
        pthread_key_t key;
        void (*made_for)(void *);
    } keys[WR_AT_EXIT_MAX];
    unsigned i = 0;
    wr_mutex_lock(&mutex);
    while (i < WR_AT_EXIT_MAX - 1 && keys[i].made_for != NULL &&
           keys[i].made_for != at_exit)
        i++;
    WR_ASSERT(keys[i].made_for == NULL || keys[i].made_for == at_exit);
    if (keys[i].made_for == NULL &&
        pthread_key_create(&keys[i].key, at_exit) == 0)
        keys[i].made_for = at_exit;
    bool can = keys[i].made_for != NULL;
    wr_mutex_unlock(&mutex);
    return can && pthread_setspecific(keys[i].key, keys) == 0; /* not NULL */
}
