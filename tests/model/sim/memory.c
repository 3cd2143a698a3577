/* SPDX-License-Identifier: MIT */
/*
 * memory: every location's history, and what a load may still see.
 *
 *     word     0 ◀── 1 ◀── 2 ◀── 3        values, numbered as they were written
 *              │           │
 *              │           └ with the view of its writer, if that released
 *              └ the oldest that thread 2 may read: view.at[word]
 *
 * Idea
 *   The memory of C17 as a machine, after the promise-free part of the promising
 *   semantics and of RC11's views. A location keeps all its values. A thread
 *   keeps for each location the number of the latest value it knows of; a load
 *   may read that or any later one, and which is asked from the explorer. A
 *   release sends the writer's view along with the value, an acquire that reads
 *   it joins it. A read-modify-write reads the last value, and passes on the
 *   view of what it read: so a release sequence goes on through it.
 *
 *   Sequential consistency: the single order S is the order of execution. A
 *   location knows its last seq_cst value, and a seq_cst load reads no older
 *   one. Each seq_cst access also acquires and releases.
 *
 *   membarrier puts a full fence into every thread at once: all know the latest
 *   value that any of them knows. It makes nothing happen before anything else:
 *   for that an acquire has to read what was released.
 *
 * What this machine does not do, and C17 allows
 *   1. A load does not read a value that is written later ("load buffering"
 *      without a dependency): no compiler or processor may do that to an access
 *      whose value decides what comes next, as all of ours do.
 *   2. The modification order is the order of execution. That loses nothing
 *      where a write knows all earlier ones, or is a read-modify-write after
 *      read-modify-writes. A write that does not is counted as "blind", and a
 *      case with blind writes says so: there it may miss behaviours.
 *   3. S is consistent with happens-before, as C17 7.17.3 says; C++20 allows a
 *      little more for locations that are accessed with seq_cst and weaker.
 *   4. A weak compare-exchange fails only for a reason.
 *   A plain store by the same thread does not continue a release sequence (C++20
 *   and C2x), where C17 says it does: more behaviours than C17.
 *
 * Limits
 *   VIEW_LOCATIONS locations and MESSAGES_MAX values in a run.
 */

#include "memory.h"

#include "explore.h"
#include "orders.h"
#include "plain.h"
#include "scheduler.h"
#include "sim.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

enum {
    MESSAGES_MAX = 1 << 15,
    VIEWS_MAX = 1 << 13,
    BUCKETS = 1024,
    NAMES_MAX = 64
};

struct message {
    uint64_t value;
    uint32_t previous;
    uint16_t at;   /* its number */
    uint16_t view; /* what its reader may learn; 0: nothing */
    bool changed;  /* written by a read-modify-write, or the first */
    bool pending;  /* written plainly; the value is still to be fetched */
};

struct location {
    const volatile void *object;
    size_t size;
    struct explore_place *place;
    uint32_t last; /* message */
    uint16_t seq;  /* the number of the last seq_cst value */
    uint16_t number;
    uint16_t touched[VIEW_THREADS]; /* when each thread was here last, */
    uint16_t written[VIEW_THREADS]; /* and wrote, by its clock; 0: never */
};

unsigned view_used;

static struct location locations[VIEW_SIZE];
static unsigned location_count; /* the first VIEW_THREADS are clocks */
static struct message messages[MESSAGES_MAX];
static unsigned message_count;
static struct view views[VIEWS_MAX];
static unsigned view_count;

static struct name {
    const volatile void *object;
    const char *name;
} names[NAMES_MAX];
static unsigned name_count;

static struct bucket {
    uint32_t run;
    uint16_t number;
} buckets[BUCKETS];

void
memory_reset(void)
{
    location_count = VIEW_THREADS;
    message_count = 0;
    view_count = 1; /* 0 means none */
    view_used = VIEW_STEP;
    name_count = 0;
}

void
sim_name(const volatile void *object, const char *name)
{
    if (name_count < NAMES_MAX)
        names[name_count++] = (struct name){ object, name };
}

static const char *
name_of(const struct location *location)
{
    static char number[16];
    for (unsigned i = name_count; i > 0; i--)
        if (names[i - 1].object == location->object)
            return names[i - 1].name;
    (void)snprintf(
        number, sizeof number, "#%u", location->number - VIEW_THREADS);
    return number;
}

/* ---- Locations --------------------------------------------------------- */

static uint64_t
fetch(const volatile void *object, size_t size)
{
    switch (size) {
    case sizeof(uint64_t):
        return *(const volatile uint64_t *)object;
    case sizeof(uint32_t):
        return *(const volatile uint32_t *)object;
    default:
        return *(const volatile uint8_t *)object;
    }
}

static void
put(volatile void *object, size_t size, uint64_t value)
{
    switch (size) {
    case sizeof(uint64_t):
        *(volatile uint64_t *)object = value;
        break;
    case sizeof(uint32_t):
        *(volatile uint32_t *)object = (uint32_t)value;
        break;
    default:
        *(volatile uint8_t *)object = (uint8_t)value;
    }
}

