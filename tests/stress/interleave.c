/* SPDX-License-Identifier: MIT */
/*
 * interleave seed seconds: the interleavings that the protocols are made for,
 * each led step by step.
 *
 * Threads are stopped at pages of the bitmap, or of a waiter, that have no
 * access (support/stops.h): before they set a bit, between two words of a
 * search, between finding nothing and queueing. What chance brings together
 * once in hours happens here in every round.
 */

#include "arena/arena.h"
#include "support/doorbell.h"
#include "support/stops.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The bitmap fills whole pages, and the counts lie behind it in others. */
enum {
    PAGE = 4096,
    IN_PAGE = PAGE * 8, /* blocks whose bits fill one */
    BLOCK_SIZE = 64,
    ENOUGH_ROUNDS = 3
};

/* An arena and the blocks of it that are out and belong to nobody else. */
struct stock {
    struct weir_arena *arena;
    struct weir_buf *bufs;
    uint32_t count;
};

/* A thread that asks for a block. */
struct asker {
    struct actor actor;
    struct weir_arena *arena;
    struct weir_buf buf;
    enum weir_status status;
};

/* A thread that gives one back. */
struct giver {
    struct actor actor;
    struct weir_arena *arena;
    struct weir_slice slice;
};

/* Where this thread looks next. */
static void
aim(struct weir_arena *arena, uint32_t slot)
{
    struct wr_record *record = wr_record_of(arena);
    stress_expect(record != NULL, "no record");
    record->hint = (struct wr_bitmap_hint){ .word = slot / WR_WORD_BITS };
}

static struct weir_buf
take(struct weir_arena *arena, uint32_t slot)
{
    struct weir_buf buf;
    aim(arena, slot);
    stress_expect(weir_arena_alloc(arena, 0, &buf) == WEIR_OK, "no block");
    stress_expect_equal(wr_owner_slot(buf.owner), slot, "another block");
    return buf;
}

/* Makes an arena, and takes all of its blocks. */
static struct stock
create(uint32_t blocks, weir_unmapped_fn *on_unmapped, void *user)
{
    struct stock stock = { .count = blocks };
    struct weir_arena_config config = {
        .name = "interleave",
        .block_size = BLOCK_SIZE,
        .block_count = blocks,
        .flags = WEIR_SPILL_GROW | WEIR_NO_CACHE, /* bit by bit */
        .on_unmapped = on_unmapped,
        .user = user,
    };
    stress_expect(
        weir_arena_create(&config, &stock.arena) == WEIR_OK, "no arena");
    stock.bufs = calloc(blocks, sizeof(*stock.bufs));
    stress_expect(stock.bufs != NULL, "no memory");
    for (uint32_t i = 0; i < blocks; i++)
        stock.bufs[i] = take(stock.arena, i);
    stock.arena->shared.hint = (struct wr_bitmap_hint){ 0 };
    return stock;
}

static void
give_all(struct stock *stock)
{
    for (uint32_t i = 0; i < stock->count; i++)
        weir_buf_drop(&stock->bufs[i]);
    free(stock->bufs);
    stock->bufs = NULL;
}

/* A page of the bitmap. */
static const char *
page_of(const struct stock *stock, uint32_t index)
{
    uintptr_t words = (uintptr_t)stock->arena->fixed.map.words;
    return (const char *)(words + (size_t)PAGE * index);
}

