"""The log: append-only, in order of offset, on disk before anybody is told "received".

    append ─► pending ─► one transaction per commit ─► ring of the newest ─► readers are woken
                              (paced)                  └► whoever waits for it is told

Commits are paced: one begins when someone waits and the last one began at least ``pace`` ago, or when events that nobody
waits for are ``linger`` old, or when ``enough`` are pending. While one runs, arrivals pile up; the next takes them all.
"""

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway.clock import Clock
from gateway.errors import StoreFull
from gateway.event import Event
from gateway.store import block, files

log = logging.getLogger("redcar.log")

Statement = tuple[str, tuple[Any, ...]]
"""Something else that must be on the disk together with the events, or not at all."""

enough = 100
"""Pending events that start a commit without waiting: from there on a batch costs about 300 bytes per event."""

lazy_every = 1.0
"""Seconds between writing what may be lost in a crash: positions of readers that will see the same again."""

overhead = 200
"""Bytes an event occupies in memory beside its body."""


class Pace(Struct):
    """How long a commit waits for company; seconds."""

    pace: float = 0.020
    linger: float = 0.250


class Figures(Struct):
    """What the log has done since it was opened."""

    events: int = 0
    commits: int = 0
    full: int = 0
    """Times a commit found no room on the disk."""


class _Work(Struct):
    events: Sequence[Event]
    also: Sequence[Statement]
    done: asyncio.Future[None] | None


