/* SPDX-License-Identifier: MIT */
/*
 * heap: memory of any size by pointer, for services that allocate much.
 *
 *     thread's cache ──▶ central pool ──▶ regions of reserved address space
 *     a store and a load   a lock for many   pages, committed when they are touched
 *
 * Blocks up to 1 MiB come in 52 classes, four to a doubling, and each thread
 * keeps some of every class at hand. Larger ones are runs of pages. Nothing is
 * ever written into a block that is out, nor read from one: all books lie
 * elsewhere, so a pointer that is no block of the heap is told, and freeing it
 * does nothing.
 *
 * Blocks are aligned to 64 bytes at least. Any thread may release what any other one
 * allocated. What threads keep at hand is never a reason to be out of memory.
 *
 * Signals: nothing here may be called from a handler, not even weir_release: the
 * call that it interrupted may hold a lock, or be between two stores. A handler
 * may interrupt any call and read and write blocks that are out, if it returns;
 * one that leaves by siglongjmp, or a thread that is cancelled asynchronously, may
 * leave a call for ever half done. No call here is a point where a thread is
 * cancelled.
 *
 * After a fork the child may go on with every heap, as the only thread; what other
 * threads had out stays out, and so may a block that one of them was just taking
 * or releasing. A heap keeps the address space of its regions until it ends: at
 * most 1024 of them, and 256 GiB in all. After mlockall(MCL_FUTURE) a region is
 * resident as a whole: make it small.
 *
 * In a program that is built with AddressSanitizer, a use of a block that is not
 * out, or behind what was asked for, is reported as a use after poison, and
 * LeakSanitizer looks for pointers in blocks. The library needs no sanitizer for
 * that. Threads keep nothing at hand then; who wants them to sets
 * ASAN_OPTIONS=allow_user_poisoning=0.
 */
#ifndef WEIR_HEAP_H
#define WEIR_HEAP_H

#include <weir/weir.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A zeroed configuration is a good one. The library copies it. */
struct weir_heap_config {
    const char *name;    /* in messages: at most 31 printable ASCII
                                characters. NULL: "heap" */
    size_t region_bytes; /* address space reserved at a time, rounded up to
                                64 KiB; at most 64 GiB. 0: 1 GiB, or as much as
                                the system grants, but 4 MiB at least */
    size_t align;        /* of every block: a power of two, at most 2 MiB;
                                above 64 KiB each takes whole pages of that.
                                0: 64, which is the least */
    size_t bytes_max;    /* what spans of blocks and large blocks may take at
                            once, in pages of 64 KiB. 0: no limit */
    size_t refill_bytes; /* what a thread takes at a time, at least one block
                                and at most half of what it keeps, rounded up.
                                0: 32 KiB */
    size_t cache_bytes;  /* what a thread keeps of one class, at least one
                                block and at most 256. 0: 64 KiB */
    unsigned decay_ms;   /* how long memory that is free stays resident; calls
                                that find no block at hand, flushes and large
                                blocks look at the clock. 0: 500 */
};

struct weir_heap;

/* What weir_heap_create calls; `config_size` says which fields exist. */
WEIR_API WEIR_NODISCARD enum weir_status weir_heap_create_sized(
    const struct weir_heap_config *config, size_t config_size,
    struct weir_heap **heap);

/*
 * Makes a heap. NULL for `config` is the zeroed configuration. WEIR_INVALID: the
 * configuration makes no sense. WEIR_UNSUPPORTED: it has a field this library
 * does not know. WEIR_SYSTEM: no memory; errno says why. Any thread.
 */
WEIR_API WEIR_NODISCARD inline enum weir_status
weir_heap_create(const struct weir_heap_config *config, struct weir_heap **heap)
{
    return weir_heap_create_sized(config, sizeof(*config), heap);
}

/*
 * Ends a heap and all its blocks, released or not. No other thread may be in or
 * make a call on it. Sets `*heap` to NULL; a NULL `*heap` is fine, the default
 * heap is not.
 */
WEIR_API void weir_heap_destroy(struct weir_heap **heap);

/* The heap of weir_alloc; made by the first call. The library lives on it too:
   what is spilled, and its own books, are in its numbers. NULL: no memory. */
WEIR_API struct weir_heap *weir_heap_default(void);

/*
 * Allocates at least `size` bytes, not cleared. WEIR_INVALID: 0 bytes. WEIR_FULL:
 * `bytes_max` is used up, or the regions that a heap may have, and no thread keeps
 * what would do. WEIR_TOO_LARGE: it
 * could never fit. WEIR_SYSTEM: no memory or address space; errno says why. Any
 * thread.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_heap_alloc(
    struct weir_heap *heap, size_t size, void **memory);

/* The same, cleared. */
WEIR_API WEIR_NODISCARD enum weir_status weir_heap_alloc_zeroed(
    struct weir_heap *heap, size_t size, void **memory);

