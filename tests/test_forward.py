"""The loop between a consumer and a sink: lanes, fixed batches, what a receiver refuses or leaves open."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.errors import SinkUnavailable
from gateway.event import Event
from gateway.forward import Forwarder
from gateway.rates import Limit, Meter
from gateway.selection import Globs
from gateway.sink import Batch, Outcome, Subscription
from gateway.store.consumers import Consumer, Consumers
from gateway.store.log import Log
from gateway.store.ranges import Flight
from gateway.supervise import supervise
from tests.parts import stop, until
from tests.store.logs import acknowledged, opened, reading


class Receiver:
    """Answers by a table: offset -> how often to leave it open; offsets to refuse; times to break off after taking a batch."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.refused: set[int] = set()
        self.broken = 0
        self.fixed_batches = False
        self.sent: list[tuple[str, int, int, list[int]]] = []
        self.taken: list[tuple[str, int]] = []
        self.on_send: Callable[[Batch], Awaitable[None]] | None = None

    async def connect(self) -> None:
        pass

    async def send(self, batch: Batch) -> Outcome:
        self.sent.append((batch.lane, batch.lo, batch.hi, [one.offset for one in batch.events]))
        if self.on_send:
            await self.on_send(batch)
        if self.broken:
            self.broken -= 1
            raise SinkUnavailable("gone before it said what it took")
        outcome = Outcome()
        for one in batch.events:
            if one.offset in self.refused:
                outcome.refused[one.offset] = "too long"
            elif self.open.get(one.offset, 0):
                self.open[one.offset] -= 1
                outcome.retry.append(one.offset)
            else:
                self.taken.append((batch.lane, one.offset))
        return outcome

    async def close(self) -> None:
        pass

    def lane(self, name: str) -> list[int]:
        return [offset for lane, offset in self.taken if lane == name]


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def forwarding(log: Log, receiver: Receiver, **settings: Any) -> AsyncIterator[Consumer]:
    """A forwarder at work, as the gateway runs it; readings only."""
    usual: dict[str, Any] = {"types": ["reading"], "batch": 10}
    config = Subscription(name="cloud", sink="table", **usual | settings)
    consumer = await (await Consumers.load(log)).open("cloud")
    forwarder = Forwarder(consumer, receiver, config, pauses=(0.001, 0.001, 0.001, 0.001))
    task = asyncio.create_task(supervise("cloud", forwarder.run, rng=Random(1), sleep=at_once))
    try:
        yield consumer
    finally:
        await stop(task)


async def filled(folder: Path, count: int) -> Log:
    log = await opened(folder)
    await acknowledged(log, *(reading(n) for n in range(count)))
    return log


def test_live_goes_first_and_the_backlog_beside_it_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 500), Receiver()
        async with forwarding(log, receiver, backlog_rate=1_000) as cloud:
            await until(lambda: receiver.taken)
            await acknowledged(log, reading(500), reading(501))
            await until(lambda: receiver.lane("live"))
            assert len(receiver.lane("backlog")) < 500
            await until(lambda: cloud.lag == 0)
        assert receiver.lane("backlog") == list(range(1, 501))
        assert receiver.lane("live") == [501, 502]
        assert {len(offsets) for lane, _, _, offsets in receiver.sent if lane == "backlog"} == {10}
        await log.close()

    asyncio.run(story())


def test_the_backlog_drains_however_much_is_live(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 100), Receiver()

        async def never_quiet(batch: Batch) -> None:
            if batch.lane == "live" and len(receiver.lane("backlog")) < 100:
                await acknowledged(log, reading(0))

        receiver.on_send = never_quiet
        async with forwarding(log, receiver) as cloud:
            await acknowledged(log, reading(0))
            await until(lambda: cloud.lag == 0)
        assert receiver.lane("backlog") == list(range(1, len(receiver.lane("backlog")) + 1))
        assert len(receiver.lane("backlog")) >= 100
        await log.close()

    asyncio.run(story())


def test_strict_order_keeps_one_lane(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 100), Receiver()
        receiver.open = {15: 1, 17: 2}
        receiver.broken = 2
        async with forwarding(log, receiver, order="strict") as cloud:
            await acknowledged(log, reading(100))
            await until(lambda: cloud.lag == 0)
        assert {lane for lane, *_ in receiver.sent} == {"live"}
        assert sorted(receiver.lane("live")) == list(range(1, 102))
        late = receiver.lane("live").index(17)
        assert receiver.lane("live")[late - 1 : late + 2] == [15, 17, 21]  # before anything that comes later
        await log.close()

    asyncio.run(story())


