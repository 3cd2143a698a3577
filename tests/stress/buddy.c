/* SPDX-License-Identifier: MIT */
/*
 * buddy seed seconds: blocks of all sizes, by one, two and eight threads.
 *
 * Mixed: a byte for each of the smallest blocks says who has it; a block is
 * taken there after it was got, all of it, and given there before it goes back,
 * so that no two of whatever sizes ever overlap. Both ends of a block bear a
 * stamp. Bufs and slices change hands and come back on other threads; tails go
 * back by weir_slice_trim and by WEIR_TRIM. A thread asks for less, for as much
 * and for more than its share, in turns.
 *
 * After each round one thread, while the others stand still, asks for a block of
 * each size, and gets it if there is room. Then all comes home but for what
 * threads keep at hand, and the one takes a census: everything is free, and comes
 * out again in the largest blocks that fit, to the last byte, and then the arena
 * is full. Who is all alone is told "full" only if there is no room.
 *
 * Tokens: there are as many as blocks of one size. Who has one and asks for a
 * block of it must get it, wherever free memory is: whole, in halves, on its way,
 * or kept at hand by threads that sleep. With a ballast of which few blocks are
 * missing, and without.
 *
 * In a bare build a run of a minute and more goes on until there were a hundred
 * million operations.
 */

#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>

enum {
    THREADS = 8,
    IDLERS = 2,
    LEAVES_MAX = 1 << 17,
    HOLD_MAX = 1024,
    CHEAP_LEAVES = 1024, /* to look at one by one, often */
    BOXES = 16,
    MARK = 16, /* bytes of a stamp at either end */
    PAGE = 4096,
    STEPS = 1500, /* in a round */
    TOKEN_STEPS = 400,
    MISSING_MAX = 12, /* of the ballast */
    SMALL_ORDERS = 6,
    ENOUGH = 500000,
    ENOUGH_LONG = 100000000
};

/* A buf or a slice, and what the block is that it is of. */
struct hold {
    struct weir_buf buf;
    struct weir_slice slice;
    uint64_t stamp;
    size_t len; /* the stamp stands at both ends of so much */
    uint32_t leaf;
    uint32_t leaves;
    uint8_t owner; /* who got it */
    bool is_slice;
    bool was_cloned;
};

struct worker {
    struct stress_random *random;
    struct hold holds[HOLD_MAX + 1];
    uint32_t count;
    uint32_t leaves; /* of all it holds */
    uint32_t share;  /* of leaves */
    uint8_t owner;
    uint64_t serial;
    _Atomic uint64_t operations;
    uint64_t fulls;
    uint64_t trims;
    uint64_t clones;
    uint64_t strangers; /* handles that were got from others */
};

/* How an arena is asked for. */
struct plot {
    size_t block_size;
    size_t bytes;
    unsigned flags;
};

static const struct plot plots[] = {
    { 256, 256, 0 },
    { 256, (size_t)256 * 63, 0 },
    { 256, (size_t)256 * 128, 0 },
    { 256, (size_t)256 * 130, 0 },
    { 256, (size_t)256 * 4096, 0 },
    { 512, (size_t)512 * 4305, 0 },
    { 300, 1000001, WEIR_NEAREST },
    { 4096, (size_t)4096 * 1000, 0 },
    { 256, (size_t)256 * 70000, 0 },
};

enum {
    PLOTS = sizeof plots / sizeof plots[0],
    TOKEN_PLOTS = PLOTS - 1 /* a ballast takes long in the last */
};

static const uint32_t demands[] = { 70, 100, 150, 30 }; /* percent */

enum { ROUNDS = sizeof demands / sizeof demands[0] };

static struct weir_arena *arena;
static unsigned flags;
static const uint8_t *base;
static size_t block_size;
static uint32_t leaf_count;
static uint32_t order_max;

static struct worker workers[THREADS];
static uint32_t crew; /* how many of them are at work */
static struct stress_gate gate;
static _Atomic bool last_spell;
static uint64_t censuses;
static uint64_t spells;

