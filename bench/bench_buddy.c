/* SPDX-License-Identifier: MIT */
/*
 * bench_buddy: what does a block of a buddy arena cost?
 *
 *     mixed, 50 %         blocks of 256 bytes to 64 KiB, each order as often as
 *                         the others; release one at random, alloc one of a
 *                         random order; half of 64 MiB is out
 *     mixed, 86 %         the same, and 86 % of it is out
 *     2 threads, mixed    each does so with its half of the blocks, at 50 %
 *     8 on 2 processors   each with an eighth
 *     pair                alloc and release, of 256 bytes and of 4 KiB, while
 *                         half of 64 MiB is out as above
 *     hold, 256 B         mixed, 50 %, with one order only
 *
 * Idea
 *   What is drawn was drawn before, and all draw the same, so that everybody
 *   serves the same requests in the same order. "the loop alone" draws and
 *   touches a handle, and allocs nothing. Costs are of a pair, an alloc and a
 *   release.
 *
 *   Two or eight threads are compared with one of them alone, while the blocks
 *   of the others stay out; times are processor time of a thread, and the
 *   windows of eight are longer than a slice of the scheduler. So many blocks
 *   are held that their books have to come back into the caches first: windows
 *   are 1 ms, where they are replaced at random.
 *
 *   A spin lock and free lists, and a tree without a lock, are ours
 *   (buddy_baselines.c): the tree with blocks of up to 64 MiB, as weir, and
 *   with blocks of up to 64 KiB, which is less to climb. A quick proof that
 *   they work comes first. The others are malloc of the size. Nobody touches a
 *   block; the handle of weir is a buf of 32 bytes, all others' a pointer.
 *
 *   An alloc that finds no block is done all the same, and what it should have
 *   got is not released later: at 86 % told is how many there were. In the end
 *   everybody's 64 MiB must be in one piece again.
 *
 * Limits
 *   65536 draws, used in turn. Malloc has no limit of 64 MiB, so 50 and 86 %
 *   are of nothing there.
 */
#include "buddy_baselines.h"
#include "harness.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MIXED_ORDERS = 9, /* 256 bytes to 64 KiB */
    HALF = 2304,      /* blocks, of 14.2 KiB on average */
    MOST = 3968,      /* 86 % */
    TURNS = 1 << 16,
    INDEX_SHIFT =
        16, /* in what is drawn: where the block is; below: its order */
    MANY = BENCH_THREADS_MAX,
    WINDOW_US = 1000,      /* neither starting one nor cold caches must count */
    LONG_WINDOW_US = 5000, /* longer than a slice of the scheduler */
    LINE = 64,
    TEXT = 64
};

/* Who is asked. */
enum kind { WEIR, SPIN, TREE, PEER, ALONE };

/* What one thread holds, on lines of its own; bufs if of weir. */
struct hand {
    _Alignas(LINE) uint32_t turn;
    uint32_t vain; /* allocs that got nothing */
    struct weir_buf *bufs;
    void **blocks;
};

struct user {
    struct weir_arena *arena;
    struct spin_buddy *spin;
    struct tree_buddy *tree;
    struct bench_peer peer;
    const uint32_t *drawn;
    uint32_t held; /* by one thread */
    size_t size;   /* of a pair */
    struct hand hands[MANY];
};

/* Of any order, and of the first. */
static uint32_t drawn_mixed[TURNS];
static uint32_t drawn_small[TURNS];

/* ---- One block --------------------------------------------------------- */

/* `kind` is a constant in all that follows: nothing is asked at run time. */
static inline void *
take(const struct user *user, unsigned thread, size_t size, enum kind kind)
{
    if (kind == SPIN)
        return spin_buddy_alloc(user->spin, size);
    if (kind == TREE)
        return tree_buddy_alloc(user->tree, thread, size);
    return user->peer.alloc(size);
}

static inline void
give(const struct user *user, unsigned thread, void *block, enum kind kind)
{
    if (kind == SPIN)
        spin_buddy_release(user->spin, block);
    else if (kind == TREE)
        tree_buddy_release(user->tree, thread, block);
    else
        user->peer.release(block);
}

