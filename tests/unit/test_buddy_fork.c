/* SPDX-License-Identifier: MIT */
#include "support/buddies.h"
#include "support/child.h"
#include "support/waiting.h"

enum { LEAF = 256, SIZE = MIB, OUT = 12, SLEEPERS = 3 };

static struct weir_arena *arena;
static struct weir_buf out[OUT + SLEEPERS];
static pthread_barrier_t gate;
static pthread_t sleepers[SLEEPERS];
static size_t bytes_out;
static bool
    had_half_done; /* it comes home leaf by leaf, and each merge counts */

static void *
sleep_with_blocks(void *user)
{
    struct weir_buf *buf = user;
    *buf = take_of(arena, 5000);
    for (size_t size = LEAF; size <= 64 * KIB; size *= 2)
        cr_assert(eq(int, ask_for(arena, size), WEIR_OK));
    (void)pthread_barrier_wait(&gate);
    (void)pthread_barrier_wait(&gate);
    weir_buf_drop(buf);
    return NULL;
}

/* Blocks of many sizes are out, ours and the sleepers', and all of us have free
   ones at hand. */
static void
begin(unsigned flags)
{
    arena = open_buddy_with(LEAF, SIZE, flags);
    bytes_out = 0;
    for (size_t i = 0; i < OUT; i++) {
        out[i] = take_of(arena, (size_t)LEAF << i % 8);
        bytes_out += size_of_buf(&out[i]);
    }
    cr_assert(zero(int, pthread_barrier_init(&gate, NULL, SLEEPERS + 1)));
    for (size_t i = 0; i < SLEEPERS; i++)
        sleepers[i] = start_thread(sleep_with_blocks, &out[OUT + i]);
    (void)pthread_barrier_wait(&gate);
    bytes_out += SLEEPERS * (size_t)8192;
    expect_sound(arena, bytes_out);
}

static void
end(void)
{
    (void)pthread_barrier_wait(&gate);
    for (size_t i = 0; i < SLEEPERS; i++)
        join_thread(sleepers[i]);
    for (size_t i = 0; i < OUT; i++)
        weir_buf_drop(&out[i]);
    close_merged(&arena);
}

/* ---- The child goes on ------------------------------------------------- */

static void
expect_numbers(uint64_t wanted)
{
    struct weir_stats stats = stats_of(arena);
    weir_arena_check(arena);
    NEED(stats.bytes_out == wanted);
    NEED(stats.bytes_out + stats.bytes_cached + stats.bytes_free ==
         stats.bytes_total);
    NEED(stats.blocks_out == stats.allocs - stats.releases);
}

static void
go_on(void)
{
    static struct weir_buf bufs[SIZE / LEAF];
    size_t count = 0;
    expect_numbers(bytes_out);
    NEED(arena->record_count == 1);
    while (weir_arena_alloc(arena, LEAF, &bufs[count]) == WEIR_OK)
        memset(weir_buf_tail(&bufs[count++]), 0xff, LEAF);
    NEED(count == (SIZE - bytes_out) / LEAF);
    expect_numbers(SIZE);
    while (count > 0)
        weir_buf_drop(&bufs[--count]);
    for (size_t i = 0; i < OUT + SLEEPERS; i++)
        weir_buf_drop(&out[i]);
    NEED(ask_for(arena, SIZE) == WEIR_OK);
    expect_numbers(0);
    NEED(weir_arena_largest_free(arena) == SIZE);
    struct weir_stats stats = stats_of(arena);
    NEED(stats.splits == stats.coalesces || had_half_done);
    weir_arena_destroy(&arena);
}

Test(buddy_fork, a_child_has_all_that_was_not_out_and_merges_it)
{
    begin(0);

    expect_good_child(go_on);

    expect_sound(arena, bytes_out);
    end();
}

Test(buddy_fork, a_child_goes_on_without_caches_too)
{
    begin(WEIR_NO_CACHE);

    expect_good_child(go_on);

    expect_sound(arena, bytes_out);
    end();
}

static void
fork_again(void)
{
    expect_numbers(bytes_out);
    pid_t child = fork();
    if (child == 0) {
        go_on();
        _exit(0);
    }
    int how = 1;
    NEED(waitpid(child, &how, 0) == child);
    NEED(how == 0);
    go_on();
}

Test(buddy_fork, a_child_may_have_children)
{
    begin(0);

    expect_good_child(fork_again);

    end();
}

static void
trim_and_thaw(void)
{
    struct weir_slice slice;
    struct weir_buf *buf = &out[7];
    NEED(weir_buf_write(buf, "text", 4) == WEIR_OK);
    weir_buf_freeze(buf, &slice);
    NEED(weir_slice_trim(&slice) == 32 * KIB - LEAF);
    NEED(slice_holds(&slice, "text"));
    NEED(weir_slice_thaw(&slice, buf) == WEIR_OK);
    NEED(weir_buf_room(buf) == LEAF - 4);
    bytes_out -= 32 * KIB - LEAF;
    go_on();
}

