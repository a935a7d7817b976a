"""From TOML values to typed settings, noting everything that is wrong on the way.

A declaration carries its documentation: a field's type, bounds, default and ``Meta(description=...)`` make both the check
and the sentence that says what to write instead. ``Meta(extra={"unit": ...})`` says how a file writes it:

    duration  "20ms", "1.5s", "5m", "2h", "7d"; settings hold seconds
    bytes     "512kB", "16MB", "2GB", "64MiB"; settings hold bytes
    path      relative to the folder of the file; settings hold it absolute

How the fields go together is checked by the class itself: ``__post_init__`` raises ValueError("field: problem: cure").
"""

import datetime
import difflib
import re
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct, UnsetType, inspect

from gateway.places import Document, Place

S = TypeVar("S", bound=Struct)

_UNITS: dict[str, dict[str, float]] = {
    "duration": {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400},
    "bytes": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
}
_WORDS = {
    "int": ("a whole number", "1"),
    "float": ("a number", "1.5"),
    "str": ("text", '"..."'),
    "bool": ("true or false", "true"),
    "array": ("a list", '["..."]'),
    "object": ("a table", '{ name = "..." }'),
    "duration": ("a duration", '"30s"'),
    "bytes": ("a size", '"16MB"'),
}
"""What msgspec calls it, or our unit -> what a person calls it, and what one writes."""
_SECRET = re.compile(r"pass(word|wd|phrase)?|secret|token|api_?key", re.IGNORECASE)
_USER_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")


def table(cls: type[S], given: Any, document: Document, place: Place) -> S | None:
    """A struct made of a table, or None if something in it is wrong: then the document has the faults."""
    if not isinstance(given, dict):
        document.fault(place, f"{shown(given)} isn't a table", f"write [{place[-1]}] and its settings below it")
        return None
    before = len(document.faults)
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    hints = get_type_hints(cls, include_extras=True)
    unknown(given, [field.encode_name for field in info.fields], document, place)
    values: dict[str, Any] = {}
    for field in info.fields:
        name = field.encode_name
        if name in given and not _SECRET.fullmatch(name):
            values[field.name] = _Setting(field, document).read(hints[field.name], given[name], (*place, name))
        elif field.required and name not in given:
            document.fault(place, f"{name} is missing{_described(field.type)}", f"write e.g. {_example(field)}")
        elif _unit(field) == "path" and isinstance(field.default, str):
            values[field.name] = document.resolve(field.default)
    if len(document.faults) > before:
        return None
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        said = str(error).split(": ", 2)
        cure = said.pop() if len(said) > 1 else "see its documentation"
        names = [name for name in said[0].split(", ") if name in hints]
        about = next((name for name in names if name in given), None) if len(said) > 1 else None
        document.fault((*place, about) if about else place, said[-1] if about else ": ".join(said), cure)
        return None


def unknown(given: dict[str, Any], known: list[str], document: Document, place: Place) -> None:
    """Note the keys of a table that nobody would read, and secrets, which don't belong here even where one would."""
    for key in given:
        if _SECRET.fullmatch(key):
            cure = "delete it"
            if f"{key}_file" in known:
                cure = f"put it into a file of its own and write {key}_file = the name of that file"
            document.fault((*place, key), "a secret doesn't belong in this file", cure)
        elif key not in known:
            document.fault((*place, key), "nobody knows this name", _close(key, known, f"here go {', '.join(known)}"))


def _close(name: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), 1, 0.6)
    return f"did you mean {near[0]}?" if near else otherwise


def choose(name: Any, known: list[str], document: Document, place: Place, what: str) -> bool:
    """Whether ``name`` is one of the known; if not, note what it could have been."""
    if isinstance(name, str) and name in known:
        return True
    document.fault(place, f"{shown(name)} isn't {what}", _close(str(name), known, f"there are {', '.join(known)}"))
    return False


