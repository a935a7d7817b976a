"""Short words for the tests of rules: rules from text, events at a second, alarms as lines."""

import tempfile
from pathlib import Path
from typing import Any

from gateway.event import SECOND, Event, event
from rules.engine import Engine
from rules.load import load
from rules.rule import RuleSet

begin = 1_700_000_000 * SECOND


def rules(text: str) -> RuleSet:
    """The rules of a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.toml"
        file.write_text(text)
        return load([file])


def made(given: RuleSet | str) -> RuleSet:
    return rules(given) if isinstance(given, str) else given


def at(second: float, type: str, source: str, data: dict[str, Any] | None = None, **more: Any) -> Event:
    """Something that happens."""
    return event(type, source, data or {}, time=begin + round(second * SECOND), **more)


def reading(second: float, source: str, **values: Any) -> Event:
    """A reading; ``temperature_2`` stands for temperature.2."""
    named = {name if name == "_quality" else name.replace("_2", ".2"): value for name, value in values.items()}
    return at(second, "reading", source, named)


def tick(second: float) -> Event:
    return at(second, "tick", "gateway")


def line(alarm: Event) -> str:
    """``90s boiler-1 hot active``"""
    state = {"alarm.raised": "active", "alarm.cleared": "clear"}[alarm.type]
    second = (alarm.time - begin) / SECOND
    return f"{int(second) if second == int(second) else second}s {alarm.source} {alarm.data['alarm']} {state}"


class Device:
    """As much of a device as compiled rules touch."""

    def __init__(self, numbers: dict[str, float], texts: dict[str, str] | None = None) -> None:
        self.numbers = numbers
        self.texts = texts or {}
        self.seen: dict[str, int] = {}
        self.memories: dict[Any, Any] = {}


class Log:
    """An engine and the log around it: numbers events, feeds alarms back, and ticks when asked to."""

    def __init__(self, rules: RuleSet | str, ticking: bool = True) -> None:
        self.engine = Engine(made(rules))
        self.ticking = ticking
        self.offset = 0
        self.written: list[Event] = []
        self.alarms: list[Event] = []

    def feed(self, *events: Event) -> list[str]:
        """Append events, with the ticks that are due before each. Returns what happened, as lines."""
        before = len(self.alarms)
        for one in events:
            if self.ticking:
                self.tick_until(one.recorded or one.time)
            self._append(one)
        return [line(alarm) for alarm in self.alarms[before:]]

    def wait(self, second: float) -> list[str]:
        """Let time pass in silence."""
        before = len(self.alarms)
        self.tick_until(begin + round(second * SECOND) + 1)
        return [line(alarm) for alarm in self.alarms[before:]]

    def tick_until(self, time: int) -> None:
        while (due := self.engine.due()) is not None and due < time:
            self._append(event("tick", "gateway", {}, time=due))

    def _append(self, one: Event) -> None:
        self.offset += 1
        one.offset = self.offset
        self.written.append(one)
        alarms = self.engine.handle([one])
        self.alarms += alarms
        for alarm in alarms:
            self._append(alarm)

    def restart(self, rules: RuleSet | str | None = None) -> None:
        """A new process: the state as it was written down, and perhaps other rules."""
        state = self.engine.snapshot()
        self.engine = Engine(RuleSet(self.engine.site.rules) if rules is None else made(rules))
        self.engine.restore(state)


def sentences(name: str) -> list[tuple[str, str]]:
    """A file of pairs: a line as somebody writes it, and indented below it what it means or what is said about it."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    return [(first, second.strip()) for first, second in zip(lines[::2], lines[1::2], strict=True)]
