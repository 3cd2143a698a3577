/* SPDX-License-Identifier: MIT */
#include "fixture.h"

/* Blocks of 256 bytes to `bytes`, a power of two. */
static void
begin_buddy(
    struct world *world, size_t bytes, const struct weir_uv_options *options)
{
    struct weir_arena *arena;
    struct weir_arena_config config = {
        .name = "test", .bytes = bytes, .block_size = 256, .layout = WEIR_BUDDY
    };
    cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_OK));
    begin_shared(world, arena, options);
    world->shares_arena = false;
}

static size_t
bytes_out(const struct world *world)
{
    struct weir_stats stats;
    weir_arena_stats(world->arena, &stats);
    return (size_t)stats.bytes_out;
}

static int
start_whole(struct world *world, struct conn *conn, size_t n)
{
    return weir_uv_read_whole(
        &world->uv, &conn->reader, stream_of(conn), n, on_read);
}

static void
open_whole(struct world *world, struct conn *conn, char name, size_t n)
{
    open_conn(world, conn, name);
    cr_assert(eq(int, start_whole(world, conn, n), 0));
}

/* ---- How much is asked for --------------------------------------------- */

Test(uv_whole, streams_share_a_block_of_the_size_that_was_chosen)
{
    struct world world;
    struct conn conns[2];
    struct weir_uv_options options = { .block_size = 4096 };
    begin_buddy(&world, 1 << 16, &options);
    for (size_t i = 0; i < 2; i++) {
        open_reading(&world, &conns[i], (char)('a' + i));
        conns[i].keeps = true;
        send_bytes(&conns[i], 1000);
        run_to(&world, &conns[i].bytes, 1000);
    }

    cr_assert(eq(sz, blocks_out(&world), 1));
    cr_assert(eq(sz, bytes_out(&world), 4096));
    for (size_t i = 0; i < 2; i++)
        close_conn(&conns[i]);
    end(&world);
}

Test(uv_whole, without_a_choice_a_buddy_arena_gives_16_kib_or_all_it_has)
{
    for (size_t bytes = 1 << 13; bytes <= 1 << 15; bytes *= 2) {
        struct world world;
        struct conn conn;
        begin_buddy(&world, bytes, NULL);
        open_reading(&world, &conn, 'a');
        conn.keeps = true;
        send_bytes(&conn, 1);
        run_to(&world, &conn.bytes, 1);

        cr_assert(eq(sz, bytes_out(&world), bytes < 1 << 14 ? bytes : 1 << 14));
        close_conn(&conn);
        end(&world);
    }
}

/* ---- A whole ----------------------------------------------------------- */

Test(uv_whole, it_arrives_in_one_slice_and_the_reader_stops)
{
    struct world world;
    struct conn conn;
    begin_buddy(&world, 1 << 16, NULL);
    open_whole(&world, &conn, 'a', 3000);
    conn.keeps = true;
    for (size_t i = 0; i < 3; i++) {
        cr_assert(eq(sz, conn.calls, 0));
        send_bytes(&conn, 1000);
        run_for(&world, 5);
    }

    run_to(&world, &conn.bytes, 3000);
    cr_assert(eq(sz, conn.calls, 1));
    cr_assert(eq(sz, blocks_out(&world), 1));
    cr_assert(eq(sz, bytes_out(&world), 4096));
    cr_assert(not(uv_is_active((uv_handle_t *)&conn.tcp)));
    close_conn(&conn);
    end(&world);
}

Test(uv_whole, what_follows_is_left_for_the_next_read)
{
    struct world world;
    struct conn conn;
    begin_buddy(&world, 1 << 16, NULL);
    open_whole(&world, &conn, 'a', 100);
    send_bytes(&conn, 350);
    run_to(&world, &conn.bytes, 100);
    cr_assert(eq(int, start_whole(&world, &conn, 200), 0));
    run_to(&world, &conn.bytes, 300);
    cr_assert(eq(int, start(&world, &conn), 0));

    run_to(&world, &conn.bytes, 350);
    cr_assert(eq(sz, conn.calls, 3));
    close_conn(&conn);
    end(&world);
}

Test(uv_whole, it_waits_for_a_block_of_its_size)
{
    struct world world;
    struct conn conn;
    struct weir_buf held[2] = { 0 };
    begin_buddy(&world, 1 << 13, NULL);
    open_whole(&world, &conn, 'a', 3000);
    for (size_t i = 0; i < 2; i++)
        cr_assert(
            eq(int, weir_arena_alloc(world.arena, 4096, &held[i]), WEIR_OK));
    send_bytes(&conn, 1000);
    run_to(&world, &world.uv.paused, 1);

    weir_buf_drop(&held[0]);
    run_for(&world, 5);
    cr_assert(eq(sz, world.uv.paused, 0));
    cr_assert(eq(sz, blocks_out(&world), 2));
    send_bytes(&conn, 2000);
    run_to(&world, &conn.bytes, 3000);
    cr_assert(eq(sz, conn.calls, 1));
    weir_buf_drop(&held[1]);
    close_conn(&conn);
    end(&world);
}

