"""The hub on real sockets at each of its limits: what ends, what waits, and that neighbours notice nothing."""

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from gateway.event import Event
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.listener import Hub
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Connack,
    Connect,
    Delivery,
    Filter,
    Suback,
    Subscribe,
)
from gateway.hub.properties import Kind
from gateway.hub.reasons import Reason
from gateway.hub.refusals import Refusals
from gateway.hub.users import add_user
from tests.hub.house import come, house, publish, take
from tests.hub.peers import Desk, Peer, both, enter, farewell, hub_at, knock, say
from tests.parts import PATIENCE, until


def turn_away(hub: Hub, deaf: Peer) -> None:
    """The client reads no more, and the system holds little on its way to it."""
    assert isinstance(deaf.writer.transport, asyncio.Transport)
    deaf.writer.transport.pause_reading()
    for connection in hub.connections:
        connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


@both
def test_sockets_are_not_read_while_the_inlet_is_full(version: int) -> None:
    async def story() -> None:
        desk = Desk("nothing")
        async with hub_at(desk) as (hub, port):
            one, other = await enter(port, version, "one"), await enter(port, version, "other")
            desk.full = True
            one.send(say())
            assert await one.got() == Ack(Kind.PUBACK, 1)
            assert hub.status().paused
            other.send(say("b"))
            late = await knock(port, version)
            late.send(Connect("late", version))
            for _ in range(20):
                await asyncio.sleep(0)
            assert desk.reads == 1
            for connection in hub.connections:
                connection.session.deadline = 0.0  # nobody is silent if we don't listen
                connection.check(hub.now())
            desk.full = False
            desk.on_room()
            for connection in hub.connections:
                connection.check(hub.now())
            assert await other.got() == Ack(Kind.PUBACK, 1)
            assert isinstance(await late.got(), Connack)
            assert not hub.status().paused

    asyncio.run(story())


