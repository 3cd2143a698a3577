/* SPDX-License-Identifier: MIT */
/*
 * stats_race seed seconds: every snapshot makes sense, also in the middle of
 * traffic.
 *
 * Threads take, freeze, release and wait. Each publishes how often it has begun
 * something and how often it has ended it. Two threads take snapshots: what was
 * ended before a snapshot is in it, what was not begun after it is not, numbers
 * that count do not fall, and an effect is never seen without its cause. Some
 * snapshots are written as text, whose form is checked line by line.
 */

#include "support/doorbell.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRAFFIC = 4,
    SAMPLERS = 2,
    BLOCKS = 66,
    BLOCK_SIZE = 64,
    HELD = 24, /* some wait: there are fewer blocks than that for each */
    TEXT_SIZE = 16 << 10,
    TEXT_EVERY = 64 /* snapshots */
};

enum tally { ALLOCS, RELEASES, FREEZES, BYTES, GRANTS, TALLIES };

/* What one thread began and ended; it writes, samplers read. */
struct ledger {
    _Alignas(64) _Atomic uint64_t begun[TALLIES];
    _Atomic uint64_t ended[TALLIES];
};

struct worker {
    struct stress_random *random;
    struct weir_slice held[HELD];
    uint32_t count;
    struct doorbell doorbell;
    struct weir_waiter waiter;
    bool waits;
};

static struct weir_arena *arena;
static struct worker workers[TRAFFIC];
static struct ledger ledgers[TRAFFIC];
static _Atomic uint32_t at_work;
static _Atomic uint64_t snapshots;
static _Atomic uint64_t texts;

/* ---- Traffic ----------------------------------------------------------- */

static void
add(_Atomic uint64_t *number, uint64_t n)
{
    uint64_t seen = atomic_load_explicit(number, memory_order_relaxed);
    atomic_store_explicit(number, seen + n, memory_order_release);
}

static struct ledger *
ledger_of(const struct worker *worker)
{
    return &ledgers[worker - workers];
}

static void
begin(const struct worker *worker, enum tally tally, uint64_t n)
{
    add(&ledger_of(worker)->begun[tally], n);
}

static void
end(const struct worker *worker, enum tally tally, uint64_t n)
{
    add(&ledger_of(worker)->ended[tally], n);
}

static void
release_any(struct worker *worker)
{
    if (worker->count == 0)
        return;
    uint32_t index = stress_below(worker->random, worker->count);
    struct weir_slice slice = worker->held[index];
    worker->held[index] = worker->held[--worker->count];
    begin(worker, RELEASES, 1);
    weir_slice_release(&slice);
    end(worker, RELEASES, 1);
}

static void
use(struct worker *worker, struct weir_buf *buf)
{
    size_t n = 1 + stress_below(worker->random, BLOCK_SIZE);
    memset(weir_buf_tail(buf), 'x', n);
    weir_buf_commit(buf, n);
    begin(worker, FREEZES, 1);
    begin(worker, BYTES, n);
    weir_buf_freeze(buf, &worker->held[worker->count++]);
    end(worker, FREEZES, 1);
    end(worker, BYTES, n);
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct worker *worker = waiter->user;
    stress_expect(status == WEIR_OK, "a grant failed");
    end(worker, ALLOCS, 1);
    end(worker, GRANTS, 1);
    worker->waits = false;
    use(worker, &waiter->buf);
}

static void
wait_for_one(struct worker *worker)
{
    worker->waiter = (struct weir_waiter){
        .bell = &worker->doorbell.bell, .granted = on_granted, .user = worker
    };
    begin(worker, ALLOCS, 1);
    begin(worker, GRANTS, 1);
    enum weir_status status = weir_arena_wait(arena, 0, &worker->waiter);
    worker->waits = status == WEIR_PENDING;
    if (worker->waits)
        return;
    stress_expect(status == WEIR_OK, "a wait failed");
    end(worker, ALLOCS, 1);
    use(worker, &worker->waiter.buf);
}

static void
take(struct worker *worker)
{
    struct weir_buf buf;
    begin(worker, ALLOCS, 1);
    enum weir_status status = weir_arena_alloc(arena, 0, &buf);
    if (status == WEIR_OK) {
        end(worker, ALLOCS, 1);
        use(worker, &buf);
    } else {
        stress_expect(status == WEIR_FULL, "an alloc failed");
    }
}

