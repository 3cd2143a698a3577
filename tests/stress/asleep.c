/* SPDX-License-Identifier: MIT */
/*
 * asleep seed seconds [control]: a thread that sleeps with a full cache hides
 * no block.
 *
 *     claim   two ask until they are told "full"; together they got all
 *     share   each block falls to one of eight: the two, and six sleepers
 *     fill    claimer ─▶ sleeper ─▶ sleeper ─▶ sleeper ─▶ claimer
 *             each gives its share back, into its cache, and goes to sleep
 *
 * There are no other threads, so in the next round each block is in the cache of
 * somebody who sleeps, or who claims as well, or it is in the bitmap, where
 * those go that a sleeper flushed, or had when it ended. A few rounds are looked
 * at by stats: the caches must have been full, or the test would prove nothing.
 *
 * Apart, each claimer has a processor of its own with its sleepers, and the two
 * collide. Close, all share one: there a sleeper has hardly given the turn away
 * when it sleeps, and a fence has no other processor to wait for, so there are
 * many rounds; in a bare build and a run of a minute and more a million.
 */

#include "arena/arena.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

enum {
    CLAIMERS = 2,
    SLEEPERS = 6,
    SLEEPERS_EACH = SLEEPERS / CLAIMERS,
    SHARES = CLAIMERS + SLEEPERS,
    BLOCKS_MAX = 4096,
    BLOCK_SIZE = 64,
    CHURN_MAX = 80,   /* blocks; more than a word of the bitmap */
    SOME = 512,       /* blocks, in caches: more may not fit */
    LOOK_EVERY = 64,  /* rounds */
    YIELD_EVERY = 32, /* blocks */
    SECONDS_LONG = 60,
    ENOUGH_LONG = 1000000 /* rounds */
};

/* Who sleeps. Its claimer writes the plan while it does. */
struct sleeper {
    pthread_t thread;
    sem_t turn;
    sem_t *next; /* whose turn it is then */
    struct stress_random random;
    uint32_t share;
    bool ends; /* when its turn is over */
};

struct claimer {
    struct weir_buf bufs[BLOCKS_MAX + 1];
    uint32_t count;
    sem_t turn;
    struct stress_random *random;
    struct sleeper *sleepers;
};

/* The rounds of one arena; between the gates the first claimer writes them. */
struct tally {
    uint64_t rounds;
    uint64_t looks;
    uint64_t cached; /* blocks, in all looks */
    uint64_t on;     /* caches, in all looks */
    uint64_t sweeps;
};

static struct weir_arena *arena;
static uint32_t blocks;
static struct weir_buf bufs[BLOCKS_MAX]; /* by block, while it is out */
static struct stress_shadow shadow;
static struct claimer claimers[CLAIMERS];
static struct sleeper sleepers[SLEEPERS];
static struct stress_gate gate;
static struct tally tally;
static bool is_close; /* all on one processor */
static uint32_t deal; /* decides which blocks make a share */
static bool asks_are_counted;
static bool is_last_round;
static _Atomic uint32_t asked; /* blocks that were got or are being asked for */
static _Atomic uint64_t rounds_so_far;
static uint64_t rounds_wanted;

/* ---- Shares ------------------------------------------------------------ */

/* Every `step`th block from the first on. */
struct share {
    uint32_t first;
    uint32_t step;
    uint32_t count;
};

/* In half of the rounds each share has blocks of every word. */
static struct share
share_of(uint32_t index)
{
    uint32_t place = (index + deal / 2) % SHARES;
    if (deal % 2 == 0) {
        uint32_t first = blocks * place / SHARES;
        uint32_t end = blocks * (place + 1) / SHARES;
        return (struct share){ first, 1, end - first };
    }
    return (
        struct share){ place, SHARES, (blocks - place + SHARES - 1) / SHARES };
}

static void
give(uint32_t block, uint32_t share)
{
    stress_shadow_give(&shadow, block, (uint8_t)(share + 1));
    weir_buf_drop(&bufs[block]);
}

/* Takes some and gives them back; `count` free ones are nobody else's. */
static void
churn(uint32_t count)
{
    struct weir_buf held[CHURN_MAX];
    for (uint32_t i = 0; i < count; i++) {
        enum weir_status status = weir_arena_alloc(arena, 0, &held[i]);
        stress_expect(status != WEIR_FULL, "full, but a block was free");
        stress_expect(status == WEIR_OK, "an alloc failed");
    }
    for (uint32_t i = 0; i < count; i++)
        weir_buf_drop(&held[i]);
}

/* A block or two turn the cache on, if no other thread is in the way just then,
   and the others go there. */
