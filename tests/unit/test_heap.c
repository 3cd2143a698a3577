/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "support/heap.h"

#include <stdlib.h>
#include <sys/mman.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Sizes ------------------------------------------------------------- */

/* What lies on either side of every change of how a block is made. */
static const size_t edges[] = { 1, 63, 64, 65, 255, 256, 257, 320, 321, 4095,
    4096, 4097, 6144, 6145, 65536, 65537, 70000, 262144, 262145, 1 << 20,
    (1 << 20) + 1, 16 << 20, (16 << 20) + 1, 20 << 20 };

enum { EDGES = COUNT_OF(edges) };

static void
expect_apart(char *const *blocks, const size_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            cr_assert(blocks[i] + sizes[i] <= blocks[j] ||
                          blocks[j] + sizes[j] <= blocks[i],
                "%zu and %zu bytes overlap", sizes[i], sizes[j]);
}

Test(heap, blocks_of_all_sizes_are_whole_apart_and_aligned)
{
    struct weir_heap *heap = open_heap(256 * MIB, 0);
    char *blocks[2 * EDGES];
    size_t sizes[2 * EDGES];

    for (size_t i = 0; i < 2 * EDGES; i++) {
        sizes[i] = edges[i % EDGES];
        blocks[i] = get(heap, sizes[i]);
        (void)memset(blocks[i], (int)i + 1, sizes[i]);
    }

    expect_apart(blocks, sizes, 2 * EDGES);
    cr_assert(eq(u64, live_blocks(heap), 2 * EDGES));
    weir_heap_check(heap);
    for (size_t i = 0; i < 2 * EDGES; i++) {
        cr_assert(is_painted(blocks[i], sizes[i], (int)i + 1));
        let_go(heap, blocks[i]);
    }
    close_heap(&heap);
}

Test(heap, every_class_serves_its_largest_size_and_the_next_one_more)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    size_t usable;

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++) {
        size_t size = wr_class_size(class);
        void *memory = get(heap, size);
        void *more = get(heap, size + 1);
        cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_OK));
        cr_assert(eq(sz, usable, size));
        cr_assert(eq(int, weir_heap_usable(heap, more, &usable), WEIR_OK));
        cr_assert(gt(sz, usable, size));
        let_go(heap, memory);
        let_go(heap, more);
    }

    close_heap(&heap);
}

typedef enum weir_status alloc_fn(struct weir_heap *, size_t, void **);

static enum weir_status
alloc_on_a_line(struct weir_heap *heap, size_t size, void **memory)
{
    return weir_heap_alloc_aligned(heap, size, 64, memory);
}

static enum weir_status
alloc_on_2_mib(struct weir_heap *heap, size_t size, void **memory)
{
    return weir_heap_alloc_aligned(heap, size, 2 * MIB, memory);
}

static alloc_fn *const allocs[] = { weir_heap_alloc, weir_heap_alloc_zeroed,
    alloc_on_a_line, alloc_on_2_mib };

/* Every call that allocates refuses, and leaves no trace. */
static void
expect_refused(struct weir_heap *heap, size_t size, enum weir_status wanted)
{
    struct weir_heap_stats before = numbers_of(heap);
    for (size_t i = 0; i < COUNT_OF(allocs); i++) {
        void *memory = heap;
        enum weir_status status = allocs[i](heap, size, &memory);
        cr_assert(eq(int, status, wanted), "%zx bytes, call %zu: %s", size, i,
            weir_status_name(status));
        cr_assert(eq(ptr, memory, heap));
    }
    struct weir_heap_stats after = numbers_of(heap);
    cr_assert(eq(u64, after.bytes_unused, before.bytes_unused));
    cr_assert(eq(u64, after.bytes_reserved, before.bytes_reserved));
    weir_heap_check(heap);
}

Test(heap, no_bytes_are_invalid)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);

    expect_refused(heap, 0, WEIR_INVALID);

    close_heap(&heap);
}

Test(heap, sizes_near_the_largest_number_are_too_large)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 63,
        SIZE_MAX - 65534, SIZE_MAX - 65535, SIZE_MAX - 65536,
        SIZE_MAX - (2 << 20), SIZE_MAX / 2 + 1, SIZE_MAX / 2, (size_t)1 << 48,
        (size_t)1 << 38 };
    struct weir_heap *heap = open_heap(4 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        expect_refused(heap, sizes[i], WEIR_TOO_LARGE);

    close_heap(&heap);
}

