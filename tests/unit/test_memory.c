/* SPDX-License-Identifier: MIT */
#include "core/memory.h"

#include "base/bits.h"
#include "support/heap.h"

#include <signal.h>
#include <stdlib.h>

static const size_t sizes[] = { 1, 63, 64, 65, 4096, 100000, 2 << 20 };

Test(memory, what_is_allocated_starts_at_a_cache_line)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *bytes = wr_memory_alloc(sizes[i]);
        cr_assert(ne(ptr, bytes, NULL));
        cr_assert(eq(sz, (uintptr_t)bytes % WR_LINE_SIZE, 0));
        memset(bytes, 0xa5, sizes[i]);
        wr_memory_release(bytes, "it");
    }
    no_leaks();
}

Test(memory, what_is_asked_for_cleared_is_clear)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *dirty = wr_memory_alloc(sizes[i]);
        memset(dirty, 0xa5, sizes[i]);
        wr_memory_release(dirty, "it");

        char *bytes = wr_memory_alloc_zeroed(sizes[i]);
        cr_assert(ne(ptr, bytes, NULL));
        for (size_t at = 0; at < sizes[i]; at++)
            cr_assert(eq(chr, bytes[at], 0));
        wr_memory_release(bytes, "it");
    }
    no_leaks();
}

Test(memory, releasing_null_does_nothing)
{
    wr_memory_release(NULL, "nothing");
}

Test(memory, what_cannot_be_had_is_null_and_errno_says_so)
{
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

Test(memory, all_of_it_is_the_default_heaps)
{
    struct weir_heap *heap = weir_heap_default();
    void *bytes = wr_memory_alloc(100);
    void *zeroed = wr_memory_alloc_zeroed(3 << 20);

    cr_assert(eq(u64, live_blocks(heap), 2));
    let_go(heap, bytes);
    wr_memory_release(zeroed, "it");

    cr_assert(zero(u64, live_blocks(heap)));
    weir_heap_check(heap);
}

Test(memory, it_is_known_what_is_out)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *bytes = wr_memory_alloc(sizes[i]);
        cr_assert(eq(int, wr_memory_state(bytes), WEIR_OK));
        cr_assert(eq(int, wr_memory_state(bytes + 1), WEIR_FOREIGN));
        wr_memory_release(bytes, "it");
        cr_assert(eq(int, wr_memory_state(bytes), WEIR_ALREADY_RELEASED));
    }

    cr_assert(eq(int, wr_memory_state(sizes), WEIR_FOREIGN));
}

/* ---- Leak checkers ----------------------------------------------------- */

enum { MANY = 3 * WEIR_CHAIN_INLINE, BYTES = 1000 };

static struct weir_chain kept;

static void
free_both(const void *bytes, size_t n, void *user)
{
    (void)n;
    free((void *)(uintptr_t)bytes);
    free(user);
}

/* What points to them lies in the chain's array, and in control blocks. */
static void *
keep_foreign(void *unused)
{
    for (int i = 0; i < MANY; i++) {
        struct weir_slice slice;
        void *bytes = malloc(BYTES);
        cr_assert(eq(int,
            weir_slice_foreign(bytes, BYTES, free_both, malloc(BYTES), &slice),
            WEIR_OK));
        cr_assert(eq(int, weir_chain_push(&kept, &slice), WEIR_OK));
    }
    return unused;
}

/* On another thread, lest its stack points to something. */
Test(memory, what_books_of_the_library_point_to_is_no_leak)
{
    on_thread(keep_foreign, NULL);

    no_leaks_of_malloc();

    weir_chain_release(&kept);
    no_leaks();
}

/* ---- Misuse ------------------------------------------------------------ */

Test(misuse, releasing_memory_twice_aborts, .signal = SIGABRT)
{
    char *bytes = wr_memory_alloc(100);
    wr_memory_release(bytes, "a thing");
    expect_misuse("weir: a thing was released twice");

    wr_memory_release(bytes, "a thing");
}

Test(misuse, releasing_large_memory_twice_aborts, .signal = SIGABRT)
{
    char *bytes = wr_memory_alloc(3 << 20);
    wr_memory_release(bytes, "a thing");
    expect_misuse("weir: a thing was released twice");

    wr_memory_release(bytes, "a thing");
}

Test(misuse, releasing_memory_of_somebody_else_aborts, .signal = SIGABRT)
{
    static char bytes[64];
    expect_misuse("weir: a thing was released that is not there");

    wr_memory_release(bytes, "a thing");
}

#ifndef NDEBUG
Test(misuse, allocating_nothing_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: size > 0");

    (void)wr_memory_alloc(0);
}
#endif
