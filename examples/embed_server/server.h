/* SPDX-License-Identifier: MIT */
#ifndef EMBED_SERVER_H
#define EMBED_SERVER_H

#include <weir/weir.h>

#include "options.h"
#include "worker.h"

struct loop;

enum { ARENA_COUNT = 3 };

/* What all threads share; it does not change once they run. */
struct server {
    struct options options;
    struct weir_arena *requests;  /* bytes as they arrive */
    struct weir_arena *results;   /* matrices; answers are parts of them */
    struct weir_arena *responses; /* heads and JSON */
    struct pool pool;
    struct loop *loops; /* options.loops of them */
    unsigned port;
};

#endif
