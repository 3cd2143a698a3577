/* SPDX-License-Identifier: MIT */
#ifndef WR_READER_H
#define WR_READER_H

#include "weir/uv.h"

enum wr_reader_state {
    WR_READER_STOPPED = 0,
    WR_READER_READS,
    WR_READER_WAITS
};

/* Moves `buf` to a reader that left the queue; it reads on, into that first. */
void wr_reader_resume(struct weir_uv_reader *reader, struct weir_buf *buf);

/* Stops a reader and tells its owner why. */
void wr_reader_end(struct weir_uv_reader *reader, int error);

#endif
