/* SPDX-License-Identifier: MIT */
#ifndef EMBED_BATCH_H
#define EMBED_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>
#include <weir/weir.h>

#include "request.h"

struct loop;

/* Requests that are computed together, and the block for their result. */
struct batch {
    struct batch *next; /* of the workers' queue, or of the loop's inbox */
    struct loop *loop;
    struct request_queue requests;
    size_t rows; /* that they need at most */
    struct weir_buf matrix;
};

/* Where a loop's complete requests gather. */
struct batcher {
    struct loop *loop;
    struct request_queue queue;
    int clock; /* a timerfd: libuv's own timers count in milliseconds */
    uv_poll_t alarm;
    bool due;                  /* the oldest has waited long enough */
    struct weir_waiter waiter; /* for a result block */
    bool waiting;
    size_t out; /* batches that workers have */
};

/* 0, or libuv's error. */
int batcher_init(struct batcher *batcher, struct loop *loop);

/* Queues a complete request; its answer comes through client_run. */
void batcher_add(struct batcher *batcher, struct request *request);

/* Takes a queued request back. */
void batcher_remove(struct batcher *batcher, struct request *request);

/* Once in each turn of the loop: hands on what is due. */
void batcher_turn(struct batcher *batcher);

/* A worker is done with `batch`. */
void batcher_return(struct batcher *batcher, struct batch *batch);

/* Ends the wait for a block; true when nothing is out or waiting any more. */
bool batcher_stop(struct batcher *batcher);

void batcher_close(struct batcher *batcher);

#endif
