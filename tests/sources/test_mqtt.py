"""A broker that already runs, read as a client: a real mosquitto."""

import asyncio
import logging
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.driver import load as load_driver
from gateway.errors import ConfigError, DeviceRefused, LinkLost
from gateway.hub.packets import V311
from gateway.sources.mqtt import Config, Reader
from tests.hub.house import come, house, publish
from tests.hub.peers import _open, until
from tests.parts import free_port, need

both = pytest.mark.parametrize("protocol", ["3.1.1", "5.0"])
CLAIM = load_driver("json").config(
    driver="json", topics=["plant/{area}/{device}"], allow=["*"], source="{area}/{device}"
)


@contextmanager
def mosquitto(folder: Path, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    path = need("mosquitto", "mosquitto")
    file = folder / "mosquitto.conf"
    lines = [
        "user root",
        f"listener {port} 127.0.0.1",
        "max_queued_messages 0",
        *(more or ("allow_anonymous true",)),
        "",
    ]
    file.write_text("\n".join(lines))
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([path, "-c", str(file)], stdout=log, stderr=log)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None, "mosquitto didn't start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def source(port: int, **more: Any) -> Config:
    own: dict[str, Any] = {"name": "site", "host": "127.0.0.1", "port": port, "topics": ["plant/#"], **more}
    return Config(**own)


async def send(port: int, *texts: str, topic: str = "plant/cellar/air-1", qos: int = 1) -> None:
    """To the other broker."""
    for at in range(0, len(texts), 10):  # it takes 20 at once
        await publish(port, *texts[at : at + 10], topic=topic, qos=qos, version=V311)


async def values(gateway: Any) -> list[int]:
    return [one.data["n"] for one in await gateway.log.read(1, limit=10_000) if one.type == "reading"]


@both
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_missing_over_a_restart_of_ours(protocol: str, qos: int, tmp_path: Path) -> None:
    """At whatever QoS it was published."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            await send(port, "0")
            texts = [f'{{"n": {n}}}' for n in range(60)]
            more = {"binding": [CLAIM], "source": [source(port, protocol=protocol)]}
            async with house(tmp_path / "data", **more) as (gateway, _):
                await until(lambda: gateway.readers[0].connected)
                await asyncio.sleep(0.2)  # SUBSCRIBE is behind CONNECT
                await send(port, *texts[:30], qos=qos)
                await until(lambda: gateway.readers[0].received >= 30)
            await send(port, *texts[30:], qos=qos)
            async with house(tmp_path / "data", **more) as (gateway, _):
                found: list[int] = []
                async with asyncio.timeout(10):
                    while len(set(found)) < 60:
                        await asyncio.sleep(0.02)
                        found = await values(gateway)
            assert sorted(set(found)) == list(range(60))

    asyncio.run(story())


def test_the_acknowledgement_waits_for_the_commit(tmp_path: Path) -> None:
    """An inlet that never commits: the broker still has the message for the next one."""

    class Never:
        full = False
        on_room = staticmethod(lambda: None)

        def __init__(self) -> None:
            self.taken = 0

        def publish(self, messages: list[Any], also: object = ()) -> asyncio.Future[None]:
            self.taken += len(messages)
            return asyncio.get_running_loop().create_future()

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            await send(port, "0")
            async with house(tmp_path / "data", binding=[CLAIM]) as (gateway, _):
                for _ in range(2):
                    inlet = Never()
                    reader = Reader(source(port), inlet, gateway.log, "test")  # type: ignore[arg-type]
                    running = asyncio.create_task(reader.run())
                    await until(lambda reader=reader: reader.connected)  # type: ignore[misc]
                    await asyncio.sleep(0.2)
                    if _ == 0:
                        await send(port, '{"n": 1}')
                    await until(lambda inlet=inlet: inlet.taken == 1)  # type: ignore[misc]
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                reader = Reader(source(port), gateway.ingest, gateway.log, "test")
                running = asyncio.create_task(reader.run())
                async with asyncio.timeout(10):
                    while await values(gateway) != [1]:
                        await asyncio.sleep(0.02)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())


def test_a_broker_that_has_lost_our_session(tmp_path: Path) -> None:
    """It restarts without persistence: we subscribe again, and say that something may be missing."""

    async def story() -> None:
        port = free_port()
        async with house(tmp_path / "data", binding=[CLAIM], source=[source(port)]) as (gateway, _):
            for n in range(2):
                with mosquitto(tmp_path, port):
                    await until(lambda: gateway.readers[0].connected)
                    await asyncio.sleep(0.3)
                    await send(port, f'{{"n": {n}}}')
                    async with asyncio.timeout(10):
                        while n not in await values(gateway):
                            await asyncio.sleep(0.02)
                await until(lambda: not gateway.readers[0].connected)
            gaps = [one.data for one in await gateway.log.read(1) if one.type == "gap"]
            assert gaps == [{"reason": "session_lost", "count": 0, "consumer": "site"}]

    asyncio.run(story())


def test_two_of_one_name_are_told_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They put each other out; after three times within a minute we say so and leave the field."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data", source=[source(port, client_id="twin")]) as (gateway, _):
                async with asyncio.timeout(30):
                    while "give this source another client_id" not in caplog.text:
                        await until(lambda: gateway.readers[0].connected)
                        peer, _present = await come(port, "twin")
                        await until(lambda: not gateway.readers[0].connected)
                        await peer.close()

    caplog.set_level(logging.INFO)
    asyncio.run(story())


def test_a_topic_prefix_and_a_shared_subscription(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        own = source(port, topics=["$share/redcar/plant/#"], prefix="house/")
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data", source=[own]) as (gateway, _):
                await until(lambda: gateway.readers[0].connected)
                await asyncio.sleep(0.2)
                await send(port, "x")
                await until(lambda: gateway.readers[0].received)
                async with asyncio.timeout(10):
                    while not (found := [one for one in await gateway.log.read(1) if one.type == "message"]):
                        await asyncio.sleep(0.02)
                assert found[0].data["topic"] == "house/plant/cellar/air-1"

    asyncio.run(story())


def test_nobody_there_and_nobody_welcome(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        async with house(tmp_path / "data") as (gateway, _):
            with pytest.raises(LinkLost, match="nobody listens there"):
                await Reader(source(port), gateway.ingest, gateway.log, "test").run()
            (tmp_path / "passwords").write_text("")
            with mosquitto(tmp_path, port, f"password_file {tmp_path / 'passwords'}", "allow_anonymous false"):
                async with asyncio.timeout(10):
                    while True:
                        with pytest.raises((LinkLost, DeviceRefused)) as found:
                            await Reader(source(port), gateway.ingest, gateway.log, "test").run()
                        if isinstance(found.value, DeviceRefused):
                            break
                        await asyncio.sleep(0.05)
                assert "check username" in str(found.value)

    asyncio.run(story())
    assert not _open


def test_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "redcar.toml"
    file.write_text('[[source]]\nname = "site"\nhost = "broker.lan"\ntopics = ["plant/#"]\n')
    (made,) = load(file).source
    assert isinstance(made, Config)
    assert (made.where, made.qos) == ("broker.lan:1883", 1)
    file.write_text('[[source]]\nname = "site"\nhost = "broker.lan"\ntopics = ["plant/#/x"]\nprt = 5\n')
    with pytest.raises(ConfigError) as found:
        load(file)
    assert "prt" in str(found.value)
