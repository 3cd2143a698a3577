/* SPDX-License-Identifier: MIT */
/* thread: mutual exclusion, and the end of a thread. */
#ifndef WR_THREAD_H
#define WR_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* A lock for the paths that may wait. Not recursive. */
struct wr_mutex {
    pthread_mutex_t handle;
};

#define WR_MUTEX_INITIAL                                                       \
    {                                                                          \
        PTHREAD_MUTEX_INITIALIZER                                              \
    }

void wr_mutex_init(struct wr_mutex *mutex);
void wr_mutex_fini(struct wr_mutex *mutex);
void wr_mutex_lock(struct wr_mutex *mutex);
void wr_mutex_unlock(struct wr_mutex *mutex);

/* Locks it if that can be done at once. */
bool wr_mutex_try_lock(struct wr_mutex *mutex);

/*
 * Lets other threads run: for who waits for one that is about to go on. `round`
 * counts from 0; after some it sleeps, since the other may be one that the
 * scheduler does not prefer to this.
 */
void wr_thread_yield(unsigned round);

/* Whose locks are taken first, while others of them are taken behind. */
enum wr_fork_rank { WR_FORK_OUTER, WR_FORK_INNER, WR_FORK_RANKS };

/*
 * Has these run by whoever forks: before, and after it in the parent and in the
 * child. `before` runs in the order of the ranks, the others in the opposite one,
 * whatever came first. Called before any of the locks is taken that `before`
 * takes: then no fork misses one. Again for the same rank it does nothing. False:
 * no memory; errno says why.
 */
bool wr_thread_at_fork(enum wr_fork_rank rank, void (*before)(void),
    void (*in_parent)(void), void (*in_child)(void));

/*
 * Has `at_exit` run when the calling thread ends, with other destructors of
 * thread-specific data before and behind it. WR_AT_EXIT_MAX functions at most.
 * False: the system has no key left; it will not run.
 */
enum { WR_AT_EXIT_MAX = 2 };
bool wr_thread_at_exit(void (*at_exit)(void *));

#endif
