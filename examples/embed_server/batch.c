/* SPDX-License-Identifier: MIT */
/*
 * batch: complete requests wait here until there are enough of them, or the
 * first has waited long enough, and there is a block for their result.
 *
 *     client ──add──▶ queue ──▶ [block for the result] ──▶ batch ──▶ workers
 *     client ◀──run── answers ◀────────return──────────────────────────┘
 *
 * Idea
 *   The block is taken before the worker starts, so a worker never waits for
 *   memory. While the results arena is full the requests stay in the queue,
 *   where the deadline can still reach them: batches queue up, nothing fails.
 *   How many rows a request needs is known only when its body has been read.
 *   So the worker sends back those that did not fit, and they go first in the
 *   next batch.
 *
 * Invariants
 *   1. A request in the queue is in state REQUEST_QUEUED and has a client.
 *   2. A request of a batch is in state REQUEST_COMPUTING.
 */

#include "batch.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client.h"
#include "loop.h"
#include "memory.h"
#include "server.h"
#include "worker.h"

static const struct options *
options_of(const struct batcher *batcher)
{
    return &batcher->loop->server->options;
}

static void
set_alarm(struct batcher *batcher)
{
    uint64_t delay_us = options_of(batcher)->delay_us;
    batcher->due = delay_us == 0;
    if (batcher->due)
        return;
    struct itimerspec when = {
        .it_value = { .tv_sec = (time_t)(delay_us / 1000000),
            .tv_nsec = (long)(delay_us % 1000000) * 1000 }
    };
    if (timerfd_settime(batcher->clock, 0, &when, NULL) != 0)
        batcher->due = true; /* a small batch is better than none */
}

/* The buf moves from the waiter into the batch. */
static void
hand_on(struct batcher *batcher)
{
    struct batch *batch = memory_zeroed(sizeof(*batch));
    batch->loop = batcher->loop;
    batch->matrix = batcher->waiter.buf;
    batcher->waiter.buf = (struct weir_buf){ 0 };
    size_t most = options_of(batcher)->batch;
    while (batcher->queue.count > 0 && batch->requests.count < most) {
        struct request *request = request_pop(&batcher->queue);
        request->state = REQUEST_COMPUTING;
        request_push(&batch->requests, request);
    }
    batcher->out++;
    pool_give(&batcher->loop->server->pool, batch);
    if (batcher->queue.count > 0)
        set_alarm(batcher);
}

static bool
is_ready(const struct batcher *batcher)
{
    size_t count = batcher->queue.count;
    return !batcher->waiting && count > 0 &&
           (batcher->due || count >= options_of(batcher)->batch);
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct batcher *batcher = waiter->user;
    batcher->waiting = false;
    if (status == WEIR_OK && batcher->queue.count > 0)
        hand_on(batcher);
    weir_buf_drop(&waiter->buf); /* if nobody waits for it any more */
    batcher_turn(batcher);
}

void
batcher_turn(struct batcher *batcher)
{
    while (is_ready(batcher)) {
        batcher->waiter = (struct weir_waiter){
            .bell = &batcher->loop->bell, .granted = on_granted, .user = batcher
        };
        enum weir_status status = weir_arena_wait(
            batcher->loop->server->results, 0, &batcher->waiter);
        batcher->waiting = status == WEIR_PENDING;
        if (status != WEIR_OK)
            return; /* pending; or closed, and the deadline answers */
        hand_on(batcher);
    }
}

void
batcher_add(struct batcher *batcher, struct request *request)
{
    request->state = REQUEST_QUEUED;
    request_push(&batcher->queue, request);
    if (batcher->queue.count == 1)
        set_alarm(batcher);
}

void
batcher_remove(struct batcher *batcher, struct request *request)
{
    request_remove(&batcher->queue, request);
}

/* Takes out of `batch` what has to be computed again, in order, and frees what
   nobody waits for. What stays is answered. */
static void
sort_out(struct batcher *batcher, struct request_queue *requests)
{
    struct request_queue again = { 0 };
    for (size_t left = requests->count; left > 0; left--) {
        struct request *request = request_pop(requests);
        if (request->client == NULL) {
            request_free(request);
        } else if (request->again) {
            request->again = false;
            request->state = REQUEST_QUEUED;
            request_push(&again, request);
        } else {
            request_push(requests, request);
        }
    }
    batcher->due = batcher->due || again.count > 0;
    request_push_front(&batcher->queue, &again);
}

static void
finish(struct request *request)
{
    struct loop *loop = request->client->loop;
    count_add(&loop->counters, COUNT_ROWS, request->row_count);
    request->text = (struct text){
        .rows = weir_slice_data(&request->rows),
        .row_count = request->row_count,
        .dim = loop->server->options.dim,
        .word_count = request->word_count,
        .encoding = request->encoding,
    };
    request_answer(request, request->answer);
    client_run(request->client);
}

/* Running a client may end it and orphan its requests further down the list;
   they are freed when their turn comes. */
void
batcher_return(struct batcher *batcher, struct batch *batch)
{
    batcher->out--;
    count_add(&batcher->loop->counters, COUNT_BATCHES, 1);
    sort_out(batcher, &batch->requests);
    while (batch->requests.count > 0) {
        struct request *request = request_pop(&batch->requests);
        if (request->client == NULL)
            request_free(request);
        else
            finish(request);
    }
    free(batch);
}

static void
on_alarm(uv_poll_t *alarm, int status, int events)
{
    (void)status;
    (void)events;
    struct batcher *batcher = alarm->data;
    uint64_t expirations;
    if (read(batcher->clock, &expirations, sizeof(expirations)) > 0)
        batcher->due = true;
}

int
batcher_init(struct batcher *batcher, struct loop *loop)
{
    memset(batcher, 0, sizeof(*batcher));
    batcher->loop = loop;
    batcher->clock =
        timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (batcher->clock < 0)
        return UV_EMFILE;
    int error = uv_poll_init(&loop->uv, &batcher->alarm, batcher->clock);
    if (error != 0)
        return error;
    batcher->alarm.data = batcher;
    return uv_poll_start(&batcher->alarm, UV_READABLE, on_alarm);
}

bool
batcher_stop(struct batcher *batcher)
{
    if (batcher->waiting && weir_waiter_cancel(&batcher->waiter) == WEIR_OK)
        batcher->waiting = false;
    return !batcher->waiting && batcher->out == 0;
}

static void
on_closed(uv_handle_t *alarm)
{
    struct batcher *batcher = alarm->data;
    close(batcher->clock);
}

void
batcher_close(struct batcher *batcher)
{
    uv_close((uv_handle_t *)&batcher->alarm, on_closed);
}
