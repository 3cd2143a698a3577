/* SPDX-License-Identifier: MIT */
#include "fixture.h"

enum { BLOCK = 64 };

/* One connection that waits for the only block, which `held` holds. */
static void
begin_paused(struct world *world, struct conn *conn, struct weir_buf *held)
{
    begin(world, BLOCK, 1);
    *held = (struct weir_buf){ 0 };
    cr_assert(eq(int, weir_arena_alloc(world->arena, 0, held), WEIR_OK));
    open_reading(world, conn, 'a');
    send_bytes(conn, BLOCK);
    run_to(world, &world->uv.paused, 1);
}

Test(uv_pause, a_waiting_loop_sleeps)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);

    size_t before = world.turns;
    run_for(&world, 100);

    cr_assert(lt(sz, world.turns - before, 10));
    cr_assert(eq(sz, conn.calls, 0));
    cr_assert(weir_uv_reader_paused(&conn.reader));
    weir_buf_drop(&held);
    run_to(&world, &conn.bytes, BLOCK);
    cr_assert(not(weir_uv_reader_paused(&conn.reader)));
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, a_stream_without_bytes_takes_no_place)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 1);
    open_reading(&world, &conn, 'a');
    conn.keeps = true;

    send_bytes(&conn, BLOCK);
    run_to(&world, &conn.bytes, BLOCK);
    size_t before = world.turns;
    run_for(&world, 50);

    cr_assert(eq(sz, world.uv.pauses, 0));
    cr_assert(lt(sz, world.turns - before, 10));
    send_bytes(&conn, 1);
    run_to(&world, &world.uv.paused, 1);
    weir_chain_release(&conn.kept);
    run_to(&world, &conn.bytes, BLOCK + 1);
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, blocks_go_in_the_order_of_running_dry)
{
    struct world world;
    struct conn conns[5];
    struct weir_buf held = { 0 };
    begin(&world, BLOCK, 1);
    cr_assert(eq(int, weir_arena_alloc(world.arena, 0, &held), WEIR_OK));
    static const char order[] = "dbace";
    for (size_t i = 0; i < 5; i++) {
        open_reading(&world, &conns[i], order[i]);
        send_bytes(&conns[i], BLOCK);
        run_to(&world, &world.uv.paused, i + 1);
    }

    weir_buf_drop(&held);
    run_to(&world, &reads.count, 5);

    expect_order("dbace");
    cr_assert(eq(u64, world.uv.pauses, 5));
    for (size_t i = 0; i < 5; i++)
        close_conn(&conns[i]);
    end(&world);
}

Test(uv_pause, the_order_holds_over_two_loops)
{
    struct world worlds[2];
    struct conn conns[6];
    struct weir_buf held = { 0 };
    begin(&worlds[0], BLOCK, 1);
    begin_shared(&worlds[1], worlds[0].arena, NULL);
    cr_assert(eq(int, weir_arena_alloc(worlds[0].arena, 0, &held), WEIR_OK));
    for (size_t i = 0; i < 6; i++) {
        struct world *world = &worlds[i % 2];
        open_reading(world, &conns[i], (char)('a' + i));
        send_bytes(&conns[i], BLOCK);
        run_to(world, &world->uv.paused, i / 2 + 1);
    }

    weir_buf_drop(&held);
    for (int i = 0; i < 1000 && reads.count < 6; i++) {
        uv_run(&worlds[1].loop, UV_RUN_NOWAIT);
        uv_run(&worlds[0].loop, UV_RUN_NOWAIT);
    }

    expect_order("abcdef");
    for (size_t i = 0; i < 6; i++)
        close_conn(&conns[i]);
    end(&worlds[1]);
    end(&worlds[0]);
}

