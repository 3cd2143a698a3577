/* SPDX-License-Identifier: MIT */
/*
 * litmus: the simulator against what everybody knows.
 *
 * The classic tests of memory models, each with its verdict: "happens" (the
 * weak outcome is reached) or "holds" (it never is). And one error of each kind
 * that the simulator claims to find.
 */

#include "base/atomic.h"
#include "cases.h"
#include "platform/thread.h"

static struct shared {
    _Atomic uint64_t x;
    _Atomic uint64_t y;
    uint64_t data;
    struct wr_mutex mutex;
    struct wr_mutex other;
} * shared;
static uint64_t got[2 * SIM_WORKERS_MAX];
static struct sim_tokens order; /* weak: one thread behind another */

static void
prepare(void)
{
    shared = sim_memory_take(sizeof(*shared), 64);
    atomic_init(&shared->x, 0);
    atomic_init(&shared->y, 0);
    sim_plain_write(&shared->data, sizeof shared->data);
    shared->data = 0;
    wr_mutex_init(&shared->mutex);
    wr_mutex_init(&shared->other);
    for (unsigned i = 0; i < 2 * SIM_WORKERS_MAX; i++)
        got[i] = 0;
    order = (struct sim_tokens){ 0 };
}

static void
write_data(void)
{
    sim_plain_write(&shared->data, sizeof shared->data);
    shared->data++;
}

static void
read_data(void)
{
    sim_plain_read(&shared->data, sizeof shared->data);
}

/* ---- Message passing --------------------------------------------------- */

static void
mp_write_relaxed(void)
{
    wr_store_relaxed(&shared->x, 1);
    wr_store_relaxed(&shared->y, 1);
}

static void
mp_write_release(void)
{
    wr_store_relaxed(&shared->x, 1);
    wr_store_release(&shared->y, 1);
}

static void
mp_read_relaxed(void)
{
    got[0] = wr_load_relaxed(&shared->y);
    got[1] = wr_load_relaxed(&shared->x);
}

static void
mp_read_acquire(void)
{
    got[0] = wr_load_acquire(&shared->y);
    got[1] = wr_load_relaxed(&shared->x);
}

static void
mp_is_weak(void)
{
    if (got[0] == 1 && got[1] == 0)
        sim_seen();
}

static void
mp_is_strong(void)
{
    sim_expect(got[0] == 0 || got[1] == 1);
}

/* With data: the release sequence from thread 1 through thread 2 to thread 3. */
static void
give_data(void)
{
    write_data();
    wr_store_release(&shared->y, 1);
}

static void
change_relaxed(void)
{
    (void)wr_add_relaxed(&shared->y, 2);
}

static void
take_data(void)
{
    if ((wr_load_acquire(&shared->y) & 1) != 0)
        read_data();
}

/* Waits, without an order, until the data was given, and stores over it. */
static void
give_data_first(void)
{
    give_data();
    sim_tokens_put(&order);
}

static void
store_over(void)
{
    sim_tokens_take(&order);
    wr_store_relaxed(&shared->y, 3);
}

/* ---- Store buffering --------------------------------------------------- */

#define SB(name, mine, its, slot, store, load)                                 \
    static void name(void)                                                     \
    {                                                                          \
        store(&shared->mine, 1);                                               \
        got[slot] = load(&shared->its);                                        \
    }

SB(sb_left_weak, x, y, 0, wr_store_release, wr_load_acquire)
SB(sb_right_weak, y, x, 1, wr_store_release, wr_load_acquire)
SB(sb_left_seq, x, y, 0, wr_store_seq, wr_load_seq)
SB(sb_right_seq, y, x, 1, wr_store_seq, wr_load_seq)
SB(sb_left_change, x, y, 0, (void)wr_add_acq_rel, wr_load_acquire)
SB(sb_right_change, y, x, 1, (void)wr_add_acq_rel, wr_load_acquire)

static void
sb_is_weak(void)
{
    if (got[0] == 0 && got[1] == 0)
        sim_seen();
}

static void
sb_is_strong(void)
{
    sim_expect(got[0] == 1 || got[1] == 1);
}