/* The same, not cleared, at a multiple of `align` if that is more than the heap's: a
   power of two, at most 2 MiB, else WEIR_INVALID. */
WEIR_API WEIR_NODISCARD enum weir_status weir_heap_alloc_aligned(
    struct weir_heap *heap, size_t size, size_t align, void **memory);

/*
 * Releases a block. NULL is fine. WEIR_ALREADY_RELEASED: it is no block now, but
 * one was or could be there. WEIR_FOREIGN: no block of this heap starts there.
 * Nothing happens in either case. Not told is a block that was released and whose
 * memory was allocated again. Of two releases of one block that race, the second
 * may be told only when the block leaves a thread's cache; then the program
 * stops. It goes on if two threads take the block from their caches at once. Any
 * thread.
 */
WEIR_API enum weir_status weir_heap_release(
    struct weir_heap *heap, void *memory);

/* The same, if `size` is what was asked for; else WEIR_SIZE_MISMATCH, and the
   block stays. */
WEIR_API enum weir_status weir_heap_release_sized(
    struct weir_heap *heap, void *memory, size_t size);

/*
 * Makes a block hold `size` bytes where it is, more or fewer than before.
 * WEIR_NO_ROOM: not here; WEIR_INVALID: 0 bytes; the others as release. Then
 * nothing changed. Blocks up to 1 MiB grow to what their class holds, larger ones
 * into free pages behind them.
 */
WEIR_API WEIR_NODISCARD enum weir_status weir_heap_resize(
    struct weir_heap *heap, void *memory, size_t size);

/* How many bytes a block can hold; all may be used from then on. Statuses as
   release. */
WEIR_API WEIR_NODISCARD enum weir_status weir_heap_usable(
    struct weir_heap *heap, const void *memory, size_t *size);

/* Gives what the calling thread keeps at hand to the central pool. */
WEIR_API void weir_heap_flush(struct weir_heap *heap);

/* Takes back what all threads keep at hand, and gives all memory that is free
   to the system. Any thread. */
WEIR_API void weir_heap_trim(struct weir_heap *heap);

/* ---- The default heap -------------------------------------------------- */

/* As weir_heap_alloc. NULL: errno says why; EINVAL for 0 bytes. */
WEIR_API void *weir_alloc(size_t size);

/* As weir_heap_release and weir_heap_release_sized. */
WEIR_API enum weir_status weir_release(void *memory);
WEIR_API enum weir_status weir_release_sized(void *memory, size_t size);

/* ---- Stats ------------------------------------------------------------- */

enum { WEIR_HEAP_CLASSES = 52 };

/*
 * Blocks of one class. The three add up to all that were cut: a block is with who
 * allocated it, with the thread that released it, or central, and never in between.
 * So one that another thread released counts at once, as cached.
 */
struct weir_heap_class_stats {
    uint64_t block_size;     /* bytes */
    uint64_t blocks_live;    /* out */
    uint64_t blocks_cached;  /* free ones that threads keep at hand */
    uint64_t blocks_central; /* other free ones, cut already */
};

/*
 * What a heap holds. Exact when the heap is quiet; else a number may miss, or
 * hold, what calls in progress are about to do or have just done. Blocks above 1
 * MiB are of no class. What they leave is free for any class, and for them.
 */
struct weir_heap_stats {
    char name[WEIR_NAME_SIZE];
    uint64_t
        bytes_reserved;    /* all regions; more are added while what is used is
                                below `bytes_max`, but lies in pieces */
    uint64_t bytes_unused; /* what is left of them: pages in no span and no
                                large block */
    uint64_t bytes_resident; /* about: pages that are in use, touched or not, or
                                were and are not given back yet */
    uint64_t large_live;     /* blocks above 1 MiB, or aligned to more than
                                64 KiB */
    uint64_t large_bytes;    /* what they hold, in whole pages */
    uint64_t regions;
    uint64_t caches; /* threads that have used the heap and have not ended */
    uint64_t sweeps; /* times that all caches were taken back */
    struct weir_heap_class_stats classes[WEIR_HEAP_CLASSES];
    uint64_t large_reusable; /* of bytes_unused, the most in one piece: the
                                largest block without another region */
};

/* What weir_heap_stats calls; `stats_size` says which fields exist. */
WEIR_API void weir_heap_stats_sized(
    struct weir_heap *heap, struct weir_heap_stats *stats, size_t stats_size);

/* Reads the heap's numbers. Any thread; takes every lock of the heap in turn. */
WEIR_API inline void
weir_heap_stats(struct weir_heap *heap, struct weir_heap_stats *stats)
{
    weir_heap_stats_sized(heap, stats, sizeof(*stats));
}

/* Checks the books of the heap, classes and runs, and aborts if one is broken. Only while no
   other thread uses it. For tests; it walks everything. */
WEIR_API void weir_heap_check(struct weir_heap *heap);

#ifdef __cplusplus
}
#endif

#endif
