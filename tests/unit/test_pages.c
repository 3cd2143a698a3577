/* SPDX-License-Identifier: MIT */
#include "platform/pages.h"

#include "support/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* How many pages of the process are mapped. */
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

static void
expect_zeroed(const struct wr_region *region)
{
    const char *bytes = region->base;
    for (size_t i = 0; i < region->size; i++)
        cr_assert(eq(chr, bytes[i], 0));
}

static void
expect_refused(size_t size, size_t align, enum wr_page_kind kind, int why)
{
    struct wr_region region = { .size = 7 };
    errno = 0;

    bool mapped = wr_pages_map(size, align, kind, &region);
    int was = errno;

    cr_assert(not(mapped));
    cr_assert(eq(int, was, why));
    cr_assert(eq(sz, region.size, 7));
    cr_assert(zero(ptr, region.base));
}

Test(pages, the_page_size_is_the_systems)
{
    cr_assert(eq(sz, wr_page_size(), (size_t)sysconf(_SC_PAGESIZE)));
}

Test(pages, a_region_is_zeroed_and_can_be_written_to_both_ends)
{
    size_t page = wr_page_size();
    static const size_t sizes[] = { 1, 4095, 4096, 4097, 100000 };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct wr_region region = { 0 };
        cr_assert(wr_pages_map(sizes[i], 64, WR_PAGES_NORMAL, &region));
        cr_assert(ge(sz, region.size, sizes[i]));
        cr_assert(lt(sz, region.size, sizes[i] + page));
        cr_assert(eq(sz, region.size % page, 0));
        expect_zeroed(&region);
        memset(region.base, 0xff, region.size);
        wr_pages_unmap(&region);
    }
}

Test(pages, a_region_starts_where_it_was_asked_to)
{
    for (size_t align = 1; align <= (size_t)64 << 20; align *= 2) {
        struct wr_region region;
        cr_assert(wr_pages_map(5000, align, WR_PAGES_NORMAL, &region));
        cr_assert(eq(sz, (uintptr_t)region.base % align, 0));
        memset(region.base, 0xff, region.size);
        wr_pages_unmap(&region);
    }
}

Test(pages, both_ends_of_a_region_are_guarded)
{
    static const size_t aligns[] = { 64, 4096, 2 << 20 };

    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        struct wr_region region;
        cr_assert(wr_pages_map(10000, aligns[i], WR_PAGES_NORMAL, &region));
        const char *first = region.base;
        const char *end = first + region.size;
        cr_assert(is_readable(first));
        cr_assert(is_readable(end - 1));
        cr_assert(is_mapped(first - 1, 1));
        cr_assert(is_mapped(end, 1));
        cr_assert(not(is_readable(first - 1)));
        cr_assert(not(is_readable(end)));
        wr_pages_unmap(&region);
    }
}

Test(pages, unmapping_leaves_nothing_of_it_and_clears_the_region)
{
    struct wr_region region;
    cr_assert(wr_pages_map(10000, 2 << 20, WR_PAGES_NORMAL, &region));
    struct wr_region was = region;

    wr_pages_unmap(&region);

    cr_assert(not(is_mapped(was.mapping, was.mapping_size)));
    cr_assert(zero(ptr, region.base));
    cr_assert(zero(ptr, region.mapping));
    cr_assert(zero(sz, region.size));
    cr_assert(zero(sz, region.mapping_size));
}

Test(pages, unmapping_a_zeroed_region_does_nothing)
{
    struct wr_region region = { 0 };

    wr_pages_unmap(&region);
    wr_pages_unmap(&region);

    cr_assert(zero(ptr, region.mapping));
}

Test(pages, sizes_that_overflow_are_refused)
{
    size_t page = wr_page_size();

    expect_refused(SIZE_MAX, 64, WR_PAGES_NORMAL, ENOMEM);
    expect_refused(SIZE_MAX - page + 2, 64, WR_PAGES_NORMAL, ENOMEM);
    expect_refused(SIZE_MAX - page + 1, 64, WR_PAGES_NORMAL, ENOMEM);
    expect_refused(SIZE_MAX - 3 * page + 1, 64, WR_PAGES_NORMAL, ENOMEM);
    expect_refused(SIZE_MAX - 4 * page + 1, 64, WR_PAGES_NORMAL, ENOMEM);
    expect_refused(SIZE_MAX - (2 << 20), 2 << 20, WR_PAGES_NORMAL, ENOMEM);
    expect_refused(SIZE_MAX, 64, WR_PAGES_HUGE, ENOMEM);
    expect_refused(SIZE_MAX / 2, (size_t)1 << 63, WR_PAGES_NORMAL, ENOMEM);
}

Test(pages, more_than_there_is_address_space_is_refused)
{
    expect_refused((size_t)1 << 60, 64, WR_PAGES_NORMAL, ENOMEM);
}

