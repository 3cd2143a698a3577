#!/bin/sh
# check_abi.sh LIBRARY [update]: is the shared library, built with -g, still
# the one that abi/weir.abi describes? abi/weir.suppr says what may grow. With
# `update`, as part of a release, describes it anew.
set -eu
cd "$(dirname "$0")/.."

describe() { # file
    abidw --headers-dir include --no-corpus-path --no-comp-dir-path \
        --out-file "$1" "$library"
}

library=$1
if [ "${2-}" = update ]; then
    mkdir -p abi
    describe abi/weir.abi
    exit
fi
if [ ! -e abi/weir.abi ]; then
    echo "abi: nothing released yet, nothing to compare with"
    exit
fi
now=$(mktemp)
trap 'rm -f "$now"' EXIT
describe "$now"
abidiff --suppressions abi/weir.suppr abi/weir.abi "$now"
