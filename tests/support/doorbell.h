/* SPDX-License-Identifier: MIT */
/*
 * doorbell: a weir_bell with a thread behind it that can sleep until it is
 * rung, on a condition or on an eventfd.
 */
#ifndef SUPPORT_DOORBELL_H
#define SUPPORT_DOORBELL_H

#include "weir/weir.h"

#include <pthread.h>
#include <stdbool.h>

struct doorbell {
    struct weir_bell bell;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool rung; /* under the mutex */
    int fd;    /* -1: the condition */
};

void doorbell_init(struct doorbell *doorbell, bool by_eventfd);
void doorbell_fini(struct doorbell *doorbell);

/* Rings it as the library does. Any thread. */
void doorbell_ring(struct doorbell *doorbell);

/* True, once, if it was rung; waits at most `timeout_ms` for that. */
bool doorbell_listen(struct doorbell *doorbell, int timeout_ms);

#endif
