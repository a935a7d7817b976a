"""Sessions that outlast their connection and the gateway: on a real log."""

import asyncio
from pathlib import Path

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.packets import Ack, Delivery, Disconnect, Unsuback, Unsubscribe
from gateway.hub.properties import Kind, Property
from gateway.store.log import Log
from tests.hub.house import answer, come, drain, house, leave, publish, receive, say_all, take
from tests.hub.peers import Peer, both
from tests.parts import until


@both
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("restart", [False, True])
def test_what_a_client_is_owed_waits_for_it(version: int, qos: int, restart: bool, tmp_path: Path) -> None:
    """[MQTT-3.1.2-5] [MQTT-4.1.0-1], and it survives a restart."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, present = await come(port, "c", version)
            assert not present
            await take(peer, "a", qos=qos)
            await publish(port, "live", qos=2)
            assert await drain(peer, 1) == ["live"]
            await leave(gateway, peer)
            await publish(port, "1", "2", "3", qos=2)
            await publish(port, "other", topic="b")
            if not restart:
                peer, present = await come(port, "c", version)
                assert present
                assert await drain(peer, 3) == ["1", "2", "3"]
                return
        async with house(tmp_path) as (gateway, port):
            await publish(port, "4", qos=2)
            peer, present = await come(port, "c", version)
            assert present
            assert await drain(peer, 4) == ["1", "2", "3", "4"]
            await publish(port, "5", qos=2)
            assert await drain(peer, 1) == ["5"]
            assert await peer.silent()

    asyncio.run(story())


@both
def test_what_was_not_acknowledged_comes_again_with_dup(version: int, tmp_path: Path) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1]: in order, with the same packet ids, and what was acknowledged doesn't."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "c", version)
            await take(peer, "a")
            await publish(port, "1", "2", "3", "4")
            first = await receive(peer, 4)
            assert not any(one.dup for one in first)
            await answer(peer, first[0], first[2])
            await leave(gateway, peer)
            peer, _ = await come(port, "c", version)
            again = await receive(peer, 2)
            assert [(one.id, one.message.payload, one.dup) for one in again] == [
                (first[1].id, b"2", True),
                (first[3].id, b"4", True),
            ]
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "c", version)
            last = await receive(peer, 2)
            assert [one.id for one in last] == [one.id for one in again]
            await answer(peer, *last)
            await leave(gateway, peer)
            peer, _ = await come(port, "c", version)
            assert await peer.silent()

    asyncio.run(story())


@both
@pytest.mark.parametrize("restart", [False, True])
def test_qos_2_to_a_client_is_exactly_once(version: int, restart: bool, tmp_path: Path) -> None:
    """[MQTT-4.3.3-4] to [MQTT-4.3.3-7]: after PUBREC the message isn't sent again, PUBREL is."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "c", version)
            await take(peer, "a", qos=2)
            await publish(port, "1", "2", qos=2)
            one, two = await receive(peer, 2)
            peer.send(Ack(Kind.PUBREC, one.id))
            assert await peer.got() == Ack(Kind.PUBREL, one.id)
            await peer.close()
            if not restart:
                peer, _ = await come(port, "c", version)
                await finished(peer, one, two)
                return
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "c", version)
            await finished(peer, one, two)

    async def finished(peer: Peer, one: Delivery, two: Delivery) -> None:
        assert await peer.got() == Ack(Kind.PUBREL, one.id)
        (again,) = await receive(peer, 1)
        assert (again.id, again.message.payload, again.dup) == (two.id, b"2", True)
        peer.send(Ack(Kind.PUBCOMP, one.id), Ack(Kind.PUBREC, two.id))
        assert await peer.got() == Ack(Kind.PUBREL, two.id)

    asyncio.run(story())