Test(uv_whole, it_takes_no_rest_of_another_block)
{
    struct world world;
    struct conn shares;
    struct conn whole;
    begin_buddy(&world, 1 << 12, NULL);
    open_reading(&world, &shares, 'a');
    shares.keeps = true;
    send_bytes(&shares, 10);
    run_to(&world, &shares.bytes, 10);
    open_whole(&world, &whole, 'b', 500);
    send_bytes(&whole, 500);
    run_to(&world, &world.uv.paused, 1);

    send_bytes(&shares, 10);
    run_for(&world, 30);
    cr_assert(eq(sz, whole.calls, 0));
    weir_chain_release(&shares.kept);
    run_to(&world, &whole.bytes, 500);
    run_to(&world, &shares.bytes, 20);
    close_conn(&shares);
    close_conn(&whole);
    end(&world);
}

Test(uv_whole, no_block_is_held_before_the_first_byte)
{
    struct world world;
    struct conn conn;
    begin_buddy(&world, 1 << 12, NULL);
    open_whole(&world, &conn, 'a', 100);
    run_for(&world, 5);
    cr_assert(eq(sz, blocks_out(&world), 0));

    /* Another handle on the socket takes the byte that was there. */
    struct weir_buf held;
    cr_assert(eq(int, weir_arena_alloc(world.arena, 4096, &held), WEIR_OK));
    send_bytes(&conn, 1);
    run_to(&world, &world.uv.paused, 1);
    uv_os_fd_t fd;
    char byte;
    cr_assert(eq(int, uv_fileno((uv_handle_t *)&conn.tcp, &fd), 0));
    cr_assert(eq(long, recv(fd, &byte, 1, 0), 1));
    weir_buf_drop(&held);
    run_for(&world, 60);

    cr_assert(eq(sz, world.uv.paused, 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    conn.sent = 0;
    send_bytes(&conn, 100);
    run_to(&world, &conn.bytes, 100);
    close_conn(&conn);
    end(&world);
}

Test(uv_whole, a_half_keeps_its_block_and_lets_the_loop_sleep)
{
    struct world world;
    struct conn conn;
    begin_buddy(&world, 1 << 12, NULL);
    open_whole(&world, &conn, 'a', 1000);
    send_bytes(&conn, 1);
    run_for(&world, 60);

    size_t before = world.turns;
    run_for(&world, 50);
    cr_assert(lt(sz, world.turns - before, 4));
    cr_assert(eq(sz, bytes_out(&world), 1024));
    send_bytes(&conn, 999);
    run_to(&world, &conn.bytes, 1000);
    cr_assert(eq(sz, blocks_out(&world), 0));
    close_conn(&conn);
    end(&world);
}

Test(uv_whole, a_half_is_dropped_at_the_end_and_at_a_stop)
{
    struct world world;
    struct conn conns[2];
    begin_buddy(&world, 1 << 12, NULL);
    for (size_t i = 0; i < 2; i++) {
        open_whole(&world, &conns[i], 'a', 1000);
        send_bytes(&conns[i], 999);
    }
    run_for(&world, 5);
    cr_assert(eq(sz, blocks_out(&world), 2));

    close_peer(&conns[0]);
    run_to(&world, &conns[0].ends, 1);
    weir_uv_read_stop(&conns[1].reader);

    cr_assert(eq(long, conns[0].ended, UV_EOF));
    cr_assert(eq(sz, conns[0].bytes + conns[1].bytes, 0));
    cr_assert(eq(sz, blocks_out(&world), 0));
    for (size_t i = 0; i < 2; i++)
        close_conn(&conns[i]);
    end(&world);
}

Test(uv_whole, wholes_of_many_sizes_all_arrive)
{
    enum { CONNS = 24, LARGEST = 1 << 13 };
    struct world world;
    struct conn conns[CONNS];
    begin_buddy(&world, 1 << 14, NULL);
    for (size_t i = 0; i < CONNS; i++) {
        size_t n = i % 4 == 0 ? LARGEST - i : 1 + 37 * i;
        open_whole(&world, &conns[i], 'a', n);
        send_bytes(&conns[i], n);
    }

    run_to(&world, &reads.count, CONNS);
    cr_assert(gt(sz, world.uv.pauses, 0));
    for (size_t i = 0; i < CONNS; i++) {
        cr_assert(eq(sz, conns[i].bytes, conns[i].sent));
        close_conn(&conns[i]);
    }
    end(&world);
}

Test(uv_whole, it_works_in_a_fixed_arena_too)
{
    struct world world;
    struct conn conn;
    begin(&world, 2048, 2);
    open_whole(&world, &conn, 'a', 2048);
    send_bytes(&conn, 2048);

    run_to(&world, &conn.bytes, 2048);
    cr_assert(eq(sz, conn.calls, 1));
    cr_assert(eq(int, start_whole(&world, &conn, 2049), UV_EMSGSIZE));
    close_conn(&conn);
    end(&world);
}

Test(uv_whole, what_cannot_be_read_is_refused)
{
    struct world world;
    struct conn conn;
    begin_buddy(&world, 1 << 12, NULL);
    open_conn(&world, &conn, 'a');
    cr_assert(eq(int, start_whole(&world, &conn, 0), UV_EINVAL));
    cr_assert(eq(int, start_whole(&world, &conn, 4097), UV_EMSGSIZE));
    cr_assert(eq(int, start_whole(&world, &conn, 4096), 0));
    cr_assert(eq(int, start_whole(&world, &conn, 4096), UV_EALREADY));

    weir_arena_close(world.arena);
    send_bytes(&conn, 1);
    run_to(&world, &conn.ends, 1);
    cr_assert(eq(long, conn.ended, UV_ESHUTDOWN));
    close_conn(&conn);
    end(&world);
}
