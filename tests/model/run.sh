#!/bin/sh
# Checks every model here with spin, and that each of its mutants fails: a
# mutant that passes is a hole in the model. Exit 77: spin or gcc is missing.
# Spin knows sequential consistency only: what a weaker order would break it
# does not see.
set -eu
cd "$(dirname "$0")"

for tool in spin gcc; do
    if ! command -v $tool >/dev/null; then
        echo "model: $tool is missing (Debian package $tool)"
        exit 77
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Searches all states; 0: no error. Options of the preprocessor behind the name.
holds() { # model, option...
    source=$PWD/$1.pml
    shift
    (
        cd "$work"
        rm -f pan* ./*.trail
        spin "$@" -a "$source" >spin.log
        gcc -O1 -w -DSAFETY -o pan pan.c
        ./pan -m1000000 -w24 >pan.log
    ) || { cat "$work"/*.log && echo "model: $source cannot be run" && exit 1; }
    grep -q 'errors: 0$' "$work/pan.log" || return 1
    # Too deep, or out of memory: not all states were seen.
    ! grep -qE 'max search depth too small|out of memory' "$work/pan.log"
}

states() {
    sed -n 's/^ *\([0-9e+.]*\) states, stored.*/\1/p' "$work/pan.log" | head -n 1
}

mutants() { # model
    grep -ohE 'MUTANT_[A-Z_]+' "$1.pml" | sort -u
}

for file in *.pml; do
    model=${file%.pml}
    if holds "$model"; then
        echo "model: $model holds, $(states) states"
    else
        cat "$work/pan.log"
        echo "model: $model FAILS"
        failed=1
    fi
    for mutant in $(mutants "$model"); do
        if holds "$model" "-D$mutant"; then
            echo "model: $model: $mutant is NOT seen"
            failed=1
        else
            echo "model: $model: $mutant is seen"
        fi
    done
done
exit $failed
