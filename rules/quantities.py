"""Values with units: which may meet, and what comes out.

A temperature is a point on a scale: two of them have a difference (K), but no sum and no multiple.
A number without a unit takes the unit of what it meets.
"""

from math import isfinite
from operator import add, mul, sub, truediv

from msgspec import Struct
from msgspec.structs import replace

from gateway.catalogue import UnitError, convert, difference_unit, dimension
from rules.meaning import Arithmetic, Constant, Meaning
from rules.tokens import ClauseError


class Quantity(Struct, frozen=True):
    """A part of a clause, checked: what it means, and in which unit. ``said`` is how the clause puts it.

    kind  ``number``, ``truth``, ``text`` or ``age``
    unit  None if it has none, or if the catalogue doesn't know the metric
    rate  it came from rate(): nobody knows by heart which time its canonical unit has
    """

    meaning: Meaning
    said: str
    column: int
    kind: str = "number"
    unit: str | None = None
    rate: bool = False

    @property
    def literal(self) -> bool:
        return isinstance(self.meaning, Constant)

    @property
    def point(self) -> bool:
        """It has a zero on a scale, so that only differences of it can be added and multiplied."""
        return self.unit is not None and dimension(difference_unit(self.unit)) != dimension(self.unit)


def article(unit: str) -> str:
    """``a pressure``, ``an energy``."""
    name = dimension(unit)
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def fit(item: Quantity, unit: str | None) -> Quantity:
    """The same in another unit. Raises ClauseError, naming both dimensions, if it measures something else."""
    if unit is None or item.unit is None or item.unit == unit:
        return item
    try:
        if isinstance(item.meaning, Constant) and isinstance(item.meaning.value, float):
            return replace(item, meaning=Constant(convert(item.meaning.value, item.unit, unit)), unit=unit)
        factor = Constant(convert(1.0, item.unit, unit) - convert(0.0, item.unit, unit))
        return replace(item, meaning=Arithmetic("*", item.meaning, factor), unit=unit)
    except UnitError:
        problem = f"{item.said} is {article(item.unit)}, but {article(unit)} is needed here"
        raise ClauseError(item.column, problem, f"write a value in {unit}") from None


def meet(left: Quantity, right: Quantity) -> tuple[Quantity, Quantity]:
    """Both in one unit, to be compared."""
    for item, other in ((left, right), (right, left)):
        if item.literal and item.unit and not other.literal and other.unit is None:
            problem = f"the catalogue doesn't know {other.said}, so {item.said} can't be converted to its unit"
            raise ClauseError(item.column, problem, "leave the unit out, or use a metric of the catalogue")
        if item.literal and item.unit is None and other.rate and other.unit:
            problem = f"{item.said} has no unit, {other.said} is {article(other.unit)}"
            raise ClauseError(item.column, problem, f"write {item.said} {other.unit.removesuffix('/s')}/min")
    if left.unit and right.unit and dimension(left.unit) != dimension(right.unit):
        value, wanted = (left, right) if left.literal else (right, left)
        problem = f"{value.said} is {article(value.unit or '1')}, {wanted.said} {article(wanted.unit or '1')}"
        raise ClauseError(value.column, problem, f"compare it with a value in {wanted.unit}")
    if left.literal and not right.literal:
        return fit(left, right.unit), right
    return left, fit(right, left.unit)


def combine(sign: str, left: Quantity, right: Quantity, said: str, column: int) -> Quantity:
    """Arithmetic on two numbers."""
    make = _sum if sign in "+-" else _product
    left, right, unit = make(sign, left, right, column)
    meaning: Meaning = Arithmetic(sign, left.meaning, right.meaning)
    match left.meaning, right.meaning:
        case Constant(float(first)), Constant(float(second)):
            meaning = Constant(_calculate(sign, first, second, column))
    return Quantity(meaning, said, left.column, unit=unit)


def _calculate(sign: str, left: float, right: float, column: int) -> float:
    if sign == "/" and right == 0:
        raise ClauseError(column, "divides by zero", "write another number")
    value = {"+": add, "-": sub, "*": mul, "/": truediv}[sign](left, right)
    if not isfinite(value):
        raise ClauseError(column, "the result is too large", "write a smaller number")
    return float(value)


_Sides = tuple[Quantity, Quantity, str | None]


def _sum(sign: str, left: Quantity, right: Quantity, column: int) -> _Sides:
    if left.unit is None or right.unit is None:
        for item, other in ((left, right), (right, left)):
            if item.point and other.literal:
                units = item.unit, difference_unit(item.unit or "")
                problem = f"{other.said} has no unit: it could be a value in {units[0]} or a difference in {units[1]}"
                raise ClauseError(other.column, problem, f"write {other.said} {units[0]} or {other.said} {units[1]}")
            if item.point:
                return left, right, None
        return left, right, left.unit or right.unit
    if left.point and right.point and dimension(left.unit) == dimension(right.unit):
        if sign == "+":
            problem = f"{left.said} and {right.said} are both {article(left.unit)}: they have no sum"
            raise ClauseError(column, problem, f"write avg({left.said}, {right.said}), or add a difference")
        return *meet(left, right), difference_unit(left.unit)
    if left.point:
        return left, fit(right, difference_unit(left.unit)), left.unit
    if right.point and sign == "+":
        return fit(left, difference_unit(right.unit)), right, right.unit
    left, right = meet(left, right)
    return left, right, left.unit


def _product(sign: str, left: Quantity, right: Quantity, column: int) -> _Sides:
    left, right = _fraction(left), _fraction(right)
    for item in (left, right):
        if item.point:
            problem = f"{item.said} is {article(item.unit or '')}: it has no multiple"
            raise ClauseError(item.column, problem, f"use a difference, such as {item.said} - 20 {item.unit}")
    if right.unit is None:
        return left, right, left.unit
    if left.unit is None and sign == "*":
        return left, right, right.unit
    if left.unit and sign == "/" and dimension(left.unit) == dimension(right.unit):
        left, right = meet(left, right)
        return left, right, None
    word = "times" if sign == "*" else "divided by"
    problem = f"not yet: {left.said} {word} {right.said}, which makes a new unit"
    raise ClauseError(column, problem, "multiply and divide by plain numbers, or divide two values of one kind")


def _fraction(item: Quantity) -> Quantity:
    """50 % as a factor is 0.5."""
    if item.literal and item.unit and dimension(item.unit) == "ratio":
        return replace(fit(item, "1"), unit=None)
    return item
