"""The views as a fold of the log: events in, changed rows out. No I/O, no clock.

It takes events as they were stored. What came while nobody confirmed the clock stays ``loose`` for a while: its minutes move
along when the clock is set, and are added to the rest once somebody confirms it, or after ten minutes as they are.
"""

from collections.abc import Iterator
from itertools import chain

import msgspec
from msgspec import Struct

from gateway.event import Event, Quality, Value
from gateway.store.views.cells import MINUTE, Alarm, Bucket, Buckets, Cell, Seen, add

patience = 10 * MINUTE
"""So long the times of an unconfirmed clock may still be put right in the roll-ups."""

few = 4
"""Readings of a source that aren't worth adding up as columns."""

_numbers = {int, float}
_alarms = {"alarm.raised", "alarm.cleared", "alarm.acknowledged", "alarm.shelved"}
_times = {"clock.stepped", "clock.synced", "clock.unsynced", "gateway.started"}


class State(Struct):
    """What is kept beside the rows."""

    unsynced: str | None = None
    """The boot whose clock nobody confirms."""
    touched: list[int] = []
    loose: list[tuple[int, int, Bucket]] = []


class Views:
    """All built-in views. ``changed`` and ``minutes`` hold what isn't in the tables yet."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, Cell]] = {}
        self.series = 0
        """Highest number given to a (source, metric)."""
        self.seen: dict[str, Seen] = {}
        self.alarms: dict[tuple[str, str], Alarm] = {}
        self.changed: list[Cell] = []
        self.heard: set[str] = set()
        self.turned: set[tuple[str, str]] = set()
        self.minutes: Buckets = {}
        self.loose: Buckets = {}
        self.unsynced: str | None = None
        self._touched: dict[int, Cell] = {}
        self._newest = 0

    def restore(self, state: bytes | None) -> None:
        """Begin with this state; the rows are there already."""
        kept = msgspec.msgpack.decode(state, type=State) if state else State()
        self.unsynced = kept.unsynced
        self.loose = {(start, series): bucket for start, series, bucket in kept.loose}
        touched = set(kept.touched)
        self._touched = {cell.series: cell for cell in self.everything() if cell.series in touched}

    def snapshot(self) -> bytes:
        """The state, for restore()."""
        loose = [(start, series, bucket) for (start, series), bucket in self.loose.items()]
        return msgspec.msgpack.encode(State(self.unsynced, list(self._touched), loose))

    def cell(self, source: str, metric: str) -> Cell:
        """That metric of that source, made if it is new."""
        of_source = self.cells.setdefault(source, {})
        cell = of_source.get(metric)
        if cell is None:
            self.series += 1
            cell = of_source[metric] = Cell(self.series, source, metric)
        return cell

    def everything(self) -> Iterator[Cell]:
        """All metrics of all sources."""
        return chain.from_iterable(of_source.values() for of_source in self.cells.values())

    def state(self, source: str) -> dict[str, Value | None]:
        """The newest value of each metric of a source, as flat JSON; what couldn't be read is null."""
        return {metric: cell.value for metric, cell in self.cells.get(source, {}).items() if cell.offset}

    def active(self, alarm: str) -> list[Alarm]:
        """Where an alarm is active, longest first."""
        return sorted((one for one in self.alarms.values() if one.alarm == alarm), key=lambda one: one.raised)

    def take(self, events: list[Event]) -> None:
        """The next events of the log, as they were stored. Those of a source are added up together."""
        runs: dict[str, list[Event]] = {}
        for event in events:
            kind = event.type
            if kind == "reading":
                if event.source in runs:
                    runs[event.source].append(event)
                else:
                    runs[event.source] = [event]
            elif kind in _alarms:
                self._alarm(event)
            elif kind in _times:
                self._add_up(runs)
                runs = {}
                self._time(event)
        self._add_up(runs)

    def drain(self) -> list[Cell]:
        """The cells that changed since the last call."""
        changed, self.changed = list(dict.fromkeys(self.changed)), []
        for cell in changed:
            cell.changed = False
        return changed

    def settle(self) -> None:
        """Bring everything that is being counted into ``minutes``, before rows are made of it."""
        self._close()
        late = self._newest - patience
        for key in [key for key, bucket in self.loose.items() if bucket.at < late or self.unsynced is None]:
            add(self.minutes, key, self.loose.pop(key))

    def _add_up(self, runs: dict[str, list[Event]]) -> None:
        for events in runs.values():
            if len(events) < few or not self._run(events):
                for event in events:
                    self._reading(event)

    def _run(self, events: list[Event]) -> bool:
        """Add up readings of a source as columns. False: nothing was done, because they aren't plain numbers of the same
        metrics, equally good, in the order of their times, and in one minute."""
        rows = [event.data for event in events]
        times = [event.time for event in events]
        first, last = times[0], times[-1]
        minute = last - last % MINUTE
        metrics = rows[0].keys()
        if first < minute or "_quality" in metrics or times != sorted(times):
            return False
        quality = events[0].quality
        if (
            quality >= 64
            or {event.quality for event in events} != {quality}
            or [row for row in rows if row.keys() != metrics]
        ):
            return False
        columns = {metric: [row[metric] for row in rows] for metric in metrics}
        if not all(_numbers.issuperset(map(type, column)) for column in columns.values()):
            return False
        source, offset = events[-1].source, events[-1].offset
        self._sign_of_life(source, first, quality)
        self._sign_of_life(source, last, quality, len(events) - 1)
        self._newest = max(self._newest, last)
        for metric, column in columns.items():
            cell = self.cell(source, metric)
            self._change(cell)
            if last >= cell.time:
                cell.time, cell.value, cell.quality, cell.offset = last, column[-1], quality, offset
            if not cell.count or minute != cell.minute:
                self._count(cell)
                cell.minute, cell.count, cell.at = minute, 0, first
                cell.low = cell.high = float(column[0])
                cell.total = 0.0
            cell.count += len(column)
            total = cell.total
            for value in column:  # one by one: the same sum, however the events come in pages
                total += value
            cell.total = total
            cell.low = min(cell.low, *column)
            cell.high = max(cell.high, *column)
            if last >= cell.at:
                cell.newest, cell.at = column[-1], last
        return True

    def _reading(self, event: Event) -> None:
        source, time, quality = event.source, event.time, event.quality
        data = event.data
        flags: dict[str, str] | None = data.get("_quality")
        self._sign_of_life(source, time, quality)
        if time > self._newest:
            self._newest = time
        minute = time - time % MINUTE
        try:
            cells = self.cells[source]
        except KeyError:
            cells = self.cells[source] = {}
        for metric, value in data.items():
            try:
                cell = cells[metric]
            except KeyError:
                if metric == "_quality":
                    continue
                cell = self.cell(source, metric)
            if not cell.changed:
                self._change(cell)
            worth = quality
            if flags is not None and metric in flags:
                worth = _worth(flags[metric])
            if time >= cell.time:
                cell.time, cell.value, cell.quality, cell.offset = time, value, worth, event.offset
            if worth >= 64 or value.__class__ is str:
                continue
            if cell.count and minute == cell.minute:
                cell.count += 1
                cell.total += value
                if value < cell.low:
                    cell.low = value
                elif value > cell.high:
                    cell.high = value
                if time >= cell.at:
                    cell.newest, cell.at = value, time
            elif isinstance(value, int | float):
                self._count(cell)
                cell.minute, cell.count, cell.at = minute, 1, time
                cell.low = cell.high = cell.total = cell.newest = float(value)
        if flags is not None:
            self._without_value(event, flags)

    def _without_value(self, event: Event, flags: dict[str, str]) -> None:
        """Metrics of which a reading only says why they have no value."""
        for metric, reason in flags.items():
            if metric in event.data or metric.startswith("_"):
                continue
            cell = self.cell(event.source, metric)
            if event.time >= cell.time:
                self._change(cell)
                cell.time, cell.value, cell.quality, cell.offset = event.time, None, _worth(reason), event.offset

    def _sign_of_life(self, source: str, time: int, quality: int, readings: int = 1) -> None:
        seen = self.seen.get(source)
        if seen is None:
            seen = self.seen[source] = Seen(time, time, 0, quality)
        seen.readings += readings
        if time >= seen.last:
            seen.last, seen.quality = time, quality
        elif time < seen.first:
            seen.first = time
        self.heard.add(source)

    def _change(self, cell: Cell) -> None:
        if not cell.changed:
            cell.changed = True
            self.changed.append(cell)
        if self.unsynced is not None:
            self._touched[cell.series] = cell

    def _count(self, cell: Cell) -> None:
        """Put aside the minute that a cell has counted."""
        if cell.count:
            # a switch's values are true and false, which the kept state couldn't be read with
            low, high, newest = float(cell.low), float(cell.high), float(cell.newest)
            bucket = Bucket(cell.count, low, high, float(cell.total), newest, cell.at)
            add(self.minutes if self.unsynced is None else self.loose, (cell.minute, cell.series), bucket)
            cell.count = 0

    def _close(self) -> None:
        for cell in self.changed:
            self._count(cell)

    def _alarm(self, event: Event) -> None:
        data = event.data
        key = (str(data.get("alarm", "")), event.source)
        self.turned.add(key)
        if event.type == "alarm.raised":
            severity, text, occurrence = data.get("severity"), data.get("text"), data.get("occurrence")
            self.alarms[key] = Alarm(*key, severity, text, event.time, occurrence, event.offset)
        elif event.type == "alarm.cleared":
            self.alarms.pop(key, None)
        elif key in self.alarms and event.type == "alarm.acknowledged":
            self.alarms[key].acknowledged = event.time
        elif key in self.alarms and event.type == "alarm.shelved":
            until = data.get("until")
            self.alarms[key].shelved = until if isinstance(until, int) else event.time

    def _time(self, event: Event) -> None:
        """The clock was set, has won or lost trust, or another boot began."""
        data = event.data
        if event.type == "clock.stepped" and self.unsynced is not None:
            self.move(data["after"] - data["before"])
        elif event.type == "clock.synced" or (event.type == "gateway.started" and data.get("trusted", True)):
            self._confirmed(None)
        elif event.type in ("clock.unsynced", "gateway.started") and data["boot"] != self.unsynced:
            self._confirmed(data["boot"])

    def _confirmed(self, unsynced: str | None) -> None:
        """From here on times are what they are, or those of a boot that nobody confirms."""
        self._close()
        for key, bucket in self.loose.items():
            add(self.minutes, key, bucket)
        for cell in self.changed:
            cell.changed = False  # so that it is noticed, too, when it changes in what comes now
        self.loose, self._touched, self.unsynced = {}, {}, unsynced

    def move(self, by: int) -> None:
        """Everything since nobody confirms the clock was that much later. Minutes move by whole minutes."""
        self._close()
        whole = round(by / MINUTE) * MINUTE
        loose, self.loose = self.loose, {}
        for (start, series), bucket in loose.items():
            bucket.at += by
            add(self.loose, (start + whole, series), bucket)
        for cell in self._touched.values():
            cell.time += by
            self._change(cell)
        for source in {cell.source for cell in self._touched.values()}:
            self.seen[source].last += by
            self.heard.add(source)
        self._newest += by


def _worth(reason: str) -> int:
    try:
        return Quality[reason]
    except KeyError:
        return Quality.good
