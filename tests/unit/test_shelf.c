/* SPDX-License-Identifier: MIT */
#include "core/shelf.h"

#include "support/unit.h"

enum { MOST = 6 };

static void *blocks[MOST];
static char memory[MOST];
static struct wr_shelf shelf;

static void
open_shelf(void)
{
    wr_shelf_init(&shelf, blocks, MOST, 3);
    wr_shelf_turn_on(&shelf);
}

/* As a release does. False: the owner must settle. */
static bool
give_back(void *block)
{
    uint32_t count = wr_shelf_count(&shelf);
    blocks[count] = block;
    wr_shelf_set_count(&shelf, count + 1);
    return wr_gate_is_on(&shelf.gate);
}

/* As an alloc does. */
static bool
take_back(void **block)
{
    uint32_t count = wr_shelf_count(&shelf);
    *block = blocks[count - 1];
    wr_shelf_set_count(&shelf, count - 1);
    return wr_gate_is_on(&shelf.gate);
}

static uint32_t
sweep(void)
{
    cr_assert(wr_gate_stop(&shelf.gate));
    wr_gate_wait(&shelf.gate);
    uint32_t found = wr_shelf_find(&shelf);
    wr_shelf_turn_off(&shelf, found);
    return found;
}

Test(shelf, it_begins_off_and_without_room, .init = open_shelf)
{
    wr_shelf_init(&shelf, blocks, MOST, 3);

    cr_assert(not(wr_gate_is_on(&shelf.gate)));
    cr_assert(zero(u32, wr_shelf_count(&shelf)));
    cr_assert(zero(u32, shelf.room));
}

Test(shelf, the_block_given_last_is_taken_first, .init = open_shelf)
{
    void *block;
    for (size_t i = 0; i < MOST; i++)
        cr_assert(give_back(&memory[i]));
    cr_assert(eq(u32, wr_shelf_count(&shelf), shelf.room));

    for (size_t i = MOST; i-- > 0;) {
        cr_assert(take_back(&block));
        cr_assert(eq(ptr, block, &memory[i]));
    }
    cr_assert(zero(u32, wr_shelf_count(&shelf)));
}

Test(shelf, a_sweep_takes_all_and_says_how_many, .init = open_shelf)
{
    cr_assert(give_back(&memory[0]));
    cr_assert(give_back(&memory[1]));

    cr_assert(eq(u32, sweep(), 2));

    cr_assert(not(wr_gate_is_on(&shelf.gate)));
    cr_assert(wr_shelf_was_stolen(&shelf, 0));
    cr_assert(wr_shelf_was_stolen(&shelf, 1));
    cr_assert(not(wr_shelf_was_stolen(&shelf, 2)));
}

/* The four ways in which a sweep and an operation can meet. */
Test(shelf, a_block_whose_taking_the_sweep_did_not_see_was_stolen,
    .init = open_shelf)
{
    void *block;
    cr_assert(give_back(&memory[0]));
    cr_assert(eq(u32, sweep(), 1));

    cr_assert(not(take_back(&block)));

    cr_assert(wr_shelf_was_stolen(&shelf, wr_shelf_count(&shelf)));
}

Test(
    shelf, a_block_whose_taking_the_sweep_saw_is_the_owners, .init = open_shelf)
{
    cr_assert(give_back(&memory[0]));
    wr_shelf_set_count(&shelf, 0);

    cr_assert(zero(u32, sweep()));

    cr_assert(not(wr_shelf_was_stolen(&shelf, wr_shelf_count(&shelf))));
}

Test(shelf, a_block_whose_giving_the_sweep_did_not_see_is_the_owners,
    .init = open_shelf)
{
    cr_assert(give_back(&memory[0]));
    cr_assert(eq(u32, sweep(), 1));

    cr_assert(not(give_back(&memory[1])));

    cr_assert(not(wr_shelf_was_stolen(&shelf, wr_shelf_count(&shelf) - 1)));
}

Test(shelf, a_block_whose_giving_the_sweep_saw_is_home, .init = open_shelf)
{
    cr_assert(give_back(&memory[0]));
    blocks[1] = &memory[1];
    wr_shelf_set_count(&shelf, 2);

    cr_assert(eq(u32, sweep(), 2));

    cr_assert(wr_shelf_was_stolen(&shelf, wr_shelf_count(&shelf) - 1));
}

Test(shelf, behind_a_sweep_it_is_empty_and_without_room_until_it_is_on,
    .init = open_shelf)
{
    cr_assert(give_back(&memory[0]));
    (void)sweep();

    wr_shelf_clear(&shelf);

    cr_assert(zero(u32, wr_shelf_count(&shelf)));
    cr_assert(zero(u32, shelf.room));
    wr_shelf_turn_on(&shelf);
    cr_assert(eq(u32, shelf.room, MOST));
    cr_assert(give_back(&memory[0]));
}
