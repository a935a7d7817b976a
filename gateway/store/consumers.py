"""Consumers: named durable readers, whose progress is the set of ranges they are still owed.

Normally one open range (lo, and everything after it). After an outage two: live first, backlog beside it. Replay, redrive
and preload are the same operation, inserting a range. Nothing owed = everything delivered; lag is one sum.
"""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import count

from gateway.selection import Globs
from gateway.store.log import Log, Statement
from gateway.store.ranges import Flight, Range, columns, from_row, text


class Consumer:
    """One durable reader. Its ranges in memory are the truth for this process; the table follows with each commit."""

    def __init__(self, log: Log, name: str, ranges: list[Range], state: bytes | None, ids: Iterator[int]) -> None:
        self.log = log
        self.name = name
        self.ranges = ranges
        self.state = state
        self.news = asyncio.Event()
        """A range was inserted."""
        self.settled = asyncio.Event()
        """Set for a moment whenever a range is done."""
        self._ids = ids

    def owed(self, lane: str) -> Range | None:
        """The oldest range of that lane."""
        return min((found for found in self.ranges if found.lane == lane), key=lambda found: found.lo, default=None)

    @property
    def live(self) -> Range:
        """What a reader that was opened is always owed: everything new."""
        found = self.owed("live")
        assert found is not None
        return found

    @property
    def lag(self) -> int:
        """Events owed in all lanes together."""
        return sum(found.size(self.log.head) for found in self.ranges)

    def lanes(self) -> list[str]:
        """Lanes in which something is owed, live first, then in the order they were made."""
        names = dict.fromkeys(found.lane for found in self.ranges)
        return sorted(names, key=lambda lane: lane != "live")

    def split(self) -> None:
        """After an outage: what is already in the log becomes backlog, live goes on with what comes now.

        A batch that was under way stays in the lane in which it was sent: it may have arrived there."""
        live = next((found for found in self.ranges if found.lane == "live" and found.hi is None), None)
        head = self.log.head
        if live is None or live.size(head) == 0:
            return
        lo, statements = live.lo, []
        if live.flight:
            under_way = Range(next(self._ids), "live", lo, live.flight.cuts[-1], flight=live.flight)
            statements.append(self._inserted(under_way))
            lo = live.flight.cuts[-1] + 1
        if lo <= head:
            before = next((one for one in self.ranges if one.lane == "backlog" and one.hi == lo - 1), None)
            if before:
                before.hi = head
                statements.append(("update owed set hi = ? where id = ?", (head, before.id)))
            else:
                statements.append(self.insertion("backlog", lo, head))
        live.move(head)
        self.log.forget(f"owed {live.id}")
        self.log.append([], also=[*statements, self._moved(live)], wait=False)

    async def owe(
        self,
        lane: str,
        lo: int,
        hi: int,
        *,
        globs: Globs | None = None,
        speed: float | None = None,
    ) -> Range:
        """Owe lo..hi (again), without disturbing other lanes; ``{id}`` in the lane's name makes it a lane of its own. Returns
        once that is on the disk."""
        made = Range(next(self._ids), lane, lo, hi, globs, speed)
        made.lane = lane.format(id=made.id)
        await self.log.store([], also=[self._insert(made)])
        self._take(made)
        return made

    def advance(self, range: Range, through: int, *, state: bytes | None = None) -> None:
        """Everything of the range up to ``through`` is done. On the disk with some later commit, state and position together:
        a crash before it means that the reader sees some again, with the same identity."""
        range.move(through)
        self.log.lazily(f"owed {range.id}", self._moved(range))
        if state is not None:
            self.log.lazily(f"state {self.name}", self._kept(state))

    async def fix(self, range: Range, flight: Flight) -> None:
        """Write down the boundaries of the next batches, in one transaction with the position they begin at."""
        self.log.forget(f"owed {range.id}")
        sql = "update owed set lo = ?, tries = ?, flight = ? where id = ?"
        await self.log.store([], also=[(sql, (range.lo, range.tries, text(flight), range.id))])
        range.flight = flight

    def done(self, range: Range, through: int, *, state: bytes | None = None) -> list[Statement]:
        """The same as ``advance``, in one transaction with what was made of it: the statements must go into the next append."""
        range.move(through)
        self.log.forget(f"owed {range.id}")
        statements = [self._moved(range)]
        if state is not None:
            self.log.forget(f"state {self.name}")
            statements.append(self._kept(state))
        return statements

    def tried(self, range: Range) -> None:
        """Once more nobody could say whether the event at ``lo`` was taken."""
        range.tries += 1
        self.log.lazily(f"owed {range.id}", self._moved(range))

    def again(self, offsets: Iterable[int], *, lane: str, tries: int = 0) -> list[Statement]:
        """Owe events again, each by itself and in order; ``{id}`` makes it a lane of its own. The statements must go into
        the next append."""
        statements, name = [], ""
        for offset in offsets:
            made = Range(next(self._ids), lane, offset, offset, tries=tries)
            name = made.lane = name or lane.format(id=made.id)
            statements.append(self._inserted(made))
        return statements

    def end(self) -> list[Statement]:
        """Owe it nothing any more, and forget its state; the statements must go into the next append."""
        self.ranges.clear()
        tables = ("owed", "state", "delivered")
        return [(f"delete from {table} where consumer = ?", (self.name,)) for table in tables]

    def insertion(self, lane: str, lo: int, hi: int | None) -> Statement:
        """Owe lo..hi in a lane; the statement must go into the next append."""
        return self._inserted(Range(next(self._ids), lane, lo, hi))

    def _inserted(self, made: Range) -> Statement:
        self._take(made)
        return self._insert(made)

    def _take(self, made: Range) -> None:
        self.ranges.append(made)
        self.news.set()

    def _insert(self, made: Range) -> Statement:
        sql = f"insert into owed ({columns}, consumer) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        globs, flight = text(made.globs), text(made.flight)
        return sql, (made.id, made.lane, made.lo, made.hi, globs, made.speed, made.tries, flight, self.name)

    def _kept(self, state: bytes) -> Statement:
        self.state = state
        return "insert or replace into state (consumer, value) values (?, ?)", (self.name, state)

    def _moved(self, range: Range) -> Statement:
        if range.done:
            if range in self.ranges:
                self.ranges.remove(range)
                self.settled.set()
                self.settled.clear()
            return "delete from owed where id = ?", (range.id,)
        sql = "update owed set lo = ?, tries = ?, flight = ? where id = ?"
        return sql, (range.lo, range.tries, text(range.flight), range.id)


