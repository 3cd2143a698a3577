/* SPDX-License-Identifier: MIT */
/*
 * openmetrics: snapshots as the text that monitoring systems read.
 *
 *     # TYPE weir_allocs counter
 *     # HELP weir_allocs Blocks handed out.
 *     weir_allocs_total{arena="receive"} 1234
 *     ...
 *     # EOF
 *
 * Idea
 *   The format wants each family in one piece, so families are the outer loop
 *   and arenas the inner one. What tells two arenas apart is their name; if
 *   two have the same, the later ones get their place in the list as a second
 *   label, since a series must not occur twice. The text is written once to
 *   count and to fill: a writer that has run out of space goes on counting.
 *
 *   A line of the table says where a family's number stands and what shape it
 *   has: thousandths are written as ratios, and free blocks are a number for
 *   each size that the arena has, told apart by a label, and none where there
 *   is one size only.
 *
 * Source
 *   The OpenMetrics specification, version 1.0.0.
 */

#include "weir/weir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct writer {
    char *text;
    size_t size;
    size_t len; /* of the whole text */
};

/* How a family's numbers stand in a snapshot. */
enum shape {
    WHOLE = 0, /* one, written as it is */
    PERMILLE,  /* one, a thousand times what is written */
    BY_SIZE    /* one for each size of blocks, if there are several */
};

struct family {
    const char *name;
    const char *suffix; /* of its samples */
    const char *type;
    const char *unit; /* NULL: none */
    const char *help;
    size_t offset; /* of the number in struct weir_stats */
    enum shape shape;
};

extern inline size_t weir_stats_openmetrics(
    const struct weir_stats *stats, size_t count, char *text, size_t size);

#define FIELD(member) offsetof(struct weir_stats, member)

