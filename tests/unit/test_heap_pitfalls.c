/* SPDX-License-Identifier: MIT */
/*
 * What other allocators got wrong, each under the name of the defect. Most were
 * found in orthotope, whose layers the heap has; what happened there stands above
 * the test. Pitfalls of one part of the heap are in that part's tests.
 */
#include "core/heap.h"

#include "support/heap.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { SMALLEST = 65536 }; /* blocks of 64 bytes in 4 MiB */

static void *blocks[SMALLEST + 1];

static const size_t sizes[] = { 1, 64, 100, 4096, 6144, 65536, 70000, 1 << 20,
    (1 << 20) + 1, 3 << 20 };

static struct weir_heap_class_stats
class_of(struct weir_heap *heap, size_t size)
{
    return numbers_of(heap).classes[wr_class_of(size)];
}

/* ---- Releases that should not have been -------------------------------- */

/* In release builds the second release was taken, and the next two requests got
   the same block. */
Test(heap_pitfalls, a_block_released_twice_is_not_handed_out_twice)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *memory = get(heap, sizes[i]);
        let_go(heap, memory);
        cr_assert(
            eq(int, weir_heap_release(heap, memory), WEIR_ALREADY_RELEASED));
        void *first = get(heap, sizes[i]);
        void *second = get(heap, sizes[i]);
        cr_assert(ne(ptr, first, second));
        let_go(heap, first);
        let_go(heap, second);
    }

    close_heap(&heap);
}

/* The same with another block between, which defeats a look at the last one. */
Test(heap_pitfalls, a_block_released_twice_with_another_between_is_told)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *first = get(heap, sizes[i]);
        void *second = get(heap, sizes[i]);
        let_go(heap, first);
        let_go(heap, second);
        cr_assert(
            eq(int, weir_heap_release(heap, first), WEIR_ALREADY_RELEASED));
        void *got[3];
        for (size_t k = 0; k < 3; k++)
            got[k] = get(heap, sizes[i]);
        cr_assert(got[0] != got[1] && got[1] != got[2] && got[0] != got[2]);
        let_all_go(heap, got, 3);
    }

    close_heap(&heap);
}

/* What a status cannot tell: this is the limit of the promise. */
Test(heap_pitfalls, a_stale_release_of_a_block_that_is_out_again_is_taken)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    void *stale = get(heap, 100);
    let_go(heap, stale);
    void *memory = get(heap, 100);
    cr_assert(eq(ptr, memory, stale));

    cr_assert(eq(int, weir_heap_release(heap, stale), WEIR_OK));

    cr_assert(eq(int, weir_heap_release(heap, memory), WEIR_ALREADY_RELEASED));
    close_heap(&heap);
}

/* An untouched block had a header that said 1 byte, so it could be released. */
Test(heap_pitfalls, a_neighbour_that_never_was_out_cannot_be_released)
{
    struct weir_heap *heap = open_heap(4 * MIB, 0);
    char *memory = get(heap, 64);

    for (size_t i = 1; i < 1024; i++)
        cr_assert(eq(int, weir_heap_release(heap, memory + i * 64),
            WEIR_ALREADY_RELEASED));

    cr_assert(eq(u64, live_blocks(heap), 1));
    weir_heap_check(heap);
    size_t count = get_all(heap, 64, blocks, 1023);
    for (size_t i = 0; i < count; i++)
        *(size_t *)blocks[i] = i;
    for (size_t i = 0; i < count; i++)
        cr_assert(eq(sz, *(size_t *)blocks[i], i));
    let_all_go(heap, blocks, count);
    let_go(heap, memory);
    close_heap(&heap);
}

struct offence {
    size_t offset;
    size_t size; /* that the caller says */
    bool released;
    enum weir_status status;
};

