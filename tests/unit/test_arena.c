/* SPDX-License-Identifier: MIT */
#include "arena/arena.h"

#include "support/oracle.h"
#include "support/prng.h"
#include "support/unit.h"

#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGE = 4096, HUGE = 2 << 20 };

/* ---- Configuration ----------------------------------------------------- */

static void
expect_refused(const struct weir_arena_config *config, enum weir_status wanted)
{
    char mark;
    struct weir_arena *untouched = (struct weir_arena *)(void *)&mark;
    struct weir_arena *arena = untouched;

    enum weir_status status = weir_arena_create(config, &arena);

    cr_assert(eq(int, status, wanted));
    cr_assert(eq(ptr, arena, untouched));
}

static void
expect_defaults(struct weir_arena *arena)
{
    struct weir_stats stats = stats_of(arena);
    expect_text(stats.name, "weir");
    cr_assert(eq(u64, stats.block_size, 4096));
    cr_assert(eq(u64, stats.block_count, 1024));
    cr_assert(eq(u64, stats.bytes_total, 4 << 20));
}

Test(arena, a_zeroed_configuration_is_a_good_one)
{
    struct weir_arena_config config = { 0 };
    struct weir_arena *arena = open_with(&config);

    expect_defaults(arena);
    close_whole(&arena);
}

Test(arena, no_configuration_is_the_zeroed_one)
{
    struct weir_arena *arena = open_with(NULL);

    expect_defaults(arena);
    close_whole(&arena);
}

Test(arena, the_configuration_is_copied)
{
    char name[] = "receive";
    struct weir_arena_config config = { .name = name, .block_count = 1 };
    struct weir_arena *arena = open_with(&config);

    memset(name, 'x', sizeof name);
    memset(&config, 0xff, sizeof config);

    expect_text(stats_of(arena).name, "receive");
    cr_assert(eq(u64, stats_of(arena).block_count, 1));
    close_whole(&arena);
}

Test(arena, a_name_is_printable_ascii)
{
    static const char *const names[] = { "two\nlines", "bell\a", "del\x7f",
        "caf\xc3\xa9", "\xff" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct weir_arena *arena = NULL;
        struct weir_arena_config config = { .name = names[i] };
        cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_INVALID));
        cr_assert(eq(ptr, arena, NULL));
    }
}

Test(arena, a_name_has_at_most_31_bytes)
{
    struct weir_arena_config config = { .block_count = 1 };

    config.name = "1234567890123456789012345678901";
    struct weir_arena *arena = open_with(&config);
    expect_text(stats_of(arena).name, config.name);
    close_whole(&arena);

    config.name = "12345678901234567890123456789012";
    expect_refused(&config, WEIR_INVALID);
    config.name = "";
    arena = open_with(&config);
    expect_text(stats_of(arena).name, "");
    close_whole(&arena);
}

struct counts {
    size_t bytes;
    size_t block_size;
    size_t block_align;
    size_t block_count; /* that come of it; 0: refused */
};

ParameterizedTestParameters(arena, has_exactly_bytes_by_block_size_blocks)
{
    static struct counts counts[] = {
        { 0, 0, 0, 1024 },
        { 4096, 0, 0, 1 },
        { 4095, 0, 0, 0 },
        { 8191, 0, 0, 1 },
        { 1, 1, 1, 1 },
        { 64, 1, 0, 1 },
        { 63, 1, 0, 0 },
        { 100000, 100, 0, 781 },
        { 100000, 100, 4, 1000 },
        { 1 << 20, 2048, 0, 512 },
        { 1 << 20, 2048, 4096, 256 },
        { 2 << 20, 5000, 2 << 20, 1 },
        { 0, 4 << 20, 0, 1 },
        { 0, (4 << 20) + 1, 0, 0 },
    };
    return cr_make_param_array(
        struct counts, counts, sizeof counts / sizeof counts[0]);
}

ParameterizedTest(
    struct counts *counts, arena, has_exactly_bytes_by_block_size_blocks)
{
    struct weir_arena_config config = {
        .bytes = counts->bytes,
        .block_size = counts->block_size,
        .block_align = counts->block_align,
    };
    if (counts->block_count == 0) {
        expect_refused(&config, WEIR_INVALID);
        return;
    }

