"""Opening a log: locked, migrated, looked at. One that can't be opened is set aside, and a new epoch begins at once."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway.store import files, migrate
from gateway.store.rows import Statement, is_damage

log = logging.getLogger("redcar.log")

beyond = 1_000_000_000_000
"""Where the offsets of a new epoch begin if nobody can tell how far the old ones went."""

generous = 1_000_000
"""How far beyond the last offset that can be read a new epoch begins: what was lost had numbers, too."""


restored = "restored"
"""A copy that is about to take the log's place, which is aside already."""


class Opened(Struct):
    """A log that is ready to be written."""

    db: files.Connection
    pages: files.Connection
    lock: int
    found: files.Found
    announced: list[tuple[str, dict[str, Any]]]
    """Events that belong at its end before anything else: (type, data); stored together with ``also``."""
    also: list[Statement]
    aside: Path | None
    """The damaged log that was set aside, now or at an earlier start, and isn't salvaged yet."""


async def opened(folder: Path, machine: str) -> Opened:
    """Open or make the log in that folder. Raises StoreLocked or StoreNewer."""
    os.umask(0o077)
    async with AsyncExitStack() as undo:
        lock = files.lock(folder)
        undo.callback(os.close, lock)
        path = folder / files.name
        if not path.exists() and (folder / restored).exists():
            take_restored(folder)
        if path.exists() and (folder / "damaged").exists():
            set_aside(folder, "SQLite found it damaged while writing")
        elif not path.exists() and (aside := waiting(folder)):
            (folder / "damaged").unlink(missing_ok=True)
            _begin_beyond(folder, aside, "it was set aside, and nothing had taken its place yet")
        db = await files.connect(path)
        undo.push_async_callback(db.close)
        try:
            found = await db.run(_prepare, path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            await db.close()
            set_aside(folder, str(error))
            db = await files.connect(path)
            undo.push_async_callback(db.close)
            found = await db.run(_prepare, path)
        pages = await files.connect_to_read(path)
        undo.pop_all()
    announced, also = list(found.announced), [files.forgotten("announced")] if found.announced else []
    if found.machine is None:
        also.append(files.kept("machine", machine))
    elif found.machine != machine:
        epoch = files.new_epoch()
        data = {"machine": found.machine, "epoch": f"{found.epoch:x}", "now": machine, "now_epoch": f"{epoch:x}"}
        announced.append(("log.moved", data))
        also += [files.kept("machine", machine), files.kept("epoch", epoch)]
        found.epoch = epoch
    return Opened(db, pages, lock, found, announced, also, waiting(folder))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises StoreLocked while a gateway runs."""
    lock = files.lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def take_restored(folder: Path) -> None:
    """Give a copy the log's place. What was found wrong with the log that was there says nothing of it."""
    (folder / "damaged").unlink(missing_ok=True)
    (folder / restored).rename(folder / files.name)


def _prepare(db: sqlite3.Connection, path: Path) -> files.Found:
    files.tune(db)
    migrate.bring_up(db, path)
    for table in ("lost", "owed", "state", *small):  # what readers rest on must be whole; blocks may be damaged
        for _ in db.execute(f"select * from {table}"):
            pass
    return files.prepare(db)


def set_aside(folder: Path, reason: str) -> Path:
    """Rename a log that can't be opened, and make a new one whose offsets begin beyond those of the old one."""
    path = folder / files.name
    epoch, _ = _what_can_be_told(path)
    aside = files.unused(folder / (f"events.{epoch:x}.damaged" if epoch else "events.unknown.damaged"))
    files.rename(path, aside)
    (folder / "damaged").unlink(missing_ok=True)
    _begin_beyond(folder, aside, reason)
    return aside


def _begin_beyond(folder: Path, aside: Path, reason: str) -> None:
    """Put a new log in the place of one that was set aside. It gets its name when it is complete: until then the next start
    does this again, for a log that began at 1 would use its offsets twice."""
    partial = folder / "beginning"
    for end in (*files.beside, "-journal", ""):
        partial.with_name(partial.name + end).unlink(missing_ok=True)
    epoch, _ = _what_can_be_told(aside)
    mark = max(_what_can_be_told(path)[1] for path in _aside(folder))
    mark = (mark // generous + 2) * generous if mark else beyond
    data = {"reason": reason, "kept": aside.name, "epoch": f"{epoch:x}" if epoch else None, "first": mark + 1}
    with closing(sqlite3.connect(partial, isolation_level=None)) as db:
        files.tune(db)
        migrate.bring_up(db, partial)
        with db, closing(files.open_damaged(aside)) as damaged:
            db.execute("begin")  # one for all: thousands of sessions would be as many commits
            for table in small:
                _carry(damaged, db, table)
            for table in ("owed", "state"):
                _carry(damaged, db, table, f"where {sessions}")
            for table in ("subscription", "qos2"):  # whose session is lost comes as a new client
                db.execute(f"delete from {table} where client not in (select client from session)")
        files.found_anew(db, mark, "log.damaged", data, empty=True)
    partial.rename(folder / files.name)
    files.sync(folder)


small = ("device", "retained", "session", "subscription", "qos2", "sequence", "clock")
"""Tables that a gateway reads when it starts, and that don't depend on a position: carried over at once."""

sessions = "(consumer glob 'mqtt/*' or consumer glob '$share/*')"
"""Consumers that are MQTT sessions and groups. They keep position and state: what is salvaged will lie at its old offsets
after the one, and the other says which of it was in flight."""


def _carry(old: sqlite3.Connection, new: sqlite3.Connection, table: str, which: str = "") -> None:
    """Copy what can be read of a small table, as far as both know its columns."""
    known = [row[1] for row in files.columns(new, table)]
    try:
        names = ", ".join(row[1] for row in files.columns(old, table) if row[1] in known)
        if not names:
            return
        marks = ", ".join("?" * len(names.split(", ")))
        for row in old.execute(f"select {names} from {table} {which}"):
            new.execute(f"insert or ignore into {table} ({names}) values ({marks})", row)
    except sqlite3.DatabaseError as error:
        log.warning("the table %s of the damaged log can be read in part only: %s", table, error)


def waiting(folder: Path) -> Path | None:
    """A log that was set aside and isn't salvaged yet."""
    return min((path for path in _aside(folder) if path.suffix != ".salvaged"), default=None)


def _aside(folder: Path) -> list[Path]:
    return [path for path in folder.glob("events.*.damaged*") if not path.name.endswith(files.beside)]


def _what_can_be_told(path: Path) -> tuple[int, int]:
    """Epoch and highest offset of a damaged log; 0 where they can't be read."""
    epoch = mark = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for sql in ("select value from meta where key = 'epoch'", "select max(hi) from block", files.last_mark):
            try:
                row = db.execute(sql).fetchone()
            except sqlite3.DatabaseError:
                continue
            if row and row[0]:
                if "epoch" in sql:
                    epoch = row[0]
                else:
                    mark = max(mark, row[0])
    return epoch, mark


_BOARD = Path("/proc/device-tree/serial-number")
_MACHINE = Path("/etc/machine-id")
_NETWORK = Path("/sys/class/net")


def machine() -> str:
    """Names this machine, to notice a card that was copied or moved: the board's serial number where it has one, else the
    system's id with the address of its first built-in network adapter."""
    try:
        return f"board {_BOARD.read_text().strip(chr(0)).strip()}"
    except OSError:
        pass
    try:
        system = _MACHINE.read_text().strip()
    except OSError:
        system = ""
    return f"system {system} {_address()}".strip()


def _address() -> str:
    try:
        for adapter in sorted(_NETWORK.iterdir()):
            if (adapter / "device").exists() and "/usb" not in str(adapter.resolve()):
                return (adapter / "address").read_text().strip()
    except OSError:
        pass
    return ""
