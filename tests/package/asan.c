/* SPDX-License-Identifier: MIT */
/*
 * A stranger's program, built with AddressSanitizer, which the library is not.
 *
 * Each crime is done in a child, whose report must name it; what is no crime, by
 * this program, of which nothing must be said.
 */

#include <weir/heap.h>
#include <weir/weir.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int __lsan_do_recoverable_leak_check(void);

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { PATIENCE = 60 /* seconds; then it hangs */ };

static void
need(int truth, int line)
{
    if (truth)
        return;
    (void)fprintf(stderr, "asan.c:%d: it is not so\n", line);
    _exit(2);
}

#define NEED(truth) need((truth), __LINE__)

static struct weir_heap *heap;

static void
open_heap(size_t bytes)
{
    struct weir_heap_config config = { .region_bytes = bytes,
        .bytes_max = bytes };
    NEED(weir_heap_create(&config, &heap) == WEIR_OK);
}

static char *
get(size_t size)
{
    void *memory = NULL;
    NEED(weir_heap_alloc(heap, size, &memory) == WEIR_OK);
    memset(memory, 1, size);
    return memory;
}

/* What is read is used, as far as the compiler knows. */
static volatile char sink;

/* ---- Crimes ------------------------------------------------------------ */

static void
read_small(void)
{
    char *memory = get(100);
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    sink = memory[50];
}

static void
write_small(void)
{
    char *memory = get(100000);
    NEED(weir_heap_release_sized(heap, memory, 100000) == WEIR_OK);
    *(volatile char *)(memory + 99999) = 1;
}

static void
read_of_default(void)
{
    char *memory = weir_alloc(64);
    NEED(memory != NULL && weir_release(memory) == WEIR_OK);
    sink = memory[0];
}

static void
read_large(void)
{
    char *memory = get(3 * MIB);
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    sink = memory[2 * MIB];
}

static void
write_large(void)
{
    char *memory = get(3 * MIB);
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    weir_heap_trim(heap);
    *(volatile char *)memory = 1;
}

static void
read_past_what_was_asked_for(void)
{
    char *memory = get(100);
    sink = memory[99];
    sink = memory[100];
}

static void
write_past_what_was_asked_for(void)
{
    char *memory = get(2 * MIB + 3);
    *(volatile char *)(memory + 2 * MIB + 3) = 1;
}

static void
read_what_a_resize_cut_off(void)
{
    char *memory = get(100);
    NEED(weir_heap_resize(heap, memory, 20) == WEIR_OK);
    sink = memory[20];
}

static void
write_what_a_large_resize_cut_off(void)
{
    char *memory = get(4 * MIB);
    NEED(weir_heap_resize(heap, memory, 2 * MIB) == WEIR_OK);
    *(volatile char *)(memory + 3 * MIB) = 1;
}

static void *
release_there(void *memory)
{
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    return NULL;
}

