/* SPDX-License-Identifier: MIT */
/*
 * weir for libuv: read into blocks of an arena, write slices, and pause reading
 * instead of failing when the arena has no block.
 *
 *     struct weir_uv uv;                           one for each loop and arena
 *     weir_uv_init(&uv, loop, arena, NULL);
 *     weir_uv_read_start(&uv, &conn->reader, stream, on_read);
 *     ...
 *     static void on_read(struct weir_uv_reader *reader, ssize_t nread,
 *         struct weir_slice *slice)                the slice is yours to move
 *
 * Errors are libuv's negative numbers. Every function is for the loop's thread.
 * Slices may be released on any thread, and several loops may share an arena.
 */
#ifndef WEIR_UV_H
#define WEIR_UV_H

#include <uv.h>

#include "weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The negative libuv error for `status`: 0 for WEIR_OK, UV_ENOBUFS for a full
   arena, UV_ESHUTDOWN for a closed one, and so on. WEIR_SYSTEM reads errno. */
WEIR_API int weir_uv_error(enum weir_status status);

/* ---- The adapter of one loop ------------------------------------------- */

struct weir_uv;
struct weir_uv_reader;

/* Everything the adapter had in the loop is closed; its memory is yours. */
typedef void weir_uv_close_fn(struct weir_uv *uv);

/* A zeroed one is good. */
struct weir_uv_options {
    size_t block_size; /* bytes asked of the arena for a block that streams
                          share. 0: its block size; of a buddy arena 16 KiB,
                          or the nearest it has */
    size_t min_tail;   /* a block with less room left is not read into again,
                          while there are others. 0: a quarter of the block, at
                          most 1024 bytes */
    size_t max_grants; /* waiting streams served in one turn of the loop.
                          0: all of them */
};

/* Readers in order; the library's. */
struct weir_uv_readers {
    struct weir_uv_reader *first;
    struct weir_uv_reader *last;
};

/*
 * The caller's memory, pinned until the close callback. `user` is the caller's,
 * the rest the library's; `paused` and `pauses` may be read.
 */
struct weir_uv {
    void *user;
    struct weir_arena *arena;
    uv_loop_t *loop;
    uv_async_t async; /* rung when a block came back for one of our readers */
    uv_timer_t timer; /* gives idle blocks back */
    struct weir_bell bell;
    struct weir_buf chunk;          /* the block that is being read into */
    struct weir_uv_readers waiting; /* for a block, longest first */
    struct weir_uv_readers granted; /* have one, and did not read yet */
    size_t block_size; /* what is asked for, and the largest there is; */
    size_t block_max;
    bool is_cut; /* blocks differ in size */
    size_t min_tail;
    size_t max_grants;
    size_t paused;       /* readers that wait for a block */
    uint64_t pauses;     /* how often one began to wait, ever */
    uint32_t ticks;      /* of the timer */
    uint32_t chunk_tick; /* when the chunk was used last */
    weir_uv_close_fn *on_close;
    unsigned open_handles;
    bool closing;
    uint64_t reserved[2];
};

/*
 * Prepares `uv` for reading into blocks of `arena` on `loop`. NULL for
 * `options` is the zeroed one. What `uv` held is ignored, but for `user`. It
 * keeps the loop alive only while a reader waits for a block. Returns 0 or what
 * libuv refused.
 */
WEIR_API int weir_uv_init(struct weir_uv *uv, uv_loop_t *loop,
    struct weir_arena *arena, const struct weir_uv_options *options);

/*
 * Ends the adapter; `on_close`, if not NULL, runs when libuv has let go of it.
 * Readers that wait for a block are stopped, and one that reads stops when it
 * needs a block; neither is told. Stop the readers, or close their streams,
 * before `on_close` runs, and destroy the arena after this call. Slices and
 * writes in flight are not touched. Call it once; on_read may do so.
 */
WEIR_API void weir_uv_close(struct weir_uv *uv, weir_uv_close_fn *on_close);

/* ---- Reading ----------------------------------------------------------- */

/*
 * What a stream sent. nread > 0: `slice` holds that many bytes and is the
 * callee's to move; what it leaves there is released. nread < 0: UV_EOF or an
 * error, once, and the reader has stopped; `slice` is empty. UV_ESHUTDOWN: the
 * arena was closed, and the stream needs a block. It may stop and start any
 * reader and close any stream.
 */
typedef void weir_uv_read_fn(
    struct weir_uv_reader *reader, ssize_t nread, struct weir_slice *slice);