Test(uv_pause, who_asks_later_does_not_overtake)
{
    struct world world;
    struct conn first;
    struct conn second;
    struct weir_buf held;
    begin_paused(&world, &first, &held);
    open_reading(&world, &second, 'b');
    send_bytes(&second, BLOCK);

    weir_buf_drop(&held);
    run_to(&world, &reads.count, 2);

    expect_order("ab");
    close_conn(&first);
    close_conn(&second);
    end(&world);
}

Test(uv_pause, the_rest_of_a_block_serves_all_that_wait)
{
    struct world world;
    struct conn conns[20];
    struct weir_buf held = { 0 };
    begin(&world, 4096, 1);
    cr_assert(eq(int, weir_arena_alloc(world.arena, 0, &held), WEIR_OK));
    for (size_t i = 0; i < 20; i++) {
        open_reading(&world, &conns[i], (char)('a' + i));
        conns[i].keeps = true;
        send_bytes(&conns[i], 100);
        run_to(&world, &world.uv.paused, i + 1);
    }

    weir_buf_drop(&held);
    run_to(&world, &reads.count, 20);

    expect_order("abcdefghijklmnopqrst");
    cr_assert(eq(sz, blocks_out(&world), 1));
    cr_assert(eq(sz, queued(&world), 0));
    for (size_t i = 0; i < 20; i++)
        close_conn(&conns[i]);
    end(&world);
}

Test(uv_pause, a_rest_that_is_too_short_goes_home)
{
    struct world world;
    struct conn first;
    struct conn second;
    struct weir_buf held = { 0 };
    begin(&world, BLOCK, 1);
    cr_assert(eq(int, weir_arena_alloc(world.arena, 0, &held), WEIR_OK));
    open_reading(&world, &first, 'a');
    send_bytes(&first, BLOCK - 1);
    run_to(&world, &world.uv.paused, 1);
    open_reading(&world, &second, 'b');
    send_bytes(&second, BLOCK);
    run_to(&world, &world.uv.paused, 2);

    weir_buf_drop(&held);
    run_to(&world, &reads.count, 2);

    expect_order("ab");
    cr_assert(eq(sz, second.bytes, BLOCK));
    close_conn(&first);
    close_conn(&second);
    end(&world);
}

/* A reader that was told of a block and did not hear it yet, and a free block,
   of which a callback of the program's own uses `n` bytes. */
static void
begin_told(struct world *world, struct conn *conn, size_t n)
{
    struct weir_buf held[2] = { 0 };
    begin(world, 4096, 2);
    cr_assert(eq(sz, take_all(world, held, 2), 2));
    open_reading(world, conn, 'a');
    send_bytes(conn, 100);
    run_to(world, &world->uv.paused, 1);
    weir_buf_drop(&held[0]);
    weir_buf_drop(&held[1]);

    uv_buf_t room;
    struct weir_slice slice;
    weir_uv_alloc(&world->uv, &room);
    cr_assert(eq(sz, room.len, 4096));
    memset(room.base, 0, n);
    weir_uv_commit(&world->uv, &room, (ssize_t)n, &slice);
    weir_slice_release(&slice);
}

Test(uv_pause, the_rest_of_own_callbacks_serves_who_waits)
{
    struct world world;
    struct conn conn;

    begin_told(&world, &conn, 1);

    cr_assert(eq(sz, world.uv.paused, 0));
    cr_assert(eq(sz, blocks_out(&world), 1));
    run_to(&world, &conn.bytes, 100);
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, no_rest_is_kept_from_who_waits)
{
    struct world world;
    struct conn conn;

    begin_told(&world, &conn, 4000);

    cr_assert(eq(sz, world.uv.paused, 1));
    cr_assert(eq(sz, blocks_out(&world), 1));
    run_to(&world, &conn.bytes, 100);
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, max_grants_bounds_one_turn)
{
    struct world world;
    struct conn conns[6];
    struct weir_buf held[6];
    struct weir_uv_options options = { .max_grants = 2 };
    begin_with(&world, BLOCK, 6, &options);
    memset(held, 0, sizeof(held));
    cr_assert(eq(sz, take_all(&world, held, 6), 6));
    for (size_t i = 0; i < 6; i++) {
        open_reading(&world, &conns[i], (char)('a' + i));
        conns[i].keeps = true;
        send_bytes(&conns[i], BLOCK);
    }
    run_to(&world, &world.uv.paused, 6);

    for (size_t i = 0; i < 6; i++)
        weir_buf_drop(&held[i]);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    cr_assert(eq(sz, world.uv.paused, 4));
    run_to(&world, &reads.count, 6);

    for (size_t i = 0; i < 6; i++)
        close_conn(&conns[i]);
    end(&world);
}

