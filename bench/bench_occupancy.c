/* SPDX-License-Identifier: MIT */
/*
 * bench_occupancy: does a block cost more when few are free?
 *
 *     release one at random, alloc one, at 50 %, 99 % and 99.99 % of
 *     1 k, 64 k and 1 M blocks; at least one block is free
 *
 * Idea
 *   An arena is filled, as many blocks as shall be free are released at random,
 *   and from then on every release is followed by an alloc. So the occupancy is
 *   constant, and the free blocks lie all over the arena.
 *
 *   What is measured must be the arena and not the bench's own list of a
 *   million handles, which no cache holds. So the blocks that take part are a
 *   sample of 1024 at most, drawn at random from all that are out; the others
 *   stay out. "pair, half of all" has a sample as large as half the arena: it
 *   pays for cache misses in the bench, at every occupancy alike. The bench
 *   alone is a line of its own.
 *
 *   A burst releases 64 or 256 at random and only then takes as many: what came
 *   home last, or what the thread keeps at hand of it, serves some of them, and
 *   the others have to be found. Bursts have arenas of their own, for at 50 %
 *   they gather their blocks in few words; and arenas without caches, where each
 *   block is found by itself.
 *
 *   Blocks are 64 bytes and never touched: a layout hands out numbers.
 *
 * Limits
 *   One thread. Compared is each occupancy with 50 % of the same arena.
 */
#include "harness.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 64, SAMPLE = 1024, BURST_MAX = 256, TEXT = 48 };

struct population {
    struct weir_arena *arena;
    struct weir_buf *bufs; /* of all blocks; the first `free` are empty */
    uint32_t count;
    uint32_t free;
    unsigned flags; /* of the arena */
};

/* Those of a population that take part in a question. */
struct sample {
    struct weir_arena *arena;
    struct weir_buf *bufs;
    uint32_t count;
    uint32_t burst;
    uint64_t random;
};

/* ---- Loops ------------------------------------------------------------- */

static inline struct weir_buf *
pick(struct sample *sample)
{
    return &sample->bufs[bench_random_below(&sample->random, sample->count)];
}

static void
loop_pair(void *state, unsigned thread, size_t n)
{
    struct sample *sample = state;
    struct weir_arena *arena = sample->arena;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf *buf = pick(sample);
        weir_buf_drop(buf);
        bench_must(weir_arena_alloc(arena, BLOCK, buf));
    }
}

/* A block that is picked twice in a burst is released once. */
static void
loop_burst(void *state, unsigned thread, size_t n)
{
    struct sample *sample = state;
    struct weir_arena *arena = sample->arena;
    struct weir_buf *picked[BURST_MAX];
    const uint32_t burst = sample->burst;
    (void)thread;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < burst; k++) {
            picked[k] = pick(sample);
            weir_buf_drop(picked[k]);
        }
        for (size_t k = 0; k < burst; k++)
            if (weir_buf_room(picked[k]) == 0)
                bench_must(weir_arena_alloc(arena, BLOCK, picked[k]));
    }
}

/* What picking and touching a handle costs by itself. */
static void
loop_alone(void *state, unsigned thread, size_t n)
{
    struct sample *sample = state;
    (void)thread;
    for (size_t i = 0; i < n; i++)
        pick(sample)->head ^= 1;
}

/* ---- Populations ------------------------------------------------------- */

static void
swap(struct weir_buf *a, struct weir_buf *b)
{
    struct weir_buf other = *a;
    *a = *b;
    *b = other;
}

/* Takes every block, then releases `free` of them at random. */
static void
populate(struct population *population)
{
    uint32_t count = population->count;
    uint32_t drawn = population->free + count / 2; /* no sample is larger */
    uint64_t random = count + population->free;
    struct weir_buf *bufs = calloc(count, sizeof(*bufs));
    if (!bufs)
        bench_fail("no memory");
    population->bufs = bufs;
    population->arena = bench_arena(count, BLOCK, population->flags);
    for (uint32_t i = 0; i < count; i++)
        bench_must(weir_arena_alloc(population->arena, BLOCK, &bufs[i]));

    for (uint32_t i = 0; i < drawn; i++)
        swap(&bufs[i], &bufs[i + bench_random_below(&random, count - i)]);
    for (uint32_t i = 0; i < population->free; i++)
        weir_buf_drop(&bufs[i]);
}

/* Every handle takes part once, so that no window pays for first touches of the
   arena's books. */
static void
warm(struct sample *sample)
{
    for (uint32_t i = 0; i < sample->count; i++) {
        weir_buf_drop(&sample->bufs[i]);
        bench_must(weir_arena_alloc(sample->arena, BLOCK, &sample->bufs[i]));
    }
}

static void
depopulate(struct population *population)
{
    for (uint32_t i = 0; i < population->count; i++)
        weir_buf_drop(&population->bufs[i]);
    free(population->bufs);
    bench_arena_end(&population->arena);
}

/* ---- Questions --------------------------------------------------------- */

