/* SPDX-License-Identifier: MIT */
/*
 * client: one connection, from its first byte to its last.
 *
 *     socket ─▶ slice ─▶ parser ─▶ [request][request][arriving]
 *                                      │         └─▶ batcher ─▶ workers ─┐
 *     socket ◀── chain ◀── answer ◀────┘◀────────────────────────────────┘
 *
 * Idea
 *   Whatever happens, bytes arrive, a batch comes back, a write ends, a block
 *   is free, the answer is the same: client_run looks at what can move and
 *   moves it. Answers leave in the order of the requests, one write at a time.
 *
 *   What comes is read into blocks that clients share. The rest of a body whose
 *   length we know is read into one block of that size, from an arena of its
 *   own: who waits there has its part of the shared blocks and nothing else, who
 *   has a block there waits for nobody but its peer, and then for a result.
 *
 *   Reading stops while REQUESTS_MAX requests are unanswered, so a client that
 *   sends and does not read holds a bounded amount: the rest of one slice,
 *   that many bodies and results, and one write.
 *
 *   Before a connection with unread bytes is closed the peer must have had the
 *   time to read its answer, or the kernel throws that away: so we shut down
 *   our side and throw away what still comes, in no block.
 *
 * Invariants
 *   1. `arriving` is `last` or NULL; all others are complete.
 *   2. `unparsed` is not empty only if we are not reading.
 */

#include "client.h"

#include <stdlib.h>

#include "batch.h"
#include "loop.h"
#include "memory.h"
#include "request.h"
#include "server.h"

enum { REQUESTS_MAX = 16, LINGER_MS = 1000 };

static uv_stream_t *
stream_of(struct client *client)
{
    return (uv_stream_t *)&client->tcp;
}

static uint64_t
now_of(const struct client *client)
{
    return uv_now(&client->loop->uv);
}

/* ---- Ending ------------------------------------------------------------ */

static void
on_closed(uv_handle_t *handle)
{
    free(handle);
}

/* A worker may still have it: then it is freed when it comes back. */
static void
drop_request(struct client *client, struct request *request)
{
    if (request->state == REQUEST_QUEUED)
        batcher_remove(&client->loop->batcher, request);
    count_add(&client->loop->counters, COUNT_ABANDONED, 1);
    request->client = NULL;
    if (request->state != REQUEST_COMPUTING)
        request_free(request);
}

static void
drop_requests(struct client *client)
{
    while (client->first != NULL) {
        struct request *request = client->first;
        client->first = request->next;
        drop_request(client, request);
    }
    client->last = NULL;
    client->arriving = NULL;
    client->unanswered = 0;
}

void
client_close(struct client *client)
{
    if (client->closing)
        return;
    client->closing = true;
    weir_uv_read_stop(&client->reader);
    outlet_forget(&client->loop->outlet, client);
    drop_requests(client);
    weir_slice_release(&client->unparsed);
    weir_chain_release(&client->out);
    loop_remove(client->loop, client);
    uv_close((uv_handle_t *)&client->tcp, on_closed);
}

/* The answer could be sent, but it stands still: the client does not read. */
static void
cut_off(struct client *client)
{
    count_add(&client->loop->counters, COUNT_REJECTED, 1);
    client_close(client);
}

static void
on_sink(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
    (void)suggested;
    struct client *client = (struct client *)handle;
    *room = uv_buf_init(client->loop->sink, sizeof(client->loop->sink));
}

static void
on_sunk(uv_stream_t *stream, ssize_t nread, const uv_buf_t *room)
{
    (void)room;
    if (nread < 0)
        client_close((struct client *)stream);
}

static void
on_shutdown(uv_shutdown_t *shutdown, int status)
{
    (void)shutdown;
    (void)status; /* the sink sees what became of the peer */
}

static void
linger(struct client *client)
{
    client->lingering = true;
    client->moved_ms = now_of(client);
    weir_uv_read_stop(&client->reader);
    if (client->ended ||
        uv_shutdown(&client->shutdown, stream_of(client), on_shutdown) != 0 ||
        uv_read_start(stream_of(client), on_sink, on_sunk) != 0)
        client_close(client);
}

/* ---- Requests ---------------------------------------------------------- */

static void
append(struct client *client, struct request *request)
{
    if (client->last != NULL)
        client->last->next = request;
    else
        client->first = request;
    client->last = request;
}

void
client_begin(struct client *client)
{
    client->arriving = request_new(client, now_of(client));
    append(client, client->arriving);
}

