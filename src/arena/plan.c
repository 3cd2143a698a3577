/* SPDX-License-Identifier: MIT */
/*
 * plan: what is to be built, from a configuration.
 *
 * Idea
 *   Everything that can be wrong with a configuration is found here, before any
 *   memory is touched. Of a buddy the sizes are taken as they are, or, with
 *   WEIR_NEAREST, made such as can be built: the smallest block up to the next power
 *   of two, the bytes up to a multiple of it, or down where the caller owns them.
 */

#include "arena/plan.h"

#include "base/bits.h"
#include "base/config.h"
#include "platform/pages.h"

enum {
    DEFAULT_BYTES = 4 << 20,
    DEFAULT_BLOCK_SIZE = 4096,
    DEFAULT_ALIGN = 64,
    ALIGN_MAX = 2 << 20,
    BUDDY_FLAGS = WEIR_NEAREST | WEIR_ROOM_AS_ASKED | WEIR_TRIM,
    KNOWN_FLAGS = WEIR_PREFAULT | WEIR_LOCK | WEIR_SPILL_GROW |
                  WEIR_SPILL_FULL | WEIR_NO_CACHE | BUDDY_FLAGS
};

/* Copies what this library knows of a configuration of another release. False:
   it sets something unknown. */
static bool
adopt(const struct weir_arena_config *config, size_t config_size,
    struct weir_arena_config *known)
{
    return wr_config_adopt(known, sizeof(*known), config, config_size) &&
           (unsigned)known->layout <= WEIR_BUDDY &&
           (unsigned)known->pages <= WEIR_PAGES_HUGE &&
           (known->flags & ~(unsigned)KNOWN_FLAGS) == 0;
}

static void
set_defaults(struct weir_arena_config *config)
{
    if (config->name == NULL)
        config->name = "weir";
    if (config->block_align == 0)
        config->block_align = DEFAULT_ALIGN;
    if (config->block_size == 0)
        config->block_size = DEFAULT_BLOCK_SIZE;
    if (config->bytes == 0 && config->block_count == 0 &&
        config->memory == NULL)
        config->bytes = DEFAULT_BYTES;
}

/* What the caller prepares, if the memory is the caller's. */
static bool
is_valid_memory(const struct weir_arena_config *config)
{
    return config->memory == NULL ||
           (config->pages == WEIR_PAGES_NORMAL &&
               (config->flags & (WEIR_PREFAULT | WEIR_LOCK)) == 0);
}

static bool
is_valid(const struct weir_arena_config *config)
{
    return wr_config_is_name(config->name) &&
           wr_is_power_of_two(config->block_align) &&
           config->block_align <= ALIGN_MAX &&
           (config->bytes == 0) != (config->block_count == 0) &&
           (config->layout == WEIR_BUDDY ||
               (config->flags & BUDDY_FLAGS) == 0) &&
           is_valid_memory(config);
}

/* How many slots, and how they lie. */
static bool
plan_fixed(struct wr_plan *plan)
{
    const struct weir_arena_config *config = &plan->config;
    size_t block_size;
    if (wr_round_up_overflows(
            config->block_size, config->block_align, &block_size))
        return false;
    size_t count = config->block_count;
    if (count == 0)
        count = config->bytes / block_size;
    bool spread =
        config->memory == NULL && config->block_align < wr_page_size();
    if (count == 0 || !wr_fixed_geometry(block_size, count, config->block_align,
                          spread, &plan->fixed))
        return false;
    plan->bytes = plan->fixed.bytes;
    plan->align = config->block_align;
    plan->meta_size = wr_fixed_meta_size(&plan->fixed);
    /* For each bit of a word one, used or not. */
    return !wr_multiply_overflows(plan->meta_size, 8, &plan->counts);
}

/* The smallest block becomes such as can be built. */
static bool
snap_block(struct weir_arena_config *config)
{
    size_t leaf = (size_t)1 << WR_BUDDY_LEAF_SHIFT_MIN;
    while (leaf < config->block_size || leaf < config->block_align)
        if (wr_multiply_overflows(leaf, 2, &leaf))
            return false;
    config->block_size = leaf;
    return true;
}

/* And the bytes. */
static bool
snap_bytes(const struct weir_arena_config *config, size_t *bytes)
{
    size_t leaf = config->block_size;
    if (config->memory != NULL) {
        *bytes -= *bytes % leaf;
        return true;
    }
    return !wr_round_up_overflows(*bytes, leaf, bytes);
}

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many leaves, and how large the largest block is. */
static bool
plan_buddy(struct wr_plan *plan)
{
    struct weir_arena_config *config = &plan->config;
    bool nearest = (config->flags & WEIR_NEAREST) != 0;
    size_t bytes = config->bytes;
    if (nearest && !snap_block(config))
        return false;
    if (bytes == 0 &&
        wr_multiply_overflows(config->block_count, config->block_size, &bytes))
        return false;
    if (nearest && !snap_bytes(config, &bytes))
        return false;
    if (!wr_buddy_geometry(config->block_size, bytes, &plan->buddy) ||
        bytes % config->block_size != 0 ||
        config->block_align > config->block_size)
        return false;
    size_t largest = config->block_size << plan->buddy.order_max;
    size_t natural = smaller(largest, wr_page_size());
    plan->bytes = bytes;
    plan->align = config->block_align > natural ? config->block_align : natural;
    plan->meta_size = wr_buddy_meta_size(&plan->buddy);
    plan->counts = plan->buddy.leaf_count;
    return true;
}

/* Where the caller's memory lies. */
static bool
is_place(const struct wr_plan *plan)
{
    uintptr_t start = (uintptr_t)plan->config.memory;
    size_t end;
    return start % plan->align == 0 &&
           !wr_add_overflows(start, plan->bytes, &end);
}

enum weir_status
wr_plan_make(const struct weir_arena_config *config, size_t config_size,
    struct wr_plan *plan)
{
    *plan = (struct wr_plan){ 0 };
    if (!adopt(config, config_size, &plan->config))
        return WEIR_UNSUPPORTED;
    set_defaults(&plan->config);
    if (!is_valid(&plan->config))
        return WEIR_INVALID;
    bool can_be =
        plan->config.layout == WEIR_FIXED ? plan_fixed(plan) : plan_buddy(plan);
    return can_be && is_place(plan) ? WEIR_OK : WEIR_INVALID;
}
