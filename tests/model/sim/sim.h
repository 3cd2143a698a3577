/* SPDX-License-Identifier: MIT */
/*
 * sim: the library's real sources, on virtual threads over a weak memory.
 *
 *     src/{base,core,fixed,buddy,...}/ *.c compiled as they are, but with
 *       │ wr_load_acquire(...) ...              under/base/atomic.h
 *       │ wr_mutex_lock, wr_pages_unmap ...     platform.c
 *       │ every plain load and store            -fsanitize=thread, plain.c
 *       ▼
 *     scheduler.c    virtual threads on one real one; who runs next
 *     memory.c       every location's history; what a load may still see
 *     plain.c        plain accesses: races, and memory that is gone
 *       │ "which of n?"
 *       ▼
 *     explore.c      answers: all answers in turn, or random ones, or a list
 *
 * A run is a function of the answers to "which of n?": the same answers give
 * the same run. So a failure is a list of answers, and is replayed from it.
 *
 * This header is all that a case sees. A case is up to four functions, each run
 * by a virtual thread, between one that prepares and one that looks at the end.
 * Threads may warm up first: what a thread does once in its life would keep them
 * apart otherwise (its first call takes a mutex, and so orders it).
 * Whatever it claims it says with sim_expect; a race, an access to memory that
 * was given back, a misuse that the library finds, a deadlock and a loop
 * without end fail a run by themselves.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Orders and sites -------------------------------------------------- */

/* As bits: the weaker order is a subset of the stronger. */
enum sim_order {
    SIM_RELAXED = 0,
    SIM_ACQUIRE = 1,
    SIM_RELEASE = 2,
    SIM_ACQ_REL = SIM_ACQUIRE | SIM_RELEASE,
    SIM_SEQ = SIM_ACQ_REL | 4
};

enum sim_kind {
    SIM_LOAD,
    SIM_STORE,
    SIM_CHANGE, /* reads, modifies and writes */
    SIM_HEAVY   /* the fence of every thread */
};

/* One atomic access in the sources. */
struct sim_site {
    const char *file;
    const char *function;
    const char *operation;
    int line;
    enum sim_kind kind;
    enum sim_order order; /* a mutant changes it */
};

/* ---- Atomic accesses; called by under/base/atomic.h -------------------- */

enum sim_change { SIM_ADD, SIM_SUB, SIM_OR, SIM_AND, SIM_EXCHANGE };

uint64_t sim_load(
    const struct sim_site *site, const volatile void *object, size_t size);
/* Eight bytes in a row, each a location of its own, as one word. */
uint64_t sim_load_eight(
    const struct sim_site *site, const volatile void *bytes);
void sim_store(const struct sim_site *site, volatile void *object, size_t size,
    uint64_t value);
uint64_t sim_change(const struct sim_site *site, volatile void *object,
    size_t size, enum sim_change change, uint64_t operand);
bool sim_cas(const struct sim_site *site, volatile void *object, size_t size,
    void *expected, uint64_t desired);
void sim_init(volatile void *object, size_t size, uint64_t value);

/* membarrier: a full fence on every thread, at once. */
void sim_membarrier(const struct sim_site *site);

/* ---- Plain accesses ---------------------------------------------------- */

/* Says that the calling thread reads or writes `size` bytes of a block. It must
   happen after all that other threads wrote, or did, there. */
void sim_plain_read(const volatile void *bytes, size_t size);
void sim_plain_write(volatile void *bytes, size_t size);

/* `size` bytes, aligned to a line, not cleared, until the end of the run or
   until they are given back; nobody may touch them then. */
void *sim_memory_take(size_t size, size_t align);
void sim_memory_give(void *memory);

/* How many pieces of memory are taken and not given back. */
unsigned sim_memory_count(void);

/* ---- For cases --------------------------------------------------------- */

enum { SIM_WORKERS_MAX = 4 };

/* The number of the calling virtual thread: 1 to 4 in the order of the case's
   threads, 0 before and after them. */
unsigned sim_self(void);

/* Ends the run: it failed. */
_Noreturn void sim_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#define sim_expect(truth)                                                      \
    ((truth) ? (void)0                                                         \
             : sim_fail("%s:%d: not so: %s", __FILE__, __LINE__, #truth))

/* The library may stop the program with a line that has `why` in it; then the run
   ends well. */
void sim_allow_stop(const char *why);

/* Says that the run came to what the case is named for. */
void sim_seen(void);

/*
 * Counts up, and down when it is above 0, for which it blocks. A strong one
 * orders as a mutex does; a weak one orders nothing: it is a fact of the
 * schedule that no thread's memory knows about.
 */
struct sim_tokens {
    unsigned count;
    bool strong;
    uint32_t run;
    unsigned index;
};

void sim_tokens_put(struct sim_tokens *tokens);
void sim_tokens_take(struct sim_tokens *tokens);

/* Runs the calling thread's exit hooks now, as when it ends; what the case does
   afterwards are other destructors. */
void sim_thread_exit(void);

/* A name for a location in traces. */
void sim_name(const volatile void *object, const char *name);

/* What runs of a case may come to. */
enum sim_verdict {
    SIM_HOLDS,   /* no run fails */
    SIM_HAPPENS, /* no run fails, and sim_seen was called in one */
    SIM_FAILS    /* a run fails, with `why` in what it says */
};

struct sim_case {
    const char *name;
    const char *claim;
    void (*before)(void);
    void (*warm)(void); /* by each thread, one after the other, before all */
    void (*threads[SIM_WORKERS_MAX])(void);
    void (*after)(void);
    enum sim_verdict verdict;
    const char *why;
    uint8_t preemptions; /* bounds of the exhaustive search */
    uint8_t stales;
    uint32_t random; /* runs at random; 0: as main.c has it */
};

#endif
