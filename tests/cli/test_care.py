"""``redcar status``, ``backup``, ``restore``, ``repair``, ``migrate``: what is printed, and the exit code."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.status import size
from gateway.clock import Clock
from gateway.event import event
from gateway.store import files, migrate
from gateway.store.log import Log


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDCAR_CONFIG", raising=False)


def filled(count: int = 300) -> None:
    async def story() -> None:
        log = await Log.open(Path("data"), Clock(trust=True))
        for start in range(0, count, 100):
            await log.store([event("reading", "air", {"n": n}, time=n) for n in range(start, start + 100)])
        await log.close()

    asyncio.run(story())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and what was printed, errors after the rest."""
    code = main([*arguments, "--data", "data"])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_status_of_a_log_that_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    code, text = run(capsys, "status")
    assert code == 0
    assert "events    300 in 3 blocks, the last is 300" in text
    assert text.endswith("health    the log is well\n")
    code, text = run(capsys, "status", "--json")
    said = json.loads(text)
    assert (said["events"], said["head"], said["problems"], said["closed"]) == (300, 300, [], True)
    assert said["size"]["used"] > 1_000


def test_status_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    with closing(sqlite3.connect(f"data/{files.name}", isolation_level=None)) as db:
        db.execute(*files.kept("clean", 0))
        db.execute("insert into lost values (5, 9)")
    code, text = run(capsys, "status")
    assert code == 1
    assert "problem   events in 1 ranges can't be read: stop the gateway and run redcar repair" in text
    assert "problem   no gateway runs, and the last one wasn't stopped properly" in text


def test_status_without_a_log_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "status") == (
        3,
        "redcar: no log in data: start one with redcar run, or name another folder with --data\n",
    )


def test_backup_and_restore(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    code, text = run(capsys, "backup", "copy.db")
    assert code == 0
    assert text.startswith("copy.db holds 300 events, the last of them 300;")
    assert run(capsys, "backup", "copy.db") == (
        3,
        "redcar: copy.db is there already: name another file, or remove it first\n",
    )
    filled(100)
    code, text = run(capsys, "restore", "copy.db")
    assert code == 0
    assert text.startswith("copy.db is the log now: 300 events")
    assert "is kept as data/events." in text
    assert json.loads(run(capsys, "status", "--json")[1])["events"] == 300


def test_restore_refuses_what_is_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    Path("letter.txt").write_text("Dear operator, this is not a log of events at all. " * 100)
    code, text = run(capsys, "restore", "letter.txt")
    assert (code, text) == (3, "redcar: letter.txt can't be read: file is not a database\n")
    code, text = run(capsys, "restore", "absent.db")
    assert (code, text) == (3, "redcar: absent.db can't be found: name a file made by redcar backup\n")
    assert json.loads(run(capsys, "status", "--json")[1])["events"] == 300


def test_repair_of_a_sound_log_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    before = Path("data", files.name).read_bytes()
    assert run(capsys, "repair") == (0, "data/events.db is sound\n")
    assert Path("data", files.name).read_bytes() == before


def test_repair_saves_what_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    path = Path("data", files.name)
    data = path.read_bytes()
    assert data.count(b'"n":150}') == 1
    path.write_bytes(data.replace(b'"n":150}', b'"n":151}'))
    code, text = run(capsys, "repair")
    assert code == 0
    assert "events 101..200 aren't what was written" in text
    assert "200 events are in the new log; the damaged one is kept as data/events." in text
    assert run(capsys, "repair") == (0, "data/events.db is sound\n")
    code, text = run(capsys, "events", "--type", "gap", "--json")
    assert json.loads(text)["data"] == {"reason": "damaged", "count": 100, "ranges": [[101, 200, 100]]}


def test_migrate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    filled()
    assert run(capsys, "migrate", "--check") == (0, f"data/events.db has version {migrate.version}: nothing to do\n")
    monkeypatch.setattr(migrate, "version", 2)
    monkeypatch.setitem(migrate.steps, 1, lambda db: None)
    assert run(capsys, "migrate", "--check") == (1, "data/events.db has version 1; this redcar works with 2\n")
    code, text = run(capsys, "migrate")
    assert code == 0
    assert text.endswith("migrated; the log as it was is data/events.v1.backup\n")
    assert run(capsys, "migrate", "--check")[0] == 0


def test_sizes_for_people() -> None:
    sizes = [0, 999, 1_000, 12_345, 999_999_999, 2_000_000_000, 1_234_000_000_000]
    assert [size(one) for one in sizes] == ["0 B", "999 B", "1.0 kB", "12.3 kB", "1000 MB", "2.0 GB", "1234 GB"]
