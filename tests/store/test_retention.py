"""What is given up, in which order, and that it is said exactly."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.clock import Clock
from gateway.event import SECOND, Event, event
from gateway.store import compact, eras, files, retention
from gateway.store.care import Care, steady_since
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from gateway.store.retention import Limits
from gateway.store.rows import offset_at
from tests.store.logs import everything

quick = Pace(pace=0.0, linger=0.0)
day = 86_400 * SECOND


class Hands:
    """Clocks that a test sets."""

    def __init__(self, wall: int = 1_800_000_000 * SECOND) -> None:
        self.wall = wall
        self.mono = 5 * day
        self.clock = Clock(lambda: self.wall * 1000, lambda: self.mono * 1000, lambda: True, boot="test", trust=True)

    def pass_(self, microseconds: int) -> None:
        self.wall += microseconds
        self.mono += microseconds


def incompressible(n: int) -> Event:
    return event("reading", f"plant/air-{n % 4}", {"n": n, "noise": os.urandom(150).hex()}, time=n)


async def fill(log: Log, count: int, *, batch: int = 100, alarm_every: int = 0) -> None:
    for start in range(0, count, batch):
        events = [incompressible(n) for n in range(start, start + batch)]
        if alarm_every and start % alarm_every == 0:
            events[batch // 2] = event("alarm.raised", "plant/air-1", {"n": start}, time=start)
        await log.store(events)


def gaps(events: list[Event], step: str) -> list[Event]:
    return [one for one in events if one.type == "gap" and one.data.get("step") == step]


def missing(events: list[Event], lo: int, hi: int) -> int:
    there = {one.offset for one in events}
    return sum(offset not in there for offset in range(lo, hi + 1))


async def size(log: Log) -> int:
    return (await log.look(files.measure, log.folder)).counted


async def events_in(log: Log) -> int:
    return (await log.look(files.measure, log.folder)).used


def exact(events: list[Event]) -> None:
    """Every hole is owned up to, with its number."""
    told = [one for gap in events if gap.type == "gap" for one in gap.data["ranges"]]
    assert sum(count for _, _, count in told) == missing(events, 1, events[-1].offset)
    for gap in (one for one in events if one.type == "gap"):
        assert gap.data["count"] == sum(count for _, _, count in gap.data["ranges"])


def tended(
    folder: Path, limits: Limits, check: Callable[[Log, Care], Awaitable[None]], clock: Clock | None = None
) -> None:
    """Run a check with a log and its care."""

    async def story() -> None:
        log = await Log.open(folder, clock or Clock(trust=True), pace=quick, ring=100, machine="test")
        care = Care(log, limits)
        care.cap = limits.cap or 2**40
        try:
            await check(log, care)
        finally:
            await log.close()

    asyncio.run(story())


def test_what_nobody_is_owed_goes_first_and_alarms_stay(tmp_path: Path) -> None:
    async def check(log: Log, care: Care) -> None:
        await fill(log, 8_000, alarm_every=1_000)
        care.cap = await size(log) - await events_in(log) // 3
        await care.keep_within()
        assert await size(log) <= care.cap
        events = await everything(log)
        assert len([one for one in events if one.type == "alarm.raised"]) == 8
        assert gaps(events, "delete")
        assert not gaps(events, "thin")
        assert not gaps(events, "drop")
        exact(events)
        assert events[-1].offset == log.head
        readings = [one.offset for one in events if one.type == "reading"]
        assert readings == list(range(readings[0], 8_001)) or set(range(readings[0], 8_001)) - set(readings) <= {
            one.offset for one in events if one.type == "alarm.raised"
        }

    tended(tmp_path, Limits(), check)


def test_what_is_owed_is_thinned_before_it_is_dropped(tmp_path: Path) -> None:
    async def check(log: Log, care: Care) -> None:
        consumers = await Consumers.load(log)
        await consumers.open("upstream")
        await fill(log, 6_000, alarm_every=500)
        care.cap = await size(log) - await events_in(log) * 4 // 10
        await care.keep_within()
        events = await everything(log)
        assert not gaps(events, "delete")
        assert gaps(events, "thin")
        assert not gaps(events, "drop")
        exact(events)
        assert await size(log) <= care.cap
        thinned = [one for one in events if one.type == "reading" and one.offset <= 100]
        assert {one.source for one in thinned} == {f"plant/air-{n}" for n in range(4)}  # each source keeps some
        assert len(thinned) <= 100 // 10 + 4

        care.cap = await size(log) - await events_in(log) * 3 // 4
        await care.keep_within()
        events = await everything(log)
        assert gaps(events, "drop")
        exact(events)
        assert len([one for one in events if one.type == "alarm.raised"]) == 12
        assert await size(log) <= care.cap

    tended(tmp_path, Limits(thin=10), check)


def test_it_says_so_once_when_nothing_more_may_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check(log: Log, care: Care) -> None:
        await fill(log, 500)
        care.cap = 1_000
        for _ in range(3):
            await care.keep_within()
        said = [one for one in caplog.messages if "only alarms, commands and gaps are left" in one]
        assert len(said) == 1
        assert (await everything(log))[-1].offset == log.head

    tended(tmp_path, Limits(), check)


def test_offsets_rise_after_everything_was_trimmed_and_a_restart(tmp_path: Path) -> None:
    async def trim(log: Log, care: Care) -> None:
        await fill(log, 500)
        care.cap = 1_000
        await care.keep_within()
        seen.append(log.head)

    async def look(log: Log, care: Care) -> None:
        assert log.head >= seen[0]
        await fill(log, 100)
        assert (await everything(log))[-1].offset == log.head == seen[0] + 100

    seen: list[int] = []
    tended(tmp_path, Limits(), trim)
    tended(tmp_path, Limits(), look)


def test_ages_reach_what_they_name(tmp_path: Path) -> None:
    hands = Hands()
    limits = Limits(age=10 * 86_400, ages={"message": 86_400, "alarm.cleared": 20 * 86_400})

    async def check(log: Log, care: Care) -> None:
        care._steady = -day
        for n in range(30):
            kinds = ["reading", "message", "alarm.raised", "alarm.cleared"]
            await log.store([event(kind, "a", {"day": n}, time=n) for kind in kinds])
            hands.pass_(day)
        care._apart = log.clock.now() - log.clock.monotonic()
        await care.expire()
        events = [one for one in await everything(log) if one.type not in ("gap", "clock.synced")]
        days = {kind: {one.data["day"] for one in events if one.type == kind} for kind in kinds}
        assert days["alarm.raised"] == set(range(30))
        assert min(days["reading"]) == 20
        assert min(days["message"]) == 29
        assert min(days["alarm.cleared"]) == 10
        exact(await everything(log))

    tended(tmp_path, limits, check, hands.clock)


def test_nothing_goes_for_its_age_after_the_clock_jumped(tmp_path: Path) -> None:
    hands = Hands()

    async def check(log: Log, care: Care) -> None:
        care._steady = -day
        care._apart = log.clock.now() - log.clock.monotonic()
        await fill(log, 300)
        hands.wall += 3_650 * day  # ten years in a second
        await care.expire()
        assert not [one for one in await everything(log) if one.type == "gap"]
        hands.pass_(day + SECOND)  # it has run steadily for a day
        await care.expire()
        assert [one for one in await everything(log) if one.type == "gap"]

    tended(tmp_path, Limits(age=86_400), check, hands.clock)


def test_what_is_owed_never_goes_for_its_age(tmp_path: Path) -> None:
    hands = Hands()

    async def check(log: Log, care: Care) -> None:
        care._steady = -day
        consumers = await Consumers.load(log)
        await consumers.open("upstream")
        await fill(log, 300)
        hands.pass_(30 * day)
        await fill(log, 100)
        await care.expire()
        assert missing(await everything(log), 1, log.head) == 0

    tended(tmp_path, Limits(age=86_400), check, hands.clock)


def test_merging_small_blocks_changes_no_event(tmp_path: Path) -> None:
    hands = Hands()

    async def check(log: Log, care: Care) -> None:
        for _ in range(205):
            await fill(log, 10, batch=10)
            hands.pass_(SECOND // 10)
        before = await everything(log)
        hands.pass_(3_600 * SECOND)
        ((blocks, data),) = await log.query("select count(*), sum(length(data)) from block")
        await care.merge()
        ((merged, smaller),) = await log.query("select count(*), sum(length(data)) from block")
        assert merged < blocks / 15
        assert smaller < data
        assert await everything(log) == before
        for one in before[::97]:
            assert (await log.read_as_stored(one.offset, limit=1))[0].recorded == one.recorded

        for one in before[::131]:
            first = next(other.offset for other in before if other.recorded >= one.recorded)
            assert await log.look(offset_at, one.recorded) == first

    tended(tmp_path, Limits(), check, hands.clock)


def test_a_merge_stops_at_the_border_of_an_era(tmp_path: Path) -> None:
    hands = Hands()

    async def check(log: Log, care: Care) -> None:
        await fill(log, 200, batch=10)
        hands.wall -= 3_600 * SECOND
        await fill(log, 200, batch=10)
        hands.pass_(30 * 3_600 * SECOND)
        before = await everything(log)
        for _ in range(10):
            await care.merge()
        borders = [lo for (lo,) in await log.query("select lo from clock where lo > 1")]
        assert borders
        for lo in borders:
            assert await log.query("select 1 from block where lo = ?", lo)
        assert await everything(log) == before

    tended(tmp_path, Limits(), check, hands.clock)


def test_thin_keeps_every_nth_of_each_source() -> None:
    events = [event("reading", f"s{n % 2}", {"n": n}, time=n) for n in range(40)]
    events.insert(7, event("device.online", "s0", {}, time=7))
    kept = retention.every(5)(events)
    assert [one.data["n"] for one in kept if one.type == "reading"] == [0, 1, 10, 11, 20, 21, 30, 31]
    assert len([one for one in kept if one.type == "device.online"]) == 1


def test_blocks_too_young_are_left_alone(tmp_path: Path) -> None:
    async def check(log: Log, care: Care) -> None:
        await fill(log, 2_000, batch=10)
        assert await log.look(compact.plan, 1, log.clock.now() - compact.settled * SECOND) is None

    tended(tmp_path, Limits(), check)


def test_a_jump_of_the_clock_is_remembered_across_a_restart() -> None:
    hands = Hands()
    clock, apart, now = hands.clock, hands.wall - hands.mono, hands.mono

    def era(lo: int, ago: int, by: int, boot: str = "test") -> eras.Row:
        return eras.Row(lo, boot, now - ago, apart + by, True)

    assert steady_since([], clock) == (now - day, apart)
    assert steady_since([era(1, 2 * day, 0)], clock)[0] == now - day
    assert steady_since([era(1, 9 * day, 0, "before"), era(5, day // 3, 9 * day)], clock)[0] == now  # while nobody ran
    assert steady_since([era(1, day, -99 * day), era(5, day // 3, 0)], clock)[0] == now - day // 3
    assert steady_since([era(1, 2 * day, -99 * day, "before"), era(5, day, 0)], clock)[0] == now - day
    assert steady_since([era(1, day, 3_600 * SECOND), era(5, day // 3, 0)], clock)[0] == now - day  # an hour is no jump
