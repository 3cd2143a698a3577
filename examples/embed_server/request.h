/* SPDX-License-Identifier: MIT */
#ifndef EMBED_REQUEST_H
#define EMBED_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/weir.h>

#include "answer.h"
#include "tally.h"
#include "text.h"

enum request_state {
    REQUEST_ARRIVING,  /* its bytes are being received */
    REQUEST_QUEUED,    /* complete; waits for a batch */
    REQUEST_COMPUTING, /* a worker has it */
    REQUEST_ANSWERED   /* its answer is known, and may be sent */
};

/*
 * One request, from its first byte to the last byte of its answer. Its client's
 * loop owns it, but for the part of the worker, which is the worker's while it
 * is in state REQUEST_COMPUTING.
 */
struct request {
    struct client *client;      /* NULL: it went away */
    struct request *next;       /* of the same client */
    struct request *queue_next; /* of the same request_queue */
    enum request_state state;
    uint64_t began_ms;
    bool keep_alive;
    bool wants_rows;     /* application/octet-stream, not JSON */
    bool wants_continue; /* before it sends its body */
    bool wants_no_body;  /* HEAD */
    bool begun;          /* a part of its answer is on the way */
    uint64_t body_len;   /* as its head says; 0 if it does not */
    struct tally tally;  /* of its body */
    struct text text;    /* how far its JSON is written */
    size_t copied;       /* bytes of its rows; only with --copy */

    /* The worker's. */
    struct weir_chain body; /* as it was received, in the blocks it came in */
    enum answer answer;
    enum encoding encoding;
    size_t first_row;
    size_t row_count;
    size_t word_count;
    struct weir_slice rows; /* a part of the result matrix */
};

struct request *request_new(struct client *client, uint64_t now_ms);

/* Gives back all it holds. */
void request_free(struct request *request);

/* Its answer is known: gives back what only a question needs. */
void request_answer(struct request *request, enum answer answer);

/* Requests in order; each in one queue at a time. Zeroed it is empty. */
struct request_queue {
    struct request *first;
    struct request *last;
    size_t count;
};

void request_push(struct request_queue *queue, struct request *request);

/* The first, which must be there. */
struct request *request_pop(struct request_queue *queue);

/* Takes out `request`, which must be there. */
void request_remove(struct request_queue *queue, struct request *request);

#endif
