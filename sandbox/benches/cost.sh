#!/usr/bin/env bash
# What a sandbox with every protection costs beside bubblewrap's with the same tree: /bin/true in each, in turn, as root and as a
# plain user; medians, and the median of the ratios pair by pair. `shadow run` is the whole program, `enter` the sandbox alone.
#
#   sandbox/benches/cost.sh [PAIRS]
#
# The limit of issue 6, and of issue 3 for the sandbox's entry: 1.5 times bubblewrap's. TARGET: where to build.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${TARGET:-target}
command -v bwrap > /dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends bubblewrap > /dev/null; }
${CARGO:-cargo} build --quiet --release --locked --target-dir "$target" -p countersign-updater --bin countersign-updater
${CARGO:-cargo} build --quiet --release --locked --target-dir "$target" -p countersign-sandbox --example enter
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cp "$target/release/countersign-updater" "$target/release/examples/enter" "$work"
python3 - "$work" "${1:-60}" <<'PY'
import os, statistics, sys, time

work, pairs = sys.argv[1], int(sys.argv[2])
null = os.open("/dev/null", os.O_RDWR)
tree = []
for name in ["/usr", "/bin", "/sbin", "/lib", "/lib64"]:
    tree += ["--symlink", os.readlink(name), name] if os.path.islink(name) else ["--ro-bind", name, name]
bwrap = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "node",
         *tree, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/dev/shm", "/bin/true"]
shadow = [work + "/countersign-updater", "shadow", "run", "--", "/bin/true"]
enter = [work + "/enter", "/bin/true"]
plain = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] if os.geteuid() == 0 else []

def once(command):
    begun = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ,
                          file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)])
    _, status, used = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{command} ended with {status}")
    return (time.perf_counter() - begun) * 1e3, (used.ru_utime + used.ru_stime) * 1e3

print(f"| median of {pairs} pairs | wall, ours | wall, bwrap | ratio | processor, ours | processor, bwrap | ratio |")
print("|---|---|---|---|---|---|---|")
over = False
for user, before in [("root", []), ("plain user", plain)] if os.geteuid() == 0 else [("plain user", [])]:
    for name, command in [("enter", enter), ("shadow run", shadow)]:
        once(before + command), once(before + bwrap)
        seen = [(once(before + command), once(before + bwrap)) for _ in range(pairs)]
        median = lambda pick: statistics.median(map(pick, seen))
        wall = median(lambda s: s[0][0] / s[1][0])
        cpu = median(lambda s: s[0][1] / max(s[1][1], 0.001))
        print(f"| `{name}`, {user} | {median(lambda s: s[0][0]):.1f} ms | {median(lambda s: s[1][0]):.1f} ms | **{wall:.2f}** "
              f"| {median(lambda s: s[0][1]):.1f} ms | {median(lambda s: s[1][1]):.1f} ms | {cpu:.2f} |", flush=True)
        over |= wall > 1.5
sys.exit(over)
PY
