"""A log is damaged and set aside while MQTT sessions and groups are owed something of it: they get it when it is salvaged, before
what is newer, and what they had doesn't come again."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from gateway import app
from gateway.app import Gateway
from gateway.errors import StoreDamaged
from gateway.hub.packets import V5, V311, Ack
from gateway.hub.properties import Kind
from gateway.store import backup, files
from gateway.store.consumers import Consumers
from gateway.store.log import Log
from gateway.store.salvage import salvage
from tests.faults.test_damage import of_a_table, ruin
from tests.hub.house import come, drain, house, publish, receive, say_all, take
from tests.hub.peers import say
from tests.parts import until

SHARE = "$share/g/a"
both = pytest.mark.parametrize("version", [V311, V5])
at_qos = pytest.mark.parametrize("qos", [1, 2])


def texts(first: int, last: int) -> list[str]:
    return [str(n) for n in range(first, last)]


def set_aside(folder: Path) -> None:
    """As the writer leaves a log that SQLite finds malformed."""
    (folder / "damaged").touch()


def without(table: str, folder: Path) -> None:
    """Nobody can read it any more."""
    path = folder / files.name
    (page,) = of_a_table(table, path)
    with path.open("r+b", buffering=0) as file:
        file.seek((page - 1) * 1024)
        file.write(Random(page).randbytes(1024))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Salvage waits until this is set."""
    free = asyncio.Event()

    async def later(log: Log, consumers: Consumers, pause: Callable[[float], Awaitable[object]]) -> None:
        await free.wait()
        await salvage(log, consumers, pause)

    monkeypatch.setattr(app, "salvage", later)
    return free


@both
@at_qos
def test_a_session_gets_what_is_salvaged_before_what_is_new(
    version: int, qos: int, tmp_path: Path, held: asyncio.Event
) -> None:
    """[MQTT-4.6.0-6]: in order, though the damaged log comes after the new one has begun."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "reader", version)
            await take(peer, "a", qos=qos)
            await publish(port, *texts(0, 5), qos=qos)
            assert await drain(peer, 5) == texts(0, 5)
            await peer.close()
            await until(lambda: gateway.hub.status().away == 1)
            await publish(port, *texts(5, 50), qos=qos)
        set_aside(tmp_path)
        async with house(tmp_path) as (gateway, port):
            assert gateway.log.aside
            await publish(port, *texts(50, 60), qos=qos)
            peer, present = await come(port, "reader", version)
            assert present
            assert await peer.silent()
            held.set()
            assert await drain(peer, 55) == texts(5, 60)
            await publish(port, "live", qos=qos)
            assert await drain(peer, 1) == ["live"]
            assert await peer.silent()
        async with house(tmp_path) as (gateway, port):
            assert gateway.log.aside is None
            peer, present = await come(port, "reader", version)
            assert present
            assert await peer.silent()

    asyncio.run(story())


@both
def test_pages_are_overwritten_under_a_gateway_at_work(version: int, tmp_path: Path) -> None:
    """What was acknowledged before SQLite noticed comes once, in order, to the session and to the group."""

    async def work(gateway: Gateway, port: int) -> None:
        for name, filter in (("reader", "a"), ("member", SHARE)):
            peer, _ = await come(port, name, version)
            await take(peer, filter, qos=2)
            await peer.close()
        await until(lambda: gateway.hub.status().away == 2)
        ended = asyncio.Event()
        gateway.log.on_end = ended.set
        await publish(port, *texts(0, 200), qos=2)
        await ruin(gateway, "block")
        peer, _ = await come(port, "writer", version, None, clean=True)
        peer.send(*(say(payload=b"refused", id=id) for id in range(1, 200)))
        await asyncio.wait_for(ended.wait(), 20)

    async def story() -> None:
        with pytest.raises(StoreDamaged, match="is set aside at the next start"):
            async with house(tmp_path) as (gateway, port):
                await work(gateway, port)
        async with house(tmp_path) as (_, port):
            await publish(port, *texts(200, 210), qos=2)
            for name in ("reader", "member"):
                peer, present = await come(port, name, version)
                assert present
                assert await drain(peer, 210) == texts(0, 210)
                assert await peer.silent()

    asyncio.run(story())


@both
def test_a_session_that_is_away_misses_nothing_new_either(version: int, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "reader", version)
            await take(peer, "a")
        set_aside(tmp_path)
        async with house(tmp_path) as (gateway, port):
            await until(lambda: gateway.log.aside is None)
            await publish(port, *texts(0, 10))
            peer, present = await come(port, "reader", version)
            assert present
            assert await drain(peer, 10) == texts(0, 10)

    asyncio.run(story())


@both
def test_a_flow_at_qos_2_is_finished_where_it_was(version: int, tmp_path: Path) -> None:
    """[MQTT-4.3.3-7]: after PUBREC only PUBREL comes; what wasn't received comes again with the same id [MQTT-4.4.0-1]."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port, "reader", version)
            await take(peer, "a", qos=2)
            await publish(port, *texts(0, 3), qos=2)
            first, second, third = await receive(peer, 3)
            peer.send(Ack(Kind.PUBREC, first.id))
            assert await peer.got() == Ack(Kind.PUBREL, first.id)
            await peer.close()
            await until(lambda: gateway.hub.status().away == 1)
        set_aside(tmp_path)
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "reader", version)
            assert await peer.got() == Ack(Kind.PUBREL, first.id)
            peer.send(Ack(Kind.PUBCOMP, first.id))
            again = await receive(peer, 2)
            assert [(one.id, one.message.payload, one.dup) for one in again] == [
                (second.id, b"1", True),
                (third.id, b"2", True),
            ]

    asyncio.run(story())


