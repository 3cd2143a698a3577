/* SPDX-License-Identifier: MIT */
/*
 * weir: bounded, zero-copy buffers for servers.
 *
 *     arena ──alloc──▶ buf ──freeze──▶ slice ──clone, sub──▶ slices ──release──▶ arena
 *                       └────drop──────────────────────────────────────────────▶ arena
 *
 * An arena is a fixed amount of memory, cut into equal blocks, or into powers
 * of two that split and merge. A buf is the writable rest of one block.
 * Freezing a buf makes a slice of what was written, without copying it; slices
 * are counted, read-only, can be cloned, cut, put into chains and sent. The
 * block goes home when its last slice is released.
 *
 *     noun     what it is                            who may touch one
 *     arena    memory cut into blocks                any thread
 *     buf      the writable rest of a block          one thread at a time
 *     slice    a counted, read-only range            each handle one thread at a
 *                                                    time; slices of one block,
 *                                                    any threads
 *     chain    slices in order, ready for writev     one thread at a time
 *     waiter   a queued request for a block          see "Waiting"
 *     bell     how a waiter's loop is told           see "Waiting"
 *     stats    a snapshot in numbers                 a value
 *
 * Handles (buf, slice, chain) are values the caller stores; pass them by
 * pointer and do not copy them: a copy that is released too is a double
 * release. A zeroed handle is the empty one, and ending it does nothing. What
 * ends a handle clears it.
 *
 * Failures are values: a call that can fail returns a status, puts its result
 * in the last parameter and leaves it untouched on failure. Misuse of memory
 * (a double release, a commit past the end) prints one line that names the
 * arena and the block, and aborts; see weir_on_misuse.
 *
 * A thread keeps a few free blocks of an arena at hand, so that its allocs and
 * releases need no locked instruction. They are free blocks all the same: who
 * finds the arena empty, waits, closes it or forks takes them back first, from
 * threads that sleep too. See "Threads".
 *
 * Nothing here may be called from a signal handler. Two copies of the library
 * in a process (static in two plugins) know nothing of each other: handles stay
 * with the copy that made them.
 */
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

#define WEIR_API           __attribute__((visibility("default")))
#define WEIR_NODISCARD     __attribute__((warn_unused_result))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------ */

enum weir_status {
    WEIR_OK = 0,
    WEIR_FULL,         /* no block now; one may come back */
    WEIR_NO_ROOM,      /* the buf has no room for so much */
    WEIR_OUT_OF_RANGE, /* outside the slice or chain */
    WEIR_SHARED,       /* somebody else holds it too */
    WEIR_TOO_LARGE,    /* no block of that size, ever */
    WEIR_PENDING,      /* the waiter is queued, or about to be told */
    WEIR_CLOSED,       /* the arena is closed */
    WEIR_CANCELED,     /* the wait was taken back */
    WEIR_TIMED_OUT,    /* the wait took too long */
    WEIR_INVALID,      /* this configuration cannot be built */
    WEIR_UNSUPPORTED,  /* this system, or this kind of memory, cannot do it */
    WEIR_SYSTEM,       /* the system refused; errno says why */
    WEIR_FOREIGN,      /* no block of this heap starts there */
    WEIR_ALREADY_RELEASED, /* a block was there, or could be */
    WEIR_SIZE_MISMATCH     /* not what was asked for; nothing was released */
};

/* The name of `status` as it is written in C, such as "WEIR_FULL". */
WEIR_API const char *weir_status_name(enum weir_status status);

/* The library's version, such as "0.1.0". */
WEIR_API const char *weir_version(void);

/*
 * Called with the one line that describes a misuse, without a newline, before
 * the process aborts. It runs on the thread that found the misuse, perhaps with
 * the library's locks held: it must not call weir, nor fork. If it returns, the
 * process aborts.
 */
typedef void weir_misuse_fn(const char *line, void *user);

/*
 * Sets what is called on misuse; NULL, the default, writes the line to standard
 * error. Call it before other threads use weir.
 */
WEIR_API void weir_on_misuse(weir_misuse_fn *misuse, void *user);

/* ---- Configuration ----------------------------------------------------- */

