/* SPDX-License-Identifier: MIT */
/*
 * heap seed seconds: no byte of the heap has two owners.
 *
 *     8 threads ─▶ alloc, resize, release ─▶ box ─▶ other threads
 *     one heap, the default heap, and one for each thread alone
 *
 * Every block gets a stamp that was never used before, in each of its lines, and
 * must have it when it goes home. Blocks are whole lines, so two that overlap are
 * seen. Two of the threads end and begin anew all the time, with the blocks they
 * have. In between come releases that are wrong, and must be told: those that
 * another thread could make right by accident only on the thread's own heap,
 * which comes and goes. At the end all is home, and all pages are free.
 *
 * Every some thousand steps all stand still for a census: the naive allocator
 * takes every block that is out, which must lie beside all others, each has its
 * stamp, and the heap's numbers are those of the blocks, to the last one.
 *
 * The long mode, from a minute on, goes on until 10^8 operations are done.
 */

#include "core/heap.h"
#include "support/oracle.h"
#include "support/stress.h"
#include "weir/heap.h"
#include "weir/weir.h"

#include <pthread.h>
#include <stdio.h>

enum {
    THREADS = 8,
    STEADY = 6, /* of them; the others end and begin anew */
    HELD = 96,
    BOX = 48,
    HEAPS = 2, /* one, and the default heap */
    LIFE = 4096,
    ROUND = 20000, /* steps between two censuses */
    OUT_MAX = THREADS * (HELD + BOX),
    LONG_S = 60,
    LONG_STEPS = 100000000,
    LINE = 64,
    WHOLE = 256, /* up to here every byte is written */
    LARGE = 1 << 20,
    ALIGN_SHIFTS = 22, /* of alignments, 1 to 2 MiB */
    MIXED_REGION = 64 << 20,
    OWN_REGION = 4 << 20,
    DECAY_MS = 20
};

struct held {
    void *memory;
    size_t size;
    uint64_t stamp;
    uint32_t heap;
};

/* Blocks on their way to a thread. */
struct box {
    pthread_mutex_t mutex;
    struct held held[BOX];
    uint32_t count;
};

struct worker {
    struct stress_random *random;
    struct weir_heap *own; /* nobody else uses it */
    struct held held[HELD];
    uint32_t count;
    uint8_t owner;
    uint64_t serial;
    uint64_t steps;
    uint64_t round_end; /* when so many steps are done */
};

static struct weir_heap *heaps[HEAPS];
static struct worker workers[THREADS];
static struct box boxes[THREADS];

/* ---- What stands in a block -------------------------------------------- */

static uint64_t
line_word(const struct held *held, size_t line)
{
    return held->stamp ^ line * UINT64_C(0x9E3779B97F4A7C15);
}

/* Where the part begins of which every byte is written. */
static size_t
rest_of(const struct held *held)
{
    return held->size <= WHOLE ? 0 : held->size / LINE * LINE;
}

static void
fill(const struct held *held)
{
    size_t rest = rest_of(held);
    uint64_t *words = held->memory;
    for (size_t line = 0; line < rest / LINE; line++)
        words[line * LINE / sizeof(*words)] = line_word(held, line);
    stress_fill((uint8_t *)held->memory + rest, held->size - rest, held->stamp,
        (uint32_t)rest);
}

static void
verify(const struct held *held)
{
    size_t rest = rest_of(held);
    const uint64_t *words = held->memory;
    uint64_t wrong = 0;
    for (size_t line = 0; line < rest / LINE; line++)
        wrong |= words[line * LINE / sizeof(*words)] ^ line_word(held, line);
    stress_expect(wrong == 0, "a block that is out was written");
    stress_verify((const uint8_t *)held->memory + rest, held->size - rest,
        held->stamp, (uint32_t)rest, "a block that is out was written");
}

static void
expect_zeros(const struct held *held)
{
    const uint8_t *bytes = held->memory;
    uint8_t seen = 0;
    for (size_t i = 0; i < held->size; i++)
        seen |= bytes[i];
    stress_expect(seen == 0, "a cleared block is not zero");
}

/* A new stamp in a block that is new, or has a new size. */
static void
stamp(struct worker *worker, struct held *held)
{
    held->stamp = (uint64_t)worker->owner << 56 | ++worker->serial;
    fill(held);
}

/* ---- Steps ------------------------------------------------------------- */

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

/* Small ones are the most. */
static size_t
draw_size(struct stress_random *random)
{
    uint32_t what = stress_below(random, 4096);
    if (what < 3000)
        return 1 + stress_below(random, WHOLE);
    if (what < 3900)
        return 1 + stress_below(random, 4096);
    if (what < 4084)
        return 1 + stress_below(random, 65536);
    if (what < 4095)
        return 1 + stress_below(random, LARGE);
    return 1 + stress_below(random, 4 * LARGE);
}