static const struct family families[] = {
    { "weir_block_size_bytes", "", "gauge", "bytes", "Bytes a block holds.",
        FIELD(block_size), WHOLE },
    { "weir_blocks", "", "gauge", NULL, "Blocks in the arena.",
        FIELD(block_count), WHOLE },
    { "weir_total_bytes", "", "gauge", "bytes", "Bytes in all blocks.",
        FIELD(bytes_total), WHOLE },
    { "weir_meta_bytes", "", "gauge", "bytes", "Bytes of the arena's books.",
        FIELD(meta_bytes), WHOLE },
    { "weir_blocks_out", "", "gauge", NULL, "Blocks that are out.",
        FIELD(blocks_out), WHOLE },
    { "weir_out_bytes", "", "gauge", "bytes",
        "Bytes in the blocks that are out.", FIELD(bytes_out), WHOLE },
    { "weir_cached_blocks", "", "gauge", NULL,
        "Free blocks that threads keep at hand.", FIELD(blocks_cached), WHOLE },
    { "weir_cached_bytes", "", "gauge", "bytes",
        "Bytes in the blocks that threads keep at hand.", FIELD(bytes_cached),
        WHOLE },
    { "weir_caching", "", "gauge", NULL,
        "Whether threads may keep free blocks at hand: 0 yes, 1 refused, 2 the "
        "arena is tiny, 3 the system has no membarrier.",
        FIELD(caching), WHOLE },
    { "weir_caches", "", "gauge", NULL,
        "Threads that may keep free blocks at hand now.", FIELD(caches),
        WHOLE },
    { "weir_blocks_out_peak", "", "gauge", NULL,
        "Most blocks out that a reading or a full arena has seen.",
        FIELD(blocks_out_peak), WHOLE },
    { "weir_spilled_blocks", "", "gauge", NULL, "Blocks on the heap.",
        FIELD(spilled_blocks), WHOLE },
    { "weir_spilled_bytes", "", "gauge", "bytes",
        "Bytes in blocks on the heap.", FIELD(spilled_bytes), WHOLE },
    { "weir_waiting", "", "gauge", NULL, "Waiters that are queued.",
        FIELD(waiting), WHOLE },
    { "weir_allocs", "_total", "counter", NULL, "Blocks handed out.",
        FIELD(allocs), WHOLE },
    { "weir_alloc_fulls", "_total", "counter", NULL,
        "Allocs that found the arena full.", FIELD(alloc_fulls), WHOLE },
    { "weir_releases", "_total", "counter", NULL, "Blocks that came home.",
        FIELD(releases), WHOLE },
    { "weir_freezes", "_total", "counter", NULL,
        "Freezes and splits that made a slice.", FIELD(freezes), WHOLE },
    { "weir_frozen_bytes", "_total", "counter", "bytes",
        "Bytes in the slices they made.", FIELD(bytes_frozen), WHOLE },
    { "weir_copied_bytes", "_total", "counter", "bytes",
        "Bytes that spilling, copying out and linearizing moved.",
        FIELD(bytes_copied), WHOLE },
    { "weir_spill_grows", "_total", "counter", NULL,
        "Bufs that outgrew their block.", FIELD(spill_grows), WHOLE },
    { "weir_spill_fulls", "_total", "counter", NULL,
        "Allocs that took heap memory.", FIELD(spill_fulls), WHOLE },
    { "weir_waits", "_total", "counter", NULL, "Waiters that were queued.",
        FIELD(waits), WHOLE },
    { "weir_grants", "_total", "counter", NULL,
        "Blocks handed to queued waiters.", FIELD(grants), WHOLE },
    { "weir_cancels", "_total", "counter", NULL, "Waits taken back.",
        FIELD(cancels), WHOLE },
    { "weir_sweeps", "_total", "counter", NULL,
        "Times that all blocks kept at hand were taken back.", FIELD(sweeps),
        WHOLE },
    { "weir_block_size_max_bytes", "", "gauge", "bytes",
        "Bytes the largest block holds.", FIELD(block_size_max), WHOLE },
    { "weir_free_bytes", "", "gauge", "bytes",
        "Bytes neither out nor kept at hand.", FIELD(bytes_free), WHOLE },
    { "weir_largest_free_bytes", "", "gauge", "bytes",
        "Bytes of the largest free block.", FIELD(largest_free), WHOLE },
    { "weir_splits", "_total", "counter", NULL, "Blocks split into two halves.",
        FIELD(splits), WHOLE },
    { "weir_coalesces", "_total", "counter", NULL,
        "Halves merged into one block.", FIELD(coalesces), WHOLE },
    { "weir_trims", "_total", "counter", NULL,
        "Blocks that gave back their tail.", FIELD(trims), WHOLE },
    { "weir_trimmed_bytes", "_total", "counter", "bytes",
        "Bytes in the tails given back.", FIELD(bytes_trimmed), WHOLE },
    { "weir_asked_bytes", "_total", "counter", "bytes",
        "Bytes that allocs asked for.", FIELD(bytes_asked), WHOLE },
    { "weir_got_bytes", "_total", "counter", "bytes",
        "Bytes in the blocks that they got.", FIELD(bytes_got), WHOLE },
    { "weir_waste_ratio", "", "gauge", "ratio",
        "Share of the bytes got that was not asked for.", FIELD(waste_permille),
        PERMILLE },
    { "weir_fragmentation_ratio", "", "gauge", "ratio",
        "Share of the free bytes outside the largest free block.",
        FIELD(fragmentation_permille), PERMILLE },
    { "weir_free_blocks", "", "gauge", NULL,
        "Free blocks of each size, where sizes differ.", FIELD(free_blocks),
        BY_SIZE },
};

static void
put_bytes(struct writer *writer, const char *bytes, size_t n)
{
    if (writer->len < writer->size) {
        size_t space = writer->size - writer->len;
        memcpy(writer->text + writer->len, bytes, n < space ? n : space);
    }
    writer->len += n;
}

static void
put(struct writer *writer, const char *text)
{
    put_bytes(writer, text, strlen(text));
}

static void
put_number(struct writer *writer, uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%" PRIu64, number);
    put(writer, digits);
}

/* A label's value, with what would end it escaped. */
static void
put_escaped(struct writer *writer, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            put(writer, "\\n");
        else if (*text == '"')
            put(writer, "\\\"");
        else if (*text == '\\')
            put(writer, "\\\\");
        else
            put_bytes(writer, text, 1);
    }
}

