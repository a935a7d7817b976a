"""What a log goes through, and what it says of it: moved cards, unclean stops, old versions, full memory."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.clock import Clock
from gateway.errors import StoreNewer
from gateway.event import event
from gateway.store import backup, files, migrate, opening
from gateway.store.care import Care
from gateway.store.log import Log
from gateway.store.retention import Limits
from tests.parts import stop
from tests.store.logs import came, everything, fill, filled, reading, with_log


def test_a_copied_card_begins_a_new_epoch(tmp_path: Path) -> None:
    async def first(log: Log) -> None:
        epochs.append(log.epoch)
        await fill(log, 100)

    async def moved(log: Log) -> None:
        epochs.append(log.epoch)
        told = await came(log, "log.moved")
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
        told = await came(log, "log.checked")
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
        gap = await came(log, "gap")
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
