"""Statements of MQTT 5.0 on SUBSCRIBE, UNSUBSCRIBE and what they bring, held against a hub at the wire."""

import asyncio
from pathlib import Path

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Delivery,
    Filter,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import Reason
from tests.hub.house import answer, come, drain, house, leave, publish, receive, say_all, take
from tests.hub.peers import Desk, Peer, both, enter, farewell, hub_at

TOO_DEEP = "/" * 600


@both
def test_each_filter_has_its_answer_in_its_place(version: int) -> None:
    """[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
    [MQTT-2.2.1-6] [MQTT-2.2.2-1]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            filters = [("a", 2), (TOO_DEEP, 1), ("b/#", 1), ("$share/g/c", 0), (TOO_DEEP + "x", 0), ("+/d", 0)]
            peer.send(Subscribe(65_535, [Filter(*one) for one in filters]))
            no = Reason.TOPIC_FILTER_INVALID if version == V5 else 0x80
            assert await peer.got() == Suback(65_535, [2, no, 1, 0, no, 0])
            peer.send(Ping())
            assert await peer.got() == Pong(), "one answer for all"

    asyncio.run(story())


@both
def test_each_unsubscribe_is_answered(version: int) -> None:
    """[MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]:
    filters are compared as they are written, not by what they match."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            await peer.subscribe("a/+", "a/#", "b")
            none, gone = Reason.NO_SUBSCRIPTION_EXISTED, Reason.SUCCESS
            peer.send(Unsubscribe(9, ["a/b", "a/+", "#", "A/#", "b", "b"]))
            want = [none, gone, none, none, gone, none] if version == V5 else []
            assert await peer.got() == Unsuback(9, [int(one) for one in want])
            other = await enter(port, version, "other")
            other.send(*(Delivery(Publish(topic, b"x")) for topic in ("b", "a/b", "b")))
            (one,) = await receive(peer, 1)
            assert one.message.topic == "a/b", "the one that is left"
            assert await peer.silent()
            peer.send(Unsubscribe(10, ["nothing"]))
            assert await peer.got() == Unsuback(10, [int(none)] if version == V5 else [])

    asyncio.run(story())


@both
def test_what_was_begun_is_finished_after_unsubscribe(version: int, tmp_path: Path) -> None:
    """[MQTT-3.10.4-3]: also when the connection is lost in between."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "c", version)
            await take(peer, "a", qos=2)
            await publish(port, "1", qos=1)
            await publish(port, "2", qos=2)
            one, two = await receive(peer, 2)
            peer.send(Unsubscribe(9, ["a"]))
            assert isinstance(await peer.got(), Unsuback)
            await publish(port, "3", qos=2)
            await leave(gateway, peer)
            peer, _ = await come(port, "c", version)
            again = await receive(peer, 2)
            assert [(each.id, each.dup) for each in again] == [(one.id, True), (two.id, True)]
            peer.send(Ack(Kind.PUBACK, one.id), Ack(Kind.PUBREC, two.id))
            assert await peer.got() == Ack(Kind.PUBREL, two.id)
            peer.send(Ack(Kind.PUBCOMP, two.id))
            assert await peer.silent()

    asyncio.run(story())


@both
def test_the_same_filter_again_takes_the_place_of_the_first(version: int, tmp_path: Path) -> None:
    """[MQTT-3.8.4-3] [MQTT-3.8.4-4]: retained messages come again, no other is lost or comes twice."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            other, _ = await come(port, "other", V5, None)
            other.send(Delivery(Publish("a", b"kept", 1, True), 1))
            assert await other.got() == Ack(Kind.PUBACK, 1)
            peer, _ = await come(port, "c", version)
            for round in range(5):
                peer.send(Subscribe(9, [Filter("a", 2 - round % 2)]))
                await say_all(other, str(round), qos=2)
                live, kept, granted = [], 0, None
                while granted is None or not kept or not live:
                    packet = await peer.got()
                    if isinstance(packet, Suback):
                        granted = packet.reasons[0]
                        assert granted == 2 - round % 2
                    elif isinstance(packet, Delivery):
                        kept += packet.message.retain
                        live += [] if packet.message.retain else [packet.message]
                        peer.send(Ack(Kind.PUBACK if packet.message.qos == 1 else Kind.PUBREC, packet.id))
                        assert packet.message.qos == 1 or granted != 1
                    else:
                        assert isinstance(packet, Ack)
                        peer.send(Ack(Kind.PUBCOMP, packet.id))
                assert kept == 1
                assert [one.payload.decode() for one in live] == [str(round)]
                await settle(peer)
            await say_all(other, "last", qos=2)
            assert await drain(peer, 1) == ["last"]

    async def settle(peer: Peer) -> None:
        peer.send(Ping())
        while not isinstance(packet := await peer.got(), Pong):
            assert isinstance(packet, Ack), packet
            peer.send(Ack(Kind.PUBCOMP, packet.id))

    asyncio.run(story())


