"""A TOML file that knows on which line everything stands.

``tomllib`` reads the values and keeps no lines; a scan of the text finds them again: every ``[table]``, ``[[table]]`` and
``key =`` gives a path such as ``("binding", 0, "baud")`` its line. In a fault the first ``[[binding]]`` is ``binding[1]``.
"""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from gateway.errors import ConfigError, Fault

Place = tuple[str | int, ...]

LENT = "/run/credentials/"
"""Files that systemd lends: there while the service runs."""

_LARGEST = 1_000_000  # bytes in a file: a hundred times the largest we would write by hand
_LONGEST = 4_096  # bytes in a line
_DEEPEST = 32  # tables and lists inside one another

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_STATEMENT = re.compile(rf"[ \t]*(\[\[?)?[ \t]*({_KEY}(?:[ \t]*\.[ \t]*{_KEY})*)")
_PART = re.compile(_KEY)
_VALUE_TOKEN = re.compile(
    r"\"\"\"(?:\\.|[^\\])*?\"\"\"(?!\")|'''.*?'''(?!')|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|#[^\n]*|[\[\]{}\n]", re.DOTALL
)

# What tomllib says -> what an operator can do. The first that is found counts.
_SYNTAX = (
    ("Invalid value", "no value can be read here", 'text needs quotes ("fast"); numbers, true and false stand without'),
    ("Invalid date", "there is no such date", "no setting is a date: put text in quotes"),
    ("Expected newline", "something follows the value", 'text needs quotes ("5m"), and each setting its own line'),
    ("Expected '='", "a name without a value", "write name = value"),
    ("Unterminated string", "a quoted text doesn't end", "add the closing quote"),
    ("Illegal character '\\n'", "a quoted text doesn't end", "add the closing quote on the same line"),
    ("Found invalid character", "a quoted text doesn't end", "add the closing quote on the same line"),
    ("Illegal character", "a control character", "delete it, it may be invisible"),
    ("Cannot overwrite", "this name is given twice", "keep one; several of a kind are written [[name]]"),
    ("Cannot declare", "this table is given twice", "keep one; several of a kind are written [[name]]"),
    ("Cannot mutate", "this table was complete before", "put all of it in one place"),
    ("Cannot redefine", "this table was complete before", "put all of it in one place"),
    ("Duplicate inline", "this name is given twice", "keep one"),
    ("Unescaped", "a backslash in double quotes begins a special sign", r"use single quotes: 'C:\folder'"),
    ("end of a table", "a [table] doesn't end", "write [name] on a line of its own"),
    ("end of an array decl", "a [[table]] doesn't end", "write [[name]] on a line of its own"),
    ("Unclosed array", "a list doesn't end", "add the closing ]"),
    ("Unclosed inline", "a table in braces doesn't end", "add the closing }, all on one line"),
    ("Invalid initial", "no name can be read here", "write name = value; a name has letters, digits, _ and -"),
    ("Invalid statement", "no setting can be read here", "write name = value; a name has letters, digits, _ and -"),
    ("Expected", "a quoted text doesn't end", "add the closing quote"),
)


class Document(Struct):
    """A file, its data, and what was found wrong with it so far."""

    file: Path
    data: dict[str, Any]
    lines: dict[Place, int]
    faults: list[Fault] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """Line of that place, or of the nearest one around it; 0 for the whole file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)

    def fault(self, place: Place, problem: str, cure: str) -> None:
        """Note something wrong, and go on."""
        self.faults.append(Fault(str(self.file), self.line(place), spoken(place), problem, cure))

    def resolve(self, path: str) -> str:
        """A path of the file, which is relative to the file's folder."""
        return str(self.file.parent.absolute() / path)


def spoken(place: Place) -> str:
    """``("binding", 0, "baud")`` as people say it: ``binding[1].baud``."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            plain = re.fullmatch(r"[\w-]+", part, re.ASCII)
            text += ("." if text else "") + (part if plain else f'"{part.encode("unicode_escape").decode()[:60]}"')
    return text


def read(file: Path) -> Document:
    """Read a file. Raises ConfigError if it isn't there, isn't TOML, or is larger than anything sensible."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise _unreadable(file, 0, "", f"can't be read ({reason})", "check its name, and who may read it") from None
    if len(raw) > _LARGEST:
        raise _unreadable(file, 0, "", "is larger than 1 MB", "this can't be a configuration")
    for number, line in enumerate(raw.split(b"\n"), 1):
        if len(line) > _LONGEST:
            raise _unreadable(file, number, "", "a line is longer than 4 kB", "spread it over several lines")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable(file, number, "", "isn't UTF-8 text", "save the file as UTF-8") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(file, text, str(error)) from None
    except RecursionError:
        raise _unreadable(file, 0, "", f"is nested deeper than {_DEEPEST} levels", "make it flatter") from None
    except ValueError as error:  # what tomllib itself doesn't foresee, such as a year 0
        raise _unreadable(file, 0, "", f"has a value that can't be read ({error})", "put it in quotes") from None
    document = Document(file, data, _lines(text))
    _sane(document)
    return document


