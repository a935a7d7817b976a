"""The text of an alarm: words and ``{names}``; no logic. Values come with their unit."""

import re

from gateway.catalogue import METRICS
from rules.check import Checker
from rules.rule import Slot
from rules.tokens import ClauseError, nearest

WORDS = ("device", "rule", "severity", "why", "since")
"""What every alarm can say: where, which rule, how bad, why it was raised, and since when its condition holds."""

longest = 500
"""Characters of a text."""

_SLOT = re.compile(r"\{([^{}]*)\}")


def template(text: str, checker: Checker) -> tuple[str | Slot, ...]:
    """The parts of a text. Raises ClauseError for a name that the rule doesn't have."""
    if len(text) > longest:
        raise ClauseError(0, f"longer than {longest} characters", "say it shorter")
    parts: list[str | Slot] = []
    at = 0
    for match in _SLOT.finditer(text):
        parts += [_plain(text, at, match.start()), _slot(match[1], match.start() + 1, checker)]
        at = match.end()
    return tuple(part for part in (*parts, _plain(text, at, len(text))) if part)


def _plain(text: str, start: int, end: int) -> str:
    for at in range(start, end):
        if text[at] in "{}":
            raise ClauseError(at + 1, f"{text[at]} without its other half", "write {temperature}; no braces otherwise")
    return text[start:end]


def _slot(name: str, column: int, checker: Checker) -> Slot:
    if name in WORDS:
        return Slot(name)
    known: dict[str, tuple[int, str]]
    also: tuple[str, ...]
    if checker.inputs is not None:
        known, also = checker.inputs, ()
    else:
        also = tuple(METRICS)
        known = {metric: (0, metric) for _, metric in checker.reads}
        if name.partition(".")[0] in METRICS:
            known[name] = (0, name)
    if name not in known:
        raise ClauseError(column, f"{{{name}}} is nothing this rule knows", nearest(name, (*known, *WORDS), also))
    checker.reads[known[name]] = None
    return Slot(name, *known[name])
