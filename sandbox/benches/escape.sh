#!/usr/bin/env bash
# Every attempt of tests/escape in our sandbox, in bubblewrap's and in none, as root and as a plain user: a table.
#
#   sandbox/benches/escape.sh
#
# Fails when something gets through ours. Run it as root, on a machine with bubblewrap.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v bwrap > /dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends bubblewrap > /dev/null; }
${CARGO:-cargo} test --quiet --locked --package countersign-sandbox --test escape -- table
