"""Damage, copies, moved cards, unclean stops, old versions: what a log goes through, and what it says of it."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.clock import Clock
from gateway.errors import StoreLocked, StoreNewer
from gateway.event import Event, event
from gateway.store import backup, files, migrate, opening
from gateway.store.care import Care
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from gateway.store.retention import Limits
from gateway.store.salvage import salvage
from tests.parts import stop
from tests.store.logs import everything, reading

Check = Callable[[Log], Awaitable[object]]


def with_log(folder: Path, check: Check, machine: str = "here") -> None:
    """Open, run a check, close."""

    async def story() -> None:
        log = await Log.open(folder, Clock(trust=True), pace=Pace(0.0, 0.0), ring=100, machine=machine)
        try:
            await check(log)
        finally:
            await log.close()

    asyncio.run(story())


async def fill(log: Log, count: int, batch: int = 100) -> None:
    for start in range(0, count, batch):
        await log.store([reading(n) for n in range(start, start + batch)])


async def until(log: Log, type: str) -> Event:
    for _ in range(500):
        for one in await everything(log):
            if one.type == type:
                return one
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {type} came")


def filled(folder: Path, count: int = 1_000) -> None:
    async def check(log: Log) -> None:
        await fill(log, count)

    with_log(folder, check)


def damage(path: Path, marker: bytes, replacement: bytes) -> None:
    """Change bytes of the file itself, as a card does."""
    assert len(marker) == len(replacement)
    data = path.read_bytes()
    assert marker in data
    path.write_bytes(data.replace(marker, replacement, 1))


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
        gap = await until(log, "gap")
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
        gap = await until(log, "gap")
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
        told = await until(log, "log.damaged")
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
        assert (await until(log, "log.salvaged")).data["events"] == len(old)

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


def test_a_copied_card_begins_a_new_epoch(tmp_path: Path) -> None:
    async def first(log: Log) -> None:
        epochs.append(log.epoch)
        await fill(log, 100)

    async def moved(log: Log) -> None:
        epochs.append(log.epoch)
        told = await until(log, "log.moved")
        assert told.offset == 101
        assert told.data == {
            "machine": "board 1",
            "epoch": f"{epochs[0]:x}",
            "now": "board 2",
            "now_epoch": f"{epochs[1]:x}",
        }

    async def stays(log: Log) -> None:
        epochs.append(log.epoch)
        assert log.head == 101

    epochs: list[int] = []
    with_log(tmp_path, first, "board 1")
    with_log(tmp_path, moved, "board 2")
    with_log(tmp_path, stays, "board 2")
    assert epochs[0] != epochs[1] == epochs[2]


def test_this_machine_has_a_name_that_stays() -> None:
    assert opening.machine() == opening.machine() != ""


def test_a_log_that_was_not_closed_is_checked(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / files.name, isolation_level=None)) as db:
        db.execute(*files.kept("clean", 0))

    async def check(log: Log) -> None:
        assert not log.clean
        care = asyncio.create_task(Care(log, Limits()).run())
        told = await until(log, "log.checked")
        assert (told.data["result"], told.data["found"]) == ("sound", [])
        await stop(care)

    async def closed(log: Log) -> None:
        assert log.clean

    with_log(tmp_path, check)
    with_log(tmp_path, closed)


def test_a_check_has_a_budget(tmp_path: Path) -> None:
    filled(tmp_path, 5_000)
    with closing(files.open_to_read(tmp_path / files.name)) as db:
        assert files.quick_check(db, 30.0, lambda: 0.0) == []
        for _ in range(3):
            assert files.quick_check(db, 1.0, lambda: 2.0) in (None, [])
        assert db.execute("select count(*) from block").fetchone() == (50,)  # the connection is as good as before


def test_a_backup_beside_a_running_log_holds_what_was_acknowledged(tmp_path: Path) -> None:
    async def check(log: Log) -> None:
        await fill(log, 500)
        await asyncio.to_thread(backup.backup, tmp_path / "data", tmp_path / "copy.db")
        await fill(log, 100)

    with_log(tmp_path / "data", check)
    copy = backup.verified(tmp_path / "copy.db")
    assert (copy.events, copy.head) == (500, 500)
    with pytest.raises(backup.Refused, match="is there already: name another file"):
        backup.backup(tmp_path / "data", tmp_path / "copy.db")


def test_a_restored_log_is_never_taken_for_the_old_one(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy.db"

    async def first(log: Log) -> None:
        epochs.append(log.epoch)
        await fill(log, 500)
        await asyncio.to_thread(backup.backup, data, copy)
        await fill(log, 300)
        with pytest.raises(StoreLocked, match="another redcar is running on this log"):
            backup.restore(data, copy)

    async def restored(log: Log) -> None:
        assert log.epoch != epochs[0]
        told = await until(log, "log.restored")
        assert told.offset == 801  # no number of the old log is used again
        was = f"{epochs[0]:x}"
        assert told.data == {"copy": {"epoch": was, "last": 500}, "previous": {"epoch": was, "last": 800}}
        assert [one.offset for one in await everything(log) if one.type == "reading"] == list(range(1, 501))

    epochs: list[int] = []
    with_log(data, first)
    made, aside = backup.restore(data, copy)
    assert made.head == 500
    assert aside is not None
    with_log(data, restored)
    with closing(files.open_to_read(aside)) as db:
        assert db.execute("select sum(count) from block").fetchone() == (800,)


def test_a_copy_in_the_place_of_a_damaged_log_is_not_taken_for_damaged(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    filled(data)
    backup.backup(data, copy)
    (data / "damaged").touch()  # as the writer leaves it when SQLite says that the file is malformed
    backup.restore(data, copy)

    async def restored(log: Log) -> None:
        assert log.aside is None
        await until(log, "log.restored")
        assert not [one for one in await everything(log) if one.type == "log.damaged"]

    with_log(data, restored)


def test_a_copy_is_not_mixed_with_what_waits_to_be_salvaged(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    filled(data)
    backup.backup(data, copy)
    (data / "damaged").touch()
    with_log(data, lambda log: fill(log, 100))
    with pytest.raises(backup.Refused, match=r"damaged isn't salvaged yet: let redcar repair do that first, or move"):
        backup.restore(data, copy)

    async def salvaged(log: Log) -> None:
        await salvage(log, await Consumers.load(log), asyncio.sleep)

    with_log(data, salvaged)
    backup.restore(data, copy)


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


def test_a_damaged_copy_is_not_restored(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    backup.backup(tmp_path / "data", tmp_path / "copy.db")
    damage(tmp_path / "copy.db", b'"n":77', b'"n":78')
    with pytest.raises(Exception, match="is damaged: the block at 1 isn't what was written"):
        backup.restore(tmp_path / "data", tmp_path / "copy.db")
    with_log(tmp_path / "data", lambda log: fill(log, 100))


def test_an_older_log_is_migrated_as_a_whole_after_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of the version before: its table of blocks had no ``hi``."""
    filled(tmp_path)
    path = tmp_path / files.name
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("alter table block rename column hi to last_one")

    def step(db: sqlite3.Connection) -> None:
        db.execute("alter table block rename column last_one to hi")
        if fails:
            db.execute("delete from nowhere")

    monkeypatch.setattr(migrate, "version", migrate.version + 1)
    monkeypatch.setitem(migrate.steps, migrate.version - 1, step)
    with closing(files.open_to_read(path)) as db:
        assert migrate.outlook(db) == [migrate.version - 1]
    fails = True
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        with_log(tmp_path, everything)
    with closing(files.open_to_read(path)) as db:  # nothing of it happened
        assert db.execute("select max(last_one) from block").fetchone() == (1_000,)
        assert files.version_of(db) == migrate.version - 1
    fails = False

    async def check(log: Log) -> None:
        assert len(await everything(log)) == 1_000

    with_log(tmp_path, check)
    with closing(files.open_to_read(tmp_path / f"events.v{migrate.version - 1}.backup")) as db:
        assert db.execute("select max(last_one) from block").fetchone() == (1_000,)


