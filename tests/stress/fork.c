/* SPDX-License-Identifier: MIT */
/*
 * fork seed seconds: a forked child has all blocks but those that were out.
 *
 *     parent  sleepers with full caches, one who takes and releases without end,
 *             one who makes arenas, uses the heap and destroys them, one who forks
 *     child   alone: claims until "full", releases, claims again, flushes, makes
 *             an arena of its own, destroys the inherited one, exits
 *
 * The forking thread holds some blocks, and the restless one holds one at most,
 * so it is known what a child must get: all others, in whoever's cache they
 * were. A second arena is full, and somebody waits there: in the child nobody
 * does any more, and in the parent the waiter is granted what comes back.
 */

#include "arena/arena.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FORKER = 0,
    RESTLESS = 1,
    BUILDER = 2,
    FIRST_SLEEPER = 3,
    SLEEPERS = 5,
    THREADS = FIRST_SLEEPER + SLEEPERS,
    BLOCKS_MAX = 1000,
    HELD_MAX = 8,
    FILL_MAX = 100,
    DAMMED = 64, /* blocks of the full arena */
    BLOCK_SIZE = 64,
    CHILD_S = 20
};

static struct weir_arena *arena;
static struct weir_arena *dam;
static uint32_t blocks;
static struct weir_buf dammed[DAMMED];
static sem_t turns[SLEEPERS];
static sem_t filled;
static _Atomic bool ends; /* sleepers go home */
static uint64_t forks;
static uint64_t caught;   /* children that found the restless one's block out */
static uint64_t cached;   /* blocks, before the forks */
static uint32_t unmapped; /* arenas, in a child */

/* ---- Sleepers and others ----------------------------------------------- */

/* Fills its cache; there are more blocks than all take at once. */
static void
fill(struct stress_random *random)
{
    struct weir_buf held[FILL_MAX];
    uint32_t most = blocks / (SLEEPERS + 2);
    uint32_t count = stress_below(random, most < FILL_MAX ? most : FILL_MAX);
    for (uint32_t i = 0; i < count; i++)
        stress_expect(weir_arena_alloc(arena, 0, &held[i]) == WEIR_OK,
            "full, but blocks were free");
    for (uint32_t i = 0; i < count; i++)
        weir_buf_drop(&held[i]);
}

static void
sleep_between(uint32_t index, struct stress_random *random)
{
    for (;;) {
        while (sem_wait(&turns[index]) != 0)
            continue;
        if (atomic_load_explicit(&ends, memory_order_relaxed))
            return;
        fill(random);
        (void)sem_post(&filled);
    }
}

static void
take_and_release(void)
{
    while (!atomic_load_explicit(&ends, memory_order_relaxed)) {
        struct weir_buf buf;
        stress_expect(weir_arena_alloc(arena, 0, &buf) == WEIR_OK,
            "full, but blocks were free");
        weir_buf_drop(&buf);
    }
}

static void
let_go(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    ++*(uint32_t *)user;
}

/* What lies on the heap: a spilled block, control blocks, a chain's array. */
static void
use_heap(struct weir_arena *own)
{
    struct weir_chain chain = { 0 };
    struct weir_slice slice;
    struct weir_buf buf;
    uint32_t pushed = 0;
    uint32_t gone = 0;
    stress_expect(weir_arena_alloc(own, 0, &buf) == WEIR_OK, "no block");
    stress_expect(
        weir_buf_reserve(&buf, 2 * BLOCK_SIZE) == WEIR_OK, "no heap memory");
    weir_buf_drop(&buf);
    for (; pushed < 2 * WEIR_CHAIN_INLINE; pushed++) {
        stress_expect(
            weir_slice_foreign("text", 4, let_go, &gone, &slice) == WEIR_OK,
            "no foreign slice");
        stress_expect(
            weir_chain_push(&chain, &slice) == WEIR_OK, "no longer chain");
    }
    weir_chain_release(&chain);
    stress_expect_equal(gone, pushed, "foreign slices gone");
}

/* An arena of the calling thread's, for a moment. */
static void
use_own_arena(void)
{
    struct weir_arena *own;
    struct weir_buf buf;
    struct weir_arena_config config = { .name = "own",
        .block_size = BLOCK_SIZE,
        .block_count = DAMMED,
        .flags = WEIR_SPILL_GROW };
    stress_expect(weir_arena_create(&config, &own) == WEIR_OK, "no arena");
    for (uint32_t i = 0; i < 4; i++) {
        stress_expect(weir_arena_alloc(own, 0, &buf) == WEIR_OK, "no block");
        weir_buf_drop(&buf);
    }
    use_heap(own);
    weir_arena_destroy(&own);
}