Test(pages, what_the_system_refuses_leaves_nothing_mapped)
{
    if (under_asan())
        cr_skip_test("the sanitizer needs its address space");
    struct rlimit old;
    struct rlimit tight;
    cr_assert(zero(int, getrlimit(RLIMIT_AS, &old)));
    tight = old;
    long before = mapped_pages();
    tight.rlim_cur = ((size_t)before + 1024) * wr_page_size();

    cr_assert(zero(int, setrlimit(RLIMIT_AS, &tight)));
    expect_refused((size_t)64 << 20, 64, WR_PAGES_NORMAL, ENOMEM);
    cr_assert(zero(int, setrlimit(RLIMIT_AS, &old)));

    cr_assert(eq(long, mapped_pages(), before));
}

Test(pages, mapping_and_unmapping_for_long_keeps_nothing)
{
    struct wr_region region;
    cr_assert(wr_pages_map(10000, 4096, WR_PAGES_NORMAL, &region));
    wr_pages_unmap(&region);
    long before = mapped_pages();

    for (int i = 0; i < 1000; i++) {
        cr_assert(wr_pages_map(10000, 4096, WR_PAGES_NORMAL, &region));
        wr_pages_unmap(&region);
    }

    cr_assert(eq(long, mapped_pages(), before));
}

/* How many pages of the region are in memory. */
static size_t
resident_pages(const struct wr_region *region)
{
    unsigned char pages[64];
    size_t page = wr_page_size();
    cr_assert(le(sz, region->size / page, sizeof pages));
    cr_assert(zero(int, mincore(region->base, region->size, pages)));
    size_t count = 0;
    for (size_t i = 0; i < region->size / page; i++)
        count += pages[i] & 1;
    return count;
}

Test(pages, prefaulting_touches_every_page_and_nothing_else_does)
{
    struct wr_region region;
    size_t page = wr_page_size();
    cr_assert(wr_pages_map(33 * page - 1, 64, WR_PAGES_NORMAL, &region));
    size_t before = resident_pages(&region);

    bool done = wr_pages_prefault(&region);

    cr_assert(done);
    cr_assert(eq(sz, before, 0));
    cr_assert(eq(sz, resident_pages(&region), 33));
    expect_zeroed(&region);
    wr_pages_unmap(&region);
}

Test(pages, prefaulting_what_is_not_there_fails)
{
    struct wr_region region;
    cr_assert(wr_pages_map(4096, 64, WR_PAGES_NORMAL, &region));
    struct wr_region gone = region;
    wr_pages_unmap(&region);
    errno = 0;

    bool done = wr_pages_prefault(&gone);
    int why = errno;

    cr_assert(not(done));
    cr_assert(eq(int, why, ENOMEM));
}

Test(pages, locking_a_page_is_possible)
{
    struct wr_region region;
    struct rlimit limit;
    if (under_asan())
        cr_skip_test("the sanitizer takes mlock for itself");
    cr_assert(zero(int, getrlimit(RLIMIT_MEMLOCK, &limit)));
    if (geteuid() != 0 && limit.rlim_cur < wr_page_size())
        cr_skip_test("this user may not lock a page");
    cr_assert(wr_pages_map(1, 64, WR_PAGES_NORMAL, &region));

    bool locked = wr_pages_lock(&region);

    cr_assert(locked);
    cr_assert(eq(sz, resident_pages(&region), 1));
    wr_pages_unmap(&region);
}

Test(pages, locking_more_than_allowed_fails)
{
    struct wr_region region;
    struct rlimit none = { 0, 0 };
    if (under_asan())
        cr_skip_test("the sanitizer takes mlock for itself");
    cr_assert(wr_pages_map(1 << 20, 64, WR_PAGES_NORMAL, &region));
    cr_assert(zero(int, setrlimit(RLIMIT_MEMLOCK, &none)));
    give_up_privileges();
    errno = 0;

    bool locked = wr_pages_lock(&region);
    int why = errno;
    regain_privileges();

    cr_assert(not(locked));
    cr_assert(why == EPERM || why == ENOMEM, "errno was %d", why);
    wr_pages_unmap(&region);
}

Test(pages, required_huge_pages_are_there_or_refused)
{
    struct wr_region region = { .size = 7 };
    long before = mapped_pages();
    errno = 0;

    bool mapped = wr_pages_map(100, 64, WR_PAGES_HUGE, &region);
    int why = errno;

    if (mapped) {
        cr_assert(eq(sz, (uintptr_t)region.base % WR_HUGE_PAGE_SIZE, 0));
        cr_assert(eq(sz, region.size, WR_HUGE_PAGE_SIZE));
        wr_pages_unmap(&region);
    } else {
        cr_assert(eq(int, why, ENOMEM));
        cr_assert(eq(sz, region.size, 7));
    }
    if (!under_asan())
        cr_assert(eq(long, mapped_pages(), before));
}

