/* SPDX-License-Identifier: MIT */
#include "arena/plan.h"

#include "support/unit.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

#define GIB (UINT64_C(1) << 30)
#define TOP ((size_t)1 << 63)

static struct wr_plan plan;

static enum weir_status
make(const struct weir_arena_config *config)
{
    memset(&plan, 0xff, sizeof plan);
    return wr_plan_make(config, sizeof *config, &plan);
}

static enum weir_status
make_buddy(size_t block_size, size_t bytes, unsigned flags)
{
    return make(&(struct weir_arena_config){ .layout = WEIR_BUDDY,
        .block_size = block_size,
        .bytes = bytes,
        .flags = flags });
}

static size_t
leaf_size(void)
{
    return (size_t)1 << plan.buddy.leaf_shift;
}

static size_t
largest(void)
{
    return leaf_size() << plan.buddy.order_max;
}

static void *
memory_at(uintptr_t address)
{
    return (void *)address; /* NOLINT(performance-no-int-to-ptr) */
}

/* ---- What can be built ------------------------------------------------- */

Test(plan, no_configuration_is_a_fixed_arena_of_4_mib)
{
    cr_assert(eq(int, wr_plan_make(NULL, 0, &plan), WEIR_OK));

    cr_assert(eq(int, plan.config.layout, WEIR_FIXED));
    cr_assert(eq(sz, plan.fixed.block_size, 4096));
    cr_assert(eq(sz, plan.fixed.slot_count, 1024));
    cr_assert(eq(sz, plan.align, 64));
    expect_text(plan.config.name, "weir");
}

Test(plan, a_buddy_without_sizes_has_4_mib_in_blocks_from_4_kib_up)
{
    cr_assert(eq(int, make_buddy(0, 0, 0), WEIR_OK));

    cr_assert(eq(sz, leaf_size(), 4096));
    cr_assert(eq(u32, plan.buddy.leaf_count, 1024));
    cr_assert(eq(sz, largest(), 4 * MIB));
    cr_assert(eq(sz, plan.bytes, 4 * MIB));
    cr_assert(eq(sz, plan.config.block_size, 4096));
    cr_assert(eq(sz, plan.counts, 1024));
    cr_assert(eq(sz, plan.meta_size, wr_buddy_meta_size(&plan.buddy)));
}

static const struct {
    size_t block_size;
    size_t bytes;
    uint32_t leaves;
    size_t largest;
} exact[] = {
    { 256, 256, 1, 256 },
    { 256, 512, 2, 512 },
    { 256, 768, 3, 512 },
    { 256, 16 * KIB, 64, 16 * KIB },
    { 256, 16 * KIB + 256, 65, 16 * KIB },
    { 4096, 12 * KIB, 3, 8 * KIB },
    { 512, 7 * MIB, 14336, 4 * MIB },
    { 2 * MIB, 2 * MIB, 1, 2 * MIB },
    { 2 * MIB, 6 * MIB, 3, 4 * MIB },
    { 256, 2 * GIB, 1 << 23, 2 * GIB },
    { 256, 4 * GIB, 1 << 24, 2 * GIB },
    { 4096, 5 * GIB, 5 << 18, 2 * GIB },
    { 256, 64 * GIB, 1 << 28, 2 * GIB },
    { 2 * MIB, 64 * GIB, 1 << 15, 2 * GIB },
};

Test(plan, exact_sizes_are_taken_as_they_are)
{
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        cr_assert(eq(int, make_buddy(exact[i].block_size, exact[i].bytes, 0),
                      WEIR_OK),
            "case %zu", i);
        cr_assert(eq(sz, leaf_size(), exact[i].block_size));
        cr_assert(eq(u32, plan.buddy.leaf_count, exact[i].leaves));
        cr_assert(eq(sz, largest(), exact[i].largest));
        cr_assert(eq(sz, plan.bytes, exact[i].bytes));
    }
}

Test(plan, nearest_leaves_exact_sizes_alone)
{
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        cr_assert(eq(int,
            make_buddy(exact[i].block_size, exact[i].bytes, WEIR_NEAREST),
            WEIR_OK));
        cr_assert(eq(sz, leaf_size(), exact[i].block_size));
        cr_assert(eq(u32, plan.buddy.leaf_count, exact[i].leaves));
        cr_assert(eq(sz, largest(), exact[i].largest));
    }
}

