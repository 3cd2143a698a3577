/* SPDX-License-Identifier: MIT */
/* plan: what is to be built, from a configuration. */
#ifndef WR_PLAN_H
#define WR_PLAN_H

#include "buddy/buddy.h"
#include "fixed/fixed.h"
#include "weir/weir.h"

#include <stddef.h>

/* A configuration without zeros that mean something else, and what it cuts. */
struct wr_plan {
    struct weir_arena_config config;
    size_t bytes;     /* from the first block's start to the last one's end */
    size_t align;     /* of the first block */
    size_t meta_size; /* bytes of the layout's books */
    size_t counts;    /* how many words of counts there are */
    struct wr_fixed_geometry fixed; /* as the layout says, one of the two */
    struct wr_buddy_geometry buddy;
};

/* Makes a plan of the configuration of a caller of whatever release; NULL is the
   zeroed one. Fails as weir_arena_create. */
enum weir_status wr_plan_make(const struct weir_arena_config *config,
    size_t config_size, struct wr_plan *plan);

#endif
