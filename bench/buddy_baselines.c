/* SPDX-License-Identifier: MIT */
/*
 * buddy_baselines: a buddy allocator with a lock, and one without.
 *
 *     spin lock    free lists, one an order      [18] -
 *                                                [12] ──▶ 4096 ──▶ 24576
 *                                                ...
 *                                                [ 0] ──▶ 17
 *     tree         a byte a node                        1
 *                                                   2       3
 *                                                 4   5   6   7
 *
 * Idea
 *   The first is what one finds in a textbook. A byte for each leaf says what
 *   begins there: a free block or one that is out, and its order; a mask says
 *   which lists are not empty. A block that is too large is halved until it is
 *   not; one that comes home merges with its other half as long as that is
 *   free. One test-and-test-and-set lock is over it all, with a pause in its
 *   loop; who has waited for long lets others run, for the holder may be among
 *   them.
 *
 *   The second is lock-free. Who takes a node changes it from free to busy and
 *   climbs, noting in each ancestor that something below is taken; an ancestor
 *   that is busy itself makes it climb again to take back what it noted. Who
 *   gives back climbs to announce it, frees the node and climbs again to clear
 *   what it announced, as far as the other half is free. An ancestor that says
 *   already what is to be noted is not written.
 *
 *   It searches the nodes of an order one by one, leaving out what lies below
 *   a node that is known to be taken. Where it begins is ours: where this
 *   thread gave back a block of that order last, else behind the last one it
 *   took.
 *
 * Costs
 *   spin lock: one locked instruction an alloc, one a release. tree: one or
 *   two for each level between the block and the largest one, but for
 *   ancestors that say it already.
 *
 * Limits
 *   64 MiB, leaves of 256 bytes, 8 threads.
 *
 * Source
 *   Marotta, Ianni, Scarselli, Pellegrini, Quaglia: A Non-blocking Buddy
 *   System for Scalable Memory Allocation on Multi-core Machines. CLUSTER
 *   2018. The variant with one level a node.
 */
#include "buddy_baselines.h"

#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LEAVES = 1 << (BUDDY_ORDERS - 1), LINE = 64, SPINS = 2000 };

#define NONE UINT32_MAX

static char region[BUDDY_BYTES]; /* never touched, so it costs no memory */

static unsigned
order_of(size_t size)
{
    size_t last = (size - 1) / BUDDY_LEAF;
    return last == 0 ? 0 : 64 - (unsigned)__builtin_clzll(last);
}

static void *
block_at(uint32_t leaf)
{
    return region + (size_t)leaf * BUDDY_LEAF;
}

static uint32_t
leaf_at(const void *block)
{
    return (uint32_t)((size_t)((const char *)block - region) / BUDDY_LEAF);
}

static void *
books(size_t size)
{
    void *memory = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);
    if (!memory)
        bench_fail("no memory");
    memset(memory, 0, size);
    return memory;
}

/* ---- Free lists and a lock --------------------------------------------- */

/* What begins at a leaf; 0: nothing does. */
enum { OUT = 0x40, FREE = 0x80 }; /* or-ed with the order */

struct link {
    uint32_t next;
    uint32_t before;
};

struct spin_buddy {
    alignas(LINE) atomic_bool taken;
    alignas(LINE) uint32_t filled; /* orders of which a block is free */
    uint32_t heads[BUDDY_ORDERS];
    struct link links[LEAVES]; /* of free blocks */
    uint8_t states[LEAVES];
};

static void
relax(void)
{
#ifdef __x86_64__
    __asm__ volatile("pause");
#endif
}

static void
lock(struct spin_buddy *buddy)
{
    while (
        atomic_exchange_explicit(&buddy->taken, true, memory_order_acquire)) {
        unsigned spins = 0;
        while (atomic_load_explicit(&buddy->taken, memory_order_relaxed))
            if (++spins < SPINS)
                relax();
            else
                sched_yield();
    }
}