Test(heap, more_than_bytes_max_is_too_large_small_or_not)
{
    struct weir_heap *small = open_heap(64 * KIB, 64 * KIB);
    struct weir_heap *large = open_heap(4 * MIB, 4 * MIB);

    expect_refused(large, 4 * MIB + 1, WEIR_TOO_LARGE);
    expect_refused(small, 2 * MIB, WEIR_TOO_LARGE);
    expect_refused(small, 1 * MIB, WEIR_TOO_LARGE);
    expect_refused(small, 64 * KIB + 1, WEIR_TOO_LARGE);

    close_heap(&small);
    close_heap(&large);
}

Test(heap, five_gib_are_a_block_as_any)
{
    struct weir_heap *heap = open_heap(0, 0);
    size_t size = 5 * GIB + 5;
    size_t usable;

    char *memory = get(heap, size);

    memory[0] = 'a';
    memory[3 * GIB] = 'b';
    memory[size - 1] = 'c';
    cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_OK));
    cr_assert(ge(sz, usable, size));
    cr_assert(eq(u64, numbers_of(heap).large_live, 1));
    cr_assert(eq(u64, numbers_of(heap).large_bytes, usable));
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, 5 * GIB),
        WEIR_SIZE_MISMATCH));
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, size), WEIR_OK));
    cr_assert(eq(int, weir_heap_release(heap, memory), WEIR_ALREADY_RELEASED));
    close_heap(&heap);
}

Test(heap, a_refused_block_of_gibs_takes_no_address_space)
{
    struct weir_heap *heap = open_heap(1 * GIB, 6 * GIB);
    void *held = get(heap, 5 * GIB);

    for (int i = 0; i < 10; i++)
        expect_refused(heap, 5 * GIB, WEIR_FULL);

    let_go(heap, held);
    held = get(heap, 5 * GIB);
    let_go(heap, held);
    close_heap(&heap);
}

/* ---- Releases that are refused ----------------------------------------- */

struct again {
    struct weir_heap *heap;
    void *memory;
    size_t size;
};

/* All that can be done with a block is refused, and changes nothing. */
static void *
expect_released(void *user)
{
    const struct again *again = user;
    struct weir_heap *heap = again->heap;
    size_t usable = 77;
    cr_assert(
        eq(int, weir_heap_release(heap, again->memory), WEIR_ALREADY_RELEASED));
    cr_assert(eq(int, weir_heap_release_sized(heap, again->memory, again->size),
        WEIR_ALREADY_RELEASED));
    cr_assert(eq(int, weir_heap_release_sized(heap, again->memory, 0),
        WEIR_ALREADY_RELEASED));
    cr_assert(eq(int, weir_heap_resize(heap, again->memory, again->size),
        WEIR_ALREADY_RELEASED));
    cr_assert(eq(int, weir_heap_usable(heap, again->memory, &usable),
        WEIR_ALREADY_RELEASED));
    cr_assert(eq(sz, usable, 77));
    return NULL;
}

static void
change_nothing(struct weir_heap *heap)
{
    (void)heap;
}

static void (*const between[])(
    struct weir_heap *) = { change_nothing, weir_heap_flush, weir_heap_trim };

Test(heap, a_block_released_again_is_told)
{
    struct weir_heap *heap = open_heap(256 * MIB, 0);

    for (size_t i = 0; i < EDGES * COUNT_OF(between); i++) {
        size_t size = edges[i % EDGES];
        struct again again = { heap, get(heap, size), size };
        let_go(heap, again.memory);
        between[i / EDGES](heap);
        (void)expect_released(&again);
        on_thread(expect_released, &again);
        cr_assert(eq(u64, live_blocks(heap), 0));
        weir_heap_check(heap);
    }

    close_heap(&heap);
}

static void *
let_go_there(void *user)
{
    const struct again *again = user;
    let_go(again->heap, again->memory);
    return NULL;
}

Test(heap, a_block_another_thread_released_is_told)
{
    struct weir_heap *heap = open_heap(256 * MIB, 0);

    for (size_t i = 0; i < EDGES; i++) {
        struct again again = { heap, get(heap, edges[i]), edges[i] };
        on_thread(let_go_there, &again);
        (void)expect_released(&again);
    }

    close_heap(&heap);
}

static void
expect_foreign(struct weir_heap *heap, void *memory)
{
    size_t usable = 77;
    struct weir_heap_stats before = numbers_of(heap);
    enum weir_status status = weir_heap_release(heap, memory);
    cr_assert(eq(int, status, WEIR_FOREIGN), "%p: %s", memory,
        weir_status_name(status));
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, 64), WEIR_FOREIGN));
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, 0), WEIR_FOREIGN));
    cr_assert(eq(int, weir_heap_resize(heap, memory, 64), WEIR_FOREIGN));
    cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_FOREIGN));
    cr_assert(eq(sz, usable, 77));
    struct weir_heap_stats after = numbers_of(heap);
    cr_assert(zero(int, memcmp(&before, &after, sizeof before)));
}

