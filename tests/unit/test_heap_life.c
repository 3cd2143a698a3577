/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "support/heap.h"

#include <limits.h>
#include <signal.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Creating ---------------------------------------------------------- */

struct creation {
    struct weir_heap_config config;
    enum weir_status status;
};

Test(heap_life, a_configuration_makes_sense_or_is_invalid)
{
    static const struct creation creations[] = {
        { { 0 }, WEIR_OK },
        { { .name = "" }, WEIR_OK },
        { { .name = "a name of 31 printable letters." }, WEIR_OK },
        { { .name = "a name of 32 printable letters.." }, WEIR_INVALID },
        { { .name = "line\nbreak" }, WEIR_INVALID },
        { { .name = "\x7f" }, WEIR_INVALID },
        { { .name = "na\xc3\xafve" }, WEIR_INVALID },
        { { .region_bytes = 1 }, WEIR_OK },
        { { .region_bytes = (size_t)64 << 30 }, WEIR_OK },
        { { .region_bytes = ((size_t)64 << 30) + 1 }, WEIR_INVALID },
        { { .region_bytes = SIZE_MAX }, WEIR_INVALID },
        { { .align = 1 }, WEIR_OK },
        { { .align = 3 }, WEIR_INVALID },
        { { .align = 96 }, WEIR_INVALID },
        { { .align = 2 << 20 }, WEIR_OK },
        { { .align = 4 << 20 }, WEIR_INVALID },
        { { .align = SIZE_MAX }, WEIR_INVALID },
        { { .bytes_max = 64 << 10 }, WEIR_OK },
        { { .bytes_max = 100000 }, WEIR_OK },
        { { .bytes_max = SIZE_MAX }, WEIR_OK },
        { { .refill_bytes = 1, .cache_bytes = 1, .decay_ms = 1 }, WEIR_OK },
        { { .refill_bytes = SIZE_MAX,
              .cache_bytes = SIZE_MAX,
              .decay_ms = UINT_MAX },
            WEIR_OK },
    };

    for (size_t i = 0; i < COUNT_OF(creations); i++) {
        struct weir_heap *heap = NULL;
        enum weir_status status = weir_heap_create(&creations[i].config, &heap);
        cr_assert(eq(int, status, creations[i].status), "%zu: %s", i,
            weir_status_name(status));
        cr_assert(eq(int, heap == NULL, status != WEIR_OK));
        if (heap == NULL)
            continue;
        for (size_t size = 1; size <= 40000; size = size * 2 + 1) {
            void *memory = get(heap, size);
            (void)memset(memory, 1, size);
            let_go(heap, memory);
        }
        close_heap(&heap);
    }
}

/* Through every door. */
static void *
get_by(struct weir_heap *heap, size_t door, size_t size)
{
    void *memory = NULL;
    enum weir_status status =
        door == 0   ? weir_heap_alloc(heap, size, &memory)
        : door == 1 ? weir_heap_alloc_zeroed(heap, size, &memory)
                    : weir_heap_alloc_aligned(heap, size, 8, &memory);
    cr_assert(eq(int, status, WEIR_OK));
    return memory;
}

Test(heap_life, all_blocks_are_aligned_as_the_configuration_says)
{
    static const size_t sizes[] = { 1, 64, 65, 100, 3000, 70000, 1 << 20,
        (1 << 20) + 1, 5 << 20 };

    for (size_t align = 1; align <= 2 << 20; align *= 2) {
        struct weir_heap *heap;
        struct weir_heap_config config = { .align = align };
        cr_assert(eq(int, weir_heap_create(&config, &heap), WEIR_OK));
        size_t wanted = align < 64 ? 64 : align;
        for (size_t i = 0; i < 3 * COUNT_OF(sizes); i++) {
            size_t size = sizes[i / 3];
            void *first = get_by(heap, i % 3, size);
            void *second = get_by(heap, i % 3, size);
            cr_assert(zero(sz, (uintptr_t)first % wanted), "%zu", align);
            cr_assert(zero(sz, (uintptr_t)second % wanted), "%zu", align);
            (void)memset(first, 1, size);
            (void)memset(second, 2, size);
            let_go(heap, first);
            cr_assert(
                eq(int, weir_heap_release_sized(heap, second, size), WEIR_OK));
            cr_assert(
                eq(int, weir_heap_release(heap, first), WEIR_ALREADY_RELEASED));
        }
        weir_heap_check(heap);
        close_heap(&heap);
    }
}

