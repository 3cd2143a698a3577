/* SPDX-License-Identifier: MIT */
/*
 * atomic: stands in for src/base/atomic.h, which it hides from the sources
 * under test. Every access becomes a call of the simulator that says where it
 * stands in the sources and what its name says about its order.
 *
 * What is thread-local becomes an ordinary variable in a section of its own,
 * which the scheduler exchanges when it goes from one virtual thread to another.
 */
#ifndef WR_ATOMIC_H
#define WR_ATOMIC_H

#include "sim.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define __thread __attribute__((section("sim_tls")))
#define tls_model(model)

/* A record of this place in the sources, in the list of all. */
#define SIM_SITE(what, how, in_order)                                          \
    __extension__({                                                            \
        static struct sim_site sim_here = { __FILE__, __func__, what,          \
            __LINE__, how, in_order };                                         \
        static struct sim_site *const sim_listed                               \
            __attribute__((section("sim_sites"), used)) = &sim_here;           \
        sim_listed;                                                            \
    })

#ifdef __clang__ /* takes the type of an atomic's value for a reading of it */
#pragma clang diagnostic ignored "-Watomic-implicit-seq-cst"
#endif

/* The type of a value of the object. */
#define SIM_VALUE(object) __typeof__((void)0, *(object))

#define SIM_LOAD_AS(object, name, order)                                       \
    ((SIM_VALUE(object))sim_load(                                              \
        SIM_SITE(name, SIM_LOAD, order), (object), sizeof(*(object))))
#define SIM_STORE_AS(object, value, name, order)                               \
    sim_store(SIM_SITE(name, SIM_STORE, order), (object), sizeof(*(object)),   \
        (uint64_t)(value))
#define SIM_CHANGE_AS(object, value, how, name, order)                         \
    ((SIM_VALUE(object))sim_change(SIM_SITE(name, SIM_CHANGE, order),          \
        (object), sizeof(*(object)), how, (uint64_t)(value)))
#define SIM_CAS_AS(object, expected, desired, name, order)                     \
    sim_cas(SIM_SITE(name, SIM_CHANGE, order), (object), sizeof(*(object)),    \
        (expected), (uint64_t)(desired))

#undef atomic_init
#define atomic_init(object, value)                                             \
    sim_init((object), sizeof(*(object)), (uint64_t)(value))

#define wr_load_relaxed(o) SIM_LOAD_AS(o, "wr_load_relaxed", SIM_RELAXED)
#define wr_load_acquire(o) SIM_LOAD_AS(o, "wr_load_acquire", SIM_ACQUIRE)
#define wr_load_seq(o)     SIM_LOAD_AS(o, "wr_load_seq", SIM_SEQ)
#define wr_load_eight_relaxed(bytes)                                           \
    sim_load_eight(                                                            \
        SIM_SITE("wr_load_eight_relaxed", SIM_LOAD, SIM_RELAXED), (bytes))

#define wr_store_relaxed(o, v)                                                 \
    SIM_STORE_AS(o, v, "wr_store_relaxed", SIM_RELAXED)
#define wr_store_release(o, v)                                                 \
    SIM_STORE_AS(o, v, "wr_store_release", SIM_RELEASE)
#define wr_store_seq(o, v) SIM_STORE_AS(o, v, "wr_store_seq", SIM_SEQ)

#define wr_add_relaxed(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_ADD, "wr_add_relaxed", SIM_RELAXED)
#define wr_add_release(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_ADD, "wr_add_release", SIM_RELEASE)
#define wr_add_acq_rel(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_ADD, "wr_add_acq_rel", SIM_ACQ_REL)
#define wr_add_seq(o, v) SIM_CHANGE_AS(o, v, SIM_ADD, "wr_add_seq", SIM_SEQ)
#define wr_sub_relaxed(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_SUB, "wr_sub_relaxed", SIM_RELAXED)
#define wr_sub_release(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_SUB, "wr_sub_release", SIM_RELEASE)
#define wr_sub_acq_rel(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_SUB, "wr_sub_acq_rel", SIM_ACQ_REL)
#define wr_sub_seq(o, v) SIM_CHANGE_AS(o, v, SIM_SUB, "wr_sub_seq", SIM_SEQ)
#define wr_or_relaxed(o, v)                                                    \
    SIM_CHANGE_AS(o, v, SIM_OR, "wr_or_relaxed", SIM_RELAXED)
