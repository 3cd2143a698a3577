/* SPDX-License-Identifier: MIT */
/*
 * adapter: what weir puts into a loop: a doorbell and a timer.
 *
 *     release, any thread ──▶ bell ──▶ uv_async ──▶ loop: drain ──▶ granted
 *
 * Idea
 *   Whoever releases a block that one of our readers waits for rings the bell,
 *   and the bell sends the async; the loop then drains the bell. The async
 *   keeps the loop alive only while readers wait (waiting.c), the timer never
 *   (blocks.c).
 *
 *   libuv may lose a send that races with the callback of an earlier one,
 *   because it looks at its flag before it is sure to see the callback's
 *   store. The bell has a gate of its own, under a lock: it rings again only
 *   after a drain began, and then libuv's flag is known to be down.
 *
 * Invariants
 *   1. Once weir_uv_close returns no waiter points at the bell, so nobody
 *      rings it while the async closes.
 *
 * Costs
 *   Any number of releases before the loop turns: one send.
 *
 * Limits
 *   The bell ends in the close callback of the async, never in weir_uv_close:
 *   that may be called from inside a drain.
 */

#include "weir/uv.h"

#include <errno.h>

int
weir_uv_error(enum weir_status status)
{
    switch (status) {
    case WEIR_OK:
        return 0;
    case WEIR_FULL:
    case WEIR_NO_ROOM:
        return UV_ENOBUFS;
    case WEIR_OUT_OF_RANGE:
        return UV_ERANGE;
    case WEIR_SHARED:
        return UV_EBUSY;
    case WEIR_TOO_LARGE:
        return UV_EMSGSIZE;
    case WEIR_PENDING:
        return UV_EALREADY;
    case WEIR_CLOSED:
        return UV_ESHUTDOWN;
    case WEIR_CANCELED:
        return UV_ECANCELED;
    case WEIR_TIMED_OUT:
        return UV_ETIMEDOUT;
    case WEIR_INVALID:
    case WEIR_FOREIGN:
    case WEIR_ALREADY_RELEASED:
    case WEIR_SIZE_MISMATCH:
        return UV_EINVAL;
    case WEIR_UNSUPPORTED:
        return UV_ENOTSUP;
    case WEIR_SYSTEM:
        return errno != 0 ? uv_translate_sys_error(errno) : UV_EIO;
    }
    return UV_EINVAL; /* no status of this library */
}

static void
on_ring(struct weir_bell *bell)
{
    struct weir_uv *uv = bell->user;
    (void)uv_async_send(&uv->async);
}

static void
on_async(uv_async_t *async)
{
    struct weir_uv *uv = async->data;
    (void)weir_bell_drain(&uv->bell, uv->max_grants);
}

/* The smallest block of a buddy arena is no size to read into. */
static void
set_sizes(struct weir_uv *uv, size_t wanted)
{
    enum { USUAL = 16 << 10 };
    struct weir_stats stats;
    weir_arena_stats(uv->arena, &stats);
    size_t smallest = (size_t)stats.block_size;
    uv->block_max = (size_t)stats.block_size_max;
    uv->is_cut = smallest < uv->block_max;
    if (wanted == 0)
        wanted = uv->is_cut ? USUAL : smallest;
    if (wanted < smallest)
        wanted = smallest;
    uv->block_size = wanted < uv->block_max ? wanted : uv->block_max;
}

static size_t
min_tail_of(size_t block, const struct weir_uv_options *options)
{
    enum { MOST = 1024 };
    size_t tail = options->min_tail;
    if (tail == 0)
        tail = block / 4 < MOST ? block / 4 : MOST;
    if (tail > block)
        tail = block;
    return tail > 0 ? tail : 1;
}

int
weir_uv_init(struct weir_uv *uv, uv_loop_t *loop, struct weir_arena *arena,
    const struct weir_uv_options *options)
{
    static const struct weir_uv_options usual = { 0 };
    if (options == NULL)
        options = &usual;

    void *user = uv->user;
    *uv = (struct weir_uv){ .user = user, .arena = arena, .loop = loop };
    set_sizes(uv, options->block_size);
    uv->min_tail = min_tail_of(uv->block_size, options);
    uv->max_grants = options->max_grants;
    weir_bell_init(&uv->bell, on_ring, uv);

    int error = uv_async_init(loop, &uv->async, on_async);
    if (error != 0) {
        weir_bell_fini(&uv->bell);
        return error;
    }
    (void)uv_timer_init(loop, &uv->timer); /* cannot fail */
    uv->async.data = uv;
    uv->timer.data = uv;
    uv->open_handles = 2;
    uv_unref((uv_handle_t *)&uv->async);
    uv_unref((uv_handle_t *)&uv->timer);
    return 0;
}

static void
stop_readers(const struct weir_uv_readers *readers)
{
    while (readers->first != NULL)
        weir_uv_read_stop(readers->first);
}

static void
on_handle_closed(uv_handle_t *handle)
{
    struct weir_uv *uv = handle->data;
    if (--uv->open_handles > 0)
        return;
    weir_bell_fini(&uv->bell);
    if (uv->on_close != NULL)
        uv->on_close(uv);
}

void
weir_uv_close(struct weir_uv *uv, weir_uv_close_fn *on_close)
{
    uv->closing = true;
    uv->on_close = on_close;
    stop_readers(&uv->waiting);
    stop_readers(&uv->granted);
    weir_buf_drop(&uv->chunk);
    uv_close((uv_handle_t *)&uv->async, on_handle_closed);
    uv_close((uv_handle_t *)&uv->timer, on_handle_closed);
}