enum { SIZES = 3, OCCUPANCIES = 3, VARIANTS = 5 };

static const struct size {
    const char *name;
    uint32_t count;
} sizes[SIZES] = {
    { "1 k", 1 << 10 },
    { "64 k", 1 << 16 },
    { "1 M", 1 << 20 },
};

/* One block of so many is free; the first is what the others are held to. */
static const struct occupancy {
    const char *name;
    uint32_t one_of;
} occupancies[OCCUPANCIES] = {
    { "50 %", 2 },
    { "99 %", 100 },
    { "99.99 %", 10000 },
};

/* Which arenas a variant works in. */
enum { OF_PAIRS, OF_BURSTS, OF_UNCACHED_BURSTS, POPULATIONS };

/* `goal`: what a nearly full arena may cost, in what a half full one does. */
static const struct variant {
    const char *name;
    bench_loop_fn *loop;
    uint32_t burst;
    bool half; /* as many take part as half of all blocks */
    unsigned population;
    double goal;
} variants[VARIANTS] = {
    { "pair", loop_pair, 1, false, OF_PAIRS, 1.1 },
    { "pair, half of all", loop_pair, 1, true, OF_PAIRS, 0 },
    { "bursts of 64", loop_burst, 64, false, OF_BURSTS, 3 },
    { "bursts of 256", loop_burst, 256, false, OF_BURSTS, 3 },
    { "bursts of 64, no cache", loop_burst, 64, false, OF_UNCACHED_BURSTS, 0 },
};

struct question {
    char name[TEXT];
    struct sample sample;
};

static struct population populations[POPULATIONS][SIZES][OCCUPANCIES];
static struct question questions[VARIANTS][SIZES][OCCUPANCIES];

static uint32_t
sample_count(uint32_t count)
{
    return count / 2 < SAMPLE ? count / 2 : SAMPLE;
}

static const struct bench_case *
ask(size_t v, size_t size, size_t occupancy, const struct bench_case *base)
{
    const struct variant *variant = &variants[v];
    struct population *population =
        &populations[variant->population][size][occupancy];
    struct question *question = &questions[v][size][occupancy];
    question->sample = (struct sample){ .arena = population->arena,
        .bufs = population->bufs + population->free,
        .count = variant->half ? population->count / 2
                               : sample_count(population->count),
        .burst = variant->burst,
        .random = v };
    warm(&question->sample);
    snprintf(question->name, TEXT, "%s, %s, %s", variant->name,
        sizes[size].name, occupancies[occupancy].name);
    return bench_add(&(struct bench_case){ .name = question->name,
        .candidate = "weir",
        .loop = variant->loop,
        .state = &question->sample,
        .per = variant->burst,
        .base = base,
        .goal = "G9",
        .goal_base = occupancy == OCCUPANCIES - 1 ? variant->goal : 0 });
}

/* A million blocks take a second to hand out, in a debug build. */
static size_t
size_count(void)
{
    return bench_is_quick() ? SIZES - 1 : SIZES;
}

static void
ask_all(size_t variant)
{
    for (size_t i = 0; i < size_count(); i++) {
        const struct bench_case *half = ask(variant, i, 0, NULL);
        for (size_t k = 1; k < OCCUPANCIES; k++)
            ask(variant, i, k, half);
    }
}

static void
ask_alone(const char *name, struct question *question)
{
    bench_add(&(struct bench_case){ .name = name,
        .candidate = "-",
        .loop = loop_alone,
        .state = &question->sample });
}

static void
populate_all(struct population of_size[][OCCUPANCIES], unsigned flags)
{
    for (size_t i = 0; i < size_count(); i++)
        for (size_t k = 0; k < OCCUPANCIES; k++) {
            uint32_t count = sizes[i].count;
            uint32_t part = count / occupancies[k].one_of;
            of_size[i][k].count = count;
            of_size[i][k].free = part > 0 ? part : 1;
            of_size[i][k].flags = flags;
            populate(&of_size[i][k]);
        }
}

static void
depopulate_all(struct population of_size[][OCCUPANCIES])
{
    for (size_t i = 0; i < size_count(); i++)
        for (size_t k = 0; k < OCCUPANCIES; k++)
            depopulate(&of_size[i][k]);
}

int
main(int argc, char **argv)
{
    bench_start("occupancy", argc, argv);
    populate_all(populations[OF_PAIRS], 0);
    populate_all(populations[OF_BURSTS], 0);
    populate_all(populations[OF_UNCACHED_BURSTS], WEIR_NO_CACHE);
    for (size_t v = 0; v < VARIANTS; v++)
        ask_all(v);
    ask_alone("the bench alone, sample", &questions[0][size_count() - 1][0]);
    ask_alone(
        "the bench alone, half of all", &questions[1][size_count() - 1][0]);

    int status = bench_run();
    for (size_t i = 0; i < POPULATIONS; i++)
        depopulate_all(populations[i]);
    return status;
}