/* ---- Ends of a waiting stream ------------------------------------------ */

Test(uv_pause, a_reset_meanwhile_is_told_after_the_grant)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);

    reset_peer(&conn);
    run_for(&world, 20);
    cr_assert(eq(sz, conn.ends, 0));
    weir_buf_drop(&held);
    run_to(&world, &conn.ends, 1);
    run_for(&world, 60);

    cr_assert(eq(long, conn.ended, UV_ECONNRESET));
    cr_assert(eq(sz, conn.ends, 1));
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, an_end_meanwhile_is_told_after_the_bytes)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);

    close_peer(&conn);
    run_for(&world, 20);
    cr_assert(eq(sz, conn.ends, 0));
    weir_buf_drop(&held);
    run_to(&world, &conn.ends, 1);

    cr_assert(eq(long, conn.ended, UV_EOF));
    cr_assert(eq(sz, conn.bytes, BLOCK));
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, a_stopped_reader_leaves_its_turn_to_the_next)
{
    struct world world;
    struct conn first;
    struct conn second;
    struct weir_buf held;
    begin_paused(&world, &first, &held);
    open_reading(&world, &second, 'b');
    send_bytes(&second, BLOCK);
    run_to(&world, &world.uv.paused, 2);

    weir_uv_read_stop(&first.reader);
    cr_assert(eq(sz, queued(&world), 1));
    weir_buf_drop(&held);
    run_to(&world, &second.bytes, BLOCK);

    cr_assert(eq(sz, first.bytes, 0));
    close_conn(&first);
    close_conn(&second);
    end(&world);
}

Test(uv_pause, readers_stop_anywhere_in_the_queue)
{
    struct world world;
    struct conn conns[5];
    struct weir_buf held = { 0 };
    begin(&world, BLOCK, 1);
    cr_assert(eq(int, weir_arena_alloc(world.arena, 0, &held), WEIR_OK));
    for (size_t i = 0; i < 5; i++) {
        open_reading(&world, &conns[i], (char)('a' + i));
        send_bytes(&conns[i], BLOCK);
        run_to(&world, &world.uv.paused, i + 1);
    }

    weir_uv_read_stop(&conns[2].reader);
    weir_uv_read_stop(&conns[0].reader);
    weir_uv_read_stop(&conns[4].reader);
    weir_buf_drop(&held);
    run_to(&world, &reads.count, 2);
    cr_assert(eq(int, start(&world, &conns[2]), 0));
    run_to(&world, &reads.count, 3);

    expect_order("bdc");
    for (size_t i = 0; i < 5; i++)
        close_conn(&conns[i]);
    end(&world);
}

Test(uv_pause, a_reader_stopped_after_the_ring_gives_its_block_away)
{
    struct world world;
    struct conn first;
    struct conn second;
    struct weir_buf held;
    begin_paused(&world, &first, &held);
    open_reading(&world, &second, 'b');
    send_bytes(&second, BLOCK);
    run_to(&world, &world.uv.paused, 2);

    weir_buf_drop(&held);
    weir_uv_read_stop(&first.reader);
    run_to(&world, &second.bytes, BLOCK);

    cr_assert(eq(sz, first.bytes, 0));
    close_conn(&first);
    close_conn(&second);
    end(&world);
}

