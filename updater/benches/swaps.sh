#!/usr/bin/env bash
# Twenty swaps under wrk, with connections that queue and with versions that overlap, beside as many plain stops and starts of
# the same node in the same run.   updater/benches/swaps.sh [COUNT]
set -euo pipefail
cd "$(dirname "$0")/../.."
count=${1:-20}
command -v wrk > /dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends wrk > /dev/null; }
cargo build --quiet --locked -p countersign-updater --bins --examples
target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$work"' EXIT

for version in 2.3.0 2.4.0; do
  examples/node/source 2.0.0 "$work/$version"
  cp -RL "tests/releases/$version/." "$work/$version"
  (cd "$work/$version" && CARGO_TARGET_DIR="$work/target" cargo build --quiet --release --offline --locked 2> /dev/null)
  cp "$work/target/release/examplenode" "$work/node-$version"
done

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
load() { # ADDRESS SECONDS: fewer connections than the node has workers, kept as long as it keeps them
  wrk -t2 -c24 -d"$2s" --timeout 30s -s updater/benches/swaps.lua "http://$1/node/version" | tail -1
}
seconds=$((count * 2 + 5))

for mode in queue overlap; do
  address=127.0.0.1:$(port)
  coproc SWAPS { exec "$target/debug/examples/swaps" "$target/debug/countersign-updater" "$work/$mode" "$address" \
    "$work/node-2.3.0" "$work/node-2.4.0" "$mode" "$count"; }
  until read -r line <&"${SWAPS[0]}" && [ "$line" = ready ]; do :; done
  load "$address" "$seconds" > "$work/$mode.json" &
  loader=$!
  swapper=$SWAPS_PID
  echo go >&"${SWAPS[1]}"
  while read -r line <&"${SWAPS[0]}"; do case $line in {*) swaps=$line; break ;; esac; done
  wait "$loader"
  echo end >&"${SWAPS[1]}"
  wait "$swapper" || true
  echo "$mode: $swaps"
  echo "$mode: $(cat "$work/$mode.json")"
done

# The control: what a service manager does.
address=127.0.0.1:$(port)
mkdir "$work/state"
"$work/node-2.3.0" serve --state "$work/state" --listen "$address" 2> /dev/null & node=$!
sleep 1
load "$address" "$seconds" > "$work/plain.json" & loader=$!
for swap in $(seq "$count"); do
  sleep 0.5
  kill -TERM "$node"; wait "$node" || true
  "$work/node-2.$((3 + swap % 2)).0" serve --state "$work/state" --listen "$address" 2> /dev/null & node=$!
done
sleep 1
wait "$loader"
kill -TERM "$node"
echo "plain stop and start, $count times: $(cat "$work/plain.json")"

python3 - "$work" <<'PY'
import json, sys
for mode in ("queue", "overlap"):
    seen = json.load(open(f"{sys.argv[1]}/{mode}.json"))
    assert seen["requests"] > 1000 and seen["failed"] == 0, (mode, seen)
assert json.load(open(f"{sys.argv[1]}/plain.json"))["failed"] > 0, "the control shows nothing"
PY
