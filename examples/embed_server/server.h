/* SPDX-License-Identifier: MIT */
#ifndef EMBED_SERVER_H
#define EMBED_SERVER_H

#include <weir/weir.h>

#include "options.h"
#include "worker.h"

struct loop;

enum { ARENA_COUNT = 4 };

/* What all threads share; it does not change once they run. */
struct server {
    struct options options;
    struct weir_arena *requests;  /* heads, and what came along with them */
    struct weir_arena *bodies;    /* the rest of a body, in one block */
    struct weir_arena *results;   /* matrices; answers are parts of them */
    struct weir_arena *responses; /* heads and JSON */
    uint64_t chunked_max; /* bytes of a body that does not say its length */
    struct pool pool;
    struct loop *loops; /* options.loops of them */
    unsigned port;
};

#endif
