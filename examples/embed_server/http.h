/* SPDX-License-Identifier: MIT */
#ifndef EMBED_HTTP_H
#define EMBED_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include <http_parser.h>
#include <weir/weir.h>

#include "answer.h"

struct client;

enum { HTTP_PATH_MAX = 256, HTTP_FIELD_MAX = 32, HTTP_VALUE_MAX = 256 };

/* The parser of one connection, and what it keeps of the head it is in. Text
   of a head may come in pieces, so it is put together here. */
struct http {
    http_parser parser;
    char path[HTTP_PATH_MAX];
    size_t path_len;
    char field[HTTP_FIELD_MAX];
    size_t field_len;
    char value[HTTP_VALUE_MAX];
    size_t value_len;
    bool in_value;
    enum answer wrong; /* why we stopped the parser; ANSWER_ROWS: we did not */
};

void http_init(struct http *http, struct client *client);

/*
 * Feeds the parser from the front of `slice` and drops what it used: all of it,
 * or up to the end of a request after which client_complete wants a pause.
 * Bodies become parts of `slice`. False: `*wrong` says what the client gets.
 */
bool http_parse(
    struct http *http, struct weir_slice *slice, enum answer *wrong);

#endif
