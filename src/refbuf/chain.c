/* SPDX-License-Identifier: MIT */
/*
 * chain: slices in order, ready for writev.
 *
 *     slices   [ . | s0 | s1 | s2 ]      or, when there are too many,
 *     more ──▶ [ . . . | s0 | s1 | ... | s9 | . . ]
 *                        ▲ first, count
 *
 * Idea
 *   An array used from the middle: advancing moves `first`, so the front has
 *   space to prepend into, and no slice moves until there is no space where it
 *   is needed. Four fit into the chain itself; then all move to the heap and
 *   stay there.
 *
 * Invariants
 *   1. The slices are [first, first + count) of the array in use; none is
 *      empty.
 *   2. len is the sum of their lengths.
 *   3. An empty chain is all zero and holds no memory; no chain holds a pointer
 *      into itself.
 *
 * Costs
 *   push, prepend: constant on average. The reads walk the slices.
 *
 * Limits
 *   2^30 slices. Readers do not search from where they last were.
 */

#include "arena/arena.h"
#include "base/check.h"
#include "core/memory.h"
#include "refbuf/refs.h"

#include <errno.h>
#include <string.h>

enum { CAPACITY_MAX = 1 << 30 };

static struct weir_slice *
array_of(struct weir_chain *chain)
{
    return chain->more != NULL ? chain->more : chain->slices;
}

static uint32_t
capacity_of(const struct weir_chain *chain)
{
    return chain->more != NULL ? chain->capacity : WEIR_CHAIN_INLINE;
}

const struct weir_slice *
weir_chain_at(const struct weir_chain *chain, size_t index)
{
    WR_ASSERT(index < chain->count);
    const struct weir_slice *array =
        chain->more != NULL ? chain->more : chain->slices;
    return &array[chain->first + index];
}

size_t
weir_chain_len(const struct weir_chain *chain)
{
    return chain->len;
}

size_t
weir_chain_count(const struct weir_chain *chain)
{
    return chain->count;
}

/* Puts the slices at `first` of an array of `capacity`, a new one or the same. */
static void
move_to(struct weir_chain *chain, struct weir_slice *array, uint32_t first)
{
    struct weir_slice *old = array_of(chain);
    memmove(array + first, old + chain->first, chain->count * sizeof(*old));
    chain->first = first;
}

/* Twice the space, on the heap. */
static enum weir_status
enlarge(struct weir_chain *chain)
{
    uint32_t capacity = 2 * capacity_of(chain);
    if (capacity > CAPACITY_MAX) {
        errno = ENOMEM;
        return WEIR_SYSTEM;
    }
    struct weir_slice *larger = wr_memory_alloc(capacity * sizeof(*larger));
    if (larger == NULL)
        return WEIR_SYSTEM;
    move_to(chain, larger, (capacity - chain->count) / 2);
    wr_memory_release(chain->more, "a chain");
    chain->more = larger;
    chain->capacity = capacity;
    return WEIR_OK;
}

/* Makes space for one more slice: behind with `front` 0, before with 1. The
   slices move to the middle while that is cheap, else the array grows; so each
   end has space for as many calls as a move costs. */
static enum weir_status
make_space(struct weir_chain *chain, uint32_t front)
{
    uint32_t capacity = capacity_of(chain);
    bool has_space =
        front == 0 ? chain->first + chain->count < capacity : chain->first > 0;
    if (has_space)
        return WEIR_OK;
    uint32_t movable = chain->more != NULL ? capacity / 2 : capacity - 1;
    if (chain->count > movable)
        return enlarge(chain);
    move_to(chain, array_of(chain), (capacity - chain->count + front) / 2);
    return WEIR_OK;
}

enum weir_status
weir_chain_push(struct weir_chain *chain, struct weir_slice *slice)
{
    size_t len = wr_word_len(slice->word);
    if (len == 0)
        return WEIR_OK;
    enum weir_status status = make_space(chain, 0);
    if (status != WEIR_OK)
        return status;
    array_of(chain)[chain->first + chain->count] = *slice;
    chain->count++;
    chain->len += len;
    *slice = (struct weir_slice){ 0 };
    return WEIR_OK;
}

