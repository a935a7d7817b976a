"""The loop between a consumer and a sink: live first, what an outage left over beside it."""

import asyncio
import re
from fnmatch import translate

from msgspec import Struct

from gateway.clock import Clock
from gateway.errors import SinkRefused, SinkUnavailable
from gateway.event import Event, event
from gateway.sink import Batch, Outcome, Sink, Subscription
from gateway.store.consumers import Consumer, Range


class Selection:
    """Which events a subscription wants. Remembers the answer per (type, source): there are few of them."""

    def __init__(self, types: list[str], sources: list[str]) -> None:
        self._types = re.compile("|".join(map(translate, types)))
        self._sources = re.compile("|".join(map(translate, sources)))
        self._known: dict[tuple[str, str], bool] = {}

    def of(self, events: list[Event]) -> list[Event]:
        """Those that are wanted, in order."""
        wanted = self._wanted
        return [event for event in events if wanted(event.type, event.source)]

    def _wanted(self, type: str, source: str) -> bool:
        key = (type, source)
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) > 10_000:
                self._known.clear()
            answer = bool(self._types.match(type) and self._sources.match(source))
            self._known[key] = answer
            return answer


class Delivery(Struct):
    """How a forwarder is doing, for ``redcar consumers`` and the page."""

    connected: bool = False
    delivered: int = 0
    refused: int = 0
    problem: str | None = None
    attempts: int = 0


class Forwarder:
    """Delivers what one consumer is owed: live first, what an outage left over beside it."""

    def __init__(self, consumer: Consumer, sink: Sink, config: Subscription, clock: Clock) -> None:
        self.consumer = consumer
        self.status = Delivery()
        self._sink = sink
        self._config = config
        self._clock = clock
        self._selection = Selection(config.types, config.sources)

    async def run(self) -> None:
        """Connect and deliver until the sink fails. Raises SinkUnavailable or SinkRefused: the supervisor tries again."""
        self.status.attempts += 1
        try:
            await self._sink.connect()
            self.status = Delivery(True, self.status.delivered, self.status.refused)
            self.consumer.split()
            await self._lanes()
        except* (SinkUnavailable, SinkRefused) as errors:
            self.status.problem = str(errors.exceptions[0])
            raise
        finally:
            self.status.connected = False
            await self._sink.close()

    async def _lanes(self) -> None:
        """A task per lane; a lane that is done ends, live never does."""
        async with asyncio.TaskGroup() as lanes:
            for lane in self.consumer.lanes():
                lanes.create_task(self._lane(lane), name=f"{self._config.name} {lane}")

    async def _lane(self, lane: str) -> None:
        log_ = self.consumer.log
        while range_ := self.consumer.owed(lane):
            if range_.hi is None:
                await log_.beyond(range_.lo - 1)
            events = await log_.read(range_.lo, range_.hi, self._config.batch)
            if not events:  # what was owed here is gone: retention has said so with a gap event
                self.consumer.advance(range_, range_.hi if range_.hi is not None else log_.head)
                continue
            await self._deliver(range_, events)
            if lane != "live":
                await asyncio.sleep(len(events) / self._config.backlog_rate)

    async def _deliver(self, range_: Range, events: list[Event]) -> None:
        through = events[-1].offset
        batch = Batch(range_.lane, range_.lo, through, self._selection.of(events))
        outcome = await self._sink.send(batch) if batch.events else Outcome()
        self.status.delivered += len(batch.events) - len(outcome.refused) - len(outcome.retry)
        if not outcome.refused and not outcome.retry:
            self.consumer.advance(range_, through)
            return
        self.status.refused += len(outcome.refused)
        dead = [
            self._dead_letter(event, outcome.refused[event.offset])
            for event in batch.events
            if event.offset in outcome.refused
        ]
        owed = [self.consumer.insertion("retry", offset, offset) for offset in outcome.retry]
        stored = self.consumer.commit(range_, through, events=dead, also=owed)
        assert stored is not None
        await stored

    def _dead_letter(self, refused: Event, reason: str) -> Event:
        data = {
            "stage": "deliver",
            "consumer": self._config.name,
            "reason": "refused",
            "detail": reason,
            "offset": refused.offset,
        }
        return event("rejected", refused.source, data, time=self._clock.now(), cause=refused.offset)
