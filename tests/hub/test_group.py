"""Groups whose members' sessions last: what they are owed waits in the log, and survives whatever happens to us or to them."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.hub.access import Access
from gateway.hub.inlet import Publish
from gateway.hub.packets import (
    V5,
    Ack,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Filter,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Property
from tests.hub.house import answer, come, drain, house, leave, publish, receive, say_all, take
from tests.hub.peers import Peer, both, knock
from tests.parts import until
from tests.store.disk import hold

SHARE = "$share/g/a"
at_qos = pytest.mark.parametrize("qos", [1, 2])


def as_after_a_crash(folder: Path) -> Path:
    """What a kill at this moment leaves."""
    return Path(
        shutil.copytree(folder, folder.with_name("crashed"), ignore=shutil.ignore_patterns("*control*", "*-shm"))
    )


async def member(port: int, name: str, version: int = V5, qos: int = 1, **connect: Any) -> Peer:
    """Connected and in the group."""
    peer, _ = await come(port, name, version, **connect)
    await take(peer, SHARE, qos=qos)
    return peer


def texts(count: int, first: int = 0) -> list[str]:
    return [str(n) for n in range(first, first + count)]


@both
@pytest.mark.parametrize("restart", [False, True])
def test_a_group_that_is_away_misses_nothing(version: int, restart: bool, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            for name in ("m1", "m2"):
                await leave(gateway, await member(port, name, version))
            await publish(port, *texts(10))
            if not restart:
                await finished(port)
                return
        async with house(tmp_path) as (gateway, port):
            await finished(port)

    async def finished(port: int) -> None:
        one, _ = await come(port, "m1", version)
        assert await drain(one, 10) == texts(10)
        two, _ = await come(port, "m2", version)
        other, _ = await come(port, "other", expiry=None)
        await say_all(other, *texts(10, 10))
        got = await drain(one, 5) + await drain(two, 5)
        assert sorted(got, key=int) == texts(10, 10)
        assert await one.silent()
        assert await two.silent()

    asyncio.run(story())


@both
@at_qos
def test_a_crash_right_after_the_publisher_was_told_loses_nothing(version: int, qos: int, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, port):
            for name in ("m1", "m2"):
                await leave(gateway, await member(port, name, version, qos))
            await publish(port, *texts(10), qos=2)
            left = as_after_a_crash(tmp_path / "data")
        async with house(left) as (_, port):
            peer, present = await come(port, "m2", version)
            assert present
            assert await drain(peer, 10) == texts(10)

    asyncio.run(story())


@both
def test_what_was_in_flight_at_qos_1_comes_again_after_a_crash_to_whoever_is_there(
    version: int, tmp_path: Path
) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (_, port):
            peer = await member(port, "m1", version)
            await (await member(port, "m2", version)).close()
            await publish(port, *texts(3))
            await receive(peer, 3)
            left = as_after_a_crash(tmp_path / "data")
        async with house(left) as (_, port):
            one, _ = await come(port, "m1", version)
            assert sorted(await drain(one, 3)) == texts(3)

    asyncio.run(story())


@both
@pytest.mark.parametrize("crash", [False, True])
def test_at_qos_2_the_client_that_was_chosen_gets_it_and_no_other(version: int, crash: bool, tmp_path: Path) -> None:
    """[MQTT-4.8.2-4]: it is sent again with DUP; after PUBREC only PUBREL is [MQTT-4.3.3-7]."""

    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, port):
            one = await member(port, "m1", version, 2)
            await publish(port, *texts(2), qos=2)
            first, second = await receive(one, 2)
            one.send(Ack(Kind.PUBREC, first.id))
            assert await one.got() == Ack(Kind.PUBREL, first.id)
            if not crash:
                await leave(gateway, one)
                await finished(port, first, second)
                return
            left = as_after_a_crash(tmp_path / "data")
        async with house(left) as (_, port):
            await finished(port, first, second)

    async def finished(port: int, first: Delivery, second: Delivery) -> None:
        two = await member(port, "m2", version, 2)
        assert await two.silent()
        one, _ = await come(port, "m1", version)
        assert await one.got() == Ack(Kind.PUBREL, first.id)
        (again,) = await receive(one, 1)
        assert (again.id, again.message.payload, again.dup) == (second.id, b"1", True)
        one.send(Ack(Kind.PUBCOMP, first.id), Ack(Kind.PUBREC, second.id))
        assert await one.got() == Ack(Kind.PUBREL, second.id)
        one.send(Ack(Kind.PUBCOMP, second.id))
        assert await one.silent()
        assert await two.silent()

    asyncio.run(story())


@pytest.mark.parametrize("how", ["it says so", "it begins anew", "it didn't last"])
def test_others_get_what_a_member_had_at_qos_1_when_its_session_ends(how: str, tmp_path: Path) -> None:
    """4.8.2"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            one = await member(port, "m1", expiry=0 if how == "it didn't last" else 3600)
            await leave(gateway, await member(port, "m2"))
            await publish(port, *texts(3))
            got = await receive(one, 3)
            await answer(one, got[1])
            two, _ = await come(port, "m2")
            assert await two.silent()
            if how == "it says so":
                one.send(Disconnect(0, {Property.session_expiry: 0}))
            elif how == "it begins anew":
                await come(port, "m1", clean=True)
            else:
                await one.close()
            assert sorted(await drain(two, 2)) == ["0", "2"]
            assert await two.silent()

    asyncio.run(story())


