/* SPDX-License-Identifier: MIT */
/*
 * station: threads that wait for blocks, each with a bell and a few waiters,
 * and the arenas they wait for.
 *
 *     platform: an arena of a few blocks,    crew: threads, each with a doorbell
 *     or of so many that there are caches    and stations
 *
 * A station is a waiter with a phase of its own beside the library's, so that
 * it is seen when one is told twice, or after it was cancelled, or never. A
 * stage is one arena's life, from when it is put on its platform until it is
 * replaced and unmapped.
 */
#ifndef SUPPORT_STATION_H
#define SUPPORT_STATION_H

#include "support/doorbell.h"
#include "support/stress.h"
#include "weir/weir.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    STATION_THREADS = 8,
    STATION_MAX = 16, /* of a thread */
    STATION_HELD = 4, /* blocks from which on a thread asks for no more */
    STATION_BLOCKS_MAX = 64,
    STATION_CARRIED_MAX = STATION_BLOCKS_MAX + STATION_HELD + STATION_MAX,
    STATION_BLOCK_SIZE = 64,
    STATION_SLEEP_MS = 20 /* then a sleeper looks whether the time is over */
};

/* An arena's life. It is remembered until the end. */
struct stage {
    struct weir_arena *arena;
    _Atomic uint8_t owner[STATION_BLOCKS_MAX]; /* of each block */
    _Atomic bool closed;
    _Atomic uint64_t waits;
    _Atomic uint64_t grants;
    _Atomic uint64_t cancels;
    _Atomic uint32_t unmapped;
    struct stage *older;
};

/* Where threads find the arena of now. */
struct platform {
    pthread_rwlock_t lock;
    struct stage *stage;
    uint32_t blocks;
    _Atomic uint64_t sweeps; /* of the stages that are over */
};

enum station_phase {
    STATION_IDLE,      /* its thread's */
    STATION_ARMED,     /* waits; anybody may try to cancel */
    STATION_CANCELING, /* somebody does */
    STATION_CANCELED   /* its thread will see it */
};

struct crewman;

struct station {
    struct weir_waiter waiter; /* first: `granted` finds the station by it */
    struct stage *stage;
    struct crewman *crewman;
    uint64_t ticket; /* in the order of waiting */
    _Atomic uint32_t phase;
    _Atomic uint32_t armed_tick;
};

/* A block that a thread has. */
struct station_block {
    struct weir_buf buf;
    struct stage *stage;
    uint8_t owner;
};

struct station_counts {
    uint64_t waits; /* that were queued */
    uint64_t grants;
    uint64_t closes_told;
    uint64_t cancels;
    uint64_t cancels_late; /* `granted` was running, or had run */
};

/* One thread. */
struct crewman {
    struct stress_random *random;
    struct doorbell doorbell;
    struct station stations[STATION_MAX];
    uint32_t station_count;
    struct station_block blocks[STATION_CARRIED_MAX];
    uint32_t count;
    bool in_order; /* no grant may come before an older one */
    uint64_t last_ticket;
    struct station_counts counts;
};

extern struct crewman station_crew[STATION_THREADS];

/* Begins the first stage of a platform. */
void platform_init(struct platform *platform, uint32_t blocks);

/* Puts a new arena on the platform, if `old` is still there, and destroys the
   old one. */
void platform_replace(struct platform *platform, const struct stage *old);

/* Fails unless its arena is whole and counted right; nobody uses it. Returns how
   often its arenas were swept; fails if never, though there could be caches. */
uint64_t platform_expect_whole(struct platform *platform);

/* Destroys the last stage. */
void platform_fini(struct platform *platform);

/* Fails unless every stage was unmapped once; forgets them. */
void stages_expect_unmapped(void);

/* Runs `threads` of the crew, each with so many stations, until the time is
   over and all waited `waits` times. */
void station_run(
    uint32_t threads, uint32_t stations, uint64_t waits, stress_body_fn *body);

/* The crewman is a thread that was given `random`. */
struct crewman *station_begin(uint32_t index, struct stress_random *random);

/* The thread has got a block. */
void station_own(
    struct crewman *crewman, struct stage *stage, struct weir_buf *buf);

/* Gives a block back, as its last owner. Any thread. */
void station_release(struct station_block *block);

/* One of those the thread has, if it has any. */
void station_release_any(struct crewman *crewman);

/* Takes a block for an idle station, or waits for one. */
enum weir_status station_wait(
    struct station *station, struct platform *platform);

/* Tries to take a wait back, any thread's. */
void station_cancel(struct crewman *crewman, struct station *station);

enum station_phase station_phase_of(struct station *station);

/* Takes cancelled stations back; returns how many still wait. */
uint32_t station_look(struct crewman *crewman);

/* Drains, if the bell was rung or is within the time. Fails if somebody was told
   and it is not rung. */
bool station_answer(struct crewman *crewman, int timeout_ms);

/* Gives everything back and waits till every station was told. */
void station_finish(struct crewman *crewman);

/* What all counted; fails if not every waiter was told once. */
struct station_counts station_sum(void);

#endif