class Consumers:
    """All consumers of a log."""

    def __init__(self, log: Log, ids: Iterator[int]) -> None:
        self._log = log
        self._ids = ids
        self._opened: dict[str, Consumer] = {}

    @classmethod
    async def load(cls, log: Log) -> "Consumers":
        """What the log knows of its consumers."""
        ((last,),) = await log.query("select coalesce(max(seq), 0) from sqlite_sequence where name = 'owed'")
        return cls(log, count(last + 1))

    async def open(self, name: str, *, start: str = "start") -> Consumer:
        """The consumer of that name, where it stopped; a new one begins at the ``start`` of the log or ``now``."""
        consumer = await self._read(name)
        if not any(found.hi is None for found in consumer.ranges):
            lo = self._log.first if start == "start" else self._log.head + 1
            await self._log.store([], also=[consumer.insertion("live", lo, None)])
        self._opened[name] = consumer
        return consumer

    def make(self, name: str, lo: int) -> tuple[Consumer, Statement]:
        """A new consumer that is owed everything from ``lo`` on; the statement must go into the next append."""
        consumer = Consumer(self._log, name, [], None, self._ids)
        self._opened[name] = consumer
        return consumer, consumer.insertion("live", lo, None)

    def adopt(self, consumer: Consumer) -> None:
        """From now on this one is in use."""
        self._opened[consumer.name] = consumer

    def drop(self, name: str) -> list[Statement]:
        """Forget a consumer and all it is owed: the statements for that."""
        gone = self._opened.pop(name, None)
        if gone:
            for one in gone.ranges:
                self._log.forget(f"owed {one.id}")
            self._log.forget(f"state {name}")
        return [(f"delete from {table} where consumer = ?", (name,)) for table in ("owed", "state")]

    async def find(self, name: str) -> Consumer | None:
        """The consumer of that name if there is one, in use or not."""
        if name in self._opened:
            return self._opened[name]
        consumer = await self._read(name)
        return consumer if consumer.ranges else None

    async def names(self) -> list[str]:
        """Everybody who is owed something, or will be."""
        return [name for (name,) in await self._log.query("select distinct consumer from owed order by consumer")]

    async def _read(self, name: str) -> Consumer:
        rows = await self._log.query(f"select {columns} from owed where consumer = ? order by lo", name)
        state = await self._log.query("select value from state where consumer = ?", name)
        return Consumer(self._log, name, [from_row(*row) for row in rows], state[0][0] if state else None, self._ids)

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._opened.values())
