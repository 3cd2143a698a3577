/* SPDX-License-Identifier: MIT */
#include "platform/thread.h"

#include "support/unit.h"

#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

enum { ROUNDS = 20000 };

void __gcov_dump(void) __attribute__((weak));

static struct wr_mutex mutex = WR_MUTEX_INITIAL;
static int guarded;
static int ends;
static pthread_t ended;

static void *
add_under_mutex(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        wr_mutex_lock(&mutex);
        guarded = guarded + 1;
        wr_mutex_unlock(&mutex);
    }
    return NULL;
}

Test(thread, a_mutex_lets_in_one_at_a_time)
{
    pthread_t other = start_thread(add_under_mutex, NULL);
    (void)add_under_mutex(NULL);
    join_thread(other);

    cr_assert(eq(int, guarded, 2 * ROUNDS));
}

Test(thread, a_mutex_made_at_run_time_can_be_used_and_ended)
{
    struct wr_mutex made;

    wr_mutex_init(&made);
    wr_mutex_lock(&made);
    wr_mutex_unlock(&made);
    wr_mutex_fini(&made);

    no_leaks_of_malloc();
}

Test(thread, a_mutex_that_is_held_is_not_locked_by_trying)
{
    wr_mutex_lock(&mutex);
    cr_assert(not(wr_mutex_try_lock(&mutex)));
    wr_mutex_unlock(&mutex);

    cr_assert(wr_mutex_try_lock(&mutex));
    cr_assert(not(wr_mutex_try_lock(&mutex)));
    wr_mutex_unlock(&mutex);
}

static void
on_end(void *unused)
{
    (void)unused;
    ends++;
    ended = pthread_self();
}

static void *
ask_once(void *unused)
{
    (void)unused;
    cr_assert(wr_thread_at_exit(on_end));
    cr_assert(eq(int, ends, 0));
    return NULL;
}

Test(thread, at_exit_runs_on_the_thread_that_ends)
{
    pthread_t thread = start_thread(ask_once, NULL);
    join_thread(thread);

    cr_assert(eq(int, ends, 1));
    cr_assert(ne(int, pthread_equal(ended, thread), 0));
}

static int other_ends;

static void
on_other_end(void *unused)
{
    (void)unused;
    other_ends++;
}

static void *
ask_for_two(void *unused)
{
    (void)unused;
    cr_assert(wr_thread_at_exit(on_end));
    cr_assert(wr_thread_at_exit(on_other_end));
    return NULL;
}

Test(thread, two_functions_at_exit_run_once_each)
{
    on_thread(ask_for_two, NULL);

    cr_assert(eq(int, ends, 1));
    cr_assert(eq(int, other_ends, 1));
}

static void *
ask_twice(void *unused)
{
    (void)unused;
    cr_assert(wr_thread_at_exit(on_end));
    cr_assert(wr_thread_at_exit(on_end));
    return NULL;
}

Test(thread, at_exit_runs_once_however_often_it_was_asked_for)
{
    on_thread(ask_twice, NULL);
    cr_assert(eq(int, ends, 1));

    on_thread(ask_twice, NULL);
    cr_assert(eq(int, ends, 2));
}

static void *
ask_nothing(void *unused)
{
    return unused;
}

Test(thread, at_exit_does_not_run_where_nobody_asked)
{
    cr_assert(wr_thread_at_exit(on_end));

    on_thread(ask_nothing, NULL);

    cr_assert(eq(int, ends, 0));
}

static void *
ask_and_leave(void *unused)
{
    cr_assert(wr_thread_at_exit(on_end));
    pthread_exit(unused);
}

Test(thread, at_exit_runs_after_pthread_exit_too)
{
    on_thread(ask_and_leave, NULL);

    cr_assert(eq(int, ends, 1));
}

Test(thread, without_a_key_at_exit_says_so)
{
    pthread_key_t keys[PTHREAD_KEYS_MAX];
    int count = 0;
    while (
        count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0)
        count++;

    cr_assert(not(wr_thread_at_exit(on_end)));
    cr_assert(not(wr_thread_at_exit(on_end)));

    while (count > 0)
        (void)pthread_key_delete(keys[--count]);
}

/* ---- Forks ------------------------------------------------------------- */

static char steps[16];

static void
note(char step)
{
    steps[strlen(steps)] = step;
}

static void
note_before(void)
{
    note('b');
}

static void
note_parent(void)
{
    note('p');
}

static void
note_child(void)
{
    note('c');
}

