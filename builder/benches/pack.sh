#!/usr/bin/env bash
# Packs a tree of 1 GiB in 10,000 files beside `tar | zstd -10 -T0 | sha256sum`, in turn, and prints medians.
# builder/benches/pack.sh [PAIRS]
set -euo pipefail
cd "$(dirname "$0")/../.."
pairs=${1:-5}
cargo build --release --locked -p countersign-builder
builder=$PWD/target/release/countersign-builder
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Programs and texts of this machine, so that it compresses as releases do: cut into 10,000 files.
tree() { # DIRECTORY FILES BYTES-EACH
  find /usr/lib /usr/bin /usr/share -xdev -type f -size +16k -print0 2> /dev/null | sort -z \
    | xargs -0 cat 2> /dev/null | head -c $(($2 * $3)) > "$work/material" || true
  mkdir -p "$1" && split -b "$3" -a 5 -d --additional-suffix .bin "$work/material" "$1/f"
  rm "$work/material"
}
tree "$work/large" 10000 107374
tree "$work/small" 625 107374
printf 'large: %s files, %s MiB; small: %s files, %s MiB\n' \
  "$(find "$work/large" -type f | wc -l)" "$(du -sm --apparent-size "$work/large" | cut -f1)" \
  "$(find "$work/small" -type f | wc -l)" "$(du -sm --apparent-size "$work/small" | cut -f1)"

ours() { "$builder" pack "$work/$1" -o "$work/ours.tar.zst" --json > /dev/null; }
# What people use, as it is said on reproducible-builds.org, with both digests that we make.
theirs() {
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s -C "$work/$1" -cf - . \
    | zstd -q -10 -T0 -c | tee "$work/theirs.tar.zst" | sha256sum > /dev/null
}
timed() { local start end; start=$(date +%s%N); "$@"; end=$(date +%s%N); echo $(((end - start) / 1000000)); }
peak() { python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' "$@"; }

ours large > /dev/null; theirs large
: > "$work/pairs"
for _ in $(seq "$pairs"); do
  echo "$(timed ours large) $(timed theirs large)" >> "$work/pairs"
done
python3 - "$work/pairs" << 'END'
import statistics, sys
pairs = [tuple(map(int, line.split())) for line in open(sys.argv[1])]
ours, theirs = (statistics.median(side) for side in zip(*pairs))
ratio = statistics.median(a / b for a, b in pairs)
print(f"ours {ours / 1000:.2f} s, tar | zstd -10 -T0 | sha256sum {theirs / 1000:.2f} s, "
      f"median ratio of {len(pairs)} pairs {ratio:.2f}")
END
printf 'size: ours %s, theirs %s bytes\n' "$(stat -c %s "$work/ours.tar.zst")" "$(stat -c %s "$work/theirs.tar.zst")"
printf 'peak memory of ours: large %s MiB, small %s MiB\n' \
  "$(peak "$builder" pack "$work/large" -o "$work/o")" "$(peak "$builder" pack "$work/small" -o "$work/o")"
