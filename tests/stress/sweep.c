/* SPDX-License-Identifier: MIT */
/*
 * sweep seed seconds [control]: caches are swept while their owners are in the
 * midst of anything.
 *
 * Tokens: there are as many as blocks, and who has one and asks for a block must
 * get it, in whoever's cache it is. Owners take and release in all orders and
 * amounts, their own blocks and those of others, flush, and end. One thread
 * makes, destroys and replaces a second arena meanwhile, and reads numbers.
 * Another one thirsts now and then: all others give up what they have, it takes
 * every block, is told "full", waits, cancels or is granted, and lets go.
 *
 * Duel: two threads on two processors with a word of blocks, nearly all of which
 * are out for good. One gives what it gets to the other, which releases it, so it
 * finds none but in the other's cache. Nothing delays them, and what they share is
 * in no lock's order: this is where the fence is needed, and all that runs as a
 * control.
 */

#include "arena/arena.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>

enum {
    THREADS = 8,
    DRAINER = 0,
    BUILDER = 1,
    FIRST_MORTAL = 6, /* the others are owners */
    BLOCKS_MAX = 1000,
    BURST_MAX = 150,
    LIFE_MAX = 3000, /* steps */
    BLOCK_SIZE = 64,
    MARKET = 16,
    MARKET_OWNER = 200,
    SECOND_HELD = 4,
    DUELISTS = 2,
    DUEL_BLOCKS = 64,
    LOOT = 4, /* blocks */
    OWN = 2,
    DUEL_BALLAST = DUEL_BLOCKS - LOOT - OWN,
    ROBBER = 1,
    ROBBED = 2
};

struct owner {
    struct weir_buf bufs[BLOCKS_MAX];
    uint32_t count;
    struct weir_buf second[SECOND_HELD]; /* of second arenas */
    struct weir_bell bell;
    struct stress_random *random;
    uint8_t name;
    uint64_t allocs;
    uint64_t lives;
    uint64_t drains;
};

static struct weir_arena *arena;
static uint32_t blocks;
static struct owner owners[THREADS];
static struct stress_shadow shadow;
static uint64_t sweeps;

/* ---- Tokens ------------------------------------------------------------ */

static _Atomic uint32_t tokens;
static _Atomic bool thirst; /* one wants them all */

/* Takes as many as there are, up to `most`. */
static uint32_t
take_tokens(uint32_t most)
{
    uint32_t seen = atomic_load_explicit(&tokens, memory_order_relaxed);
    uint32_t taken;
    do {
        taken = seen < most ? seen : most;
    } while (!atomic_compare_exchange_weak_explicit(&tokens, &seen,
        seen - taken, memory_order_acquire, memory_order_relaxed));
    return taken;
}

static void
give_tokens(uint32_t count)
{
    (void)atomic_fetch_add_explicit(&tokens, count, memory_order_release);
}

static bool
somebody_thirsts(void)
{
    return atomic_load_explicit(&thirst, memory_order_relaxed);
}

/* ---- Blocks ------------------------------------------------------------ */

static void
rejects_ring(struct weir_bell *bell)
{
    (void)bell;
    stress_fail("rung for, but nobody waits");
}

static void
rejects_grant(struct weir_waiter *waiter, enum weir_status status)
{
    (void)waiter;
    (void)status;
    stress_fail("granted, but nobody waits");
}

/* Asks by one of three ways. */
static enum weir_status
ask(struct owner *owner, struct weir_buf *buf)
{
    uint32_t way = stress_below(owner->random, 16);
    if (way > 1)
        return weir_arena_alloc(arena, 0, buf);
    if (way > 0)
        return weir_arena_alloc_barge(arena, 0, buf);
    struct weir_waiter waiter = { .bell = &owner->bell,
        .granted = rejects_grant };
    enum weir_status status = weir_arena_wait(arena, 0, &waiter);
    *buf = waiter.buf;
    return status;
}

/* With a token, which the block then has. */
static void
get(struct owner *owner)
{
    struct weir_buf *buf = &owner->bufs[owner->count];
    enum weir_status status = ask(owner, buf);
    stress_expect(status != WEIR_FULL && status != WEIR_PENDING,
        "full, but a block was free");
    stress_expect(status == WEIR_OK, "an alloc failed");
    stress_shadow_take(&shadow, wr_owner_slot(buf->owner), owner->name);
    owner->count++;
    owner->allocs++;
}