enum weir_layout {
    WEIR_FIXED = 0, /* equal blocks */
    WEIR_BUDDY      /* powers of two from block_size up, that split and merge */
};

enum weir_pages {
    WEIR_PAGES_NORMAL = 0,
    WEIR_PAGES_HUGE_IF_FREE, /* reserved huge pages, else transparent ones */
    WEIR_PAGES_HUGE          /* reserved huge pages, else WEIR_UNSUPPORTED */
};

enum weir_flag {
    WEIR_PREFAULT = 1 << 0,   /* touch every page at creation */
    WEIR_LOCK = 1 << 1,       /* lock the blocks into RAM, else WEIR_SYSTEM */
    WEIR_SPILL_GROW = 1 << 2, /* a buf that outgrows its block moves to heap */
    WEIR_SPILL_FULL = 1 << 3, /* alloc from a full arena takes heap memory */
    WEIR_NO_CACHE = 1 << 4,   /* threads keep no free blocks at hand */
    WEIR_NEAREST = 1 << 5,    /* buddy: sizes become such as can be built */
    WEIR_ROOM_AS_ASKED = 1 << 6, /* buddy: room for what was asked, no more */
    WEIR_TRIM = 1 << 7           /* buddy: freezing does weir_slice_trim */
};

/* The memory of a destroyed arena is the caller's again; see weir_arena_destroy. */
typedef void weir_unmapped_fn(void *user);

/* A zeroed configuration is a good one. The library copies it. */
struct weir_arena_config {
    const char *name;        /* in metrics and messages: at most 31
                                    printable ASCII characters. NULL: "weir" */
    size_t bytes;            /* blocks' memory: exactly bytes / block_size
                                    blocks, block_size rounded up to
                                    block_align. 0: 4 MiB. Buddy: a multiple of
                                    block_size, at most 64 GiB */
    size_t block_size;       /* bytes a block holds. 0: 4096. Buddy: bytes of
                                    the smallest, a power of two from 256 to
                                    2 MiB */
    size_t block_count;      /* instead of bytes. 0: as bytes says */
    size_t block_align;      /* a power of two, at most 2 MiB. 0: 64. Below
                                    a page, block starts are also spread over
                                    the cache sets, at the cost of at most 1/16
                                    more of our own mapping; never in memory of
                                    the caller. Buddy: at most block_size; starts
                                    are multiples of the size up to a page */
    enum weir_layout layout; /* 0: WEIR_FIXED */
    enum weir_pages pages;   /* 0: WEIR_PAGES_NORMAL */
    unsigned flags;          /* enum weir_flag, or-ed. 0: none */
    size_t spill_bytes_max;  /* on the heap at once. 0: as much as bytes */
    void *memory;            /* `bytes` of the caller's, aligned to
                                    block_align (buddy: and its largest block up
                                    to a page), never written at creation, never
                                    freed. NULL: the arena maps its own */
    weir_unmapped_fn *on_unmapped; /* NULL: nobody is told */
    void *user;                    /* passed to on_unmapped */
};

/* ---- Arena ------------------------------------------------------------- */

struct weir_arena;

/* What weir_arena_create calls; `config_size` says which fields exist. */
WEIR_API WEIR_NODISCARD enum weir_status weir_arena_create_sized(
    const struct weir_arena_config *config, size_t config_size,
    struct weir_arena **arena);

/*
 * Makes an arena. NULL for `config` is the zeroed configuration. Its books lie
 * in a mapping of their own, never inside a block. WEIR_INVALID: the
 * configuration makes no sense or a size overflows. WEIR_UNSUPPORTED: what was
 * required is not there, or the configuration has a field this library does
 * not know. WEIR_SYSTEM: no memory, no lock; errno says why. At most 65,535
 * arenas at once (WEIR_SYSTEM, ENFILE), or what the system's limit on mappings
 * allows at four each (ENOMEM). Any thread.
 */
WEIR_API WEIR_NODISCARD inline enum weir_status
weir_arena_create(
    const struct weir_arena_config *config, struct weir_arena **arena)
{
    return weir_arena_create_sized(config, sizeof(*config), arena);
}

