/* SPDX-License-Identifier: MIT */
/* doorbell: a weir_bell with a thread behind it that can sleep. */

#include "support/doorbell.h"

#include "support/stress.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void
doorbell_ring(struct doorbell *doorbell)
{
    if (doorbell->fd >= 0) {
        uint64_t one = 1;
        ssize_t n = write(doorbell->fd, &one, sizeof one);
        stress_expect(n == (ssize_t)sizeof one, "no ring");
        return;
    }
    pthread_mutex_lock(&doorbell->mutex);
    doorbell->rung = true;
    pthread_cond_signal(&doorbell->cond);
    pthread_mutex_unlock(&doorbell->mutex);
}

static void
on_ring(struct weir_bell *bell)
{
    doorbell_ring(bell->user);
}

void
doorbell_init(struct doorbell *doorbell, bool by_eventfd)
{
    doorbell->fd = by_eventfd ? eventfd(0, EFD_NONBLOCK) : -1;
    doorbell->rung = false;
    stress_expect(!by_eventfd || doorbell->fd >= 0, "no eventfd");
    (void)pthread_mutex_init(&doorbell->mutex, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&doorbell->cond, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    weir_bell_init(&doorbell->bell, on_ring, doorbell);
}

void
doorbell_fini(struct doorbell *doorbell)
{
    weir_bell_fini(&doorbell->bell);
    (void)pthread_cond_destroy(&doorbell->cond);
    (void)pthread_mutex_destroy(&doorbell->mutex);
    if (doorbell->fd >= 0)
        (void)close(doorbell->fd);
}

static bool
listen_to_fd(const struct doorbell *doorbell, int timeout_ms)
{
    struct pollfd poller = { .fd = doorbell->fd, .events = POLLIN };
    if (timeout_ms > 0)
        (void)poll(&poller, 1, timeout_ms);
    uint64_t rings;
    return read(doorbell->fd, &rings, sizeof rings) == (ssize_t)sizeof rings;
}

static struct timespec
end_of(int timeout_ms)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += timeout_ms * 1000000L;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    return end;
}

bool
doorbell_listen(struct doorbell *doorbell, int timeout_ms)
{
    if (doorbell->fd >= 0)
        return listen_to_fd(doorbell, timeout_ms);
    struct timespec end = end_of(timeout_ms);
    pthread_mutex_lock(&doorbell->mutex);
    while (timeout_ms > 0 && !doorbell->rung &&
           pthread_cond_timedwait(&doorbell->cond, &doorbell->mutex, &end) !=
               ETIMEDOUT)
        continue;
    bool rung = doorbell->rung;
    doorbell->rung = false;
    pthread_mutex_unlock(&doorbell->mutex);
    return rung;
}
