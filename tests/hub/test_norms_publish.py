"""Statements of MQTT 5.0 on PUBLISH, its acknowledgements and flow control, held against a hub at the wire."""

import asyncio
from pathlib import Path

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.packets import (
    V5,
    Ack,
    Delivery,
    Filter,
    Packet,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import ProtocolError, Reason
from tests.hub.house import answer, come, house, leave, publish, receive, say_all, take
from tests.hub.peers import Desk, Peer, both, enter, hub_at, say

ALL: Properties = {
    Property.payload_format: 1,
    Property.content_type: "text/plain; ü",
    Property.response_topic: "answers/here",
    Property.correlation_data: b"\0\xff\1",
    Property.user_property: [("b", "1"), ("a", "2"), ("b", "1"), ("", "\ufeff")],
}


@pytest.mark.parametrize("lasting", [False, True])
def test_properties_pass_unaltered(lasting: bool, tmp_path: Path) -> None:
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-1.5.4-3], live,
    from the log, and retained."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, expiry=60 if lasting else None)
            await take(peer, "a")
            other, _ = await come(port, "other", expiry=None)
            other.send(Delivery(Publish("a", "Grüße".encode(), 1, True, ALL), 1))
            (live,) = await receive(peer, 1)
            assert await other.got() == Ack(Kind.PUBACK, 1)
            other.send(Subscribe(2, [Filter("a", 1)]))
            assert isinstance(await other.got(), Suback)
            (kept,) = await receive(other, 1)
            for one in (live, kept):
                assert (one.message.payload.decode(), one.message.properties) == ("Grüße", ALL)

    asyncio.run(story())


@both
def test_names_are_taken_as_they_are(version: int) -> None:
    """[MQTT-3.3.2-3] [MQTT-4.7.3-4] [MQTT-1.5.4-3] [MQTT-4.3.1-1]: characters that look alike are different."""
    names = ["a", "A", "/a", "a/", "a//b", " a", "é", "e\u0301", "\ufeffa", "a\ufeff", "\U0001d11e"]

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peers = []
            for number, name in enumerate(names):
                peer = await enter(port, version, f"c{number}")
                await peer.subscribe(name)
                peers.append(peer)
            other = await enter(port, version, "other")
            for name in names:
                other.send(Delivery(Publish(name, name.encode(), 0)))
            for name, peer in zip(names, peers):
                assert await peer.got() == Delivery(Publish(name, name.encode(), 0), 0)
                assert await peer.silent()

    asyncio.run(story())


@both
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_says_nothing_about_the_next_hop(version: int, qos: int) -> None:
    """[MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            await peer.subscribe("a", qos=2)
            other = await enter(port, version, "other")
            other.send(Delivery(Publish("a", b"x", qos), 7, dup=True))
            got = await peer.got()
            assert isinstance(got, Delivery)
            assert not got.dup

    asyncio.run(story())


@both
def test_each_qos_is_answered_as_it_has_to_be(version: int) -> None:
    """[MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11] [MQTT-2.2.1-5] [MQTT-3.4.2-1] [MQTT-3.5.2-1]
    [MQTT-3.6.2-1] [MQTT-3.7.2-1]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            peer.send(say(qos=0))
            assert await peer.silent()
            peer.send(say(qos=1, id=65_535))
            assert await peer.got() == Ack(Kind.PUBACK, 65_535)
            peer.send(say(qos=2, id=1))
            assert await peer.got() == Ack(Kind.PUBREC, 1)
            peer.send(Ack(Kind.PUBREL, 1))
            assert await peer.got() == Ack(Kind.PUBCOMP, 1)
            peer.send(Ack(Kind.PUBREL, 9))
            assert await peer.got() == Ack(Kind.PUBCOMP, 9, Reason.PACKET_ID_NOT_FOUND if version == V5 else 0)
            peer.send(Ack(Kind.PUBREC, 9))
            assert await peer.got() == Ack(Kind.PUBREL, 9, Reason.PACKET_ID_NOT_FOUND if version == V5 else 0)

    asyncio.run(story())


