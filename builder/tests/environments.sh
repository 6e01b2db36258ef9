#!/usr/bin/env bash
# Environments as people have them: real Debian packages, a plain user, a machine without a network, an image that buildah
# wrote. Needs root, apt's sites and buildah.   builder/tests/environments.sh [BUILDER]
set -euo pipefail
builder=$(realpath "${1:-target/debug/countersign-builder}")
# buildah takes paths in lower case only.
work=$(mktemp -d -p "${TMPDIR:-/tmp}" countersign-environments.XXXXXX)
mv "$work" "${work,,}"
work=${work,,}
trap 'rm -rf "$work" 2> /dev/null || :' EXIT
chmod 755 "$work"
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
cp "$builder" "$work/builder"

recipe() {
  mkdir -p "$work/$1"
  cat > "$work/$1/countersign.toml" <<TOML
product = "tools"
version = "1.0.0"
[source]
kind = "directory"
[environment]
$2
[build]
steps = [
  "make",
  "./hello > out; cc --version >> out; c++ --version >> out",
  "python3 -c 'import json, ssl, sqlite3, hashlib, ctypes; print(json.dumps({1: 2}))' >> out",
  "perl -MPOSIX -MData::Dumper -e 'print Dumper([1])' >> out",
  "echo 1 2 | awk '{print \$2}' >> out; automake --version >> out",
]
[outputs]
"bin/hello" = "hello"
"out" = "out"
TOML
  printf 'hello: hello.c\n\tcc -O2 -g "-ffile-prefix-map=$(CURDIR)=." -o hello hello.c\n' > "$work/$1/Makefile"
  printf '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n' > "$work/$1/hello.c"
}
run() { XDG_CACHE_HOME=$work/$1-cache "$work/builder" "${@:2}"; }
field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."): value = value[name]
print(value)' "$1"; }
same() { [ "$1" = "$2" ] || { echo "NOT THE SAME: $3: $1 $2"; exit 1; }; echo "the same: $3"; }

recipe debian $'kind = "debian"\ntools = ["c"]\npackages = ["automake", "g++", "perl", "python3"]'
cp -r "$work/debian" "$work/user"
chown -R 4242:4242 "$work/user"
mkdir "$work/user-cache"
chown 4242:4242 "$work/user-cache"

echo "== locked and built by root, and by a plain user with a cache of its own"
run root lock "$work/debian"
setpriv --reuid 4242 --regid 4242 --clear-groups env HOME=/nonexistent "XDG_CACHE_HOME=$work/user-cache" \
  "$work/builder" lock "$work/user"
same "$(sha256sum < "$work/debian/countersign.lock")" "$(sha256sum < "$work/user/countersign.lock")" "the lock"
built=$(run root build "$work/debian" -o "$work/built" --json | field sha256)
user=$(setpriv --reuid 4242 --regid 4242 --clear-groups env HOME=/nonexistent "XDG_CACHE_HOME=$work/user-cache" \
  "$work/builder" build "$work/user" -o "$work/user/built" --json | field sha256)
same "$built" "$user" "the artifact"

echo "== under every variation"
run root check "$work/debian" --vary all

echo "== rebuilt without a network, from what is stored with the release, with nothing in the cache"
XDG_CACHE_HOME=$work/fresh-cache unshare -n "$work/builder" rebuild --release "$work/built" -o "$work/again"

echo "== as an image: written twice, opened by buildah, saved by buildah in docker's and in OCI's shape, built in"
one=$(run root env export "$work/debian" -o "$work/one" --json | field manifest)
two=$(XDG_CACHE_HOME=$work/fresh-cache "$work/builder" env export "$work/debian" -o "$work/two" --json | field manifest)
same "$one" "$two" "the image's manifest"
container=$(buildah "${store[@]}" from "oci:$work/one/oci" 2> "$work/log" | tail -1)
buildah "${store[@]}" run --isolation chroot "$container" -- /bin/sh -c 'cc --version | head -1; python3 --version'
image=$(buildah "${store[@]}" commit -q "$container")
buildah "${store[@]}" push -q "$image" "docker-archive:$work/saved.tar:tools:1"
buildah "${store[@]}" push -q "$image" "oci-archive:$work/oci.tar"
for shape in one/oci saved.tar oci.tar; do
  recipe image $'kind = "oci"\nimage = "'"$work/$shape"$'"'
  run root lock "$work/image"
  same "$built" "$(run root build "$work/image" -o "$work/of-image" --json | field sha256)" "the artifact, built in $shape"
done