/* ---- Who owns what ----------------------------------------------------- */

static _Atomic uint8_t owners[LEAVES_MAX]; /* 0: it is free */
static _Atomic uint32_t
    handles[LEAVES_MAX]; /* of the block that begins there */

static void
shadow_take(uint32_t leaf, uint32_t count, uint8_t owner)
{
    stress_expect(leaf < leaf_count && count <= leaf_count - leaf,
        "a block that does not exist");
    for (uint32_t i = leaf; i < leaf + count; i++) {
        uint8_t seen = 0;
        stress_expect(atomic_compare_exchange_strong_explicit(&owners[i], &seen,
                          owner, memory_order_relaxed, memory_order_relaxed),
            "two blocks overlap");
    }
}

static void
shadow_give(uint32_t leaf, uint32_t count, uint8_t owner)
{
    for (uint32_t i = leaf; i < leaf + count; i++)
        stress_expect(atomic_exchange_explicit(
                          &owners[i], 0, memory_order_relaxed) == owner,
            "a block was somebody else's");
}

/* There is room for a block of so many leaves. Exact for blocks that are out and
   not just coming home. */
static bool
has_free(uint32_t leaves)
{
    for (uint32_t leaf = 0; leaf + leaves <= leaf_count; leaf += leaves) {
        uint32_t i = 0;
        while (i < leaves && atomic_load_explicit(
                                 &owners[leaf + i], memory_order_relaxed) == 0)
            i++;
        if (i == leaves)
            return true;
    }
    return false;
}

/* ---- One block --------------------------------------------------------- */

/* How many leaves the smallest block of so many bytes has. */
static uint32_t
leaves_of(size_t bytes)
{
    uint32_t leaves = 1;
    while (leaves * block_size < bytes)
        leaves *= 2;
    return leaves;
}

static uint8_t *
start_of(const struct hold *hold)
{
    size_t offset = hold->leaf * block_size;
    return hold->is_slice ? (uint8_t *)(uintptr_t)(base + offset)
                          : hold->buf.data;
}

static size_t
mark_of(const struct hold *hold)
{
    return hold->len < MARK ? hold->len : MARK;
}

/* Writes the stamp at the end, where that is now. */
static void
mark_end(const struct hold *hold)
{
    size_t n = mark_of(hold);
    size_t from = hold->len - n;
    stress_fill(start_of(hold) + from, n, hold->stamp, (uint32_t)from);
}

static void
verify(const struct hold *hold)
{
    size_t n = mark_of(hold);
    size_t from = hold->len - n;
    const uint8_t *start = start_of(hold);
    stress_verify(start, n, hold->stamp, 0, "others wrote at the start");
    stress_verify(start + from, n, hold->stamp, (uint32_t)from,
        "others wrote at the end");
}

static void
expect_block(const struct weir_buf *buf, size_t size)
{
    size_t bytes = leaves_of(size) * block_size;
    uintptr_t at = (uintptr_t)weir_buf_tail(buf);
    size_t align = bytes < PAGE ? bytes : PAGE;
    size_t room = size == 0 ? block_size : size;
    if ((flags & WEIR_ROOM_AS_ASKED) == 0)
        room = bytes;
    stress_expect_equal(weir_buf_room(buf), room, "room of a buf");
    stress_expect_equal(weir_buf_len(buf), 0, "length of a new buf");
    stress_expect_equal(at % align, 0, "start of a block, misaligned by");
    stress_expect_equal(
        (at - (uintptr_t)base) % bytes, 0, "start of a block, off by");
}

