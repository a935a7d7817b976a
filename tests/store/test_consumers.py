"""Consumers: owed ranges, lanes, and positions that move in one transaction with what was made of them."""

import asyncio
from pathlib import Path

from gateway.store.consumers import Consumer, Consumers
from gateway.store.log import Log
from gateway.store.ranges import Range
from gateway.store.reader import process
from tests.parts import stop
from tests.store.logs import acknowledged, numbers, opened, reading
from tests.store.readers import Doubler, consumer, ranges


def live(found: Consumer) -> Range:
    owed = found.owed("live")
    assert owed is not None
    return owed


def test_a_position_survives_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, *(reading(n) for n in range(10)))
        cloud = await consumer(log)
        assert cloud.lag == 10
        cloud.advance(live(cloud), 4)
        assert cloud.lag == 6
        await log.close()
        log = await opened(tmp_path)
        cloud = await consumer(log)
        assert ranges(cloud) == [("live", 5, None)]
        await log.close()

    asyncio.run(story())


def test_an_outage_becomes_backlog_beside_live(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        cloud = await consumer(log)
        await acknowledged(log, *(reading(n) for n in range(10)))
        cloud.split()
        assert sorted(ranges(cloud)) == [("backlog", 1, 10), ("live", 11, None)]
        assert cloud.lanes() == ["live", "backlog"]
        await acknowledged(log, reading(10))
        cloud.advance(live(cloud), 11)
        backlog = cloud.owed("backlog")
        assert backlog is not None
        cloud.advance(backlog, 10)
        assert ranges(cloud) == [("live", 12, None)]
        assert cloud.lag == 0  # nothing owed proves that everything was delivered
        await log.close()
        log = await opened(tmp_path)
        assert ranges(await consumer(log)) == [("live", 12, None)]
        await log.close()

    asyncio.run(story())


def test_replay_owes_a_range_again_without_disturbing_the_others(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, *(reading(n) for n in range(10)))
        cloud = await consumer(log)
        cloud.advance(live(cloud), 10)
        done = cloud.owe("replay", 3, 5)
        assert done is not None
        await done
        assert sorted(ranges(cloud)) == [("live", 11, None), ("replay", 3, 5)]
        assert cloud.lag == 3
        await log.close()

    asyncio.run(story())


def test_a_new_consumer_may_begin_now(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, reading(1))
        found = await (await Consumers.load(log)).open("late", start="now")
        assert ranges(found) == [("live", 2, None)]
        await log.close()

    asyncio.run(story())


async def until_quiet(log: Log, found: Consumer, head: int) -> None:
    async with asyncio.timeout(10):
        while found.lag or log.head < head:
            await asyncio.sleep(0.01)


def test_a_processor_neither_forgets_nor_repeats(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        for start in range(0, 300, 100):
            found = await consumer(log, "doubler")
            task = asyncio.create_task(process(log, found, Doubler()))
            await acknowledged(log, *(reading(n) for n in range(start, start + 50)))
            await asyncio.sleep(0)
            await stop(task)  # anywhere in its work
            await acknowledged(log, *(reading(n) for n in range(start + 50, start + 100)))
            await log.close()
            log = await opened(tmp_path)
        found = await consumer(log, "doubler")
        task = asyncio.create_task(process(log, found, Doubler()))
        await until_quiet(log, found, head=600)
        doubled = [one for one in await log.read(1, limit=5_000) if one.type == "doubled"]
        assert numbers(doubled) == list(range(300))
        assert [one.data["seen"] for one in doubled] == list(range(1, 301))
        await stop(task)
        await log.close()

    asyncio.run(story())


def test_a_processor_whose_state_is_old_sees_the_same_again_and_repeats_nothing(tmp_path: Path) -> None:
    """As after a crash: what was emitted is in the log, the state is that of a minute before."""

    async def story() -> None:
        log = await opened(tmp_path)
        found = await consumer(log, "doubler")
        task = asyncio.create_task(process(log, found, Doubler()))
        await until_quiet(log, found, head=0)
        await acknowledged(log, *(reading(n) for n in range(100)))
        await until_quiet(log, found, head=200)
        first = found.state
        await stop(task)
        await log.close()

        log = await opened(tmp_path)
        found = await consumer(log, "doubler")
        assert found.state == b"100 200"
        assert first == b"0 0"
        found.state = first
        await acknowledged(log, *(reading(n) for n in range(100, 150)))
        task = asyncio.create_task(process(log, found, Doubler()))
        await until_quiet(log, found, head=300)
        doubled = [one for one in await log.read(1, limit=5_000) if one.type == "doubled"]
        assert numbers(doubled) == list(range(150))
        assert [one.data["seen"] for one in doubled] == list(range(1, 151))
        await stop(task)
        await log.close()

    asyncio.run(story())
