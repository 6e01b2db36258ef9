#!/bin/sh
# 100,000 releases: what a node's refresh and lookup cost, and what adding one release costs, beside python-tuf
# and tough, in one run.
#
#   metadata/benches/scale.sh [RELEASES] [BINS]
#
# python-tuf runs where $PYTHON (default: python3) can import `tuf`; `python3 -m venv V && V/bin/pip install tuf`
# makes such a one. The limits of issue 4 are for the default numbers: 0.03 s and 16 MiB a lookup, 0.25 s an addition.
set -eu
releases=${1:-100000} bins=${2:-512} python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$here/.."
cargo build --release --quiet --locked --package countersign-metadata --no-default-features --features authoring \
    --example scale
scale=${CARGO_TARGET_DIR:-../target}/release/examples/scale
"$scale" make "$dir" "$releases" "$bins"
echo "$releases releases in $bins bins, $(du -sm "$dir" | cut -f1) MiB of metadata"
for what in lookup lookup add add lookup; do "$scale" "$what" "$dir"; done
target=$(cd "${CARGO_TARGET_DIR:-../target}" && pwd)
cargo build --release --quiet --locked --manifest-path strangers/Cargo.toml --target-dir "$target/strangers"
tough=$target/strangers/release/countersign-metadata-strangers
for what in add add lookup; do "$tough" "$what" "$dir"; done
if "$python" -c 'import tuf' 2>/dev/null; then
    for what in lookup lookup add add; do "$python" "$here/python_tuf.py" "$what" "$dir"; done
else
    echo "python-tuf is not there: PYTHON=V/bin/python after pip install tuf 'securesystemslib[crypto]'" >&2
fi
