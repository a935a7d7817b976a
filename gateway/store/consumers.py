"""Consumers: named durable readers, whose progress is the set of ranges they are still owed.

Normally one open range (lo, and everything after it). After an outage two: live first, backlog beside it. Replay, redrive
and preload are the same operation, inserting a range. Nothing owed = everything delivered; lag is one sum.
"""

from asyncio import Future
from collections.abc import Iterable, Iterator

from msgspec import Struct

from gateway.event import Event
from gateway.store.log import Log, Statement


class Range(Struct):
    """Offsets lo..hi that are owed in a lane; ``hi`` None: everything from lo on."""

    id: int
    lane: str
    lo: int
    hi: int | None = None

    def size(self, head: int) -> int:
        """Offsets in it that exist already."""
        return max(0, (head if self.hi is None else min(self.hi, head)) - self.lo + 1)


class Consumer:
    """One durable reader. Its ranges in memory are the truth for this process; the table follows with each commit."""

    def __init__(self, log: Log, name: str, ranges: list[Range], state: bytes | None, ids: "Ids") -> None:
        self.log = log
        self.name = name
        self.ranges = ranges
        self.state = state
        self._ids = ids

    def owed(self, lane: str) -> Range | None:
        """The oldest range of that lane."""
        return min((found for found in self.ranges if found.lane == lane), key=lambda found: found.lo, default=None)

    @property
    def lag(self) -> int:
        """Events owed in all lanes together."""
        return sum(found.size(self.log.head) for found in self.ranges)

    def lanes(self) -> list[str]:
        """Lanes in which something is owed, live first, then in the order they were made."""
        names = dict.fromkeys(found.lane for found in self.ranges)
        return sorted(names, key=lambda lane: lane != "live")

    def split(self) -> None:
        """After an outage: what is already in the log becomes backlog, live goes on with what comes now."""
        live = self.owed("live")
        if live is None or live.hi is not None or live.size(self.log.head) == 0:
            return
        moved = self.insertion("backlog", live.lo, self.log.head)
        live.lo = self.log.head + 1
        self.log.append([], also=[moved, self._moved(live)], wait=False)

    def owe(self, lane: str, lo: int, hi: int) -> Future[None] | None:
        """Owe lo..hi (again) in a lane, without disturbing the others."""
        return self.log.append([], also=[self.insertion(lane, lo, hi)])

    def advance(self, range: Range, through: int, *, state: bytes | None = None) -> None:
        """Everything of the range up to ``through`` is done. On the disk with some later commit, state and position together:
        a crash before it means that the reader sees some again, with the same identity."""
        range.lo = through + 1
        self.log.lazily(f"owed {range.id}", self._moved(range))
        if state is not None:
            self.log.lazily(f"state {self.name}", self._kept(state))

    def commit(
        self,
        range: Range,
        through: int,
        *,
        events: Iterable[Event] = (),
        also: Iterable[Statement] = (),
        state: bytes | None = None,
    ) -> Future[None] | None:
        """The same, in one transaction with what was made of it."""
        range.lo = through + 1
        self.log.forget(f"owed {range.id}")
        statements = [self._moved(range), *also]
        if state is not None:
            self.log.forget(f"state {self.name}")
            statements.append(self._kept(state))
        return self.log.append(list(events), also=statements)

    def _kept(self, state: bytes) -> Statement:
        self.state = state
        return "insert or replace into state (consumer, value) values (?, ?)", (self.name, state)

    def insertion(self, lane: str, lo: int, hi: int | None) -> Statement:
        """Owe lo..hi in a lane; the statement must go into the next append."""
        made = Range(self._ids.take(), lane, lo, hi)
        self.ranges.append(made)
        sql = "insert into owed (id, consumer, lane, lo, hi) values (?, ?, ?, ?, ?)"
        return sql, (made.id, self.name, lane, lo, hi)

    def _moved(self, range: Range) -> Statement:
        if range.hi is not None and range.lo > range.hi:
            self.ranges.remove(range)
            return "delete from owed where id = ?", (range.id,)
        return "update owed set lo = ? where id = ?", (range.lo, range.id)


class Ids:
    """Hands out ids of ranges; never the same twice."""

    def __init__(self, last: int) -> None:
        self.last = last

    def take(self) -> int:
        """The next one."""
        self.last += 1
        return self.last


class Consumers:
    """All consumers of a log."""

    def __init__(self, log: Log, ids: Ids) -> None:
        self._log = log
        self._ids = ids
        self._opened: dict[str, Consumer] = {}

    @classmethod
    async def load(cls, log: Log) -> "Consumers":
        """What the log knows of its consumers."""
        ((last,),) = await log.query("select coalesce(max(id), 0) from owed")
        return cls(log, Ids(last))

    async def open(self, name: str, *, start: str = "start") -> Consumer:
        """The consumer of that name, where it stopped; a new one begins at the ``start`` of the log or ``now``."""
        rows = await self._log.query("select id, lane, lo, hi from owed where consumer = ? order by lo", name)
        state = await self._log.query("select value from state where consumer = ?", name)
        ranges = [Range(*row) for row in rows]
        consumer = Consumer(self._log, name, ranges, state[0][0] if state else None, self._ids)
        if not any(found.hi is None for found in ranges):
            lo = 1 if start == "start" else self._log.head + 1
            made = self._log.append([], also=[consumer.insertion("live", lo, None)])
            assert made is not None
            await made
        self._opened[name] = consumer
        return consumer

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._opened.values())
