/* SPDX-License-Identifier: MIT */
/*
 * heap_full seed seconds: a heap that is full says so, and only then.
 *
 *     tokens   a heap of 2 MiB, nearly all of which is out for good
 *     pages    a heap of as many pages as there are threads: who holds no block asks
 *              for one of any size that a page holds
 *     rounds   the same heap: all ask until they are told "full", each time for
 *              blocks of another size
 *
 * Tokens: as in capacity.c. Who has one and asks for a block must get it, since
 * a block goes home first, and then its token goes to the others.
 *
 * Pages: a block needs a page at most, so nobody may ever be told "full", whatever
 * classes the others' spans are of just now; and no other region may be made, since
 * the one has all the pages.
 *
 * Rounds: what was released lies in threads' caches, cut for another size. All
 * of it together must be had by who wants it in one piece; and then by all who
 * want it in pieces, of which none comes back meanwhile, so that who is told
 * "full" must not have been told so while one was left for nobody.
 */

#include "support/stress.h"
#include "weir/heap.h"
#include "weir/weir.h"

#include <pthread.h>
#include <stdio.h>

enum {
    THREADS = 8,
    CLAIMERS = 4,
    LINE = 64,
    TIGHT = 2 << 20,
    TIGHT_MAX = TIGHT / LINE + 1, /* blocks of a thread */
    SIZES = 16                    /* of 64 bytes to all there is */
};

struct held {
    void *memory;
    uint64_t stamp;
};

struct claimer {
    struct held held[TIGHT_MAX];
    uint32_t count;
    uint8_t owner;
    uint64_t serial;
};

static void
expect_status(enum weir_status is, enum weir_status should_be)
{
    if (is == should_be)
        return;
    (void)fputs(weir_status_name(is), stderr);
    (void)fputs(" instead of ", stderr);
    (void)fputs(weir_status_name(should_be), stderr);
    stress_fail(", a wrong status");
}

