#!/bin/sh
# must_fail.sh TRIES SECONDS COMMAND...: a negative control. Runs `COMMAND... SEED
# SECONDS control` with one seed after the other until it fails, by its own checks
# or by an abort: that is what is wanted. Exits with 1 if it never does, with 77
# if it cannot run here.
set -u
tries=$1
seconds=$2
shift 2

seed=1
while [ "$seed" -le "$tries" ]; do
    "$@" "$seed" "$seconds" control
    status=$?
    case $status in
    0) echo "must_fail: seed $seed found nothing" ;;
    77) exit 77 ;;
    126 | 127) exit 1 ;; # it did not even start
    *)
        echo "must_fail: it failed with $status, as it must"
        exit 0
        ;;
    esac
    seed=$((seed + 1))
done
echo "must_fail: it never failed"
exit 1
