/* SPDX-License-Identifier: MIT */
/*
 * options: the command line, as a table.
 */

#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    const char *name;
    size_t offset; /* of its uint64_t in struct options */
    uint64_t fallback;
    uint64_t low;
    uint64_t high;
    const char *help;
};

static const struct setting settings[] = {
    { "port", offsetof(struct options, port), 8080, 0, 65535,
        "TCP port on 127.0.0.1; 0 takes a free one" },
    { "loops", offsetof(struct options, loops), 2, 1, 64,
        "threads with an event loop each" },
    { "workers", offsetof(struct options, workers), 2, 1, 64,
        "threads that compute embeddings" },
    { "arena", offsetof(struct options, arena), 16 << 20, 4096, 1ULL << 36,
        "bytes to receive requests into" },
    { "slots", offsetof(struct options, slots), 0, 0, 1 << 24,
        "blocks to receive into, instead of bytes" },
    { "block", offsetof(struct options, block), 16384, 2048, 1 << 24,
        "bytes of one block" },
    { "bodies", offsetof(struct options, bodies), 16 << 20, 1024, 1ULL << 36,
        "bytes for long bodies, each in one block of its size" },
    { "results", offsetof(struct options, results), 64, 1, 1 << 20,
        "full result matrices that may be out at once" },
    { "responses", offsetof(struct options, responses), 256, 1, 1 << 20,
        "blocks for heads and JSON of answers" },
    { "batch", offsetof(struct options, batch), 64, 1, 1 << 16,
        "rows of one result matrix, so texts in one request" },
    { "delay-us", offsetof(struct options, delay_us), 500, 0, 1000000,
        "how long a request waits for a batch to fill" },
    { "dim", offsetof(struct options, dim), 256, 4, 8192,
        "numbers in one embedding" },
    { "body-max", offsetof(struct options, body_max), 1 << 20, 1, 1 << 30,
        "largest request body" },
    { "deadline-ms", offsetof(struct options, deadline_ms), 10000, 50, 3600000,
        "how long a request may stand still" },
    { "copy", offsetof(struct options, copy), 0, 0, 1,
        "1 moves every payload once more: payload_copied must see it" },
};

enum { SETTING_COUNT = sizeof(settings) / sizeof(settings[0]) };

static void
store(struct options *options, const struct setting *setting, uint64_t value)
{
    memcpy((char *)options + setting->offset, &value, sizeof(value));
}

static const struct setting *
find(const char *word)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strncmp(word, "--", 2) == 0 &&
            strcmp(word + 2, settings[i].name) == 0)
            return &settings[i];
    return NULL;
}

static bool
read_number(const char *word, uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtoull(word, &end, 10);
    return errno == 0 && *word >= '0' && *word <= '9' && *end == '\0';
}

static void
print_help(void)
{
    (void)puts(
        "embed_server: text embeddings over HTTP, out of weir's arenas\n");
    for (size_t i = 0; i < SETTING_COUNT; i++)
        (void)printf("  --%-12s N  %s (%llu)\n", settings[i].name,
            settings[i].help, (unsigned long long)settings[i].fallback);
}

/* A single row that does not fit one slice would be no row at all. */
static bool
fits(const struct options *options)
{
    uint64_t matrix = options->batch * options->dim * sizeof(float);
    if (matrix <= UINT32_MAX)
        return true;
    (void)fputs("embed_server: batch times dim is too large\n", stderr);
    return false;
}

bool
options_read(struct options *options, int count, char **words)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        store(options, &settings[i], settings[i].fallback);
    for (int i = 1; i < count; i += 2) {
        const struct setting *setting = find(words[i]);
        if (setting == NULL) {
            print_help();
            return false;
        }
        uint64_t value;
        if (i + 1 == count || !read_number(words[i + 1], &value) ||
            value < setting->low || value > setting->high) {
            (void)fprintf(stderr, "embed_server: --%s wants %llu to %llu\n",
                setting->name, (unsigned long long)setting->low,
                (unsigned long long)setting->high);
            return false;
        }
        store(options, setting, value);
    }
    return fits(options);
}
