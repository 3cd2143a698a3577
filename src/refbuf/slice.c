/* SPDX-License-Identifier: MIT */
/*
 * slice: a counted, read-only range of a block.
 *
 *     block  [ . . . . | data: len | . . . . ]
 *
 * Idea
 *   A slice is a range and a share of the references on the memory it lies in
 *   (refs.c). Cloning and cutting make a second range with part of the share, in
 *   the caller's own memory; no node is allocated and no list is kept.
 *
 * Invariants
 *   1. The empty slice is all zero; a slice of no bytes is always the empty
 *      one and holds nothing.
 *   2. The range lies inside the memory, and nobody writes there while a slice
 *      covers it.
 *
 * Costs
 *   No locked instruction but those of refs.c.
 */

#include "arena/arena.h"
#include "base/check.h"
#include "core/memory.h"
#include "refbuf/refs.h"

static bool
is_empty(const struct weir_slice *slice)
{
    return wr_word_kind(slice->word) == WR_EMPTY;
}

/* Narrows a slice that is not empty; no bytes would be invariant 1's. */
static void
narrow(struct weir_slice *slice, size_t from, size_t len)
{
    WR_ASSERT(len > 0 && from + len <= wr_word_len(slice->word));
    slice->data += from;
    slice->word = wr_word_with_len(slice->word, (uint32_t)len);
}

void
weir_slice_clone_rarely(struct weir_slice *slice, struct weir_slice *copy)
{
    WR_CHECK(copy != slice, "a slice was cloned into itself");
    if (is_empty(slice)) {
        *copy = (struct weir_slice){ 0 };
        return;
    }
    copy->data = slice->data;
    copy->word = wr_refs_divide(&slice->word, slice->owner);
    copy->owner = slice->owner;
}

void
weir_slice_clone_shared(const struct weir_slice *slice, struct weir_slice *copy)
{
    if (is_empty(slice)) {
        *copy = (struct weir_slice){ 0 };
        return;
    }
    copy->data = slice->data;
    copy->word = wr_refs_add(slice->word, slice->owner);
    copy->owner = slice->owner;
}

enum weir_status
weir_slice_sub(
    struct weir_slice *slice, size_t from, size_t len, struct weir_slice *part)
{
    size_t have = wr_word_len(slice->word);
    WR_CHECK(part != slice, "a slice was cut into itself");
    if (from > have || len > have - from)
        return WEIR_OUT_OF_RANGE;
    if (len == 0) {
        *part = (struct weir_slice){ 0 };
        return WEIR_OK;
    }
    struct weir_slice made;
    weir_slice_clone(slice, &made);
    narrow(&made, from, len);
    *part = made;
    return WEIR_OK;
}

/* Moves the whole slice, where cutting leaves nothing behind. */
static void
move(struct weir_slice *slice, struct weir_slice *to)
{
    struct weir_slice moved = *slice;
    *slice = (struct weir_slice){ 0 };
    *to = moved;
}

enum weir_status
weir_slice_split_front(
    struct weir_slice *slice, size_t n, struct weir_slice *front)
{
    size_t have = wr_word_len(slice->word);
    if (n > have)
        return WEIR_OUT_OF_RANGE;
    if (n == have) {
        move(slice, front);
        return WEIR_OK;
    }
    enum weir_status status = weir_slice_sub(slice, 0, n, front);
    if (status == WEIR_OK)
        narrow(slice, n, have - n);
    return status;
}

enum weir_status
weir_slice_split_back(
    struct weir_slice *slice, size_t n, struct weir_slice *back)
{
    size_t have = wr_word_len(slice->word);
    if (n > have)
        return WEIR_OUT_OF_RANGE;
    if (n == have) {
        move(slice, back);
        return WEIR_OK;
    }
    enum weir_status status = weir_slice_sub(slice, have - n, n, back);
    if (status == WEIR_OK)
        narrow(slice, 0, have - n);
    return status;
}

void
weir_slice_release(struct weir_slice *slice)
{
    uint64_t word = slice->word;
    uint64_t owner = slice->owner;
    const uint8_t *data = slice->data;
    *slice = (struct weir_slice){ 0 };
    wr_refs_drop(word, owner, data);
}

size_t
weir_slice_trim(struct weir_slice *slice)
{
    if (!wr_word_is_whole_buddy(slice->word) ||
        !wr_refs_is_sole(slice->word, slice->owner))
        return 0;
    return wr_arena_trim(&slice->owner, slice->data, wr_word_len(slice->word));
}

bool
weir_slice_is_sole(const struct weir_slice *slice)
{
    enum wr_kind kind = wr_word_kind(slice->word);
    if (kind == WR_EMPTY || kind == WR_STATIC)
        return false;
    return wr_refs_is_sole(slice->word, slice->owner);
}

enum weir_status
weir_slice_thaw(struct weir_slice *slice, struct weir_buf *buf)
{
    enum wr_kind kind = wr_word_kind(slice->word);
    if (kind == WR_EMPTY) {
        *buf = (struct weir_buf){ 0 };
        return WEIR_OK;
    }
    if (kind == WR_STATIC || kind == WR_FOREIGN)
        return WEIR_UNSUPPORTED;
    if (!wr_refs_is_sole(slice->word, slice->owner))
        return WEIR_SHARED;

    size_t size;
    uint8_t *block = wr_arena_block(slice->word, slice->owner, &size);
    size_t head = (size_t)(slice->data - block);
    size_t len = wr_word_len(slice->word);
    WR_ASSERT(head + len <= size);
    buf->data = block + head;
    buf->word = wr_refs_make_whole(slice->word, slice->owner);
    buf->owner = slice->owner;
    buf->head = (uint32_t)head;
    buf->room = (uint32_t)(size - head - len);
    *slice = (struct weir_slice){ 0 };
    return WEIR_OK;
}

enum weir_status
weir_slice_static(const void *bytes, size_t n, struct weir_slice *slice)
{
    if (n > UINT32_MAX)
        return WEIR_TOO_LARGE;
    *slice = (struct weir_slice){ 0 };
    if (n > 0) {
        slice->data = bytes;
        slice->word = wr_word_pack(0, WR_STATIC, (uint32_t)n);
    }
    return WEIR_OK;
}

enum weir_status
weir_slice_foreign(const void *bytes, size_t n, weir_release_fn *release_fn,
    void *user, struct weir_slice *slice)
{
    if (n > UINT32_MAX)
        return WEIR_TOO_LARGE;
    if (n == 0) {
        *slice = (struct weir_slice){ 0 };
        if (release_fn != NULL)
            release_fn(bytes, n, user);
        return WEIR_OK;
    }
    struct wr_foreign *foreign = wr_memory_alloc(sizeof(*foreign));
    if (foreign == NULL)
        return WEIR_SYSTEM;
    atomic_init(&foreign->refs, WR_WEIGHT_WHOLE);
    foreign->release = release_fn;
    foreign->bytes = bytes;
    foreign->len = n;
    foreign->user = user;
    slice->data = bytes;
    slice->word = wr_word_pack(WR_WEIGHT_WHOLE, WR_FOREIGN, (uint32_t)n);
    slice->owner = (uint64_t)(uintptr_t)foreign;
    return WEIR_OK;
}
