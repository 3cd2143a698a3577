/* SPDX-License-Identifier: MIT */
/*
 * bench_heap: what does memory of any size cost, from the heap?
 *
 *     pair                   alloc, release, of one size
 *     LIFO 64                alloc 64, release them in reverse
 *     replace                release one of 1 k, or 50 k, blocks at random, alloc
 *                            one of another size: 16 bytes to 8 KiB
 *     batch                  eight blocks of 6 KiB, released as they came
 *     mixed sizes            eight sizes from 32 to 70000 bytes, in reverse
 *     2 threads              the pair and LIFO 64 on each, of 64 bytes
 *     hand-off               alloc here, release there, 1000 at a time
 *     8 on 2 processors      each holds 16 blocks and replaces one at random
 *
 * Idea
 *   One byte is written in every block, as whoever asks for one would at least.
 *   Costs are of a pair, an alloc and a release.
 *
 *   Weir's blocks are aligned to 64 bytes, always. The peers are asked for the
 *   same: memalign with 64, not malloc, which gives 16. Some of them have a
 *   shorter path for malloc, so nothing is said here about theirs.
 *
 *   Two or eight threads are charged processor time, but for the hand-off, where
 *   one waits for the other: wall clock, on a quiet machine.
 *
 * Limits
 *   A size between 16 bytes and 8 KiB falls into each doubling equally often;
 *   1024 are drawn before and used in turn. All cases of a candidate share its
 *   one heap, as the parts of a program do.
 */
#include "harness.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include <weir/heap.h>

enum {
    ALIGN = 64,
    DEEP = 64, /* blocks of a LIFO */
    BATCH = 8,
    FEW = 16, /* blocks of a thread among eight */
    RELAY = 1000,
    SIZES = 1024,
    MIXED = 8,
    MANY = BENCH_THREADS_MAX,
    SPINS = 4096,
    WINDOW_US = 1000,      /* starting a window must not count */
    LONG_WINDOW_US = 5000, /* longer than a slice of the scheduler */
    LINE = 64
};

/* What one thread holds, on lines of its own. */
struct hand {
    _Alignas(LINE) uint64_t random;
    uint32_t turn; /* in the sizes */
    void *blocks[DEEP];
};

/* Blocks on their way from thread 1 to thread 0, in one half or the other. */
struct relay {
    _Alignas(LINE) _Atomic size_t filled;
    _Alignas(LINE) _Atomic size_t emptied;
    _Alignas(LINE) void *blocks[2][RELAY];
};

/* Who asks a question of whom: weir has a heap, all others are a peer. */
struct user {
    struct weir_heap *heap;
    struct bench_peer peer;
    size_t size;
    void **live; /* of those who replace */
    uint32_t live_count;
    struct hand hands[MANY];
    struct relay relay;
};

static const size_t mixed[MIXED] = { 32, 64, 65, 128, 512, 4096, 16384, 70000 };
static size_t sizes[SIZES];

/* ---- One block --------------------------------------------------------- */

/* `of_weir` is a constant, so that nothing is asked at run time. */
static inline void *
take(const struct user *user, size_t size, bool of_weir)
{
    void *memory;
    if (of_weir) {
        bench_must(weir_heap_alloc(user->heap, size, &memory));
    } else {
        memory = user->peer.alloc_aligned(ALIGN, size);
        if (!memory)
            bench_fail("a peer has no memory");
    }
    *(volatile char *)memory = 1;
    return memory;
}

static inline void
give(const struct user *user, void *memory, bool of_weir)
{
    if (of_weir)
        (void)weir_heap_release(user->heap, memory);
    else
        user->peer.release(memory);
}

/* ---- One thread -------------------------------------------------------- */

static inline void
pair(const struct user *user, size_t n, bool of_weir)
{
    const size_t size = user->size;
    for (size_t i = 0; i < n; i++)
        give(user, take(user, size, of_weir), of_weir);
}

static inline void
lifo(struct user *user, unsigned thread, size_t n, bool of_weir)
{
    const size_t size = user->size;
    void **blocks = user->hands[thread].blocks;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < DEEP; k++)
            blocks[k] = take(user, size, of_weir);
        for (size_t k = DEEP; k-- > 0;)
            give(user, blocks[k], of_weir);
    }
}

