"""One body of tests for all sinks, each against a real receiver that dies and comes back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import sinks
from gateway.errors import SinkUnavailable
from gateway.event import Event
from gateway.sink import Outcome, Sink
from tests.parts import stop, until
from tests.sinks.receivers import Receiver, all_receivers, batch, facts, plant

names = list(all_receivers(Path()))


@pytest.fixture(params=names)
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    made: Receiver = all_receivers(tmp_path)[request.param]()
    yield made
    made.kill()


def offsets(receiver: Receiver, lane: str = "live") -> list[int]:
    return [int(one.sequence) for one in receiver.received() if one.lane == lane]


def seen(made: Event) -> tuple[object, ...]:
    return made.offset, made.time, made.recorded, made.source, made.type, made.body, made.quality, made.cause


async def reconnect(sink: Sink) -> None:
    """As a supervisor does."""
    for _ in range(2_000):
        try:
            await sink.connect()
        except SinkUnavailable:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("never connected again")


def test_every_kind_is_tested_here() -> None:
    assert set(sinks.kinds()) == {name.split()[0] for name in names}


def test_delivers_everything_in_order_and_without_loss(receiver: Receiver) -> None:
    async def story() -> None:
        await receiver.start()
        sink = receiver.sink()
        await sink.connect()
        for lo in range(1, 1_000, 200):
            assert await sink.send(batch(lo, lo + 199)) == Outcome()
        await until(lambda: len(receiver.received()) >= 1_000)
        await sink.close()
        assert [seen(one.event()) for one in receiver.received()] == [seen(one) for one in facts(1, 1_000)]
        assert {one.identity() for one in receiver.received()} == {plant}

    asyncio.run(story())


def test_two_lanes_side_by_side(receiver: Receiver) -> None:
    async def story() -> None:
        await receiver.start()
        sink = receiver.sink()
        await sink.connect()

        async def backlog() -> None:
            for lo in range(1, 601, 200):
                await sink.send(batch(lo, lo + 199, "backlog"))

        async def live() -> None:
            for offset in range(601, 621):
                await sink.send(batch(offset, offset))

        await asyncio.gather(backlog(), live())
        await until(lambda: len(receiver.received()) >= 620)
        await sink.close()
        assert offsets(receiver, "backlog") == list(range(1, 601))
        assert offsets(receiver) == list(range(601, 621))

    asyncio.run(story())


def test_nobody_there(receiver: Receiver) -> None:
    async def story() -> None:
        sink = receiver.sink()
        with pytest.raises(SinkUnavailable):
            await sink.connect()
        await sink.close()

    asyncio.run(story())


def test_receiver_dies_and_comes_back(receiver: Receiver) -> None:
    async def story() -> None:
        await receiver.start()
        sink = receiver.sink()
        await sink.connect()
        await sink.send(batch(1, 10))
        await until(lambda: offsets(receiver) == list(range(1, 11)))
        receiver.kill()
        with pytest.raises(SinkUnavailable):
            await sink.send(batch(11, 20))
        with pytest.raises(SinkUnavailable):
            await sink.connect()
        await receiver.start()
        await reconnect(sink)
        assert await sink.send(batch(11, 20)) == Outcome()
        await until(lambda: offsets(receiver) == list(range(1, 21)))
        await sink.close()

    asyncio.run(story())


def test_sent_again_keeps_its_name(receiver: Receiver) -> None:
    async def story() -> None:
        await receiver.start()
        sink = receiver.sink()
        for _ in range(2):
            await sink.connect()
            await sink.send(batch(1, 10))
        await sink.close()
        await until(lambda: len(receiver.received()) >= 10)
        assert len({(one.source, one.id) for one in receiver.received()}) == 10

    asyncio.run(story())


def test_close_never_raises(receiver: Receiver) -> None:
    async def story() -> None:
        sink = receiver.sink()
        await sink.close()
        await receiver.start()
        await sink.connect()
        receiver.kill()
        await sink.close()
        await sink.close()

    asyncio.run(story())


def test_a_send_that_is_given_up_disturbs_nobody(receiver: Receiver) -> None:
    async def story() -> None:
        await receiver.start()
        sink = receiver.sink()
        await sink.connect()
        given_up = asyncio.create_task(sink.send(batch(1, 500, "backlog")))
        await asyncio.sleep(0)
        await stop(given_up)
        assert await sink.send(batch(501, 510)) == Outcome()
        await until(lambda: offsets(receiver) == list(range(501, 511)))
        await sink.close()

    asyncio.run(story())
