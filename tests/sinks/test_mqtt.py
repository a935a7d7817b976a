"""What is particular to MQTT: answers late, wrong and missing, windows, topics. Who is let in: see ``test_mqtt_doors.py``."""

import asyncio
from functools import partial

import msgspec
import pytest

from gateway.errors import SinkUnavailable
from gateway.event import event
from gateway.sink import Batch, Outcome
from tests.parts import until
from tests.sinks.receivers import batch, open_sink
from tests.sinks.scripted import Scripted, connack, is_over, puback, sink_to

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
