"""A log to test against: opened, filled with readings, read back whole, damaged."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.event import Event, event
from gateway.store.log import Log, Pace


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


async def fill(log: Log, count: int, batch: int = 100) -> None:
    for start in range(0, count, batch):
        await log.store([reading(n) for n in range(start, start + batch)])


def with_log(folder: Path, check: Callable[[Log], Awaitable[object]], machine: str = "here") -> None:
    """Open, run a check, close."""

    async def story() -> None:
        log = await Log.open(folder, Clock(trust=True), pace=Pace(0.0, 0.0), ring=100, machine=machine)
        try:
            await check(log)
        finally:
            await log.close()

    asyncio.run(story())


def filled(folder: Path, count: int = 1_000) -> None:
    async def check(log: Log) -> None:
        await fill(log, count)

    with_log(folder, check)


async def came(log: Log, type: str) -> Event:
    """The first event of that type, as soon as it is there."""
    for _ in range(500):
        for one in await everything(log):
            if one.type == type:
                return one
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {type} came")


def damage(path: Path, marker: bytes, replacement: bytes) -> None:
    """Change bytes of the file itself, as a card does."""
    assert len(marker) == len(replacement)
    data = path.read_bytes()
    assert marker in data
    path.write_bytes(data.replace(marker, replacement, 1))
