/* SPDX-License-Identifier: MIT */
/*
 * poison: what the program's sanitizers are told about our memory.
 *
 *     block    [ asked for: open | to its end: shut ]    out
 *              [              shut                  ]    released
 *
 * Idea
 *   A program that is built with AddressSanitizer links a library that is not, and
 *   still is told of a use after a release, since its own loads and stores look up
 *   whether the bytes are shut. All that the library has to do is to say so. The
 *   sanitizer's functions are weak references: the loader finds them where the
 *   program has them, and else they are NULL, without a macro or a second build.
 *
 *   Whoever hands out memory keeps nothing at hand while this is on, so that its
 *   common paths come by nothing of it: a flag that they read would cost everybody,
 *   for a few. The rare paths ask, and cost more than that anyway.
 *
 *   LeakSanitizer looks for pointers to what malloc gave in the program's data, on
 *   its stacks, in what malloc gave, and where it was told to. Memory that we have
 *   mapped is none of these. In bytes that are shut it does not look.
 *
 * Costs
 *   Without the sanitizers a comparison on paths that are rare. With them one byte
 *   is written for each eight, and at each search for leaks all roots are read.
 *
 * Limits
 *   A block that was released and is out again is open, whoever uses it: there is
 *   no quarantine. With ASAN_OPTIONS=allow_user_poisoning=0 nothing is shut, and
 *   this is off.
 */

#include "platform/poison.h"

/* sanitizer/asan_interface.h and lsan_interface.h have these, where there are
   such. The names are theirs. */
/* NOLINTBEGIN(*-reserved-identifier,cert-dcl*,readability-identifier-naming) */
void __asan_poison_memory_region(const volatile void *memory, size_t size)
    __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *memory, size_t size)
    __attribute__((weak));
int __asan_address_is_poisoned(const volatile void *memory)
    __attribute__((weak));
void __lsan_register_root_region(const void *memory, size_t size)
    __attribute__((weak));
void __lsan_unregister_root_region(const void *memory, size_t size)
    __attribute__((weak));
/* NOLINTEND(*-reserved-identifier,cert-dcl*,readability-identifier-naming) */

enum { GRANULE = 8 /* bytes that share one of the sanitizer's */ };

/* Who has one of these functions has all. */
static bool
is_there(void)
{
    return __asan_poison_memory_region != NULL;
}

/* There may be one that was told not to listen. */
bool
wr_poison_is_on(void)
{
    if (!is_there())
        return false;
    _Alignas(GRANULE) const char probe[GRANULE] = { 0 };
    __asan_poison_memory_region(probe, sizeof(probe));
    bool listens = __asan_address_is_poisoned(probe) != 0;
    __asan_unpoison_memory_region(probe, sizeof(probe));
    return listens;
}

void
wr_poison_open(const void *memory, size_t size, size_t room)
{
    if (!is_there())
        return;
    __asan_unpoison_memory_region(memory, size);
    __asan_poison_memory_region((const char *)memory + size, room - size);
}

void
wr_poison_shut(const void *memory, size_t room)
{
    wr_poison_open(memory, 0, room);
}

void
wr_roots_add(const void *memory, size_t size)
{
    if (__lsan_register_root_region != NULL)
        __lsan_register_root_region(memory, size);
}

void
wr_roots_remove(const void *memory, size_t size)
{
    if (__lsan_unregister_root_region != NULL)
        __lsan_unregister_root_region(memory, size);
}
