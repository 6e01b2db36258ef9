#!/usr/bin/env bash
# What mirroring 10 % of live connections costs all of them: pairs of runs of wrk, each request on a connection of its own, with
# and without a release in the shadow; then with shadows that stand still, die, or flood.   updater/benches/tee.sh [PAIRS]
set -euo pipefail
cd "$(dirname "$0")/../.."
pairs=${1:-12}
command -v wrk > /dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends wrk > /dev/null; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
examples/node/source 2.0.0 "$work/source"
cp -RL tests/releases/2.3.0/. "$work/source"
(cd "$work/source" && CARGO_TARGET_DIR="$work/target" cargo build --quiet --release --offline --locked 2> /dev/null)
cp "$work/target/release/examplenode" "$work/node"

TEE_RUNS=$pairs TEE_NODE=$work/node cargo test --quiet --locked -p countersign-updater --test mirrored -- --nocapture bench \
  | tee "$work/out"
python3 - "$work/out" <<'PY'
import json, sys
seen = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
medians = {one["shadow"]: one for one in seen if "pairs" in one}
assert len(medians) == 4, medians
assert all(one["failed"] == 0 for one in medians.values()), medians
same = medians["the same node"]
assert same["pairs"] < 10 or same["p99-ratio"] <= 1.25, same
PY