/* The token stays with the caller. */
static void
drop(struct owner *owner, uint32_t index)
{
    struct weir_buf buf = owner->bufs[index];
    owner->bufs[index] = owner->bufs[--owner->count];
    stress_shadow_give(&shadow, wr_owner_slot(buf.owner), owner->name);
    weir_buf_drop(&buf);
}

static void
drop_with_token(struct owner *owner, uint32_t index)
{
    drop(owner, index);
    give_tokens(1);
}

/* In the order of taking, against it, or in none. */
static void
drop_down_to(struct owner *owner, uint32_t left)
{
    uint32_t order = stress_below(owner->random, 3);
    for (uint32_t i = 0; owner->count > left; i++) {
        uint32_t index = owner->count - 1;
        if (order == 0)
            index = stress_below(owner->random, owner->count);
        else if (order == 1 && left + i < owner->count)
            index = left + i;
        drop_with_token(owner, index);
    }
}

/* ---- A market, so that blocks come home by others ---------------------- */

static struct {
    pthread_mutex_t mutex;
    struct weir_buf bufs[MARKET];
    uint32_t count;
} market = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void
change_hands(const struct weir_buf *buf, uint8_t from, uint8_t to)
{
    uint32_t block = wr_owner_slot(buf->owner);
    stress_shadow_give(&shadow, block, from);
    stress_shadow_take(&shadow, block, to);
}

static void
sell(struct owner *owner)
{
    pthread_mutex_lock(&market.mutex);
    while (owner->count > 0 && market.count < MARKET &&
           !stress_chance(owner->random, 10)) {
        struct weir_buf buf = owner->bufs[--owner->count];
        change_hands(&buf, owner->name, MARKET_OWNER);
        market.bufs[market.count++] = buf;
    }
    pthread_mutex_unlock(&market.mutex);
}

static void
buy(struct owner *owner, uint32_t most)
{
    pthread_mutex_lock(&market.mutex);
    for (uint32_t i = 0; i < most && market.count > 0; i++) {
        struct weir_buf buf = market.bufs[--market.count];
        change_hands(&buf, MARKET_OWNER, owner->name);
        owner->bufs[owner->count++] = buf;
    }
    pthread_mutex_unlock(&market.mutex);
}

/* ---- A second arena, which is replaced again and again ----------------- */

static struct {
    pthread_rwlock_t lock;
    struct weir_arena *arena;
    uint64_t created;
    _Atomic uint64_t unmapped;
} second = { .lock = PTHREAD_RWLOCK_INITIALIZER };

static void
on_unmapped(void *unused)
{
    (void)unused;
    (void)atomic_fetch_add_explicit(&second.unmapped, 1, memory_order_relaxed);
}

static struct weir_arena *
create_second(uint32_t count)
{
    struct weir_arena *created;
    struct weir_arena_config config = { .name = "second",
        .block_size = BLOCK_SIZE,
        .block_count = count,
        .on_unmapped = on_unmapped };
    stress_expect(weir_arena_create(&config, &created) == WEIR_OK, "no arena");
    created->drought_length = 1;
    second.created++;
    return created;
}

/* Keeps some of its blocks for longer than the arena. */
static void
use_second(struct owner *owner)
{
    pthread_rwlock_rdlock(&second.lock);
    for (uint32_t i = 0; i < 2 * SECOND_HELD; i++) {
        struct weir_buf *buf = &owner->second[i % SECOND_HELD];
        weir_buf_drop(buf);
        enum weir_status status = weir_arena_alloc(second.arena, 0, buf);
        stress_expect(status != WEIR_FULL, "full, but blocks were free");
        stress_expect(
            status == WEIR_OK || status == WEIR_CLOSED, "an alloc failed");
    }
    pthread_rwlock_unlock(&second.lock);
}

static void
forget_second(struct owner *owner)
{
    for (uint32_t i = 0; i < SECOND_HELD; i++)
        weir_buf_drop(&owner->second[i]);
}

/* Closed, it has no block in a cache any more; what was kept of it is good. */
static void
replace_second(struct owner *owner)
{
    struct weir_stats stats;
    struct weir_arena *old = second.arena;
    struct weir_arena *next =
        create_second(64 + stress_below(owner->random, 200));
    if (stress_chance(owner->random, 50)) {
        weir_arena_close(old);
        weir_arena_stats(old, &stats);
        stress_expect_equal(stats.blocks_cached, 0, "a closed arena's caches");
        stress_expect_equal(stats.caches, 0, "caches of a closed arena");
    }
    pthread_rwlock_wrlock(&second.lock);
    second.arena = next;
    pthread_rwlock_unlock(&second.lock);
    weir_arena_destroy(&old);
}

