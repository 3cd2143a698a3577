/* SPDX-License-Identifier: MIT */
/*
 * bench_handoff: what does a message cost that ends on another thread?
 *
 *     producer                                consumer
 *     alloc, write 64, freeze ──▶ ring ──▶ read 64, release
 *
 * Idea
 *   One thread makes messages, another reads and releases them, so every block
 *   goes home from a core that did not take it. Between them is a ring of 1024
 *   handles with one producer and one consumer, each of whom keeps the other's
 *   position until it has to look again. Positions are published every 32
 *   items, or with every item (burst 1, where the two cores move in lock-step
 *   and the number is that of the ring).
 *
 *   Two floors: the ring alone, moving 24 bytes an item, and F, the ring with
 *   the payload written and read but nothing allocated, its blocks used in
 *   turn. What a candidate costs beyond F is its own. Times are wall clock, per
 *   item; they need both cores, so judge them by the quartile of a quiet run.
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
    SPINS = 4096
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
    uint8_t *blocks;
};

static uint8_t message[MESSAGE];

static inline void
read_message(const void *data)
{
    uint64_t words[MESSAGE / sizeof(uint64_t)];
    uint64_t sum = 0;
    memcpy(words, data, sizeof(words));
    for (size_t i = 0; i < MESSAGE / sizeof(uint64_t); i++)
        sum += words[i];
    bench_keep(sum);
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
            read_message(ring_item(ring)->counted.data);
        } else {
            union item *item = ring_room(ring);
            uint8_t *data =
                handoff->blocks + end->next % FLOOR_BLOCKS * FLOOR_STRIDE;
            memcpy(data, message, MESSAGE);
            item->counted =
                (struct counted_slice){ .data = data, .len = MESSAGE };
        }
        ring_step(ring, end);
    }
    publish(end);
}

static void
weir_produce(struct handoff *handoff, size_t n)
{
    struct ring *ring = &handoff->ring;
    for (size_t i = 0; i < n; i++) {
        struct weir_buf buf;
        while (weir_arena_alloc(handoff->arena, BLOCK, &buf) != WEIR_OK)
            sched_yield();
        memcpy(weir_buf_tail(&buf), message, MESSAGE);
        weir_buf_commit(&buf, MESSAGE);
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
        read_message(weir_slice_data(&slice));
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
        memcpy(counted->data, message, MESSAGE);
        counted_freeze(counted, MESSAGE, &ring_room(ring)->counted);
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
        read_message(slice.data);
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

/* ---- The question, for one burst --------------------------------------- */

/* Both floors, weir and the peers; a ring for each. */
struct field {
    struct handoff floors[2];
    struct handoff weir;
    struct handoff peers[BENCH_PEER_COUNT];
};

static uint8_t floor_blocks[FLOOR_BLOCKS * FLOOR_STRIDE];

static void
ask_peers(struct field *field, const char *name, size_t burst,
    const struct bench_case *floor)
{
    struct bench_peer *peers = bench_peers();
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++) {
        ring_init(&field->peers[i].ring, burst);
        field->peers[i].peer = peers[i];
        bench_add(&(struct bench_case){ .name = name,
            .candidate = peers[i].name,
            .loop = counted_handoff,
            .state = &field->peers[i],
            .threads = 2,
            .base = floor,
            .skipped = peers[i].skipped });
    }
}

static void
ask(struct field *field, const char *name, size_t burst)
{
    ring_init(&field->floors[0].ring, burst);
    ring_init(&field->floors[1].ring, burst);
    ring_init(&field->weir.ring, burst);
    field->floors[1].blocks = floor_blocks;
    field->weir.arena = bench_arena(BLOCKS, BLOCK, WEIR_PREFAULT);

    bench_add(&(struct bench_case){ .name = name,
        .candidate = "the ring alone",
        .loop = ring_only,
        .state = &field->floors[0],
        .threads = 2 });
    const struct bench_case *floor =
        bench_add(&(struct bench_case){ .name = name,
            .candidate = "F, ring and payload",
            .loop = ring_payload,
            .state = &field->floors[1],
            .threads = 2 });
    bench_add(&(struct bench_case){ .name = name,
        .candidate = "weir",
        .loop = weir_handoff,
        .state = &field->weir,
        .threads = 2,
        .base = floor });
    ask_peers(field, name, burst, floor);
}

int
main(int argc, char **argv)
{
    static struct field fields[2];
    bench_start("handoff", argc, argv);
    memset(floor_blocks, 1, sizeof(floor_blocks)); /* touch every page */
    ask(&fields[0], "hand-off, burst 32", 32);
    ask(&fields[1], "hand-off, burst 1", 1);
    int status = bench_run();
    bench_arena_end(&fields[0].weir.arena);
    bench_arena_end(&fields[1].weir.arena);
    return status;
}
