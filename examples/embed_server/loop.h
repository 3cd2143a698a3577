/* SPDX-License-Identifier: MIT */
#ifndef EMBED_LOOP_H
#define EMBED_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <uv.h>
#include <weir/uv.h>
#include <weir/weir.h>

#include "batch.h"
#include "counters.h"
#include "outlet.h"

struct client;
struct server;

/* One thread with one libuv loop, and all that is its own. */
struct loop {
    struct server *server;
    pthread_t thread;
    uv_loop_t uv;
    uv_tcp_t listener;
    uv_async_t async; /* rung by workers, by the bell and by loop_drain */
    uv_prepare_t turn;
    uv_timer_t sweep;
    struct weir_uv intake; /* reads into the requests arena */
    struct weir_uv bodies; /* and into the bodies arena */
    struct weir_bell bell; /* of the outlet's and the batcher's waits */
    struct outlet outlet;
    struct batcher batcher;
    struct client *clients;
    struct counters counters;
    bool draining;
    uint64_t drain_ms;
    char sink[16384]; /* what nobody will read */

    pthread_mutex_t lock; /* of the two below */
    struct batch *inbox;
    bool drain_asked;
};

/* Starts a thread that serves `listen_fd`, which it closes; 0 or libuv's
   error. `loop` must be zeroed. */
int loop_start(struct loop *loop, struct server *server, int listen_fd);

/* A worker is done with `batch`. Any thread. */
void loop_return(struct loop *loop, struct batch *batch);

/* Asks the loop to answer what it has and to end. Any thread. */
void loop_drain(struct loop *loop);

/* Waits for the end. */
void loop_join(struct loop *loop);

void loop_add(struct loop *loop, struct client *client);
void loop_remove(struct loop *loop, struct client *client);

#endif