static void
build(struct stress_random *random)
{
    while (!atomic_load_explicit(&ends, memory_order_relaxed)) {
        struct weir_stats stats;
        use_own_arena();
        weir_arena_stats(arena, &stats);
        if (stress_chance(random, 20))
            weir_thread_flush();
    }
}

/* ---- The child --------------------------------------------------------- */

static uint32_t
claim_all(struct weir_arena *of, struct weir_buf *bufs)
{
    static struct stress_shadow shadow;
    enum weir_status status;
    uint32_t count = 0;
    while ((status = weir_arena_alloc(of, 0, &bufs[count])) == WEIR_OK) {
        stress_expect(count < BLOCKS_MAX, "more blocks than there are");
        stress_shadow_take(&shadow, wr_owner_slot(bufs[count].owner), 1);
        count++;
    }
    stress_expect(status == WEIR_FULL, "an alloc failed");
    for (uint32_t i = 0; i < count; i++)
        stress_shadow_give(&shadow, wr_owner_slot(bufs[i].owner), 1);
    return count;
}

static void
drop_all(struct weir_buf *bufs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        weir_buf_drop(&bufs[i]);
}

/* Returns how many blocks of others are out. */
static uint32_t
expect_rest(uint32_t held)
{
    static struct weir_buf bufs[BLOCKS_MAX + 1];
    struct weir_stats stats;
    uint32_t rest = claim_all(arena, bufs);
    stress_expect(held + rest <= blocks, "more blocks than there are");
    uint32_t others = blocks - held - rest;
    stress_expect(others <= 1, "more blocks are missing than were out");
    drop_all(bufs, rest);
    weir_thread_flush();
    stress_expect_equal(claim_all(arena, bufs), rest, "got again");
    drop_all(bufs, rest);
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, held + others, "out in the child");
    stress_expect(arena->record_count <= 1, "records of threads not here");
    return others;
}

/* The parent's waiter does not wait here. */
static void
expect_nobody_waits(void)
{
    struct weir_stats stats;
    struct weir_buf buf;
    weir_arena_stats(dam, &stats);
    uint64_t grants = stats.grants;
    stress_expect_equal(stats.waiting, 0, "waiting in the child");
    stress_expect_equal(stats.blocks_out, DAMMED, "out of the full arena");
    stress_expect(
        weir_arena_alloc(dam, 0, &buf) == WEIR_FULL, "it is not full");
    weir_buf_drop(&dammed[0]);
    weir_arena_stats(dam, &stats);
    stress_expect_equal(stats.grants, grants, "granted in the child");
    stress_expect_equal(stats.blocks_out, DAMMED - 1, "out after a release");
    stress_expect(weir_arena_alloc(dam, 0, &dammed[0]) == WEIR_OK,
        "an alloc waits for nobody");
}

static void
on_unmapped(void *unused)
{
    (void)unused;
    unmapped++;
}

/* A block that is missing keeps its arena for ever. */
static void
destroy_inherited(uint32_t missing)
{
    unmapped = 0;
    weir_arena_destroy(&arena);
    stress_expect_equal(unmapped, missing == 0, "unmapped in the child");
    weir_arena_destroy(&dam);
    drop_all(dammed, DAMMED);
    stress_expect_equal(unmapped, 1 + (missing == 0), "unmapped in the child");
}

_Noreturn static void
be_child(struct weir_buf *held, uint32_t count)
{
    (void)alarm(CHILD_S);
    uint32_t others = expect_rest(count);
    expect_nobody_waits();
    use_own_arena();
    drop_all(held, count);
    (void)expect_rest(0);
    weir_arena_check(dam);
    if (others == 0) /* else it may be half taken, or half given, for ever */
        weir_arena_check(arena);
    destroy_inherited(others);
    use_own_arena();
    _exit(others == 0 ? 0 : 2);
}

/* ---- The parent -------------------------------------------------------- */

static struct weir_bell bell;
static uint64_t grants;
static _Atomic uint32_t rings;

static void
on_ring(struct weir_bell *rung)
{
    (void)rung;
    (void)atomic_fetch_add_explicit(&rings, 1, memory_order_relaxed);
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    stress_expect(status == WEIR_OK, "a grant failed");
    dammed[0] = waiter->buf;
    grants++;
}

