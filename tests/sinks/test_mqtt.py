"""What is particular to MQTT: answers late, wrong and missing, other clients of our name, passwords, certificates."""

import asyncio
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.errors import SinkRefused, SinkUnavailable
from gateway.event import event
from gateway.sink import Batch, Outcome
from gateway.sinks import _paho, mqtt
from tests.parts import free_port, need, until
from tests.sinks.receivers import Broker, Subscriber, batch, open_sink
from tests.sinks.scripted import Scripted, connack, puback


def sink_to(broker: Scripted | Broker, **settings: object) -> mqtt.Sink:
    made = open_sink("mqtt", host="127.0.0.1", port=broker.port, **settings)
    assert isinstance(made, mqtt.Sink)
    return made


def is_over(sink: mqtt.Sink) -> bool:
    return sink._connection is not None and sink._connection.over is not None


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    """Whatever is put in here is killed after the test."""
    started: list[Broker] = []
    yield started
    for broker in started:
        broker.kill()


# Acknowledgements


def test_delivered_means_that_every_puback_is_there() -> None:
    async def story() -> None:
        async with Scripted(lambda number, packet_id: puback(packet_id) if number != 3 else None) as broker:
            sink = sink_to(broker)
            await sink.connect()
            sending = asyncio.create_task(sink.send(batch(1, 5)))
            await until(lambda: len(broker.publishes) == 5)
            await sink.send(batch(6, 9))  # a round trip later ...
            assert not sending.done()
            broker.say(puback(99))  # never sent
            broker.say(puback(4))
            assert await sending == Outcome()
            await sink.close()

    asyncio.run(story())


def test_a_missing_puback_ends_the_connection() -> None:
    async def story() -> None:
        async with Scripted(lambda number, packet_id: puback(packet_id) if number != 3 else None) as broker:
            sink = sink_to(broker, ack_timeout=0.2)
            await sink.connect()
            with pytest.raises(SinkUnavailable, match=r"127.0.0.1:\d+: a message wasn't acknowledged for 0.2 s"):
                await sink.send(batch(1, 5))
            await sink.connect()
            assert await sink.send(batch(1, 5)) == Outcome()
            assert broker.connects == 2
            await sink.close()

    asyncio.run(story())


def test_a_silent_receiver_is_noticed_without_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with Scripted() as broker:
            sink = sink_to(broker, keepalive=5)
            sink._config.keepalive = 1
            await sink.connect()
            broker.deaf = True
            await until(partial(is_over, sink))
            with pytest.raises(SinkUnavailable, match="the receiver doesn't answer any more"):
                await sink.send(batch(1, 1))

    asyncio.run(story())


@pytest.mark.parametrize("code", [0x87, 0x90, 0x99])
def test_refused_for_good(code: int) -> None:
    async def story() -> None:
        async with Scripted(lambda number, packet_id: puback(packet_id, code if number == 1 else 0)) as broker:
            sink = sink_to(broker)
            await sink.connect()
            outcome = await sink.send(batch(1, 3))
            assert outcome.retry == []
            assert list(outcome.refused) == [2]
            assert outcome.refused[2].startswith(f"127.0.0.1:{broker.port}: ")
            await sink.close()

    asyncio.run(story())


@pytest.mark.parametrize("code", [0x80, 0x83, 0x91, 0x97])
def test_refused_for_now(code: int) -> None:
    async def story() -> None:
        async with Scripted(lambda number, packet_id: puback(packet_id, code if number == 1 else 0)) as broker:
            sink = sink_to(broker)
            await sink.connect()
            assert await sink.send(batch(1, 3)) == Outcome(retry=[2])
            await sink.close()

    asyncio.run(story())


def test_a_batch_is_refused_as_a_whole() -> None:
    async def story() -> None:
        async with Scripted(lambda number, packet_id: puback(packet_id, 0x99 if number == 0 else 0)) as broker:
            sink = sink_to(broker, per_message="batch", message_bytes=2_000)
            await sink.connect()
            outcome = await sink.send(batch(1, 10))
            assert list(outcome.refused) == list(range(1, len(outcome.refused) + 1))
            assert 1 < len(outcome.refused) < 10
            await sink.close()

    asyncio.run(story())


def test_broker_dies_between_publish_and_puback() -> None:
    async def story() -> None:
        broker = Scripted(lambda number, packet_id: puback(packet_id) if number < 30 else None)
        async with broker:
            sink = sink_to(broker)
            await sink.connect()
            sending = asyncio.create_task(sink.send(batch(1, 200)))
            await until(lambda: len(broker.publishes) == 80)
            broker.cut()
            with pytest.raises(SinkUnavailable, match="the connection broke off"):
                await sending
            with pytest.raises(SinkUnavailable, match="the connection broke off"):
                await sink.send(batch(1, 200))

    asyncio.run(story())


# Limits


def test_window_and_receive_maximum_hold() -> None:
    async def story(welcome: bytes, window: int, most: int) -> None:
        async with Scripted(welcome=welcome) as broker:
            sink = sink_to(broker, window=window)
            await sink.connect()
            await asyncio.gather(sink.send(batch(1, 300)), sink.send(batch(301, 600, "backlog")))
            assert len(broker.publishes) == 600
            assert broker.most_unanswered <= most
            await sink.close()

    asyncio.run(story(connack(), 16, 16))
    asyncio.run(story(connack(0, b"\x21\x00\x05"), 100, 5))
    asyncio.run(story(connack(0, b"\x21\x00\x01"), 100, 1))