/* False: the arena is full. */
static bool
get(struct worker *worker, size_t size)
{
    struct hold *hold = &worker->holds[worker->count];
    *hold = (struct hold){ .owner = worker->owner };
    enum weir_status status = weir_arena_alloc(arena, size, &hold->buf);
    if (status == WEIR_FULL) {
        bool is_cheap =
            leaf_count <= CHEAP_LEAVES || stress_chance(worker->random, 2);
        if (crew == 1 && is_cheap)
            stress_expect(!has_free(leaves_of(size)), "full, but alone");
        worker->fulls++;
        return false;
    }
    stress_expect(status == WEIR_OK, "an alloc failed");
    expect_block(&hold->buf, size);
    size_t offset = (size_t)((uint8_t *)weir_buf_tail(&hold->buf) - base);
    hold->leaf = (uint32_t)(offset / block_size);
    hold->leaves = leaves_of(size);
    shadow_take(hold->leaf, hold->leaves, hold->owner);
    hold->len = weir_buf_room(&hold->buf);
    hold->stamp = ++worker->serial << 8 | worker->owner;
    stress_fill(start_of(hold), mark_of(hold), hold->stamp, 0);
    mark_end(hold);
    worker->count++;
    worker->leaves += hold->leaves;
    return true;
}

static void
end_slice(struct hold *hold)
{
    if (atomic_fetch_sub_explicit(
            &handles[hold->leaf], 1, memory_order_relaxed) == 1)
        shadow_give(hold->leaf, hold->leaves, hold->owner);
    weir_slice_release(&hold->slice);
}

static void
end(struct worker *worker, uint32_t index)
{
    struct hold hold = worker->holds[index];
    worker->holds[index] = worker->holds[--worker->count];
    worker->leaves -= hold.leaves;
    verify(&hold);
    if (hold.is_slice) {
        end_slice(&hold);
    } else {
        shadow_give(hold.leaf, hold.leaves, hold.owner);
        weir_buf_drop(&hold.buf);
    }
}

static void
end_all(struct worker *worker)
{
    while (worker->count > 0)
        end(worker, stress_below(worker->random, worker->count));
}

/* The block is about to give back what its first `len` bytes do not need.
   Returns how much that is. */
static size_t
shorten(struct worker *worker, struct hold *hold, size_t len)
{
    uint32_t kept = leaves_of(len);
    uint32_t tail = hold->leaves - kept;
    shadow_give(hold->leaf + kept, tail, hold->owner);
    hold->leaves = kept;
    worker->leaves -= tail;
    worker->trims += tail != 0;
    return tail * block_size;
}

static void
freeze(struct worker *worker, struct hold *hold)
{
    verify(hold);
    size_t room = weir_buf_room(&hold->buf);
    size_t most = room >> stress_below(worker->random, 12);
    hold->len = 1 + stress_below(worker->random, (uint32_t)(most + 1));
    hold->len = hold->len < room ? hold->len : room;
    mark_end(hold);
    weir_buf_commit(&hold->buf, hold->len);
    if ((flags & WEIR_TRIM) != 0)
        (void)shorten(worker, hold, hold->len);
    uint32_t before =
        atomic_exchange_explicit(&handles[hold->leaf], 1, memory_order_relaxed);
    stress_expect_equal(before, 0, "handles of a block that was frozen");
    weir_buf_freeze(&hold->buf, &hold->slice);
    hold->is_slice = true;
    stress_expect_equal(
        weir_slice_len(&hold->slice), hold->len, "length of a slice");
    stress_expect(
        weir_slice_data(&hold->slice) == start_of(hold), "a slice was moved");
    verify(hold);
}

/* What was ever cloned stays as it is. */
static void
trim(struct worker *worker, struct hold *hold)
{
    size_t back = hold->was_cloned
                      ? 0
                      : shorten(worker, hold, weir_slice_len(&hold->slice));
    stress_expect_equal(
        weir_slice_trim(&hold->slice), back, "bytes given back by a trim");
    verify(hold);
}

