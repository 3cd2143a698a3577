/* SPDX-License-Identifier: MIT */
/* freeze: a buf becomes a slice. */
#ifndef WR_FREEZE_H
#define WR_FREEZE_H

#include "weir/weir.h"

/* Moves the three words that both have. */
static inline void
wr_buf_to_slice(struct weir_buf *buf, struct weir_slice *slice)
{
    slice->data = buf->data;
    slice->word = buf->word;
    slice->owner = buf->owner;
    *buf = (struct weir_buf){ 0 };
}

/* The part of freeze for what is empty, or no block of the arena that the thread
   used last. */
void wr_buf_freeze_rarely(struct weir_buf *buf, struct weir_slice *slice);

#endif
