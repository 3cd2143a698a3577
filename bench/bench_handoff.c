/* SPDX-License-Identifier: MIT */
/*
 * bench_handoff: what does a message cost that ends on another thread?
 *
 *     producer                                consumer
 *     alloc, write, freeze ──▶ ring ──▶ read, release
 *
 * Idea
 *   One thread makes messages, another reads and releases them, so every block
 *   goes home from a core that did not take it. Between them is a ring of 1024
 *   handles with one producer and one consumer, each of whom keeps the other's
 *   position until it has to look again. Positions are published every 32
 *   items, or with every item (burst 1, where the two cores move in lock-step
 *   and the number is that of the ring). A message is 64 bytes, or 4 KiB.
 *
 *   Two floors: the ring alone, moving 24 bytes an item, and F, the ring with
 *   the payload written and read but nothing allocated, its blocks used in
 *   turn: 2048 of them for short messages, since a line that the consumer has
 *   just read is dear to write again; and as few as the ring allows for 4 KiB,
 *   where their number decides which cache holds them. So either floor is the
 *   lower one. What a candidate costs beyond F is its own. Times are wall clock,
 *   per item; they need both cores, so judge them by the quartile of a quiet
 *   run.
 *
 * Limits
 *   The ring never holds more than a quarter of the blocks, so alloc finds one;
 *   it is tried again if it does not.
 */
#include "counted.h"
#include "harness.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum {
    BLOCK = 4096,
    BLOCKS = 4096,
    MESSAGE = 64,
    RING = 1024,
    FLOOR_BLOCKS = 2048,
    FLOOR_STRIDE = BLOCK + 64,
    LINE = 64,
    SPINS = 4096,
    LONG_WINDOW_US = 1000 /* some rounds of the ring with 4 KiB too */
};

/* ---- The ring ---------------------------------------------------------- */

union item {
    uint64_t number[3];
    struct weir_slice slice;
    struct counted_slice counted;
};

/* One end of the ring, on a line of its own. */
struct end {
    _Alignas(LINE) _Atomic size_t published; /* the other end reads it */
    _Alignas(LINE) size_t next;              /* ours from here on */
    size_t limit;                            /* what the other one published */
};

struct ring {
    struct end producer;
    struct end consumer;
    _Alignas(LINE) union item items[RING];
    size_t burst;
};

/* Waits until the other end's position is beyond `reached`. */
static size_t
wait_for(const struct end *other, size_t reached)
{
    for (unsigned spins = 0;; spins++) {
        size_t position =
            atomic_load_explicit(&other->published, memory_order_acquire);
        if (position != reached)
            return position;
        if (spins > SPINS)
            sched_yield();
    }
}

/* The item to fill next. */
static inline union item *
ring_room(struct ring *ring)
{
    struct end *end = &ring->producer;
    if (end->next == end->limit)
        end->limit = RING + wait_for(&ring->consumer, end->next - RING);
    return &ring->items[end->next % RING];
}

/* The item to read next. */
static inline union item *
ring_item(struct ring *ring)
{
    struct end *end = &ring->consumer;
    if (end->next == end->limit)
        end->limit = wait_for(&ring->producer, end->next);
    return &ring->items[end->next % RING];
}

static inline void
publish(struct end *end)
{
    atomic_store_explicit(&end->published, end->next, memory_order_release);
}

/* The item was filled, or read. */
static inline void
ring_step(const struct ring *ring, struct end *end)
{
    end->next++;
    if (end->next % ring->burst == 0)
        publish(end);
}

static void
ring_init(struct ring *ring, size_t burst)
{
    memset(ring, 0, sizeof(*ring));
    ring->burst = burst;
    ring->producer.limit = RING;
}

/* ---- Candidates -------------------------------------------------------- */

struct handoff {
    struct ring ring;
    struct weir_arena *arena;
    struct bench_peer peer;
    size_t size;        /* of a message: MESSAGE or BLOCK */
    size_t block_count; /* of the floor's blocks that are used in turn */
};