@both
def test_an_id_that_was_acknowledged_is_a_new_message(version: int) -> None:
    """[MQTT-4.3.2-5] [MQTT-4.3.3-12]: whatever DUP says."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            await peer.subscribe("a", qos=0)
            other = await enter(port, version, "other")
            for dup in (False, True):
                other.send(Delivery(Publish("a", b"1", 1), 7, dup))
                assert await other.got() == Ack(Kind.PUBACK, 7)
                other.send(Delivery(Publish("a", b"2", 2), 7, dup))
                assert await other.got() == Ack(Kind.PUBREC, 7)
                other.send(Ack(Kind.PUBREL, 7))
                assert await other.got() == Ack(Kind.PUBCOMP, 7)
            assert [one.message.payload for one in await receive(peer, 4)] == [b"1", b"2", b"1", b"2"]

    asyncio.run(story())


def test_the_four_steps_are_taken_also_for_what_has_expired() -> None:
    """[MQTT-4.3.3-13]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port)
            peer.send(say(qos=2, id=7, properties={Property.message_expiry: 0}))
            assert await peer.got() == Ack(Kind.PUBREC, 7)
            peer.send(Ack(Kind.PUBREL, 7))
            assert await peer.got() == Ack(Kind.PUBCOMP, 7)

    asyncio.run(story())


def test_an_id_that_was_refused_is_a_new_message() -> None:
    """[MQTT-4.3.3-9]"""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (_, port):
            peer = await enter(port)
            peer.send(say("redcar/x", qos=2, id=7))
            assert await peer.got() == Ack(Kind.PUBREC, 7, Reason.NOT_AUTHORIZED)
            peer.send(say("a", qos=2, id=7))
            assert await peer.got() == Ack(Kind.PUBREC, 7)
            assert [one.topic for one in desk.messages] == ["a"]

    asyncio.run(story())


