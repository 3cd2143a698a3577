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
 *   How many rows a request needs at most is known (tally.c), so the block is as
 *   large as the requests in front need. Whatever the queue is when the block
 *   comes, as many go along as fit.
 *
 *   Requests get their blocks in order. So one whose answer has to wait for an
 *   earlier answer never holds what the earlier one waits for.
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

static size_t
row_size(const struct batcher *batcher)
{
    return options_of(batcher)->dim * sizeof(float);
}

/* The requests in front that fit into one matrix of `most` rows. */
struct front {
    size_t count;
    size_t rows;
};

/* More texts than a matrix has rows are refused, but by the worker. */
static struct front
front_of(const struct batcher *batcher, size_t most)
{
    struct front front = { 0 };
    size_t batch = options_of(batcher)->batch;
    if (most > batch)
        most = batch;
    struct request *request = batcher->queue.first;
    for (; request != NULL; request = request->queue_next) {
        size_t rows = tally_rows(&request->tally);
        if (rows > batch)
            rows = batch;
        if (rows > most - front.rows)
            break;
        front.rows += rows;
        front.count++;
    }
    return front;
}

/* The buf moves from the waiter into the batch, unless it is too small: then
   the queue is not what it was when the buf was asked for. */
static void
hand_on(struct batcher *batcher)
{
    struct weir_buf *matrix = &batcher->waiter.buf;
    struct front front =
        front_of(batcher, weir_buf_room(matrix) / row_size(batcher));
    if (front.count == 0) {
        weir_buf_drop(matrix);
        return;
    }
    struct batch *batch = memory_zeroed(sizeof(*batch));
    batch->loop = batcher->loop;
    batch->rows = front.rows;
    batch->matrix = *matrix;
    *matrix = (struct weir_buf){ 0 };
    for (; front.count > 0; front.count--) {
        struct request *request = request_pop(&batcher->queue);
        request->state = REQUEST_COMPUTING;
        request_push(&batch->requests, request);
    }
    batcher->out++;
    pool_give(&batcher->loop->server->pool, batch);
    if (batcher->queue.count > 0)
        set_alarm(batcher);
}

/* A batch is due, or full. */
static bool
is_ready(const struct batcher *batcher, struct front front)
{
    return !batcher->waiting && front.count > 0 &&
           (batcher->due || front.count < batcher->queue.count ||
               front.rows == options_of(batcher)->batch);
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct batcher *batcher = waiter->user;
    batcher->waiting = false;
    if (status == WEIR_OK)
        hand_on(batcher);
    batcher_turn(batcher);
}

void
batcher_turn(struct batcher *batcher)
{
    for (;;) {
        struct front front = front_of(batcher, SIZE_MAX);
        if (!is_ready(batcher, front))
            return;
        batcher->waiter = (struct weir_waiter){
            .bell = &batcher->loop->bell, .granted = on_granted, .user = batcher
        };
        enum weir_status status =
            weir_arena_wait(batcher->loop->server->results,
                front.rows * row_size(batcher), &batcher->waiter);
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
