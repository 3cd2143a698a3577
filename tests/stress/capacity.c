/* SPDX-License-Identifier: MIT */
/*
 * capacity seed seconds: WEIR_FULL is exact.
 *
 * Tokens: there are as many as blocks. Who has one and asks for a block must
 * get it, since at no moment all blocks are out or on their way; a block goes
 * home first, then its token goes to the others. They are handed over through
 * a mutex, or through a counter with acquire and release and nothing more.
 *
 * Ballast: the same in a large arena, nearly all of which is out for good. The
 * few blocks that move lie far apart, so that a search takes long, and much can
 * happen behind and before it.
 *
 * Rounds: all ask until they are told "full". No block comes back meanwhile, so
 * together they must have got all, and who is told "full" must not have been
 * told so while one was left for nobody.
 */

#include "base/handle.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>

enum {
    THREADS = 8,
    CLAIMERS = 4,
    BLOCKS_MAX = 1000,
    BALLAST_BLOCKS = STRESS_BLOCKS_MAX,
    BALLAST_FREE = 12,
    BALLAST_OWNER = 255,
    SEARCHERS = 4,
    MOVERS = 4,
    BALLAST_THREADS = SEARCHERS + MOVERS,
    HOLD_MAX = BLOCKS_MAX + 1,
    BLOCK_SIZE = 64
};

struct worker {
    struct weir_buf bufs[HOLD_MAX];
    uint32_t count;
    uint8_t owner;
    uint64_t allocs;
    uint64_t rounds;
};

static struct weir_arena *arena;
static uint32_t blocks;
static struct worker workers[THREADS];
static struct stress_shadow shadow;

static void
got(struct worker *worker, const struct weir_buf *buf)
{
    stress_shadow_take(&shadow, wr_owner_slot(buf->owner), worker->owner);
    worker->bufs[worker->count++] = *buf;
    worker->allocs++;
}

static void
give(struct worker *worker, uint32_t index)
{
    struct weir_buf buf = worker->bufs[index];
    worker->bufs[index] = worker->bufs[--worker->count];
    stress_shadow_give(&shadow, wr_owner_slot(buf.owner), worker->owner);
    weir_buf_drop(&buf);
}

/* ---- Tokens ------------------------------------------------------------ */

static bool by_mutex;
static uint32_t tokens_made;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t tokens; /* also under the mutex, if there is one */

static bool
take_token(void)
{
    if (by_mutex)
        pthread_mutex_lock(&mutex);
    uint32_t seen = atomic_load_explicit(&tokens, memory_order_relaxed);
    while (
        seen > 0 && !atomic_compare_exchange_weak_explicit(&tokens, &seen,
                        seen - 1, memory_order_acquire, memory_order_relaxed))
        continue;
    if (by_mutex)
        pthread_mutex_unlock(&mutex);
    return seen > 0;
}

static void
give_token(void)
{
    if (by_mutex)
        pthread_mutex_lock(&mutex);
    (void)atomic_fetch_add_explicit(&tokens, 1, memory_order_release);
    if (by_mutex)
        pthread_mutex_unlock(&mutex);
}

static void
alloc_with_token(struct worker *worker, struct stress_random *random)
{
    struct weir_buf buf;
    enum weir_status status = stress_chance(random, 75)
                                  ? weir_arena_alloc(arena, 0, &buf)
                                  : weir_arena_alloc_barge(arena, 0, &buf);
    stress_expect(status != WEIR_FULL, "full, but a block was free");
    stress_expect(status == WEIR_OK, "an alloc failed");
    got(worker, &buf);
}

static void
pass_tokens(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    uint32_t share = tokens_made / THREADS + 2;
    worker->owner = (uint8_t)(index + 1);
    for (uint32_t i = 0; !stress_is_over(); i++) {
        bool wants = worker->count < share && stress_chance(random, 60);
        if (wants && take_token()) {
            alloc_with_token(worker, random);
        } else if (worker->count > 0) {
            give(worker, stress_below(random, worker->count));
            give_token();
        } else {
            stress_pause(i);
        }
    }
    while (worker->count > 0) {
        give(worker, 0);
        give_token();
    }
}