/*
 * Stops an arena: every later alloc and wait fails with WEIR_CLOSED, and every
 * queued waiter is told WEIR_CLOSED through its bell. Blocks that are out stay
 * good, and so does the pointer. Closing twice is fine. Any thread.
 */
WEIR_API void weir_arena_close(struct weir_arena *arena);

/*
 * Closes the arena, if that was not done, and ends the use of the pointer: no
 * thread may be in or make a call on `*arena` afterwards, and it is set to
 * NULL. Bufs and slices stay good; the memory goes when the last of them goes
 * home, on the thread that releases it, and then `on_unmapped` runs there,
 * without locks. A NULL `*arena` is fine.
 */
WEIR_API void weir_arena_destroy(struct weir_arena **arena);

/*
 * The memory the blocks lie in, as one range; for registering it with a
 * device or the kernel. Good until the arena is unmapped.
 */
WEIR_API void weir_arena_memory(
    const struct weir_arena *arena, struct iovec *memory);

/*
 * Bytes of the largest block that is free and not kept at hand; 0: there is none.
 * A hint, which may lag behind; stats do not. One load while a large part of a buddy
 * is free, and never a walk; of a fixed arena a walk to a free block. Any thread.
 */
WEIR_API size_t weir_arena_largest_free(const struct weir_arena *arena);

/*
 * Checks every invariant of the arena and aborts if one is broken. Only while
 * no other thread uses the arena. For tests; it walks everything.
 */
WEIR_API void weir_arena_check(const struct weir_arena *arena);

/* ---- Buf: the writable rest of a block --------------------------------- */

/*
 * The members are the library's; read them through the functions below. The
 * three first words are laid out as in a slice.
 *
 *     block  [ head | data: len bytes written | room ]
 */
struct weir_buf {
    uint8_t *data;
    uint64_t word; /* len:32, kind:4, weight:28 */
    uint64_t owner;
    uint32_t head;
    uint32_t room;
};

/*
 * Takes a block of at least `size` bytes; 0 asks for the block size. The buf
 * may use the whole block, unless WEIR_ROOM_AS_ASKED. WEIR_FULL: no block is free,
 * or somebody waits for one: alloc does not overtake waiters. With WEIR_SPILL_FULL
 * it takes heap memory instead, up to `spill_bytes_max`, and WEIR_FULL says that
 * this or the heap is used up too. WEIR_TOO_LARGE: no block is so large, also with
 * spill; the largest of a buddy arena is the largest power of two in it, at most
 * 2 GiB. WEIR_CLOSED: the arena is closed.
 *
 * WEIR_FULL is exact: at one moment during the call every block, or of a buddy
 * arena a part of every block of that size, was out, or was being taken or given
 * back by a call still in progress; what threads keep at hand is never a reason for
 * it. Any thread. Finding a block is lock-free, but for a thread's first call on an
 * arena, and while another thread finds that no block is free or takes back what
 * threads keep: then it may wait for a mutex. Finding none takes the mutex and takes
 * back what threads keep; being told so again, until a block comes home, is one load
 * without WEIR_SPILL_FULL.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_arena_alloc(
    struct weir_arena *arena, size_t size, struct weir_buf *buf);

/* The same, but takes a free block even while others wait for one. */
WEIR_API WEIR_NODISCARD enum weir_status weir_arena_alloc_barge(
    struct weir_arena *arena, size_t size, struct weir_buf *buf);

/* The bytes written so far; good until the buf is changed. */
WEIR_API inline const void *
weir_buf_data(const struct weir_buf *buf)
{
    return buf->data;
}

WEIR_API inline size_t
weir_buf_len(const struct weir_buf *buf)
{
    return (uint32_t)buf->word;
}

/* Where to write next, and how many bytes may be written there. */
WEIR_API inline void *
weir_buf_tail(const struct weir_buf *buf)
{
    uint32_t len = (uint32_t)buf->word;
    return len == 0 ? buf->data : buf->data + len;
}

WEIR_API inline size_t
weir_buf_room(const struct weir_buf *buf)
{
    return buf->room;
}

