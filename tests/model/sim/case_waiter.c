/* SPDX-License-Identifier: MIT */
/*
 * waiter: no wake-up is lost, no block is granted twice, first come first
 * served. Edge [sleep]; "No wake-up is lost" in arena/waiters.c.
 *
 * At the end nobody may be queued while a block is free, every waiter was told
 * once or took its wait back, and every block is accounted for.
 */

#include "cases.h"
#include "world.h"

static struct weir_arena *arena;
static struct weir_buf bufs[2];
static enum weir_status waited[WORLD_WAITERS];
static enum weir_status canceled;

static void
prepare_blocks(uint32_t blocks, unsigned flags)
{
    if (blocks > 0)
        arena = world_create(blocks, flags);
    world_prepare_queue();
    for (uint32_t i = 0; i < blocks; i++)
        bufs[i] = world_alloc(arena);
    for (unsigned i = 0; i < WORLD_WAITERS; i++)
        waited[i] = WEIR_INVALID; /* it did not ask */
    canceled = WEIR_INVALID;
}

static void
prepare(void)
{
    prepare_blocks(1, 0);
}

static void
prepare_two(void)
{
    prepare_blocks(2, 0);
}

static void
prepare_spill(void)
{
    prepare_blocks(1, WEIR_SPILL_FULL);
}

/* The block is out, and what may be spilled too. */
static void
prepare_spilled(void)
{
    prepare_spill();
    bufs[1] = world_alloc(arena);
}

/* All blocks are out, one of them on the heap and twice as large. */
static void
prepare_grown(void)
{
    static const char more[WORLD_BLOCK];
    prepare();
    arena = world_create_spilling(1, (size_t)3 * WORLD_BLOCK);
    bufs[0] = world_alloc(arena);
    weir_buf_commit(&bufs[0], WORLD_BLOCK / 2);
    sim_expect(weir_buf_write(&bufs[0], more, sizeof more) == WEIR_OK);
    bufs[1] = world_alloc(arena);
    for (unsigned i = 0; i < 2; i++)
        waited[i] = world_wait(arena, i);
}

/* One or two blocks of an arena with caches, each in a word of its own if there
   are two; all are still to be taken. */
static void
prepare_cached(void)
{
    prepare_blocks(0, 0);
    arena = world_create(WR_WORD_BITS + 2, 0);
    arena->drought_length = 1;
    world_leave(arena, 1, 0);
}

static void
prepare_cached_two(void)
{
    prepare_cached();
    atomic_init(&arena->fixed.map.words[1], 1);
    atomic_init(&arena->counts[WR_WORD_BITS], 0);
}

/* Two wait already: 0, then 1. */
static void
prepare_waiting(void)
{
    prepare_two();
    for (unsigned i = 0; i < 2; i++)
        waited[i] = world_wait(arena, i);
}

/* Thread 2 has taken the blocks, so that its cache has their word on top. */
static void
warm_cached(void)
{
    world_warm();
    if (sim_self() == 2)
        bufs[0] = world_alloc(arena);
}

static void
warm_cached_two(void)
{
    warm_cached();
    if (sim_self() == 2)
        bufs[1] = world_alloc(arena);
}

static void
give_first(void)
{
    world_drop(&bufs[0]);
}

static void
give_second(void)
{
    world_drop(&bufs[1]);
}

static void
give_both(void)
{
    give_first();
    give_second();
}

static void
wait_0(void)
{
    waited[0] = world_wait(arena, 0);
}

static void
wait_1(void)
{
    waited[1] = world_wait(arena, 1);
}

static void
wait_2_3(void)
{
    waited[2] = world_wait(arena, 2);
    waited[3] = world_wait(arena, 3);
}

static void
wait_and_cancel(void)
{
    wait_1();
    if (waited[1] == WEIR_PENDING)
        canceled = weir_waiter_cancel(&world_queue->waiters[1]);
}

/* Its cache has what it gave; it takes it again, and flushes. */
static void
give_and_borrow(void)
{
    struct weir_buf buf;
    give_first();
    if (world_try(arena, &buf))
        world_drop(&buf);
    weir_thread_flush();
}

static void
cancel_0(void)
{
    canceled = weir_waiter_cancel(&world_queue->waiters[0]);
}

static void
borrow(void)
{
    struct weir_buf buf;
    if (world_try(arena, &buf))
        world_drop(&buf);
}

