"""Copies of a log: made beside a running gateway, and put back in its place."""

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from gateway.errors import RedcarError, StoreDamaged
from gateway.store import files, migrate, opening, rows


class Refused(RedcarError):
    """It can't be done this way; the message says how."""


class Copy(Struct):
    """What a copy holds."""

    path: Path
    bytes: int
    events: int
    head: int
    epoch: int


def backup(folder: Path, target: Path) -> Copy:
    """Copy the log as of now, and read the copy back. The gateway may run. Raises Refused, StoreDamaged."""
    if target.exists():
        raise Refused(f"{target} is there already: name another file, or remove it first")
    if not target.absolute().parent.is_dir():
        raise Refused(f"{target.parent} isn't a folder: make it first")
    with closing(files.open_to_read(folder / files.name)) as db:
        migrate.copy(db, target.absolute())
    return verified(target)


def verified(path: Path) -> Copy:
    """What a copy holds, if all of it is sound. Raises Refused, StoreDamaged, StoreNewer."""
    with closing(files.open_to_read(path)) as db:
        try:
            migrate.outlook(db)
            wrong = files.check_all(db)
            bad = [row.lo for row in rows.stored(db, 0, rows.head_of(db)) if not rows.is_sound(row)]
            (epoch,) = db.execute("select value from meta where key = 'epoch'").fetchone()
            (events,) = db.execute("select coalesce(sum(count), 0) from block").fetchone()
        except sqlite3.OperationalError as error:
            raise Refused(f"{path} isn't a log of redcar: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(f"{path} can't be read: {error}") from error
        if wrong or bad:
            what = wrong[0] if wrong else f"the block at {bad[0]} isn't what was written"
            raise StoreDamaged(f"{path} is damaged: {what}")
        return Copy(path, path.stat().st_size, events, rows.mark_of(db), epoch)


def faults(path: Path) -> list[str]:
    """Everything that is wrong with a log, in words. Takes as long as reading all of it."""
    with closing(files.open_to_read(path)) as db:
        found: list[str] = []
        try:
            found += files.check_all(db)
            found += [
                f"events {row.lo}..{row.hi} aren't what was written"
                for row in rows.stored(
                    db, 0, rows.head_of(db), lambda *hole: found.append(f"events {hole[0]}..{hole[1]} can't be read")
                )
                if not rows.is_sound(row)
            ]
        except sqlite3.DatabaseError as error:
            found.append(str(error))
        return found


def restore(folder: Path, source: Path) -> tuple[Copy, Path | None]:
    """Put a copy in the log's place. The old files are kept aside, a new epoch begins beyond the offsets of both, and its first
    event says what happened. Raises StoreLocked while a gateway runs, Refused, StoreDamaged."""
    if not source.is_file():
        raise Refused(f"{source} can't be found: name a file made by redcar backup")
    copy = verified(source)
    with opening.alone(folder):
        if waiting := opening.waiting(folder):  # its blocks and those of the copy may overlap in part
            raise Refused(f"{waiting} isn't salvaged yet: let redcar repair do that first, or move the file elsewhere")
        path = folder / files.name
        partial = folder / "restoring"
        partial.unlink(missing_ok=True)
        with closing(files.open_to_read(source)) as db:
            migrate.copy(db, partial)
        epoch, mark = _known(path)
        data = {
            "copy": {"epoch": f"{copy.epoch:x}", "last": copy.head},
            "previous": {"epoch": f"{epoch:x}", "last": mark} if epoch else None,
        }
        with closing(sqlite3.connect(partial, isolation_level=None)) as db:
            # clients have used the ids for other messages since: rather twice than never
            db.execute("delete from qos2")
            files.found_anew(db, max(mark, copy.head), "log.restored", data, empty=False)
        partial.rename(folder / opening.restored)  # from here on the next start would finish this
        aside = None
        if path.exists():
            aside = files.unused(folder / f"events.{epoch:x}.replaced")
            files.rename(path, aside)
        opening.take_restored(folder)
        files.sync(folder)
    return copy, aside


def _known(path: Path) -> tuple[int, int]:
    """Epoch and last offset of the log that is replaced; 0 where there is none to read. Writes its WAL into the file."""
    if not path.exists():
        return 0, 0
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            (epoch,) = db.execute("select value from meta where key = 'epoch'").fetchone()
            return epoch, rows.mark_of(db)
        except sqlite3.DatabaseError:
            return 0, 0