/* The caller's snapshots, which may be of another release and size. */
struct snapshots {
    const char *first;
    size_t count;
    size_t size; /* of each */
};

static const char *
name_at(const struct snapshots *snapshots, size_t index)
{
    return snapshots->first + index * snapshots->size +
           offsetof(struct weir_stats, name);
}

/* What an older release does not have is 0. */
static uint64_t
number_at(const struct snapshots *snapshots, size_t index, size_t offset)
{
    uint64_t number = 0;
    if (offset + sizeof number <= snapshots->size)
        memcpy(&number, snapshots->first + index * snapshots->size + offset,
            sizeof number);
    return number;
}

/* Another arena before this one has its name. */
static bool
is_namesake(const struct snapshots *snapshots, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(name_at(snapshots, i), name_at(snapshots, index)) == 0)
            return true;
    return false;
}

static void
put_head(struct writer *writer, const struct family *family)
{
    const char *const lines[][2] = {
        { "TYPE", family->type },
        { "UNIT", family->unit },
        { "HELP", family->help },
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (lines[i][1] == NULL)
            continue;
        put(writer, "# ");
        put(writer, lines[i][0]);
        put(writer, " ");
        put(writer, family->name);
        put(writer, " ");
        put(writer, lines[i][1]);
        put(writer, "\n");
    }
}

/* What stands in front of a number; `block_size` is a label unless it is 0. */
static void
put_series(struct writer *writer, const struct family *family,
    const struct snapshots *snapshots, size_t index, uint64_t block_size)
{
    put(writer, family->name);
    put(writer, family->suffix);
    put(writer, "{arena=\"");
    put_escaped(writer, name_at(snapshots, index));
    if (is_namesake(snapshots, index)) {
        put(writer, "\",place=\"");
        put_number(writer, index);
    }
    if (block_size != 0) {
        put(writer, "\",block_size=\"");
        put_number(writer, block_size);
    }
    put(writer, "\"} ");
}

/* A number of each size of blocks; of an arena that has one size, nothing. */
static void
put_sizes(struct writer *writer, const struct family *family,
    const struct snapshots *snapshots, size_t index)
{
    uint64_t least = number_at(snapshots, index, FIELD(block_size));
    uint64_t most = number_at(snapshots, index, FIELD(block_size_max));
    if (most <= least)
        return;
    for (uint32_t i = 0; i < WEIR_ORDERS && least << i <= most; i++) {
        put_series(writer, family, snapshots, index, least << i);
        put_number(writer,
            number_at(snapshots, index, family->offset + i * sizeof(uint64_t)));
        put(writer, "\n");
    }
}

static void
put_permille(struct writer *writer, uint64_t number)
{
    char digits[32];
    (void)snprintf(digits, sizeof digits, "%" PRIu64 ".%03" PRIu64,
        number / 1000, number % 1000);
    put(writer, digits);
}

static void
put_sample(struct writer *writer, const struct family *family,
    const struct snapshots *snapshots, size_t index)
{
    uint64_t number = number_at(snapshots, index, family->offset);
    switch (family->shape) {
    case BY_SIZE:
        put_sizes(writer, family, snapshots, index);
        return;
    case WHOLE:
        put_series(writer, family, snapshots, index, 0);
        put_number(writer, number);
        break;
    case PERMILLE:
        put_series(writer, family, snapshots, index, 0);
        put_permille(writer, number);
    }
    put(writer, "\n");
}

size_t
weir_stats_openmetrics_sized(const struct weir_stats *stats, size_t count,
    size_t stats_size, char *text, size_t size)
{
    const struct snapshots snapshots = { (const char *)stats, count,
        stats_size };
    struct writer writer = { .text = text, .size = size };
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        put_head(&writer, &families[f]);
        for (size_t i = 0; i < snapshots.count; i++)
            put_sample(&writer, &families[f], &snapshots, i);
    }
    put(&writer, "# EOF\n");
    if (size > 0)
        text[writer.len < size ? writer.len : size - 1] = '\0';
    return writer.len;
}
