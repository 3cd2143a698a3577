/* SPDX-License-Identifier: MIT */
/*
 * walk_model: bufs and slices as a naive library would do them.
 *
 * Every handle has its own copy of its bytes and points to a record of the
 * memory it stands for, which knows how many do. There is no weight, no bitmap
 * and no shared byte, so it makes none of the mistakes that could be made
 * there. It says what each call must return and what each arena must count.
 */
#ifndef WALK_MODEL_H
#define WALK_MODEL_H

#include "weir/weir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum model_kind { MODEL_BLOCK, MODEL_HEAP, MODEL_FOREIGN, MODEL_STATIC };

struct model_arena {
    size_t block_size;
    size_t block_count;
    size_t spill_bytes_max;
    unsigned flags;
    bool closed;
    struct weir_stats stats; /* the counts alone */
};

/* A block, or what stands for one. Gone when `holders` is 0. */
struct model_memory {
    enum model_kind kind;
    struct model_arena *arena; /* of the first two kinds */
    size_t size;
    size_t holders;
    uint64_t weight; /* for whoever adds up the real handles' */
};

/* A slice; empty without memory. */
struct model_range {
    struct model_memory *memory;
    uint8_t *bytes; /* a copy */
    size_t len;
    size_t from; /* in the memory */
};

struct model_buf {
    struct model_range range;
    size_t head;
    size_t room;
};

enum { MODEL_CHAIN_MAX = 24 };

struct model_chain {
    struct model_range ranges[MODEL_CHAIN_MAX];
    size_t count;
};

/* How much foreign memory was let go. */
extern size_t model_let_go;

enum weir_status model_alloc(
    struct model_arena *arena, size_t size, struct model_buf *buf);
enum weir_status model_reserve(struct model_buf *buf, size_t n);
enum weir_status model_write(
    struct model_buf *buf, const uint8_t *bytes, size_t n);
enum weir_status model_headroom(struct model_buf *buf, size_t n);
enum weir_status model_prepend(
    struct model_buf *buf, const uint8_t *bytes, size_t n);
void model_truncate(struct model_buf *buf, size_t len);
void model_split(struct model_buf *buf, struct model_range *range);
void model_freeze(struct model_buf *buf, struct model_range *range);
void model_drop(struct model_buf *buf);

void model_clone(const struct model_range *range, struct model_range *copy);
enum weir_status model_sub(const struct model_range *range, size_t from,
    size_t len, struct model_range *part);
enum weir_status model_split_front(
    struct model_range *range, size_t n, struct model_range *front);
enum weir_status model_split_back(
    struct model_range *range, size_t n, struct model_range *back);
void model_release(struct model_range *range);
bool model_is_sole(const struct model_range *range);
enum weir_status model_thaw(struct model_range *range, struct model_buf *buf);

/* A slice of memory that is no block. */
void model_other(enum model_kind kind, const uint8_t *bytes, size_t len,
    struct model_range *range);

/* Puts a range in front of number `index`; there is space. */
void model_push(
    struct model_chain *chain, size_t index, struct model_range *range);
void model_pop(struct model_chain *chain, struct model_range *range);
size_t model_chain_len(const struct model_chain *chain);

/* All bytes, to be freed. */
uint8_t *model_flat(const struct model_chain *chain);
enum weir_status model_advance(struct model_chain *chain, size_t n);

/* A copy of a range inside the chain counts where its bytes lie. */
void model_count_copy(const struct model_chain *chain, size_t from, size_t len);
enum weir_status model_linearize(
    struct model_chain *chain, struct model_arena *arena);
void model_release_chain(struct model_chain *chain);

#endif