/*
 * The caller's memory, zeroed before its first use, and pinned while it reads
 * and until the stream's close callback. The stream's `data` points to it: keep
 * your own pointer in `user`.
 */
struct weir_uv_reader {
    void *user;
    weir_uv_read_fn *on_read;
    struct weir_uv *uv;
    uv_stream_t *stream;
    struct weir_waiter waiter;
    struct weir_buf granted; /* a block handed to this reader */
    struct weir_uv_reader *next;
    struct weir_uv_reader *previous;
    uint32_t granted_tick;
    uint8_t state;
    size_t whole; /* bytes of a whole that is read; 0: none */
    uint64_t reserved[3];
};

/*
 * Reads `stream` into blocks of the arena. Several small messages, of one or
 * several streams, share a block. When no block is to be had the stream is
 * paused inside, its bytes stay in the kernel, and it goes on when its turn
 * comes: blocks go to streams in the order in which they ran dry, over all
 * loops that share the arena; what a message leaves of a block goes to the
 * next stream that waits on the same loop. A paused stream does not see that
 * its peer went away. Returns 0 or libuv's error: UV_EALREADY, it reads.
 */
WEIR_API int weir_uv_read_start(struct weir_uv *uv,
    struct weir_uv_reader *reader, uv_stream_t *stream,
    weir_uv_read_fn *on_read);

/*
 * Reads the next `n` bytes of `stream`, and no more, into one block that is
 * shared with nobody: for a message whose length is known. The reader stops, and
 * `on_read` has all of them in one slice. The block, of a buddy arena one as
 * large as `n` needs, is taken or waited for when the first byte is there, and
 * held until the last is, so nobody waits with a part of it in hand; a deadline
 * is the caller's. If the stream ends before, or is stopped, what came is
 * dropped. UV_EMSGSIZE: no block is so large. UV_EINVAL: `n` is 0. Else as
 * weir_uv_read_start.
 */
WEIR_API int weir_uv_read_whole(struct weir_uv *uv,
    struct weir_uv_reader *reader, uv_stream_t *stream, size_t n,
    weir_uv_read_fn *on_read);

/* Stops reading, also a reader that waits for a block. Stopping a stopped or a
   zeroed reader is fine. Call it before uv_close of the stream. */
WEIR_API void weir_uv_read_stop(struct weir_uv_reader *reader);

/* True while the reader waits for a block. */
WEIR_API bool weir_uv_reader_paused(const struct weir_uv_reader *reader);

/*
 * For code with callbacks of its own, in the place of an uv_alloc_cb: gives
 * room in the current block, or a zero length when there is none, which libuv
 * reports as UV_ENOBUFS; then stop the stream from the read callback. Nothing
 * else may use `uv` between this and weir_uv_commit.
 */
WEIR_API void weir_uv_alloc(struct weir_uv *uv, uv_buf_t *room);

/*
 * In the place of an uv_read_cb: what was read into `room` becomes `slice`.
 * With nread <= 0 it is the empty slice, and nothing is lost. A `room` that is
 * not the last one given aborts.
 */
WEIR_API void weir_uv_commit(struct weir_uv *uv, const uv_buf_t *room,
    ssize_t nread, struct weir_slice *slice);

/* ---- Writing ----------------------------------------------------------- */

struct weir_uv_write;

/* The write ended: status 0, or libuv's error (UV_ECANCELED when the stream was
   closed). Its slices were released, and the memory of `write` is yours. */
typedef void weir_uv_sent_fn(struct weir_uv_write *write, int status);

/* The caller's memory, pinned until on_sent. `user` is the caller's; nothing
   else need be set. */
struct weir_uv_write {
    void *user;
    uv_write_t request;
    struct weir_chain chain;
    weir_uv_sent_fn *on_sent;
    uint64_t reserved[2];
};

/* What weir_uv_write returns when nothing is left to wait for. */
enum { WEIR_UV_SENT = 1 };

/*
 * Sends the bytes of `chain`: at once as far as the socket takes them, the rest
 * queued in order behind earlier writes. WEIR_UV_SENT: all of it is sent, the
 * chain is empty and `on_sent` will not run. 0: the chain's slices have moved
 * into `write`, and `on_sent` will run, never inside this call. A negative
 * error: the caller keeps the chain; what of it was sent has been taken off its
 * front. An empty chain is sent at once.
 */
WEIR_API int weir_uv_write(struct weir_uv_write *write, uv_stream_t *stream,
    struct weir_chain *chain, weir_uv_sent_fn *on_sent);

#ifdef __cplusplus
}
#endif

#endif
