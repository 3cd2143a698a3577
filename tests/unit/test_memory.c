/* SPDX-License-Identifier: MIT */
#include "platform/memory.h"

#include "base/bits.h"
#include "support/unit.h"

#include <signal.h>

static const size_t sizes[] = { 1, 63, 64, 65, 4096, 100000 };

Test(memory, what_is_allocated_starts_at_a_cache_line)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *bytes = wr_memory_alloc(sizes[i]);
        cr_assert(ne(ptr, bytes, NULL));
        cr_assert(eq(sz, (uintptr_t)bytes % WR_LINE_SIZE, 0));
        memset(bytes, 0xa5, sizes[i]);
        wr_memory_release(bytes);
    }
    no_leaks();
}

Test(memory, what_is_asked_for_cleared_is_clear)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *dirty = wr_memory_alloc(sizes[i]);
        memset(dirty, 0xa5, sizes[i]);
        wr_memory_release(dirty);

        char *bytes = wr_memory_alloc_zeroed(sizes[i]);
        cr_assert(ne(ptr, bytes, NULL));
        for (size_t at = 0; at < sizes[i]; at++)
            cr_assert(eq(chr, bytes[at], 0));
        wr_memory_release(bytes);
    }
    no_leaks();
}

Test(memory, releasing_null_does_nothing)
{
    wr_memory_release(NULL);
}

Test(memory, what_cannot_be_had_is_null_and_errno_says_so)
{
    if (under_asan())
        cr_skip_test("the sanitizer aborts where malloc fails");

    errno = 0;
    void *dirty = wr_memory_alloc(SIZE_MAX / 2);
    int why_dirty = errno;
    errno = 0;
    void *zeroed = wr_memory_alloc_zeroed((size_t)1 << 62);
    int why_zeroed = errno;

    cr_assert(zero(ptr, dirty));
    cr_assert(eq(int, why_dirty, ENOMEM));
    cr_assert(zero(ptr, zeroed));
    cr_assert(eq(int, why_zeroed, ENOMEM));
}

#ifndef NDEBUG
Test(misuse, allocating_nothing_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: size > 0");

    (void)wr_memory_alloc(0);
}
#endif
