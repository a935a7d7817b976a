"""The loop between a consumer and a sink: live first, what an outage left over beside it.

    page of a range ─► select ─► cut into batches ─► (fix their boundaries) ─► send ─► move the position
                                                                                └► split: dead letters, owed again

Each lane has a task and keeps its own order, oldest range first. Lanes don't wait for each other.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from gateway.deadletters import undelivered
from gateway.errors import SinkRefused, SinkUnavailable
from gateway.event import SECOND, Event
from gateway.lane import ReadAhead, Tempo
from gateway.rates import Limit, Meter
from gateway.selection import Globs, Selection
from gateway.sink import Batch, Outcome, Sink, Subscription
from gateway.store.consumers import Consumer
from gateway.store.ranges import Flight, Range
from gateway.store.trace import Deliveries
from gateway.waiting import within

page = 1_000
"""Events read at once: what a block holds at most."""

most_lanes = 16
"""Lanes under way at once; further ones begin when one is done."""

most_ranges = 1_000
"""Events that the receiver left open; beyond it nothing new is sent until some are settled."""

pauses = (1.0, 4.0, 16.0, 60.0)
"""Seconds before another try of what the receiver left open. After the last one it is a dead letter."""

patience = 0.05
"""Seconds that other lanes let live go first, batch by batch: however much is live, the backlog drains."""

slice = SECOND // 4
"""A replay at the speed of the recording sends what was recorded within this time at once."""


class Delivery(Struct):
    """How a forwarder is doing, for ``redcar consumers`` and the page."""

    connected: bool = False
    delivered: int = 0
    refused: int = 0
    problem: str | None = None
    attempts: int = 0
    next_try: int | None = None
    """When the supervisor connects again, µs."""
    rates: dict[str, Meter] = field(default_factory=dict)
    """Lane -> events per second."""


class Forwarder:
    """Delivers what one consumer is owed: live first, what an outage left over beside it."""

    def __init__(self, consumer: Consumer, sink: Sink, config: Subscription, pauses: Sequence[float] = pauses) -> None:
        self.consumer = consumer
        self.config = config
        self.status = Delivery()
        self._sink = sink
        self._clock = consumer.log.clock
        self._pauses = pauses
        self._strict = config.order == "strict"
        self._fixed = bool(getattr(sink, "fixed_batches", False))
        self._globs = Globs(config.types, config.sources)
        self._selections: dict[int, tuple[Globs, Selection]] = {}
        self._quiet = asyncio.Event()
        """Nothing live waits to be sent."""
        self._live, self._beside = Limit(config.live_rate), Limit(config.backlog_rate)
        self._deliveries = Deliveries(consumer.log, consumer.name)

    async def run(self) -> None:
        """Connect and deliver until the sink fails. Raises SinkUnavailable or SinkRefused: the supervisor tries again."""
        self.status.attempts += 1
        self.status.next_try = None
        try:
            await self._sink.connect()
            self.status.connected, self.status.problem, self.status.attempts = True, None, 0
            if not self._strict:
                self.consumer.split()
            await self._lanes()
        except* (SinkUnavailable, SinkRefused) as errors:
            self.status.problem = str(errors.exceptions[0])
            raise
        finally:
            self.status.connected = False
            self.status.rates.clear()
            self._deliveries.flush()
            await self._sink.close()

    async def rest(self, seconds: float) -> None:
        """Wait for the next try, and say when it will be."""
        self.status.next_try = self._clock.now() + int(seconds * SECOND)
        await asyncio.sleep(seconds)

    def shown(self, lane: str) -> dict[str, Any]:
        """How it is doing, for the operator."""
        status = self.status
        meter = status.rates.get(lane)
        return {
            "rate": round(meter.rate(asyncio.get_running_loop().time()), 1) if meter else 0.0,
            "connected": status.connected,
            "problem": status.problem,
            "attempts": status.attempts,
            "next_try": status.next_try,
            "delivered": status.delivered,
            "refused": status.refused,
        }

    async def _lanes(self) -> None:
        """A task per lane; a lane that is done ends, live never does. New ones are picked up as they appear."""
        news = self.consumer.news
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as lanes:
            while True:
                news.clear()
                running = {lane: task for lane, task in running.items() if not task.done()}
                for lane in self.consumer.lanes():
                    if lane not in running and len(running) < most_lanes:
                        task = lanes.create_task(self._lane(lane), name=f"{self.config.name} {lane}")
                        task.add_done_callback(lambda _: news.set())
                        running[lane] = task
                await news.wait()

    async def _lane(self, lane: str) -> None:
        log_ = self.consumer.log
        pages = ReadAhead(log_, 4 * page if self._fixed else page)  # fixing boundaries costs a commit per page
        self.status.rates[lane] = Meter()
        tempo: Tempo | None = None
        try:
            while owed := self.consumer.owed(lane):
                if owed.hi is None:
                    self._quiet.set()
                    await log_.beyond(owed.lo - 1)
                    self._quiet.clear()
                head = log_.head  # as of before the read: what comes meanwhile isn't passed over
                events = await pages.of(owed)
                if not events:  # what was owed here is gone: retention has said so with a gap event
                    self.consumer.advance(owed, pages.end(owed) or head)
                    continue
                pages.ahead(owed, events[-1].offset + 1)
                tempo = tempo or (Tempo(owed.speed, events[0].recorded) if owed.speed else None)
                await self._page(owed, events, tempo)
        finally:
            pages.drop()
            self.status.rates.pop(lane, None)

    async def _page(self, owed: Range, events: list[Event], tempo: Tempo | None) -> None:
        wanted = self._wanted(owed, events)
        if not wanted and not owed.flight:
            self.consumer.advance(owed, events[-1].offset)
            return
        cuts = owed.flight.cuts if owed.flight else self._cuts(wanted, events[-1].offset, owed.speed)
        if self._fixed and not owed.flight:
            await self.consumer.fix(owed, Flight(cuts, self._globs))
        limit = self._live if owed.lane == "live" else self._beside
        begin = 0
        for cut in cuts:
            end = begin
            while end < len(wanted) and wanted[end].offset <= cut:
                end += 1
            batch, begin = wanted[begin:end], end
            if not batch:  # what was in it is gone
                self.consumer.advance(owed, cut)
                continue
            if tempo:
                await tempo.until(batch[0].recorded)
            await limit.take(len(batch))
            if owed.lane != "live" and not self._quiet.is_set():
                await within(patience, self._quiet.wait())
            while not owed.tries and self._crowded():
                await self.consumer.settled.wait()
            if not await self._send(owed, batch, cut):
                return

    def _wanted(self, owed: Range, events: list[Event]) -> list[Event]:
        globs = [owed.flight.globs if owed.flight else self._globs]
        for one in globs if owed.globs is None else [*globs, owed.globs]:
            known = self._selections.get(id(one))
            if known is None or known[0] is not one:
                if len(self._selections) > 100:
                    self._selections.clear()
                known = self._selections[id(one)] = (one, Selection(one.types, one.sources))
            events = known[1].of(events)
        return events

    def _cuts(self, wanted: list[Event], last: int, speed: float | None) -> list[int]:
        """Last offsets of the batches; what isn't wanted between them belongs to the one before."""
        cuts: list[int] = []
        begin = 0
        for n in range(1, len(wanted)):
            late = speed is not None and wanted[n].recorded - wanted[begin].recorded > slice * speed
            if late or n - begin >= self.config.batch:
                cuts.append(wanted[n].offset - 1)
                begin = n
        return [*cuts, last]

    async def _send(self, owed: Range, events: list[Event], through: int) -> bool:
        """Deliver a batch. False: the lane has older ranges now."""
        batch = Batch(owed.lane, owed.lo, through, events)
        while True:
            if owed.tries:
                await asyncio.sleep(self._pauses[min(owed.tries, len(self._pauses)) - 1])
            outcome = await self._sink.send(batch)
            if len(outcome.retry) < len(events):
                break
            self.consumer.tried(owed)  # it takes nothing at all: likely it has troubles of its own
            if owed.tries > len(self._pauses):
                break
        refused, retry = outcome.refused, outcome.retry
        delivered = len(events) - len(refused) - len(retry)
        self.status.delivered += delivered
        self.status.rates[owed.lane].add(delivered, asyncio.get_running_loop().time())
        if not refused and not retry:
            self._deliveries.add(owed, owed.lo, through)
            self.consumer.advance(owed, through)
            return True
        left = refused.keys() | set(retry)
        self._deliveries.part(owed, [event.offset for event in events if event.offset not in left])
        return self._split(owed, batch, outcome)

    def _split(self, owed: Range, batch: Batch, outcome: Outcome) -> bool:
        """A part was not taken: what never will be becomes dead letters, the rest is owed again, one by one."""
        tries = owed.tries
        dead = [
            self._dead_letter(event, "refused", outcome.refused[event.offset], tries + 1)
            for event in batch.events
            if event.offset in outcome.refused
        ]
        retry = outcome.retry
        if len(batch.events) == 1 and tries > len(self._pauses):
            dead += [
                self._dead_letter(one, "doubtful", "the receiver never said whether it took it", tries)
                for one in batch.events
                if retry
            ]
            retry = []
        self.status.refused += len(dead)
        again = self.consumer.again(sorted(retry), lane="live" if self._strict else "retry-{id}", tries=1)
        self.consumer.log.append(dead, also=[*self.consumer.done(owed, batch.hi), *again], wait=False)
        return not (again and self._strict)

    def _crowded(self) -> bool:
        ranges = self.consumer.ranges
        return len(ranges) > most_ranges and sum(one.tries > 0 for one in ranges) > most_ranges

    def _dead_letter(self, event: Event, reason: str, detail: str, attempts: int) -> Event:
        return undelivered(event, self.config.name, reason, detail, attempts, self._clock.now())