/* Which of two mistakes is told depended on the release, and on the size. */
Test(heap_pitfalls, of_several_mistakes_the_first_is_told_large_or_small)
{
    static const struct offence offences[] = {
        { 1, 5, false, WEIR_FOREIGN },
        { 1, 5, true, WEIR_FOREIGN },
        { 64, 5, false, WEIR_FOREIGN },
        { 0, 5, false, WEIR_SIZE_MISMATCH },
        { 0, 0, false, WEIR_SIZE_MISMATCH },
        { 0, 5, true, WEIR_ALREADY_RELEASED },
        { 0, 0, true, WEIR_ALREADY_RELEASED },
    };
    static const size_t two[] = { 5000, 5 << 20 };

    for (size_t i = 0; i < COUNT_OF(offences) * COUNT_OF(two); i++) {
        const struct offence *offence = &offences[i / COUNT_OF(two)];
        struct weir_heap *heap = open_heap(16 * MIB, 0);
        size_t size = two[i % COUNT_OF(two)];
        char *memory = get(heap, size);
        if (offence->released)
            let_go(heap, memory);
        cr_assert(eq(int,
            weir_heap_release_sized(
                heap, memory + offence->offset, offence->size),
            offence->status));
        if (!offence->released)
            cr_assert(
                eq(int, weir_heap_release_sized(heap, memory, size), WEIR_OK));
        close_heap(&heap);
    }
}

/* ---- Blocks that are used again ---------------------------------------- */

Test(heap_pitfalls, what_a_thread_released_it_gets_next)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *memory = get(heap, sizes[i]);
        let_go(heap, memory);
        void *again = get(heap, sizes[i]);
        cr_assert(eq(ptr, again, memory), "%zu bytes", sizes[i]);
        let_go(heap, again);
    }

    close_heap(&heap);
}

/* The header of a block that was used again kept what was asked for before. */
Test(heap_pitfalls, a_block_that_is_used_again_has_the_new_size)
{
    struct weir_heap *heap = open_heap(16 * MIB, 0);
    void *memory = get(heap, 100);

    for (size_t size = 65; size <= 128; size++) {
        let_go(heap, memory);
        cr_assert(eq(ptr, get(heap, size), memory));
        cr_assert(eq(int, weir_heap_release_sized(heap, memory, size + 1),
            WEIR_SIZE_MISMATCH));
        cr_assert(
            eq(int, weir_heap_release_sized(heap, memory, size), WEIR_OK));
        cr_assert(eq(ptr, get(heap, size), memory));
    }

    let_go(heap, memory);
    close_heap(&heap);
}

Test(heap_pitfalls, a_block_is_not_used_again_for_the_next_class)
{
    struct weir_heap *heap = open_heap(64 * MIB, 0);

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES - 1; class ++) {
        size_t usable = 0;
        let_go(heap, get(heap, wr_class_size(class)));
        void *memory = get(heap, wr_class_size(class) + 1);
        cr_assert(eq(int, weir_heap_usable(heap, memory, &usable), WEIR_OK));
        cr_assert(eq(sz, usable, wr_class_size(class + 1)));
        let_go(heap, memory);
    }

    close_heap(&heap);
}

/* A refill that failed left a state in which later ones failed too. */
Test(heap_pitfalls, a_request_that_failed_does_not_make_later_ones_fail)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct weir_heap *heap = open_heap(4 * MIB, 4 * MIB);
        size_t count = get_all(heap, sizes[i], blocks, SMALLEST + 1);
        for (size_t round = 0; round < 100; round++) {
            void *more = NULL;
            void **any = &blocks[round * 7919 % count];
            cr_assert(
                eq(int, weir_heap_alloc(heap, sizes[i], &more), WEIR_FULL));
            let_go(heap, *any);
            *any = get(heap, sizes[i]);
        }
        let_all_go(heap, blocks, count);
        let_go(heap, get(heap, 4 * MIB));
        close_heap(&heap);
    }
}

/* ---- What fits --------------------------------------------------------- */

struct worth {
    size_t size;
    size_t count; /* in 64 MiB, at least */
};

/* 1 GiB held 63 blocks of 1.1 MB, and 4095 of 5000 bytes. Every block cost a
   header of 64 bytes. */