static char in_data[4096] = "data";

/* The page without access would fault if it were read. */
Test(heap, pointers_from_elsewhere_are_foreign_and_not_looked_at)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    void *own = get(heap, 100);
    char on_stack[256] = "stack";
    void *closed =
        mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *from_malloc = malloc(100);
    void *numbers[] = { (void *)1, (void *)16, (void *)64, (void *)4096,
        (void *)(UINTPTR_MAX - 63), (void *)UINTPTR_MAX,
        (void *)(UINTPTR_MAX / 2 + 1) };

    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        expect_foreign(heap, numbers[i]);
    expect_foreign(heap, closed);
    expect_foreign(heap, from_malloc);
    expect_foreign(heap, heap);
    expect_foreign(heap, (void *)(uintptr_t)in_data);
    expect_foreign(heap, on_stack);
    expect_foreign(heap, on_stack + 64);

    expect_text(on_stack, "stack");
    expect_text(in_data, "data");
    free(from_malloc);
    let_go(heap, own);
    close_heap(&heap);
}

Test(heap, a_block_of_another_heap_is_foreign_and_stays)
{
    struct weir_heap *first = open_heap(64 * MIB, 0);
    struct weir_heap *second = open_heap(64 * MIB, 0);
    static const size_t sizes[] = { 1, 256, 5000, 70000, 1 << 20, 2 << 20 };

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *memory = get(first, sizes[i]);
        void *other = get(second, sizes[i]);
        (void)memset(memory, 7, sizes[i]);
        expect_foreign(second, memory);
        expect_foreign(first, other);
        cr_assert(is_painted(memory, sizes[i], 7));
        let_go(first, memory);
        let_go(second, other);
    }

    close_heap(&first);
    close_heap(&second);
}

struct inside {
    size_t size;
    size_t offset;
};

Test(heap, pointers_into_a_block_are_foreign_and_it_stays)
{
    static const struct inside insides[] = { { 64, 1 }, { 64, 63 }, { 128, 64 },
        { 256, 1 }, { 256, 64 }, { 256, 255 }, { 4096, 64 }, { 5000, 1 },
        { 5000, 64 }, { 5000, 4096 }, { 70000, 1 }, { 70000, 64 },
        { 70000, 65536 }, { 1 << 20, 64 }, { 1 << 20, 65536 },
        { 1 << 20, 1 << 19 }, { 2 << 20, 1 }, { 2 << 20, 64 },
        { 2 << 20, 65536 }, { 2 << 20, (2 << 20) - 64 } };

    for (size_t i = 0; i < COUNT_OF(insides); i++) {
        struct weir_heap *heap = open_heap(64 * MIB, 0);
        size_t size = insides[i].size;
        char *memory = get(heap, size);
        (void)memset(memory, (int)i + 1, size);
        expect_foreign(heap, memory + insides[i].offset);
        cr_assert(is_painted(memory, size, (int)i + 1));
        let_go(heap, memory);
        close_heap(&heap);
    }
}

/* What libraries that write in front of their blocks would believe. */
Test(heap, a_forged_header_in_a_block_is_not_believed)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    uintptr_t *memory = get(heap, 4096);
    uintptr_t *large = get(heap, 2 * MIB);

    for (size_t i = 0; i < 4096 / sizeof(*memory); i++) {
        memory[i] = i % 2 == 0 ? (uintptr_t)memory : 4096;
        large[i] = i % 2 == 0 ? (uintptr_t)large : 2 * MIB;
    }
    for (size_t at = 64; at < 4096; at += 64) {
        expect_foreign(heap, (char *)memory + at);
        expect_foreign(heap, (char *)large + at);
    }

    cr_assert(eq(sz, memory[8], (uintptr_t)memory));
    let_go(heap, memory);
    let_go(heap, large);
    close_heap(&heap);
}

/* 341 blocks of 192 bytes leave 64 bytes of a page. */
Test(heap, what_is_left_behind_the_last_block_of_a_span_is_foreign)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    char *memory = get(heap, 192);
    char *page = memory - (uintptr_t)memory % (64 * KIB);

    expect_foreign(heap, page + 341 * (size_t)192);

    let_go(heap, memory);
    close_heap(&heap);
}

