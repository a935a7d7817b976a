"""The files of a log: opened, checked and locked. The only place that knows SQLite's settings."""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from gateway.errors import StoreLocked, StoreNewer

version = 1
"""Of the tables. A newer log is refused, an older one is migrated."""

name = "events.db"

T = TypeVar("T")


class Connection(aiosqlite.Connection):
    """aiosqlite's thread, given whole functions: one hop per batch instead of one per statement."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call function(sqlite3 connection, *args) on the connection's thread."""
        execute: Any = self._execute
        result: T = await execute(function, self._conn, *args)
        return result


async def connect(path: Path) -> Connection:
    """The one connection that writes and checkpoints."""
    connection = Connection(lambda: sqlite3.connect(path, isolation_level=None), 64)
    await connection
    return connection


async def connect_to_read(path: Path) -> Connection:
    """A connection that can't write, not even a checkpoint: two writers at once can corrupt a WAL before SQLite 3.51.3."""
    connection = Connection(lambda: open_to_read(path), 64)
    await connection
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """The same, for commands that need no event loop."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)


def lock(folder: Path) -> int:
    """Take the folder for this process until it ends, and give the descriptor that holds the lock."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreLocked(
            f"{folder}: another redcar is running on this log: stop it first, or use another folder"
        ) from None
    return descriptor


def prepare(db: sqlite3.Connection) -> int:
    """Make or check the tables, set what durability rests on, and give the epoch."""
    db.execute("pragma page_size = 1024")  # a commit rewrites its last page: 35 % fewer bytes on the card at low rates
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("pragma journal_size_limit = 16777216")
    db.execute("pragma wal_autocheckpoint = 8000")
    settings = (db.execute("pragma journal_mode").fetchone()[0], db.execute("pragma synchronous").fetchone()[0])
    if settings != ("wal", 2):
        raise StoreLocked(
            f"the log's file system doesn't allow SQLite's WAL with synchronous=FULL (it gives {settings}): use a local disk"
        )
    found = db.execute("pragma user_version").fetchone()[0]
    if found > version:
        raise StoreNewer(
            f"the log has version {found}, this redcar knows up to {version}: upgrade redcar, or use another data folder"
        )
    if found == 0:
        schema = files("gateway.store").joinpath("schema.sql").read_text()
        db.executescript(f"begin; {schema} pragma user_version = {version}; commit;")
        db.execute("insert into meta values ('epoch', ?)", (secrets.randbits(63) | 1,))
    epoch: int = db.execute("select value from meta where key = 'epoch'").fetchone()[0]
    return epoch
