"""A log to test against: opened, filled with readings, read back whole."""

from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.event import Event, event
from gateway.store.log import Log


def reading(n: int) -> Event:
    return event("reading", f"plant/air-{n % 3}", {"n": n}, time=1_000_000 + n)


async def opened(folder: Path, clock: Clock | None = None, **settings: Any) -> Log:
    return await Log.open(folder, clock or Clock(), **settings)


async def acknowledged(log: Log, *events: Event) -> None:
    """Append, and wait until it is on the disk."""
    await log.store(events)


async def everything(log: Log) -> list[Event]:
    found: list[Event] = []
    while page := await log.read(found[-1].offset + 1 if found else 1):
        found += page
    return found


async def stored(folder: Path, clock: Clock | None = None) -> list[Event]:
    """Everything in a log that nobody has open."""
    log = await opened(folder, clock)
    found = await everything(log)
    await log.close()
    return found


def numbers(events: list[Event]) -> list[int]:
    return [one.data["n"] for one in events]