static inline void
batch(struct user *user, size_t n, bool of_weir)
{
    const size_t size = user->size;
    void **blocks = user->hands[0].blocks;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < BATCH; k++)
            blocks[k] = take(user, size, of_weir);
        for (size_t k = 0; k < BATCH; k++)
            give(user, blocks[k], of_weir);
    }
}

static inline void
mix(struct user *user, size_t n, bool of_weir)
{
    void **blocks = user->hands[0].blocks;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < MIXED; k++)
            blocks[k] = take(user, mixed[k], of_weir);
        for (size_t k = MIXED; k-- > 0;)
            give(user, blocks[k], of_weir);
    }
}

static inline size_t
next_size(struct hand *hand)
{
    return sizes[hand->turn++ % SIZES];
}

static inline void
replace(struct user *user, size_t n, bool of_weir)
{
    struct hand *hand = &user->hands[0];
    for (size_t i = 0; i < n; i++) {
        void **block =
            &user->live[bench_random_below(&hand->random, user->live_count)];
        give(user, *block, of_weir);
        *block = take(user, next_size(hand), of_weir);
    }
}

/* ---- More threads ------------------------------------------------------ */

static inline void
replace_few(struct user *user, unsigned thread, size_t n, bool of_weir)
{
    struct hand *hand = &user->hands[thread];
    for (size_t i = 0; i < n; i++) {
        void **block = &hand->blocks[bench_random_below(&hand->random, FEW)];
        if (*block)
            give(user, *block, of_weir);
        *block = take(user, next_size(hand), of_weir);
    }
}

static void
wait_for(const _Atomic size_t *position, size_t wanted)
{
    for (unsigned spins = 0;
         atomic_load_explicit(position, memory_order_acquire) < wanted; spins++)
        if (spins > SPINS)
            sched_yield();
}

static inline void
produce(struct user *user, size_t n, bool of_weir)
{
    struct relay *belt = &user->relay;
    const size_t size = user->size;
    size_t turn = atomic_load_explicit(&belt->filled, memory_order_relaxed);
    for (size_t end = turn + n; turn < end; turn++) {
        void **blocks = belt->blocks[turn % 2];
        wait_for(&belt->emptied, turn > 0 ? turn - 1 : 0);
        for (size_t k = 0; k < RELAY; k++)
            blocks[k] = take(user, size, of_weir);
        atomic_store_explicit(&belt->filled, turn + 1, memory_order_release);
    }
}

static inline void
consume(struct user *user, size_t n, bool of_weir)
{
    struct relay *belt = &user->relay;
    size_t turn = atomic_load_explicit(&belt->emptied, memory_order_relaxed);
    for (size_t end = turn + n; turn < end; turn++) {
        void **blocks = belt->blocks[turn % 2];
        wait_for(&belt->filled, turn + 1);
        for (size_t k = 0; k < RELAY; k++)
            give(user, blocks[k], of_weir);
        atomic_store_explicit(&belt->emptied, turn + 1, memory_order_release);
    }
}

static inline void
relay(struct user *user, unsigned thread, size_t n, bool of_weir)
{
    if (thread == 0)
        consume(user, n, of_weir);
    else
        produce(user, n, of_weir);
}

/* ---- The loops, of weir and of a peer ---------------------------------- */

static void
weir_pair(void *state, unsigned thread, size_t n)
{
    (void)thread;
    pair(state, n, true);
}

static void
peer_pair(void *state, unsigned thread, size_t n)
{
    (void)thread;
    pair(state, n, false);
}

static void
weir_lifo(void *state, unsigned thread, size_t n)
{
    lifo(state, thread, n, true);
}

static void
peer_lifo(void *state, unsigned thread, size_t n)
{
    lifo(state, thread, n, false);
}

static void
weir_batch(void *state, unsigned thread, size_t n)
{
    (void)thread;
    batch(state, n, true);
}

static void
peer_batch(void *state, unsigned thread, size_t n)
{
    (void)thread;
    batch(state, n, false);
}

static void
weir_mix(void *state, unsigned thread, size_t n)
{
    (void)thread;
    mix(state, n, true);
}