    struct weir_arena *arena = open_with(&config);

    struct weir_stats stats = stats_of(arena);
    size_t align = counts->block_align == 0 ? 64 : counts->block_align;
    cr_assert(eq(u64, stats.block_count, counts->block_count));
    cr_assert(eq(u64, stats.block_size % align, 0));
    cr_assert(ge(u64, stats.block_size, counts->block_size));
    close_whole(&arena);
}

Test(arena, bytes_and_block_count_together_are_invalid)
{
    struct weir_arena_config config = { .bytes = 8192, .block_count = 2 };

    expect_refused(&config, WEIR_INVALID);
}

Test(arena, an_alignment_that_is_no_power_of_two_is_invalid)
{
    static const size_t aligns[] = { 3, 65, 96, HUGE - 1, HUGE + 1, SIZE_MAX };

    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++)
        expect_refused(&(struct weir_arena_config){ .block_align = aligns[i] },
            WEIR_INVALID);
}

Test(arena, an_alignment_above_2_mib_is_invalid)
{
    expect_refused(
        &(struct weir_arena_config){ .block_align = 2 * HUGE }, WEIR_INVALID);
    expect_refused(
        &(struct weir_arena_config){ .block_align = (size_t)1 << 63 },
        WEIR_INVALID);
}

Test(arena, sizes_near_the_largest_are_refused_and_never_wrap)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 62,
        SIZE_MAX - 63, SIZE_MAX - 64, ((size_t)1 << 63) + 1, (size_t)1 << 63,
        (size_t)1 << 62 };
    static const size_t aligns[] = { 0, 1, PAGE, HUGE };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t j = 0; j < sizeof aligns / sizeof aligns[0]; j++) {
            size_t size = sizes[i];
            size_t align = aligns[j];
            expect_refused(&(struct weir_arena_config){ .block_size = size,
                               .block_align = align },
                WEIR_INVALID);
            expect_refused(&(struct weir_arena_config){ .block_size = size,
                               .block_count = 1,
                               .block_align = align },
                WEIR_INVALID);
            expect_refused(&(struct weir_arena_config){ .block_count = size,
                               .block_align = align },
                WEIR_INVALID);
            expect_refused(&(struct weir_arena_config){ .bytes = size,
                               .block_align = align },
                WEIR_INVALID);
            expect_refused(
                &(struct weir_arena_config){
                    .bytes = size, .block_size = size, .block_align = align },
                WEIR_INVALID);
        }
    }
}

Test(arena, a_block_above_32_bits_is_invalid)
{
    struct weir_arena_config config = { .block_size = (size_t)UINT32_MAX + 1,
        .block_count = 1 };
    expect_refused(&config, WEIR_INVALID);

    config.block_size = UINT32_MAX;
    expect_refused(&config, WEIR_INVALID);
    config.block_align = 1;
    struct weir_arena *arena = open_with(&config);

    cr_assert(eq(u64, stats_of(arena).block_size, UINT32_MAX));
    struct weir_buf buf;
    cr_assert(eq(int, weir_arena_alloc(arena, UINT32_MAX, &buf), WEIR_OK));
    cr_assert(eq(sz, weir_buf_room(&buf), UINT32_MAX));
    weir_buf_drop(&buf);
    close_whole(&arena);
}

Test(arena, more_memory_than_there_is_is_refused_by_the_system)
{
    struct weir_arena_config config = { .block_size = (size_t)1 << 31,
        .block_count = UINT32_MAX - 64 };
    errno = 0;
    struct weir_arena *arena = NULL;

    enum weir_status status = weir_arena_create(&config, &arena);
    int why = errno;

    cr_assert(eq(int, status, WEIR_SYSTEM));
    cr_assert(eq(int, why, ENOMEM));
    cr_assert(zero(ptr, arena));
}

Test(arena, what_is_not_known_is_unsupported)
{
    expect_refused(&(struct weir_arena_config){ .layout = (enum weir_layout)2 },
        WEIR_UNSUPPORTED);
    expect_refused(&(struct weir_arena_config){ .pages = (enum weir_pages)(
                                                    WEIR_PAGES_HUGE + 1) },
        WEIR_UNSUPPORTED);
    expect_refused(&(struct weir_arena_config){ .flags = WEIR_TRIM << 1 },
        WEIR_UNSUPPORTED);
    expect_refused(
        &(struct weir_arena_config){ .flags = 1u << 31 }, WEIR_UNSUPPORTED);
}