static void
thaw(struct hold *hold)
{
    verify(hold);
    stress_expect(
        weir_slice_thaw(&hold->slice, &hold->buf) == WEIR_OK, "no thaw");
    weir_buf_clear(&hold->buf);
    hold->is_slice = false;
    size_t room = weir_buf_room(&hold->buf);
    size_t bytes = hold->leaves * block_size;
    stress_expect(room <= bytes && room >= hold->len, "room after a thaw");
    if ((flags & WEIR_ROOM_AS_ASKED) == 0)
        stress_expect_equal(room, bytes, "room after a thaw");
    stress_expect(weir_buf_tail(&hold->buf) == base + hold->leaf * block_size,
        "a thaw moved a block");
    hold->len = room;
    stress_fill(start_of(hold), mark_of(hold), hold->stamp, 0);
    mark_end(hold);
    atomic_store_explicit(&handles[hold->leaf], 0, memory_order_relaxed);
}

/* ---- Other threads ----------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    bool is_full;
    struct hold hold;
} boxes[BOXES];

/* Puts `hold`, if it is not NULL, and gets what was there. */
static void
exchange(struct worker *worker, uint32_t box, const struct hold *hold)
{
    struct hold got;
    pthread_mutex_lock(&boxes[box].mutex);
    bool is_full = boxes[box].is_full;
    got = boxes[box].hold;
    if (hold != NULL)
        boxes[box].hold = *hold;
    boxes[box].is_full = hold != NULL;
    pthread_mutex_unlock(&boxes[box].mutex);
    if (!is_full)
        return;
    verify(&got);
    worker->strangers += got.owner != worker->owner;
    worker->leaves += got.leaves;
    worker->holds[worker->count++] = got;
}

static void
send(struct worker *worker, uint32_t index, uint32_t box)
{
    struct hold hold = worker->holds[index];
    worker->holds[index] = worker->holds[--worker->count];
    worker->leaves -= hold.leaves;
    exchange(worker, box, &hold);
}

static void
send_clone(struct worker *worker, struct hold *hold)
{
    struct hold copy = *hold;
    (void)atomic_fetch_add_explicit(
        &handles[hold->leaf], 1, memory_order_relaxed);
    weir_slice_clone(&hold->slice, &copy.slice);
    hold->was_cloned = copy.was_cloned = true;
    worker->clones++;
    exchange(worker, stress_below(worker->random, BOXES), &copy);
}

/* ---- Mixed ------------------------------------------------------------- */

/* Mostly small ones. */
static size_t
draw_size(struct stress_random *random)
{
    uint32_t orders = order_max + 1;
    if (orders > SMALL_ORDERS && stress_chance(random, 90))
        orders = SMALL_ORDERS;
    size_t most = block_size << stress_below(random, orders);
    size_t less = most == block_size ? most : most / 2;
    return most - stress_below(random, (uint32_t)less);
}

static void
get_any(struct worker *worker)
{
    size_t size =
        stress_chance(worker->random, 2) ? 0 : draw_size(worker->random);
    bool is_apt = worker->count < HOLD_MAX - 1 &&
                  worker->leaves + leaves_of(size) <= worker->share;
    bool was_full = is_apt && !get(worker, size);
    bool ends_one = !is_apt || (was_full && stress_chance(worker->random, 50));
    if (ends_one && worker->count > 0)
        end(worker, stress_below(worker->random, worker->count));
}

/* What others see meanwhile is a hint, but a sensible one. */
static void
look(struct worker *worker)
{
    struct weir_buf buf = { 0 };
    size_t most = block_size << order_max;
    size_t largest = weir_arena_largest_free(arena);
    stress_expect(largest <= most && (largest & (largest - 1)) == 0,
        "the largest free block");
    size_t more = most + 1 + stress_below(worker->random, 1000);
    stress_expect(weir_arena_alloc(arena, more, &buf) == WEIR_TOO_LARGE,
        "a block that is too large");
    if (stress_chance(worker->random, 20))
        weir_thread_flush();
}

static void
change_any(struct worker *worker, uint32_t what)
{
    struct hold *hold =
        &worker->holds[stress_below(worker->random, worker->count)];
    if (!hold->is_slice)
        freeze(worker, hold);
    else if (what < 5)
        trim(worker, hold);
    else if (what < 10 && worker->count < HOLD_MAX)
        send_clone(worker, hold);
    else if (!hold->was_cloned)
        thaw(hold);
}

