/* SPDX-License-Identifier: MIT */
/*
 * heap_life: heaps are made, and end.
 *
 * Idea
 *   A heap lies in a mapping of its own. A thread's records may outlive it, so
 *   heaps that are there are kept in a list, and who has only a record's word for
 *   it looks there, under a lock that keeps heaps from ending.
 *
 * Edges
 *   [default]  weir_heap_default, release  ->  wr_heap_default, acquire
 *              What the default heap was made as.
 *
 * Limits
 *   The default heap never ends.
 */

#include "core/heap.h"

#include "base/check.h"
#include "base/config.h"
#include "platform/clock.h"
#include "platform/fence.h"
#include "platform/poison.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

extern inline enum weir_status weir_heap_create(
    const struct weir_heap_config *config, struct weir_heap **heap);

#define DEFAULT_REGION ((size_t)1 << 30)
#define DEFAULT_LEAST  ((size_t)4 << 20)
#define REGION_MAX     ((size_t)64 << 30)

enum {
    DEFAULT_REFILL = 32 << 10,
    DEFAULT_CACHE = 64 << 10,
    DEFAULT_DECAY_MS = 500
};

static struct wr_mutex lock = WR_MUTEX_INITIAL;
static struct weir_heap *heaps;
static uint64_t serials;

void
wr_heaps_lock(void)
{
    wr_mutex_lock(&lock);
}

void
wr_heaps_unlock(void)
{
    wr_mutex_unlock(&lock);
}

struct weir_heap *
wr_heaps_first(void)
{
    return heaps;
}

bool
wr_heaps_have(const struct weir_heap *heap, uint64_t serial)
{
    const struct weir_heap *known = heaps;
    while (known != NULL && (known != heap || known->serial != serial))
        known = known->next;
    return known != NULL;
}

void
wr_heap_fail(const struct weir_heap *heap, const char *what)
{
    char line[128];
    (void)snprintf(line, sizeof line, "heap '%s': %s", heap->name, what);
    wr_fail(line, NULL, WR_NO_BLOCK);
}

/* ---- Configuration ----------------------------------------------------- */

static void
set_defaults(struct weir_heap_config *config)
{
    if (config->name == NULL)
        config->name = "heap";
    if (config->align == 0)
        config->align = WR_CLASS_UNIT;
    if (config->bytes_max == 0)
        config->bytes_max = SIZE_MAX;
    if (config->refill_bytes == 0)
        config->refill_bytes = DEFAULT_REFILL;
    if (config->cache_bytes == 0)
        config->cache_bytes = DEFAULT_CACHE;
    if (config->decay_ms == 0)
        config->decay_ms = DEFAULT_DECAY_MS;
}

static bool
is_valid(const struct weir_heap_config *config)
{
    return wr_config_is_name(config->name) &&
           config->region_bytes <= REGION_MAX &&
           wr_is_power_of_two(config->align) &&
           config->align <= WR_HEAP_ALIGN_MAX &&
           config->bytes_max >= WR_PAGE_BYTES;
}

/* ---- Its life ---------------------------------------------------------- */

/* In whole pages, and no more than may be in use. */
static size_t
region_size(const struct weir_heap *heap, size_t bytes)
{
    size_t pages = (bytes + WR_PAGE_BYTES - 1) >> WR_PAGE_SHIFT;
    return (pages < heap->pages_max ? pages : heap->pages_max) << WR_PAGE_SHIFT;
}

static void
configure(struct weir_heap *heap, const struct weir_heap_config *config)
{
    heap->pages_max = config->bytes_max >> WR_PAGE_SHIFT;
    heap->region_bytes = region_size(heap, config->region_bytes);
    heap->region_least = heap->region_bytes;
    if (config->region_bytes == 0) {
        heap->region_bytes = region_size(heap, DEFAULT_REGION);
        heap->region_least = region_size(heap, DEFAULT_LEAST);
    }
    bool is_unit = config->align <= WR_CLASS_UNIT;
    heap->align = is_unit ? WR_CLASS_UNIT : config->align;
    heap->small_max = is_unit ? WR_CLASS_SMALL_MAX : 0;
    heap->refill_bytes = config->refill_bytes;
    heap->cache_bytes = config->cache_bytes;
    heap->decay_ms = config->decay_ms;
    heap->is_cached = wr_fence_is_supported() && !wr_poison_is_on();
    atomic_init(&heap->tick_ms, wr_clock_ms());
    heap->page_count = 1; /* page 0 is none's */
    memcpy(heap->name, config->name, strlen(config->name) + 1);
    wr_mutex_init(&heap->lock);
    for (uint32_t i = 0; i < WR_CLASS_SMALL_COUNT; i++)
        wr_mutex_init(&heap->centrals[i].lock);
}