static void
make_traffic(struct worker *worker)
{
    while (!stress_is_over()) {
        uint32_t what = stress_below(worker->random, 100);
        if (worker->waits && doorbell_listen(&worker->doorbell, 0))
            (void)weir_bell_drain(&worker->doorbell.bell, 0);
        else if (what < 44 || worker->count + 2 > HELD)
            release_any(worker);
        else if (what < 85 || worker->waits)
            take(worker);
        else
            wait_for_one(worker);
    }
    while (worker->count > 0)
        release_any(worker);
    while (worker->waits)
        if (doorbell_listen(&worker->doorbell, 20))
            (void)weir_bell_drain(&worker->doorbell.bell, 0);
    while (worker->count > 0)
        release_any(worker);
}

/* ---- Snapshots --------------------------------------------------------- */

struct bounds {
    uint64_t least[TALLIES];
    uint64_t most[TALLIES];
};

static void
sum_ended(struct bounds *bounds)
{
    for (uint32_t t = 0; t < TALLIES; t++) {
        bounds->least[t] = 0;
        for (uint32_t i = 0; i < TRAFFIC; i++)
            bounds->least[t] += atomic_load_explicit(
                &ledgers[i].ended[t], memory_order_acquire);
    }
}

static void
sum_begun(struct bounds *bounds)
{
    for (uint32_t t = 0; t < TALLIES; t++) {
        bounds->most[t] = 0;
        for (uint32_t i = 0; i < TRAFFIC; i++)
            bounds->most[t] += atomic_load_explicit(
                &ledgers[i].begun[t], memory_order_acquire);
    }
}

static void
expect_between(const struct bounds *bounds, enum tally tally, uint64_t number,
    const char *what)
{
    if (bounds->least[tally] <= number && number <= bounds->most[tally])
        return;
    (void)fprintf(stderr, "%s: %llu to %llu, but the snapshot says %llu\n",
        what, (unsigned long long)bounds->least[tally],
        (unsigned long long)bounds->most[tally], (unsigned long long)number);
    stress_fail("a snapshot is wrong");
}

/* Allocs are what came home and what is out; a block that comes home meanwhile
   may be in neither. */
static void
check_bounds(const struct bounds *bounds, const struct weir_stats *stats)
{
    uint64_t in_progress = bounds->most[RELEASES] - bounds->least[RELEASES];
    stress_expect(stats->allocs <= bounds->most[ALLOCS], "allocs not begun");
    stress_expect(
        stats->allocs + in_progress >= bounds->least[ALLOCS], "allocs missed");
    expect_between(bounds, RELEASES, stats->releases, "releases");
    expect_between(bounds, FREEZES, stats->freezes, "freezes");
    expect_between(bounds, BYTES, stats->bytes_frozen, "bytes_frozen");
    expect_between(bounds, GRANTS, stats->grants, "grants");
}

static void
check_snapshot(const struct weir_stats *old, const struct weir_stats *stats)
{
    stress_expect(strcmp(stats->name, "stats \"race\"") == 0, "name");
    stress_expect(stats->blocks_out <= stats->block_count, "blocks_out");
    stress_expect(stats->blocks_out <= stats->blocks_out_peak, "peak");
    stress_expect(stats->blocks_out_peak <= stats->block_count, "peak");
    stress_expect(stats->releases <= stats->allocs, "releases > allocs");
    stress_expect(stats->bytes_out + stats->bytes_cached + stats->bytes_free ==
                      stats->bytes_total,
        "bytes in none or two places");
    stress_expect(stats->grants <= stats->waits, "grants > waits");
    stress_expect(stats->waiting <= TRAFFIC, "waiting");
    stress_expect(stats->bytes_frozen <=
                      stats->freezes * BLOCK_SIZE + BLOCK_SIZE * TRAFFIC,
        "bytes_frozen > freezes");
    stress_expect(stats->allocs >= old->allocs, "allocs fell");
    stress_expect(stats->releases >= old->releases, "releases fell");
    stress_expect(stats->freezes >= old->freezes, "freezes fell");
    stress_expect(stats->bytes_frozen >= old->bytes_frozen, "frozen fell");
    stress_expect(stats->alloc_fulls >= old->alloc_fulls, "fulls fell");
    stress_expect(stats->waits >= old->waits, "waits fell");
    stress_expect(stats->grants >= old->grants, "grants fell");
    stress_expect(stats->blocks_out_peak >= old->blocks_out_peak, "peak fell");
}

/* ---- Text -------------------------------------------------------------- */

/* A whole number; of a ratio with three decimals. */
static bool
is_number(const char *text, bool is_ratio)
{
    size_t whole = strspn(text, "0123456789");
    const char *rest = text + whole;
    if (whole == 0 || !is_ratio)
        return whole != 0 && *rest == '\0';
    return *rest == '.' && strlen(rest) == 4 &&
           strspn(rest + 1, "0123456789") == 3;
}

