/* SPDX-License-Identifier: MIT */
/*
 * peers: the allocators that weir is compared with, all in one process.
 *
 * Idea
 *   Each is loaded from its library into a name space of its own and binds to
 *   itself first (RTLD_LOCAL, RTLD_DEEPBIND), so that none replaces the malloc
 *   of the program or of another. They are called through pointers, as a
 *   program calls malloc through its PLT.
 *
 *   jemalloc needs more static thread-local storage than the loader reserves
 *   for libraries that come late. GLIBC_TUNABLES asks for more, and is read at
 *   start only: so the program sets it and starts itself once more.
 *
 * Limits
 *   A library that is missing is a case that prints why it was skipped.
 */
#include "harness.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_SIZE = 32 };

static struct bench_peer peers[BENCH_PEER_COUNT];
static char peer_names[BENCH_PEER_COUNT][NAME_SIZE];

/* Sanitizers take the loader over and refuse libraries loaded like this. */
static bool
sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
    return false;
#endif
}

void
bench_peers_prepare(char **argv)
{
    static const char wanted[] = "glibc.rtld.optional_static_tls=65536";
    const char *now_set = getenv("GLIBC_TUNABLES");
    if (now_set && strstr(now_set, "optional_static_tls"))
        return;
    char all[1024];
    snprintf(all, sizeof(all), "%s%s%s", now_set ? now_set : "",
        now_set ? ":" : "", wanted);
    setenv("GLIBC_TUNABLES", all, 1);
    execv("/proc/self/exe", argv);
}

/* What dlsym finds, as the function it is. */
static bool
find(void *library, const char *symbol, void *function)
{
    void *found = dlsym(library, symbol);
    memcpy(function, &found, sizeof(found));
    return found != NULL;
}

/* What a library calls its functions. */
struct symbols {
    const char *alloc;
    const char *alloc_aligned;
    const char *release;
};

/* Loads peer `i`; NULL, and the reason in the peer, if that cannot be. */
static void *
load(size_t i, const char *file, const struct symbols *symbols)
{
    struct bench_peer *peer = &peers[i];
    if (sanitized()) {
        peer->skipped = "not beside a sanitizer";
        return NULL;
    }
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!library)
        peer->skipped = strdup(dlerror());
    else if (!find(library, symbols->alloc, &peer->alloc) ||
             !find(library, symbols->alloc_aligned, &peer->alloc_aligned) ||
             !find(library, symbols->release, &peer->release))
        peer->skipped = "the library lacks a function";
    return peer->skipped ? NULL : library;
}

static void
load_mimalloc(size_t i, char *name)
{
    int (*version)(void) = NULL;
    snprintf(name, NAME_SIZE, "mimalloc");
    void *library = load(i, "libmimalloc.so.2.0",
        &(struct symbols){ "mi_malloc", "mi_memalign", "mi_free" });
    if (library && find(library, "mi_version", &version))
        snprintf(name, NAME_SIZE, "mimalloc %d.%d.%d", version() / 100,
            version() / 10 % 10, version() % 10);
}

static void
load_jemalloc(size_t i, char *name)
{
    int (*control)(const char *, void *, size_t *, void *, size_t) = NULL;
    const char *version = "";
    size_t size = sizeof(version);
    snprintf(name, NAME_SIZE, "jemalloc");
    void *library = load(i, "libjemalloc.so.2",
        &(struct symbols){ "malloc", "memalign", "free" });
    if (library && find(library, "mallctl", &control) &&
        control("version", &version, &size, NULL, 0) == 0)
        snprintf(name, NAME_SIZE, "jemalloc %.*s", (int)strcspn(version, "-"),
            version);
}

static void
load_tcmalloc(size_t i, char *name)
{
    const char *(*version)(int *, int *, const char **) = NULL;
    int major = 0;
    int minor = 0;
    const char *patch = "";
    snprintf(name, NAME_SIZE, "tcmalloc");
    void *library = load(i, "libtcmalloc_minimal.so.4",
        &(struct symbols){ "tc_malloc", "tc_memalign", "tc_free" });
    if (!library || !find(library, "tc_version", &version))
        return;
    version(&major, &minor, &patch);
    snprintf(name, NAME_SIZE, "tcmalloc %d.%d%s", major, minor, patch);
}

void
bench_peers_load(void)
{
    for (size_t i = 0; i < BENCH_PEER_COUNT; i++)
        peers[i].name = peer_names[i];
    peers[0].alloc = malloc;
    peers[0].alloc_aligned = memalign;
    peers[0].release = free;
    snprintf(peer_names[0], NAME_SIZE, "glibc %s", gnu_get_libc_version());
    load_mimalloc(1, peer_names[1]);
    load_jemalloc(2, peer_names[2]);
    load_tcmalloc(3, peer_names[3]);
}

struct bench_peer *
bench_peers(void)
{
    return peers;
}