@both
@pytest.mark.parametrize("restart", [False, True])
def test_qos_2_from_a_client_is_exactly_once(version: int, restart: bool, tmp_path: Path) -> None:
    """[MQTT-4.3.3-8] to [MQTT-4.3.3-12]: a packet id between PUBLISH and PUBREL is known after a restart."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "c", version)
            peer.send(Delivery(Publish("a", b"once", 2), 7))
            assert await peer.got() == Ack(Kind.PUBREC, 7)
            await peer.close()
            if not restart:
                await finished(port, gateway.log)
                return
        async with house(tmp_path) as (gateway, port):
            await finished(port, gateway.log)

    async def finished(port: int, log: Log) -> None:
        peer, present = await come(port, "c", version)
        assert present
        peer.send(Delivery(Publish("a", b"once", 2), 7, dup=True))
        assert await peer.got() == Ack(Kind.PUBREC, 7)
        peer.send(Ack(Kind.PUBREL, 7))
        assert await peer.got() == Ack(Kind.PUBCOMP, 7)
        peer.send(Delivery(Publish("a", b"another", 2), 7))
        assert await peer.got() == Ack(Kind.PUBREC, 7)
        events = await log.read(1)
        assert [one.data["payload"] for one in events if one.type == "message"] == ["once", "another"]
        assert await log.query("select client, packet_id from qos2") == [("c", 7)]

    asyncio.run(story())


@pytest.mark.parametrize("qos", [1, 2])
def test_expiry_ends_what_was_not_sent_and_nothing_else(qos: int, tmp_path: Path) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6] [MQTT-4.3.3-7]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a", qos=qos)
            other, _ = await come(port, "other", expiry=None)

            async def say(text: bytes, seconds: int) -> None:
                other.send(Delivery(Publish("a", text, 1, properties={Property.message_expiry: seconds}), 1))
                assert await other.got() == Ack(Kind.PUBACK, 1)

            await say(b"begun", 1)
            (first,) = await receive(peer, 1)
            await leave(gateway, peer)
            await say(b"short", 1)
            await say(b"long", 3600)
            await asyncio.sleep(1.1)
            peer, _ = await come(port)
            again, left = await receive(peer, 2)
            assert (again.id, again.dup, again.message.payload) == (first.id, True, b"begun")
            assert (left.dup, left.message.payload) == (False, b"long")
            assert 0 < (left.message.properties or {})[Property.message_expiry] < 3600
            await answer(peer, again, left)
            feed = gateway.hub.broker.members["c"].feed
            assert feed
            assert not feed.unfinished

    asyncio.run(story())


def test_a_clean_start_forgets_everything(tmp_path: Path) -> None:
    """[MQTT-3.1.2-4]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a", qos=2)
            peer.send(Delivery(Publish("b", b"x", 2), 7))
            assert await peer.got() == Ack(Kind.PUBREC, 7)
            await leave(gateway, peer)
            await publish(port, "1")
            peer, present = await come(port, clean=True)
            assert not present
            assert await peer.silent()
            assert gateway.hub.status().subscriptions == 0
            assert "mqtt/c" not in await gateway.consumers.names()
            for table in ("subscription", "qos2"):
                assert await gateway.log.query(f"select * from {table}") == []
            await peer.close()

    asyncio.run(story())


def test_a_session_ends_when_its_client_says_so(tmp_path: Path) -> None:
    """3.14.2.2.2: DISCONNECT may shorten the session expiry."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a")
            peer.send(Disconnect(0, {Property.session_expiry: 0}))
            await until(lambda: not gateway.hub.broker.members)
            _, present = await come(port)
            assert not present

    asyncio.run(story())


def test_a_session_expires(tmp_path: Path) -> None:
    """[MQTT-3.1.2-23] and 3.1.2.11.2"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, expiry=1)
            await take(peer, "a")
            await leave(gateway, peer)
            await until(lambda: gateway.hub.status().away == 0)
            assert gateway.hub.broker.members == {}
            await publish(port, "x")  # its commit is behind that of the session's end
            assert await gateway.log.query("select * from session") == []
            assert "mqtt/c" not in await gateway.consumers.names()

    asyncio.run(story())


def test_unsubscribed_survives_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port)
            await take(peer, "a", "b")
            peer.send(Unsubscribe(2, ["a"]))
            assert await peer.got() == Unsuback(2, [0])
        async with house(tmp_path) as (_, port):
            await publish(port, "no", topic="a")
            await publish(port, "yes", topic="b")
            peer, _ = await come(port)
            assert await drain(peer, 1) == ["yes"]
            assert await peer.silent()

    asyncio.run(story())


