/* SPDX-License-Identifier: MIT */
/* orders: every atomic access of the library, and what if its order were weaker. */
#ifndef SIM_ORDERS_H
#define SIM_ORDERS_H

#include "sim.h"

/* The file of an access of the library, from src; NULL: it is another's. */
const char *orders_file(const struct sim_site *site);

/* Prints every access and how strong it is. Returns 0. */
int orders_list(void);

/* "file:function:operation=order" gives that access another order; false: there
   is none. */
bool orders_weaken(const char *what);

/*
 * Tries every weaker order of every access of the library on all cases. Each
 * must be refuted, but for those that the file `accept` (NULL: none) lists, one
 * a line with its reason; these must not be. In `jobs` processes. Returns 0 if
 * so, else 1.
 */
int orders_try(const struct sim_case *const *lists, size_t list_count,
    const char *accept, unsigned jobs);

/* Looks whether some case fails, as orders_try does for each order; prints which
   and how. Returns 1 if so, else 0. */
int orders_refute(const struct sim_case *const *lists, size_t list_count);

#endif
