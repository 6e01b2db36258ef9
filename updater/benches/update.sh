#!/usr/bin/env bash
# An update of a 100 MiB artifact from its metadata to the synced store, beside `curl | sha256sum | tar --zstd -x` to the same
# synced disk: the same server, in turns, medians.
#
#   updater/benches/update.sh [ROUNDS] [FILE]   FILE: what the artifact is made of [default: the compiler's library]
#
# The limit of issue 5: 1.3 times. PROFILE=dev for the unoptimised program; TARGET: where to build it.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-9} file=${2:-} profile=${PROFILE:-release} target=${TARGET:-target}
[ -n "$file" ] || file=$(ls -S "$(rustc --print sysroot)"/lib/librustc_driver*.so | head -1)
work=$(mktemp -d -p "${WORK:-/tmp}")
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

${CARGO:-cargo} build --quiet --locked --profile "$profile" --package countersign-updater --example cost --target-dir "$target"
cost=$target/${profile/dev/debug}/examples/cost

# One program of 60 MiB, forty files of 1 MiB.
mkdir -p "$work/tree/bin" "$work/tree/share"
head -c 60M "$file" > "$work/tree/bin/node"
for part in $(seq 40); do tail -c +$((part * 1500000)) "$file" | head -c 1M > "$work/tree/share/$part" || true; done
"$cost" repository "$work" "$work/tree"
root=$work/public/metadata/1.root.json

python3 -u -m http.server --bind 127.0.0.1 --directory "$work/public" 0 > "$work/server" 2> /dev/null &
server=$!
until grep -qs 'port [0-9]' "$work/server"; do sleep 0.05; done
url=http://127.0.0.1:$(grep -o 'port [0-9]*' "$work/server" | cut -d' ' -f2)/
served=$(cd "$work/public" && ls targets/*/1.0.0/*)
digest=$(sha256sum "$work/public/$served" | cut -d' ' -f1)

seconds() { local begin=$EPOCHREALTIME; "$@" > "$work/said"; local end=$EPOCHREALTIME; echo "$(((${end/./} - ${begin/./}) / 1000))"; }
ours() { "$cost" update "$work/node" "$root" "$url" 1.0.0; }
theirs() {
  mkdir "$work/out"
  curl -sf "$url$served" | tee >(sha256sum > "$work/sum") | tar --zstd -x -C "$work/out"
  sync -f "$work/out"
  until [ -s "$work/sum" ]; do :; done
  grep -q "$digest" "$work/sum"
}
fresh() { rm -rf "$work/node" "$work/out" "$work/sum"; sync -f "$work"; }

for round in $(seq "$rounds"); do
  fresh; a=$(seconds ours); said=$(cat "$work/said")
  fresh; b=$(seconds theirs)
  echo "$a $b" >> "$work/rounds"
  echo "round $round: updater $a ms, curl and tar $b ms    ($said)"
done
python3 - "$work/rounds" <<'PY'
import statistics, sys
pairs = [tuple(map(int, line.split())) for line in open(sys.argv[1])]
ours, theirs = (statistics.median(column) for column in zip(*pairs))
ratio = statistics.median(a / b for a, b in pairs)
print(f"updater {ours:.0f} ms, curl and tar {theirs:.0f} ms, median of the pairs' ratios {ratio:.2f} (limit 1.3)")
sys.exit(ratio > 1.3)
PY
