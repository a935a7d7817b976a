"""SIGKILL at a given system call of the store: in the middle of a commit, a checkpoint, a trim, a merge, a start, a salvage."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random, SystemRandom

from gateway.store import opening
from gateway.store.backup import backup
from tests.faults import promises
from tests.parts import need

root = Path(__file__).parent.parent.parent


def seeded() -> Random:
    """The same moments again for the same REDCAR_SEED."""
    seed = int(os.environ.get("REDCAR_SEED") or SystemRandom().randrange(1_000_000))
    print(f"REDCAR_SEED={seed} repeats the moments of this run")
    return Random(seed)


def killing(call: str, ordinal: int) -> list[str]:
    """Put this before a command to have it killed when a thread is about to make a call for the n-th time."""
    inject = [f"-einject={call}:signal=KILL:when={ordinal}", f"-etrace={call}"]
    return [need("strace", "strace"), "-f", "-qq", "-o", "/dev/null", *inject]


class Life:
    """A folder in which workers live and die, and all they have ever said."""

    def __init__(self, folder: Path, rounds: int = 40) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.kills = 0
        self._rounds = rounds

    def die_at(self, call: str, ordinal: int) -> bool:
        """Run until a thread is about to make a call for the n-th time. False: none ever does."""
        died = self._run(killing(call, ordinal)) != 0
        self.kills += died
        return died

    def live(self) -> None:
        """Run to the end."""
        assert self._run([]) == 0

    def _run(self, under: list[str]) -> int:
        command = [*under, sys.executable, "-m", "tests.faults.worker", str(self.folder), str(self._rounds)]
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=60, check=False)
        self.said += [line for line in done.stdout.decode().splitlines() if not line.startswith("opened")]
        assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr.decode()
        return done.returncode


ordinals = {"pwrite64": 500, "fdatasync": 60, "write": 55, "ftruncate": 12, "unlink": 2}
"""Calls before which a process is killed, and about how many of each it makes: between them all that changes the disk."""

salvages = {"rename": 3, "unlink": 5, "pwrite64": 900, "fdatasync": 60, "ftruncate": 12}
"""The same for one that sets a log aside first, and salvages it."""


def moment(rng: Random, calls: dict[str, int]) -> tuple[str, int]:
    """One of them."""
    call = rng.choice(list(calls))
    return call, rng.randint(1, calls[call])


def lives(folder: Path, rng: Random, times: int) -> Life:
    """Kill a worker so many times in one folder; after each time every promise must hold."""
    life = Life(folder)
    for _ in range(times):
        at = moment(rng, ordinals)
        life.die_at(*at)
        broken = promises.faults(life.folder, life.said)
        assert broken == [], f"killed at {at}"
    return life


def salvaged(folder: Path, rng: Random, times: int) -> int:
    """Set a log aside and salvage it, killed in between; so many times, beginning anew. Gives how many were killed."""
    before = Life(folder / "before")
    before.live()
    killed = 0
    for n in range(times):
        life = Life(folder / str(n), rounds=10)
        shutil.copytree(before.folder, life.folder)
        (life.folder / "damaged").touch()
        at = moment(rng, salvages)
        life.die_at(*at)
        life.live()
        assert opening.waiting(life.folder) is None, f"killed at {at}: it wasn't salvaged"
        killed += life.kills
        broken = promises.faults(life.folder, before.said + life.said, salvaged=True)
        assert broken == [], f"killed at {at}"
        shutil.rmtree(life.folder)
    return killed


def test_killed_within_a_commit_a_checkpoint_a_trim_or_a_start(tmp_path: Path) -> None:
    life = lives(tmp_path / "data", seeded(), 10)
    assert life.kills >= 5


def test_killed_while_a_damaged_log_is_set_aside_and_salvaged(tmp_path: Path) -> None:
    assert salvaged(tmp_path, seeded(), 5) >= 2


def test_killed_while_a_copy_is_put_back(tmp_path: Path) -> None:
    before = Life(tmp_path / "data", rounds=15)
    before.live()
    backup(before.folder, tmp_path / "copy")
    restore = f"from gateway.store.backup import *; restore(Path({str(tmp_path / 'again')!r}), Path({str(tmp_path / 'copy')!r}))"
    ends = set()
    for n in range(1, 9):
        shutil.copytree(before.folder, tmp_path / "again")
        command = [*killing("rename", n), sys.executable, "-c", restore]
        ends.add(subprocess.run(command, cwd=root, timeout=60, check=False).returncode)
        assert promises.faults(tmp_path / "again", before.said, salvaged=True) == [], f"killed at rename {n}"
        shutil.rmtree(tmp_path / "again")
    assert ends == {0, -signal.SIGKILL}
