"""Rule tests: readings given, alarms expected, in virtual time.

    given  = '''
    0s          boiler-1/temperature 70
    60s..120s every 10s boiler-1/temperature 82 °C
    200s        boiler-1 offline
    '''
    expect = "90s boiler-1 active"        or several lines, or "never"

``expect`` is complete: what isn't listed must not happen. Nothing is looked at after the last time named, or after
``until``. The key of a rule with ``with`` is the rule's name.
"""

import re
from collections.abc import Iterator

from gateway.catalogue import UnitError, canonical, convert
from gateway.event import Event, event
from rules.engine import Engine
from rules.rule import Expected, Line, RuleSet, Trial
from rules.tokens import DURATION, microseconds

most_lines = 100_000
"""Readings of one test; ``every 1ms`` over a year is a mistake, not a test."""

begin = 1_700_000_000_000_000
"""Virtual time 0, an arbitrary moment in 2023."""

_EVERY = re.compile(r"(\S+?)\.\.(\S+)\s+every\s+(\S+)\s+(.*)")
_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(\S*)")


class BadLine(Exception):
    """A line that can't be read: which, why, and what to write instead."""

    def __init__(self, line: str, problem: str, cure: str) -> None:
        super().__init__(f"'{line.strip()}': {problem}" if line else problem)
        self.cure = cure


def time_of(text: str, line: str = "") -> int:
    """A duration in µs."""
    match = DURATION.fullmatch(text)
    if not match:
        raise BadLine(line, f"'{text}' isn't a time", "write a duration such as 90s, 5m or 2h")
    return microseconds(match)


def read_given(text: str) -> tuple[Line, ...]:
    """The readings of a test, in order of time. Raises BadLine."""
    lines: list[Line] = []
    for line in text.splitlines():
        if line.strip() and not line.strip().startswith("#"):
            lines += _read_line(line.strip())
            if len(lines) > most_lines:
                raise BadLine(line, f"more than {most_lines} readings", "take a longer step")
    return tuple(sorted(lines, key=lambda one: one.time))


def _read_line(line: str) -> Iterator[Line]:
    if match := _EVERY.fullmatch(line):
        first, last, step = (time_of(part, line) for part in match.groups()[:3])
        if step <= 0 or (last - first) // step > most_lines:
            raise BadLine(line, f"more than {most_lines} readings", "take a longer step")
        times, what = list(range(first, last + 1, step)), match[4]
    else:
        time, _, what = line.partition(" ")
        times = [time_of(time, line)]
    subject, _, value = what.strip().partition(" ")
    source, slash, metric = subject.rpartition("/")
    if value.strip() in ("offline", "online"):
        return (Line(time, subject, "", value.strip()) for time in times)
    if not slash or not source or not metric or not value.strip():
        raise BadLine(line, "isn't a reading", "write 10s boiler-1/temperature 70")
    read = _value(value.strip(), metric, line)
    return (Line(time, source, metric, read) for time in times)


def _value(text: str, metric: str, line: str) -> float | str | bool | None:
    if text in ("true", "false"):
        return text == "true"
    if text == "unknown":
        return None
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    match = _NUMBER.fullmatch(text)
    if not match:
        cure = 'write a number, a number with its unit, true, false, unknown or "text"'
        raise BadLine(line, f"'{text}' isn't a value", cure)
    number, unit = float(match[1]), canonical(metric)
    if not match[2]:
        return number
    if unit is None:
        raise BadLine(line, f"the catalogue doesn't know {metric}, so it has no unit", "leave the unit out")
    try:
        return convert(number, match[2], unit)
    except UnitError as error:
        raise BadLine(line, str(error), f"write a value in {unit}") from None


def read_expect(text: str, key: str | None) -> tuple[Expected, ...]:
    """What a test expects, in order. ``key`` stands for a missing one. Raises BadLine."""
    if text.strip() == "never":
        return ()
    found = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) == 2 and key is not None:
            words.insert(1, key)
        if len(words) != 3 or words[2] not in ("active", "clear"):
            raise BadLine(line, "isn't an expectation", "write 90s boiler-1 active, 200s boiler-1 clear, or never")
        found.append(Expected(time_of(words[0], line), words[1], words[2]))
    return tuple(sorted(found))


def run(rules: RuleSet, name: str, trial: Trial) -> list[Expected]:
    """What happens to the alarms of one rule. Ticks come as the engine asks for them."""
    engine = Engine(rules)
    happened: list[Expected] = []
    offset = 0

    def feed(one: Event) -> None:
        nonlocal offset
        pending = [one]
        while pending:
            offset += 1
            pending[0].offset = offset
            made = engine.handle(pending[:1])
            pending = pending[1:] + made
            for alarm in made:
                if alarm.data["alarm"] == name:
                    state = "active" if alarm.type == "alarm.raised" else "clear"
                    happened.append(Expected(alarm.time - begin, alarm.source, state))

    def ticks(until: int) -> None:
        while (due := engine.due()) is not None and due < until:
            feed(event("tick", "gateway", {}, time=due))

    feed(event("gateway.started", "gateway", {}, time=begin))
    for line in trial.given:
        ticks(begin + line.time)
        feed(_event(line))
    ticks(begin + trial.until + 1)
    return [one for one in sorted(happened) if one.time <= trial.until]


def _event(line: Line) -> Event:
    time = begin + line.time
    if not line.metric:
        return event(f"device.{line.value}", line.source, {}, time=time)
    if line.value is None:
        return event("reading", line.source, {"_quality": {line.metric: "no_data"}}, time=time)
    return event("reading", line.source, {line.metric: line.value}, time=time)