static struct message *
append(struct location *location, uint64_t value)
{
    if (message_count == MESSAGES_MAX)
        sim_fail("more than %d values were written", MESSAGES_MAX);
    struct message *message = &messages[message_count];
    *message = (struct message){
        .value = value,
        .previous = location->last,
        .at = (uint16_t)(messages[location->last].at + 1),
    };
    location->last = message_count++;
    return message;
}

/* Views grow by this location; in the new part all of them know nothing. */
static void
widen_views(void)
{
    if (location_count < view_used)
        return;
    for (unsigned t = 0; t < VIEW_THREADS; t++)
        memset(
            &scheduler_views[t].at[view_used], 0, VIEW_STEP * sizeof(uint16_t));
    for (unsigned i = 1; i < view_count; i++)
        memset(&views[i].at[view_used], 0, VIEW_STEP * sizeof(uint16_t));
    view_used += VIEW_STEP;
}

/* Bytes of an octet are one place: who loads them as one word does so at once. */
static struct explore_place *
place_of(const volatile void *object, size_t size)
{
    size_t beside = size == 1 ? (uintptr_t)object % sizeof(uint64_t) : 0;
    return explore_place((const volatile char *)object - beside);
}

static struct location *
add(const volatile void *object, size_t size)
{
    if (location_count == VIEW_SIZE)
        sim_fail("more than %d locations", VIEW_LOCATIONS);
    if (message_count == MESSAGES_MAX)
        sim_fail("more than %d values were written", MESSAGES_MAX);
    widen_views();
    struct location *location = &locations[location_count];
    *location = (struct location){
        .object = object,
        .size = size,
        .place = place_of(object, size),
        .last = message_count,
        .number = (uint16_t)location_count,
    };
    messages[message_count++] =
        (struct message){ .value = fetch(object, size), .changed = true };
    plain_bind(object, size, location_count);
    location_count++;
    return location;
}

/* The bucket that an object is in, or may be put into. */
static struct bucket *
bucket_of(const volatile void *object)
{
    unsigned at = (unsigned)(uintptr_t)object * 2654435761u;
    for (at = at >> 16 & (BUCKETS - 1);; at = (at + 1) & (BUCKETS - 1))
        if (buckets[at].run != explore_run ||
            locations[buckets[at].number].object == object)
            return &buckets[at];
}

static struct location *
find(const volatile void *object, size_t size)
{
    struct bucket *bucket = bucket_of(object);
    if (bucket->run != explore_run) {
        struct location *location = add(object, size);
        *bucket = (struct bucket){ explore_run, location->number };
    }
    return &locations[bucket->number];
}

/* The last message, with its value. */
static struct message *
last_of(struct location *location)
{
    struct message *last = &messages[location->last];
    if (last->pending) {
        last->value = fetch(location->object, location->size);
        last->pending = false;
    }
    return last;
}

/* ---- Views ------------------------------------------------------------- */

unsigned
memory_publish(unsigned with)
{
    if (view_count == VIEWS_MAX)
        sim_fail("more than %d releases", VIEWS_MAX);
    struct view *mine = scheduler_view();
    view_copy(&views[view_count], mine);
    if (with != 0)
        view_join(&views[view_count], &views[with]);
    mine->at[scheduler_self]++;
    return view_count++;
}

void
memory_learn(unsigned view)
{
    if (view != 0)
        view_join(scheduler_view(), &views[view]);
}

void
memory_check_past(unsigned number, bool only_writes)
{
    const struct location *location = &locations[number];
    const uint16_t *when = only_writes ? location->written : location->touched;
    const struct view *mine = scheduler_view();
    for (unsigned t = 0; t < VIEW_THREADS; t++)
        if (when[t] > mine->at[t])
            sim_fail("race: thread %u accesses plainly what thread %u %s "
                     "atomically, and nothing orders them",
                scheduler_self, t, only_writes ? "wrote" : "accessed");
}

void
memory_rewrite(unsigned number)
{
    struct location *location = &locations[number];
    struct message *message = append(location, 0);
    message->pending = true;
    message->changed = true; /* it knows all earlier ones */
    scheduler_view()->at[number] = message->at;
}

/* ---- Accesses ---------------------------------------------------------- */

/* The calling thread is there. */
static void
sign(struct location *location, bool writes)
{
    uint16_t clock = scheduler_view()->at[scheduler_self];
    location->touched[scheduler_self] = clock;
    if (writes)
        location->written[scheduler_self] = clock;
}

/* The way into every access: another thread may run before it. */
static struct location *
enter(const volatile void *object, size_t size, bool writes)
{
    struct location *location = find(object, size);
    scheduler_point(location->place, writes);
    plain_check_atomic(object, size, writes);
    sign(location, writes);
    return location;
}

static void
trace(const struct sim_site *site, const struct location *location,
    uint64_t read, uint64_t written)
{
    static const char *const orders[] = { "relaxed", "acquire", "release",
        "acq_rel", "", "", "", "seq" };
    if (!explore_tracing)
        return;
    const char *file = orders_file(site);
    explore_trace("%s:%d %s %s, %s: %#llx -> %#llx",
        file != NULL ? file : site->file, site->line, site->operation,
        orders[site->order], name_of(location), (unsigned long long)read,
        (unsigned long long)written);
}