static char *
map_page(void)
{
    void *page = mmap(
        NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stress_expect(page != MAP_FAILED, "no memory");
    return page;
}

static struct weir_slice
freeze(struct weir_buf *buf)
{
    struct weir_slice slice;
    stress_expect(weir_buf_write(buf, "x", 1) == WEIR_OK, "no room");
    weir_buf_freeze(buf, &slice);
    return slice;
}

static void
ask(void *user)
{
    struct asker *asker = user;
    aim(asker->arena, 0);
    asker->status = weir_arena_alloc(asker->arena, 0, &asker->buf);
}

static void
give(void *user)
{
    struct giver *giver = user;
    aim(giver->arena, 0); /* it has a record, as a thread that runs long */
    weir_slice_release(&giver->slice);
}

/* ---- Full is exact ----------------------------------------------------- */

/*
 *     page 0: a, e      page 1: b      page 2
 *
 * At any moment a block is free, and yet every search of the asker meets empty
 * words only: `b` is out while it passes page 1, `a` and `e` while it passes
 * page 0. The last release begins before the asker's last search and ends in
 * the midst of it. Being told "full" would be wrong.
 */
enum {
    FULL_BLOCKS = 3 * IN_PAGE,
    BLOCK_A = 20 * WR_WORD_BITS,
    BLOCK_E = 10 * WR_WORD_BITS,
    BLOCK_B = IN_PAGE + 20 * WR_WORD_BITS
};

struct full {
    struct stock stock;
    const char *pages[3]; /* of the bitmap */
    struct asker asker;
    struct giver giver;
};

static void
prepare_full(struct full *full)
{
    full->stock = create(FULL_BLOCKS, NULL, NULL);
    for (uint32_t i = 0; i < 3; i++)
        full->pages[i] = page_of(&full->stock, i);
    full->asker.arena = full->stock.arena;
    full->giver.arena = full->stock.arena;
    full->giver.slice = freeze(&full->stock.bufs[BLOCK_A]);
    weir_buf_drop(&full->stock.bufs[BLOCK_B]);
}

/* Gives one back, then takes another: never are all out. */
static void
swap(struct full *full, uint32_t give_slot, uint32_t take_slot)
{
    weir_buf_drop(&full->stock.bufs[give_slot]);
    full->stock.bufs[take_slot] = take(full->stock.arena, take_slot);
}

/* From where an actor stands to the next page. */
static void
lead(struct actor *actor, const char *from, const char *to)
{
    stops_open(from);
    stops_shut(to);
    stops_go(actor);
    stops_await(actor, to);
}

/* The first search, without the mutex, meets nothing. */
static void
miss_once(struct full *full)
{
    struct actor *asker = &full->asker.actor;
    stops_shut(full->pages[1]);
    stops_start(asker, ask, &full->asker);
    stops_await(asker, full->pages[1]);
    stops_open(full->pages[1]);
    swap(full, BLOCK_E, BLOCK_B);
    lead(asker, full->pages[1], full->pages[2]);
    swap(full, BLOCK_B, BLOCK_E);
    stops_open(full->pages[2]);
}

static void
full_is_exact(void)
{
    struct full full = { .stock = { .count = 0 } };
    struct actor *asker = &full.asker.actor;
    struct actor *giver = &full.giver.actor;
    prepare_full(&full);
    miss_once(&full);

    stops_shut(full.pages[0]);
    stops_start(giver, give, &full.giver);
    stops_await(giver, full.pages[0]); /* before it sets the bit of `a` */
    stops_go(asker);
    stops_await(asker, full.pages[0]); /* it has begun the second search */
    lead(asker, full.pages[0], full.pages[1]);
    stops_open(full.pages[1]);
    stops_go(giver);
    stops_await_return(giver); /* its end needs the mutex */
    full.stock.bufs[BLOCK_B] = take(full.stock.arena, BLOCK_B);
    stops_go(asker);
    stops_join(asker);
    stops_join(giver);

    stress_expect(full.asker.status != WEIR_FULL, "full, but one was free");
    stress_expect(full.asker.status == WEIR_OK, "an alloc failed");
    weir_buf_drop(&full.asker.buf);
    give_all(&full.stock);
    weir_arena_check(full.stock.arena);
    weir_arena_destroy(&full.stock.arena);
}

/* ---- Tearing down ------------------------------------------------------ */

static void
count_unmapped(void *user)
{
    uint32_t *unmapped = user;
    ++*unmapped;
}

/* The arena is destroyed while its last releaser is about to set the bit. */
static void
last_release_unmaps(void)
{
    uint32_t unmapped = 0;
    struct stock stock = create(IN_PAGE, count_unmapped, &unmapped);
    struct giver giver = { .arena = stock.arena };
    struct weir_arena *arena = stock.arena;
    const char *page = page_of(&stock, 0);
    giver.slice = freeze(&stock.bufs[0]);
    give_all(&stock);

    stops_shut(page);
    stops_shut(weir_slice_data(&giver.slice)); /* no call looks there */
    stops_start(&giver.actor, give, &giver);
    stops_await(&giver.actor, page);
    stops_open(page);
    weir_arena_destroy(&arena);
    stress_expect_equal(unmapped, 0, "unmapped while a block was out");
    stops_go(&giver.actor);
    stops_join(&giver.actor);
    stress_expect_equal(unmapped, 1, "unmapped by the last release");
}

/* A thread that lets a buf outgrow its block. It stands at a page of its own
   when it has got its record. */
struct grower {
    struct actor actor;
    struct weir_arena *arena;
    struct weir_buf *buf;
    char *page;
};

static void
grow(void *user)
{
    struct grower *grower = user;
    aim(grower->arena, 0);
    *(volatile char *)grower->page = 1;
    static const char bytes[2 * BLOCK_SIZE];
    stress_expect(weir_buf_write(grower->buf, bytes, sizeof bytes) == WEIR_OK,
        "a buf did not grow");
}

static void
destroy(void *user)
{
    struct weir_arena **arena = user;
    weir_arena_destroy(arena);
}

/* The last block moves to the heap while the destroyer looks at the bitmap. */
static void
block_on_the_heap_is_out(void)
{
    uint32_t unmapped = 0;
    struct stock stock = create(IN_PAGE, count_unmapped, &unmapped);
    struct weir_arena *arena = stock.arena;
    const struct wr_bitmap *map = &arena->fixed.map;
    const char *page = page_of(&stock, 0);
    struct weir_buf buf = stock.bufs[0];
    stock.bufs[0] = (struct weir_buf){ 0 };
    give_all(&stock);
    struct actor destroyer = { .body = NULL };
    struct grower grower = { .arena = arena, .buf = &buf };
    grower.page = map_page();

    stops_shut(grower.page);
    stops_start(&grower.actor, grow, &grower);
    stops_await(&grower.actor, grower.page);
    stops_open(grower.page);
    stops_shut(page);
    stops_start(&destroyer, destroy, &arena);
    stops_await(&destroyer, page);
    stops_open(page);
    stops_go(&grower.actor);
    while (!wr_bitmap_is_free(map, 0))
        stress_nap(1);
    stops_go(&destroyer);
    stops_join(&destroyer);
    stops_join(&grower.actor);
    stress_expect_equal(unmapped, 0, "unmapped while a heap block was out");
    weir_buf_drop(&buf);
    stress_expect_equal(unmapped, 1, "unmapped by the heap block");
    (void)munmap(grower.page, PAGE);
}

/* ---- Waiting ----------------------------------------------------------- */

struct waiting {
    struct stock stock;
    struct asker asker; /* its buf is not used */
    struct doorbell doorbell;
    struct weir_waiter *waiter; /* in a page of its own */
    uint32_t grants;
};

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct waiting *waiting = waiter->user;
    stress_expect(status == WEIR_OK, "a grant failed");
    waiting->grants++;
}

