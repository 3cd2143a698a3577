/* SPDX-License-Identifier: MIT */
#include "platform/poison.h"

#include "support/heap.h"

#include <stdlib.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Without a sanitizer there are none of these, and little to see. */
int __asan_address_is_poisoned(const volatile void *memory)
    __attribute__((weak));

static bool
is_shut(const void *byte)
{
    return __asan_address_is_poisoned != NULL &&
           __asan_address_is_poisoned(byte) != 0;
}

/* Of `room` bytes just the first `size` are open. */
static void
expect_open(const char *memory, size_t size, size_t room)
{
    size_t wrong = 0;
    for (size_t i = 0; i < room; i++)
        wrong += is_shut(memory + i) != (i >= size);
    cr_assert(eq(sz, wrong, 0), "%zu of %zu", size, room);
}

static void
need_sanitizer(void)
{
    if (!wr_poison_is_on())
        cr_skip_test("there is no sanitizer that listens");
}

/* ---- Bytes ------------------------------------------------------------- */

Test(poison, without_a_sanitizer_nothing_happens)
{
    char bytes[64] = "bytes";
    if (under_asan())
        cr_skip_test("there is one");

    cr_assert(not(wr_poison_is_on()));
    wr_poison_open(bytes, 5, sizeof bytes);
    wr_poison_shut(bytes, sizeof bytes);
    wr_roots_add(bytes, sizeof bytes);
    wr_roots_remove(bytes, sizeof bytes);

    expect_text(bytes, "bytes");
}

Test(poison, just_the_bytes_that_may_be_used_are_open)
{
    char *memory = aligned_alloc(64, 256);
    need_sanitizer();

    for (size_t size = 0; size <= 256; size++) {
        wr_poison_shut(memory, 256);
        expect_open(memory, 0, 256);
        wr_poison_open(memory, size, 256);
        expect_open(memory, size, 256);
    }

    for (size_t from = 0; from <= 256; from += 37)
        for (size_t to = 0; to <= 256; to++) {
            wr_poison_open(memory, from, 256);
            wr_poison_open(memory, to, 256);
            expect_open(memory, to, 256);
        }
    wr_poison_open(memory, 256, 256);
    free(memory);
}

/* ---- Blocks ------------------------------------------------------------ */

static const size_t sizes[] = { 1, 7, 8, 9, 63, 64, 65, 100, 4096, 5000, 65536,
    70000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20 };

static size_t
room_of(size_t size)
{
    return size <= WR_CLASS_SMALL_MAX
               ? wr_class_size(wr_class_of(size))
               : (size + WR_PAGE_BYTES - 1) / WR_PAGE_BYTES * WR_PAGE_BYTES;
}

Test(poison, a_block_is_open_as_far_as_it_was_asked_for_while_it_is_out)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);

    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            char *memory = get(heap, sizes[i]);
            expect_open(memory, sizes[i], room_of(sizes[i]));
            let_go(heap, memory);
            expect_open(memory, 0, room_of(sizes[i]));
            weir_heap_trim(heap);
            expect_open(memory, 0, room_of(sizes[i]));
        }

    close_heap(&heap);
}

/* Though nothing there was ever released. */
Test(poison, what_lies_between_blocks_is_shut)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    char *memory = get(heap, 192);

    expect_open(memory, 192, 64 * KIB);
    expect_open(get(heap, 192), 192, 32 * KIB);

    weir_heap_destroy(&heap);
}

Test(poison, every_way_to_get_a_block_opens_it)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *zeroed;
        void *aligned;
        cr_assert(
            eq(int, weir_heap_alloc_zeroed(heap, sizes[i], &zeroed), WEIR_OK));
        expect_open(zeroed, sizes[i], room_of(sizes[i]));
        cr_assert(eq(int,
            weir_heap_alloc_aligned(heap, sizes[i], 4096, &aligned), WEIR_OK));
        expect_open(aligned, sizes[i], sizes[i]);
        let_go(heap, zeroed);
        let_go(heap, aligned);
    }

    char *memory = weir_alloc(100);
    expect_open(memory, 100, 128);
    cr_assert(eq(int, weir_release(memory), WEIR_OK));
    expect_open(memory, 0, 128);
    close_heap(&heap);
}

