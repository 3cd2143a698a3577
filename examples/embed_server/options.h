/* SPDX-License-Identifier: MIT */
#ifndef EMBED_OPTIONS_H
#define EMBED_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* What the command line may set; all of it numbers. */
struct options {
    uint64_t port;        /* 0: a free one */
    uint64_t loops;       /* threads with an event loop */
    uint64_t workers;     /* threads that compute */
    uint64_t arena;       /* bytes to receive requests into */
    uint64_t slots;       /* blocks instead of bytes; 0: as `arena` says */
    uint64_t block;       /* bytes of a block, received or answered */
    uint64_t bodies;      /* bytes for what of a body comes after its head */
    uint64_t results;     /* full result matrices at once */
    uint64_t responses;   /* blocks for the text of answers */
    uint64_t batch;       /* rows of a result matrix */
    uint64_t delay_us;    /* how long a request waits for company */
    uint64_t dim;         /* numbers in a row */
    uint64_t body_max;    /* bytes of a request's body */
    uint64_t deadline_ms; /* how long a request may stand still */
    uint64_t copy; /* 1: move every payload once more, to see it counted */
};

/* Fills `options` from `words`; prints what is wrong, or the help, if it
   returns false. */
bool options_read(struct options *options, int count, char **words);

#endif