def test_a_message_bears_the_identifiers_of_all_it_matches(tmp_path: Path) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]: live, from the log, retained, and those of the last word."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            for id, (filter, qos) in enumerate([("a/#", 0), ("a/+", 2), ("+/b", 1)], 1):
                identifier: Properties | None = {Property.subscription_identifier: [id * 1_000_000]} if id < 3 else None
                peer.send(Subscribe(id, [Filter(filter, qos)], identifier))
                assert isinstance(await peer.got(), Suback)
            await say_on_a_b(port)
            (live,) = await receive(peer, 1)
            await answer_qos_2(peer, live)
            await leave(gateway, peer)
            await say_on_a_b(port)
            peer, _ = await come(port)
            (stored,) = await receive(peer, 1)
            await answer_qos_2(peer, stored)
            for one in (live, stored):
                assert one.message.qos == 2
                assert sorted((one.message.properties or {})[Property.subscription_identifier]) == [
                    1_000_000,
                    2_000_000,
                ]
            peer.send(Subscribe(7, [Filter("a/#", 2)], {Property.subscription_identifier: [7]}))
            peer.send(Subscribe(8, [Filter("a/+", 1)]))
            assert isinstance(await peer.got(), Suback)
            (kept,) = await receive(peer, 1)
            assert kept.message.properties == {Property.subscription_identifier: [7]}
            assert isinstance(await peer.got(), Suback)
            (kept,) = await receive(peer, 1)
            assert not kept.message.properties, "the second SUBSCRIBE has none"

    async def say_on_a_b(port: int) -> None:
        other, _ = await come(port, "other", expiry=None)
        other.send(Delivery(Publish("a/b", b"x", 2, True), 1))
        assert await other.got() == Ack(Kind.PUBREC, 1)
        other.send(Ack(Kind.PUBREL, 1))
        assert await other.got() == Ack(Kind.PUBCOMP, 1)

    async def answer_qos_2(peer: Peer, one: Delivery) -> None:
        peer.send(Ack(Kind.PUBREC, one.id))
        assert await peer.got() == Ack(Kind.PUBREL, one.id)
        peer.send(Ack(Kind.PUBCOMP, one.id))

    asyncio.run(story())


@both
def test_retained_messages_at_the_wire(version: int, tmp_path: Path) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8] [MQTT-3.8.4-8]: the last one counts, at its own QoS."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            other, _ = await come(port, "other", version, None)

            async def say(text: bytes, qos: int, retain: bool) -> None:
                other.send(Delivery(Publish("a", text, qos, retain), 1 if qos else 0))
                if qos:
                    assert await other.got() == Ack(Kind.PUBACK, 1)

            async def kept() -> list[tuple[bytes, int, bool]]:
                peer, _ = await come(port, "c", version, None, clean=True)
                await peer.subscribe("a", qos=2)
                peer.send(Ping())
                found = []
                while isinstance(one := await peer.got(), Delivery):
                    found.append((one.message.payload, one.message.qos, one.message.retain))
                assert one == Pong()
                await peer.close()
                return found

            assert await kept() == []
            await say(b"1", 1, True)
            await say(b"2", 1, False)
            assert await kept() == [(b"1", 1, True)]
            await say(b"3", 0, True)
            assert await other.silent()
            assert await kept() == [(b"3", 0, True)]
            await say(b"", 1, False)
            assert await kept() == [(b"3", 0, True)], "nothing without RETAIN clears it"
            peer, _ = await come(port, "live", version, None, clean=True)
            peer.send(Subscribe(1, [Filter("a", 1, retain_handling=2 if version == V5 else 0)]))
            assert isinstance(await peer.got(), Suback)
            if version == V311:
                await receive(peer, 1)
            await say(b"", 1, True)
            (cleared,) = await receive(peer, 1)
            assert (cleared.message.payload, cleared.message.retain) == (b"", False), "to others it is a message"
            assert await kept() == []

    asyncio.run(story())


@pytest.mark.parametrize("filter", ["$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/a#/b"])
@both
def test_a_group_without_a_name_or_a_filter_is_malformed(version: int, filter: str) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            peer.send(Subscribe(1, [Filter(filter)]))
            assert await farewell(peer) == (Reason.TOPIC_FILTER_INVALID if version == V5 else None)

    asyncio.run(story())


def test_a_group_at_its_own_qos(tmp_path: Path) -> None:
    """[MQTT-4.8.2-3] [MQTT-4.8.2-4] [MQTT-4.8.2-5] [MQTT-4.8.2-6]: what one member has begun to get is its own."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            one, _ = await come(port, "m1")
            two, _ = await come(port, "m2")
            await take(one, "$share/g/a", qos=2)
            await take(two, "$share/g/a", qos=1)
            await publish(port, "1", "2", "3", "4", qos=2)
            first, second = await receive(one, 2), await receive(two, 2)
            assert {each.message.qos for each in first} == {2}
            assert {each.message.qos for each in second} == {1}
            two.send(*(Ack(Kind.PUBACK, each.id, Reason.UNSPECIFIED) for each in second))
            one.send(Ack(Kind.PUBREC, first[0].id, Reason.UNSPECIFIED))
            assert await one.silent()
            assert await two.silent(), "what a member refuses nobody else gets"
            await leave(gateway, one)
            assert await two.silent(), "what is in flight waits for its member"
            one, _ = await come(port, "m1")
            (again,) = await receive(one, 1)
            assert (again.id, again.dup) == (first[1].id, True)
            await leave(gateway, one)
            one, present = await come(port, "m1", clean=True)
            assert not present
            assert await one.silent()
            assert await two.silent(), "it went with its session"

    asyncio.run(story())


@both
def test_pings_are_answered(version: int) -> None:
    """[MQTT-3.12.4-1]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, version)
            peer.send(Ping(), Ping())
            assert [await peer.got(), await peer.got()] == [Pong(), Pong()]

    asyncio.run(story())


def test_a_server_takes_filters_of_every_qos_and_length(tmp_path: Path) -> None:
    """[MQTT-4.7.3-3]: at the bounds of this one."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            limits = gateway.hub.limits
            long = "x" * limits.topic
            deep = "/".join("x" * limits.levels)
            peer, _ = await come(port)
            await take(peer, long, deep)
            other, _ = await come(port, "other", expiry=None)
            for topic in (long, deep):
                await say_all(other, topic, topic=topic)
            got = await receive(peer, 2)
            assert [each.message.topic for each in got] == [long, deep]
            await answer(peer, *got)

    asyncio.run(story())