Test(heap_pitfalls, a_region_holds_its_worth_in_blocks_of_any_size)
{
    static const struct worth worths[] = { { 16, 1 << 20 }, { 64, 1 << 20 },
        { 257, 208000 }, { 5000, 12000 }, { 6144, 10000 }, { 33000, 1600 },
        { 262145, 200 }, { 1 << 20, 64 }, { (1 << 20) + 1, 60 },
        { 1100000, 60 }, { (16 << 20) + 1, 3 } };
    static void *many[(1 << 20) + 1];

    for (size_t i = 0; i < COUNT_OF(worths); i++) {
        struct weir_heap *heap = open_heap(64 * MIB, 64 * MIB);
        size_t count = get_all(heap, worths[i].size, many, COUNT_OF(many));
        cr_assert(ge(sz, count, worths[i].count), "%zu bytes: %zu",
            worths[i].size, count);
        let_all_go(heap, many, count);
        close_heap(&heap);
    }
}

/* A block of 1000 MiB that came home went out whole for one of 17. */
Test(heap_pitfalls, a_large_block_goes_out_again_in_parts)
{
    struct weir_heap *heap = open_heap(1 * GIB, 1 * GIB);
    let_go(heap, get(heap, 1000 * MIB));

    void *part = get(heap, 17 * MIB);
    size_t usable = 0;
    cr_assert(eq(int, weir_heap_usable(heap, part, &usable), WEIR_OK));
    cr_assert(eq(sz, usable, 17 * MIB));
    cr_assert(eq(u64, numbers_of(heap).large_bytes, 17 * MIB));
    cr_assert(eq(u64, numbers_of(heap).large_reusable, 1007 * MIB));
    void *rest = get(heap, 1007 * MIB);

    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 0));
    let_go(heap, part);
    let_go(heap, rest);
    close_heap(&heap);
}

/* Sizes were numbers of 32 bits. */
Test(heap_pitfalls, above_4_gib_blocks_are_cleared_aligned_and_resized)
{
    if (under_asan())
        cr_skip_test("the sanitizer writes a byte for each eight");
    struct weir_heap *heap = open_heap(12 * GIB, 12 * GIB);
    char *memory = NULL;
    void *out = NULL;

    cr_assert(
        eq(int, weir_heap_alloc_zeroed(heap, 4 * GIB + 1, &out), WEIR_OK));
    memory = out;
    cr_assert(eq(int, memory[0] | memory[4 * GIB], 0));
    memory[4 * GIB] = 'x';
    cr_assert(
        eq(int, weir_heap_release_sized(heap, memory, 1), WEIR_SIZE_MISMATCH));
    cr_assert(eq(int, weir_heap_resize(heap, memory, 6 * GIB + 7), WEIR_OK));
    cr_assert(eq(int, weir_heap_release_sized(heap, memory, 2 * GIB + 7),
        WEIR_SIZE_MISMATCH));
    cr_assert(eq(chr, memory[4 * GIB], 'x'));
    cr_assert(eq(
        int, weir_heap_alloc_aligned(heap, 5 * GIB, 2 * MIB, &out), WEIR_OK));
    cr_assert(eq(sz, (uintptr_t)out % (2 * MIB), 0));
    cr_assert(eq(u64, numbers_of(heap).large_live, 2));

    cr_assert(
        eq(int, weir_heap_release_sized(heap, memory, 6 * GIB + 7), WEIR_OK));
    let_go(heap, out);
    let_go(heap, get(heap, 12 * GIB));
    close_heap(&heap);
}

/* ---- Other threads ----------------------------------------------------- */

/* Releases blocks, and sleeps until it is woken. */
struct releaser {
    struct weir_heap *heap;
    size_t count;
    pthread_barrier_t gate;
};

static void *
release_and_sleep(void *user)
{
    struct releaser *releaser = user;
    let_all_go(releaser->heap, blocks, releaser->count);
    (void)pthread_barrier_wait(&releaser->gate);
    (void)pthread_barrier_wait(&releaser->gate);
    return NULL;
}

/* Returns when it sleeps. */
static pthread_t
release_there(struct releaser *releaser)
{
    cr_assert(zero(int, pthread_barrier_init(&releaser->gate, NULL, 2)));
    pthread_t thread = start_thread(release_and_sleep, releaser);
    (void)pthread_barrier_wait(&releaser->gate);
    return thread;
}

