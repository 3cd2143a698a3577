/* SPDX-License-Identifier: MIT */
#include "support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { TEXT_SIZE = 1 << 16, FAMILIES = 38, COUNTERS = 18, UNITS = 16 };

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

/* As of an arena that has so many sizes of blocks. */
static struct weir_stats
with_sizes(struct weir_stats stats, unsigned count)
{
    stats.block_size = 256;
    stats.block_size_max = UINT64_C(256) << (count - 1);
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
    stats.block_size_max = 404;
    stats.bytes_free = 128;
    stats.largest_free = 129;
    stats.splits = 130;
    stats.coalesces = 131;
    stats.trims = 132;
    stats.bytes_trimmed = 133;
    stats.bytes_asked = 134;
    stats.bytes_got = 135;
    stats.waste_permille = 136;
    stats.fragmentation_permille = 7;
    stats.free_blocks[0] = 138;
    stats.free_blocks[1] = 139;
    stats.free_blocks[2] = 140;
    stats.free_blocks[3] = 141;

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
    expect_line("weir_block_size_max_bytes{arena=\"receive\"} 404");
    expect_line("weir_free_bytes{arena=\"receive\"} 128");
    expect_line("weir_largest_free_bytes{arena=\"receive\"} 129");
    expect_line("weir_splits_total{arena=\"receive\"} 130");
    expect_line("weir_coalesces_total{arena=\"receive\"} 131");
    expect_line("weir_trims_total{arena=\"receive\"} 132");
    expect_line("weir_trimmed_bytes_total{arena=\"receive\"} 133");
    expect_line("weir_asked_bytes_total{arena=\"receive\"} 134");
    expect_line("weir_got_bytes_total{arena=\"receive\"} 135");
    expect_line("weir_waste_ratio{arena=\"receive\"} 0.136");
    expect_line("weir_fragmentation_ratio{arena=\"receive\"} 0.007");
    expect_line("weir_free_blocks{arena=\"receive\",block_size=\"101\"} 138");
    expect_line("weir_free_blocks{arena=\"receive\",block_size=\"202\"} 139");
    expect_line("weir_free_blocks{arena=\"receive\",block_size=\"404\"} 140");
    cr_assert(eq(sz, count_of("\nweir_free_blocks{"), 3));
    cr_assert(eq(sz, count_of("{arena=\"receive\"}"), FAMILIES - 1));
}

