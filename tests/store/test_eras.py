"""Clock honesty, through the real log: no clock at boot, jumps of ten years and of an hour, trust won and lost."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.event import SECOND, Event, Quality, event
from gateway.store import rows
from gateway.store.consumers import Consumers
from gateway.store.eras import Row, Shift, restamp, shifts, stretches
from gateway.store.log import Log
from gateway.store.reader import process
from tests.clocks import NOW, Machine
from tests.parts import stop

HOUR = 3600 * SECOND
YEARS = 10 * 365 * 24 * HOUR


def reading(log: Log, n: int) -> Event:
    return event("reading", "cellar/air", {"n": n}, time=log.clock.now())


async def store(log: Log, n: int) -> None:
    await log.store([reading(log, n)])


def told(folder: Path, machine: Machine, story: Callable[[Log], Awaitable[None]]) -> list[Event]:
    """What readers see after the story, from memory and from the disk."""

    async def run() -> list[Event]:
        log = await Log.open(folder, machine.clock())
        await story(log)
        remembered = await log.read(1)
        await log.close()
        log = await Log.open(folder, machine.clock())
        seen = await log.read(1)
        await log.close()
        assert [plain(one) for one in seen] == [plain(one) for one in remembered]
        return seen

    return asyncio.run(run())


def plain(one: Event) -> tuple[object, ...]:
    return one.offset, one.time, one.recorded, one.type, one.body, one.quality


def numbers(events: list[Event]) -> dict[int, Event]:
    return {one.data["n"]: one for one in events if one.type == "reading"}


def test_ntp_right_after_boot_gives_earlier_events_their_true_time(tmp_path: Path) -> None:
    machine = Machine(wall=3 * SECOND)

    async def story(log: Log) -> None:
        await store(log, 1)
        machine.passes(20)
        assert [one.time for one in await log.read(1)] == [3 * SECOND]
        machine.wall, machine.synchronised = NOW, True
        machine.passes(5)
        await store(log, 2)

    events = told(tmp_path, machine, story)
    assert [one.type for one in events] == ["reading", "clock.stepped", "clock.synced", "reading"]
    found = numbers(events)
    assert (found[1].time, found[2].time) == (NOW - 20 * SECOND, NOW + 5 * SECOND)
    assert [one.quality for one in found.values()] == [0, 0]
    stepped = events[1].data
    assert (stepped["before"], stepped["after"]) == (28 * SECOND, NOW + 5 * SECOND)
    assert stepped["seconds"] == (NOW - 23 * SECOND) / SECOND
    assert (stepped["boot"], stepped["monotonic"], stepped["trusted"]) == ("boot-1", 30 * SECOND, True)


def test_the_stored_bytes_stay_and_processors_see_them(tmp_path: Path) -> None:
    machine = Machine(wall=3 * SECOND)

    async def story(log: Log) -> None:
        await store(log, 1)
        before = await log.read_as_stored(1)
        machine.wall, machine.synchronised = NOW, True
        machine.passes(5)
        await store(log, 2)
        assert [plain(one) for one in (await log.read_as_stored(1))[:1]] == [plain(one) for one in before]
        with sqlite3.connect(f"file:{log.path}?mode=ro", uri=True) as other:
            assert [plain(one) for one in rows.read_blocks(other, 1, 1, 9)] == [plain(one) for one in before]
            assert rows.read_events(other, 1, 1, 9)[0].time == NOW

    told(tmp_path, machine, story)


def test_a_jump_of_ten_years_and_back_while_nobody_confirms_the_clock(tmp_path: Path) -> None:
    machine = Machine(wall=NOW)

    async def story(log: Log) -> None:
        await store(log, 1)
        machine.passes(10)
        machine.wall += YEARS
        await store(log, 2)
        machine.passes(10)
        machine.wall -= YEARS
        machine.synchronised = True
        machine.passes(10)
        await store(log, 3)

    found = numbers(told(tmp_path, machine, story))
    assert [one.time for one in found.values()] == [NOW, NOW + 10 * SECOND, NOW + 30 * SECOND]


@pytest.mark.parametrize("by", [YEARS, -HOUR, HOUR])
def test_what_was_confirmed_is_never_corrected(by: int, tmp_path: Path) -> None:
    machine = Machine(wall=NOW, synchronised=True)

    async def story(log: Log) -> None:
        await store(log, 1)
        machine.wall += by
        assert log.notice_time()
        assert not log.notice_time()
        await store(log, 2)

    events = told(tmp_path, machine, story)
    assert [one.type for one in events] == ["reading", "clock.stepped", "reading"]
    assert [one.time for one in numbers(events).values()] == [NOW, NOW + by]
    assert events[1].data["seconds"] == by / SECOND


def test_what_waits_for_its_commit_when_the_clock_is_set_keeps_its_place_and_its_era(tmp_path: Path) -> None:
    machine = Machine(wall=3 * SECOND)

    async def story(log: Log) -> None:
        log.append([reading(log, 1)], wait=False)
        machine.passes(0.1)
        machine.wall, machine.synchronised = NOW, True
        machine.passes(5)
        await store(log, 2)  # one commit, two blocks

    events = told(tmp_path, machine, story)
    assert [one.type for one in events] == ["reading", "clock.stepped", "clock.synced", "reading"]
    assert abs(events[0].time - (NOW - 0.1 * SECOND)) <= 1
    assert abs(events[0].recorded - (NOW + 5 * SECOND)) <= 1


def test_a_boot_that_nobody_ever_confirmed_stays_marked(tmp_path: Path) -> None:
    machine = Machine(wall=3 * SECOND)

    async def first(log: Log) -> None:
        await store(log, 1)

    async def second(log: Log) -> None:
        await store(log, 2)
        machine.wall, machine.synchronised = NOW, True
        machine.passes(6)
        await store(log, 3)

    told(tmp_path, machine, first)
    machine.reboots(wall=4 * SECOND)
    found = numbers(told(tmp_path, machine, second))
    assert [(one.time, one.quality) for one in found.values()] == [
        (3 * SECOND, Quality.clock_unsynced),
        (NOW, 0),
        (NOW + 6 * SECOND, 0),
    ]


def test_the_clock_is_confirmed_while_nobody_runs(tmp_path: Path) -> None:
    machine = Machine(wall=3 * SECOND)

    async def first(log: Log) -> None:
        await store(log, 1)

    async def second(log: Log) -> None:
        await store(log, 2)

    told(tmp_path, machine, first)
    machine.passes(600)
    machine.wall, machine.synchronised = NOW, True
    events = told(tmp_path, machine, second)
    assert [one.type for one in events] == ["reading", "clock.stepped", "clock.synced", "reading"]
    assert numbers(events)[1].time == NOW - 600 * SECOND


def test_a_time_finds_its_offset_in_spite_of_jumps(tmp_path: Path) -> None:
    machine = Machine(wall=3 * SECOND)

    async def story(log: Log) -> None:
        for n in range(10):
            machine.passes(10)
            await store(log, n)
        machine.wall, machine.synchronised = NOW, True
        machine.passes(10)
        for n in range(10, 20):
            await store(log, n)
            machine.passes(10)
        machine.wall -= HOUR
        for n in range(20, 30):
            await store(log, n)
            machine.passes(10)

    found = numbers(told(tmp_path, machine, story))
    with sqlite3.connect(f"file:{tmp_path / 'events.db'}?mode=ro", uri=True) as db:
        assert rows.offset_at(db, 0) == 1
        for n in [*range(10), *range(11, 20)]:  # 10 was stored together with the announcements before it
            assert rows.offset_at(db, found[n].recorded) == found[n].offset
            assert rows.offset_at(db, found[n].recorded + 1) > found[n].offset
        assert rows.offset_at(db, NOW + YEARS) == found[29].offset + 1


def test_shifts_come_from_the_next_confirmed_era_of_the_same_boot() -> None:
    eras = [
        Row(1, "a", 0, 100, False),
        Row(5, "b", 0, 200, False),
        Row(9, "b", 0, 900, True),
        Row(12, "b", 0, 850, False),
        Row(15, "b", 0, 860, True),
    ]
    assert shifts(eras) == [Shift(5, 8, 700), Shift(12, 14, 10)]
    assert stretches(eras) == [(0, 4, 0), (5, 8, 700), (9, 11, 0), (12, 14, 10), (15, 2**63 - 2, 0)]
    assert stretches([]) == [(0, 2**63 - 2, 0)]
    assert restamp([], shifts(eras)) == []


class Timer:
    """Wants a tick in a minute; sees when it comes, by its own idea of the time."""

    def __init__(self, due: int) -> None:
        self.at, self.seen, self.position = due, list[tuple[str, int]](), 0

    def restore(self, state: bytes | None) -> None:
        pass

    def handle(self, events: list[Event]) -> list[Event]:
        for one in events:
            self.seen.append((one.type, one.time))
            if one.type == "clock.stepped":
                self.at += one.data["after"] - one.data["before"]
        return []

    def snapshot(self) -> bytes:
        return b""

    def due(self) -> int | None:
        return self.at


@pytest.mark.parametrize("by", [YEARS, -HOUR])
def test_a_timer_fires_neither_early_nor_late_because_the_clock_was_set(by: int, tmp_path: Path) -> None:
    machine = Machine(wall=NOW, synchronised=True)

    async def story() -> None:
        log = await Log.open(tmp_path, machine.clock())
        timer = Timer(NOW + 60 * SECOND)
        task = asyncio.create_task(process(log, await (await Consumers.load(log)).open("timer"), timer))
        await asyncio.sleep(0)
        machine.wall += by  # nobody has noticed yet: the next event does
        await store(log, 1)
        async with asyncio.timeout(20):
            while len(timer.seen) < 2:
                await asyncio.sleep(0.01)
        assert [type for type, _ in timer.seen] == ["clock.stepped", "reading"]
        machine.passes(61)
        await store(log, 2)
        async with asyncio.timeout(20):
            while not any(type == "tick" for type, _ in timer.seen):
                await asyncio.sleep(0.01)
        assert min(time for type, time in timer.seen if type == "tick") == NOW + by + 61 * SECOND
        await stop(task)
        await log.close()

    asyncio.run(story())