def test_a_log_of_the_future_is_refused_by_every_way_in(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    with closing(sqlite3.connect(tmp_path / "data" / files.name)) as db:
        files.set_version(db, 999)
    for way in (
        lambda: with_log(tmp_path / "data", everything),
        lambda: backup.backup(tmp_path / "data", tmp_path / "copy.db"),
    ):
        with pytest.raises(StoreNewer, match="version 999"):
            way()


def test_readings_nobody_waits_for_are_given_up_when_memory_is_full_and_it_is_said(tmp_path: Path) -> None:
    async def story() -> None:
        log = await Log.open(tmp_path, Clock(trust=True), queue=20_000, machine="here")
        for n in range(500):
            log.append([reading(n)], wait=False)
        log.append([event("alarm.raised", "plant/air-1", {"x": 1}, time=1)], wait=False)
        gap = await until(log, "gap")
        events = await everything(log)
        stored = sum(one.type == "reading" for one in events)
        assert stored < 500
        assert gap.data["count"] == sum(gap.data["sources"].values()) == 500 - stored
        assert any(one.type == "alarm.raised" for one in events)
        await log.close()

    asyncio.run(story())


def test_what_meta_says_is_readable(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(files.open_to_read(tmp_path / files.name)) as db:
        meta = dict(db.execute("select key, value from meta").fetchall())
    assert (meta["clean"], meta["mark"], meta["machine"]) == (1, 1_000, "here")
    assert json.loads(meta.get("announced", "[]")) == []


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
