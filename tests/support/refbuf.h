/* SPDX-License-Identifier: MIT */
/*
 * refbuf: what the tests of bufs, slices and chains share. An arena that is
 * ended must be whole, at rest, and leave nothing on the heap.
 */
#ifndef REFBUF_H
#define REFBUF_H

#include "support/unit.h"

#include "arena/arena.h"
#include "base/handle.h"

/* ---- Arenas ------------------------------------------------------------ */

static inline size_t
blocks_out(struct weir_arena *arena)
{
    return (size_t)stats_of(arena).blocks_out;
}

static inline size_t
spilled_blocks(struct weir_arena *arena)
{
    return (size_t)stats_of(arena).spilled_blocks;
}

static inline void
end_arena(struct weir_arena *arena)
{
    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u64, stats.allocs, stats.releases));
    close_whole(&arena);
}

/* ---- Handles ----------------------------------------------------------- */

static inline uintptr_t
at(const void *pointer)
{
    return (uintptr_t)pointer;
}

static inline bool
is_zero(const void *bytes, size_t n)
{
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < n; i++)
        if (byte[i] != 0)
            return false;
    return true;
}

static inline bool
is_empty_buf(const struct weir_buf *buf)
{
    return is_zero(buf, sizeof(*buf));
}

static inline bool
is_empty_slice(const struct weir_slice *slice)
{
    return is_zero(slice, sizeof(*slice));
}

static inline bool
is_empty_chain(const struct weir_chain *chain)
{
    return is_zero(chain, sizeof(*chain));
}

static inline bool
same_slice(const struct weir_slice *a, const struct weir_slice *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool
same_buf(const struct weir_buf *a, const struct weir_buf *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static inline void
alloc(struct weir_arena *arena, struct weir_buf *buf)
{
    cr_assert(eq(int, weir_arena_alloc(arena, 0, buf), WEIR_OK));
}

static inline void
write_text(struct weir_buf *buf, const char *text)
{
    cr_assert(eq(int, weir_buf_write(buf, text, strlen(text)), WEIR_OK));
}

/* A slice of a block of its own. */
static inline void
freeze_text(
    struct weir_arena *arena, const char *text, struct weir_slice *slice)
{
    struct weir_buf buf;
    alloc(arena, &buf);
    write_text(&buf, text);
    weir_buf_freeze(&buf, slice);
}

static inline void
static_text(const char *text, struct weir_slice *slice)
{
    cr_assert(eq(int, weir_slice_static(text, strlen(text), slice), WEIR_OK));
}

static inline bool
holds(const void *data, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(data, text, len) == 0;
}

static inline bool
buf_holds(const struct weir_buf *buf, const char *text)
{
    return holds(weir_buf_data(buf), weir_buf_len(buf), text);
}

static inline bool
slice_holds(const struct weir_slice *slice, const char *text)
{
    return holds(weir_slice_data(slice), weir_slice_len(slice), text);
}

/* The count of a handle's memory: what all its handles weigh. */
static inline uint64_t
count_at(uint64_t word, uint64_t owner)
{
    return wr_load_relaxed(wr_arena_refs(word, owner));
}

/* ---- Bytes that are known by their place ------------------------------- */

static inline uint8_t
pattern_at(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

static inline void
write_pattern(struct weir_buf *buf, size_t from, size_t n)
{
    cr_assert(le(sz, n, weir_buf_room(buf)));
    uint8_t *tail = weir_buf_tail(buf);
    for (size_t i = 0; i < n; i++)
        tail[i] = pattern_at(from + i);
    weir_buf_commit(buf, n);
}

static inline bool
is_pattern(const void *data, size_t from, size_t n)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != pattern_at(from + i))
            return false;
    return true;
}

/* ---- Threads ----------------------------------------------------------- */

static inline void *
release_slice(void *slice)
{
    weir_slice_release(slice);
    return NULL;
}

static inline void *
drop_buf(void *buf)
{
    weir_buf_drop(buf);
    return NULL;
}

#endif