/* ---- Load buffering, coherence, four threads --------------------------- */

static void
lb_left(void)
{
    got[0] = wr_load_relaxed(&shared->x);
    wr_store_relaxed(&shared->y, got[0]);
}

static void
lb_right(void)
{
    got[1] = wr_load_relaxed(&shared->y);
    wr_store_relaxed(&shared->x, got[1] + 1);
}

static void
lb_is_strong(void)
{
    sim_expect(got[0] == 0 || got[1] == 0);
}

static void
count_relaxed(void)
{
    wr_store_relaxed(&shared->x, 1);
    wr_store_relaxed(&shared->x, 2);
}

static void
read_twice(void)
{
    got[0] = wr_load_relaxed(&shared->x);
    got[1] = wr_load_relaxed(&shared->x);
}

static void
corr_is_strong(void)
{
    sim_expect(got[0] <= got[1]);
}

static void
corr_is_stale(void)
{
    if (got[0] == 1 && got[1] == 1)
        sim_seen();
}

static void
iriw_x(void)
{
    wr_store_release(&shared->x, 1);
}

static void
iriw_y(void)
{
    wr_store_release(&shared->y, 1);
}

static void
iriw_x_seq(void)
{
    wr_store_seq(&shared->x, 1);
}

static void
iriw_y_seq(void)
{
    wr_store_seq(&shared->y, 1);
}

static void
iriw_xy(void)
{
    got[0] = wr_load_acquire(&shared->x);
    got[1] = wr_load_acquire(&shared->y);
}

static void
iriw_yx(void)
{
    got[2] = wr_load_acquire(&shared->y);
    got[3] = wr_load_acquire(&shared->x);
}

static void
iriw_xy_seq(void)
{
    got[0] = wr_load_seq(&shared->x);
    got[1] = wr_load_seq(&shared->y);
}

static void
iriw_yx_seq(void)
{
    got[2] = wr_load_seq(&shared->y);
    got[3] = wr_load_seq(&shared->x);
}

static bool
iriw_disagrees(void)
{
    return got[0] == 1 && got[1] == 0 && got[2] == 1 && got[3] == 0;
}

static void
iriw_is_weak(void)
{
    if (iriw_disagrees())
        sim_seen();
}

static void
iriw_is_strong(void)
{
    sim_expect(!iriw_disagrees());
}

/* Two writes of each to both: the machine cannot order them across, says so. */
static void
ww_xy(void)
{
    wr_store_relaxed(&shared->x, 1);
    wr_store_relaxed(&shared->y, 2);
}

static void
ww_yx(void)
{
    wr_store_relaxed(&shared->y, 1);
    wr_store_relaxed(&shared->x, 2);
}

/* ---- Read-modify-writes and mutexes ------------------------------------ */

static void
add_one(void)
{
    (void)wr_add_relaxed(&shared->x, 1);
}

static void
three_were_added(void)
{
    sim_expect(wr_load_relaxed(&shared->x) == 3);
}

static void
add_by_exchange(void)
{
    uint64_t seen = wr_load_relaxed(&shared->x);
    while (!wr_cas_relaxed(&shared->x, &seen, seen + 1))
        continue;
}

static void
write_locked(void)
{
    wr_mutex_lock(&shared->mutex);
    write_data();
    wr_mutex_unlock(&shared->mutex);
}

static void
lock_both(void)
{
    wr_mutex_lock(&shared->mutex);
    wr_mutex_lock(&shared->other);
    wr_mutex_unlock(&shared->other);
    wr_mutex_unlock(&shared->mutex);
}

static void
lock_both_crossed(void)
{
    wr_mutex_lock(&shared->other);
    wr_mutex_lock(&shared->mutex);
    wr_mutex_unlock(&shared->mutex);
    wr_mutex_unlock(&shared->other);
}

static void
give_memory(void)
{
    sim_memory_give(shared);
}

static void
spin_for_ever(void)
{
    while (wr_load_relaxed(&shared->x) == 0)
        continue;
}