/* `name{arena="..."[,place="1"]} number`, with quotes escaped. */
static bool
is_sample(const char *line)
{
    size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
    static const char label[] = "{arena=\"stats \\\"race\\\"\"";
    if (n == 0 || strncmp(line, "weir_", 5) != 0 ||
        strncmp(line + n, label, sizeof label - 1) != 0)
        return false;
    const char *rest = line + n + sizeof label - 1;
    static const char place[] = ",place=\"1\"";
    if (strncmp(rest, place, sizeof place - 1) == 0)
        rest += sizeof place - 1;
    if (strncmp(rest, "} ", 2) != 0)
        return false;
    static const char ratio[] = "_ratio{";
    const char *name_end = line + n + 1 - (sizeof ratio - 1);
    return is_number(rest + 2, strncmp(name_end, ratio, sizeof ratio - 1) == 0);
}

static bool
is_comment(const char *line)
{
    return strncmp(line, "# TYPE weir_", 12) == 0 ||
           strncmp(line, "# UNIT weir_", 12) == 0 ||
           strncmp(line, "# HELP weir_", 12) == 0;
}

static void
check_text(const struct weir_stats *stats)
{
    struct weir_stats both[2] = { *stats, *stats };
    char *text = malloc(TEXT_SIZE);
    stress_expect(text != NULL, "no memory");
    size_t len = weir_stats_openmetrics(both, 2, text, TEXT_SIZE);
    stress_expect(len < TEXT_SIZE && len == strlen(text), "length of the text");
    char tail[8];
    stress_expect(weir_stats_openmetrics(both, 2, tail, sizeof tail) == len &&
                      strncmp(text, tail, sizeof tail - 1) == 0 &&
                      strlen(tail) == 7,
        "text that is cut off");

    bool ended = false;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        stress_expect(!ended, "text behind the end");
        ended = strcmp(line, "# EOF") == 0;
        stress_expect(ended || is_comment(line) || is_sample(line), line);
    }
    stress_expect(ended, "text without an end");
    free(text);
    (void)atomic_fetch_add_explicit(&texts, 1, memory_order_relaxed);
}

static void
take_snapshots(void)
{
    struct weir_stats old = { 0 };
    uint64_t count = 0;
    while (atomic_load_explicit(&at_work, memory_order_relaxed) > 0) {
        struct weir_stats stats;
        struct bounds bounds;
        sum_ended(&bounds);
        weir_arena_stats(arena, &stats);
        sum_begun(&bounds);
        check_bounds(&bounds, &stats);
        check_snapshot(&old, &stats);
        if (count++ % TEXT_EVERY == 0)
            check_text(&stats);
        old = stats;
    }
    (void)atomic_fetch_add_explicit(&snapshots, count, memory_order_relaxed);
}

static void
body(uint32_t index, struct stress_random *random)
{
    if (index >= TRAFFIC) {
        take_snapshots();
        return;
    }
    workers[index].random = random;
    make_traffic(&workers[index]);
    (void)atomic_fetch_sub_explicit(&at_work, 1, memory_order_relaxed);
}

int
main(int argc, char **argv)
{
    stress_begin("stats_race", argc, argv);
    struct weir_arena_config config = { .name = "stats \"race\"",
        .block_size = BLOCK_SIZE,
        .block_count = BLOCKS };
    stress_expect(weir_arena_create(&config, &arena) == WEIR_OK, "no arena");
    for (uint32_t i = 0; i < TRAFFIC; i++)
        doorbell_init(&workers[i].doorbell, i % 2 == 1);
    atomic_store_explicit(&at_work, TRAFFIC, memory_order_relaxed);
    stress_run(
        &(struct stress_crew){ .count = TRAFFIC + SAMPLERS, .body = body });
    for (uint32_t i = 0; i < TRAFFIC; i++)
        doorbell_fini(&workers[i].doorbell);

    struct weir_stats stats;
    weir_arena_stats(arena, &stats);
    stress_expect_equal(stats.blocks_out, 0, "blocks are not home");
    stress_expect_equal(stats.allocs, stats.releases, "releases");
    stress_expect_equal(stats.grants, stats.waits, "grants");
    weir_arena_check(arena);
    weir_arena_destroy(&arena);
    stress_report(
        "snapshots", atomic_load_explicit(&snapshots, memory_order_relaxed));
    stress_report("texts", atomic_load_explicit(&texts, memory_order_relaxed));
    stress_report("releases", stats.releases);
    stress_report("waits", stats.waits);
    return stress_end();
}
