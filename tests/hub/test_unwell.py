"""The disk is slow or fails under clients whose sessions last: nobody hears of what isn't on it, nothing is stored twice."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from gateway.hub.feed import State, _unpack
from gateway.hub.inlet import Publish
from gateway.hub.listener import Hub
from gateway.hub.packets import V5, Ack, Connack, Connect, Delivery, Disconnect, Filter, Suback, Subscribe
from gateway.hub.properties import Kind, Property
from gateway.store import log as store_log
from gateway.store.log import Log
from tests.hub.house import come, house, leave, payloads, publish, receive, take
from tests.hub.peers import both, enter, knock
from tests.parts import until
from tests.store.disk import fail_once, hold


def taken(hub: Hub, count: int) -> bool:
    return hub.received == count


@both
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("stored", [True, False])
def test_what_a_failed_disk_took_after_all_is_not_taken_again(
    version: int, qos: int, stored: bool, tmp_path: Path
) -> None:
    """However many messages come again: at QoS 2 the packet id tells [MQTT-4.3.3-10], at QoS 1 DUP and content."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            listener = await enter(port, version, "listener")
            await listener.subscribe("#", qos=2)
            peer, _ = await come(port, "c", version)
            answer = Kind.PUBREC if qos == 2 else Kind.PUBACK
            go = hold(gateway.log)
            peer.send(Delivery(Publish("a", b"0", qos), 1))
            await until(lambda: gateway.hub.received == 1 and not gateway.log._pending)
            for lo in range(1, 301, 60):
                peer.send(*(Delivery(Publish("a", str(n).encode(), qos, n == 300), n + 1) for n in range(lo, lo + 60)))
                await until(partial(taken, gateway.hub, lo + 60))
            failed = fail_once(gateway.log, stored=stored)
            go.set()
            assert await peer.got() == Ack(answer, 1)
            while packet := await peer.got():
                assert isinstance(packet, Disconnect)
            assert failed.is_set()
            peer, present = await come(port, "c", version)
            assert present
            for n in range(1, 301):
                peer.send(Delivery(Publish("a", str(n).encode(), qos, n == 300), n + 1, dup=True))
            for n in range(1, 301):
                assert await peer.got() == Ack(answer, n + 1)
            assert payloads(await gateway.log.read(1)) == [*map(str, range(301))]
            assert [one.payload for one in gateway.hub.retained.match("a")] == [b"300"]
            assert [one.message.payload for one in await receive(listener, 301)] == [b"%d" % n for n in range(301)]
            if qos == 2:
                assert await listener.silent()

    asyncio.run(story())


def test_a_new_message_that_looks_like_an_old_one_is_taken(tmp_path: Path) -> None:
    """[MQTT-4.3.3-12]: after PUBREL the same packet id is another message, also if its first try never arrived."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            for dup in (False, True):
                peer.send(Delivery(Publish("a", b"pressed", 2), 1, dup))
                assert await peer.got() == Ack(Kind.PUBREC, 1)
                peer.send(Ack(Kind.PUBREL, 1))
                assert await peer.got() == Ack(Kind.PUBCOMP, 1)
            assert payloads(await gateway.log.read(1)) == ["pressed", "pressed"]

    asyncio.run(story())


@both
def test_what_is_to_be_kept_is_promised_when_the_disk_works_again(version: int, tmp_path: Path) -> None:
    """CONNACK, SUBACK and PUBREL come late rather than before a power cut could still take back what they say."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            failed = fail_once(gateway.log, stored=False)
            peer = await knock(port, version)
            peer.send(Connect("c", version, clean=False, properties={Property.session_expiry: 99}))
            assert isinstance(await peer.got(), Connack)
            assert failed.is_set()
            assert await gateway.log.query("select client from session") == [("c",)]

            failed = fail_once(gateway.log, stored=False)
            peer.send(Subscribe(1, [Filter("a", 2)]))
            assert isinstance(await peer.got(), Suback)
            assert failed.is_set()
            assert await gateway.log.query("select client, filter from subscription") == [("c", "a")]

            await publish(port, "x", qos=2)
            (one,) = await receive(peer, 1)
            failed = fail_once(gateway.log, stored=False)
            peer.send(Ack(Kind.PUBREC, one.id))
            assert await peer.got() == Ack(Kind.PUBREL, one.id)
            assert failed.is_set()
            assert one.id in (await noted(gateway.log)).releasing

    asyncio.run(story())


async def noted(log: Log) -> State:
    ((state,),) = await log.query("select value from state where consumer = 'mqtt/c'")
    return _unpack(state)


def test_pubrel_waits_for_the_disk_though_the_client_left_right_after_pubrec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash would make us send the message again, to a client that has forgotten its packet id [MQTT-4.3.3-4]."""
    monkeypatch.setattr(store_log, "lazy_every", 1e9)

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a", qos=2)
            await publish(port, "1", "2", qos=2)
            one, two = await receive(peer, 2)
            peer.send(Ack(Kind.PUBREC, two.id), Disconnect())
            await until(lambda: gateway.hub.status().away == 1)
            peer, _ = await come(port)
            got = [await peer.got(), await peer.got()]
            assert Delivery(one.message, one.id, True) in got
            assert Ack(Kind.PUBREL, two.id) in got
            assert two.id in (await noted(gateway.log)).releasing

    asyncio.run(story())


def test_a_session_is_forgotten_before_its_client_hears_so(tmp_path: Path) -> None:
    """[MQTT-3.1.2-4]: else a crash would bring it back, and what it was owed, under a client that began anew."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a")
            await leave(gateway, peer)
            _, present = await come(port, clean=True, expiry=None)
            assert not present
            for table in ("session", "subscription"):
                assert await gateway.log.query(f"select * from {table}") == []

    asyncio.run(story())


def test_nothing_comes_before_connack(tmp_path: Path) -> None:
    """[MQTT-3.2.0-1], though the session that the client returns to has to be written down first."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a", qos=0)
            await leave(gateway, peer)
            other, _ = await come(port, "other", expiry=None)
            go = hold(gateway.log)
            peer = await knock(port)
            peer.send(Connect("c", V5, clean=False, properties={Property.session_expiry: 3600}))
            await until(lambda: gateway.hub.broker.members["c"].session)
            other.send(Delivery(Publish("a", b"live")))
            assert await other.silent()
            go.set()
            assert isinstance(await peer.got(), Connack)
            assert (await receive(peer, 1))[0].message.payload == b"live"

    asyncio.run(story())
