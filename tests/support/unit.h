/* SPDX-License-Identifier: MIT */
/* unit: what unit tests of arenas do again and again. */
#ifndef UNIT_H
#define UNIT_H

#include "arena/arena.h"
#include "support/books.h"
#include "support/misuse.h"
#include "weir/weir.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Sanitizers -------------------------------------------------------- */

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
void __asan_init(void) __attribute__((weak));

/* What stays in the default heap: the control parts of all arenas there ever were
   at once, and the calling thread's records. */
static inline uint64_t
lasting_books(void)
{
    uint64_t count = wr_record_books();
    for (uint32_t id = 0; wr_load_acquire(&wr_directory[id]) != NULL; id++)
        count++;
    return count;
}

/* Criterion's workers skip the check at their end. */
static inline void
no_leaks_of_malloc(void)
{
    if (__lsan_do_recoverable_leak_check != NULL)
        cr_assert(eq(int, __lsan_do_recoverable_leak_check(), 0));
}

/* No other thread has records, and the test has no block of the default heap. */
static inline void
no_leaks(void)
{
    no_leaks_of_malloc();
    cr_assert(eq(u64, books_blocks(), lasting_books()));
}

/* It maps memory of its own, and aborts where malloc would fail. */
static inline bool
under_asan(void)
{
    return __asan_init != NULL;
}

/* ---- Text -------------------------------------------------------------- */

static inline void
expect_text(const char *text, const char *wanted)
{
    cr_assert(eq(int, strcmp(text, wanted), 0), "it was \"%s\"", text);
}

/* ---- Memory ------------------------------------------------------------ */

/* What the kernel says about the first mapping that lies in the range: "rw-p",
   "---p" or so; "" if there is none. Allocates nothing: it could move in just
   there. */
static inline const char *
access_of(const void *from, size_t size)
{
    static char maps[1 << 20];
    static char access[8];
    size_t len = 0;
    ssize_t n;
    int file = open("/proc/self/maps", O_RDONLY);
    while ((n = read(file, maps + len, sizeof(maps) - 1 - len)) > 0)
        len += (size_t)n;
    (void)close(file);
    cr_assert(lt(sz, len, sizeof(maps) - 1));
    maps[len] = '\0';

    const char *line = maps;
    while (line != NULL && *line != '\0') {
        uintptr_t start;
        uintptr_t end;
        cr_assert(eq(int,
            sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &start, &end, access),
            3));
        if ((uintptr_t)from < end && start < (uintptr_t)from + size)
            return access;
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return "";
}

/* Some page of the range is mapped, be it without access. */
static inline bool
is_mapped(const void *start, size_t size)
{
    return access_of(start, size)[0] != '\0';
}

/* A byte can be read, as the kernel sees it. */
static inline bool
is_readable(const void *byte)
{
    return access_of(byte, 1)[0] == 'r';
}

/* ---- Privileges -------------------------------------------------------- */

/* Takes them from a privileged user, and gives them back. */
static inline void
give_up_privileges(void)
{
    if (getuid() == 0)
        cr_assert(eq(int, seteuid(65534), 0));
}

static inline void
regain_privileges(void)
{
    if (getuid() == 0)
        cr_assert(eq(int, seteuid(0), 0));
}

/* ---- Arenas ------------------------------------------------------------ */

static inline struct weir_arena *
open_with(const struct weir_arena_config *config)
{
    struct weir_arena *arena = NULL;
    cr_assert(eq(int, weir_arena_create(config, &arena), WEIR_OK));
    return arena;
}

static inline struct weir_arena *
open_arena(size_t block_size, size_t block_count)
{
    return open_with(&(struct weir_arena_config){
        .name = "test",
        .block_size = block_size,
        .block_count = block_count,
    });
}

static inline struct weir_stats
stats_of(struct weir_arena *arena)
{
    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    return stats;
}

/* One block, which must be there. */
static inline struct weir_buf
take(struct weir_arena *arena)
{
    struct weir_buf buf;
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_OK));
    return buf;
}

/* What asking for a block says, without keeping it. */
static inline enum weir_status
ask(struct weir_arena *arena)
{
    struct weir_buf buf;
    enum weir_status status = weir_arena_alloc(arena, 0, &buf);
    if (status == WEIR_OK)
        weir_buf_drop(&buf);
    return status;
}

/* Sees that every block is home, and ends the arena. */
static inline void
close_whole(struct weir_arena **arena)
{
    struct weir_stats stats = stats_of(*arena);
    cr_assert(eq(u64, stats.blocks_out, 0));
    cr_assert(eq(u64, stats.spilled_blocks, 0));
    cr_assert(eq(u64, stats.spilled_bytes, 0));
    cr_assert(eq(u64, stats.waiting, 0));
    weir_arena_check(*arena);
    weir_arena_destroy(arena);
    cr_assert(zero(ptr, *arena));
    no_leaks();
}

/* ---- Threads ----------------------------------------------------------- */

static inline pthread_t
start_thread(void *(*run)(void *), void *user)
{
    pthread_t thread;
    cr_assert(eq(int, pthread_create(&thread, NULL, run, user), 0));
    return thread;
}

static inline void
join_thread(pthread_t thread)
{
    cr_assert(eq(int, pthread_join(thread, NULL), 0));
}

/* Runs something on a thread of its own, to its end. */
static inline void
on_thread(void *(*run)(void *), void *user)
{
    join_thread(start_thread(run, user));
}

#endif
