/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <errno.h>

enum { BLOCK = 64 };

Test(uv_adapter, every_status_has_an_error)
{
    for (int status = WEIR_FULL; status <= WEIR_SYSTEM; status++)
        cr_assert(lt(int, weir_uv_error((enum weir_status)status), 0));

    cr_assert(eq(int, weir_uv_error(WEIR_OK), 0));
    cr_assert(eq(int, weir_uv_error(WEIR_FULL), UV_ENOBUFS));
    cr_assert(eq(int, weir_uv_error(WEIR_CLOSED), UV_ESHUTDOWN));
    cr_assert(eq(int, weir_uv_error(WEIR_CANCELED), UV_ECANCELED));
    cr_assert(eq(int, weir_uv_error(WEIR_TIMED_OUT), UV_ETIMEDOUT));
    cr_assert(eq(int, weir_uv_error((enum weir_status)99), UV_EINVAL));
}

Test(uv_adapter, what_the_system_refused_is_errno)
{
    errno = ENOMEM;
    int known = weir_uv_error(WEIR_SYSTEM);
    errno = 0;
    int unknown = weir_uv_error(WEIR_SYSTEM);

    cr_assert(eq(int, known, UV_ENOMEM));
    cr_assert(eq(int, unknown, UV_EIO));
}

Test(uv_adapter, it_does_not_keep_the_loop_alive)
{
    struct world world;
    begin(&world, BLOCK, 1);

    int alive = uv_run(&world.loop, UV_RUN_DEFAULT);

    cr_assert(eq(int, alive, 0));
    end(&world);
}

Test(uv_adapter, a_block_held_does_not_keep_the_loop_alive)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 1);
    open_reading(&world, &conn, 'a');
    send_bytes(&conn, 10);
    run_to(&world, &conn.bytes, 10);

    close_conn(&conn);

    cr_assert(eq(int, uv_run(&world.loop, UV_RUN_NOWAIT), 0));
    cr_assert(eq(sz, blocks_out(&world), 1));
    end(&world);
}

Test(uv_adapter, user_survives_init)
{
    struct world world;

    begin(&world, BLOCK, 1);

    cr_assert(eq(ptr, world.uv.user, &world));
    end(&world);
}

Test(uv_adapter, min_tail_is_a_quarter_and_at_most_1024)
{
    struct world small;
    struct world large;

    begin(&small, 256, 1);
    begin(&large, 65536, 1);

    cr_assert(eq(sz, small.uv.min_tail, 64));
    cr_assert(eq(sz, large.uv.min_tail, 1024));
    end(&small);
    end(&large);
}

Test(uv_adapter, rings_before_the_loop_turns_are_one_wake_up)
{
    enum { COUNT = 50 };
    struct world world;
    struct conn conns[COUNT];
    struct weir_buf held[COUNT];
    begin(&world, BLOCK, COUNT);
    memset(held, 0, sizeof(held));
    cr_assert(eq(sz, take_all(&world, held, COUNT), COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        open_reading(&world, &conns[i], 'a');
        send_bytes(&conns[i], BLOCK);
    }
    run_to(&world, &world.uv.paused, COUNT);

    for (size_t i = 0; i < COUNT; i++)
        weir_buf_drop(&held[i]);
    size_t before = world.turns;
    uv_run(&world.loop, UV_RUN_NOWAIT);

    cr_assert(eq(sz, world.turns - before, 1));
    cr_assert(eq(sz, world.uv.paused, 0));
    run_to(&world, &reads.count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        close_conn(&conns[i]);
    end(&world);
}

/* One that reads, one that waits, one that was granted a block, one whose
   wake-up is under way, a chunk, and slices outside. */
Test(uv_adapter, it_closes_with_everything_in_flight)
{
    struct world world;
    struct conn conns[4];
    struct weir_buf held[3];
    begin(&world, BLOCK, 3);
    memset(held, 0, sizeof(held));
    cr_assert(eq(sz, take_all(&world, held, 3), 3));
    for (size_t i = 0; i < 4; i++)
        open_reading(&world, &conns[i], (char)('a' + i));
    for (size_t i = 0; i < 3; i++) {
        send_bytes(&conns[i], BLOCK);
        run_to(&world, &world.uv.paused, i + 1);
    }
    weir_buf_drop(&held[0]);
    while (world.uv.paused == 3)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    weir_buf_drop(&held[1]);

    weir_uv_close(&world.uv, on_world_closed);

    cr_assert(eq(sz, queued(&world), 0));
    cr_assert(eq(sz, blocks_out(&world), 1));
    send_bytes(&conns[3], 10);
    for (size_t i = 0; i < 4; i++)
        close_conn(&conns[i]);
    run_to(&world, &world.closed, 1);
    weir_buf_drop(&held[2]);
    for (size_t i = 0; i < 4; i++)
        cr_assert(eq(sz, conns[i].calls + conns[i].ends, 0));
    end(&world);
}

Test(uv_adapter, a_reader_stops_when_it_needs_a_block_after_close)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 2);
    open_reading(&world, &conn, 'a');
    send_bytes(&conn, 10);

    uv_ref((uv_handle_t *)&world.prepare);
    weir_uv_close(&world.uv, on_world_closed);
    run_to(&world, &world.closed, 1);

    cr_assert(eq(sz, conn.calls + conn.ends, 0));
    cr_assert(eq(int, start(&world, &conn), UV_ESHUTDOWN));
    close_conn(&conn);
    end(&world);
}