def _unreadable(file: Path, line: int, place: str, problem: str, cure: str) -> ConfigError:
    return ConfigError([Fault(str(file), line, place, problem, cure)])


def _syntax(file: Path, text: str, said: str) -> ConfigError:
    where = re.search(r"\(at line (\d+), column (\d+)\)", said)
    line = int(where[1]) if where else text.rstrip("\n").count("\n") + 1
    column = f"column {where[2]}" if where else ""
    for fragment, problem, cure in _SYNTAX:
        if fragment in said:
            return _unreadable(file, line, column, problem, cure)
    return _unreadable(file, line, column, f"isn't TOML ({said.partition(' (at ')[0]})", "see toml.io")


def _sane(document: Document) -> None:
    """No infinity, no NaN, no NUL, no nesting that would exhaust whoever walks through it. Raises ConfigError."""
    level: list[tuple[Place, Any]] = [((), document.data)]
    for _ in range(_DEEPEST):
        below: list[tuple[Place, Any]] = []
        for place, value in level:
            if isinstance(value, dict):
                below += [((*place, key), inner) for key, inner in value.items()]
            elif isinstance(value, list):
                below += [((*place, index), inner) for index, inner in enumerate(value)]
            elif isinstance(value, float) and not math.isfinite(value):
                document.fault(place, f"{value} isn't a number one can work with", "write a finite number")
            elif isinstance(value, str) and "\0" in value:
                document.fault(place, "a NUL character stands in it", "delete it")
        level = below
    if level:
        document.fault(level[0][0][:3], f"is nested deeper than {_DEEPEST} levels", "make it flatter")
    if document.faults:
        raise ConfigError(document.faults)


def _lines(text: str) -> dict[Place, int]:
    """Line of every table and key in a text that is known to be TOML."""
    lines: dict[Place, int] = {}
    count: dict[Place, int] = {}  # tables so far of each [[name]]
    table: Place = ()
    position, number = 0, 1
    while position < len(text):
        statement = _STATEMENT.match(text, position)
        end = text.find("\n", position)
        if statement:
            names = _names(statement[2])
            if statement[1]:
                table = _inside(names, count, statement[1] == "[[")
                _note(lines, table, number)
            else:
                for length in range(1, len(names) + 1):
                    _note(lines, (*table, *names[:length]), number)
                end = _after_value(text, statement.end())
        end = len(text) if end < 0 else end
        number += text.count("\n", position, end + 1)
        position = end + 1
    return lines


def _note(lines: dict[Place, int], place: Place, number: int) -> None:
    lines.setdefault(place, number)
    if place and isinstance(place[-1], int):
        lines.setdefault(place[:-1], number)


def _names(dotted: str) -> list[str]:
    names = []
    for part in _PART.findall(dotted):
        if part[0] == '"':
            names.append(str(next(iter(tomllib.loads(part + "=0")))))
        else:
            names.append(part.strip("'"))
    return names


def _inside(names: list[str], count: dict[Place, int], another: bool) -> Place:
    """The place that a [header] opens: within the newest of each [[table]] on its way."""
    place: Place = ()
    for index, name in enumerate(names):
        place = (*place, name)
        if another and index == len(names) - 1:
            count[place] = count.get(place, -1) + 1
        if place in count:
            place = (*place, count[place])
    return place


def _after_value(text: str, position: int) -> int:
    """The end of the line on which a value ends that may span several."""
    open_brackets = 0
    for token in _VALUE_TOKEN.finditer(text, position):
        sign = token[0]
        if sign in "[{":
            open_brackets += 1
        elif sign in "]}":
            open_brackets -= 1
        elif sign == "\n" and open_brackets <= 0:
            return token.start()
    return len(text)


def private(written: str, document: Document, place: Place) -> None:
    """Whether a file is there, and is nobody else's business."""
    path = document.file.parent / written
    found = mode(path)
    if written.startswith(LENT):
        return
    if not found:
        document.fault(place, f"{written!r} can't be found", "make the file, or correct its name")
    elif found & 0o007:
        document.fault(place, f"everybody can read {written!r}", f"run chmod 600 {path}")


def mode(path: Path) -> int:
    """Kind and permissions of a file; 0 if it can't be found, or not looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
