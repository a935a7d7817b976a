"""What the engine knows of devices and alarms: all of it plain values, so that it can be written down and restored.

A device lives at its own time, that of its newest reading. One that hands over yesterday's readings is behind the wall
clock by its ``lag``, and its timers with it.
"""

from typing import Any

from msgspec import Struct, field

from gateway.event import SECOND, Event, Quality
from rules.compile import Glance, Judge, Unless
from rules.meaning import Spec
from rules.memory import Memory
from rules.rule import Rule

FAR = 1 << 62
"""A time that never comes."""

live = 60 * SECOND
"""A device whose readings arrive within this time of being taken isn't behind."""

_NUMBERS: frozenset[type] = frozenset((float, int, bool))
_HUGE = 9e18  # beyond it a whole number has no place in a snapshot; nothing measured is that large


class Instance(Struct, eq=False):
    """One alarm of one rule: for a device, or for the rule itself if it has ``with``.

    active  the alarm stands
    busy    it is active, or on its way there
    since   the condition (if active: what clears it) holds since then; None: it doesn't
    mark    its delay has been running since then; None: it isn't running, because something is unknown
    left    what was left of the delay at ``mark``
    ran     latest time at which something other than a reading made us look at it
    queued  when the engine will look at it next, wall time
    """

    rule: Rule
    rank: int
    key: str
    devices: "list[Device]"
    judge: Judge
    unless: Unless
    active: bool = False
    busy: bool = False
    since: int | None = None
    mark: int | None = None
    left: int = 0
    raised: int = 0
    occurrence: str = ""
    ran: int = 0
    queued: int | None = None

    @property
    def now(self) -> int:
        """Its own time."""
        return max(self.ran, *[device.now for device in self.devices])

    @property
    def lag(self) -> int:
        """How far its time is behind the wall clock's."""
        return min([device.lag for device in self.devices])

    def due(self) -> int:
        """When time alone may change it next."""
        after, due = self.now, FAR
        if self.mark is not None and self.mark + self.left > after:
            due = self.mark + self.left
        for place, metric, span in self.rule.ages:
            at = self.devices[place].seen[metric] + span
            if after < at < due:
                due = at
        return due

    def rest(self) -> None:
        """The condition doesn't hold."""
        self.since = self.mark = None
        self.busy = self.active

    def turn(self, active: bool, now: int) -> None:
        """The alarm is raised or cleared."""
        self.active = active
        self.rest()
        if active:
            self.raised = now

    def hold(self, now: int) -> None:
        """Nobody knows whether the condition holds: its delay stands still."""
        if self.mark is not None:
            self.left -= max(0, now - self.mark)
            self.mark = None

    def elapsed(self, now: int) -> bool:
        """The condition holds: start the delay or go on with it. True once it is over."""
        if self.since is None:
            self.since = self.mark = now
            self.busy = True
            self.left = (self.rule.clear if self.active else self.rule.when).delay
        elif self.mark is None:
            self.mark = now
        return self.mark is not None and now - self.mark >= self.left

    def skip(self, begin: int, end: int) -> None:
        """Nobody watched from begin to end: a delay doesn't run through that."""
        begin, end = begin - self.lag, end - self.lag
        if self.mark is not None and self.mark < end:
            self.mark = end - max(0, begin - self.mark)

    def shift(self, before: int, by: int) -> None:
        """The wall clock was set."""
        self.ran = moved(self.ran, before, by)
        self.raised = moved(self.raised, before, by)
        self.since = None if self.since is None else moved(self.since, before, by)
        self.mark = None if self.mark is None else moved(self.mark, before, by)


class Shape(Struct):
    """What a reading with certain metrics concerns: which values to take, and whom to ask then.

    timed   those of the instances whose condition changes with time alone
    glance  finds the instances worth asking; compiled once the shape has come ``often``
    """

    metrics: list[tuple[str, list[Memory]]]
    instances: list[Instance]
    timed: list[Instance]
    came: int = 0
    glance: Glance | None = None


class Device(Struct, eq=False):
    """One source that some rule looks at.

    born      when it was first heard of
    now       its own time; 0 before its first reading
    wake      its own time from which on a timer may be due; it may be too early, never too late
    numbers   metric -> last good value; a missing one is unknown
    newest    metric -> time of its newest value
    seen      metric -> time from which its age counts: that of its newest good value, later by the time that nobody
              watched. "" is any metric; the others are there as far as some age() asks for them
    rules     (rank, place) of the rules that look at it
    """

    source: str
    born: int
    now: int = 0
    lag: int = 0
    wake: int = FAR
    numbers: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    memories: dict[Spec, Memory] = field(default_factory=dict)
    rules: list[tuple[int, int]] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    shapes: dict[tuple[str, ...], Shape] = field(default_factory=dict)

    def take(self, data: dict[str, Any], shape: Shape, event: Event) -> bool:
        """Note a reading's values. False if it is older than what is known: then nothing changed."""
        time = event.time
        fresh = time >= self.now
        newest, numbers, seen = self.newest, self.numbers, self.seen
        for metric, memories in shape.metrics:
            if newest.get(metric, 0) > time:
                continue
            fresh = True
            newest[metric] = time
            value = data[metric]
            kind: Any = type(value)
            if kind in _NUMBERS and -_HUGE < value < _HUGE:
                numbers[metric] = value
                if seen.get(metric, time) < time:
                    seen[metric] = time
                for memory in memories:
                    memory.add(time, float(value))
            else:
                numbers.pop(metric, None)
            if kind is str:
                self.texts[metric] = value
            elif self.texts:
                self.texts.pop(metric, None)
        if fresh:
            lag = event.recorded - time
            self.lag = lag if lag > live else 0
            if time >= self.now:
                self.now = time
            if seen.get("", 0) < time:
                seen[""] = time
        return fresh

    def forget(self) -> None:
        """It went offline: what it measured last isn't known to be so any more."""
        self.numbers.clear()
        self.texts.clear()

    def skip(self, begin: int, end: int) -> None:
        """Nobody watched from begin to end: nothing grows older through that."""
        for metric, time in self.seen.items():
            if time < end - self.lag:
                self.seen[metric] = end - self.lag - max(0, begin - self.lag - time)

    def shift(self, before: int, by: int) -> None:
        """The wall clock was set."""
        self.born = moved(self.born, before, by)
        self.now = moved(self.now, before, by)
        for times in (self.newest, self.seen):
            for metric, time in times.items():
                times[metric] = moved(time, before, by)
        for memory in self.memories.values():
            memory.shift(before, by)


def moved(time: int, before: int, by: int) -> int:
    """A time after the clock was set by so much at ``before``. 0 is never; what is later is of the new clock already."""
    return max(1, time + by) if 0 < time <= before else time


def usable(data: dict[str, Any]) -> dict[str, Any]:
    """A reading's values, with None for those that are marked bad."""
    values: dict[str, Any] = {metric: value for metric, value in data.items() if metric != "_quality"}
    marks = data["_quality"]
    if isinstance(marks, dict):
        for metric, reason in marks.items():
            if Quality.__members__.get(str(reason), Quality.no_data) >= Quality.no_data:
                values[metric] = None
    return values
