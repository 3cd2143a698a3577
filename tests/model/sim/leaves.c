/* SPDX-License-Identifier: MIT */
/* leaves: a buddy arena under the simulator, and who has which of its leaves. */

#include "leaves.h"

#include "arena/caches.h"
#include "buddy/levels.h"

#include <string.h>

enum { LEAF_SIZE = 256, LEAVES_MAX = 256, TOUCHED = 4, CALLS_MAX = 1000 };

struct weir_arena *leaves_arena;

static uint8_t
    *base; /* where its leaves are, also when it is being destroyed */

static uint64_t out[LEAVES_MAX / WR_WORD_BITS]; /* a bit for each leaf */
static uint64_t first_free[WR_BUDDY_LEVELS];    /* of each level's first word */

static bool marks;
static struct sim_tokens returned; /* what calls did that have */
static unsigned in_progress;
static unsigned begun;
static bool was_full;

static bool has_granted[WORLD_WAITERS];

static const char *const word_names[][3] = {
    { "word 0.0", "word 0.1", "word 0.2" },
    { "word 1.0", "word 1.1", "word 1.2" },
};

struct weir_arena *
leaves_create(uint32_t leaf_count, unsigned flags)
{
    struct weir_arena *arena = NULL;
    enum weir_status status =
        weir_arena_create(&(struct weir_arena_config){ .layout = WEIR_BUDDY,
                              .block_size = LEAF_SIZE,
                              .block_count = leaf_count,
                              .flags = flags,
                              .on_unmapped = world_count_unmapped },
            &arena);
    sim_expect(status == WEIR_OK);
    struct wr_buddy *buddy = &arena->buddy;
    sim_name(&arena->state, "state");
    for (uint32_t level = 0; level <= buddy->top; level++)
        for (uint32_t i = 0; i < buddy->levels[level].word_count && i < 3; i++)
            sim_name(&buddy->levels[level].words[i], word_names[level][i]);
    return arena;
}

void
leaves_prepare(uint32_t leaf_count, unsigned flags)
{
    sim_expect(leaf_count <= LEAVES_MAX);
    leaves_arena = leaves_create(leaf_count, flags);
    base = leaves_arena->base;
    memset(out, 0, sizeof out);
    memset(first_free, 0, sizeof first_free);
    first_free[leaves_arena->buddy.top] =
        wr_low_bits(leaf_count >> (CELL * leaves_arena->buddy.top));
    marks = false;
    was_full = false;
    world_unmapped = 0;
    memset(has_granted, 0, sizeof has_granted);
}

void
leaves_leave(uint64_t leaves, uint64_t cells)
{
    struct wr_buddy *buddy = &leaves_arena->buddy;
    uint64_t free[] = { leaves, cells };
    sim_expect(buddy->top <= 1);
    for (uint32_t level = 0; level <= buddy->top; level++) {
        first_free[level] = free[level];
        atomic_init(&buddy->levels[level].words[0], free[level]);
        if (level < buddy->top)
            wr_buddy_raise_fit(buddy, level, 0, wr_run_fit(free[level]));
    }
    memset(out, 0xff, sizeof out);
    for (uint32_t i = 0; i < WR_WORD_BITS && buddy->top == 1; i++)
        if ((cells >> i & 1) != 0)
            out[i] = 0;
    out[0] &= ~leaves;
}

void
leaves_shelves(uint32_t orders, uint32_t most)
{
    struct wr_record *record = wr_record_of(leaves_arena);
    sim_expect(record != NULL && wr_gate_is_on(&record->cache.gate));
    struct wr_shelves *shelves = record->shelves;
    wr_mutex_lock(&leaves_arena->mutex);
    for (uint32_t i = 0; i < orders; i++) {
        struct wr_shelf *shelf = &shelves->of_order[i];
        shelf->most = most;
        shelf->refill = (most + 1) / 2;
        wr_shelf_turn_on(shelf);
    }
    shelves->count = orders;
    wr_recent.shelf_count = orders;
    wr_mutex_unlock(&leaves_arena->mutex);
}

/* ---- Who has what ------------------------------------------------------ */

static uint32_t
order_of(uint64_t owner)
{
    return wr_owner_order(owner);
}