static void
unlock(struct spin_buddy *buddy)
{
    atomic_store_explicit(&buddy->taken, false, memory_order_release);
}

static void
push(struct spin_buddy *buddy, uint32_t leaf, unsigned order)
{
    uint32_t next = buddy->heads[order];
    buddy->links[leaf] = (struct link){ .next = next, .before = NONE };
    if (next != NONE)
        buddy->links[next].before = leaf;
    buddy->heads[order] = leaf;
    buddy->filled |= UINT32_C(1) << order;
    buddy->states[leaf] = (uint8_t)(FREE | order);
}

static void
unlink_block(struct spin_buddy *buddy, uint32_t leaf, unsigned order)
{
    struct link link = buddy->links[leaf];
    if (link.next != NONE)
        buddy->links[link.next].before = link.before;
    if (link.before != NONE)
        buddy->links[link.before].next = link.next;
    else if ((buddy->heads[order] = link.next) == NONE)
        buddy->filled &= ~(UINT32_C(1) << order);
}

struct spin_buddy *
spin_buddy_create(void)
{
    struct spin_buddy *buddy = books(sizeof(*buddy));
    for (unsigned i = 0; i < BUDDY_ORDERS; i++)
        buddy->heads[i] = NONE;
    push(buddy, 0, BUDDY_ORDERS - 1);
    return buddy;
}

void *
spin_buddy_alloc(struct spin_buddy *buddy, size_t size)
{
    unsigned order = order_of(size);
    void *block = NULL;
    lock(buddy);
    uint32_t enough = buddy->filled >> order << order;
    if (enough != 0) {
        unsigned found = (unsigned)__builtin_ctz(enough);
        uint32_t leaf = buddy->heads[found];
        unlink_block(buddy, leaf, found);
        while (found > order) {
            found--;
            push(buddy, leaf + (UINT32_C(1) << found), found);
        }
        buddy->states[leaf] = (uint8_t)(OUT | order);
        block = block_at(leaf);
    }
    unlock(buddy);
    return block;
}

void
spin_buddy_release(struct spin_buddy *buddy, void *block)
{
    uint32_t leaf = leaf_at(block);
    lock(buddy);
    unsigned order = buddy->states[leaf] ^ OUT;
    buddy->states[leaf] = 0;
    for (; order < BUDDY_ORDERS - 1; order++) {
        uint32_t other = leaf ^ UINT32_C(1) << order;
        if (buddy->states[other] != (FREE | order))
            break;
        unlink_block(buddy, other, order);
        buddy->states[other] = 0;
        leaf &= other;
    }
    push(buddy, leaf, order);
    unlock(buddy);
}

void
spin_buddy_destroy(struct spin_buddy *buddy)
{
    if (buddy->filled != UINT32_C(1) << (BUDDY_ORDERS - 1))
        bench_fail("the buddy with a lock is not whole");
    free(buddy);
}

/* ---- A tree without a lock --------------------------------------------- */

/* Of a node: it is taken; in a child something is, or is being given back.
   Those of the left child are the next higher bits. 0: all of it is free. */
enum { BELOW = 0x01, LEAVING = 0x04, TAKEN = 0x10, BUSY = 0x13 };

/* Where a thread begins to search. */
struct starts {
    alignas(LINE) uint32_t nodes[BUDDY_ORDERS];
};

struct tree_buddy {
    uint32_t tops;                      /* nodes of the largest blocks */
    uint32_t nodes_of[LEAVES];          /* of the block that begins there */
    _Atomic uint8_t states[2 * LEAVES]; /* from 1; of node i: 2 i, 2 i + 1 */
    struct starts starts[BUDDY_THREADS_MAX];
};

/* A bit for `child` in its parent. */
static uint8_t
bit_for(uint8_t bit, uint32_t child)
{
    return (uint8_t)(bit << (~child & 1));
}

static unsigned
depth(uint32_t node)
{
    return 31 - (unsigned)__builtin_clz(node);
}