/* ---- Owners ------------------------------------------------------------ */

static void
hit(struct owner *owner)
{
    for (uint32_t n = stress_below(owner->random, 16); n > 0; n--) {
        get(owner);
        drop(owner, owner->count - 1);
    }
    give_tokens(1);
}

static void
burst(struct owner *owner)
{
    uint32_t before = owner->count;
    uint32_t n = take_tokens(stress_below(owner->random, BURST_MAX));
    while (n-- > 0)
        get(owner);
    if (stress_chance(owner->random, 70))
        drop_down_to(owner, before);
}

static void
expect_caches_counted(void)
{
    uint32_t on = 0;
    wr_mutex_lock(&arena->mutex);
    for (struct wr_record *record = arena->records; record != NULL;
         record = record->next)
        on += wr_gate_is_on(&record->cache.gate);
    stress_expect_equal(arena->caches_on, on, "caches that are on");
    wr_mutex_unlock(&arena->mutex);
}

static void
read_numbers(void)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect(stats.blocks_out <= blocks, "more are out than there are");
    expect_caches_counted();
}

static void
step(struct owner *owner)
{
    uint32_t what = stress_below(owner->random, 1000);
    if (what < 500 && take_tokens(1) > 0)
        hit(owner);
    else if (what < 700 && owner->count > 0)
        drop_with_token(owner, stress_below(owner->random, owner->count));
    else if (what < 800 && take_tokens(1) > 0)
        get(owner);
    else if (what < 850)
        sell(owner);
    else if (what < 900)
        buy(owner, stress_below(owner->random, MARKET));
    else if (what < 940)
        burst(owner);
    else if (what < 970)
        use_second(owner);
    else if (what < 990)
        drop_down_to(owner, 0);
    else if (what < 995)
        weir_thread_flush();
    else if (what < 996)
        read_numbers();
}

/* Gives up all, and waits until nobody wants it any more. */
static void
yield_to_thirst(struct owner *owner)
{
    drop_down_to(owner, 0);
    for (uint32_t i = 0; somebody_thirsts() && !stress_is_over(); i++) {
        buy(owner, MARKET);
        drop_down_to(owner, 0);
        if (stress_chance(owner->random, 2))
            weir_thread_flush();
        stress_pause(i);
    }
}

static void
own(struct owner *owner, uint32_t steps)
{
    for (uint32_t i = 0; i < steps && !stress_is_over(); i++) {
        if (somebody_thirsts())
            yield_to_thirst(owner);
        step(owner);
    }
}

static void *
live(void *context)
{
    struct owner *owner = context;
    own(owner, stress_below(owner->random, LIFE_MAX));
    return NULL;
}

/* What one life leaves the next one has. */
static void
live_again_and_again(struct owner *owner)
{
    while (!stress_is_over()) {
        pthread_t thread;
        stress_expect(
            pthread_create(&thread, NULL, live, owner) == 0, "no thread");
        pthread_join(thread, NULL);
        owner->lives++;
    }
}

static void
build(struct owner *owner)
{
    while (!stress_is_over()) {
        if (somebody_thirsts())
            yield_to_thirst(owner);
        replace_second(owner);
        read_numbers();
        for (uint32_t i = stress_below(owner->random, 8); i > 0; i--)
            step(owner);
    }
}

/* ---- The thirst -------------------------------------------------------- */

static void
ignores_ring(struct weir_bell *bell)
{
    (void)bell;
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct owner *owner = waiter->user;
    stress_expect(status == WEIR_OK, "a grant failed");
    stress_shadow_take(&shadow, wr_owner_slot(waiter->buf.owner), owner->name);
    owner->bufs[owner->count++] = waiter->buf;
}

static void
wait_in_vain(struct owner *owner, struct weir_waiter *waiter)
{
    (void)owner;
    stress_expect(weir_waiter_cancel(waiter) == WEIR_OK, "no cancel");
}

static void
wait_for_own(struct owner *owner, struct weir_waiter *waiter)
{
    (void)waiter;
    drop(owner, stress_below(owner->random, owner->count));
    stress_expect_equal(weir_bell_drain(&owner->bell, 0), 1, "grants");
}