def test_a_slow_reader_that_lasts_is_not_closed_and_misses_nothing(tmp_path: Path) -> None:
    """Its position waits in the log instead of a queue in memory; its window is 5."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, properties={Property.receive_maximum: 5})
            await take(peer, "a")
            other, _ = await come(port, "other", expiry=None)
            texts = [f"{n} " + "x" * 5000 for n in range(900)]
            await say_all(other, *texts)
            assert await drain(peer, 900) == texts
            await say_all(other, "live")
            assert await drain(peer, 1) == ["live"]
            feed = gateway.hub.broker.members["c"].feed
            assert feed
            await until(lambda: feed.live)

    asyncio.run(story())


def test_qos_0_to_a_lasting_session_comes_live_and_is_not_stored(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a", qos=1)
            other, _ = await come(port, "other", expiry=None)
            other.send(Delivery(Publish("a", b"0")))
            (one,) = await receive(peer, 1)
            assert one.message.qos == 0
            assert not [one for one in await gateway.log.read(1) if one.type == "message"]

    asyncio.run(story())


def test_old_messages_beyond_the_limit_are_given_up_with_a_gap(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a")
            await leave(gateway, peer)
            feed = gateway.hub.broker.members["c"].feed
            assert feed
            feed.backlog.most = 200
            other, _ = await come(port, "other", expiry=None)
            await say_all(other, *map(str, range(300)))
            lost = 0
            while feed.backlog.count + lost < 300:  # both count
                await asyncio.sleep(0.01)
                gaps = [one.data for one in await gateway.log.read(1) if one.type == "gap"]
                lost = sum(gap["count"] for gap in gaps)
            assert {gap["consumer"] for gap in gaps} == {"mqtt/c"}
            peer, _ = await come(port)
            assert await drain(peer, 300 - lost) == [*map(str, range(lost, 300))]
            assert await peer.silent()
            assert lost in (100, 101)

    asyncio.run(story())


def test_take_over_hands_the_session_on(tmp_path: Path) -> None:
    """[MQTT-3.1.4-3]: what the old connection didn't acknowledge comes to the new one."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            old, _ = await come(port)
            await take(old, "a")
            await publish(port, "1")
            (one,) = await receive(old, 1)
            new, present = await come(port)
            assert present
            (again,) = await receive(new, 1)
            assert (again.id, again.dup) == (one.id, True)
            await publish(port, "2")
            assert [one.message.payload for one in await receive(new, 1)] == [b"2"]

    asyncio.run(story())


@both
@pytest.mark.parametrize("qos", [1, 2])
def test_retained_messages_that_were_not_acknowledged_come_again(version: int, qos: int, tmp_path: Path) -> None:
    """[MQTT-4.4.0-1], in flight or still in line when the connection was lost."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            other, _ = await come(port, "other", version, expiry=None)
            texts = [f"{n} " + "x" * 20_000 for n in range(100)]
            other.send(*(Delivery(Publish(f"r/{n}", text.encode(), qos, True), n + 1) for n, text in enumerate(texts)))
            await until(lambda: len(gateway.hub.retained) >= 100)
            peer, _ = await come(port, "c", version)
            await take(peer, "r/#", qos=2)
            first, second = await receive(peer, 2)
            peer.send(Ack(Kind.PUBREC if qos == 2 else Kind.PUBACK, first.id))
            await leave(gateway, peer)
            peer, _ = await come(port, "c", version)
            if qos == 2:
                assert await peer.got() == Ack(Kind.PUBREL, first.id)
            (again,) = await receive(peer, 1)
            assert (again.id, again.message, again.dup) == (second.id, second.message, True)
            assert again.message.retain
            peer.send(Ack(Kind.PUBREC if qos == 2 else Kind.PUBACK, again.id))
            rest = await drain(peer, 98)
            assert sorted(rest) == sorted({*texts} - {one.message.payload.decode() for one in (first, second)})

    asyncio.run(story())