Test(plan, a_buddy_may_be_counted_in_blocks)
{
    struct weir_arena_config config = {
        .layout = WEIR_BUDDY, .block_size = 512, .block_count = 10
    };

    cr_assert(eq(int, make(&config), WEIR_OK));
    cr_assert(eq(u32, plan.buddy.leaf_count, 10));
    cr_assert(eq(sz, plan.bytes, 5120));
    cr_assert(eq(sz, largest(), 4096));

    config.block_count = 64 * GIB / 512;
    cr_assert(eq(int, make(&config), WEIR_OK));
    config.block_count++;
    cr_assert(eq(int, make(&config), WEIR_INVALID));
}

/* ---- What can not ------------------------------------------------------ */

Test(plan, exact_sizes_that_cannot_be_built_are_invalid)
{
    static const struct {
        size_t block_size;
        size_t bytes;
    } bad[] = {
        { 1, 4096 },
        { 64, 4096 },
        { 128, 4096 },
        { 255, 255 * 64 },
        { 257, 257 * 64 },
        { 3000, 3000 * 10 },
        { 3 * 1024, 3 * 4096 },
        { 4 * MIB, 16 * MIB },
        { 2 * MIB + 1, 16 * MIB },
        { 4096, 1 },
        { 4096, 4095 },
        { 4096, 4097 },
        { 4096, MIB - 1 },
        { 4096, MIB + 256 },
        { 256, 64 * GIB + 256 },
        { 2 * MIB, 64 * GIB + 2 * MIB },
        { 4096, TOP },
        { 4096, SIZE_MAX },
        { 4096, SIZE_MAX - 4095 },
        { TOP, TOP },
        { TOP + 1, TOP + 1 },
        { SIZE_MAX, SIZE_MAX },
        { SIZE_MAX, 4096 },
        { SIZE_MAX - 63, 4096 },
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert(eq(int, make_buddy(bad[i].block_size, bad[i].bytes, 0),
                      WEIR_INVALID),
            "case %zu", i);
}

Test(plan, block_counts_that_overflow_are_invalid)
{
    static const size_t counts[] = { SIZE_MAX, SIZE_MAX / 4096 + 1,
        SIZE_MAX / 4096, (TOP / 2048) + 1, TOP, 16 * MIB + 1 };
    struct weir_arena_config config = { .layout = WEIR_BUDDY,
        .block_size = 4096 };

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        config.block_count = counts[i];
        config.flags = 0;
        cr_assert(eq(int, make(&config), WEIR_INVALID), "case %zu", i);
        config.flags = WEIR_NEAREST;
        cr_assert(eq(int, make(&config), WEIR_INVALID), "case %zu", i);
    }
}

Test(plan, bytes_and_block_count_together_are_invalid)
{
    struct weir_arena_config config = {
        .layout = WEIR_BUDDY, .bytes = 4096, .block_count = 1
    };

    cr_assert(eq(int, make(&config), WEIR_INVALID));
    config.flags = WEIR_NEAREST;
    cr_assert(eq(int, make(&config), WEIR_INVALID));
}

Test(plan, flags_of_a_buddy_are_invalid_on_a_fixed_arena)
{
    static const unsigned flags[] = { WEIR_NEAREST, WEIR_ROOM_AS_ASKED,
        WEIR_TRIM, WEIR_TRIM | WEIR_NO_CACHE };

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct weir_arena_config config = { .flags = flags[i] };
        cr_assert(eq(int, make(&config), WEIR_INVALID));
        config.layout = WEIR_BUDDY;
        cr_assert(eq(int, make(&config), WEIR_OK));
    }
}

Test(plan, a_layout_or_flag_of_a_later_release_is_unsupported)
{
    struct weir_arena_config layout = { .layout = WEIR_BUDDY + 1 };
    struct weir_arena_config flag = { .layout = WEIR_BUDDY,
        .flags = WEIR_TRIM << 1 };

    cr_assert(eq(int, make(&layout), WEIR_UNSUPPORTED));
    cr_assert(eq(int, make(&flag), WEIR_UNSUPPORTED));
}

/* ---- Alignment --------------------------------------------------------- */

Test(plan, an_alignment_of_a_buddy_is_a_power_of_two_up_to_its_block_size)
{
    static const struct {
        size_t block_size;
        size_t align;
        enum weir_status wanted;
    } cases[] = {
        { 256, 1, WEIR_OK },
        { 256, 256, WEIR_OK },
        { 256, 512, WEIR_INVALID },
        { 256, 3, WEIR_INVALID },
        { 256, 192, WEIR_INVALID },
        { 4096, 4096, WEIR_OK },
        { 4096, 8192, WEIR_INVALID },
        { 2 * MIB, 2 * MIB, WEIR_OK },
        { 2 * MIB, 4 * MIB, WEIR_INVALID },
        { 256, TOP, WEIR_INVALID },
        { 256, SIZE_MAX, WEIR_INVALID },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct weir_arena_config config = { .layout = WEIR_BUDDY,
            .block_size = cases[i].block_size,
            .block_align = cases[i].align,
            .bytes = 8 * MIB };
        cr_assert(eq(int, make(&config), cases[i].wanted), "case %zu", i);
    }
}

