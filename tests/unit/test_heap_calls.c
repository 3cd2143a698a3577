/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "support/heap.h"

#include <sys/syscall.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Alignment --------------------------------------------------------- */

static const size_t aligned_sizes[] = { 1, 64, 100, 640, 4096, 5000, 65536,
    70000, 196608, 1 << 20, (1 << 20) + 1, 3 << 20 };

Test(heap_calls, every_alignment_up_to_2_mib_is_kept)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    for (size_t align = 1; align <= 2 * MIB; align *= 2)
        for (size_t i = 0; i < COUNT_OF(aligned_sizes); i++) {
            size_t size = aligned_sizes[i];
            void *pair[2];
            for (int k = 0; k < 2; k++) {
                cr_assert(eq(int,
                    weir_heap_alloc_aligned(heap, size, align, &pair[k]),
                    WEIR_OK));
                cr_assert(eq(sz, (uintptr_t)pair[k] % align, 0));
                (void)memset(pair[k], k + 1, size);
            }
            cr_assert(is_painted(pair[0], size, 1));
            cr_assert(eq(int, weir_heap_release_sized(heap, pair[0], size + 1),
                WEIR_SIZE_MISMATCH));
            cr_assert(
                eq(int, weir_heap_release_sized(heap, pair[0], size), WEIR_OK));
            let_go(heap, pair[1]);
        }

    close_heap(&heap);
}

Test(heap_calls, other_alignments_are_invalid)
{
    static const size_t aligns[] = { 0, 3, 63, 65, 96, 4095, (2 << 20) - 1,
        (2 << 20) + 1, 3 << 20, 4 << 20, (size_t)1 << 40, (size_t)1 << 63,
        SIZE_MAX };
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    void *memory = heap;

    for (size_t i = 0; i < COUNT_OF(aligns); i++)
        for (size_t size = 1; size <= 4 * MIB; size *= 2)
            cr_assert(
                eq(int, weir_heap_alloc_aligned(heap, size, aligns[i], &memory),
                    WEIR_INVALID));

    cr_assert(eq(ptr, memory, heap));
    close_heap(&heap);
}

/* All bases of regions are multiples of 2 MiB. */
Test(heap_calls, an_aligned_block_may_be_as_large_as_what_is_left)
{
    struct weir_heap *heap = open_heap(4 * MIB, 8 * MIB);
    void *held = get(heap, 4 * MIB);
    void *memory = NULL;

    enum weir_status status =
        weir_heap_alloc_aligned(heap, 4 * MIB, 2 * MIB, &memory);

    cr_assert(eq(int, status, WEIR_OK), "%s", weir_status_name(status));
    let_go(heap, held);
    let_go(heap, memory);
    close_heap(&heap);
}

Test(heap_calls, aligned_blocks_leave_what_they_do_not_use_to_others)
{
    struct weir_heap *heap = open_heap(4 * MIB, 4 * MIB);
    void *small;
    void *more[8];

    cr_assert(
        eq(int, weir_heap_alloc_aligned(heap, 64, 2 * MIB, &small), WEIR_OK));

    cr_assert(eq(sz, get_all(heap, 2 * MIB, more, 8), 1));
    cr_assert(eq(sz, get_all(heap, 1 * MIB, more + 1, 7), 1));
    let_all_go(heap, more, 2);
    let_go(heap, small);
    let_go(heap, get(heap, 4 * MIB));
    close_heap(&heap);
}

/* ---- Cleared memory ---------------------------------------------------- */

static void *
get_zeroed(struct weir_heap *heap, size_t size)
{
    void *memory = NULL;
    cr_assert(eq(int, weir_heap_alloc_zeroed(heap, size, &memory), WEIR_OK));
    cr_assert(is_painted(memory, size, 0), "%zu bytes are not cleared", size);
    return memory;
}

static void
change_nothing(struct weir_heap *heap)
{
    (void)heap;
}

static void (*const between[])(
    struct weir_heap *) = { change_nothing, weir_heap_flush, weir_heap_trim };

Test(heap_calls, zeroed_memory_is_zero_though_it_was_written_before)
{
    static const size_t sizes[] = { 1, 64, 100, 4096, 5000, 70000, 1 << 20,
        (1 << 20) + 1, 3 << 20, 20 << 20 };
    struct weir_heap *heap = open_heap(32 * MIB, 32 * MIB);

    for (size_t i = 0; i < COUNT_OF(sizes) * COUNT_OF(between); i++) {
        size_t size = sizes[i % COUNT_OF(sizes)];
        for (int round = 0; round < 3; round++) {
            void *memory = get_zeroed(heap, size);
            (void)memset(memory, 0xff, size);
            let_go(heap, memory);
            between[i / COUNT_OF(sizes)](heap);
        }
    }

    close_heap(&heap);
}

/* One half of the block went back to the system, one is what was left. */
Test(heap_calls, zeroed_memory_is_zero_when_only_a_part_was_written)
{
    struct weir_heap *heap = open_heap(8 * MIB, 8 * MIB);
    void *first = get(heap, 4 * MIB);
    void *second = get(heap, 4 * MIB);
    (void)memset(first, 0xff, 4 * MIB);
    (void)memset(second, 0xff, 4 * MIB);

    let_go(heap, second);
    weir_heap_trim(heap);
    let_go(heap, first);

    let_go(heap, get_zeroed(heap, 8 * MIB));
    close_heap(&heap);
}