static void
wake(struct releaser *releaser, pthread_t thread)
{
    (void)pthread_barrier_wait(&releaser->gate);
    join_thread(thread);
    cr_assert(zero(int, pthread_barrier_destroy(&releaser->gate)));
}

/* What another thread released stayed with it until it had a batch. */
Test(heap_pitfalls, the_only_block_is_not_stranded_with_who_released_it)
{
    static const size_t alone[] = { 33000, 65536, 1 << 20, 2 << 20 };

    for (size_t i = 0; i < COUNT_OF(alone); i++) {
        size_t size = alone[i];
        size_t room = (size + 64 * KIB - 1) / (64 * KIB) * 64 * KIB;
        struct weir_heap *heap = open_heap(room, room);
        size_t count = get_all(heap, size, blocks, 2);
        cr_assert(eq(sz, count, 1), "%zu bytes: %zu", size, count);
        struct releaser releaser = { .heap = heap, .count = 1 };
        pthread_t thread = release_there(&releaser);
        let_go(heap, get(heap, size));
        wake(&releaser, thread);
        close_heap(&heap);
    }
}

/* Blocks on their way from thread to thread were in no number. */
Test(heap_pitfalls, what_another_thread_released_is_counted_at_once)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = sizes[i];
        struct weir_heap *heap = open_heap(64 * MIB, 0);
        for (size_t k = 0; k < 10; k++)
            blocks[k] = get(heap, size);
        struct weir_heap_stats before = numbers_of(heap);
        struct releaser releaser = { .heap = heap, .count = 7 };
        pthread_t thread = release_there(&releaser);
        struct weir_heap_stats after = numbers_of(heap);
        cr_assert(eq(u64, live_blocks(heap), 3));
        if (size <= 1 * MIB)
            cr_assert(eq(u64,
                after.classes[wr_class_of(size)].blocks_live +
                    after.classes[wr_class_of(size)].blocks_cached +
                    after.classes[wr_class_of(size)].blocks_central,
                heap->centrals[wr_class_of(size)].blocks));
        else
            cr_assert(eq(u64, after.bytes_unused - before.bytes_unused,
                before.large_bytes / 10 * 7));
        wake(&releaser, thread);
        let_all_go(heap, blocks + 7, 3);
        close_heap(&heap);
    }
}

Test(heap_pitfalls, what_one_thread_gave_back_another_one_takes)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct weir_heap *heap = open_heap(64 * MIB, 0);
        for (size_t k = 0; k < 20; k++)
            blocks[k] = get(heap, sizes[i]);
        uint64_t unused = numbers_of(heap).bytes_unused;
        struct releaser releaser = { .heap = heap, .count = 20 };
        pthread_t thread = release_there(&releaser);
        wake(&releaser, thread);
        for (size_t k = 0; k < 20; k++)
            blocks[k] = get(heap, sizes[i]);
        cr_assert(eq(u64, numbers_of(heap).bytes_unused, unused));
        let_all_go(heap, blocks, 20);
        close_heap(&heap);
    }
}

static void *
take_and_release(void *user)
{
    struct weir_heap *heap = user;
    for (size_t i = 0; i < 3; i++)
        let_go(heap, get(heap, (size_t)64 << i * 4));
    return NULL;
}

/* A cache that was dropped took its blocks along: 32 of them, 1 MiB. */
Test(heap_pitfalls, threads_that_end_take_nothing_from_a_small_heap)
{
    struct weir_heap *heap = open_heap(1 * MIB, 1 * MIB);

    for (int i = 0; i < 100; i++)
        on_thread(take_and_release, heap);

    cr_assert(eq(u64, numbers_of(heap).sweeps, 0));
    size_t count = get_all(heap, 64, blocks, SMALLEST);
    cr_assert(eq(sz, count, 16384));
    let_all_go(heap, blocks, count);
    close_heap(&heap);
}

/* ---- What a thread keeps ----------------------------------------------- */

