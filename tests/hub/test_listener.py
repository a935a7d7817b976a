"""The hub on real sockets: what is acknowledged when, what happens at each limit, and that neighbours notice nothing."""

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from gateway.errors import ConfigError, StoreFull
from gateway.hub import access
from gateway.hub.access import add_user
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
    Disconnect,
    Filter,
    Ping,
    Pong,
    Suback,
    Subscribe,
)
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import Reason
from tests.hub.peers import Desk, Peer, enter, hub_at, knock, until

both = pytest.mark.parametrize("version", [V311, V5])


def say(topic: str = "a", payload: bytes = b"x", qos: int = 1, id: int = 1, **more: object) -> Delivery:
    return Delivery(Publish(topic, payload, qos, **more), id if qos else 0)  # type: ignore[arg-type]


async def farewell(peer: Peer) -> int | None:
    """The reason of the DISCONNECT, if there is one, before the connection closes."""
    reason = None
    while packet := await peer.got():
        if isinstance(packet, Disconnect):
            reason = packet.reason
    return reason


def turn_away(hub: Hub, deaf: Peer) -> None:
    """The client reads no more, and the system holds little on its way to it."""
    deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for connection in hub.connections:
        connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


@both
def test_puback_only_after_the_commit(version: int) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            listener = await enter(port, version, "listener")
            await listener.subscribe("a")
            device = await enter(port, version, "device")
            device.send(say(id=1), say(id=2))
            await until(lambda: len(desk.messages) == 2)
            assert await device.silent()
            assert await listener.silent()
            while desk.held:
                desk.held.popleft().set_result(None)
            assert [await device.got(), await device.got()] == [Ack(Kind.PUBACK, 1), Ack(Kind.PUBACK, 2)]
            assert [await listener.got(), await listener.got()] == [say(id=1), say(id=2)]

    asyncio.run(story())


@both
def test_commits_that_end_in_another_order_are_acknowledged_in_ours(version: int) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            device = await enter(port, version)
            await device.subscribe("a")
            for id in (1, 2, 3):
                device.send(say(payload=bytes((id,)), id=id))
                await until(lambda id=id: len(desk.held) == id)
            desk.commit = "nothing"
            device.send(say(payload=b"\4", qos=0))
            await until(lambda: len(desk.taken) == 4)
            desk.held[2].set_result(None)
            desk.held[1].set_result(None)
            assert await device.silent()
            desk.held[0].set_result(None)
            got = [await device.got() for _ in range(7)]
            assert [one.id for one in got if isinstance(one, Ack)] == [1, 2, 3]
            assert [one.message.payload for one in got if isinstance(one, Delivery)] == [b"\1", b"\2", b"\3", b"\4"]

    asyncio.run(story())


@both
def test_a_commit_that_fails_is_not_acknowledged(version: int) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            listener = await enter(port, version, "listener")
            await listener.subscribe("#")
            device = await enter(port, version, "device")
            device.send(say("a", retain=True))
            await until(lambda: desk.held)
            device.send(say("b", id=2))
            await until(lambda: len(desk.held) == 2)
            desk.held[0].set_exception(StoreFull("no room on the disk"))
            desk.held[1].set_result(None)
            packets = []
            while packet := await device.got():
                packets.append(packet)
            assert [type(one) for one in packets] == ([Disconnect] if version == V5 else [])
            assert await listener.got() == say("b"), "this one is on the disk, whoever knows it"
            assert await listener.silent()
            assert len(hub.retained) == 0

    asyncio.run(story())


def test_qos_0_does_not_wait() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            device = await enter(port)
            await device.subscribe("a", qos=0)
            device.send(say(qos=0))
            assert await device.got() == say(qos=0)
            desk.held.popleft().set_exception(StoreFull("no room on the disk"))
            assert await device.silent()

    asyncio.run(story())


def test_one_read_is_handed_over_at_once() -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (_, port):
            device = await enter(port)
            device.send(say("a", id=1), say("b", id=2), Ping(), say("a", id=3), say("c", qos=0), say("b", id=4))
            await until(lambda: len(desk.messages) == 5)
            assert [one.topic for one in desk.messages] == ["a", "b", "a", "c", "b"]
            assert len(desk.taken) == 1

    asyncio.run(story())


def test_a_client_that_leaves_before_the_commit_is_still_heard_by_others() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            listener = await enter(port, id="listener")
            await listener.subscribe("a")
            device = await enter(port, id="device")
            device.send(say(), Disconnect())
            assert await device.got() is None
            await until(lambda: len(hub.connections) == 1)
            assert await listener.silent()
            desk.held.popleft().set_result(None)
            assert await listener.got() == say()

    asyncio.run(story())


def test_the_hub_speaks_itself() -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            listener = await enter(port)
            await listener.subscribe("redcar/#", qos=0)
            hub.publish([Publish("redcar/state/a", b"{}", 1, True)])
            assert await listener.got() == say("redcar/state/a", b"{}", 0)
            late = await enter(port, id="late")
            late.send(Subscribe(1, [Filter("redcar/#", 0)]))
            assert isinstance(await late.got(), Suback)
            assert await late.got() == say("redcar/state/a", b"{}", 0, retain=True)
            assert desk.taken == []

    asyncio.run(story())