def test_a_backlog_leaves_room_for_live() -> None:
    async def story() -> None:
        async with Scripted(lambda _, packet_id: puback(packet_id) if packet_id > 50 else None) as broker:
            sink = sink_to(broker, window=100)
            await sink.connect()
            backlog = asyncio.create_task(sink.send(batch(1, 200, "backlog")))
            await until(lambda: len(broker.publishes) == 50)
            assert await sink.send(batch(201, 400)) == Outcome()
            assert not backlog.done()
            await sink.close()
            with pytest.raises(SinkUnavailable):
                await backlog

    asyncio.run(story())


def test_what_the_receiver_cannot_take_is_refused_before_sending() -> None:
    async def story() -> None:
        large = event("message", "camera", {"picture": "x" * 5_000}, time=1)
        large.offset = 2
        one, three = batch(1, 1).events[0], batch(3, 3).events[0]
        async with Scripted(welcome=connack(0, b"\x27" + (4_096).to_bytes(4, "big"))) as broker:
            for per_message in ("event", "batch"):
                sink = sink_to(broker, per_message=per_message)
                await sink.connect()
                outcome = await sink.send(Batch("live", 1, 3, [one, large, three]))
                assert list(outcome.refused) == [2]
                assert outcome.refused[2].endswith(
                    "are too many for a message of 4,096 (message_bytes, or the receiver)"
                )
                assert outcome.retry == []
                await sink.close()
            assert max(map(len, broker.publishes)) < 4_096

    asyncio.run(story())


def test_packet_ids_wrap_around_one_that_is_stuck() -> None:
    async def story() -> None:
        async with Scripted(lambda _, packet_id: puback(packet_id)) as broker:
            sink = sink_to(broker)
            await sink.connect()
            assert sink._connection is not None
            client = sink._connection._client
            client._last_mid = 65_530
            broker._answer = lambda number, packet_id: None if number == 0 else puback(packet_id)
            stuck = asyncio.create_task(sink.send(batch(1, 1, "backlog")))
            await until(lambda: len(broker.publishes) == 1)
            client._last_mid = 65_529
            assert await sink.send(batch(2, 20)) == Outcome()
            broker.say(puback(65_531))
            assert await stuck == Outcome()
            await sink.close()

    asyncio.run(story())


# Where it goes


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ({}, "gateways/plant-7/greenhouse/air-1/reading"),
        ({"per_message": "batch"}, "gateways/plant-7/live"),
        ({"topic": "in/{lane}/{type}/{source}"}, "in/live/reading/greenhouse/air-1"),
        ({"topic": "all"}, "all"),
    ],
)
def test_topics(settings: dict[str, object], want: str) -> None:
    async def story() -> None:
        async with Scripted() as broker:
            sink = sink_to(broker, **settings)
            await sink.connect()
            await sink.send(batch(1, 1))
            (body,) = broker.publishes
            assert body[2 : 2 + int.from_bytes(body[:2], "big")].decode() == want
            await sink.close()

    asyncio.run(story())


def test_a_source_with_wildcards_and_nul_is_delivered() -> None:
    async def story() -> None:
        async with Scripted() as broker:
            strange = event("reading", "a+b/#/\0", {}, time=1)
            strange.offset = 1
            sink = sink_to(broker)
            await sink.connect()
            assert await sink.send(Batch("live", 1, 1, [strange])) == Outcome()
            (body,) = broker.publishes
            assert body[2 : 2 + int.from_bytes(body[:2], "big")] == b"gateways/plant-7/a_b/_/_/reading"
            assert b"\0a+b" not in body[40:60]
            await sink.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topic": "x/{device}"}, "topic: {device} isn't known here: use {gateway}, {lane}, {source}, {type}"),
        ({"per_message": "batch", "topic": "x/{source}"}, "topic: {source} isn't known here: use {gateway}, {lane}"),
        ({"topic": "x/#"}, "topic: it is to publish to: neither empty nor with + or #"),
        ({"topic": ""}, "topic: it is to publish to: neither empty nor with + or #"),
        ({"topic": "x/{"}, "topic: a { or } is alone: write e.g. gateways/{gateway}/{lane}"),
        (
            {"topic": "x/{source.name}"},
            "topic: {source.name} isn't known here: use {gateway}, {lane}, {source}, {type}",
        ),
        ({"topic": "x/{source!r:>90}"}, "topic: {source} isn't known here: use {gateway}, {lane}, {source}, {type}"),
        ({"ca": "ca.pem"}, "ca, certificate: they are used with TLS only: add tls = true"),
        ({"tls": True, "certificate": "a"}, "certificate, key: they belong together: give both or none"),
        ({"message_bytes": 1_999}, "message_bytes: no event fits into so little: write at least 2kB"),
        ({"password_file": "secret"}, "password_file: a password without a user: add username"),
    ],
)
def test_faults_in_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        open_sink("mqtt", host="127.0.0.1", **settings)
    assert str(caught.value) == message


# Who we are there


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