const struct sim_case litmus_cases[] = {
    {
        .name = "mp_relaxed",
        .claim = "message passing, relaxed: the message overtakes",
        .before = prepare,
        .threads = { mp_write_relaxed, mp_read_relaxed },
        .after = mp_is_weak,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "mp_half",
        .claim = "a release that nobody acquires is none",
        .before = prepare,
        .threads = { mp_write_release, mp_read_relaxed },
        .after = mp_is_weak,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "mp",
        .claim = "message passing, release and acquire",
        .before = prepare,
        .threads = { mp_write_release, mp_read_acquire },
        .after = mp_is_strong,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sequence",
        .claim = "a change continues a release sequence",
        .before = prepare,
        .threads = { give_data, change_relaxed, take_data },
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sequence_cut",
        .claim = "another thread's store ends a release sequence",
        .before = prepare,
        .threads = { give_data_first, store_over, take_data },
        .verdict = SIM_FAILS,
        .why = "race",
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sb",
        .claim = "store buffering, release and acquire: both are late",
        .before = prepare,
        .threads = { sb_left_weak, sb_right_weak },
        .after = sb_is_weak,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sb_change",
        .claim = "store buffering, acq_rel changes: both are late",
        .before = prepare,
        .threads = { sb_left_change, sb_right_change },
        .after = sb_is_weak,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sb_seq",
        .claim = "store buffering, seq",
        .before = prepare,
        .threads = { sb_left_seq, sb_right_seq },
        .after = sb_is_strong,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sb_seq_half",
        .claim = "store buffering, seq against acq_rel: both are late",
        .before = prepare,
        .threads = { sb_left_seq, sb_right_change },
        .after = sb_is_weak,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "lb",
        .claim = "load buffering with dependencies: nothing out of thin air",
        .before = prepare,
        .threads = { lb_left, lb_right },
        .after = lb_is_strong,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "corr",
        .claim = "coherence: no thread reads backwards",
        .before = prepare,
        .threads = { count_relaxed, read_twice },
        .after = corr_is_strong,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "corr_stale",
        .claim = "a load may stay behind",
        .before = prepare,
        .threads = { count_relaxed, read_twice },
        .after = corr_is_stale,
        .verdict = SIM_HAPPENS,
        .preemptions = 1,
        .stales = 3,
    },
    {
        .name = "iriw",
        .claim = "two readers disagree on the order of two writers",
        .before = prepare,
        .threads = { iriw_x, iriw_y, iriw_xy, iriw_yx },
        .after = iriw_is_weak,
        .verdict = SIM_HAPPENS,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "iriw_seq",
        .claim = "with seq they agree",
        .before = prepare,
        .threads = { iriw_x_seq, iriw_y_seq, iriw_xy_seq, iriw_yx_seq },
        .after = iriw_is_strong,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "2+2w",
        .claim = "the order of writes is that of execution",
        .before = prepare,
        .threads = { ww_xy, ww_yx },
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "add",
        .claim = "no addition is lost",
        .before = prepare,
        .threads = { add_one, add_one, add_one },
        .after = three_were_added,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "cas",
        .claim = "no exchange is lost",
        .before = prepare,
        .threads = { add_by_exchange, add_by_exchange, add_by_exchange },
        .after = three_were_added,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "mutex",
        .claim = "a mutex orders",
        .before = prepare,
        .threads = { write_locked, write_locked, write_locked },
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "finds_race",
        .claim = "two plain writes",
        .before = prepare,
        .threads = { write_data, write_data },
        .verdict = SIM_FAILS,
        .why = "race",
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "finds_use_after_end",
        .claim = "an access to memory that is gone",
        .before = prepare,
        .threads = { give_memory, add_one },
        .verdict = SIM_FAILS,
        .why = "given back",
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "finds_deadlock",
        .claim = "two locks, crossed",
        .before = prepare,
        .threads = { lock_both, lock_both_crossed },
        .verdict = SIM_FAILS,
        .why = "deadlock",
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "finds_livelock",
        .claim = "a loop that nobody ends",
        .before = prepare,
        .threads = { spin_for_ever, read_twice },
        .verdict = SIM_FAILS,
        .why = "no end",
        .preemptions = 3,
        .stales = 3,
    },
    { 0 },
};
