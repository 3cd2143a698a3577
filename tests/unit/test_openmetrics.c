/* SPDX-License-Identifier: MIT */
#include "support/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT_SIZE = 1 << 16, FAMILIES = 26, COUNTERS = 12 };

static char text[TEXT_SIZE];

static size_t
write_text(const struct weir_stats *stats, size_t count)
{
    size_t len = weir_stats_openmetrics(stats, count, text, sizeof text);
    cr_assert(lt(sz, len, sizeof text));
    cr_assert(eq(sz, strlen(text), len));
    return len;
}

static struct weir_stats
named(const char *name)
{
    struct weir_stats stats = { 0 };
    (void)snprintf(stats.name, sizeof stats.name, "%s", name);
    return stats;
}

static size_t
count_of(const char *part)
{
    size_t count = 0;
    for (const char *at = strstr(text, part); at != NULL;
         at = strstr(at + 1, part))
        count++;
    return count;
}

static void
expect_line(const char *line)
{
    char whole[512];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    cr_assert(eq(sz, count_of(whole), 1), "\"%s\" in:\n%s", line, text);
}

static bool
ends_with(const char *string, const char *end)
{
    size_t len = strlen(string);
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(string + len - end_len, end) == 0;
}

Test(openmetrics, every_number_has_its_family)
{
    struct weir_stats stats = named("receive");
    stats.block_size = 101;
    stats.block_count = 102;
    stats.bytes_total = 103;
    stats.meta_bytes = 104;
    stats.blocks_out = 105;
    stats.bytes_out = 106;
    stats.blocks_out_peak = 107;
    stats.spilled_blocks = 108;
    stats.spilled_bytes = 109;
    stats.waiting = 110;
    stats.allocs = 111;
    stats.alloc_fulls = 112;
    stats.releases = 113;
    stats.freezes = 114;
    stats.bytes_frozen = 115;
    stats.bytes_copied = 116;
    stats.spill_grows = 117;
    stats.spill_fulls = 118;
    stats.waits = 119;
    stats.grants = 120;
    stats.cancels = 121;
    stats.blocks_cached = 122;
    stats.bytes_cached = 123;
    stats.caching = 124;
    stats.caches = 125;
    stats.sweeps = 126;

    (void)write_text(&stats, 1);

    expect_line("weir_block_size_bytes{arena=\"receive\"} 101");
    expect_line("weir_blocks{arena=\"receive\"} 102");
    expect_line("weir_total_bytes{arena=\"receive\"} 103");
    expect_line("weir_meta_bytes{arena=\"receive\"} 104");
    expect_line("weir_blocks_out{arena=\"receive\"} 105");
    expect_line("weir_out_bytes{arena=\"receive\"} 106");
    expect_line("weir_blocks_out_peak{arena=\"receive\"} 107");
    expect_line("weir_spilled_blocks{arena=\"receive\"} 108");
    expect_line("weir_spilled_bytes{arena=\"receive\"} 109");
    expect_line("weir_waiting{arena=\"receive\"} 110");
    expect_line("weir_allocs_total{arena=\"receive\"} 111");
    expect_line("weir_alloc_fulls_total{arena=\"receive\"} 112");
    expect_line("weir_releases_total{arena=\"receive\"} 113");
    expect_line("weir_freezes_total{arena=\"receive\"} 114");
    expect_line("weir_frozen_bytes_total{arena=\"receive\"} 115");
    expect_line("weir_copied_bytes_total{arena=\"receive\"} 116");
    expect_line("weir_spill_grows_total{arena=\"receive\"} 117");
    expect_line("weir_spill_fulls_total{arena=\"receive\"} 118");
    expect_line("weir_waits_total{arena=\"receive\"} 119");
    expect_line("weir_grants_total{arena=\"receive\"} 120");
    expect_line("weir_cancels_total{arena=\"receive\"} 121");
    expect_line("weir_cached_blocks{arena=\"receive\"} 122");
    expect_line("weir_cached_bytes{arena=\"receive\"} 123");
    expect_line("weir_caching{arena=\"receive\"} 124");
    expect_line("weir_caches{arena=\"receive\"} 125");
    expect_line("weir_sweeps_total{arena=\"receive\"} 126");
    cr_assert(eq(sz, count_of("{arena=\"receive\"}"), FAMILIES));
}

Test(openmetrics, the_text_of_no_arena_has_heads_and_an_end)
{
    (void)write_text(NULL, 0);

    cr_assert(eq(sz, count_of("# TYPE "), FAMILIES));
    cr_assert(eq(sz, count_of("# HELP "), FAMILIES));
    cr_assert(eq(sz, count_of("{"), 0));
    cr_assert(ends_with(text, "\n# EOF\n"));
    cr_assert(eq(sz, count_of("# EOF"), 1));
}

Test(openmetrics, each_family_is_one_piece_with_its_head_in_front)
{
    struct weir_stats stats[3] = { named("a"), named("b"), named("c") };
    (void)write_text(stats, 3);
    char family[128] = "";
    size_t samples = 3;
    size_t families = 0;

    for (char *line = strtok(text, "\n"); line != NULL;
         line = strtok(NULL, "\n")) {
        char name[128];
        char type[32];
        if (strcmp(line, "# EOF") == 0)
            continue;
        if (sscanf(line, "# TYPE %127s %31s", name, type) == 2) {
            cr_assert(eq(sz, samples, 3));
            samples = 0;
            families++;
            memcpy(family, name, sizeof family);
            bool known =
                strcmp(type, "gauge") == 0 || strcmp(type, "counter") == 0;
            cr_assert(known, "%s", line);
        } else if (sscanf(line, "# UNIT %127s %31s", name, type) == 2) {
            expect_text(name, family);
            expect_text(type, "bytes");
            cr_assert(ends_with(name, "_bytes"));
        } else if (sscanf(line, "# HELP %127s %31s", name, type) == 2) {
            expect_text(name, family);
        } else {
            char arena;
            unsigned long number;
            cr_assert(eq(int,
                          sscanf(line, "%127[a-z_]{arena=\"%c\"} %lu", name,
                              &arena, &number),
                          3),
                "%s", line);
            cr_assert(zero(int, strncmp(name, family, strlen(family))));
            const char *suffix = name + strlen(family);
            cr_assert(suffix[0] == '\0' || strcmp(suffix, "_total") == 0);
            cr_assert(eq(int, arena, 'a' + (int)samples));
            samples++;
        }
    }

    cr_assert(eq(sz, families, FAMILIES));
}

