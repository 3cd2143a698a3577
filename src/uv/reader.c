/* SPDX-License-Identifier: MIT */
/*
 * reader: a stream is read into blocks, and waits where there is none.
 *
 *              start               no block, bytes in the kernel
 *     STOPPED ─────▶ READS ─────────────────────────────────▶ WAITS
 *        ▲            │  ▲    granted, or the rest of a block    │ │
 *        ├────────────┘  └───────────────────────────────────────┘ │
 *        │ stop, end, error                                        │
 *        └─────────────────────────────────────────────────────────┘
 *                                                 stop, arena closed
 *
 * Idea
 *   libuv asks for room, reads, and reports. Without room it reports ENOBUFS
 *   and asks again at once, for ever; so there the stream is stopped, and the
 *   reader queues for a block at the arena. Stopping inside libuv's question
 *   would crash it, hence only in the report. The arena hands blocks to
 *   readers in the order of asking, and the bell brings us back; the stream is
 *   started again and reads into the block it was granted.
 *
 *   libuv asks up to 32 times in a row, and cannot know that a socket is empty
 *   before it has room to read into. So a reader without room looks first:
 *   with nothing to read it goes on listening and takes no place in the queue.
 *   Who queues has bytes, or its end, and a block granted is a block used.
 *
 *   A whole of n bytes is read in the same way, but the callback waits for the
 *   last of them: the stream stops, and asks for no room it does not need.
 *
 * Invariants
 *   1. A reader is in uv->waiting if and only if it is in WAITS.
 *   2. A reader has a granted block only in READS.
 *   3. No function touches a reader after its on_read returned: it may be gone.
 *
 * Costs
 *   A pause: one poll, two changes of what the loop watches, the arena's mutex.
 *   A read without a pause: what the chunk costs (blocks.c).
 *
 * Limits
 *   A stream that was closed without weir_uv_read_stop while its reader waited
 *   is noticed when the block comes; the reader must still be there.
 */

#include "reader.h"

#include "blocks.h"
#include "waiting.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
    struct weir_uv_reader *reader = handle->data;
    (void)suggested;
    if (reader->uv->closing)
        *room = uv_buf_init(NULL, 0);
    else
        wr_blocks_room(reader->uv, reader, room);
}

/* Bytes, the end or an error; when in doubt, yes. */
static bool
has_news(const uv_stream_t *stream)
{
    uv_os_fd_t fd;
    if (uv_fileno((const uv_handle_t *)stream, &fd) != 0)
        return true;
    struct pollfd entry = { .fd = fd, .events = POLLIN };
    return poll(&entry, 1, 0) != 0;
}

static void
run_dry(struct weir_uv_reader *reader)
{
    if (reader->uv->closing) {
        weir_uv_read_stop(reader);
        return;
    }
    if (!has_news(reader->stream))
        return;

    enum weir_status status = wr_waiting_join(reader);
    if (status == WEIR_OK)
        wr_blocks_grant(reader, &reader->waiter.buf);
    else if (status == WEIR_PENDING)
        (void)uv_read_stop(reader->stream);
    else
        wr_reader_end(reader, weir_uv_error(status));
}

static void
on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *room)
{
    struct weir_uv_reader *reader = stream->data;
    if (nread == UV_ENOBUFS && room->len == 0) {
        run_dry(reader);
        return;
    }

    struct weir_uv *uv = reader->uv;
    struct weir_slice slice = { 0 };
    if (nread > 0 && !wr_blocks_commit(uv, reader, (size_t)nread, &slice))
        return;
    if (nread > 0 && reader->whole > 0)
        weir_uv_read_stop(reader);
    if (nread < 0)
        wr_reader_end(reader, (int)nread);
    else if (nread > 0)
        reader->on_read(reader, (ssize_t)weir_slice_len(&slice), &slice);
    weir_slice_release(&slice);
    wr_waiting_hand_on(uv); /* may call another reader's on_read */
}

void
wr_reader_resume(struct weir_uv_reader *reader, struct weir_buf *buf)
{
    reader->state = WR_READER_READS;
    wr_blocks_grant(reader, buf);
    if (uv_is_closing((uv_handle_t *)reader->stream)) {
        weir_uv_read_stop(reader);
        return;
    }
    int error = uv_read_start(reader->stream, on_alloc, on_read);
    if (error != 0)
        wr_reader_end(reader, error);
}

void
wr_reader_end(struct weir_uv_reader *reader, int error)
{
    struct weir_slice none = { 0 };
    weir_uv_read_stop(reader);
    reader->on_read(reader, error, &none);
}

static int
start(struct weir_uv *uv, struct weir_uv_reader *reader, uv_stream_t *stream,
    size_t whole, weir_uv_read_fn *callback)
{
    if (reader->state != WR_READER_STOPPED)
        return UV_EALREADY;
    if (uv->closing)
        return UV_ESHUTDOWN;
    int error = uv_read_start(stream, on_alloc, on_read);
    if (error != 0)
        return error;

    stream->data = reader;
    reader->uv = uv;
    reader->stream = stream;
    reader->on_read = callback;
    reader->whole = whole;
    reader->state = WR_READER_READS;
    return 0;
}

int
weir_uv_read_start(struct weir_uv *uv, struct weir_uv_reader *reader,
    uv_stream_t *stream, weir_uv_read_fn *callback)
{
    return start(uv, reader, stream, 0, callback);
}

int
weir_uv_read_whole(struct weir_uv *uv, struct weir_uv_reader *reader,
    uv_stream_t *stream, size_t n, weir_uv_read_fn *callback)
{
    if (n == 0)
        return UV_EINVAL;
    if (n > uv->block_max)
        return UV_EMSGSIZE;
    return start(uv, reader, stream, n, callback);
}

void
weir_uv_read_stop(struct weir_uv_reader *reader)
{
    switch ((enum wr_reader_state)reader->state) {
    case WR_READER_STOPPED:
        break;
    case WR_READER_READS:
        (void)uv_read_stop(reader->stream);
        wr_blocks_ungrant(reader);
        reader->state = WR_READER_STOPPED;
        break;
    case WR_READER_WAITS:
        (void)wr_waiting_leave(reader);
        break;
    }
}

bool
weir_uv_reader_paused(const struct weir_uv_reader *reader)
{
    return reader->state == WR_READER_WAITS;
}

/* ---- For callbacks of the program's own -------------------------------- */

void
weir_uv_alloc(struct weir_uv *uv, uv_buf_t *room)
{
    if (uv->closing)
        *room = uv_buf_init(NULL, 0);
    else
        wr_blocks_room(uv, NULL, room);
}

void
weir_uv_commit(struct weir_uv *uv, const uv_buf_t *room, ssize_t nread,
    struct weir_slice *slice)
{
    *slice = (struct weir_slice){ 0 };
    if (nread > 0) {
        if (room->base != weir_buf_tail(&uv->chunk)) {
            (void)fputs("weir: weir_uv_commit of a room not given\n", stderr);
            abort();
        }
        wr_blocks_commit(uv, NULL, (size_t)nread, slice);
    }
    wr_waiting_hand_on(uv);
}