Test(uv_pause, a_reader_stopped_with_a_block_gives_it_back)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);
    weir_buf_drop(&held);
    while (world.uv.paused > 0)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    cr_assert(eq(sz, conn.bytes, 0));
    cr_assert(eq(sz, blocks_out(&world), 1));

    weir_uv_read_stop(&conn.reader);

    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, a_granted_block_that_is_not_read_into_goes_home)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);
    uint8_t bytes[BLOCK];
    cr_assert(eq(long, recv(conn.tcp.io_watcher.fd, bytes, BLOCK, 0), BLOCK));

    weir_buf_drop(&held);
    run_for(&world, 60);
    cr_assert(eq(sz, world.uv.paused, 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    conn.bytes = BLOCK;
    send_bytes(&conn, 10);
    run_to(&world, &conn.bytes, BLOCK + 10);

    close_conn(&conn);
    end(&world);
}

Test(uv_pause, a_granted_block_with_nothing_to_read_goes_home)
{
    struct world world;
    struct conn conn;
    struct conn twin;
    struct weir_buf held[2] = { 0 };
    begin(&world, BLOCK, 2);
    cr_assert(eq(sz, take_all(&world, held, 2), 2));
    open_reading(&world, &conn, 'a');
    open_twin(&world, &conn, &twin);
    send_bytes(&conn, BLOCK - 1);
    run_to(&world, &world.uv.paused, 2);

    weir_buf_drop(&held[0]);
    weir_buf_drop(&held[1]);
    run_for(&world, 60);

    cr_assert(eq(sz, conn.bytes + twin.bytes, BLOCK - 1));
    cr_assert(eq(sz, conn.ends + twin.ends, 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&twin);
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, closing_a_waiting_stream_after_stop_is_clean)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);

    close_conn(&conn);
    run_for(&world, 10);

    cr_assert(eq(sz, queued(&world), 0));
    cr_assert(eq(sz, world.uv.paused, 0));
    weir_buf_drop(&held);
    end(&world);
}

Test(uv_pause, closing_a_waiting_stream_without_stop_is_survived)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);

    uv_close((uv_handle_t *)&conn.tcp, NULL);
    run_for(&world, 10);
    weir_buf_drop(&held);
    run_for(&world, 10);

    cr_assert(eq(sz, blocks_out(&world), 0));
    cr_assert(eq(sz, conn.calls + conn.ends, 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, a_closed_arena_ends_the_waiting)
{
    struct world world;
    struct conn first;
    struct conn second;
    struct weir_buf held;
    begin_paused(&world, &first, &held);
    open_reading(&world, &second, 'b');
    send_bytes(&second, 10);
    run_to(&world, &world.uv.paused, 2);

    weir_arena_close(world.arena);
    run_to(&world, &first.ends, 1);
    run_to(&world, &second.ends, 1);
    run_for(&world, 10);

    cr_assert(eq(long, first.ended, UV_ESHUTDOWN));
    cr_assert(eq(sz, first.ends + second.ends, 2));
    cr_assert(eq(sz, world.uv.paused, 0));
    weir_buf_drop(&held);
    close_conn(&first);
    close_conn(&second);
    end(&world);
}

Test(uv_pause, a_closed_arena_ends_who_needs_a_block)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 1);
    open_reading(&world, &conn, 'a');
    weir_arena_close(world.arena);
    run_for(&world, 10);
    cr_assert(eq(sz, conn.ends, 0));

    send_bytes(&conn, 1);
    run_to(&world, &conn.ends, 1);

    cr_assert(eq(long, conn.ended, UV_ESHUTDOWN));
    close_conn(&conn);
    end(&world);
}

static void
on_end_stop_other(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct conn *conn = reader->user;
    on_read(reader, nread, slice);
    if (nread == UV_ESHUTDOWN)
        weir_uv_read_stop(&conn[1].reader);
}