static void
fill(uint32_t index, struct stress_random *random)
{
    struct share share = share_of(index);
    bool backwards = stress_chance(random, 30);
    for (uint32_t i = 0; i < share.count; i++) {
        uint32_t nth = backwards ? share.count - 1 - i : i;
        give(share.first + nth * share.step, index);
        if (i == 1 || i == 3)
            churn(2);
    }
    if (stress_chance(random, 10))
        churn(stress_below(
            random, share.count < CHURN_MAX ? share.count : CHURN_MAX));
}

/* ---- Sleepers ---------------------------------------------------------- */

static void
await_turn(sem_t *turn)
{
    while (sem_wait(turn) != 0)
        continue;
}

static void *
sleep_and_fill(void *context)
{
    struct sleeper *sleeper = context;
    bool ends;
    do {
        await_turn(&sleeper->turn);
        ends = sleeper->ends;
        fill(sleeper->share, &sleeper->random);
        uint32_t flushes = stress_below(&sleeper->random, 50);
        if (flushes == 0)
            weir_thread_flush();
        (void)sem_post(sleeper->next);
        if (flushes == 1)
            weir_thread_flush(); /* while others claim already */
    } while (!ends);
    return NULL;
}

static void
start_sleeper(struct sleeper *sleeper)
{
    stress_expect(
        pthread_create(&sleeper->thread, NULL, sleep_and_fill, sleeper) == 0,
        "no thread");
}

/* Lets the sleepers of a claimer fill, one after the other, then the claimer. */
static void
fill_all(uint32_t index)
{
    struct claimer *claimer = &claimers[index];
    for (uint32_t i = 0; i < SLEEPERS_EACH; i++) {
        struct sleeper *sleeper = &claimer->sleepers[i];
        if (sleeper->ends) {
            pthread_join(sleeper->thread, NULL);
            start_sleeper(sleeper);
        }
        sleeper->ends =
            is_last_round || stress_below(claimer->random, 400) == 0;
    }
    (void)sem_post(&claimer->sleepers[0].turn);
    await_turn(&claimer->turn);
    fill(SLEEPERS + index, claimer->random);
}

/* ---- Claimers ---------------------------------------------------------- */

static enum weir_status
ask(struct claimer *claimer, struct weir_buf *buf)
{
    if (asks_are_counted)
        (void)atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
    return stress_chance(claimer->random, 75)
               ? weir_arena_alloc(arena, 0, buf)
               : weir_arena_alloc_barge(arena, 0, buf);
}

static void
claim_until_full(struct claimer *claimer)
{
    enum weir_status status;
    while ((status = ask(claimer, &claimer->bufs[claimer->count])) == WEIR_OK) {
        claimer->count++;
        if (is_close && stress_below(claimer->random, YIELD_EVERY) == 0)
            (void)sched_yield(); /* to the other claimer */
        stress_expect(claimer->count <= blocks, "more blocks than there are");
    }
    stress_expect(status == WEIR_FULL, "an alloc failed");
    if (!asks_are_counted)
        return;
    uint32_t others =
        atomic_fetch_sub_explicit(&asked, 1, memory_order_relaxed) - 1;
    stress_expect(others >= blocks, "full, but a block was left");
}

/* What a claimer got is seen by all, and by nobody twice. */
static void
show(struct claimer *claimer)
{
    while (claimer->count > 0) {
        struct weir_buf *buf = &claimer->bufs[--claimer->count];
        uint32_t block = wr_owner_slot(buf->owner);
        stress_shadow_take(&shadow, block, UINT8_MAX);
        bufs[block] = *buf;
    }
}

/* A share's blocks become its owner's. */
static void
hand_over(uint32_t index)
{
    struct share share = share_of(index);
    for (uint32_t i = 0; i < share.count; i++) {
        uint32_t block = share.first + i * share.step;
        stress_shadow_give(&shadow, block, UINT8_MAX);
        stress_shadow_take(&shadow, block, (uint8_t)(index + 1));
    }
}

static void
plan_round(struct stress_random *random)
{
    tally.rounds++;
    (void)atomic_fetch_add_explicit(&rounds_so_far, 1, memory_order_relaxed);
    atomic_store_explicit(&asked, 0, memory_order_relaxed);
    asks_are_counted = stress_chance(random, 50);
    deal = stress_below(random, 2 * SHARES);
    is_last_round = stress_is_over();
}

/* What the round will find. */
static void
look(void)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    tally.looks++;
    tally.cached += stats.blocks_cached;
    tally.on += stats.caches;
}