Test(heap_life, no_bytes_are_invalid_whatever_the_alignment)
{
    struct weir_heap *heap;
    struct weir_heap_config config = { .align = 4096 };
    void *memory;
    cr_assert(eq(int, weir_heap_create(&config, &heap), WEIR_OK));

    cr_assert(eq(int, weir_heap_alloc(heap, 0, &memory), WEIR_INVALID));
    cr_assert(eq(int, weir_heap_alloc_zeroed(heap, 0, &memory), WEIR_INVALID));

    close_heap(&heap);
}

Test(heap_life, the_name_is_copied)
{
    char name[] = "mine";
    struct weir_heap *heap = NULL;
    cr_assert(eq(int,
        weir_heap_create(&(struct weir_heap_config){ .name = name }, &heap),
        WEIR_OK));
    name[0] = 'x';

    expect_text(numbers_of(heap).name, "mine");
    weir_heap_destroy(&heap);

    cr_assert(eq(int, weir_heap_create(NULL, &heap), WEIR_OK));
    expect_text(numbers_of(heap).name, "heap");
    close_heap(&heap);
}

Test(heap_life, callers_of_other_releases_are_understood)
{
    struct {
        struct weir_heap_config known;
        uint64_t news[2];
    } later = { .known = { .name = "later" } };
    struct weir_heap *heap = NULL;
    struct weir_heap_config earlier = { .name = "earlier", .decay_ms = 1 };

    cr_assert(eq(int, weir_heap_create_sized(&later.known, sizeof later, &heap),
        WEIR_OK));
    expect_text(numbers_of(heap).name, "later");
    weir_heap_destroy(&heap);
    later.news[1] = 1;
    cr_assert(eq(int, weir_heap_create_sized(&later.known, sizeof later, &heap),
        WEIR_UNSUPPORTED));
    cr_assert(zero(ptr, heap));

    earlier.region_bytes = SIZE_MAX; /* it does not know that */
    cr_assert(eq(int,
        weir_heap_create_sized(&earlier, sizeof earlier.name, &heap), WEIR_OK));
    expect_text(numbers_of(heap).name, "earlier");
    close_heap(&heap);
}

Test(heap_life, no_more_and_no_less_is_written_than_the_caller_of_stats_has)
{
    struct {
        struct weir_heap_stats known;
        uint64_t news[2];
    } later;
    struct weir_heap_stats earlier;
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    (void)memset(&later, 0xff, sizeof later);
    (void)memset(&earlier, 0xff, sizeof earlier);

    weir_heap_stats_sized(heap, &later.known, sizeof later);
    weir_heap_stats_sized(
        heap, &earlier, offsetof(struct weir_heap_stats, bytes_unused));

    cr_assert(eq(u64, later.news[0] | later.news[1], 0));
    cr_assert(eq(u64, later.known.bytes_reserved, 4 * MIB));
    cr_assert(eq(u64, earlier.bytes_reserved, 4 * MIB));
    cr_assert(eq(u64, earlier.bytes_unused, UINT64_MAX));
    close_heap(&heap);
}

Test(heap_life, a_heap_takes_its_blocks_with_it)
{
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    char *small = get(heap, 100);
    char *large = get(heap, 2 * MIB);
    char *far = get(heap, 32 * MIB);
    cr_assert(is_mapped(small, 100) && is_mapped(large, 100));

    weir_heap_destroy(&heap);

    cr_assert(zero(ptr, heap));
    cr_assert(not(is_mapped(small, 100)));
    cr_assert(not(is_mapped(large, 2 * MIB)));
    cr_assert(not(is_mapped(far, 32 * MIB)));
    weir_heap_destroy(&heap);
    no_leaks();
}

Test(misuse, destroying_the_default_heap_aborts, .signal = SIGABRT)
{
    struct weir_heap *heap = weir_heap_default();
    expect_misuse("weir: the default heap was destroyed");

    weir_heap_destroy(&heap);
}
