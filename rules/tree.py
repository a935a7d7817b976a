"""What a clause says, as the parser reads it. Every node knows its column, for error messages."""

from __future__ import annotations

from msgspec import Struct


class Number(Struct, frozen=True):
    """A literal in the unit written behind it."""

    value: float
    unit: str | None
    text: str
    column: int


class Duration(Struct, frozen=True):
    """A literal such as ``30s``."""

    microseconds: int
    text: str
    column: int


class Text(Struct, frozen=True):
    """A literal in double quotes."""

    value: str
    column: int


class Name(Struct, frozen=True):
    """A metric, a name given in ``with``, or a rule inside ``alarm()``."""

    name: str
    column: int


class Call(Struct, frozen=True):
    """``age(temperature)``."""

    name: str
    args: tuple[Node, ...]
    column: int


class Sign(Struct, frozen=True):
    """Arithmetic: ``+ - * /``."""

    sign: str
    left: Node
    right: Node
    column: int


class Compare(Struct, frozen=True):
    """``< <= > >= == !=``."""

    sign: str
    left: Node
    right: Node
    column: int


class Not(Struct, frozen=True):
    """The opposite."""

    item: Node
    column: int


class Logic(Struct, frozen=True):
    """``and``, ``or`` between two or more."""

    word: str
    items: tuple[Node, ...]
    column: int


Node = Number | Duration | Text | Name | Call | Sign | Compare | Not | Logic


class Clause(Struct, frozen=True):
    """A condition, and how long it has to hold (µs)."""

    condition: Node
    delay: int
    text: str
