# Installs a build of weir into a folder of its own, moves that folder, and
# builds a stranger's project against it: by find_package and by pkg-config,
# from C and from C++.
#
#   cmake -D build=DIR -D shared=BOOL -D uv=BOOL -D cc=PROGRAM -D libdir=lib
#         -P run.cmake

set(here ${CMAKE_CURRENT_LIST_DIR})
set(work ${build}/package)
set(prefix ${work}/prefix)

function(run)
    execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${work})
run(${CMAKE_COMMAND} --install ${build} --prefix ${work}/first)
file(RENAME ${work}/first ${prefix})

set(programs in_c in_cxx)
if(uv)
    list(APPEND programs in_uv)
endif()

# find_package
run(${CMAKE_COMMAND} -S ${here} -B ${work}/build -D CMAKE_PREFIX_PATH=${prefix}
    -D CMAKE_C_COMPILER=${cc} -D WITH_UV=${uv})
run(${CMAKE_COMMAND} --build ${work}/build)
foreach(program IN LISTS programs)
    run(${work}/build/${program})
endforeach()

if(EXISTS ${work}/build/in_asan) # where there is no ASan, there is none
    run(${here}/../../scripts/no_aslr ${work}/build/in_asan)
endif()

# pkg-config. The stranger's own warnings are on, so headers must be clean.
set(ENV{PKG_CONFIG_PATH} ${prefix}/${libdir}/pkgconfig)
set(ENV{LD_LIBRARY_PATH} ${prefix}/${libdir})
set(static --static)
if(shared)
    unset(static)
endif()

function(with_pkg_config compiler source package)
    execute_process(
        COMMAND pkg-config ${static} --cflags --libs ${package}
        OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
        COMMAND_ERROR_IS_FATAL ANY)
    separate_arguments(flags UNIX_COMMAND "${flags}")
    run(${compiler} -Wall -Wextra -Werror ${here}/${source}
        -o ${work}/program ${flags})
    run(${work}/program)
endfunction()

with_pkg_config(${cc} main.c weir)
with_pkg_config(c++ main.cpp weir)
if(uv)
    with_pkg_config(${cc} uv.c weir_uv)
endif()
