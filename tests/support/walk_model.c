/* SPDX-License-Identifier: MIT */
/* walk_model: bufs and slices as a naive library would do them. */

#include "support/walk_model.h"

#include <stdlib.h>
#include <string.h>

size_t model_let_go;

/* ---- Memory ------------------------------------------------------------ */

static void *
copy_of(const void *bytes, size_t n)
{
    void *copy = malloc(n + 1);
    if (copy == NULL)
        abort();
    if (n > 0)
        memcpy(copy, bytes, n);
    return copy;
}

static struct model_memory *
make_memory(enum model_kind kind, struct model_arena *arena, size_t size)
{
    const struct model_memory made = { kind, arena, size, 1, 0 };
    return copy_of(&made, sizeof made);
}

static void
let_go(struct model_memory *memory)
{
    if (memory == NULL || --memory->holders > 0)
        return;
    struct model_arena *arena = memory->arena;
    switch (memory->kind) {
    case MODEL_BLOCK:
        arena->stats.blocks_out--;
        arena->stats.releases++;
        break;
    case MODEL_HEAP:
        arena->stats.spilled_blocks--;
        arena->stats.spilled_bytes -= memory->size;
        arena->stats.releases++;
        break;
    case MODEL_FOREIGN:
        model_let_go++;
        break;
    case MODEL_STATIC:
        break;
    }
    free(memory);
}

/* Heap memory for an arena, if it may have so much. */
static struct model_memory *
spill(struct model_arena *arena, size_t size)
{
    if (arena->stats.spilled_bytes + size > arena->spill_bytes_max)
        return NULL;
    arena->stats.spilled_blocks++;
    arena->stats.spilled_bytes += size;
    arena->stats.allocs++;
    return make_memory(MODEL_HEAP, arena, size);
}

static bool
is_empty(const struct model_range *range)
{
    return range->memory == NULL;
}

/* Replaces what the range holds; `bytes` may be its own. */
static void
set_bytes(struct model_range *range, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = copy_of(bytes, len);
    free(range->bytes);
    range->bytes = copy;
    range->len = len;
}

/* ---- Bufs -------------------------------------------------------------- */

static void
begin(struct model_buf *buf, struct model_memory *memory)
{
    *buf = (struct model_buf){ .room = memory->size };
    buf->range.memory = memory;
    set_bytes(&buf->range, NULL, 0);
}

enum weir_status
model_alloc(struct model_arena *arena, size_t size, struct model_buf *buf)
{
    struct weir_stats *stats = &arena->stats;
    if (size > arena->block_size)
        return WEIR_TOO_LARGE;
    if (arena->closed)
        return WEIR_CLOSED;
    if (stats->blocks_out < arena->block_count) {
        stats->blocks_out++;
        stats->allocs++;
        begin(buf, make_memory(MODEL_BLOCK, arena, arena->block_size));
        return WEIR_OK;
    }
    struct model_memory *heap = NULL;
    if ((arena->flags & WEIR_SPILL_FULL) != 0)
        heap = spill(arena, arena->block_size);
    if (heap == NULL) {
        stats->alloc_fulls++;
        return WEIR_FULL;
    }
    stats->spill_fulls++;
    begin(buf, heap);
    return WEIR_OK;
}

enum weir_status
model_reserve(struct model_buf *buf, size_t n)
{
    if (n <= buf->room)
        return WEIR_OK;
    struct model_memory *old = buf->range.memory;
    if (old == NULL || (old->arena->flags & WEIR_SPILL_GROW) == 0)
        return WEIR_NO_ROOM;
    size_t kept = buf->head + buf->range.len;
    struct model_memory *larger = spill(old->arena, 2 * (kept + n));
    if (larger == NULL)
        larger = spill(old->arena, kept + n);
    if (larger == NULL)
        return WEIR_NO_ROOM;
    old->arena->stats.spill_grows++;
    old->arena->stats.bytes_copied += buf->range.len;
    buf->range.memory = larger;
    buf->range.from = buf->head;
    buf->room = larger->size - kept;
    let_go(old);
    return WEIR_OK;
}