Test(poison, a_resize_moves_the_end)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    char *small = get(heap, 5000);
    char *large = get(heap, 3 * MIB);

    for (size_t size = 1; size <= 5120; size += 319) {
        cr_assert(eq(int, weir_heap_resize(heap, small, size), WEIR_OK));
        expect_open(small, size, 5120);
    }
    for (size_t size = 6 * MIB; size > 70000; size -= size / 3 + 5) {
        cr_assert(eq(int, weir_heap_resize(heap, large, size), WEIR_OK));
        expect_open(large, size, 6 * MIB);
    }
    cr_assert(eq(int, weir_heap_resize(heap, large, 6 * MIB), WEIR_OK));
    expect_open(large, 6 * MIB, 6 * MIB);

    let_go(heap, small);
    let_go(heap, large);
    close_heap(&heap);
}

Test(poison, who_asks_how_much_a_block_can_hold_may_use_it)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t usable = 0;
        char *memory = get(heap, sizes[i]);
        cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_OK));
        cr_assert(eq(sz, usable, room_of(sizes[i])));
        expect_open(memory, usable, usable);
        let_go(heap, memory);
        expect_open(memory, 0, usable);
    }

    close_heap(&heap);
}

Test(poison, a_call_that_is_refused_opens_and_shuts_nothing)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = sizes[i];
        size_t usable;
        char *memory = get(heap, size);
        cr_assert(eq(int, weir_heap_release_sized(heap, memory, size + 1),
            WEIR_SIZE_MISMATCH));
        cr_assert(
            eq(int, weir_heap_resize(heap, memory, 32 * MIB), WEIR_NO_ROOM));
        cr_assert(eq(int, weir_heap_resize(heap, memory, 0), WEIR_INVALID));
        cr_assert(eq(int, weir_heap_release(heap, memory + 1), WEIR_FOREIGN));
        expect_open(memory, size, room_of(size));
        let_go(heap, memory);
        cr_assert(
            eq(int, weir_heap_release(heap, memory), WEIR_ALREADY_RELEASED));
        cr_assert(eq(
            int, weir_heap_resize(heap, memory, size), WEIR_ALREADY_RELEASED));
        cr_assert(eq(int, weir_heap_usable(heap, memory, &usable),
            WEIR_ALREADY_RELEASED));
        expect_open(memory, 0, room_of(size));
    }

    close_heap(&heap);
}

static void *
release_there(void *user)
{
    void **held = user;
    let_go(held[0], held[1]);
    return NULL;
}

Test(poison, a_block_is_shut_by_whatever_thread_releases_it)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *held[] = { heap, get(heap, sizes[i]) };
        on_thread(release_there, held);
        expect_open(held[1], 0, room_of(sizes[i]));
    }

    close_heap(&heap);
}

Test(poison, a_heap_that_ended_leaves_nothing_shut)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    const char *small = get(heap, 100);
    const char *large = get(heap, 7 * MIB);
    const char *other = get(heap, 16 * MIB);
    cr_assert(is_shut(small + 100));

    weir_heap_destroy(&heap);

    expect_open(small, 64 * KIB, 64 * KIB);
    expect_open(large, 7 * MIB, 7 * MIB);
    expect_open(other, 16 * MIB, 16 * MIB);
}

/* ---- Leaks ------------------------------------------------------------- */

Test(poison, what_only_a_block_that_is_out_knows_of_is_no_leak)
{
    need_sanitizer();
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    void **blocks[COUNT_OF(sizes)] = { NULL };

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t last = sizes[i] / sizeof(void *);
        blocks[i] = get(heap, sizes[i]);
        if (last > 0)
            blocks[i][last - 1] = malloc(77);
    }
    no_leaks();

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t last = sizes[i] / sizeof(void *);
        if (last > 0)
            free(blocks[i][last - 1]);
        let_go(heap, blocks[i]);
    }
    close_heap(&heap);
}