static void
claim_rounds(uint32_t index, struct stress_random *random)
{
    struct claimer *claimer = &claimers[index];
    stress_pin(is_close ? 0 : index);
    claimer->random = random;
    claimer->sleepers = &sleepers[SLEEPERS_EACH * index];
    for (uint32_t i = 0; i < SLEEPERS_EACH; i++)
        start_sleeper(&claimer->sleepers[i]);
    for (uint64_t round = 1; !is_last_round; round++) {
        stress_gate_pass(&gate);
        if (round % LOOK_EVERY == 0) {
            if (index == 0)
                look();
            stress_gate_pass(&gate);
        }
        claim_until_full(claimer);
        stress_gate_pass(&gate);
        uint32_t together = claimers[0].count + claimers[1].count;
        stress_expect_equal(together, blocks, "got together");
        stress_gate_pass(&gate);
        show(claimer);
        if (index == 0)
            plan_round(random);
        stress_gate_pass(&gate);
        for (uint32_t i = 0; i < SLEEPERS_EACH; i++)
            hand_over(SLEEPERS_EACH * index + i);
        hand_over(SLEEPERS + index);
        fill_all(index);
    }
    for (uint32_t i = 0; i < SLEEPERS_EACH; i++)
        pthread_join(claimer->sleepers[i].thread, NULL);
}

/* ---- The parts --------------------------------------------------------- */

static void
create(uint32_t count)
{
    blocks = count;
    struct weir_arena_config config = {
        .name = "asleep", .block_size = BLOCK_SIZE, .block_count = count
    };
    stress_expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    arena->drought_length = 1;
}

static void
destroy(void)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.blocks_cached, 0, "blocks are in dead caches");
    stress_expect_equal(stats.caches, 0, "caches of dead threads");
    stress_expect_equal(stats.allocs, stats.releases, "allocs");
    stress_shadow_expect_free(&shadow, blocks);
    weir_arena_check(arena);
    tally.sweeps = stats.sweeps;
    if (stats.caching == WEIR_CACHING_ON && tally.looks > 1) {
        uint64_t some = blocks < SOME ? blocks : SOME;
        stress_expect(
            4 * tally.cached >= tally.looks * some, "caches were empty");
        stress_expect(
            tally.on >= tally.looks * SLEEPERS / 2, "caches were off");
        stress_expect(2 * tally.sweeps >= tally.rounds, "there were no sweeps");
    }
    weir_arena_destroy(&arena);
}

static void
init_turns(void)
{
    for (uint32_t i = 0; i < CLAIMERS; i++)
        (void)sem_init(&claimers[i].turn, 0, 0);
    for (uint32_t i = 0; i < SLEEPERS; i++) {
        uint32_t claimer = i / SLEEPERS_EACH;
        bool is_last = i % SLEEPERS_EACH == SLEEPERS_EACH - 1;
        sleepers[i].share = i;
        sleepers[i].random.state = stress_seed() * SLEEPERS + i;
        sleepers[i].next =
            is_last ? &claimers[claimer].turn : &sleepers[i + 1].turn;
        (void)sem_init(&sleepers[i].turn, 0, 0);
    }
}

static bool
is_enough(void)
{
    return atomic_load_explicit(&rounds_so_far, memory_order_relaxed) >=
           rounds_wanted;
}

/* Adds what is found to the sum. */
static void
run(uint32_t count, bool close, double share, struct tally *sum)
{
    create(count);
    is_close = close;
    tally = (struct tally){ 0 };
    gate = (struct stress_gate){ .count = CLAIMERS };
    is_last_round = false;
    for (uint32_t i = 0; i < SLEEPERS; i++)
        sleepers[i].ends = false;
    stress_part(share);
    stress_run(&(struct stress_crew){ .count = CLAIMERS,
        .body = claim_rounds,
        .enough = is_enough,
        .is_calm = true });
    destroy();
    sum->rounds += tally.rounds;
    sum->sweeps += tally.sweeps;
    sum->looks += tally.looks;
    sum->cached += 100 * tally.cached / count;
}

/* How many rounds there must be in the part that has most of them. */
static uint64_t
wanted(void)
{
    if (stress_is_sanitized() || stress_seconds() < SECONDS_LONG)
        return 0;
    return ENOUGH_LONG;
}

int
main(int argc, char **argv)
{
    stress_begin("asleep", argc, argv);
    const char *lacks = stress_control_lacks();
    if (stress_is_control() && lacks != NULL)
        return stress_skip(lacks);
    struct tally sum = { 0 };
    init_turns();
    if (stress_is_control()) {
        run(64, false, 1, &sum);
    } else {
        static const uint32_t counts[] = { BLOCKS_MAX, 1000, 128, 64 };
        for (uint32_t i = 0; i < 4; i++)
            run(counts[i], false, 0.1, &sum);
        for (uint32_t i = 0; i < 4; i++) {
            rounds_wanted = i == 3 ? wanted() : 0;
            run(counts[i], true, i == 3 ? 0.3 : 0.1, &sum);
        }
    }
    stress_report("rounds", sum.rounds);
    stress_report("sweeps", sum.sweeps);
    if (sum.looks > 0)
        stress_report("percent of blocks in caches", sum.cached / sum.looks);
    return stress_end();
}
