"""The half of the log that reads: new events from memory, old ones from the disk, on a connection that can't write."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gateway.event import Event
from gateway.store import block, eras, files, rows
from gateway.store.ring import Ring

log = logging.getLogger("redcar.log")

T = TypeVar("T")

largest = 4_000_000
"""Bytes of data after which a page ends, at the border of a block: it may hold fewer events than were asked for."""


class Pages:
    """What readers see of a log."""

    def __init__(self, folder: Path, db: files.Connection, head: int, ring: int) -> None:
        self.folder = folder
        self.path = folder / files.name
        self.head = head
        """Offset of the newest event on the disk; 0 in an empty log. Events get the numbers after it."""
        self.lost: list[tuple[int, int]] = []
        """Offsets that can't be read, as far as anybody has met them."""
        self.catching_up = False
        """Somebody has read from the disk since the last commit, and is likely to go on."""
        self._pages = db
        self._ring = Ring(ring)
        self._shifts: list[eras.Shift] = []
        self._committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self, lo: int, hi: int | None = None, limit: int = block.longest) -> list[Event]:
        """At most ``limit`` events from offset ``lo`` on, up to ``hi``: from memory if they are new, else from the disk.

        Offsets may be missing where events were given up; what comes is in order, with times as far as they are known by now."""
        return eras.restamp(await self.read_as_stored(lo, hi, limit), self._shifts)

    async def read_as_stored(self, lo: int, hi: int | None = None, limit: int = block.longest) -> list[Event]:
        """The same with the times of then: for processors, which meet the clock.* events on their way and must find the same
        events whenever they read them."""
        last = self.head if hi is None else min(hi, self.head)
        if lo > last:
            return []
        if self._ring.first is not None and lo >= self._ring.first:
            return self._ring.read(lo, min(last, lo + limit - 1))
        self.catching_up = True
        lost: list[tuple[int, int, int]] = []
        events = await self._pages.run(rows.read_blocks, lo, last, limit, lambda *found: lost.append(found), largest)
        for lo, hi, count in lost:
            if not any(first <= lo and hi <= last for first, last in self.lost):
                self.lost.append((lo, hi))
                log.error(
                    "%s: events %s..%s can't be read: stop the gateway and run redcar repair", self.folder, lo, hi
                )
                self.missed(lo, hi, count)
        return events

    async def onward(self, lo: int, *, as_stored: bool = False) -> tuple[list[Event], int]:
        """A page from ``lo`` on, and how far one has come with it: where nothing is left, up to what was the newest."""
        head = self.head  # as of before the read: what comes meanwhile isn't passed over
        events = await (self.read_as_stored(lo) if as_stored else self.read(lo))
        return events, events[-1].offset if events else head

    def missed(self, lo: int, hi: int, count: int) -> None:
        """Events can't be read: called once for each damage."""

    async def beyond(self, offset: int) -> None:
        """Wait until the log holds an event after that offset."""
        while self.head <= offset:
            await asyncio.shield(self._committed)

    async def query(self, sql: str, *args: Any) -> list[Any]:
        """Rows of a short read-only query, off the event loop."""
        return await self._pages.run(rows.query, sql, args)

    async def look(self, function: Callable[..., T], *args: Any) -> T:
        """Call function(read-only connection, *args) off the event loop. For the care of the log: keep it short."""
        return await self._pages.run(function, *args)
