"""Tree to meaning: every name found, every unit converted, every kind right; or a sentence that says what isn't."""

import difflib

from msgspec.structs import replace

from gateway.catalogue import METRICS, UnitError, canonical, convert, dimension
from rules import functions
from rules.meaning import Age, Comparison, Condition, Constant, Logic, Meaning, Metric, Not, Spec
from rules.parser import parse
from rules.quantities import Quantity, combine, meet
from rules.tokens import WORDS, ClauseError, nearest
from rules.tree import Call, Compare, Duration, Name, Node, Number, Sign, Text
from rules.tree import Logic as LogicNode
from rules.tree import Not as NotNode


class Checker:
    """Checks the clauses of one rule, and notes what they look at.

    inputs    the rule's ``with``: name -> (place, metric); None for a rule with ``on``, whose names are metrics
    detector  kind used by anomaly()
    learn     µs during which anomaly() is unknown

    reads     (place, metric) looked at, in the order met
    memories  (place, what has to be kept over time)
    ages      (place, metric or "", µs) at which an age() becomes true
    asks      alarms asked for: (rule, column)
    """

    def __init__(self, inputs: dict[str, tuple[int, str]] | None, detector: str, learn: int) -> None:
        self.inputs = inputs
        self.detector = detector
        self.learn = learn
        self.reads: dict[tuple[int, str], None] = {}
        self.memories: dict[tuple[int, Spec], None] = {}
        self.ages: list[tuple[int, str, int]] = []
        self.asks: list[tuple[str, int]] = []

    def condition(self, text: str) -> Condition:
        """The meaning of a clause. Raises ClauseError."""
        clause = parse(text)
        return Condition(self.truth(clause.condition).meaning, clause.delay, text.strip())

    def find(self, name: Name) -> tuple[int, str]:
        """(place, metric) of a name, noted as looked at. Raises ClauseError if nothing is called so."""
        if self.inputs is None:
            word = name.name.partition(".")[0]
            if word in functions.TABLE and word not in METRICS:
                raise ClauseError(name.column, f"{word} is a function", f"write {word}(...)")
            known_metric(name.name, name.column)
            found = 0, name.name
        elif name.name in self.inputs:
            found = self.inputs[name.name]
        else:
            raise ClauseError(
                name.column, f"{name.name} isn't one of the names in with", nearest(name.name, self.inputs)
            )
        self.reads[found] = None
        return found

    def truth(self, node: Node) -> Quantity:
        """A part that has to be true or false."""
        item = self.examine(node)
        if item.kind == "truth":
            return item
        example = {"age": "age() > 5m", "text": f"mode == {item.said}"}.get(item.kind, f"{item.said} > 0")
        raise ClauseError(item.column, f"{item.said} is neither true nor false", f"compare it, e.g. {example}")

    def number(self, node: Node) -> Quantity:
        """A part that has to be a number."""
        return _number(self.examine(node))

    def examine(self, node: Node) -> Quantity:
        """The quantity of any part. Raises ClauseError."""
        match node:
            case Number():
                return Quantity(Constant(node.value), node.text, node.column, unit=_literal_unit(node))
            case Duration():
                return Quantity(Constant(node.microseconds / 1e6), node.text, node.column, unit="s")
            case Text():
                return Quantity(Constant(node.value), f'"{node.value}"', node.column, "text")
            case Name():
                place, metric = self.find(node)
                return Quantity(Metric(place, metric), node.name, node.column, unit=canonical(metric))
            case Call():
                return functions.call(node, self)
            case Sign():
                left, right = self.number(node.left), self.number(node.right)
                return combine(node.sign, left, right, f"{left.said} {node.sign} {right.said}", node.column)
            case Compare():
                left, right = self.examine(node.left), self.examine(node.right)
                said = f"{left.said} {node.sign} {right.said}"
                return Quantity(self._compare(node, left, right), said, left.column, "truth")
            case NotNode():
                item = self.truth(node.item)
                return Quantity(Not(item.meaning), f"not {item.said}", node.column, "truth")
            case LogicNode():
                items = [self.truth(item) for item in node.items]
                said = f" {node.word} ".join(item.said for item in items)
                return Quantity(Logic(node.word, tuple(item.meaning for item in items)), said, node.column, "truth")

    def _compare(self, node: Compare, left: Quantity, right: Quantity) -> Meaning:
        if right.kind == "age":
            turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
            return self._age(turned.get(node.sign, node.sign), node.column, right, left)
        if left.kind == "age":
            return self._age(node.sign, node.column, left, right)
        if "text" in (left.kind, right.kind):
            return _same_text(node, left, right)
        left, right = meet(_number(left), _number(right))
        return Comparison(node.sign, left.meaning, right.meaning)

    def _age(self, sign: str, column: int, age: Quantity, limit: Quantity) -> Meaning:
        """An age has reached a limit or hasn't: ``>`` and ``>=`` are the same, so that a timer can be set to it."""
        if sign in ("==", "!="):
            raise ClauseError(column, f"{age.said} {sign} a time is true for no moment worth the name", "use > or <")
        seconds = limit.meaning
        if not isinstance(seconds, Constant) or not isinstance(seconds.value, float):
            raise ClauseError(limit.column, "not yet: age() beside anything but a duration", "write age() > 5m")
        if limit.unit is None or dimension(limit.unit) != "time":
            raise ClauseError(limit.column, f"{age.said} is a time, {limit.said} isn't", "write a duration such as 5m")
        assert isinstance(age.meaning, Age)
        span = round(convert(seconds.value, limit.unit, "µs"))
        if span <= 0:
            raise ClauseError(limit.column, f"{age.said} is never below {limit.said}", "write a duration such as 5m")
        reached = replace(age.meaning, span=span)
        self.ages.append((reached.place, reached.metric, span))
        return reached if sign in (">", ">=") else Not(reached)


def _same_text(node: Compare, left: Quantity, right: Quantity) -> Meaning:
    metric, text = (left, right) if right.kind == "text" else (right, left)
    if node.sign not in ("==", "!="):
        raise ClauseError(node.column, f"texts have no order, so {node.sign} means nothing here", "use == or !=")
    if not isinstance(metric.meaning, Metric) or metric.unit is not None:
        raise ClauseError(text.column, f"{metric.said} is never a text", "compare it with a number")
    return Comparison(node.sign, replace(metric.meaning, text=True), text.meaning)


def _number(item: Quantity) -> Quantity:
    if item.kind == "number":
        return item
    if item.kind == "age":
        raise ClauseError(item.column, "not yet: arithmetic with age()", "compare it with a duration: age() > 5m")
    what = "a text" if item.kind == "text" else "true or false"
    raise ClauseError(item.column, f"{item.said} is {what}, not a number", "use a metric or a number here")


def _literal_unit(node: Number) -> str | None:
    if node.unit is None:
        return None
    try:
        dimension(node.unit)
    except UnitError as error:
        problem, _, cure = str(error).partition(": ")
        raise ClauseError(node.column, problem, cure or "write one such as °C, K, %, W, L/min") from None
    return node.unit


def known_metric(metric: str, column: int) -> None:
    """Raises ClauseError if the catalogue has a metric of nearly that name. Others pass: devices may have their own."""
    word = metric.partition(".")[0]
    if word.lower() in WORDS:
        raise ClauseError(column, f"no metric is called {word}", f"did you mean {word.lower()}?")
    if word not in METRICS and not any(sign.isdigit() for sign in word):
        near = difflib.get_close_matches(word, METRICS, 1, 0.85)
        if near:
            raise ClauseError(column, f"no metric is called {word}", f"did you mean {near[0]}?")
