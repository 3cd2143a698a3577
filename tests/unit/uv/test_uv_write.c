/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <criterion/parameterized.h>

enum { SMALL = 4096, MOST_WRITES = 8 };

/* Writes of one test, and how they ended, in order. */
struct sent {
    struct weir_uv_write writes[MOST_WRITES];
    size_t order[MOST_WRITES];
    int status[MOST_WRITES];
    size_t count;
    size_t made; /* bytes of the pattern put into chains */
};

static void
on_sent(struct weir_uv_write *write, int status)
{
    struct sent *sent = write->user;
    sent->order[sent->count] = (size_t)(write - sent->writes);
    sent->status[sent->count] = status;
    sent->count++;
}

/* Adds `count` slices of `size` bytes to the chain, cut from few blocks. */
static void
fill(struct world *world, struct sent *sent, struct weir_chain *chain,
    size_t count, size_t size)
{
    struct weir_buf buf = { 0 };
    for (size_t i = 0; i < count; i++) {
        if (weir_buf_room(&buf) < size) {
            weir_buf_drop(&buf);
            cr_assert(
                eq(int, weir_arena_alloc(world->arena, 0, &buf), WEIR_OK));
        }
        uint8_t *tail = weir_buf_tail(&buf);
        for (size_t k = 0; k < size; k++)
            tail[k] = pattern(sent->made + k);
        sent->made += size;
        struct weir_slice slice;
        weir_buf_commit(&buf, size);
        weir_buf_split(&buf, &slice);
        cr_assert(eq(int, weir_chain_push(chain, &slice), WEIR_OK));
    }
    weir_buf_drop(&buf);
}

static int
write_chain(struct conn *conn, struct sent *sent, size_t index,
    struct weir_chain *chain)
{
    sent->writes[index].user = sent;
    return weir_uv_write(&sent->writes[index], stream_of(conn), chain, on_sent);
}

/* What the peer gets, `n` bytes in all, while the loop turns. */
static void
expect_at_peer(struct world *world, struct conn *conn, size_t n)
{
    uint8_t bytes[8192];
    size_t got = 0;
    size_t wrong = 0;
    double deadline = now_s() + 10;
    while (got < n && now_s() < deadline) {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        ssize_t some = recv(conn->peer, bytes, sizeof(bytes), MSG_DONTWAIT);
        for (ssize_t i = 0; i < some; i++)
            wrong += bytes[i] != pattern(got++);
    }
    cr_assert(eq(sz, got, n));
    cr_assert(eq(sz, wrong, 0));
    cr_assert(eq(long, recv(conn->peer, bytes, 1, MSG_DONTWAIT), -1));
}

Test(uv_write, what_fits_is_sent_at_once)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 4);
    open_conn(&world, &conn, 'a');
    fill(&world, &sent, &chain, 3, 100);

    int result = write_chain(&conn, &sent, 0, &chain);

    cr_assert(eq(int, result, WEIR_UV_SENT));
    cr_assert(eq(sz, weir_chain_len(&chain), 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    expect_at_peer(&world, &conn, 300);
    cr_assert(eq(sz, sent.count, 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_write, an_empty_chain_is_sent_at_once)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 4);
    open_conn(&world, &conn, 'a');

    int result = write_chain(&conn, &sent, 0, &chain);

    cr_assert(eq(int, result, WEIR_UV_SENT));
    close_conn(&conn);
    end(&world);
}

Test(uv_write, what_does_not_fit_is_queued)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 65536, 64);
    open_conn_with(&world, &conn, 'a', SMALL);
    fill(&world, &sent, &chain, 8, 65536);

    int result = write_chain(&conn, &sent, 0, &chain);

    cr_assert(eq(int, result, 0));
    cr_assert(eq(sz, weir_chain_len(&chain), 0));
    cr_assert(eq(sz, sent.count, 0));
    cr_assert(gt(sz, blocks_out(&world), 0));
    cr_assert(lt(sz, weir_chain_len(&sent.writes[0].chain), 8 * 65536));
    expect_at_peer(&world, &conn, 8 * 65536);
    run_to(&world, &sent.count, 1);
    cr_assert(eq(int, sent.status[0], 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

struct shape {
    size_t slices;
    size_t size;
    int buffer;
};

ParameterizedTestParameters(uv_write, chains_of_all_lengths_arrive)
{
    static struct shape shapes[] = { { 1, 1, 0 }, { 15, 10, 0 }, { 16, 10, 0 },
        { 17, 10, 0 }, { 33, 7, 0 }, { 1500, 7, 0 }, { 15, 4000, SMALL },
        { 17, 4000, SMALL }, { 64, 4000, SMALL }, { 3000, 100, SMALL } };
    return cr_make_param_array(
        struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}

ParameterizedTest(struct shape *shape, uv_write, chains_of_all_lengths_arrive)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 128);
    open_conn_with(&world, &conn, 'a', shape->buffer);
    fill(&world, &sent, &chain, shape->slices, shape->size);

    int result = write_chain(&conn, &sent, 0, &chain);

    cr_assert(ge(int, result, 0));
    expect_at_peer(&world, &conn, shape->slices * shape->size);
    run_to(&world, &sent.count, result == 0);
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_write, queued_writes_keep_their_order)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    begin(&world, 4096, 128);
    open_conn_with(&world, &conn, 'a', SMALL);

    for (size_t i = 0; i < 5; i++) {
        struct weir_chain chain = { 0 };
        fill(&world, &sent, &chain, i == 0 ? 60 : 3 + i, 4000);
        cr_assert(eq(int, write_chain(&conn, &sent, i, &chain), 0));
    }
    expect_at_peer(&world, &conn, sent.made);
    run_to(&world, &sent.count, 5);

    for (size_t i = 0; i < 5; i++) {
        cr_assert(eq(sz, sent.order[i], i));
        cr_assert(eq(int, sent.status[i], 0));
    }
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_write, closing_cancels_what_is_queued)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    begin(&world, 4096, 128);
    open_conn_with(&world, &conn, 'a', SMALL);
    for (size_t i = 0; i < 3; i++) {
        struct weir_chain chain = { 0 };
        fill(&world, &sent, &chain, i == 0 ? 60 : 5, 4000);
        cr_assert(eq(int, write_chain(&conn, &sent, i, &chain), 0));
    }

    close_conn(&conn);
    run_to(&world, &sent.count, 3);

    for (size_t i = 0; i < 3; i++)
        cr_assert(eq(int, sent.status[i], UV_ECANCELED));
    cr_assert(eq(sz, blocks_out(&world), 0));
    end(&world);
}