Test(arena, a_shorter_configuration_has_zeros_where_it_ends)
{
    struct weir_arena_config config = { .name = "short", .bytes = 8192 };
    memset((char *)&config + offsetof(struct weir_arena_config, block_align),
        0xff, sizeof config - offsetof(struct weir_arena_config, block_align));
    struct weir_arena *arena;

    enum weir_status status = weir_arena_create_sized(
        &config, offsetof(struct weir_arena_config, block_align), &arena);

    cr_assert(eq(int, status, WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).block_count, 2));
    expect_text(stats_of(arena).name, "short");
    close_whole(&arena);

    status = weir_arena_create_sized(&config, 0, &arena);
    cr_assert(eq(int, status, WEIR_OK));
    expect_defaults(arena);
    close_whole(&arena);
}

struct longer_config {
    struct weir_arena_config known;
    unsigned char unknown[24];
};

Test(arena, a_longer_configuration_may_have_zeros_only)
{
    struct longer_config config = { .known = { .bytes = 8192 } };
    struct weir_arena *arena = NULL;

    enum weir_status status =
        weir_arena_create_sized(&config.known, sizeof config, &arena);
    cr_assert(eq(int, status, WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).block_count, 2));
    close_whole(&arena);

    for (size_t i = 0; i < sizeof config.unknown; i++) {
        config.unknown[i] = 1;
        status = weir_arena_create_sized(&config.known, sizeof config, &arena);
        cr_assert(eq(int, status, WEIR_UNSUPPORTED));
        cr_assert(zero(ptr, arena));
        config.unknown[i] = 0;
    }
}

/* ---- Where blocks lie -------------------------------------------------- */

/* Takes all, checks each against the naive allocator, and gives all back. */
static void
expect_separate_blocks(struct weir_arena *arena, size_t align)
{
    struct weir_stats stats = stats_of(arena);
    size_t count = stats.block_count;
    struct weir_buf *bufs = calloc(count, sizeof *bufs);
    struct iovec memory;
    struct oracle oracle;
    weir_arena_memory(arena, &memory);
    oracle_init(&oracle, &memory, count);

    for (size_t i = 0; i < count; i++) {
        bufs[i] = take(arena);
        char *tail = weir_buf_tail(&bufs[i]);
        cr_assert(eq(sz, weir_buf_room(&bufs[i]), stats.block_size));
        cr_assert(eq(sz, (uintptr_t)tail % align, 0));
        cr_assert(oracle_take(&oracle, tail, stats.block_size));
        memset(tail, (int)i, stats.block_size);
    }
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    for (size_t i = 0; i < count; i++) {
        const unsigned char *bytes = weir_buf_tail(&bufs[i]);
        cr_assert(eq(u8, bytes[0], (unsigned char)i));
        cr_assert(eq(u8, bytes[stats.block_size - 1], (unsigned char)i));
        cr_assert(oracle_give(&oracle, bytes));
        weir_buf_drop(&bufs[i]);
    }
    oracle_fini(&oracle);
    free(bufs);
}

ParameterizedTestParameters(arena, blocks_are_aligned_and_never_overlap)
{
    static struct counts counts[] = {
        { 0, 1, 1, 100 },
        { 0, 100, 4, 65 },
        { 0, 64, 64, 1 },
        { 0, 1024, 0, 100 },
        { 0, 2048, 0, 63 },
        { 0, 4096, 0, 64 },
        { 0, 4096, 4096, 65 },
        { 0, 1500, 2048, 129 },
        { 0, 9000, 0, 20 },
        { 0, 100, 2 << 20, 3 },
    };
    return cr_make_param_array(
        struct counts, counts, sizeof counts / sizeof counts[0]);
}

ParameterizedTest(
    struct counts *counts, arena, blocks_are_aligned_and_never_overlap)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = counts->block_size,
        .block_align = counts->block_align,
        .block_count = counts->block_count,
    });
    size_t align = counts->block_align == 0 ? 64 : counts->block_align;

    expect_separate_blocks(arena, align);
    expect_separate_blocks(arena, align);

    close_whole(&arena);
}

