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
