"""The same work by python-tuf: `lookup DIR [PATH]` as a client, `add DIR` as its metadata API does it (not written).

Its client walks the hash bins by itself: it reads our repository without knowing of our index.
"""

import hashlib
import json
import os
import resource
import sys
import tempfile
import time

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import FetcherInterface, Updater

WHAT, DIR, *PATH = sys.argv[1:]
BEFORE = time.process_time()


class Disk(FetcherInterface):
    """A directory as a repository."""

    def _fetch(self, url):
        path = os.path.join(DIR, url.removeprefix("dir:///"))
        if not os.path.exists(path):
            raise DownloadHTTPError("not there", 404)
        with open(path, "rb") as file:
            yield file.read()


def newest(name):
    """The newest published version of a role's file."""
    versions = [f.split(".", 1) for f in os.listdir(f"{DIR}/metadata") if not f.startswith("timestamp")]
    version = max(int(v) for v, rest in versions if rest == f"{name}.json")
    return f"{DIR}/metadata/{version}.{name}.json"


def lookup():
    with open(f"{DIR}/metadata/1.root.json", "rb") as file:
        root = file.read()
    with tempfile.TemporaryDirectory() as kept:
        updater = Updater(
            kept, "dir:///metadata/", target_base_url="dir:///targets/", fetcher=Disk(), bootstrap=root
        )
        # Its limits are smaller than ours.
        updater.config.targets_max_length = updater.config.snapshot_max_length = 32 << 20
        updater.refresh()
        path = PATH[0] if PATH else "demo/99.99.0/demo-99.99.0-linux-x86_64.tar.zst"
        found = updater.get_targetinfo(path)
        assert found is not None, path
        return path


def add():
    path = f"demo/998.{os.getpid()}.0/demo-998.{os.getpid()}.0-linux-x86_64.tar.zst"
    above = Metadata.from_file(newest("demo")).signed
    bins = len(above.delegations.roles) - 1
    number = int(hashlib.sha256(path.encode()).hexdigest()[:4], 16) >> (16 - bins.bit_length() + 1)
    name = list(above.delegations.roles)[number + 1]
    changed = Metadata.from_file(newest(name)), Metadata.from_file(newest("demo.index"))
    example = next(iter(changed[0].signed.targets.values()))
    changed[0].signed.targets[path] = TargetFile.from_dict(example.to_dict(), path)
    keys = [CryptoSigner.generate_ed25519() for _ in range(2)]
    snapshot = Metadata.from_file(newest("snapshot"))
    for role, metadata in zip((name, "demo.index"), changed):
        metadata.signed.version += 1
        metadata.signatures.clear()
        for key in keys:
            metadata.sign(key, append=True)
        data = metadata.to_bytes()
        meta = snapshot.signed.meta[f"{role}.json"]
        meta.version += 1
        meta.length, meta.hashes = len(data), {"sha256": hashlib.sha256(data).hexdigest()}
    snapshot.signed.version += 1
    snapshot.sign(keys[0])
    snapshot.to_bytes()
    timestamp = Metadata.from_file(f"{DIR}/metadata/timestamp.json")
    timestamp.sign(keys[0])
    json.loads(timestamp.to_bytes())
    return path


path = {"lookup": lookup, "add": add}[WHAT]()
cpu, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"python-tuf {WHAT} {path}: {cpu:.3f} s CPU ({cpu - BEFORE:.3f} s without imports), {peak:.1f} MiB")