@both
def test_qos_2_is_passed_on_once_however_often_it_comes(version: int) -> None:
    """[MQTT-4.3.3-10]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            await peer.subscribe("a", qos=0)
            other = await enter(port, version, "other")
            for dup in (False, True, True):
                other.send(Delivery(Publish("a", b"x", 2), 7, dup))
                assert await other.got() == Ack(Kind.PUBREC, 7)
            await receive(peer, 1)
            assert await peer.silent()

    asyncio.run(story())


def test_aliases_are_a_matter_of_one_connection(tmp_path: Path) -> None:
    """[MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-12] [MQTT-3.3.2-11]: all that CONNACK allows
    may be used, and are forgotten with the connection."""

    def short(alias: int, topic: str = "") -> Packet:
        return Delivery(Publish(topic, b"x", 0, properties={Property.topic_alias: alias}))

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            most = gateway.hub.limits.aliases
            watcher, _ = await come(port, "w", properties={Property.topic_alias_maximum: 1})
            await take(watcher, "t/#", qos=0)
            peer, _ = await come(port)
            peer.send(*(short(alias, f"t/{alias}") for alias in range(1, most + 1)))
            peer.send(*(short(alias) for alias in range(most, 0, -1)))
            names, known = [], {}
            for one in await receive(watcher, 2 * most):
                alias = (one.message.properties or {}).get(Property.topic_alias, 0)
                assert alias <= 1
                if alias and one.message.topic:
                    known[alias] = one.message.topic
                names.append(one.message.topic or known[alias])
            there = [f"t/{alias}" for alias in range(1, most + 1)]
            assert names == there + there[::-1]
            await leave(gateway, peer)
            peer, present = await come(port)
            assert present
            peer.send(short(1))
            error = await peer.got()
            assert getattr(error, "reason", None) == Reason.PROTOCOL_ERROR

    asyncio.run(story())


def test_the_window_holds_over_reconnects_and_for_publish_alone(tmp_path: Path) -> None:
    """[MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            two = {Property.receive_maximum: 2}
            peer, _ = await come(port, properties=two)
            await take(peer, "a", qos=2)
            other, _ = await come(port, "other", expiry=None)
            await say_all(other, "1", "2", "3", "4", "5", qos=2)
            first, second = await receive(peer, 2)
            await everything_else_goes_on(peer)
            peer.send(Ack(Kind.PUBREC, first.id))
            assert await peer.got() == Ack(Kind.PUBREL, first.id)
            assert await peer.silent(), "PUBREC alone makes no room"
            await leave(gateway, peer)
            peer, _ = await come(port, properties=two)
            assert await peer.got() == Ack(Kind.PUBREL, first.id)
            (again,) = await receive(peer, 1)
            assert (again.id, again.dup) == (second.id, True)
            await everything_else_goes_on(peer)
            peer.send(Ack(Kind.PUBCOMP, first.id))
            (third,) = await receive(peer, 1)
            assert (third.message.payload, third.dup) == (b"3", False)
            peer.send(Ack(Kind.PUBREC, third.id, Reason.QUOTA_EXCEEDED))
            (fourth,) = await receive(peer, 1)
            assert fourth.message.payload == b"4", "a PUBREC that says no makes room"
            assert await peer.silent()

    async def everything_else_goes_on(peer: Peer) -> None:
        peer.send(Ping(), Subscribe(8, [Filter("b", 1)]), Unsubscribe(9, ["b"]), say("c", id=7))
        got = [await peer.got() for _ in range(4)]
        assert {type(one) for one in got} == {Pong, Suback, Unsuback, Ack}

    asyncio.run(story())


def test_what_a_client_refused_is_not_sent_again(tmp_path: Path) -> None:
    """[MQTT-4.4.0-2] [MQTT-4.3.2-3] [MQTT-4.3.3-3]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "a", qos=2)
            await publish(port, "1", qos=1)
            await publish(port, "2", "3", qos=2)
            one, two, three = await receive(peer, 3)
            peer.send(Ack(Kind.PUBACK, one.id, Reason.UNSPECIFIED), Ack(Kind.PUBREC, two.id, Reason.UNSPECIFIED))
            assert await peer.silent()
            await leave(gateway, peer)
            peer, _ = await come(port)
            (again,) = await receive(peer, 1)
            assert (again.id, again.message.payload) == (three.id, b"3")
            assert await peer.silent()

    asyncio.run(story())


def test_ids_in_use_are_not_given_out_again(tmp_path: Path) -> None:
    """[MQTT-2.2.1-4] [MQTT-2.2.1-2] [MQTT-4.3.2-1] [MQTT-4.3.3-1]: retained messages and those of the log together."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            other, _ = await come(port, "other", expiry=None)
            for number in range(20):
                other.send(Delivery(Publish(f"a/{number}", b"x", 1, True), 1))
                assert await other.got() == Ack(Kind.PUBACK, 1)
            peer, _ = await come(port)
            await take(peer, "a/#", qos=2)
            await say_all(other, *"0123456789", topic="a/0", qos=2)
            ids = [one.id for one in await receive(peer, 30)]
            assert len(set(ids)) == 30
            assert 0 not in ids

    asyncio.run(story())


@both
def test_order_is_kept_for_each_publisher_and_qos(version: int, tmp_path: Path) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.5.0-1]; again after a reconnect [MQTT-4.6.0-1]."""
    texts = [str(number) for number in range(50)]

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "c", version)
            await take(peer, "a", qos=2)
            for qos in (1, 2):
                await publish(port, *texts, qos=qos)
                got = await receive(peer, 50)
                assert [one.message.payload.decode() for one in got] == texts
                await leave(gateway, peer)
                peer, _ = await come(port, "c", version)
                again = await receive(peer, 50)
                assert [(one.id, one.dup) for one in again] == [(one.id, True) for one in got]
                if qos == 1:
                    await answer(peer, *again)

    asyncio.run(story())


def test_what_may_not_be_sent_ends_the_connection() -> None:
    """[MQTT-3.3.2-14] [MQTT-3.3.4-6] [MQTT-4.13.1-1]: with the reason, at the wire."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            for properties, reason in (
                ({Property.response_topic: "a/#"}, Reason.TOPIC_NAME_INVALID),
                ({Property.subscription_identifier: [1]}, Reason.PROTOCOL_ERROR),
                ({Property.topic_alias: 0}, Reason.TOPIC_ALIAS_INVALID),
            ):
                peer = await enter(port)
                peer.send(say(properties=properties))
                bye = await peer.got()
                assert not isinstance(bye, ProtocolError)
                assert getattr(bye, "reason", None) == reason
                assert await peer.got() is None

    asyncio.run(story())