/* What weir_buf_commit calls when `n` is more than the room; it aborts. */
WEIR_API void weir_buf_overrun(const struct weir_buf *buf, size_t n);

/*
 * Says that `n` bytes were written at the tail. More than the room aborts:
 * somebody wrote past the end.
 */
WEIR_API inline void
weir_buf_commit(struct weir_buf *buf, size_t n)
{
    if (n > buf->room)
        weir_buf_overrun(buf, n);
    buf->word += n; /* the length, which has room */
    buf->room -= (uint32_t)n;
}

/*
 * Appends `n` bytes: all, or nothing and WEIR_NO_ROOM. With WEIR_SPILL_GROW a
 * buf that has no room moves to the heap instead, or to more of it, and its
 * block goes home at once, also in a closed arena; WEIR_NO_ROOM then means that
 * `spill_bytes_max` (old and new count together while it moves) or 2^32 - 1
 * bytes would be exceeded, WEIR_SYSTEM that there is no memory; the buf is
 * unchanged. The bytes may be the buf's own.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_buf_write(
    struct weir_buf *buf, const void *bytes, size_t n);

/* Makes room for `n` bytes at the tail; succeeds and fails as weir_buf_write. */
WEIR_API WEIR_NODISCARD enum weir_status weir_buf_reserve(
    struct weir_buf *buf, size_t n);

/*
 * On a buf with nothing written: leaves `n` bytes free in front, in addition to
 * those already free there, to prepend to later. WEIR_NO_ROOM: there are fewer
 * than `n`, or something was written.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_buf_headroom(
    struct weir_buf *buf, size_t n);

/* How many bytes are free in front of what was written. */
WEIR_API inline size_t
weir_buf_headroom_left(const struct weir_buf *buf)
{
    return buf->head;
}

/* Puts `n` bytes in front of what was written: all, or WEIR_NO_ROOM. */
WEIR_API WEIR_NODISCARD enum weir_status weir_buf_prepend(
    struct weir_buf *buf, const void *bytes, size_t n);

/* Forgets what was written beyond the first `len` bytes, if so much was. */
WEIR_API void weir_buf_truncate(struct weir_buf *buf, size_t len);

/* Forgets all that was written; headroom that is free stays free. */
WEIR_API void weir_buf_clear(struct weir_buf *buf);

struct weir_slice;

/*
 * Ends the buf and makes a slice of what was written. Copies nothing and
 * writes no shared memory. Freezing nothing gives the empty slice, and the
 * block goes home.
 */
WEIR_API void weir_buf_freeze(struct weir_buf *buf, struct weir_slice *slice);

/*
 * Makes a slice of what was written, and the buf goes on with the rest of the
 * block, empty, without headroom. So many messages share one block; it goes
 * home with the last of them. Splitting off nothing gives the empty slice.
 */
WEIR_API void weir_buf_split(struct weir_buf *buf, struct weir_slice *slice);

/* Ends the buf without a slice; the block goes home, or the buf's part of it. */
WEIR_API void weir_buf_drop(struct weir_buf *buf);

/* ---- Slice: a counted, read-only range --------------------------------- */

/*
 * The members are the library's. `word` holds the length, what kind of memory
 * it is, and the weight: the share of the block's references that this handle
 * stands for, so that cloning divides a number in the handle and touches no
 * shared memory.
 */
struct weir_slice {
    const uint8_t *data;
    uint64_t word; /* len:32, kind:4, weight:28 */
    uint64_t owner;
};

/* The bytes. NULL for the empty slice. */
WEIR_API inline const void *
weir_slice_data(const struct weir_slice *slice)
{
    return slice->data;
}

WEIR_API inline size_t
weir_slice_len(const struct weir_slice *slice)
{
    return (uint32_t)slice->word;
}

/* What weir_slice_clone calls where there is no weight to divide: the slice is
   empty, static, was cloned 60 times, or is `copy`. */
WEIR_API void weir_slice_clone_rarely(
    struct weir_slice *slice, struct weir_slice *copy);

/*
 * Makes a second handle on the same bytes; `copy` is not `slice`. It divides the
 * weight of `slice`, so only one thread may use `slice` meanwhile. The first 60
 * clones of a handle take no locked instruction, of later ones 1 in 37 does.
 */
