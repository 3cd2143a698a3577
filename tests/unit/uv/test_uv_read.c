/* SPDX-License-Identifier: MIT */
#include "fixture.h"

Test(uv_read, bytes_arrive_in_a_slice)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 4);
    open_reading(&world, &conn, 'a');

    send_bytes(&conn, 100);
    run_to(&world, &conn.bytes, 100);

    cr_assert(eq(sz, conn.calls, 1));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, small_messages_of_two_streams_share_a_block)
{
    struct world world;
    struct conn first;
    struct conn second;
    begin(&world, 4096, 4);
    open_reading(&world, &first, 'a');
    open_reading(&world, &second, 'b');
    first.keeps = true;
    second.keeps = true;

    for (size_t i = 1; i <= 8; i++) {
        send_bytes(&first, 100);
        run_to(&world, &first.bytes, i * 100);
        send_bytes(&second, 50);
        run_to(&world, &second.bytes, i * 50);
    }

    cr_assert(eq(sz, weir_chain_count(&first.kept), 8));
    cr_assert(eq(sz, blocks_out(&world), 1));
    close_conn(&first);
    close_conn(&second);
    end(&world);
}

Test(uv_read, what_the_callback_leaves_is_released)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 2);
    open_reading(&world, &conn, 'a');

    send_bytes(&conn, 64 * 20);
    run_to(&world, &conn.bytes, 64 * 20);

    cr_assert(eq(u64, world.uv.pauses, 0));
    run_for(&world, 60);
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, more_than_a_round_of_libuv_arrives_whole)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 200);
    open_reading(&world, &conn, 'a');
    conn.keeps = true;

    send_bytes(&conn, 64 * 150 + 7);
    run_to(&world, &conn.bytes, 64 * 150 + 7);

    cr_assert(eq(sz, conn.calls, 151));
    cr_assert(eq(sz, conn.wrong, 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, a_short_tail_is_used_when_there_is_no_block)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 1);
    open_reading(&world, &conn, 'a');
    conn.keeps = true;
    send_bytes(&conn, 4000);
    run_to(&world, &conn.bytes, 4000);

    send_bytes(&conn, 200);
    run_to(&world, &world.uv.paused, 1);
    cr_assert(eq(sz, conn.bytes, 4096));
    weir_chain_release(&conn.kept);
    run_to(&world, &conn.bytes, 4200);

    cr_assert(eq(sz, world.uv.paused, 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, a_short_tail_is_left_when_there_is_a_block)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 2);
    open_reading(&world, &conn, 'a');
    conn.keeps = true;
    send_bytes(&conn, 4000);
    run_to(&world, &conn.bytes, 4000);

    send_bytes(&conn, 200);
    run_to(&world, &conn.bytes, 4200);

    cr_assert(eq(sz, conn.calls, 2));
    cr_assert(eq(sz, blocks_out(&world), 2));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, min_tail_is_the_programs_choice)
{
    struct world world;
    struct conn conn;
    struct weir_uv_options options = { .min_tail = 1 };
    begin_with(&world, 4096, 2, &options);
    open_reading(&world, &conn, 'a');
    conn.keeps = true;
    send_bytes(&conn, 4090);
    run_to(&world, &conn.bytes, 4090);

    send_bytes(&conn, 5);
    run_to(&world, &conn.bytes, 4095);

    cr_assert(eq(sz, blocks_out(&world), 1));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, a_min_tail_above_the_block_is_the_block)
{
    struct world world;
    struct conn conn;
    struct weir_uv_options options = { .min_tail = 1 << 20 };
    begin_with(&world, 64, 4, &options);
    open_reading(&world, &conn, 'a');

    send_bytes(&conn, 1000);
    run_to(&world, &conn.bytes, 1000);

    cr_assert(eq(sz, world.uv.min_tail, 64));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, the_end_is_told_once)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 2);
    open_reading(&world, &conn, 'a');
    send_bytes(&conn, 10);

    close_peer(&conn);
    run_to(&world, &conn.ends, 1);
    run_for(&world, 30);

    cr_assert(eq(sz, conn.ends, 1));
    cr_assert(eq(long, conn.ended, UV_EOF));
    cr_assert(eq(sz, conn.bytes, 10));
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, a_reset_is_told_once)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 2);
    open_reading(&world, &conn, 'a');

    reset_peer(&conn);
    run_to(&world, &conn.ends, 1);
    run_for(&world, 30);

    cr_assert(eq(sz, conn.ends, 1));
    cr_assert(eq(long, conn.ended, UV_ECONNRESET));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, nothing_to_read_keeps_the_block)
{
    struct world world;
    struct conn conn;
    struct conn twin;
    begin(&world, 4096, 1);
    open_reading(&world, &conn, 'a');
    open_twin(&world, &conn, &twin);

    send_bytes(&conn, 100);
    run_for(&world, 5);

    cr_assert(eq(sz, conn.bytes + twin.bytes, 100));
    cr_assert(eq(sz, conn.calls + twin.calls, 1));
    cr_assert(eq(sz, conn.ends + twin.ends, 0));
    close_conn(&twin);
    close_conn(&conn);
    end(&world);
}

