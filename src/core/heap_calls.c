/* SPDX-License-Identifier: MIT */
/* heap_calls: what else can be done with a heap and its blocks. */

#include "core/heap.h"

#include "base/bits.h"
#include "platform/poison.h"

#include <errno.h>
#include <string.h>

enum weir_status
weir_heap_alloc_zeroed(struct weir_heap *heap, size_t size, void **memory)
{
    if (size > WR_CLASS_SMALL_MAX)
        return wr_heap_large_alloc(heap, size, heap->align, true, memory);
    enum weir_status status = weir_heap_alloc(heap, size, memory);
    if (status == WEIR_OK)
        memset(*memory, 0, size);
    return status;
}

enum weir_status
weir_heap_alloc_aligned(
    struct weir_heap *heap, size_t size, size_t align, void **memory)
{
    uint32_t class;
    if (size == 0 || !wr_is_power_of_two(align) || align > WR_HEAP_ALIGN_MAX)
        return WEIR_INVALID;
    if (align < heap->align)
        align = heap->align;
    if (size > WR_CLASS_SMALL_MAX || align > WR_PAGE_BYTES ||
        !wr_class_aligned(size, align, &class) || class >= WR_CLASS_SMALL_COUNT)
        return wr_heap_large_alloc(heap, size, align, false, memory);
    return wr_heap_alloc_class(heap, size, memory, class);
}

enum weir_status
wr_heap_alloc_otherwise(struct weir_heap *heap, size_t size, void **memory)
{
    return weir_heap_alloc_aligned(heap, size, heap->align, memory);
}

enum weir_status
weir_heap_resize(struct weir_heap *heap, void *memory, size_t size)
{
    struct wr_place place;
    enum weir_status status = wr_heap_find(heap, memory, &place);
    if (status != WEIR_OK)
        return status;
    if (size == 0)
        return WEIR_INVALID;
    if (place.class == WR_CLASS_SMALL_COUNT)
        return wr_heap_large_resize(heap, &place, size);
    if (size > wr_class_size(place.class))
        return WEIR_NO_ROOM;
    wr_store_relaxed(
        wr_heap_asked_at(&place), (uint32_t)size); /* it is the caller's */
    wr_poison_open(memory, size, wr_class_size(place.class));
    return WEIR_OK;
}

enum weir_status
weir_heap_usable(struct weir_heap *heap, const void *memory, size_t *size)
{
    struct wr_place place;
    enum weir_status status = wr_heap_find(heap, memory, &place);
    if (status != WEIR_OK)
        return status;
    *size = place.class == WR_CLASS_SMALL_COUNT ? wr_heap_large_usable(&place)
                                                : wr_class_size(place.class);
    wr_poison_open(memory, *size, *size); /* who knows of it may use it */
    return WEIR_OK;
}

void
weir_heap_trim(struct weir_heap *heap)
{
    wr_mutex_lock(&heap->lock);
    wr_heap_sweep(heap);
    wr_central_lock(heap);
    wr_central_trim(heap);
    wr_central_unlock(heap);
    wr_heap_discard(heap);
    wr_mutex_unlock(&heap->lock);
}

/* ---- The default heap -------------------------------------------------- */

static int
errno_of(enum weir_status status)
{
    if (status == WEIR_SYSTEM)
        return errno;
    return status == WEIR_INVALID ? EINVAL : ENOMEM;
}

void *
wr_heap_alloc_failed(enum weir_status status)
{
    errno = errno_of(status);
    return NULL;
}
