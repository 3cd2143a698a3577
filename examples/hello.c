/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include <weir/weir.h>

static int
failed(const char *what, enum weir_status status)
{
    (void)fprintf(stderr, "%s: %s\n", what, weir_status_name(status));
    return 1;
}

int
main(void)
{
    struct weir_arena *arena;
    struct weir_arena_config config = { .bytes = 64 << 10, .block_size = 4096 };
    enum weir_status status = weir_arena_create(&config, &arena);
    if (status != WEIR_OK)
        return failed("create", status);
    struct weir_buf buf; /* the writable rest of a block */
    if ((status = weir_arena_alloc(arena, 0, &buf)) != WEIR_OK)
        return failed("alloc", status);
    if ((status = weir_buf_write(&buf, "hello, weir", 11)) != WEIR_OK)
        return failed("write", status);
    struct weir_slice all;
    weir_buf_freeze(&buf, &all); /* no copy; from now on it is read-only */
    struct weir_slice name;
    if ((status = weir_slice_sub(&all, 7, 4, &name)) != WEIR_OK)
        return failed("sub", status);
    weir_slice_release(&all); /* the name keeps the block */
    printf("%.*s\n", (int)weir_slice_len(&name),
        (const char *)weir_slice_data(&name));
    weir_slice_release(&name); /* the block is home */
    weir_arena_destroy(&arena);
    return 0;
}