static inline void
replace_buf(
    const struct user *user, struct hand *hand, uint32_t index, size_t size)
{
    struct weir_buf *buf = &hand->bufs[index];
    weir_buf_drop(buf);
    enum weir_status status = weir_arena_alloc(user->arena, size, buf);
    if (status == WEIR_FULL)
        hand->vain++;
    else
        bench_must(status);
}

static inline void
replace(const struct user *user, unsigned thread, struct hand *hand,
    uint32_t drawn, enum kind kind)
{
    uint32_t index = (drawn >> INDEX_SHIFT) * user->held >> INDEX_SHIFT;
    size_t size = (size_t)BUDDY_LEAF << (drawn & 0xff);
    void **block = &hand->blocks[index];
    if (kind == WEIR) {
        replace_buf(user, hand, index, size);
    } else if (kind == ALONE) {
        *block = (void *)((uintptr_t)*block + size);
    } else {
        if (*block)
            give(user, thread, *block, kind);
        *block = take(user, thread, size, kind);
        hand->vain += *block == NULL;
    }
}

/* ---- Loops ------------------------------------------------------------- */

static inline void
hold(struct user *user, unsigned thread, size_t n, enum kind kind)
{
    struct hand *hand = &user->hands[thread];
    uint32_t turn = hand->turn;
    for (size_t i = 0; i < n; i++)
        replace(user, thread, hand, user->drawn[turn++ % TURNS], kind);
    hand->turn = turn;
}

static inline void
pair(struct user *user, unsigned thread, size_t n, enum kind kind)
{
    const size_t size = user->size;
    for (size_t i = 0; i < n; i++) {
        if (kind == WEIR) {
            struct weir_buf buf;
            bench_must(weir_arena_alloc(user->arena, size, &buf));
            weir_buf_drop(&buf);
        } else {
            void *block = take(user, thread, size, kind);
            bench_keep((uintptr_t)block);
            give(user, thread, block, kind);
        }
    }
}

static void
hold_weir(void *state, unsigned thread, size_t n)
{
    hold(state, thread, n, WEIR);
}

static void
hold_spin(void *state, unsigned thread, size_t n)
{
    hold(state, thread, n, SPIN);
}

static void
hold_tree(void *state, unsigned thread, size_t n)
{
    hold(state, thread, n, TREE);
}

static void
hold_peer(void *state, unsigned thread, size_t n)
{
    hold(state, thread, n, PEER);
}

static void
hold_alone(void *state, unsigned thread, size_t n)
{
    hold(state, thread, n, ALONE);
}

static void
pair_weir(void *state, unsigned thread, size_t n)
{
    pair(state, thread, n, WEIR);
}

static void
pair_spin(void *state, unsigned thread, size_t n)
{
    pair(state, thread, n, SPIN);
}

static void
pair_tree(void *state, unsigned thread, size_t n)
{
    pair(state, thread, n, TREE);
}

static void
pair_peer(void *state, unsigned thread, size_t n)
{
    pair(state, thread, n, PEER);
}

static bench_loop_fn *const holds[] = { hold_weir, hold_spin, hold_tree,
    hold_peer };
static bench_loop_fn *const pairs[] = { pair_weir, pair_spin, pair_tree,
    pair_peer };

/* ---- Who is asked ------------------------------------------------------ */

enum { CACHED, UNCACHED, LOCKED, WHOLE, LOW, PEERS };
enum { ALL = PEERS + BENCH_PEER_COUNT };

static const enum kind kinds[PEERS + 1] = { WEIR, WEIR, SPIN, TREE, TREE,
    PEER };
static const char *const names[PEERS] = { "weir", "weir, no cache", "spin lock",
    "tree, to 64 MiB", "tree, to 64 KiB" };

static enum kind
kind_of(size_t who)
{
    return kinds[who < PEERS ? who : PEERS];
}

static const char *
name_of(size_t who)
{
    return who < PEERS ? names[who] : bench_peers()[who - PEERS].name;
}

static struct weir_arena *
buddy_arena(unsigned flags)
{
    struct weir_arena *arena;
    bench_must(weir_arena_create(&(struct weir_arena_config){ .name = "bench",
                                     .layout = WEIR_BUDDY,
                                     .bytes = BUDDY_BYTES,
                                     .block_size = BUDDY_LEAF,
                                     .flags = flags },
        &arena));
    return arena;
}

