"""What the values in payloads say: numbers, in quotes or with their unit, switches, presence, times, nothing."""

import re
from datetime import datetime
from math import isfinite

from gateway.errors import Undecodable
from gateway.event import SECOND

_NOTHING = frozenset(("", "nan", "null", "none", "unknown", "unavailable", "undefined", "n/a", "-", "inf", "-inf"))
_SWITCH = {"true": True, "on": True, "open": True, "false": False, "off": False, "closed": False}
_PRESENCE = {"online": True, "offline": False}
_QUANTITY = re.compile(r"([+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?)\s*([^\d\s.,;'\"][^\d\s]{0,9})?")

_EARLIEST, _LATEST = 1_577_836_800, 4_102_444_800  # 2020 and 2100: a clock that says otherwise was never set


def number(value: object, metric: str) -> float | int | None:
    """A number for a metric; None if there is none now (null, "nan"). Raises Undecodable: true isn't 1 °C."""
    if isinstance(value, str):
        found = quantity(value)
        if found:
            value = found[0]
        elif value.strip().lower() in _NOTHING:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise Undecodable("not_a_number", f"{metric}: {str(value)[:60]!r}")
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return None
    return value if -(2**63) <= value < 2**63 else float(value) if abs(value) < 10**300 else None


def quantity(text: str) -> tuple[float, str | None] | None:
    """A number with the unit behind it: ``21.5 °C``. None if the text is anything else."""
    found = _QUANTITY.fullmatch(text.strip("\0 \t\r\n"))
    return (float(found[1]), found[2]) if found else None


def switch(value: object) -> bool | None:
    """True or False, also in words: on, off, open, closed."""
    return value if isinstance(value, bool) else _SWITCH.get(value.strip().lower()) if isinstance(value, str) else None


def presence(value: object) -> bool | None:
    """``online`` and ``offline``, as last wills and status topics have it, alone or as {"state": "online"}."""
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return _PRESENCE.get(value.strip().lower()) if isinstance(value, str) else None


def instant(value: object) -> int | None:
    """Microseconds since 1970 from a time that can be believed: with a zone if it is text, and after 2020."""
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            return None
        value = when.timestamp() if when.tzinfo else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        for per_second in (1, 10**3, 10**6, 10**9):
            if _EARLIEST <= value / per_second < _LATEST:
                return int(value * SECOND // per_second)
    return None