enum weir_status
model_write(struct model_buf *buf, const uint8_t *bytes, size_t n)
{
    enum weir_status status = model_reserve(buf, n);
    if (status != WEIR_OK || n == 0)
        return status;
    struct model_range *range = &buf->range;
    range->bytes = realloc(range->bytes, range->len + n);
    if (range->bytes == NULL)
        abort();
    memcpy(range->bytes + range->len, bytes, n);
    range->len += n;
    buf->room -= n;
    return WEIR_OK;
}

enum weir_status
model_headroom(struct model_buf *buf, size_t n)
{
    if (n == 0)
        return WEIR_OK;
    if (n > buf->room || buf->range.len > 0)
        return WEIR_NO_ROOM;
    buf->head += n;
    buf->range.from += n;
    buf->room -= n;
    return WEIR_OK;
}

enum weir_status
model_prepend(struct model_buf *buf, const uint8_t *bytes, size_t n)
{
    struct model_range *range = &buf->range;
    if (n > buf->head)
        return WEIR_NO_ROOM;
    if (n == 0)
        return WEIR_OK;
    range->bytes = realloc(range->bytes, range->len + n);
    if (range->bytes == NULL)
        abort();
    memmove(range->bytes + n, range->bytes, range->len);
    memcpy(range->bytes, bytes, n);
    range->len += n;
    range->from -= n;
    buf->head -= n;
    return WEIR_OK;
}

void
model_truncate(struct model_buf *buf, size_t len)
{
    if (len >= buf->range.len)
        return;
    buf->room += buf->range.len - len;
    buf->range.len = len;
}

void
model_split(struct model_buf *buf, struct model_range *range)
{
    struct model_range *rest = &buf->range;
    *range = (struct model_range){ 0 };
    if (rest->len == 0)
        return;
    rest->memory->arena->stats.freezes++;
    rest->memory->arena->stats.bytes_frozen += rest->len;
    model_clone(rest, range);
    rest->from += rest->len;
    rest->len = 0;
    buf->head = 0;
}

void
model_freeze(struct model_buf *buf, struct model_range *range)
{
    model_split(buf, range);
    model_drop(buf);
}

void
model_drop(struct model_buf *buf)
{
    model_release(&buf->range);
    *buf = (struct model_buf){ 0 };
}

/* ---- Slices ------------------------------------------------------------ */

void
model_clone(const struct model_range *range, struct model_range *copy)
{
    *copy = (struct model_range){ 0 };
    if (is_empty(range))
        return;
    *copy = *range;
    copy->bytes = copy_of(range->bytes, range->len);
    copy->memory->holders++;
}

enum weir_status
model_sub(const struct model_range *range, size_t from, size_t len,
    struct model_range *part)
{
    if (from > range->len || len > range->len - from)
        return WEIR_OUT_OF_RANGE;
    *part = (struct model_range){ 0 };
    if (len == 0)
        return WEIR_OK;
    model_clone(range, part);
    set_bytes(part, part->bytes + from, len);
    part->from += from;
    return WEIR_OK;
}

/* Leaves `len` bytes from `from` on, and the empty slice of none. */
static void
keep(struct model_range *range, size_t from, size_t len)
{
    if (len == 0) {
        model_release(range);
        return;
    }
    set_bytes(range, range->bytes + from, len);
    range->from += from;
}

enum weir_status
model_split_front(
    struct model_range *range, size_t n, struct model_range *front)
{
    enum weir_status status = model_sub(range, 0, n, front);
    if (status == WEIR_OK)
        keep(range, n, range->len - n);
    return status;
}

enum weir_status
model_split_back(struct model_range *range, size_t n, struct model_range *back)
{
    if (n > range->len)
        return WEIR_OUT_OF_RANGE;
    enum weir_status status = model_sub(range, range->len - n, n, back);
    if (status == WEIR_OK)
        keep(range, 0, range->len - n);
    return status;
}

void
model_release(struct model_range *range)
{
    let_go(range->memory);
    free(range->bytes);
    *range = (struct model_range){ 0 };
}

