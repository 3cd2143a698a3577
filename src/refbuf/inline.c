/* SPDX-License-Identifier: MIT */
/*
 * inline: an exported twin of every call that weir.h defines, for bindings and
 * for callers whose compiler does not inline.
 *
 * They read and write what lies in a handle and know no block, so they are the
 * caller's code as much as ours; what takes a block or sends one home is a call.
 */

#include "base/handle.h"
#include "weir/weir.h"

#include <stddef.h>

_Static_assert(sizeof(struct weir_buf) == 32 &&
                   offsetof(struct weir_buf, word) == 8 &&
                   offsetof(struct weir_buf, owner) == 16 &&
                   offsetof(struct weir_buf, head) == 24 &&
                   offsetof(struct weir_buf, room) == 28,
    "programs have compiled this in");
_Static_assert(sizeof(struct weir_slice) == 24 &&
                   offsetof(struct weir_slice, word) == 8 &&
                   offsetof(struct weir_slice, owner) == 16,
    "programs have compiled this in");
_Static_assert(WR_KIND_SHIFT == 32 && WR_WEIGHT_SHIFT == 36,
    "programs have compiled this in");

extern inline const void *weir_buf_data(const struct weir_buf *buf);
extern inline size_t weir_buf_len(const struct weir_buf *buf);
extern inline void *weir_buf_tail(const struct weir_buf *buf);
extern inline size_t weir_buf_room(const struct weir_buf *buf);
extern inline void weir_buf_commit(struct weir_buf *buf, size_t n);
extern inline size_t weir_buf_headroom_left(const struct weir_buf *buf);
extern inline void weir_slice_clone(
    struct weir_slice *slice, struct weir_slice *copy);
extern inline const void *weir_slice_data(const struct weir_slice *slice);
extern inline size_t weir_slice_len(const struct weir_slice *slice);