Test(uv_pause, a_reader_told_of_the_end_may_stop_the_next_one)
{
    struct world world;
    struct conn conns[2];
    struct weir_buf held;
    begin_paused(&world, &conns[0], &held);
    conns[0].reader.on_read = on_end_stop_other;
    open_reading(&world, &conns[1], 'b');
    send_bytes(&conns[1], BLOCK);
    run_to(&world, &world.uv.paused, 2);

    weir_arena_close(world.arena);
    run_to(&world, &conns[0].ends, 1);
    run_for(&world, 10);

    cr_assert(eq(sz, conns[1].ends, 0));
    cr_assert(eq(sz, world.uv.paused, 0));
    weir_buf_drop(&held);
    close_conn(&conns[0]);
    close_conn(&conns[1]);
    end(&world);
}

/* ---- Over threads ------------------------------------------------------ */

static void *
release_later(void *user)
{
    struct weir_chain *chain = user;
    sleep_ms(30);
    weir_chain_release(chain);
    return NULL;
}

static void
on_read_until_all(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct conn *conn = reader->user;
    on_read(reader, nread, slice);
    if (conn->bytes < 2 * BLOCK)
        return;
    weir_uv_read_stop(reader);
    uv_close((uv_handle_t *)reader->stream, NULL);
}

Test(uv_pause, a_release_elsewhere_wakes_the_loop_which_then_ends)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 1);
    open_conn(&world, &conn, 'a');
    weir_uv_read_start(
        &world.uv, &conn.reader, stream_of(&conn), on_read_until_all);
    conn.keeps = true;
    send_bytes(&conn, 2 * BLOCK);
    run_to(&world, &world.uv.paused, 1);
    struct weir_chain kept = conn.kept;
    conn.kept = (struct weir_chain){ 0 };
    pthread_t thread;
    cr_assert(eq(int, pthread_create(&thread, NULL, release_later, &kept), 0));

    int alive = uv_run(&world.loop, UV_RUN_DEFAULT);

    cr_assert(eq(int, alive, 0));
    cr_assert(eq(sz, conn.bytes, 2 * BLOCK));
    pthread_join(thread, NULL);
    close_conn(&conn);
    end(&world);
}

Test(uv_pause, a_loop_that_does_not_wait_ends)
{
    struct world world;
    struct conn conn;
    struct weir_buf held;
    begin_paused(&world, &conn, &held);
    cr_assert(ne(int, uv_loop_alive(&world.loop), 0));

    close_conn(&conn);

    cr_assert(eq(int, uv_run(&world.loop, UV_RUN_DEFAULT), 0));
    weir_buf_drop(&held);
    end(&world);
}

Test(uv_pause, no_byte_is_lost_when_all_streams_share_two_blocks)
{
    enum { CONNS = 8, TOTAL = 20000 };
    struct world world;
    struct conn conns[CONNS];
    begin(&world, 256, 2);
    for (size_t i = 0; i < CONNS; i++)
        open_reading(&world, &conns[i], (char)('a' + i));

    struct weir_chain *oldest = NULL;
    for (size_t round = 0; round < TOTAL / 500; round++)
        for (size_t i = 0; i < CONNS; i++) {
            conns[i].keeps = i % 2 == 0;
            send_bytes(&conns[i], 500);
            uv_run(&world.loop, UV_RUN_NOWAIT);
            if (oldest != NULL)
                weir_chain_release(oldest);
            oldest = &conns[i].kept;
        }
    for (size_t i = 0; i < CONNS; i++)
        conns[i].keeps = false;
    for (size_t i = 0; i < CONNS; i++)
        weir_chain_release(&conns[i].kept);
    for (size_t i = 0; i < CONNS; i++)
        run_to(&world, &conns[i].bytes, TOTAL);

    cr_assert(gt(u64, world.uv.pauses, 0));
    for (size_t i = 0; i < CONNS; i++)
        close_conn(&conns[i]);
    end(&world);
}