WEIR_API inline void
weir_slice_clone(struct weir_slice *slice, struct weir_slice *copy)
{
    uint64_t share = slice->word >> 38; /* a quarter of the weight */
    if (share == 0 || copy == slice) {
        weir_slice_clone_rarely(slice, copy);
        return;
    }
    slice->word -= share << 36;
    copy->data = slice->data;
    copy->word = (slice->word & 0xfffffffff) | share << 36;
    copy->owner = slice->owner;
}

/* The same from a handle that other threads clone too: one locked instruction. */
WEIR_API void weir_slice_clone_shared(
    const struct weir_slice *slice, struct weir_slice *copy);

/*
 * Makes a handle on `len` bytes of `slice` from byte `from` on, as clone does.
 * WEIR_OUT_OF_RANGE: they are not all inside it; nothing changed. No bytes give
 * the empty slice, which holds no block. `part` is not `slice`; see the splits.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_slice_sub(
    struct weir_slice *slice, size_t from, size_t len, struct weir_slice *part);

/*
 * Moves the first `n` bytes of `slice` into `front`; `slice` keeps the rest.
 * WEIR_OUT_OF_RANGE: it is shorter; nothing changed.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_slice_split_front(
    struct weir_slice *slice, size_t n, struct weir_slice *front);

/* Moves the last `n` bytes of `slice` into `back`; likewise. */
WEIR_API WEIR_NODISCARD enum weir_status weir_slice_split_back(
    struct weir_slice *slice, size_t n, struct weir_slice *back);

/* Ends the handle. The last one of a block sends it home. Any thread. */
WEIR_API void weir_slice_release(struct weir_slice *slice);

/*
 * Halves the slice's block as often as that leaves the slice whole, and gives the
 * rest back: of a buddy arena, if this is the only handle of a block that was never
 * split or cloned. Returns how many bytes are free again; 0: nothing changed.
 */
WEIR_API size_t weir_slice_trim(struct weir_slice *slice);

/*
 * True if no other buf or slice holds any part of this memory. It stays true
 * until this handle is cloned or cut. False for static memory.
 */
WEIR_API bool weir_slice_is_sole(const struct weir_slice *slice);

/*
 * Makes the slice writable again, in place: the buf has its bytes as written,
 * what lies in front of them as headroom and all that lies behind as room.
 * WEIR_SHARED: it is not sole; nothing changed. WEIR_UNSUPPORTED: static or
 * foreign memory.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_slice_thaw(
    struct weir_slice *slice, struct weir_buf *buf);

/*
 * A slice of `n` bytes that live for ever, such as a string literal; nothing is
 * counted. WEIR_TOO_LARGE: more than 2^32 - 1.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_slice_static(
    const void *bytes, size_t n, struct weir_slice *slice);

/* Foreign memory is no longer held by any slice. */
typedef void weir_release_fn(const void *bytes, size_t n, void *user);

/*
 * A counted slice of `n` bytes of the caller's. `release_fn`, if not NULL, runs
 * when its last slice is released, on that thread, without locks, and may call
 * weir.
 * WEIR_TOO_LARGE: more than 2^32 - 1. WEIR_SYSTEM: no memory for the count. On
 * failure `release_fn` is not called. No bytes give the empty slice, and
 * `release_fn` runs at once.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_slice_foreign(const void *bytes,
    size_t n, weir_release_fn *release_fn, void *user,
    struct weir_slice *slice);

/* ---- Chain: slices in order -------------------------------------------- */

enum { WEIR_CHAIN_INLINE = 4 };

/*
 * The members are the library's. A few slices lie inside, more of them on the
 * heap. There is no pointer into the chain itself, so it may be moved.
 */
struct weir_chain {
    struct weir_slice slices[WEIR_CHAIN_INLINE];
    struct weir_slice *more; /* all of them, when there are too many */
    size_t len;              /* bytes */
    uint32_t first;
    uint32_t count;
    uint32_t capacity; /* of `more` */
    uint32_t reserved;
};

