/* SPDX-License-Identifier: MIT */
/*
 * pages seed seconds: whoever maps memory beside us keeps it.
 *
 * Two threads create and destroy arenas of every kind of pages, huge ones that
 * the system mostly refuses; two others map memory, write to its ends and
 * middle, and unmap it again. A reserve that is given up for a moment, or a
 * mapping placed over whatever is there, takes memory away from the others:
 * they find it gone, or changed.
 */

#include "support/stress.h"
#include "weir/weir.h"

#include <sys/mman.h>

enum { SIZE = 4 << 20, PAGE = 4096, MAPPERS = 2, THREADS = 4 };

static _Atomic uint64_t created;
static _Atomic uint64_t refused;
static _Atomic uint64_t mapped;

static uint64_t
read_count(_Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void
count(_Atomic uint64_t *number)
{
    atomic_fetch_add_explicit(number, 1, memory_order_relaxed);
}

static void
create_and_destroy(struct stress_random *random)
{
    struct weir_arena *arena;
    enum weir_pages pages = (enum weir_pages)stress_below(random, 3);
    enum weir_status status = weir_arena_create(
        &(struct weir_arena_config){ .bytes = SIZE, .pages = pages }, &arena);
    if (status != WEIR_OK) {
        stress_expect(pages == WEIR_PAGES_HUGE, "ordinary pages were refused");
        stress_expect(status == WEIR_UNSUPPORTED, "refused for another reason");
        count(&refused);
        return;
    }
    struct weir_buf buf;
    status = weir_arena_alloc(arena, 0, &buf);
    stress_expect(status == WEIR_OK, "no block in a new arena");
    *(char *)weir_buf_tail(&buf) = 1;
    weir_buf_drop(&buf);
    weir_arena_destroy(&arena);
    count(&created);
}

static void
map_and_unmap(struct stress_random *random)
{
    static const size_t places[] = { 0, SIZE / 2, SIZE - 1 };
    char mark = (char)(1 + stress_below(random, 100));
    char *memory = mmap(
        NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    for (size_t i = 0; i < 3; i++)
        memory[places[i]] = mark;
    stress_pause(stress_below(random, 64));
    for (size_t i = 0; i < 3; i++) {
        unsigned char there;
        char *page = memory + places[i] / PAGE * PAGE;
        stress_expect(
            mincore(page, 1, &there) == 0, "another thread's memory is gone");
        stress_expect(
            memory[places[i]] == mark, "another thread's memory has changed");
    }
    (void)munmap(memory, SIZE);
    count(&mapped);
}

static void
work(uint32_t index, struct stress_random *random)
{
    while (!stress_is_over()) {
        if (index < MAPPERS)
            map_and_unmap(random);
        else
            create_and_destroy(random);
    }
}

int
main(int argc, char **argv)
{
    stress_begin("pages", argc, argv);
    stress_part(1);
    stress_run(&(struct stress_crew){ .count = THREADS, .body = work });
    stress_expect(read_count(&created) > 0 && read_count(&mapped) > 0,
        "nothing was done");
    stress_report("arenas", read_count(&created));
    stress_report("refused", read_count(&refused));
    stress_report("mappings", read_count(&mapped));
    return stress_end();
}