Test(plan, the_first_block_is_aligned_to_the_largest_up_to_a_page)
{
    size_t page = wr_page_size();

    cr_assert(eq(int, make_buddy(256, 256, 0), WEIR_OK));
    cr_assert(eq(sz, plan.align, 256));
    cr_assert(eq(int, make_buddy(256, 768, 0), WEIR_OK));
    cr_assert(eq(sz, plan.align, 512));
    cr_assert(eq(int, make_buddy(256, page, 0), WEIR_OK));
    cr_assert(eq(sz, plan.align, page));
    cr_assert(eq(int, make_buddy(256, MIB, 0), WEIR_OK));
    cr_assert(eq(sz, plan.align, page));
    cr_assert(eq(int, make_buddy(64 * KIB, MIB, 0), WEIR_OK));
    cr_assert(eq(sz, plan.align, page));
}

Test(plan, the_first_block_is_aligned_as_asked_beyond_a_page)
{
    struct weir_arena_config config = { .layout = WEIR_BUDDY,
        .block_size = 64 * KIB,
        .block_align = 64 * KIB,
        .bytes = MIB };

    cr_assert(eq(int, make(&config), WEIR_OK));
    cr_assert(eq(sz, plan.align, 64 * KIB));
}

/* ---- The nearest that can be built ------------------------------------- */

Test(plan, nearest_takes_the_next_sizes_up)
{
    static const struct {
        size_t block_size;
        size_t bytes;
        size_t leaf;
        size_t total;
    } cases[] = {
        { 1, 1, 256, 256 },
        { 255, 256, 256, 256 },
        { 257, 1024, 512, 1024 },
        { 3000, 3000, 4096, 4096 },
        { 3000, 10000, 4096, 12 * KIB },
        { 4096, 1, 4096, 4096 },
        { 4096, MIB - 1, 4096, MIB },
        { 4096, MIB + 1, 4096, MIB + 4096 },
        { 0, 5000, 4096, 8192 },
        { MIB + 1, 2 * MIB, 2 * MIB, 2 * MIB },
        { 256, 64 * GIB - 1, 256, 64 * GIB },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert(
            eq(int,
                make_buddy(cases[i].block_size, cases[i].bytes, WEIR_NEAREST),
                WEIR_OK),
            "case %zu", i);
        cr_assert(eq(sz, leaf_size(), cases[i].leaf));
        cr_assert(eq(sz, plan.config.block_size, cases[i].leaf));
        cr_assert(eq(sz, plan.bytes, cases[i].total));
        cr_assert(
            eq(sz, plan.buddy.leaf_count, cases[i].total / cases[i].leaf));
    }
}

Test(plan, nearest_makes_blocks_as_large_as_their_alignment)
{
    struct weir_arena_config config = { .layout = WEIR_BUDDY,
        .block_size = 256,
        .block_align = 8192,
        .bytes = 20000,
        .flags = WEIR_NEAREST };

    cr_assert(eq(int, make(&config), WEIR_OK));
    cr_assert(eq(sz, leaf_size(), 8192));
    cr_assert(eq(sz, plan.bytes, 24576));
    cr_assert(eq(sz, plan.align, 8192));
}

Test(plan, nearest_keeps_the_count_of_blocks)
{
    struct weir_arena_config config = { .layout = WEIR_BUDDY,
        .block_size = 300,
        .block_count = 10,
        .flags = WEIR_NEAREST };

    cr_assert(eq(int, make(&config), WEIR_OK));
    cr_assert(eq(sz, leaf_size(), 512));
    cr_assert(eq(sz, plan.bytes, 5120));
}