Test(openmetrics, ratios_have_three_decimals)
{
    static const struct {
        uint64_t permille;
        const char *line;
    } cases[] = {
        { 0, "weir_waste_ratio{arena=\"a\"} 0.000" },
        { 5, "weir_waste_ratio{arena=\"a\"} 0.005" },
        { 125, "weir_waste_ratio{arena=\"a\"} 0.125" },
        { 999, "weir_waste_ratio{arena=\"a\"} 0.999" },
        { 1000, "weir_waste_ratio{arena=\"a\"} 1.000" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct weir_stats stats = named("a");
        stats.waste_permille = cases[i].permille;
        (void)write_text(&stats, 1);
        expect_line(cases[i].line);
    }
}

Test(openmetrics, an_arena_of_one_size_has_no_free_blocks_by_size)
{
    struct weir_arena *fixed = open_arena(256, 8);
    struct weir_stats stats = stats_of(fixed);

    (void)write_text(&stats, 1);

    expect_line("# TYPE weir_free_blocks gauge");
    cr_assert(eq(sz, count_of("weir_free_blocks{"), 0));
    expect_line("weir_free_bytes{arena=\"test\"} 2048");
    expect_line("weir_waste_ratio{arena=\"test\"} 0.000");
    close_whole(&fixed);
}

Test(openmetrics, a_buddy_arena_has_free_blocks_of_every_size)
{
    struct weir_arena *buddy = open_with(&(struct weir_arena_config){
        .name = "test",
        .layout = WEIR_BUDDY,
        .block_size = 256,
        .block_count = 8,
    });
    struct weir_buf held = take(buddy);
    struct weir_stats stats = stats_of(buddy);

    (void)write_text(&stats, 1);

    expect_line("weir_free_blocks{arena=\"test\",block_size=\"256\"} 1");
    expect_line("weir_free_blocks{arena=\"test\",block_size=\"512\"} 1");
    expect_line("weir_free_blocks{arena=\"test\",block_size=\"1024\"} 1");
    expect_line("weir_free_blocks{arena=\"test\",block_size=\"2048\"} 0");
    cr_assert(eq(sz, count_of("weir_free_blocks{"), 4));
    expect_line("weir_fragmentation_ratio{arena=\"test\"} 0.428");
    weir_buf_drop(&held);
    close_whole(&buddy);
}

Test(openmetrics, namesakes_by_size_are_told_apart)
{
    struct weir_stats stats[2] = { named("a"), named("a") };
    for (size_t i = 0; i < 2; i++) {
        stats[i].block_size = 256;
        stats[i].block_size_max = 512;
        stats[i].free_blocks[1] = 10 + i;
    }

    (void)write_text(stats, 2);

    expect_line("weir_free_blocks{arena=\"a\",block_size=\"512\"} 10");
    expect_line(
        "weir_free_blocks{arena=\"a\",place=\"1\",block_size=\"512\"} 11");
}

Test(openmetrics, the_largest_of_all_sizes_is_the_last)
{
    struct weir_stats stats = named("a");
    stats.block_size = 256;
    stats.block_size_max = UINT64_C(1) << 31;
    stats.free_blocks[WEIR_ORDERS - 1] = 7;

    (void)write_text(&stats, 1);

    cr_assert(eq(sz, count_of("weir_free_blocks{"), WEIR_ORDERS));
    expect_line("weir_free_blocks{arena=\"a\",block_size=\"2147483648\"} 7");
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
    for (size_t i = 0; i < 3; i++)
        stats[i] = with_sizes(stats[i], 3);
    (void)write_text(stats, 3);
    char family[128] = "";
    size_t samples = 3;
    size_t sizes = 0;
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
            sizes = 0;
            families++;
            memcpy(family, name, sizeof family);
            bool known =
                strcmp(type, "gauge") == 0 || strcmp(type, "counter") == 0;
            cr_assert(known, "%s", line);
        } else if (sscanf(line, "# UNIT %127s %31s", name, type) == 2) {
            expect_text(name, family);
            bool known =
                strcmp(type, "bytes") == 0 || strcmp(type, "ratio") == 0;
            cr_assert(known, "%s", line);
            cr_assert(ends_with(name, type));
        } else if (sscanf(line, "# HELP %127s %31s", name, type) == 2) {
            expect_text(name, family);
        } else {
            char arena;
            char rest[64];
            cr_assert(eq(int,
                          sscanf(line, "%127[a-z_]{arena=\"%c\"%63[^\n]", name,
                              &arena, rest),
                          3),
                "%s", line);
            cr_assert(zero(int, strncmp(name, family, strlen(family))));
            const char *suffix = name + strlen(family);
            cr_assert(suffix[0] == '\0' || strcmp(suffix, "_total") == 0);
            cr_assert(eq(int, arena, 'a' + (int)samples));
            bool by_size = strncmp(rest, ",block_size=\"", 13) == 0;
            cr_assert(by_size || strncmp(rest, "} ", 2) == 0, "%s", line);
            sizes = by_size ? (sizes + 1) % 3 : 0;
            samples += sizes == 0;
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
    cr_assert(eq(sz, count_of("\n"), 3 * FAMILIES - 1 + UNITS + 1));
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

/* Nothing is read behind them, where they lie at the end of what is mapped. */
Test(openmetrics, snapshots_are_not_read_past_their_end)
{
    static const size_t ends[] = { offsetof(struct weir_stats, block_size_max),
        offsetof(struct weir_stats, waste_permille),
        offsetof(struct weir_stats, free_blocks),
        offsetof(struct weir_stats, free_blocks[1]),
        offsetof(struct weir_stats, free_blocks[1]) + 4 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(ne(ptr, memory, MAP_FAILED));
    cr_assert(zero(int, mprotect(memory + page, page, PROT_NONE)));
    struct weir_stats whole = with_sizes(named("a"), WEIR_ORDERS);
    whole.waste_permille = 500;
    for (size_t i = 0; i < WEIR_ORDERS; i++)
        whole.free_blocks[i] = 9;

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char *at = memory + page - ends[i];
        memcpy(at, &whole, ends[i]);
        (void)weir_stats_openmetrics_sized(
            (const struct weir_stats *)(void *)at, 1, ends[i], text,
            sizeof text);
        expect_line(i < 2 ? "weir_waste_ratio{arena=\"a\"} 0.000"
                          : "weir_waste_ratio{arena=\"a\"} 0.500");
        cr_assert(
            eq(sz, count_of("\nweir_free_blocks{"), i == 0 ? 0 : WEIR_ORDERS));
        cr_assert(eq(sz, count_of("\"} 9\n"), i < 3 ? 0 : 1));
    }

    cr_assert(zero(int, munmap(memory, 2 * page)));
}
