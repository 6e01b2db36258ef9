#!/usr/bin/env bash
# Deltas between adjacent versions of real programs: how long they are, and what making and applying one costs.
#
#   updater/benches/deltas.sh [OLD_DIR NEW_DIR]...   [default: versions of ruff and uv, as pip gives them]
#
# PROFILE=dev for the unoptimised program; TARGET: where to build it.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release} target=${TARGET:-target}
work=$(mktemp -d -p "${WORK:-/tmp}")
trap 'rm -rf "$work"' EXIT
${CARGO:-cargo} build --quiet --locked --profile "$profile" --package countersign-updater --example cost --target-dir "$target"
cost=$target/${profile/dev/debug}/examples/cost

unpack() { # NAME VERSION
  python3 -m pip download --quiet --no-deps --disable-pip-version-check -d "$work/wheels" "$1==$2"
  mkdir -p "$work/$1-$2"
  python3 -m zipfile -e "$work/wheels/$1-$2"-*.whl "$work/$1-$2"
}
pairs=("$@")
if [ ${#pairs[@]} -eq 0 ]; then
  for version in 0.14.5 0.14.6; do unpack ruff "$version"; done
  for version in 0.9.10 0.9.11; do unpack uv "$version"; done
  pairs=("$work/ruff-0.14.5" "$work/ruff-0.14.6" "$work/uv-0.9.10" "$work/uv-0.9.11")
fi
for ((n = 0; n < ${#pairs[@]}; n += 2)); do
  old=${pairs[n]} new=${pairs[n + 1]} site=$work/site$n
  echo "$(basename "$old") to $(basename "$new")"
  "$cost" repository "$site" "$old" "$new"
  for version in 1.0.0 2.0.0; do
    "$cost" update "$site/node" "$site/public/metadata/1.root.json" "file://$site/public" "$version"
  done
done
