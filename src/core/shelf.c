/* SPDX-License-Identifier: MIT */
/*
 * shelf: free blocks of one size that one thread keeps at hand.
 *
 *     blocks  [ a | b | c | d |   |   ]        room for 6
 *                           ▲ count = 4        alloc takes d, a release adds e
 *
 * Idea
 *   A stack of addresses behind the gate of every cache (core/cache_gate.c). What
 *   the owner stores and a sweeper reads is `count`: alloc reads the last address
 *   and stores one less; a release writes an address behind the last and stores one
 *   more. Both then look at the gate. A refill and a spill are between begin and
 *   end.
 *
 *   A sweeper takes the first `count` blocks, and leaves that number in `stolen`. An
 *   owner that finds the gate shut was taking the block at place count - 1, or
 *   giving one at place count: it was taken from it if its place is below `stolen`.
 *
 *   A heap has one for each class of sizes, a buddy arena for each order. Fixed arenas
 *   keep words of a bitmap instead (core/thread_cache.c), of whose 512 blocks
 *   the addresses would take 4 KiB a thread and arena. A heap's blocks are released
 *   in any order, so that words at hand come to hold a block or two, and most calls
 *   have to turn to another one.
 *
 * Invariants
 *   1. A block is at most once on shelves, free where they are filled from, or out.
 *   2. count, room and blocks are written by the owner alone. room is 0 unless the
 *      shelf is on, or was until a sweep that its owner has not seen.
 *   3. count <= room, and the places below count are of blocks of the one size.
 *
 * Edges
 *   [sweep]  wr_shelf_set_count, publish  ->  wr_shelf_find, observe
 *            What is at the places below the count, and what the last owner of a
 *            block did there.
 *   [off]    wr_shelf_turn_off  ->  `stolen`, for the owner; as in cache_gate.c.
 *
 * Costs
 *   A line for the shelf, and one of its addresses. No locked instruction.
 */

#include "core/shelf.h"

#include "base/check.h"

void
wr_shelf_init(
    struct wr_shelf *shelf, void **blocks, uint32_t most, uint32_t refill)
{
    WR_ASSERT(refill >= 1 && refill <= most && most <= WR_SHELF_MAX);
    wr_gate_init(&shelf->gate);
    shelf->blocks = blocks;
    shelf->most = most;
    shelf->refill = refill;
    shelf->stolen = 0;
    wr_shelf_clear(shelf);
}

void
wr_shelf_clear(struct wr_shelf *shelf)
{
    wr_store_relaxed(&shelf->count, 0); /* nobody sweeps it */
    shelf->room = 0;
}

void
wr_shelf_turn_on(struct wr_shelf *shelf)
{
    wr_shelf_clear(shelf);
    shelf->room = shelf->most;
    wr_gate_turn_on(&shelf->gate);
}

void
wr_shelf_turn_off(struct wr_shelf *shelf, uint32_t found)
{
    shelf->stolen = found;
    wr_gate_turn_off(&shelf->gate);
}