def test_two_outages_leave_one_backlog_oldest_first(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 20), Receiver()

        async def more(batch: Batch) -> None:
            if receiver.broken:
                await acknowledged(log, *(reading(n) for n in range(20)))

        receiver.on_send, receiver.broken = more, 3
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0 and not receiver.broken)
            assert [one.lane for one in cloud.ranges] == ["live"]
        assert receiver.lane("backlog") == sorted(receiver.lane("backlog"))
        assert sorted(offset for _, offset in receiver.taken) == list(range(1, log.head + 1))
        await log.close()

    asyncio.run(story())


def test_a_range_that_appears_meanwhile_is_picked_up_in_a_lane_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 30), Receiver()
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0)
            before = [(one.lane, one.lo, one.hi) for one in cloud.ranges]
            one = await cloud.owe("replay-{id}", 5, 12, globs=Globs(["*"], ["plant/air-1"]))
            two = await cloud.owe("replay-{id}", 5, 7)
            assert one.lane != two.lane
            await until(lambda: cloud.lag == 0)
            assert [(one.lane, one.lo, one.hi) for one in cloud.ranges] == before
        assert receiver.lane(one.lane) == [5, 8, 11]
        assert receiver.lane(two.lane) == [5, 6, 7]
        await log.close()
        log = await opened(tmp_path)  # ids of lanes are never given out again
        cloud = await (await Consumers.load(log)).open("cloud")
        assert (await cloud.owe("replay-{id}", 1, 1)).lane not in (one.lane, two.lane)
        await log.close()

    asyncio.run(story())


def test_a_replay_at_the_speed_of_the_recording_goes_in_slices(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await opened(tmp_path), Receiver()
        for n in range(4):
            await acknowledged(log, reading(n), reading(n))
            await asyncio.sleep(0.3)
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0)
            lane = (await cloud.owe("replay-{id}", 1, 8, speed=50.0)).lane
            slow = (await cloud.owe("replay-{id}", 1, 8, speed=1.0)).lane
            await until(lambda: cloud.lag == 0)
        assert [offsets for name, _, _, offsets in receiver.sent if name == lane] == [list(range(1, 9))]
        assert [offsets for name, _, _, offsets in receiver.sent if name == slow] == [[1, 2], [3, 4], [5, 6], [7, 8]]
        await log.close()

    asyncio.run(story())


def test_a_batch_sent_again_after_a_crash_is_the_same(tmp_path: Path) -> None:
    """An image of the disk is taken while each batch is under way: what a power cut at that moment leaves."""

    async def story() -> None:
        log, receiver = await filled(tmp_path / "log", 95), Receiver()
        receiver.fixed_batches = True
        images: list[tuple[Path, tuple[str, int, int, list[int]]]] = []

        async def crash(batch: Batch) -> None:
            image = tmp_path / f"image-{len(images)}"
            shutil.copytree(log.folder, image)
            images.append((image, receiver.sent[-1]))
            if len(images) < 5:  # what arrives meanwhile must not change what is sent
                await acknowledged(log, *(reading(n) for n in range(7)))

        receiver.on_send = crash
        async with forwarding(log, receiver) as cloud:
            await until(lambda: len(images) >= 5)
            await until(lambda: cloud.lag == 0)
        await log.close()
        assert {sent[0] for _, sent in images} == {"live", "backlog"}
        for image, sent in images:
            log, again = await opened(image), Receiver()
            again.fixed_batches = True
            # neither another batch size nor another selection changes what is under way
            async with forwarding(log, again, batch=7, types=["*"], sources=["plant/air-1"]) as cloud:
                await until(lambda: cloud.lag == 0)
            assert sent in again.sent
            await log.close()

    asyncio.run(story())


