"""What the members of an object in a payload measure, learned once per key: for drivers that read other people's JSON.

temp, hum      -> temperature, humidity     a known name, short or with its unit: ``named`` says which metric it is
bme.pressure   -> pressure.bme              a known name inside of something: the path is its channel
soil1, adc.ch1 -> soil1, adc_ch1            any other number keeps its name
"48.2"         -> 48.2                      a number in quotes counts under a known name; elsewhere it may be an id
true, "on"     -> True                      under a known name it is an error: true isn't 1 °C
null, "nan"    -> nothing                   no value
{"type": "temperature", "value": 20.7, "unit": "°C"}    one metric, alone or in a list
"time", "ts"   -> when it happened          with a zone, or as seconds to nanoseconds since 1970, and after 2020
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.errors import Undecodable
from gateway.event import Reading, Value
from gateway.naming import named, plain
from gateway.values import instant, number, quantity, switch

Metrics = Annotated[
    dict[str, str], Meta(description='key or path -> metric: "bme.p" = "pressure"; lets text through; "" leaves it out')
]
Units = Annotated[dict[str, str], Meta(description='key or path -> its unit: "bme.p" = "kPa"')]
Paths = Annotated[list[str], Meta(description='keys or paths whose values name the device: ["model", "id"]')]

wrappers = frozenset(
    ("data", "payload", "object", "values", "value", "readings", "sensors", "measurements", "measures")
)
"""Keys that only hold things together: they don't become a channel."""
times = frozenset(("time", "timestamp", "ts", "datetime", "date", "last_seen", "lastseen"))
"""Keys of a time; they never become a metric."""
most = 256  # values in an object; what is beyond isn't looked at
kept = 1024  # paths that are remembered; beyond it the memory starts afresh: somebody sends ids as keys
deepest = 8  # objects inside of objects


class Place(Struct, frozen=True):
    """What stands at one path of the payload. ``metric`` is "" where nobody wants to know."""

    metric: str
    unit: str | None = None
    known: bool = False
    text: bool = False


class Vocabulary(Struct):
    """What is known about the objects of one binding: what the operator said, and what was learned.

    plain   keys whose numbers need no further thought -> metric
    silent  (key, text) that say nothing: names, versions
    """

    metrics: dict[str, str]
    units: dict[str, str]
    device: list[str]
    drops: Counter[str]
    plain: dict[str, str] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    silent: set[tuple[str, str]] = field(default_factory=set)

    def observe(self, data: dict[str, Any]) -> Reading | None:
        """A reading from the members of an object; None if nothing in it is a measurement. Raises Undecodable.

        The first loop is all there is to do for numbers under known names in canonical units: it is the fast path.
        """
        plainly, silent = self.plain, self.silent
        values: dict[str, Value] = {}
        rest = {}
        for key, value in data.items():
            if (type(value) is float or (type(value) is int and -(2**63) <= value < 2**63)) and key in plainly:
                values[plainly[key]] = value
            elif type(value) is not str or (key, value) not in silent:
                rest[key] = value
        reading = Reading(values)
        if rest:
            self._carefully(reading, rest)
        if self.device:
            reading.source = _device(data, self.device)
        return reading if values else None

    def single(self, value: object, key: str) -> Reading | None:
        """A reading from a single value whose key is known from elsewhere. Raises Undecodable."""
        place = self.places.get(key) or self._place(key)
        found = _measured(value, place)
        if found is None:
            return None
        written = quantity(value) if isinstance(value, str) and place.known else None
        unit = (written and written[1]) or place.unit
        return Reading({place.metric: found}, units={place.metric: unit} if unit else None)

    def _carefully(self, reading: Reading, rest: dict[str, Any]) -> None:
        units: dict[str, str] = {}
        problem = None
        for path, value, written in islice(_members(rest, "", deepest), most):
            if path.lower() in times:
                reading.time = reading.time or instant(value)
                continue
            place = self.places.get(path) or self._place(path)
            try:
                found = _measured(value, place)
            except Undecodable as error:
                problem = problem or error
                self.drops[error.reason] += 1
                continue
            unit = written or place.unit
            if found is None and type(value) is str:
                self._quiet(path, value)
            if found is None or (place.metric in reading.values and (unit or place.metric not in units)):
                continue  # nothing, or the same again: of tempc and tempf the canonical one counts, else the first
            reading.values[place.metric] = found
            if unit:
                units[place.metric] = unit
            else:
                units.pop(place.metric, None)
        reading.units = units or None
        if problem and not reading.values:
            raise problem

    def _quiet(self, path: str, text: str) -> None:
        if len(self.silent) >= kept:
            self.silent.clear()
        if len(text) <= 64:
            self.silent.add((path, text))

    def _place(self, path: str) -> Place:
        """What stands at a path, worked out once."""
        if len(self.places) >= kept:
            self.places.clear()
            self.plain.clear()
        place = self.places[path] = self._understood(path)
        if place.metric and not place.unit and not place.text and "." not in path:
            self.plain[path] = place.metric
        return place

    def _understood(self, path: str) -> Place:
        if path in self.device and path not in self.metrics:
            return Place("")  # a name, not a measurement
        *above, leaf = path.split(".")
        count = []
        if leaf.isdecimal() and above:
            leaf, count = above.pop(), [leaf]
        channel = "_".join([plain(key) for key in above if key.lower() not in wrappers] + count)
        name = named(leaf)
        if name:
            metric = f"{name.metric}{'_' if '.' in name.metric else '.'}{channel}" if channel else name.metric
        else:
            metric = "_".join(filter(None, (channel, plain(leaf))))
        metric = self.metrics.get(path, metric)
        unit = self.units.get(path) or (name.unit if name else None)
        return Place(metric, unit, named(metric.partition(".")[0]) is not None, text=path in self.metrics)


def _measured(value: object, place: Place) -> Value | None:
    if not place.metric:
        return None
    if place.known or (isinstance(value, int | float) and not isinstance(value, bool)):
        return number(value, place.metric)
    on = switch(value)
    if on is not None or not place.text or not isinstance(value, str):
        return on
    found = quantity(value)
    return found[0] if found else value[:1024]


def _members(data: dict[str, Any] | list[Any], above: str, depth: int) -> Iterator[tuple[str, Any, str | None]]:
    """Every value with its path, and its unit where that stands beside it."""
    members = data.items() if isinstance(data, dict) else ((str(at), value) for at, value in enumerate(data, 1))
    for key, value in members:
        path = f"{above}.{key}" if above else key
        unit = None
        if isinstance(value, dict) and not isinstance(value.get("value", {}), dict | list):
            name, unit = value.get("type") or value.get("name") or value.get("metric"), value.get("unit")
            if isinstance(name, str) and isinstance(data, list):
                path = f"{above}.{name}"
            value = value["value"]
        if len(path) > 96:
            continue
        if not isinstance(value, dict | list):
            yield path, value, str(unit) if unit else None
        elif depth:
            yield from _members(value, path, depth - 1)


def _device(data: dict[str, Any], paths: list[str]) -> str | None:
    names = []
    for path in paths:
        found: Any = data
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, str | int):
            return None
        names.append(str(found)[:64])
    return "/".join(names)
