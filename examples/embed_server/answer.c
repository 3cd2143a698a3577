/* SPDX-License-Identifier: MIT */
/*
 * answer: from what is known about a request to slices in a chain.
 *
 *     rows      [ head ][ row row row ]      the rows are a part of the matrix,
 *                  |        |                as the worker left it
 *               outlet   results
 *     JSON      [ head, text ][ text ] ...   all outlet, a block at a time
 *     metrics   [ text ]                     foreign memory, given to free
 *     the rest  [ head ][ message ]          static, so a refusal needs no
 *                                            block and always gets out
 */

#include "answer.h"

#include <stdio.h>
#include <string.h>

#include "client.h"
#include "loop.h"
#include "metrics.h"
#include "outlet.h"
#include "request.h"
#include "server.h"

enum {
    HEAD_MAX = 192,
    STATIC_MAX = 256,
    CHAIN_ENOUGH = 64 << 10 /* bytes of text handed to the socket at once */
};

struct refusal {
    const char *status;
    const char *header; /* a whole line, or nothing */
    const char *message;
};

static const struct refusal refusals[ANSWER_KINDS] = {
    [ANSWER_BAD_REQUEST] = { "400 Bad Request", "", "This is not HTTP/1.1." },
    [ANSWER_BAD_JSON] = { "400 Bad Request", "", "The body is not JSON." },
    [ANSWER_BAD_SHAPE] = { "400 Bad Request", "",
        "Send 'input', a text or an array of texts; 'encoding_format' is "
        "'float' or 'base64'." },
    [ANSWER_TOO_MANY] = { "400 Bad Request", "", "Too many texts at once." },
    [ANSWER_NOT_FOUND] = { "404 Not Found", "", "There is nothing here." },
    [ANSWER_ONLY_POST] = { "405 Method Not Allowed", "Allow: POST\r\n",
        "POST it." },
    [ANSWER_ONLY_GET] = { "405 Method Not Allowed", "Allow: GET\r\n",
        "GET it." },
    [ANSWER_TOO_LARGE] = { "413 Payload Too Large", "",
        "The body is too large." },
    [ANSWER_HEAD_TOO_LARGE] = { "431 Request Header Fields Too Large", "",
        "The head is too large." },
    [ANSWER_FAILED] = { "500 Internal Server Error", "", "It failed." },
    [ANSWER_LATE] = { "503 Service Unavailable", "",
        "The request stood still for too long." },
};

/* Written once, before there are threads; sent as static slices ever after. */
static char heads[ANSWER_KINDS][2][STATIC_MAX];
static char messages[ANSWER_KINDS][STATIC_MAX];

static const char *
connection(bool keep_alive)
{
    return keep_alive ? "keep-alive" : "close";
}

void
answer_prepare(void)
{
    for (size_t i = ANSWER_BAD_REQUEST; i < ANSWER_KINDS; i++) {
        const struct refusal *refusal = &refusals[i];
        int len = snprintf(messages[i], STATIC_MAX,
            "{\"error\":{\"message\":\"%s\",\"type\":\"%s\"}}\n",
            refusal->message,
            i < ANSWER_FAILED ? "invalid_request_error" : "server_error");
        for (size_t keep_alive = 0; keep_alive < 2; keep_alive++)
            (void)snprintf(heads[i][keep_alive], STATIC_MAX,
                "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
                "Content-Length: %d\r\n%sConnection: %s\r\n\r\n",
                refusal->status, len, refusal->header,
                connection(keep_alive != 0));
    }
}

static enum progress
push(struct weir_chain *chain, struct weir_slice *slice)
{
    if (weir_chain_push(chain, slice) == WEIR_OK)
        return PROGRESS_DONE;
    weir_slice_release(slice);
    return PROGRESS_FAILED;
}

static enum progress
push_static(struct weir_chain *chain, const char *text)
{
    struct weir_slice slice;
    if (weir_slice_static(text, strlen(text), &slice) != WEIR_OK)
        return PROGRESS_FAILED;
    return push(chain, &slice);
}

enum progress
answer_write_continue(struct weir_chain *chain)
{
    return push_static(chain, "HTTP/1.1 100 Continue\r\n\r\n");
}