bool
model_is_sole(const struct model_range *range)
{
    return !is_empty(range) && range->memory->kind != MODEL_STATIC &&
           range->memory->holders == 1;
}

enum weir_status
model_thaw(struct model_range *range, struct model_buf *buf)
{
    if (is_empty(range)) {
        *buf = (struct model_buf){ 0 };
        return WEIR_OK;
    }
    const struct model_memory *memory = range->memory;
    if (memory->kind == MODEL_STATIC || memory->kind == MODEL_FOREIGN)
        return WEIR_UNSUPPORTED;
    if (memory->holders != 1)
        return WEIR_SHARED;
    buf->range = *range;
    buf->head = range->from;
    buf->room = memory->size - range->from - range->len;
    *range = (struct model_range){ 0 };
    return WEIR_OK;
}

void
model_other(enum model_kind kind, const uint8_t *bytes, size_t len,
    struct model_range *range)
{
    *range = (struct model_range){ 0 };
    if (len == 0) {
        model_let_go += kind == MODEL_FOREIGN;
        return;
    }
    range->memory = make_memory(kind, NULL, len);
    set_bytes(range, bytes, len);
}

/* ---- Chains ------------------------------------------------------------ */

void
model_push(struct model_chain *chain, size_t index, struct model_range *range)
{
    if (is_empty(range))
        return;
    struct model_range *place = &chain->ranges[index];
    memmove(place + 1, place, (chain->count - index) * sizeof *place);
    *place = *range;
    chain->count++;
    *range = (struct model_range){ 0 };
}

void
model_pop(struct model_chain *chain, struct model_range *range)
{
    *range = (struct model_range){ 0 };
    if (chain->count == 0)
        return;
    *range = chain->ranges[0];
    chain->count--;
    memmove(
        chain->ranges, chain->ranges + 1, chain->count * sizeof *chain->ranges);
}

size_t
model_chain_len(const struct model_chain *chain)
{
    size_t len = 0;
    for (size_t i = 0; i < chain->count; i++)
        len += chain->ranges[i].len;
    return len;
}

uint8_t *
model_flat(const struct model_chain *chain)
{
    uint8_t *bytes = malloc(model_chain_len(chain) + 1);
    if (bytes == NULL)
        abort();
    size_t len = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(bytes + len, chain->ranges[i].bytes, chain->ranges[i].len);
        len += chain->ranges[i].len;
    }
    return bytes;
}

enum weir_status
model_advance(struct model_chain *chain, size_t n)
{
    if (n > model_chain_len(chain))
        return WEIR_OUT_OF_RANGE;
    while (n > 0) {
        struct model_range first;
        struct model_range sent;
        model_pop(chain, &first);
        size_t part = first.len < n ? first.len : n;
        (void)model_split_front(&first, part, &sent);
        model_release(&sent);
        model_push(chain, 0, &first);
        n -= part;
    }
    return WEIR_OK;
}

void
model_count_copy(const struct model_chain *chain, size_t from, size_t len)
{
    for (size_t i = 0; i < chain->count; i++) {
        const struct model_range *range = &chain->ranges[i];
        size_t skipped = from < range->len ? from : range->len;
        size_t part = range->len - skipped;
        part = part < len ? part : len;
        from -= skipped;
        len -= part;
        if (range->memory->arena != NULL)
            range->memory->arena->stats.bytes_copied += part;
    }
}

enum weir_status
model_linearize(struct model_chain *chain, struct model_arena *arena)
{
    if (chain->count <= 1)
        return WEIR_OK;
    size_t len = model_chain_len(chain);
    struct model_buf buf;
    enum weir_status status = model_alloc(arena, len, &buf);
    if (status != WEIR_OK)
        return status;
    uint8_t *bytes = model_flat(chain);
    (void)model_write(&buf, bytes, len);
    free(bytes);
    arena->stats.bytes_copied += len;

    struct model_range whole;
    model_freeze(&buf, &whole);
    model_release_chain(chain);
    model_push(chain, 0, &whole);
    return WEIR_OK;
}

void
model_release_chain(struct model_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        model_release(&chain->ranges[i]);
    chain->count = 0;
}