static void
fill_dam(void)
{
    for (uint32_t i = 0; i < DAMMED; i++)
        stress_expect(
            weir_arena_alloc(dam, 0, &dammed[i]) == WEIR_OK, "no block");
}

static void
fork_once(struct weir_buf *held, uint32_t count)
{
    pid_t child = fork();
    stress_expect(child >= 0, "no child");
    if (child == 0)
        be_child(held, count);
    int status;
    stress_expect(waitpid(child, &status, 0) == child, "a child is lost");
    stress_expect(WIFEXITED(status), "a child died");
    int code = WEXITSTATUS(status);
    stress_expect(code == 0 || code == 2, "a child failed");
    caught += code == 2;
    forks++;
}

/* While somebody waits, who is granted the block that comes back. */
static void
fork_waiting(struct weir_buf *held, uint32_t count)
{
    struct weir_waiter waiter = { .bell = &bell, .granted = on_granted };
    stress_expect(
        weir_arena_wait(dam, 0, &waiter) == WEIR_PENDING, "it is not full");
    fork_once(held, count);
    uint64_t before = grants;
    weir_buf_drop(&dammed[0]);
    stress_expect_equal(weir_bell_drain(&bell, 0), 1, "grants in the parent");
    stress_expect_equal(grants, before + 1, "grants in the parent");
}

static void
wake_sleepers(void)
{
    for (uint32_t i = 0; i < SLEEPERS; i++)
        (void)sem_post(&turns[i]);
    for (uint32_t i = 0; i < SLEEPERS; i++)
        while (sem_wait(&filled) != 0)
            continue;
}

static void
fork_again_and_again(struct stress_random *random)
{
    struct weir_buf held[HELD_MAX];
    weir_bell_init(&bell, on_ring, NULL);
    fill_dam();
    while (!stress_is_over()) {
        struct weir_stats stats;
        wake_sleepers();
        uint32_t count = stress_below(random, HELD_MAX);
        for (uint32_t i = 0; i < count; i++)
            stress_expect(weir_arena_alloc(arena, 0, &held[i]) == WEIR_OK,
                "full, but blocks were free");
        weir_arena_stats(arena, &stats);
        cached += stats.blocks_cached;
        fork_waiting(held, count);
        drop_all(held, count);
    }
    drop_all(dammed, DAMMED);
    weir_bell_fini(&bell);
    atomic_store_explicit(&ends, true, memory_order_relaxed);
    for (uint32_t i = 0; i < SLEEPERS; i++)
        (void)sem_post(&turns[i]);
}

static void
body(uint32_t index, struct stress_random *random)
{
    if (index == FORKER)
        fork_again_and_again(random);
    else if (index == RESTLESS)
        take_and_release();
    else if (index == BUILDER)
        build(random);
    else
        sleep_between(index - FIRST_SLEEPER, random);
}

/* ---- The parts --------------------------------------------------------- */

static struct weir_arena *
create(const char *name, uint32_t count)
{
    struct weir_arena *created;
    struct weir_arena_config config = { .name = name,
        .block_size = BLOCK_SIZE,
        .block_count = count,
        .on_unmapped = on_unmapped };
    stress_expect(weir_arena_create(&config, &created) == WEIR_OK, "no arena");
    created->drought_length = 1;
    return created;
}

static void
destroy(struct weir_arena **of)
{
    struct weir_stats stats;
    weir_arena_stats(*of, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.waiting, 0, "waiters are left");
    stress_expect_equal(stats.allocs, stats.releases, "allocs");
    stress_expect(
        stats.caching != WEIR_CACHING_ON || cached > 0, "caches were empty");
    weir_arena_check(*of);
    weir_arena_destroy(of);
}

static void
run(uint32_t count, double share)
{
    blocks = count;
    arena = create("fork", count);
    dam = create("dam", DAMMED);
    atomic_store_explicit(&ends, false, memory_order_relaxed);
    stress_part(share);
    stress_run(&(struct stress_crew){
        .count = THREADS, .body = body, .is_calm = true });
    destroy(&arena);
    destroy(&dam);
}

int
main(int argc, char **argv)
{
    stress_begin("fork", argc, argv);
    for (uint32_t i = 0; i < SLEEPERS; i++)
        (void)sem_init(&turns[i], 0, 0);
    (void)sem_init(&filled, 0, 0);
    run(64, 0.3);
    run(300, 0.3);
    run(BLOCKS_MAX, 0.4);
    stress_report("forks", forks);
    stress_report("grants", grants);
    stress_report("children that missed a block", caught);
    stress_report("blocks cached at a fork", cached / forks);
    return stress_end();
}
