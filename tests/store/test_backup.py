"""Copies of a log, and logs that take another's place."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import StoreLocked
from gateway.store import backup, files
from gateway.store.consumers import Consumers
from gateway.store.log import Log
from gateway.store.salvage import salvage
from tests.store.logs import came, damage, everything, fill, filled, with_log


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
        told = await came(log, "log.restored")
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
        await came(log, "log.restored")
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


def test_a_damaged_copy_is_not_restored(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    backup.backup(tmp_path / "data", tmp_path / "copy.db")
    damage(tmp_path / "copy.db", b'"n":77', b'"n":78')
    with pytest.raises(Exception, match="is damaged: the block at 1 isn't what was written"):
        backup.restore(tmp_path / "data", tmp_path / "copy.db")
    with_log(tmp_path / "data", lambda log: fill(log, 100))
