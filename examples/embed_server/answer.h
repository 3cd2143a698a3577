/* SPDX-License-Identifier: MIT */
#ifndef EMBED_ANSWER_H
#define EMBED_ANSWER_H

#include <stdbool.h>

#include <weir/weir.h>

struct outlet;
struct request;

/* What a request gets. */
enum answer {
    ANSWER_ROWS,           /* 200, its embeddings */
    ANSWER_METRICS,        /* 200, the server's numbers */
    ANSWER_BAD_REQUEST,    /* 400, not HTTP */
    ANSWER_BAD_JSON,       /* 400, not JSON */
    ANSWER_BAD_SHAPE,      /* 400, JSON that asks for nothing we have */
    ANSWER_TOO_MANY,       /* 400, more texts than a matrix has rows */
    ANSWER_NOT_FOUND,      /* 404 */
    ANSWER_ONLY_POST,      /* 405 */
    ANSWER_ONLY_GET,       /* 405 */
    ANSWER_TOO_LARGE,      /* 413 */
    ANSWER_HEAD_TOO_LARGE, /* 431 */
    ANSWER_FAILED,         /* 500 */
    ANSWER_LATE,           /* 503, stood still for too long */
    ANSWER_KINDS
};

/* How far an answer came. */
enum progress {
    PROGRESS_DONE,    /* all of it is in the chain */
    PROGRESS_MORE,    /* the chain is long enough: send it, then go on */
    PROGRESS_BLOCKED, /* no block for its text; the outlet waits for one */
    PROGRESS_FAILED   /* it cannot be sent */
};

/* Writes the answers that are the same every time. Call it once, first. */
void answer_prepare(void);

/* Pushes the next part of the answer to `request` into `chain`; its text lies
   in blocks of `outlet`. */
enum progress answer_write(
    struct request *request, struct outlet *outlet, struct weir_chain *chain);

/* Pushes "100 Continue". */
enum progress answer_write_continue(struct weir_chain *chain);

#endif
