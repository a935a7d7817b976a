"""The files of a log: opened, checked and locked. The only place that knows SQLite's settings."""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import msgspec
from msgspec import Struct

from gateway.errors import StoreFailed, StoreLocked
from gateway.store.rows import Statement, mark_of

name = "events.db"

wal_limit = 16_777_216
"""Bytes to which the WAL is cut after a checkpoint."""

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


def open_damaged(path: Path) -> sqlite3.Connection:
    """The same for a file that is known to be damaged: what can be read is read, though the schema may be at odds with it."""
    db = open_to_read(path)
    db.execute("pragma writable_schema = on")
    return db


def sync(path: Path) -> None:
    """Have it survive a power cut: what is in a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


beside = ("-wal", "-shm")
"""Ends of the names of the files that SQLite keeps beside a log."""


def unused(path: Path) -> Path:
    """That name, or the first with a number behind it that nobody has."""
    names = (path.with_name(f"{path.name}.{number}") for number in count(2))
    return next(name for name in chain([path], names) if not name.exists())


def rename(log: Path, to: Path) -> None:
    """Move a log with what stands beside it; itself last: interrupted, the same can be done again."""
    for end in (*beside, ""):
        if (file := log.with_name(log.name + end)).exists():
            file.rename(to.with_name(to.name + end))


def lock(folder: Path) -> int:
    """Take the folder for this process until it ends, and give the descriptor that holds the lock."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync(folder.parent)  # else a power cut may take the whole log: SQLite sees to the names within only
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreLocked(
            f"{folder}: another redcar is running on this log: stop it first, or use another folder"
        ) from None
    return descriptor


class Found(Struct):
    """What a log says of itself when it is opened."""

    epoch: int
    mark: int
    first: int
    """The first offset that belongs to whoever reads it from its start; what lies before was salvaged or restored."""
    clean: bool
    """Whether the last process that wrote it had closed it."""
    machine: str | None
    """On which machine it was written."""
    announced: list[tuple[str, dict[str, Any]]]
    """Events that belong at its end before anything else: (type, data)."""


def tune(db: sqlite3.Connection) -> None:
    """What durability rests on, for a connection that writes."""
    db.execute("pragma page_size = 1024")  # a commit rewrites its last page: 35 % fewer bytes on the card at low rates
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute(f"pragma journal_size_limit = {wal_limit}")
    db.execute("pragma wal_autocheckpoint = 2000")  # 2 MB: at 8 MB a checkpoint held appends up for 127 ms, now for 9
    db.execute("pragma secure_delete = off")  # Debian's default is on: what is trimmed would be written once more
    settings = (db.execute("pragma journal_mode").fetchone()[0], db.execute("pragma synchronous").fetchone()[0])
    if settings != ("wal", 2):
        raise StoreLocked(
            f"the log's file system doesn't allow SQLite's WAL with synchronous=FULL (it gives {settings}): use a local disk"
        )


def version_of(db: sqlite3.Connection) -> int:
    """Of the tables that are there; 0: none."""
    found: int = db.execute("pragma user_version").fetchone()[0]
    return found


def set_version(db: sqlite3.Connection, version: int) -> None:
    """Note it, within the transaction that makes it true."""
    db.execute(f"pragma user_version = {version:d}")


def prepare(db: sqlite3.Connection) -> Found:
    """Say what a log says of itself. From now on it counts as not closed."""
    meta = dict(db.execute("select key, value from meta").fetchall())
    if "epoch" not in meta:
        meta["epoch"] = new_epoch()
        db.execute("insert into meta values ('epoch', ?)", (meta["epoch"],))
    db.execute("insert or replace into meta values ('clean', 0)")
    announced = msgspec.json.decode(meta.get("announced", "[]"), type=list[tuple[str, dict[str, Any]]])
    return Found(
        meta["epoch"], mark_of(db), meta.get("first", 1), bool(meta.get("clean", 1)), meta.get("machine"), announced
    )


def new_epoch() -> int:
    """Names a log; no other has the same."""
    return secrets.randbits(63) | 1


def kept(key: str, value: int | str) -> Statement:
    """Remember a fact about the log."""
    return "insert or replace into meta values (?, ?)", (key, value)


def forgotten(key: str) -> Statement:
    """Forget it."""
    return "delete from meta where key = ?", (key,)


