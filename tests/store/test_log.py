"""The log: order, acknowledgement, pacing, reading back, and what a crash leaves."""

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from gateway.errors import StoreLocked, StoreNewer
from gateway.store import files
from gateway.store import log as store_log
from gateway.store.log import Log, Pace
from gateway.store.pace import enough, few
from gateway.store.rows import offset_at
from tests.store.logs import acknowledged, numbers, opened, reading


def test_acknowledged_means_on_disk(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, *(reading(n) for n in range(10)))
        # another process, another connection: it can see only what is committed
        with sqlite3.connect(f"file:{log.path}?mode=ro", uri=True) as other:
            assert other.execute("select sum(count) from block").fetchone() == (10,)
        assert log.head == 10
        await log.close()

    asyncio.run(story())


def test_nothing_is_visible_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        done = log.append([reading(1)])
        assert done is not None
        assert not done.done()
        assert log.head == 0
        assert await log.read(1) == []
        await done
        assert numbers(await log.read(1)) == [1]
        await log.close()

    asyncio.run(story())


def test_offsets_follow_the_order_of_appends_over_many_commits(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=0.0))
        waiting = []
        for n in range(500):
            waiting.append(log.append([reading(n)], wait=n % 2 == 0))
            if n % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*(done for done in waiting if done is not None))
        await acknowledged(log, reading(500))
        events = await log.read(1)
        assert numbers(events) == list(range(501))
        assert [one.offset for one in events] == list(range(1, 502))
        assert log.figures.commits < 300  # arrivals pile up while one commit runs; the next takes them all
        await log.close()

    asyncio.run(story())


async def first(log: Log) -> None:
    """The first commit begins at once; from it on the pace counts."""
    await acknowledged(log, reading(0))


FOR_EVER = 3_600.0


@pytest.mark.parametrize("window", [few, 20, enough - 1])
def test_who_waits_for_us_does_not_wait_for_the_pace(tmp_path: Path, window: int) -> None:
    """A client with so many in flight sends the next when these are acknowledged: nothing more comes before."""

    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=FOR_EVER))
        await first(log)
        for _ in range(3):
            async with asyncio.timeout(10):
                await asyncio.gather(*(acknowledged(log, reading(n)) for n in range(window)))
        assert log.figures.commits == 4
        await log.close()

    asyncio.run(story())


def test_less_than_a_few_wait_for_company(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=FOR_EVER, quiet=0.0))
        await first(log)
        waiting = [log.append([reading(n)]) for n in range(few - 1)]
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert log.figures.commits == 1
        waiting.append(log.append([reading(few)]))
        async with asyncio.timeout(10):
            await asyncio.gather(*(done for done in waiting if done))
        assert log.figures.commits == 2
        await log.close()

    asyncio.run(story())


def test_rows_without_events_wait_for_the_pace(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=FOR_EVER, quiet=0.0))
        await first(log)
        done = log.append([], also=[("insert into meta values ('a', 1)", ())])
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert log.figures.commits == 1
        await log.close()
        assert done is not None
        assert done.done()

    asyncio.run(story())


def test_enough_do_not_wait_whether_more_may_come(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=FOR_EVER, quiet=FOR_EVER))
        await first(log)
        waiting = [log.append([reading(n)]) for n in range(enough)]
        async with asyncio.timeout(10):
            await asyncio.gather(*(done for done in waiting if done))
        assert log.figures.commits == 2
        await log.close()

    asyncio.run(story())


def test_the_loop_dozes_where_senders_go_on_without_being_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=0.1, quiet=0.01))
        dozed: list[float] = []
        monkeypatch.setattr(store_log, "doze", dozed.append)
        for n in range(10):  # one at a time, each acknowledged before the next
            await acknowledged(log, *(reading(n) for _ in range(few)))
        assert dozed == []
        sending = True

        async def send() -> None:
            while sending:
                log.append([reading(0)])
                await asyncio.sleep(0.001)

        sender = asyncio.create_task(send())
        async with asyncio.timeout(30):
            while not dozed:
                await asyncio.sleep(0.01)
            assert all(0 < seconds <= log.pace.doze for seconds in dozed)
            # who reads old pages needs the loop
            monkeypatch.setattr(Log, "catching_up", property(lambda log: True, lambda log, value: None), raising=False)
            await log.beyond(log.head)
            dozed.clear()
            for _ in range(3):
                await log.beyond(log.head)
        assert dozed == []
        sending = False
        await sender
        await log.close()

    asyncio.run(story())


def test_closing_waits_for_no_company(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=FOR_EVER))
        await first(log)
        done = log.append([reading(1)])
        await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            await log.close()
        assert done is not None
        assert done.done()

    asyncio.run(story())


