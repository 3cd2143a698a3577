/* SPDX-License-Identifier: MIT */
/*
 * uv_relay seed seconds: two loops read forty connections into an arena of four
 * blocks, while readers are stopped, started and closed at random.
 *
 *     sender ──▶ 40 sockets ──▶ loop 1, loop 2 ──▶ slices ──▶ releaser
 *                                  └──────── 4 blocks ────────────┘
 *
 * Each byte is checked. In the end all that was sent has arrived, every block
 * is home, and there was waiting: else a byte, a block or a wake-up was lost.
 */

#include "weir/uv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOPS = 2,
    CONNS = 20, /* a loop */
    BLOCKS = 4,
    BLOCK = 2048,
    HELD = 4096, /* slices on their way to the releaser */
    PATIENCE_S = 20
};

/* The far end of a connection; under `peers_mutex`. */
struct peer {
    int fd;
    size_t sent;
};

struct lane;

struct conn {
    struct weir_uv_reader reader;
    uv_tcp_t tcp;
    struct lane *lane;
    struct peer peer;
    size_t got;
    bool closing;
};

/* One loop. */
struct lane {
    uv_loop_t loop;
    struct weir_uv uv;
    uv_timer_t timer;
    struct conn conns[CONNS];
    uint64_t random;
    atomic_size_t bytes;
    atomic_bool whole; /* all that was sent has arrived */
};

static struct weir_arena *arena;
static struct lane lanes[LOOPS];
static pthread_mutex_t peers_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool quiet; /* nothing is sent or disturbed any more */
static atomic_bool done;

static pthread_mutex_t held_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct weir_slice held[HELD];
static size_t held_count;

static void
fail(const char *what)
{
    (void)fprintf(stderr, "uv_relay: %s\n", what);
    exit(1);
}

static void
expect(bool truth, const char *what)
{
    if (!truth)
        fail(what);
}

