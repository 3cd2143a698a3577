/* SPDX-License-Identifier: MIT */
/*
 * plain: accesses without an order: races, and memory that is gone.
 *
 *     pool    [ control part | blocks | books | record | . . .        ]
 *     cells   one for 4 bytes: who wrote last, and when; who read, and when;
 *             the locations there, if it is also accessed atomically
 *
 * Idea
 *   All memory of a run comes from one pool and is never used twice, so whoever
 *   touches what was given back is caught, however late. The library under test
 *   is compiled with -fsanitize=thread, and this file is the runtime: what the
 *   compiler inserts before every plain access asks here whether everything that
 *   conflicts with it happened before it, by the clocks of the views. Giving
 *   memory back counts as writing it.
 *
 *   A plain write over an atomic location begins the location anew: the next
 *   atomic access fetches the value.
 *
 * Limits
 *   Neighbours within 4 bytes are one. The library's static variables are not
 *   looked at.
 *
 * Source
 *   C. Flanagan, S. Freund: FastTrack, PLDI 2009. ThreadSanitizer, whose
 *   instrumentation this is.
 */

#include "plain.h"

#include "explore.h"
#include "memory.h"
#include "scheduler.h"
#include "sim.h"

#include <string.h>

enum {
    POOL_SIZE = 512 * 1024,
    CELL_SIZE = 4,
    GAP = 64,        /* between pieces: whoever runs over the end is caught */
    PIECES_MAX = 128 /* taken in a run */
};

struct cell {
    uint32_t run; /* the rest holds for this run only */
    bool is_gone;
    uint8_t writer;
    uint8_t locations[CELL_SIZE]; /* that begin at a byte, or before; 0: none */
    uint16_t written;             /* by the clock of the writer */
    uint16_t read[VIEW_THREADS];
};

struct piece {
    unsigned char *memory;
    size_t size;
    bool is_taken;
    uint8_t taker;
    uint16_t taken; /* by the clock of the taker */
};

_Static_assert(VIEW_SIZE <= UINT8_MAX + 1, "a location fits a cell");

static _Alignas(4096) unsigned char pool[POOL_SIZE];
static struct cell cells[POOL_SIZE / CELL_SIZE];
static size_t pool_used;
static struct piece pieces[PIECES_MAX];
static unsigned piece_count;

void
plain_reset(void)
{
    pool_used = 0;
    piece_count = 0;
}

/* ---- Cells ------------------------------------------------------------- */

static bool
is_in_pool(const volatile void *bytes)
{
    return (uintptr_t)bytes - (uintptr_t)pool < POOL_SIZE;
}

static struct cell *
cell_at(const volatile void *bytes)
{
    return &cells[((uintptr_t)bytes - (uintptr_t)pool) / CELL_SIZE];
}

static bool
is_in(const struct piece *piece, const unsigned char *bytes)
{
    return piece < pieces + piece_count &&
           (uintptr_t)bytes - (uintptr_t)piece->memory < piece->size;
}

/* A cell that is touched for the first time in this run: whoever took the
   memory wrote it. */
static void
begin_cell(struct cell *cell)
{
    const unsigned char *bytes = pool + (size_t)(cell - cells) * CELL_SIZE;
    static const struct piece *piece = pieces; /* as a rule the same again */
    if (!is_in(piece, bytes))
        for (piece = pieces; piece < pieces + piece_count; piece++)
            if (is_in(piece, bytes))
                break;
    if (piece < pieces + piece_count)
        *cell = (struct cell){ .run = explore_run,
            .is_gone = !piece->is_taken,
            .writer = piece->taker,
            .written = piece->taken };
}

static void
begin_if_new(struct cell *cell)
{
    if (__builtin_expect(cell->run != explore_run, 0))
        begin_cell(cell);
}

static void
check_there(const struct cell *cell)
{
    if (cell->run != explore_run)
        sim_fail("thread %u touches memory that nobody took", scheduler_self);
    if (cell->is_gone)
        sim_fail(
            "thread %u touches memory that was given back", scheduler_self);
}

static bool
happened(unsigned thread, uint16_t when)
{
    return when <= scheduler_view()->at[thread];
}

static void
check_writer(const struct cell *cell, const char *what)
{
    check_there(cell);
    if (!happened(cell->writer, cell->written))
        sim_fail("race: thread %u %s what thread %u wrote, and nothing orders "
                 "them",
            scheduler_self, what, cell->writer);
}