Test(buddy_fork, a_child_trims_what_was_out)
{
    begin(0);
    cr_assert(eq(sz, size_of_buf(&out[7]), 32 * KIB));

    expect_good_child(trim_and_thaw);

    end();
}

static struct iovec memory;

static void
drop_the_last(void)
{
    weir_buf_drop(&out[1]);
    NEED(is_mapped(memory.iov_base, memory.iov_len));
    weir_buf_drop(&out[0]);
    NEED(!is_mapped(memory.iov_base, memory.iov_len));
}

Test(buddy_fork, a_dying_arena_goes_with_its_last_block_in_each_process)
{
    arena = open_buddy_with(LEAF, SIZE, 0);
    weir_arena_memory(arena, &memory);
    out[0] = take_of(arena, LEAF);
    out[1] = take_of(arena, 5000);
    weir_arena_destroy(&arena);

    expect_good_child(drop_the_last);

    weir_buf_drop(&out[0]);
    cr_assert(is_mapped(memory.iov_base, memory.iov_len));
    weir_buf_drop(&out[1]);
    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

static struct weir_bell bell;
static struct guest guest;

static void
find_nobody_waiting(void)
{
    NEED(stats_of(arena).waiting == 0);
    NEED(ask_for(arena, SIZE / 2) == WEIR_OK);
    weir_buf_drop(&out[0]);
    NEED(ask_for(arena, SIZE) == WEIR_OK);
    NEED(served.rings == 0);
}

Test(buddy_fork, a_large_request_is_the_parents)
{
    arena = open_buddy(LEAF, SIZE);
    out[0] = take_of(arena, LEAF);
    open_bell(&bell);
    invite(&guest, 'a', &bell);
    cr_assert(
        eq(int, weir_arena_wait(arena, SIZE, &guest.waiter), WEIR_PENDING));

    expect_good_child(find_nobody_waiting);

    weir_buf_drop(&out[0]);
    cr_assert(eq(sz, weir_bell_drain(&bell, 0), 1));
    cr_assert(eq(sz, weir_buf_room(&guest.waiter.buf), SIZE));
    weir_buf_drop(&guest.waiter.buf);
    weir_bell_fini(&bell);
    close_merged(&arena);
}

/* ---- What another thread was in the middle of -------------------------- */

static struct wr_buddy_hint hint;

static uint32_t
order_of(const struct weir_buf *buf)
{
    return wr_owner_order(buf->owner);
}

/* The release of a block was done but for giving it to the buddy. */
Test(buddy_fork, a_block_that_a_dead_thread_was_giving_is_free_in_the_child)
{
    begin(0);
    had_half_done = true;
    struct weir_buf given = out[7];
    wr_store_relaxed(wr_arena_refs(given.word, given.owner), 0);
    out[7] = (struct weir_buf){ 0 };
    size_t whole = bytes_out;
    bytes_out -= 32 * KIB;

    expect_good_child(go_on);

    bytes_out = whole;
    cr_assert(wr_buddy_give(
        &arena->buddy, &hint, wr_owner_slot(given.owner), order_of(&given)));
    wr_arena_count(arena, WR_RELEASES, 1);
    (void)pthread_barrier_wait(&gate);
    for (size_t i = 0; i < SLEEPERS; i++)
        join_thread(sleepers[i]);
    for (size_t i = 0; i < OUT; i++)
        weir_buf_drop(&out[i]);
    weir_thread_flush();
    expect_sound(arena, 0);
    close_whole(&arena);
}

/* The last weight was subtracted, and the order still stands in the count. */
Test(buddy_fork, a_count_of_no_weight_is_no_block_in_the_child)
{
    begin(0);
    had_half_done = true;
    struct weir_buf given = out[7];
    _Atomic uint64_t *count = wr_arena_refs(given.word, given.owner);
    uint64_t before = wr_load_relaxed(count);
    wr_store_relaxed(count, wr_order_tag(order_of(&given)));
    out[7] = (struct weir_buf){ 0 };
    bytes_out -= 32 * KIB;

    expect_good_child(go_on);

    bytes_out += 32 * KIB;
    out[7] = given;
    wr_store_relaxed(count, before);
    end();
}

/* The count says that the tail is given back, and it is nowhere yet. */
Test(buddy_fork, a_tail_that_a_dead_thread_was_trimming_is_free_in_the_child)
{
    begin(0);
    had_half_done = true;
    struct weir_buf given = out[7];
    _Atomic uint64_t *count = wr_arena_refs(given.word, given.owner);
    uint64_t before = wr_load_relaxed(count);
    wr_store_relaxed(count, WR_WEIGHT_WHOLE | wr_order_tag(2));
    out[7].owner = wr_owner_with_order(given.owner, 2);
    bytes_out -= 32 * KIB - 4 * LEAF;

    expect_good_child(go_on);

    bytes_out += 32 * KIB - 4 * LEAF;
    out[7] = given;
    wr_store_relaxed(count, before);
    end();
}
