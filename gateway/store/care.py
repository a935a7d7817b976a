"""The care of an open log, in the background: check it after an unclean stop, keep it within its cap and ages, merge old
blocks, keep the ballast, count what is written.

Everything that changes the log goes through ``append``, in slices between the commits of others: as large as they can be
without holding those up.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.clock import Clock
from gateway.event import SECOND, Event, event
from gateway.store import compact, eras, files, retention
from gateway.store.disk import free
from gateway.store.log import Log
from gateway.store.retention import Limits, Slice

log = logging.getLogger("redcar.care")

every = 5.0
"""Seconds between looks at the size of the log."""

longest_stall, shortest_stall = 0.025, 0.008
"""Seconds a slice may hold up the commits of others: beyond the first the next one is half as large, below the second twice."""

check_within = 30.0
"""Seconds a check after an unclean stop may take: it holds the WAL open, which grows meanwhile."""

steadily = 86_400 * SECOND
"""So long the clock must have run without a jump before anything is deleted for its age; a jump is more than a day."""

merges = 50
"""Merges per round at most, of up to a thousand events each: 10,000 events/s, far more than come for long."""


class Written(Struct):
    """What this process has written to disks, by day; for ``redcar status``."""

    days: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)


class Care:
    """Looks after one log until cancelled."""

    def __init__(self, log_: Log, limits: Limits) -> None:
        self.limits = limits
        self.cap = 0
        """Bytes the log may take, once ``run`` has looked at the disk."""
        self.merged = 0
        """Events merged into large blocks."""
        self.worst = 0.0
        """Seconds the longest slice took."""
        self._log = log_
        self._blocks = 4
        self._ladder: dict[str, Callable[[Connection, int, int], Slice]] = {
            "delete": retention.plan_delete,
            "thin": lambda db, start, most: retention.plan_thin(db, start, most, limits.thin),
            "drop": retention.plan_drop,
        }
        self._exhausted = False
        self._expired: dict[float, int] = {}
        self._merged_through = 0
        self._apart = self._steady = 0
        self._told: bool | None = None
        self._written = Written()
        self._seen = (written_by_us(), 0)

    async def run(self) -> None:
        """Once what is left from the last time, then a round every few seconds."""
        log_ = self._log
        sizes = await log_.look(files.measure, log_.folder)
        self.cap = retention.cap_of(self.limits.cap, sizes.counted + sizes.spare + free(log_.folder))
        log_.disk.ballast.size = min(2 * files.wal_limit, self.cap // 20)
        stored = dict(await log_.query("select key, value from meta where key in ('written', 'merged')"))
        self._written = msgspec.json.decode(stored.get("written", "{}"), type=Written)
        self._merged_through = stored.get("merged", 0)
        self._steady, self._apart = steady_since(await log_.look(eras.stored), log_.clock)
        if not log_.clean:
            await self.check("the last process wasn't stopped properly")
        while True:
            if log_.disk.health.state != "failing":
                await asyncio.to_thread(log_.disk.ballast.put_back)
                await self.round()
            await asyncio.sleep(every)

    async def round(self) -> None:
        """Everything that is due now."""
        if self._log.disk.suspect:
            self._log.disk.suspect = False
            await self.check("the disk had failed")
        await self.keep_within()
        await self.expire()
        await self.merge()
        self._count()

    # ------------------------------------------------------------------ the ladder

    async def keep_within(self) -> None:
        """Climb down the ladder until the log is within its cap, and a little more, so that it isn't at it again at once."""
        if await self._size() <= self.cap:
            self._exhausted = False
            return
        enough = self.cap - self.cap // 50
        for step, plan in self._ladder.items():
            if await self._step(step, plan, enough):
                return
        if not self._exhausted:
            log.error(
                "the log is larger than its cap, and only alarms, commands and gaps are left: raise retention.cap"
            )
            self._exhausted = True

    async def _step(self, step: str, plan: Callable[[Connection, int, int], Slice], enough: int) -> bool:
        """One rung, slice by slice. True: the log is small enough now."""
        at = 0
        while True:
            made = await self._log.look(plan, at, self._blocks)
            if not made.through:
                return False
            at = made.through + 1
            if made.blocks:
                await self._give_up(made, "cap", step)
                if await self._size() <= enough:
                    return True

    async def _give_up(self, made: Slice, reason: str, step: str) -> None:
        said = {"reason": reason, "step": step, "count": made.count, "ranges": made.ranges}
        gap = event("gap", "gateway", {**said, "from": made.since, "to": made.until}, time=self._log.clock.now())
        await self._store([gap], [*made.statements, files.kept("mark", self._log.head)])

    async def _store(self, events: list[Event], statements: list[tuple[str, tuple[object, ...]]]) -> None:
        """One slice, and what it teaches about the size of the next."""
        await self._log.store(events, also=statements)
        took = self._log.disk.took
        self.worst = max(self.worst, took)
        if took > longest_stall:
            self._blocks = max(1, self._blocks // 2)
        elif took < shortest_stall:
            self._blocks = min(128, self._blocks * 2)
        await asyncio.sleep(2 * took)  # a third of the disk's time at most

    async def _size(self) -> int:
        return (await self._log.look(files.measure, self._log.folder)).counted

    # ------------------------------------------------------------------ ages

    async def expire(self) -> None:
        """Delete what is too old, if the clock can be believed."""
        ages = sorted({age for age in (self.limits.age, *self.limits.ages.values()) if age is not None})
        if not ages or not self._believable():
            return
        now = self._log.clock.now()
        for age in ages:
            while True:
                at = self._expired.get(age, 0)
                made = await self._log.look(retention.plan_expire, at, self._blocks, self.limits, now, age)
                if not made.through:
                    break
                self._expired[age] = made.through + 1
                if made.blocks:
                    await self._give_up(made, "age", "delete")

    def _believable(self) -> bool:
        """Whether something may be deleted for its age: the clock is confirmed and hasn't jumped more than a day lately."""
        clock = self._log.clock
        apart = clock.now() - clock.monotonic()
        if abs(apart - self._apart) > steadily:
            self._steady = clock.monotonic()
        self._apart = apart
        believable = clock.trusted() and clock.monotonic() - self._steady >= steadily
        if not believable and self._told is not False:
            log.warning("nothing is deleted for its age: the clock isn't confirmed, or was set by more than a day")
        self._told = believable
        return believable

    # ------------------------------------------------------------------ the rest

    async def merge(self) -> None:
        """Put the small blocks of old commits together; not while a salvage puts others between them."""
        if self._log.aside:
            return
        before = self._log.clock.now() - compact.settled * SECOND
        for _ in range(merges):
            made = await self._log.look(compact.plan, self._merged_through + 1, before)
            if made is None:
                return
            if made.statements:
                await self._store([], made.statements)
                self.merged += made.events
            self._merged_through = made.through

    async def check(self, reason: str) -> None:
        """Look at the structure of the file beside everything else; say in the log what was found."""
        clock = self._log.clock
        began = clock.monotonic()
        db = await files.connect_to_read(self._log.path)
        try:
            found = await db.run(files.quick_check, check_within, lambda: (clock.monotonic() - began) / SECOND)
        finally:
            await db.close()
        result = "unfinished" if found is None else "damaged" if found else "sound"
        if found:
            log.error("%s is damaged (%s): stop the gateway and run redcar repair", self._log.path, found[0])
        data = {
            "reason": reason,
            "result": result,
            "found": found or [],
            "seconds": (clock.monotonic() - began) / SECOND,
        }
        self._log.append([event("log.checked", "gateway", data, time=clock.now())], wait=False)

    def said(self) -> dict[str, Any]:
        """How it is going, for ``redcar status``."""
        disk = self._log.disk
        health = {"state": disk.health.state, "problem": disk.health.problem}
        return {
            "health": health,
            "failures": disk.failures,
            "refusals": disk.refusals,
            "last_commit": disk.took,
            "longest_slice": self.worst,
        }

    def _count(self) -> None:
        """Add what was written since the last look to today's account; kept for a week."""
        written, events = written_by_us(), self._log.figures.events
        day = str(self._log.clock.now() // (86_400 * SECOND))
        account = self._written
        account.days[day] = account.days.get(day, 0) + written - self._seen[0]
        account.events[day] = account.events.get(day, 0) + events - self._seen[1]
        for old in sorted(account.days, key=int)[:-8]:
            account.days.pop(old)
            account.events.pop(old, None)
        changed = events != self._seen[1]
        self._seen = written, events
        if changed:
            self._log.lazily("written", files.kept("written", msgspec.json.encode(account).decode()))


def steady_since(stored: list[eras.Row], clock: Clock) -> tuple[int, int]:
    """Monotonic time of the last jump of this boot's clock by more than a day, as far as the log knows: another process may
    have seen it, or none. A day ago if there was none. And how far wall and monotonic time are apart now."""
    apart, now = clock.now() - clock.monotonic(), clock.monotonic()
    steady = now - steadily
    own = [row for row in stored if row.boot == clock.boot]
    for before, row in pairwise([*own, eras.Row(0, clock.boot, now, apart, True)]):
        if abs(row.apart - before.apart) > steadily:
            steady = max(steady, row.monotonic)
    return steady, apart


def written_by_us() -> int:
    """Bytes this process has had written to disks; 0 where the kernel doesn't count."""
    try:
        text = Path("/proc/self/io").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("write_bytes")), 0)