/* Whether one of the clocks is behind what is known, all at once. */
static bool
is_later(const uint16_t clocks[VIEW_THREADS], const uint16_t *known)
{
    typedef uint16_t vector
        __attribute__((vector_size(VIEW_THREADS * sizeof(uint16_t))));
    vector these;
    vector those;
    memcpy(&these, clocks, sizeof these);
    memcpy(&those, known, sizeof those);
    uint64_t later[2];
    those = (vector)(these > those);
    memcpy(later, &those, sizeof later);
    return (later[0] | later[1]) != 0;
}

static bool
has_locations(const struct cell *cell)
{
    static const uint8_t none[CELL_SIZE];
    return memcmp(cell->locations, none, sizeof none) != 0;
}

static void
check_past(const struct cell *cell, bool only_writes)
{
    if (!has_locations(cell))
        return;
    for (unsigned i = 0; i < CELL_SIZE; i++)
        if (cell->locations[i] != 0)
            memory_check_past(cell->locations[i], only_writes);
}

static void
check_readers(const struct cell *cell)
{
    const uint16_t *known = scheduler_view()->at;
    if (!is_later(cell->read, known))
        return;
    for (unsigned t = 0; t < VIEW_THREADS; t++)
        if (cell->read[t] > known[t])
            sim_fail("race: thread %u writes what thread %u reads, and nothing "
                     "orders them",
                scheduler_self, t);
}

static void
read_cell(struct cell *cell)
{
    begin_if_new(cell);
    check_writer(cell, "reads");
    check_past(cell, true);
    cell->read[scheduler_self] = scheduler_view()->at[scheduler_self];
}

static void
write_cell(struct cell *cell)
{
    begin_if_new(cell);
    check_writer(cell, "writes");
    check_readers(cell);
    check_past(cell, false);
    cell->writer = (uint8_t)scheduler_self;
    cell->written = scheduler_view()->at[scheduler_self];
}

/* Begins the locations there anew, but for one that was; returns the last one. */
static unsigned
rewrite_cell(const struct cell *cell, unsigned before)
{
    if (!has_locations(cell))
        return 0;
    for (unsigned i = 0; i < CELL_SIZE; i++) {
        unsigned location = cell->locations[i];
        if (location != 0 && location != before)
            memory_rewrite(location);
        before = location != 0 ? location : before;
    }
    return before;
}

void
sim_plain_read(const volatile void *bytes, size_t size)
{
    if (!is_in_pool(bytes) || size == 0)
        return;
    const volatile unsigned char *last =
        (const volatile unsigned char *)bytes + size - 1;
    for (struct cell *cell = cell_at(bytes); cell <= cell_at(last); cell++)
        read_cell(cell);
}

void
sim_plain_write(volatile void *bytes, size_t size)
{
    if (!is_in_pool(bytes) || size == 0)
        return;
    volatile unsigned char *last = (volatile unsigned char *)bytes + size - 1;
    unsigned location = 0;
    for (struct cell *cell = cell_at(bytes); cell <= cell_at(last); cell++) {
        write_cell(cell);
        location = rewrite_cell(cell, location);
    }
}

void
plain_check_atomic(const volatile void *object, size_t size, bool writes)
{
    if (!is_in_pool(object))
        return;
    struct cell *cell = cell_at(object);
    for (size_t i = 0; i * CELL_SIZE < size; i++) {
        begin_if_new(&cell[i]);
        check_writer(&cell[i], "accesses atomically");
        if (writes)
            check_readers(&cell[i]);
    }
}

void
plain_bind(const volatile void *object, size_t size, unsigned number)
{
    if (!is_in_pool(object))
        return;
    struct cell *cell = cell_at(object);
    size_t byte = (uintptr_t)object % CELL_SIZE;
    for (size_t i = 0; i * CELL_SIZE < size; i++) {
        begin_if_new(&cell[i]);
        cell[i].locations[byte] = (uint8_t)number;
    }
}

/* ---- Memory ------------------------------------------------------------ */

void *
sim_memory_take(size_t size, size_t align)
{
    size_t start = (pool_used + align - 1) & ~(align - 1);
    if (start + size + GAP > POOL_SIZE || piece_count == PIECES_MAX)
        sim_fail("a run takes too much memory");
    pool_used = (start + size + CELL_SIZE - 1) / CELL_SIZE * CELL_SIZE;
    pieces[piece_count++] = (struct piece){ .memory = pool + start,
        .size = pool_used - start,
        .is_taken = true,
        .taker = (uint8_t)scheduler_self,
        .taken = scheduler_view()->at[scheduler_self] };
    pool_used += GAP;
    return pool + start;
}

