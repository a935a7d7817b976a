"""The entrance of a gateway without its hub: bindings, and what is in the log after something came in."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway import driver, sequence
from gateway.clock import Clock
from gateway.devices import Devices
from gateway.driver import Context
from gateway.event import Event
from gateway.hub.inlet import Publish, Read
from gateway.ingest import Bound, Ingest
from gateway.sequence import Sequences
from tests.store.logs import opened, stored

PLANT = {"topics": ["plant/{area}/{device}"], "source": "{area}/{device}"}


def bind(kind: str, **settings: Any) -> Bound:
    found = driver.load(kind)
    binding = found.config(driver=kind, **settings)
    return Bound(binding, found, Context(binding))


def told(
    folder: Path, bound: list[Bound], story: Callable[[Ingest], Awaitable[None]], clock: Clock | None = None
) -> list[Event]:
    """What is in the log after the story. The counters of devices are known again in the next."""

    async def run() -> list[Event]:
        log = await opened(folder, clock or Clock(trust=True))
        counters = Sequences(await log.query(sequence.known))
        await story(Ingest(log, log.clock, Devices(), bound, sequences=counters))
        await log.close()
        return await stored(folder, log.clock)

    return asyncio.run(run())


def published(folder: Path, bound: list[Bound], *messages: Publish) -> list[Event]:
    async def story(ingest: Ingest) -> None:
        for message in messages:
            done = ingest.publish([Read([message])])
            if done:
                await done

    return told(folder, bound, story)