/* How a child of this process ends. */
static int
fork_and_run(int (*run)(void))
{
    pid_t child = fork();
    if (child == 0) {
        int result = run();
        if (__gcov_dump != NULL)
            __gcov_dump();
        _exit(result);
    }
    int how = -1;
    cr_assert(eq(int, waitpid(child, &how, 0), child));
    return how;
}

static int
child_has_noted(void)
{
    return strcmp(steps, "bc");
}

Test(thread, who_forks_is_told_before_and_after_in_both_processes)
{
    cr_assert(
        wr_thread_at_fork(WR_FORK_OUTER, note_before, note_parent, note_child));

    cr_assert(zero(int, fork_and_run(child_has_noted)));

    expect_text(steps, "bp");
}

Test(thread, who_has_asked_before_is_told_of_a_fork_once)
{
    for (int i = 0; i < 3; i++)
        cr_assert(wr_thread_at_fork(
            WR_FORK_INNER, note_before, note_parent, note_child));

    cr_assert(zero(int, fork_and_run(child_has_noted)));

    expect_text(steps, "bp");
}

static void
note_outer_before(void)
{
    note('B');
}

static void
note_outer_parent(void)
{
    note('P');
}

static void
note_outer_child(void)
{
    note('C');
}

static int
child_has_noted_both(void)
{
    return strcmp(steps, "BbcC");
}

Test(thread, the_outer_locks_are_taken_first_whoever_came_first)
{
    cr_assert(
        wr_thread_at_fork(WR_FORK_INNER, note_before, note_parent, note_child));
    cr_assert(wr_thread_at_fork(
        WR_FORK_OUTER, note_outer_before, note_outer_parent, note_outer_child));

    cr_assert(zero(int, fork_and_run(child_has_noted_both)));

    expect_text(steps, "BbpP");
}

static void *
ask_for_outer(void *unused)
{
    cr_assert(wr_thread_at_fork(
        WR_FORK_OUTER, note_outer_before, note_outer_parent, note_outer_child));
    return unused;
}

/* Another thread comes while the inner locks are taken. */
static void
note_before_and_be_disturbed(void)
{
    note('b');
    on_thread(ask_for_outer, NULL);
}

static int
child_has_noted_all(void)
{
    return strcmp(steps, "bpBbcC");
}

Test(thread, who_comes_during_a_fork_is_told_in_its_turn)
{
    cr_assert(wr_thread_at_fork(
        WR_FORK_INNER, note_before_and_be_disturbed, note_parent, note_child));

    cr_assert(zero(int, fork_and_run(child_has_noted_all)));

    expect_text(steps, "bpBbpP");
}

static int
end_a_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, ask_once, NULL) != 0 ||
           pthread_join(thread, NULL) != 0 || ends != 1;
}

Test(thread, threads_of_a_child_end_as_others_do)
{
    cr_assert(
        wr_thread_at_fork(WR_FORK_OUTER, note_before, note_parent, note_child));
    cr_assert(wr_thread_at_exit(on_end));

    cr_assert(zero(int, fork_and_run(end_a_thread)));

    cr_assert(eq(int, ends, 0));
}

/* ---- Misuse ------------------------------------------------------------ */

static void
make_strict(struct wr_mutex *strict)
{
    pthread_mutexattr_t attributes;
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    (void)pthread_mutex_init(&strict->handle, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
}

Test(misuse, ending_a_mutex_that_is_held_aborts, .signal = SIGABRT)
{
    struct wr_mutex held;
    wr_mutex_init(&held);
    wr_mutex_lock(&held);
    expect_misuse("weir: a mutex was ended while it was held");

    wr_mutex_fini(&held);
}

Test(misuse, a_lock_that_fails_aborts, .signal = SIGABRT)
{
    struct wr_mutex strict;
    make_strict(&strict);
    wr_mutex_lock(&strict);
    expect_misuse("weir: a mutex is corrupt");

    wr_mutex_lock(&strict);
}

Test(misuse, an_unlock_that_fails_aborts, .signal = SIGABRT)
{
    struct wr_mutex strict;
    make_strict(&strict);
    expect_misuse("weir: a mutex is corrupt");

    wr_mutex_unlock(&strict);
}

#ifndef NDEBUG
static void
on_third_end(void *unused)
{
    (void)unused;
}

Test(misuse, a_third_function_at_exit_aborts, .signal = SIGABRT)
{
    cr_assert(wr_thread_at_exit(on_end));
    cr_assert(wr_thread_at_exit(on_other_end));
    expect_misuse("weir: assertion failed: *at_exit");

    (void)wr_thread_at_exit(on_third_end);
}
#endif
