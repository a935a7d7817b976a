"""The functions of the language: what they take, and the unit of what they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.catalogue import difference_unit
from rules.meaning import Active, Age, Function, Memory, Spec
from rules.quantities import Quantity, article, meet
from rules.tokens import ClauseError, nearest
from rules.tree import Call, Duration, Name, Node, Number, Text
from rules.windows import WINDOWS

if TYPE_CHECKING:
    from rules.check import Checker

longest_window = 366 * 86_400_000_000
"""A year, in µs. A window has 60 panes whatever its length, so this bounds sense, not memory."""

_NOT_YET = {
    "share": "use a rule with for",
    "unchanged": "use spread(x, 1h) == 0",
    "expected": "use anomaly(x)",
    "hour": "write the rule for the whole day",
    "weekday": "write the rule for the whole week",
    "convert": "write the literal in the unit you like: 176 °F",
}


def call(node: Call, checker: Checker) -> Quantity:
    """The quantity of a call. Raises ClauseError."""
    if node.name in _NOT_YET:
        raise ClauseError(node.column, f"not yet: {node.name}()", _NOT_YET[node.name])
    make = TABLE.get(node.name)
    if make is None:
        raise ClauseError(node.column, f"no function is called {node.name}", nearest(node.name, TABLE))
    return make(node, checker)


def _usage(node: Call, example: str) -> ClauseError:
    return ClauseError(node.column, f"{node.name}() can't take what it was given", f"write {example}")


def _metric(node: Call, checker: Checker) -> tuple[int, str, Quantity]:
    """First argument: a metric by name."""
    name = node.args[0]
    if not isinstance(name, Name):
        problem = f"not yet: {node.name}() of anything but one metric"
        raise ClauseError(
            name.column, problem, f"write {node.name}(temperature{', 10m' if len(node.args) > 1 else ''})"
        )
    place, metric = checker.find(name)
    return place, metric, checker.examine(name)


def _span(node: Node) -> int:
    if not isinstance(node, Duration) or not 1_000_000 <= node.microseconds <= longest_window:
        raise ClauseError(node.column, "a window is a duration from 1s to 366d", "write a duration such as 10m")
    return node.microseconds


def _said(node: Call, *args: str) -> str:
    return f"{node.name}({', '.join(args)})"


def _remembered(
    node: Call, checker: Checker, place: int, spec: Spec, method: str, said: str, unit: str | None
) -> Quantity:
    checker.memories[place, spec] = None
    learn = checker.learn if method == "score" else 0
    return Quantity(Memory(place, spec, method, learn), said, node.column, unit=unit, rate=method == "rate")


def _age(node: Call, checker: Checker) -> Quantity:
    if not node.args:
        if checker.inputs is not None:
            raise ClauseError(node.column, "age() doesn't say of what", f"write age({next(iter(checker.inputs))})")
        return Quantity(Age(0, "", 0), "age()", node.column, "age")
    if len(node.args) > 1:
        raise _usage(node, "age() > 5m, or age(temperature) > 5m")
    place, metric, item = _metric(node, checker)
    return Quantity(Age(place, metric, 0), _said(node, item.said), node.column, "age")


def _prev(node: Call, checker: Checker) -> Quantity:
    if len(node.args) != 1:
        raise _usage(node, "prev(temperature)")
    place, metric, item = _metric(node, checker)
    return _remembered(node, checker, place, Spec("prev", metric), "value", _said(node, item.said), item.unit)


def _window(node: Call, checker: Checker) -> Quantity:
    if len(node.args) != 2:
        raise _usage(node, f"{node.name}(temperature, 10m)")
    place, metric, item = _metric(node, checker)
    span = _span(node.args[1])
    assert isinstance(node.args[1], Duration)
    said = _said(node, item.said, node.args[1].text)
    unit = item.unit
    if node.name == "sum" and item.point:
        raise ClauseError(node.column, f"{item.said} is {article(unit or '')}: it has no sum", f"write avg{said[3:]}")
    if unit and node.name in ("delta", "spread", "rate"):
        unit = difference_unit(unit)
    if node.name == "rate":
        unit = unit and f"{unit}/s"
    elif node.name == "count":
        unit = None
    return _remembered(
        node, checker, place, Spec(WINDOWS[node.name].__name__.lower(), metric, span), node.name, said, unit
    )


def _several(node: Call, checker: Checker) -> Quantity:
    """min, max, avg: of a metric over a window, or of several values now."""
    if len(node.args) == 2 and isinstance(node.args[1], Duration):
        return _window(node, checker)
    if len(node.args) < 2:
        raise _usage(node, f"{node.name}(temperature, 10m), or {node.name}(temperature.1, temperature.2)")
    items = [checker.number(arg) for arg in node.args]
    first = next((item for item in items if not item.literal), items[0])
    items = [item if item is first else meet(item, first)[0] for item in items]
    said = _said(node, *(item.said for item in items))
    return Quantity(Function(node.name, tuple(item.meaning for item in items)), said, node.column, unit=first.unit)


def _abs(node: Call, checker: Checker) -> Quantity:
    if len(node.args) != 1:
        raise _usage(node, "abs(temperature - 20 °C)")
    item = checker.number(node.args[0])
    if item.point:
        problem = f"abs({item.said}) would be its distance from 0 {item.unit}"
        raise ClauseError(node.column, problem, f"write abs({item.said} - 0 {item.unit}) if you mean that")
    return replace(item, meaning=Function("abs", (item.meaning,)), said=_said(node, item.said), column=node.column)


def _round(node: Call, checker: Checker) -> Quantity:
    digits = node.args[1] if len(node.args) == 2 else Number(0.0, None, "0", 0)
    if not 1 <= len(node.args) <= 2 or not isinstance(digits, Number) or digits.value not in range(7) or digits.unit:
        raise _usage(node, "round(temperature) or round(temperature, 1), with 0 to 6 digits")
    item = checker.number(node.args[0])
    meaning = Function("round", (item.meaning,), int(digits.value))
    return replace(item, meaning=meaning, said=_said(node, item.said), column=node.column)


def _alarm(node: Call, checker: Checker) -> Quantity:
    match node.args:
        case (Name(rule, column),):
            key = None
        case (Name(rule, column), Text(key)):
            pass
        case _:
            raise _usage(node, 'alarm(rule), or alarm(rule, "device")')
    if "." in rule:
        raise ClauseError(column, f"{rule} isn't the name of a rule", "a name has letters, digits and _")
    checker.asks.append((rule, column))
    said = _said(node, rule) if key is None else _said(node, rule, f'"{key}"')
    return Quantity(Active(rule, key), said, node.column, "truth")


def _anomaly(node: Call, checker: Checker) -> Quantity:
    if not 1 <= len(node.args) <= 2:
        raise _usage(node, "anomaly(power), or anomaly(power, 1m) to judge means of one minute")
    place, metric, item = _metric(node, checker)
    span = _span(node.args[1]) if len(node.args) == 2 else 0
    return _remembered(
        node, checker, place, Spec("anomaly", metric, span, checker.detector), "score", _said(node, item.said), "1"
    )


TABLE: dict[str, Callable[[Call, Checker], Quantity]] = {
    "abs": _abs,
    "age": _age,
    "alarm": _alarm,
    "anomaly": _anomaly,
    "avg": _several,
    "count": _window,
    "delta": _window,
    "max": _several,
    "min": _several,
    "prev": _prev,
    "rate": _window,
    "round": _round,
    "spread": _window,
    "sum": _window,
}
"""Every function by name."""
