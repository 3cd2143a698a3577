/* SPDX-License-Identifier: MIT */
/*
 * spill seed seconds: heap memory that counts as blocks stays below its bound,
 * and all of it comes home.
 *
 * Threads take more blocks than there are and write more than a block holds;
 * slices of what they wrote go to a box, and are released by whoever finds
 * them. One thread samples: never more bytes on the heap than allowed. At the
 * end each spill and each byte that it moved was counted, and the heap has all of
 * it back.
 */

#include "arena/record.h"
#include "base/handle.h"
#include "support/books.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>

enum {
    THREADS = 7, /* the last one samples */
    BLOCKS = 8,
    BLOCK_SIZE = 256,
    SPILL_BYTES = 16 * BLOCK_SIZE,
    HELD = 6,
    BOX = 16,
    PIECE_MAX = BLOCK_SIZE
};

struct held {
    struct weir_slice slice;
    uint64_t stamp;
    uint32_t at; /* what was split off before it */
};

struct worker {
    struct stress_random *random;
    struct held held[HELD];
    uint32_t count;
    uint64_t stamp;
    uint64_t allocs;
    uint64_t fulls;
    uint64_t spill_fulls;
    uint64_t spill_grows;
    uint64_t bytes_copied;
    uint64_t no_rooms;
    uint64_t samples;
};

static struct weir_arena *arena;
static struct worker workers[THREADS];
static _Atomic uint32_t at_work;
static struct {
    pthread_mutex_t mutex;
    struct held held[BOX];
    uint32_t count;
} box = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void
release(struct held *held)
{
    stress_verify(weir_slice_data(&held->slice), weir_slice_len(&held->slice),
        held->stamp, held->at, "a frozen block was written");
    weir_slice_release(&held->slice);
}

static void
release_any(struct worker *worker)
{
    if (worker->count == 0)
        return;
    uint32_t index = stress_below(worker->random, worker->count);
    struct held held = worker->held[index];
    worker->held[index] = worker->held[--worker->count];
    release(&held);
}

/* Writes a piece, which may move the buf to the heap. */
static bool
write_piece(struct worker *worker, struct weir_buf *buf, uint32_t at)
{
    uint8_t bytes[PIECE_MAX];
    size_t len = weir_buf_len(buf);
    size_t n = 1 + stress_below(worker->random, PIECE_MAX);
    bool grows = n > weir_buf_room(buf);
    stress_fill(bytes, n, worker->stamp, at + (uint32_t)len);
    enum weir_status status = weir_buf_write(buf, bytes, n);
    if (status == WEIR_NO_ROOM) {
        stress_expect(grows && weir_buf_len(buf) == len, "no room");
        worker->no_rooms++;
        return false;
    }
    stress_expect(status == WEIR_OK, "a write failed");
    if (grows) {
        worker->spill_grows++;
        worker->bytes_copied += len;
        stress_expect(wr_word_kind(buf->word) == WR_SPILLED, "not on the heap");
    }
    return true;
}

static void
keep(struct worker *worker, const struct weir_slice *slice, uint32_t at)
{
    if (weir_slice_data(slice) == NULL)
        return;
    stress_expect(worker->count < HELD, "no place for a slice");
    worker->held[worker->count++] = (struct held){ *slice, worker->stamp, at };
}

static void
fill(struct worker *worker, struct weir_buf *buf)
{
    struct weir_slice slice;
    uint32_t at = 0;
    worker->stamp += UINT64_C(1) << 8;
    for (uint32_t i = stress_below(worker->random, 6); i > 0; i--) {
        if (!write_piece(worker, buf, at))
            break;
        if (worker->count + 1 < HELD && stress_chance(worker->random, 20)) {
            uint32_t len = (uint32_t)weir_buf_len(buf);
            weir_buf_split(buf, &slice);
            keep(worker, &slice, at);
            at += len;
        }
    }
    weir_buf_freeze(buf, &slice);
    keep(worker, &slice, at);
}

static void
make(struct worker *worker)
{
    struct weir_buf buf;
    enum weir_status status = weir_arena_alloc(arena, 0, &buf);
    if (status == WEIR_FULL) {
        worker->fulls++;
        release_any(worker);
        return;
    }
    stress_expect(status == WEIR_OK, "an alloc failed");
    worker->allocs++;
    if (wr_word_kind(buf.word) == WR_SPILLED)
        worker->spill_fulls++;
    fill(worker, &buf);
}