Test(plan, nearest_does_not_pass_a_limit_and_ends)
{
    static const struct {
        size_t block_size;
        size_t bytes;
    } bad[] = {
        { 2 * MIB + 1, 64 * MIB },
        { TOP, 4096 },
        { TOP + 1, 4096 },
        { SIZE_MAX, 4096 },
        { SIZE_MAX - 63, SIZE_MAX },
        { 256, 64 * GIB + 1 },
        { 4096, TOP + 1 },
        { 4096, SIZE_MAX },
        { 4096, SIZE_MAX - 63 },
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert(
            eq(int, make_buddy(bad[i].block_size, bad[i].bytes, WEIR_NEAREST),
                WEIR_INVALID),
            "case %zu", i);
}

Test(plan, nearest_does_not_mend_an_alignment)
{
    struct weir_arena_config config = {
        .layout = WEIR_BUDDY, .block_align = 192, .flags = WEIR_NEAREST
    };

    cr_assert(eq(int, make(&config), WEIR_INVALID));
    config.block_align = 4 * MIB;
    cr_assert(eq(int, make(&config), WEIR_INVALID));
}

/* ---- Memory of the caller's -------------------------------------------- */

static enum weir_status
make_in(uintptr_t address, size_t block_size, size_t bytes, unsigned flags)
{
    return make(&(struct weir_arena_config){ .layout = WEIR_BUDDY,
        .block_size = block_size,
        .bytes = bytes,
        .flags = flags,
        .memory = memory_at(address) });
}

Test(plan, nearest_goes_down_in_memory_of_the_callers)
{
    static const struct {
        size_t block_size;
        size_t bytes;
        size_t leaf;
        size_t total;
    } cases[] = {
        { 4096, 4096, 4096, 4096 },
        { 4096, 5000, 4096, 4096 },
        { 4096, MIB - 1, 4096, MIB - 4096 },
        { 200, 1000, 256, 768 },
        { 5000, 20000, 8192, 16384 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert(
            eq(int,
                make_in(MIB, cases[i].block_size, cases[i].bytes, WEIR_NEAREST),
                WEIR_OK),
            "case %zu", i);
        cr_assert(eq(sz, leaf_size(), cases[i].leaf));
        cr_assert(eq(sz, plan.bytes, cases[i].total));
        cr_assert(le(sz, plan.bytes, cases[i].bytes));
    }
    cr_assert(eq(int, make_in(MIB, 4096, 4095, WEIR_NEAREST), WEIR_INVALID));
    cr_assert(eq(int, make_in(MIB, 4096, 4097, 0), WEIR_INVALID));
}

Test(plan, memory_of_the_callers_needs_a_size)
{
    cr_assert(eq(int, make_in(MIB, 4096, 0, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(MIB, 4096, 0, WEIR_NEAREST), WEIR_INVALID));
}

Test(plan, memory_of_the_callers_is_aligned_to_the_largest_block_up_to_a_page)
{
    size_t page = wr_page_size();

    cr_assert(eq(int, make_in(MIB, 256, MIB, 0), WEIR_OK));
    cr_assert(eq(int, make_in(MIB + page, 256, MIB, 0), WEIR_OK));
    cr_assert(eq(int, make_in(MIB + 1, 256, MIB, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(MIB + 256, 256, MIB, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(MIB + page / 2, 256, MIB, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(MIB + 256, 256, 256, 0), WEIR_OK));
    cr_assert(eq(int, make_in(MIB + 256, 256, 512, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(MIB + 512, 256, 768, 0), WEIR_OK));
    cr_assert(eq(int, make_in(MIB + 64, 256, 256, 0), WEIR_INVALID));
    cr_assert(
        eq(int, make_in(MIB + 256, 256, MIB, WEIR_NEAREST), WEIR_INVALID));
}

Test(plan, memory_of_the_callers_is_aligned_as_asked)
{
    struct weir_arena_config config = { .layout = WEIR_BUDDY,
        .block_size = 64 * KIB,
        .block_align = 64 * KIB,
        .bytes = MIB,
        .memory = memory_at(MIB) };

    cr_assert(eq(int, make(&config), WEIR_OK));
    config.memory = memory_at(MIB + 32 * KIB);
    cr_assert(eq(int, make(&config), WEIR_INVALID));
}

Test(plan, memory_of_the_callers_ends_inside_the_address_space)
{
    uintptr_t end = (uintptr_t)0 - 4096; /* the last page */

    cr_assert(eq(int, make_in(end - MIB, 4096, MIB, 0), WEIR_OK));
    cr_assert(eq(int, make_in(end - MIB + 4096, 4096, MIB, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(end, 4096, MIB, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(end, 4096, 64 * GIB, 0), WEIR_INVALID));
    cr_assert(eq(int, make_in(end, 4096, MIB, WEIR_NEAREST), WEIR_INVALID));
}

Test(plan, memory_of_the_callers_is_prepared_by_the_caller)
{
    static const unsigned flags[] = { WEIR_PREFAULT, WEIR_LOCK };
    struct weir_arena_config huge = { .layout = WEIR_BUDDY,
        .bytes = MIB,
        .pages = WEIR_PAGES_HUGE_IF_FREE,
        .memory = memory_at(MIB) };

    for (size_t i = 0; i < 2; i++)
        cr_assert(eq(int, make_in(MIB, 4096, MIB, flags[i]), WEIR_INVALID));
    cr_assert(eq(int, make(&huge), WEIR_INVALID));
}
