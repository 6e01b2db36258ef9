#!/usr/bin/env bash
# What a hermetic build costs over the same steps run bare: pairs, in turn, and their medians.
#
#   builder/benches/overhead.sh [PAIRS]
#
# Built is the C library of zstd as the locked crate zstd-sys holds it, once for each of LEVELS, by make with two jobs:
# about a minute of gcc. Then what costs a sandbox most: the configure script of GNU hello, five times, and a shell that does
# nothing but start 20000 programs. Bare is `sh` with the same variables in a directory in memory; hermetic is all of
# `countersign-builder build`, from reading the recipe to the packed artifact. The limit of
# issue 3 is 3 %. Only the least processor times mean much on a busy machine.
# PARTS and LEVELS: less to build; ONLY: one of shell, configure and library; PROFILE=dev for the unoptimised builder; TARGET: where to build it.
set -euo pipefail
cd "$(dirname "$0")/../.."
pairs=${1:-5} profile=${PROFILE:-release} target=${TARGET:-target} levels=${LEVELS:-O0 O1 O2 O3 Os Og Ofast}
parts=${PARTS:-common compress decompress dictBuilder legacy}
work=$(mktemp -d -p "${WORK:-/tmp}") memory=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work" "$memory"' EXIT

${CARGO:-cargo} build --quiet --locked --profile "$profile" --package countersign-builder --target-dir "$target"
builder=$target/${profile/dev/debug}/countersign-builder
crate=$(${CARGO:-cargo} metadata --format-version 1 --locked --filter-platform x86_64-unknown-linux-gnu |
  grep -o '"manifest_path":"[^"]*/zstd-sys-[^"]*/Cargo.toml"' | head -n 1 | cut -d'"' -f4)

project() { # NAME STEP
  mkdir -p "$work/$1"
  printf '%s\n' 'product = "bench"' 'version = "1.0.0"' '[source]' 'kind = "directory"' '[environment]' 'kind = "host"' \
    'tools = ["c"]' '[build]' "steps = ['''$2''']" '[outputs]' '"thing" = "thing"' > "$work/$1/countersign.toml"
}
library='make -j2 thing'
project library "$library"
cp -r "$(dirname "$crate")/zstd/lib" "$work/library/"
printf 'levels := %s\nparts := %s\n' "$levels" "$parts" > "$work/library/Makefile"
cat >> "$work/library/Makefile" <<'MAKE'
sources := $(sort $(wildcard $(parts:%=lib/%/*.c)))
flags = -Ilib -Ilib/common -DZSTD_LEGACY_SUPPORT=1 -DZSTD_DISABLE_ASM -DXXH_NAMESPACE=Z
objects := $(foreach level,$(levels),$(sources:%.c=%.$(level).o))
define rule
%.$(1).o: %.c
	cc -$(1) $$(flags) -c -o $$@ $$<
endef
$(foreach level,$(levels),$(eval $(call rule,$(level))))
thing: $(objects)
	ar rcsD $@ $^
MAKE
shell='i=0; while [ $i -lt 20000 ]; do /bin/true; i=$((i + 1)); done; touch thing'
project shell "$shell"
configure='for i in 1 2 3 4 5; do ./configure --disable-nls CFLAGS=-O2 > log; done; make >> log; mv hello thing'
project configure "$configure"
cp -r builder/foreign/hello "$work/hello"
"$builder" lock "$work/hello" > /dev/null 2>&1
hello=$(sed -n 's/^sha256 = .* = "\([0-9a-f]*\)" }$/\1/p' "$work/hello/countersign.toml")
tar -xzf "${XDG_CACHE_HOME:-$HOME/.cache}/countersign/inputs/$hello" -C "$work/configure" --strip-components=1

TIMEFORMAT='%R %U %S'
bare() { # NAME STEP
  rm -rf "$memory/src" && cp -a "$work/$1" "$memory/src"
  { time env -i -C "$memory/src" PATH=/usr/bin:/bin HOME="$memory" TMPDIR="$memory" LC_ALL=C.UTF-8 TZ=UTC \
    SOURCE_DATE_EPOCH=1767225600 sh -euc "$2" > /dev/null 2> "$work/err"; } 2>&1 || { cat "$work/err" >&2; return 1; }
}
hermetic() { # NAME
  rm -rf "$work/out"
  { time "$builder" build "$work/$1" -o "$work/out" > /dev/null 2> "$work/err"; } 2>&1 || { cat "$work/err" >&2; return 1; }
}
least() { sort -n | head -n 1; }
median() { sort -n | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

echo '| what | bare, s | hermetic, s | overhead of wall time | of processor time | least processor time, bare and hermetic, s |'
echo '|---|---|---|---|---|---|'
for what in ${ONLY:-shell configure library}; do
  "$builder" lock "$work/$what" > /dev/null 2>&1
  : > "$work/$what.wall"; : > "$work/$what.cpu"; : > "$work/$what.pairs"
  for _ in $(seq "$pairs"); do
    read -r bare_wall bare_user bare_system <<< "$(bare "$what" "${!what}")"
    read -r wall user system <<< "$(hermetic "$what")"
    echo "$bare_wall $wall" >> "$work/$what.pairs"
    awk "BEGIN { print ($wall / $bare_wall - 1) * 100 }" >> "$work/$what.wall"
    awk "BEGIN { print $bare_user + $bare_system }" >> "$work/$what.bare"
    awk "BEGIN { print $user + $system }" >> "$work/$what.hermetic"
    awk "BEGIN { print (($user + $system) / ($bare_user + $bare_system) - 1) * 100 }" >> "$work/$what.cpu"
  done
  printf '| %s | %.1f | %.1f | %.1f %% | %.1f %% | %.2f and %.2f |\n' "$what" \
    "$(cut -d' ' -f1 "$work/$what.pairs" | median)" "$(cut -d' ' -f2 "$work/$what.pairs" | median)" \
    "$(median < "$work/$what.wall")" "$(median < "$work/$what.cpu")" \
    "$(least < "$work/$what.bare")" "$(least < "$work/$what.hermetic")"
done
echo
echo "Medians of $pairs pairs."
