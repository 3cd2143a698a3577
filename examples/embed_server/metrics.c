/* SPDX-License-Identifier: MIT */
/*
 * metrics: what the server counts and what its arenas count, as one text.
 *
 * Idea
 *   payload_copied is a sum of measurements: what each arena says it moved
 *   (spill, weir_chain_copy, weir_chain_linearize), and COUNT_COPIED, which the
 *   server adds to wherever it moves payload itself. Start it with --copy 1 to
 *   see the sum grow.
 *
 * Limits
 *   A scrape is a request: the requests arena shows at least the one block
 *   that it came in.
 */

#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "loop.h"
#include "memory.h"
#include "server.h"

enum {
    HEAD_MAX = 256,
    PAGE_MAX = 64 << 10 /* some five times what four arenas need */
};

/* Text in memory of our own. */
struct page {
    char *bytes;
    size_t len;
};

struct snapshot {
    uint64_t counts[COUNT_KINDS];
    struct weir_stats arenas[ARENA_COUNT];
    uint64_t payload_copied;
    uint64_t waits;
    uint64_t blocks_out;
};

static const struct family {
    const char *name;
    const char *help;
} families[COUNT_KINDS] = {
    [COUNT_REQUESTS] = { "embed_requests", "Answered requests, any answer." },
    [COUNT_ERRORS] = { "embed_errors", "Requests answered with 4xx or 500." },
    [COUNT_REJECTED] = { "embed_rejected", "Requests given up: deadline." },
    [COUNT_ABANDONED] = { "embed_abandoned", "Requests whose client left." },
    [COUNT_SCRAPES] = { "embed_scrapes", "Answers to GET /metrics." },
    [COUNT_BATCHES] = { "embed_batches", "Result matrices computed." },
    [COUNT_ROWS] = { "embed_rows", "Embeddings computed." },
    [COUNT_COPIED] = { "embed_copied_bytes", "Payload the server moved." },
};

static void
take_snapshot(const struct server *server, struct snapshot *snapshot)
{
    *snapshot = (struct snapshot){ 0 };
    for (size_t i = 0; i < server->options.loops; i++)
        for (enum count count = 0; count < COUNT_KINDS; count++)
            snapshot->counts[count] +=
                count_read(&server->loops[i].counters, count);
    struct weir_arena *const arenas[ARENA_COUNT] = { server->requests,
        server->bodies, server->results, server->responses };
    for (size_t i = 0; i < ARENA_COUNT; i++)
        weir_arena_stats(arenas[i], &snapshot->arenas[i]);
    snapshot->payload_copied = snapshot->counts[COUNT_COPIED];
    for (size_t i = 0; i < ARENA_COUNT; i++) {
        const struct weir_stats *arena = &snapshot->arenas[i];
        snapshot->payload_copied += arena->bytes_copied;
        snapshot->waits += arena->waits;
        snapshot->blocks_out += arena->blocks_out + arena->spilled_blocks;
    }
}

static void
write_family(
    struct page *page, const char *name, const char *help, uint64_t value)
{
    page->len += (size_t)snprintf(page->bytes + page->len, PAGE_MAX - page->len,
        "# TYPE %s counter\n# HELP %s %s\n%s_total %" PRIu64 "\n", name, name,
        help, name, value);
}

/* The arenas come last: their text ends with the end of all. */
static void
write_families(struct page *page, const struct snapshot *snapshot)
{
    for (enum count i = 0; i < COUNT_KINDS; i++)
        write_family(
            page, families[i].name, families[i].help, snapshot->counts[i]);
    write_family(page, "embed_payload_copied_bytes",
        "Payload that the server or an arena moved.", snapshot->payload_copied);
    page->len += weir_stats_openmetrics(snapshot->arenas, ARENA_COUNT,
        page->bytes + page->len, PAGE_MAX - page->len);
}

static void
release_page(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    free(user);
}

/* Not in a block, so that it can be seen when every arena is full: that is when
   somebody looks. The head is written last, in the room left in front, since
   it says how long the text is. */
bool
metrics_page(
    const struct server *server, bool keep_alive, struct weir_slice *slice)
{
    struct snapshot snapshot;
    take_snapshot(server, &snapshot);
    char *memory = memory_zeroed(HEAD_MAX + PAGE_MAX);
    struct page page = { .bytes = memory + HEAD_MAX };
    write_families(&page, &snapshot);
    char head[HEAD_MAX];
    size_t head_len = (size_t)snprintf(head, HEAD_MAX,
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; "
        "version=1.0.0; charset=utf-8\r\nContent-Length: %zu\r\n"
        "Connection: %s\r\n\r\n",
        page.len, keep_alive ? "keep-alive" : "close");
    char *start = page.bytes - head_len;
    memcpy(start, head, head_len);
    if (page.len < PAGE_MAX && weir_slice_foreign(start, head_len + page.len,
                                   release_page, memory, slice) == WEIR_OK)
        return true;
    free(memory);
    return false;
}

static void
print_arena(const struct weir_stats *arena)
{
    (void)printf("%-10s %10" PRIu64 " %8" PRIu64 " %9" PRIu64 " %5" PRIu64
                 " %4" PRIu64 " %9" PRIu64 " %7" PRIu64 " %7" PRIu64
                 " %7" PRIu64 "\n",
        arena->name, arena->bytes_total, arena->block_size,
        arena->block_size_max, arena->blocks_out_peak,
        arena->blocks_out + arena->spilled_blocks, arena->allocs, arena->waits,
        arena->trims, arena->bytes_copied);
}

uint64_t
metrics_report(const struct server *server)
{
    struct snapshot snapshot;
    take_snapshot(server, &snapshot);
    (void)printf("%-10s %10s %8s %9s %5s %4s %9s %7s %7s %7s\n", "arena",
        "bytes", "smallest", "largest", "peak", "out", "allocs", "waits",
        "trims", "copied");
    for (size_t i = 0; i < ARENA_COUNT; i++)
        print_arena(&snapshot.arenas[i]);
    (void)printf("batches=%" PRIu64 " rows=%" PRIu64 " abandoned=%" PRIu64
                 " scrapes=%" PRIu64 "\n",
        snapshot.counts[COUNT_BATCHES], snapshot.counts[COUNT_ROWS],
        snapshot.counts[COUNT_ABANDONED], snapshot.counts[COUNT_SCRAPES]);
    (void)printf("requests=%" PRIu64 " errors=%" PRIu64 " rejected=%" PRIu64
                 " payload_copied=%" PRIu64 " waits=%" PRIu64 " leaked=%" PRIu64
                 "\n",
        snapshot.counts[COUNT_REQUESTS], snapshot.counts[COUNT_ERRORS],
        snapshot.counts[COUNT_REJECTED], snapshot.payload_copied,
        snapshot.waits, snapshot.blocks_out);
    return snapshot.blocks_out;
}