bool
client_complete(struct client *client, bool keep_alive)
{
    struct request *request = client->arriving;
    client->arriving = NULL;
    client->unanswered++;
    request->keep_alive = keep_alive && !client->loop->draining;
    client->sealed = client->sealed || !request->keep_alive;
    if (request->answer == ANSWER_ROWS)
        batcher_add(&client->loop->batcher, request);
    else
        request_answer(request, request->answer);
    return !client->sealed && client->unanswered < REQUESTS_MAX;
}

/* This request gets `answer`, and the connection ends behind it. */
static void
refuse(struct client *client, struct request *request, enum answer answer)
{
    if (request->state == REQUEST_QUEUED)
        batcher_remove(&client->loop->batcher, request);
    if (request == client->arriving) {
        client->arriving = NULL;
        client->unanswered++;
    }
    request->keep_alive = false;
    request_answer(request, answer);
    client->sealed = true;
}

/* What arrives gets `answer`; if nothing has begun to, the bytes were none. */
static void
refuse_arriving(struct client *client, enum answer answer)
{
    if (client->arriving == NULL)
        client_begin(client);
    refuse(client, client->arriving, answer);
}

static void
parse(struct client *client)
{
    client->parsed = &client->unparsed;
    while (!client->sealed && client->unanswered < REQUESTS_MAX &&
           weir_slice_len(&client->unparsed) > 0) {
        enum answer wrong;
        if (!http_parse(&client->http, &client->unparsed, &wrong))
            refuse_arriving(client, wrong);
    }
    if (client->sealed)
        weir_slice_release(&client->unparsed);
}

/* ---- Sending ----------------------------------------------------------- */

static void
count_answer(struct client *client, enum answer answer)
{
    struct counters *counters = &client->loop->counters;
    if (answer == ANSWER_METRICS) {
        count_add(counters, COUNT_SCRAPES, 1);
        return;
    }
    count_add(counters, COUNT_REQUESTS, 1);
    if (answer == ANSWER_LATE)
        count_add(counters, COUNT_REJECTED, 1);
    else if (answer != ANSWER_ROWS)
        count_add(counters, COUNT_ERRORS, 1);
}

/* The first request's answer is all in the chain. */
static void
pop_answered(struct client *client)
{
    struct request *request = client->first;
    bool was_last = !request->keep_alive;
    count_answer(client, request->answer);
    client->first = request->next;
    if (client->first == NULL)
        client->last = NULL;
    client->unanswered--;
    request_free(request);
    if (was_last)
        drop_requests(client);
}

static enum progress
write_continue(struct client *client)
{
    struct request *request = client->first;
    if (request != client->arriving || !request->wants_continue)
        return PROGRESS_BLOCKED;
    request->wants_continue = false;
    return answer_write_continue(&client->out);
}

/* Gathers answers for one write. False: the connection is of no more use. */
static bool
gather(struct client *client)
{
    struct outlet *outlet = &client->loop->outlet;
    enum progress progress = PROGRESS_DONE;
    while (client->first != NULL && progress == PROGRESS_DONE) {
        if (client->first->state != REQUEST_ANSWERED) {
            progress = write_continue(client);
            break;
        }
        progress = answer_write(client->first, outlet, &client->out);
        if (progress == PROGRESS_BLOCKED)
            outlet_wait(outlet, client);
        if (progress == PROGRESS_DONE)
            pop_answered(client);
    }
    return progress != PROGRESS_FAILED;
}

static void
on_sent(struct weir_uv_write *write, int status)
{
    struct client *client = write->user;
    client->writing = false;
    if (client->closing)
        return;
    client->moved_ms = now_of(client);
    if (status < 0)
        client_close(client);
    else
        client_run(client);
}

static void
send_answers(struct client *client)
{
    while (!client->writing && !client->closing) {
        if (!gather(client)) {
            client_close(client);
            return;
        }
        if (weir_chain_len(&client->out) == 0)
            return;
        client->moved_ms = now_of(client);
        client->write.user = client;
        int sent = weir_uv_write(
            &client->write, stream_of(client), &client->out, on_sent);
        client->writing = sent == 0;
        if (sent < 0)
            client_close(client);
    }
}

/* ---- Reading ----------------------------------------------------------- */

static void
on_read(struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct client *client = reader->user;
    client->reading = client->reading && !client->reading_rest;
    client->reading_rest = false;
    if (nread >= 0) {
        client->unparsed = *slice; /* by invariant 2 nothing is lost */
        *slice = (struct weir_slice){ 0 };
        client_run(client);
        return;
    }
    client->reading = false;
    if (nread != UV_EOF) {
        client_close(client);
        return;
    }
    client->ended = true;
    client->sealed = true;
    client_run(client);
}