/* ---- Ballast ----------------------------------------------------------- */

/* Blocks on their way from searchers to movers. */
static struct {
    pthread_mutex_t mutex;
    struct weir_buf bufs[BALLAST_FREE];
    uint32_t count;
} belt = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static _Atomic uint32_t searching;

/* Who never gives has no idea where a block is: each take is a search. */
static void
search(struct worker *worker, struct stress_random *random)
{
    for (uint32_t i = 0; !stress_is_over(); i++) {
        if (!take_token()) {
            stress_pause(i);
            continue;
        }
        alloc_with_token(worker, random);
        pthread_mutex_lock(&belt.mutex);
        belt.bufs[belt.count++] = worker->bufs[--worker->count];
        pthread_mutex_unlock(&belt.mutex);
    }
    (void)atomic_fetch_sub_explicit(&searching, 1, memory_order_relaxed);
}

/* False: the belt is empty, and will be. */
static bool
clear_belt(struct worker *worker)
{
    bool done = atomic_load_explicit(&searching, memory_order_relaxed) == 0;
    pthread_mutex_lock(&belt.mutex);
    while (belt.count > 0)
        worker->bufs[worker->count++] = belt.bufs[--belt.count];
    pthread_mutex_unlock(&belt.mutex);
    return !done;
}

/* Gives a few, then takes a few: the first where it gave the last, the others
   where a search from there leads. So blocks move about behind and before those
   who search. */
static void
move(struct worker *worker, struct stress_random *random)
{
    while (clear_belt(worker)) {
        for (uint32_t n = stress_below(random, 4); n > 0 && worker->count > 0;
             n--) {
            give(worker, stress_below(random, worker->count));
            give_token();
        }
        for (uint32_t n = stress_below(random, 4); n > 0 && take_token(); n--)
            alloc_with_token(worker, random);
    }
    while (worker->count > 0) {
        give(worker, 0);
        give_token();
    }
}

static void
relay_tokens(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->owner = BALLAST_OWNER;
    if (index < SEARCHERS)
        search(worker, random);
    else
        move(worker, random);
}

/* ---- Rounds ------------------------------------------------------------ */

static struct stress_gate gate;
static _Atomic uint32_t asked; /* blocks that were got or are being asked for */
static _Atomic bool last_round;

static void
claim_until_full(struct worker *worker)
{
    struct weir_buf buf;
    enum weir_status status;
    for (;;) {
        (void)atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
        status = weir_arena_alloc(arena, 0, &buf);
        if (status != WEIR_OK)
            break;
        got(worker, &buf);
    }
    stress_expect(status == WEIR_FULL, "an alloc failed");
    uint32_t others =
        atomic_fetch_sub_explicit(&asked, 1, memory_order_relaxed) - 1;
    stress_expect(others >= blocks, "full, but a block was left");
}

static void
check_round(void)
{
    uint32_t together = 0;
    for (uint32_t i = 0; i < CLAIMERS; i++)
        together += workers[i].count;
    stress_expect_equal(together, blocks, "got together");
    atomic_store_explicit(&asked, 0, memory_order_relaxed);
    atomic_store_explicit(&last_round, stress_is_over(), memory_order_relaxed);
}

/* Some come back by another thread: the hints of all then differ. */
static void
swap_one(struct stress_random *random, uint32_t index)
{
    struct worker *left = &workers[index];
    struct worker *right = &workers[(index + 1) % CLAIMERS];
    if (left->count == 0 || right->count == 0)
        return;
    uint32_t i = stress_below(random, left->count);
    uint32_t j = stress_below(random, right->count);
    struct weir_buf buf = left->bufs[i];
    stress_shadow_give(&shadow, wr_owner_slot(buf.owner), left->owner);
    stress_shadow_take(&shadow, wr_owner_slot(buf.owner), right->owner);
    left->bufs[i] = right->bufs[j];
    right->bufs[j] = buf;
    buf = left->bufs[i];
    stress_shadow_give(&shadow, wr_owner_slot(buf.owner), right->owner);
    stress_shadow_take(&shadow, wr_owner_slot(buf.owner), left->owner);
}

