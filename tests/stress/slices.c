/* SPDX-License-Identifier: MIT */
/*
 * slices seed seconds: no block is handed out twice, and nobody writes into a
 * block that is frozen.
 *
 *     alloc ─▶ write ─▶ split, freeze ─▶ clone, sub, cut ─▶ box ─▶ other threads
 *       ▲                                    │       board ─▶ clone_shared
 *       └──── thaw, if alone ◀───────────────┴─▶ release
 *
 * Every block that is filled gets a stamp that was never used before, and every
 * handle remembers it. At each step the bytes of the handle must be those of
 * the stamp. How many handles a block has is counted beside the library, with
 * relaxed counts that lend no order; a block that comes out of the arena must
 * have none, and a slice that is sole must have one.
 */

#include "base/handle.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>

enum {
    THREADS = 8,
    BLOCKS = 72,
    BLOCK_SIZE = 256,
    HELD = 12, /* handles of a thread */
    BOX = 8,
    BOARD = 4
};

/* A slice, and what must stand in it. */
struct held {
    struct weir_slice slice;
    uint64_t stamp;
    uint32_t at; /* where it begins in its block */
};

/* Slices on their way to a thread. */
struct box {
    pthread_mutex_t mutex;
    struct held held[BOX];
    uint32_t count;
};

/* A slice that many threads clone at once. */
struct notice {
    pthread_rwlock_t lock;
    struct held held;
};

struct worker {
    struct stress_random *random;
    struct held held[HELD];
    uint32_t count;
    uint8_t owner;
    uint64_t serial;
    uint64_t steps;
    uint64_t allocs;
    uint64_t freezes;
    uint64_t bytes_frozen;
    uint64_t thaws;
    uint64_t fulls;
};

static struct weir_arena *arena;
static struct worker workers[THREADS];
static struct box boxes[THREADS];
static struct notice board[BOARD];
static struct stress_shadow shadow;
static _Atomic uint32_t handles[BLOCKS];

/* ---- Beside the library ------------------------------------------------ */

static uint32_t
block_of(uint64_t owner)
{
    uint32_t block = wr_owner_slot(owner);
    stress_expect(block < BLOCKS, "a block that does not exist");
    return block;
}

static void
add_handle(uint64_t owner)
{
    (void)atomic_fetch_add_explicit(
        &handles[block_of(owner)], 1, memory_order_relaxed);
}

/* Before the library hears of it, so that the last one is early, not late. */
static void
remove_handle(uint64_t owner)
{
    uint32_t block = block_of(owner);
    uint32_t had =
        atomic_fetch_sub_explicit(&handles[block], 1, memory_order_relaxed);
    stress_expect(had > 0, "more handles end than began");
    if (had == 1)
        stress_shadow_give(&shadow, block, 1);
}

static void
verify(const struct held *held)
{
    stress_verify(weir_slice_data(&held->slice), weir_slice_len(&held->slice),
        held->stamp, held->at, "a frozen block was written");
}

/* ---- Steps ------------------------------------------------------------- */

