/* SPDX-License-Identifier: MIT */
/*
 * loop: one thread, one libuv loop, its connections.
 *
 * Idea
 *   Loops share the port (SO_REUSEPORT), the arenas and the workers, and
 *   nothing else. Other threads reach a loop in one way: they leave something
 *   and ring, under its lock. The callback takes the lock before it looks, so
 *   libuv's cheap first look at its own flag loses nothing; and as the loop can
 *   end only after it looked, nobody rings a loop that has ended.
 *
 *   Draining: the listener is closed, idle connections are closed, the others
 *   when they are answered. What stands still meets the deadline as always;
 *   twice that time after the start everything is cut off.
 */

#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "server.h"

enum { BACKLOG = 1024 };

static void
on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        client_accept(listener->data, listener);
}

void
loop_add(struct loop *loop, struct client *client)
{
    client->next = loop->clients;
    if (loop->clients != NULL)
        loop->clients->previous = client;
    loop->clients = client;
}

void
loop_remove(struct loop *loop, struct client *client)
{
    if (client->next != NULL)
        client->next->previous = client->previous;
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        loop->clients = client->next;
}

/* ---- What others ask --------------------------------------------------- */

void
loop_return(struct loop *loop, struct batch *batch)
{
    pthread_mutex_lock(&loop->lock);
    batch->next = loop->inbox;
    loop->inbox = batch;
    uv_async_send(&loop->async);
    pthread_mutex_unlock(&loop->lock);
}

void
loop_drain(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->drain_asked = true;
    uv_async_send(&loop->async);
    pthread_mutex_unlock(&loop->lock);
}

static void
on_ring(struct weir_bell *bell)
{
    struct loop *loop = bell->user;
    uv_async_send(&loop->async);
}

static void
begin_drain(struct loop *loop)
{
    if (loop->draining)
        return;
    loop->draining = true;
    loop->drain_ms = uv_now(&loop->uv);
    uv_close((uv_handle_t *)&loop->listener, NULL);
}

static void
on_async(uv_async_t *async)
{
    struct loop *loop = async->data;
    pthread_mutex_lock(&loop->lock);
    struct batch *batch = loop->inbox;
    loop->inbox = NULL;
    bool drain_asked = loop->drain_asked;
    pthread_mutex_unlock(&loop->lock);
    if (drain_asked)
        begin_drain(loop);
    for (struct batch *next; batch != NULL; batch = next) {
        next = batch->next;
        batcher_return(&loop->batcher, batch);
    }
    weir_bell_drain(&loop->bell, 0);
}

/* ---- What happens by itself -------------------------------------------- */

/* Right before the loop sleeps. */
static void
on_turn(uv_prepare_t *turn)
{
    struct loop *loop = turn->data;
    batcher_turn(&loop->batcher);
    outlet_rest(&loop->outlet);
}

static void
close_all(struct loop *loop)
{
    batcher_close(&loop->batcher);
    weir_uv_close(&loop->intake, NULL);
    weir_uv_close(&loop->bodies, NULL);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_close((uv_handle_t *)&loop->turn, NULL);
    uv_close((uv_handle_t *)&loop->sweep, NULL);
}

static void
check_drain(struct loop *loop)
{
    uint64_t patience_ms = 2 * loop->server->options.deadline_ms;
    if (uv_now(&loop->uv) - loop->drain_ms > patience_ms)
        while (loop->clients != NULL)
            client_close(loop->clients);
    if (loop->clients != NULL)
        return;
    bool can_end = outlet_stop(&loop->outlet);
    can_end = batcher_stop(&loop->batcher) && can_end;
    if (can_end)
        close_all(loop);
}

static void
on_sweep(uv_timer_t *sweep)
{
    struct loop *loop = sweep->data;
    uint64_t now_ms = uv_now(&loop->uv);
    for (struct client *next, *i = loop->clients; i != NULL; i = next) {
        next = i->next;
        client_check(i, now_ms);
    }
    if (loop->draining)
        check_drain(loop);
}

/* ---- Beginning and end ------------------------------------------------- */

static void *
run(void *user)
{
    struct loop *loop = user;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    weir_bell_fini(&loop->bell);
    return NULL;
}

static int
start_timers(struct loop *loop)
{
    uint64_t period_ms = loop->server->options.deadline_ms / 8;
    if (period_ms > 100)
        period_ms = 100;
    loop->turn.data = loop;
    loop->sweep.data = loop;
    loop->async.data = loop;
    int error = uv_prepare_init(&loop->uv, &loop->turn);
    if (error == 0)
        error = uv_prepare_start(&loop->turn, on_turn);
    if (error == 0)
        error = uv_timer_init(&loop->uv, &loop->sweep);
    if (error == 0)
        error = uv_timer_start(&loop->sweep, on_sweep, period_ms, period_ms);
    if (error == 0)
        error = uv_async_init(&loop->uv, &loop->async, on_async);
    return error;
}

static int
start_listening(struct loop *loop, int listen_fd)
{
    loop->listener.data = loop;
    int error = uv_tcp_init(&loop->uv, &loop->listener);
    if (error == 0)
        error = uv_tcp_open(&loop->listener, listen_fd);
    if (error == 0)
        error =
            uv_listen((uv_stream_t *)&loop->listener, BACKLOG, on_connection);
    return error;
}

int
loop_start(struct loop *loop, struct server *server, int listen_fd)
{
    loop->server = server;
    pthread_mutex_init(&loop->lock, NULL);
    weir_bell_init(&loop->bell, on_ring, loop);
    outlet_init(&loop->outlet, server->responses, &loop->bell);
    int error = uv_loop_init(&loop->uv);
    if (error == 0)
        error = start_timers(loop);
    if (error == 0)
        error = batcher_init(&loop->batcher, loop);
    if (error == 0)
        error = weir_uv_init(&loop->intake, &loop->uv, server->requests,
            &(struct weir_uv_options){ .block_size = server->options.block });
    if (error == 0)
        error = weir_uv_init(&loop->bodies, &loop->uv, server->bodies, NULL);
    if (error == 0)
        error = start_listening(loop, listen_fd);
    if (error == 0)
        error = uv_translate_sys_error(
            pthread_create(&loop->thread, NULL, run, loop));
    return error;
}

void
loop_join(struct loop *loop)
{
    pthread_join(loop->thread, NULL);
    uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->lock);
}
