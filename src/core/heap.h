/* SPDX-License-Identifier: MIT */
/*
 * heap: what its files share.
 *
 *     heap.c          the doors: alloc and release, from and to the thread's cache
 *     heap_rare.c     what the doors do when it is not the common case
 *     heap_large.c    blocks above 1 MiB
 *     heap_record.c   what one thread keeps of one heap
 *     shelf.c         what it keeps of one class
 *     central_pool.c  spans of equal blocks, a lock for each class
 *     heap_region.c   address space, page by page, and when it goes back
 *     heap_life.c     heaps are made, and end
 *     heap_fork.c     heaps in a child
 *     heap_calls.c    what else can be done with a heap and its blocks
 *     heap_stats.c    a heap in numbers, and whether it is sound
 *
 * Locks are taken in this order: that of the default heap's first use, that of
 * all heaps, a heap's, a class's, a region's, that of spare records. Those of
 * arenas come before all of these: they use the heap while they hold them.
 */
#ifndef WR_HEAP_H
#define WR_HEAP_H

#include "base/atomic.h"
#include "core/central_pool.h"
#include "core/heap_record.h"
#include "core/heap_region.h"
#include "core/size_class.h"
#include "platform/pages.h"
#include "platform/thread.h"
#include "weir/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WR_HEAP_ALIGN_MAX = WR_HUGE_PAGE_SIZE };

struct weir_heap {
    struct wr_central centrals[WR_CLASS_SMALL_COUNT];
    uint64_t serial;  /* no two heaps have the same; 0: ended */
    size_t small_max; /* bytes that the common path may give; 0: none */
    size_t align;     /* of all blocks */
    bool is_cached;   /* threads keep blocks */
    _Atomic uint64_t tick_ms;
    _Atomic size_t pages_used; /* by spans and large blocks */
    size_t region_bytes;
    size_t region_least; /* where the system refuses so much */
    size_t pages_max;    /* in use at once */
    size_t refill_bytes;
    size_t cache_bytes;
    unsigned decay_ms;

    struct wr_mutex lock; /* what follows */
    struct wr_heap_record *records;
    uint64_t record_count;
    uint64_t bytes_reserved;
    uint64_t sweeps;
    uint32_t page_count; /* numbers given to pages; 0 is none's */
    _Atomic uint32_t region_count;
    struct wr_heap_region *regions[WR_REGIONS_MAX];
    struct weir_heap *next; /* of all heaps, under their lock */
    struct weir_heap *previous;
    char name[WEIR_NAME_SIZE];
    struct wr_region mapping; /* where this lies */
};

/* Aborts: `what` was done to a block of the heap. */
_Noreturn void wr_heap_fail(const struct weir_heap *heap, const char *what);

static inline uint32_t
wr_heap_region_count(const struct weir_heap *heap)
{
    return wr_load_acquire(&heap->region_count); /* [region] */
}

/* ---- heap_rare.c ---- */

/* A block that is out. */
struct wr_place {
    struct wr_heap_region *region;
    uint32_t page;  /* of the region: where the span or the block starts */
    uint32_t class; /* WR_CLASS_SMALL_COUNT: large */
    uint32_t index; /* in its span */
};

/* The parts of alloc and release that are not common; see heap.c. `size` of a
   release: 0: not to be looked at. */
enum weir_status wr_heap_alloc_rarely(
    struct weir_heap *heap, size_t size, void **memory, uint32_t class);
enum weir_status wr_heap_alloc_swept(
    struct weir_heap *heap, size_t size, void **memory, uint32_t class);
enum weir_status wr_heap_hand_out(
    struct weir_heap *heap, size_t size, void **memory, void *block);
enum weir_status wr_heap_release_rarely(
    struct weir_heap *heap, void *memory, size_t size);
enum weir_status wr_heap_release_full(struct weir_heap *heap, void *memory,
    const struct wr_shelf *shelf, _Atomic uint32_t *asked);
enum weir_status wr_heap_release_swept(
    struct weir_heap *heap, void *memory, struct wr_shelf *shelf);

/* A block of a class that is not that of its size. */
enum weir_status wr_heap_alloc_class(
    struct weir_heap *heap, size_t size, void **memory, uint32_t class);

/* What would do for somebody who looks: a run of pages, or a block of a class. */
struct wr_hunt {
    uint32_t pages;
    uint32_t align;   /* theirs */
    uint32_t class;   /* WR_CLASS_SMALL_COUNT: none */
    uint32_t regions; /* that were looked at */
};
struct wr_hunt wr_heap_hunt(const struct weir_heap *heap, uint32_t pages,
    uint32_t align, uint32_t class);

/* For who found none: makes one likely. Any status but WEIR_OK: there can be
   none. */
enum weir_status wr_heap_make_room(
    struct weir_heap *heap, struct wr_hunt *hunt);

/* Finds it, or says why there is none. */
enum weir_status wr_heap_find(
    const struct weir_heap *heap, const void *memory, struct wr_place *place);

/* Where it is noted what was asked for. */
static inline _Atomic uint32_t *
wr_heap_asked_at(const struct wr_place *place)
{
    return &place->region
                ->sizes[(size_t)place->page * WR_PAGE_UNITS +
                        (size_t)place->index * wr_class_units(place->class)];
}

/* ---- heap_large.c ---- */

enum weir_status wr_heap_large_alloc(struct weir_heap *heap, size_t size,
    size_t align, bool zeroed, void **memory);
enum weir_status wr_heap_large_release(
    struct weir_heap *heap, const struct wr_place *place, size_t size);
enum weir_status wr_heap_large_resize(
    struct weir_heap *heap, const struct wr_place *place, size_t size);

/* What it can hold. */
size_t wr_heap_large_usable(const struct wr_place *place);

/* ---- heap_calls.c ---- */

/* What is not for the common path: large, or aligned to more than a unit. */
enum weir_status wr_heap_alloc_otherwise(
    struct weir_heap *heap, size_t size, void **memory);

/* Sets errno; returns NULL. */
void *wr_heap_alloc_failed(enum weir_status status);

/* ---- heap_life.c ---- */

/* The heap of weir_alloc, made by the first call. NULL: errno says why. */
struct weir_heap *wr_heap_default(void);

/* Keeps heaps from ending and being made, and says whether this one is there. */
void wr_heaps_lock(void);
void wr_heaps_unlock(void);
bool wr_heaps_have(const struct weir_heap *heap, uint64_t serial);

/* All there are. */
struct weir_heap *wr_heaps_first(void);

/* The same for the first use of the default heap; taken before all others. */
void wr_heap_lock_default(void);
void wr_heap_unlock_default(void);

/* ---- heap_fork.c ---- */

/* Has fork keep heaps sound. No lock of theirs is held. False: no memory; errno
   says why. */
bool wr_heap_fork_prepare(void);

#endif