def test_events_that_were_given_up_while_under_way_cost_no_others(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await opened(tmp_path), Receiver()
        for _ in range(3):
            await acknowledged(log, *(reading(n) for n in range(10)))
        cloud = await (await Consumers.load(log)).open("cloud")
        live = cloud.owed("live")
        assert live is not None
        await cloud.fix(live, Flight([10], Globs(["reading"], ["*"])))
        log.append([], also=[("delete from block where lo = 1", ())], wait=False)
        await log.close()
        log = await opened(tmp_path)
        receiver.fixed_batches = True
        async with forwarding(log, receiver, order="strict") as cloud:
            await until(lambda: cloud.lag == 0)
        assert [offset for _, offset in receiver.taken] == list(range(11, 31))
        await log.close()

    asyncio.run(story())


def test_without_fixed_batches_nothing_is_written_before_a_send(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 100), Receiver()
        commits = log.figures.commits
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0)
        assert log.figures.commits - commits <= 3  # the new consumer, the split, positions
        await log.close()

    asyncio.run(story())


def rejected(events: list[Event]) -> list[dict[str, object]]:
    return [one.data for one in events if one.type == "rejected"]


def test_what_is_refused_becomes_a_dead_letter_and_its_neighbours_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 30), Receiver()
        receiver.refused = {3, 14}
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0 and log.head == 32)
        assert receiver.lane("backlog") == [n for n in range(1, 31) if n not in (3, 14)]
        letters = rejected(await log.read(31))
        assert letters[0] == {
            "stage": "deliver",
            "consumer": "cloud",
            "reason": "refused",
            "detail": "too long",
            "permanent": True,
            "attempts": 1,
            "offset": 3,
        }
        assert [one["offset"] for one in letters] == [3, 14]
        assert [one.cause for one in await log.read(31)] == [3, 14]
        await log.close()

    asyncio.run(story())


def test_what_is_left_open_is_sent_again_one_by_one_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 30), Receiver()
        receiver.open = {5: 3, 6: 1, 25: 1}
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0)
        lanes = sorted(
            {lane for lane, _ in receiver.taken if lane.startswith("retry-")}, key=lambda lane: receiver.lane(lane)
        )
        assert [receiver.lane(lane) for lane in lanes] == [[5, 6], [25]]  # 6 waited for 5
        assert sorted(offset for _, offset in receiver.taken) == list(range(1, 31))
        assert rejected(await log.read(1)) == []
        await log.close()

    asyncio.run(story())


def test_after_five_tries_it_is_a_dead_letter(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 30), Receiver()
        receiver.open = {5: 100}
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0 and log.head == 31)
        assert receiver.open == {5: 95}
        (letter,) = rejected(await log.read(1))
        assert (letter["reason"], letter["permanent"], letter["attempts"], letter["offset"]) == (
            "doubtful",
            False,
            5,
            5,
        )
        await log.close()

    asyncio.run(story())


def test_a_receiver_that_takes_nothing_for_a_while_costs_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 30), Receiver()
        receiver.open = dict.fromkeys(range(1, 31), 4)
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0)
        assert receiver.lane("backlog") == list(range(1, 31))  # the same batches, in their lane
        await log.close()

    asyncio.run(story())


def test_it_is_kept_when_what_was_delivered(tmp_path: Path) -> None:
    async def story() -> None:
        log, receiver = await filled(tmp_path, 30), Receiver()
        before = log.clock.now()
        async with forwarding(log, receiver) as cloud:
            await until(lambda: cloud.lag == 0)
        await log.close()
        log = await opened(tmp_path)
        ((consumer, lane, lo, hi, time),) = await log.query("select consumer, lane, lo, hi, time from delivered")
        assert (consumer, lane, lo, hi) == ("cloud", "backlog", 1, 30)
        assert before <= time <= log.clock.now()
        await log.close()

    asyncio.run(story())


def test_a_limit_holds_and_lets_everybody_through() -> None:
    async def story() -> None:
        time = asyncio.get_running_loop().time
        limit, began = Limit(1_000), time()
        await asyncio.gather(*(limit.take(100) for _ in range(4)))
        assert time() - began > 0.29  # the last hundred may begin after three tenths
        await Limit(None).take(1_000_000)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("counts", "at", "rate"),
    [
        ([], 5.0, 0.0),
        ([(0.0, 100)], 0.5, 100.0),  # no more than there were, however short it was
        ([(0.0, 100), (1.0, 100), (2.0, 100)], 4.0, 75.0),
        ([(float(n), 50) for n in range(100)], 99.0, 55.0),
        ([(0.0, 100)], 30.0, 0.0),
    ],
)
def test_a_meter_looks_back_ten_seconds(counts: list[tuple[float, int]], at: float, rate: float) -> None:
    meter = Meter()
    for now, number in counts:
        meter.add(number, now)
    assert meter.rate(at) == pytest.approx(rate)
