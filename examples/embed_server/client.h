/* SPDX-License-Identifier: MIT */
#ifndef EMBED_CLIENT_H
#define EMBED_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>
#include <weir/uv.h>
#include <weir/weir.h>

#include "answer.h"
#include "http.h"

struct loop;
struct request;

/* One connection. Everything here is its loop's. */
struct client {
    uv_tcp_t tcp; /* first: a handle of libuv is cast to its client */
    struct loop *loop;
    struct client *next; /* of the loop's clients */
    struct client *previous;

    /* In. */
    struct weir_uv_reader reader;
    bool reading;
    bool reading_rest; /* of a body, into a block of its own */
    struct http http;
    struct weir_slice unparsed; /* received, but there were enough requests */
    struct weir_slice *parsed;  /* what the parser is in right now */

    /* Requests, in the order in which their answers go out. */
    struct request *first;
    struct request *last;
    struct request *arriving; /* the last, if it is not complete */
    size_t unanswered;        /* complete ones */
    bool sealed;              /* no more requests are read */
    bool ended;               /* the peer said it sends no more */

    /* Out. */
    struct weir_chain out;
    struct weir_uv_write write;
    bool writing;
    struct client *outlet_next;
    bool waits_for_block;
    size_t unsent;     /* bytes queued in libuv, when last looked at */
    uint64_t moved_ms; /* when answers last moved on */

    uv_shutdown_t shutdown;
    bool lingering; /* all is sent; the peer may not know it yet */
    bool closing;
};

/* Accepts the next connection of `listener`. */
void client_accept(struct loop *loop, uv_stream_t *listener);

/*
 * Moves `client` on: reads the requests that were received, sends the answers
 * that are known, and stops or starts reading. It may end the client.
 */
void client_run(struct client *client);

/* The parser saw the first byte of a request, and the last one. The latter
   returns false if no more are wanted now. */
void client_begin(struct client *client);
bool client_complete(struct client *client, bool keep_alive);

/* Now and then: refuses or ends what stood still too long, and, while the
   server drains, connections that are idle. */
void client_check(struct client *client, uint64_t now_ms);

/* Ends the connection at once. Its requests are given back. */
void client_close(struct client *client);

#endif
