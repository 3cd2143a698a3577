/* SPDX-License-Identifier: MIT */
/*
 * stops: threads that stand still where a test wants it.
 *
 *     shut(page) ── actor touches it ──▶ stopped ── open(page), go(actor) ──▶
 *
 * A page without access stops the thread that touches it first, between two
 * instructions of the library. While it stands there the page is opened for
 * others, and when it is let go it touches the page again. So a test leads
 * threads through one interleaving that would else happen once in a week.
 */
#ifndef SUPPORT_STOPS_H
#define SUPPORT_STOPS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef void stops_body_fn(void *user);

/* A thread that is led. */
struct actor {
    stops_body_fn *body;
    void *user;
    pthread_t thread;
    _Atomic uintptr_t stopped_at; /* 0: it is not */
    _Atomic bool done;
};

/* False: it cannot be done here. */
bool stops_begin(void);

/* The page that `address` lies in. */
void stops_shut(const void *address);
void stops_open(const void *address);

/* Starts an actor. */
void stops_start(struct actor *actor, stops_body_fn *body, void *user);

/* Waits till the actor stands at the page that `address` lies in. Fails if it
   goes elsewhere, or ends. */
void stops_await(struct actor *actor, const void *address);

/* Lets it go; the page it stands at must be open. */
void stops_go(struct actor *actor);

/* Waits till its body has returned; the thread may still be ending. */
void stops_await_return(struct actor *actor);

/* Waits till it has ended. */
void stops_join(struct actor *actor);

#endif