/* All blocks are the caller's. */
static void
expect_full(struct owner *owner)
{
    struct weir_stats stats;
    struct weir_buf buf;
    for (uint32_t i = 0; i < 3; i++)
        stress_expect(
            weir_arena_alloc(arena, 0, &buf) == WEIR_FULL, "not full");
    stress_expect(
        weir_arena_alloc_barge(arena, 0, &buf) == WEIR_FULL, "not full");
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, blocks, "blocks out");
    stress_expect_equal(stats.blocks_cached, 0, "blocks cached");

    struct weir_waiter waiter = {
        .bell = &owner->bell, .granted = on_granted, .user = owner
    };
    stress_expect(
        weir_arena_wait(arena, 0, &waiter) == WEIR_PENDING, "no wait");
    if (stress_chance(owner->random, 50))
        wait_in_vain(owner, &waiter);
    else
        wait_for_own(owner, &waiter);
    stress_expect_equal(owner->count, blocks, "blocks held");
}

static void
drain_dry(struct owner *owner)
{
    uint32_t taken = 0;
    atomic_store_explicit(&thirst, true, memory_order_relaxed);
    for (uint32_t i = 0; taken < blocks && !stress_is_over(); i++) {
        taken += take_tokens(blocks - taken);
        buy(owner, MARKET);
        while (owner->count > 0)
            drop_with_token(owner, 0);
        stress_pause(i);
    }
    if (taken == blocks) {
        while (taken-- > 0)
            get(owner);
        expect_full(owner);
        owner->drains++;
        taken = 0;
    }
    atomic_store_explicit(&thirst, false, memory_order_relaxed);
    give_tokens(taken);
    drop_down_to(owner, 0);
}

static void
drain(struct owner *owner)
{
    while (!stress_is_over()) {
        own(owner, stress_below(owner->random, 300));
        drop_down_to(owner, 0);
        drain_dry(owner);
    }
}

static void
begin_owner(uint32_t index, struct stress_random *random)
{
    struct owner *owner = &owners[index];
    owner->random = random;
    owner->name = (uint8_t)(index + 1);
    weir_bell_init(
        &owner->bell, index == DRAINER ? ignores_ring : rejects_ring, NULL);
}

static void
pass_tokens(uint32_t index, struct stress_random *random)
{
    struct owner *owner = &owners[index];
    begin_owner(index, random);
    if (index == DRAINER)
        drain(owner);
    else if (index == BUILDER)
        build(owner);
    else if (index >= FIRST_MORTAL)
        live_again_and_again(owner);
    else
        own(owner, UINT32_MAX);
    buy(owner, MARKET);
    drop_down_to(owner, 0);
    forget_second(owner);
    weir_bell_fini(&owner->bell);
}

/* ---- The duel ---------------------------------------------------------- */

/* What the robber got, on its way to the other one's cache. */
static struct {
    struct weir_buf bufs[LOOT];
    _Atomic uint32_t got;
    _Atomic uint32_t dropped;
} loot;

static struct weir_buf ballast[DUEL_BLOCKS];
static _Atomic uint8_t marks[DUEL_BLOCKS];
static uint64_t duel_allocs[DUELISTS];

/* Marks by plain stores: nothing here makes the other see anything. */
static void
duel_take(struct weir_buf *buf, uint8_t name)
{
    enum weir_status status = weir_arena_alloc(arena, 0, buf);
    stress_expect(status != WEIR_FULL, "full, but a block was free");
    stress_expect(status == WEIR_OK, "an alloc failed");
    _Atomic uint8_t *mark = &marks[wr_owner_slot(buf->owner)];
    stress_expect(atomic_load_explicit(mark, memory_order_relaxed) == 0,
        "a block has two owners");
    atomic_store_explicit(mark, name, memory_order_relaxed);
}

static void
duel_drop(struct weir_buf *buf, uint8_t name)
{
    _Atomic uint8_t *mark = &marks[wr_owner_slot(buf->owner)];
    stress_expect(atomic_load_explicit(mark, memory_order_relaxed) == name,
        "a block was somebody else's");
    atomic_store_explicit(mark, 0, memory_order_relaxed);
    weir_buf_drop(buf);
}

/* Every block it gets goes to the other one, so it finds none but there. */
static uint64_t
rob(void)
{
    uint32_t got = atomic_load_explicit(&loot.got, memory_order_relaxed);
    uint32_t dropped =
        atomic_load_explicit(&loot.dropped, memory_order_acquire);
    if (got - dropped == LOOT)
        return 0;
    duel_take(&loot.bufs[got % LOOT], ROBBER);
    atomic_store_explicit(&loot.got, got + 1, memory_order_release);
    return 1;
}

