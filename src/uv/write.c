/* SPDX-License-Identifier: MIT */
/*
 * write: a chain goes to a stream, at once or queued, without a copy.
 *
 * Idea
 *   What the socket takes now is written now, in batches, and the chain is
 *   advanced by it: those slices are released at once. libuv refuses to write
 *   past what it has queued, so order is kept. What remains is queued as one
 *   write; its slices move into the caller's weir_uv_write and are released
 *   when libuv calls back, which it does also when the stream is closed.
 *
 *   An entry of libuv's arrays is one for writev, and libuv casts the one to
 *   the other itself. So do we, and the chain fills the array directly.
 *
 * Invariants
 *   1. A byte leaves the chain if and only if the system took it.
 *   2. Either the caller's chain has the slices, or the write has them.
 *
 * Costs
 *   One system call for each 16 slices that go at once. libuv copies the array
 *   of a queued write (more than 4: it allocates); above 16 slices so do we.
 *
 * Limits
 *   As the chain: 2^30 slices. libuv does not keep SIGPIPE away from a
 *   program that writes to a peer that is gone.
 */

#include "weir/uv.h"

#include <stdlib.h>

enum { BATCH = 16 };

_Static_assert(sizeof(uv_buf_t) == sizeof(struct iovec), "libuv: as writev");
_Static_assert(
    offsetof(uv_buf_t, base) == offsetof(struct iovec, iov_base), "its data");
_Static_assert(
    offsetof(uv_buf_t, len) == offsetof(struct iovec, iov_len), "its length");

static const uv_buf_t *
as_bufs(const struct iovec *iov)
{
    return (const uv_buf_t *)(const void *)iov;
}

static size_t
byte_count(const struct iovec *iov, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

/* Sends what goes at once. Returns 0, or an error other than "not now". */
static int
send_now(uv_stream_t *stream, struct weir_chain *chain)
{
    while (weir_chain_len(chain) > 0) {
        struct iovec iov[BATCH];
        size_t count = weir_chain_iov(chain, iov, BATCH);
        int sent = uv_try_write(stream, as_bufs(iov), (unsigned)count);
        if (sent == UV_EAGAIN)
            return 0;
        if (sent < 0)
            return sent;
        bool all = (size_t)sent == byte_count(iov, count);
        enum weir_status status = weir_chain_advance(chain, (size_t)sent);
        if (status != WEIR_OK || !all)
            return weir_uv_error(status);
    }
    return 0;
}

static void
on_written(uv_write_t *request, int status)
{
    struct weir_uv_write *write = request->data;
    weir_chain_release(&write->chain);
    if (write->on_sent != NULL)
        write->on_sent(write, status);
}

/* Queues the whole chain, whose `count` slices `iov` has room for. */
static int
queue_in(struct weir_uv_write *write, uv_stream_t *stream,
    struct weir_chain *chain, struct iovec *iov, size_t count)
{
    (void)weir_chain_iov(chain, iov, count);
    write->request.data = write;
    int error = uv_write(
        &write->request, stream, as_bufs(iov), (unsigned)count, on_written);
    if (error != 0)
        return error;
    write->chain = *chain;
    *chain = (struct weir_chain){ 0 };
    return 0;
}

static int
queue(
    struct weir_uv_write *write, uv_stream_t *stream, struct weir_chain *chain)
{
    struct iovec few[BATCH];
    size_t count = weir_chain_count(chain);
    if (count <= BATCH)
        return queue_in(write, stream, chain, few, count);

    struct iovec *many = malloc(count * sizeof(*many));
    if (many == NULL)
        return UV_ENOMEM;
    int error = queue_in(write, stream, chain, many, count);
    free(many);
    return error;
}

int
weir_uv_write(struct weir_uv_write *write, uv_stream_t *stream,
    struct weir_chain *chain, weir_uv_sent_fn *on_sent)
{
    int error = send_now(stream, chain);
    if (error != 0)
        return error;
    if (weir_chain_len(chain) == 0)
        return WEIR_UV_SENT;
    write->on_sent = on_sent;
    return queue(write, stream, chain);
}
