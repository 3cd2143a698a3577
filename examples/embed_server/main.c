/* SPDX-License-Identifier: MIT */
/*
 * embed_server: an embedding service, as an example of a server on weir.
 *
 *     loops     receive, parse, answer       one thread each, one port
 *     workers   read bodies, compute rows    shared by the loops
 *     arenas    four, in the order of a request, shared by all
 *
 * main makes these, waits for SIGTERM or SIGINT, and takes them down in the
 * reverse order; the exit code is 0 only if every block is home.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "loop.h"
#include "memory.h"
#include "metrics.h"
#include "server.h"

static bool
create_arena(const struct weir_arena_config *config, struct weir_arena **arena)
{
    enum weir_status status = weir_arena_create(config, arena);
    if (status == WEIR_OK)
        return true;
    (void)fprintf(stderr, "embed_server: arena %s: %s\n", config->name,
        weir_status_name(status));
    return false;
}

/* The block that `bytes` take in a buddy arena. */
static uint64_t
block_of(uint64_t bytes)
{
    uint64_t block = 256;
    while (block < bytes)
        block *= 2;
    return block;
}

static bool
create_buddy(const char *name, uint64_t bytes, uint64_t smallest,
    struct weir_arena **arena)
{
    enum { SMALLEST_MAX = 2 << 20 }; /* that weir has */
    return create_arena(
        &(struct weir_arena_config){ .name = name,
            .bytes = bytes,
            .block_size = smallest < SMALLEST_MAX ? smallest : SMALLEST_MAX,
            .layout = WEIR_BUDDY,
            .flags = WEIR_NEAREST | WEIR_TRIM },
        arena);
}

/*
 * A request takes blocks of these arenas in this order, one of each, and gives
 * them all back without waiting for an earlier one. So what is out of the last
 * comes home, then what waits for it, and no two wait for each other, however
 * little there is. In one arena, bodies could fill it and wait for a result.
 * The exception is a body that does not say its length: it arrives in parts,
 * and the deadline must end what it may come to.
 */
static bool
create_arenas(struct server *server)
{
    enum { BODY_MIN = 1024 };
    const struct options *options = &server->options;
    const uint64_t row = options->dim * sizeof(float);
    return create_buddy("requests",
               options->slots > 0 ? options->slots * block_of(options->block)
                                  : options->arena,
               options->block, &server->requests) &&
           create_buddy("bodies", options->bodies, BODY_MIN, &server->bodies) &&
           create_buddy("results",
               options->results * block_of(options->batch * row), row,
               &server->results) &&
           create_arena(&(struct weir_arena_config){ .name = "responses",
                            .block_count = options->responses,
                            .block_size = options->block },
               &server->responses);
}

/* A body has one block, or parts of at most half of the arena that others need
   too. */
static void
limit_bodies(struct server *server)
{
    struct weir_stats requests;
    struct weir_stats bodies;
    weir_arena_stats(server->requests, &requests);
    weir_arena_stats(server->bodies, &bodies);
    uint64_t *most = &server->options.body_max;
    if (*most > bodies.block_size_max)
        *most = bodies.block_size_max;
    uint64_t half = requests.bytes_total / 2;
    server->chunked_max = *most < half ? *most : half;
}

/* A socket on `port` of 127.0.0.1, which others may share; -1 and errno. */
static int
bind_port(unsigned port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const int yes = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0 &&
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static unsigned
port_of(int fd)
{
    struct sockaddr_in address = { 0 };
    socklen_t len = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.sin_port);
}

/* The first loop chooses the port if it is to be a free one. */
static bool
start_loops(struct server *server)
{
    server->port = (unsigned)server->options.port;
    server->loops =
        memory_zeroed(server->options.loops * sizeof(*server->loops));
    for (uint64_t i = 0; i < server->options.loops; i++) {
        int fd = bind_port(server->port);
        if (fd < 0) {
            (void)fprintf(stderr, "embed_server: port %u: %s\n", server->port,
                strerror(errno));
            return false;
        }
        server->port = port_of(fd);
        int error = loop_start(&server->loops[i], server, fd);
        if (error != 0) {
            (void)fprintf(stderr, "embed_server: %s\n", uv_strerror(error));
            return false;
        }
    }
    return true;
}

static bool
start(struct server *server)
{
    answer_prepare();
    if (!create_arenas(server))
        return false;
    limit_bodies(server);
    if (pool_start(&server->pool, server->options.workers) != 0) {
        (void)fputs("embed_server: no threads\n", stderr);
        return false;
    }
    return start_loops(server);
}

/* Signals are taken by sigwait alone, so threads must not see them. */
static void
wait_for_signal(const sigset_t *signals)
{
    int number = 0;
    if (sigwait(signals, &number) == 0)
        (void)printf("draining\n");
}

/* All blocks must be home before the arenas go. */
static bool
stop(struct server *server)
{
    for (uint64_t i = 0; i < server->options.loops; i++)
        loop_drain(&server->loops[i]);
    for (uint64_t i = 0; i < server->options.loops; i++)
        loop_join(&server->loops[i]);
    pool_stop(&server->pool);
    bool clean = metrics_report(server) == 0;
    weir_arena_destroy(&server->requests);
    weir_arena_destroy(&server->bodies);
    weir_arena_destroy(&server->results);
    weir_arena_destroy(&server->responses);
    free(server->loops);
    return clean;
}

int
main(int count, char **words)
{
    struct server server = { 0 };
    if (!options_read(&server.options, count, words))
        return 2;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (!start(&server))
        return 2;
    (void)printf("listening on 127.0.0.1:%u\n", server.port);
    wait_for_signal(&signals);
    return stop(&server) ? 0 : 1;
}