/* Others wait since before it asks: it gets nothing before they do. */
static void
borrow_behind(void)
{
    struct weir_buf buf;
    if (!world_try(arena, &buf))
        return;
    sim_expect(arena->first_waiter == NULL);
    world_drop(&buf);
}

/* What a thread closes is closed for it, whatever it believes in. */
static void
close_and_ask(void)
{
    struct weir_buf buf;
    borrow();
    borrow();
    weir_arena_close(arena);
    sim_expect(weir_arena_alloc(arena, 0, &buf) == WEIR_CLOSED);
    sim_expect(weir_arena_alloc_barge(arena, 0, &buf) == WEIR_CLOSED);
    sim_expect(world_wait(arena, 3) == WEIR_CLOSED);
}

static void
barge(void)
{
    struct weir_buf buf;
    if (weir_arena_alloc_barge(arena, 0, &buf) == WEIR_OK)
        world_drop(&buf);
}

static void
close(void)
{
    weir_arena_close(arena);
}

/* A loop: sleeps until it is rung for, drains, until all its waiters are told. */
static void
loop_for_two(void)
{
    unsigned told = 0;
    while (told < 2) {
        sim_tokens_take(&world_rung);
        told += (unsigned)weir_bell_drain(&world_queue->bell, 1);
    }
}

/* The same, and the waiters and their bell are no more as soon as it may be. */
static void
loop_and_leave(void)
{
    loop_for_two();
    for (unsigned i = 0; i < 2; i++)
        world_drop(&world_queue->waiters[i].buf);
    weir_bell_fini(&world_queue->bell);
    sim_memory_give(world_queue);
}

/* Two blocks come back for two waiters, so it is rung for at least once. */
static void
loop_once(void)
{
    sim_tokens_take(&world_rung);
    (void)weir_bell_drain(&world_queue->bell, 0);
}

/* ---- The end ----------------------------------------------------------- */

static bool
was_told(unsigned waiter)
{
    bool told = false;
    for (unsigned i = 0; i < world_told_count; i++) {
        if (world_told[i] != waiter)
            continue;
        sim_expect(!told); /* once */
        told = true;
    }
    return told;
}

/* Gives back what a waiter got, and says whether it has a right to wait still. */
static bool
settle(unsigned i)
{
    struct weir_waiter *waiter = &world_queue->waiters[i];
    bool told = was_told(i);
    if (waited[i] != WEIR_PENDING) {
        sim_expect(!told);
        if (waited[i] == WEIR_OK)
            world_drop(&waiter->buf);
        return false;
    }
    if (told && waiter->status == WEIR_OK)
        world_drop(&waiter->buf);
    return !told;
}

/* Drains, gives back what was granted, and again, until all are served. */
static void
settle_all(void)
{
    world_expect_served(arena);
    (void)weir_bell_drain(&world_queue->bell, 0);
    for (unsigned i = 0; i < WORLD_WAITERS; i++) {
        unsigned before = world_told_count;
        bool waits = settle(i);
        sim_expect(
            !waits || canceled == WEIR_OK || arena->first_waiter != NULL);
        (void)weir_bell_drain(&world_queue->bell, 0);
        /* Who was granted a block just now has been settled, or comes yet. */
        for (; before < world_told_count; before++)
            if (world_told[before] < i)
                world_drop(&world_queue->waiters[world_told[before]].buf);
        (void)weir_bell_drain(&world_queue->bell, 0);
    }
    sim_expect(arena->first_waiter == NULL && arena->waiting == 0);
    weir_bell_fini(&world_queue->bell);
}

static void
all_are_served(void)
{
    settle_all();
    world_expect_whole(arena);
}

static void
second_comes_too(void)
{
    world_expect_served(arena);
    world_drop(&bufs[1]);
    all_are_served();
}

static void
first_comes_too(void)
{
    world_expect_served(arena);
    world_drop(&bufs[0]);
    all_are_served();
}

/* As they came: 0 before 1. */
static void
all_are_served_in_order(void)
{
    (void)weir_bell_drain(&world_queue->bell, 0);
    for (unsigned i = 0; i < world_told_count; i++)
        sim_expect(world_told[i] == i);
    all_are_served();
}

static void
all_are_told_closed(void)
{
    world_drop(&bufs[0]); /* if nobody did */
    world_expect_served(arena);
    sim_expect(arena->first_waiter == NULL);
    struct weir_buf buf;
    sim_expect(weir_arena_alloc(arena, 0, &buf) == WEIR_CLOSED);
    all_are_served();
}

