"""How MQTT receivers let us in, or don't: what they answer, passwords, rights, others of our name, TLS."""

import asyncio
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.errors import SinkRefused, SinkUnavailable
from gateway.sink import Batch, Outcome
from gateway.sinks import _paho
from tests.parts import free_port, need, until
from tests.sinks.receivers import Broker, Subscriber, batch, open_sink
from tests.sinks.scripted import Scripted, connack, is_over, puback, sink_to


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    """Whatever is put in here is killed after the test."""
    started: list[Broker] = []
    yield started
    for broker in started:
        broker.kill()


connacks = [
    ("5.0", 0x84, SinkRefused, "it doesn't speak MQTT 5.0: change protocol"),
    ("3.1.1", 2, SinkRefused, "it doesn't accept the client id redcar-plant-7: set client_id to one that it does"),
    ("5.0", 0x85, SinkRefused, "it doesn't accept the client id redcar-plant-7: set client_id to one that it does"),
    ("3.1.1", 3, SinkUnavailable, "it doesn't take connections now: Server unavailable"),
    ("5.0", 0x88, SinkUnavailable, "it doesn't take connections now: Server unavailable"),
    ("5.0", 0x97, SinkUnavailable, "it doesn't take connections now: Quota exceeded"),
    (
        "3.1.1",
        4,
        SinkRefused,
        "it doesn't accept user anna with this password: check username and password_file",
    ),
    ("3.1.1", 5, SinkRefused, "it doesn't let user anna in: check username, password_file and its access list"),
    ("5.0", 0x8A, SinkRefused, "it has banned us: ask those who run it"),
]


@pytest.mark.parametrize(("protocol", "code", "kind", "message"), connacks)
def test_refused_at_the_door(protocol: str, code: int, kind: type[Exception], message: str) -> None:
    async def story() -> None:
        async with Scripted(welcome=connack(code, protocol=protocol)) as broker:
            sink = sink_to(broker, protocol=protocol, username="anna")
            with pytest.raises(kind) as caught:
                await sink.connect()
            assert str(caught.value) == f"127.0.0.1:{broker.port}: {message}"
            with pytest.raises(SinkUnavailable, match="not connected"):
                await sink.send(batch(1, 1))

    asyncio.run(story())


def test_a_broker_that_never_acknowledges_is_no_use() -> None:
    async def story() -> None:
        async with Scripted(welcome=connack(0, b"\x24\x00")) as broker:
            with pytest.raises(SinkRefused, match="never acknowledges"):
                await sink_to(broker).connect()

    asyncio.run(story())


def test_no_answer_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_paho, "answer_within", 0.1)

    async def story() -> None:
        async with Scripted(welcome=b"") as broker:
            sink = sink_to(broker)
            with pytest.raises(SinkUnavailable, match="no answer"):
                await sink.connect()

    asyncio.run(story())


def test_connect_can_be_given_up() -> None:
    async def story() -> None:
        async with Scripted(welcome=b"") as broker:
            sink = sink_to(broker)
            connecting = asyncio.create_task(sink.connect())
            await until(lambda: broker.connects == 1)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await sink.close()

    asyncio.run(story())


def test_wrong_and_right_password(tmp_path: Path, brokers: list[Broker]) -> None:
    known, secret = tmp_path / "known", tmp_path / "secret"
    subprocess.run([need("mosquitto_passwd", "mosquitto"), "-b", "-c", known, "anna", "right"], check=True)

    async def story() -> None:
        broker = Broker(tmp_path, f"password_file {known}", anonymous=False)
        brokers.append(broker)
        await broker.start()
        for protocol in ("5.0", "3.1.1"):
            sink = sink_to(broker, protocol=protocol, username="anna", password_file=str(secret))
            secret.unlink(missing_ok=True)
            with pytest.raises(SinkRefused, match=r"password_file: .*name a file that Redcar may read"):
                await sink.connect()
            secret.write_text("wrong\n")
            with pytest.raises(SinkRefused, match=r"user anna.*check username"):
                await sink.connect()
            secret.write_text("right\n")
            await sink.connect()
            assert await sink.send(batch(1, 10)) == Outcome()
            await sink.close()

    asyncio.run(story())


def test_refused_and_hung_up() -> None:
    async def story() -> None:
        async with Scripted(lambda number, packet_id: puback(packet_id, 0x87 if number == 1 else 0)) as broker:
            sink = sink_to(broker)
            await sink.connect()
            broker.hang_up_after = 3
            sending = asyncio.create_task(sink.send(batch(1, 60)))
            outcome = await sending
            assert list(outcome.refused) == [2]
            assert outcome.retry == list(range(4, 61))
            with pytest.raises(SinkUnavailable):
                await sink.send(batch(4, 60))

    asyncio.run(story())


