"""Statements of MQTT 5.0 on CONNECT, CONNACK and DISCONNECT, held against a hub at the wire. Others stand where their subject is.

What binds clients only, or a server that can't do all that ours can, isn't here: see ``norms.py``.
"""

import asyncio
from pathlib import Path

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Filter,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Will,
)
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import Reason
from gateway.hub.users import add_user
from tests.hub.house import come, house, leave, publish, say_all, take
from tests.hub.peers import Desk, Peer, both, enter, hub_at, knock, say
from tests.parts import until


@both
def test_session_present_says_what_was_kept(version: int, tmp_path: Path) -> None:
    """[MQTT-3.1.2-6] [MQTT-3.1.4-4] [MQTT-3.1.4-5] [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.1.3-2]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, present = await come(port, "c", version)
            assert not present
            await take(peer, "a")
            await leave(gateway, peer)
            _, present = await come(port, "d", version)
            assert not present, "it belongs to another client id"
            peer, present = await come(port, "c", version)
            assert present
            await leave(gateway, peer)
            peer, present = await come(port, "c", version, clean=True)
            assert not present
            await publish(port, "x")
            assert await peer.silent(), "its subscription went with the session"

    asyncio.run(story())


@both
def test_connack_comes_first_and_once(version: int) -> None:
    """[MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-1], whatever came with CONNECT."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            await publish_retained(port)
            peer = await knock(port, version)
            peer.send(Connect("c", version), Subscribe(1, [Filter("#")]), Ping(), say(id=7))
            kinds = [type(await peer.got()) for _ in range(6)]
            assert kinds[0] is Connack
            assert kinds.count(Connack) == 1
            assert {Suback, Pong, Delivery, Ack} < set(kinds)

    asyncio.run(story())


async def publish_retained(port: int) -> None:
    """A retained message on "kept"."""
    peer = await enter(port, V5, "publisher")
    peer.send(say("kept", retain=True))
    assert await peer.got() == Ack(Kind.PUBACK, 1)
    await peer.close()


@both
def test_nothing_of_a_client_that_is_refused_counts(version: int, tmp_path: Path) -> None:
    """[MQTT-3.1.4-2] [MQTT-3.1.4-6] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-3.14.0-1] [MQTT-4.13.2-1]"""
    users = tmp_path / "users"
    add_user(users, "u", "right")

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk, users=users) as (hub, port):
            peer = await knock(port, version)
            will = Will("u/gone", b"x")
            peer.send(
                Connect("c", version, user="u", password=b"wrong", will=will),
                Delivery(Publish("u/x", b"x", 1), 1),
                Subscribe(2, [Filter("u/#")]),
            )
            answer = await peer.got()
            assert isinstance(answer, Connack)
            assert not answer.session_present
            assert answer.reason == (Reason.BAD_USER_OR_PASSWORD if version == V5 else 4)
            assert await peer.got() is None, "neither an answer nor a DISCONNECT, the connection is closed"
            assert not desk.messages
            assert not hub.broker.members

    asyncio.run(story())


def test_a_first_packet_that_is_wrong_is_never_answered_by_disconnect() -> None:
    """[MQTT-3.1.4-1] [MQTT-3.14.0-1] [MQTT-4.13.1-1]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            for wire in ("10 0D 0004 4D515454 04 03 003C 0001 63", "30 03 0001 61", "C0 00", "E0 00", "F0 00"):
                peer = await knock(port, V311)
                peer.writer.write(bytes.fromhex(wire))
                assert await peer.got() is None
            peer = await knock(port, V5)
            peer.writer.write(bytes.fromhex("10 0E 0004 4D515454 05 03 003C 00 0001 63"))
            answer = await peer.got()
            assert isinstance(answer, Connack)
            assert answer.reason == Reason.MALFORMED_PACKET
            assert await peer.got() is None

    asyncio.run(story())


def test_a_client_id_that_we_gave_is_like_any_other(tmp_path: Path) -> None:
    """[MQTT-3.1.3-7] [MQTT-3.2.2-16]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            ids = set()
            for _ in range(3):
                peer = await knock(port)
                peer.send(Connect("", V5, properties={Property.session_expiry: 60}))
                answer = await peer.got()
                assert isinstance(answer, Connack)
                ids.add((answer.properties or {})[Property.assigned_client_id])
                await peer.close()
            assert len(ids) == 3
            await until(lambda: gateway.hub.status().away == 3)
            _, present = await come(port, ids.pop())
            assert present

    asyncio.run(story())


def test_connack_says_only_what_was_asked_for() -> None:
    """[MQTT-3.1.2-28] [MQTT-3.2.2-22] [MQTT-4.12.0-6]"""

    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            ways: list[Properties] = [{}, {Property.request_response_information: 0}]
            for asked in ways:
                peer = await knock(port)
                peer.send(Connect("c", V5, keep_alive=hub.limits.keep_alive, properties=asked))
                answer = await peer.got()
                assert isinstance(answer, Connack)
                for one in (
                    Property.response_information,
                    Property.server_keep_alive,
                    Property.assigned_client_id,
                    Property.authentication_method,
                    Property.authentication_data,
                ):
                    assert one not in (answer.properties or {})

    asyncio.run(story())