@both
@at_qos
def test_a_group_gets_what_is_salvaged_before_what_is_new(
    version: int, qos: int, tmp_path: Path, held: asyncio.Event
) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            for name in ("one", "two"):
                peer, _ = await come(port, name, version)
                await take(peer, SHARE, qos=qos)
                await peer.close()
            await until(lambda: gateway.hub.status().away == 2)
            await publish(port, *texts(0, 50), qos=qos)
        set_aside(tmp_path)
        async with house(tmp_path) as (_, port):
            await publish(port, *texts(50, 60), qos=qos)
            peer, _ = await come(port, "two", version)
            assert await peer.silent()
            held.set()
            assert await drain(peer, 60) == texts(0, 60)
            assert await peer.silent()

    asyncio.run(story())


@both
def test_what_a_member_of_a_group_had_at_qos_2_stays_its_own(version: int, tmp_path: Path) -> None:
    """[MQTT-4.8.2-4]"""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "one", version)
            await take(peer, SHARE, qos=2)
            await publish(port, "mine", qos=2)
            (first,) = await receive(peer, 1)
        set_aside(tmp_path)
        async with house(tmp_path) as (gateway, port):
            await until(lambda: gateway.log.aside is None)
            other, _ = await come(port, "two", version)
            await take(other, SHARE, qos=2)
            assert await other.silent()
            peer, _ = await come(port, "one", version)
            (again,) = await receive(peer, 1)
            assert (again.id, again.message.payload, again.dup) == (first.id, b"mine", True)

    asyncio.run(story())


@both
@pytest.mark.parametrize("filter", ["a", SHARE])
def test_where_positions_are_lost_everything_since_the_subscription_comes_again(
    version: int, filter: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await publish(port, "before")
            peer, _ = await come(port, "reader", version)
            await take(peer, filter)
            await publish(port, *texts(0, 5))
            assert await drain(peer, 5) == texts(0, 5)
            await peer.close()
            await until(lambda: gateway.hub.status().away == 1)
            await publish(port, *texts(5, 10))
        without("owed", tmp_path)
        async with house(tmp_path) as (_, port):
            peer, present = await come(port, "reader", version)
            assert present
            assert await drain(peer, 10) == texts(0, 10)
            assert await peer.silent()
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "reader", version)
            assert await peer.silent()

    asyncio.run(story())


@both
def test_where_sessions_are_lost_nothing_of_them_haunts_new_ones(version: int, tmp_path: Path) -> None:
    """[MQTT-3.2.2-3]: there is no session, and no packet id, subscription or position of one."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, "c", version)
            await take(peer, "a", SHARE)
            peer.send(say(payload=b"then", qos=2))
            assert Ack(Kind.PUBREC, 1) in [await peer.got(), await peer.got()]
        without("session", tmp_path)
        async with house(tmp_path) as (gateway, port):
            await until(lambda: gateway.log.aside is None)
            peer, present = await come(port, "c", version)
            assert not present
            assert not [name for name in await gateway.consumers.names() if name.startswith(("mqtt/", "$share/"))]
        async with house(tmp_path) as (gateway, port):
            peer, present = await come(port, "c", version)
            assert present
            await say_all(peer, "now", qos=2)
            assert await peer.silent()
            stored = [one.data["payload"] for one in await gateway.log.read(1) if one.type == "message"]
            assert stored == ["then", "now"]

    asyncio.run(story())


@both
@pytest.mark.parametrize("filter", ["a", SHARE])
def test_after_a_restore_a_session_goes_on_where_it_was_then(version: int, filter: str, tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy.db"

    async def story() -> None:
        async with house(data) as (gateway, port):
            peer, _ = await come(port, "reader", version)
            await take(peer, filter)
            await peer.close()
            await until(lambda: gateway.hub.status().away == 1)
            await publish(port, *texts(0, 5))
            await asyncio.to_thread(backup.backup, data, copy)
            await publish(port, "not in the copy")
        backup.restore(data, copy)
        async with house(data) as (_, port):
            await publish(port, *texts(5, 10))
            peer, present = await come(port, "reader", version)
            assert present
            assert await drain(peer, 10) == texts(0, 10)
            assert await peer.silent()

    asyncio.run(story())


@both
def test_a_packet_id_of_the_time_of_the_copy_is_not_taken_for_a_repeat(version: int, tmp_path: Path) -> None:
    """What is acknowledged at QoS 2 after a restore is stored: the id was another message's when the copy was made."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"

    async def story() -> None:
        async with house(data) as (gateway, port):
            peer, _ = await come(port, "writer", version)
            peer.send(say(payload=b"then", qos=2))
            assert await peer.got() == Ack(Kind.PUBREC, 1)
            await asyncio.to_thread(backup.backup, data, copy)
            peer.send(Ack(Kind.PUBREL, 1))
            assert await peer.got() == Ack(Kind.PUBCOMP, 1)
            await peer.close()
            await until(lambda: gateway.hub.status().away == 1)
        backup.restore(data, copy)
        async with house(data) as (gateway, port):
            peer, present = await come(port, "writer", version)
            assert present
            await say_all(peer, "now", qos=2)
            stored = [one.data["payload"] for one in await gateway.log.read(1) if one.type == "message"]
            assert stored == ["then", "now"]

    asyncio.run(story())