last_mark = "select value from meta where key = 'mark'"


def found_anew(db: sqlite3.Connection, mark: int, type: str, data: dict[str, Any], *, empty: bool) -> None:
    """Begin a new epoch, with offsets beyond the mark, whose first event says why.

    empty  nothing is in it yet: what is salvaged later lies before its start
    """
    announced = msgspec.json.encode([(type, data)]).decode()
    with db:
        db.execute("begin immediate")
        db.execute(*kept("epoch", new_epoch()))
        db.execute(*kept("mark", mark))
        db.execute(*kept("announced", announced))
        if empty:
            db.execute(*kept("first", mark + 1))
        db.execute(*kept("clean", 1))


def begin_again(db: sqlite3.Connection) -> int:
    """After a failed sync: the WAL must go into the file and both onto the disk before anything is written. Gives the head."""
    tune(db)
    busy, _, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
    if busy:
        raise sqlite3.OperationalError("the log is being read: its WAL can't be written back yet")
    return mark_of(db)


def finish(db: sqlite3.Connection, mark: int) -> None:
    """The last write: a log that says ``clean`` needs no check at the next start."""
    with db:
        db.execute("begin immediate")
        db.execute(*kept("mark", mark))
        db.execute(*kept("clean", 1))


class Sizes(Struct):
    """Bytes on the disk, by what they are for."""

    used: int
    """Pages of the file that hold something."""
    spare: int
    """Pages of the file that are free for what comes next."""
    wal: int
    other: int
    """Ballast, and what was set aside."""

    @property
    def counted(self) -> int:
        """What the cap is about. Free pages aren't counted: they are filled before the file grows. The WAL comes and goes:
        it counts as large as it may become."""
        return self.used + max(self.wal, wal_limit) + self.other


def measure(db: sqlite3.Connection, folder: Path) -> Sizes:
    """How much of the disk the log takes."""
    page, pages, spare = (
        db.execute(f"pragma {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    wal = other = 0
    for found in folder.glob("events.*"):
        if found.name == f"{name}-wal":
            wal = found.stat().st_size
        elif found.name not in (name, f"{name}-shm"):
            other += found.stat().st_blocks * 512
    ballast = folder / Ballast.name
    return Sizes((pages - spare) * page, spare * page, wal, other + (ballast.stat().st_size if ballast.exists() else 0))


def quick_check(db: sqlite3.Connection, seconds: float, elapsed: Callable[[], float]) -> list[str] | None:
    """What is wrong with the structure of the file, [] if nothing; None if there wasn't the time to look at all of it."""
    db.set_progress_handler(lambda: elapsed() > seconds, 10_000)
    try:
        found = [row[0] for row in db.execute("pragma quick_check(20)")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
            return None
        return [str(error)]
    finally:
        db.set_progress_handler(None, 0)
    return [] if found == ["ok"] else found


def columns(db: sqlite3.Connection, table: str) -> list[tuple[int, str]]:
    """Number and name of the columns of a table; [] if there is none."""
    return [row[:2] for row in db.execute(f"pragma table_info({table})")]


def check_all(db: sqlite3.Connection) -> list[str]:
    """Everything that is wrong with the file, without a limit of time."""
    found = [row[0] for row in db.execute("pragma integrity_check")]
    return [] if found == ["ok"] else found


class Ballast:
    """Room kept for the day the disk is full: letting it go makes the log able to write, and so to trim, again."""

    name = "ballast"

    def __init__(self, folder: Path, size: int) -> None:
        self.path = folder / self.name
        self.size = size

    def let_go(self) -> bool:
        """Whether there was any."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def put_back(self) -> bool:
        """Reserve it, if three times as much is free: it must not be what fills the disk."""
        if not self.size or self.path.exists():
            return self.path.exists()
        room = os.statvfs(self.path.parent)
        if room.f_bavail * room.f_frsize < 3 * self.size:
            return False
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
        except OSError:
            self.path.unlink()
            return False
        finally:
            os.close(descriptor)
        return True


def mark_damaged(folder: Path) -> None:
    """Have the log set aside at the next start: SQLite has found it damaged while writing."""
    try:
        (folder / "damaged").touch()
    except OSError as error:
        raise StoreFailed(f"{folder}: the log is damaged, and the disk doesn't take a note of it: {error}") from error