Test(openmetrics, counters_end_in_total_and_gauges_do_not)
{
    struct weir_stats stats = named("a");
    (void)write_text(&stats, 1);

    cr_assert(eq(sz, count_of(" counter\n"), COUNTERS));
    cr_assert(eq(sz, count_of("_total{"), COUNTERS));
    cr_assert(eq(sz, count_of(" gauge\n"), FAMILIES - COUNTERS));
    cr_assert(eq(sz, count_of("_total counter"), 0));
}

Test(openmetrics, names_are_escaped)
{
    struct weir_stats stats = named("a\"b\\c\n4");

    (void)write_text(&stats, 1);

    expect_line("weir_blocks{arena=\"a\\\"b\\\\c\\n4\"} 0");
    cr_assert(eq(sz, count_of("\n"), 3 * FAMILIES + 9));
}

Test(openmetrics, an_empty_name_and_one_in_utf_8_are_as_they_are)
{
    struct weir_stats stats[2] = { named(""), named("Wehr grün") };

    (void)write_text(stats, 2);

    expect_line("weir_blocks{arena=\"\"} 0");
    expect_line("weir_blocks{arena=\"Wehr grün\"} 0");
}

Test(openmetrics, namesakes_are_told_apart_and_no_series_comes_twice)
{
    struct weir_stats stats[4] = { named("a"), named("b"), named("a"),
        named("a") };
    for (size_t i = 0; i < 4; i++)
        stats[i].block_count = 10 + i;

    (void)write_text(stats, 4);

    expect_line("weir_blocks{arena=\"a\"} 10");
    expect_line("weir_blocks{arena=\"b\"} 11");
    expect_line("weir_blocks{arena=\"a\",place=\"2\"} 12");
    expect_line("weir_blocks{arena=\"a\",place=\"3\"} 13");
}

Test(openmetrics, the_largest_number_is_written_whole)
{
    struct weir_stats stats = named("a");
    stats.allocs = UINT64_MAX;

    (void)write_text(&stats, 1);

    expect_line("weir_allocs_total{arena=\"a\"} 18446744073709551615");
}

Test(openmetrics, too_little_space_cuts_the_text_as_snprintf_does)
{
    struct weir_stats stats[2] = { named("a"), named("b") };
    size_t len = write_text(stats, 2);
    char *whole = strdup(text);

    for (size_t size = 0; size < len + 3; size++) {
        char *part = malloc(size + 1);
        memset(part, 'x', size + 1);
        size_t wanted = weir_stats_openmetrics(stats, 2, part, size);
        size_t written = size == 0 ? 0 : size <= len ? size - 1 : len;
        cr_assert(eq(sz, wanted, len));
        cr_assert(zero(int, memcmp(part, whole, written)));
        if (size > 0)
            cr_assert(eq(chr, part[written], '\0'));
        cr_assert(eq(chr, part[size], 'x'));
        free(part);
    }

    free(whole);
    no_leaks();
}

Test(openmetrics, no_text_at_all_says_how_long_it_would_be)
{
    struct weir_stats stats = named("a");
    size_t len = write_text(&stats, 1);

    cr_assert(eq(sz, weir_stats_openmetrics(&stats, 1, NULL, 0), len));
}

Test(openmetrics, the_numbers_of_an_arena_are_those_of_its_stats)
{
    struct weir_arena *arena = open_arena(64, 3);
    struct weir_buf held = take(arena);
    struct weir_stats stats = stats_of(arena);

    (void)write_text(&stats, 1);

    expect_line("weir_blocks{arena=\"test\"} 3");
    expect_line("weir_blocks_out{arena=\"test\"} 1");
    expect_line("weir_allocs_total{arena=\"test\"} 1");
    weir_buf_drop(&held);
    close_whole(&arena);
}

/* A program built with a later release has longer snapshots, one built with an
   earlier release shorter ones. */
Test(openmetrics, snapshots_may_be_of_another_release)
{
    struct later {
        struct weir_stats stats;
        uint64_t news[3];
    } later[2] = { { named("one"), { 7, 7, 7 } },
        { named("two"), { 7, 7, 7 } } };
    later[1].stats.cancels = 5;
    size_t len = weir_stats_openmetrics_sized(
        &later[0].stats, 2, sizeof later[0], text, sizeof text);
    cr_assert(eq(sz, strlen(text), len));
    expect_line("weir_cancels_total{arena=\"two\"} 5");

    char earlier[2][offsetof(struct weir_stats, cancels)];
    memcpy(earlier[0], &later[0], sizeof earlier[0]);
    memcpy(earlier[1], &later[1], sizeof earlier[1]);
    weir_stats_openmetrics_sized((const struct weir_stats *)(void *)earlier, 2,
        sizeof earlier[0], text, sizeof text);

    expect_line("weir_cancels_total{arena=\"two\"} 0");
    expect_line("weir_blocks{arena=\"two\"} 0");
}
