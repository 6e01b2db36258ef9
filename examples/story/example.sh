# The example node's story, sourced by ./demo: five versions, one node, one client that never stops writing.
# shellcheck shell=bash disable=SC2154

repo=$run/repo node=$run/node product=examplenode
platform=$(countersign-builder platform)

# shellcheck source=/dev/null
. "$here/examples/story/verbs.sh"
source_of() { # VERSION DIR: the release engineer's source tree, locked
  "$here/examples/node/source" "$1" "$2"
  countersign-builder lock "$2" > /dev/null
}
version() { curl -fsS --max-time 20 "http://$address/node/version"; }
runs() { version | grep -q "\"version\":\"$1\""; }

# ------------------------------------------------------------------------------------------------------- keys
chapter "1. Three keyholders make their keys; two of them must agree"
make_keys
say "The keys are minisign files: the stock tool reads them. (Real ones have a password; a demo has nobody to type it.)"
make_repository
good "A repository of plain files: root, targets, snapshot, timestamp, and one delegated role for $product."

# -------------------------------------------------------------------------------------------------- version 1
chapter "2. Version 1 is built without a network, and rebuilt by others"
build 1.0.0
draft 1.0.0
say "Alice rebuilds it as another user, on a host of another name, in another directory; Bob a year later, with another CPU count:"
rebuild alice path,user,hostname
rebuild bob time,cpus
good "Equal to the byte, twice."
say "For comparison, the same source with the date of the build planted in it:"
source_of planted "$run/src/planted"
refused 1 countersign-builder check "$run/src/planted" --vary path,time
say "Alice and Bob have each rebuilt it; they read what they sign, and sign:"
do_ countersign-keys review --root "$root" "$repo/drafts/$draft/$product.request.json"
sign alice
sign bob
merge alice bob
do_ countersign-metadata status --repo "$repo" "$draft"
publish

chapter "3. Any web server will do; this one is small"
serve_repository
good "The repository is at $url"

# ----------------------------------------------------------------------------------------------------- a node
chapter "4. A node is installed from that address and the root file, nothing else"
address=127.0.0.1:$(journey-client free-port)
do_ countersign-updater install "$node" --repository "$url" --root "$root" --product "$product" \
  --listen "http=$address" --delay 2s..5s --shadow-for 3s --probation-for 4s
background countersign-updater supervise "$node" > "$run/supervise.log" 2>&1
wait_for 30 "the node answers" version
say "    $(version)"
background journey-client http "$address" --rate 300 --file "$run/record.json" --until-file "$run/stop-writing" > "$run/client.log" 2>&1
client=${pids[-1]}
good "It runs version 1.0.0, and a client writes 300 values a second: no retries, every failure counted."

# -------------------------------------------------------------------------------------------------- version 2
chapter "5. Version 2 brings a migration; the node updates itself under load"
release 2.0.0
from=$(now_ms)
do_ countersign-updater run "$node" --until-idle
to=$(now_ms)
runs 2.0.0 || fail "the node does not run version 2.0.0"
say "    $(version)"
good "Verified, run in the shadow on a copy of the state, delayed at random, swapped."
touch "$run/stop-writing"; wait "$client" || true
indent < "$run/client.log"
say "Requests inside and outside the update:"
do_ journey-client counts "$run/record.json" --from "$from" --to "$to"
do_ journey-client check "$address" "$run/record.json"
good "No request failed, and every value that was acknowledged is there."

# -------------------------------------------------------------------------------------------------- version 3
chapter "6. Version 3 phones home, and is refused in the shadow"
release 3.0.0
refused 1 countersign-updater run "$node" --until-idle
runs 2.0.0 || fail "the node left version 2.0.0"
good "Still version 2.0.0, which tried to reach nothing."

# -------------------------------------------------------------------------------------------------- version 4
chapter "7. Version 4 crashes after the swap, and is rolled back"
release 4.0.0
background journey-client http "$address" --rate 200 --file "$run/record4.json" --until-file "$run/stop-writing4" > "$run/client4.log" 2>&1
client=${pids[-1]}
refused 1 countersign-updater run "$node" --until-idle
touch "$run/stop-writing4"; wait "$client" || true
indent < "$run/client4.log"
wait_for 30 "version 2.0.0 answers again" runs 2.0.0
say "    $(version)"
do_ journey-client check "$address" "$run/record4.json"
good "Back on version 2.0.0. Requests in flight during the crashes failed, as they must; no acknowledged write was lost."

# ------------------------------------------------------------------------------------- not enough, and not equal
chapter "8. A version that only one keyholder signed"
build 5.0.0; draft 5.0.0
rebuild alice path,user,hostname; sign alice; merge alice
refused 1 countersign-metadata publish --repo "$repo" "$draft" --signer "$online"
do_ countersign-metadata status --repo "$repo" "$draft"
say "The publisher's own tool refuses it. A publisher who forces it out all the same meets the nodes' own check:"
cp -r "$repo/public" "$run/forced"
hostile-publisher "$repo/drafts/$draft" "$run/forced" "$product" "$online" 2> /dev/null
serve "$run/forced" forced
refused 6 countersign-updater install "$run/node-forced" --root "$root" --product "$product" --repository "$served"

chapter "9. An artifact with one flipped byte on the mirror"
cp -r "$repo/public" "$run/flipped"
file=$(ls "$run/flipped/targets/$product/2.0.0/"*.tar.zst)
printf '\x%02x' $(( $(od -An -tu1 -j 1000 -N 1 "$file") ^ 1 )) \
  | dd of="$file" bs=1 seek=1000 conv=notrunc status=none
serve "$run/flipped" flipped
refused 6 countersign-updater install "$run/node-flipped" --version 2.0.0 --root "$root" --product "$product" --repository "$served"

# ------------------------------------------------------------------------------------------------- a stranger
chapter "10. A stranger checks version 2 from the address and the root file alone"
mkdir -p "$run/stranger"
brief 2 countersign-keys generate stranger --dir "$run/stranger" --label stranger --no-password
brief 2 countersign-builder rebuild --repository "$url" --root "$root" --product "$product" --version 2.0.0 \
  --vary path,user,hostname,time,cpus -o "$run/stranger/rebuilt" \
  --identity-file "$run/stranger/stranger.pub" --signer "countersign-keys sign --yes --key $run/stranger/stranger.key"
say "The verdict goes to the repository, where it needs no trust in whoever serves it:"
do_ countersign-metadata attest --repo "$repo" "$run/stranger/rebuilt/verdict.dsse.json"
name=$product-2.0.0-$platform.tar.zst
curl -fsS -o "$run/stranger/$name" "$url/targets/$product/2.0.0/$(basename "$(ls "$repo/public/targets/$product/2.0.0/"*"$name")")"
do_ countersign-updater verify "$run/stranger/$name" --repository "$url" --root "$root" --product "$product"
say "The stock commands that it printed, run as they are:"
(cd "$run/stranger" && countersign-updater verify "$name" --repository "$url" --root "$root" --product "$product" --json \
  | journey-client stock-commands --file "$name" > stock.sh && do_ sh -eux stock.sh)
good "minisign and sha256sum agree."

# ---------------------------------------------------------------------------------------------------- the end
chapter "11. What the node knows of itself"
do_ countersign-updater status "$node"
do_ countersign-updater history "$node"