static void
on_read_close_all(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice)
{
    struct conn *conn = reader->user;
    on_read(reader, nread, slice);
    weir_uv_close(reader->uv, on_world_closed);
    close_conn(conn);
}

Test(uv_adapter, on_read_may_close_it)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 2);
    open_conn(&world, &conn, 'a');
    weir_uv_read_start(
        &world.uv, &conn.reader, stream_of(&conn), on_read_close_all);

    send_bytes(&conn, 5 * BLOCK);
    run_to(&world, &world.closed, 1);

    cr_assert(eq(sz, conn.calls, 1));
    end(&world);
}

Test(uv_adapter, a_reader_told_of_the_end_may_close_it)
{
    struct world world;
    struct conn conns[3];
    struct weir_buf held = { 0 };
    begin(&world, BLOCK, 1);
    cr_assert(eq(int, weir_arena_alloc(world.arena, 0, &held), WEIR_OK));
    for (size_t i = 0; i < 3; i++) {
        open_conn(&world, &conns[i], 'a');
        weir_uv_read_start(&world.uv, &conns[i].reader, stream_of(&conns[i]),
            on_read_close_all);
        send_bytes(&conns[i], BLOCK);
    }
    run_to(&world, &world.uv.paused, 3);

    weir_arena_close(world.arena);
    run_to(&world, &world.closed, 1);

    cr_assert(eq(sz, conns[0].ends + conns[1].ends + conns[2].ends, 1));
    weir_buf_drop(&held);
    for (size_t i = 0; i < 3; i++)
        close_conn(&conns[i]);
    end(&world);
}

Test(uv_adapter, a_close_without_callback_is_fine)
{
    struct world world;
    begin(&world, BLOCK, 1);

    weir_uv_close(&world.uv, NULL);

    world.closed = 1;
    end(&world);
}

Test(uv_adapter, slices_outlive_adapter_loop_and_arena)
{
    struct world world;
    struct conn conn;
    begin(&world, BLOCK, 1);
    open_reading(&world, &conn, 'a');
    conn.keeps = true;
    send_bytes(&conn, 10);
    run_to(&world, &conn.bytes, 10);
    struct weir_chain kept = conn.kept;
    conn.kept = (struct weir_chain){ 0 };
    close_conn(&conn);
    struct weir_arena *arena = world.arena;
    world.shares_arena = true;
    end(&world);

    weir_arena_destroy(&arena);

    uint8_t bytes[10];
    cr_assert(
        eq(int, weir_chain_copy(&kept, 0, sizeof(bytes), bytes), WEIR_OK));
    for (size_t i = 0; i < sizeof(bytes); i++)
        cr_assert(eq(u8, bytes[i], pattern(i)));
    weir_chain_release(&kept);
    no_leaks();
}
