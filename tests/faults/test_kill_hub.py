"""kill -9 at random moments between a publisher and a subscriber at QoS 2, whose sessions last: each message exactly once, in
order, in the log and at the subscriber [MQTT-4.3.3]."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from random import Random, SystemRandom

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, V311, Ack, Delivery
from gateway.hub.properties import Kind
from tests.faults.child import Child
from tests.faults.test_kill import stored
from tests.hub.house import come, take
from tests.hub.peers import Peer, _open
from tests.parts import free_port

kills = 8
window = 30

CONFIGURATION = """
[gateway]
name = "victim"
data = "data"
[[listener]]
port = {port}
"""


class Publisher:
    """Keeps what QoS 2 asks a client to keep; ``flying``: packet id -> number, and whether PUBREC has come."""

    def __init__(self) -> None:
        self.next = 0
        self.most = 1 << 30
        self.flying: dict[int, tuple[int, bool]] = {}

    @property
    def done(self) -> bool:
        return self.next >= self.most and not self.flying

    async def run(self, port: int, version: int) -> None:
        """One connection."""
        peer, _ = await come(port, "publisher", version)
        for id, (number, released) in self.flying.items():
            peer.send(Ack(Kind.PUBREL, id) if released else say(number, id, dup=True))
        while not self.done:
            while len(self.flying) < window and self.next < self.most:
                id = next(one for one in range(1, 2 * window) if one not in self.flying)
                self.flying[id] = self.next, False
                peer.send(say(self.next, id))
                self.next += 1
            packet = await heard(peer)
            assert isinstance(packet, Ack)
            if packet.kind is Kind.PUBREC:
                number, _ = self.flying.pop(packet.id)
                self.flying[packet.id] = number, True  # PUBRELs go in the order of the PUBRECs [MQTT-4.6.0-4]
                peer.send(Ack(Kind.PUBREL, packet.id))
            else:
                assert packet.kind is Kind.PUBCOMP
                del self.flying[packet.id]


class Subscriber:
    """Takes each message once by its packet id."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.pending: set[int] = set()
        self.subscribed = False

    async def run(self, port: int, version: int) -> None:
        """One connection."""
        peer, present = await come(port, "subscriber", version)
        if not self.subscribed:
            await take(peer, "q", qos=2)
            self.subscribed = True
        else:
            assert present, "the session outlasts a kill"
        while True:
            packet = await heard(peer)
            if isinstance(packet, Delivery):
                if packet.id not in self.pending:
                    self.got.append(int(packet.message.payload))
                self.pending.add(packet.id)
                peer.send(Ack(Kind.PUBREC, packet.id))
            else:
                assert isinstance(packet, Ack)
                assert packet.kind is Kind.PUBREL
                self.pending.discard(packet.id)
                peer.send(Ack(Kind.PUBCOMP, packet.id))


def say(number: int, id: int, dup: bool = False) -> Delivery:
    return Delivery(Publish("q", str(number).encode(), 2), id, dup)


async def heard(peer: Peer) -> object:
    packet = await peer.got()
    if packet is None:
        raise ConnectionError
    return packet


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", [V311, V5])
def test_exactly_once_through_kills(version: int, tmp_path: Path) -> None:
    seed = int(os.environ.get("REDCAR_SEED") or SystemRandom().randrange(1_000_000))
    print(f"REDCAR_SEED={seed} repeats the moments of this run")
    rng = Random(seed)
    port = free_port()
    (tmp_path / "redcar.toml").write_text(CONFIGURATION.format(port=port))
    child = Child(tmp_path, port)
    publisher, subscriber = Publisher(), Subscriber()

    async def meet(seconds: float | None) -> None:
        """Both are connected for so long, or until everything is done."""

        async def one(who: Publisher | Subscriber) -> None:
            with suppress(ConnectionError, OSError):
                await who.run(port, version)

        first = asyncio.create_task(one(subscriber))
        while not subscriber.subscribed:
            await asyncio.sleep(0.01)
        tasks = [first, asyncio.create_task(one(publisher))]
        if seconds is None:
            publisher.most = publisher.next
            async with asyncio.timeout(40):
                while not publisher.done or len(subscriber.got) < publisher.next:
                    await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
        else:
            await asyncio.sleep(seconds)
            child.kill()
        await asyncio.gather(*tasks, return_exceptions=seconds is None)
        while _open:
            await _open.pop().close()

    try:
        for number in range(kills + 1):
            child.start()
            assert child.listening(20), child.said()
            asyncio.run(meet(rng.uniform(0.05, 0.9) if number < kills else None))
        child.stop()
    finally:
        child.kill_if_alive()
    events = asyncio.run(stored(tmp_path / "data"))
    numbers = [int(one.data["payload"]) for one in events if one.type == "message"]
    print(f"{publisher.next} sent, {len(numbers)} stored, {len(subscriber.got)} arrived")
    assert publisher.next > 500
    assert numbers == list(range(publisher.next))
    assert subscriber.got == list(range(publisher.next))