def test_clients_do_not_publish_where_we_do(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            new, old = await enter(port, V5, "new"), await enter(port, V311, "old")
            for peer, want in ((new, Ack(Kind.PUBACK, 1, Reason.NOT_AUTHORIZED)), (old, Ack(Kind.PUBACK, 1))):
                peer.send(say("redcar/state/a"))
                assert await peer.got() == want
            assert desk.taken == []
            assert hub.status().declined == 2

    asyncio.run(story())
    assert (
        "127.0.0.1: client 'new' may not publish on 'redcar/state/a': only Redcar publishes below redcar/"
        in caplog.text
    )


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
            for connection in hub.connections:
                connection.check(hub.now() + 1000)  # nobody is silent if we don't listen
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(desk.taken) == 1
            desk.full = False
            desk.on_room()
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


@both
def test_take_over(version: int) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            old = await enter(port, version, "c")
            new = await enter(port, version, "c")
            assert await farewell(old) == (Reason.SESSION_TAKEN_OVER if version == V5 else None)
            assert await new.silent()
            assert hub.status().clients == 1

    asyncio.run(story())


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
            while len(hub.broker.sessions) == 3:
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
            while hub.broker.sessions:
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
    monkeypatch.setattr(access, "_N", 16)
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
                Connect("a/b", version, user="kitchen", password=b"secret"),
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
    assert "127.0.0.1: refused client 'c': wrong password for user 'kitchen': correct it there, or set" in caplog.text


def test_empty_client_ids() -> None:
    """[MQTT-3.1.3-6] to [MQTT-3.1.3-8]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            named = await knock(port, V5)
            named.send(Connect("", V5, clean=False))
            answer = await named.got()
            assert isinstance(answer, Connack)
            assert (answer.properties or {})[Property.assigned_client_id].startswith("auto-")
            await enter(port, V311, "")
            await enter(port, V311, "")
            lasting = await knock(port, V311)
            lasting.send(Connect("", V311, clean=False))
            assert await lasting.got() == Connack(False, 2)

    asyncio.run(story())


def test_enhanced_authentication_is_not_offered() -> None:
    """[MQTT-4.12.0-1]"""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await knock(port)
            peer.send(Connect("c", V5, properties={Property.authentication_method: "GS2-KRB5"}))
            answer = await peer.got()
            assert isinstance(answer, Connack)
            assert answer.reason == Reason.BAD_AUTHENTICATION_METHOD

    asyncio.run(story())


def test_journal_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            for _ in range(25):
                peer = await knock(port)
                peer.writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await peer.got() is None
            assert hub.status().refused == 25
            hub.refusals._now = lambda: hub.now() + 61.0
            hub.refusals.sweep()

    asyncio.run(story())
    lines = [record.getMessage() for record in caplog.records if record.name == "redcar.hub"]
    assert lines[0] == "127.0.0.1: a client is disconnected: the first packet isn't CONNECT [MQTT-3.1.0-1]"
    assert lines[10:] == ["127.0.0.1: turned away 15 more times in the last minute"]
    assert {record.levelno for record in caplog.records if record.name == "redcar.hub"} == {logging.WARNING}


def test_closing_acknowledges_what_was_taken_and_says_goodbye() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            new, old = await enter(port, V5, "new"), await enter(port, V311, "old")
            idle = await knock(port)
            new.send(say())
            await until(lambda: desk.held)
            closing = asyncio.create_task(hub.close())
            assert not closing.done()
            desk.held.popleft().set_result(None)
            await closing
            assert await new.got() == Ack(Kind.PUBACK, 1)
            assert await farewell(new) == Reason.SERVER_SHUTTING_DOWN
            assert await farewell(old) is None
            assert await idle.got() is None

    asyncio.run(story())


def test_closing_does_not_wait_for_ever() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk, Limits(farewell=0.05)) as (_, port):
            device = await enter(port)
            device.send(say())
            await until(lambda: desk.held)

    asyncio.run(story())


def test_a_port_that_is_taken() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            with pytest.raises(ConfigError, match=f"can't listen on 127.0.0.1 port {port} .* stop the other broker"):
                await hub.listen("127.0.0.1", port)

    asyncio.run(story())


def test_beyond_loopback_without_users() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            with pytest.raises(ConfigError, match='there are no users: add a user with "redcar user add NAME"'):
                await hub.listen("0.0.0.0", 0)

    asyncio.run(story())


def test_pong_is_not_kept_waiting_by_a_commit() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            device = await enter(port, V311)
            device.send(say(), Ping())
            assert await device.got() == Pong()
            desk.held.popleft().set_result(None)
            assert await device.got() == Ack(Kind.PUBACK, 1)

    asyncio.run(story())
