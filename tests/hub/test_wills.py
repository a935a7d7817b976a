"""Last wills: when they are published, and when they aren't."""

import asyncio
from pathlib import Path

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Connack, Connect, Delivery, Disconnect, Will
from gateway.hub.properties import Property
from gateway.hub.reasons import Reason
from tests.hub.house import come, house, leave, receive, take
from tests.hub.peers import Desk, both, enter, hub_at, knock
from tests.parts import until

GONE = Will("status/c", b"gone", 1)


def later(seconds: int) -> Will:
    return Will("status/c", b"gone", 1, properties={Property.will_delay: seconds, Property.content_type: "text/plain"})


@both
def test_a_client_that_vanishes_leaves_its_will(version: int) -> None:
    """[MQTT-3.1.2-8]; with retain it stays [MQTT-3.1.2-15]."""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            watcher = await enter(port, version, "w")
            await watcher.subscribe("status/#")
            peer = await enter(port, version, will=Will("status/c", b"gone", 1, retain=True))
            await peer.close()
            got = await watcher.got()
            assert isinstance(got, Delivery)
            assert (got.message.topic, got.message.payload, got.message.qos) == ("status/c", b"gone", 1)
            assert desk.messages == [Publish("status/c", b"gone", 1, True, None, "c")]
            assert len(hub.retained) == 1

    asyncio.run(story())


@both
def test_a_client_that_takes_its_leave_leaves_none(version: int) -> None:
    """[MQTT-3.14.4-3]"""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            peer = await enter(port, version, will=GONE)
            peer.send(Disconnect())
            await until(lambda: not hub.broker.members)
            assert desk.messages == []

    asyncio.run(story())


@pytest.mark.parametrize("reason", [Reason.DISCONNECT_WITH_WILL, Reason.UNSPECIFIED, Reason.QUOTA_EXCEEDED])
def test_disconnect_with_will(reason: Reason) -> None:
    """[MQTT-3.1.2-8]: only a normal disconnection takes the will away (3.14.2.1)."""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (_, port):
            peer = await enter(port, will=GONE)
            peer.send(Disconnect(reason))
            await until(lambda: desk.messages)

    asyncio.run(story())


@both
def test_a_will_may_not_go_where_its_client_may_not(version: int) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (_, port):
            peer = await knock(port, version)
            peer.send(Connect("c", version, will=Will("redcar/state/x", b"lie")))
            answer = await peer.got()
            assert isinstance(answer, Connack)
            assert answer.reason == (Reason.NOT_AUTHORIZED if version == V5 else 5)
            await peer.close()
            assert desk.messages == []

    asyncio.run(story())


@both
def test_take_over_publishes_the_will(version: int) -> None:
    """[MQTT-3.1.2-8]: the old connection was closed without DISCONNECT."""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (_, port):
            await enter(port, version, will=GONE)
            await enter(port, version)
            assert [one.payload for one in desk.messages] == [b"gone"]

    asyncio.run(story())


def test_a_client_that_is_back_in_time_keeps_its_will(tmp_path: Path) -> None:
    """[MQTT-3.1.3-9]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            watcher, _ = await come(port, "w", expiry=None)
            await take(watcher, "status/#")
            peer, _ = await come(port, will=later(60))
            await leave(gateway, peer)
            await come(port)
            assert await watcher.silent()

    asyncio.run(story())


@pytest.mark.parametrize("restart", [False, True])
def test_a_will_with_a_delay_comes_when_it_is_due(restart: bool, tmp_path: Path) -> None:
    """3.1.3.2.2, also if the gateway was started again meanwhile."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            if not restart:
                watcher, _ = await come(port, "w", expiry=None)
                await take(watcher, "status/#")
            peer, _ = await come(port, will=later(1))
            await leave(gateway, peer)
            if not restart:
                (got,) = await receive(watcher, 1)
                assert got.message.properties == {Property.content_type: "text/plain"}
                return
        async with house(tmp_path) as (gateway, port):
            await until(lambda: gateway.hub.status().received)
            events = [one for one in await gateway.log.read(1) if one.type == "message"]
            assert all(one.data["topic"] == "status/c" for one in events)

    asyncio.run(story())


def test_the_end_of_a_session_does_not_wait_for_the_delay(tmp_path: Path) -> None:
    """[MQTT-3.1.3-9]: will delay 60 s, but the session ends with the connection."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            watcher, _ = await come(port, "w", expiry=None)
            await take(watcher, "status/#")
            peer, _ = await come(port, expiry=None, will=later(60))
            await peer.close()
            await receive(watcher, 1)
            peer, _ = await come(port, will=later(60))
            await peer.close()
            await come(port, clean=True)
            await receive(watcher, 1)

    asyncio.run(story())