def shown(value: Any) -> str:
    """A value of a file, as a person would point at it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, datetime.date | datetime.time):
        return "a date or time"
    return str(value) if abs(value) < 1e20 else "a huge number"


class _Setting:
    """One setting of a table: reads what it is set to, and notes what is wrong with it."""

    def __init__(self, field: inspect.Field, document: Document) -> None:
        self._field = field
        self._document = document
        self._unit = _unit(field)

    def read(self, hint: Any, given: Any, place: Place) -> Any:
        """The value as ``hint`` wants it. After a fault the value is of no use; the document has the fault."""
        plain = _plain(hint)
        origin, inner = get_origin(plain), get_args(plain)
        if isinstance(plain, type) and issubclass(plain, Struct):
            return table(plain, given, self._document, place)
        before = len(self._document.faults)
        if origin is list and isinstance(given, list):
            items = [self.read(inner[0], each, (*place, index)) for index, each in enumerate(given)]
            return items if len(self._document.faults) > before else self._checked(items, items, hint, place)
        if origin is dict and isinstance(given, dict):
            return {key: self.read(inner[1], each, (*place, key)) for key, each in given.items()}
        if origin is list and isinstance(given, dict) and isinstance(inner[0], type) and issubclass(inner[0], Struct):
            return self._fault(place, "there can be several of these", f"write [[{place[-1]}]], with two brackets")
        if isinstance(given, str) and _USER_IN_URL.search(given):
            return self._fault(place, "a password doesn't belong in this file", "leave it out here; use password_file")
        if origin is Literal and given not in inner:
            choices = " or ".join(msgspec.json.encode(choice).decode() for choice in inner)
            cure = _close(str(given), map(str, inner), f"write {choices}")
            return self._fault(place, f"{shown(given)} isn't a choice here", cure)
        if self._unit in _UNITS and _amount(given, self._unit) is None:
            return self._fault(place, f"{shown(given)} isn't {_WORDS[self._unit][0]}", self._cure())
        value = _amount(given, self._unit) if self._unit in _UNITS else given
        if self._unit == "path" and isinstance(given, str) and given:
            value = self._document.resolve(given)
        return self._checked(value, given, hint, place)

    def _checked(self, value: Any, given: Any, hint: Any, place: Place) -> Any:
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            return self._fault(place, *self._in_words(str(error), given))

    def _in_words(self, said: str, given: Any) -> tuple[str, str]:
        """Problem and cure, from what msgspec says."""
        if wanted := re.match(r"Expected `([^`]+)`, got", said):
            kinds = [kind for kind in wanted[1].split(" | ") if kind != "null"]
            cure = self._cure()
            if kinds == ["str"] and isinstance(given, int | float):
                cure = f'put it in quotes: "{shown(given)}"'
            elif kinds == ["array"] and isinstance(given, str):
                cure = f'put it in brackets: ["{given}"]'
            return f"{shown(given)} isn't {' or '.join(_WORDS.get(kind, (kind,))[0] for kind in kinds)}", cure
        if bound := re.match(r"Expected `\w+` ([<>]=?) (\S+?)(\.0)?$", said):
            size = "small" if bound[1].startswith(">") else "large"
            limit = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}[bound[1]]
            cure = self._cure() if self._unit in _UNITS else f"write {limit} {bound[2]}"
            return f"{shown(given)} is too {size}", cure
        if length := re.match(r"Expected `\w+` of length ([<>]=) (\d+)", said):
            if length[1] == "<=":
                return f"it has more than {length[2]}", "write fewer"
            return "it is empty" if length[2] == "1" else f"it has fewer than {length[2]}", self._cure()
        if "matching regex" in said:
            return f"{shown(given)} can't be used here", self._cure()
        return f"{shown(given)}: {said}", self._cure()

    def _cure(self) -> str:
        return f"write e.g. {_example(self._field)}"

    def _fault(self, place: Place, problem: str, cure: str) -> None:
        self._document.fault(place, problem, cure)


def _plain(hint: Any) -> Any:
    """A type without its bounds and without None and UNSET, where one type is left then."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        left = [each for each in get_args(hint) if each not in (NoneType, UnsetType)]
        return _plain(left[0]) if len(left) == 1 else hint
    return hint


def _unit(field: inspect.Field) -> str | None:
    """How a file writes this setting; a text named ``..._file`` is a path unasked."""
    return _declared_unit(field.type) or ("path" if field.name.endswith("_file") else None)


def _declared_unit(kind: inspect.Type) -> str | None:
    """The ``unit`` of a type, or of what it is a list or an option of."""
    if isinstance(kind, inspect.Metadata):
        return (kind.extra or {}).get("unit") or _declared_unit(kind.type)
    if isinstance(kind, inspect.ListType):
        return _declared_unit(kind.item_type)
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, map(_declared_unit, kind.types)), None)
    return None


def _amount(given: Any, unit: str | None) -> float | None:
    """Seconds of "5m", bytes of "2GB"; None if it can't be read so."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{1,3})", given) if isinstance(given, str) else None
    scale = _UNITS[unit].get(found[2]) if found and unit else None
    if found is None or scale is None:
        return None
    amount = round(float(found[1]) * scale, 6)
    return int(amount) if unit == "bytes" or amount.is_integer() else amount


def explained(cls: type[Struct]) -> list[str]:
    """A line for each setting of a table, as a file could hold it, with its description; what is unset begins with #."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    lines = []
    for field in info.fields:
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        unset = "# " if default is None or default in ([], {}) else ""
        lines.append(f"{unset + _example(field):32}#{_described(field.type, ' {}')}")
    return lines


def _example(field: inspect.Field) -> str:
    """What somebody could write for this setting: its default, else the example it gives, else something of its type."""
    default, unit = field.default, _unit(field)
    if default is NODEFAULT and field.default_factory is not NODEFAULT:
        default = field.default_factory()
    if unit in _UNITS and isinstance(default, int | float):
        scale = max((size for size in _UNITS[unit].values() if default % size == 0), default=0.001)
        name = next(name for name, size in _UNITS[unit].items() if size == scale)
        return f'{field.encode_name} = "{default / scale:g}{name}"'
    if isinstance(default, str | bool | int | float) or (isinstance(default, list) and default):
        return f"{field.encode_name} = {msgspec.json.encode(default).decode()}"
    kind: Any = field.type
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata) and (given := (kind.extra_json_schema or {}).get("examples")):
            return f"{field.encode_name} = {msgspec.json.encode(given[0]).decode()}"
        kind = kind.type if isinstance(kind, inspect.Metadata) else kind.types[0]
    name = type(kind).__name__.removesuffix("Type").lower()
    if unit in _UNITS:
        written = _WORDS[unit][1]
        form = {"list": "[{}]", "dict": '{{ "..." = {} }}'}.get(name, "{}")
        return f"{field.encode_name} = {form.format(written)}"
    name = {"list": "array", "dict": "object"}.get(name, name)
    return f"{field.encode_name} = {_WORDS.get(name, _WORDS['str'])[1]}"


def _described(kind: inspect.Type, form: str = " ({})") -> str:
    if isinstance(kind, inspect.Metadata):
        said = (kind.extra_json_schema or {}).get("description")
        return form.format(said) if said else _described(kind.type, form)
    return ""
