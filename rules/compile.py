"""Meaning to machine: the clauses of a rule become one Python function, written by us from the checked tree.

No text of the user gets in but as a constant in quotes. For ``temperature > 80 °C``, cleared below 75 °C, it reads

    def bind(devices, alarms):
        numbers0 = devices[0].numbers.get
        def judge(active, now):
            if active:
                t1 = numbers0('temperature')
                t2 = None if t1 is None else t1 < 75.0
                return t2
            t3 = numbers0('temperature')
            t4 = None if t3 is None else t3 > 80.0
            return t4
        def unless(now):
            t5 = 1.0 < 0.0
            return t5
        return judge, unless

so that one evaluation is one call. None is unknown, the third truth value: false and unknown is false, true or unknown
is true, and whatever else unknown touches becomes unknown.

Most readings change nothing. For them there is ``compile_glance``: the conditions of all rules that one device's reading
concerns in one function, with every value looked up once. It names the alarms that need a closer look.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from rules.meaning import (
    Active,
    Age,
    Arithmetic,
    Comparison,
    Condition,
    Constant,
    Function,
    Logic,
    Meaning,
    Memory,
    Metric,
    Not,
)

Judge = Callable[[bool, int], bool | None]
"""judge(active, now): whether the condition holds, or for an active alarm whether what clears it holds."""

Unless = Callable[[int], bool | None]
Bind = Callable[[Sequence[Any], Mapping[str, set[str]]], tuple[Judge, Unless]]
"""bind(devices, alarms): the functions of one rule for these devices. They keep no state."""

Glance = Callable[[int], list[Any]]
"""glance(now): the instances that a reading may have changed."""

BindGlance = Callable[[Sequence[Any], Mapping[str, set[str]], Sequence[Any]], Glance]


def compile_rule(when: Condition, clear: Condition, unless: Condition | None, on_unknown: str) -> Bind:
    """The function of a rule. ``on_unknown`` is hold, clear or alarm."""
    writer = _Writer()
    instead = {"hold": (None, None), "clear": (False, True), "alarm": (True, False)}[on_unknown]
    writer.line(1, "def judge(active, now):")
    writer.line(2, "if active:")
    writer.result(3, clear.meaning, instead[1])
    writer.result(2, when.meaning, instead[0])
    writer.line(1, "def unless(now):")
    writer.result(2, unless.meaning if unless else _NEVER, None)
    head = ["def bind(devices, alarms):", *writer.bound.values()]
    bind: Bind = writer.made("\n".join([*head, *writer.lines, " return judge, unless"]))
    return bind


def compile_glance(conditions: Sequence[tuple[Condition, str] | None]) -> BindGlance:
    """One function for several rules of one device: condition and on_unknown of each; None is always worth a look."""
    writer = _Writer(share=True)
    for at, given in enumerate(conditions):
        if given is None:
            writer.line(2, f"found.append(it{at})")
            continue
        condition, on_unknown = given
        writer.line(2, f"if it{at}.busy: found.append(it{at})")
        writer.line(2, "else:")
        name = writer.write(3, condition.meaning)
        doubt = f"{name} is None or " if on_unknown == "alarm" else ""
        writer.line(3, f"if {doubt}{name}: found.append(it{at})")
    names = "".join(f"it{at}, " for at in range(len(conditions)))
    head = ["def bind(devices, alarms, instances):", f" {names}= instances", *writer.bound.values()]
    body = [" def glance(now):", "  found = []", *writer.shared, *writer.lines, "  return found", " return glance"]
    bind: BindGlance = writer.made("\n".join([*head, *body]))
    return bind


def rounded(value: float, digits: int) -> float | None:
    """round(), which would raise for what an overflow left."""
    return round(value, digits) if isfinite(value) else None


_NEVER = Comparison("<", Constant(1.0), Constant(0.0))


class _Writer:
    """Writes statements; every part of a tree leaves its value in a variable of its own.

    share  look every value up once, at the top, for all trees written
    """

    def __init__(self, share: bool = False) -> None:
        self.share = share
        self.shared: list[str] = []
        self.values: dict[tuple[str, str], str] = {}
        self.lines: list[str] = []
        self.bound: dict[str, str] = {}
        self.constants: dict[str, Any] = {}
        self.variables = 0

    def line(self, indent: int, text: str) -> None:
        self.lines.append(" " * indent + text)

    def result(self, indent: int, meaning: Meaning, instead: bool | None) -> None:
        name = self.write(indent, meaning)
        self.line(indent, f"return {name}" if instead is None else f"return {instead} if {name} is None else {name}")

    def keep(self, name: str, expression: str) -> str:
        """Look something up once, when the rule is bound to its devices."""
        self.bound.setdefault(name, f" {name} = {expression}")
        return name

    def constant(self, value: Any) -> str:
        """A name for something that has no literal."""
        for name, known in self.constants.items():
            if known == value:
                return name
        name = f"constant{len(self.constants)}"
        self.constants[name] = value
        return name

    def made(self, source: str) -> Any:
        """The function ``bind`` of a finished text. It can reach nothing but what is named here."""
        space: dict[str, Any] = {"__builtins__": {}, "abs": abs, "min": min, "max": max, "len": len, "rounded": rounded}
        space.update(self.constants)
        exec(compile(source, "<rule>", "exec"), space)
        return space["bind"]

    def value(self, indent: int, ask: str, argument: str) -> str:
        """Look up something that every tree sees the same."""
        if not self.share:
            return self.assign(indent, f"{ask}({argument})")
        if (ask, argument) not in self.values:
            self.variables += 1
            self.values[ask, argument] = f"t{self.variables}"
            self.shared.append(f"  t{self.variables} = {ask}({argument})")
        return self.values[ask, argument]

    def assign(self, indent: int, expression: str) -> str:
        self.variables += 1
        self.line(indent, f"t{self.variables} = {expression}")
        return f"t{self.variables}"

    def known(self, indent: int, expression: str, *names: str) -> str:
        """The expression, unless one of its parts is unknown."""
        doubts = " or ".join(f"{name} is None" for name in names if name.startswith("t"))
        return self.assign(indent, f"None if {doubts} else {expression}" if doubts else expression)

    def write(self, indent: int, meaning: Meaning) -> str:
        """Write what computes this; returns the variable or literal that holds it."""
        match meaning:
            case Constant(value):
                return repr(value) if not isinstance(value, float) or value >= 0 else f"({value!r})"
            case Metric(place, name, text):
                kind = "texts" if text else "numbers"
                get = self.keep(f"{kind}{place}", f"devices[{place}].{kind}.get")
                return self.value(indent, get, repr(name))
            case Memory(place, spec, method, learn):
                key = self.constant(spec)
                ask = self.keep(f"{method}{place}_{key}", f"devices[{place}].memories[{key}].{method}")
                return self.value(indent, ask, f"now, {learn}" if method == "score" else "now")
            case Age(place, metric, span):
                seen = self.keep(f"seen{place}", f"devices[{place}].seen")
                return self.assign(indent, f"now - {seen}[{metric!r}] >= {span}")
            case Active(rule, key):
                active = self.keep(f"alarm_{rule}", f"alarms[{rule!r}]")
                return self.assign(indent, f"len({active}) > 0" if key is None else f"{key!r} in {active}")
            case Arithmetic(sign, left, right):
                first, second = self.write(indent, left), self.write(indent, right)
                if sign == "/":
                    return self.known(indent, f"{first} / {second} if {second} else None", first, second)
                return self.known(indent, f"{first} {sign} {second}", first, second)
            case Comparison(sign, left, right):
                first, second = self.write(indent, left), self.write(indent, right)
                return self.known(indent, f"{first} {sign} {second}", first, second)
            case Function(name, items, digits):
                names = [self.write(indent, item) for item in items]
                if name == "avg":
                    return self.known(indent, f"({' + '.join(names)}) / {len(names)}", *names)
                if name == "round":
                    return self.known(indent, f"rounded({names[0]}, {digits})", *names)
                return self.known(indent, f"{name}({', '.join(names)})", *names)
            case Not(item):
                name = self.write(indent, item)
                return self.known(indent, f"not {name}", name)
            case Logic(word, items):
                return self.logic(indent, word, items)

    def logic(self, indent: int, word: str, items: tuple[Meaning, ...]) -> str:
        """``and`` ends at the first false, ``or`` at the first true; unknown stands until then."""
        ends, goes_on = ("False", "True") if word == "and" else ("True", "False")
        result = self.assign(indent, self.write(indent, items[0]))
        for item in items[1:]:
            self.line(indent, f"if {result} is not {ends}:")
            name = self.write(indent + 1, item)
            self.line(indent + 1, f"if {name} is not {goes_on}: {result} = {name}")
        return result
