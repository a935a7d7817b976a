"""What a clause means once names, units and kinds are settled: everything in canonical units, nothing left to ask.

``place`` counts the devices a rule looks at: 0 for a rule with ``on``, one per device for a rule with ``with``.
"""

from __future__ import annotations

from msgspec import Struct


class Constant(Struct, frozen=True):
    """A number in the unit of what it meets, or a text."""

    value: float | str


class Metric(Struct, frozen=True):
    """The last good value of a metric."""

    place: int
    name: str
    text: bool = False


class Spec(Struct, frozen=True, order=True):
    """What is kept about one metric of one device over time: see ``memory.KINDS``.

    span  length of the window, or of the bucket whose mean a detector sees; µs
    """

    kind: str
    metric: str
    span: int = 0
    detector: str = ""


class Memory(Struct, frozen=True):
    """One answer of what is kept: ``avg``, ``rate``, ``score`` ..."""

    place: int
    spec: Spec
    method: str
    learn: int = 0


class Age(Struct, frozen=True):
    """Whether the last good value is at least ``span`` old (µs). ``metric`` is empty for any metric of the device."""

    place: int
    metric: str
    span: int


class Active(Struct, frozen=True):
    """Whether an alarm is active; ``key`` is None for any of its devices."""

    rule: str
    key: str | None


class Arithmetic(Struct, frozen=True):
    """``+ - * /``."""

    sign: str
    left: Meaning
    right: Meaning


class Function(Struct, frozen=True):
    """``abs min max avg round`` of values. ``digits`` is for round."""

    name: str
    items: tuple[Meaning, ...]
    digits: int = 0


class Comparison(Struct, frozen=True):
    """Two values beside each other."""

    sign: str
    left: Meaning
    right: Meaning


class Not(Struct, frozen=True):
    """The opposite; of unknown: unknown."""

    item: Meaning


class Logic(Struct, frozen=True):
    """``and``, ``or`` in three values."""

    word: str
    items: tuple[Meaning, ...]


Meaning = Constant | Metric | Memory | Age | Active | Arithmetic | Function | Comparison | Not | Logic


class Condition(Struct, frozen=True):
    """What has to be true, and for how long (µs)."""

    meaning: Meaning
    delay: int
    text: str