Test(heap, a_page_that_was_never_used_is_foreign)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    char *memory = get(heap, 64);
    char *page = memory - (uintptr_t)memory % (64 * KIB);

    for (size_t i = 1; i < 64; i++)
        expect_foreign(heap, page + i * 64 * KIB);

    let_go(heap, memory);
    close_heap(&heap);
}

Test(heap, null_is_released_as_often_as_one_likes)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);

    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, weir_heap_release(heap, NULL), WEIR_OK));
        cr_assert(eq(int, weir_heap_release_sized(heap, NULL, 0), WEIR_OK));
        cr_assert(eq(int, weir_heap_release_sized(heap, NULL, 64), WEIR_OK));
        cr_assert(eq(int, weir_release(NULL), WEIR_OK));
    }

    close_heap(&heap);
}

/* ---- Releases that say the size ---------------------------------------- */

static void
expect_mismatch(const struct again *again, size_t size)
{
    if (size == again->size)
        return;
    enum weir_status status =
        weir_heap_release_sized(again->heap, again->memory, size);
    cr_assert(eq(int, status, WEIR_SIZE_MISMATCH), "%zu for %zu: %s", size,
        again->size, weir_status_name(status));
}

Test(heap, another_size_is_a_mismatch_and_the_block_stays)
{
    struct weir_heap *heap = open_heap(256 * MIB, 0);
    size_t usable;

    for (size_t i = 0; i < EDGES; i++) {
        size_t size = edges[i];
        struct again again = { heap, get(heap, size), size };
        (void)memset(again.memory, 9, size);
        cr_assert(
            eq(int, weir_heap_usable(heap, again.memory, &usable), WEIR_OK));
        expect_mismatch(&again, size + 1);
        expect_mismatch(&again, size - 1);
        expect_mismatch(&again, 0);
        expect_mismatch(&again, usable);
        expect_mismatch(&again, usable - 1);
        expect_mismatch(&again, size + ((size_t)1 << 32));
        expect_mismatch(&again, SIZE_MAX);
        cr_assert(is_painted(again.memory, size, 9));
        cr_assert(eq(u64, live_blocks(heap), 1));
        cr_assert(eq(
            int, weir_heap_release_sized(heap, again.memory, size), WEIR_OK));
        (void)expect_released(&again);
    }

    close_heap(&heap);
}

/* ---- The default heap -------------------------------------------------- */

Test(default_heap, blocks_come_from_it_and_go_home)
{
    struct weir_heap *heap = weir_heap_default();
    cr_assert(ne(ptr, heap, NULL));
    cr_assert(eq(ptr, weir_heap_default(), heap));

    for (size_t i = 0; i < EDGES; i++) {
        char *memory = weir_alloc(edges[i]);
        cr_assert(ne(ptr, memory, NULL));
        (void)memset(memory, 5, edges[i]);
        cr_assert(eq(u64, live_blocks(heap), 1));
        cr_assert(eq(
            int, weir_release_sized(memory, edges[i] + 1), WEIR_SIZE_MISMATCH));
        cr_assert(eq(int, weir_release_sized(memory, 0), WEIR_SIZE_MISMATCH));
        cr_assert(is_painted(memory, edges[i], 5));
        cr_assert(eq(int,
            i % 2 == 0 ? weir_release(memory)
                       : weir_release_sized(memory, edges[i]),
            WEIR_OK));
        cr_assert(eq(int, weir_release(memory), WEIR_ALREADY_RELEASED));
    }

    weir_heap_check(heap);
    cr_assert(eq(u64, live_blocks(heap), 0));
    expect_text(numbers_of(heap).name, "heap");
}

Test(default_heap, the_first_call_may_be_any)
{
    char byte = 'x';

    cr_assert(eq(int, weir_release(&byte), WEIR_FOREIGN));
    cr_assert(eq(int, weir_release_sized(&byte, 1), WEIR_FOREIGN));
    cr_assert(eq(chr, byte, 'x'));
}

struct refusal {
    size_t size;
    int why;
};

Test(default_heap, what_cannot_be_sets_errno)
{
    static const struct refusal refusals[] = { { 0, EINVAL },
        { SIZE_MAX, ENOMEM }, { SIZE_MAX / 2, ENOMEM },
        { (size_t)1 << 40, ENOMEM } };

    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        errno = 0;
        void *memory = weir_alloc(refusals[i].size);
        int why = errno;
        cr_assert(eq(ptr, memory, NULL));
        cr_assert(eq(int, why, refusals[i].why));
    }
}