Test(uv_read, an_idle_loop_gives_its_block_back)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 1);
    open_reading(&world, &conn, 'a');
    send_bytes(&conn, 10);
    run_to(&world, &conn.bytes, 10);
    cr_assert(eq(sz, blocks_out(&world), 1));

    run_for(&world, 60);

    cr_assert(eq(sz, blocks_out(&world), 0));
    cr_assert(not(uv_is_active((uv_handle_t *)&world.uv.timer)));
    close_conn(&conn);
    end(&world);
}

static void
on_second_block(struct weir_waiter *waiter, enum weir_status status)
{
    size_t *granted = waiter->user;
    cr_assert(eq(int, status, WEIR_OK));
    (*granted)++;
    weir_buf_drop(&waiter->buf);
}

static void
on_second_ring(struct weir_bell *bell)
{
    (void)bell;
}

Test(uv_read, a_busy_loop_gives_its_block_to_who_waits)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 1);
    open_reading(&world, &conn, 'a');
    send_bytes(&conn, 1);
    run_to(&world, &conn.bytes, 1);
    size_t granted = 0;
    struct weir_bell bell;
    weir_bell_init(&bell, on_second_ring, NULL);
    struct weir_waiter waiter = {
        .bell = &bell, .granted = on_second_block, .user = &granted
    };
    cr_assert(eq(int, weir_arena_wait(world.arena, 0, &waiter), WEIR_PENDING));

    for (size_t i = 0; i < 100 && weir_bell_drain(&bell, 0) == 0; i++) {
        send_bytes(&conn, 1);
        run_for(&world, 1);
    }

    cr_assert(eq(sz, granted, 1));
    cr_assert(lt(sz, conn.bytes, 100));
    weir_bell_fini(&bell);
    close_conn(&conn);
    end(&world);
}

Test(uv_read, stop_and_start_lose_nothing)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 2);
    open_reading(&world, &conn, 'a');
    send_bytes(&conn, 10);
    run_to(&world, &conn.bytes, 10);

    weir_uv_read_stop(&conn.reader);
    weir_uv_read_stop(&conn.reader);
    send_bytes(&conn, 10);
    run_for(&world, 10);
    cr_assert(eq(sz, conn.bytes, 10));
    cr_assert(eq(int, start(&world, &conn), 0));
    run_to(&world, &conn.bytes, 20);

    close_conn(&conn);
    end(&world);
}

Test(uv_read, starting_twice_is_refused)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 2);
    open_reading(&world, &conn, 'a');

    int error = start(&world, &conn);

    cr_assert(eq(int, error, UV_EALREADY));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, starting_a_closing_stream_is_refused)
{
    struct world world;
    struct conn conn;
    begin(&world, 4096, 2);
    open_conn(&world, &conn, 'a');

    uv_close((uv_handle_t *)&conn.tcp, NULL);
    int error = start(&world, &conn);

    cr_assert(eq(int, error, UV_EINVAL));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, stopping_a_zeroed_reader_is_fine)
{
    struct weir_uv_reader reader = { 0 };

    weir_uv_read_stop(&reader);

    cr_assert(not(weir_uv_reader_paused(&reader)));
}

