/* SPDX-License-Identifier: MIT */
/*
 * bench_hold: what does a block cost on a thread that holds many?
 *
 *     hold 2048                 release one of 2048 at random, alloc one
 *     burst 1024                alloc 1024, release them in the order of the
 *                               allocs
 *     burst 1024, random        the same, released in random order
 *
 * Idea
 *   More blocks are on their way than a thread keeps at hand, so free blocks
 *   have to be fetched from the arena and brought back. In random order few of
 *   those that come home together lie together. Costs are of a pair, an alloc
 *   and a release.
 *
 *   The peers are malloc of 4096 bytes with a count in front (counted.h), which
 *   touches each block's first line; weir touches none. Their handle is a
 *   pointer, weir's a buf of 32 bytes.
 *
 * Limits
 *   One thread. The random orders are four, drawn before.
 */
#include "counted.h"
#include "harness.h"

#include <stdlib.h>

enum { BLOCK = 4096, BLOCKS = 4096, HELD = 2048, BURST = 1024, ORDERS = 4 };

/* Who is asked, and what he holds. */
struct holder {
    struct weir_arena *arena;
    struct bench_peer peer;
    uint64_t random;
    struct weir_buf bufs[HELD];
    struct counted *counted[HELD];
};

/* In what order a burst is released; the last is that of the allocs. */
static uint16_t orders[ORDERS + 1][BURST];

/* ---- weir -------------------------------------------------------------- */

static void
weir_hold(void *state, unsigned thread, size_t n)
{
    struct holder *holder = state;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf *buf =
            &holder->bufs[bench_random_below(&holder->random, HELD)];
        weir_buf_drop(buf);
        bench_must(weir_arena_alloc(holder->arena, BLOCK, buf));
    }
}

static void
weir_burst_in(struct holder *holder, const uint16_t *order)
{
    for (size_t i = 0; i < BURST; i++)
        bench_must(weir_arena_alloc(holder->arena, BLOCK, &holder->bufs[i]));
    for (size_t i = 0; i < BURST; i++)
        weir_buf_drop(&holder->bufs[order[i]]);
}

static void
weir_burst(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++)
        weir_burst_in(state, orders[ORDERS]);
}

static void
weir_burst_random(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++)
        weir_burst_in(state, orders[i % ORDERS]);
}

/* ---- malloc and a count ------------------------------------------------ */

static void
counted_hold(void *state, unsigned thread, size_t n)
{
    struct holder *holder = state;
    const struct bench_peer peer = holder->peer;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct counted **held =
            &holder->counted[bench_random_below(&holder->random, HELD)];
        counted_release(&peer, *held);
        *held = counted_alloc(&peer, BLOCK);
    }
}

static void
counted_burst_in(struct holder *holder, const uint16_t *order)
{
    const struct bench_peer peer = holder->peer;
    for (size_t i = 0; i < BURST; i++)
        holder->counted[i] = counted_alloc(&peer, BLOCK);
    for (size_t i = 0; i < BURST; i++)
        counted_release(&peer, holder->counted[order[i]]);
}

static void
counted_burst(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++)
        counted_burst_in(state, orders[ORDERS]);
}

static void
counted_burst_random(void *state, unsigned thread, size_t n)
{
    (void)thread;
    for (size_t i = 0; i < n; i++)
        counted_burst_in(state, orders[i % ORDERS]);
}

/* ---- The questions ----------------------------------------------------- */

static const struct question {
    const char *name;
    bench_loop_fn *weir;
    bench_loop_fn *counted;
    unsigned per;
} questions[] = {
    { "hold 2048, replace one", weir_hold, counted_hold, 1 },
    { "burst 1024", weir_burst, counted_burst, BURST },
    { "burst 1024, random", weir_burst_random, counted_burst_random, BURST },
};

enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

/* Holders of a question each: weir, weir without caches, the peers. */
enum { CACHED, UNCACHED, PEERS, HOLDERS = PEERS + BENCH_PEER_COUNT };

static struct holder holders[QUESTIONS][HOLDERS];

static void
draw_orders(void)
{
    uint64_t random = 1;
    for (size_t k = 0; k <= ORDERS; k++)
        for (size_t i = 0; i < BURST; i++)
            orders[k][i] = (uint16_t)i;
    for (size_t k = 0; k < ORDERS; k++)
        for (uint32_t i = BURST - 1; i > 0; i--) {
            uint32_t other = bench_random_below(&random, i + 1);
            uint16_t kept = orders[k][i];
            orders[k][i] = orders[k][other];
            orders[k][other] = kept;
        }
}

/* Who holds blocks between the windows has them from the start. */
static void
fill(struct holder *holder, const struct question *question)
{
    if (question->weir != weir_hold)
        return;
    for (size_t i = 0; i < HELD; i++)
        if (holder->arena)
            bench_must(
                weir_arena_alloc(holder->arena, BLOCK, &holder->bufs[i]));
        else if (!holder->peer.skipped)
            holder->counted[i] = counted_alloc(&holder->peer, BLOCK);
}

static const struct bench_case *
ask_weir(const struct question *question, struct holder *holder,
    const char *candidate, const struct bench_case *base)
{
    fill(holder, question);
    return bench_add(&(struct bench_case){ .name = question->name,
        .candidate = candidate,
        .loop = question->weir,
        .state = holder,
        .per = question->per,
        .base = base });
}

static void
ask(const struct question *question, struct holder *all)
{
    struct bench_peer *peers = bench_peers();
    all[CACHED].arena = bench_arena(BLOCKS, BLOCK, 0);
    all[UNCACHED].arena = bench_arena(BLOCKS, BLOCK, WEIR_NO_CACHE);
    const struct bench_case *weir =
        ask_weir(question, &all[CACHED], "weir", NULL);
    ask_weir(question, &all[UNCACHED], "weir, no cache", weir);
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++) {
        all[PEERS + i].peer = peers[i];
        fill(&all[PEERS + i], question);
        bench_add(&(struct bench_case){ .name = question->name,
            .candidate = peers[i].name,
            .loop = question->counted,
            .state = &all[PEERS + i],
            .per = question->per,
            .base = weir,
            .skipped = peers[i].skipped });
    }
}

static void
let_go(struct holder *holder, const struct question *question)
{
    if (holder->arena) {
        for (size_t i = 0; i < HELD; i++)
            weir_buf_drop(&holder->bufs[i]);
        bench_arena_end(&holder->arena);
    } else if (question->weir == weir_hold && !holder->peer.skipped) {
        for (size_t i = 0; i < HELD; i++)
            counted_release(&holder->peer, holder->counted[i]);
    }
}

int
main(int argc, char **argv)
{
    bench_start("hold", argc, argv);
    draw_orders();
    for (size_t i = 0; i < QUESTIONS; i++)
        ask(&questions[i], holders[i]);

    int status = bench_run();
    for (size_t i = 0; i < QUESTIONS; i++)
        for (size_t k = 0; k < HOLDERS; k++)
            let_go(&holders[i][k], &questions[i]);
    return status;
}