/* Nothing is out, and the pages of all that is free find together. */
static void
expect_home(struct weir_heap *heap)
{
    struct weir_heap_stats stats;
    weir_heap_check(heap);
    weir_heap_stats(heap, &stats);
    for (uint32_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        stress_expect_equal(
            stats.classes[i].blocks_live, 0, "blocks are not home");
    stress_expect_equal(stats.large_live, 0, "large blocks are not home");
    stress_expect_equal(stats.large_bytes, 0, "large_bytes");
    weir_heap_trim(heap);
    weir_heap_stats(heap, &stats);
    stress_expect_equal(
        stats.bytes_unused, stats.bytes_reserved, "pages are not home");
    stress_expect_equal(stats.bytes_resident, 0, "pages are resident");
    weir_heap_check(heap);
}

static struct weir_heap *tight;
static size_t block_size;
static struct claimer claimers[THREADS];
static struct claimer ballast;
static uint64_t fulls;

static void
create_tight(size_t region_bytes, size_t cache_bytes)
{
    struct weir_heap_config config = { .name = "tight",
        .region_bytes = region_bytes,
        .bytes_max = TIGHT,
        .cache_bytes = cache_bytes };
    expect_status(weir_heap_create(&config, &tight), WEIR_OK);
    for (uint32_t i = 0; i < THREADS; i++)
        claimers[i].owner = (uint8_t)(i + 1);
}

static enum weir_status
claim(struct claimer *claimer)
{
    struct held held;
    enum weir_status status = weir_heap_alloc(tight, block_size, &held.memory);
    if (status != WEIR_OK)
        return status;
    held.stamp = (uint64_t)claimer->owner << 56 | ++claimer->serial;
    stress_fill(held.memory, LINE, held.stamp, 0);
    claimer->held[claimer->count++] = held;
    return status;
}

static void
yield(struct claimer *claimer, uint32_t index)
{
    struct held held = claimer->held[index];
    claimer->held[index] = claimer->held[--claimer->count];
    stress_verify(
        held.memory, LINE, held.stamp, 0, "a block that is out was written");
    expect_status(
        weir_heap_release_sized(tight, held.memory, block_size), WEIR_OK);
}

/* ---- Tokens ------------------------------------------------------------ */

/* A heap, and what is free in it. */
struct kind {
    size_t size;
    uint32_t spare;
    bool near; /* in two places */
    size_t region_bytes;
    size_t cache_bytes;
};

static _Atomic uint32_t tokens;

static bool
take_token(void)
{
    uint32_t seen = atomic_load_explicit(&tokens, memory_order_relaxed);
    while (
        seen > 0 && !atomic_compare_exchange_weak_explicit(&tokens, &seen,
                        seen - 1, memory_order_acquire, memory_order_relaxed))
        continue;
    return seen > 0;
}

static void
give_token(void)
{
    (void)atomic_fetch_add_explicit(&tokens, 1, memory_order_release);
}

static void
pass_tokens(uint32_t index, struct stress_random *random)
{
    struct claimer *claimer = &claimers[index];
    for (uint32_t i = 0; !stress_is_over(); i++) {
        if (stress_chance(random, 55) && take_token()) {
            enum weir_status status = claim(claimer);
            stress_expect(status != WEIR_FULL, "full, but a block was free");
            expect_status(status, WEIR_OK);
        } else if (claimer->count > 0) {
            yield(claimer, stress_below(random, claimer->count));
            give_token();
        } else {
            stress_pause(i);
        }
    }
    while (claimer->count > 0) {
        yield(claimer, 0);
        give_token();
    }
}

/* All is out, and must be all there is; `spare` come back from anywhere, or from
   two places, so that many share a word. */
static void
load_ballast(uint32_t spare, bool near)
{
    struct stress_random random = { stress_seed() };
    while (claim(&ballast) == WEIR_OK)
        continue;
    stress_expect_equal(ballast.count, TIGHT / block_size, "got of all");
    uint32_t half = ballast.count / 2;
    for (uint32_t i = 0; i < spare; i++)
        yield(&ballast,
            near ? i % 2 * half + i / 2 : stress_below(&random, ballast.count));
}

static void
run_tokens(const struct kind *kind, double share)
{
    create_tight(kind->region_bytes, kind->cache_bytes);
    block_size = kind->size;
    load_ballast(kind->spare, kind->near);
    atomic_store_explicit(&tokens, kind->spare, memory_order_relaxed);
    stress_part(share);
    stress_run(&(struct stress_crew){
        .count = THREADS, .body = pass_tokens, .is_calm = !kind->near });
    uint32_t back = atomic_load_explicit(&tokens, memory_order_relaxed);
    stress_expect_equal(back, kind->spare, "tokens");
    while (ballast.count > 0)
        yield(&ballast, ballast.count - 1);
    expect_home(tight);
    weir_heap_destroy(&tight);
}

/* ---- Pages ------------------------------------------------------------- */

enum { PAGE = 64 << 10, DOUBLINGS = 8 };

static void
take_and_give(uint32_t index, struct stress_random *random)
{
    struct claimer *claimer = &claimers[index];
    while (!stress_is_over()) {
        struct held held;
        size_t size = (size_t)LINE << stress_below(random, DOUBLINGS);
        expect_status(weir_heap_alloc(tight, size, &held.memory), WEIR_OK);
        held.stamp = (uint64_t)claimer->owner << 56 | ++claimer->serial;
        stress_fill(held.memory, LINE, held.stamp, 0);
        stress_verify(held.memory, LINE, held.stamp, 0, "somebody else's");
        expect_status(
            weir_heap_release_sized(tight, held.memory, size), WEIR_OK);
    }
}

static void
run_pages(double share)
{
    struct weir_heap_config config = { .name = "pages",
        .bytes_max = (size_t)CLAIMERS * PAGE };
    struct weir_heap_stats stats;
    expect_status(weir_heap_create(&config, &tight), WEIR_OK);
    stress_part(share);
    stress_run(
        &(struct stress_crew){ .count = CLAIMERS, .body = take_and_give });
    weir_heap_stats(tight, &stats);
    stress_expect_equal(stats.regions, 1, "regions");
    expect_home(tight);
    weir_heap_destroy(&tight);
}

/* ---- Rounds ------------------------------------------------------------ */

static struct stress_gate gate;
static _Atomic uint32_t asked; /* blocks that were got or are being asked for */
static _Atomic bool last_round;

static void
claim_until_full(struct claimer *claimer)
{
    enum weir_status status;
    do
        (void)atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
    while ((status = claim(claimer)) == WEIR_OK);
    expect_status(status, WEIR_FULL);
    uint32_t others =
        atomic_fetch_sub_explicit(&asked, 1, memory_order_relaxed) - 1;
    stress_expect(others >= TIGHT / block_size, "full, but a block was left");
}

static void
swap_some(struct stress_random *random)
{
    for (uint32_t i = 0; i < 1000; i++) {
        struct claimer *left = &claimers[stress_below(random, CLAIMERS)];
        struct claimer *right = &claimers[stress_below(random, CLAIMERS)];
        if (left->count == 0 || right->count == 0)
            continue;
        struct held *one = &left->held[stress_below(random, left->count)];
        struct held *other = &right->held[stress_below(random, right->count)];
        struct held kept = *one;
        *one = *other;
        *other = kept;
    }
}

/* All that there is, in one piece, while others keep blocks of another size at
   hand; so that no page is left over between spans that were cut too early. */
static void
begin_round(struct stress_random *random)
{
    block_size = TIGHT;
    expect_status(claim(&claimers[0]), WEIR_OK);
    yield(&claimers[0], 0);
    block_size = (size_t)LINE << stress_below(random, SIZES);
}

static void
end_round(struct stress_random *random)
{
    uint32_t together = 0;
    for (uint32_t i = 0; i < CLAIMERS; i++)
        together += claimers[i].count;
    stress_expect_equal(together, TIGHT / block_size, "got together");
    atomic_store_explicit(&asked, 0, memory_order_relaxed);
    atomic_store_explicit(&last_round, stress_is_over(), memory_order_relaxed);
    swap_some(random);
    fulls += CLAIMERS;
}

static void
claim_rounds(uint32_t index, struct stress_random *random)
{
    struct claimer *claimer = &claimers[index];
    do {
        if (index == 0)
            begin_round(random);
        stress_gate_pass(&gate);
        claim_until_full(claimer);
        stress_gate_pass(&gate);
        if (index == 0)
            end_round(random);
        stress_gate_pass(&gate);
        while (claimer->count > 0)
            yield(claimer, stress_below(random, claimer->count));
        stress_gate_pass(&gate);
    } while (!atomic_load_explicit(&last_round, memory_order_relaxed));
}

static void
run_rounds(double share)
{
    create_tight(0, 0);
    gate = (struct stress_gate){ .count = CLAIMERS };
    stress_part(share);
    stress_run(
        &(struct stress_crew){ .count = CLAIMERS, .body = claim_rounds });
    expect_home(tight);
    weir_heap_destroy(&tight);
}

int
main(int argc, char **argv)
{
    stress_begin("heap_full", argc, argv);
    static const struct kind kinds[] = {
        { 64, 200, false, 0, 0 },
        { 64, 9, false, TIGHT / 4, 0 },
        { 64, 40, true, 0, 1 },
        { 1024, 30, false, TIGHT / 4, TIGHT },
        { 1024, 40, true, 0, 1 },
        { 4096, 24, true, TIGHT / 8, 0 },
        { 65536, 9, false, 0, TIGHT },
        { 65536, 3, false, 0, 0 },
    };
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    for (uint32_t i = 0; i < KINDS; i++)
        run_tokens(&kinds[i], 0.6 / KINDS);
    run_pages(0.1);
    run_rounds(0.3);

    uint64_t allocs = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        allocs += claimers[i].serial;
    stress_report("allocs", allocs);
    stress_report("fulls", fulls);
    return stress_end();
}
