/* SPDX-License-Identifier: MIT */
/*
 * shelves: what one thread keeps of one buddy arena.
 *
 *     order 0   [ a | b | c |   |   | ... 32 ]      a shelf each; see core/shelf.c
 *     order 1   [ d |   |   |   |   | ... 32 ]
 *     ...
 *     order 9   [ e ]
 *
 * Idea
 *   Blocks of a buddy have many sizes and come home in any order, so a thread keeps
 *   their addresses, a shelf for each order. The record's gate says whether the
 *   shelves are on as a whole, for caches.c, which turns all of them on and off
 *   together; what the owner asks is the gate of the shelf it uses. Half a shelf is
 *   refilled and spilled at a time; a refill is one exchange of one word.
 *
 * Costs
 *   A hit: no locked instruction, and no line that another thread writes, but the
 *   block's count where it goes from thread to thread.
 *
 * Limits
 *   A shelf holds 32 blocks and 512 KiB at most, and all of a thread's shelves
 *   together an eighth of its share of the arena, as of the moment when they came
 *   on. Larger blocks go past them.
 */

#include "arena/shelves.h"

#include "arena/arena.h"
#include "core/memory.h"

#include <string.h>

enum {
    BLOCKS_MAX = 32,         /* on one shelf */
    SHELF_BYTES = 512 << 10, /* on one shelf, and of the largest block on one */
    SHARE = 8 /* of a thread's share of the arena, one in so many */
};

/* How many blocks of an order may lie on a shelf of so many bytes. */
static uint32_t
capacity(const struct weir_arena *arena, uint32_t order, size_t bytes)
{
    return wr_clamp(bytes / wr_arena_block_size(arena, order), 0, BLOCKS_MAX);
}

static uint32_t
shelf_count(const struct weir_arena *arena)
{
    uint32_t count = 0;
    while (count <= arena->buddy.geometry.order_max &&
           capacity(arena, count, SHELF_BYTES) != 0)
        count++;
    return count;
}

/* Where the shelves and their blocks lie behind the struct. */
static size_t
shelves_at(void)
{
    return (sizeof(struct wr_shelves) + WR_LINE_SIZE - 1) &
           ~(size_t)(WR_LINE_SIZE - 1);
}

size_t
wr_shelves_size(const struct weir_arena *arena)
{
    uint32_t count = shelf_count(arena);
    size_t size = shelves_at() + count * sizeof(struct wr_shelf);
    for (uint32_t i = 0; i < count; i++)
        size += capacity(arena, i, SHELF_BYTES) * sizeof(void *);
    return size;
}

void
wr_shelves_init(const struct weir_arena *arena, uint32_t ordinal,
    struct wr_shelves *shelves)
{
    char *memory = (char *)shelves + shelves_at();
    memset(shelves, 0, sizeof(*shelves));
    shelves->count = shelf_count(arena);
    shelves->of_order = (struct wr_shelf *)(void *)memory;
    memory += shelves->count * sizeof(struct wr_shelf);
    for (uint32_t i = 0; i < shelves->count; i++) {
        uint32_t most = capacity(arena, i, SHELF_BYTES);
        wr_shelf_init(&shelves->of_order[i], (void **)(void *)memory, most,
            (most + 1) / 2);
        memory += most * sizeof(void *);
    }
    wr_buddy_hint_init(&arena->buddy, ordinal, &shelves->hint);
}

static uint32_t
leaf_of(const struct weir_arena *arena, const void *block)
{
    size_t offset = (uintptr_t)block - (uintptr_t)arena->base;
    return (uint32_t)(offset >> arena->buddy.geometry.leaf_shift);
}

/* Some blocks of one order go home. */
static void
give_blocks(struct weir_arena *arena, struct wr_buddy_hint *hint,
    uint32_t order, void *const *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t leaf = leaf_of(arena, blocks[i]);
        if (!wr_buddy_give(&arena->buddy, hint, leaf, order))
            wr_arena_fail(arena, leaf, "released twice");
    }
    wr_buddy_settle(hint); /* a sweep waits for the shelf, or is this */
}

/* ---- The calling thread's own ------------------------------------------ */

bool
wr_shelves_settle(
    struct weir_arena *arena, struct wr_shelf *shelf, uint32_t place)
{
    if (wr_gate_is_stopped(&shelf->gate)) {
        wr_mutex_lock(&arena->mutex); /* the sweeper holds it to the end */
        wr_mutex_unlock(&arena->mutex);
    }
    wr_shelf_clear(shelf);
    return wr_shelf_was_stolen(shelf, place);
}

/* False: the shelf is not on, and is empty now. */
static bool
begin(struct weir_arena *arena, struct wr_shelf *shelf)
{
    if (wr_gate_is_on(&shelf->gate) && wr_gate_begin(&shelf->gate))
        return true;
    if (shelf->room != 0)
        (void)wr_shelves_settle(arena, shelf, 0);
    return false;
}

/* Between begin and end. */
static void
set_count(struct wr_shelf *shelf, uint32_t count)
{
    wr_store_relaxed(&shelf->count, count); /* wr_gate_end orders it */
}

/* Half a shelf of blocks, the lowest on top; returns how many were found. */
static uint32_t
refill(struct weir_arena *arena, struct wr_shelves *shelves, uint32_t order)
{
    const struct wr_shelf *shelf = &shelves->of_order[order];
    uint32_t leaves[BLOCKS_MAX];
    uint32_t count = wr_buddy_take(
        &arena->buddy, &shelves->hint, order, shelf->refill, leaves);
    wr_buddy_settle(&shelves->hint); /* a sweep waits for the shelf */
    for (uint32_t i = 0; i < count; i++)
        shelf->blocks[count - 1 - i] = wr_arena_start(arena, leaves[i]);
    return count;
}