static void
wait(void *user)
{
    struct waiting *waiting = user;
    aim(waiting->asker.arena, 0);
    waiting->asker.status =
        weir_arena_wait(waiting->asker.arena, 0, waiting->waiter);
}

static void
begin_waiting(struct waiting *waiting)
{
    waiting->stock = create(IN_PAGE, NULL, NULL);
    waiting->asker.arena = waiting->stock.arena;
    doorbell_init(&waiting->doorbell, false);
    waiting->waiter = (struct weir_waiter *)(void *)map_page();
    *waiting->waiter = (struct weir_waiter){
        .bell = &waiting->doorbell.bell, .granted = on_granted, .user = waiting
    };
}

/* The block went home: the waiter has it, or is told so. */
static void
end_waiting(struct waiting *waiting)
{
    if (waiting->asker.status == WEIR_PENDING) {
        stress_expect(
            doorbell_listen(&waiting->doorbell, 0), "a wake-up was lost");
        (void)weir_bell_drain(&waiting->doorbell.bell, 0);
        stress_expect_equal(waiting->grants, 1, "grants");
    } else {
        stress_expect(waiting->asker.status == WEIR_OK, "a wait failed");
    }
    weir_buf_drop(&waiting->waiter->buf);
    give_all(&waiting->stock);
    doorbell_fini(&waiting->doorbell);
    (void)munmap(waiting->waiter, PAGE);
    weir_arena_check(waiting->stock.arena);
    weir_arena_destroy(&waiting->stock.arena);
}

/* A block comes home when the waiter has found none, and has not yet
   queued. */
static void
release_before_the_queue(void)
{
    struct waiting waiting = { .grants = 0 };
    begin_waiting(&waiting);
    struct actor *waiter = &waiting.asker.actor;
    const char *page = page_of(&waiting.stock, 0);

    stops_shut(page);
    stops_start(waiter, wait, &waiting);
    stops_await(waiter, page);
    stops_shut(waiting.waiter);
    stops_open(page);
    stops_go(waiter);
    stops_await(waiter, waiting.waiter);
    weir_buf_drop(&waiting.stock.bufs[0]);
    stops_open(waiting.waiter);
    stops_go(waiter);
    stops_join(waiter);
    end_waiting(&waiting);
}

/* The waiter queues when a releaser is about to set the bit. */
static void
queue_before_the_bit(void)
{
    struct waiting waiting = { .grants = 0 };
    begin_waiting(&waiting);
    const char *page = page_of(&waiting.stock, 0);
    struct giver giver = { .arena = waiting.asker.arena };
    giver.slice = freeze(&waiting.stock.bufs[0]);

    stops_shut(page);
    stops_start(&giver.actor, give, &giver);
    stops_await(&giver.actor, page);
    stops_open(page);
    wait(&waiting);
    stress_expect(waiting.asker.status == WEIR_PENDING, "there was a block");
    stops_go(&giver.actor);
    stops_join(&giver.actor);
    end_waiting(&waiting);
}

int
main(int argc, char **argv)
{
    stress_begin("interleave", argc, argv);
    if (!stops_begin()) {
        printf("interleave: threads cannot be stopped in this build\n");
        return 77;
    }
    double end = stress_now() + stress_seconds();
    uint64_t rounds = 0;
    for (; rounds < ENOUGH_ROUNDS || stress_now() < end; rounds++) {
        full_is_exact();
        last_release_unmaps();
        block_on_the_heap_is_out();
        release_before_the_queue();
        queue_before_the_bit();
    }
    stress_report("rounds", rounds);
    return stress_end();
}