static uint64_t
load(const struct sim_site *site, struct location *location)
{
    struct view *mine = scheduler_view();
    const struct message *message = last_of(location);
    uint16_t oldest = mine->at[location->number];
    if (site->order == SIM_SEQ && location->seq > oldest)
        oldest = location->seq;
    unsigned back = explore_choose(EXPLORE_STALE, message->at - oldest + 1u);
    for (; back > 0; back--)
        message = &messages[message->previous];

    mine->at[location->number] = message->at;
    if ((site->order & SIM_ACQUIRE) != 0)
        memory_learn(message->view);
    trace(site, location, message->value, message->value);
    return message->value;
}

uint64_t
sim_load(const struct sim_site *site, const volatile void *object, size_t size)
{
    return load(site, enter(object, size, false));
}

/* Of a byte that nobody has written there is nothing to be chosen: it gets no
   location. So a table of hints may be larger than VIEW_LOCATIONS. */
uint64_t
sim_load_eight(const struct sim_site *site, const volatile void *bytes)
{
    const volatile uint8_t *first = bytes;
    uint64_t word = 0;
    scheduler_point(place_of(first, 1), false);
    plain_check_atomic(first, sizeof(word), false);
    for (unsigned i = 0; i < sizeof(word); i++) {
        const struct bucket *bucket = bucket_of(&first[i]);
        uint64_t byte = first[i];
        if (bucket->run == explore_run) {
            sign(&locations[bucket->number], false);
            byte = load(site, &locations[bucket->number]);
        }
        word |= byte << 8 * i;
    }
    return word;
}

/* Appends a value that the calling thread writes after `last`. */
static void
write(const struct sim_site *site, struct location *location,
    const struct message *last, uint64_t value)
{
    struct view *mine = scheduler_view();
    bool changes = site->kind == SIM_CHANGE;
    if (mine->at[location->number] < last->at && !(changes && last->changed))
        explore_blind();

    unsigned sequence = changes ? last->view : 0;
    struct message *message = append(location, value);
    message->changed = changes;
    mine->at[location->number] = message->at;
    message->view =
        (uint16_t)((site->order & SIM_RELEASE) != 0 ? memory_publish(sequence)
                                                    : sequence);
    if (site->order == SIM_SEQ)
        location->seq = message->at;
    put((volatile void *)(uintptr_t)location->object, location->size, value);
}

void
sim_store(const struct sim_site *site, volatile void *object, size_t size,
    uint64_t value)
{
    struct location *location = enter(object, size, true);
    const struct message *last = last_of(location);
    trace(site, location, last->value, value);
    write(site, location, last, value);
}

static uint64_t
apply(enum sim_change change, uint64_t value, uint64_t operand)
{
    switch (change) {
    case SIM_ADD:
        return value + operand;
    case SIM_SUB:
        return value - operand;
    case SIM_OR:
        return value | operand;
    case SIM_AND:
        return value & operand;
    case SIM_EXCHANGE:
        return operand;
    }
    return 0;
}

/* Reads the last value, as a read-modify-write does. */
static const struct message *
read_last(const struct sim_site *site, struct location *location)
{
    const struct message *last = last_of(location);
    if ((site->order & SIM_ACQUIRE) != 0)
        memory_learn(last->view);
    return last;
}

uint64_t
sim_change(const struct sim_site *site, volatile void *object, size_t size,
    enum sim_change change, uint64_t operand)
{
    struct location *location = enter(object, size, true);
    const struct message *last = read_last(site, location);
    uint64_t value = apply(change, last->value, operand);
    if (size < sizeof(value))
        value &= UINT32_MAX;
    trace(site, location, last->value, value);
    write(site, location, last, value);
    return last->value;
}

bool
sim_cas(const struct sim_site *site, volatile void *object, size_t size,
    void *expected, uint64_t desired)
{
    struct location *location = enter(object, size, true);
    const struct message *last = last_of(location);
    if (last->value != fetch(expected, size)) {
        trace(site, location, last->value, last->value);
        put(expected, size, last->value);
        scheduler_view()->at[location->number] = last->at;
        return false;
    }
    last = read_last(site, location);
    trace(site, location, last->value, desired);
    write(site, location, last, desired);
    return true;
}

void
sim_init(volatile void *object, size_t size, uint64_t value)
{
    sim_plain_write(object, size);
    put(object, size, value);
}

void
sim_membarrier(const struct sim_site *site)
{
    if (site->order != SIM_SEQ)
        return; /* a mutant */
    explore_trace("%s: heavy fence", site->function);
    static const char everywhere;
    scheduler_point(explore_place(&everywhere), true);
    for (unsigned i = VIEW_THREADS; i < location_count; i++) {
        uint16_t latest = 0;
        for (unsigned t = 0; t < VIEW_THREADS; t++)
            if (scheduler_views[t].at[i] > latest)
                latest = scheduler_views[t].at[i];
        for (unsigned t = 0; t < VIEW_THREADS; t++)
            scheduler_views[t].at[i] = latest;
    }
}