/* Bytes in all, and in how many slices. */
WEIR_API size_t weir_chain_len(const struct weir_chain *chain);
WEIR_API size_t weir_chain_count(const struct weir_chain *chain);

/* The slice at `index`, below the count; good until the chain changes. */
WEIR_API const struct weir_slice *weir_chain_at(
    const struct weir_chain *chain, size_t index);

/*
 * Moves `slice` to the end, or to the front, of the chain. WEIR_SYSTEM: no
 * memory; the caller keeps it. An empty slice adds nothing.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_push(
    struct weir_chain *chain, struct weir_slice *slice);
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_prepend(
    struct weir_chain *chain, struct weir_slice *slice);

/* Moves the first slice out; the empty slice if there is none. */
WEIR_API void weir_chain_pop(
    struct weir_chain *chain, struct weir_slice *slice);

/* Fills at most `n` entries for writev, from the first byte on; returns how
   many. The bytes stay good while the chain holds them. */
WEIR_API size_t weir_chain_iov(
    const struct weir_chain *chain, struct iovec *iov, size_t n);

/*
 * Drops the first `n` bytes, as after a write that sent so many; slices that
 * are used up are released. WEIR_OUT_OF_RANGE: there are fewer; nothing
 * changed.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_advance(
    struct weir_chain *chain, size_t n);

/*
 * Copies `len` bytes from byte `from` on to `out`; counted as bytes_copied.
 * WEIR_OUT_OF_RANGE: they are not all there; nothing was copied.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_copy(
    const struct weir_chain *chain, size_t from, size_t len, void *out);

/*
 * The first place at or behind byte `from` where the `n` bytes stand, also
 * across slices; SIZE_MAX if there is none. No bytes are found at once, if
 * `from` is inside the chain or at its end. At worst len times n steps.
 */
WEIR_API size_t weir_chain_find(
    const struct weir_chain *chain, size_t from, const void *bytes, size_t n);

/*
 * Reads an unsigned number of `size` bytes, 1 to 8, at byte `from`, most
 * (be) or least (le) significant byte first. WEIR_OUT_OF_RANGE: they are not
 * all there, or `size` is none of these.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_read_be(
    const struct weir_chain *chain, size_t from, size_t size, uint64_t *value);
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_read_le(
    const struct weir_chain *chain, size_t from, size_t size, uint64_t *value);

/*
 * Makes the chain one slice. One slice, or none, stays as it is; more are
 * copied into a block of `arena` (counted there as bytes_copied) and released.
 * Fails as weir_arena_alloc; the chain is unchanged then.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_chain_linearize(
    struct weir_chain *chain, struct weir_arena *arena);

/* Releases every slice; the chain is empty and can be used again. */
WEIR_API void weir_chain_release(struct weir_chain *chain);

/* ---- Waiting ----------------------------------------------------------- */

/*
 * A waiter asks for a block and is handed one when it comes back, in the order
 * of asking. Whoever releases a block reserves it for the first waiter and
 * rings that waiter's bell; the waiter's own thread then drains the bell, and
 * `granted` runs there. So there is one wake-up for a loop, however many of its
 * waiters are served, and no waiter ever tries again. Whatever sizes they ask for,
 * nobody is served before one who queued earlier: a large request waits at most
 * until the blocks that were out have come home. Only an alloc that was under way
 * when it queued, and weir_arena_alloc_barge, overtake it.
 */
struct weir_waiter;

/* Runs once, on the thread that drains the bell, without locks; it may call
   weir and reuse or free the waiter. WEIR_OK: `buf` of the waiter is a block of
   the caller's. WEIR_CLOSED: the arena was closed; there is no block. */
typedef void weir_granted_fn(
    struct weir_waiter *waiter, enum weir_status status);

/*
 * The caller's memory, from weir_arena_wait until `granted` runs or
 * weir_waiter_cancel returns WEIR_OK; zero what is not set. The caller sets the
 * first three; the rest is the library's.
 */
struct weir_waiter {
    struct weir_bell *bell;
    weir_granted_fn *granted;
    void *user;
    struct weir_buf buf; /* the block, when granted */
    struct weir_arena *arena;
    struct weir_waiter *next;
    struct weir_waiter *previous;
    size_t size;
    uint32_t state;
    enum weir_status status;
    uint64_t reserved[4];
};