/* Puts a slice into the box; a full box gives one back. So does one that a
   thread without any looks into. */
static void
exchange(struct worker *worker)
{
    struct held put = { .stamp = 0 };
    struct held got = { .stamp = 0 };
    if (worker->count > 0)
        put = worker->held[--worker->count];
    pthread_mutex_lock(&box.mutex);
    if (box.count > 0 && (put.stamp == 0 || box.count == BOX)) {
        uint32_t index = stress_below(worker->random, box.count);
        got = box.held[index];
        box.held[index] = box.held[--box.count];
    }
    if (put.stamp != 0)
        box.held[box.count++] = put;
    pthread_mutex_unlock(&box.mutex);
    if (got.stamp != 0)
        worker->held[worker->count++] = got;
}

static void
sample(struct worker *worker)
{
    while (atomic_load_explicit(&at_work, memory_order_relaxed) > 0) {
        struct weir_stats stats;
        weir_arena_stats(arena, &stats);
        stress_expect(stats.spilled_bytes <= SPILL_BYTES, "spilled too much");
        stress_expect(stats.blocks_out <= BLOCKS, "more out than there are");
        worker->samples++;
    }
}

static void
body(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->random = random;
    worker->stamp = index + 1;
    if (index == THREADS - 1) {
        sample(worker);
        return;
    }
    while (!stress_is_over()) {
        uint32_t what = stress_below(random, 100);
        if (what < 40 && worker->count < HELD)
            make(worker);
        else if (what < 60)
            exchange(worker);
        else
            release_any(worker);
    }
    while (worker->count > 0)
        release_any(worker);
    (void)atomic_fetch_sub_explicit(&at_work, 1, memory_order_relaxed);
}

static struct worker
sum_up(void)
{
    struct worker sum = { 0 };
    for (uint32_t i = 0; i < THREADS; i++) {
        sum.allocs += workers[i].allocs;
        sum.fulls += workers[i].fulls;
        sum.spill_fulls += workers[i].spill_fulls;
        sum.spill_grows += workers[i].spill_grows;
        sum.bytes_copied += workers[i].bytes_copied;
        sum.no_rooms += workers[i].no_rooms;
        sum.samples += workers[i].samples;
    }
    return sum;
}

static void
expect_whole(const struct worker *sum)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.spilled_blocks, 0, "heap blocks are not home");
    stress_expect_equal(stats.spilled_bytes, 0, "heap bytes are not home");
    stress_expect_equal(stats.allocs, stats.releases, "releases");
    stress_expect_equal(stats.allocs, sum->allocs + sum->spill_grows, "allocs");
    stress_expect_equal(stats.alloc_fulls, sum->fulls, "alloc_fulls");
    stress_expect_equal(stats.spill_fulls, sum->spill_fulls, "spill_fulls");
    stress_expect_equal(stats.spill_grows, sum->spill_grows, "spill_grows");
    stress_expect_equal(stats.bytes_copied, sum->bytes_copied, "bytes_copied");
    weir_arena_check(arena);
}

int
main(int argc, char **argv)
{
    stress_begin("spill", argc, argv);
    struct weir_arena_config config = {
        .name = "spill",
        .block_size = BLOCK_SIZE,
        .block_count = BLOCKS,
        .flags = WEIR_SPILL_GROW | WEIR_SPILL_FULL,
        .spill_bytes_max = SPILL_BYTES,
    };
    stress_expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    atomic_store_explicit(&at_work, THREADS - 1, memory_order_relaxed);
    stress_run(&(struct stress_crew){ .count = THREADS, .body = body });
    while (box.count > 0)
        release(&box.held[--box.count]);

    struct worker sum = sum_up();
    expect_whole(&sum);
    weir_arena_destroy(&arena);
    stress_expect_equal(books_blocks(), 1 + wr_record_books(),
        "blocks of the heap that are left");
    stress_report("allocs", sum.allocs);
    stress_report("from the heap", sum.spill_fulls);
    stress_report("moved to the heap", sum.spill_grows);
    stress_report("refused to move", sum.no_rooms);
    stress_report("full", sum.fulls);
    stress_report("samples", sum.samples);
    return stress_end();
}
