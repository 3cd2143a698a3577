/* SPDX-License-Identifier: MIT */
/* heap: what unit tests of heaps do again and again. */
#ifndef SUPPORT_HEAP_H
#define SUPPORT_HEAP_H

#include "core/heap.h"
#include "platform/poison.h"
#include "support/unit.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static inline struct weir_heap *
open_heap(size_t region_bytes, size_t bytes_max)
{
    struct weir_heap *heap = NULL;
    cr_assert(eq(int,
        weir_heap_create(
            &(struct weir_heap_config){
                .name = "test",
                .region_bytes = region_bytes,
                .bytes_max = bytes_max,
            },
            &heap),
        WEIR_OK));
    return heap;
}

static inline struct weir_heap_stats
numbers_of(struct weir_heap *heap)
{
    struct weir_heap_stats stats;
    weir_heap_stats(heap, &stats);
    return stats;
}

/* Blocks of all classes that are out, and large ones. */
static inline uint64_t
live_blocks(struct weir_heap *heap)
{
    struct weir_heap_stats stats = numbers_of(heap);
    uint64_t count = stats.large_live;
    for (size_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        count += stats.classes[i].blocks_live;
    return count;
}

/* And those that threads keep. */
static inline uint64_t
cached_blocks(struct weir_heap *heap)
{
    struct weir_heap_stats stats = numbers_of(heap);
    uint64_t count = 0;
    for (size_t i = 0; i < WEIR_HEAP_CLASSES; i++)
        count += stats.classes[i].blocks_cached;
    return count;
}

/* Threads keep nothing where a sanitizer is told of every block. */
static inline void
need_caches(void)
{
    if (wr_poison_is_on())
        cr_skip_test("the sanitizer is told of every block");
}

/* A block, which must be there. */
static inline void *
get(struct weir_heap *heap, size_t size)
{
    void *memory = NULL;
    enum weir_status status = weir_heap_alloc(heap, size, &memory);
    cr_assert(eq(int, status, WEIR_OK), "%zu bytes: %s", size,
        weir_status_name(status));
    cr_assert(eq(sz, (uintptr_t)memory % 64, 0));
    return memory;
}

static inline void
let_go(struct weir_heap *heap, void *memory)
{
    enum weir_status status = weir_heap_release(heap, memory);
    cr_assert(eq(int, status, WEIR_OK), "%s", weir_status_name(status));
}

/* Takes until it is full; returns how many. */
static inline size_t
get_all(struct weir_heap *heap, size_t size, void **blocks, size_t most)
{
    size_t count = 0;
    enum weir_status status = WEIR_OK;
    while (count < most && status == WEIR_OK) {
        status = weir_heap_alloc(heap, size, &blocks[count]);
        count += status == WEIR_OK;
    }
    cr_assert(
        status == WEIR_FULL || count == most, "%s", weir_status_name(status));
    return count;
}

static inline void
let_all_go(struct weir_heap *heap, void **blocks, size_t count)
{
    size_t refused = 0;
    for (size_t i = 0; i < count; i++)
        refused += weir_heap_release(heap, blocks[i]) != WEIR_OK;
    cr_assert(eq(sz, refused, 0));
}

/* All bytes are `paint`. */
static inline bool
is_painted(const void *memory, size_t size, int paint)
{
    const unsigned char *bytes = memory;
    return bytes[0] == (unsigned char)paint &&
           memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Sees that every block is home, and ends the heap. */
static inline void
close_heap(struct weir_heap **heap)
{
    weir_heap_check(*heap);
    cr_assert(eq(u64, live_blocks(*heap), 0));
    weir_heap_destroy(heap);
    cr_assert(zero(ptr, *heap));
    no_leaks();
}

/* Memory of the process that is resident, as the kernel sees it. */
static inline size_t
resident_bytes(void)
{
    char line[128] = "";
    size_t mapped = 0;
    size_t resident = 0;
    int file = open("/proc/self/statm", O_RDONLY);
    cr_assert(gt(int, (int)read(file, line, sizeof line - 1), 0));
    (void)close(file);
    cr_assert(eq(int, sscanf(line, "%zu %zu", &mapped, &resident), 2));
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

#endif