static enum progress
write_refusal(const struct request *request, struct weir_chain *chain)
{
    enum answer answer = request->answer;
    enum progress progress =
        push_static(chain, heads[answer][request->keep_alive ? 1 : 0]);
    if (progress != PROGRESS_DONE || request->wants_no_body)
        return progress;
    return push_static(chain, messages[answer]);
}

/* What was written to the outlet since the last time becomes a slice. */
static enum progress
push_text(struct outlet *outlet, struct weir_chain *chain)
{
    struct weir_slice slice;
    weir_buf_split(&outlet->buf, &slice);
    return push(chain, &slice);
}

static size_t
body_len(const struct request *request)
{
    return request->wants_rows ? weir_slice_len(&request->rows)
                               : text_len(&request->text);
}

static enum progress
write_head(
    struct request *request, struct outlet *outlet, struct weir_chain *chain)
{
    if (!outlet_room(outlet, HEAD_MAX))
        return PROGRESS_BLOCKED;
    int len = snprintf(weir_buf_tail(&outlet->buf), HEAD_MAX,
        "HTTP/1.1 200 OK\r\nContent-Type: application/%s\r\n"
        "Content-Length: %zu\r\nConnection: %s\r\n\r\n",
        request->wants_rows ? "octet-stream" : "json", body_len(request),
        connection(request->keep_alive));
    weir_buf_commit(&outlet->buf, (size_t)len);
    request->begun = true;
    return push_text(outlet, chain);
}

/* One block of JSON, or what is left of it. */
static enum progress
write_text(
    struct request *request, struct outlet *outlet, struct weir_chain *chain)
{
    if (!outlet_room(outlet, TEXT_PIECE))
        return PROGRESS_BLOCKED;
    size_t len = 1;
    while (len > 0 && weir_buf_room(&outlet->buf) >= TEXT_PIECE) {
        len = text_next(&request->text, weir_buf_tail(&outlet->buf));
        weir_buf_commit(&outlet->buf, len);
    }
    enum progress progress = push_text(outlet, chain);
    return progress == PROGRESS_DONE && len > 0 ? PROGRESS_MORE : progress;
}

/* What --copy is for: rows as a server without slices would send them, and
   the one place in this server that moves payload. So it counts. */
static enum progress
copy_rows(
    struct request *request, struct outlet *outlet, struct weir_chain *chain)
{
    if (!outlet_room(outlet, 1))
        return PROGRESS_BLOCKED;
    const char *rows = weir_slice_data(&request->rows);
    size_t left = weir_slice_len(&request->rows) - request->copied;
    size_t room = weir_buf_room(&outlet->buf);
    size_t len = left < room ? left : room;
    if (weir_buf_write(&outlet->buf, rows + request->copied, len) != WEIR_OK)
        return PROGRESS_FAILED;
    count_add(&request->client->loop->counters, COUNT_COPIED, len);
    request->copied += len;
    enum progress progress = push_text(outlet, chain);
    return progress == PROGRESS_DONE && len < left ? PROGRESS_MORE : progress;
}

static enum progress
write_rows_part(
    struct request *request, struct outlet *outlet, struct weir_chain *chain)
{
    if (!request->begun) {
        enum progress progress = write_head(request, outlet, chain);
        return progress == PROGRESS_DONE ? PROGRESS_MORE : progress;
    }
    if (!request->wants_rows)
        return write_text(request, outlet, chain);
    if (request->client->loop->server->options.copy != 0)
        return copy_rows(request, outlet, chain);
    return push(chain, &request->rows);
}

static enum progress
write_rows(
    struct request *request, struct outlet *outlet, struct weir_chain *chain)
{
    enum progress progress = PROGRESS_MORE;
    while (progress == PROGRESS_MORE && weir_chain_len(chain) < CHAIN_ENOUGH)
        progress = write_rows_part(request, outlet, chain);
    return progress;
}

static enum progress
write_metrics(const struct request *request, struct weir_chain *chain)
{
    struct weir_slice slice = { 0 };
    if (!metrics_page(
            request->client->loop->server, request->keep_alive, &slice))
        return PROGRESS_FAILED;
    return push(chain, &slice);
}

enum progress
answer_write(
    struct request *request, struct outlet *outlet, struct weir_chain *chain)
{
    if (request->answer == ANSWER_ROWS)
        return write_rows(request, outlet, chain);
    if (request->answer == ANSWER_METRICS)
        return write_metrics(request, chain);
    return write_refusal(request, chain);
}
