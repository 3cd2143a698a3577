/* SPDX-License-Identifier: MIT */
#ifndef EMBED_COUNTERS_H
#define EMBED_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* What the server itself counts; the arenas count the rest. */
enum count {
    COUNT_REQUESTS,  /* answered, whatever the answer; without scrapes */
    COUNT_ERRORS,    /* of these, with 4xx or 500 */
    COUNT_REJECTED,  /* given up at the deadline: 503, or cut off */
    COUNT_ABANDONED, /* never answered: the client went away, or was cut off */
    COUNT_SCRAPES,   /* GET /metrics */
    COUNT_BATCHES,   /* result matrices */
    COUNT_ROWS,      /* embeddings in them */
    COUNT_COPIED,    /* bytes of result rows that this server moved */
    COUNT_KINDS
};

/* Each loop has its own and alone writes them; others read. */
struct counters {
    _Atomic uint64_t values[COUNT_KINDS];
};

static inline void
count_add(struct counters *counters, enum count count, uint64_t n)
{
    atomic_fetch_add_explicit(
        &counters->values[count], n, memory_order_relaxed);
}

static inline uint64_t
count_read(const struct counters *counters, enum count count)
{
    return atomic_load_explicit(&counters->values[count], memory_order_relaxed);
}

#endif