enum weir_status
weir_chain_prepend(struct weir_chain *chain, struct weir_slice *slice)
{
    size_t len = wr_word_len(slice->word);
    if (len == 0)
        return WEIR_OK;
    enum weir_status status = make_space(chain, 1);
    if (status != WEIR_OK)
        return status;
    chain->first--;
    array_of(chain)[chain->first] = *slice;
    chain->count++;
    chain->len += len;
    *slice = (struct weir_slice){ 0 };
    return WEIR_OK;
}

void
weir_chain_pop(struct weir_chain *chain, struct weir_slice *slice)
{
    if (chain->count == 0) {
        *slice = (struct weir_slice){ 0 };
        return;
    }
    struct weir_slice *front = &array_of(chain)[chain->first];
    *slice = *front;
    *front = (struct weir_slice){ 0 };
    chain->len -= wr_word_len(slice->word);
    chain->first++;
    chain->count--;
    if (chain->count == 0) {
        wr_memory_release(chain->more, "a chain");
        *chain = (struct weir_chain){ 0 };
    }
}

size_t
weir_chain_iov(const struct weir_chain *chain, struct iovec *iov, size_t n)
{
    size_t used = chain->count < n ? chain->count : n;
    for (size_t i = 0; i < used; i++) {
        const struct weir_slice *slice = weir_chain_at(chain, i);
        iov[i].iov_base =
            (void *)(uintptr_t)slice->data; /* writev only reads */
        iov[i].iov_len = wr_word_len(slice->word);
    }
    return used;
}

enum weir_status
weir_chain_advance(struct weir_chain *chain, size_t n)
{
    if (n > chain->len)
        return WEIR_OUT_OF_RANGE;
    while (n > 0) {
        struct weir_slice *front = &array_of(chain)[chain->first];
        size_t len = wr_word_len(front->word);
        if (n < len) {
            front->data += n;
            front->word -= n; /* the length is the lower half */
            chain->len -= n;
            return WEIR_OK;
        }
        struct weir_slice used;
        weir_chain_pop(chain, &used);
        weir_slice_release(&used);
        n -= len;
    }
    return WEIR_OK;
}

/* What of a range of the chain lies in one slice. */
struct part {
    const struct weir_slice *slice;
    const uint8_t *data;
    size_t len;
};

/* A range of the chain that is walked slice by slice. */
struct walk {
    size_t index; /* of the next slice */
    size_t from;  /* in it */
    size_t len;   /* of the rest */
};

/* The next part of a range that is inside the chain; false at its end. */
static bool
next_part(const struct weir_chain *chain, struct walk *walk, struct part *part)
{
    while (walk->len > 0) {
        part->slice = weir_chain_at(chain, walk->index++);
        size_t have = wr_word_len(part->slice->word);
        if (walk->from >= have) {
            walk->from -= have;
            continue;
        }
        size_t rest = have - walk->from;
        part->data = part->slice->data + walk->from;
        part->len = rest < walk->len ? rest : walk->len;
        walk->len -= part->len;
        walk->from = 0;
        return true;
    }
    return false;
}

/* Copies without counting. */
static void
copy_out(const struct weir_chain *chain, size_t from, size_t len, uint8_t *out)
{
    struct walk walk = { 0, from, len };
    struct part part;
    while (next_part(chain, &walk, &part)) {
        memcpy(out, part.data, part.len);
        out += part.len;
    }
}

/* Counts what is copied of each slice in the slice's arena. */
static void
count_copies(const struct weir_chain *chain, size_t from, size_t len)
{
    struct walk walk = { 0, from, len };
    struct part part;
    while (next_part(chain, &walk, &part)) {
        const struct weir_slice *slice = part.slice;
        if (wr_word_is_block(slice->word) ||
            wr_word_kind(slice->word) == WR_SPILLED)
            wr_arena_count(wr_arena_of(slice->word, slice->owner),
                WR_BYTES_COPIED, part.len);
    }
}

static bool
is_inside(const struct weir_chain *chain, size_t from, size_t len)
{
    return from <= chain->len && len <= chain->len - from;
}

enum weir_status
weir_chain_copy(
    const struct weir_chain *chain, size_t from, size_t len, void *out)
{
    if (!is_inside(chain, from, len))
        return WEIR_OUT_OF_RANGE;
    copy_out(chain, from, len, out);
    count_copies(chain, from, len);
    return WEIR_OK;
}

