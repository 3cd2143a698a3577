/* SPDX-License-Identifier: MIT */
/*
 * mortals seed seconds: ten thousand threads with caches leave nothing behind.
 *
 *     8 at a time ─▶ take, release, bequeath ─▶ end ─▶ destructors ─▶ next one
 *
 * Each uses some of three arenas, so that it has caches in them. What it holds in
 * the end it releases itself, in destructors of thread-specific data of its own,
 * which run before the library's and behind it, or it leaves it to a later
 * thread. Another thread follows each one that is gone, so some begin while
 * others end. There are more blocks than all together ask for: none is ever told
 * "full", whatever the dying have in their caches. In the end all blocks are
 * home and in no cache, the arenas' books are as large as at the beginning, and
 * the heap has not grown.
 */

#include "arena/arena.h"
#include "support/books.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <malloc.h>
#include <pthread.h>

enum {
    HOSTS = 8,
    ARENAS = 3,
    HOLD_MAX = 6,   /* of one arena, by one thread */
    ESTATE_MAX = 8, /* of one arena, left by the dead */
    BLOCKS_MIN = 64,
    BLOCK_SIZE = 64,
    ENOUGH = 10000,
    ROUNDS = 4, /* of destructors: as many as there are; in a later one
                   ThreadSanitizer is gone */
    GROWTH_MAX = 64 << 10
};

_Static_assert(HOSTS *HOLD_MAX + ESTATE_MAX <= BLOCKS_MIN,
    "there must be a block for everybody");

/* What a thread holds of each arena. */
struct mortal {
    struct weir_buf bufs[ARENAS][HOLD_MAX];
    uint32_t counts[ARENAS];
    uint8_t name;
    struct stress_random random;
    uint32_t rounds; /* of destructors, still to come */
};

static const uint32_t blocks[ARENAS] = { BLOCKS_MIN, 200, 1024 };
static struct weir_arena *arenas[ARENAS];
static uint64_t meta_bytes[ARENAS];
static struct stress_shadow shadows[ARENAS];
static pthread_key_t keys[2]; /* below and above the library's */
static _Atomic uint64_t lives;
static _Atomic uint64_t cached; /* blocks, when a thread looked */

/* ---- The estate -------------------------------------------------------- */

enum { DEAD = 100 };

static struct {
    pthread_mutex_t mutex;
    struct weir_buf bufs[ARENAS][ESTATE_MAX];
    uint32_t counts[ARENAS];
} estate = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void
change_hands(
    uint32_t which, const struct weir_buf *buf, uint8_t from, uint8_t to)
{
    uint32_t block = wr_owner_slot(buf->owner);
    stress_shadow_give(&shadows[which], block, from);
    stress_shadow_take(&shadows[which], block, to);
}

static void
bequeath(struct mortal *mortal, uint32_t which)
{
    pthread_mutex_lock(&estate.mutex);
    while (mortal->counts[which] > 0 && estate.counts[which] < ESTATE_MAX) {
        struct weir_buf buf = mortal->bufs[which][--mortal->counts[which]];
        change_hands(which, &buf, mortal->name, DEAD);
        estate.bufs[which][estate.counts[which]++] = buf;
    }
    pthread_mutex_unlock(&estate.mutex);
}

static void
inherit(struct mortal *mortal, uint32_t which)
{
    pthread_mutex_lock(&estate.mutex);
    while (mortal->counts[which] < HOLD_MAX && estate.counts[which] > 0) {
        struct weir_buf buf = estate.bufs[which][--estate.counts[which]];
        change_hands(which, &buf, DEAD, mortal->name);
        mortal->bufs[which][mortal->counts[which]++] = buf;
    }
    pthread_mutex_unlock(&estate.mutex);
}

/* ---- A life ------------------------------------------------------------ */

static void
take(struct mortal *mortal, uint32_t which)
{
    struct weir_buf *buf = &mortal->bufs[which][mortal->counts[which]++];
    enum weir_status status = weir_arena_alloc(arenas[which], 0, buf);
    stress_expect(status != WEIR_FULL, "full, but blocks were free");
    stress_expect(status == WEIR_OK, "an alloc failed");
    stress_shadow_take(
        &shadows[which], wr_owner_slot(buf->owner), mortal->name);
}

static void
give(struct mortal *mortal, uint32_t which)
{
    uint32_t index = stress_below(&mortal->random, mortal->counts[which]);
    struct weir_buf buf = mortal->bufs[which][index];
    mortal->bufs[which][index] = mortal->bufs[which][--mortal->counts[which]];
    stress_shadow_give(&shadows[which], wr_owner_slot(buf.owner), mortal->name);
    weir_buf_drop(&buf);
}

static void
give_all(struct mortal *mortal)
{
    for (uint32_t which = 0; which < ARENAS; which++)
        while (mortal->counts[which] > 0)
            give(mortal, which);
}

static void
use(struct mortal *mortal, uint32_t which)
{
    for (uint32_t n = stress_below(&mortal->random, 100); n > 0; n--) {
        bool takes = stress_chance(&mortal->random, 50);
        if (takes && mortal->counts[which] < HOLD_MAX)
            take(mortal, which);
        else if (!takes && mortal->counts[which] > 0)
            give(mortal, which);
    }
}

