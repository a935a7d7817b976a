"""Clients at QoS 1 and 2 whose sessions last, and who count: they outlive their connections, and the hub."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

from gateway.hub.inlet import Publish
from gateway.hub.packets import Ack, Delivery, Disconnect
from gateway.hub.properties import Kind
from tests.hub.house import come, take
from tests.hub.peers import Peer, _open

window = 30


class Client:
    """Comes back whenever its connection is lost; now and then it loses it by itself.

    lost  the chance that it does, before it hears the next packet"""

    name = ""
    lost = 0.002

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    async def run(self, port: int, version: int) -> None:
        """One connection, until it is lost."""
        raise NotImplementedError

    def away(self) -> float:
        """Seconds until it comes back."""
        return 0.01

    async def heard(self, peer: Peer) -> object:
        """The next packet."""
        if self.rng.random() < self.lost:
            await peer.close()
            raise ConnectionError
        packet = await peer.got()
        if packet is None or isinstance(packet, Disconnect):
            raise ConnectionError
        return packet


class Publisher(Client):
    """Keeps what QoS 2 asks a client to keep; ``flying``: packet id -> number, and whether PUBREC has come."""

    def __init__(self, rng: Random, name: str = "publisher", topic: str = "q") -> None:
        super().__init__(rng)
        self.name, self.topic = name, topic
        self.next = 0
        self.most = 1 << 30
        self.flying: dict[int, tuple[int, bool]] = {}

    @property
    def done(self) -> bool:
        return self.next >= self.most and not self.flying

    async def run(self, port: int, version: int) -> None:
        peer, _ = await come(port, self.name, version)
        for id, (number, released) in self.flying.items():
            peer.send(Ack(Kind.PUBREL, id) if released else self._say(number, id, dup=True))
        while not self.done:
            while len(self.flying) < window and self.next < self.most:
                id = next(one for one in range(1, 2 * window) if one not in self.flying)
                self.flying[id] = self.next, False
                peer.send(self._say(self.next, id))
                self.next += 1
            packet = await self.heard(peer)
            assert isinstance(packet, Ack), packet
            if packet.kind is Kind.PUBREC:
                number, _ = self.flying.pop(packet.id)
                self.flying[packet.id] = number, True  # PUBRELs go in the order of the PUBRECs [MQTT-4.6.0-4]
                peer.send(Ack(Kind.PUBREL, packet.id))
            else:
                assert packet.kind is Kind.PUBCOMP
                del self.flying[packet.id]

    def _say(self, number: int, id: int, dup: bool = False) -> Delivery:
        return Delivery(Publish(self.topic, str(number).encode(), 2), id, dup)


class Subscriber(Client):
    """Takes each message once by its packet id."""

    def __init__(self, rng: Random, name: str = "subscriber", filter: str = "q", qos: int = 2) -> None:
        super().__init__(rng)
        self.name, self.filter, self.qos = name, filter, qos
        self.got: list[int] = []
        self.pending: set[int] = set()
        self.subscribed = False

    async def run(self, port: int, version: int) -> None:
        peer, present = await come(port, self.name, version)
        if not self.subscribed:
            await take(peer, self.filter, qos=self.qos)
            self.subscribed = True
        else:
            assert present, "the session outlasts a kill"
        while True:
            packet = await self.heard(peer)
            if isinstance(packet, Delivery):
                if packet.id not in self.pending:
                    self.got.append(int(packet.message.payload))
                if packet.message.qos == 2:
                    self.pending.add(packet.id)
                peer.send(Ack(Kind.PUBREC if packet.message.qos == 2 else Kind.PUBACK, packet.id))
            else:
                assert isinstance(packet, Ack), packet
                assert packet.kind is Kind.PUBREL
                self.pending.discard(packet.id)
                peer.send(Ack(Kind.PUBCOMP, packet.id))


async def meet(port: int, version: int, clients: Sequence[Client], seconds: float, done: Callable[[], bool]) -> None:
    """Let them do their work at the hub on that port, until it is done or the time is up."""
    over = asyncio.Event()

    async def stay(who: Client) -> None:
        while not over.is_set():
            with suppress(ConnectionError, OSError):
                await who.run(port, version)
            await asyncio.sleep(who.away())

    tasks = [asyncio.create_task(stay(who)) for who in clients]
    deadline = asyncio.get_running_loop().time() + seconds
    while not done() and asyncio.get_running_loop().time() < deadline:
        for task in tasks:
            if task.done():
                await task
        await asyncio.sleep(0.005)
    over.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    while _open:
        await _open.pop().close()


def odd(where: str, numbers: list[int]) -> str:
    """What is wrong with a sequence."""
    missing = sorted(set(range(max(numbers, default=0))) - set(numbers))
    twice = sorted({one for one in numbers if numbers.count(one) > 1})
    first = next((n for n, one in enumerate(numbers) if n != one), None)
    return f"{where}: {len(numbers)}; missing {missing[:20]}, twice {twice[:20]}, not in order from {first}"