Test(arena, starts_of_blocks_are_spread_over_the_cache_sets)
{
    struct weir_arena *arena = open_arena(4096, 64);
    struct weir_buf bufs[64];
    uint64_t sets = 0;

    for (size_t i = 0; i < 64; i++) {
        bufs[i] = take(arena);
        sets |= UINT64_C(1) << (uintptr_t)weir_buf_tail(&bufs[i]) / 64 % 64;
    }
    struct iovec memory;
    weir_arena_memory(arena, &memory);

    cr_assert(eq(u64, sets, UINT64_MAX));
    cr_assert(le(sz, memory.iov_len, 64 * 4096 / 16 * 17));
    for (size_t i = 0; i < 64; i++)
        weir_buf_drop(&bufs[i]);
    close_whole(&arena);
}

Test(arena, blocks_aligned_to_a_page_lie_next_to_each_other)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = 8192, .block_count = 100, .block_align = PAGE });
    struct iovec memory;

    weir_arena_memory(arena, &memory);

    cr_assert(eq(sz, memory.iov_len, 100 * 8192));
    cr_assert(eq(sz, (uintptr_t)memory.iov_base % PAGE, 0));
    close_whole(&arena);
}

Test(arena, memory_is_the_range_from_the_first_block_to_the_last)
{
    struct weir_arena *arena = open_arena(4096, 3);
    struct weir_buf bufs[3];
    uintptr_t first = UINTPTR_MAX;
    uintptr_t end = 0;
    for (size_t i = 0; i < 3; i++) {
        bufs[i] = take(arena);
        uintptr_t start = (uintptr_t)weir_buf_tail(&bufs[i]);
        first = start < first ? start : first;
        end = start + 4096 > end ? start + 4096 : end;
    }

    struct iovec memory;
    weir_arena_memory(arena, &memory);

    cr_assert(eq(sz, (uintptr_t)memory.iov_base, first));
    cr_assert(eq(sz, memory.iov_len, end - first));
    for (size_t i = 0; i < 3; i++)
        weir_buf_drop(&bufs[i]);
    close_whole(&arena);
}

Test(arena, the_memory_is_guarded_and_has_no_books_in_it)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = PAGE, .block_count = 16, .block_align = PAGE });
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    char *bytes = memory.iov_base;

    memset(bytes, 0xff, memory.iov_len);

    cr_assert(not(is_readable(bytes - 1)));
    cr_assert(not(is_readable(bytes + memory.iov_len)));
    weir_arena_check(arena);
    expect_separate_blocks(arena, PAGE);
    close_whole(&arena);
}

Test(arena, books_take_at_most_9_bytes_and_a_fifth_a_block)
{
    static const size_t counts[] = { 100000, 1 << 20 };

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct weir_arena *arena = open_arena(64, counts[i]);
        double meta = (double)stats_of(arena).meta_bytes;
        cr_assert(le(dbl, meta - PAGE, 9.2 * (double)counts[i]));
        close_whole(&arena);
    }
}

/* ---- Memory of the caller's -------------------------------------------- */

enum { SENTINEL = 0xa5 };

static _Alignas(4096) unsigned char own_memory[16 * PAGE];

static void
expect_untouched(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        cr_assert(eq(u8, bytes[i], SENTINEL), "byte %zu was written", i);
}

static void
count_call(void *user)
{
    int *calls = user;
    (*calls)++;
}

Test(arena, memory_of_the_callers_is_never_written_and_never_freed)
{
    int calls = 0;
    memset(own_memory, SENTINEL, sizeof own_memory);
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .bytes = sizeof own_memory,
        .block_size = 1000,
        .memory = own_memory,
        .on_unmapped = count_call,
        .user = &calls,
    });
    expect_untouched(own_memory, sizeof own_memory);

    struct weir_buf bufs[64];
    for (size_t i = 0; i < 64; i++)
        bufs[i] = take(arena);
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    for (size_t i = 0; i < 64; i++)
        weir_buf_drop(&bufs[i]);
    weir_arena_check(arena);
    close_whole(&arena);

    cr_assert(eq(int, calls, 1));
    expect_untouched(own_memory, sizeof own_memory);
}