static void
keep(struct worker *worker, const struct held *held)
{
    stress_expect(worker->count < HELD, "no place for a block");
    worker->held[worker->count++] = *held;
}

static struct held
pick(struct worker *worker)
{
    uint32_t index = stress_below(worker->random, worker->count);
    struct held held = worker->held[index];
    worker->held[index] = worker->held[--worker->count];
    verify(&held);
    return held;
}

/* The block goes home, by one of the doors. */
static void
release(struct worker *worker, const struct held *held)
{
    bool sized = stress_chance(worker->random, 30);
    bool by_default = held->heap == 1 && stress_chance(worker->random, 70);
    enum weir_status status;
    verify(held);
    if (by_default)
        status = sized ? weir_release_sized(held->memory, held->size)
                       : weir_release(held->memory);
    else
        status = sized ? weir_heap_release_sized(
                             heaps[held->heap], held->memory, held->size)
                       : weir_heap_release(heaps[held->heap], held->memory);
    expect_status(status, WEIR_OK);
}

static void
release_any(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    release(worker, &held);
}

static enum weir_status
alloc_some(struct stress_random *random, struct held *held, size_t *align)
{
    struct weir_heap *heap = heaps[held->heap];
    uint32_t what = stress_below(random, 100);
    if (what < 10) {
        uint32_t most = held->size < LARGE ? 13 : ALIGN_SHIFTS;
        *align = (size_t)1 << stress_below(random, most);
        return weir_heap_alloc_aligned(heap, held->size, *align, &held->memory);
    }
    if (what < 20) {
        enum weir_status status =
            weir_heap_alloc_zeroed(heap, held->size, &held->memory);
        if (status == WEIR_OK)
            expect_zeros(held);
        return status;
    }
    if (held->heap == 0 || what < 40)
        return weir_heap_alloc(heap, held->size, &held->memory);
    held->memory = weir_alloc(held->size);
    return held->memory != NULL ? WEIR_OK : WEIR_SYSTEM;
}

static void
make(struct worker *worker)
{
    if (worker->count == HELD) {
        release_any(worker);
        return;
    }
    size_t align = LINE;
    struct held held = { .size = draw_size(worker->random),
        .heap = stress_below(worker->random, HEAPS) };
    expect_status(alloc_some(worker->random, &held, &align), WEIR_OK);
    stress_expect((uintptr_t)held.memory % LINE == 0 &&
                      (uintptr_t)held.memory % align == 0,
        "a block is not aligned");
    stamp(worker, &held);
    keep(worker, &held);
}

static void
resize(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    struct weir_heap *heap = heaps[held.heap];
    size_t had = held.size;
    size_t size = had > LARGE ? 1 + stress_below(worker->random, 6 * LARGE)
                              : draw_size(worker->random);
    size_t usable;
    expect_status(weir_heap_usable(heap, held.memory, &usable), WEIR_OK);
    stress_expect(usable >= had, "a block is too small");
    enum weir_status status = weir_heap_resize(heap, held.memory, size);
    if (size <= usable)
        expect_status(status, WEIR_OK);
    else if (status != WEIR_OK)
        expect_status(status, WEIR_NO_ROOM);
    if (status == WEIR_OK) {
        held.size = (had < size ? had : size) / LINE * LINE;
        if (had > WHOLE && held.size > WHOLE)
            verify(&held);
        held.size = size;
        stamp(worker, &held);
    }
    keep(worker, &held);
}

static void
send(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    struct box *box = &boxes[stress_below(worker->random, THREADS)];
    pthread_mutex_lock(&box->mutex);
    bool sent = box->count < BOX;
    if (sent)
        box->held[box->count++] = held;
    pthread_mutex_unlock(&box->mutex);
    if (!sent)
        release(worker, &held);
}

/* Takes what is in the thread's box, and releases most of it. */
static void
receive(struct worker *worker)
{
    static _Thread_local struct held got[BOX];
    struct box *box = &boxes[worker->owner - 1];
    pthread_mutex_lock(&box->mutex);
    uint32_t count = box->count;
    for (uint32_t i = 0; i < count; i++)
        got[i] = box->held[i];
    box->count = 0;
    pthread_mutex_unlock(&box->mutex);
    for (uint32_t i = 0; i < count; i++)
        if (worker->count < HELD && stress_chance(worker->random, 10))
            keep(worker, &got[i]);
        else
            release(worker, &got[i]);
    worker->steps += count;
}

/* ---- What is wrong, and told ------------------------------------------- */

