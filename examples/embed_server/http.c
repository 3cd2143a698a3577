/* SPDX-License-Identifier: MIT */
/*
 * http: requests out of received slices, without moving a body.
 *
 *     slice    [ POST /v1/embeddings ... | {"model": ... | POST /v1/emb ]
 *     body                                 {"model": ...                    sub
 *
 * Idea
 *   http-parser calls back with pieces of the bytes it was given. A piece of a
 *   body becomes a part of the same slice and is pushed into the request's
 *   chain: what came along with its head, and the rest, in the blocks they were
 *   received into. Only a body of a length that is not known has more parts.
 *
 * Limits
 *   A path, or the value of a field we look at, beyond the buffers of struct
 *   http: 431. http-parser itself stops at 80 KiB of head.
 */

#include "http.h"

#include <string.h>
#include <strings.h>

#include "client.h"
#include "loop.h"
#include "request.h"
#include "server.h"

static struct http *
http_of(http_parser *parser)
{
    return &((struct client *)parser->data)->http;
}

static struct request *
request_of(http_parser *parser)
{
    return ((struct client *)parser->data)->arriving;
}

/* Stops the parser: http_parse will say why. */
static int
stop(http_parser *parser, enum answer wrong)
{
    http_of(parser)->wrong = wrong;
    return -1;
}

/* Appends what fits, with a zero behind it; false if not all did. */
static bool
append(char *text, size_t size, size_t *len, const char *piece, size_t n)
{
    size_t room = size - 1 - *len;
    bool fits = n <= room;
    if (!fits)
        n = room;
    memcpy(text + *len, piece, n);
    *len += n;
    text[*len] = '\0';
    return fits;
}

static int
on_begin(http_parser *parser)
{
    struct http *http = http_of(parser);
    http->path_len = 0;
    http->path[0] = '\0';
    http->field_len = 0;
    http->value_len = 0;
    http->in_value = false;
    client_begin(parser->data);
    return 0;
}

static int
on_url(http_parser *parser, const char *piece, size_t n)
{
    struct http *http = http_of(parser);
    if (!append(http->path, HTTP_PATH_MAX, &http->path_len, piece, n))
        return stop(parser, ANSWER_HEAD_TOO_LARGE);
    return 0;
}

/* A field and its value are complete. */
static void
end_field(http_parser *parser)
{
    struct http *http = http_of(parser);
    struct request *request = request_of(parser);
    if (!http->in_value)
        return;
    if (strcasecmp(http->field, "accept") == 0)
        request->wants_rows =
            request->wants_rows ||
            strstr(http->value, "application/octet-stream") != NULL;
    if (strcasecmp(http->field, "expect") == 0)
        request->wants_continue = strcasecmp(http->value, "100-continue") == 0;
    http->in_value = false;
    http->field_len = 0;
    http->value_len = 0;
}

/* What does not fit is no field we know. */
static int
on_field(http_parser *parser, const char *piece, size_t n)
{
    struct http *http = http_of(parser);
    end_field(parser);
    (void)append(http->field, HTTP_FIELD_MAX, &http->field_len, piece, n);
    return 0;
}

static int
on_value(http_parser *parser, const char *piece, size_t n)
{
    struct http *http = http_of(parser);
    http->in_value = true;
    (void)append(http->value, HTTP_VALUE_MAX, &http->value_len, piece, n);
    return 0;
}

static bool
has_body(const http_parser *parser)
{
    return (parser->flags & F_CHUNKED) != 0 ||
           (parser->content_length > 0 && parser->content_length != UINT64_MAX);
}

static bool
is_path(const struct http *http, const char *path)
{
    struct http_parser_url url;
    http_parser_url_init(&url);
    if (http_parser_parse_url(http->path, http->path_len, 0, &url) != 0)
        return false;
    return url.field_data[UF_PATH].len == strlen(path) &&
           memcmp(http->path + url.field_data[UF_PATH].off, path,
               strlen(path)) == 0;
}

