/* SPDX-License-Identifier: MIT */
/*
 * worker: threads that turn batches into result matrices.
 *
 *     bodies   [ {"input":["a","b"]} ] [ {"input":"c"} ]   requests, bodies
 *     matrix   [ row a | row b         | row c | room  ]   one block, results
 *                 request 1              request 2         a slice each
 *
 * Idea
 *   Rows are computed where they are sent from. When the last is done the
 *   block is frozen, what is left of it goes back (WEIR_TRIM), and each request
 *   takes its part; the block goes home when the last answer has left. Bodies are given back here, as soon as they
 *   have been read, on another thread than the one that received them.
 */

#include "worker.h"

#include <stdlib.h>

#include "batch.h"
#include "body.h"
#include "loop.h"
#include "memory.h"
#include "request.h"
#include "server.h"

static void
release_copy(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    free(user);
}

/* What --copy is for: the body in one piece, as a server without chains would
   hold it. The library counts what weir_chain_copy moves. */
static void
copy_body(struct weir_chain *body)
{
    size_t len = weir_chain_len(body);
    void *copy = memory_zeroed(len + 1);
    struct weir_slice slice;
    if (weir_chain_copy(body, 0, len, copy) != WEIR_OK ||
        weir_slice_foreign(copy, len, release_copy, copy, &slice) != WEIR_OK) {
        free(copy);
        return;
    }
    weir_chain_release(body);
    if (weir_chain_push(body, &slice) != WEIR_OK)
        weir_slice_release(&slice);
}

static void
compute(struct request *request, struct rows *matrix)
{
    struct rows rows = {
        .numbers = matrix->numbers + matrix->count * matrix->dim,
        .dim = matrix->dim,
        .room = matrix->room - matrix->count,
    };
    request->answer = body_embed(&request->body, &rows);
    weir_chain_release(&request->body);
    if (request->answer != ANSWER_ROWS)
        return;
    request->encoding = rows.encoding;
    request->first_row = matrix->count;
    request->row_count = rows.count;
    request->word_count = rows.word_count;
    matrix->count += rows.count;
}

static void
share(struct weir_slice *matrix, struct request *request, size_t row_size)
{
    if (request->answer != ANSWER_ROWS)
        return;
    if (weir_slice_sub(matrix, request->first_row * row_size,
            request->row_count * row_size, &request->rows) != WEIR_OK)
        request->answer = ANSWER_FAILED;
}

static void
compute_batch(struct batch *batch)
{
    const struct options *options = &batch->loop->server->options;
    struct rows rows = {
        .numbers = weir_buf_tail(&batch->matrix),
        .dim = options->dim,
        .room = batch->rows,
    };
    struct request *first = batch->requests.first;
    for (struct request *i = first; i != NULL; i = i->queue_next) {
        if (options->copy != 0)
            copy_body(&i->body);
        compute(i, &rows);
    }
    const size_t row_size = options->dim * sizeof(float);
    struct weir_slice matrix;
    weir_buf_commit(&batch->matrix, rows.count * row_size);
    weir_buf_freeze(&batch->matrix, &matrix);
    for (struct request *i = first; i != NULL; i = i->queue_next)
        share(&matrix, i, row_size);
    weir_slice_release(&matrix);
}

/* The next batch; NULL when the pool stops. */
static struct batch *
take(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->first == NULL && !pool->stopping)
        pthread_cond_wait(&pool->changed, &pool->lock);
    struct batch *batch = pool->first;
    if (batch != NULL)
        pool->first = batch->next;
    if (pool->first == NULL)
        pool->last = NULL;
    pthread_mutex_unlock(&pool->lock);
    return batch;
}

static void *
work(void *user)
{
    struct pool *pool = user;
    for (;;) {
        struct batch *batch = take(pool);
        if (batch == NULL)
            return NULL;
        compute_batch(batch);
        loop_return(batch->loop, batch);
    }
}

void
pool_give(struct pool *pool, struct batch *batch)
{
    pthread_mutex_lock(&pool->lock);
    batch->next = NULL;
    if (pool->last != NULL)
        pool->last->next = batch;
    else
        pool->first = batch;
    pool->last = batch;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

int
pool_start(struct pool *pool, size_t count)
{
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    pool->threads = memory_zeroed(count * sizeof(*pool->threads));
    for (; pool->count < count; pool->count++) {
        int error =
            pthread_create(&pool->threads[pool->count], NULL, work, pool);
        if (error != 0)
            return error;
    }
    return 0;
}

void
pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->count; i++)
        pthread_join(pool->threads[i], NULL);
    free(pool->threads);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
}