static void
begin(struct user *user, size_t who)
{
    if (who == CACHED || who == UNCACHED)
        user->arena = buddy_arena(who == UNCACHED ? WEIR_NO_CACHE : 0);
    else if (who == LOCKED)
        user->spin = spin_buddy_create();
    else if (who == WHOLE || who == LOW)
        user->tree = tree_buddy_create(
            who == WHOLE ? BUDDY_BYTES
                         : (size_t)BUDDY_LEAF << (MIXED_ORDERS - 1));
    else
        user->peer = bench_peers()[who - PEERS];
}

/* Fails unless what is ours is in one piece. */
static void
end(struct user *user)
{
    if (user->arena) {
        struct weir_buf buf;
        weir_thread_flush();
        bench_must(weir_arena_alloc(user->arena, BUDDY_BYTES, &buf));
        weir_buf_drop(&buf);
        bench_arena_end(&user->arena);
    }
    if (user->spin)
        spin_buddy_destroy(user->spin);
    if (user->tree)
        tree_buddy_destroy(user->tree);
}

/* All hands of a user take what they hold. */
static void
fill(struct user *user, unsigned threads, enum kind kind)
{
    if (user->peer.skipped)
        return;
    for (unsigned i = 0; i < threads; i++) {
        struct hand *hand = &user->hands[i];
        hand->turn = (uint32_t)TURNS / MANY * i;
        hand->bufs = calloc(user->held, sizeof(*hand->bufs));
        hand->blocks = calloc(user->held, sizeof(*hand->blocks));
        if (!hand->bufs || !hand->blocks)
            bench_fail("no memory");
        for (uint32_t k = 0; k < user->held; k++) {
            uint32_t order = user->drawn[(hand->turn + k) % TURNS] & 0xff;
            uint32_t place = ((k << INDEX_SHIFT) + user->held - 1) / user->held;
            replace(user, i, hand, place << INDEX_SHIFT | order, kind);
        }
    }
}

static void
empty(struct user *user, enum kind kind)
{
    for (unsigned i = 0; i < MANY; i++) {
        struct hand *hand = &user->hands[i];
        for (uint32_t k = 0; hand->blocks && k < user->held; k++) {
            weir_buf_drop(&hand->bufs[k]);
            if (hand->blocks[k])
                give(user, i, hand->blocks[k], kind);
        }
        free(hand->bufs);
        free(hand->blocks);
    }
}

/* ---- The questions ----------------------------------------------------- */

/* What weir is held to, and how many times as much others have to cost. */
static const double mixed_r[PEERS] = { [CACHED] = 2, [UNCACHED] = 5 };
static const double mixed_least[PEERS] = {
    [LOCKED] = 1, [WHOLE] = 6, [LOW] = 6
};
static const double same_r = 1;
static const double full_goal = 1.4;
static const double two_goal = 1 / 0.9;
static const double many_goal = 1.2;

enum { MIXED, FULLER, TWO, EIGHT, SMALL_PAIR, PAIR, SMALL, QUESTIONS };

static const struct question {
    const char *name;
    const char *together; /* NULL: it is of one thread */
    uint32_t held;        /* by all threads */
    unsigned threads;
    unsigned window_us;
    size_t size; /* of a pair. 0: one at random is replaced */
} questions[QUESTIONS] = {
    [MIXED] = { "mixed, 50 %", NULL, HALF, 1, WINDOW_US, 0 },
    [FULLER] = { "mixed, 86 %", NULL, MOST, 1, WINDOW_US, 0 },
    [TWO] = { "mixed, 50 %, 1 of 2 threads", "mixed, 50 %, 2 threads", HALF, 2,
        WINDOW_US, 0 },
    [EIGHT] = { "mixed, 50 %, 1 of 8 threads", "mixed, 50 %, 8 on 2 processors",
        HALF, MANY, LONG_WINDOW_US, 0 },
    [SMALL_PAIR] = { "pair, 256 B", NULL, HALF, 1, 0, BUDDY_LEAF },
    [PAIR] = { "pair, 4 KiB", NULL, HALF, 1, 0, 4096 },
    [SMALL] = { "hold, 256 B", NULL, HALF, 1, WINDOW_US, 0 },
};

