/* SPDX-License-Identifier: MIT */
/*
 * fixture: a loop, an arena, an adapter, and TCP connections whose other end
 * is a plain socket. What is sent is a pattern, so each byte that arrives is
 * known, and a lost or doubled one is seen.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "weir/heap.h"
#include "weir/uv.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LOG_SIZE = 256 };

struct world {
    uv_loop_t loop;
    struct weir_arena *arena;
    struct weir_uv uv;
    uv_prepare_t prepare;
    uv_timer_t alarm;
    size_t turns;
    size_t closed; /* adapters that said goodbye */
    bool shares_arena;
};

/* `reader.user` points to the conn. */
struct conn {
    struct weir_uv_reader reader;
    uv_tcp_t tcp;
    int peer; /* the other end */
    char name;
    bool keeps; /* what it reads, in `kept` */
    struct weir_chain kept;
    size_t sent;   /* by the peer */
    size_t bytes;  /* that arrived */
    size_t wrong;  /* bytes that are not the pattern's */
    size_t calls;  /* of on_read with bytes */
    size_t ends;   /* of on_read without */
    ssize_t ended; /* why, the last time */
};

/* Who read, in order. */
struct reads {
    char names[LOG_SIZE];
    size_t count;
};

static struct reads reads;

static inline void
expect_order(const char *names)
{
    cr_assert(eq(int, strcmp(reads.names, names), 0), "it was %s", reads.names);
}

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* Of the only arena there was the control part is left, and the main thread's
   record and table. */
static inline void
no_leaks(void)
{
    struct weir_heap_stats stats;
    if (__lsan_do_recoverable_leak_check != NULL)
        cr_assert(eq(int, __lsan_do_recoverable_leak_check(), 0));
    weir_heap_stats(weir_heap_default(), &stats);
    uint64_t left = stats.large_live;
    for (size_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        left += stats.classes[i].blocks_live;
    cr_assert(le(u64, left, 3));
}

static inline uint8_t
pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

/* ---- The world --------------------------------------------------------- */

static inline void
on_prepare(uv_prepare_t *prepare)
{
    struct world *world = prepare->data;
    world->turns++;
}

static inline void
on_world_closed(struct weir_uv *uv)
{
    struct world *world = uv->user;
    world->closed++;
}

static inline void
begin_shared(struct world *world, struct weir_arena *arena,
    const struct weir_uv_options *options)
{
    (void)signal(SIGPIPE, SIG_IGN);
    *world = (struct world){ .arena = arena, .shares_arena = true };
    cr_assert(eq(int, uv_loop_init(&world->loop), 0));
    world->uv.user = world;
    cr_assert(
        eq(int, weir_uv_init(&world->uv, &world->loop, arena, options), 0));
    uv_prepare_init(&world->loop, &world->prepare);
    world->prepare.data = world;
    uv_prepare_start(&world->prepare, on_prepare);
    uv_unref((uv_handle_t *)&world->prepare);
    uv_timer_init(&world->loop, &world->alarm);
}

static inline void
begin_with(struct world *world, size_t block_size, size_t block_count,
    const struct weir_uv_options *options)
{
    struct weir_arena *arena;
    struct weir_arena_config config = {
        .name = "test", .block_size = block_size, .block_count = block_count
    };
    cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_OK));
    begin_shared(world, arena, options);
    world->shares_arena = false;
}

static inline void
begin(struct world *world, size_t block_size, size_t block_count)
{
    begin_with(world, block_size, block_count, NULL);
}

static inline size_t
blocks_out(const struct world *world)
{
    struct weir_stats stats;
    weir_arena_stats(world->arena, &stats);
    return (size_t)stats.blocks_out;
}

static inline size_t
queued(const struct world *world)
{
    struct weir_stats stats;
    weir_arena_stats(world->arena, &stats);
    return (size_t)stats.waiting;
}

/* Closes what is left, and sees that the loop and the arena are whole. */
static inline void
end(struct world *world)
{
    if (!world->uv.closing)
        weir_uv_close(&world->uv, on_world_closed);
    uv_close((uv_handle_t *)&world->prepare, NULL);
    uv_close((uv_handle_t *)&world->alarm, NULL);
    cr_assert(eq(int, uv_run(&world->loop, UV_RUN_DEFAULT), 0));
    cr_assert(eq(sz, world->closed, 1));
    cr_assert(eq(int, uv_loop_close(&world->loop), 0));
    if (world->shares_arena)
        return;
    cr_assert(eq(sz, blocks_out(world), 0));
    cr_assert(eq(sz, queued(world), 0));
    weir_arena_check(world->arena);
    weir_arena_destroy(&world->arena);
    no_leaks();
}

static inline double
now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void
sleep_ms(long ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    (void)nanosleep(&time, NULL);
}

/* Turns the loop until `*count` is what is wanted, or more; 10 s at most. */
static inline void
run_to(struct world *world, const size_t *count, size_t wanted)
{
    double deadline = now_s() + 10;
    while (*count < wanted && now_s() < deadline) {
        (void)uv_run(&world->loop, UV_RUN_NOWAIT);
        (void)usleep(50);
    }
    cr_assert(ge(sz, *count, wanted));
}

