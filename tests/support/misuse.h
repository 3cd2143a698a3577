/* SPDX-License-Identifier: MIT */
/* misuse: a test that must end in an abort, and in no other. */
#ifndef MISUSE_H
#define MISUSE_H

/*
 * From here on the process dies of SIGABRT only by a misuse whose line matches
 * `pattern`, as fnmatch does. Another line, another abort or the report of a
 * sanitizer makes it exit with a code of its own. `pattern` is not copied.
 */
void expect_misuse(const char *pattern);

#endif