static void
peer_mix(void *state, unsigned thread, size_t n)
{
    (void)thread;
    mix(state, n, false);
}

static void
weir_replace(void *state, unsigned thread, size_t n)
{
    (void)thread;
    replace(state, n, true);
}

static void
peer_replace(void *state, unsigned thread, size_t n)
{
    (void)thread;
    replace(state, n, false);
}

static void
weir_replace_few(void *state, unsigned thread, size_t n)
{
    replace_few(state, thread, n, true);
}

static void
peer_replace_few(void *state, unsigned thread, size_t n)
{
    replace_few(state, thread, n, false);
}

static void
weir_relay(void *state, unsigned thread, size_t n)
{
    relay(state, thread, n, true);
}

static void
peer_relay(void *state, unsigned thread, size_t n)
{
    relay(state, thread, n, false);
}

/* ---- The questions ----------------------------------------------------- */

/* A pair of weir is to cost one R, and a peer at least so much of weir. */
#define PAIR_GOAL  1.0
#define LEAST      (1 / 1.3)
#define RELAY_GOAL 2.0
#define MANY_GOAL  1.3

#define KIB        ((size_t)1 << 10)
#define MIB        ((size_t)1 << 20)

static const struct question {
    const char *name;
    bench_loop_fn *weir;
    bench_loop_fn *peer;
    size_t size;
    unsigned per;
    uint32_t live;
    unsigned threads;
    unsigned window_us;
} questions[] = {
    { "pair, 64 B", weir_pair, peer_pair, 64, 1, 0, 1, 0 },
    { "pair, 256 B", weir_pair, peer_pair, 256, 1, 0, 1, 0 },
    { "pair, 4 KiB", weir_pair, peer_pair, 4 * KIB, 1, 0, 1, 0 },
    { "pair, 64 KiB", weir_pair, peer_pair, 64 * KIB, 1, 0, 1, 0 },
    { "pair, 1 MiB", weir_pair, peer_pair, MIB, 1, 0, 1, 0 },
    { "pair, 32 MiB", weir_pair, peer_pair, 32 * MIB, 1, 0, 1, 0 },
    { "LIFO 64, 64 B", weir_lifo, peer_lifo, 64, DEEP, 0, 1, 0 },
    { "LIFO 64, 256 B", weir_lifo, peer_lifo, 256, DEEP, 0, 1, 0 },
    { "LIFO 64, 4 KiB", weir_lifo, peer_lifo, 4 * KIB, DEEP, 0, 1, 0 },
    { "LIFO 64, 64 KiB", weir_lifo, peer_lifo, 64 * KIB, DEEP, 0, 1, 0 },
    { "replace one of 1 k", weir_replace, peer_replace, 0, 1, 1000, 1, 0 },
    { "replace one of 50 k", weir_replace, peer_replace, 0, 1, 50000, 1, 0 },
    { "batch of 8, 6 KiB", weir_batch, peer_batch, 6 * KIB, BATCH, 0, 1, 0 },
    { "mixed sizes", weir_mix, peer_mix, 0, MIXED, 0, 1, 0 },
    { "2 threads, pair, 64 B", weir_pair, peer_pair, 64, 1, 0, 2, WINDOW_US },
    { "2 threads, LIFO 64, 64 B", weir_lifo, peer_lifo, 64, DEEP, 0, 2,
        WINDOW_US },
    { "hand-off, 64 B", weir_relay, peer_relay, 64, RELAY, 0, 2, WINDOW_US },
    { "hand-off, 4 KiB", weir_relay, peer_relay, 4 * KIB, RELAY, 0, 2,
        WINDOW_US },
    { "hold 16, replace one", weir_replace_few, peer_replace_few, 0, 1, 0, 1,
        LONG_WINDOW_US },
    { "the same, 8 on 2 processors", weir_replace_few, peer_replace_few, 0, 1,
        0, MANY, LONG_WINDOW_US },
};

enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

enum { WEIR, PEERS, ALL = PEERS + BENCH_PEER_COUNT };

static struct user users[QUESTIONS][ALL];