static void
step(struct worker *worker)
{
    uint32_t what = stress_below(worker->random, 1000);
    if (what < 450)
        get_any(worker);
    else if (what < 452)
        look(worker);
    else if (worker->count == 0)
        exchange(worker, stress_below(worker->random, BOXES), NULL);
    else if (what < 750)
        end(worker, stress_below(worker->random, worker->count));
    else if (what < 820)
        send(worker, stress_below(worker->random, worker->count),
            stress_below(worker->random, BOXES));
    else
        change_any(worker, what % 12);
    uint64_t count =
        atomic_load_explicit(&worker->operations, memory_order_relaxed);
    atomic_store_explicit(&worker->operations, count + 1, memory_order_relaxed);
}

/* ---- What must be so when nothing is out ------------------------------- */

static void
expect_home(void)
{
    struct weir_stats stats;
    weir_arena_check(arena);
    weir_arena_stats(arena, &stats);
    uint64_t listed = 0;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < WEIR_ORDERS; i++) {
        listed += stats.free_blocks[i] * (block_size << i);
        largest = stats.free_blocks[i] != 0 ? block_size << i : largest;
    }
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.bytes_out, 0, "bytes are not home");
    stress_expect_equal(stats.bytes_free + stats.bytes_cached,
        stats.bytes_total, "bytes that are free");
    stress_expect_equal(listed, stats.bytes_free, "bytes in free blocks");
    stress_expect_equal(stats.largest_free, largest, "largest free block");
    stress_expect_equal(
        weir_arena_largest_free(arena), largest, "weir_arena_largest_free");
    stress_expect_equal(stats.allocs, stats.releases, "allocs");
    for (uint32_t i = 0; i < leaf_count; i++)
        stress_expect(
            atomic_load_explicit(&owners[i], memory_order_relaxed) == 0,
            "a block is still owned");
}

/* Others stand still: of every size there is one, or none. */
static void
probe(struct worker *worker)
{
    for (uint32_t order = 0; order <= order_max; order++) {
        bool is_free = has_free(1U << order);
        bool was_got = get(worker, block_size << order);
        stress_expect(!is_free || was_got, "full, but others stand still");
        if (was_got)
            end(worker, worker->count - 1);
    }
}

/* Takes everything, in as large blocks as there can be. */
static void
take_census(struct worker *worker)
{
    struct weir_stats stats;
    struct weir_buf none = { 0 };
    expect_home();
    for (uint32_t left = leaf_count, order = order_max + 1; order-- > 0;)
        for (; left >= 1U << order; left -= 1U << order) {
            stress_expect(get(worker, block_size << order),
                "full, but a block as large is free");
            stress_expect(order < order_max || left >= 2U << order ||
                              weir_arena_alloc(arena, block_size << order,
                                  &none) == WEIR_FULL,
                "more of the largest blocks than there are");
        }
    stress_expect(
        weir_arena_alloc(arena, 1, &none) == WEIR_FULL, "more than there is");
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.bytes_free, 0, "bytes that are free");
    stress_expect_equal(
        weir_arena_largest_free(arena), 0, "largest block of none");
    end_all(worker);
    expect_home();
    censuses++;
}

/* ---- The spells: an arena each ----------------------------------------- */

