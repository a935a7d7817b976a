"""The vocabulary: what a driver saw (Reading) and what the log holds (Event).

All times are integers, microseconds since 1970-01-01 UTC. A metric is named as Home Assistant's device classes
name it, with an optional channel: ``temperature``, ``temperature.2``.
"""

from enum import IntEnum
from typing import Any

import msgspec
from msgspec import Struct

Value = float | int | bool | str
"""What a metric can be. Numbers are in the catalogue's canonical unit once the reading is normalised."""

SECOND = 1_000_000
"""Microseconds in a second: every time in Redcar is counted in microseconds."""


class Quality(IntEnum):
    """How far to trust an event. 0 is good, 1-63 uncertain, from 64 on bad; the name is the reason."""

    good = 0
    stale = 1
    out_of_range = 2
    clock_unsynced = 3
    estimated = 4
    replayed = 5
    last_usable = 6
    clock_wrong = 7
    no_data = 64
    checksum = 65
    decode = 66
    sensor_fault = 67
    comm = 68
    out_of_service = 69

    @property
    def grade(self) -> str:
        """``good``, ``uncertain`` or ``bad``."""
        return "good" if self == 0 else "uncertain" if self < 64 else "bad"


class Reading(Struct):
    """One observation of one device, all its metrics together, as a driver yields it.

    values    metric -> value; in the catalogue's canonical unit, or in the one that ``units`` names for it
    source    which device, where the payload says so; relative to the binding. None: the binding's own
    units     metric -> unit as the device gives it ("°F", "mV"), only where it isn't canonical or the metric is unknown
    time      when it happened, if the device knows and can be believed; None: now
    sequence  the device's own message number, if it counts its messages
    """

    values: dict[str, Value]
    source: str | None = None
    units: dict[str, str] | None = None
    time: int | None = None
    quality: Quality = Quality.good
    sequence: int | None = None


class Availability(Struct):
    """A device said that it came or went (a last will, a status topic)."""

    online: bool
    source: str | None = None


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Event(Struct, gc=False):
    """A fact in the log. Immutable once appended: only the log sets ``offset`` and ``recorded``, once.

    offset    position in the log, from 1; 0 while it isn't appended yet
    time      when it happened
    recorded  when it was stored
    source    who it is about: ``greenhouse/air-1``
    type      what happened: ``reading``, ``message``, ``alarm.raised`` ...
    body      the data as stored: a JSON object
    quality   how far to trust it
    cause     offset of the event that led to this one, 0 if none did
    """

    time: int
    source: str
    type: str
    body: bytes
    quality: int = 0
    cause: int = 0
    offset: int = 0
    recorded: int = 0
    decoded: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The body, decoded once. Readers share it: don't change it."""
        if self.decoded is None:
            self.decoded = _decode(self.body)
        return self.decoded


def event(
    type: str, source: str, data: dict[str, Any], *, time: int, quality: int = Quality.good, cause: int = 0
) -> Event:
    """Make an event that isn't in the log yet."""
    return Event(time, source, type, _encode(data), quality, cause, 0, 0, data)
