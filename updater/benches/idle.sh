#!/usr/bin/env bash
# What an agent and a supervisor cost that have nothing to do: memory, and processor time over a minute.
#
#   updater/benches/idle.sh [SECONDS]
#
# The limits of issue 5: 15 MiB and 0.1 % of a core for the agent. PROFILE=dev for the unoptimised program; TARGET: where to
# build it.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:-60} profile=${PROFILE:-release} target=${TARGET:-target}
work=$(mktemp -d -p "${WORK:-/tmp}")
children=()
trap 'for child in "${children[@]}"; do kill "$child" 2> /dev/null || true; done; wait; rm -rf "$work"' EXIT

${CARGO:-cargo} build --quiet --locked --profile "$profile" --package countersign-updater --bins --example cost --target-dir "$target"
built=$target/${profile/dev/debug}
mkdir -p "$work/tree/bin"
cat > "$work/tree/bin/node" <<'PY'
#!/usr/bin/env python3
import os, signal, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
PY
"$built/examples/cost" repository "$work" "$work/tree" > "$work/said"
node=$work/node
"$built/countersign-updater" install --repository "file://$work/public" --root "$work/public/metadata/1.root.json" \
  --product example "$node" > "$work/said"
"$built/countersign-updater" supervise "$node" > "$work/supervise.log" 2>&1 & children+=($!)
"$built/countersign-updater" run "$node" > "$work/run.log" 2>&1 & children+=($!)
until "$built/countersign-updater" status "$node" 2> /dev/null | grep -q '^node  *ready'; do sleep 0.2; done
until grep -q 'nothing newer' "$work/run.log"; do sleep 0.2; done

# Nanoseconds on a processor, of all threads.
nanos() { cat "/proc/$1/task/"*/schedstat | awk '{ all += $1 } END { printf "%.0f\n", all }'; }
names=(supervisor agent) begin=()
for child in "${children[@]}"; do begin+=("$(nanos "$child")"); done
sleep "$time"
for n in 0 1; do
  child=${children[$n]}
  spent=$(($(nanos "$child") - ${begin[$n]}))
  memory=$(awk '/^VmRSS/ { print $2 }' "/proc/$child/status") peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$child/status")
  awk -v name="${names[$n]}" -v kib="$memory" -v peak="$peak" -v spent="$spent" -v time="$time" 'BEGIN {
    share = spent / 1e9 / time * 100
    printf "%-10s %.1f MiB resident (most: %.1f), %.3f %% of a core over %d s\n", name, kib / 1024, peak / 1024, share, time
    exit name == "agent" && (kib > 15 * 1024 || share > 0.1)
  }'
done