/* One of a length that is not known arrives in parts, and the arena must have
   room for the parts of others. */
static uint64_t
body_max(const http_parser *parser)
{
    const struct client *client = parser->data;
    const struct server *server = client->loop->server;
    return (parser->flags & F_CHUNKED) != 0 ? server->chunked_max
                                            : server->options.body_max;
}

/* What the head alone already decides. */
static enum answer
judge(const http_parser *parser, const struct http *http)
{
    if (is_path(http, "/metrics"))
        return parser->method == HTTP_GET ? ANSWER_METRICS : ANSWER_ONLY_GET;
    if (!is_path(http, "/v1/embeddings"))
        return ANSWER_NOT_FOUND;
    if (parser->method != HTTP_POST)
        return ANSWER_ONLY_POST;
    if (has_body(parser) && (parser->flags & F_CHUNKED) == 0 &&
        parser->content_length > body_max(parser))
        return ANSWER_TOO_LARGE;
    return ANSWER_ROWS;
}

/* Who sends a body that nobody wants gets its answer now, and no more. */
static int
on_head(http_parser *parser)
{
    struct client *client = parser->data;
    struct request *request = client->arriving;
    end_field(parser);
    parser->upgrade = 0; /* there is nothing to upgrade to */
    request->wants_no_body = parser->method == HTTP_HEAD;
    request->answer = judge(parser, &client->http);
    if (has_body(parser) && (parser->flags & F_CHUNKED) == 0)
        request->body_len = parser->content_length;
    bool wanted = request->answer == ANSWER_ROWS;
    request->wants_continue = request->wants_continue && has_body(parser);
    if (!wanted && (has_body(parser) || parser->method == HTTP_CONNECT))
        return stop(parser, request->answer);
    return 0;
}

static int
on_body(http_parser *parser, const char *piece, size_t n)
{
    struct client *client = parser->data;
    struct request *request = client->arriving;
    if (request->answer != ANSWER_ROWS)
        return stop(parser, request->answer);
    if (weir_chain_len(&request->body) + n > body_max(parser))
        return stop(parser, ANSWER_TOO_LARGE);
    struct weir_slice part;
    const char *start = weir_slice_data(client->parsed);
    if (weir_slice_sub(client->parsed, (size_t)(piece - start), n, &part) !=
        WEIR_OK)
        return stop(parser, ANSWER_FAILED);
    request->wants_continue = false;
    tally_add(&request->tally, piece, n);
    if (weir_chain_push(&request->body, &part) == WEIR_OK)
        return 0;
    weir_slice_release(&part);
    return stop(parser, ANSWER_FAILED);
}

static int
on_complete(http_parser *parser)
{
    bool go_on =
        client_complete(parser->data, http_should_keep_alive(parser) != 0);
    if (!go_on)
        http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void
http_init(struct http *http, struct client *client)
{
    http_parser_init(&http->parser, HTTP_REQUEST);
    http->parser.data = client;
    http->wrong = ANSWER_ROWS;
}

static enum answer
what_is_wrong(const struct http *http, enum http_errno error)
{
    if (http->wrong != ANSWER_ROWS)
        return http->wrong;
    return error == HPE_HEADER_OVERFLOW ? ANSWER_HEAD_TOO_LARGE
                                        : ANSWER_BAD_REQUEST;
}

bool
http_parse(struct http *http, struct weir_slice *slice, enum answer *wrong)
{
    size_t used = http_parser_execute(&http->parser, &settings,
        weir_slice_data(slice), weir_slice_len(slice));
    enum http_errno error = HTTP_PARSER_ERRNO(&http->parser);
    if (error == HPE_PAUSED)
        http_parser_pause(&http->parser, 0);
    struct weir_slice front;
    if ((error != HPE_OK && error != HPE_PAUSED) || used == 0 ||
        weir_slice_split_front(slice, used, &front) != WEIR_OK) {
        *wrong = what_is_wrong(http, error);
        return false;
    }
    weir_slice_release(&front);
    return true;
}