JUNK = [
    (V5, b"\x36\5\0\1a\0\1", Reason.MALFORMED_PACKET),
    (V5, b"\x30\xff\xff\x7f", Reason.PACKET_TOO_LARGE),
    (V5, b"\x30\4\0\1#\0", Reason.TOPIC_NAME_INVALID),
    (V5, b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1c", Reason.PROTOCOL_ERROR),
    (V311, b"\x36\5\0\1a\0\1", None),
    (V311, b"\x30\xff\xff\x7f", None),
]


@pytest.mark.parametrize(("version", "junk", "want"), JUNK)
def test_junk_ends_one_connection_only(
    version: int, junk: bytes, want: Reason | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            neighbour = await enter(port, version, "neighbour")
            await neighbour.subscribe("a")
            device = await enter(port, version, "device")
            device.send(say())
            device.writer.write(junk)
            assert await farewell(device) == want
            assert await neighbour.got() == say(), "what was in order before the junk counts"
            assert await neighbour.silent()
            await until(lambda: len(hub.connections) == 1)

    asyncio.run(story())
    assert "client 'device' is disconnected: " in caplog.text


def test_keep_alive_and_the_first_packet() -> None:
    """Time is moved by asking as if it were later."""

    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            talker, quiet = await enter(port, id="talker", keep_alive=10), await enter(port, id="quiet", keep_alive=10)
            dumb = await knock(port)
            await until(lambda: len(hub.connections) == 3)
            later = hub.now() + 14.0
            for connection in hub.connections:
                connection.check(later)
            assert await dumb.got() is None
            assert await talker.silent()
            assert await quiet.silent()
            for connection in hub.connections:
                if connection.session.client_id == "quiet":
                    connection.check(hub.now() + 15.1)
            assert await farewell(quiet) == Reason.KEEP_ALIVE_TIMEOUT
            assert await talker.silent()

    asyncio.run(story())


def test_half_a_connect_does_not_keep_the_door_open() -> None:
    async def story() -> None:
        async with hub_at(Desk(), Limits(connect_within=0.05)) as (_, port):
            peer = await knock(port)
            peer.writer.write(b"\x10\x0d\0\4MQ")
            assert await peer.got() is None

    asyncio.run(story())


@both
def test_a_client_that_does_not_read(version: int) -> None:
    """It is let go; its neighbour gets everything, and memory stays where it is."""

    async def story() -> None:
        async with hub_at(Desk("nothing"), Limits(unsent=100_000, farewell=0.1)) as (hub, port):
            deaf = await enter(port, version, "deaf", narrow=True)
            await deaf.subscribe("a", qos=0)
            turn_away(hub, deaf)
            hears, talks = await enter(port, version, "hears"), await enter(port, version, "talks")
            await hears.subscribe("a", qos=0)
            count = 0
            while len(hub.broker.members) == 3:
                talks.send(say(payload=b"x" * 10_000, qos=0))
                await talks.writer.drain()
                assert isinstance(await hears.got(), Delivery)
                count += 1
                assert count < 20_000
            await until(lambda: len(hub.connections) == 2)
            assert await hears.silent()

    asyncio.run(story())


@both
def test_a_client_that_asks_and_does_not_read_the_answers(version: int) -> None:
    async def story() -> None:
        async with hub_at(Desk(), Limits(unsent=10_000, farewell=0.1)) as (hub, port):
            deaf = await enter(port, version, "deaf", narrow=True)
            turn_away(hub, deaf)
            while hub.broker.members:
                deaf.writer.write(b"\xc0\0" * 10_000)
                await asyncio.sleep(0)
            await until(lambda: not hub.connections)

    asyncio.run(story())


def test_the_number_of_connections() -> None:
    async def story() -> None:
        async with hub_at(Desk(), Limits(connections=2)) as (hub, port):
            peers = [await enter(port, id=str(number)) for number in range(2)]
            third = await knock(port)
            assert await third.got() is None
            await peers[0].close()
            await until(lambda: len(hub.connections) == 1)
            await enter(port, id="third")

    asyncio.run(story())


@both
def test_users(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("gateway.hub.users._N", 16)
    users = tmp_path / "users"
    add_user(users, "kitchen", "secret")
    add_user(users, "attic", "secret")

    async def story() -> None:
        async with hub_at(Desk(), users=users) as (hub, port):
            inside = await enter(port, version, "c", user="kitchen", password=b"secret")
            refused = []
            for asked in (
                Connect("c", version, user="kitchen", password=b"wrong"),
                Connect("c", version, user="attic", password=b"secret"),  # the id belongs to another user
                Connect("c", version),
                Connect("a\x7fb", version, user="kitchen", password=b"secret"),
                Connect("x" * 300, version, user="kitchen", password=b"secret"),
            ):
                peer = await knock(port, version)
                peer.send(asked)
                answer = await peer.got()
                assert isinstance(answer, Connack)
                refused.append(answer.reason)
                assert await peer.got() is None
            assert refused == ([0x86, 0x85, 0x85, 0x85, 0x85] if version == V5 else [4, 2, 2, 2, 2])
            assert await inside.silent(), "until a client is let in nothing changes for anybody"
            assert hub.status().connects == 1

    asyncio.run(story())
    assert "wrong password for user 'kitchen': correct it there, or set" in caplog.text


def test_journal_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            for n in range(25):
                peer = await knock(port)
                peer.writer.write(b"GET / HTTP/1.1\r\n\r\n" if n % 2 else b"\x20\2\0\0")
                assert await peer.got() is None
            assert hub.status().refused == 25
            where = f"127.0.0.1: a client on 127.0.0.1:{port} is disconnected"
            assert caplog.messages == [
                f"{where}: the first packet isn't CONNECT [MQTT-3.1.0-1]",
                f"{where}: it speaks HTTP, this listener MQTT alone: write websocket = true there, or let it use another port "
                "[MQTT-3.1.0-1]",
            ]

    asyncio.run(story())
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_who_goes_on_is_heard_more_and_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    for second in range(3600):
        now = float(second)
        refusals.note("10.0.0.9", "no certificate: give it one")
        refusals.sweep()
    assert caplog.messages == [
        "10.0.0.9: no certificate: give it one",
        "10.0.0.9: turned away 60 more times in the last minute",
        "10.0.0.9: no certificate: give it one",
        "10.0.0.9: turned away 119 more times in the last 2 minutes",
        "10.0.0.9: no certificate: give it one",
        "10.0.0.9: turned away 239 more times in the last 4 minutes",
        "10.0.0.9: no certificate: give it one",
        "10.0.0.9: turned away 479 more times in the last 8 minutes",
        *("10.0.0.9: no certificate: give it one", "10.0.0.9: turned away 599 more times in the last 10 minutes") * 4,
        "10.0.0.9: no certificate: give it one",
    ]
    caplog.clear()
    for number in range(20):
        refusals.note("10.0.0.8", f"another reason, number {number}")
    assert caplog.messages[9:] == [
        "10.0.0.8: another reason, number 9",
        "10.0.0.8: of what else is wrong there only the count is said for a while: redcar run --verbose says all",
    ]
    for _ in range(2):
        now += 601.0
        refusals.sweep()
    refusals.note("10.0.0.9", "no certificate: give it one")
    assert caplog.messages[-1] == "10.0.0.9: no certificate: give it one", "it was quiet in between"
    for number in range(2000):
        refusals.note(f"10.1.{number >> 8}.{number & 255}", "why")
    assert len(refusals._tallies) == 1000


def test_a_client_that_goes_on_talking_hears_why_it_is_cut_off() -> None:
    """Its bytes that nobody reads any more mustn't reset the connection before it has read our DISCONNECT."""

    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            peer = await enter(port, V5)
            peer.writer.write(b"\x30\x04\0\1#\0")  # a wildcard in a topic name
            for _ in range(50):
                peer.send(say())
                await asyncio.sleep(0.002)
            assert await farewell(peer) == Reason.TOPIC_NAME_INVALID
            await until(lambda: not hub.connections)

    asyncio.run(story())


def test_a_filter_that_is_refused_is_named_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk(), Limits(subscriptions=2, levels=3)) as (_, port):
            peer = await enter(port, id="greedy")
            peer.send(Subscribe(1, [Filter(one, 0) for one in ("a", "b", "c", "d", "e/f/g/h")]))
            answer = await peer.got()
            assert isinstance(answer, Suback)
            assert answer.reasons == [0, 0, 0x97, 0x97, 0x8F]
            peer.send(Subscribe(2, [Filter("e/f/g/h", 0)]))
            assert isinstance(await peer.got(), Suback)

    asyncio.run(story())
    said = (
        "client 'greedy' may not subscribe to 'c', nor 2 more: 2 are held already: raise subscriptions under [limits]"
    )
    assert said in caplog.text
    assert "client 'greedy' may not subscribe to 'e/f/g/h': it has more than 3 levels" in caplog.text


def test_what_is_not_retained_is_said_in_journal_and_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with house(tmp_path, limits=Limits(retained=2)) as (gateway, port):
            peer, _ = await come(port, "flood", clean=True, expiry=None)
            for n in range(5):
                peer.send(Delivery(Publish(f"r/{n}", b"x", 1, True), n + 1))
                assert isinstance(await peer.got(), Ack)
            peer.send(Delivery(Publish("r/0", b"newer", 1, True), 9))
            assert isinstance(await peer.got(), Ack)
            rows = await gateway.log.query("select topic, payload from retained order by topic")
            assert rows == [("r/0", b"newer"), ("r/1", b"x")]
        async with house(tmp_path) as (gateway, _):
            events = await gateway.log.read(1, limit=100)
            assert [one.data for one in events if one.type == "gap"] == [{"reason": "retained", "count": 3}]

    asyncio.run(story())
    assert "the message of client 'flood' on 'r/2' isn't retained, there are too many: let it publish" in caplog.text


def test_a_session_that_has_to_make_room_is_owned_up_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with house(tmp_path, limits=Limits(sessions=2)) as (gateway, port):
            for name, wants in (("first", "a"), ("second", "b")):
                peer, _ = await come(port, name)
                await take(peer, wants)
                await peer.close()
            await publish(port, "one", "two", topic="a")
            await come(port, "third")  # the first is due first, and is owed two messages
            await come(port, "fourth")  # the second is owed nothing
            async with asyncio.timeout(PATIENCE):
                gaps: list[Event] = []
                while not gaps:
                    gaps = [one for one in await gateway.log.read(1, limit=100) if one.type == "gap"]
            assert [(one.data["reason"], one.data["consumer"], one.data["count"]) for one in gaps] == [
                ("client_away", "mqtt/first", 2)
            ]
            assert set(gateway.hub.broker.members) == {"third", "fourth"}

    asyncio.run(story())
    assert (
        "that of client 'first' ends: 2 sessions are kept already: let clients ask for clean sessions, or"
        in caplog.text
    )


def test_a_session_that_expires_is_owned_up_to(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "away", expiry=60)
            await take(peer, "a")
            await peer.close()
            await publish(port, "one", topic="a")
            gateway.hub.sessions.sweep(gateway.hub.now() + 61)
            peer, present = await come(port, "away")
            assert not present
            events = await gateway.log.read(1, limit=100)
            assert [one.data["count"] for one in events if one.type == "gap"] == [1]

    asyncio.run(story())


def test_a_burst_to_many_is_handed_over_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, to everybody; meanwhile nothing is read from who sent it, and others get their answers."""
    monkeypatch.setattr("gateway.hub.routes._TURN", 50)

    async def story() -> None:
        async with hub_at(Desk("nothing")) as (hub, port):
            subscribers = [await enter(port, id=f"s{n}") for n in range(20)]
            for one in subscribers:
                await one.subscribe("burst", qos=0)
            talker, neighbour = await enter(port, id="talker"), await enter(port, id="neighbour")
            turns = 0
            portion = hub.broker.portion

            def counted(messages: list[Publish]) -> int:
                nonlocal turns
                turns += 1
                done = portion(messages)
                assert done <= 4
                behind = [one.session.client_id for one in hub.connections if one.behind]
                assert behind in ([], ["talker"])
                return done

            monkeypatch.setattr(hub.broker, "portion", counted)
            talker.send(*(say("burst", str(n).encode(), 0) for n in range(200)))
            await talker.writer.drain()
            assert await neighbour.silent()
            for one in subscribers:
                found = [await one.got() for _ in range(200)]
                assert [f.message.payload for f in found if isinstance(f, Delivery)] == [b"%d" % n for n in range(200)]
            assert turns > 50
            talker.send(say("burst", b"last", 1))
            assert await talker.got() == Ack(Kind.PUBACK, 1)
            assert await subscribers[0].got() == say("burst", b"last", 0)

    asyncio.run(story())
