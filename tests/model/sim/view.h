/* SPDX-License-Identifier: MIT */
/*
 * view: what a thread knows of the others.
 *
 *     [ clocks of threads | latest known value of each location ]
 *
 * A clock counts what a thread gave to others to see. That of another thread
 * says up to where all it did happens before what comes now here: with it, races
 * are found. The number of a location's value says which is the oldest that may
 * still be read.
 */
#ifndef SIM_VIEW_H
#define SIM_VIEW_H

#include <stdint.h>

enum {
    VIEW_THREADS = 8,
    VIEW_LOCATIONS = 248,
    VIEW_SIZE = VIEW_THREADS + VIEW_LOCATIONS,
    VIEW_STEP = 16 /* what is joined at once */
};

struct view {
    uint16_t at[VIEW_SIZE];
};

/* Views are in use up to here; a multiple of VIEW_STEP. */
extern unsigned view_used;

static inline void
view_join(struct view *view, const struct view *other)
{
    for (unsigned i = 0; i < view_used; i += VIEW_STEP)
        for (unsigned j = i; j < i + VIEW_STEP; j++)
            view->at[j] =
                view->at[j] > other->at[j] ? view->at[j] : other->at[j];
}

static inline void
view_copy(struct view *view, const struct view *other)
{
    for (unsigned i = 0; i < view_used; i += VIEW_STEP)
        for (unsigned j = i; j < i + VIEW_STEP; j++)
            view->at[j] = other->at[j];
}

#endif