/* In one round of destructors. */
static void
die(struct mortal *mortal, uint32_t key)
{
    for (uint32_t which = 0; which < ARENAS; which++) {
        if (mortal->counts[which] > 0)
            give(mortal, which);
        if (mortal->counts[which] < HOLD_MAX)
            take(mortal, which);
    }
    if (mortal->rounds-- > 0)
        stress_expect(
            pthread_setspecific(keys[key], mortal) == 0, "no further round");
    else
        give_all(mortal);
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

static void
look(void)
{
    for (uint32_t which = 0; which < ARENAS; which++) {
        struct weir_stats stats;
        weir_arena_stats(arenas[which], &stats);
        stress_expect(
            stats.blocks_out <= blocks[which], "more are out than there are");
        (void)atomic_fetch_add_explicit(
            &cached, stats.blocks_cached, memory_order_relaxed);
    }
}

static void
end(struct mortal *mortal)
{
    uint32_t how = stress_below(&mortal->random, 4);
    mortal->rounds =
        stress_below(&mortal->random, stress_has_signals() ? ROUNDS : 1);
    if (how < 2)
        stress_expect(pthread_setspecific(keys[how], mortal) == 0, "no key");
    for (uint32_t which = 0; how == 2 && which < ARENAS; which++)
        bequeath(mortal, which);
    if (how >= 2)
        give_all(mortal);
    if (how == 3)
        weir_thread_flush();
}

static void *
live(void *context)
{
    struct mortal *mortal = context;
    for (uint32_t n = 1 + stress_below(&mortal->random, 4); n > 0; n--) {
        uint32_t which = stress_below(&mortal->random, ARENAS);
        inherit(mortal, which);
        use(mortal, which);
    }
    if (stress_below(&mortal->random, 32) == 0)
        look();
    end(mortal);
    return NULL;
}

/* ---- The hosts --------------------------------------------------------- */

static size_t
heap_bytes(void)
{
    return books_bytes() + (stress_is_sanitized() ? 0 : mallinfo2().uordblks);
}

/* One thread after the other. */
static void
host(uint32_t index, struct stress_random *random)
{
    static struct mortal mortals[HOSTS];
    struct mortal *mortal = &mortals[index];
    uint64_t born = 0;
    mortal->name = (uint8_t)(index + 1);
    mortal->random = *random;
    while (born < ENOUGH / HOSTS / 2 || !stress_is_over()) {
        pthread_t thread;
        stress_expect(
            pthread_create(&thread, NULL, live, mortal) == 0, "no thread");
        pthread_join(thread, NULL);
        for (uint32_t which = 0; which < ARENAS; which++)
            stress_expect_equal(mortal->counts[which], 0, "held by the dead");
        born++;
    }
    (void)atomic_fetch_add_explicit(&lives, born, memory_order_relaxed);
}

static void
expect_nothing_left(uint32_t which)
{
    struct weir_stats stats;
    weir_arena_stats(arenas[which], &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.blocks_cached, 0, "blocks are in dead caches");
    stress_expect_equal(stats.caches, 0, "caches of the dead");
    stress_expect_equal(stats.allocs, stats.releases, "allocs");
    stress_expect_equal(stats.alloc_fulls, 0, "alloc_fulls");
    stress_expect_equal(
        stats.meta_bytes, meta_bytes[which], "bytes of the books");
    stress_shadow_expect_free(&shadows[which], blocks[which]);
    weir_arena_check(arenas[which]);
}

/* On a thread of its own, or the last cache would be this one's. */
static void *
clear_estate(void *unused)
{
    (void)unused;
    static struct mortal heir = { .name = DEAD + 1 };
    for (uint32_t which = 0; which < ARENAS; which++) {
        while (estate.counts[which] > 0) {
            inherit(&heir, which);
            give_all(&heir);
        }
    }
    return NULL;
}

static void
create(uint32_t which)
{
    struct weir_stats stats;
    struct weir_arena_config config = { .name = "mortals",
        .block_size = BLOCK_SIZE,
        .block_count = blocks[which] };
    stress_expect(
        weir_arena_create(&config, &arenas[which]) == WEIR_OK, "no arena");
    if (which != 1)
        arenas[which]->drought_length = 1;
    weir_arena_stats(arenas[which], &stats);
    meta_bytes[which] = stats.meta_bytes;
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
    stress_begin("mortals", argc, argv);
    make_keys();
    for (uint32_t which = 0; which < ARENAS; which++)
        create(which);
    stress_part(0.5);
    stress_run(
        &(struct stress_crew){ .count = HOSTS, .body = host, .is_calm = true });
    size_t warm = heap_bytes();
    stress_part(0.5);
    stress_run(
        &(struct stress_crew){ .count = HOSTS, .body = host, .is_calm = true });
    stress_expect(heap_bytes() <= warm + GROWTH_MAX, "the heap has grown");
    pthread_t last;
    stress_expect(
        pthread_create(&last, NULL, clear_estate, NULL) == 0, "no thread");
    pthread_join(last, NULL);
    for (uint32_t which = 0; which < ARENAS; which++)
        expect_nothing_left(which);
    uint64_t seen = atomic_load_explicit(&cached, memory_order_relaxed);
    struct weir_stats stats;
    weir_arena_stats(arenas[0], &stats);
    stress_expect(
        stats.caching != WEIR_CACHING_ON || seen > 0, "caches were empty");
    for (uint32_t which = 0; which < ARENAS; which++)
        weir_arena_destroy(&arenas[which]);
    stress_report(
        "threads", atomic_load_explicit(&lives, memory_order_relaxed));
    return stress_end();
}