static void
keep(struct worker *worker, const struct held *held)
{
    stress_expect(worker->count < HELD, "no place for a handle");
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

static void
release(struct held *held)
{
    verify(held);
    remove_handle(held->slice.owner);
    weir_slice_release(&held->slice);
    stress_expect(weir_slice_data(&held->slice) == NULL, "not cleared");
}

static void
release_any(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    release(&held);
}

/* Appends up to `most` bytes of the stamp. */
static void
write_some(struct worker *worker, struct weir_buf *buf, const struct held *held,
    uint32_t most)
{
    size_t room = weir_buf_room(buf);
    size_t n = 1 + stress_below(worker->random, most);
    n = n < room ? n : room;
    uint32_t at = held->at + (uint32_t)weir_buf_len(buf);
    stress_fill(weir_buf_tail(buf), n, held->stamp, at);
    weir_buf_commit(buf, n);
}

static void
count_freeze(struct worker *worker, size_t len)
{
    worker->freezes++;
    worker->bytes_frozen += len;
}

/* Ends the buf, as a slice that is kept or without one. */
static void
end_buf(struct worker *worker, struct weir_buf *buf, struct held *held)
{
    size_t len = weir_buf_len(buf);
    if (worker->count == HELD || stress_chance(worker->random, 10)) {
        remove_handle(buf->owner);
        weir_buf_drop(buf);
        return;
    }
    if (len == 0)
        remove_handle(buf->owner);
    else
        count_freeze(worker, len);
    weir_buf_freeze(buf, &held->slice);
    if (len == 0)
        return;
    verify(held);
    keep(worker, held);
}

/* Splits off what was written; the buf goes on behind it. */
static void
split_buf(struct worker *worker, struct weir_buf *buf, struct held *held)
{
    size_t len = weir_buf_len(buf);
    if (len == 0 || worker->count == HELD)
        return;
    struct held front = *held;
    add_handle(buf->owner);
    count_freeze(worker, len);
    weir_buf_split(buf, &front.slice);
    verify(&front);
    keep(worker, &front);
    held->at += (uint32_t)len;
}

static void
new_stamp(struct worker *worker, struct held *held)
{
    held->stamp = (uint64_t)worker->owner << 56 | ++worker->serial;
}

static void
make(struct worker *worker)
{
    struct weir_buf buf;
    enum weir_status status = stress_chance(worker->random, 50)
                                  ? weir_arena_alloc(arena, 0, &buf)
                                  : weir_arena_alloc_barge(arena, 0, &buf);
    if (status == WEIR_FULL) {
        worker->fulls++;
        release_any(worker);
        return;
    }
    stress_expect(status == WEIR_OK, "an alloc failed");
    worker->allocs++;
    stress_shadow_take(&shadow, block_of(buf.owner), 1);
    add_handle(buf.owner);

    struct held held = { 0 };
    new_stamp(worker, &held);
    for (uint32_t parts = stress_below(worker->random, 3); parts > 0; parts--) {
        write_some(worker, &buf, &held, BLOCK_SIZE / 4);
        split_buf(worker, &buf, &held);
    }
    if (weir_buf_room(&buf) > 0)
        write_some(worker, &buf, &held, BLOCK_SIZE);
    end_buf(worker, &buf, &held);
}

static void
copy(struct worker *worker, struct held *held)
{
    struct held made = *held;
    add_handle(held->slice.owner);
    if (stress_chance(worker->random, 30))
        weir_slice_clone_shared(&held->slice, &made.slice);
    else
        weir_slice_clone(&held->slice, &made.slice);
    verify(&made);
    keep(worker, &made);
}

static void
cut(struct worker *worker, struct held *held)
{
    uint32_t len = (uint32_t)weir_slice_len(&held->slice);
    if (len < 2)
        return;
    uint32_t n = 1 + stress_below(worker->random, len - 1);
    struct held made = *held;
    add_handle(held->slice.owner);
    enum weir_status status;
    switch (stress_below(worker->random, 3)) {
    case 0:
        status = weir_slice_sub(&held->slice, len - n, n, &made.slice);
        made.at += len - n;
        break;
    case 1:
        status = weir_slice_split_front(&held->slice, n, &made.slice);
        held->at += n;
        break;
    default:
        status = weir_slice_split_back(&held->slice, n, &made.slice);
        made.at += len - n;
        break;
    }
    stress_expect(status == WEIR_OK, "a cut failed");
    verify(&made);
    keep(worker, &made);
}

/* Writes on where the slice was, or anew over all of it. */
static void
write_thawed(struct worker *worker, struct weir_buf *buf, struct held *held)
{
    stress_verify(weir_buf_data(buf), weir_buf_len(buf), held->stamp, held->at,
        "thawing changed the bytes");
    if (stress_chance(worker->random, 50)) {
        weir_buf_clear(buf);
        new_stamp(worker, held);
    }
    if (weir_buf_room(buf) > 0)
        write_some(worker, buf, held, BLOCK_SIZE / 2);
    end_buf(worker, buf, held);
}

static void
thaw(struct worker *worker, struct held *held)
{
    bool sole = weir_slice_is_sole(&held->slice);
    uint32_t count = atomic_load_explicit(
        &handles[block_of(held->slice.owner)], memory_order_relaxed);
    stress_expect(!sole || count == 1, "a shared slice was called sole");

    struct weir_buf buf;
    enum weir_status status = weir_slice_thaw(&held->slice, &buf);
    stress_expect(!sole || status == WEIR_OK, "a sole slice did not thaw");
    if (status == WEIR_OK) {
        worker->thaws++;
        write_thawed(worker, &buf, held);
        return;
    }
    stress_expect(status == WEIR_SHARED, "a thaw failed");
    keep(worker, held);
}

/* Does something to a slice that the thread has. */
static void
change(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    uint32_t what = stress_below(worker->random, 3);
    if (what == 2) {
        thaw(worker, &held);
        return;
    }
    if (worker->count + 2 <= HELD) {
        if (what == 0)
            copy(worker, &held);
        else
            cut(worker, &held);
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
        release(&held);
}

static bool
receive(struct box *box, struct held *held)
{
    pthread_mutex_lock(&box->mutex);
    bool received = box->count > 0;
    if (received)
        *held = box->held[--box->count];
    pthread_mutex_unlock(&box->mutex);
    if (received)
        verify(held);
    return received;
}

static void
fetch(struct worker *worker, uint32_t index)
{
    struct held held;
    if (worker->count < HELD && receive(&boxes[index], &held))
        keep(worker, &held);
}

/* Puts a slice on the board, where others clone it, and takes the old one. */
static void
post(struct worker *worker)
{
    if (worker->count == 0)
        return;
    struct held held = pick(worker);
    struct notice *notice = &board[stress_below(worker->random, BOARD)];
    pthread_rwlock_wrlock(&notice->lock);
    struct held old = notice->held;
    notice->held = held;
    pthread_rwlock_unlock(&notice->lock);
    if (weir_slice_data(&old.slice) != NULL)
        release(&old);
}

static void
copy_notice(struct worker *worker)
{
    if (worker->count == HELD)
        return;
    struct notice *notice = &board[stress_below(worker->random, BOARD)];
    pthread_rwlock_rdlock(&notice->lock);
    struct held made = notice->held;
    bool there = weir_slice_data(&notice->held.slice) != NULL;
    if (there) {
        add_handle(notice->held.slice.owner);
        weir_slice_clone_shared(&notice->held.slice, &made.slice);
    }
    pthread_rwlock_unlock(&notice->lock);
    if (!there)
        return;
    verify(&made);
    keep(worker, &made);
}

/* ---- The crew ---------------------------------------------------------- */

static void
step(struct worker *worker, uint32_t index)
{
    uint32_t what = stress_below(worker->random, 100);
    if (what < 28) {
        if (worker->count < HELD)
            make(worker);
        else
            release_any(worker);
    } else if (what < 53) {
        change(worker);
    } else if (what < 78) {
        release_any(worker);
    } else if (what < 83) {
        send(worker);
    } else if (what < 89) {
        fetch(worker, index);
    } else if (what < 92) {
        post(worker);
    } else {
        copy_notice(worker);
    }
}

static void
body(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->random = random;
    worker->owner = (uint8_t)(index + 1);
    for (; !stress_is_over(); worker->steps++)
        step(worker, index);
    while (worker->count > 0)
        release_any(worker);
}

/* What is left in boxes and on the board. */
static void
clean_up(void)
{
    for (uint32_t i = 0; i < THREADS; i++) {
        struct held held;
        while (receive(&boxes[i], &held))
            release(&held);
    }
    for (uint32_t i = 0; i < BOARD; i++)
        if (weir_slice_data(&board[i].held.slice) != NULL)
            release(&board[i].held);
}

static void
expect_whole(const struct worker *sum)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_shadow_expect_free(&shadow, BLOCKS);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.allocs, sum->allocs, "allocs");
    stress_expect_equal(stats.releases, sum->allocs, "releases");
    stress_expect_equal(stats.alloc_fulls, sum->fulls, "alloc_fulls");
    stress_expect_equal(stats.freezes, sum->freezes, "freezes");
    stress_expect_equal(stats.bytes_frozen, sum->bytes_frozen, "bytes_frozen");
    weir_arena_check(arena);
}

