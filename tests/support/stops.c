/* SPDX-License-Identifier: MIT */
/* stops: threads that stand still where a test wants it. */

#include "support/stops.h"

#include "support/stress.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAP_US = 20, PATIENCE_S = 20 };

static __thread struct actor *self;
static size_t page_size;

static uintptr_t
page_of(uintptr_t address)
{
    return address & ~(uintptr_t)(page_size - 1);
}

/* Who is no actor has hit a guard: it comes again, and ends us. */
static void
on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    int why = errno;
    if (self == NULL) {
        (void)signal(number, SIG_DFL);
        return;
    }
    uintptr_t page = page_of((uintptr_t)info->si_addr);
    atomic_store_explicit(&self->stopped_at, page, memory_order_release);
    while (atomic_load_explicit(&self->stopped_at, memory_order_acquire) != 0)
        stress_nap(NAP_US);
    errno = why;
}

/* ThreadSanitizer delays signals. */
bool
stops_begin(void)
{
    if (!stress_has_signals())
        return false;
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = { .sa_flags = SA_SIGINFO };
    action.sa_sigaction = on_fault;
    return sigaction(SIGSEGV, &action, NULL) == 0;
}

static void
protect(const void *address, int access)
{
    /* The page is the caller's to write, whatever the pointer says. */
    void *page = (void *)page_of((uintptr_t)address);
    stress_expect(mprotect(page, page_size, access) == 0, "no mprotect");
}

void
stops_shut(const void *address)
{
    protect(address, PROT_NONE);
}

void
stops_open(const void *address)
{
    protect(address, PROT_READ | PROT_WRITE);
}

static void *
act(void *context)
{
    self = context;
    self->body(self->user);
    atomic_store_explicit(&self->done, true, memory_order_release);
    return NULL;
}

void
stops_start(struct actor *actor, stops_body_fn *body, void *user)
{
    actor->body = body;
    actor->user = user;
    atomic_store_explicit(&actor->stopped_at, 0, memory_order_relaxed);
    atomic_store_explicit(&actor->done, false, memory_order_relaxed);
    stress_expect(
        pthread_create(&actor->thread, NULL, act, actor) == 0, "no thread");
}

void
stops_await(struct actor *actor, const void *address)
{
    double end = stress_now() + PATIENCE_S;
    uintptr_t at = 0;
    while (at == 0) {
        at = atomic_load_explicit(&actor->stopped_at, memory_order_acquire);
        bool done = atomic_load_explicit(&actor->done, memory_order_acquire);
        stress_expect(at != 0 || !done, "an actor ended and did not stop");
        stress_expect(stress_now() < end, "an actor did not stop");
        stress_nap(NAP_US);
    }
    stress_expect(at == page_of((uintptr_t)address), "stopped elsewhere");
}

void
stops_go(struct actor *actor)
{
    atomic_store_explicit(&actor->stopped_at, 0, memory_order_release);
}

void
stops_await_return(struct actor *actor)
{
    double end = stress_now() + PATIENCE_S;
    while (!atomic_load_explicit(&actor->done, memory_order_acquire)) {
        stress_expect(stress_now() < end, "an actor did not return");
        stress_nap(NAP_US);
    }
}

void
stops_join(struct actor *actor)
{
    stops_await_return(actor);
    pthread_join(actor->thread, NULL);
}
