"""The loop around a processor: read a page, hand it over, commit what it made of it together with its position.

A processor is a pure function (state, events) -> (state, new events, rows). Because position, state, rows and new events are
one transaction, a crash repeats nothing and forgets nothing. While a processor emits nothing its position and state may stay
behind on the disk: they are consistent with each other, and the same events give the same state again.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from gateway.event import SECOND, Event, event
from gateway.store.consumers import Consumer
from gateway.store.log import Log, Statement

page = 1_000
"""Events per wake-up at most: bounds memory and the time the loop is away from its sockets."""

save_every = 10.0
"""Seconds between saving state and position although nothing was emitted: bounds what a restart reads again. The state of
20 rules for 20 devices is 26 kB: once a second it would be most of what a quiet gateway writes."""


class Processor(Protocol):
    """Rules, views."""

    def restore(self, state: bytes | None) -> None:
        """Begin with this state; None: with none."""

    def handle(self, events: list[Event]) -> Sequence[Event | Statement]:
        """Take a page; give new events, and rows to write with them."""

    def snapshot(self) -> bytes:
        """The state, for restore()."""

    def due(self) -> int | None:
        """Earliest time (µs) at which it wants to see a ``tick`` event; None: no timer runs."""


async def process(log: Log, consumer: Consumer, processor: Processor) -> None:
    """Run a processor over the log until cancelled; then save where it is."""
    processor.restore(consumer.state)
    range = consumer.owed("live")
    assert range is not None
    saved, saved_at = range.lo, -1e9
    now = asyncio.get_running_loop().time
    try:
        while True:
            if log.head < range.lo:
                await _news_or_tick(log, range.lo - 1, processor.due(), save_every if saved < range.lo else None)
            if log.head >= range.lo:
                events = await log.read_as_stored(range.lo, limit=page)
                made = processor.handle(events)
                range.lo = events[-1].offset + 1 if events else log.head + 1
                if made:
                    emitted = [one for one in made if isinstance(one, Event)]
                    rows = [one for one in made if isinstance(one, tuple)]
                    saved, saved_at = range.lo, now()
                    stored = consumer.commit(range, range.lo - 1, events=emitted, also=rows, state=processor.snapshot())
                    assert stored is not None
                    await stored
            if saved < range.lo and now() - saved_at >= save_every:
                saved, saved_at = range.lo, now()
                consumer.advance(range, range.lo - 1, state=processor.snapshot())
    except asyncio.CancelledError:
        if saved < range.lo:
            consumer.advance(range, range.lo - 1, state=processor.snapshot())
        raise


async def _news_or_tick(log: Log, position: int, due: int | None, at_most: float | None) -> None:
    """Wait for the next event, ``at_most`` so long. Time enters a processor only as events: when its timer is due first,
    a tick is appended."""
    rest = None if due is None else max(0.0, (due - log.clock.now()) / SECOND)
    ticks = rest is not None and (at_most is None or rest <= at_most)
    try:
        async with asyncio.timeout(rest if ticks else at_most):
            await log.beyond(position)
    except TimeoutError:
        if ticks and due is not None and not log.notice_time():  # else: its timers move along with the clock
            ticked = log.append([event("tick", "gateway", {}, time=max(due, log.clock.now()))])
            assert ticked is not None
            await ticked