static uint64_t
be_robbed(uint32_t round)
{
    struct weir_buf bufs[OWN];
    uint32_t got = atomic_load_explicit(&loot.got, memory_order_acquire);
    uint32_t dropped =
        atomic_load_explicit(&loot.dropped, memory_order_relaxed);
    uint32_t n = 1 + round % OWN;
    for (uint32_t i = 0; i < n; i++)
        duel_take(&bufs[i], ROBBED);
    if (dropped != got) {
        duel_drop(&loot.bufs[dropped % LOOT], ROBBER);
        atomic_store_explicit(&loot.dropped, dropped + 1, memory_order_release);
    }
    for (uint32_t i = 0; i < n; i++)
        duel_drop(&bufs[i], ROBBED);
    return n;
}

static void
duel(uint32_t index, struct stress_random *random)
{
    (void)random;
    stress_pin(index);
    for (uint32_t round = 0; !stress_is_over(); round++)
        duel_allocs[index] += index == 0 ? rob() : be_robbed(round);
}

/* ---- The parts --------------------------------------------------------- */

static void
create(uint32_t count, uint32_t drought_length)
{
    blocks = count;
    struct weir_arena_config config = {
        .name = "sweep", .block_size = BLOCK_SIZE, .block_count = count
    };
    stress_expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    arena->drought_length = drought_length;
}

static void
destroy(void)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.blocks_cached, 0, "blocks are in dead caches");
    stress_expect_equal(stats.waiting, 0, "waiters are left");
    stress_expect_equal(stats.allocs, stats.releases, "allocs");
    stress_expect(stats.caching != WEIR_CACHING_ON || stats.sweeps > 0,
        "there were no sweeps");
    sweeps += stats.sweeps;
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
}

static void
run_tokens(uint32_t count, uint32_t drought_length, double share)
{
    create(count, drought_length);
    second.arena = create_second(64);
    atomic_store_explicit(&tokens, count, memory_order_relaxed);
    stress_part(share);
    stress_run(&(struct stress_crew){ .count = THREADS, .body = pass_tokens });
    stress_expect_equal(take_tokens(UINT32_MAX), count, "tokens");
    stress_shadow_expect_free(&shadow, blocks);
    expect_caches_counted();
    destroy();
    weir_arena_destroy(&second.arena);
    stress_expect_equal(
        atomic_load_explicit(&second.unmapped, memory_order_relaxed),
        second.created, "calls of on_unmapped");
}

static void
run_duel(double share)
{
    create(DUEL_BLOCKS, 1);
    for (uint32_t i = 0; i < DUEL_BALLAST; i++)
        duel_take(&ballast[i], UINT8_MAX);
    stress_part(share);
    stress_run(&(struct stress_crew){
        .count = DUELISTS, .body = duel, .is_calm = true });
    for (uint32_t i = 0; i < DUEL_BALLAST; i++)
        duel_drop(&ballast[i], UINT8_MAX);
    for (uint32_t i = atomic_load_explicit(&loot.dropped, memory_order_relaxed);
         i != atomic_load_explicit(&loot.got, memory_order_relaxed); i++)
        duel_drop(&loot.bufs[i % LOOT], ROBBER);
    weir_thread_flush();
    destroy();
    stress_report("allocs of duels", duel_allocs[0] + duel_allocs[1]);
    stress_report("sweeps of duels", sweeps);
}

static void
report(void)
{
    uint64_t allocs = 0;
    uint64_t lives = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        allocs += owners[i].allocs;
        lives += owners[i].lives;
    }
    stress_report("allocs with tokens", allocs);
    stress_report("lives", lives);
    stress_report("drains", owners[DRAINER].drains);
    stress_report("arenas", second.created);
    stress_report("sweeps", sweeps);
}

int
main(int argc, char **argv)
{
    stress_begin("sweep", argc, argv);
    const char *lacks = stress_control_lacks();
    if (stress_is_control() && lacks != NULL)
        return stress_skip(lacks);
    run_duel(stress_is_control() ? 1 : 0.25);
    static const uint32_t counts[] = { 64, 100, 256, BLOCKS_MAX };
    enum { COUNTS = sizeof counts / sizeof counts[0] };
    for (uint32_t i = 0; i < COUNTS && !stress_is_control(); i++)
        run_tokens(counts[i], i % 2 == 0 ? 1 : 20, 0.75 / COUNTS);
    report();
    return stress_end();
}
