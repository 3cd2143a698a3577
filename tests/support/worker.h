/* SPDX-License-Identifier: MIT */
/* worker: a thread that does as it is told, one thing at a time. */
#ifndef SUPPORT_WORKER_H
#define SUPPORT_WORKER_H

#include "support/unit.h"

#include <semaphore.h>

struct worker {
    void (*run)(struct worker *);
    struct weir_arena *arena;
    struct weir_slice slice;
    struct weir_buf buf;
    sem_t told;
    sem_t done;
    pthread_t thread;
};

static inline void *
work(void *user)
{
    struct worker *worker = user;
    for (;;) {
        while (sem_wait(&worker->told) != 0)
            continue;
        if (worker->run == NULL)
            return NULL;
        worker->run(worker);
        (void)sem_post(&worker->done);
    }
}

static inline void
hire(struct worker *worker, struct weir_arena *arena)
{
    *worker = (struct worker){ .arena = arena };
    (void)sem_init(&worker->told, 0, 0);
    (void)sem_init(&worker->done, 0, 0);
    worker->thread = start_thread(work, worker);
}

/* Has it done, and then the thread sleeps. */
static inline void
have(struct worker *worker, void (*run)(struct worker *))
{
    worker->run = run;
    (void)sem_post(&worker->told);
    while (sem_wait(&worker->done) != 0)
        continue;
}

static inline void
let_end(struct worker *worker)
{
    worker->run = NULL;
    (void)sem_post(&worker->told);
    join_thread(worker->thread);
}

#endif
