#!/bin/sh
# demo.sh BUILD: shows embed_server at work, in about half a minute.
#
#   1  real texts with curl: JSON, and rows to compare licences with
#   2  a load of such texts with wrk, of all sizes, with live counts from
#      /metrics
#   3  the same with an arena of four blocks under a hundred clients
#
# Both servers are drained with SIGTERM and must end with every block at home.
# The last line is for scripts. Nothing leaves 127.0.0.1.
set -eu

build=${1:?usage: demo.sh BUILD}
server=$(find "$build" -type f -name embed_server -perm -u+x | head -n 1)
[ -n "$server" ] || {
    echo "demo: there is no embed_server in $build" >&2
    exit 1
}
here=$(mktemp -d)
pid=
failed=0
answered=0 # as the clients counted
allowed=0  # answers that may have been on the way when a client stopped

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || :
    rm -rf "$here"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $*" >&2
    failed=1
}

# ---- Texts that are already on the machine -----------------------------------

# NAME.json is a whole licence. Each line of 3000.lines asks for a piece of one,
# of mixed.lines for up to 32 of any size.
make_bodies() {
    python3 - "$here" <<'END'
import glob, json, os, random, sys
here = sys.argv[1]
found = glob.glob('/usr/share/common-licenses/*')
found = found or glob.glob('/usr/share/doc/*/copyright')[:50]
texts = {}
for path in sorted(found):
    with open(path, encoding='utf-8', errors='replace') as file:
        texts[os.path.basename(path)] = file.read()
ask = lambda text: json.dumps({'model': 'demo', 'input': text})
for name, text in texts.items():
    with open(f'{here}/{name}.json', 'w') as file:
        file.write(ask(text))
with open(f'{here}/3000.lines', 'w') as file:
    for text in texts.values():
        for i in range(0, len(text) - 3000, 3000):
            file.write(ask(text[i:i + 3000]) + '\n')
choose = random.Random(1)
def piece(size):
    text = choose.choice(list(texts.values()))
    start = choose.randrange(max(1, len(text) - size))
    return text[start:start + size]
with open(f'{here}/mixed.lines', 'w') as file:
    for i in range(500):
        size = int(50 * 2 ** choose.uniform(0, 9))
        count = choose.choice([1, 1, 1, 1, 2, 4, 32])
        pieces = [piece(size // count + 1) for _ in range(count)]
        file.write(ask(pieces if count > 1 else pieces[0]) + '\n')
END
    cat >"$here/load.lua" <<'END'
local bodies, next = {}, 0
function init(args)
    local head = { ["Accept"] = "application/octet-stream" }
    for line in io.lines(args[1]) do
        bodies[#bodies + 1] =
            wrk.format("POST", "/v1/embeddings", head, line)
    end
    next = math.random(#bodies)
end
function request()
    next = next % #bodies + 1
    return bodies[next]
end
function done(summary)
    local bad = summary.errors
    io.write(string.format("wrk %d %d %d\n", summary.requests, bad.status,
        bad.connect + bad.read + bad.write))
end
END
}

# ---- The server --------------------------------------------------------------

start() { # OPTION...
    : >"$here/log" # what the last server said, and its port, are gone
    "$server" --port 0 "$@" >"$here/log" 2>&1 &
    pid=$!
    for _ in $(seq 50); do
        port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$here/log")
        [ -z "$port" ] || break
        sleep 0.1
    done
    [ -n "$port" ] || {
        cat "$here/log" >&2
        exit 1
    }
    url=http://127.0.0.1:$port
}

# Drains; keeps the line for scripts in the file $1.
drain() { # NAME
    kill -TERM "$pid"
    wait "$pid" || fail "$1: the server ended with $?"
    pid=
    sed -n '/^arena/,$p' "$here/log" | sed 's/^/    /'
    tail -n 1 "$here/log" >"$here/$1.last"
}

# The sum of a count over the servers that were drained.
sum() { # COUNT
    cat "$here"/*.last | tr ' ' '\n' |
        awk -F= -v count="$1" '$1 == count { n += $2 } END { print n + 0 }'
}

# ---- Clients -----------------------------------------------------------------

ask() { # NAME ACCEPT: NAME.json is asked, NAME.answer is the answer
    curl -sS --fail --max-time 10 -H "Accept: $2" \
        --data-binary "@$here/$1.json" -o "$here/$1.answer" \
        "$url/v1/embeddings" || fail "curl: no answer for $1"
    answered=$((answered + 1))
}

compare() { # NAME...: the cosine of the angle between any two of the rows
    python3 - "$here" "$@" <<'END'
import array, sys
here, *names = sys.argv[1:]
rows = []
for name in names:
    with open(f'{here}/{name}.answer', 'rb') as file:
        rows.append(array.array('f', file.read()))
width = max(map(len, names)) + 2
print(' ' * (4 + width) + ''.join(name.rjust(width) for name in names))
for name, a in zip(names, rows):
    cosines = (sum(x * y for x, y in zip(a, b)) for b in rows)
    print('    ' + name.ljust(width)
        + ''.join(f'{cosine:{width}.3f}' for cosine in cosines))
END
}

show_counts() { # SECOND
    curl -sS --max-time 5 "$url/metrics" 2>"$here/curl" | awk -v at="$1" '
        /^#/ { next }
        { value[$1] = $2 }
        function of(name, arena) {
            return value[name "{arena=\"" arena "\"}"] + 0
        }
        function all(name) {
            return of(name, "requests") + of(name, "bodies") \
                + of(name, "results")
        }
        function out(arena) {
            return sprintf("%s %d/%d", arena, of("weir_out_bytes", arena) / 1024,
                of("weir_total_bytes", arena) / 1024)
        }
        END {
            printf "    %2ds  answered %-7d KiB out: %s, %s, %s  waiting %-3d" \
                " waits %-6d copied %d\n", at, value["embed_requests_total"],
                out("requests"), out("bodies"), out("results"),
                all("weir_waiting"), all("weir_waits_total"),
                value["embed_payload_copied_bytes_total"]
        }'
}

load() { # SECONDS CLIENTS FILE
    wrk -t2 -c"$2" -d"$1" --latency -s "$here/load.lua" "$url" -- "$3" \
        >"$here/wrk" 2>&1 &
    wrk=$!
    second=0
    while [ "$second" -lt "$1" ]; do
        sleep 1
        second=$((second + 1))
        show_counts "$second"
    done
    wait "$wrk" || fail "wrk ended with $?"
    sed -n -e '/Requests.sec/s/^/    /p' -e '/ 50%/p' -e '/ 99%/p' "$here/wrk"
    read -r _ count refused broken <<END
$(grep '^wrk ' "$here/wrk")
END
    [ "$refused$broken" = 00 ] ||
        fail "clients saw $refused refusals and $broken broken connections"
    answered=$((answered + count))
    allowed=$((allowed + $2))
}

# ---- The demo ----------------------------------------------------------------

make_bodies

echo "1. A server, and the licences of this machine"
start
printf '{"model":"demo","input":"the arena"}' >"$here/short.json"
echo "    curl $url/v1/embeddings -d '$(cat "$here/short.json")'"
ask short application/json
sed 's/^\(.\{84\}\).*\(\],"model.*\)$/    \1 ...\n    ... \2/' \
    "$here/short.answer"
set --
for name in GPL-2 GPL-3 LGPL-3 Apache-2.0 BSD; do
    [ -e "$here/$name.json" ] || continue
    ask "$name" application/octet-stream
    set -- "$@" "$name"
done
echo "    How close are their texts?"
compare "$@"

echo "2. A load: 64 clients, texts of 50 to 25000 bytes, rows as bytes"
load 8 64 "$here/mixed.lines"
drain load

echo "3. Four blocks, and 128 KiB for long bodies, for a hundred clients"
start --slots 4 --block 4096 --bodies 131072 --results 2
load 4 100 "$here/3000.lines"
load 4 100 "$here/mixed.lines"
drain tiny

requests=$(sum requests)
errors=$(sum errors)
rejected=$(sum rejected)
copied=$(sum payload_copied)
waits=$(sum waits)
leaked=$(sum leaked)

echo "4. In all"
printf '    %-26s %s\n' "requests answered" "$requests" \
    "as the clients counted" "$answered" \
    "refused as wrong" "$errors" \
    "given up at the deadline" "$rejected" \
    "payload bytes copied" "$copied" \
    "waits for a block" "$waits" \
    "blocks that did not return" "$leaked"

if [ "$requests" -lt "$answered" ] ||
    [ "$requests" -gt $((answered + allowed)) ]; then
    fail "server and clients do not agree on the number of requests"
fi
[ "$errors" -eq 0 ] || fail "there were errors"
[ "$leaked" -eq 0 ] || fail "blocks leaked"
[ "$waits" -gt 0 ] || fail "nobody had to wait"
[ "$copied" -eq 0 ] || fail "payload was copied"
echo "demo: requests=$requests errors=$errors rejected=$rejected" \
    "payload_copied=$copied waits=$waits leaked=$leaked"
exit "$failed"
