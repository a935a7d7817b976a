"""A broker that already runs: what is published there, and the source that reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.driver import load as load_driver
from gateway.hub.packets import V311
from gateway.sources.mqtt import Config, Reader
from tests.hub.house import publish
from tests.hub.peers import Desk
from tests.parts import LOOPS, stop, until

CLAIM = load_driver("json").config(
    driver="json", topics=["plant/{area}/{device}"], allow=["*"], source="{area}/{device}"
)

clients = pytest.mark.parametrize("client", ["paho", "own"])
fastest = list(LOOPS)[-1]
ways = pytest.mark.parametrize(
    ("client", "protocol", "loop"),
    [(client, *more) for client in ("paho", "own") for more in (("3.1.1", "asyncio"), ("5.0", fastest))],
)


def source(port: int, **more: Any) -> Config:
    own: dict[str, Any] = {"name": "site", "host": "127.0.0.1", "port": port, "topics": ["plant/#"], **more}
    return Config(**own)


async def send(port: int, *texts: str, topic: str = "plant/cellar/air-1", qos: int = 1) -> None:
    """To that broker."""
    for at in range(0, len(texts), 10):  # it takes 20 at once
        await publish(port, *texts[at : at + 10], topic=topic, qos=qos, version=V311)


def numbered(lo: int, hi: int) -> list[str]:
    return [f'{{"n": {n}}}' for n in range(lo, hi)]


async def values(gateway: Gateway) -> list[int]:
    return [one.data["n"] for one in await gateway.log.read(1, limit=10_000) if one.type == "reading"]


async def messages(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    """What nobody claimed, as soon as there are so many."""
    async with asyncio.timeout(10):
        while True:
            found = [one.data for one in await gateway.log.read(1, limit=10_000) if one.type == "message"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def all_of(gateway: Gateway, wanted: set[int]) -> list[int]:
    """The values in the log, as soon as these are among them."""
    async with asyncio.timeout(10):
        while not wanted <= set(found := await values(gateway)):
            await asyncio.sleep(0.02)
        return found


async def reading(gateway: Gateway) -> None:
    await until(lambda: all(one.connected for one in gateway.readers))


@asynccontextmanager
async def reader(config: Config, desk: Desk, gateway: Gateway) -> AsyncIterator[Reader]:
    """A reader of its own, that is subscribed."""
    made = Reader(config, desk, gateway.log, "test")
    running = asyncio.create_task(made.run())
    try:
        await until(lambda: made.connected or running.done())
        assert made.connected, running.exception()
        yield made
    finally:
        await stop(running)