static void
write_what_another_thread_released(void)
{
    pthread_t thread;
    char *memory = get(100);
    NEED(pthread_create(&thread, NULL, release_there, memory) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    *(volatile char *)memory = 1;
}

/* Where it lay there are blocks of another class, but none there is out. */
static void
read_in_another_class(void)
{
    char *blocks[1024];
    weir_heap_destroy(&heap);
    open_heap(64 * KIB);
    for (size_t i = 0; i < 1024; i++)
        blocks[i] = get(64);
    for (size_t i = 0; i < 1024; i++)
        NEED(weir_heap_release(heap, blocks[i]) == WEIR_OK);
    sink = get(5000)[4999];
    sink = blocks[512][0];
}

/* As libraries do that the program calls. */
static void
clear_small(void)
{
    char *memory = get(100);
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    void *(*volatile clear)(void *, int, size_t) = memset;
    (void)clear(memory, 0, 100);
}

static void
forget_what_a_released_block_knows(void)
{
    char **memory = (char **)(void *)get(64);
    memory[1] = malloc(77);
    NEED(memory[1] != NULL);
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    memory = NULL;
    _exit(__lsan_do_recoverable_leak_check() != 0 ? 1 : 0);
}

struct crime {
    const char *name;
    void (*commit)(void);
    const char *kind;
    const char *access;
};

static const struct crime crimes[] = {
    { "a read", read_small, "use-after-poison", "READ of size 1" },
    { "a write", write_small, "use-after-poison", "WRITE of size 1" },
    { "the default heap", read_of_default, "use-after-poison",
        "READ of size 1" },
    { "a large read", read_large, "use-after-poison", "READ of size 1" },
    { "a large write", write_large, "use-after-poison", "WRITE of size 1" },
    { "a read past the end", read_past_what_was_asked_for, "use-after-poison",
        "READ of size 1" },
    { "a write past the end", write_past_what_was_asked_for, "use-after-poison",
        "WRITE of size 1" },
    { "a tail", read_what_a_resize_cut_off, "use-after-poison",
        "READ of size 1" },
    { "a large tail", write_what_a_large_resize_cut_off, "use-after-poison",
        "WRITE of size 1" },
    { "another thread", write_what_another_thread_released, "use-after-poison",
        "WRITE of size 1" },
    { "another class", read_in_another_class, "use-after-poison",
        "READ of size 1" },
    { "a memset", clear_small, "use-after-poison", "WRITE of size 100" },
    { "a leak", forget_what_a_released_block_knows, "detected memory leaks",
        "77 byte(s)" },
};

/* What the child says; returns how it ended. */
static int
listen(const struct crime *crime, char *report, size_t size)
{
    int ends[2];
    int how = 0;
    size_t len = 0;
    ssize_t n;
    NEED(pipe(ends) == 0);
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        (void)alarm(PATIENCE);
        (void)dup2(ends[1], STDERR_FILENO);
        open_heap(16 * MIB);
        crime->commit();
        _exit(0);
    }
    (void)close(ends[1]);
    while ((n = read(ends[0], report + len, size - 1 - len)) > 0)
        len += (size_t)n;
    report[len] = '\0';
    (void)close(ends[0]);
    NEED(waitpid(child, &how, 0) == child);
    return how;
}

static int
is_told(const struct crime *crime)
{
    static char report[1 << 16];
    int how = listen(crime, report, sizeof(report));
    if (strstr(report, "LeakSanitizer has encountered a fatal error") != NULL) {
        printf("asan: %s: not possible here\n", crime->name);
        return 1;
    }
    if (how != 0 && strstr(report, crime->kind) != NULL &&
        strstr(report, crime->access) != NULL)
        return 1;
    printf("asan: %s was not told, but this:\n%s\n", crime->name, report);
    return 0;
}

/* ---- What is no crime -------------------------------------------------- */

enum { HELD = 200, STEPS = 40000 };

struct held {
    unsigned char *memory;
    size_t size;
};

static uint32_t
draw(uint32_t *state, uint32_t limit)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(*state >> 8) * limit) >> 24);
}

static void
expect_all(const struct held *held)
{
    unsigned char wrong = 0;
    for (size_t i = 0; i < held->size; i++)
        wrong |= held->memory[i] ^ (unsigned char)held->size;
    NEED(wrong == 0);
}

static enum weir_status
take(uint32_t *state, size_t size, void **memory)
{
    switch (draw(state, 4)) {
    case 0:
        return weir_heap_alloc_zeroed(heap, size, memory);
    case 1:
        return weir_heap_alloc_aligned(
            heap, size, (size_t)1 << draw(state, 18), memory);
    default:
        return weir_heap_alloc(heap, size, memory);
    }
}

