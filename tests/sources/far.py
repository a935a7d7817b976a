"""A broker that says what a test tells it, packet by packet: what no real one does on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.errors import LinkLost
from gateway.hub.packets import V5, V311, Connack, Connect, Suback, Subscribe
from gateway.sources.mqtt import Reader
from tests.hub.peers import Desk, Peer, close_all
from tests.parts import PATIENCE, stop, until
from tests.sources.site import source


class Far:
    """A broker that says what a test tells it, packet by packet. Listens on ``port``."""

    def __init__(self, protocol: str) -> None:
        self.port = 0
        self._version = V5 if protocol == "5.0" else V311
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def __aenter__(self) -> "Far":
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await close_all()
        await self._server.wait_closed()

    async def _met(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.put_nowait(Peer(self._version, stream, writer))

    async def meet(self, answer: Connack | None = None) -> tuple[Peer, Connect]:
        """The next client, and what it said; it is let in."""
        peer = await asyncio.wait_for(self._peers.get(), PATIENCE)
        asked = await peer.got()
        assert isinstance(asked, Connect), asked
        peer.send(answer or Connack())
        return peer, asked

    async def subscribed(self, answer: Connack | None = None) -> tuple[Peer, Connect]:
        """The same, and what it asks for is granted."""
        peer, asked = await self.meet(answer)
        wanted = await peer.got()
        assert isinstance(wanted, Subscribe), wanted
        peer.send(Suback(wanted.id, [one.qos for one in wanted.filters]))
        return peer, asked


@asynccontextmanager
async def linked(
    gateway: Gateway, desk: Desk, client: str, protocol: str, answer: Connack | None = None, **more: Any
) -> AsyncIterator[tuple[Peer, Connect, asyncio.Task[None]]]:
    """A source and the broker's end of its connection, subscribed."""
    async with Far(protocol) as far:
        made = Reader(source(far.port, client=client, protocol=protocol, **more), desk, gateway.log, "test")
        running = asyncio.create_task(made.run())
        try:
            peer, asked = await far.subscribed(answer)
            await until(lambda: made.connected or running.done())
            yield peer, asked, running
        finally:
            if not running.done():  # else the test has asked it why
                await stop(running)


async def lost(running: "asyncio.Task[None]") -> str:
    with pytest.raises(LinkLost) as found:
        await asyncio.wait_for(running, 10)
    return str(found.value).partition(": ")[2]


async def peer_is_silent(peer: Peer) -> bool:
    try:
        await asyncio.wait_for(peer.got(), 0.1)
    except TimeoutError:
        return True
    return False
