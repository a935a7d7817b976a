"""How a lane reads what it is owed: a page at a time, one ahead; and how fast a replay goes."""

import asyncio
from collections.abc import Callable

from gateway.event import SECOND, Event
from gateway.store.log import Log
from gateway.store.ranges import Range


class ReadAhead:
    """The pages of a lane: the next one is read while the one before is being delivered."""

    def __init__(self, log: Log, size: int) -> None:
        self._log = log
        self._size = size
        self._next: tuple[int, int, asyncio.Task[list[Event]]] | None = None

    async def of(self, owed: Range) -> list[Event]:
        """The next events of the range; exactly those of its flight if it has one."""
        if owed.flight:
            self.drop()
            return await self._all(owed.lo, owed.flight.cuts[-1])
        if self._next and self._next[:2] == (owed.id, owed.lo):
            task, self._next = self._next[2], None
            return await task
        self.drop()
        return await self._log.read(owed.lo, owed.hi, self._size)

    async def _all(self, lo: int, hi: int) -> list[Event]:
        events: list[Event] = []
        while lo <= hi and (more := await self._log.read(lo, hi, self._size)):
            events += more
            lo = more[-1].offset + 1
        return events

    @staticmethod
    def end(owed: Range) -> int | None:
        """How far one may read now; None: to the newest."""
        return owed.flight.cuts[-1] if owed.flight else owed.hi

    def ahead(self, owed: Range, lo: int) -> None:
        """Begin to read what follows. Only of ranges that are complete: live is in memory."""
        if owed.hi is not None and lo <= owed.hi and not owed.flight:
            self._next = owed.id, lo, asyncio.create_task(self._log.read(lo, owed.hi, self._size))

    def drop(self) -> None:
        """Forget what was read ahead."""
        if self._next:
            self._next[2].cancel()
            self._next = None


class Tempo:
    """The speed of a replay: a multiple of that of the recording."""

    def __init__(self, speed: float, first: int) -> None:
        self._speed = speed
        self._first = first
        self._time: Callable[[], float] = asyncio.get_running_loop().time
        self._began = self._time()

    async def until(self, recorded: int) -> None:
        """Returns when something recorded then is due."""
        due = self._began + (recorded - self._first) / SECOND / self._speed
        await asyncio.sleep(max(0.0, due - self._time()))
