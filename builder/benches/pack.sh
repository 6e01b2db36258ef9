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
tree "$work/middle" 2500 107374
mkdir "$work/double" && cp -r "$work/large" "$work/double/a" && cp -r "$work/large" "$work/double/b"
printf 'packed: %s files, %s MiB\n' \
  "$(find "$work/large" -type f | wc -l)" "$(du -sm --apparent-size "$work/large" | cut -f1)"

python3 - "$builder" "$work" "$pairs" << 'END'
import os, resource, statistics, subprocess, sys, time
builder, work, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3])
# What people use, as reproducible-builds.org has it. It makes one digest, ours two: of the tar and of the file.
theirs = (f"tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s -C {work}/large -cf - ."
          f" | zstd -q -10 -T0 -c | tee {work}/theirs.tar.zst | sha256sum")
def ours(tree): return f"exec {builder} pack {work}/{tree} -o {work}/ours.tar.zst --json"
def run(command):
    """Seconds on the wall, seconds of processor time, peak memory of the largest process in MiB."""
    start = time.monotonic()
    process = subprocess.Popen(["bash", "-c", command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024
run(ours("large")), run(theirs)
wall, cpu = [], []
for pair in range(pairs):
    commands = [ours("large"), theirs]
    # In turn, so that neither always runs second.
    results = {c: run(c) for c in (commands if pair % 2 else reversed(commands))}
    (a, b) = (results[c] for c in commands)
    wall.append((a[0], b[0])), cpu.append((a[1], b[1]))
for name, figures in ("wall", wall), ("processor", cpu):
    (a, b), ratio = map(statistics.median, zip(*figures)), statistics.median(a / b for a, b in figures)
    print(f"{name:9} time: ours {a:.1f} s, tar | zstd -10 -T0 | sha256sum {b:.1f} s, median ratio of {pairs} pairs {ratio:.2f}")
sizes = [os.path.getsize(f"{work}/{name}.tar.zst") for name in ("ours", "theirs")]
print(f"size: ours {sizes[0]}, theirs {sizes[1]} bytes, ratio {sizes[0] / sizes[1]:.3f}")
peaks = [f"{run(ours(tree))[2]} MiB for {size}" for tree, size in
         [("small", "64 MiB"), ("middle", "256 MiB"), ("large", "1 GiB"), ("double", "2 GiB")]]
print("peak memory of ours: " + ", ".join(peaks))
END
