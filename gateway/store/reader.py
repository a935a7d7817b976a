"""The loop around a processor: read a page, hand it over, commit what it made of it together with its position.

A processor is deterministic over the log: the same state and the same events make the same new events. So position and new
events are one transaction, which is what keeps an alarm from being forgotten or repeated, while the state is saved once a
minute: it is large beside them. After a crash the events since that state are seen again, and what comes of them is known.
"""

import asyncio
from typing import Protocol

from gateway.event import SECOND, Event, event
from gateway.store.consumers import Consumer
from gateway.store.log import Log
from gateway.store.ranges import Range
from gateway.waiting import within

save_every = 60.0
"""Seconds between saving the state: bounds what a restart sees again. The state of 20 rules for 20 devices is 26 kB."""


class Processor(Protocol):
    """Rules are one."""

    position: int
    """Offset of the newest event that its state has seen; it stands in the snapshot, too."""

    def restore(self, state: bytes | None) -> None:
        """Begin with this state; None: with none."""

    def handle(self, events: list[Event]) -> list[Event]:
        """Take a page; give new events."""

    def snapshot(self) -> bytes:
        """The state, for restore()."""

    def due(self) -> int | None:
        """Earliest time (µs) at which it wants to see a ``tick`` event; None: no timer runs."""


async def process(log: Log, consumer: Consumer, processor: Processor) -> None:
    """Run a processor over the log until cancelled; then save where it is."""
    await log.store([])  # what the try before this one has handed over is in the log now, whatever it was told
    processor.restore(consumer.state)
    range = consumer.live
    if consumer.state is None:
        processor.position = range.lo - 1
    made = await _seen_again(log, range, processor)
    await log.store(made, also=consumer.done(range, range.lo - 1, state=processor.snapshot()))
    now = asyncio.get_running_loop().time
    saved, saved_at = range.lo, now()
    try:
        while True:
            if log.head < range.lo:
                await _news_or_tick(log, range.lo - 1, processor.due(), save_every if saved < range.lo else None)
            if log.head >= range.lo:
                events, through = await log.onward(range.lo, as_stored=True)
                if made := processor.handle(events):
                    await log.store(made, also=consumer.done(range, through))
                else:
                    range.move(through)
            if saved < range.lo and now() - saved_at >= save_every:
                saved, saved_at = range.lo, now()
                consumer.advance(range, range.lo - 1, state=processor.snapshot())
    except asyncio.CancelledError:
        if saved < range.lo:
            consumer.advance(range, range.lo - 1, state=processor.snapshot())
        raise


async def _seen_again(log: Log, range: Range, processor: Processor) -> list[Event]:
    """Bring a state that is older than the position up to it. What comes of that is in the log already, except where the
    processor itself has changed since: that is what this returns."""
    lo = processor.position + 1
    known: set[tuple[str, str, int, bytes]] = set()
    made: list[Event] = []
    while lo <= log.head and (lo < range.lo or made):  # what was made of the last ones stands after them
        events, through = await log.onward(lo, as_stored=True)
        made += processor.handle([one for one in events if one.offset < range.lo])
        known |= {_identity(one) for one in events if one.cause}
        lo = through + 1
    processor.position = max(processor.position, range.lo - 1)
    return [one for one in made if _identity(one) not in known]


def _identity(one: Event) -> tuple[str, str, int, bytes]:
    return one.type, one.source, one.cause, one.body


async def _news_or_tick(log: Log, position: int, due: int | None, at_most: float | None) -> None:
    """Wait for the next event, ``at_most`` so long. Time enters a processor only as events: when its timer is due first,
    a tick is appended."""
    rest = None if due is None else max(0.0, (due - log.clock.now()) / SECOND)
    ticks = rest is not None and (at_most is None or rest <= at_most)
    came = await within(rest if ticks else at_most, log.beyond(position))
    if not came and ticks and due is not None and not log.notice_time():  # else: its timers move along with the clock
        await log.store([event("tick", "gateway", {}, time=max(due, log.clock.now()))])