static void
claim_rounds(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->owner = (uint8_t)(index + 1);
    do {
        stress_gate_pass(&gate);
        claim_until_full(worker);
        stress_gate_pass(&gate);
        if (index == 0) {
            check_round();
            for (uint32_t i = 0; i < blocks / 4; i++)
                swap_one(random, i % CLAIMERS);
        }
        stress_gate_pass(&gate);
        while (worker->count > 0)
            give(worker, stress_below(random, worker->count));
        worker->rounds++;
    } while (!atomic_load_explicit(&last_round, memory_order_relaxed));
}

/* ---- The parts --------------------------------------------------------- */

static void
create(uint32_t count)
{
    blocks = count;
    struct weir_arena_config config = {
        .name = "capacity", .block_size = BLOCK_SIZE, .block_count = count
    };
    stress_expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
}

static void
destroy(void)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.allocs, stats.releases, "allocs");
    stress_shadow_expect_free(&shadow, blocks);
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
}

static void
run_tokens(uint32_t count, double share, const struct stress_crew *crew)
{
    tokens_made = count;
    atomic_store_explicit(&tokens, count, memory_order_relaxed);
    stress_part(share);
    stress_run(crew);
    uint32_t back = atomic_load_explicit(&tokens, memory_order_relaxed);
    stress_expect_equal(back, count, "tokens");
}

static void
run_small(uint32_t count, double share)
{
    for (uint32_t i = 0; i < 2; i++) {
        create(count);
        by_mutex = i == 0;
        run_tokens(count, share / 2,
            &(struct stress_crew){ .count = THREADS, .body = pass_tokens });
        destroy();
    }
}

/* Takes all, and gives a few back: in each half of the arena some that lie in
   neighbouring words. */
static void
load_ballast(struct weir_buf *ballast)
{
    enum { HALF = BALLAST_BLOCKS / 2, WORD = 64 };
    for (uint32_t i = 0; i < BALLAST_BLOCKS; i++) {
        struct weir_buf buf;
        stress_expect(
            weir_arena_alloc(arena, 0, &buf) == WEIR_OK, "no ballast");
        ballast[wr_owner_slot(buf.owner)] = buf;
    }
    for (uint32_t i = 0; i < BALLAST_FREE; i++)
        weir_buf_drop(&ballast[i % 2 * HALF + i / 2 * WORD]);
}

static void
run_ballast(double share)
{
    static struct weir_buf ballast[BALLAST_BLOCKS];
    create(BALLAST_BLOCKS);
    load_ballast(ballast);
    by_mutex = false;
    atomic_store_explicit(&searching, SEARCHERS, memory_order_relaxed);
    run_tokens(BALLAST_FREE, share,
        &(struct stress_crew){
            .count = BALLAST_THREADS, .body = relay_tokens });
    for (uint32_t i = 0; i < BALLAST_BLOCKS; i++)
        weir_buf_drop(&ballast[i]);
    destroy();
}

static void
run_rounds(uint32_t count, double share)
{
    create(count);
    gate = (struct stress_gate){ .count = CLAIMERS };
    atomic_store_explicit(&last_round, false, memory_order_relaxed);
    stress_part(share);
    stress_run(
        &(struct stress_crew){ .count = CLAIMERS, .body = claim_rounds });
    destroy();
}

int
main(int argc, char **argv)
{
    stress_begin("capacity", argc, argv);
    static const uint32_t counts[] = { 1, 3, 40, 64, 130, BLOCKS_MAX };
    enum { COUNTS = sizeof counts / sizeof counts[0] };
    for (uint32_t i = 0; i < COUNTS; i++) {
        run_small(counts[i], 0.4 / COUNTS);
        run_rounds(counts[i], 0.2 / COUNTS);
    }
    run_ballast(0.4);

    uint64_t allocs = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        allocs += workers[i].allocs;
    stress_report("allocs", allocs);
    stress_report("rounds", workers[0].rounds);
    return stress_end();
}
