/* SPDX-License-Identifier: MIT */
#include "base/check.h"

#include "support/unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* How a child ended, and what it wrote to standard error. */
struct ending {
    int status;
    char text[1024];
};

static struct ending
run_child(void (*run)(void))
{
    int ends[2];
    cr_assert(eq(int, pipe(ends), 0));
    pid_t child = fork();
    cr_assert(ge(int, child, 0));
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    (void)close(ends[1]);

    struct ending ending = { 0 };
    size_t len = 0;
    ssize_t n;
    while (len < sizeof(ending.text) - 1 &&
           (n = read(
                ends[0], ending.text + len, sizeof(ending.text) - 1 - len)) > 0)
        len += (size_t)n;
    (void)close(ends[0]);
    cr_assert(eq(int, waitpid(child, &ending.status, 0), child));
    return ending;
}

static void
expect_abort(const struct ending *ending)
{
    cr_assert(ne(int, WIFSIGNALED(ending->status), 0));
    cr_assert(eq(int, WTERMSIG(ending->status), SIGABRT));
}

static void
fail_without_arena(void)
{
    wr_fail("something was done", NULL, WR_NO_BLOCK);
}

Test(check, without_a_callback_the_line_goes_to_standard_error)
{
    struct ending ending = run_child(fail_without_arena);

    expect_abort(&ending);
    expect_text(ending.text, "weir: something was done\n");
}

static void
fail_with_block_but_no_arena(void)
{
    wr_fail("something was done", NULL, 7);
}

Test(check, a_block_without_an_arena_is_not_named)
{
    struct ending ending = run_child(fail_with_block_but_no_arena);

    expect_abort(&ending);
    expect_text(ending.text, "weir: something was done\n");
}

static void
fail_with_arena(void)
{
    wr_fail("something was done", "receive", WR_NO_BLOCK);
}

Test(check, the_line_names_the_arena)
{
    struct ending ending = run_child(fail_with_arena);

    expect_abort(&ending);
    expect_text(ending.text, "weir: arena 'receive': something was done\n");
}

static void
fail_with_block(void)
{
    wr_fail("something was done", "receive", UINT32_MAX);
}

Test(check, the_line_names_the_block)
{
    struct ending ending = run_child(fail_with_block);

    expect_abort(&ending);
    expect_text(ending.text,
        "weir: arena 'receive': block 4294967295: something was done\n");
}

static void
fail_at_length(void)
{
    char what[400];
    memset(what, 'x', sizeof what - 1);
    what[sizeof what - 1] = '\0';
    wr_fail(what, "receive", 0);
}

Test(check, a_line_that_is_too_long_is_cut)
{
    struct ending ending = run_child(fail_at_length);

    expect_abort(&ending);
    cr_assert(eq(sz, strlen(ending.text), 192));
    cr_assert(eq(
        int, strncmp(ending.text, "weir: arena 'receive': block 0: x", 33), 0));
    cr_assert(eq(chr, ending.text[191], '\n'));
}

static void
print_both(const char *line, void *user)
{
    (void)fprintf(stderr, "%s: [%s]\n", (const char *)user, line);
}

static void
fail_with_callback(void)
{
    static char user[] = "user";
    weir_on_misuse(print_both, user);
    wr_fail("something was done", "receive", 3);
}

Test(check, a_callback_gets_the_line_and_its_pointer_and_then_it_aborts)
{
    struct ending ending = run_child(fail_with_callback);

    expect_abort(&ending);
    expect_text(ending.text,
        "user: [weir: arena 'receive': block 3: something was done]\n");
}

static void
fail_with_callback_taken_back(void)
{
    weir_on_misuse(print_both, NULL);
    weir_on_misuse(NULL, NULL);
    wr_fail("something was done", NULL, WR_NO_BLOCK);
}

Test(check, a_null_callback_is_the_default_again)
{
    struct ending ending = run_child(fail_with_callback_taken_back);

    expect_abort(&ending);
    expect_text(ending.text, "weir: something was done\n");
}

Test(check, what_holds_does_nothing_and_is_looked_at_once)
{
    int looks = 0;

    WR_CHECK(++looks == 1, "never");
    WR_CHECK_BLOCK(++looks == 2, "never", "receive", 1);

    cr_assert(eq(int, looks, 2));
}

Test(misuse, a_broken_rule_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: the caller did it");

    WR_CHECK(1 + 1 == 3, "the caller did it");
}

Test(misuse, a_broken_rule_about_a_block_aborts, .signal = SIGABRT)
{
    expect_misuse("weir: arena 'receive': block 9: the caller did it");

    WR_CHECK_BLOCK(1 + 1 == 3, "the caller did it", "receive", 9);
}

#ifdef NDEBUG
Test(check, assertions_are_for_debug_builds)
{
    int looks = 0;

    WR_ASSERT(++looks == 2);

    cr_assert(eq(int, looks, 0));
}
#else
Test(misuse, a_false_assertion_aborts_in_debug_builds, .signal = SIGABRT)
{
    expect_misuse("weir: assertion failed: 1 + 1 == 3");

    WR_ASSERT(1 + 1 == 3);
}
#endif
