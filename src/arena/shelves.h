/* SPDX-License-Identifier: MIT */
/* shelves: what one thread keeps of one buddy arena. */
#ifndef WR_SHELVES_H
#define WR_SHELVES_H

#include "buddy/buddy.h"
#include "core/shelf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_arena;
struct wr_record;

/* What a thread counts of a buddy besides wr_counter. The hint has the last two. */
enum wr_buddy_counter {
    WR_BYTES_ASKED,
    WR_BYTES_GOT,
    WR_TRIMS,
    WR_BYTES_TRIMMED,
    WR_SPLITS,
    WR_COALESCES,
    WR_BUDDY_COUNTERS
};

/* A shelf for each of the lowest orders, as far as their blocks are small enough to
   be kept. An order whose shelf is off, or that has none, goes past it. */
struct wr_shelves {
    struct wr_shelf *of_order;
    uint32_t count;
    _Atomic uint64_t counts[WR_SPLITS];
    struct wr_buddy_hint hint;
};

/* ---- The calling thread's own ---- */

/* How many bytes the shelves of a record take, and how they begin in so many, which
   are aligned to a line: empty, and off. */
size_t wr_shelves_size(const struct weir_arena *arena);
void wr_shelves_init(const struct weir_arena *arena, uint32_t ordinal,
    struct wr_shelves *shelves);

/* Takes a block through its shelf, and refills that. False: it is not on, or no
   block was met. */
bool wr_shelves_take(struct weir_arena *arena, struct wr_shelves *shelves,
    uint32_t order, uint32_t *leaf);

/* Gives a block through its shelf. False: it is not on. */
bool wr_shelves_give(struct weir_arena *arena, struct wr_shelves *shelves,
    uint32_t leaf, uint32_t order);

/* Ends an operation on the block at this place of a shelf that was found not to be
   on, when the sweep is over, and empties the shelf. True: the sweep took it. */
bool wr_shelves_settle(
    struct weir_arena *arena, struct wr_shelf *shelf, uint32_t place);

/* ---- With the arena's mutex held; as those of caches.h for one record ---- */

void wr_shelves_stop(struct wr_shelves *shelves);
void wr_shelves_take_back(struct weir_arena *arena, struct wr_shelves *shelves);
void wr_shelves_turn_on(
    const struct weir_arena *arena, struct wr_shelves *shelves);
void wr_shelves_flush(struct weir_arena *arena, struct wr_shelves *shelves);
void wr_shelves_give_up(struct weir_arena *arena, struct wr_shelves *shelves);

/* How many blocks are on them, about, and how many bytes these are. */
uint64_t wr_shelves_count(const struct weir_arena *arena,
    const struct wr_shelves *shelves, uint64_t *bytes);

/* What the thread counted. */
uint64_t wr_shelves_counted(
    const struct wr_shelves *shelves, enum wr_buddy_counter counter);

#endif