static void
create(const struct plot *plot, struct stress_random *random)
{
    flags = 0;
    if (stress_chance(random, 40))
        flags |= WEIR_ROOM_AS_ASKED;
    if (stress_chance(random, 40))
        flags |= WEIR_TRIM;
    if (stress_chance(random, 40))
        flags |= WEIR_NO_CACHE;
    struct weir_arena_config config = { .name = "buddy",
        .bytes = plot->bytes,
        .block_size = plot->block_size,
        .layout = WEIR_BUDDY,
        .flags = plot->flags | flags };
    enum weir_status status = weir_arena_create(&config, &arena);
    stress_expect(status == WEIR_OK, weir_status_name(status));

    struct weir_stats stats;
    struct iovec memory;
    weir_arena_stats(arena, &stats);
    weir_arena_memory(arena, &memory);
    base = memory.iov_base;
    block_size = stats.block_size;
    leaf_count = (uint32_t)stats.block_count;
    stress_expect(leaf_count > 0 && leaf_count <= LEAVES_MAX, "block_count");
    stress_expect_equal(
        stats.bytes_total, leaf_count * block_size, "bytes_total");
    stress_expect(memory.iov_len >= stats.bytes_total, "memory of an arena");
    for (order_max = 0; 2U << order_max <= leaf_count;)
        order_max++;
    stress_expect_equal(
        stats.block_size_max, block_size << order_max, "block_size_max");
    spells++;
}

static void
destroy(void)
{
    weir_arena_destroy(&arena);
    atomic_store_explicit(&last_spell, stress_is_over(), memory_order_relaxed);
}

static struct worker *
begin(uint32_t index, struct stress_random *random)
{
    struct worker *worker = &workers[index];
    worker->random = random;
    worker->owner = (uint8_t)(index + 1);
    return worker;
}

/* For once by one thread, behind all the others. */
static bool
is_first(uint32_t index)
{
    stress_gate_pass(&gate);
    return index == 0;
}

static void
work_a_round(struct worker *worker, uint32_t index, uint32_t demand)
{
    worker->share = (uint32_t)((uint64_t)leaf_count * demand / 100 / crew) + 1;
    for (uint32_t i = 0; i < STEPS; i++)
        step(worker);
    if (is_first(index))
        probe(worker);
    stress_gate_pass(&gate);
    end_all(worker);
    for (uint32_t box = index; box < BOXES; box += crew) {
        exchange(worker, box, NULL);
        end_all(worker);
    }
    if (is_first(index))
        take_census(worker);
    stress_gate_pass(&gate);
}

/* A block for each thread: what it does first in an arena is to give one back, with
   what it has of an arena that is gone still at hand. */
static void
hand_out(struct worker *worker)
{
    for (uint32_t i = 0; i < crew && get(worker, draw_size(worker->random));
         i++)
        send(worker, worker->count - 1, i);
}

static void
mix(uint32_t index, struct stress_random *random)
{
    struct worker *worker = begin(index, random);
    do {
        if (is_first(index)) {
            create(&plots[stress_below(random, PLOTS)], random);
            hand_out(worker);
        }
        stress_gate_pass(&gate);
        exchange(worker, index, NULL);
        end_all(worker);
        for (uint32_t i = 0; i < ROUNDS; i++)
            work_a_round(worker, index, demands[i]);
        if (index == 0)
            destroy();
        stress_gate_pass(&gate);
    } while (!atomic_load_explicit(&last_spell, memory_order_relaxed));
}

/* ---- Tokens ------------------------------------------------------------ */

static _Atomic uint32_t tokens;
static uint32_t tokens_made;
static size_t token_size;
static _Atomic uint32_t passing; /* threads that pass tokens */
static struct worker ballast;
static uint64_t token_allocs[THREADS];

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

/* All blocks of the size but a few, anywhere. */
static void
load_ballast(struct stress_random *random, uint32_t fits)
{
    ballast.random = random;
    ballast.owner = THREADS + 1;
    bool wants =
        fits > MISSING_MAX && fits <= HOLD_MAX && stress_chance(random, 50);
    tokens_made = wants ? 1 + stress_below(random, MISSING_MAX) : fits;
    while (wants && ballast.count < fits)
        stress_expect(get(&ballast, token_size), "no ballast");
    for (uint32_t i = tokens_made; wants && i > 0; i--)
        end(&ballast, stress_below(random, ballast.count));
    atomic_store_explicit(&tokens, tokens_made, memory_order_relaxed);
}

/* Leaves blocks of all sizes at hand. */
static void
warm_up(struct worker *worker)
{
    worker->share = leaf_count / crew + 1;
    for (uint32_t i = 0; i < TOKEN_STEPS / 4; i++)
        get_any(worker);
    end_all(worker);
}