/* Of a block that is out; it stays so. */
static void
err_alive(struct weir_heap *heap, const struct held *held)
{
    uint8_t *bytes = held->memory;
    size_t usable;
    expect_status(weir_heap_release_sized(heap, bytes, held->size + 1),
        WEIR_SIZE_MISMATCH);
    expect_status(weir_heap_release_sized(heap, bytes, 0), WEIR_SIZE_MISMATCH);
    expect_status(weir_heap_release(heap, bytes + 1), WEIR_FOREIGN);
    expect_status(weir_heap_usable(heap, bytes, &usable), WEIR_OK);
    if (usable > LINE)
        expect_status(weir_heap_release(heap, bytes + LINE), WEIR_FOREIGN);
    expect_status(weir_heap_release(heap, &usable), WEIR_FOREIGN);
    expect_status(weir_heap_release(heap, NULL), WEIR_OK);
}

static void
err(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    err_alive(heaps[held.heap], &held);
    expect_status(weir_heap_release(heaps[HEAPS - 1 - held.heap], held.memory),
        WEIR_FOREIGN);
    keep(worker, &held);
}

static void
create_own(struct worker *worker)
{
    struct weir_heap_config config = { .name = "own",
        .region_bytes = OWN_REGION,
        .decay_ms = 1 + stress_below(worker->random, DECAY_MS) };
    if (worker->own == NULL)
        expect_status(weir_heap_create(&config, &worker->own), WEIR_OK);
}

/* What else could be right by accident: a block released twice. */
static void
err_alone(struct worker *worker)
{
    struct held held = { .size = draw_size(worker->random) };
    create_own(worker);
    expect_status(
        weir_heap_alloc(worker->own, held.size, &held.memory), WEIR_OK);
    stamp(worker, &held);
    err_alive(worker->own, &held);
    verify(&held);
    expect_status(weir_heap_release(worker->own, held.memory), WEIR_OK);
    uint32_t what = stress_below(worker->random, 100);
    if (what < 10)
        weir_heap_flush(worker->own);
    else if (what < 15)
        weir_heap_trim(worker->own);
    expect_status(
        weir_heap_release(worker->own, held.memory), WEIR_ALREADY_RELEASED);
    expect_status(weir_heap_release_sized(worker->own, held.memory, held.size),
        WEIR_ALREADY_RELEASED);
    expect_status(weir_heap_resize(worker->own, held.memory, held.size),
        WEIR_ALREADY_RELEASED);
    if (what >= 98) {
        weir_heap_check(worker->own);
        weir_heap_destroy(&worker->own);
    }
}

/* ---- The census -------------------------------------------------------- */

/* What must be out of one heap. */
struct count {
    uint64_t small[WEIR_HEAP_CLASSES];
    uint64_t large;
    uint64_t large_bytes;
};

static struct count counts[HEAPS];
static struct oracle oracle;
static uint64_t censuses;
static _Atomic uint64_t steps_done;
static _Atomic bool last_round;

static void
count_block(const struct held *held)
{
    struct wr_place place;
    size_t page = (size_t)1 << WR_PAGE_SHIFT;
    size_t room = (held->size + page - 1) / page * page;
    struct count *count = &counts[held->heap];
    verify(held);
    expect_status(
        wr_heap_find(heaps[held->heap], held->memory, &place), WEIR_OK);
    if (place.class == WR_CLASS_SMALL_COUNT) {
        count->large++;
        count->large_bytes += room;
    } else {
        room = wr_class_size(place.class);
        count->small[place.class]++;
    }
    stress_expect(
        oracle_take(&oracle, held->memory, room), "two blocks overlap");
}

static void
count_blocks(const struct held *held, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        count_block(&held[i]);
}

static void
compare(struct weir_heap *heap, const struct count *count)
{
    struct weir_heap_stats stats;
    uint64_t bytes = 0;
    weir_heap_stats(heap, &stats);
    for (uint32_t i = 0; i < WEIR_HEAP_CLASSES; i++) {
        const struct weir_heap_class_stats *class = &stats.classes[i];
        stress_expect_equal(class->blocks_live, count->small[i], "blocks_live");
        bytes += (class->blocks_live + class->blocks_cached +
                     class->blocks_central) *
                 class->block_size;
    }
    stress_expect_equal(stats.large_live, count->large, "large_live");
    stress_expect_equal(stats.large_bytes, count->large_bytes, "large_bytes");
    bytes += stats.large_bytes + stats.bytes_unused;
    stress_expect(bytes <= stats.bytes_reserved, "more blocks than memory");
    stress_expect(stats.large_reusable <= stats.bytes_unused &&
                      stats.bytes_resident <= stats.bytes_reserved,
        "numbers that cannot be");
    weir_heap_check(heap);
}

