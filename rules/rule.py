"""A rule as the engine sees it, checked and compiled."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from gateway.catalogue import canonical
from gateway.event import SECOND, Value
from rules.compile import Bind
from rules.meaning import Condition, Spec

SEVERITIES = ("low", "medium", "high", "critical")


class Slot(Struct, frozen=True):
    """A ``{name}`` in a template: a metric at a place, or one of the words that every alarm has."""

    name: str
    place: int = -1
    metric: str = ""


class Line(Struct, frozen=True):
    """One line of a rule test: a reading or a change of state at a time (µs from the start of the test)."""

    time: int
    source: str
    metric: str
    value: Value | None


class Expected(Struct, frozen=True, order=True):
    """What a rule test expects, or what happened instead."""

    time: int
    key: str
    state: str

    def __str__(self) -> str:
        return f"{duration(self.time)} {self.key} {self.state}"


class Trial(Struct, frozen=True):
    """One ``[[rule.x.test]]``."""

    name: str
    line: int
    given: tuple[Line, ...]
    expect: tuple[Expected, ...]
    until: int


class Rule(Struct, frozen=True, eq=False):
    """One table of a rule file.

    on       globs of sources; empty for a rule with ``with``
    sources  for a rule with ``with``: the devices it looks at, by place
    looks    what the rule shows of an alarm's cause: (name, place, metric)
    memories (place, what is kept over time)
    ages     (place, metric or "", µs): when an age() becomes true
    asks     rules whose alarms it asks for
    hash     names this version of the rule in its alarms
    """

    name: str
    file: str
    line: int
    on: tuple[str, ...]
    sources: tuple[str, ...]
    when: Condition
    clear: Condition
    unless: Condition | None
    on_unknown: str
    severity: str
    text: tuple[str | Slot, ...]
    looks: tuple[tuple[str, int, str], ...]
    memories: tuple[tuple[int, Spec], ...]
    ages: tuple[tuple[int, str, int], ...]
    asks: tuple[str, ...]
    hash: str
    bind: Bind
    runbook: str = ""
    trials: tuple[Trial, ...] = ()

    def matches(self, source: str) -> bool:
        """Whether it has an alarm of its own for this source."""
        return any(fnmatchcase(source, glob) for glob in self.on)

    @property
    def named(self) -> tuple[str, ...]:
        """Sources that exist for this rule before they were ever heard."""
        return self.sources or tuple(glob for glob in self.on if not any(sign in glob for sign in "*?["))


class RuleSet(Struct, frozen=True):
    """All rules, each after those whose alarms it asks for."""

    rules: tuple[Rule, ...] = ()

    def only(self, name: str) -> "RuleSet":
        """One rule and what it asks for."""
        wanted = {name}
        for rule in reversed(self.rules):
            if rule.name in wanted:
                wanted.update(rule.asks)
        return RuleSet(tuple(rule for rule in self.rules if rule.name in wanted))


def duration(time: int) -> str:
    """µs as a rule would write it: ``90m``."""
    for letter, size in (("d", 86_400 * SECOND), ("h", 3_600 * SECOND), ("m", 60 * SECOND)):
        if time and time % size == 0:
            return f"{time // size}{letter}"
    return f"{time / SECOND:g}s"


def shown(value: Any, metric: str) -> str:
    """A value for people: ``82.5 °C``."""
    if value is None:
        return "unknown"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value).lower() if isinstance(value, bool) else str(value)
    number = f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    unit = canonical(metric)
    return number if unit in (None, "1") else f"{number} {unit}"


def moment(time: int) -> str:
    """A time for people, in UTC."""
    return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