struct weir_bell;

/* Tells the loop behind the bell to call weir_bell_drain soon. Runs on any
   thread, with the library's locks held: it must be quick and not call weir. */
typedef void weir_ring_fn(struct weir_bell *bell);

/*
 * A doorbell of one loop. After a ring there is no further one until a drain
 * has begun. Pinned while it is in use; `user` is the caller's, the rest the
 * library's.
 */
struct weir_bell {
    weir_ring_fn *ring;
    void *user;
    struct weir_waiter *first;
    struct weir_waiter *last;
    bool rung;
    uint64_t lock[8];
    uint64_t reserved[4];
};

/* Makes a bell. `bell` is memory of the caller's; what it held is ignored. */
WEIR_API void weir_bell_init(
    struct weir_bell *bell, weir_ring_fn *ring, void *user);

/*
 * Runs `granted` of at most `max` waiters (0: of all that are there now) and
 * returns of how many. If more are left it rings again. Only one thread at a
 * time, which is the thread the waiters live on.
 */
WEIR_API size_t weir_bell_drain(struct weir_bell *bell, size_t max);

/*
 * Ends the bell: afterwards nobody rings it. Every waiter that points at it
 * must have been granted or cancelled before, and the calls that cancelled it
 * have returned; one that was told and not drained aborts. Not from `granted`.
 */
WEIR_API void weir_bell_fini(struct weir_bell *bell);

/*
 * Takes a block of `size` bytes, or queues `waiter` for one. WEIR_OK: it is in
 * `waiter->buf` now, and `granted` will not run. WEIR_PENDING: `granted` will
 * run. WEIR_TOO_LARGE, WEIR_CLOSED: as alloc. WEIR_INVALID: no bell or no
 * `granted`. Any thread.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_arena_wait(
    struct weir_arena *arena, size_t size, struct weir_waiter *waiter);

/*
 * Takes a wait back. WEIR_OK: `granted` will never run, and the waiter's memory
 * is the caller's; a block that was reserved for it went to the next one.
 * WEIR_PENDING: `granted` is about to run, is running or has run. A waiter that
 * is not queued is WEIR_OK. Any thread, as long as the waiter's memory is there,
 * and on another thread than the bell's also the bell; not while the waiter is
 * passed to weir_arena_wait.
 */
WEIR_API enum weir_status weir_waiter_cancel(struct weir_waiter *waiter);

/* ---- Threads ----------------------------------------------------------- */

/*
 * Gives back what free blocks the calling thread keeps at hand, of every arena.
 * Never needed for another thread to get them; good for a thread that is about
 * to be idle, so that nobody has to take them from it. The end of a thread does
 * it too. Any thread.
 */
WEIR_API void weir_thread_flush(void);

/*
 * fork: the child may go on with every arena it inherited, as the only thread.
 * Blocks that were out at that instant, on whatever thread, are out in the
 * child, and so is one whose alloc had not yet returned. Of an arena in memory
 * that the two share only one may go on. Waiters that were queued belong to the
 * parent: in the child they are not queued any more and will never be granted;
 * neither they nor an inherited bell or libuv loop may be used there. The child
 * of a vfork may call nothing.
 */

/*
 * Why threads keep free blocks of an arena at hand, or not. A filter (seccomp)
 * that denies membarrier must be in place before an arena is created; one that
 * comes later aborts the program when the blocks are to be taken back, but for
 * arenas with WEIR_NO_CACHE.
 */
enum weir_caching {
    WEIR_CACHING_ON = 0,
    WEIR_CACHING_REFUSED,    /* WEIR_NO_CACHE */
    WEIR_CACHING_TINY,       /* fewer than 64 blocks */
    WEIR_CACHING_UNSUPPORTED /* the system has no membarrier, or denies it */
};

/* ---- Stats ------------------------------------------------------------- */

enum {
    WEIR_NAME_SIZE = 32,
    WEIR_ORDERS = 24 /* sizes of blocks that a buddy arena has at most */
};