/* Some leaves of a block: the first ones, and where its halves begin. */
static void
touch(uint64_t owner)
{
    uint32_t leaf = wr_owner_slot(owner);
    uint32_t count = UINT32_C(1) << order_of(owner);
    for (uint32_t i = 0; i < count; i = i < 4 ? i + 1 : i * 2)
        sim_plain_write(base + (size_t)(leaf + i) * LEAF_SIZE, TOUCHED);
}

/* The leaves of a block, all at once or word by word. */
static uint64_t *
bits_of(uint64_t owner, uint32_t word, uint64_t *mask)
{
    uint32_t order = order_of(owner);
    uint32_t leaf = wr_owner_slot(owner);
    *mask =
        order >= CELL ? UINT64_MAX : wr_run_mask(leaf % WR_WORD_BITS, order);
    return &out[leaf / WR_WORD_BITS + word];
}

static uint32_t
words_of(uint64_t owner)
{
    uint32_t order = order_of(owner);
    return order > CELL ? UINT32_C(1) << (order - CELL) : 1;
}

static void
own(uint64_t owner)
{
    uint32_t leaf = wr_owner_slot(owner);
    sim_expect(leaf % (UINT32_C(1) << order_of(owner)) == 0);
    for (uint32_t i = 0; i < words_of(owner); i++) {
        uint64_t mask;
        uint64_t *word = bits_of(owner, i, &mask);
        if ((*word & mask) != 0)
            sim_fail("thread %u gets leaf %u, order %u, of which part is out",
                sim_self(), leaf, order_of(owner));
        *word |= mask;
    }
    touch(owner);
}

static void
disown(uint64_t owner)
{
    touch(owner);
    for (uint32_t i = 0; i < words_of(owner); i++) {
        uint64_t mask;
        uint64_t *word = bits_of(owner, i, &mask);
        sim_expect((*word & mask) == mask);
        *word &= ~mask;
    }
}

/* A block of the order could be had. */
static bool
is_there(uint32_t order)
{
    uint32_t leaf_count = wr_arena_slot_count(leaves_arena);
    uint32_t run = 0;
    for (uint32_t i = 0; i < leaf_count / WR_WORD_BITS; i++) {
        if (order < CELL && wr_runs(~out[i], order) != 0)
            return true;
        run = out[i] == 0 ? run + 1 : 0;
        if (order >= CELL && run > 0 && (i + 1) % (1u << (order - CELL)) == 0 &&
            run >= 1u << (order - CELL))
            return true;
    }
    return false;
}

/* ---- Calls ------------------------------------------------------------- */

void
leaves_mark(void)
{
    marks = true;
    returned = (struct sim_tokens){ .strong = true, .count = CALLS_MAX };
    in_progress = 0;
    begun = 0;
}

static void
begin_call(void)
{
    in_progress++;
    begun++;
}

/* Others may run before it has returned. */
static void
end_call(void)
{
    if (marks)
        sim_tokens_put(&returned);
    in_progress--;
}

static bool
take(uint32_t order, struct weir_buf *buf)
{
    size_t size = (size_t)LEAF_SIZE << order;
    enum weir_status status = weir_arena_alloc(leaves_arena, size, buf);
    if (status == WEIR_OK)
        own(buf->owner);
    return status == WEIR_OK;
}

bool
leaves_take(uint32_t order, struct weir_buf *buf)
{
    if (marks)
        sim_tokens_take(&returned);
    bool may_be_full = in_progress > 0 || !is_there(order);
    begin_call();
    unsigned before = begun;
    bool taken = take(order, buf);
    if (marks)
        sim_expect(taken || may_be_full || begun != before);
    was_full = was_full || !taken;
    end_call();
    return taken;
}

struct weir_buf
leaves_alloc(uint32_t order)
{
    struct weir_buf buf = { 0 };
    sim_expect(leaves_take(order, &buf));
    return buf;
}

void
leaves_give(struct weir_buf *buf)
{
    begin_call();
    disown(buf->owner);
    weir_buf_drop(buf);
    end_call();
}

void
leaves_try(uint32_t order)
{
    struct weir_buf buf;
    if (leaves_take(order, &buf))
        leaves_give(&buf);
}

