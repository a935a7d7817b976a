"""A broker that already runs, read as a client: a real mosquitto. Each story is told of both clients."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import LinkLost, StoreFailed
from gateway.hub.inlet import Publish, Read, Statement
from gateway.hub.packets import Ack, Delivery
from gateway.hub.properties import Kind
from gateway.settings import LogSettings
from gateway.sources.mqtt import Reader
from tests.brokers import mosquitto, often
from tests.hub.house import come, house, publish
from tests.hub.peers import Desk
from tests.parts import free_port, stop, tell, until
from tests.sources.site import CLAIM, all_of, clients, messages, numbered, reader, reading, send, source, values, ways


@ways
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_missing_over_a_restart_of_ours(
    client: str, protocol: str, loop: str, qos: int, tmp_path: Path
) -> None:
    """At whatever QoS it was published; in order."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            more: dict[str, Any] = {"binding": [CLAIM], "source": [source(port, protocol=protocol, client=client)]}
            async with house(tmp_path / "data", **more) as (gateway, _):
                await reading(gateway)
                await send(port, *numbered(0, 30), qos=qos)
                await until(lambda: gateway.readers[0].received >= 30)
            await send(port, *numbered(30, 60), qos=qos)
            async with house(tmp_path / "data", **more) as (gateway, _):
                found = await all_of(gateway, set(range(60)))
            assert list(dict.fromkeys(found)) == list(range(60))

    tell(story, loop)


@ways
def test_the_acknowledgement_waits_for_the_commit(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """An inlet that never commits: the broker still has the message for the next one."""

    async def story() -> None:
        port = free_port()
        own = source(port, protocol=protocol, client=client)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data", binding=[CLAIM]) as (gateway, _):
                for number in range(2):
                    never = Desk("hold")
                    async with reader(own, never, gateway):
                        if number == 0:
                            await send(port, *numbered(1, 2))
                        await never.has(1)
                assert not often(tmp_path, "Received PUBACK from redcar-test-site")
                always = Reader(own, gateway.ingest, gateway.log, "test")
                running = asyncio.create_task(always.run())
                assert await all_of(gateway, {1}) == [1]
                await until(lambda: often(tmp_path, "Received PUBACK from redcar-test-site"))
                await stop(running)

    tell(story, loop)


@clients
def test_what_is_retained_comes_once_with_a_session_that_is_kept(client: str, tmp_path: Path) -> None:
    """5.0 can ask for that, with retain handling 1 (3.8.3.1)."""

    async def story() -> None:
        port = free_port()
        own = source(port, protocol="5.0", client=client)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data") as (gateway, _):
                panel, _ = await come(port, "panel", 4, clean=True)
                panel.send(Delivery(Publish("plant/cellar/air-1", b"kept", 1, True), 1))
                assert await panel.got() == Ack(Kind.PUBACK, 1)
                await panel.close()
                desk = Desk()
                for number in range(3):
                    async with reader(own, desk, gateway):
                        await send(port, f"live {number}")
                        await desk.has(number + 2)
                assert [one.payload for one in desk.messages] == [b"kept", b"live 0", b"live 1", b"live 2"]

    asyncio.run(story())


class Broken(Desk):
    """An inlet before a disk that takes nothing now."""

    def publish(self, reads: list[Read], also: Sequence[Statement] = ()) -> asyncio.Future[None]:
        self.messages += [message for read in reads for message in read.messages]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error = StoreFailed("no space left")
        error.later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_exception, error)
        return done