static uint8_t message[BLOCK];
static uint8_t floor_blocks[FLOOR_BLOCKS][FLOOR_STRIDE];

/* Sizes the compiler knows, so that 64 bytes are some registers. */
static inline void
write_message(void *data, size_t size)
{
    if (size == MESSAGE)
        memcpy(data, message, MESSAGE);
    else
        memcpy(data, message, BLOCK);
}

static inline uint64_t
sum_words(const uint8_t *data, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, data + i, sizeof(word));
        sum += word;
    }
    return sum;
}

static inline void
read_message(const void *data, size_t size)
{
    bench_keep(
        size == MESSAGE ? sum_words(data, MESSAGE) : sum_words(data, BLOCK));
}

static void
ring_only(void *state, unsigned thread, size_t n)
{
    struct ring *ring = &((struct handoff *)state)->ring;
    struct end *end = thread == 0 ? &ring->consumer : &ring->producer;
    for (size_t i = 0; i < n; i++) {
        union item *item = thread == 0 ? ring_item(ring) : ring_room(ring);
        for (size_t k = 0; k < 3; k++)
            if (thread == 0)
                bench_keep(item->number[k]);
            else
                item->number[k] = i + k;
        ring_step(ring, end);
    }
    publish(end);
}

static void
ring_payload(void *state, unsigned thread, size_t n)
{
    struct handoff *handoff = state;
    struct ring *ring = &handoff->ring;
    struct end *end = thread == 0 ? &ring->consumer : &ring->producer;
    for (size_t i = 0; i < n; i++) {
        if (thread == 0) {
            read_message(ring_item(ring)->counted.data, handoff->size);
        } else {
            union item *item = ring_room(ring);
            uint8_t *data = floor_blocks[end->next % handoff->block_count];
            write_message(data, handoff->size);
            item->counted =
                (struct counted_slice){ .data = data, .len = handoff->size };
        }
        ring_step(ring, end);
    }
    publish(end);
}

static void
weir_produce(struct handoff *handoff, size_t n)
{
    struct ring *ring = &handoff->ring;
    const size_t size = handoff->size;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf buf;
        while (weir_arena_alloc(handoff->arena, BLOCK, &buf) != WEIR_OK)
            sched_yield();
        write_message(weir_buf_tail(&buf), size);
        weir_buf_commit(&buf, size);
        weir_buf_freeze(&buf, &ring_room(ring)->slice);
        ring_step(ring, &ring->producer);
    }
    publish(&ring->producer);
}

static void
weir_consume(struct handoff *handoff, size_t n)
{
    struct ring *ring = &handoff->ring;
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice = ring_item(ring)->slice;
        ring_step(ring, &ring->consumer);
        read_message(weir_slice_data(&slice), handoff->size);
        weir_slice_release(&slice);
    }
    publish(&ring->consumer);
}

static void
weir_handoff(void *state, unsigned thread, size_t n)
{
    if (thread == 0)
        weir_consume(state, n);
    else
        weir_produce(state, n);
}

static void
counted_produce(struct handoff *handoff, size_t n)
{
    const struct bench_peer peer = handoff->peer;
    struct ring *ring = &handoff->ring;
    for (size_t i = 0; i < n; i++) {
        struct counted *counted = counted_alloc(&peer, BLOCK);
        write_message(counted->data, handoff->size);
        counted_freeze(counted, handoff->size, &ring_room(ring)->counted);
        ring_step(ring, &ring->producer);
    }
    publish(&ring->producer);
}

static void
counted_consume(struct handoff *handoff, size_t n)
{
    const struct bench_peer peer = handoff->peer;
    struct ring *ring = &handoff->ring;
    for (size_t i = 0; i < n; i++) {
        struct counted_slice slice = ring_item(ring)->counted;
        ring_step(ring, &ring->consumer);
        read_message(slice.data, handoff->size);
        counted_release(&peer, slice.owner);
    }
    publish(&ring->consumer);
}