Test(pages, wished_huge_pages_never_fail_for_want_of_them)
{
    struct wr_region region;
    size_t size = WR_HUGE_PAGE_SIZE + 1;

    cr_assert(wr_pages_map(size, 64, WR_PAGES_HUGE_IF_FREE, &region));

    const char *end = (const char *)region.base + region.size;
    cr_assert(eq(sz, (uintptr_t)region.base % WR_HUGE_PAGE_SIZE, 0));
    cr_assert(eq(sz, region.size, 2 * WR_HUGE_PAGE_SIZE));
    cr_assert(is_readable(region.base));
    cr_assert(is_readable(end - 1));
    cr_assert(not(is_readable((const char *)region.base - 1)));
    cr_assert(not(is_readable(end)));
    struct wr_region was = region;
    wr_pages_unmap(&region);
    cr_assert(not(is_mapped(was.mapping, was.mapping_size)));
}

/* ---- Reserving --------------------------------------------------------- */

Test(pages, a_reserve_is_zeroed_aligned_and_can_be_written_to_both_ends)
{
    size_t page = wr_page_size();
    static const size_t sizes[] = { 1, 4095, 4096, 4097, 100000 };

    for (size_t align = 1; align <= (size_t)2 << 20; align *= 8)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct wr_region region = { 0 };
            cr_assert(wr_pages_reserve(sizes[i], align, &region));
            cr_assert(eq(sz, (uintptr_t)region.base % align, 0));
            cr_assert(ge(sz, region.size, sizes[i]));
            cr_assert(lt(sz, region.size, sizes[i] + page));
            cr_assert(eq(sz, region.size % page, 0));
            cr_assert(eq(sz, resident_pages(&region), 0));
            expect_zeroed(&region);
            memset(region.base, 0xff, region.size);
            wr_pages_unmap(&region);
        }
}

Test(pages, both_ends_of_a_reserve_are_guarded)
{
    static const size_t aligns[] = { 64, 4096, 2 << 20 };

    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        struct wr_region region;
        cr_assert(wr_pages_reserve(10000, aligns[i], &region));
        const char *first = region.base;
        const char *end = first + region.size;
        cr_assert(is_readable(first));
        cr_assert(is_readable(end - 1));
        cr_assert(is_mapped(first - 1, 1));
        cr_assert(is_mapped(end, 1));
        cr_assert(not(is_readable(first - 1)));
        cr_assert(not(is_readable(end)));
        struct wr_region was = region;
        wr_pages_unmap(&region);
        cr_assert(not(is_mapped(was.mapping, was.mapping_size)));
        cr_assert(zero(ptr, region.base));
    }
}

Test(pages, more_can_be_reserved_than_there_is_memory)
{
    struct wr_region region;
    size_t size = (size_t)1 << 40;

    cr_assert(wr_pages_reserve(size, 2 << 20, &region));

    char *bytes = region.base;
    bytes[0] = 1;
    bytes[size / 2] = 2;
    bytes[size - 1] = 3;
    cr_assert(eq(chr, bytes[size / 2], 2));
    wr_pages_unmap(&region);
}

static void
expect_no_reserve(size_t size, size_t align)
{
    struct wr_region region = { .size = 7 };
    errno = 0;

    bool reserved = wr_pages_reserve(size, align, &region);
    int why = errno;

    cr_assert(not(reserved));
    cr_assert(eq(int, why, ENOMEM));
    cr_assert(eq(sz, region.size, 7));
    cr_assert(zero(ptr, region.base));
}

Test(pages, a_reserve_that_cannot_be_is_refused)
{
    size_t page = wr_page_size();
    long before = mapped_pages();

    expect_no_reserve(SIZE_MAX, 64);
    expect_no_reserve(SIZE_MAX - page + 1, 64);
    expect_no_reserve(SIZE_MAX - 4 * page + 1, 64);
    expect_no_reserve(SIZE_MAX - (2 << 20), 2 << 20);
    expect_no_reserve(SIZE_MAX / 2, (size_t)1 << 63);
    expect_no_reserve((size_t)1 << 60, 64);

    if (!under_asan())
        cr_assert(eq(long, mapped_pages(), before));
}

Test(pages, what_is_discarded_is_not_resident_and_zero_when_touched)
{
    struct wr_region region;
    size_t page = wr_page_size();
    cr_assert(wr_pages_reserve(16 * page, 64, &region));
    unsigned char *bytes = region.base;
    memset(bytes, 0xff, region.size);
    cr_assert(eq(sz, resident_pages(&region), 16));

    wr_pages_discard(bytes + 4 * page, 8 * page);

    cr_assert(eq(sz, resident_pages(&region), 8));
    for (size_t i = 0; i < region.size; i += 64) {
        bool kept = i < 4 * page || i >= 12 * page;
        cr_assert(eq(int, bytes[i], kept ? 0xff : 0));
    }
    wr_pages_unmap(&region);
}

Test(misuse, unmapping_what_was_never_mapped_aborts, .signal = SIGABRT)
{
    struct wr_region region = { .mapping = (void *)1, .mapping_size = 4096 };
    expect_misuse("weir: the system refused to unmap an arena");

    wr_pages_unmap(&region);
}

#ifndef NDEBUG
Test(misuse, mapping_nothing_aborts, .signal = SIGABRT)
{
    struct wr_region region;
    expect_misuse("weir: assertion failed: size > 0*");

    (void)wr_pages_map(0, 64, WR_PAGES_NORMAL, &region);
}
#endif
