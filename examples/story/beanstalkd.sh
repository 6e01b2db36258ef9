# A daemon that nobody here wrote, sourced by ./demo --real: beanstalkd from its published source, two builds, one queue of jobs.
# shellcheck shell=bash disable=SC2154

repo=$run/repo node=$run/node product=beanstalkd
for package in pkg-config libsystemd-dev make; do
  dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' \
    || fail "beanstalkd is built with $package (apt-get install pkg-config libsystemd-dev make)"
done
# shellcheck source=/dev/null
. "$here/examples/story/verbs.sh"
source_of() { # VERSION DIR: the recipe names the source by digest; nothing of it lies in this repository
  mkdir -p "$2"
  cp "$here/examples/beanstalkd/$1/countersign.toml" "$2/"
  countersign-builder lock "$2" > /dev/null
}

chapter "1. Three keyholders, two of them must agree; a repository for $product"
make_keys
make_repository

chapter "2. beanstalkd 1.13 as its authors build it: from the published source, by digest"
indent < "$here/examples/beanstalkd/1.13.0/countersign.toml"
release 1.13.0

chapter "3. A node is installed and takes jobs"
serve_repository
address=127.0.0.1:$(journey-client free-port)
do_ countersign-updater install "$node" --repository "$url" --root "$root" --product "$product" \
  --listen "beanstalk=$address" --delay 2s..5s --shadow-for 3s --probation-for 4s
background countersign-updater supervise "$node" > "$run/supervise.log" 2>&1
wait_for 30 "the daemon answers" journey-client beanstalk-stats "$address"
do_ journey-client beanstalk-stats "$address"
background journey-client beanstalk "$address" --rate 200 --file "$run/record.json" --until-file "$run/stop-writing" > "$run/client.log" 2>&1
client=${pids[-1]}
good "It runs, and a client puts 200 jobs a second: no retries, every failure counted."

chapter "4. 1.13.1: the same source, built with the hardening that distributions use"
{ show diff "$here/examples/beanstalkd/1.13.0/countersign.toml" "$here/examples/beanstalkd/1.13.1/countersign.toml"; diff "$here/examples/beanstalkd/1.13.0/countersign.toml" "$here/examples/beanstalkd/1.13.1/countersign.toml" | indent; } || true
release 1.13.1
from=$(now_ms)
do_ countersign-updater run "$node" --until-idle
to=$(now_ms)
touch "$run/stop-writing"; wait "$client" || true
indent < "$run/client.log"
do_ journey-client counts "$run/record.json" --from "$from" --to "$to"
do_ journey-client beanstalk-stats "$address"
journey-client beanstalk-stats "$address" | grep -q hardened || fail "the daemon is not the hardened one"
say "Every job that was acknowledged is peeked at with the daemon's own protocol:"
do_ journey-client beanstalk-check "$address" "$run/record.json"
say "beanstalkd ends at once on TERM and drops the commands that it has not answered: those are the failures above, and the"
say "client knows of each. Connections that it had not accepted waited in the supervisor's socket and were answered after."
good "The daemon was replaced under load, its binlog came along, and no acknowledged job was lost."

chapter "5. What the node knows of itself"
do_ countersign-updater status "$node"
do_ countersign-updater history "$node"
