"""The log as MQTT subscribers see it: see ``hub/history.py`` for what that is.

event in the log          what subscribers get
message                   the message as it was published, on its own topic
any other                 redcar/events/<source>/<type>, as CloudEvents in JSON
"""

from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any

from gateway import envelope
from gateway.errors import StoreFailed
from gateway.event import Event, event
from gateway.hub.history import Position, Told
from gateway.hub.inlet import Publish, Statement
from gateway.hub.properties import Property
from gateway.message import as_topic, published
from gateway.sink import Identity
from gateway.store.consumers import Consumer, Consumers
from gateway.store.log import Log
from gateway.store.rows import offset_at

OWN = "redcar/events/"
"""Where events are published."""

_PAGE = 500  # events looked at before others get their turn


def _patient(stored: Future[None] | None) -> Future[None]:
    """What isn't anybody's to send again: while the disk fails it waits, and fails only with the log itself."""
    assert stored is not None
    kept: Future[None] = stored.get_loop().create_future()

    def settle(done: Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if kept.done():
            return
        if isinstance(error, StoreFailed) and error.later:
            error.later.add_done_callback(settle)
        elif error:
            kept.set_exception(error)
            kept.exception()  # the process ends: it may be that nobody is left to look at it
        elif done.cancelled():
            kept.cancel()
        else:
            kept.set_result(None)

    stored.add_done_callback(settle)
    return kept


class LogPosition:
    """A session's consumer: one open range and a state."""

    def __init__(self, consumer: Consumer, log: Log) -> None:
        self._consumer = consumer
        self._log = log
        self._range = consumer.live

    @property
    def state(self) -> bytes | None:
        """What was noted with the position."""
        return self._consumer.state

    @property
    def through(self) -> int:
        """Everything up to here is done."""
        return self._range.lo - 1

    def advance(self, through: int, state: bytes) -> None:
        """With some later commit."""
        self._consumer.advance(self._range, through, state=state)

    def commit(self, through: int, state: bytes) -> Future[None]:
        """With the next commit."""
        return _patient(self._log.append([], also=self._consumer.done(self._range, through, state=state)))

    def give_up(self, through: int, count: int, state: bytes) -> None:
        """Beyond the limit of what is kept for a client that is away."""
        lo = self._range.lo
        ranges = [[lo, through, count]]
        data = {"reason": "client_away", "consumer": self._consumer.name, "ranges": ranges, "count": count}
        gap = event("gap", "gateway", data, time=self._log.clock.now())
        self._log.append([gap], also=self._consumer.done(self._range, through, state=state), wait=False)


class LogHistory:
    """Implements the hub's History."""

    def __init__(self, log: Log, consumers: Consumers, identity: Identity) -> None:
        self._log = log
        self._consumers = consumers
        self._identity = identity
        self._topics: dict[tuple[str, str], str] = {}

    @property
    def head(self) -> int:
        """Offset of the newest event."""
        return self._log.head

    def keep(self, statements: Sequence[Statement]) -> Future[None]:
        """In one transaction."""
        return _patient(self._log.append([], also=statements))

    async def read(
        self, lo: int, hi: int, wanted: Callable[[str], bool], own: Callable[[str], bool] | None
    ) -> tuple[list[Told], int]:
        """See the protocol. Who is owed something of a damaged log waits until it is salvaged: what is newer comes after it."""
        if lo < self._log.first:
            await self._log.whole.wait()
        events = await self._log.read(lo, hi, _PAGE)
        now = self._log.clock.now()
        told = []
        for one in events:
            if one.type == "message":
                if wanted(one.source):
                    told.append(Told(one.offset, published(one, now)))
            elif own and one.type != "tick":
                topic = self._topic(one)
                if own(topic):
                    told.append(Told(one.offset, self._cloud_event(one, topic), True))
        return told, events[-1].offset if events else hi

    async def beyond(self, offset: int) -> None:
        """Wait for news."""
        await self._log.beyond(offset)

    async def offset_at(self, time: int) -> int:
        """First offset recorded at or after that time (µs)."""
        return await self._log.look(offset_at, time)

    async def find(self, name: str) -> Position | None:
        """The position of a session that was kept."""
        consumer = await self._consumers.find(name)
        if consumer is None or consumer.owed("live") is None:
            return None
        self._consumers.adopt(consumer)
        return LogPosition(consumer, self._log)

    async def names(self) -> list[str]:
        """Of all consumers."""
        return await self._consumers.names()

    def make(self, name: str, through: int) -> tuple[Position, Statement]:
        """A session's first subscription that is owed something."""
        consumer, statement = self._consumers.make(name, through + 1)
        return LogPosition(consumer, self._log), statement

    def drop(self, name: str) -> list[Statement]:
        """The session is over."""
        return self._consumers.drop(name)

    def gave_up(self, reason: str, count: int) -> None:
        """A gap event without offsets."""
        gap = event("gap", "gateway", {"reason": reason, "count": count}, time=self._log.clock.now())
        self._log.append([gap], wait=False)

    def _topic(self, one: Event) -> str:
        key = one.source, one.type
        topic = self._topics.get(key)
        if topic is None:
            if len(self._topics) >= 10_000:
                self._topics.clear()
            topic = self._topics[key] = as_topic(f"{OWN}{one.source}/{one.type}")
        return topic

    def _cloud_event(self, one: Event, topic: str) -> Publish:
        properties: dict[int, Any] = {Property.payload_format: 1, Property.content_type: envelope.content_type}
        return Publish(topic, envelope.structured(one, self._identity, "live"), 2, False, properties)