def test_what_nobody_waits_for_is_stored_too(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        assert log.append([reading(1)], wait=False) is None
        await asyncio.wait_for(log.beyond(0), 5)
        assert numbers(await log.read(1)) == [1]
        log.append([reading(2)], wait=False)
        await log.close()  # closing commits what is pending
        log = await opened(tmp_path)
        assert numbers(await log.read(1)) == [1, 2]
        await log.close()

    asyncio.run(story())


def test_reading_from_memory_and_from_disk_is_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, ring=100)
        for start in range(0, 2_500, 250):
            await acknowledged(log, *(reading(n) for n in range(start, start + 250)))
        for lo, hi, limit in [
            (1, None, 1_000),
            (1, 10, 1_000),
            (2_300, None, 50),
            (2_499, None, 9),
            (1_000, 2_450, 5_000),
        ]:
            events = await log.read(lo, hi, limit)
            last = min(hi or 2_500, lo + limit - 1)
            assert [one.offset for one in events] == list(range(lo, last + 1))
            assert numbers(events) == [one.offset - 1 for one in events]
        assert await log.read(2_501) == []
        await log.close()

    asyncio.run(story())


def test_one_commit_of_thousands_becomes_several_blocks(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, *(reading(n) for n in range(2_345)))
        assert await log.query("select lo, count from block") == [(1, 1_000), (1_001, 1_000), (2_001, 345)]
        assert numbers(await log.read(990, limit=30)) == list(range(989, 1_019))
        await log.close()

    asyncio.run(story())


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, reading(1), reading(2))
        epoch = log.epoch
        await log.close()
        log = await opened(tmp_path)
        assert (log.epoch, log.head) == (epoch, 2)
        await acknowledged(log, reading(3))
        assert [one.offset for one in await log.read(1)] == [1, 2, 3]
        await log.close()

    asyncio.run(story())


def test_events_and_their_statements_are_one_transaction(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await log.store([reading(1)], also=[("insert into meta values ('a', ?)", (1,))])
        log.lazily("k", ("insert or replace into meta values ('b', ?)", (1,)))
        log.lazily("k", ("insert or replace into meta values ('b', ?)", (2,)))
        await log.close()
        log = await opened(tmp_path)
        assert await log.query("select key, value from meta where key in ('a', 'b') order by key") == [
            ("a", 1),
            ("b", 2),
        ]
        await log.close()

    asyncio.run(story())


def test_what_is_lazy_is_written_though_nothing_else_comes(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await acknowledged(log, reading(1))
        await asyncio.sleep(0)  # the writer waits for work now
        log.lazily("k", ("insert into meta values ('lazy', 1)", ()))
        async with asyncio.timeout(10):
            while not await log.query("select 1 from meta where key = 'lazy'"):
                await asyncio.sleep(0.05)
        await log.close()

    asyncio.run(story())


def test_full_says_when_senders_should_wait(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, queue=10_000)
        said: asyncio.Queue[bool] = asyncio.Queue()
        log.on_room = lambda: said.put_nowait(log.full)
        for n in range(200):
            log.append([reading(n)], wait=False)
        assert log.full
        assert not await asyncio.wait_for(said.get(), 5)
        await log.close()

    asyncio.run(story())


def test_rows_that_come_with_events_count_as_well(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, queue=10_000)
        log.append([reading(1)], also=[("insert into meta values ('large', ?)", (b"x" * 10_001,))], wait=False)
        assert log.full
        await log.close()

    asyncio.run(story())


def test_time_finds_its_offset(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path, pace=Pace(pace=0.0))
        for n in range(40):
            await acknowledged(log, reading(n), reading(n))
        events = await log.read(1)
        with files.open_to_read(log.path) as db:
            for one in events:
                first = next(other.offset for other in events if other.recorded >= one.recorded)
                assert offset_at(db, one.recorded) == first
            assert offset_at(db, 0) == 1
            assert offset_at(db, events[-1].recorded + 1) == 81
        await log.close()

    asyncio.run(story())


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        with pytest.raises(
            StoreLocked, match="another redcar is running on this log: stop it first, or use another folder"
        ):
            await opened(tmp_path)
        await log.close()

    asyncio.run(story())


def test_a_log_of_a_newer_redcar_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        await log.close()
        with sqlite3.connect(log.path) as db:
            db.execute("pragma user_version = 999")
        with pytest.raises(StoreNewer, match=r"version 999, this redcar knows up to \d+: upgrade redcar"):
            await opened(tmp_path)

    asyncio.run(story())


def test_others_can_not_read_the_files(tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path / "data")
        await acknowledged(log, reading(1))
        for found in (tmp_path / "data").iterdir():
            assert stat.S_IMODE(os.stat(found).st_mode) & 0o077 == 0, found
        await log.close()

    asyncio.run(story())