@pytest.mark.parametrize("arrived", [False, True])
def test_nobody_else_gets_what_a_member_had_at_qos_2_and_that_is_said(arrived: bool, tmp_path: Path) -> None:
    """[MQTT-4.8.2-5]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            one = await member(port, "m1", qos=2)
            await publish(port, "0", qos=2)
            (got,) = await receive(one, 1)
            if arrived:
                one.send(Ack(Kind.PUBREC, got.id))
                assert await one.got() == Ack(Kind.PUBREL, got.id)
            two = await member(port, "m2", qos=2)
            one.send(Disconnect(0, {Property.session_expiry: 0}))
            await until(lambda: "m1" not in gateway.hub.broker.members)
            await publish(port, "1", qos=2)
            assert await drain(two, 1) == ["1"]
            gaps = [one.data for one in await gateway.log.read(1) if one.type == "gap"]
            assert gaps == ([] if arrived else [{"reason": "session_ended", "count": 1}])

    asyncio.run(story())


def test_what_was_begun_is_completed_though_the_member_unsubscribed(tmp_path: Path) -> None:
    """[MQTT-3.10.4-3]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            one = await member(port, "m1", qos=2)
            await publish(port, "0", qos=2)
            (got,) = await receive(one, 1)
            one.send(Unsubscribe(2, [SHARE]))
            assert await one.got() == Unsuback(2, [0])
            assert SHARE in gateway.hub.broker.groups
            one.send(Ack(Kind.PUBREC, got.id))
            assert await one.got() == Ack(Kind.PUBREL, got.id)
            one.send(Ack(Kind.PUBCOMP, got.id))
            await until(lambda: not gateway.hub.broker.groups)
            await publish(port, "1")  # its commit is behind
            assert SHARE not in await gateway.consumers.names()

    asyncio.run(story())


def test_a_group_without_members_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, port):
            lasting = await member(port, "m1")
            passing = await member(port, "m2", expiry=0)
            assert SHARE in await gateway.consumers.names()
            lasting.send(Unsubscribe(2, [SHARE]))
            assert await lasting.got() == Unsuback(2, [0])
            await publish(port, "0")
            assert await drain(passing, 1) == ["0"]
            left = as_after_a_crash(tmp_path / "data")
            await passing.close()
            await until(lambda: not gateway.hub.broker.groups)
        async with house(left) as (gateway, port):
            assert not gateway.hub.broker.groups
            await publish(port, "1")
            assert SHARE not in await gateway.consumers.names()

    asyncio.run(story())


