/* SPDX-License-Identifier: MIT */
#ifndef EMBED_WORKER_H
#define EMBED_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct batch;

/* The threads that compute, and the batches they have not begun. */
struct pool {
    pthread_mutex_t lock; /* of all below but `threads` */
    pthread_cond_t changed;
    struct batch *first;
    struct batch *last;
    bool stopping;
    pthread_t *threads;
    size_t count;
};

/* 0, or the system's error. */
int pool_start(struct pool *pool, size_t count);

/* Queues a batch; it comes back through loop_return. Any thread. */
void pool_give(struct pool *pool, struct batch *batch);

/* Ends the threads. All batches must have come back. */
void pool_stop(struct pool *pool);

#endif
