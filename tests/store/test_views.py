"""Views: kept up to date, rebuilt to the same, right as of any time, in spite of clocks."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.event import SECOND, Event, Quality, event
from gateway.store import files
from gateway.store.consumers import Consumers
from gateway.store.log import Log
from gateway.store.views import keep, rows
from gateway.store.views.fold import Views
from gateway.store.views.keep import Keeper
from tests.clocks import NOW, Machine
from tests.parts import stop
from tests.store.logs import acknowledged

MINUTE = 60 * SECOND
START = NOW - NOW % (60 * MINUTE)


def reading(time: int, source: str = "cellar/air", *, quality: int = 0, **values: Any) -> Event:
    return event("reading", source, values, time=time, quality=quality)


async def opened(folder: Path, machine: Machine) -> tuple[Log, Keeper]:
    log = await Log.open(folder, machine.clock())
    return log, Keeper(log, await (await Consumers.load(log)).open("views"))


async def followed(log: Log, keeper: Keeper) -> None:
    """Let the views take everything, and save."""
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(30):
        await log.beyond(0)
        while keeper.position <= log.head:
            await asyncio.sleep(0.01)
    await stop(task)
    await acknowledged(log)


def told(folder: Path, machine: Machine, story: Callable[[Log, Keeper], Awaitable[None]]) -> None:
    async def run() -> None:
        log, keeper = await opened(folder, machine)
        await story(log, keeper)
        await log.close()

    asyncio.run(run())


def shown(folder: Path, name: str, as_of: int | None = None) -> list[dict[str, Any]]:
    db = files.open_to_read(folder / files.name)
    found = list(rows.Snapshot(db, as_of).rows(name))
    db.close()
    return found


def contents(folder: Path) -> dict[str, list[Any]]:
    """The tables themselves, with names instead of numbers; sums to 9 places, as additions come in another order."""
    with sqlite3.connect(f"file:{folder / files.name}?mode=ro", uri=True) as db:
        named = "join series on series.id = series order by source, metric"
        return {
            "last": db.execute(f"select source, metric, time, value, quality, offset from last {named}").fetchall(),
            "rollup": db.execute(
                f"select source, metric, width, start, count, min, max, round(sum, 6), last, at from rollup {named}, 3, 4"
            ).fetchall(),
            "seen": db.execute("select * from seen order by 1").fetchall(),
            "alarm": db.execute("select * from alarm order by 1, 2").fetchall(),
        }


def test_last_value_and_roll_ups(tmp_path: Path) -> None:
    async def story(log: Log, keeper: Keeper) -> None:
        await acknowledged(
            log, reading(START, temperature=4.0), reading(START + 30 * SECOND, temperature=6.0, door="open")
        )
        await acknowledged(log, reading(START + 61 * SECOND, temperature=5.0))
        await acknowledged(log, reading(START + 15 * MINUTE, temperature=9.0))
        await acknowledged(log, reading(START + 59 * SECOND, temperature=1.0))  # comes late
        await followed(log, keeper)

    told(tmp_path, Machine(NOW, synchronised=True), story)
    last = {row["metric"]: row for row in shown(tmp_path, "last")}
    assert (last["temperature"]["value"], last["temperature"]["time"]) == (9.0, START + 15 * MINUTE)
    assert last["door"]["value"] == "open"
    spans = {
        name: [(row["start"] - START, row["count"], row["min"], row["max"], row["mean"], row["last"]) for row in found]
        for name in ("1m", "15m", "1h")
        if (found := shown(tmp_path, name))
    }
    assert spans["1m"] == [
        (0, 3, 1.0, 6.0, 11 / 3, 1.0),
        (MINUTE, 1, 5.0, 5.0, 5.0, 5.0),
        (15 * MINUTE, 1, 9.0, 9.0, 9.0, 9.0),
    ]
    assert spans["15m"] == [(0, 4, 1.0, 6.0, 4.0, 5.0), (15 * MINUTE, 1, 9.0, 9.0, 9.0, 9.0)]
    assert spans["1h"] == [(0, 5, 1.0, 9.0, 5.0, 9.0)]


def test_what_is_bad_is_shown_and_not_counted(tmp_path: Path) -> None:
    async def story(log: Log, keeper: Keeper) -> None:
        await acknowledged(log, reading(START, temperature=4.0, humidity=140.0, _quality={"humidity": "out_of_range"}))
        await acknowledged(log, reading(START + 1, _quality={"temperature": "no_data"}))
        await acknowledged(log, reading(START + 2, pressure=1.0, quality=Quality.sensor_fault))
        await followed(log, keeper)

    told(tmp_path, Machine(NOW, synchronised=True), story)
    assert {row["metric"]: (row["value"], row["quality"]) for row in shown(tmp_path, "last")} == {
        "temperature": (None, "no_data"),
        "humidity": (140.0, "out_of_range"),
        "pressure": (1.0, "sensor_fault"),
    }
    assert {row["metric"]: row["count"] for row in shown(tmp_path, "1h")} == {"temperature": 1, "humidity": 1}


def test_alarms_come_and_go(tmp_path: Path) -> None:
    def alarm(type: str, name: str, n: int, **more: Any) -> Event:
        return event(f"alarm.{type}", "cellar/air", {"alarm": name, "severity": "high", **more}, time=START + n)

    async def story(log: Log, keeper: Keeper) -> None:
        await acknowledged(
            log, alarm("raised", "hot", 1, text="too hot"), alarm("raised", "wet", 2), alarm("cleared", "wet", 3)
        )
        await acknowledged(log, alarm("acknowledged", "hot", 4), reading(START, temperature=1.0))
        await followed(log, keeper)
        assert [one.source for one in keeper.views.active("hot")] == ["cellar/air"]
        assert keeper.views.active("wet") == []
        assert keeper.views.state("cellar/air") == {"temperature": 1.0}
        assert keeper.views.state("nowhere") == {}
        await acknowledged(
            log, alarm("shelved", "hot", 5, until=START + 99)
        )  # not in the tables yet: shown all the same

    told(tmp_path, Machine(NOW, synchronised=True), story)
    (found,) = shown(tmp_path, "alarms")
    assert (found["alarm"], found["text"], found["raised"]) == ("hot", "too hot", START + 1)
    assert (found["acknowledged"], found["shelved"]) == (START + 4, START + 99)


def history(rng: Random, count: int) -> list[Event]:
    """Anything that changes views, in some order."""
    found = []
    for n in range(count):
        time, source = START + n * 7 * SECOND, f"cellar/air-{rng.randrange(4)}"
        if rng.random() < 0.05:
            type = rng.choice(["alarm.raised", "alarm.cleared", "alarm.acknowledged"])
            found.append(event(type, source, {"alarm": rng.choice(["hot", "wet"]), "severity": "low"}, time=time))
        else:
            late = rng.choice([0, 0, 0, 400 * SECOND])
            values = {
                "temperature": rng.uniform(-10, 30),
                "door": rng.choice(["open", "shut"]),
                "motion": rng.random() < 0.5,
            }
            found.append(reading(time - late, source, quality=rng.choice([0, 0, 0, 1, 66]), **values))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_page_adds_up_to_what_its_events_do(seed: int) -> None:
    """Plain runs of a source are added up as columns, all else one by one: nobody can tell."""
    rng = Random(seed)
    events = []
    time = START
    for n in range(400):
        time += rng.choice([0, 1, 3, 3]) * SECOND
        said: dict[str, Any] = {
            "power": rng.choice([rng.uniform(-5, 9), rng.randrange(9)]),
            "voltage": rng.uniform(215, 245),
        }
        if rng.random() < 0.03:
            said |= rng.choice(
                [{"power": True}, {"current": 1.5}, {"mode": "eco"}, {"_quality": {"voltage": "no_data"}}]
            )
        late = 90 * SECOND if rng.random() < 0.03 else 0
        quality = rng.choice([1, 66]) if rng.random() < 0.03 else 0
        events.append(reading(time - late, f"hall/meter-{n % 2}", quality=quality, **said))
        events[-1].offset = n + 1
    single, paged = Views(), Views()
    for views in (single, paged):  # the order in which series get their numbers is nobody's business
        for metric in ("power", "voltage", "current", "mode"):
            views.cell("hall/meter-0", metric), views.cell("hall/meter-1", metric)
    for one in events:
        single.take([one])
    while events:
        size = rng.choice([1, 5, 30, 60])
        paged.take(events[:size])
        del events[:size]
    assert {repr(one) for one in rows.statements(paged)} == {repr(one) for one in rows.statements(single)}
    assert paged.snapshot() == single.snapshot()


@pytest.mark.parametrize("seed", [1, 2])
def test_kept_and_rebuilt_are_the_same_twice(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "save_every", 0.02)
    rng = Random(seed)
    events = history(rng, 1_500)
    machine = Machine(NOW, synchronised=True)

    async def some(log: Log, keeper: Keeper) -> None:
        task = asyncio.create_task(keeper.run())
        while part := [events.pop(0) for _ in range(min(len(events), rng.randrange(1, 300)))]:
            await acknowledged(log, *part)
            await asyncio.sleep(rng.choice([0, 0.03]))
            if rng.random() < 0.3:
                break
        await stop(task)  # anywhere

    while events:
        told(tmp_path, machine, some)
    told(tmp_path, machine, followed)
    incremental = contents(tmp_path)
    assert sum(row[4] for row in incremental["rollup"] if row[2] == MINUTE and row[1] == "motion") > 500

    async def rebuild(log: Log, keeper: Keeper) -> None:
        assert await keeper.rebuild() == log.head

    for _ in range(2):
        told(tmp_path, machine, rebuild)
        assert contents(tmp_path) == incremental
    told(tmp_path, machine, followed)
    assert contents(tmp_path) == incremental


def test_a_rebuild_beside_the_running_gateway_forgets_and_repeats_nothing(tmp_path: Path) -> None:
    machine = Machine(NOW, synchronised=True)

    async def story(log: Log, keeper: Keeper) -> None:
        task = asyncio.create_task(keeper.run())
        await acknowledged(log, *(reading(START + n, temperature=float(n)) for n in range(2_500)))
        rebuilding = asyncio.create_task(keeper.rebuild())
        for n in range(2_500, 3_000):
            log.append([reading(START + n, temperature=float(n))], wait=False)
            await asyncio.sleep(0)
        assert await rebuilding >= 2_500
        await stop(task)
        await followed(log, keeper)

    told(tmp_path, machine, story)
    assert [row["count"] for row in shown(tmp_path, "1h")] == [3_000]
    assert contents(tmp_path)["seen"] == [("cellar/air", START, START + 2_999, 3_000, 0)]


def test_every_view_as_of_any_time(tmp_path: Path) -> None:
    machine = Machine(START, synchronised=True)
    answers: dict[int, dict[str, Any]] = {}

    async def story(log: Log, keeper: Keeper) -> None:
        for part in range(5):
            machine.passes(60)
            await acknowledged(
                log, *history(Random(part), 50), event("device.adopted", f"d-{part}", {"driver": "x"}, time=NOW)
            )
            now = machine.wall
            answers[now] = {name: shown(tmp_path, name) for name in rows.names if name != "devices"}
            answers[now]["devices"] = [row for row in shown(tmp_path, "devices") if row["source"].startswith("d-")]

    told(tmp_path, machine, story)
    for time, answer in answers.items():
        assert {name: shown(tmp_path, name, time) for name in rows.names if name != "devices"} == {
            name: answer[name] for name in rows.names if name != "devices"
        }
        assert [row for row in shown(tmp_path, "devices", time) if row["source"].startswith("d-")] == answer["devices"]


@pytest.mark.parametrize("restart", [False, True])
def test_what_came_before_the_clock_was_set_is_put_right(restart: bool, tmp_path: Path) -> None:
    machine = Machine(wall=0)

    async def before(log: Log, keeper: Keeper) -> None:
        started = {"boot": machine.boot, "trusted": False}
        log.append([event("gateway.started", "gateway", started, time=machine.wall)])
        for n in range(10):
            await acknowledged(log, reading(machine.wall, temperature=float(n)))
            machine.passes(30)
        if restart:
            await followed(log, keeper)

    async def after(log: Log, keeper: Keeper) -> None:
        machine.wall, machine.synchronised = START + 300 * SECOND, True
        machine.passes(5)
        await acknowledged(log, reading(machine.wall, temperature=10.0))
        await followed(log, keeper)

    async def both(log: Log, keeper: Keeper) -> None:
        await before(log, keeper)
        await after(log, keeper)

    for story in (before, after) if restart else (both,):
        told(tmp_path, machine, story)
    assert [(row["start"] - START, row["count"]) for row in shown(tmp_path, "15m")] == [(0, 11)]
    assert shown(tmp_path, "last")[0]["time"] == START + 305 * SECOND
    incremental = contents(tmp_path)
    assert {row[3] for row in incremental["rollup"] if row[2] == MINUTE} == {START + n * MINUTE for n in range(6)}

    async def rebuild(log: Log, keeper: Keeper) -> None:
        await keeper.rebuild()

    told(tmp_path, machine, rebuild)
    assert contents(tmp_path) == incremental


def test_switches_survive_a_restart_before_the_clock_is_set(tmp_path: Path) -> None:
    machine = Machine(wall=START)

    async def before(log: Log, keeper: Keeper) -> None:
        log.append([event("gateway.started", "gateway", {"boot": machine.boot, "trusted": False}, time=machine.wall)])
        for opened in (False, True, True):
            await acknowledged(log, reading(machine.wall, open=opened))
            machine.passes(5)
        await followed(log, keeper)

    async def after(log: Log, keeper: Keeper) -> None:
        await acknowledged(log, reading(machine.wall, open=False))
        await followed(log, keeper)

    for story in (before, after):
        told(tmp_path, machine, story)
    (row,) = shown(tmp_path, "1m")
    assert (row["count"], row["min"], row["max"], row["last"]) == (4, 0.0, 1.0, 0.0)


def test_a_clock_that_nobody_ever_confirms_counts_all_the_same(tmp_path: Path) -> None:
    machine = Machine(wall=START)

    async def story(log: Log, keeper: Keeper) -> None:
        log.append([event("gateway.started", "gateway", {"boot": machine.boot, "trusted": False}, time=machine.wall)])
        for n in range(30):
            await acknowledged(log, reading(machine.wall, temperature=float(n)))
            machine.passes(60)
        await followed(log, keeper)

    told(tmp_path, machine, story)
    assert [row["count"] for row in shown(tmp_path, "1h")] == [30]
    assert len([row for row in contents(tmp_path)["rollup"] if row[2] == MINUTE]) >= 19