/* Every byte that may be written is. */
static void
step(uint32_t *state, struct held *held)
{
    void *memory = NULL;
    size_t size = 1 + draw(state, (uint32_t)2 << draw(state, 22));
    uint32_t what = draw(state, 8);
    if (held->memory == NULL) {
        if (take(state, size, &memory) != WEIR_OK)
            return;
        *held = (struct held){ memory, size };
    } else if (what < 2) {
        expect_all(held);
        if (weir_heap_resize(heap, held->memory, size) != WEIR_OK)
            return;
        held->size = size;
    } else if (what < 3) {
        NEED(weir_heap_usable(heap, held->memory, &size) == WEIR_OK);
        memset(held->memory, 2, size);
    } else {
        expect_all(held);
        NEED(weir_heap_release(heap, held->memory) == WEIR_OK);
        *held = (struct held){ NULL, 0 };
        return;
    }
    memset(held->memory, (unsigned char)held->size, held->size);
}

static void *
walk(void *seed)
{
    struct held held[HELD] = { { NULL, 0 } };
    uint32_t state = (uint32_t)(uintptr_t)seed;
    for (int i = 0; i < STEPS; i++)
        step(&state, &held[draw(&state, HELD)]);
    for (int i = 0; i < HELD; i++)
        NEED(weir_heap_release(heap, held[i].memory) == WEIR_OK);
    return NULL;
}

static void
walk_in_threads(void)
{
    pthread_t threads[2];
    open_heap(64 * MIB);
    for (uintptr_t i = 0; i < 2; i++)
        NEED(pthread_create(&threads[i], NULL, walk, (void *)i) == 0);
    for (int i = 0; i < 2; i++)
        NEED(pthread_join(threads[i], NULL) == 0);
    weir_heap_destroy(&heap);
}

/* All pages as blocks of one class, then of another, then as one large block. */
static void
use_all_pages_for_this_and_that(void)
{
    static const size_t sizes[] = { 64, 5000, 65536, MIB, 2 * MIB, 4 * MIB };
    static char *blocks[4 * MIB / 64];
    open_heap(4 * MIB);
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
        size_t count = 0;
        void *memory;
        while (weir_heap_alloc(heap, size, &memory) == WEIR_OK)
            blocks[count++] = memset(memory, (int)i, size);
        while (count-- > 0)
            NEED(weir_heap_release(heap, blocks[count]) == WEIR_OK);
    }
    weir_heap_destroy(&heap);
}

/* Where a heap was there is something else. */
static void
use_the_memory_of_a_heap_that_ended(void)
{
    open_heap(4 * MIB);
    char *memory = get(4 * MIB);
    NEED(weir_heap_release(heap, memory) == WEIR_OK);
    weir_heap_destroy(&heap);
    char *other = mmap(memory, 4 * MIB, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(other != MAP_FAILED);
    if (other != memory)
        printf("asan: the memory of a heap was taken: not possible here\n");
    for (size_t i = 0; i < 4 * MIB; i++)
        *(volatile char *)(other + i) = 1;
    (void)munmap(other, 4 * MIB);
}

/* A pointer in the last bytes of a block that is out is seen when leaks are
   searched for, here and at the end. */
static void
keep_memory_of_malloc_in_blocks(void)
{
    static const size_t sizes[] = { 8, 64, 5000, 100000, MIB, 3 * MIB,
        40 * MIB };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *memory = weir_alloc(sizes[i]);
        void *known = malloc(77);
        NEED(memory != NULL && known != NULL);
        memset(known, 1, 77);
        memcpy(
            memory + (sizes[i] - sizeof(known)) / 8 * 8, &known, sizeof(known));
    }
}

int
main(void)
{
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(crimes) / sizeof(crimes[0]); i++)
        failed += !is_told(&crimes[i]);
    walk_in_threads();
    use_all_pages_for_this_and_that();
    use_the_memory_of_a_heap_that_ended();
    keep_memory_of_malloc_in_blocks();
    printf("asan: %d crimes were not told\n", failed);
    return failed != 0;
}
