"""One ``[rule.name]`` table, checked: either a Rule, or faults that say where, what and how to mend it."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from gateway.places import Document, Place
from rules import detectors
from rules.check import Checker, known_metric
from rules.compile import compile_rule
from rules.functions import TABLE as FUNCTIONS
from rules.meaning import Condition, Not
from rules.rule import SEVERITIES, Rule, Slot, Trial
from rules.template import template
from rules.tokens import WORDS, ClauseError, nearest
from rules.trial import BadLine, read_expect, read_given, time_of

KEYS = (
    "on",
    "with",
    "when",
    "clear",
    "unless",
    "severity",
    "text",
    "on_unknown",
    "detector",
    "learn",
    "enabled",
    "runbook",
    "test",
)
TEST_KEYS = ("name", "given", "expect", "until")

_NOT_YET = {
    "during": "write the rule for the whole day",
    "do": "forward alarm.* events with a [[subscription]] instead",
    "flap": "give clear a for, so that the alarm stays until it is quiet",
    "latch": "leave it out: an alarm clears by itself",
    "max_gap": "leave it out: a device that goes offline makes its values unknown",
}
_UNKNOWN = ("hold", "clear", "alarm")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

T = TypeVar("T")


class Table:
    """A rule as the file has it. ``rule()`` checks it; what is wrong is in the document's faults then."""

    def __init__(self, document: Document, name: str) -> None:
        self.document = document
        self.name = name
        self.keys: dict[str, Any] = document.data["rule"][name]
        self.asked: list[tuple[str, str, int]] = []
        self.enabled = self.keys.get("enabled") is not False
        self._right = True

    @property
    def line(self) -> int:
        return self.document.line(("rule", self.name))

    def fault(self, place: Place, problem: str, cure: str) -> None:
        """Note what is wrong at a key of this rule."""
        self._right = False
        self.document.fault(("rule", self.name, *place), problem, cure)

    def text(self, *place: str | int, default: str = "") -> str:
        """A key that has to be a text."""
        value: Any = self.keys
        for part in place:
            value = value.get(part, default) if isinstance(value, dict) else value[part]
        if isinstance(value, str):
            return value
        self.fault(place, f"{_said(value)} isn't a text", f'write {place[-1]} = "..."')
        return default

    def attempt(self, place: Place, make: Callable[[], T]) -> T | None:
        """Do it, or note why it can't be done."""
        try:
            return make()
        except ClauseError as error:
            self.fault(place, error.problem, error.cure)
        except BadLine as error:
            self.fault(place, str(error), error.cure)
        return None

    def rule(self) -> Rule | None:
        """The rule; None if it is switched off or has faults."""
        self._names()
        on, inputs, sources = self._devices()
        detector, learn = self._detector()
        checker = Checker(inputs, detector, learn)
        when = self._clause("when", checker)
        clear = self._clause("clear", checker)
        unless = self._clause("unless", checker)
        if unless and unless.delay:
            self.fault(("unless",), "unless takes no for", "put the for into a rule of its own and ask for its alarm()")
        severity = self._one_of("severity", SEVERITIES, "medium")
        on_unknown = self._one_of("on_unknown", _UNKNOWN, "hold")
        text = self._text(checker)
        trials = self._trials(self.name if sources else None)
        runbook = self.text("runbook")
        if not self._right or when is None or not self.enabled:
            return None
        clear = clear or Condition(Not(when.meaning), 0, when.text)
        names = {found: alias for alias, found in (inputs or {}).items()}
        return Rule(
            name=self.name,
            file=str(self.document.file),
            line=self.line,
            on=on,
            sources=sources,
            when=when,
            clear=clear,
            unless=unless,
            on_unknown=on_unknown,
            severity=severity,
            text=text,
            runbook=runbook,
            looks=tuple((names.get((place, metric), metric), place, metric) for place, metric in checker.reads),
            memories=tuple(checker.memories),
            ages=tuple(checker.ages),
            asks=tuple(dict.fromkeys(asked for asked, _ in checker.asks)),
            hash=self._hash(),
            bind=compile_rule(when, clear, unless, on_unknown),
            trials=trials,
        )

    def _names(self) -> None:
        if not _NAME.fullmatch(self.name):
            self.fault((), f"'{self.name}' isn't a name", "use letters, digits and _, beginning with a letter")
        for key in self.keys:
            if key in _NOT_YET:
                self.fault((key,), "not yet: " + key, _NOT_YET[key])
            elif key not in KEYS:
                self.fault((key,), "isn't a key of a rule", nearest(key, KEYS))
        if not isinstance(self.keys.get("enabled", True), bool):
            self.fault(("enabled",), f"{_said(self.keys['enabled'])} isn't true or false", "write enabled = false")

    def _devices(self) -> tuple[tuple[str, ...], dict[str, tuple[int, str]] | None, tuple[str, ...]]:
        """``on`` as globs, or ``with`` as name -> (place, metric) and the device of each place."""
        if ("on" in self.keys) == ("with" in self.keys):
            have = "has both on and with" if "on" in self.keys else "doesn't say which devices it is about"
            self.fault((), have, 'write on = "boiler-*", or with = { supply = "hx-1/temperature" }')
        if "with" in self.keys:
            return self._with(self.keys["with"])
        on = self.keys.get("on", "*")
        globs = on if isinstance(on, list) else [on]
        if not globs or not all(isinstance(glob, str) and glob for glob in globs):
            self.fault(("on",), f"{_said(on)} isn't a glob of sources", 'write on = "boiler-*", or a list of them')
            return (), None, ()
        return tuple(globs), None, ()

    def _with(self, given: Any) -> tuple[tuple[str, ...], dict[str, tuple[int, str]] | None, tuple[str, ...]]:
        inputs: dict[str, tuple[int, str]] = {}
        sources: dict[str, int] = {}
        if not isinstance(given, dict) or not given:
            self.fault(
                ("with",), f"{_said(given)} isn't a table of names", 'write with = { supply = "hx-1/temperature" }'
            )
            return (), None, ()
        for alias, path in given.items():
            if not _NAME.fullmatch(alias) or alias in WORDS or alias in FUNCTIONS:
                self.fault(
                    ("with", alias), f"'{alias}' can't be a name here", "use a name that isn't a word of the language"
                )
            source, _, metric = path.rpartition("/") if isinstance(path, str) else ("", "", "")
            if not source or not metric:
                self.fault(("with", alias), f"{_said(path)} isn't a metric of a device", 'write "hx-1/temperature"')
                source, metric = "", alias  # so that its use isn't a fault as well
            self.attempt(("with", alias), partial(known_metric, metric, 0))
            inputs[alias] = sources.setdefault(source, len(sources)), metric
        return (), inputs, tuple(sources)

    def _detector(self) -> tuple[str, int]:
        kinds = detectors.kinds()
        detector = self._one_of("detector", tuple(kinds), "extremes")
        learn = self.attempt(("learn",), lambda: time_of(self.text("learn", default="1d")))
        return detector, learn or 0

    def _one_of(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(key, default=default)
        if value not in allowed:
            cure = nearest(value, allowed)
            self.fault(
                (key,), f"'{value}' isn't one of {', '.join(allowed)}", cure if "mean" in cure else f'write "{default}"'
            )
        return value

    def _clause(self, key: str, checker: Checker) -> Condition | None:
        if key not in self.keys:
            if key == "when":
                self.fault((), "has no condition", 'write when = "temperature > 80 °C for 30s"')
            return None
        before, text = len(checker.asks), self.text(key)
        if not isinstance(self.keys[key], str):
            return None
        found = self.attempt((key,), lambda: checker.condition(text))
        self.asked += [(key, asked, column) for asked, column in checker.asks[before:]]
        return found

    def _text(self, checker: Checker) -> tuple[str | Slot, ...]:
        given = self.text("text", default="{device}: {why}")
        return self.attempt(("text",), lambda: template(given, checker)) or ()

    def _trials(self, key: str | None) -> tuple[Trial, ...]:
        tests = self.keys.get("test", [])
        if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
            self.fault(("test",), "isn't a list of tests", f"write [[rule.{self.name}.test]] above each")
            return ()
        found = (self._trial(at, test, key) for at, test in enumerate(tests))
        return tuple(trial for trial in found if trial)

    def _trial(self, at: int, test: dict[str, Any], key: str | None) -> Trial | None:
        for name in test:
            if name not in TEST_KEYS:
                self.fault(("test", at, name), "isn't a key of a test", nearest(name, TEST_KEYS))
        for name in ("given", "expect"):
            if name not in test:
                self.fault(("test", at), f"has no {name}", f'write {name} = "..."')
                return None
        given = self.attempt(("test", at, "given"), lambda: read_given(self.text("test", at, "given")))
        expect = self.attempt(("test", at, "expect"), lambda: read_expect(self.text("test", at, "expect"), key))
        until = self.attempt(("test", at, "until"), lambda: time_of(self.text("test", at, "until", default="0s")))
        name = self.text("test", at, "name", default=f"test {at + 1}")
        if given is None or expect is None or until is None:
            return None
        last = max([until, *(line.time for line in given), *(one.time for one in expect)])
        return Trial(name, self.document.line(("rule", self.name, "test", at)), given, expect, last)

    def _hash(self) -> str:
        """Changes with anything that may change its alarms or their text."""
        keys = {key: value for key, value in self.keys.items() if key != "test"}
        return hashlib.sha256(json.dumps(keys, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _said(value: Any) -> str:
    """A TOML value as people write it."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