Test(arena, memory_of_the_callers_is_used_from_end_to_end)
{
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .bytes = sizeof own_memory, .memory = own_memory });
    struct iovec memory;

    weir_arena_memory(arena, &memory);

    cr_assert(eq(ptr, memory.iov_base, own_memory));
    cr_assert(eq(sz, memory.iov_len, sizeof own_memory));
    expect_separate_blocks(arena, 64);
    close_whole(&arena);
}

Test(arena, what_is_left_of_the_callers_memory_is_left_alone)
{
    memset(own_memory, SENTINEL, sizeof own_memory);
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .bytes = 3 * PAGE - 1, .memory = own_memory });

    cr_assert(eq(u64, stats_of(arena).block_count, 2));
    expect_separate_blocks(arena, 64);

    expect_untouched(own_memory + 2 * PAGE, sizeof own_memory - 2 * PAGE);
    close_whole(&arena);
}

Test(arena, memory_of_the_callers_may_be_counted_in_blocks)
{
    struct weir_arena *arena = open_with(
        &(struct weir_arena_config){ .block_count = 16, .memory = own_memory });

    expect_separate_blocks(arena, 64);

    close_whole(&arena);
}

Test(arena, memory_of_the_callers_needs_a_size)
{
    expect_refused(
        &(struct weir_arena_config){ .memory = own_memory }, WEIR_INVALID);
    expect_refused(
        &(struct weir_arena_config){
            .memory = own_memory, .bytes = 100, .block_size = 101 },
        WEIR_INVALID);
}

Test(arena, memory_of_the_callers_must_be_aligned)
{
    expect_refused(
        &(struct weir_arena_config){
            .memory = own_memory + 1, .bytes = PAGE, .block_size = 64 },
        WEIR_INVALID);
    expect_refused(&(struct weir_arena_config){ .memory = own_memory + 64,
                       .bytes = PAGE,
                       .block_size = 64,
                       .block_align = 128 },
        WEIR_INVALID);
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .memory = own_memory + 1,
        .bytes = PAGE,
        .block_size = 64,
        .block_align = 1,
    });
    expect_separate_blocks(arena, 1);
    close_whole(&arena);
}

Test(arena, memory_of_the_callers_must_not_go_past_the_address_space)
{
    void *last = (void *)(UINTPTR_MAX - PAGE + 1);

    expect_refused(
        &(struct weir_arena_config){ .memory = last, .bytes = 2 * PAGE },
        WEIR_INVALID);
    expect_refused(
        &(struct weir_arena_config){
            .memory = last, .block_size = PAGE, .block_count = 2 },
        WEIR_INVALID);
}

Test(arena, memory_of_the_callers_is_prepared_by_the_caller)
{
    struct weir_arena_config config = { .memory = own_memory,
        .bytes = sizeof own_memory };

    config.flags = WEIR_PREFAULT;
    expect_refused(&config, WEIR_INVALID);
    config.flags = WEIR_LOCK;
    expect_refused(&config, WEIR_INVALID);
    config.flags = 0;
    config.pages = WEIR_PAGES_HUGE_IF_FREE;
    expect_refused(&config, WEIR_INVALID);
    config.pages = WEIR_PAGES_HUGE;
    expect_refused(&config, WEIR_INVALID);
}

/* ---- Pages ------------------------------------------------------------- */

static size_t
resident_pages(struct weir_arena *arena)
{
    static unsigned char pages[4096];
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    size_t count = (memory.iov_len + PAGE - 1) / PAGE;
    cr_assert(le(sz, count, sizeof pages));
    cr_assert(zero(int, mincore(memory.iov_base, memory.iov_len, pages)));
    size_t resident = 0;
    for (size_t i = 0; i < count; i++)
        resident += pages[i] & 1;
    return resident;
}

Test(arena, nothing_is_touched_at_creation_unless_it_is_asked_for)
{
    struct weir_arena *lazy = open_with(NULL);
    struct weir_arena *eager =
        open_with(&(struct weir_arena_config){ .flags = WEIR_PREFAULT });

    struct iovec memory;
    weir_arena_memory(eager, &memory);

    unsigned char books[8];
    cr_assert(le(sz, eager->books.size / PAGE, sizeof books));
    cr_assert(zero(int, mincore(eager->books.base, eager->books.size, books)));
    for (size_t i = 0; i < eager->books.size / PAGE; i++)
        cr_assert(eq(int, books[i] & 1, 1));
    cr_assert(eq(sz, resident_pages(lazy), 0));
    cr_assert(eq(sz, resident_pages(eager), (memory.iov_len + 4095) / PAGE));
    close_whole(&lazy);
    close_whole(&eager);
}