void
sim_memory_give(void *memory)
{
    struct piece *piece = pieces;
    while (piece < pieces + piece_count && piece->memory != memory)
        piece++;
    if (piece == pieces + piece_count || !piece->is_taken)
        sim_fail("thread %u gives memory back that it does not have",
            scheduler_self);
    if (!happened(piece->taker, piece->taken))
        sim_fail("race: thread %u gives memory back that thread %u took, and "
                 "nothing orders them",
            scheduler_self, piece->taker);
    piece->is_taken = false;
    struct cell *end = cell_at(piece->memory) + piece->size / CELL_SIZE;
    for (struct cell *cell = cell_at(memory); cell < end; cell++)
        if (cell->run == explore_run) {
            write_cell(cell);
            cell->is_gone = true;
        }
}

unsigned
sim_memory_count(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < piece_count; i++)
        count += pieces[i].is_taken;
    return count;
}

/* ---- What the compiler calls ------------------------------------------- */

/* Its names are the compiler's, and so is the form of its names. */
#define HOOK_READ(name, size)                                                  \
    void name(const void *bytes);                                              \
    void name(const void *bytes)                                               \
    {                                                                          \
        sim_plain_read(bytes, size);                                           \
    }
#define HOOK_WRITE(name, size)                                                 \
    void name(void *bytes);                                                    \
    void name(void *bytes)                                                     \
    {                                                                          \
        sim_plain_write(bytes, size);                                          \
    }

HOOK_READ(__tsan_read1, 1)
HOOK_READ(__tsan_read2, 2)
HOOK_READ(__tsan_read4, 4)
HOOK_READ(__tsan_read8, 8)
HOOK_READ(__tsan_read16, 16)
HOOK_READ(__tsan_unaligned_read2, 2)
HOOK_READ(__tsan_unaligned_read4, 4)
HOOK_READ(__tsan_unaligned_read8, 8)
HOOK_READ(__tsan_unaligned_read16, 16)
HOOK_WRITE(__tsan_write1, 1)
HOOK_WRITE(__tsan_write2, 2)
HOOK_WRITE(__tsan_write4, 4)
HOOK_WRITE(__tsan_write8, 8)
HOOK_WRITE(__tsan_write16, 16)
HOOK_WRITE(__tsan_unaligned_write2, 2)
HOOK_WRITE(__tsan_unaligned_write4, 4)
HOOK_WRITE(__tsan_unaligned_write8, 8)
HOOK_WRITE(__tsan_unaligned_write16, 16)
HOOK_WRITE(__tsan_read_write1, 1)
HOOK_WRITE(__tsan_read_write2, 2)
HOOK_WRITE(__tsan_read_write4, 4)
HOOK_WRITE(__tsan_read_write8, 8)
HOOK_WRITE(__tsan_read_write16, 16)

void __tsan_read_range(const void *bytes, unsigned long size);
void __tsan_write_range(void *bytes, unsigned long size);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_init(void);

void
__tsan_read_range(const void *bytes, unsigned long size)
{
    sim_plain_read(bytes, size);
}

void
__tsan_write_range(void *bytes, unsigned long size)
{
    sim_plain_write(bytes, size);
}

void
__tsan_func_entry(void *caller)
{
    (void)caller;
}

void
__tsan_func_exit(void)
{
}

void
__tsan_init(void)
{
}

/* memcpy and memset of the library under test; the compiler knows no others. */
void *sim_memcpy(void *to, const void *from, size_t size);
void *sim_memset(void *bytes, int value, size_t size);

void *
sim_memcpy(void *to, const void *from, size_t size)
{
    sim_plain_read(from, size);
    sim_plain_write(to, size);
    return memcpy(to, from, size);
}

void *
sim_memset(void *bytes, int value, size_t size)
{
    sim_plain_write(bytes, size);
    return memset(bytes, value, size);
}

/* Clang's names for them, where it makes the call itself. */
void *__tsan_memcpy(void *to, const void *from, unsigned long size);
void *__tsan_memset(void *bytes, int value, unsigned long size);

void *
__tsan_memcpy(void *to, const void *from, unsigned long size)
{
    return sim_memcpy(to, from, size);
}

void *
__tsan_memset(void *bytes, int value, unsigned long size)
{
    return sim_memset(bytes, value, size);
}
