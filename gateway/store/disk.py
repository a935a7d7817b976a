"""The one connection that writes, and what it does when the disk doesn't.

    well ──no room──► full: the ballast is let go; tried again until there is room. Nobody is told anything meanwhile
         ──anything else──► failing: whoever waits is told no; the connection is closed, opened anew and its WAL written
                            into the file from what was really kept; only then is the batch written again

After a failed sync nobody knows what the disk holds: the kernel may have thrown the pages away and will say "done" the next
time. So a batch that failed is never acknowledged, though it may turn out to be stored; its offsets stay its own.
"""

import asyncio
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from gateway.errors import StoreDamaged, StoreFailed, StoreFull
from gateway.store import block, files, rows
from gateway.waiting import within

log = logging.getLogger("redcar.log")

room_every = 0.5
"""Seconds between looks whether a full disk has room again."""

passing = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}
"""What SQLite says when the disk fails it; anything else is a mistake of ours or damage of the file."""


last_batch = "select 1 from meta where key = 'batch' and value = ?"


class Health(Struct):
    """How the disk is doing. ``state``: well, full, failing."""

    state: str = "well"
    problem: str = ""


class Disk:
    """Stores batches, whatever it takes."""

    def __init__(self, folder: Path, db: files.Connection, *, ballast: int = 0, retry: float = 30.0) -> None:
        self.health = Health()
        self.suspect = False
        """A sync has failed: the file should be checked when there is time."""
        self.refusals = 0
        """Commits that found no room."""
        self.failures = 0
        """Commits that failed for another reason."""
        self.took = 0.0
        """Seconds the last commit took."""
        self.closing = asyncio.Event()
        self.ballast = files.Ballast(folder, ballast)
        self._folder = folder
        self._db = db
        self._retry = retry

    async def store(
        self, blocks: Sequence[block.Row], also: Sequence[rows.Statement], refused: Callable[[StoreFailed], None]
    ) -> None:
        """Returns when it is on the disk, however long that takes. ``refused`` is called when the disk fails: nobody who waits
        may be told yes any more. Raises StoreFull or StoreFailed only while closing, StoreDamaged if the file is at fault."""
        attempt = 0
        later: asyncio.Future[None] | None = None
        mark = secrets.randbits(63)
        if also and not blocks:  # nothing else would tell whether a commit that failed is there all the same
            also = [*also, files.kept("batch", mark)]
        while True:
            try:
                began = asyncio.get_running_loop().time()
                await self._db.run(rows.store, blocks, also)
                self.took = asyncio.get_running_loop().time() - began
                break
            except sqlite3.DatabaseError as error:
                code = error.sqlite_errorcode & 0xFF
                if code == sqlite3.SQLITE_FULL:
                    await self._without_room(error)
                    continue
                if rows.is_damage(error):
                    files.mark_damaged(self._folder)
                    raise StoreDamaged(
                        f"{self._folder}: the log is damaged ({error}): it is set aside at the next start"
                    ) from error
                if code not in passing:
                    raise
                problem = str(error)
            self.failures += 1
            refusal = StoreFailed(f"the disk failed ({problem}): it isn't known whether this is stored: send it again")
            refusal.later = later = later or asyncio.get_running_loop().create_future()
            refused(refusal)
            self._failing(problem)
            head = await self._reopened(attempt)
            attempt += 1
            if head >= blocks[-1].hi if blocks else await self._db.run(rows.query, last_batch, (mark,)):
                break  # the failed commit had left everything in the WAL, and now it is in the file
        if later:
            later.set_result(None)
        if self.health.state != "well":
            log.warning("%s: the disk takes events again", self._folder)
            self.health = Health()

    async def finish(self, mark: int) -> None:
        """The last write of all: the log was closed properly."""
        try:
            await self._db.run(files.finish, mark)
        except sqlite3.Error as error:
            log.error("%s: the log can't be closed properly (%s): it is checked at the next start", self._folder, error)

    async def close(self) -> None:
        """Let go of the file."""
        try:
            await self._db.close()
        except sqlite3.Error as error:
            log.error("%s: closing failed: %s", self._folder, error)

    async def _without_room(self, error: sqlite3.DatabaseError) -> None:
        self.refusals += 1
        if self.health.state != "full":
            self.health = Health("full", "no room on the disk: nothing is acknowledged until there is")
            log.error("%s: no room on the disk: nothing is acknowledged until there is; free some space", self._folder)
        if self.ballast.let_go():
            return
        if await within(room_every, self.closing.wait()):
            raise StoreFull(f"{self._folder}: no room on the disk: the last events were never acknowledged") from error

    def _failing(self, problem: str) -> None:
        if self.health.state != "failing":
            log.error(
                "%s: the disk fails (%s): nothing is acknowledged; trying again every %.0f s: look at dmesg, replace the card",
                self._folder,
                problem,
                self._retry,
            )
        self.health = Health("failing", problem)
        self.suspect = True

    async def _reopened(self, attempt: int) -> int:
        """Open the file anew until it works, at once the first time; give its head."""
        while True:
            if attempt and await within(self._retry, self.closing.wait()):
                raise StoreFailed(f"{self._folder}: the disk failed: the last events were never acknowledged")
            attempt += 1
            await self.close()
            try:
                self._db = await files.connect(self._folder / files.name)
                return await self._db.run(files.begin_again)
            except sqlite3.Error as error:
                self.health.problem = str(error)


def free(folder: Path) -> int:
    """Bytes that may still be written on the disk of that folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
