"""What could part memory and disk, or leave somebody waiting for ever: a disk that fails at the wrong moment, positions that
overtake each other, a writer that has ended."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.clock import Clock
from gateway.errors import StoreFailed
from gateway.event import Event, event
from gateway.lane import ReadAhead
from gateway.operate import Replay
from gateway.selection import Globs
from gateway.store import compact, rows
from gateway.store.care import Care
from gateway.store.log import Log, Pace
from gateway.store.ranges import Flight
from gateway.store.reader import process
from gateway.store.retention import Limits
from gateway.store.views.keep import Keeper
from tests.parts import stop, until
from tests.store.disk import fail_once
from tests.store.logs import acknowledged, numbers, opened, reading
from tests.store.readers import Doubler, consumer, ranges


async def table(log: Log, sql: str) -> list[Any]:
    await acknowledged(log)
    return await log.query(sql)


@pytest.mark.parametrize("stored", [True, False])
def test_statements_of_a_commit_that_failed_happen_once(stored: bool, tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, reading(1))
        fail_once(log, stored=stored)
        insert = log.append([], also=[("insert into owed (consumer, lane, lo) values ('cloud', 'live', 7)", ())])
        assert insert is not None
        with pytest.raises(StoreFailed):
            await insert
        assert await table(log, "select lo from owed") == [(7,)]
        await log.close()

    asyncio.run(story())


def test_whoever_waits_for_a_writer_that_has_ended_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        ended = asyncio.Event()
        log.on_end = ended.set
        wrong = log.append([reading(1)], also=[("insert into nowhere values (1)", ())])
        assert wrong is not None
        async with asyncio.timeout(10):
            with pytest.raises(StoreFailed):
                await wrong
            await ended.wait()
            late = log.append([reading(2)])
            assert late is not None
            with pytest.raises(StoreFailed):
                await late
        with contextlib.suppress(sqlite3.Error):
            await log.close()

    asyncio.run(story())


def test_a_position_that_was_split_off_is_not_overtaken_by_an_older_one(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        found = await consumer(log)
        await acknowledged(log, *(reading(n) for n in range(10)))
        live = found.owed("live")
        assert live is not None
        found.advance(live, 4)
        found.split()
        await log.close()

        log = await opened(tmp_path)
        found = await consumer(log)
        assert sorted(ranges(found)) == [("backlog", 5, 10), ("live", 11, None)]
        await log.close()

    asyncio.run(story())


@pytest.mark.parametrize("stored", [True, False])
def test_a_processor_that_was_told_no_repeats_nothing(stored: bool, tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(retry=0.5))
        found = await consumer(log, "doubler")
        doubler = Doubler()
        task = asyncio.create_task(process(log, found, doubler))
        await acknowledged(log, *(reading(n) for n in range(10)))
        async with asyncio.timeout(10):
            await log.beyond(19)
            doubler.before = lambda: fail_once(log, stored=stored)
            log.append([reading(10)], wait=False)
            with pytest.raises(StoreFailed):
                await task
            task = asyncio.create_task(process(log, found, Doubler()))
            await log.beyond(21)
        await acknowledged(log)
        await acknowledged(log, reading(11))
        async with asyncio.timeout(10):
            await log.beyond(23)
        doubled = [one for one in await log.read(1) if one.type == "doubled"]
        assert numbers(doubled) == list(range(12))
        await stop(task)
        await log.close()

    asyncio.run(story())


def test_views_count_nothing_twice_though_the_disk_failed_while_they_saved(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(retry=0.5))
        keeper = Keeper(log, await consumer(log, "views"))
        task = asyncio.create_task(keeper.run())
        await acknowledged(log, *(reading(n) for n in range(10)))
        await until(lambda: keeper.position > 10)
        failed = fail_once(log, stored=False)
        await stop(task)  # as if it had failed: it saves on its way out
        task = asyncio.create_task(keeper.run())
        await failed.wait()
        with pytest.raises(StoreFailed):
            await task
        task = asyncio.create_task(keeper.run())
        await until(lambda: keeper.position > 10)
        await stop(task)
        assert await table(log, "select sum(count) from rollup group by width") == [(10,)] * 3
        await log.close()

    asyncio.run(story())


def test_what_comes_while_a_damage_is_read_is_not_passed_over(tmp_path: Path) -> None:
    """The newest block can't be read; while somebody tries, the log goes on."""

    async def story() -> None:
        log = await opened(tmp_path)
        found = await consumer(log, "doubler")
        await acknowledged(log, *(reading(n) for n in range(10)))
        await log.close()
        with contextlib.closing(sqlite3.connect(log.path)) as db:
            db.execute("update block set crc = crc + 1")
            db.commit()

        log = await opened(tmp_path)
        found = await consumer(log, "doubler")
        found.state = b"0 0"
        look = log._pages.run

        async def slow(function: Callable[..., Any], *args: Any) -> Any:
            answer = await look(function, *args)
            if function is rows.read_blocks:
                setattr(log._pages, "run", look)
                await acknowledged(log, reading(10))
            return answer

        setattr(log._pages, "run", slow)
        task = asyncio.create_task(process(log, found, Doubler()))
        await until(lambda: not found.lag and log.head >= 13)
        assert numbers([one for one in await log.read(11) if one.type == "doubled"]) == [10]
        await stop(task)
        await log.close()

    asyncio.run(story())


def picture(n: int) -> Event:
    return event("message", "camera", {"n": n, "payload_base64": Random(n).randbytes(150_000).hex()}, time=n)


def test_pictures_do_not_fill_the_memory_and_reach_their_readers(tmp_path: Path) -> None:
    """A thousand events may be 300 MB: ring, pages and merged blocks are bounded in bytes, too."""

    async def story() -> None:
        log = await opened(tmp_path)
        found = await consumer(log)
        for n in range(70):
            await acknowledged(log, picture(n))
        first = log._ring.first
        assert first
        assert first > 10
        assert len(await log.read(1, 20)) < 20
        merge = await log.look(compact.plan, 1, log.clock.now() + 1)
        assert merge
        assert merge.blocks == 2
        live = found.owed("live")
        assert live is not None
        live.flight = Flight([20, 40], Globs(["*"], ["*"]))
        assert [one.offset for one in await ReadAhead(log, 4_000).of(live)] == list(range(1, 41))
        await log.close()

    asyncio.run(story())


def test_a_replay_needs_a_speed_above_zero() -> None:
    """Its range would stop its forwarder at every start, live events and all."""
    asked = {"consumer": "cloud", "lo": 1, "hi": 2, "types": [], "sources": []}
    assert msgspec.convert({**asked, "speed": 0.5}, Replay).speed == 0.5
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**asked, "speed": 0}, Replay)


def test_blocks_are_not_merged_while_others_are_salvaged_between_them(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        for _ in range(15):
            await acknowledged(log, *(reading(n) for n in range(100)))
        care = Care(log, Limits())
        log.clock = Clock(wall=lambda: time.time_ns() + 3_600_000_000_000, trust=True)
        log.aside = tmp_path / "events.1.damaged"
        await care.merge()
        assert care.merged == 0
        log.aside = None
        await care.merge()
        assert care.merged
        await log.close()

    asyncio.run(story())
