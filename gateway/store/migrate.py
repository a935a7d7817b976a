"""From the tables of an older release to those of this one: ordered steps, one transaction, a copy beside the log first."""

import sqlite3
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path

from gateway.errors import StoreNewer
from gateway.store.files import set_version, sync, version_of

version = 1
"""Of the tables. A newer log is refused, an older one is migrated."""

Step = Callable[[sqlite3.Connection], None]

steps: dict[int, Step] = {}
"""From version n to n + 1. A step changes tables and converts rows; stored blocks are never rewritten."""


def outlook(db: sqlite3.Connection) -> list[int]:
    """The versions a log still has to go through, oldest first; [] if it is of today. Raises StoreNewer."""
    found = version_of(db)
    if found > version:
        raise StoreNewer(
            f"the log has version {found}, this redcar knows up to {version}: upgrade redcar, or use another data folder"
        )
    return list(range(found, version)) if found else []


def bring_up(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new log, or migrate those of an old one. All of it happens, or nothing."""
    if version_of(db) == 0:
        schema = resources("gateway.store").joinpath("schema.sql").read_text()
        db.executescript(f"begin; {schema}")
        set_version(db, version)
        db.execute("commit")
        return
    ahead = outlook(db)
    if not ahead:
        return
    copy(db, path.with_name(f"events.v{ahead[0]}.backup"))
    with db:
        db.execute("begin immediate")
        for found in ahead:
            steps[found](db)
        set_version(db, version)


def copy(db: sqlite3.Connection, target: Path) -> None:
    """A copy of the log as of now, whole or not at all: written under another name, synced, then renamed."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        db.execute("vacuum into ?", (str(partial),))
        sync(partial)
        partial.rename(target)
        sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)
