/* SPDX-License-Identifier: MIT */
/*
 * atomic: every atomic access of the library, with its order in its name.
 *
 * Only what is used exists. An access that is not relaxed names its edge in a
 * comment at its end, `/ * [edge] * /`; scripts/check_edges.py looks.
 *
 * With WEIR_COUNT_ATOMICS every locked instruction adds one to the calling
 * thread's wr_locked_count, and every write, locked or not, tells wr_note_write
 * where: what a call costs, and which lines threads share, can then be counted
 * on any machine, however noisy (bench/counting.c).
 */
#ifndef WR_ATOMIC_H
#define WR_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef WEIR_COUNT_ATOMICS
extern __thread unsigned long wr_locked_count;
void wr_note_write(const volatile void *object);
#define WR_COUNT_WRITE(object)  wr_note_write(object)
#define WR_COUNT_LOCKED(object) (wr_locked_count++, wr_note_write(object))
#else
#define WR_COUNT_WRITE(object)  (void)0
#define WR_COUNT_LOCKED(object) (void)0
#endif

#define wr_load_relaxed(object)                                                \
    atomic_load_explicit((object), memory_order_relaxed)
#define wr_load_acquire(object)                                                \
    atomic_load_explicit((object), memory_order_acquire)
#define wr_load_seq(object) atomic_load_explicit((object), memory_order_seq_cst)

#define wr_store_relaxed(object, value)                                        \
    (WR_COUNT_WRITE(object),                                                   \
        atomic_store_explicit((object), (value), memory_order_relaxed))
#define wr_store_release(object, value)                                        \
    (WR_COUNT_WRITE(object),                                                   \
        atomic_store_explicit((object), (value), memory_order_release))

#define wr_add_relaxed(object, value)                                          \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_add_explicit((object), (value), memory_order_relaxed))
#define wr_add_seq(object, value)                                              \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_add_explicit((object), (value), memory_order_seq_cst))
#define wr_sub_relaxed(object, value)                                          \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_sub_explicit((object), (value), memory_order_relaxed))
#define wr_sub_acq_rel(object, value)                                          \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_sub_explicit((object), (value), memory_order_acq_rel))
#define wr_sub_seq(object, value)                                              \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_sub_explicit((object), (value), memory_order_seq_cst))
#define wr_cas_acquire(object, expected, desired)                              \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_compare_exchange_weak_explicit((object), (expected), (desired), \
            memory_order_acquire, memory_order_relaxed))
#define wr_cas_acq_rel(object, expected, desired)                              \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_compare_exchange_weak_explicit((object), (expected), (desired), \
            memory_order_acq_rel, memory_order_relaxed))
#define wr_cas_relaxed(object, expected, desired)                              \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_compare_exchange_weak_explicit((object), (expected), (desired), \
            memory_order_relaxed, memory_order_relaxed))
#define wr_cas_seq(object, expected, desired)                                  \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_compare_exchange_weak_explicit((object), (expected), (desired), \
            memory_order_seq_cst, memory_order_relaxed))
#define wr_or_seq(object, value)                                               \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_or_explicit((object), (value), memory_order_seq_cst))
#define wr_and_seq(object, value)                                              \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_and_explicit((object), (value), memory_order_seq_cst))
#define wr_or_relaxed(object, value)                                           \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_or_explicit((object), (value), memory_order_relaxed))
#define wr_and_relaxed(object, value)                                          \
    (WR_COUNT_LOCKED(object),                                                  \
        atomic_fetch_and_explicit((object), (value), memory_order_relaxed))

#if defined(__SANITIZE_THREAD__)
#define WR_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WR_UNDER_TSAN 1
#endif
#endif

/*
 * One side of an asymmetric pair: what was published is seen by who comes behind
 * wr_fence_heavy (platform/fence.h), or wr_observe sees what was published
 * before it. Publishing releases and observing acquires; between the two only
 * the compiler is held back. ThreadSanitizer does not know fences: there both
 * are sequentially consistent, and the heavy fence is nothing.
 */
#ifdef WR_UNDER_TSAN
#define WR_SYMMETRIC_FENCES 1
#define wr_publish(object, value)                                              \
    (void)atomic_exchange_explicit((object), (value), memory_order_seq_cst)
#define wr_observe(object) atomic_load_explicit((object), memory_order_seq_cst)
#else
#define wr_publish(object, value)                                              \
    (WR_COUNT_WRITE(object),                                                   \
        atomic_store_explicit((object), (value), memory_order_release),        \
        atomic_signal_fence(memory_order_seq_cst))
#define wr_observe(object) atomic_load_explicit((object), memory_order_acquire)
#endif

#if defined(WR_UNDER_TSAN) || !defined(__x86_64__)
#define WR_PORTABLE_BITS 1
#endif

/*
 * Clears bit `index` of `word`; true if it was set. On x86 one `lock btr`: of a
 * fetch_and whose old word is used most compilers make a loop, at twice the
 * cost. It is a full barrier there.
 */
#ifdef WR_PORTABLE_BITS
static inline bool
wr_clear_bit_acquire(_Atomic uint64_t *word, uint32_t index)
{
    uint64_t mask = UINT64_C(1) << index;
    WR_COUNT_LOCKED(word);
    return (atomic_fetch_and_explicit(word, ~mask, memory_order_acquire) &
               mask) != 0;
}
#else
static inline bool
wr_clear_bit_acquire(_Atomic uint64_t *word, uint32_t index)
{
    bool was_set;
    WR_COUNT_LOCKED(word);
    __asm__ __volatile__("lock btrq %2, %0"
                         : "+m"(*word), "=@ccc"(was_set)
                         : "Jr"((uint64_t)index)
                         : "memory");
    return was_set;
}
#endif

/*
 * Eight bytes in a row as one word, the first one lowest; aligned to eight. Each is
 * loaded as by wr_load_relaxed, and no two of them at one moment.
 */
#ifdef WR_PORTABLE_BITS
static inline uint64_t
wr_load_eight_relaxed(const _Atomic uint8_t *bytes)
{
    uint64_t word = 0;
    for (uint32_t i = 0; i < sizeof(word); i++)
        word |= (uint64_t)wr_load_relaxed(&bytes[i]) << 8 * i;
    return word;
}
#else
static inline uint64_t
wr_load_eight_relaxed(const _Atomic uint8_t *bytes)
{
    uint64_t word;
    __asm__ __volatile__("movq %1, %0"
                         : "=r"(word)
                         : "m"(*(const uint8_t(*)[8])(uintptr_t)bytes));
    return word;
}
#endif

#endif