/* Each doubling from 16 bytes to 8 KiB as often as the others. */
static void
draw_sizes(void)
{
    enum { FIRST = 16, DOUBLINGS = 9 };
    uint64_t random = 1;
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t least = (uint32_t)FIRST
                         << bench_random_below(&random, DOUBLINGS);
        sizes[i] = least + 1 + bench_random_below(&random, least);
    }
}

static void
fill(struct user *user, const struct question *question)
{
    user->size = question->size;
    for (unsigned i = 0; i < MANY; i++)
        user->hands[i].random = i;
    if (question->live == 0 || user->peer.skipped)
        return;
    user->live_count = question->live / (bench_is_quick() ? 10 : 1);
    user->live = malloc(user->live_count * sizeof(*user->live));
    if (!user->live)
        bench_fail("no memory");
    for (uint32_t i = 0; i < user->live_count; i++)
        user->live[i] =
            take(user, next_size(&user->hands[0]), user->heap != NULL);
}

/* The case of a question; the caller adds what it is held to. */
static struct bench_case
prepare(const struct question *question, struct user *user)
{
    fill(user, question);
    bool waits = question->weir == weir_relay;
    return (struct bench_case){ .name = question->name,
        .candidate = user->heap ? "weir" : user->peer.name,
        .loop = user->heap ? question->weir : question->peer,
        .state = user,
        .per = question->per,
        .threads = question->threads,
        .window_us = question->window_us,
        .clock = question->window_us > 0 && !waits ? BENCH_CPU : BENCH_WALL,
        .skipped = user->peer.skipped };
}

static const struct bench_case *
ask_weir(const struct question *question, struct user *user,
    const struct bench_case *before)
{
    struct bench_case one = prepare(question, user);
    if (question->weir == weir_pair && question->threads == 1 &&
        question->size <= MIB) {
        one.goal = "H1";
        one.goal_r = PAIR_GOAL;
    } else if (question->threads == MANY) {
        one.goal = "H4";
        one.base = before;
        one.goal_base = MANY_GOAL;
    }
    return bench_add(&one);
}

/* Returns weir's case; `before` is that of the question before. */
static const struct bench_case *
ask(const struct question *question, struct user *all, struct weir_heap *heap,
    const struct bench_case *before)
{
    bool is_relay = question->weir == weir_relay;
    all[WEIR].heap = heap;
    const struct bench_case *weir = ask_weir(question, &all[WEIR], before);
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++) {
        all[PEERS + i].peer = bench_peers()[i];
        struct bench_case one = prepare(question, &all[PEERS + i]);
        one.base = weir;
        one.goal = is_relay ? "H3" : "H2";
        one.goal_least = is_relay ? RELAY_GOAL : LEAST;
        bench_add(&one);
    }
    return weir;
}

static void
let_go(struct user *user)
{
    bool of_weir = user->heap != NULL;
    for (uint32_t i = 0; i < user->live_count; i++)
        give(user, user->live[i], of_weir);
    free(user->live);
}

static void
let_few_go(struct user *user)
{
    for (unsigned i = 0; i < MANY; i++)
        for (unsigned k = 0; k < FEW; k++)
            if (user->hands[i].blocks[k])
                give(user, user->hands[i].blocks[k], user->heap != NULL);
}

/* Fails unless the heap is sound and every block is home. */
static void
end(struct weir_heap *heap)
{
    struct weir_heap_stats stats;
    weir_heap_check(heap);
    weir_heap_stats(heap, &stats);
    uint64_t out = stats.large_live;
    for (size_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        out += stats.classes[i].blocks_live;
    if (out != 0)
        bench_fail("a block did not come home");
    weir_heap_destroy(&heap);
}

int
main(int argc, char **argv)
{
    struct weir_heap *heap;
    const struct bench_case *before = NULL;
    bench_start("heap", argc, argv);
    bench_must(weir_heap_create(NULL, &heap));
    draw_sizes();
    for (size_t i = 0; i < QUESTIONS; i++)
        before = ask(&questions[i], users[i], heap, before);

    int status = bench_run();
    for (size_t i = 0; i < QUESTIONS; i++)
        for (size_t k = 0; k < ALL; k++) {
            let_go(&users[i][k]);
            if (questions[i].weir == weir_replace_few)
                let_few_go(&users[i][k]);
        }
    end(heap);
    return status;
}
