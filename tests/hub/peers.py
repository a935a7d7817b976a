"""A hub to test against, an inlet the test decides for, and a client that says exactly what it is told."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.hub import encode
from gateway.hub.access import Access
from gateway.hub.doors import Door
from gateway.hub.inlet import Publish, Read, Statement
from gateway.hub.limits import Limits
from gateway.hub.listener import Hub
from gateway.hub.packets import V5, V311, Connack, Connect, Delivery, Disconnect, Filter, Packet, Suback, Subscribe
from gateway.hub.reasons import ProtocolError
from gateway.hub.retained import Retained
from tests.hub.table import open_stream, parse
from tests.parts import PATIENCE, until

both = pytest.mark.parametrize("version", [V311, V5])


class Desk:
    """An inlet. ``commit`` says what becomes of messages: "hold" until the test decides, "at once", or "nothing"."""

    def __init__(self, commit: str = "at once") -> None:
        self.full = False
        self.on_room: Callable[[], None] = lambda: None
        self.commit = commit
        self.messages: list[Publish] = []
        self.reads = 0
        self.known: list[Publish] = []
        self.held: deque[asyncio.Future[None]] = deque()

    def publish(self, reads: list[Read], also: Sequence[Statement] = ()) -> asyncio.Future[None] | None:
        self.messages += [message for read in reads for message in read.messages]
        self.reads += len(reads)
        if self.commit == "nothing":
            return None
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if self.commit == "hold":
            self.held.append(future)
        else:
            loop.call_soon(future.set_result, None)
        return future

    def refused(self, messages: list[Publish]) -> None:
        """They are stored after all."""
        self.known += messages

    async def has(self, count: int) -> None:
        """As soon as it has taken so many messages."""
        await until(lambda: len(self.messages) == count)


_open: list["Peer"] = []


class Peer:
    """A client on a real socket; ``hub_at`` closes it at the end."""

    def __init__(self, version: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.version = version
        self.reader = reader
        self.writer = writer
        self._stream = open_stream(version)
        self._got: deque[Packet | ProtocolError] = deque()
        _open.append(self)

    def send(self, *packets: Packet) -> None:
        self.writer.write(b"".join(encode.encode(packet, self.version) for packet in packets))

    async def connect(self, id: str = "c", **connect: Any) -> None:
        """Say who we are, and be let in."""
        self.send(Connect(id, self.version, **connect))
        answer = await self.got()
        assert isinstance(answer, Connack), answer
        assert answer.reason == 0

    async def got(self) -> Packet | ProtocolError | None:
        """The next packet; None: the hub closed."""
        while not self._got:
            try:
                data = await asyncio.wait_for(self.reader.read(65_536), PATIENCE)
            except ConnectionError:
                return None
            if not data:
                return None
            self._got.extend(parse(self._stream, data))
        return self._got.popleft()

    async def silent(self) -> bool:
        """Nothing came, although the hub has handled all we sent: a ping overtakes nothing."""
        self.writer.write(encode.PINGREQ)
        return await self.got() == parse(open_stream(self.version), encode.PINGRESP)[0]

    async def subscribe(self, *filters: str, qos: int = 1) -> None:
        self.send(Subscribe(1, [Filter(one, qos) for one in filters]))
        assert isinstance(await self.got(), Suback)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


async def close_all() -> None:
    """Every client that is still there."""
    while _open:
        await _open.pop().close()


async def knock(port: int, version: int = V5, narrow: bool = False) -> Peer:
    """Open a connection and say nothing. ``narrow``: with the smallest buffer to receive into."""
    end = socket.socket()
    end.setblocking(False)
    if narrow:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    try:
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
        return Peer(version, *await asyncio.open_connection(sock=end))
    except (OSError, asyncio.CancelledError):
        end.close()
        raise


async def enter(port: int, version: int = V5, id: str = "c", narrow: bool = False, **connect: Any) -> Peer:
    """Connect and be let in."""
    peer = await knock(port, version, narrow)
    await peer.connect(id, **connect)
    return peer


@asynccontextmanager
async def hub_at(
    desk: Desk, limits: Limits | None = None, users: Path | None = None, access: Access | None = None
) -> AsyncIterator[tuple[Hub, int]]:
    """A hub on a free port; at the end every slot must have been given back."""
    limits = limits or Limits()
    hub = Hub(desk, Retained(limits), access or Access(users, True, limits), limits)
    port = await hub.listen(Door())
    try:
        yield hub, port
    finally:
        await hub.close()
        await close_all()
    status = hub.status()
    assert (status.connections, status.clients, status.subscriptions) == (0, 0, 0)


def say(topic: str = "a", payload: bytes = b"x", qos: int = 1, id: int = 1, **more: Any) -> Delivery:
    """A PUBLISH on the wire, at QoS 1 unless told otherwise."""
    return Delivery(Publish(topic, payload, qos, **more), id if qos else 0)


async def farewell(peer: Peer) -> int | None:
    """The reason of the DISCONNECT, if there is one, before the connection closes."""
    reason = None
    while packet := await peer.got():
        if isinstance(packet, Disconnect):
            reason = packet.reason
    return reason