Test(arena, locked_blocks_are_in_memory)
{
    struct rlimit limit;
    cr_assert(zero(int, getrlimit(RLIMIT_MEMLOCK, &limit)));
    if (under_asan())
        cr_skip_test("the sanitizer takes mlock for itself");
    if (geteuid() != 0 && limit.rlim_cur < 2 * PAGE)
        cr_skip_test("this user may not lock two pages");

    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .bytes = 2 * PAGE, .block_align = PAGE, .flags = WEIR_LOCK });

    cr_assert(eq(sz, resident_pages(arena), 2));
    close_whole(&arena);
}

Test(arena, blocks_that_cannot_be_locked_are_refused_by_the_system)
{
    if (under_asan())
        cr_skip_test("the sanitizer takes mlock for itself");
    struct rlimit none = { 0, 0 };
    cr_assert(zero(int, setrlimit(RLIMIT_MEMLOCK, &none)));
    give_up_privileges();
    struct weir_arena *arena = NULL;
    errno = 0;

    enum weir_status status = weir_arena_create(
        &(struct weir_arena_config){ .flags = WEIR_LOCK }, &arena);
    int why = errno;
    regain_privileges();

    cr_assert(eq(int, status, WEIR_SYSTEM));
    cr_assert(why == EPERM || why == ENOMEM, "errno was %d", why);
    cr_assert(zero(ptr, arena));
}

Test(arena, required_huge_pages_are_there_or_unsupported)
{
    struct weir_arena *arena = NULL;

    enum weir_status status = weir_arena_create(
        &(struct weir_arena_config){ .pages = WEIR_PAGES_HUGE }, &arena);

    if (status == WEIR_OK) {
        expect_separate_blocks(arena, 64);
        close_whole(&arena);
    } else {
        cr_assert(eq(int, status, WEIR_UNSUPPORTED));
        cr_assert(zero(ptr, arena));
    }
}

Test(arena, wished_huge_pages_never_fail_for_want_of_them)
{
    struct weir_arena *arena = open_with(
        &(struct weir_arena_config){ .pages = WEIR_PAGES_HUGE_IF_FREE });
    struct iovec memory;

    weir_arena_memory(arena, &memory);

    cr_assert(eq(sz, (uintptr_t)memory.iov_base % HUGE, 0));
    expect_separate_blocks(arena, 64);
    close_whole(&arena);
}

static long
mapped_pages(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    char line[128] = "";
    cr_assert(ne(ptr, file, NULL));
    cr_assert(ne(ptr, fgets(line, sizeof line, file), NULL));
    (void)fclose(file);
    return strtol(line, NULL, 10);
}

/* Creates with so much address space left; nothing may stay mapped. */
static void
expect_no_memory(const struct weir_arena_config *config, size_t left)
{
    struct rlimit old;
    struct weir_arena *arena = NULL;
    cr_assert(zero(int, getrlimit(RLIMIT_AS, &old)));
    long before = mapped_pages();
    struct rlimit tight = { (size_t)before * PAGE + left, old.rlim_max };

    cr_assert(zero(int, setrlimit(RLIMIT_AS, &tight)));
    errno = 0;
    enum weir_status status = weir_arena_create(config, &arena);
    int why = errno;
    cr_assert(zero(int, setrlimit(RLIMIT_AS, &old)));

    cr_assert(eq(int, status, WEIR_SYSTEM));
    cr_assert(eq(int, why, ENOMEM));
    cr_assert(zero(ptr, arena));
    cr_assert(eq(long, mapped_pages(), before));
}

Test(arena, no_memory_for_blocks_is_the_systems_refusal)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");

    expect_no_memory(
        &(struct weir_arena_config){ .bytes = 64 << 20 }, 32 << 20);
}