Test(uv_write, a_peer_that_goes_fails_what_is_queued)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 128);
    open_conn_with(&world, &conn, 'a', SMALL);
    fill(&world, &sent, &chain, 60, 4000);
    cr_assert(eq(int, write_chain(&conn, &sent, 0, &chain), 0));

    reset_peer(&conn);
    run_to(&world, &sent.count, 1);

    cr_assert(lt(int, sent.status[0], 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_write, an_error_leaves_the_chain_to_the_caller)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 4);
    open_conn(&world, &conn, 'a');
    reset_peer(&conn);
    sleep_ms(10);
    fill(&world, &sent, &chain, 20, 100);

    int result = write_chain(&conn, &sent, 0, &chain);

    cr_assert(lt(int, result, 0));
    cr_assert(eq(sz, weir_chain_len(&chain), 2000));
    weir_chain_release(&chain);
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_write, a_write_that_cannot_be_queued_leaves_the_chain)
{
    struct world world;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 4);
    fill(&world, &sent, &chain, 20, 100);
    uv_tcp_t tcp;
    uv_tcp_init(&world.loop, &tcp);
    sent.writes[0].user = &sent;

    int result =
        weir_uv_write(&sent.writes[0], (uv_stream_t *)&tcp, &chain, on_sent);

    cr_assert(eq(int, result, UV_EBADF));
    cr_assert(eq(sz, weir_chain_len(&chain), 2000));
    weir_chain_release(&chain);
    uv_close((uv_handle_t *)&tcp, NULL);
    end(&world);
}

static void
on_connected(uv_connect_t *connect, int status)
{
    size_t *failed = connect->data;
    *failed += status != 0;
}

Test(uv_write, a_write_before_the_connection_waits_for_it)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    struct weir_chain chain = { 0 };
    begin(&world, 4096, 4);
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(eq(int, bind(listener, (struct sockaddr *)&address, size), 0));
    cr_assert(eq(int, listen(listener, 1), 0));
    getsockname(listener, (struct sockaddr *)&address, &size);
    size_t failed = 0;
    uv_connect_t connect = { .data = &failed };
    conn = (struct conn){ .peer = -1 };
    uv_tcp_init(&world.loop, &conn.tcp);
    uv_tcp_connect(
        &connect, &conn.tcp, (const struct sockaddr *)&address, on_connected);
    fill(&world, &sent, &chain, 17, 100);

    int result = write_chain(&conn, &sent, 0, &chain);

    cr_assert(eq(int, result, 0));
    conn.peer = accept(listener, NULL, NULL);
    expect_at_peer(&world, &conn, 1700);
    run_to(&world, &sent.count, 1);
    cr_assert(eq(sz, failed, 0));
    close_conn(&conn);
    close(listener);
    end(&world);
}

static void
on_read_echo(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct conn *conn = reader->user;
    struct sent *sent = conn->tcp.loop->data;
    if (nread <= 0)
        return;
    struct weir_chain chain = { 0 };
    conn->bytes += (size_t)nread;
    cr_assert(eq(int, weir_chain_push(&chain, slice), WEIR_OK));
    int result = write_chain(conn, sent, 0, &chain);
    cr_assert(eq(int, result, WEIR_UV_SENT));
}

Test(uv_write, what_is_read_is_sent_back_without_a_copy)
{
    struct world world;
    struct conn conn;
    struct sent sent = { 0 };
    begin(&world, 4096, 4);
    world.loop.data = &sent;
    open_conn(&world, &conn, 'a');
    weir_uv_read_start(&world.uv, &conn.reader, stream_of(&conn), on_read_echo);

    send_bytes(&conn, 10000);
    run_to(&world, &conn.bytes, 10000);

    expect_at_peer(&world, &conn, 10000);
    struct weir_stats stats;
    weir_arena_stats(world.arena, &stats);
    cr_assert(eq(u64, stats.bytes_copied, 0));
    close_conn(&conn);
    end(&world);
}
