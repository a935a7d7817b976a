"""The hub on real sockets: what is acknowledged when, what happens at each limit, and that neighbours notice nothing."""

import asyncio

import pytest

from gateway.errors import CannotListen, ConfigError, StoreFull
from gateway.hub import encode
from gateway.hub.doors import Door
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
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
from tests.hub.peers import Desk, both, enter, farewell, hub_at, knock, say
from tests.parts import until


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
                await desk.has(id)
            desk.commit = "nothing"
            device.send(say(payload=b"\4", qos=0))
            await desk.has(4)
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
            assert desk.reads == 1

    asyncio.run(story())


def test_one_turn_of_many_clients_is_handed_over_at_once() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            devices = [await enter(port, id=f"c{n}") for n in range(3)]
            for n, connection in enumerate(sorted(hub.connections, key=lambda one: one.session.client_id)):
                connection.data_received(encode.encode(say(f"from/{n}", id=n + 1), V5))
            quiet = max(hub.connections, key=lambda one: one.session.client_id)
            await asyncio.sleep(0)
            assert [one.topic for one in desk.messages] == ["from/0", "from/1", "from/2"]
            quiet.data_received(encode.encode(say("from/2", qos=0), V5))
            await asyncio.sleep(0)
            assert len(desk.held) == 2
            desk.held.pop().set_exception(StoreFull("no room on the disk"))
            for device in devices:
                assert await device.silent()
            desk.held.pop().set_result(None)
            for n, device in enumerate(devices):
                assert await device.got() == Ack(Kind.PUBACK, n + 1)
            assert hub.status().lost == 0  # the one at QoS 0 wasn't alone: its client waited, and is told

    asyncio.run(story())


@pytest.mark.parametrize("count", [1, 3])
def test_messages_at_qos_0_that_could_not_be_stored_are_counted(count: int) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            device = await enter(port)
            device.send(*(say(qos=0) for _ in range(count)))
            await until(lambda: desk.held)
            desk.held.popleft().set_exception(StoreFull("no room on the disk"))
            assert await device.silent()
            assert hub.status().lost == count

    asyncio.run(story())


def test_nobody_hears_what_it_published_before_it_subscribed() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            device = await enter(port)
            device.send(say("a", qos=0), Subscribe(1, [Filter("a", 0)]), say("a", b"later", qos=0))
            assert isinstance(await device.got(), Suback)
            assert await device.got() == say("a", b"later", qos=0)
            assert await device.silent()

    asyncio.run(story())


def test_much_does_not_wait_for_the_end_of_a_turn() -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            await enter(port, V311)
            (connection,) = hub.connections
            connection.data_received(b"".join(encode.encode(say("a", id=n), V311) for n in range(1, 1002)))
            assert len(desk.messages) == 1001
            desk.held.popleft().set_result(None)
            await asyncio.sleep(0)
            assert not desk.held

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
            assert desk.messages == []

    asyncio.run(story())


def test_clients_do_not_publish_where_we_do(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            new, old = await enter(port, V5, "new"), await enter(port, V311, "old")
            for peer, want in ((new, Ack(Kind.PUBACK, 1, Reason.NOT_AUTHORIZED)), (old, Ack(Kind.PUBACK, 1))):
                peer.send(say("redcar/state/a"))
                assert await peer.got() == want
            assert desk.messages == []
            assert hub.status().declined == 2

    asyncio.run(story())
    assert (
        "127.0.0.1: client 'new' may not publish on 'redcar/state/a': only Redcar publishes below redcar/"
        in caplog.text
    )


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


@both
def test_client_ids_may_hold_anything_that_can_be_read(version: int) -> None:
    """[MQTT-3.1.3-5] demands letters and digits, 3.1.3.1 allows more."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            for id in (
                "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
                "site/+/#",
                "Küche 1",
                "$SYS",
                "x" * 256,
            ):
                await (await enter(port, version, id)).close()
            for id in ("a\nb", "x" * 257):
                peer = await knock(port, version)
                peer.send(Connect(id, version))
                answer = await peer.got()
                assert isinstance(answer, Connack)
                assert answer.reason == (Reason.CLIENT_ID_NOT_VALID if version == V5 else 2)

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
            with pytest.raises(CannotListen, match=f"can't listen on 127.0.0.1 port {port} .* stop the other broker"):
                await hub.listen(Door(port=port))

    asyncio.run(story())


def test_beyond_loopback_without_users() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            with pytest.raises(ConfigError, match='there are no users: add a user with "redcar user add NAME"'):
                await hub.listen(Door(address="0.0.0.0"))

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
