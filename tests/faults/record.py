"""What a process asked of the disk, from its own system calls (strace), and what a power cut may leave of that.

A file system promises little: what was written before a file's last sync is there, and names are as they were at the
folder's last sync. Of what came later anything may be there or not, a write may be torn between sectors, and the names may
have gone any part of their way, in order. The words of the process on stdout stand in the same record, so that it is
known what it had promised by then.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from msgspec import Struct, field

from tests.parts import need

sector = 512
"""Bytes a disk writes whole or not at all."""

calls = "openat,pwrite64,write,ftruncate,unlink,rename,fsync,fdatasync"
longest = 100_000
"""Bytes of a write that the record keeps; no write of SQLite is longer than a page."""


class Step(Struct):
    """One system call. ``kind``: make, write, cut, unlink, rename, sync, said."""

    kind: str
    path: str
    data: bytes = b""
    at: int = 0
    to: str = ""
    failed: bool = False


def recorder(record: Path) -> list[str]:
    """Put this before a command to have it recorded."""
    quietly = ["-f", "-qq", "-y", "-xx", "-s", str(longest), "--seccomp-bpf"]
    return [need("strace", "strace"), *quietly, "-o", str(record), f"-etrace={calls}"]


_line = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>(?P<rest>.*)|(?P<call>\w+)\((?P<given>.*))$", re.DOTALL)
_file = re.compile(r"(\d+)<([^>]*)>")
_text = re.compile(r'"([^"]*)"(\.\.\.)?')


def steps(record: Path, folder: Path) -> list[Step]:
    """What happened in the folder, and what was said, in order: a write counts from when it began, a sync from its end."""
    made: list[Step] = []
    known: set[str] = set()
    under_way: dict[str, tuple[str, str, Step | None]] = {}
    for line in record.read_text().splitlines():
        if (found := _line.match(line)) is None:
            continue
        pid = found[1]
        if found["call"] is not None:
            call, given = found["call"], found["given"]
            step = _begun(call, given, str(folder), known)
            if step:
                made.append(step)
            if given.endswith("<unfinished ...>"):
                under_way[pid] = call, given, step
                continue
            ended = given
        else:
            if pid not in under_way:
                continue
            call, given, step = under_way.pop(pid)
            ended = found["rest"]
        failed = " = -1 " in ended[-80:]
        if step:
            step.failed = failed
        elif call in ("fsync", "fdatasync") and not failed:
            made.append(Step("sync", _path_of(given)))
    return [one for one in made if not one.failed and (one.kind == "said" or one.path.startswith(str(folder)))]


def _begun(call: str, given: str, folder: str, known: set[str]) -> Step | None:
    """What counts from the moment a call begins."""
    if call == "openat":
        path = _plain(_text.search(given)[1])  # type: ignore[index]
        if "O_CREAT" not in given or path in known or not path.startswith(folder):
            return None
        known.add(path)
        return Step("make", path)
    if call in ("unlink", "rename"):
        paths = [_plain(text) for text, _ in _text.findall(given)]
        known.discard(paths[0])
        known.update(paths[1:])
        return Step(call, paths[0], to=paths[1] if paths[1:] else "")
    if call == "ftruncate":
        return Step("cut", _path_of(given), at=int(given.split(", ")[1].split(")")[0]))
    if call in ("pwrite64", "write"):
        text = _text.search(given)
        assert text is not None
        assert not text[2], f"longer than {longest} bytes"
        data = bytes.fromhex(text[1].replace("\\x", ""))
        if call == "write":
            return Step("said", "", data) if given.startswith("1<") else None
        return Step("write", _path_of(given), data, int(given[text.end() :].split(", ")[2].split(")")[0]))
    return None


def _path_of(given: str) -> str:
    found = _file.match(given)
    assert found is not None
    return _plain(found[2])


def _plain(text: str) -> str:
    return re.sub(r"\\x(..)", lambda found: chr(int(found[1], 16)), text)


class _Content(Struct):
    """A file: what is certainly on the disk, and what may be there, too."""

    certain: bytearray = field(default_factory=bytearray)
    perhaps: list[Step] = field(default_factory=list)


class Disk:
    """What is on it, step by step."""

    def __init__(self) -> None:
        self._names: dict[str, _Content] = {}
        """As the process sees them."""
        self._certain: dict[str, _Content] = {}
        """As of the folder's last sync."""
        self._perhaps: list[tuple[Step, _Content]] = []
        self.said: list[str] = []

    def take(self, step: Step) -> None:
        """One step on."""
        if step.kind == "said":
            self.said += step.data.decode().splitlines()
        elif step.kind == "make":
            self._names[step.path] = _Content()
            self._perhaps.append((step, self._names[step.path]))
        elif step.kind in ("unlink", "rename"):
            content = self._names.pop(step.path)
            if step.to:
                self._names[step.to] = content
            self._perhaps.append((step, content))
        elif step.kind == "sync" and step.path not in self._names:  # a folder
            self._certain = dict(self._names)
            self._perhaps.clear()
        elif step.path in self._names:
            content = self._names[step.path]
            if step.kind == "sync":
                for one in content.perhaps:
                    _apply(content.certain, one)
                content.perhaps.clear()
            else:
                content.perhaps.append(step)

    def after_a_cut(self, rng: Random) -> dict[str, bytes]:
        """One of the states in which the disk may be when the machine comes back."""
        names = dict(self._certain)
        for step, content in self._perhaps[: rng.randint(0, len(self._perhaps))]:
            names.pop(step.path, None)
            if step.kind != "unlink":
                names[step.to or step.path] = content
        how = rng.choice(("none", "all", "some", "torn", "torn"))
        return {path: bytes(_left(one, how, rng)) for path, one in names.items() if not path.endswith("-shm")}


def _left(content: _Content, how: str, rng: Random) -> bytearray:
    found = bytearray(content.certain)
    if how == "none":
        return found
    if how == "torn":  # some have arrived, in any order, the last of them in part
        some = [one for one in content.perhaps if rng.random() < 0.7]
        for one in some[:-1]:
            _apply(found, one)
        for one in some[-1:]:
            for part in _sectors(one):
                if rng.random() < 0.5:
                    _apply(found, part)
        return found
    for one in content.perhaps:
        if how == "all" or rng.random() < 0.5:
            _apply(found, one)
    return found


def _sectors(step: Step) -> Iterator[Step]:
    if step.kind != "write":
        yield step
        return
    start = step.at
    end = step.at + len(step.data)
    while start < end:
        stop = min(end, (start // sector + 1) * sector)
        yield Step("write", step.path, step.data[start - step.at : stop - step.at], start)
        start = stop


def _apply(found: bytearray, step: Step) -> None:
    if step.kind == "cut":
        del found[step.at :]
        found.extend(bytes(step.at - len(found)))
        return
    if len(found) < step.at:
        found.extend(bytes(step.at - len(found)))
    found[step.at : step.at + len(step.data)] = step.data


def cuts(made: Iterable[Step], rng: Random, count: int) -> Iterator[tuple[list[str], dict[str, bytes]]]:
    """So many power cuts, spread evenly over a record: what had been said by then, and what is left on the disk."""
    made = list(made)
    disk, at = Disk(), 0
    for moment in sorted(rng.randint(1, len(made)) for _ in range(count)):
        for step in made[at:moment]:
            disk.take(step)
        at = moment
        yield list(disk.said), disk.after_a_cut(rng)