class Log:
    """Open it with ``Log.open``; one per folder and process."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        pace: Pace,
        ring: int,
        queue: int,
        db: files.Connection,
        pages: files.Connection,
        lock: int,
    ) -> None:
        self.folder = folder
        self.path = folder / files.name
        self.clock = clock
        self.pace = pace
        self.figures = Figures()
        self.epoch = 0
        self.head = 0
        """Offset of the newest event on the disk; 0 in an empty log."""
        self.full = False
        """More than ``queue`` bytes wait for the disk: whoever can slow down its senders should."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when ``full`` ends."""
        self._queue = queue
        self._ring: deque[list[Event]] = deque()
        self._ring_events = ring
        self._ring_held = 0
        self._pending: list[_Work] = []
        self._pending_events = 0
        self._pending_bytes = 0
        self._waited_for = False
        self._lazy: dict[str, Statement] = {}
        self._lazy_at = -lazy_every
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()
        self._committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = False
        self._db = db
        self._pages = pages
        self._lock = lock
        self._writer: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        folder: Path,
        clock: Clock,
        *,
        pace: Pace | None = None,
        ring: int = 5_000,
        queue: int = 16_000_000,
    ) -> "Log":
        """Open or make the log in that folder. Raises StoreLocked or StoreNewer."""
        os.umask(0o077)
        async with AsyncExitStack() as undo:
            lock = files.lock(folder)
            undo.callback(os.close, lock)
            db = await files.connect(folder / files.name)
            undo.push_async_callback(db.close)
            epoch = await db.run(files.prepare)
            pages = await files.connect_to_read(folder / files.name)
            undo.pop_all()
        self = cls(folder, clock, pace or Pace(), ring, queue, db, pages, lock)
        self.epoch = epoch
        self.head = await db.run(head_of)
        self._writer = asyncio.create_task(self._write(), name="log writer")
        return self

    async def close(self) -> None:
        """Commit what is pending, then let go of the files."""
        self._closing = True
        self._arrived.set()
        self._urgent.set()
        if self._writer:
            await self._writer
        await self._pages.close()
        await self._db.close()
        os.close(self._lock)

    # ------------------------------------------------------------------ writing

    def append(
        self, events: Sequence[Event], *, also: Sequence[Statement] = (), wait: bool = True
    ) -> asyncio.Future[None] | None:
        """Put events, and the statements that belong to them, into the next commit.

        Returns a future that is done when they are on the disk; None if ``wait`` is False: nobody is told, and they may
        wait ``linger`` for company. Events get their offsets in the order of these calls.
        """
        done = asyncio.get_running_loop().create_future() if wait else None
        self._pending.append(_Work(events, also, done))
        self._pending_events += len(events)
        self._pending_bytes += sum(len(event.body) + overhead for event in events)
        if self._pending_bytes > self._queue:
            self.full = True
        if wait or self._pending_events >= enough:
            self._waited_for = True
            self._urgent.set()
        self._arrived.set()
        return done

    def lazily(self, key: str, statement: Statement) -> None:
        """Execute this with some later commit; a newer one with the same key replaces it. For what may be lost: a
        position that a crash sets back costs sending again, nothing else."""
        self._lazy[key] = statement

    def forget(self, key: str) -> None:
        """Drop what ``lazily`` kept under this key: something that must not be lost has overtaken it."""
        self._lazy.pop(key, None)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        began = -1e9
        while True:
            if not self._pending and not self._closing:
                self._arrived.clear()
                await self._idle()
            if not self._waited_for and not self._closing:
                await self._within(self._urgent, self.pace.linger)
            rest = began + self.pace.pace - loop.time()
            if rest > 0 and self._pending_events < enough and not self._closing:
                await asyncio.sleep(rest)
            if not self._pending and not self._lazy:
                if self._closing:
                    return
                continue
            began = loop.time()
            await self._commit()

    async def _idle(self) -> None:
        """Wait for work. What is lazy gets its commit when nothing has come for a second."""
        while not self._arrived.is_set():
            if not self._lazy:
                await self._arrived.wait()
            elif not await self._within(self._arrived, lazy_every):
                return

    @staticmethod
    async def _within(event: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await event.wait()
        except TimeoutError:
            return False

    async def _commit(self) -> None:
        works, self._pending = self._pending, []
        self._pending_bytes = self._pending_events = 0
        lazy = self._due_lazily()
        self._waited_for = False
        self._urgent.clear()

        now, offset = self.clock.now(), self.head
        events: list[Event] = []
        for work in works:
            events.extend(work.events)
        for event in events:
            offset += 1
            event.offset = offset
            event.recorded = now
        also = [statement for work in works for statement in work.also]
        also.extend(lazy.values())
        await self._until_stored(events, also)

        self.head = offset
        self.figures.commits += 1
        self.figures.events += len(events)
        self._remember(events)
        for work in works:
            if work.done is not None and not work.done.done():
                work.done.set_result(None)
        if events:
            self._committed.set_result(None)
            self._committed = asyncio.get_running_loop().create_future()
        if self.full and self._pending_bytes <= self._queue // 2:
            self.full = False
            self.on_room()

    def _due_lazily(self) -> dict[str, Statement]:
        """Once a second: every statement touches a page of its own, which a commit of few events would pay for each time."""
        now = asyncio.get_running_loop().time()
        if now - self._lazy_at < lazy_every and not self._closing:
            return {}
        lazy, self._lazy, self._lazy_at = self._lazy, {}, now
        return lazy

    async def _until_stored(self, events: list[Event], also: list[Statement]) -> None:
        """Nothing is acknowledged until this returns. A full disk is waited out: there may be room again later."""
        rows = [block.encode(events[n : n + block.longest]) for n in range(0, len(events), block.longest)]
        refused = False
        while True:
            try:
                await self._db.run(_store, rows, also)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                    raise
                self.figures.full += 1
                if not refused:
                    log.error(
                        "%s: no room on the disk: nothing is acknowledged until there is; free some space", self.folder
                    )
                refused = True
                if self._closing:
                    raise StoreFull(
                        f"{self.folder}: no room on the disk: {len(events)} events were never acknowledged"
                    ) from error
                await asyncio.sleep(0.5)
            else:
                if refused:
                    log.warning("%s: there is room on the disk again", self.folder)
                return

    def _remember(self, events: list[Event]) -> None:
        if not events:
            return
        self._ring.append(events)
        self._ring_held += len(events)
        while len(self._ring) > 1 and self._ring_held - len(self._ring[0]) >= self._ring_events:
            self._ring_held -= len(self._ring.popleft())

    # ------------------------------------------------------------------ reading

    async def read(self, lo: int, hi: int | None = None, limit: int = 1_000) -> list[Event]:
        """At most ``limit`` events from offset ``lo`` on, up to ``hi``: from memory if they are new, else from the disk.

        Offsets may be missing where events were given up; what comes is in order."""
        last = self.head if hi is None else min(hi, self.head)
        if lo > last:
            return []
        if self._ring and lo >= self._ring[0][0].offset:
            return self._from_ring(lo, min(last, lo + limit - 1))
        return await self._pages.run(read_blocks, lo, last, limit)

    def _from_ring(self, lo: int, last: int) -> list[Event]:
        batches: list[list[Event]] = []
        for events in reversed(self._ring):
            first = events[0].offset
            if first <= last:
                batches.append(events[max(0, lo - first) : last - first + 1])
            if first <= lo:
                break
        return [event for events in reversed(batches) for event in events]

    async def beyond(self, offset: int) -> None:
        """Wait until the log holds an event after that offset."""
        while self.head <= offset:
            await asyncio.shield(self._committed)

    async def query(self, sql: str, *args: Any) -> list[Any]:
        """Rows of a short read-only query, off the event loop."""
        return await self._pages.run(_query, sql, args)


def _store(db: sqlite3.Connection, rows: list[block.Row], also: list[Statement]) -> None:
    db.execute("begin immediate")
    try:
        for row in rows:
            db.execute(
                "insert into block (lo, count, recorded, codec, crc, data) values (?, ?, ?, ?, ?, ?)",
                (row.lo, row.count, row.recorded, row.codec, row.crc, row.data),
            )
        for sql, parameters in also:
            db.execute(sql, parameters)
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")


def _query(db: sqlite3.Connection, sql: str, args: tuple[Any, ...]) -> list[Any]:
    return db.execute(sql, args).fetchall()


def head_of(db: sqlite3.Connection) -> int:
    """Offset of the newest event on the disk; 0 in an empty log."""
    row = db.execute("select lo + count - 1 from block order by lo desc limit 1").fetchone()
    head: int = row[0] if row else 0
    return head


columns = "lo, count, recorded, codec, crc, data"


def read_blocks(db: sqlite3.Connection, lo: int, hi: int, limit: int) -> list[Event]:
    """At most ``limit`` events of the range, from disk."""
    inside = db.execute("select lo from block where lo <= ? order by lo desc limit 1", (lo,)).fetchone()
    start = inside[0] if inside else lo
    events: list[Event] = []
    for row in db.execute(f"select {columns} from block where lo >= ? and lo <= ? order by lo", (start, hi)):
        events.extend(block.decode(block.Row(*row), lo, hi))
        if len(events) >= limit:
            break
    return events[:limit]


def offset_at(db: sqlite3.Connection, time: int) -> int:
    """First offset recorded at or after that time (µs). By bisection: ``recorded`` rises with the offset."""
    row = db.execute("select min(lo), max(lo) from block").fetchone()
    if row[0] is None:
        return 1
    low: int = row[0]
    high: int = row[1]
    while low <= high:
        middle = (low + high) // 2
        found = db.execute(
            "select lo, count, recorded from block where lo <= ? order by lo desc limit 1", (middle,)
        ).fetchone()
        if found[2] < time:
            low = found[0] + found[1]
        else:
            high = found[0] - 1
    return low