/* True if the bytes stand at byte `at` of slice `index` and on; enough bytes
   follow. */
static bool
matches(const struct weir_chain *chain, size_t index, size_t at,
    const struct iovec *pattern)
{
    const uint8_t *bytes = pattern->iov_base;
    struct walk walk = { index, at, pattern->iov_len };
    struct part part;
    while (next_part(chain, &walk, &part)) {
        if (memcmp(part.data, bytes, part.len) != 0)
            return false;
        bytes += part.len;
    }
    return true;
}

/* The first match that begins in slice `index`, whose first byte is byte `base`
   of the chain, at or behind byte `at` of it; SIZE_MAX if there is none. */
static size_t
find_in_slice(const struct weir_chain *chain, size_t index, size_t base,
    size_t at, const struct iovec *pattern)
{
    const struct weir_slice *slice = weir_chain_at(chain, index);
    size_t len = wr_word_len(slice->word);
    const uint8_t *bytes = pattern->iov_base;
    while (at < len && pattern->iov_len <= chain->len - base - at) {
        const uint8_t *hit = memchr(slice->data + at, bytes[0], len - at);
        if (hit == NULL)
            return SIZE_MAX;
        at = (size_t)(hit - slice->data);
        if (pattern->iov_len > chain->len - base - at)
            return SIZE_MAX;
        if (matches(chain, index, at, pattern))
            return base + at;
        at++;
    }
    return SIZE_MAX;
}

size_t
weir_chain_find(
    const struct weir_chain *chain, size_t from, const void *bytes, size_t n)
{
    if (!is_inside(chain, from, n))
        return SIZE_MAX;
    if (n == 0)
        return from;
    const struct iovec pattern = { (void *)(uintptr_t)bytes, n };
    size_t base = 0;
    for (size_t i = 0; i < chain->count; i++) {
        size_t len = wr_word_len(weir_chain_at(chain, i)->word);
        size_t at = from > base ? from - base : 0;
        size_t hit = find_in_slice(chain, i, base, at, &pattern);
        if (hit != SIZE_MAX)
            return hit;
        base += len;
    }
    return SIZE_MAX;
}

/* Reads up to 8 bytes in order; parsing a number is not counted as a copy. */
static enum weir_status
read_bytes(
    const struct weir_chain *chain, size_t from, size_t size, uint8_t bytes[8])
{
    if (size < 1 || size > 8 || !is_inside(chain, from, size))
        return WEIR_OUT_OF_RANGE;
    copy_out(chain, from, size, bytes);
    return WEIR_OK;
}

enum weir_status
weir_chain_read_be(
    const struct weir_chain *chain, size_t from, size_t size, uint64_t *value)
{
    uint8_t bytes[8];
    enum weir_status status = read_bytes(chain, from, size, bytes);
    if (status != WEIR_OK)
        return status;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum << 8 | bytes[i];
    *value = sum;
    return WEIR_OK;
}

enum weir_status
weir_chain_read_le(
    const struct weir_chain *chain, size_t from, size_t size, uint64_t *value)
{
    uint8_t bytes[8];
    enum weir_status status = read_bytes(chain, from, size, bytes);
    if (status != WEIR_OK)
        return status;
    uint64_t sum = 0;
    for (size_t i = size; i > 0; i--)
        sum = sum << 8 | bytes[i - 1];
    *value = sum;
    return WEIR_OK;
}

enum weir_status
weir_chain_linearize(struct weir_chain *chain, struct weir_arena *arena)
{
    if (chain->count <= 1)
        return WEIR_OK;
    struct weir_buf buf;
    enum weir_status status = weir_arena_alloc(arena, chain->len, &buf);
    if (status != WEIR_OK)
        return status;
    size_t len = chain->len;
    copy_out(chain, 0, len, weir_buf_tail(&buf));
    weir_buf_commit(&buf, len);
    wr_arena_count(arena, WR_BYTES_COPIED, len);

    struct weir_slice whole;
    weir_buf_freeze(&buf, &whole);
    weir_chain_release(chain);
    return weir_chain_push(chain, &whole); /* fits inside */
}

void
weir_chain_release(struct weir_chain *chain)
{
    while (chain->count > 0) {
        struct weir_slice slice;
        weir_chain_pop(chain, &slice);
        weir_slice_release(&slice);
    }
}
