"""Versions of event types: what was stored in an old form is lifted to the present one when it is read.

The log stores ``reading`` for version 1 and ``reading@2`` from then on; an event's ``type`` is always the bare one. A lift
takes the data of one version and gives that of the next; it is pure, keeps the fields that it doesn't know, and the stored
bytes stay as they are. A version that is newer than we know (after a step back to an older Redcar) passes through unchanged.

To change a type: raise its version in ``current`` and register ``lifts[type, old version]``, both here; never remove a lift.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Data = dict[str, Any]

Lift = Callable[[Data], Data]

current: dict[str, int] = {}
"""Version of each type that isn't at its first."""

lifts: dict[tuple[str, int], Lift] = {}
"""(type, version) -> makes the next version of it."""

newer: Counter[str] = Counter()
"""Names, with their versions, that are newer than we know: blocks in which they were met."""


def stored(type: str) -> str:
    """The name under which an event of this type is stored."""
    version = current.get(type, 1)
    return type if version == 1 else f"{type}@{version}"


def read(names: Sequence[str]) -> tuple[list[str], dict[int, Lift]]:
    """Of the names in a block: the bare types, and by index what must be done to the data."""
    bare: list[str] = []
    wanted: dict[int, Lift] = {}
    for index, name in enumerate(names):
        type, at, digits = name.partition("@")
        if not (type and at and digits.isascii() and digits.isdecimal() and int(digits) > 1):
            type, digits = name, "1"
        bare.append(type)
        version, now = int(digits), current.get(type, 1)
        if version > now:
            newer[name] += 1
        elif version < now:
            wanted[index] = _chain(type, version, now)
    return bare, wanted


def plain(names: Sequence[str]) -> bool:
    """Whether all of them are what they say, which is all but always so."""
    return not current and "@" not in "".join(names)


def _chain(type: str, version: int, now: int) -> Lift:
    steps = [lifts[type, at] for at in range(version, now)]

    def lift(data: Data) -> Data:
        for step in steps:
            data = step(data)
        return data

    return lift
