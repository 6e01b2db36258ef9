"""Two stores that are written all the while, and whether a copy of one is whole.

    writer.py sqlite|lmdb write STATE     one transaction after the other, until TERM
    writer.py sqlite|lmdb check COPY      opens it, reads all of it; exit code 1: it is not whole
"""

import os
import random
import socket
import struct
import sys

ROWS = 1500
PAGE = 3000


def ready():
    where = os.environ.get("NOTIFY_SOCKET")
    if where:
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", where)


def sqlite(verb, state):
    import sqlite3

    base = sqlite3.connect(os.path.join(state, "data.db"), isolation_level=None)
    if verb == "check":
        whole = [row[0] for row in base.execute("PRAGMA integrity_check")] == ["ok"]
        rows, total = base.execute("SELECT count(*), sum(value) FROM accounts").fetchone()
        left, right = base.execute("SELECT (SELECT n FROM left), (SELECT n FROM right)").fetchone()
        return whole and rows == ROWS and total == 1000 * ROWS and left == right
    base.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=100;")
    base.executescript(
        "BEGIN; CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, value INTEGER, junk BLOB);"
        "CREATE TABLE IF NOT EXISTS left (n INTEGER); CREATE TABLE IF NOT EXISTS right (n INTEGER);"
        "DELETE FROM left; DELETE FROM right; DELETE FROM accounts;"
        "INSERT INTO left VALUES (0); INSERT INTO right VALUES (0);"
    )
    base.executemany("INSERT INTO accounts VALUES (?, 1000, randomblob(?))", ((n, PAGE) for n in range(ROWS)))
    base.execute("COMMIT")
    ready()
    while True:
        one, other, much = random.randrange(ROWS), random.randrange(ROWS), random.randrange(100)
        base.execute("BEGIN")
        base.execute("UPDATE left SET n = n + 1")
        base.execute("UPDATE accounts SET value = value - ?, junk = randomblob(?) WHERE id = ?", (much, PAGE, one))
        base.execute("UPDATE accounts SET value = value + ?, junk = randomblob(?) WHERE id = ?", (much, PAGE, other))
        base.execute("UPDATE right SET n = n + 1")
        base.execute("COMMIT")


def lmdb(verb, state):
    import lmdb as store

    env = store.open(
        state, map_size=64 << 20, max_dbs=3, readonly=verb == "check", lock=verb != "check", sync=False, create=verb != "check"
    )
    left, right, junk = (env.open_db(name, create=verb != "check") for name in (b"left", b"right", b"junk"))
    if verb == "check":
        with env.begin() as txn:
            for _, page in txn.cursor(junk):
                if page != page[:1] * PAGE:
                    return False
            rows = list(txn.cursor(left))
            return len(rows) > 0 and rows == list(txn.cursor(right)) and txn.stat(junk)["entries"] == ROWS
    with env.begin(write=True) as txn:
        for n in range(ROWS):
            txn.put(struct.pack(">Q", n), bytes([n % 251]) * PAGE, db=junk)
    ready()
    number = 0
    while True:
        number += 1
        with env.begin(write=True) as txn:
            key, value = struct.pack(">Q", number % 512), struct.pack(">Q", number)
            txn.put(key, value, db=left)
            for _ in range(4):
                txn.put(struct.pack(">Q", random.randrange(ROWS)), bytes([number % 251]) * PAGE, db=junk)
            txn.put(key, value, db=right)


if __name__ == "__main__":
    _, kind, verb, state = sys.argv
    whole = {"sqlite": sqlite, "lmdb": lmdb}[kind](verb, state)
    sys.exit(0 if whole else 1)
