# weir_warnings: what our own code is compiled with. It is not installed, and
# nobody who links weir inherits it. CMAKE_COMPILE_WARNING_AS_ERROR, set by the
# presets, makes errors of these.

add_library(weir_warnings INTERFACE)
target_compile_options(weir_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef
    -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wcast-qual
    -Wwrite-strings -Wformat=2
    $<$<C_COMPILER_ID:GNU>:-Wduplicated-cond -Wlogical-op -Wnull-dereference
        -Wcast-align=strict>
    # A bare `word++` on an _Atomic must not compile: no order without a name.
    $<$<C_COMPILER_ID:Clang>:-Werror=atomic-implicit-seq-cst>)
