/* SPDX-License-Identifier: MIT */
/*
 * stress: what the programs in tests/stress share.
 *
 * A program begins, runs one or more crews of threads, and ends:
 *
 *     stress_begin("name", argc, argv);       seed and seconds
 *     stress_part(0.5);                       the next half of the time
 *     stress_run(&crew);                      threads, until they return
 *     return stress_end();
 *
 * While a crew works the calling thread conducts: it tells when the time is
 * over, jolts the threads and watches for those that hang. A jolt is a signal
 * whose handler sleeps a little, so that a thread stands still between any two
 * instructions, also where no scheduler would stop it; what can go wrong there
 * goes wrong within seconds. ThreadSanitizer delays signals, so there are none
 * under it. A calm crew has none either: what is decided by what two processors
 * see of each other, and not by who stands still, comes up more often there.
 *
 * Nothing here lends the threads an order that the library owes them: what is
 * shared while they work is relaxed.
 */
#ifndef SUPPORT_STRESS_H
#define SUPPORT_STRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Random numbers ---- */

struct stress_random {
    uint64_t state;
};

uint64_t stress_draw(struct stress_random *random);

/* 0 to `limit` - 1. */
uint32_t stress_below(struct stress_random *random, uint32_t limit);

/* True in `percent` of 100. */
bool stress_chance(struct stress_random *random, uint32_t percent);

/* ---- The program ---- */

/* Reads `seed seconds`; 1 and 2 if they are missing. A third argument,
   "control", asks for what a negative control needs, and nothing more. */
void stress_begin(const char *program, int argc, char **argv);

/* What the caller gave. */
uint64_t stress_seed(void);
double stress_seconds(void);

bool stress_is_control(void);

/* Why a control would prove nothing in this build or on this machine; NULL: it
   would. */
const char *stress_control_lacks(void);

/* The next part of the program lasts this share of the time. */
void stress_part(double share);

/* True in a build with a sanitizer: slower, and with a heap of its own. */
bool stress_is_sanitized(void);

/* False under ThreadSanitizer, which delays signals. */
bool stress_has_signals(void);

/* Prints the program, the seed and what is wrong, and exits with 1. */
_Noreturn void stress_fail(const char *what);
void stress_expect(bool truth, const char *what);
void stress_expect_equal(uint64_t is, uint64_t should_be, const char *what);

/* Prints what is missing here; what the program exits with then. */
int stress_skip(const char *why);

/* Prints one number of the last line, then the last line. */
void stress_report(const char *name, uint64_t number);
int stress_end(void);

/* ---- Threads ---- */

typedef void stress_body_fn(uint32_t index, struct stress_random *random);
typedef void stress_watch_fn(void);
typedef bool stress_enough_fn(void);

struct stress_crew {
    uint32_t count;
    stress_body_fn *body;
    stress_watch_fn *watch;   /* called every STRESS_TICK_MS; may be NULL */
    stress_enough_fn *enough; /* the time goes on until then; may be NULL */
    bool is_calm;             /* no jolts */
};

enum { STRESS_THREADS_MAX = 64, STRESS_TICK_MS = 50 };

/* Runs the crew; all begin at once. Fails if one does not return long after
   the time is over. */
void stress_run(const struct stress_crew *crew);

/* The time of this part is over. For the crew; costs one load. */
bool stress_is_over(void);

/* Ties the calling thread, and those it creates, to one processor of those that
   the program may use; there are as many as the machine has, or fewer. */
void stress_pin(uint32_t processor);

/* Gives the processor away once in a while when called in a loop. */
void stress_pause(uint32_t round);

/* Sleeps at least `us`. Fine in a signal handler. */
void stress_nap(uint32_t us);

double stress_now(void);

/* ---- A gate that opens when all have come ---- */

struct stress_gate {
    uint32_t count;
    _Atomic uint32_t arrived;
    _Atomic uint32_t round;
};

/* Orders all that was done before it before all that is done after it. */
void stress_gate_pass(struct stress_gate *gate);

/* ---- Who owns which block ---- */

enum { STRESS_BLOCKS_MAX = 1 << 16 };

/* Zeroed, all blocks are free. */
struct stress_shadow {
    _Atomic uint8_t owner[STRESS_BLOCKS_MAX];
};

/* `owner`, not 0, got the block; fails if somebody has it. */
void stress_shadow_take(
    struct stress_shadow *shadow, uint32_t block, uint8_t owner);

/* `owner` is about to give it back; fails if it is not theirs. */
void stress_shadow_give(
    struct stress_shadow *shadow, uint32_t block, uint8_t owner);

/* Fails if somebody has one of the first `count` blocks. */
void stress_shadow_expect_free(
    const struct stress_shadow *shadow, uint32_t count);

/* ---- What stands in a block ---- */

/*
 * The byte at `offset` of a block with this stamp. Eight of them in a row
 * contain the whole stamp.
 */
static inline uint8_t
stress_byte(uint64_t stamp, uint32_t offset)
{
    return (uint8_t)((uint8_t)(stamp >> offset % 8 * 8) ^
                     (uint8_t)(offset / 8 * 29));
}

void stress_fill(uint8_t *bytes, size_t n, uint64_t stamp, uint32_t offset);

/* Fails, with `what`, if other bytes stand there. */
void stress_verify(const uint8_t *bytes, size_t n, uint64_t stamp,
    uint32_t offset, const char *what);

#endif
