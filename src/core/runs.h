/* SPDX-License-Identifier: MIT */
#ifndef WR_RUNS_H
#define WR_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WR_RUNS_PAGES_MAX = 1 << 24,
    WR_RUNS_COLUMNS = 8, /* bins to a doubling */
    WR_RUNS_ROWS = 23,
    WR_RUNS_BINS = WR_RUNS_ROWS * WR_RUNS_COLUMNS
};

/* What the books say about one page; see "Invariants" in runs.c. */
struct wr_run_entry {
    uint32_t out;  /* pages of the run that is out and starts here */
    uint32_t free; /* pages of the free run that starts or ends here */
    uint32_t next; /* first page of another free run of the bin */
    uint32_t previous;
};

struct wr_runs {
    struct wr_run_entry *entries; /* one a page */
    uint32_t page_count;
    uint32_t free_pages;
    uint32_t rows;                 /* a bit for each with a free run */
    uint8_t columns[WR_RUNS_ROWS]; /* a bit for each bin with one */
    uint32_t heads[WR_RUNS_BINS];  /* first page of the bin's first run */
};

/* How many bytes the books of `page_count` pages take. */
size_t wr_runs_meta_size(uint32_t page_count);

/*
 * Makes all pages one free run; 1 to 2^24 of them. `meta` is memory of
 * wr_runs_meta_size bytes, zeroed and aligned to 4; the caller keeps it until the
 * last call on `runs`. Only what says something is ever touched there: memory
 * that the system makes when it is written stays unmade where no run began or
 * ended. One thread at a time may call, here and below.
 */
void wr_runs_init(struct wr_runs *runs, uint32_t page_count, void *meta);

/*
 * Takes `count` pages in a row, at least 1; `first` is a multiple of `align`, a
 * power of two. False: there is no such run free.
 */
bool wr_runs_take(
    struct wr_runs *runs, uint32_t count, uint32_t align, uint32_t *first);

/* Gives a run back, which is one with its free neighbours at once. False, and
   nothing changes: no run that is out starts at `first`, whatever the number. */
bool wr_runs_give(struct wr_runs *runs, uint32_t first);

/* How many pages the run has that is out and starts at `first`; 0: none does. */
uint32_t wr_runs_length(const struct wr_runs *runs, uint32_t first);

/*
 * Makes the run at `first` `count` pages long, at least 1, where it is: longer
 * by free pages behind it, shorter by giving its tail back. False, and nothing
 * changes: the pages behind it are not free, or no run that is out starts there.
 */
bool wr_runs_grow(struct wr_runs *runs, uint32_t first, uint32_t count);

/* There is such a run. */
bool wr_runs_has(const struct wr_runs *runs, uint32_t count, uint32_t align);

/* How many pages are free. */
uint32_t wr_runs_free_pages(const struct wr_runs *runs);

/* How many pages the largest free run has. */
uint32_t wr_runs_largest(const struct wr_runs *runs);

/* Aborts if an invariant is broken. Reads an entry for each page. */
void wr_runs_check(const struct wr_runs *runs);

#endif
