/* SPDX-License-Identifier: MIT */
/*
 * churn seed seconds: threads come and go by the thousand, and leave nothing
 * behind but what they counted.
 *
 *     wave:  8 threads ─▶ take, freeze, release ─▶ end ─▶ destructors ─▶ joined
 *
 * Each thread has thread-specific data of two keys of ours, one made before the
 * library's and one after it, whose destructors take and release blocks too,
 * and come back for more rounds: they run before and after the library's own,
 * which has put the thread's record away by then, and once after its last. At the end the numbers
 * of all threads add up, no record is left, and the heap has not grown.
 */

#include "arena/arena.h"
#include "support/books.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <malloc.h>
#include <pthread.h>

enum {
    WAVE = 8,
    BLOCKS = 2 * WAVE, /* each thread has two at most: never full */
    BLOCK_SIZE = 128,
    ENOUGH = 10000,        /* threads */
    WARM_UP = ENOUGH / 10, /* until the heap has its size */
    GROWTH_MAX = 64 << 10,
    ROUNDS = 4,      /* of destructors: as many as there are */
    ROUNDS_TSAN = 2, /* in the last one ThreadSanitizer is gone */
    ARENAS = 2
};

/* What one thread does, and has counted. */
struct mortal {
    struct stress_random random;
    uint8_t owner;
    uint32_t rounds[2]; /* of destructors, still to come */
    uint64_t allocs;
    uint64_t freezes;
};

static struct weir_arena *arenas[ARENAS];
static struct stress_shadow shadows[ARENAS];
static pthread_key_t keys[2]; /* below and above the library's */
static struct mortal mortals[WAVE];

static void
take(struct mortal *mortal, uint32_t which, struct weir_buf *buf)
{
    enum weir_status status = weir_arena_alloc(arenas[which], 0, buf);
    stress_expect(status == WEIR_OK, "an alloc failed");
    stress_shadow_take(
        &shadows[which], wr_owner_slot(buf->owner), mortal->owner);
    mortal->allocs++;
}

static void
freeze_and_release(struct mortal *mortal, uint32_t which, struct weir_buf *buf)
{
    struct weir_slice slice;
    uint32_t block = wr_owner_slot(buf->owner);
    uint64_t stamp = stress_draw(&mortal->random);
    stress_fill(weir_buf_tail(buf), BLOCK_SIZE, stamp, 0);
    weir_buf_commit(buf, BLOCK_SIZE);
    weir_buf_freeze(buf, &slice);
    mortal->freezes++;
    stress_verify(weir_slice_data(&slice), weir_slice_len(&slice), stamp, 0,
        "a frozen block was written");
    stress_shadow_give(&shadows[which], block, mortal->owner);
    weir_slice_release(&slice);
}

/* Two blocks at once, of one arena or of two. */
static void
use_arenas(struct mortal *mortal)
{
    uint32_t first = stress_below(&mortal->random, ARENAS);
    uint32_t second = stress_below(&mortal->random, ARENAS);
    struct weir_buf a;
    struct weir_buf b;
    take(mortal, first, &a);
    take(mortal, second, &b);
    freeze_and_release(mortal, first, &a);
    freeze_and_release(mortal, second, &b);
}

static void
die(struct mortal *mortal, uint32_t key)
{
    use_arenas(mortal);
    if (--mortal->rounds[key] > 0)
        stress_expect(
            pthread_setspecific(keys[key], mortal) == 0, "no further round");
}

static void
die_first(void *mortal)
{
    die(mortal, 0);
}

static void
die_last(void *mortal)
{
    die(mortal, 1);
}

static void *
live(void *context)
{
    struct mortal *mortal = context;
    uint32_t most = stress_has_signals() ? ROUNDS : ROUNDS_TSAN;
    for (uint32_t i = 0; i < 2; i++) {
        mortal->rounds[i] = stress_below(&mortal->random, most + 1);
        if (mortal->rounds[i] > 0)
            stress_expect(pthread_setspecific(keys[i], mortal) == 0, "no key");
    }
    for (uint32_t n = stress_below(&mortal->random, 8); n > 0; n--)
        use_arenas(mortal);
    return NULL;
}

static void
run_wave(struct stress_random *random)
{
    pthread_t threads[WAVE];
    for (uint32_t i = 0; i < WAVE; i++) {
        mortals[i].random.state = stress_draw(random);
        mortals[i].owner = (uint8_t)(i + 1);
        stress_expect(pthread_create(&threads[i], NULL, live, &mortals[i]) == 0,
            "no thread");
    }
    for (uint32_t i = 0; i < WAVE; i++) {
        pthread_join(threads[i], NULL);
        stress_expect(mortals[i].rounds[0] + mortals[i].rounds[1] == 0,
            "a destructor did not run");
    }
}

static size_t
heap_bytes(void)
{
    return books_bytes() + (stress_is_sanitized() ? 0 : mallinfo2().uordblks);
}

static uint64_t lives;

/* The only thread of its crew; the others are its own. */
static void
body(uint32_t index, struct stress_random *random)
{
    (void)index;
    size_t warm = 0;
    for (; lives < ENOUGH || !stress_is_over(); lives += WAVE) {
        if (lives == WARM_UP)
            warm = heap_bytes();
        run_wave(random);
    }
    size_t now = heap_bytes();
    stress_expect(now <= warm + GROWTH_MAX, "the heap has grown");
}

static void
expect_sums(void)
{
    uint64_t allocs = 0;
    uint64_t freezes = 0;
    for (uint32_t i = 0; i < WAVE; i++) {
        allocs += mortals[i].allocs;
        freezes += mortals[i].freezes;
    }
    for (uint32_t i = 0; i < ARENAS; i++) {
        struct weir_stats stats;
        weir_arena_stats(arenas[i], &stats);
        stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
        stress_expect_equal(stats.allocs, stats.releases, "releases");
        stress_expect_equal(
            stats.bytes_frozen, stats.freezes * BLOCK_SIZE, "bytes_frozen");
        stress_expect_equal(stats.alloc_fulls, 0, "alloc_fulls");
        stress_expect_equal(arenas[i]->record_count, 0, "records");
        allocs -= stats.allocs;
        freezes -= stats.freezes;
        stress_shadow_expect_free(&shadows[i], BLOCKS);
        weir_arena_check(arenas[i]);
        weir_arena_destroy(&arenas[i]);
    }
    stress_expect_equal(allocs, 0, "allocs that are not counted");
    stress_expect_equal(freezes, 0, "freezes that are not counted");
}

/* The library makes its key at the first block a thread takes. */
static void
make_keys(void)
{
    stress_expect(pthread_key_create(&keys[0], die_first) == 0, "no key");
    struct weir_buf buf;
    struct weir_arena *arena;
    stress_expect(weir_arena_create(NULL, &arena) == WEIR_OK, "no arena");
    stress_expect(weir_arena_alloc(arena, 0, &buf) == WEIR_OK, "no block");
    weir_buf_drop(&buf);
    weir_arena_destroy(&arena);
    stress_expect(pthread_key_create(&keys[1], die_last) == 0, "no key");
}

int
main(int argc, char **argv)
{
    stress_begin("churn", argc, argv);
    make_keys();
    struct weir_arena_config config = {
        .name = "churn", .block_size = BLOCK_SIZE, .block_count = BLOCKS
    };
    for (uint32_t i = 0; i < ARENAS; i++)
        stress_expect(
            weir_arena_create(&config, &arenas[i]) == WEIR_OK, "no arena");
    stress_run(&(struct stress_crew){ .count = 1, .body = body });
    expect_sums();
    stress_report("threads", lives);
    return stress_end();
}
