"""A whole gateway to test against: the hub on a real log, which can be closed, killed and opened again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.app import Gateway, open_gateway
from gateway.clock import Clock
from gateway.event import Event
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Ack, Connack, Connect, Delivery, Filter, Suback, Subscribe
from gateway.hub.properties import Kind, Property
from gateway.settings import Gateway as Who
from gateway.settings import Listener, Settings
from tests.hub.peers import Peer, close_all, knock
from tests.parts import until


@asynccontextmanager
async def house(folder: Path, rules: Sequence[str] = (), **more: Any) -> AsyncIterator[tuple[Gateway, int]]:
    """A gateway on that folder, and the port of its hub."""
    settings = Settings(
        gateway=Who(name="test", data=str(folder), rules=list(rules)), listener=[Listener(port=0)], **more
    )
    try:
        async with open_gateway(settings, clock=Clock(trust=True)) as gateway:
            yield gateway, gateway.ports[0]
    finally:
        await close_all()


async def come(
    port: int, id: str = "c", version: int = V5, expiry: int | None = 3600, **connect: Any
) -> tuple[Peer, bool]:
    """Connect with a session that lasts; whether it was there already."""
    peer = await knock(port, version)
    own = connect.pop("properties", {})
    if version == V5 and expiry is not None:
        own = {Property.session_expiry: expiry, **own}
    peer.send(Connect(id, version, properties=own or None, **{"clean": False, **connect}))
    answer = await peer.got()
    if answer is None:
        await peer.close()
        raise ConnectionError("the hub has gone")
    assert isinstance(answer, Connack), answer
    assert answer.reason == 0
    return peer, answer.session_present


async def leave(gateway: Gateway, *peers: Peer) -> None:
    """Go away, and leave sessions behind."""
    here = gateway.hub.status().away
    for peer in peers:
        await peer.close()
    await until(lambda: gateway.hub.status().away == here + len(peers))


async def take(peer: Peer, *filters: str, qos: int = 1) -> None:
    """Subscribe."""
    peer.send(Subscribe(1, [Filter(one, qos) for one in filters]))
    answer = await peer.got()
    if answer is None:
        raise ConnectionError("the hub has gone")
    assert isinstance(answer, Suback), answer
    assert max(answer.reasons) <= 2


async def receive(peer: Peer, count: int) -> list[Delivery]:
    """So many messages; nothing is acknowledged."""
    found: list[Delivery] = []
    while len(found) < count:
        packet = await peer.got()
        assert isinstance(packet, Delivery), packet
        found.append(packet)
    return found


async def answer(peer: Peer, *deliveries: Delivery) -> None:
    """Acknowledge at QoS 1, and wait until that was heard."""
    peer.send(*(Ack(Kind.PUBACK, one.id) for one in deliveries))
    assert await peer.silent()


async def drain(peer: Peer, count: int) -> list[str]:
    """Payloads of so many messages, each acknowledged in full, at whatever QoS."""
    found: list[str] = []
    released = 0
    begun = 0
    while len(found) < count or released < begun:
        packet = await peer.got()
        if isinstance(packet, Delivery):
            found.append(packet.message.payload.decode())
            if packet.message.qos == 2:
                begun += 1
                peer.send(Ack(Kind.PUBREC, packet.id))
            elif packet.message.qos:
                peer.send(Ack(Kind.PUBACK, packet.id))
        else:
            assert isinstance(packet, Ack), packet
            assert packet.kind is Kind.PUBREL
            released += 1
            peer.send(Ack(Kind.PUBCOMP, packet.id))
    return found


async def publish(port: int, *texts: str, topic: str = "a", qos: int = 1, version: int = V5) -> None:
    """Publish and wait until it is stored."""
    peer, _ = await come(port, "publisher", version, None, clean=True)
    await say_all(peer, *texts, topic=topic, qos=qos)
    await peer.close()


async def say_all(peer: Peer, *texts: str, topic: str = "a", qos: int = 1) -> None:
    """The same with a client that is connected."""
    for id, text in enumerate(texts, 1):
        peer.send(Delivery(Publish(topic, text.encode(), qos), id if qos else 0))
    for id in range(1, len(texts) + 1):
        if qos == 1:
            assert await peer.got() == Ack(Kind.PUBACK, id)
        elif qos == 2:
            assert await peer.got() == Ack(Kind.PUBREC, id)
    if qos == 2:
        for id in range(1, len(texts) + 1):
            peer.send(Ack(Kind.PUBREL, id))
        for id in range(1, len(texts) + 1):
            assert await peer.got() == Ack(Kind.PUBCOMP, id)


def payloads(events: list[Event]) -> list[str]:
    """What is stored of unclaimed messages."""
    return [one.data["payload"] for one in events if one.type == "message"]
