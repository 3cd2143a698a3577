/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <stdlib.h>

#include "memory.h"

struct request *
request_new(struct client *client, uint64_t now_ms)
{
    struct request *request = memory_zeroed(sizeof(*request));
    request->client = client;
    request->began_ms = now_ms;
    return request;
}

void
request_free(struct request *request)
{
    weir_chain_release(&request->body);
    weir_slice_release(&request->rows);
    free(request);
}

void
request_answer(struct request *request, enum answer answer)
{
    weir_chain_release(&request->body);
    request->answer = answer;
    request->state = REQUEST_ANSWERED;
}

void
request_push(struct request_queue *queue, struct request *request)
{
    request->queue_next = NULL;
    if (queue->last != NULL)
        queue->last->queue_next = request;
    else
        queue->first = request;
    queue->last = request;
    queue->count++;
}

struct request *
request_pop(struct request_queue *queue)
{
    struct request *request = queue->first;
    queue->first = request->queue_next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->count--;
    return request;
}

void
request_remove(struct request_queue *queue, struct request *request)
{
    struct request *before = NULL;
    for (struct request *i = queue->first; i != request; i = i->queue_next)
        before = i;
    if (before != NULL)
        before->queue_next = request->queue_next;
    else
        queue->first = request->queue_next;
    if (queue->last == request)
        queue->last = before;
    queue->count--;
}
