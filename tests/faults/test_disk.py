"""The disk fails: full, read-only, erring, slow. What was acknowledged is there, what wasn't was said so, and it goes on."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.store import files
from gateway.store.rows import head_of, read_blocks
from tests.parts import need

root = Path(__file__).parent.parent.parent
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root: sudo make test")


class Writer:
    """A writing process, and what it said."""

    def __init__(self, folder: Path, *options: object, under: list[str] | None = None) -> None:
        command = [*(under or []), sys.executable, "-m", "tests.faults.writer", str(folder), *map(str, options)]
        self.process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.strip())

    def until(self, wanted: str, times: int = 1, within: float = 40.0) -> None:
        """Wait until it has said something beginning like that so many times more."""
        end = time.monotonic() + within
        while times:
            try:
                line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"it never said {wanted!r}, but {self.said[-5:]}") from None
            self.said.append(line)
            times -= line.startswith(wanted)

    def numbers(self, word: str) -> set[int]:
        return {int(line.split()[1]) for line in self.said if line.startswith(word + " ")}

    def stop(self) -> str:
        """Let it close; gives its log."""
        assert self.process.stdin
        assert self.process.stderr
        self.process.stdin.close()
        self._listener.join(40)
        errors = self.process.stderr.read()
        self.process.wait(40)
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return errors

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is self.process.stdout:
                self._listener.join(10)
            assert pipe
            pipe.close()


@contextmanager
def writing(folder: Path, *options: object, under: list[str] | None = None) -> Iterator[Writer]:
    writer = Writer(folder, *options, under=under)
    try:
        yield writer
    finally:
        writer.end()


def stored(folder: Path) -> list[int]:
    """Numbers in the log, as often as they are there; the offsets rise without a hole."""
    with closing(files.open_to_read(folder / files.name)) as db:
        events = read_blocks(db, 1, head_of(db), 10_000_000)
    assert [one.offset for one in events] == list(range(1, len(events) + 1))
    return [one.data["n"] for one in events if one.source == "plant/air"]


def check(writer: Writer, folder: Path, batch: int = 10) -> None:
    """Whatever was acknowledged is there, in order and once."""
    numbers = stored(folder)
    there = set(numbers)
    for number in writer.numbers("acknowledged"):
        assert {number * batch + n for n in range(batch)} <= there, f"batch {number} was acknowledged and is gone"
    assert numbers == sorted(there)


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def strace(*inject: str) -> list[str]:
    calls = ",".join(sorted({one.split(":")[0] for one in inject}))
    options = [f"-einject={one}" for one in inject]
    return [need("strace", "strace"), "-f", "-qq", "-o", "/dev/null", f"-etrace={calls}", *options]


def test_a_sync_that_fails_once_is_never_acknowledged_and_nothing_is_lost(tmp_path: Path) -> None:
    with writing(tmp_path, under=strace("fdatasync:error=EIO:when=40")) as writer:
        writer.until("acknowledged", 5)
        writer.until("failing")
        writer.until("well")
        writer.until("acknowledged", 20)
        assert "the disk fails (disk I/O error): nothing is acknowledged" in writer.stop()
    assert writer.numbers("refused")
    assert not writer.numbers("refused") & writer.numbers("acknowledged")
    check(writer, tmp_path)


def test_a_disk_that_goes_on_failing_is_tried_again(tmp_path: Path) -> None:
    with writing(tmp_path, under=strace("fdatasync:error=EIO:when=40..52")) as writer:
        writer.until("failing")
        writer.until("well")
        writer.until("acknowledged", 20)
        log = writer.stop()
    assert log.count("the disk fails") == 1  # said once, not at every try
    assert log.count("the disk takes events again") == 1
    check(writer, tmp_path)


def test_writing_that_fails_is_survived_too(tmp_path: Path) -> None:
    with writing(tmp_path, under=strace("pwrite64:error=EIO:when=100..130")) as writer:
        writer.until("failing")
        writer.until("well")
        writer.until("acknowledged", 20)
        writer.stop()
    check(writer, tmp_path)


def test_a_slow_disk_costs_latency_and_no_memory(tmp_path: Path) -> None:
    with writing(tmp_path, 2_000, under=strace("fdatasync:delay_enter=500ms")) as writer:
        writer.until("acknowledged", 6)
        status = Path(f"/proc/{writer.process.pid}/task/{writer.process.pid}/children").read_text().split()
        resident = int(
            next(
                line for line in Path(f"/proc/{status[0]}/status").read_text().splitlines() if line.startswith("VmHWM")
            ).split()[1]
        )
        writer.stop()
    assert resident < 120_000  # kB; 20 batches outstanding, each of 2,000 events
    check(writer, tmp_path, 2_000)


@as_root
def test_a_full_disk_stops_acknowledging_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as disk:
        with writing(disk / "data", 100, 0.2, 500_000) as writer:
            writer.until("acknowledged", 3)
            assert (disk / "data" / "ballast").stat().st_size == 500_000
            filler = disk / "filler"
            room = os.statvfs(disk)
            filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize - 100_000))
            writer.until("full")
            assert not (disk / "data" / "ballast").exists()
            time.sleep(0.7)
            filler.unlink()
            writer.until("well")
            writer.until("acknowledged", 10)
            assert "there is; free some space" in writer.stop()
        check(writer, disk / "data", 100)


@as_root
def test_a_disk_without_any_room_for_its_whole_life_loses_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        with writing(disk / "data", 100) as writer:
            writer.until("full")
            time.sleep(0.5)
            log = writer.stop()
        assert "no room on the disk" in log
        check(writer, disk / "data", 100)


@as_root
def test_a_file_system_that_goes_read_only_is_the_same_as_a_failed_sync(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32_000_000)
    subprocess.run([need("mkfs.ext4", "e2fsprogs"), "-q", str(image)], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk:
        with writing(disk / "data") as writer:
            writer.until("acknowledged", 5)
            subprocess.run(["mount", "-o", "remount,abort", str(disk)], check=False)
            writer.until("failing")
            writer.stop()
        assert writer.numbers("refused")
        for line in writer.said[writer.said.index("failing") :]:
            assert not line.startswith("acknowledged")
        check(writer, disk / "data")