/* A request whose end will not come is nobody's. */
static void
forget_arriving(struct client *client)
{
    struct request *request = client->arriving;
    if (request == NULL || !client->ended)
        return;
    client->arriving = NULL;
    struct request **link = &client->first;
    client->last = NULL;
    while (*link != request) {
        client->last = *link;
        link = &(*link)->next;
    }
    *link = NULL;
    drop_request(client, request);
}

/* What did not come along with the head of a body whose length we know. */
static size_t
rest_of_body(const struct client *client)
{
    const struct request *request = client->arriving;
    if (request == NULL || request->body_len == 0)
        return 0;
    return (size_t)request->body_len - weir_chain_len(&request->body);
}

static void
start_reading(struct client *client, size_t rest)
{
    struct loop *loop = client->loop;
    client->reading = true;
    client->reading_rest = rest > 0;
    int error = rest > 0 ? weir_uv_read_whole(&loop->bodies, &client->reader,
                               stream_of(client), rest, on_read)
                         : weir_uv_read_start(&loop->intake, &client->reader,
                               stream_of(client), on_read);
    if (error != 0)
        client_close(client);
}

static void
stop_or_start_reading(struct client *client)
{
    bool wanted = !client->sealed && client->unanswered < REQUESTS_MAX &&
                  weir_slice_len(&client->unparsed) == 0;
    size_t rest = rest_of_body(client);
    if (client->reading && (!wanted || client->reading_rest != (rest > 0))) {
        weir_uv_read_stop(&client->reader);
        client->reading = false;
        client->reading_rest = false;
    }
    if (wanted && !client->reading)
        start_reading(client, rest);
}

void
client_run(struct client *client)
{
    if (client->closing || client->lingering)
        return;
    forget_arriving(client);
    size_t before;
    do {
        parse(client);
        before = client->unanswered;
        send_answers(client);
    } while (!client->closing && client->unanswered < before &&
             weir_slice_len(&client->unparsed) > 0);
    if (client->closing)
        return;
    stop_or_start_reading(client);
    if (client->sealed && client->first == NULL && !client->writing &&
        !client->closing)
        linger(client);
}

/* ---- The deadline ------------------------------------------------------ */

static void
check_arriving(struct client *client, uint64_t now_ms, uint64_t deadline_ms)
{
    for (struct request *i = client->first; i != NULL; i = i->next)
        if (i->state <= REQUEST_QUEUED && now_ms - i->began_ms > deadline_ms)
            refuse(client, i, ANSWER_LATE);
}

/* Answers stand still because the peer does not read, or no block comes for
   their text; one that has not begun can still be replaced. */
static void
check_sending(struct client *client, uint64_t now_ms, uint64_t deadline_ms)
{
    struct request *first = client->first;
    bool can_send = first != NULL && first->state == REQUEST_ANSWERED;
    size_t unsent = uv_stream_get_write_queue_size(stream_of(client));
    if ((!client->writing && !can_send) || unsent != client->unsent)
        client->moved_ms = now_ms;
    client->unsent = unsent;
    if (now_ms - client->moved_ms <= deadline_ms)
        return;
    if (client->writing || first->begun)
        cut_off(client);
    else
        refuse(client, first, ANSWER_LATE);
}

static bool
is_idle(const struct client *client)
{
    return client->first == NULL && !client->writing;
}

void
client_check(struct client *client, uint64_t now_ms)
{
    uint64_t deadline_ms = client->loop->server->options.deadline_ms;
    if (client->lingering) {
        if (now_ms - client->moved_ms > LINGER_MS)
            client_close(client);
        return;
    }
    check_arriving(client, now_ms, deadline_ms);
    check_sending(client, now_ms, deadline_ms);
    if (client->closing)
        return;
    if (client->loop->draining && is_idle(client))
        client_close(client);
    else
        client_run(client);
}

void
client_accept(struct loop *loop, uv_stream_t *listener)
{
    struct client *client = memory_zeroed(sizeof(*client));
    client->loop = loop;
    client->reader.user = client;
    if (uv_tcp_init(&loop->uv, &client->tcp) != 0) {
        free(client);
        return;
    }
    loop_add(loop, client);
    http_init(&client->http, client);
    client->moved_ms = now_of(client);
    if (uv_accept(listener, stream_of(client)) != 0 ||
        uv_tcp_nodelay(&client->tcp, 1) != 0) {
        client_close(client);
        return;
    }
    client_run(client);
}