def test_members_that_were_there_go_along_when_one_comes_whose_session_lasts(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            passing = await member(port, "m1", expiry=0)
            await publish(port, "0")
            assert await drain(passing, 1) == ["0"]
            lasting = await member(port, "m2")
            await publish(port, *texts(4, 1))
            assert sorted(await drain(passing, 2) + await drain(lasting, 2)) == texts(4, 1)

    asyncio.run(story())


def test_the_group_waits_while_all_windows_are_full(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            narrow = {Property.receive_maximum: 2}
            one = await member(port, "m1", properties=narrow)
            two = await member(port, "m2", properties=narrow)
            await publish(port, *texts(9))
            held = await receive(one, 2) + await receive(two, 2)
            assert sorted(one.message.payload for one in held) == [b"0", b"1", b"2", b"3"]
            assert await one.silent()
            assert await two.silent()
            two.send(*(Ack(Kind.PUBACK, one.id) for one in held[2:]))
            assert await drain(two, 5) == texts(5, 4)

    asyncio.run(story())


def test_who_may_not_have_it_does_not_count(tmp_path: Path) -> None:
    """What a member left behind waits for one that may have it, and nobody else waits meanwhile."""

    class Some(Access):
        def may_receive(self, user: str | None, topic: str, client: str = "") -> bool:
            return client != "m2"

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            gateway.hub.broker._access = Some()
            one = await member(port, "m1", properties={Property.receive_maximum: 1})
            two = await member(port, "m2")
            three = await member(port, "m3", expiry=0)
            await publish(port, *texts(3))
            (got,) = await receive(one, 1)
            await receive(three, 2)
            await three.close()
            await until(lambda: "m3" not in gateway.hub.broker.members)
            assert await two.silent()
            one.send(Ack(Kind.PUBACK, got.id))
            left = {"0", "1", "2"} - {got.message.payload.decode()}
            assert set(await drain(one, 2)) == left
            assert await two.silent()

    asyncio.run(story())


@pytest.mark.parametrize("qos", [0, 1])
def test_the_retain_flag_comes_through_to_who_asked_for_it(qos: int, tmp_path: Path) -> None:
    """[MQTT-3.3.1-13]"""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await leave(gateway, await member(port, "m1"))
            two, _ = await come(port, "m2", expiry=None)
            two.send(Subscribe(1, [Filter(SHARE, qos, retain_as_published=True)]))
            assert await two.got() == Suback(1, [qos])
            other, _ = await come(port, "other", expiry=None)
            other.send(Delivery(Publish("a", b"x", 1, True), 1))
            (got,) = await receive(two, 1)
            assert (got.message.qos, got.message.retain) == (qos, True)

    asyncio.run(story())


def test_a_client_in_two_groups_and_on_its_own_gets_three(tmp_path: Path) -> None:
    """The packet id follows from the offset: the next copy waits until the last one is acknowledged."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port)
            await take(peer, SHARE, "$share/h/a", "a")
            await publish(port, *texts(2))
            assert sorted(await drain(peer, 6)) == sorted(texts(2) * 3)
            assert await peer.silent()

    asyncio.run(story())


def test_messages_beyond_the_limit_are_given_up_with_a_gap(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await leave(gateway, await member(port, "m1"))
            group = gateway.hub.broker.groups[SHARE]
            group._backlog.most = 200
            other, _ = await come(port, "other", expiry=None)
            await say_all(other, *texts(300))
            lost = 0
            while group._backlog.count + lost < 300:  # both count
                await asyncio.sleep(0.01)
                gaps = [one.data for one in await gateway.log.read(1) if one.type == "gap"]
                lost = sum(gap["count"] for gap in gaps)
            assert {gap["consumer"] for gap in gaps} == {SHARE}
            peer, _ = await come(port, "m1")
            assert await drain(peer, 300 - lost) == texts(300 - lost, lost)
            assert await peer.silent()

    asyncio.run(story())


def test_what_comes_while_a_member_is_being_let_in_waits_for_it(tmp_path: Path) -> None:
    """Between its CONNECT and our CONNACK, which waits for the disk."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await leave(gateway, await member(port, "m1"))
            other, _ = await come(port, "other", expiry=None)
            go = hold(gateway.log)
            other.send(Delivery(Publish("a", b"0", 1), 1))
            await until(lambda: gateway.hub.received == 1 and not gateway.log._pending)
            peer = await knock(port)
            peer.send(Connect("m1", V5, clean=False, properties={Property.session_expiry: 3600}))
            await until(lambda: gateway.hub.broker.members["m1"].session)
            go.set()
            assert isinstance(await peer.got(), Connack)
            assert await drain(peer, 1) == ["0"]

    asyncio.run(story())


@both
@at_qos
def test_somebody_else_comes_while_a_member_is_being_let_in(version: int, qos: int, tmp_path: Path) -> None:
    """Then the group is looked after already, though nobody of it can be sent anything: all waits, the first message, too."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await leave(gateway, await member(port, "m1", version, qos))
            kept = asyncio.get_running_loop().create_future()
            with pytest.MonkeyPatch.context() as held:
                held.setattr(gateway.hub.sessions._history, "keep", lambda statements: kept)
                peer = await knock(port, version)
                peer.send(Connect("m1", version, clean=False, properties={Property.session_expiry: 3600}))
                await until(lambda: gateway.hub.broker.members["m1"].session)
                await publish(port, *texts(3), qos=qos)
                tail = gateway.hub.tail
                await until(lambda: tail and tail.position == gateway.log.head)
            kept.set_result(None)
            assert isinstance(await peer.got(), Connack)
            assert await drain(peer, 3) == texts(3)

    asyncio.run(story())


def test_a_message_of_before_is_not_theirs(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            await publish(port, "before")
            peer = await member(port, "m1")
            await publish(port, "after")
            assert await drain(peer, 1) == ["after"]

    asyncio.run(story())


def test_qos_0_comes_as_it_arrives(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer = await member(port, "m1")
            other, _ = await come(port, "other", expiry=None)
            other.send(Delivery(Publish("a", b"0")))
            assert (await receive(peer, 1))[0].message.qos == 0

    asyncio.run(story())