#define wr_or_release(o, v)                                                    \
    SIM_CHANGE_AS(o, v, SIM_OR, "wr_or_release", SIM_RELEASE)
#define wr_or_acq_rel(o, v)                                                    \
    SIM_CHANGE_AS(o, v, SIM_OR, "wr_or_acq_rel", SIM_ACQ_REL)
#define wr_or_seq(o, v) SIM_CHANGE_AS(o, v, SIM_OR, "wr_or_seq", SIM_SEQ)
#define wr_and_relaxed(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_AND, "wr_and_relaxed", SIM_RELAXED)
#define wr_and_acq_rel(o, v)                                                   \
    SIM_CHANGE_AS(o, v, SIM_AND, "wr_and_acq_rel", SIM_ACQ_REL)
#define wr_and_seq(o, v) SIM_CHANGE_AS(o, v, SIM_AND, "wr_and_seq", SIM_SEQ)
#define wr_exchange_relaxed(o, v)                                              \
    SIM_CHANGE_AS(o, v, SIM_EXCHANGE, "wr_exchange_relaxed", SIM_RELAXED)
#define wr_exchange_acq_rel(o, v)                                              \
    SIM_CHANGE_AS(o, v, SIM_EXCHANGE, "wr_exchange_acq_rel", SIM_ACQ_REL)
#define wr_exchange_seq(o, v)                                                  \
    SIM_CHANGE_AS(o, v, SIM_EXCHANGE, "wr_exchange_seq", SIM_SEQ)

#define wr_cas_relaxed(o, e, d)                                                \
    SIM_CAS_AS(o, e, d, "wr_cas_relaxed", SIM_RELAXED)
#define wr_cas_acquire(o, e, d)                                                \
    SIM_CAS_AS(o, e, d, "wr_cas_acquire", SIM_ACQUIRE)
#define wr_cas_release(o, e, d)                                                \
    SIM_CAS_AS(o, e, d, "wr_cas_release", SIM_RELEASE)
#define wr_cas_acq_rel(o, e, d)                                                \
    SIM_CAS_AS(o, e, d, "wr_cas_acq_rel", SIM_ACQ_REL)
#define wr_cas_seq(o, e, d) SIM_CAS_AS(o, e, d, "wr_cas_seq", SIM_SEQ)

#define SIM_CLEAR_BIT_AS(word, index, name, order)                             \
    ((SIM_CHANGE_AS(word, ~(UINT64_C(1) << (index)), SIM_AND, name, order) >>  \
         (index)&1) != 0)
#define wr_clear_bit_acquire(word, index)                                      \
    SIM_CLEAR_BIT_AS(word, index, "wr_clear_bit_acquire", SIM_ACQUIRE)
#define wr_clear_bit_acq_rel(word, index)                                      \
    SIM_CLEAR_BIT_AS(word, index, "wr_clear_bit_acq_rel", SIM_ACQ_REL)
#define wr_clear_bit_seq(word, index)                                          \
    SIM_CLEAR_BIT_AS(word, index, "wr_clear_bit_seq", SIM_SEQ)

/* The asymmetric pair: a store and a load that only the compiler keeps in
   order, and the fence on the other side that makes up for it. */
#define wr_publish(o, v) SIM_STORE_AS(o, v, "wr_publish", SIM_RELEASE)
#define wr_observe(o)    SIM_LOAD_AS(o, "wr_observe", SIM_ACQUIRE)
#define wr_heavy_fence()                                                       \
    sim_membarrier(SIM_SITE("wr_heavy_fence", SIM_HEAVY, SIM_SEQ))

#endif