static void
counted_handoff(void *state, unsigned thread, size_t n)
{
    if (thread == 0)
        counted_consume(state, n);
    else
        counted_produce(state, n);
}

/* ---- The questions ----------------------------------------------------- */

/* A question, weir's goal in F, and how many times as much as weir's a peer's
   answer has to be at least. 0: no goal. */
static const struct question {
    const char *name;
    size_t burst;
    size_t size;
    size_t floor_blocks;
    unsigned window_us;
    const char *goal;
    double goal_f;
    double least[BENCH_PEER_COUNT];
} questions[] = {
    { "hand-off, burst 32", 32, MESSAGE, FLOOR_BLOCKS, 0, "G5", 1.15,
        { [BENCH_GLIBC] = 15, [BENCH_MIMALLOC] = 9, [BENCH_JEMALLOC] = 15 } },
    { "hand-off, burst 1", 1, MESSAGE, FLOOR_BLOCKS, 0, NULL, 0, { 0 } },
    { "hand-off of 4 KiB, burst 32", 32, BLOCK, RING, LONG_WINDOW_US, "G6",
        1.15, { 0 } },
};

enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

/* Both floors, weir with and without caches, and the peers; a ring for each. */
enum {
    ALONE,
    PAYLOAD,
    CACHED,
    UNCACHED,
    PEERS,
    ALL = PEERS + BENCH_PEER_COUNT
};

static struct handoff handoffs[QUESTIONS][ALL];

/* The case of a question; the caller adds what it is compared with. */
static struct bench_case
prepare(const struct question *question, struct handoff *handoff,
    const char *candidate, bench_loop_fn *loop)
{
    ring_init(&handoff->ring, question->burst);
    handoff->size = question->size;
    return (struct bench_case){ .name = question->name,
        .candidate = candidate,
        .loop = loop,
        .state = handoff,
        .threads = 2,
        .window_us = question->window_us,
        .goal = question->goal };
}

static const struct bench_case *
ask_floors(const struct question *question, struct handoff *all)
{
    struct bench_case one =
        prepare(question, &all[ALONE], "the ring alone", ring_only);
    bench_add(&one);
    all[PAYLOAD].block_count = question->floor_blocks;
    one = prepare(question, &all[PAYLOAD], "F, ring and payload", ring_payload);
    return bench_add(&one);
}

static const struct bench_case *
ask_weir(const struct question *question, struct handoff *all,
    const struct bench_case *floor)
{
    all[CACHED].arena = bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT);
    all[UNCACHED].arena =
        bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT | WEIR_NO_CACHE);
    struct bench_case one =
        prepare(question, &all[CACHED], "weir", weir_handoff);
    one.base = floor;
    one.goal_base = question->goal_f;
    const struct bench_case *weir = bench_add(&one);
    one = prepare(question, &all[UNCACHED], "weir, no cache", weir_handoff);
    one.base = floor;
    bench_add(&one);
    return weir;
}

static void
ask(const struct question *question, struct handoff *all)
{
    struct bench_peer *peers = bench_peers();
    const struct bench_case *floor = ask_floors(question, all);
    const struct bench_case *weir = ask_weir(question, all, floor);
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++) {
        struct handoff *handoff = &all[PEERS + i];
        struct bench_case one =
            prepare(question, handoff, peers[i].name, counted_handoff);
        handoff->peer = peers[i];
        one.base = weir;
        one.goal_least = question->least[i];
        one.skipped = peers[i].skipped;
        bench_add(&one);
    }
}

int
main(int argc, char **argv)
{
    bench_start("handoff", argc, argv);
    memset(floor_blocks, 1, sizeof(floor_blocks)); /* touch every page */
    for (size_t i = 0; i < QUESTIONS; i++)
        ask(&questions[i], handoffs[i]);
    int status = bench_run();
    for (size_t i = 0; i < QUESTIONS; i++) {
        bench_arena_end(&handoffs[i][CACHED].arena);
        bench_arena_end(&handoffs[i][UNCACHED].arena);
    }
    return status;
}
