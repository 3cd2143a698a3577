/* SPDX-License-Identifier: MIT */
/* The shortest journey through the library, from C and, as it is, from C++. */

#include <weir/heap.h>
#include <weir/weir.h>

#include <stdio.h>
#include <string.h>

int
main(void)
{
    struct weir_arena_config config;
    memset(&config, 0, sizeof(config));

    struct weir_arena *arena;
    if (weir_arena_create(&config, &arena) != WEIR_OK)
        return 1;

    struct weir_buf buf;
    if (weir_arena_alloc(arena, 0, &buf) != WEIR_OK)
        return 1;
    if (weir_buf_write(&buf, "weir", 4) != WEIR_OK)
        return 1;

    struct weir_slice slice;
    weir_buf_freeze(&buf, &slice);
    if (memcmp(weir_slice_data(&slice), "weir", 4) != 0)
        return 1;
    weir_slice_release(&slice);
    weir_arena_destroy(&arena);

    void *memory = weir_alloc(70000);
    if (memory == NULL || weir_release(memory) != WEIR_OK)
        return 1;

    printf("weir %s\n", weir_version());
    return 0;
}