static void
publish(struct weir_heap *heap)
{
    wr_mutex_lock(&lock);
    heap->serial = ++serials;
    heap->next = heaps;
    if (heaps != NULL)
        heaps->previous = heap;
    heaps = heap;
    wr_mutex_unlock(&lock);
}

static void
withdraw(struct weir_heap *heap)
{
    wr_mutex_lock(&lock);
    if (heap->previous != NULL)
        heap->previous->next = heap->next;
    else
        heaps = heap->next;
    if (heap->next != NULL)
        heap->next->previous = heap->previous;
    heap->serial = 0;
    wr_mutex_unlock(&lock);
}

static void
unmap(struct weir_heap *heap)
{
    struct wr_region mapping = heap->mapping;
    wr_heap_unmap_regions(heap);
    for (uint32_t i = 0; i < WR_CLASS_SMALL_COUNT; i++)
        wr_mutex_fini(&heap->centrals[i].lock);
    wr_mutex_fini(&heap->lock);
    wr_pages_unmap(&mapping);
}

enum weir_status
weir_heap_create_sized(const struct weir_heap_config *config,
    size_t config_size, struct weir_heap **heap)
{
    struct weir_heap_config known;
    struct wr_region mapping;
    if (!wr_config_adopt(&known, sizeof(known), config, config_size))
        return WEIR_UNSUPPORTED;
    set_defaults(&known);
    if (!is_valid(&known))
        return WEIR_INVALID;
    if (!wr_heap_fork_prepare() || !wr_pages_map(sizeof(struct weir_heap),
                                       WR_LINE_SIZE, WR_PAGES_NORMAL, &mapping))
        return WEIR_SYSTEM;
    struct weir_heap *made = mapping.base;
    made->mapping = mapping;
    configure(made, &known);
    if (wr_heap_add_region(made, 1) != WEIR_OK) {
        int why = errno;
        unmap(made);
        errno = why;
        return WEIR_SYSTEM;
    }
    publish(made);
    *heap = made;
    return WEIR_OK;
}

/* The heap of weir_alloc. */
static _Atomic(struct weir_heap *) the_default;
static struct wr_mutex default_lock = WR_MUTEX_INITIAL;

void
weir_heap_destroy(struct weir_heap **heap)
{
    struct weir_heap *dying = *heap;
    *heap = NULL;
    if (dying == NULL)
        return;
    WR_CHECK(dying != wr_load_relaxed(&the_default), /* an address */
        "the default heap was destroyed");
    WR_CHECK(dying->serial != 0, "a heap was destroyed twice");
    withdraw(dying);
    unmap(dying);
}

struct weir_heap *
wr_heap_default(void)
{
    struct weir_heap *heap = wr_load_acquire(&the_default); /* [default] */
    return heap != NULL ? heap : weir_heap_default();
}

struct weir_heap *
weir_heap_default(void)
{
    if (!wr_heap_fork_prepare())
        return NULL;
    wr_mutex_lock(&default_lock);
    struct weir_heap *heap = wr_load_relaxed(&the_default); /* under the lock */
    if (heap == NULL && weir_heap_create(NULL, &heap) == WEIR_OK)
        wr_store_release(&the_default, heap); /* [default] */
    wr_mutex_unlock(&default_lock);
    return heap;
}

void
wr_heap_lock_default(void)
{
    wr_mutex_lock(&default_lock);
}

void
wr_heap_unlock_default(void)
{
    wr_mutex_unlock(&default_lock);
}
