"""Files: whole or not at all, once, and under a name that says what is in them."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from gateway import envelope
from gateway.errors import SinkRefused, SinkUnavailable
from gateway.sink import Identity
from gateway.sinks.file import Config, Sink
from tests.sinks.receivers import batch, plant

first = "plant-7-1f3c0a9e5b7d2468-live-0000000000000000001-0000000000000000003.jsonl"


def sink_to(folder: Path, identity: Identity = plant) -> Sink:
    return Sink(Config(name="upstream", sink="file", folder=str(folder)), identity)


def test_one_file_per_batch(tmp_path: Path) -> None:
    async def story() -> None:
        sink = sink_to(tmp_path)
        await sink.connect()
        await sink.send(batch(1, 3))
        await sink.send(batch(9, 12, "replay-3"))

    asyncio.run(story())
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        first,
        "plant-7-1f3c0a9e5b7d2468-replay-3-0000000000000000009-0000000000000000012.jsonl",
    ]
    lines = (tmp_path / first).read_bytes().splitlines()
    assert lines == [envelope.structured(one, plant, "live") for one in batch(1, 3).events]


def test_a_batch_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / first).write_bytes(b"done\n")

    async def story() -> None:
        sink = sink_to(tmp_path)
        await sink.connect()
        await sink.send(batch(1, 3))

    asyncio.run(story())
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(first, b"done\n")]


def test_power_cut_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut() -> None:
        sink = sink_to(tmp_path)
        await sink.connect()
        monkeypatch.setattr(os, "fsync", broken(errno.EIO))
        with pytest.raises(SinkUnavailable):
            await sink.send(batch(1, 3))
        monkeypatch.undo()

    asyncio.run(cut())
    assert [file.name for file in tmp_path.iterdir()] == [f".{first}.part"]
    of_others = tmp_path / ".elsewhere-0-live-1-2.jsonl.part"
    of_others.touch()

    async def again() -> None:
        sink = sink_to(tmp_path)
        await sink.connect()
        assert [file.name for file in tmp_path.iterdir()] == [of_others.name]
        await sink.send(batch(1, 3))

    asyncio.run(again())
    assert sorted(file.name for file in tmp_path.iterdir()) == [of_others.name, first]


def test_a_gateway_cannot_name_itself_out_of_the_folder(tmp_path: Path) -> None:
    async def story() -> None:
        sink = sink_to(tmp_path / "in", Identity("../../etc/x", 1))
        await sink.connect()
        await sink.send(batch(1, 3, "../replay"))

    (tmp_path / "in").mkdir()
    asyncio.run(story())
    (name,) = (file.name for file in (tmp_path / "in").iterdir())
    assert name.startswith("..%2F..%2Fetc%2Fx-0000000000000001-..%2Freplay-")


def broken(code: int) -> object:
    """A system call that fails."""

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.ENOSPC, SinkUnavailable, "No space left on device: make room, or see to the disk"),
        (errno.EIO, SinkUnavailable, "Input/output error: make room, or see to the disk"),
        (errno.EACCES, SinkRefused, "Permission denied: let Redcar write there, or change folder"),
        (errno.EROFS, SinkRefused, "Read-only file system: let Redcar write there, or change folder"),
    ],
)
def test_disk_troubles(
    code: int, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        sink = sink_to(tmp_path)
        await sink.connect()
        monkeypatch.setattr(os, "fsync", broken(code))
        with pytest.raises(kind) as caught:
            await sink.send(batch(1, 3))
        assert str(caught.value) == f"{tmp_path}: {message}"
        monkeypatch.undo()
        await sink.send(batch(1, 3))

    asyncio.run(story())
    assert [file.name for file in tmp_path.iterdir()] == [first]


def test_a_folder_that_is_missing_or_none(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(SinkUnavailable, match="missing doesn't exist: mount it, or make it"):
            await sink_to(tmp_path / "missing").connect()
        (tmp_path / "file").touch()
        with pytest.raises(SinkRefused, match="Not a directory: let Redcar write there, or change folder"):
            await sink_to(tmp_path / "file").connect()

    asyncio.run(story())
