"""What a ``worker`` has promised, held against the log it left behind."""

import asyncio
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from gateway.clock import Clock
from gateway.event import Event, event
from gateway.store import backup, files
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from tests.faults.worker import pad


def faults(folder: Path, said: list[str], *, salvaged: bool = False) -> list[str]:
    """Open what is left as a gateway would; give every promise that was broken. It must be able to go on, too.

    salvaged  it was set aside and salvaged in between: rules begin anew then, and offsets far beyond the old ones"""
    try:
        return asyncio.run(_faults(folder, said, salvaged))
    except sqlite3.DatabaseError as error:
        return [f"corrupt: {error}"]


async def _faults(folder: Path, said: list[str], salvaged: bool) -> list[str]:
    log = await Log.open(folder, Clock(trust=True), pace=Pace(0.0, 0.0), machine="test")
    try:
        if log.aside:
            return [f"corrupt: set aside as {log.aside}"]
        events = await _everything(log)
        found = [f"corrupt: {lo}..{hi} can't be read" for lo, hi in log.lost]
        found += _lost(events, said)
        if not salvaged:
            found += _unknown(events, log.head)
            found += await _positions(log, events, said)
        stored = log.append([event("reading", "plant/air", {"n": -1}, time=0)])
        assert stored
        await stored
    finally:
        await log.close()
    found += [f"corrupt: {one}" for one in backup.faults(folder / files.name)]
    return found


async def _everything(log: Log) -> list[Event]:
    events: list[Event] = []
    while page := await log.read_as_stored(events[-1].offset + 1 if events else 1):
        events += page
    return events


def _given_up(events: list[Event]) -> Callable[[int], bool]:
    """Whether a gap says of an offset that it was given up."""
    ranges = [part for one in events if one.type == "gap" for part in one.data["ranges"]]
    return lambda offset: any(lo <= offset <= hi for lo, hi, _ in ranges)


def _unknown(events: list[Event], head: int) -> list[str]:
    """Offsets of which nobody says what became of them."""
    there, given_up = {one.offset for one in events}, _given_up(events)
    return [f"lost: nobody knows of {n}" for n in range(1, head + 1) if n not in there and not given_up(n)]


def _lost(events: list[Event], said: list[str]) -> list[str]:
    """Numbers that were acknowledged and aren't there, and what isn't what was written."""
    there, owned_up = {one.offset: one for one in events}, _given_up(events)
    found = [
        f"corrupt: {one.offset} isn't what was written"
        for one in events
        if one.type == "reading" and one.data["n"] >= 0 and one.data["pad"] != pad(one.data["n"])
    ]
    for line in said:
        words = line.split()
        if words[0] == "acknowledged":
            first, last, lo = map(int, words[1:])
            for n in range(first, last + 1):
                offset = lo + n - first
                if offset in there:
                    if there[offset].data.get("n") != n:
                        found.append(f"lost: {n} isn't at {offset}")
                elif not owned_up(offset):
                    found.append(f"lost: {n} was acknowledged and isn't at {offset}")
        elif words[0] == "given":
            found += [
                f"lost: nobody says that {n} was given up"
                for n in range(int(words[2]), int(words[3]) + 1)
                if n not in there and not owned_up(n)
            ]
    return found


async def _positions(log: Log, events: list[Event], said: list[str]) -> list[str]:
    """The rules' position, state and newest alarm are one; none of them is older than what was said."""
    seen = max((int(line.split()[1]) for line in said if line.startswith("seen ")), default=None)
    rules = await (await Consumers.load(log)).find("rules")
    if rules is None:
        return [] if seen is None else [f"lost: the rules' position, at {seen}"]
    lo = rules.ranges[0].lo
    found = [] if seen is None or lo > seen else [f"lost: the rules were at {seen}, not {lo - 1}"]
    if rules.state is not None:
        alarms = [one.data for one in events if one.type == "alarm.raised"]
        if int(rules.state) != lo - 1 or alarms[-1]["through"] != lo - 1:
            found.append(f"corrupt: the rules are at {lo - 1}, their state at {rules.state!r}, alarms at {alarms[-1]}")
        for before, one in pairwise(alarms):
            if one["from"] != before["through"] + 1:
                found.append(f"corrupt: the alarm {one} follows {before}")
    elif any(one.type == "alarm.raised" for one in events):
        found.append("corrupt: an alarm, but no state")
    return found