Test(heap_calls, zeroed_memory_is_zero_where_a_block_shrank_or_grew)
{
    struct weir_heap *heap = open_heap(8 * MIB, 8 * MIB);
    char *memory = get(heap, 2 * MIB);

    cr_assert(eq(int, weir_heap_resize(heap, memory, 8 * MIB), WEIR_OK));
    (void)memset(memory, 0xff, 8 * MIB);
    cr_assert(eq(int, weir_heap_resize(heap, memory, 2 * MIB), WEIR_OK));

    void *tail = get_zeroed(heap, 6 * MIB);
    let_go(heap, memory);
    let_go(heap, tail);
    let_go(heap, get_zeroed(heap, 8 * MIB));
    close_heap(&heap);
}

/* The system keeps memory that is locked, whatever it is told (madvise(2)). The
   sanitizer takes mlock for itself, hence syscall. */
Test(heap_calls, zeroed_memory_is_zero_though_its_pages_were_locked)
{
    struct weir_heap *heap = open_heap(8 * MIB, 8 * MIB);
    char *secret = get(heap, 2 * MIB);
    (void)memset(secret, 0xff, 2 * MIB);
    if (syscall(SYS_mlock, secret, 4096) != 0)
        cr_skip_test("this user may not lock a page");

    let_go(heap, secret);
    weir_heap_trim(heap);

    let_go(heap, get_zeroed(heap, 2 * MIB));
    close_heap(&heap);
}

/* ---- Resizing ---------------------------------------------------------- */

static void
expect_resized(struct weir_heap *heap, void *memory, size_t size)
{
    size_t usable = 0;
    enum weir_status status = weir_heap_resize(heap, memory, size);
    cr_assert(
        eq(int, status, WEIR_OK), "to %zu: %s", size, weir_status_name(status));
    cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_OK));
    cr_assert(ge(sz, usable, size));
}

Test(heap_calls, a_small_block_is_resized_within_its_class)
{
    static const size_t sizes[] = { 1, 65, 257, 4097, 65537, 70000, 900000 };
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    size_t usable;

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = sizes[i];
        char *memory = get(heap, size);
        (void)memset(memory, 3, size);
        cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_OK));
        expect_resized(heap, memory, usable);
        (void)memset(memory, 3, usable);
        cr_assert(
            eq(int, weir_heap_resize(heap, memory, usable + 1), WEIR_NO_ROOM));
        cr_assert(
            eq(int, weir_heap_resize(heap, memory, SIZE_MAX), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_heap_resize(heap, memory, 0), WEIR_INVALID));
        cr_assert(is_painted(memory, usable, 3));
        expect_resized(heap, memory, 1);
        cr_assert(eq(int, weir_heap_release_sized(heap, memory, usable),
            WEIR_SIZE_MISMATCH));
        cr_assert(eq(int, weir_heap_release_sized(heap, memory, 1), WEIR_OK));
    }

    close_heap(&heap);
}

Test(heap_calls, a_large_block_grows_into_the_free_pages_behind_it)
{
    struct weir_heap *heap = open_heap(16 * MIB, 16 * MIB);
    char *memory = get(heap, 2 * MIB);
    (void)memset(memory, 3, 2 * MIB);
    void *behind = get(heap, 2 * MIB);
    cr_assert(eq(ptr, behind, memory + 2 * MIB));
    uint64_t unused = numbers_of(heap).bytes_unused;

    cr_assert(
        eq(int, weir_heap_resize(heap, memory, 2 * MIB + 1), WEIR_NO_ROOM));
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, unused));
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, 2 * MIB + 1),
        WEIR_SIZE_MISMATCH));
    let_go(heap, behind);
    expect_resized(heap, memory, 2 * MIB + 1);
    cr_assert(eq(u64, numbers_of(heap).large_bytes, 2 * MIB + 64 * KIB));
    expect_resized(heap, memory, 16 * MIB);
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 0));
    cr_assert(is_painted(memory, 2 * MIB, 3));
    (void)memset(memory, 4, 16 * MIB);
    cr_assert(
        eq(int, weir_heap_resize(heap, memory, 16 * MIB + 1), WEIR_NO_ROOM));
    cr_assert(eq(int, weir_heap_resize(heap, memory, SIZE_MAX), WEIR_NO_ROOM));

    cr_assert(
        eq(int, weir_heap_release_sized(heap, memory, 16 * MIB), WEIR_OK));
    close_heap(&heap);
}

Test(heap_calls, a_large_block_that_shrinks_gives_its_tail_back)
{
    struct weir_heap *heap = open_heap(16 * MIB, 16 * MIB);
    char *memory = get(heap, 16 * MIB);
    void *blocks[16];
    (void)memset(memory, 3, 16 * MIB);

    expect_resized(heap, memory, 6 * MIB - 5);
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 10 * MIB));
    cr_assert(eq(u64, numbers_of(heap).large_bytes, 6 * MIB));
    cr_assert(eq(int, weir_heap_resize(heap, memory, 0), WEIR_INVALID));
    cr_assert(eq(sz, get_all(heap, 1 * MIB, blocks, 16), 10));
    cr_assert(is_painted(memory, 6 * MIB - 5, 3));
    expect_resized(heap, memory, 100);
    cr_assert(eq(u64, numbers_of(heap).large_bytes, 64 * KIB));
    cr_assert(is_painted(memory, 100, 3));

    let_all_go(heap, blocks, 10);
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, 100), WEIR_OK));
    let_go(heap, get(heap, 16 * MIB));
    close_heap(&heap);
}

Test(heap_calls, a_pointer_into_the_tail_that_went_is_no_block)
{
    struct weir_heap *heap = open_heap(16 * MIB, 16 * MIB);
    char *memory = get(heap, 16 * MIB);
    expect_resized(heap, memory, 2 * MIB);

    cr_assert(ne(int, weir_heap_release(heap, memory + 2 * MIB), WEIR_OK));
    cr_assert(ne(int, weir_heap_release(heap, memory + 4 * MIB), WEIR_OK));
    weir_heap_check(heap);

    let_go(heap, memory);
    close_heap(&heap);
}
