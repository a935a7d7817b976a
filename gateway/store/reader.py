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

save_after = 20_000
"""Events after which state and position are saved although nothing was emitted: bounds what a restart reads again."""


class Processor(Protocol):
    """Rules, views."""

    def restore(self, state: bytes | None) -> None:
        """Begin with this state; None: with none."""

    def handle(self, events: list[Event]) -> tuple[list[Event], Sequence[Statement]]:
        """Take a page; give new events and rows to write with them."""

    def snapshot(self) -> bytes:
        """The state, for restore()."""

    def due(self) -> int | None:
        """Earliest time (µs) at which it wants to see a ``tick`` event; None: no timer runs."""


async def process(log: Log, consumer: Consumer, processor: Processor) -> None:
    """Run a processor over the log until cancelled; then save where it is."""
    processor.restore(consumer.state)
    range = consumer.owed("live")
    assert range is not None
    position = saved = range.lo - 1
    try:
        while True:
            if log.head <= position:
                await _news_or_tick(log, position, processor.due())
            events = await log.read(position + 1, limit=page)
            if not events:
                continue
            emitted, rows = processor.handle(events)
            position = events[-1].offset
            if emitted or rows or position - saved >= save_after:
                saved = position
                stored = consumer.commit(range, position, events=emitted, also=rows, state=processor.snapshot())
                assert stored is not None
                await stored
    except asyncio.CancelledError:
        if position > saved:
            consumer.commit(range, position, state=processor.snapshot())
        raise


async def _news_or_tick(log: Log, position: int, due: int | None) -> None:
    """Wait for the next event. Time enters a processor only as events: when its timer is due first, a tick is appended."""
    if due is None:
        await log.beyond(position)
        return
    seconds = max(0.0, (due - log.clock.now()) / SECOND)
    try:
        async with asyncio.timeout(seconds):
            await log.beyond(position)
    except TimeoutError:
        ticked = log.append([event("tick", "gateway", {}, time=max(due, log.clock.now()))])
        assert ticked is not None
        await ticked