static inline void
on_alarm(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Runs the loop, asleep when there is nothing to do, for so long. */
static inline void
run_for(struct world *world, uint64_t ms)
{
    uv_update_time(&world->loop);
    uv_timer_start(&world->alarm, on_alarm, ms, 0);
    (void)uv_run(&world->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&world->alarm);
}

/* ---- Connections ------------------------------------------------------- */

/* Small buffers where `buffer` is not 0. */
static inline void
tcp_pair(int *ours, int *peer, int buffer)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr *any = (struct sockaddr *)&address;
    cr_assert(eq(int, bind(listener, any, size), 0));
    cr_assert(eq(int, listen(listener, 1), 0));
    cr_assert(eq(int, getsockname(listener, any, &size), 0));

    *peer = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    if (buffer > 0)
        setsockopt(*peer, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    setsockopt(*peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    cr_assert(eq(int, connect(*peer, any, size), 0));
    *ours = accept(listener, NULL, NULL);
    cr_assert(ge(int, *ours, 0));
    if (buffer > 0)
        setsockopt(*ours, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    (void)close(listener);
}

static inline void
open_conn_with(struct world *world, struct conn *conn, char name, int buffer)
{
    *conn = (struct conn){ .name = name };
    conn->reader.user = conn;
    int ours;
    tcp_pair(&ours, &conn->peer, buffer);
    cr_assert(eq(int, uv_tcp_init(&world->loop, &conn->tcp), 0));
    cr_assert(eq(int, uv_tcp_open(&conn->tcp, ours), 0));
}

static inline void
open_conn(struct world *world, struct conn *conn, char name)
{
    open_conn_with(world, conn, name, 0);
}

static inline uv_stream_t *
stream_of(struct conn *conn)
{
    return (uv_stream_t *)&conn->tcp;
}

static inline void
on_read(struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct conn *conn = reader->user;
    if (nread <= 0) {
        conn->ended = nread;
        conn->ends++;
        return;
    }
    conn->calls++;
    cr_assert(eq(sz, weir_slice_len(slice), (size_t)nread));
    const uint8_t *bytes = weir_slice_data(slice);
    for (size_t i = 0; i < (size_t)nread; i++)
        conn->wrong += bytes[i] != pattern(conn->bytes + i);
    conn->bytes += (size_t)nread;
    if (reads.count < LOG_SIZE - 1)
        reads.names[reads.count++] = conn->name;
    if (conn->keeps)
        cr_assert(eq(int, weir_chain_push(&conn->kept, slice), WEIR_OK));
}

static inline int
start(struct world *world, struct conn *conn)
{
    return weir_uv_read_start(
        &world->uv, &conn->reader, stream_of(conn), on_read);
}

static inline void
open_reading(struct world *world, struct conn *conn, char name)
{
    open_conn(world, conn, name);
    cr_assert(eq(int, start(world, conn), 0));
}

/* A second handle on the same socket finds it emptied by the first. */
static inline void
open_twin(struct world *world, struct conn *conn, struct conn *twin)
{
    uv_os_fd_t fd;
    cr_assert(eq(int, uv_fileno((uv_handle_t *)&conn->tcp, &fd), 0));
    *twin = (struct conn){ .name = 't', .peer = -1 };
    twin->reader.user = twin;
    cr_assert(eq(int, uv_tcp_init(&world->loop, &twin->tcp), 0));
    cr_assert(eq(int, uv_tcp_open(&twin->tcp, dup(fd)), 0));
    cr_assert(eq(int, start(world, twin), 0));
}

/* The next `n` bytes of the pattern, from the peer. */
static inline void
send_bytes(struct conn *conn, size_t n)
{
    uint8_t bytes[1024];
    while (n > 0) {
        size_t part = n < sizeof(bytes) ? n : sizeof(bytes);
        for (size_t i = 0; i < part; i++)
            bytes[i] = pattern(conn->sent + i);
        cr_assert(eq(long, send(conn->peer, bytes, part, 0), (long)part));
        conn->sent += part;
        n -= part;
    }
}

static inline void
close_peer(struct conn *conn)
{
    (void)close(conn->peer);
    conn->peer = -1;
}

/* The peer goes with a RST. */
static inline void
reset_peer(struct conn *conn)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(conn->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close_peer(conn);
}

static inline void
close_conn(struct conn *conn)
{
    weir_uv_read_stop(&conn->reader);
    if (!uv_is_closing((uv_handle_t *)&conn->tcp))
        uv_close((uv_handle_t *)&conn->tcp, NULL);
    weir_chain_release(&conn->kept);
    if (conn->peer >= 0)
        close_peer(conn);
    cr_assert(eq(sz, conn->wrong, 0));
}

/* Takes every free block. */
static inline size_t
take_all(struct world *world, struct weir_buf *bufs, size_t most)
{
    size_t count = 0;
    while (count < most &&
           weir_arena_alloc(world->arena, 0, &bufs[count]) == WEIR_OK)
        count++;
    return count;
}

#endif
