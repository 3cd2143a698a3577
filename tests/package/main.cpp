// SPDX-License-Identifier: MIT
// The same program is C++ too.
#include "main.c"
