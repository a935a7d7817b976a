"""Damage: what it costs, what is found again, and that it is said."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.clock import Clock
from gateway.store import files
from gateway.store.care import Care
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from gateway.store.retention import Limits
from gateway.store.salvage import salvage
from tests.store.logs import came, everything, fill, filled, with_log


def test_a_flipped_bit_costs_its_block_and_is_told_once(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / files.name)) as db:
        data = bytearray(db.execute("select data from block where lo = 301").fetchone()[0])
        data[70] ^= 1
        db.execute("update block set data = ? where lo = 301", (bytes(data),))
        db.commit()

    async def read_twice(log: Log) -> None:
        for _ in range(2):
            events = [one for one in await everything(log) if one.type == "reading"]
            assert [one.offset for one in events] == [*range(1, 301), *range(401, 1_001)]
        gap = await came(log, "gap")
        assert gap.data == {"reason": "damaged", "ranges": [[301, 400, 100]], "count": 100}

    async def told_once(log: Log) -> None:
        await everything(log)
        await asyncio.sleep(0.05)
        assert len([one for one in await everything(log) if one.type == "gap"]) == 1

    with_log(tmp_path, read_twice)
    with_log(tmp_path, told_once)


def torn(path: Path) -> None:
    """Make a page of the tree of blocks unreadable: a leaf in the middle of the file."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        page = db.execute("pragma page_size").fetchone()[0]
    data = path.read_bytes()
    leaves = [at for at in range(page, len(data), page) if data[at] == 13 and b'"plant/air-' in data[at : at + page]]
    at = leaves[len(leaves) // 2]
    path.write_bytes(data[:at] + b"\xff" * page + data[at + page :])


def test_a_torn_page_costs_what_is_on_it(tmp_path: Path) -> None:
    async def small(log: Log) -> None:
        await fill(log, 20_000, batch=50)  # too small to be compressed

    with_log(tmp_path, small)
    torn(tmp_path / files.name)

    async def check(log: Log) -> None:
        readings = {one.offset for one in await everything(log) if one.type == "reading"}
        lost = set(range(1, 20_001)) - readings
        assert 0 < len(lost) <= 1_000
        gap = await came(log, "gap")
        told = {n for lo, hi, _ in gap.data["ranges"] for n in range(lo, hi + 1)}
        assert lost <= told | {n for lo, hi in log.lost for n in range(lo, hi + 1)}

    with_log(tmp_path, check)


@pytest.mark.parametrize("ruined", ["header", "schema", "half"])
def test_a_log_that_cannot_be_opened_is_set_aside_and_a_new_epoch_begins(tmp_path: Path, ruined: str) -> None:
    async def before(log: Log) -> None:
        epochs.append(log.epoch)
        consumers = await Consumers.load(log)
        consumer = await consumers.open("upstream")
        await fill(log, 3_000)
        live = consumer.owed("live")
        assert live is not None
        consumer.advance(live, 2_500)

    async def after(log: Log) -> None:
        assert log.epoch != epochs[0]
        aside = log.aside
        assert aside is not None
        await fill(log, 10, batch=10)  # taken at once, before anything is salvaged
        consumers = await Consumers.load(log)
        consumer = await consumers.open("upstream")
        told = await came(log, "log.damaged")
        assert told.offset == log.first
        assert told.offset > 3_000
        await salvage(log, consumers, asyncio.sleep)
        assert log.aside is None
        events = await everything(log)
        assert [one.offset for one in events] == sorted({one.offset for one in events})
        old = [one for one in events if one.offset <= 3_000]
        assert [one.data["n"] % 100 for one in old] == [(one.offset - 1) % 100 for one in old]
        gone = 3_000 - len(old)
        gaps = [one for one in events if one.type == "gap"]
        if ruined != "half":
            assert gone == 0
        if ruined == "schema":
            assert consumer.owed("backlog") is not None
            assert {(one.lane, one.lo) for one in consumer.ranges} == {("live", log.first), ("backlog", 2_501)}
        if ruined == "half":
            assert 0 < gone < 2_000
        known = sum(one.data["count"] for one in gaps)
        if ruined == "schema":
            assert not gaps
        else:  # nobody knows how far it went: the gap says up to where it is known
            assert gaps[0].data["beyond"] == old[-1].offset
            assert known == old[-1].offset - len(old)
        assert (await came(log, "log.salvaged")).data["events"] == len(old)

    epochs: list[int] = []
    with_log(tmp_path, before)
    path = tmp_path / files.name
    data = path.read_bytes()
    if ruined == "header":
        path.write_bytes(b"\0" * 100 + data[100:])
    elif ruined == "schema":
        (tmp_path / "damaged").touch()  # as the writer leaves it when SQLite says that the file is malformed
    else:
        path.write_bytes(data[: len(data) // 2])
    with_log(tmp_path, after)
    assert list(tmp_path.glob("events.*.damaged.salvaged"))


def test_without_the_inner_pages_of_the_tree_nothing_is_lost(tmp_path: Path) -> None:
    shift = 0

    async def story(folder: Path) -> None:
        nonlocal shift
        clock = Clock(lambda: time.time_ns() + shift, lambda: time.monotonic_ns() + shift, lambda: True, trust=True)
        log = await Log.open(folder, clock, pace=Pace(0.0, 0.0), ring=100, machine="here")
        await fill(log, 5_000, batch=50)
        shift = 3_600 * 10**9
        care = Care(log, Limits())
        await care.merge()  # leaves pages that hold the small blocks of yesterday
        await fill(log, 500, batch=10)
        await log.close()

    asyncio.run(story(tmp_path))
    path = tmp_path / files.name
    data = bytearray(path.read_bytes())
    inner = [at for at in range(1_024, len(data), 1_024) if data[at] == 5]
    assert inner
    for at in inner:
        data[at : at + 1_024] = b"\xff" * 1_024
    path.write_bytes(data)

    async def after(log: Log) -> None:
        assert log.aside is not None
        await salvage(log, await Consumers.load(log), asyncio.sleep)
        events = [one for one in await everything(log) if one.type == "reading"]
        assert [one.offset for one in events] == list(range(1, 5_501))

    with_log(tmp_path, after)


def test_an_interrupted_salvage_begins_anew(tmp_path: Path) -> None:
    filled(tmp_path, 10_000)
    (tmp_path / "damaged").touch()

    async def interrupted(log: Log) -> None:
        async def stop(_: float) -> None:
            raise asyncio.CancelledError

        consumers = await Consumers.load(log)
        with pytest.raises(asyncio.CancelledError):
            await salvage(log, consumers, stop)

    async def again(log: Log) -> None:
        assert log.aside is not None
        await salvage(log, await Consumers.load(log), asyncio.sleep)
        events = [one for one in await everything(log) if one.type == "reading"]
        assert [one.offset for one in events] == list(range(1, 10_001))

    async def once_only(log: Log) -> None:
        assert log.aside is None

    with_log(tmp_path, interrupted)
    with_log(tmp_path, again)
    with_log(tmp_path, once_only)


def test_a_log_that_is_damaged_before_the_one_it_replaced_is_salvaged(tmp_path: Path) -> None:
    """Both are, and then only whoever waits for what they held goes on."""
    filled(tmp_path, 1_000)

    async def twice(log: Log) -> None:
        assert not log.whole.is_set()
        await fill(log, 100)

    async def last(log: Log) -> None:
        await salvage(log, await Consumers.load(log), asyncio.sleep)
        assert log.whole.is_set()
        events = [one for one in await everything(log) if one.type == "reading"]
        assert len(events) == 1_100

    (tmp_path / "damaged").touch()
    with_log(tmp_path, twice)
    (tmp_path / "damaged").touch()
    with_log(tmp_path, last)


@pytest.mark.parametrize("left", ["nothing", "a beginning", "a note"])
def test_a_log_set_aside_by_a_start_that_was_cut_short_is_followed_by_the_next_start(left: str, tmp_path: Path) -> None:
    async def story() -> None:
        log = await Log.open(tmp_path, Clock(), machine="m")
        await fill(log, 300)
        await log.close()
        (tmp_path / "events.db").rename(tmp_path / "events.abc.damaged")
        if left == "a beginning":
            (tmp_path / "beginning").write_bytes(b"half of a log")
        if left == "a note":
            (tmp_path / "damaged").touch()
        for _ in range(2):  # and by none after it
            log = await Log.open(tmp_path, Clock(), machine="m")
            await fill(log, 1)
            assert log.first == 2_000_001  # beyond all that the old one has used
            assert log.aside == tmp_path / "events.abc.damaged"
            await log.close()
        assert not list(tmp_path.glob("beginning*"))
        assert not (tmp_path / "damaged").exists()

    asyncio.run(story())