static struct user users[QUESTIONS][ALL];
static struct user loop_alone;

/* What there is to compare with, and what it is held to. */
static void
set_goal(struct bench_case *one, size_t question, size_t who,
    const struct bench_case *weir)
{
    bool is_weir = kind_of(who) == WEIR;
    one->goal = question == FULLER ? "G12" : "G11";
    one->base = weir;
    if (question == MIXED && who < PEERS) {
        one->goal_r = mixed_r[who];
        one->goal_least = mixed_least[who];
    } else if (question == FULLER && is_weir) {
        one->goal_base = full_goal;
    } else if (question >= SMALL_PAIR && who == CACHED) {
        one->goal_r = same_r;
    }
}

/* Returns the case, that of one thread if there are two. */
static const struct bench_case *
ask_one(size_t number, size_t who, const struct bench_case *base)
{
    const struct question *question = &questions[number];
    struct user *user = &users[number][who];
    begin(user, who);
    user->drawn = number == SMALL ? drawn_small : drawn_mixed;
    user->held = question->held / question->threads;
    user->size = question->size;
    fill(user, question->threads, kind_of(who));

    struct bench_case one = { .name = question->name,
        .candidate = name_of(who),
        .loop = (question->size == 0 ? holds : pairs)[kind_of(who)],
        .state = user,
        .window_us = question->window_us,
        .clock = question->threads > 1 ? BENCH_CPU : BENCH_WALL,
        .skipped = user->peer.skipped };
    set_goal(&one, number, who, base);
    const struct bench_case *added = bench_add(&one);
    if (question->together) {
        one.name = question->together;
        one.threads = question->threads;
        one.base = added;
        if (who == CACHED)
            one.goal_base = number == TWO ? two_goal : many_goal;
        bench_add(&one);
    }
    return added;
}

/* At 86 % everybody is compared with himself at 50 %, else with weir. */
static void
ask(void)
{
    const struct bench_case *mixed[ALL];
    for (size_t who = 0; who < ALL; who++)
        mixed[who] = ask_one(MIXED, who, who > 0 ? mixed[0] : NULL);
    for (size_t who = 0; who < ALL; who++)
        ask_one(FULLER, who, mixed[who]);
    for (size_t number = TWO; number < QUESTIONS; number++) {
        const struct bench_case *weir = NULL;
        for (size_t who = 0; who < ALL; who++) {
            const struct bench_case *asked = ask_one(number, who, weir);
            weir = who == 0 ? asked : weir;
        }
    }
    loop_alone.drawn = drawn_mixed;
    loop_alone.held = HALF;
    fill(&loop_alone, 1, ALONE);
    bench_add(&(struct bench_case){ .name = "mixed, 50 %",
        .candidate = "the loop alone",
        .loop = hold_alone,
        .state = &loop_alone,
        .window_us = WINDOW_US });
}

static void
tell_vain(size_t who)
{
    static char text[PEERS][TEXT];
    const struct hand *hand = &users[FULLER][who].hands[0];
    snprintf(text[who], TEXT, "allocs in vain, mixed, 86 %%, %s", name_of(who));
    bench_tell(&(struct bench_fact){ .name = text[who],
        .value = 100.0 * hand->vain / (hand->turn + MOST),
        .unit = "%" });
}

static void
draw(void)
{
    uint64_t random = 1;
    for (size_t i = 0; i < TURNS; i++) {
        uint32_t index = bench_random_below(&random, 1 << INDEX_SHIFT);
        uint32_t order = bench_random_below(&random, MIXED_ORDERS);
        drawn_small[i] = index << INDEX_SHIFT;
        drawn_mixed[i] = index << INDEX_SHIFT | order;
    }
}

int
main(int argc, char **argv)
{
    bench_start("buddy", argc, argv);
    buddy_baselines_prove();
    draw();
    ask();

    int status = bench_run();
    for (size_t who = 0; who < PEERS; who++)
        tell_vain(who);
    for (size_t i = 0; i < QUESTIONS; i++)
        for (size_t who = 0; who < ALL; who++) {
            empty(&users[i][who], kind_of(who));
            end(&users[i][who]);
        }
    return status;
}