bool
wr_shelves_take(struct weir_arena *arena, struct wr_shelves *shelves,
    uint32_t order, uint32_t *leaf)
{
    if (order >= shelves->count)
        return false;
    struct wr_shelf *shelf = &shelves->of_order[order];
    if (!begin(arena, shelf))
        return false;
    uint32_t count = wr_shelf_count(shelf);
    if (count == 0)
        count = refill(arena, shelves, order);
    if (count != 0) {
        *leaf = leaf_of(arena, shelf->blocks[count - 1]);
        set_count(shelf, count - 1);
    }
    wr_gate_end(&shelf->gate);
    return count != 0;
}

/* Half of a full shelf, what lies there longest, goes home; returns how much is
   left. */
static uint32_t
spill(struct weir_arena *arena, struct wr_shelves *shelves, uint32_t order)
{
    const struct wr_shelf *shelf = &shelves->of_order[order];
    uint32_t count = wr_shelf_count(shelf);
    uint32_t half = (count + 1) / 2;
    give_blocks(arena, &shelves->hint, order, shelf->blocks, half);
    memmove(shelf->blocks, shelf->blocks + half,
        (count - half) * sizeof(shelf->blocks[0]));
    return count - half;
}

bool
wr_shelves_give(struct weir_arena *arena, struct wr_shelves *shelves,
    uint32_t leaf, uint32_t order)
{
    if (order >= shelves->count)
        return false;
    struct wr_shelf *shelf = &shelves->of_order[order];
    if (!begin(arena, shelf))
        return false;
    uint32_t count = wr_shelf_count(shelf);
    if (count == shelf->room)
        count = spill(arena, shelves, order);
    shelf->blocks[count] = wr_arena_start(arena, leaf);
    set_count(shelf, count + 1);
    wr_gate_end(&shelf->gate);
    return true;
}

/* ---- With the mutex held ----------------------------------------------- */

/* What is on a shelf goes home; returns how many blocks. */
static uint32_t
empty(struct weir_arena *arena, struct wr_shelves *shelves, uint32_t order)
{
    const struct wr_shelf *shelf = &shelves->of_order[order];
    uint32_t count = wr_shelf_find(shelf);
    give_blocks(
        arena, &arena->shared_shelves.hint, order, shelf->blocks, count);
    return count;
}

void
wr_shelves_stop(struct wr_shelves *shelves)
{
    for (uint32_t i = 0; i < shelves->count; i++)
        (void)wr_gate_stop(&shelves->of_order[i].gate);
}

void
wr_shelves_take_back(struct weir_arena *arena, struct wr_shelves *shelves)
{
    for (uint32_t i = 0; i < shelves->count; i++) {
        struct wr_shelf *shelf = &shelves->of_order[i];
        if (!wr_gate_is_stopped(&shelf->gate))
            continue;
        wr_gate_wait(&shelf->gate);
        wr_shelf_turn_off(shelf, empty(arena, shelves, i));
    }
}

void
wr_shelves_turn_on(const struct weir_arena *arena, struct wr_shelves *shelves)
{
    if (shelves->count == 0)
        return;
    uint64_t total = (uint64_t)arena->buddy.geometry.leaf_count
                     << arena->buddy.geometry.leaf_shift;
    size_t share = total / arena->record_count / SHARE / shelves->count;
    for (uint32_t i = 0; i < shelves->count; i++) {
        struct wr_shelf *shelf = &shelves->of_order[i];
        uint32_t most =
            capacity(arena, i, share < SHELF_BYTES ? share : SHELF_BYTES);
        wr_shelf_clear(shelf);
        shelf->most = most;
        shelf->refill = (most + 1) / 2;
        if (most != 0)
            wr_shelf_turn_on(shelf);
    }
}

void
wr_shelves_flush(struct weir_arena *arena, struct wr_shelves *shelves)
{
    for (uint32_t i = 0; i < shelves->count; i++) {
        struct wr_shelf *shelf = &shelves->of_order[i];
        if (!wr_gate_is_on(&shelf->gate))
            continue;
        (void)empty(arena, shelves, i);
        set_count(shelf, 0);
    }
}

void
wr_shelves_give_up(struct weir_arena *arena, struct wr_shelves *shelves)
{
    for (uint32_t i = 0; i < shelves->count; i++) {
        struct wr_shelf *shelf = &shelves->of_order[i];
        if (wr_gate_is_on(&shelf->gate))
            wr_shelf_turn_off(shelf, empty(arena, shelves, i));
    }
}

uint64_t
wr_shelves_count(const struct weir_arena *arena,
    const struct wr_shelves *shelves, uint64_t *bytes)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < shelves->count; i++) {
        const struct wr_shelf *shelf = &shelves->of_order[i];
        uint32_t here = wr_gate_is_on(&shelf->gate) ? wr_shelf_count(shelf) : 0;
        count += here;
        *bytes += (uint64_t)here * wr_arena_block_size(arena, i);
    }
    return count;
}

uint64_t
wr_shelves_counted(
    const struct wr_shelves *shelves, enum wr_buddy_counter counter)
{
    if (counter == WR_SPLITS)
        return wr_load_relaxed(&shelves->hint.splits); /* a snapshot */
    if (counter == WR_COALESCES)
        return wr_load_relaxed(&shelves->hint.coalesces); /* a snapshot */
    return wr_load_relaxed(&shelves->counts[counter]);    /* a snapshot */
}
