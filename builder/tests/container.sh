#!/usr/bin/env bash
# A locked project, built hermetically and in a container FROM scratch: the same files.
#   builder/tests/container.sh BUILDER PROJECT DOCKERFILE
set -euo pipefail
builder=$1 project=$2 dockerfile=$3
work=$(mktemp -d -p "${TMPDIR:-/tmp}")
trap 'rm -rf "$work" 2> /dev/null || :' EXIT
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")

"$builder" build "$project" -o "$work/built"
"$builder" export "$project" -o "$work/context"
buildah "${store[@]}" build --isolation chroot -f "$dockerfile" -t made "$work/context"
rm -rf "$work/context"
container=$(buildah "${store[@]}" from --pull-never made)
mounted=$(buildah "${store[@]}" mount "$container")

mkdir "$work/hermetic"
tar --zstd -x -f "$work"/built/*.tar.zst -C "$work/hermetic"
diff -r "$work/hermetic" "$mounted/artifact"
(cd "$work/hermetic" && find . -type f | sort | xargs sha256sum)
echo "the same files, hermetic and in the container"
