/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "support/unit.h"

#include <signal.h>
#include <stdlib.h>

/* A control part as arena.c takes it, with its mutex free again. */
static struct weir_arena *
take_part(void)
{
    struct weir_arena *part = wr_directory_take();
    if (part != NULL)
        wr_mutex_unlock(&part->mutex);
    return part;
}

static void
give_part(struct weir_arena *part)
{
    part->serial = 0;
    wr_directory_give(part);
}

Test(directory, a_part_is_found_at_its_number)
{
    struct weir_arena *first = take_part();
    struct weir_arena *second = take_part();

    cr_assert(ne(u32, first->id, second->id));
    cr_assert(eq(ptr, wr_directory_at(first->id), first));
    cr_assert(eq(ptr, wr_directory_at(second->id), second));
    give_part(first);
    give_part(second);
}

Test(directory, a_part_is_used_again_with_another_serial)
{
    struct weir_arena *first = take_part();
    uint64_t serial = first->serial;
    uint32_t id = first->id;
    give_part(first);

    struct weir_arena *again = take_part();

    cr_assert(eq(ptr, again, first));
    cr_assert(eq(u32, again->id, id));
    cr_assert(ne(u64, again->serial, serial));
    cr_assert(ne(u64, again->serial, 0));
    give_part(again);
}

Test(directory, a_part_stays_where_it_was_after_it_was_given_back)
{
    struct weir_arena *part = take_part();

    give_part(part);

    cr_assert(eq(ptr, wr_directory_at(part->id), part));
    cr_assert(eq(u64, part->serial, 0));
    wr_mutex_lock(&part->mutex);
    wr_mutex_unlock(&part->mutex);
    no_leaks();
}

Test(directory, sixty_five_thousand_parts_are_all_there_are)
{
    struct weir_arena *part = NULL;
    for (uint32_t i = 0; i < WR_ARENAS_MAX; i++) {
        part = take_part();
        cr_assert(ne(ptr, part, NULL));
        cr_assert(eq(u32, part->id, i));
    }
    errno = 0;

    struct weir_arena *none = take_part();
    int why = errno;

    cr_assert(zero(ptr, none));
    cr_assert(eq(int, why, ENFILE));
    give_part(part);
    cr_assert(eq(ptr, take_part(), part));
}

Test(directory, with_too_many_arenas_create_says_why_and_keeps_nothing)
{
    static unsigned char memory[4096];
    struct weir_arena *last = open_arena(64, 1);
    while (take_part() != NULL)
        ;
    struct weir_arena_config config = { .block_size = 64, .block_count = 1 };
    struct weir_arena *arena = NULL;
    errno = 0;

    enum weir_status status = weir_arena_create(&config, &arena);
    int why = errno;

    cr_assert(eq(int, status, WEIR_SYSTEM));
    cr_assert(eq(int, why, ENFILE));
    cr_assert(zero(ptr, arena));
    config.memory = (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_SYSTEM));
    weir_arena_destroy(&last);
    config.memory = NULL;
    arena = open_with(&config);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    close_whole(&arena);
}

Test(directory, an_arena_gets_the_number_of_one_that_is_gone)
{
    struct weir_arena *first = open_arena(64, 4);
    uint32_t id = first->id;
    uint64_t serial = first->serial;
    weir_arena_destroy(&first);

    struct weir_arena *second = open_arena(64, 4);

    cr_assert(eq(u32, second->id, id));
    cr_assert(ne(u64, second->serial, serial));
    close_whole(&second);
}

Test(directory, a_number_is_not_used_again_while_a_block_is_out)
{
    struct weir_arena *first = open_arena(64, 4);
    uint32_t id = first->id;
    struct weir_buf held = take(first);
    weir_arena_destroy(&first);

    struct weir_arena *second = open_arena(64, 4);
    cr_assert(ne(u32, second->id, id));
    weir_buf_drop(&held);
    struct weir_arena *third = open_arena(64, 4);

    cr_assert(eq(u32, third->id, id));
    close_whole(&second);
    close_whole(&third);
}

Test(directory, nothing_of_an_arena_is_left_in_the_next_one_of_its_number)
{
    struct weir_arena *first = open_with(&(struct weir_arena_config){
        .name = "the first of that number",
        .block_size = 64,
        .block_count = 1,
        .flags = WEIR_SPILL_FULL,
    });
    struct weir_buf held = take(first);
    struct weir_buf spilled = take(first);
    cr_assert(eq(int, ask(first), WEIR_FULL));
    (void)stats_of(first);
    weir_buf_drop(&held);
    weir_buf_drop(&spilled);
    weir_arena_destroy(&first);

    struct weir_arena *second = open_arena(128, 2);
    struct weir_stats stats = stats_of(second);

    expect_text(stats.name, "test");
    cr_assert(eq(u64, stats.block_count, 2));
    cr_assert(eq(u64, stats.allocs, 0));
    cr_assert(eq(u64, stats.releases, 0));
    cr_assert(eq(u64, stats.alloc_fulls, 0));
    cr_assert(eq(u64, stats.spill_fulls, 0));
    cr_assert(eq(u64, stats.blocks_out_peak, 0));
    cr_assert(eq(int, ask(second), WEIR_OK));
    close_whole(&second);
}

Test(misuse, a_handle_of_an_arena_that_never_was_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: a handle that names no arena");

    (void)wr_directory_at(WR_ARENAS_MAX - 1);
}

#ifndef NDEBUG
Test(misuse, giving_back_a_part_that_is_in_use_aborts, .signal = SIGABRT)
{
    struct weir_arena *part = take_part();
    expect_misuse("weir: assertion failed: arena->serial == 0");

    wr_directory_give(part);
}
#endif
