"""Events in, alarms out: a pure function of the rules, the state and the log. It reads no clock.

Time comes in three ways, none of them a clock's: a reading moves its own device's time; a tick, or the arrival of any
event, says how late it is by the wall; ``due()`` says when a tick is wanted next. A timer is looked at as of the moment
it was set for, whoever brought the news: the same log gives the same alarms however late its ticks came.

    a reading ─► device.take ─► judge ─┐
    the time  ─► fire        ─► judge ─┴─► advance ─► alarm.raised, alarm.cleared ─► rules that ask for this alarm
"""

from heapq import heappop, heappush

from gateway.event import SECOND, Event
from rules import alarm, snapshot
from rules.rule import RuleSet
from rules.site import Site
from rules.state import FAR, Device, Instance, moved, usable

few = 10
"""Events between two calls of due() up to which there is time to be exact."""

soon = 2 * SECOND
"""How far ahead due() is exact under load."""


class Engine:
    """The rules at work. Give ``handle`` everything in the log's order, from where ``restore``'s state was taken."""

    def __init__(self, rules: RuleSet) -> None:
        self.site = Site(rules)
        self.orphans: list[alarm.Orphan] = []
        self.wall = 0
        self.position = 0
        """Offset of the last event handled. A snapshot knows its own: whoever keeps one that is older than what was emitted
        handles the events in between again, and drops what comes of it."""
        self._begun = False
        self._news = 0
        self._timers: list[tuple[int, int, str]] = []
        self._soonest = FAR
        self._cause = 0
        self._made: list[Event] = []

    def restore(self, state: bytes | None) -> None:
        """Go on from ``snapshot()``. State follows the name of the rule; alarms whose rule is gone are closed by the
        next event."""
        if state is not None:
            snapshot.read(self, state)
            self._plan_all()

    def snapshot(self) -> bytes:
        """Everything but the rules."""
        return snapshot.write(self)

    def due(self) -> int | None:
        """Earliest wall time (µs) at which a timer may change something: a tick is wanted then.

        Every reading moves its device's age() timers. Under load, when more news is on its way, only those that are due
        soon are put right: the answer may be too early, at worst for one tick that wasn't needed; it is never too late.
        """
        certain = FAR if self._news <= few else self.wall + soon
        self._news = 0
        while self._timers:
            wall, rank, key = self._timers[0]
            instance = self.site.instances[rank][key]
            if instance.queued == wall and (wall > certain or wall == instance.due() + instance.lag):
                return wall
            heappop(self._timers)
            if instance.queued == wall:
                instance.queued = None
                self._plan(instance)
        return None

    def handle(self, events: list[Event]) -> list[Event]:
        """Take the next events of the log; returns the alarms raised and cleared by them, to be appended."""
        self._made = []
        self._news += len(events)
        if events:
            self.position = events[-1].offset
        devices, unmatched = self.site.devices, self.site.unmatched
        for event in events:
            self._cause = event.offset
            wall = event.recorded or event.time
            if not self._begun:
                self._begin(event, wall)
            if event.type != "reading":
                self._other(event, wall)
                continue
            if wall > self.wall:
                self.wall = wall
                if wall > self._soonest:
                    self._fire(wall - 1)
            if event.source in unmatched or event.quality >= 64:
                continue
            device = devices.get(event.source) or self.site.meet(event.source, event.time)
            if device is not None:
                self._reading(device, event)
        return self._made

    # ------------------------------------------------------------------ what comes in

    def _begin(self, event: Event, wall: int) -> None:
        """The first event since the start: know the devices that rules name, and close what no rule keeps open."""
        self._begun = True
        self.wall = self.wall or wall
        for orphan in self.orphans:
            self._made.append(alarm.closed(orphan, event.time, event.offset))
        self.orphans = []
        for rank, rule in enumerate(self.site.rules):
            for key in [rule.name] if rule.sources else rule.named:
                self.site.ensure(rank, key, wall)
        self._plan_all()

    def _other(self, event: Event, wall: int) -> None:
        """Whatever isn't a reading. A ``gap`` says what was given up of the past: it was judged when it came."""
        if event.type == "tick":
            self.wall = max(self.wall, event.time)
            self._fire(event.time)
            return
        if event.type == "gateway.started":
            self._skip(self.wall, wall)
        elif event.type == "clock.stepped":
            before, after = event.data.get("before"), event.data.get("after")
            if isinstance(before, int) and isinstance(after, int):
                self._shift(before, after - before)
        self.wall = max(self.wall, wall)
        self._fire(wall - 1)
        if event.type == "device.offline" and event.source in self.site.devices:
            device = self.site.devices[event.source]
            self._catch_up(device, event.time - 1)
            device.forget()
            device.now = max(device.now, event.time)
            for instance in sorted(device.instances, key=lambda one: one.rank):
                self._judge(instance, device.now)

    def _reading(self, device: Device, event: Event) -> None:
        if event.time > device.wake:
            self._catch_up(device, event.time - 1)
        data = event.data
        if "_quality" in data:
            data = usable(data)
        metrics = tuple(data)
        shape = device.shapes.get(metrics) or self.site.shape(device, metrics)
        lag = device.lag
        if not device.take(data, shape, event):
            return
        if device.lag != lag:  # its timers are due at another wall time than they were
            for instance in device.instances:
                self._plan(instance)
        now = device.now
        for instance in shape.glance(now) if shape.glance else self.site.everybody(device, shape):
            self._judge(instance, now)
        for instance in shape.timed:
            if instance.queued is None:
                self._plan(instance)

    def _skip(self, begin: int, end: int) -> None:
        """The gateway was down: delays and ages don't run through that."""
        if end > begin:
            for device in self.site.devices.values():
                device.skip(begin, end)
            for instance in self.site.everyone():
                instance.skip(begin, end)
            self._plan_all()

    def _shift(self, before: int, by: int) -> None:
        """The wall clock was set: all times move along, so that every delay and age goes on as if it hadn't been.
        A time later than ``before`` was told by the new clock already."""
        self.wall = moved(self.wall, before, by)
        for device in self.site.devices.values():
            device.shift(before, by)
        for instance in self.site.everyone():
            instance.shift(before, by)
        self._plan_all()

    # ------------------------------------------------------------------ an alarm's life

    def _judge(self, instance: Instance, now: int) -> None:
        truth = instance.judge(instance.active, now)
        if truth is not False or instance.since is not None:
            self._advance(instance, truth, now)

    def _advance(self, instance: Instance, truth: bool | None, now: int) -> None:
        """What a condition makes of an alarm: nothing while it is unknown, and after its delay the other state."""
        if len(instance.devices) > 1:
            now = instance.now
        if truth is None:
            instance.hold(now)
        elif not truth:
            instance.rest()
        elif not instance.elapsed(now):
            self._plan(instance)
        elif instance.active:
            self._clear(instance, now)
        elif instance.unless(now) is not True:
            self._raise(instance, now)

    def _raise(self, instance: Instance, now: int) -> None:
        since = now if instance.since is None else instance.since
        instance.turn(True, now)
        instance.occurrence = f"{instance.rule.name}/{instance.key}/{self._cause}"
        self.site.alarms[instance.rule.name].add(instance.key)
        self._made.append(alarm.raised(instance, since, self._cause))
        self._tell(instance, now)

    def _clear(self, instance: Instance, now: int) -> None:
        instance.turn(False, now)
        self.site.alarms[instance.rule.name].discard(instance.key)
        self._made.append(alarm.cleared(instance, now, self._cause))
        self._tell(instance, now)

    def _tell(self, changed: Instance, now: int) -> None:
        """Ask anew the rules that ask for this alarm."""
        self._plan(changed)
        wall = now + changed.lag
        for rank in self.site.asking[changed.rank]:
            for instance in self.site.instances[rank].values():
                self._run(instance, max(instance.now, wall - instance.lag))

    # ------------------------------------------------------------------ timers

    def _run(self, instance: Instance, now: int) -> None:
        instance.ran = now
        self._judge(instance, now)

    def _plan(self, instance: Instance) -> None:
        """Look at it again when it is due. A later due time needs no new entry: the old one is corrected when it is up."""
        due = instance.due()
        if due == FAR:
            return
        for device in instance.devices:
            device.wake = min(device.wake, due)
        wall = due + instance.lag
        if instance.queued is None or wall < instance.queued:
            instance.queued = wall
            heappush(self._timers, (wall, instance.rank, instance.key))
            self._soonest = self._timers[0][0]

    def _plan_all(self) -> None:
        self._timers, self._soonest = [], FAR
        for device in self.site.devices.values():
            device.wake = FAR
        for instance in self.site.everyone():
            instance.queued = None
            self._plan(instance)

    def _fire(self, wall: int) -> None:
        """Look at everything that is due by now, in the order in which it was."""
        while self._timers and self._timers[0][0] <= wall:
            queued, rank, key = heappop(self._timers)
            instance = self.site.instances[rank][key]
            if instance.queued == queued:
                instance.queued = None
                due = instance.due()
                if due + instance.lag <= wall:
                    self._run(instance, due)
                self._plan(instance)
        self._soonest = self._timers[0][0] if self._timers else FAR

    def _catch_up(self, device: Device, now: int) -> None:
        """The same for one device, whose own time is ahead of what the wall clock told us."""
        while device.instances:
            due, _, instance = min(
                ((one.due(), (one.rank, one.key), one) for one in device.instances), key=lambda it: it[:2]
            )
            device.wake = due
            if due > now:
                break
            self._run(instance, due)
            self._plan(instance)