void
leaves_borrow(uint32_t order)
{
    struct weir_buf buf = leaves_alloc(order);
    leaves_give(&buf);
}

struct weir_slice
leaves_trim(struct weir_buf *buf)
{
    struct weir_slice slice;
    uint64_t owner = buf->owner;
    begin_call();
    weir_buf_commit(buf, 1);
    weir_buf_freeze(buf, &slice);
    disown(owner);
    own(wr_owner_with_order(owner, LEAF));
    (void)weir_slice_trim(&slice);
    sim_expect(order_of(slice.owner) == LEAF);
    end_call();
    return slice;
}

void
leaves_release(struct weir_slice *slice)
{
    begin_call();
    disown(slice->owner);
    weir_slice_release(slice);
    end_call();
}

/* ---- Waiters ----------------------------------------------------------- */

enum weir_status
leaves_wait(uint32_t order, unsigned waiter)
{
    enum weir_status status =
        world_wait_sized(leaves_arena, (size_t)LEAF_SIZE << order, waiter);
    if (status == WEIR_OK) {
        own(world_queue->waiters[waiter].buf.owner);
        has_granted[waiter] = true;
    }
    return status;
}

void
leaves_expect_served(void)
{
    unsigned before = world_told_count;
    (void)weir_bell_drain(&world_queue->bell, 0);
    for (; before < world_told_count; before++) {
        unsigned waiter = world_told[before];
        sim_expect(!has_granted[waiter]);
        if (world_status[before] != WEIR_OK)
            continue;
        own(world_queue->waiters[waiter].buf.owner);
        has_granted[waiter] = true;
    }
    const struct weir_waiter *first = leaves_arena->first_waiter;
    if (first != NULL)
        sim_expect(!is_there(wr_arena_order(leaves_arena, first->size)));
    uint32_t state = wr_load_relaxed(&leaves_arena->state); /* it is quiet */
    sim_expect(((state & WR_WAITING) != 0) == (first != NULL));
}

bool
leaves_give_granted(unsigned waiter)
{
    if (!has_granted[waiter])
        return false;
    has_granted[waiter] = false;
    leaves_give(&world_queue->waiters[waiter].buf);
    return true;
}

/* ---- The end ----------------------------------------------------------- */

static void
expect_shelves(void)
{
    uint32_t on = 0;
    const struct wr_record *record = leaves_arena->records;
    for (; record != NULL; record = record->next) {
        bool is_on = wr_gate_is_on(&record->cache.gate);
        sim_expect(!wr_gate_is_stopped(&record->cache.gate));
        on += is_on;
        for (uint32_t i = 0; i < record->shelves->count; i++) {
            const struct wr_shelf *shelf = &record->shelves->of_order[i];
            sim_expect(!wr_gate_is_stopped(&shelf->gate));
            sim_expect(is_on || !wr_gate_is_on(&shelf->gate));
        }
    }
    uint32_t state = wr_load_relaxed(&leaves_arena->state); /* it is quiet */
    sim_expect(on == leaves_arena->caches_on);
    sim_expect(on == 0 || state == 0);
    sim_expect((state & WR_SEARCHING) == 0);
    if ((state & WR_DRY) != 0)
        sim_expect(!is_there((state & WR_DRY_ORDER) >> WR_DRY_SHIFT));
}

void
leaves_expect_whole(void)
{
    const struct wr_buddy *buddy = &leaves_arena->buddy;
    expect_shelves();
    if (leaves_arena->sweeps > 0 || was_full)
        sim_seen();
    wr_mutex_lock(&leaves_arena->mutex);
    sim_expect(wr_record_sum(leaves_arena, WR_ALLOCS) ==
               wr_record_sum(leaves_arena, WR_RELEASES));
    wr_caches_sweep(leaves_arena);
    wr_mutex_unlock(&leaves_arena->mutex);
    for (uint32_t level = 0; level <= buddy->top; level++)
        for (uint32_t i = 0; i < buddy->levels[level].word_count; i++) {
            uint64_t is = wr_load_relaxed(
                &buddy->levels[level].words[i]); /* it is quiet */
            sim_expect(is == (i == 0 ? first_free[level] : 0));
        }
}