static void
all_are_home(void)
{
    world_expect_served(arena);
    world_expect_whole(arena);
}

static void
both_were_told(void)
{
    sim_expect(world_told_count == 2);
    sim_expect(world_rings <= 3); /* a drain of one leaves one to ring for */
    settle_all();
    world_expect_whole(arena);
}

static void
canceled_or_told(void)
{
    sim_expect(canceled == WEIR_OK || canceled == WEIR_PENDING);
    (void)weir_bell_drain(&world_queue->bell, 0);
    sim_expect(was_told(0) == (canceled == WEIR_PENDING));
    all_are_served();
}

const struct sim_case waiter_cases[] = {
    {
        .name = "wait",
        .claim = "a wait and a release of the only block",
        .before = prepare,
        .warm = world_warm,
        .threads = { wait_0, give_first },
        .after = all_are_served,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "wait_two",
        .claim = "two waits and a release",
        .before = prepare,
        .threads = { wait_0, wait_1, give_first },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_releases",
        .claim = "two waits behind others, two releases",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { wait_2_3, give_first, give_second },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_borrow",
        .claim = "a wait while another one takes and gives",
        .before = prepare,
        .warm = world_warm,
        .threads = { wait_0, give_first, borrow },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_barge",
        .claim = "and while one barges",
        .before = prepare,
        .warm = world_warm,
        .threads = { wait_0, give_first, barge },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_order",
        .claim = "first come, first served",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { give_first, give_second, borrow_behind },
        .after = all_are_served_in_order,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_cancel",
        .claim = "a wait that is taken back leaves nothing",
        .before = prepare,
        .warm = world_warm,
        .threads = { wait_0, wait_and_cancel, give_first },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_cancel_told",
        .claim = "taken back while it is served",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { cancel_0, give_both, borrow },
        .after = canceled_or_told,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_close",
        .claim = "the arena closes on them",
        .before = prepare,
        .threads = { wait_0, give_first, close },
        .after = all_are_told_closed,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_close_full",
        .claim = "the arena closes on them, and no block comes back",
        .before = prepare,
        .warm = world_warm,
        .threads = { wait_0, wait_1, close },
        .after = all_are_told_closed,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_closed",
        .claim = "who closed gets nothing any more",
        .before = prepare,
        .warm = world_warm,
        .threads = { wait_0, give_first, close_and_ask },
        .after = all_are_told_closed,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_loop",
        .claim = "a loop that sleeps until it is rung for",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { give_first, give_second, loop_for_two },
        .after = both_were_told,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_loop_gone",
        .claim = "nobody touches a waiter that was told, or its bell",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { give_first, give_second, loop_and_leave },
        .after = all_are_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_loop_cancel",
        .claim = "a wait is taken back while its loop runs it",
        .before = prepare_waiting,
        .warm = world_warm,
        .threads = { give_both, loop_once, cancel_0 },
        .after = canceled_or_told,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_spill",
        .claim = "waits where heap memory may stand in",
        .before = prepare_spill,
        .warm = world_warm,
        .threads = { wait_0, wait_1, give_first },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_spill_home",
        .claim = "a wait and a release of what was spilled",
        .before = prepare_spilled,
        .warm = world_warm,
        .threads = { wait_0, give_second, wait_1 },
        .after = first_comes_too,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_spill_grown",
        .claim = "one release makes room for two",
        .before = prepare_grown,
        .threads = { give_first, wait_2_3 },
        .after = second_comes_too,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "wait_cached",
        .claim = "a wait and a release to a cache",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { wait_0, give_first },
        .after = all_are_served,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "wait_cached_two",
        .claim = "two waits and two releases, one below the other",
        .before = prepare_cached_two,
        .warm = warm_cached_two,
        .threads = { wait_0, give_both, wait_1 },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "wait_cached_hit",
        .claim = "a wait, and a block that goes out again",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { wait_0, give_and_borrow, borrow },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "wait_cached_cancel",
        .claim = "a wait that is taken back, and caches go on again",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { wait_and_cancel, give_and_borrow, wait_0 },
        .after = all_are_served,
        .preemptions = 2,
        .stales = 1,
    },
    {
        .name = "wait_cached_close",
        .claim = "the arena closes on a waiter and a cache",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { wait_0, give_first, close },
        .after = all_are_told_closed,
        .preemptions = 2,
        .stales = 2,
    },
    { 0 },
};