static void
on_read_stop(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    on_read(reader, nread, slice);
    weir_uv_read_stop(reader);
    uv_close((uv_handle_t *)reader->stream, NULL);
}

Test(uv_read, the_callback_may_stop_and_close)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 2);
    open_conn(&world, &conn, 'a');
    weir_uv_read_start(&world.uv, &conn.reader, stream_of(&conn), on_read_stop);

    send_bytes(&conn, 64 * 5);
    run_to(&world, &conn.bytes, 64);
    run_for(&world, 10);

    cr_assert(eq(sz, conn.bytes, 64));
    close_conn(&conn);
    end(&world);
}

static void
on_read_close(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    on_read(reader, nread, slice);
    uv_close((uv_handle_t *)reader->stream, NULL);
}

Test(uv_read, the_callback_may_close_without_stopping)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 2);
    open_conn(&world, &conn, 'a');
    weir_uv_read_start(
        &world.uv, &conn.reader, stream_of(&conn), on_read_close);

    send_bytes(&conn, 64 * 5);
    run_to(&world, &conn.bytes, 64);
    run_for(&world, 10);

    cr_assert(eq(sz, conn.bytes, 64));
    close_conn(&conn);
    end(&world);
}

/* ---- Callbacks of the program's own ------------------------------------ */

static void
own_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
    struct world *world = handle->loop->data;
    (void)suggested;
    weir_uv_alloc(&world->uv, room);
}

static void
own_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *room)
{
    struct world *world = stream->loop->data;
    struct conn *conn = stream->data;
    struct weir_slice slice;
    weir_uv_commit(&world->uv, room, nread, &slice);
    cr_assert(eq(sz, weir_slice_len(&slice), nread > 0 ? (size_t)nread : 0));
    if (nread < 0)
        uv_read_stop(stream);
    on_read(&conn->reader, nread, &slice);
    weir_slice_release(&slice);
}

static void
open_own(struct world *world, struct conn *conn)
{
    open_conn(world, conn, 'a');
    world->loop.data = world;
    conn->tcp.data = conn;
    uv_read_start(stream_of(conn), own_alloc, own_read);
}

Test(uv_read, own_callbacks_read_into_the_chunk)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 4);
    open_own(&world, &conn);
    conn.keeps = true;

    send_bytes(&conn, 64 * 2 + 10);
    run_to(&world, &conn.bytes, 64 * 2 + 10);

    cr_assert(eq(sz, blocks_out(&world), 3));
    close_conn(&conn);
    end(&world);
}

Test(uv_read, own_callbacks_see_enobufs_and_lose_nothing)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 1);
    open_own(&world, &conn);
    conn.keeps = true;

    send_bytes(&conn, 100);
    run_to(&world, &conn.ends, 1);
    cr_assert(eq(long, conn.ended, UV_ENOBUFS));
    weir_chain_release(&conn.kept);
    uv_read_start(stream_of(&conn), own_alloc, own_read);
    run_to(&world, &conn.bytes, 100);

    close_conn(&conn);
    end(&world);
}

Test(uv_read, own_callbacks_get_no_room_after_close)
{
    struct world world;
    begin(&world, 64, 1);
    weir_uv_close(&world.uv, on_world_closed);
    uv_buf_t room = { 0 };

    weir_uv_alloc(&world.uv, &room);

    cr_assert(eq(sz, room.len, 0));
    end(&world);
}

Test(uv_read, own_callbacks_that_end_leave_no_block_behind)
{
    struct world world;
    struct conn conn;
    begin(&world, 64, 1);
    open_own(&world, &conn);

    close_peer(&conn);
    run_to(&world, &conn.ends, 1);
    run_for(&world, 60);

    cr_assert(eq(long, conn.ended, UV_EOF));
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(misuse, uv_commit_of_a_room_not_given_aborts, .signal = SIGABRT)
{
    struct world world;
    begin(&world, 64, 1);
    uv_buf_t room;
    weir_uv_alloc(&world.uv, &room);
    struct weir_slice slice;

    room.base++;
    weir_uv_commit(&world.uv, &room, 1, &slice);
}