/*
 * What an arena did and holds. Exact when the arena is quiet. Else a number may
 * miss, or hold, what calls in progress are about to do or have just done; no
 * count ever falls, and `blocks_out` is never above `block_count`.
 */
struct weir_stats {
    char name[WEIR_NAME_SIZE];

    uint64_t block_size;  /* bytes a block holds */
    uint64_t block_count; /* blocks in the arena */
    uint64_t bytes_total; /* block_size * block_count */
    uint64_t meta_bytes;  /* books of the arena, outside its blocks */

    uint64_t blocks_out;      /* bufs, slices and granted waiters hold them */
    uint64_t bytes_out;       /* blocks_out * block_size */
    uint64_t blocks_cached;   /* free ones that threads keep at hand */
    uint64_t bytes_cached;    /* blocks_cached * block_size */
    uint64_t blocks_out_peak; /* highest blocks_out that a call of stats, or an
                                 alloc that found the arena full, has seen */
    uint64_t spilled_blocks;  /* on the heap now */
    uint64_t spilled_bytes;   /* on the heap now */
    uint64_t waiting;         /* waiters queued now */

    uint64_t allocs;       /* blocks handed out, granted and spilled ones too */
    uint64_t alloc_fulls;  /* allocs and waits that found the arena full */
    uint64_t releases;     /* blocks that came home, spilled ones too */
    uint64_t freezes;      /* freezes and splits that made a slice */
    uint64_t bytes_frozen; /* what they froze */
    uint64_t bytes_copied; /* moved by spill, chain_copy and chain_linearize */
    uint64_t spill_grows;  /* bufs that outgrew their block */
    uint64_t spill_fulls;  /* allocs that took heap memory */
    uint64_t waits;        /* waiters that were queued */
    uint64_t grants;       /* blocks handed to queued waiters */
    uint64_t cancels;      /* waits taken back */

    uint64_t caching; /* enum weir_caching */
    uint64_t caches;  /* threads that may keep free blocks now */
    uint64_t sweeps;  /* times that all of them were taken back */

    uint64_t block_size_max; /* bytes of the largest block */
    uint64_t bytes_free;     /* neither out nor kept at hand */
    uint64_t largest_free;   /* bytes of the largest block of these */

    /* The rest is of a buddy arena, else 0. Reading it walks the books. */
    uint64_t splits;                 /* of a block into two halves */
    uint64_t coalesces;              /* of two halves into one block */
    uint64_t trims;                  /* blocks that gave back their tail */
    uint64_t bytes_trimmed;          /* what they gave back */
    uint64_t bytes_asked;            /* by allocs */
    uint64_t bytes_got;              /* in the blocks that they got */
    uint64_t waste_permille;         /* of bytes_got, what was not asked for */
    uint64_t fragmentation_permille; /* of bytes_free, what lies outside the
                                        largest free block */
    uint64_t free_blocks[WEIR_ORDERS]; /* of block_size << i bytes each; they
                                          add up to bytes_free */
};

/* What weir_arena_stats calls; `stats_size` says which fields exist. */
WEIR_API void weir_arena_stats_sized(
    struct weir_arena *arena, struct weir_stats *stats, size_t stats_size);

/* Reads the arena's numbers. Any thread; takes a mutex and walks the threads. */
WEIR_API inline void
weir_arena_stats(struct weir_arena *arena, struct weir_stats *stats)
{
    weir_arena_stats_sized(arena, stats, sizeof(*stats));
}

/* What weir_stats_openmetrics calls; the snapshots are `stats_size` apart. */
WEIR_API size_t weir_stats_openmetrics_sized(const struct weir_stats *stats,
    size_t count, size_t stats_size, char *text, size_t size);

/*
 * Writes `count` snapshots as OpenMetrics text, terminated by "# EOF", with the
 * arenas' names as labels. Like snprintf: writes at most `size` bytes with the
 * final zero, returns the length of the whole text.
 */
WEIR_API inline size_t
weir_stats_openmetrics(
    const struct weir_stats *stats, size_t count, char *text, size_t size)
{
    return weir_stats_openmetrics_sized(
        stats, count, sizeof(*stats), text, size);
}

#ifdef __cplusplus
}
#endif

#endif