def test_a_topic_the_access_list_forbids(tmp_path: Path, brokers: list[Broker]) -> None:
    access = tmp_path / "acl"
    access.write_text("topic write gateways/plant-7/greenhouse/air-1/#\ntopic read #\n")

    async def story() -> None:
        broker = Broker(tmp_path, f"acl_file {access}")
        brokers.append(broker)
        await broker.start()
        sink = sink_to(broker)
        refused: dict[int, str] = {}
        owed = list(range(1, 7))
        while owed:  # mosquitto 2.0.11 hangs up after each refusal, sometimes before we have read it
            await sink.connect()
            try:
                outcome = await sink.send(
                    Batch("live", 1, 6, [one for one in batch(1, 6).events if one.offset in owed])
                )
            except SinkUnavailable:
                continue
            refused |= outcome.refused
            owed = outcome.retry
        assert sorted(refused) == [2, 3, 5, 6]
        assert set(refused.values()) == {f"127.0.0.1:{broker.port}: Not authorized"}
        await sink.close()

    asyncio.run(story())


def test_another_client_of_our_name() -> None:
    async def story() -> None:
        async with Scripted() as broker:
            sink = sink_to(broker)
            message = (
                "another client connected as redcar-plant-7 and took our place: give one of the two another client_id"
            )
            for _ in range(4):
                await sink.connect()
                broker.say(b"\xe0\x01\x8e")
                await until(partial(is_over, sink))
                with pytest.raises(SinkUnavailable, match=message):
                    await sink.send(batch(1, 1))
            with pytest.raises(SinkRefused, match=message):
                await sink.connect()

    asyncio.run(story())


@pytest.mark.parametrize("protocol", ["5.0", "3.1.1"])
def test_a_broker_that_does_not_say_so(protocol: str, tmp_path: Path, brokers: list[Broker]) -> None:
    async def story() -> None:
        broker = Broker(tmp_path)
        brokers.append(broker)
        await broker.start()
        sink = sink_to(broker, protocol=protocol)
        for _ in range(4):
            await sink.connect()
            other = Client(CallbackAPIVersion.VERSION2, "redcar-plant-7")
            await asyncio.to_thread(other.connect, "127.0.0.1", broker.port)
            await until(partial(is_over, sink))
            other.disconnect()
        guess = "broke off, 4 times within a minute: does another client use the id redcar-plant-7"
        with pytest.raises(SinkUnavailable, match=guess):
            await sink.send(batch(1, 1))

    asyncio.run(story())


# TLS


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """ca.pem, server.pem and server.key for localhost, other.pem of an authority that signed nothing here."""
    openssl = need("openssl", "openssl")

    def run(*args: str | Path) -> None:
        subprocess.run([openssl, *args], check=True, capture_output=True, cwd=tmp_path)

    for name in ("ca", "other"):
        own = ["-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign"]
        run(
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            *own,
        )
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"]
    run("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    return tmp_path


def test_tls(certificates: Path, brokers: list[Broker]) -> None:
    async def story() -> None:
        secure = free_port()
        files = [f"{what}file {certificates}/{name}" for what, name in (("cert", "server.pem"), ("key", "server.key"))]
        broker = Broker(certificates, f"listener {secure} 127.0.0.1", *files)
        brokers.append(broker)
        await broker.start()
        subscriber = await Subscriber(broker.port).listening()

        async def refused(message: str, **settings: object) -> None:
            with pytest.raises((SinkRefused, SinkUnavailable), match=message):
                await open_sink("mqtt", **({"host": "localhost", "port": secure, "tls": True} | settings)).connect()

        ca = str(certificates / "ca.pem")
        other = str(certificates / "other.pem")
        await refused("its certificate isn't to be trusted .*: set ca to the file of the authority that signed it")
        await refused("its certificate isn't to be trusted", ca=other)
        await refused("its certificate is for another address: set host to the name", ca=ca, host="127.0.0.1")
        await refused("it doesn't take up TLS .*: is that its port for TLS?", ca=ca, port=broker.port)
        await refused("ca: nowhere.pem: No such file or directory: name a PEM file of certificates", ca="nowhere.pem")

        sink = open_sink("mqtt", host="localhost", port=secure, tls=True, ca=ca)
        await sink.connect()
        for lo in range(1, 2_000, 500):
            assert await sink.send(batch(lo, lo + 499)) == Outcome()
        await until(lambda: len(subscriber.messages) == 2_000)
        await sink.close()
        subscriber.close()

    asyncio.run(story())
