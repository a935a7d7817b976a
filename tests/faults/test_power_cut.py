"""The power goes: what was synced is there, of the rest anything may be. Hundreds of such states, each opened by the real log.

SQLite asked to sync less runs beside it and must be caught: a checker that finds nothing wrong there checks nothing.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

from tests.faults import promises, record

root = Path(__file__).parent.parent.parent
memory = Path("/dev/shm")
"""States are laid out here: a sync costs nothing there, and everything is read back at once."""

seed = int(os.environ.get("REDCAR_SEED") or SystemRandom().randrange(1_000_000))


def recorded(folder: Path, rounds: int, synchronous: str = "full") -> list[record.Step]:
    """What a worker did to the disk."""
    command = [sys.executable, "-m", "tests.faults.worker", str(folder / "data"), str(rounds), synchronous]
    (folder / "data").mkdir()
    done = subprocess.run(
        [*record.recorder(folder / "record"), *command], cwd=root, capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    made = record.steps(folder / "record", folder / "data")
    assert b"".join(one.data for one in made if one.kind == "said") == done.stdout
    return made


def broken(made: Iterable[record.Step], rng: Random, count: int, origin: Path) -> list[list[str]]:
    """The promises that each of so many power cuts broke."""
    found = []
    for said, left in record.cuts(made, rng, count):
        with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            for path, content in left.items():
                (Path(folder) / Path(path).relative_to(origin)).write_bytes(content)
            found.append(promises.faults(Path(folder), said))
    return found


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    print(f"REDCAR_SEED={seed} repeats these states of that record")
    made = recorded(tmp_path, 130)
    found = broken(made, Random(seed), 100, tmp_path / "data")
    assert [one for one in found if one] == []


def test_fewer_syncs_lose_what_was_acknowledged_and_this_notices(tmp_path: Path) -> None:
    made = recorded(tmp_path, 60, "normal")
    found = broken(made, Random(seed), 30, tmp_path / "data")
    assert any(fault.startswith("lost") for one in found for fault in one)


def test_no_syncs_ruin_the_file_and_this_notices(tmp_path: Path) -> None:
    made = recorded(tmp_path, 60, "off")
    found = broken(made, Random(seed), 30, tmp_path / "data")
    assert any(one for one in found)


def test_the_folder_of_a_new_log_is_synced_into_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.worker", str(tmp_path / "new" / "data"), "1"]
    (tmp_path / "new").mkdir()
    subprocess.run([*record.recorder(tmp_path / "record"), *command], cwd=root, timeout=60, check=True)
    made = record.steps(tmp_path / "record", tmp_path / "new")
    synced = made.index(record.Step("sync", str(tmp_path / "new")))
    assert synced < next(n for n, one in enumerate(made) if one.data.startswith(b"acknowledged"))
