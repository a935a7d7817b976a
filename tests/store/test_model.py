"""The log against a plain model: whatever is appended, trimmed, merged, closed or crashed, in whatever order."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import Clock
from gateway.event import SECOND, Event, event
from gateway.store import files, retention
from gateway.store.care import Care
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from gateway.store.retention import Limits
from gateway.store.rows import read_blocks

step = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 40)),
    st.tuples(st.just("append"), st.integers(1, 3)),
    st.tuples(st.just("forget"), st.integers(1, 3)),  # appended, but it crashes before anybody is told
    st.tuples(st.just("advance"), st.integers(1, 60)),
    st.tuples(st.sampled_from(["delete", "thin", "drop", "merge", "close", "crash"]), st.integers(1, 4)),
)


class World:
    """A log, and what is known of it from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wall = 1_800_000_000 * SECOND
        self.clock = Clock(lambda: self.wall * 1000, lambda: self.wall * 1000, lambda: True, boot="test", trust=True)
        self.next = 0
        self.acknowledged: list[int] = []
        self.delivered = 0
        self.runs = 0

    async def open(self) -> None:
        self.log = await Log.open(
            self.folder / str(self.runs), self.clock, pace=Pace(0.0, 0.0), ring=10, machine="test"
        )
        self.care = Care(self.log, Limits(thin=3))
        self.consumer = await (await Consumers.load(self.log)).open("upstream")

    def made(self, count: int) -> list[Event]:
        self.next += count
        return [
            event("alarm.raised" if n % 17 == 0 else "reading", f"s{n % 2}", {"n": n}, time=n)
            for n in range(self.next - count, self.next)
        ]

    async def do(self, what: str, much: int) -> None:
        self.wall += SECOND
        if what == "append":
            events = self.made(much)
            await self.log.store(events)
            self.acknowledged += [one.data["n"] for one in events]
        elif what == "forget":
            self.log.append(self.made(much), wait=False)
            await self.again(crash=True)
        elif what == "advance":
            live = self.consumer.owed("live")
            assert live is not None
            self.consumer.advance(live, min(self.log.head, live.lo + much))
        elif what in ("delete", "thin", "drop"):
            plans = {"delete": retention.plan_delete, "drop": retention.plan_drop}
            if what == "thin":
                made = await self.log.look(retention.plan_thin, 0, much, 3)
            else:
                made = await self.log.look(plans[what], 0, much)
            if made.blocks:
                await self.care._give_up(made, "cap", what)
        elif what == "merge":
            self.wall += 3_600 * SECOND
            await self.care.merge()
        else:
            await self.again(crash=what == "crash")

    async def again(self, *, crash: bool) -> None:
        """Open it anew. A crash leaves the files as they are at that moment."""
        self.runs += 1
        before = self.folder / str(self.runs - 1)
        if crash:
            (self.folder / str(self.runs)).mkdir()
            for part in ("", "-wal"):
                if (before / (files.name + part)).exists():
                    shutil.copy(before / (files.name + part), self.folder / str(self.runs))
        await self.log.close()
        if not crash:
            before.rename(self.folder / str(self.runs))
        await self.open()

    async def check(self) -> None:
        # from the disk: memory may hold the newest events a little longer
        found = await self.log.look(read_blocks, 1, self.log.head, 1_000_000)
        offsets = [one.offset for one in found]
        assert offsets == sorted(set(offsets))
        assert offsets[-1] <= self.log.head
        there = set(offsets)
        told = [one for gap in found if gap.type == "gap" for one in gap.data["ranges"]]
        holes = self.log.head - len(there)
        assert holes == sum(count for _, _, count in told)
        gone = {offset for lo, hi, _ in told for offset in range(lo, hi + 1)} - there
        assert len(gone) == holes
        numbers = [one.data["n"] for one in found if "n" in one.data]
        assert numbers == sorted(set(numbers))
        missing = set(self.acknowledged) - set(numbers)
        assert len(missing) <= holes
        assert not {n for n in missing if n % 17 == 0}  # alarms stay


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=25))
def test_whatever_happens_what_was_acknowledged_is_there_or_owned_up_to(steps: list[tuple[str, int]]) -> None:
    async def story(folder: Path) -> None:
        world = World(folder)
        await world.open()
        await world.do("append", 5)
        for what, much in steps:
            await world.do(what, much)
        await world.check()
        await world.again(crash=True)
        await world.check()
        await world.log.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))