@clients
def test_what_could_not_be_stored_comes_again(client: str, tmp_path: Path) -> None:
    """Once is enough for that, it isn't taken for somebody of our name."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data") as (gateway, _):
                desk = Broken()
                made = Reader(source(port, client=client), desk, gateway.log, "test")
                for number in range(5):
                    running = asyncio.create_task(made.run())
                    if number == 0:
                        await until(lambda: made.connected)
                        await send(port, "x")
                    with pytest.raises(LinkLost, match="couldn't be stored: it has to send them again"):
                        await asyncio.wait_for(running, 10)
                assert [one.payload for one in desk.messages] == [b"x"] * 5
                assert desk.known == desk.messages, "the disk takes them after all: the next with DUP is no other"
                assert not often(tmp_path, "Received PUBACK from redcar-test-site")
                desk.full = True
                with pytest.raises(LinkLost, match="not read now: the disk has to take what is here already"):
                    await made.run()

    asyncio.run(story())


@ways
def test_a_full_inlet_stops_the_reading(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """Until there is room again; nothing is missing, and the connection lasts."""

    async def story() -> None:
        port = free_port()
        count, size = 400, 5_000
        config = source(port, protocol=protocol, client=client, qos=0)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data") as (gateway, _):
                desk = Desk()
                desk.full = True  # notices it only once it has got something
                made = Reader(config, desk, gateway.log, "test")
                desk.full = False
                running = asyncio.create_task(made.run())
                await until(lambda: made.connected)
                desk.full = True
                await send(port, *(f"{n:{size}}" for n in range(count)))
                await until(lambda: desk.messages)
                await asyncio.sleep(0.2)
                paused = len(desk.messages)
                await asyncio.sleep(0.2)
                assert paused == len(desk.messages) < count
                desk.full = False
                made.room()
                await desk.has(count)
                assert [int(one.payload) for one in desk.messages] == list(range(count))
                assert often(tmp_path, "as redcar-test-site") == 1
                await stop(running)

    tell(story, loop)


@clients
def test_the_gateway_says_when_there_is_room(client: str, tmp_path: Path) -> None:
    """Its clients and its sources are told alike, again and again."""

    async def story() -> None:
        port = free_port()
        small = LogSettings(queue=20_000)
        with mosquitto(tmp_path, port):
            own = source(port, client=client, protocol="5.0")
            async with house(tmp_path / "data", source=[own], log=small) as (gateway, hub):
                await reading(gateway)
                told, tell = [0], gateway.ingest.on_room

                def room() -> None:
                    told[0] += 1
                    tell()

                gateway.ingest.on_room = room
                texts = [f"{n:3000}" for n in range(200)]
                await asyncio.gather(send(port, *texts), publish(hub, *texts[:100], topic="own"))
                found = await messages(gateway, 300)
                assert [one["payload"] for one in found if one["topic"] != "own"] == texts
                assert told[0] > 1

    asyncio.run(story())


@ways
def test_a_broker_that_has_lost_our_session(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """It restarts without persistence: we subscribe again, and say that something may be missing."""

    async def story() -> None:
        port = free_port()
        own = source(port, protocol=protocol, client=client)
        async with house(tmp_path / "data", binding=[CLAIM], source=[own]) as (gateway, _):
            for n in range(2):
                with mosquitto(tmp_path, port):
                    await reading(gateway)
                    await send(port, *numbered(n, n + 1))
                    await all_of(gateway, {n})
                await until(lambda: not gateway.readers[0].connected)
            gaps = [one.data for one in await gateway.log.read(1) if one.type == "gap"]
            assert gaps == [{"reason": "session_lost", "count": 0, "consumer": "site"}]

    tell(story, loop)


@ways
def test_a_broker_that_has_kept_it(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """It restarts with persistence; what it had for us comes, and nothing is said to be missing."""

    async def story() -> None:
        port = free_port()
        keeping = ("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
        own = source(port, protocol=protocol, client=client)
        with mosquitto(tmp_path, port, *keeping):
            async with house(tmp_path / "data", binding=[CLAIM], source=[own]) as (gateway, _):
                await reading(gateway)
            await send(port, *numbered(0, 20))
        async with house(tmp_path / "data", binding=[CLAIM], source=[own]) as (gateway, _):
            for lo in (20, 40):
                with mosquitto(tmp_path, port, *keeping):
                    await reading(gateway)
                    await send(port, *numbered(lo, lo + 20))
                    await all_of(gateway, set(range(lo + 20)))
                await until(lambda: not gateway.readers[0].connected)
            found = await values(gateway)
            assert list(dict.fromkeys(found)) == list(range(60))
            assert not [one for one in await gateway.log.read(1) if one.type == "gap"]

    tell(story, loop)


@ways
def test_two_of_one_name_are_told_apart(
    client: str, protocol: str, loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They put each other out; after three times within a minute we say so and leave the field."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            own = source(port, client_id="twin", protocol=protocol, client=client)
            async with house(tmp_path / "data", source=[own]) as (gateway, _):
                async with asyncio.timeout(30):
                    while "give this source another client_id" not in caplog.text:
                        await reading(gateway)
                        peer, _present = await come(port, "twin")
                        await until(lambda: not gateway.readers[0].connected)
                        await peer.close()

    caplog.set_level(logging.INFO)
    tell(story, loop)
    assert "somebody else is connected there as twin, and we put each other out" in caplog.text


@ways
def test_a_stand_by_gateway_shares_the_work(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """Each message goes to one of them; when one is gone, all go to the other."""

    async def story() -> None:
        port = free_port()
        wanted: dict[str, Any] = {"topics": ["$share/redcar/plant/#"], "protocol": protocol, "client": client}
        first, second = source(port, client_id="first", **wanted), source(port, client_id="second", **wanted)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "second", binding=[CLAIM], source=[second]) as (stays, _):
                await reading(stays)
                async with house(tmp_path / "first", binding=[CLAIM], source=[first]) as (leaves, _):
                    await reading(leaves)
                    await send(port, *numbered(0, 40))
                    async with asyncio.timeout(10):
                        while len(both := await values(leaves) + await values(stays)) < 40:
                            await asyncio.sleep(0.02)
                    assert sorted(both) == list(range(40))
                    assert await values(leaves)
                    assert await values(stays)
                if protocol == "5.0":  # the session of the one that left ends, so that nothing goes there any more
                    peer, _ = await come(port, "first", expiry=0, clean=True)
                else:
                    peer, _ = await come(port, "first", 4, clean=True)
                await peer.close()
                await send(port, *numbered(40, 60))
                assert set(range(40, 60)) <= set(await all_of(stays, set(range(40, 60))))

    tell(story, loop)


@clients
def test_several_brokers_at_once(client: str, tmp_path: Path) -> None:
    """Told apart by their prefix; the one that is away doesn't hold up the other."""

    async def story() -> None:
        here, there, nowhere = free_port(), free_port(), free_port()
        (tmp_path / "there").mkdir()
        own = [
            source(here, name="house", prefix="house/", client=client),
            source(there, name="barn", prefix="barn/", client=client),
            source(nowhere, name="nowhere", client=client),
        ]
        with mosquitto(tmp_path, here), mosquitto(tmp_path / "there", there):
            async with house(tmp_path / "data", source=own) as (gateway, _):
                await until(lambda: [one.connected for one in gateway.readers] == [True, True, False])
                await send(here, "1", "2")
                await send(there, "3", "4")
                found = [(one["topic"], one["client"], one["payload"]) for one in await messages(gateway, 4)]
        topic = "plant/cellar/air-1"
        assert sorted(found) == [
            (f"barn/{topic}", "barn@127.0.0.1", "3"),
            (f"barn/{topic}", "barn@127.0.0.1", "4"),
            (f"house/{topic}", "house@127.0.0.1", "1"),
            (f"house/{topic}", "house@127.0.0.1", "2"),
        ]

    asyncio.run(story())
