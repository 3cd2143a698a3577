/* SPDX-License-Identifier: MIT */
#ifndef EMBED_METRICS_H
#define EMBED_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/weir.h>

struct server;

/* The whole answer to GET /metrics, head and all. False: it cannot be made. */
bool metrics_page(
    const struct server *server, bool keep_alive, struct weir_slice *slice);

/*
 * Prints a table of the arenas and the line for scripts, and returns how many
 * blocks are out. Only when all threads but the caller have ended.
 */
uint64_t metrics_report(const struct server *server);

#endif