static bool
change(_Atomic uint8_t *state, uint8_t *seen, unsigned wanted)
{
    return atomic_compare_exchange_weak_explicit(state, seen, (uint8_t)wanted,
        memory_order_acq_rel, memory_order_acquire);
}

static uint8_t
look(const _Atomic uint8_t *state)
{
    return atomic_load_explicit(state, memory_order_acquire);
}

/* Clears what was announced from `node` up to below `end`, an ancestor. */
static void
clear(struct tree_buddy *buddy, uint32_t node, uint32_t end)
{
    unsigned kept;
    for (uint32_t child = node; child != end; child /= 2) {
        uint8_t leaving = bit_for(LEAVING, child);
        _Atomic uint8_t *parent = &buddy->states[child / 2];
        uint8_t seen = look(parent);
        do {
            if ((seen & leaving) == 0)
                return;
            kept = seen & ~(unsigned)(leaving | bit_for(BELOW, child));
        } while (!change(parent, &seen, kept));
        if ((kept & bit_for(BELOW, child ^ 1)) != 0)
            return;
    }
}

/* Frees a node of which ancestors below `end` may say that it is taken. */
static void
give_node(struct tree_buddy *buddy, uint32_t node, uint32_t end)
{
    for (uint32_t child = node; child != end; child /= 2) {
        uint8_t seen = atomic_fetch_or_explicit(&buddy->states[child / 2],
            bit_for(LEAVING, child), memory_order_acq_rel);
        if ((seen & bit_for(BELOW, child ^ 1)) != 0 &&
            (seen & bit_for(LEAVING, child ^ 1)) == 0)
            break;
    }
    atomic_store_explicit(&buddy->states[node], 0, memory_order_release);
    clear(buddy, node, end);
}

/* Takes a node that looked free. Returns the one because of which it cannot be
   had; 0: it was taken. */
static uint32_t
take_node(struct tree_buddy *buddy, uint32_t node)
{
    uint8_t seen = 0;
    unsigned wanted;
    while (!change(&buddy->states[node], &seen, BUSY))
        if (seen != 0)
            return node;
    for (uint32_t child = node; child >= 2 * buddy->tops; child /= 2) {
        _Atomic uint8_t *parent = &buddy->states[child / 2];
        seen = look(parent);
        do {
            if ((seen & TAKEN) != 0) {
                give_node(buddy, node, child);
                return child / 2;
            }
            wanted = (seen & ~(unsigned)bit_for(LEAVING, child)) |
                     bit_for(BELOW, child);
        } while (wanted != seen && !change(parent, &seen, wanted));
    }
    return 0;
}

struct tree_buddy *
tree_buddy_create(size_t largest)
{
    struct tree_buddy *buddy = books(sizeof(*buddy));
    buddy->tops = (uint32_t)(BUDDY_BYTES / largest);
    for (uint32_t i = 0; i < BUDDY_THREADS_MAX; i++)
        for (unsigned k = 0; k < BUDDY_ORDERS; k++) {
            uint32_t first = (uint32_t)LEAVES >> k;
            buddy->starts[i].nodes[k] = first + first / BUDDY_THREADS_MAX * i;
        }
    return buddy;
}

void *
tree_buddy_alloc(struct tree_buddy *buddy, unsigned thread, size_t size)
{
    unsigned order = order_of(size);
    const uint32_t first = (uint32_t)LEAVES >> order;
    uint32_t *start = &buddy->starts[thread].nodes[order];
    uint32_t node = *start;
    bool again = false; /* from the first node */
    while (!again || node < *start) {
        uint32_t taken =
            look(&buddy->states[node]) == 0 ? take_node(buddy, node) : node;
        if (taken == 0) {
            uint32_t leaf = (node - first) << order;
            *start = node + 1 < 2 * first ? node + 1 : first;
            buddy->nodes_of[leaf] = node;
            return block_at(leaf);
        }
        node = (taken + 1) << (depth(node) - depth(taken));
        if (node >= 2 * first) {
            again = true;
            node = first;
        }
    }
    return NULL;
}