static uint64_t
draw(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static double
now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void
sleep_us(long us)
{
    struct timespec time = { us / 1000000, us % 1000000 * 1000 };
    (void)nanosleep(&time, NULL);
}

static uint8_t
pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

/* ---- The releaser ------------------------------------------------------ */

static void
pass_on(struct weir_slice *slice)
{
    pthread_mutex_lock(&held_mutex);
    if (held_count < HELD) {
        held[held_count++] = *slice;
        *slice = (struct weir_slice){ 0 };
    }
    pthread_mutex_unlock(&held_mutex);
}

static bool
release_one(uint64_t *random)
{
    struct weir_slice slice = { 0 };
    pthread_mutex_lock(&held_mutex);
    if (held_count > 0) {
        size_t index = draw(random) % held_count;
        slice = held[index];
        held[index] = held[--held_count];
    }
    pthread_mutex_unlock(&held_mutex);
    bool found = weir_slice_len(&slice) > 0;
    weir_slice_release(&slice);
    return found;
}

static void *
releaser(void *user)
{
    uint64_t random = *(uint64_t *)user;
    while (!atomic_load(&done)) {
        bool found = release_one(&random);
        if (!found || draw(&random) % 16 == 0)
            sleep_us((long)(draw(&random) % 200));
    }
    while (release_one(&random))
        continue;
    return NULL;
}

/* ---- The sender -------------------------------------------------------- */

static void
send_some(struct peer *peer, size_t most)
{
    uint8_t bytes[8192];
    for (size_t i = 0; i < most; i++)
        bytes[i] = pattern(peer->sent + i);
    ssize_t n = send(peer->fd, bytes, most, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        peer->sent += (size_t)n;
}

static void *
sender(void *user)
{
    uint64_t random = *(uint64_t *)user;
    while (!atomic_load(&quiet)) {
        struct lane *lane = &lanes[draw(&random) % LOOPS];
        struct conn *conn = &lane->conns[draw(&random) % CONNS];
        size_t most = draw(&random) % 2 == 0 ? 8192 : 200;
        pthread_mutex_lock(&peers_mutex);
        send_some(&conn->peer, 1 + draw(&random) % most);
        pthread_mutex_unlock(&peers_mutex);
        if (draw(&random) % 8 == 0)
            sleep_us((long)(draw(&random) % 300));
    }
    return NULL;
}

/* ---- Connections ------------------------------------------------------- */

static int
tcp_pair(int *peer)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof(address);
    struct sockaddr *any = (struct sockaddr *)&address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bool ready = bind(listener, any, size) == 0 && listen(listener, 1) == 0 &&
                 getsockname(listener, any, &size) == 0;
    expect(ready, "no listening socket");
    *peer = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    (void)setsockopt(*peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    expect(connect(*peer, any, size) == 0, "no connection");
    int ours = accept(listener, NULL, NULL);
    expect(ours >= 0, "nothing to accept");
    (void)close(listener);
    return ours;
}

static void
on_read(struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct conn *conn = reader->user;
    expect(nread > 0, "a stream ended by itself");
    const uint8_t *bytes = weir_slice_data(slice);
    for (size_t i = 0; i < (size_t)nread; i++)
        expect(bytes[i] == pattern(conn->got + i), "a byte is wrong");
    conn->got += (size_t)nread;
    atomic_fetch_add(&conn->lane->bytes, (size_t)nread);

    uint64_t chance = draw(&conn->lane->random) % 64;
    if (chance != 0)
        pass_on(slice);
    if (chance == 1 && !atomic_load(&quiet))
        weir_uv_read_stop(reader);
}

static void
start(struct conn *conn)
{
    if (conn->closing)
        return;
    int error = weir_uv_read_start(
        &conn->lane->uv, &conn->reader, (uv_stream_t *)&conn->tcp, on_read);
    expect(error == 0 || error == UV_EALREADY, "a stream cannot be read");
}

static void
open_conn(struct lane *lane, struct conn *conn)
{
    int fd;
    int ours = tcp_pair(&fd);
    conn->reader = (struct weir_uv_reader){ .user = conn };
    conn->lane = lane;
    conn->got = 0;
    conn->closing = false;
    (void)uv_tcp_init(&lane->loop, &conn->tcp);
    expect(uv_tcp_open(&conn->tcp, ours) == 0, "a socket is not taken");
    pthread_mutex_lock(&peers_mutex);
    conn->peer = (struct peer){ .fd = fd };
    pthread_mutex_unlock(&peers_mutex);
    start(conn);
}

static void
on_closed_again(uv_handle_t *handle)
{
    struct weir_uv_reader *reader = handle->data;
    struct conn *conn = reader->user;
    open_conn(conn->lane, conn);
}

static void
close_conn(struct conn *conn, uv_close_cb closed)
{
    weir_uv_read_stop(&conn->reader);
    conn->closing = true;
    conn->tcp.data = &conn->reader;
    uv_close((uv_handle_t *)&conn->tcp, closed);
    pthread_mutex_lock(&peers_mutex);
    (void)close(conn->peer.fd);
    conn->peer = (struct peer){ .fd = -1 };
    pthread_mutex_unlock(&peers_mutex);
}

/* ---- A loop ------------------------------------------------------------ */

static void
disturb(struct lane *lane)
{
    struct conn *conn = &lane->conns[draw(&lane->random) % CONNS];
    uint64_t chance = draw(&lane->random) % 32;
    if (conn->closing)
        return;
    if (chance == 0)
        close_conn(conn, on_closed_again);
    else if (chance < 12)
        weir_uv_read_stop(&conn->reader);
    else
        start(conn);
}

static bool
all_arrived(struct lane *lane)
{
    bool all = true;
    pthread_mutex_lock(&peers_mutex);
    for (size_t i = 0; i < CONNS; i++) {
        struct conn *conn = &lane->conns[i];
        all = all && !conn->closing && conn->got == conn->peer.sent;
    }
    pthread_mutex_unlock(&peers_mutex);
    return all;
}

static void
finish(struct lane *lane)
{
    for (size_t i = 0; i < CONNS; i++)
        close_conn(&lane->conns[i], NULL);
    weir_uv_close(&lane->uv, NULL);
    uv_close((uv_handle_t *)&lane->timer, NULL);
}

static void
on_timer(uv_timer_t *timer)
{
    struct lane *lane = timer->data;
    if (atomic_load(&done)) {
        finish(lane);
    } else if (!atomic_load(&quiet)) {
        for (size_t i = 0; i < 4; i++)
            disturb(lane);
    } else {
        for (size_t i = 0; i < CONNS; i++)
            start(&lane->conns[i]);
        if (all_arrived(lane))
            atomic_store(&lane->whole, true);
    }
}

static void *
run_lane(void *user)
{
    struct lane *lane = user;
    expect(uv_run(&lane->loop, UV_RUN_DEFAULT) == 0, "a loop stopped early");
    expect(uv_loop_close(&lane->loop) == 0, "a loop is not empty");
    return NULL;
}

static void
begin_lane(struct lane *lane, uint64_t seed)
{
    lane->random = seed;
    expect(uv_loop_init(&lane->loop) == 0, "no loop");
    expect(
        weir_uv_init(&lane->uv, &lane->loop, arena, NULL) == 0, "no adapter");
    (void)uv_timer_init(&lane->loop, &lane->timer);
    lane->timer.data = lane;
    (void)uv_timer_start(&lane->timer, on_timer, 1, 1);
    for (size_t i = 0; i < CONNS; i++)
        open_conn(lane, &lane->conns[i]);
}

static void
wait_until_whole(void)
{
    double deadline = now_s() + PATIENCE_S;
    while (!atomic_load(&lanes[0].whole) || !atomic_load(&lanes[1].whole)) {
        expect(now_s() < deadline, "bytes or a wake-up were lost");
        sleep_us(1000);
    }
}

static void
check_arena(uint64_t seed)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    size_t bytes = atomic_load(&lanes[0].bytes) + atomic_load(&lanes[1].bytes);
    printf("uv_relay: seed %llu, %zu bytes, %llu waits, %llu grants, "
           "%llu cancels\n",
        (unsigned long long)seed, bytes, (unsigned long long)stats.waits,
        (unsigned long long)stats.grants, (unsigned long long)stats.cancels);
    expect(stats.blocks_out == 0, "blocks are not home");
    expect(stats.waiting == 0, "somebody still waits");
    expect(stats.waits > 0, "nobody waited");
    weir_arena_check(arena);
}

int
main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    (void)signal(SIGPIPE, SIG_IGN);
    struct weir_arena_config config = {
        .name = "relay", .block_size = BLOCK, .block_count = BLOCKS
    };
    expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    uint64_t seeds[4];
    for (size_t i = 0; i < 4; i++)
        seeds[i] = (seed * 4 + i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < LOOPS; i++)
        begin_lane(&lanes[i], seeds[i]);

    pthread_t threads[4];
    bool started =
        pthread_create(&threads[0], NULL, run_lane, &lanes[0]) == 0 &&
        pthread_create(&threads[1], NULL, run_lane, &lanes[1]) == 0 &&
        pthread_create(&threads[2], NULL, sender, &seeds[2]) == 0 &&
        pthread_create(&threads[3], NULL, releaser, &seeds[3]) == 0;
    expect(started, "no threads");
    sleep_us((long)(seconds * 1e6));
    atomic_store(&quiet, true);
    pthread_join(threads[2], NULL);
    wait_until_whole();
    atomic_store(&done, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    pthread_join(threads[3], NULL);

    check_arena(seed);
    weir_arena_destroy(&arena);
    return 0;
}