/* Eight vectors of 1536 floats: too many for the cache of their class. */
Test(heap_pitfalls, a_batch_of_8_vectors_stays_with_the_thread)
{
    need_caches();
    struct weir_heap *heap = open_heap(64 * MIB, 0);
    uint64_t central = 0;

    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < 8; i++)
            blocks[i] = get(heap, 6144);
        uint64_t least = class_of(heap, 6144).blocks_central;
        for (size_t i = 8; i > 0; i--)
            let_go(heap, blocks[i - 1]);
        if (round == 10)
            central = least;
        if (round < 10)
            continue;
        cr_assert(eq(u64, least, central));
        cr_assert(eq(u64, class_of(heap, 6144).blocks_central, central));
    }

    close_heap(&heap);
}

/* Two blocks of 16 MiB, and 35 MiB of all classes. */
Test(heap_pitfalls, a_thread_keeps_not_much_more_than_cache_bytes)
{
    need_caches();
    struct weir_heap *heap = open_heap(1 * GIB, 0);

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++) {
        size_t size = wr_class_size(class);
        size_t most = 4 * 64 * KIB > size ? 4 * 64 * KIB : size;
        size_t count = size > 64 * KIB ? 20 : 500;
        for (size_t i = 0; i < count; i++)
            blocks[i] = get(heap, size);
        let_all_go(heap, blocks, count);
        cr_assert(
            le(u64, numbers_of(heap).classes[class].blocks_cached * size, most),
            "%zu bytes", size);
    }

    close_heap(&heap);
}

/* ---- Numbers ----------------------------------------------------------- */

/* What is left was rounded, or that of another allocator. */
Test(heap_pitfalls, what_is_left_is_exact_and_what_fits_is_what_it_says)
{
    struct weir_heap *heap = open_heap(16 * MIB, 16 * MIB);
    cr_assert(eq(u64, numbers_of(heap).large_reusable, 16 * MIB));
    for (size_t i = 0; i < 8; i++)
        blocks[i] = get(heap, 2 * MIB - 5);
    cr_assert(eq(u64, numbers_of(heap).large_reusable, 0));
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 0));

    let_go(heap, blocks[1]);
    let_go(heap, blocks[4]);
    let_go(heap, blocks[5]);
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 6 * MIB));
    cr_assert(eq(u64, numbers_of(heap).large_reusable, 4 * MIB));
    cr_assert(eq(u64, numbers_of(heap).large_live, 5));
    cr_assert(eq(u64, numbers_of(heap).large_bytes, 10 * MIB));
    let_go(heap, get(heap, 4 * MIB));
    cr_assert(eq(u64, numbers_of(heap).regions, 1));

    blocks[1] = get(heap, 1 * MIB + 1); /* 17 pages of the smaller hole */
    cr_assert(eq(u64, numbers_of(heap).bytes_unused, 6 * MIB - 17 * 64 * KIB));
    let_all_go(heap, blocks, 4);
    let_all_go(heap, blocks + 6, 2);
    cr_assert(eq(u64, numbers_of(heap).large_reusable, 16 * MIB));
    let_go(heap, get(heap, 16 * MIB));
    cr_assert(eq(u64, numbers_of(heap).regions, 1));
    close_heap(&heap);
}

/* A block that was cut and never out was counted twice, or not at all. */
Test(heap_pitfalls, blocks_that_never_were_out_are_counted_once)
{
    struct weir_heap *heap = open_heap(16 * MIB, 0);

    for (uint32_t class = 0; class < WEIR_HEAP_CLASSES; class ++) {
        void *memory = get(heap, wr_class_size(class));
        struct weir_heap_class_stats numbers = numbers_of(heap).classes[class];
        cr_assert(eq(u64, numbers.blocks_live, 1));
        cr_assert(eq(u64, numbers.blocks_cached + numbers.blocks_central + 1,
            heap->centrals[class].blocks));
        let_go(heap, memory);
        numbers = numbers_of(heap).classes[class];
        cr_assert(eq(u64, numbers.blocks_live, 0));
    }

    close_heap(&heap);
}
