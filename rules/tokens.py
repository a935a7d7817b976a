"""A clause cut into words: ``temperature > 80 °C for 30s`` is name, sign, number with unit, word, duration.

A number takes the unit that follows it, with or without a space. A duration is a number and ``ms s m h d`` without a
space between: ``5m`` are minutes, ``5 m`` are metres.
"""

import difflib
import re
from collections.abc import Iterable

from msgspec import Struct

from gateway.errors import RedcarError

longest = 4_000
"""Bytes of one clause; beyond it the clause is refused unread. The longest in our library has 60."""

largest = 1e30
"""Numbers beyond it are refused; conversion to any unit of the catalogue can't overflow then."""

WORDS = frozenset(("and", "or", "not", "for", "then", "within", "no", "true", "false"))
"""Names that aren't metrics."""

_MICROSECONDS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


class ClauseError(RedcarError):
    """A clause that can't be used. ``column`` counts from 1; 0 means the clause as a whole."""

    def __init__(self, column: int, problem: str, cure: str) -> None:
        super().__init__(f"column {column}: {problem}: {cure}" if column else f"{problem}: {cure}")
        self.problem = f"column {column}: {problem}" if column else problem
        self.cure = cure


def nearest(name: str, known: Iterable[str], also: Iterable[str] = ()) -> str:
    """The cure for a name nobody knows. ``also``: names that are too many to be listed, but may be meant."""
    near = difflib.get_close_matches(name, [*known, *also], 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"


class Token(Struct, frozen=True):
    """``kind`` is name, word, number, duration, text, sign or end. A duration's value is in microseconds."""

    kind: str
    text: str
    column: int
    value: float | int | str = 0
    unit: str | None = None

    def __str__(self) -> str:
        return self.text or "the end"


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z0-9][A-Za-z0-9_]*)?")
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)(?![\w°%/])", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_UNIT = re.compile(r" ?([^\W\d_]|[°˚%‰])[\w°%‰·/]*(?<!/)")
_TEXT = re.compile(r'"([^"\n]{0,200})"')
_SIGN = re.compile(r"<=|>=|==|!=|[<>+\-*/(),]")

# what people write who know another language
_MEANT = {"=": "==", "&": "and", "|": "or", "!": "not", "'": '"', "“": '"', "≥": ">=", "≤": "<=", "≠": "!=", "×": "*"}


def tokens(clause: str) -> list[Token]:
    """The words of a clause, the last one of kind ``end``. Raises ClauseError."""
    if len(clause.encode()) > longest:
        raise ClauseError(0, f"longer than {longest} bytes", "make it several rules, joined by alarm(name)")
    found: list[Token] = []
    at = 0
    while True:
        while at < len(clause) and clause[at] in " \t\n":
            at += 1
        if at == len(clause):
            return [*found, Token("end", "", at + 1)]
        token, at = _next(clause, at)
        found.append(token)


def microseconds(duration: re.Match[str]) -> int:
    """What a match of DURATION stands for."""
    return round(float(duration[1]) * _MICROSECONDS[duration[2]])


def _next(clause: str, at: int) -> tuple[Token, int]:
    column = at + 1
    if match := _NAME.match(clause, at):
        return Token("word" if match[0] in WORDS else "name", match[0], column), match.end()
    if match := DURATION.match(clause, at):
        return Token("duration", match[0], column, microseconds(match)), match.end()
    if match := _NUMBER.match(clause, at):
        value, end, unit = float(match[0]), match.end(), None
        if value > largest:
            raise ClauseError(column, f"{match[0]} is too large", "write a number up to 1e30")
        follows = _UNIT.match(clause, end)
        if follows and follows[0].strip() not in WORDS:
            unit, end = follows[0].strip(), follows.end()
        return Token("number", clause[at:end], column, value, unit), end
    if match := _TEXT.match(clause, at):
        return Token("text", match[0], column, match[1]), match.end()
    if match := _SIGN.match(clause, at):
        return Token("sign", match[0], column), match.end()
    sign = clause[at]
    cure = f"write {_MEANT[sign]}" if sign in _MEANT else "a clause is made of names, numbers, signs and words"
    raise ClauseError(column, f"{sign} isn't part of the language", cure)