static void
pass_some(struct worker *worker, uint32_t index)
{
    uint32_t share = tokens_made / (crew - IDLERS) + 2;
    for (uint32_t i = 0; i < TOKEN_STEPS; i++) {
        bool wants = worker->count < share && worker->count < HOLD_MAX &&
                     stress_chance(worker->random, 65);
        if (wants && take_token()) {
            stress_expect(
                get(worker, token_size), "full, but a block was free");
            token_allocs[index]++;
        } else if (worker->count > 0) {
            end(worker, stress_below(worker->random, worker->count));
            give_token();
        } else {
            stress_pause(i);
        }
    }
    while (worker->count > 0) {
        end(worker, 0);
        give_token();
    }
    (void)atomic_fetch_sub_explicit(&passing, 1, memory_order_relaxed);
}

static void
begin_tokens(struct stress_random *random)
{
    create(&plots[stress_below(random, TOKEN_PLOTS)], random);
    atomic_store_explicit(&passing, crew - IDLERS, memory_order_relaxed);
}

static void
pass_tokens(uint32_t index, struct stress_random *random)
{
    struct worker *worker = begin(index, random);
    do {
        if (is_first(index))
            begin_tokens(random);
        stress_gate_pass(&gate);
        warm_up(worker);
        if (is_first(index)) {
            uint32_t order = stress_below(random, order_max + 1);
            token_size = block_size << order;
            load_ballast(random, leaf_count >> order);
        }
        stress_gate_pass(&gate);
        if (index >= IDLERS)
            pass_some(worker, index);
        while (atomic_load_explicit(&passing, memory_order_relaxed) > 0)
            stress_nap(50);
        if (is_first(index)) {
            stress_expect_equal(
                atomic_load_explicit(&tokens, memory_order_relaxed),
                tokens_made, "tokens");
            end_all(&ballast);
            take_census(worker);
            destroy();
        }
        stress_gate_pass(&gate);
    } while (!atomic_load_explicit(&last_spell, memory_order_relaxed));
}

/* ------------------------------------------------------------------------ */

static uint64_t
operations(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        sum +=
            atomic_load_explicit(&workers[i].operations, memory_order_relaxed);
    return sum;
}

static bool
is_enough(void)
{
    if (stress_is_sanitized() || stress_seconds() < 2)
        return true;
    return operations() >= (stress_seconds() < 60 ? ENOUGH : ENOUGH_LONG);
}

static void
run(uint32_t count, stress_body_fn *body, double share,
    stress_enough_fn *enough)
{
    crew = count;
    gate = (struct stress_gate){ .count = count };
    stress_part(share);
    stress_run(&(struct stress_crew){ .count = count,
        .body = body,
        .enough = enough,
        .is_calm = count == 1 });
}

int
main(int argc, char **argv)
{
    stress_begin("buddy", argc, argv);
    for (uint32_t i = 0; i < BOXES; i++)
        pthread_mutex_init(&boxes[i].mutex, NULL);
    run(THREADS, pass_tokens, 0.3, NULL);
    run(1, mix, 0.15, NULL);
    run(2, mix, 0.25, NULL);
    run(THREADS, mix, 0.3, is_enough);

    uint64_t fulls = 0;
    uint64_t trims = 0;
    uint64_t clones = 0;
    uint64_t strangers = 0;
    uint64_t with_tokens = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        fulls += workers[i].fulls;
        trims += workers[i].trims;
        clones += workers[i].clones;
        strangers += workers[i].strangers;
        with_tokens += token_allocs[i];
    }
    stress_report("operations", operations());
    stress_report("fulls", fulls);
    stress_report("trims", trims);
    stress_report("clones", clones);
    stress_report("handles from others", strangers);
    stress_report("allocs with tokens", with_tokens);
    stress_report("arenas", spells);
    stress_report("censuses", censuses);
    return stress_end();
}