def test_a_client_that_takes_less_than_an_answer_is_told_so() -> None:
    """[MQTT-3.1.2-24]: no packet is larger than it takes, CONNACK and SUBACK neither."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await knock(port)
            peer.send(Connect("c", V5, properties={Property.maximum_packet_size: 12}))
            assert await peer.got() == Connack(False, Reason.PACKET_TOO_LARGE)
            assert await peer.got() is None
            peer = await enter(port, properties={Property.maximum_packet_size: 30})
            peer.send(Subscribe(1, [Filter("a")] * 25))
            assert await peer.got() == Suback(1, [0] * 25)
            peer.send(Subscribe(1, [Filter("a")] * 26))
            assert await goodbye(peer) == Reason.PACKET_TOO_LARGE

    asyncio.run(story())


@pytest.mark.parametrize("qos", [1, 2])
def test_no_reasons_in_words_for_who_wants_none(qos: int) -> None:
    """[MQTT-3.1.2-29]: nor any properties, in acknowledgements of what was refused."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await enter(port, properties={Property.request_problem_information: 0})
            peer.send(say("redcar/x", qos=qos))
            assert await peer.got() == Ack(Kind.PUBACK if qos == 1 else Kind.PUBREC, 1, Reason.NOT_AUTHORIZED)
            peer.send(Subscribe(2, [Filter("/" * 200)]))
            assert await peer.got() == Suback(2, [Reason.TOPIC_FILTER_INVALID])

    asyncio.run(story())


def test_our_disconnect() -> None:
    """[MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2]: it is the last, gives a reason and no expiry."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            first = await enter(port)
            await enter(port)
            assert await goodbye(first) == Reason.SESSION_TAKEN_OVER
            for wire, reason in (
                ("C0 01 00", Reason.MALFORMED_PACKET),
                ("E1 00", Reason.MALFORMED_PACKET),  # [MQTT-3.14.1-1]
                ("F1 00", Reason.MALFORMED_PACKET),  # [MQTT-3.15.1-1]
                ("F0 00", Reason.PROTOCOL_ERROR),
                ("10 0E 0004 4D515454 05 02 003C 00 0001 63", Reason.PROTOCOL_ERROR),
            ):
                peer = await enter(port)
                peer.writer.write(bytes.fromhex(wire))
                assert await goodbye(peer) == reason

    asyncio.run(story())


async def goodbye(peer: Peer) -> int:
    """The reason of a DISCONNECT that is all that comes."""
    last = await peer.got()
    assert isinstance(last, Disconnect)
    assert Property.session_expiry not in (last.properties or {})
    assert await peer.got() is None
    return last.reason


@both
def test_a_will_is_a_message_like_any_other(version: int) -> None:
    """[MQTT-3.1.2-7] [MQTT-3.1.2-10] [MQTT-3.1.2-14] [MQTT-3.1.3-10]: it goes once, not retained, with what it said."""
    said: Properties = {
        Property.payload_format: 1,
        Property.content_type: "text/plain",
        Property.response_topic: "r",
        Property.correlation_data: b"\0\1",
        Property.user_property: [("b", "1"), ("a", "2"), ("b", "1")],
    }

    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            watcher = await enter(port, V5, "w")
            await watcher.subscribe("status")
            own = said if version == V5 else None
            for _ in range(2):
                peer = await enter(port, version, will=Will("status", b"gone", 1, properties=own))
                await peer.close()
                got = await watcher.got()
                assert isinstance(got, Delivery)
                assert got.message == Publish("status", b"gone", 1, False, own)
            peer = await enter(port, version)
            await peer.close()
            await until(lambda: "c" not in hub.broker.members)
            assert await watcher.silent()
            assert not len(hub.retained)

    asyncio.run(story())


@both
def test_a_will_comes_also_when_we_end_the_connection(version: int) -> None:
    """[MQTT-3.1.2-8]: for an error, and for its silence."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            watcher = await enter(port, V5, "w")
            await watcher.subscribe("status")
            for text, keep_alive, wire in ((b"error", 60, "C0 01 00"), (b"silence", 1, "")):
                peer = await enter(port, version, will=Will("status", text), keep_alive=keep_alive)
                peer.writer.write(bytes.fromhex(wire))
                got = await watcher.got()
                assert isinstance(got, Delivery)
                assert got.message.payload == text

    asyncio.run(story())


def test_a_password_without_a_name() -> None:
    """3.1.2.9: 5.0 allows it, 3.1.1 doesn't [MQTT-3.1.2-22] there."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            await enter(port, V5, password=b"token")
            peer = await knock(port, V311)
            peer.send(Connect("d", V311, password=b"token"))
            assert await peer.got() is None

    asyncio.run(story())


def test_a_session_ends_when_its_time_is_up_and_not_before(tmp_path: Path) -> None:
    """[MQTT-4.1.0-1] [MQTT-4.1.0-2]: nothing of it is kept; while its client is connected time doesn't count."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, expiry=1)
            await take(peer, "a")
            await asyncio.sleep(1.2)
            other, _ = await come(port, "other", expiry=None)
            await say_all(other, "here")
            got = await peer.got()
            assert isinstance(got, Delivery)
            await peer.close()
            await until(lambda: "c" not in gateway.hub.broker.members)
            _, present = await come(port, expiry=1)
            assert not present
            for table in ("subscription", "qos2"):
                assert not await gateway.log.query(f"select * from {table}")

    asyncio.run(story())