Test(arena, no_memory_for_books_is_the_systems_refusal_and_unmaps_the_blocks)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");

    expect_no_memory(
        &(struct weir_arena_config){ .bytes = 64 << 20, .block_size = 64 },
        66 << 20);
}

/* ---- The end ----------------------------------------------------------- */

Test(arena, a_closed_arena_hands_out_nothing_and_its_pointer_stays_good)
{
    struct weir_arena *arena = open_arena(64, 2);
    struct weir_buf held = take(arena);
    struct weir_buf buf;

    weir_arena_close(arena);
    weir_arena_close(arena);

    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_CLOSED));
    cr_assert(eq(int, weir_arena_alloc_barge(arena, 0, &buf), WEIR_CLOSED));
    cr_assert(eq(int, weir_buf_write(&held, "weir", 4), WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).blocks_out, 1));
    weir_buf_drop(&held);
    cr_assert(eq(int, ask(arena), WEIR_CLOSED));
    close_whole(&arena);
}

Test(arena, a_closed_full_arena_is_closed_and_not_full)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_buf held = take(arena);

    weir_arena_close(arena);

    cr_assert(eq(int, ask(arena), WEIR_CLOSED));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 0));
    weir_buf_drop(&held);
    close_whole(&arena);
}

Test(arena, destroying_nothing_is_fine)
{
    struct weir_arena *arena = NULL;

    weir_arena_destroy(&arena);

    cr_assert(zero(ptr, arena));
}

Test(arena, a_whole_arena_is_unmapped_when_it_is_destroyed)
{
    int calls = 0;
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .on_unmapped = count_call, .user = &calls });
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    const void *books = arena->books.mapping;
    size_t books_size = arena->books.mapping_size;
    cr_assert(eq(int, ask(arena), WEIR_OK));

    weir_arena_destroy(&arena);

    cr_assert(eq(int, calls, 1));
    cr_assert(zero(ptr, arena));
    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    cr_assert(not(is_mapped(books, books_size)));
    no_leaks();
}

Test(arena, bytes_outlive_their_arena_and_the_last_block_takes_it_along)
{
    int calls = 0;
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_count = 200, .on_unmapped = count_call, .user = &calls });
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    struct weir_buf buf = take(arena);
    struct weir_buf other = take(arena);
    struct weir_slice slice;
    struct weir_slice clone;
    cr_assert(eq(int, weir_buf_write(&buf, "weir", 4), WEIR_OK));

    weir_arena_destroy(&arena);

    weir_buf_freeze(&buf, &slice);
    weir_slice_clone(&slice, &clone);
    weir_slice_release(&slice);
    cr_assert(eq(int, calls, 0));
    cr_assert(zero(int, memcmp(weir_slice_data(&clone), "weir", 4)));
    weir_slice_release(&clone);
    cr_assert(eq(int, calls, 0));
    cr_assert(is_readable(weir_buf_tail(&other)));
    weir_buf_drop(&other);
    cr_assert(eq(int, calls, 1));
    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

Test(arena, blocks_come_home_to_a_destroyed_arena_in_any_order)
{
    enum { COUNT = 300 };
    struct prng prng = { 7 };
    struct weir_buf bufs[COUNT];

    for (int round = 0; round < 20; round++) {
        int calls = 0;
        struct weir_arena *arena = open_with(&(struct weir_arena_config){
            .block_size = 64,
            .block_count = COUNT,
            .on_unmapped = count_call,
            .user = &calls,
        });
        for (size_t i = 0; i < COUNT; i++)
            bufs[i] = take(arena);
        weir_arena_destroy(&arena);
        for (size_t left = COUNT; left > 0; left--) {
            size_t i = prng_below(&prng, left);
            cr_assert(eq(int, calls, 0));
            weir_buf_drop(&bufs[i]);
            bufs[i] = bufs[left - 1];
        }
        cr_assert(eq(int, calls, 1));
    }
    no_leaks();
}

struct ending {
    struct weir_buf buf;
    pthread_t thread;
    int calls;
};

static void
note_thread(void *user)
{
    struct ending *ending = user;
    ending->thread = pthread_self();
    ending->calls++;
}

static void *
drop_buf(void *user)
{
    weir_buf_drop(user);
    return NULL;
}