static struct worker
sum_up(void)
{
    struct worker sum = { 0 };
    for (uint32_t i = 0; i < THREADS; i++) {
        sum.steps += workers[i].steps;
        sum.allocs += workers[i].allocs;
        sum.freezes += workers[i].freezes;
        sum.bytes_frozen += workers[i].bytes_frozen;
        sum.thaws += workers[i].thaws;
        sum.fulls += workers[i].fulls;
    }
    return sum;
}

int
main(int argc, char **argv)
{
    stress_begin("slices", argc, argv);
    struct weir_arena_config config = {
        .name = "slices", .block_size = BLOCK_SIZE, .block_count = BLOCKS
    };
    stress_expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    for (uint32_t i = 0; i < THREADS; i++)
        (void)pthread_mutex_init(&boxes[i].mutex, NULL);
    for (uint32_t i = 0; i < BOARD; i++)
        (void)pthread_rwlock_init(&board[i].lock, NULL);

    stress_run(&(struct stress_crew){ .count = THREADS, .body = body });
    clean_up();
    struct worker sum = sum_up();
    expect_whole(&sum);
    weir_arena_destroy(&arena);
    stress_report("steps", sum.steps);
    stress_report("allocs", sum.allocs);
    stress_report("fulls", sum.fulls);
    stress_report("freezes", sum.freezes);
    stress_report("thaws", sum.thaws);
    return stress_end();
}