void
tree_buddy_release(struct tree_buddy *buddy, unsigned thread, void *block)
{
    uint32_t node = buddy->nodes_of[leaf_at(block)];
    unsigned order = BUDDY_ORDERS - 1 - depth(node);
    buddy->starts[thread].nodes[order] = node;
    give_node(buddy, node, node >> (depth(node) - depth(buddy->tops)));
}

void
tree_buddy_destroy(struct tree_buddy *buddy)
{
    for (uint32_t node = 1; node < 2 * LEAVES; node++)
        if (look(&buddy->states[node]) != 0)
            bench_fail("the buddy without a lock is not whole");
    free(buddy);
}

/* ---- A proof ----------------------------------------------------------- */

enum { PROVERS = 2, PROOF_HELD = 2600, PROOF_TURNS = 8000, PROOF_ORDERS = 9 };

/* What is proved: the one with a lock, or the one without. */
struct proof {
    struct spin_buddy *spin;
    struct tree_buddy *tree;
    _Atomic uint8_t owned[LEAVES];
};

struct prover {
    struct proof *proof;
    unsigned thread;
    pthread_t runs;
    void *blocks[PROOF_HELD];
    size_t sizes[PROOF_HELD];
};

/* All leaves of a block become somebody's, or nobody's. */
static void
own(struct proof *proof, const void *block, size_t size, uint8_t owned)
{
    uint32_t leaf = leaf_at(block);
    for (size_t i = 0; i < size / BUDDY_LEAF; i++)
        if (atomic_exchange_explicit(
                &proof->owned[leaf + i], owned, memory_order_relaxed) == owned)
            bench_fail("two blocks of a baseline overlap");
}

static void
prove_release(struct prover *prover, uint32_t index)
{
    struct proof *proof = prover->proof;
    void *block = prover->blocks[index];
    if (!block)
        return;
    own(proof, block, prover->sizes[index], 0);
    if (proof->spin)
        spin_buddy_release(proof->spin, block);
    else
        tree_buddy_release(proof->tree, prover->thread, block);
}

static void *
prove(void *of)
{
    struct prover *prover = of;
    struct proof *proof = prover->proof;
    uint64_t random = prover->thread;
    for (int i = 0; i < PROOF_TURNS; i++) {
        uint32_t index = bench_random_below(&random, PROOF_HELD);
        size_t size = (size_t)BUDDY_LEAF
                      << bench_random_below(&random, PROOF_ORDERS);
        prove_release(prover, index);
        void *block = proof->spin
                          ? spin_buddy_alloc(proof->spin, size)
                          : tree_buddy_alloc(proof->tree, prover->thread, size);
        prover->blocks[index] = block;
        prover->sizes[index] = size;
        if (block)
            own(proof, block, size, 1);
    }
    for (uint32_t i = 0; i < PROOF_HELD; i++)
        prove_release(prover, i);
    return NULL;
}

static void
prove_one(struct spin_buddy *spin, struct tree_buddy *tree)
{
    static struct proof proof;
    static struct prover provers[PROVERS];
    proof.spin = spin;
    proof.tree = tree;
    memset(provers, 0, sizeof(provers));
    for (unsigned i = 0; i < PROVERS; i++) {
        provers[i].proof = &proof;
        provers[i].thread = i;
        if (pthread_create(&provers[i].runs, NULL, prove, &provers[i]))
            bench_fail("cannot start a thread");
    }
    for (unsigned i = 0; i < PROVERS; i++)
        pthread_join(provers[i].runs, NULL);
    if (spin)
        spin_buddy_destroy(spin);
    else
        tree_buddy_destroy(tree);
}

void
buddy_baselines_prove(void)
{
    prove_one(spin_buddy_create(), NULL);
    prove_one(NULL, tree_buddy_create(BUDDY_BYTES));
    prove_one(
        NULL, tree_buddy_create((size_t)BUDDY_LEAF << (PROOF_ORDERS - 1)));
}