Test(arena, the_last_release_on_another_thread_unmaps_there)
{
    struct ending ending = { 0 };
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_count = 2, .on_unmapped = note_thread, .user = &ending });
    ending.buf = take(arena);

    weir_arena_destroy(&arena);
    cr_assert(eq(int, ending.calls, 0));
    pthread_t releaser = start_thread(drop_buf, &ending.buf);
    join_thread(releaser);

    cr_assert(eq(int, ending.calls, 1));
    cr_assert(ne(int, pthread_equal(ending.thread, releaser), 0));
    no_leaks();
}

static void
use_weir(void *user)
{
    struct weir_arena **arena = user;
    cr_assert(eq(int, weir_arena_create(NULL, arena), WEIR_OK));
    cr_assert(eq(int, ask(*arena), WEIR_OK));
}

Test(arena, on_unmapped_may_call_weir)
{
    struct weir_arena *next = NULL;
    struct weir_arena *arena = open_with(
        &(struct weir_arena_config){ .on_unmapped = use_weir, .user = &next });
    struct weir_buf held = take(arena);
    weir_arena_destroy(&arena);

    weir_buf_drop(&held);

    cr_assert(ne(ptr, next, NULL));
    close_whole(&next);
}

Test(arena, a_destroyed_arena_does_not_hold_up_the_next_one)
{
    struct weir_arena *first = open_arena(64, 4);
    struct weir_buf held = take(first);
    weir_arena_destroy(&first);
    struct weir_arena *second = open_arena(64, 4);
    struct weir_buf other = take(second);

    weir_buf_drop(&held);

    cr_assert(eq(u64, stats_of(second).blocks_out, 1));
    cr_assert(eq(u64, stats_of(second).releases, 0));
    weir_buf_drop(&other);
    close_whole(&second);
}

Test(arena, seventy_thousand_arenas_one_after_the_other_do_not_run_out)
{
    for (int i = 0; i < 70000; i++) {
        struct weir_arena *arena;
        struct weir_arena_config config = { .block_size = 64,
            .block_count = 1 };
        cr_assert(eq(int, weir_arena_create(&config, &arena), WEIR_OK));
        if (i % 100 == 0)
            cr_assert(eq(int, ask(arena), WEIR_OK));
        weir_arena_destroy(&arena);
    }
    no_leaks();
}

/* ---- Misuse ------------------------------------------------------------ */

Test(misuse, an_arena_destroyed_twice_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_arena *copy = arena;
    struct weir_buf held = take(arena);
    weir_arena_destroy(&arena);
    expect_misuse("weir: arena 'test': destroyed twice");

    weir_arena_destroy(&copy);
    weir_buf_drop(&held);
}

Test(
    misuse, an_arena_destroyed_again_after_it_is_gone_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_arena *copy = arena;
    weir_arena_destroy(&arena);
    expect_misuse("weir: arena 'test': destroyed twice");

    weir_arena_destroy(&copy);
}

Test(misuse, checking_an_arena_that_is_gone_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_arena *copy = arena;
    weir_arena_destroy(&arena);
    expect_misuse("weir: invariant 1 of arena broken");

    weir_arena_check(copy);
}

Test(misuse, an_arena_destroyed_but_not_closed_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 1);
    expect_misuse("weir: invariant 2 of arena broken");

    wr_store_relaxed(&arena->state, WR_DESTROYED);
    weir_arena_check(arena);
}

Test(misuse, a_closed_arena_with_a_waiter_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_waiter waiter = { 0 };
    weir_arena_close(arena);
    expect_misuse("weir: invariant 2 of arena broken");
    weir_arena_check(arena);

    arena->first_waiter = &waiter;
    weir_arena_check(arena);
}

Test(misuse, a_free_block_with_references_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 100);
    expect_misuse("weir: arena 'test': block 77: invariant 3 of arena broken");
    weir_arena_check(arena);

    wr_store_relaxed(&arena->counts[77], 1);
    weir_arena_check(arena);
}

Test(misuse, an_arena_with_a_broken_bitmap_aborts, .signal = SIGABRT)
{
    struct weir_arena *arena = open_arena(64, 100);
    expect_misuse("weir: invariant 1 of bitmap broken");

    wr_store_relaxed(&arena->fixed.map.words[1], UINT64_MAX);
    weir_arena_check(arena);
}