/* All others wait. */
static void
take_census(void)
{
    uint64_t steps = 0;
    for (uint32_t i = 0; i < HEAPS; i++)
        counts[i] = (struct count){ .large = 0 };
    oracle.count = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        count_blocks(workers[i].held, workers[i].count);
        count_blocks(boxes[i].held, boxes[i].count);
        steps += workers[i].steps;
    }
    for (uint32_t i = 0; i < HEAPS; i++)
        compare(heaps[i], &counts[i]);
    censuses++;
    atomic_store_explicit(&steps_done, steps, memory_order_relaxed);
    atomic_store_explicit(&last_round, stress_is_over(), memory_order_relaxed);
}

static bool
has_enough(void)
{
    return stress_seconds() < LONG_S || atomic_load_explicit(&steps_done,
                                            memory_order_relaxed) >= LONG_STEPS;
}

/* ---- The crew ---------------------------------------------------------- */

/* What concerns all threads. */
static void
meddle(struct worker *worker)
{
    struct weir_heap *heap = heaps[stress_below(worker->random, HEAPS)];
    struct weir_heap_stats stats;
    uint32_t what = stress_below(worker->random, 100);
    if (what < 60) {
        weir_heap_flush(heap);
    } else if (what < 90) {
        weir_heap_stats(heap, &stats);
        stress_expect(stats.bytes_unused <= stats.bytes_reserved, "stats");
    } else {
        weir_heap_trim(heap);
    }
}

static void
step(struct worker *worker)
{
    uint32_t what = stress_below(worker->random, 1024);
    worker->steps++;
    if (what < 440)
        make(worker);
    else if (what < 850)
        release_any(worker);
    else if (what < 950)
        send(worker);
    else if (what < 970)
        receive(worker);
    else if (what < 1010)
        resize(worker);
    else if (what < 1016)
        err(worker);
    else if (what < 1023)
        err_alone(worker);
    else
        meddle(worker);
}

static void *
live(void *context)
{
    struct worker *worker = context;
    uint32_t steps = 1 + stress_below(worker->random, LIFE);
    while (
        steps-- > 0 && worker->steps < worker->round_end && !stress_is_over())
        step(worker);
    return NULL;
}

/* On this thread, or on others one after the other. */
static void
work_a_round(struct worker *worker, bool is_mortal)
{
    pthread_t thread;
    worker->round_end = worker->steps + ROUND;
    while (worker->steps < worker->round_end && !stress_is_over())
        if (!is_mortal) {
            step(worker);
        } else {
            stress_expect(
                pthread_create(&thread, NULL, live, worker) == 0, "no thread");
            pthread_join(thread, NULL);
        }
}

static void
mix(uint32_t index, struct stress_random *random)
{
    static struct stress_gate gate = { .count = THREADS };
    struct worker *worker = &workers[index];
    worker->random = random;
    do {
        work_a_round(worker, index >= STEADY);
        stress_gate_pass(&gate);
        if (index == 0)
            take_census();
        stress_gate_pass(&gate);
    } while (!atomic_load_explicit(&last_round, memory_order_relaxed));
    receive(worker);
    while (worker->count > 0)
        release_any(worker);
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

static void
run(void)
{
    struct weir_heap_config config = {
        .name = "mixed", .region_bytes = MIXED_REGION, .decay_ms = DECAY_MS
    };
    expect_status(weir_heap_create(&config, &heaps[0]), WEIR_OK);
    heaps[1] = weir_heap_default();
    stress_expect(heaps[1] != NULL, "no default heap");
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].owner = (uint8_t)(i + 1);
        pthread_mutex_init(&boxes[i].mutex, NULL);
    }
    oracle_init(&oracle, &(struct iovec){ NULL, SIZE_MAX }, OUT_MAX);
    stress_run(&(struct stress_crew){
        .count = THREADS, .body = mix, .enough = has_enough });
    oracle_fini(&oracle);

    struct stress_random random = { stress_seed() };
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].random = &random;
        receive(&workers[i]); /* what was sent when its thread had gone */
        while (workers[i].count > 0)
            release_any(&workers[i]);
        weir_heap_destroy(&workers[i].own);
    }
    expect_home(heaps[0]);
    expect_home(heaps[1]);
    weir_heap_destroy(&heaps[0]);
}

int
main(int argc, char **argv)
{
    stress_begin("heap", argc, argv);
    run();
    uint64_t steps = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        steps += workers[i].steps;
    stress_report("operations", steps);
    stress_report("censuses", censuses);
    return stress_end();
}
