"""Clients that come and go all the time, at a hub for which now and then everything takes long that may: each message arrives at
each of them once and in order, and at one of those who share a subscription. (What goes wrong here needs a few milliseconds in
which somebody is half there.)"""

import asyncio
from asyncio import Future
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.hub.inlet import Statement
from gateway.hub.packets import V5, V311
from tests.faults.clients import Client, Publisher, Subscriber, meet, odd
from tests.faults.test_kill_at import seeded
from tests.hub.house import house

messages = 300
stormy = 10.0  # seconds after which nobody leaves any more, so that it ends


class Restless(Client):
    """Leaves often, for up to a fifth of a second."""

    lost = 0.05

    def away(self) -> float:
        return self.rng.choice((0, 0.001, 0.01, 0.05, 0.2))


class RestlessPublisher(Restless, Publisher):
    """Publishes."""


class RestlessSubscriber(Restless, Subscriber):
    """Subscribes."""


def hamper(gateway: Gateway, rng: Random) -> None:
    """What is kept for a session, and what is read from the log, takes up to 60 ms more now and then; in order, as ever."""
    history: Any = gateway.hub.sessions._history
    keep, read = history.keep, history.read
    tasks: list[asyncio.Task[None]] = []

    def kept(statements: list[Statement]) -> Future[None]:
        async def slowly(done: Future[None], before: asyncio.Task[None] | None) -> None:
            await done
            if before:
                await before
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.06)

        tasks.append(asyncio.create_task(slowly(keep(statements), tasks[-1] if tasks else None)))
        return asyncio.shield(tasks[-1])  # who waits may be cut off, and nobody else for that

    async def found(*args: Any) -> Any:
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.01)
        page = await read(*args)
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.01)
        return page

    history.keep, history.read = kept, found


async def storm(folder: Path, rng: Random, version: int, qos: int) -> None:
    """One publisher, one to three who share the work, and perhaps one who wants everything."""
    publisher = RestlessPublisher(rng)
    publisher.most = messages
    workers = [RestlessSubscriber(rng, f"worker-{n}", "$share/g/q", qos) for n in range(rng.choice((1, 1, 2, 3)))]
    alone = [RestlessSubscriber(rng, "alone", "q", qos) for _ in range(rng.choice((0, 1)))]
    subscribers = workers + alone

    def shared() -> list[int]:
        return [number for one in workers for number in one.got]

    def arrived() -> bool:
        return publisher.done and all(len(set(got)) >= messages for got in (shared(), *(one.got for one in alone)))

    async with house(folder) as (gateway, port):
        await meet(port, version, subscribers, 20, lambda: all(one.subscribed for one in subscribers))
        hamper(gateway, rng)
        await meet(port, version, [publisher, *subscribers], stormy, arrived)
        for one in (publisher, *subscribers):
            one.lost = 0.0
        await meet(port, version, [publisher, *subscribers], 30, arrived)
    for where, got in (("the workers", sorted(shared())), *(("who is alone", one.got) for one in alone)):
        once = got if qos == 2 else list(dict.fromkeys(got))
        assert once == list(range(messages)), odd(where, once)


@pytest.mark.parametrize(("version", "qos"), [(V311, 2), (V5, 1)])
def test_each_message_arrives_through_a_storm(version: int, qos: int, tmp_path: Path) -> None:
    """At QoS 2 once, at QoS 1 at least once."""
    asyncio.run(storm(tmp_path, seeded(), version, qos))
