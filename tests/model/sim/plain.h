/* SPDX-License-Identifier: MIT */
/* plain: accesses without an order: races, and memory that is gone. */
#ifndef SIM_PLAIN_H
#define SIM_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

/* Takes all memory back. */
void plain_reset(void);

/* An atomic access: it must happen after plain writes, or if it writes after
   all plain accesses, and the memory must be there. */
void plain_check_atomic(const volatile void *object, size_t size, bool writes);

/* Plain writes to the object concern this location from now on. */
void plain_bind(const volatile void *object, size_t size, unsigned number);

#endif
