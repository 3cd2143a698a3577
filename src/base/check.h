/* SPDX-License-Identifier: MIT */
/*
 * check: what must be true, and what happens when it is not.
 *
 * WR_CHECK is in every build, only where one comparison is enough: it finds
 * misuse by the caller. WR_ASSERT is in debug builds, wherever a truth is
 * known: it finds our own mistakes. Neither has side effects.
 */
#ifndef WR_CHECK_H
#define WR_CHECK_H

#include <stdint.h>

enum { WR_NO_BLOCK = -1 };

/*
 * Prints "weir: arena 'NAME': block N: WHAT", or what of it is known (`arena`
 * may be NULL, `block` WR_NO_BLOCK), through the program's callback, and aborts.
 */
_Noreturn void wr_fail(const char *what, const char *arena, int64_t block);

/* A misuse that is not about one arena. */
#define WR_CHECK(rule, what)                                                   \
    ((rule) ? (void)0 : wr_fail((what), (const char *)0, WR_NO_BLOCK))

/* A misuse of block `block` of the arena named `arena`. */
#define WR_CHECK_BLOCK(rule, what, arena, block)                               \
    ((rule) ? (void)0 : wr_fail((what), (arena), (int64_t)(block)))

#ifdef NDEBUG
#define WR_ASSERT(truth) ((void)0)
#else
#define WR_ASSERT(truth)                                                       \
    ((truth) ? (void)0                                                         \
             : wr_fail(                                                        \
                   "assertion failed: " #truth, (const char *)0, WR_NO_BLOCK))
#endif

#endif
