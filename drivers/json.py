"""JSON objects and single values on any topic: what home-made devices and most bridges publish.

    plant/hall/air-1              {"temp": 21.5, "hum": "48.2", "bme": {"pressure": 1013.2}, "lamp": "on"}
    plant/hall/air-1/temperature  21.5

    temp, hum      -> temperature, humidity     a known name, short or with its unit: ``named`` says which metric it is
    bme.pressure   -> pressure.bme              a known name inside of something: the path is its channel
    soil1, adc.ch1 -> soil1, adc_ch1            any other number keeps its name
    "48.2"         -> 48.2                      a number in quotes counts under a known name; elsewhere it may be an id
    true, "on"     -> True                      under a known name it is an error: true isn't 1 °C
    null, "nan"    -> nothing                   no value
    {"type": "temperature", "value": 20.7, "unit": "°C"}    one metric, alone or in a list
    "time", "ts"   -> when it happened          with a zone, or as seconds to nanoseconds since 1970, and after 2020

Source: RFC 8259 (JSON) and the payloads in tests/captures/json.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from gateway.driver import Binding, Context, Message, instant, named, number, plain, presence, quantity, slowly, switch
from gateway.errors import Undecodable
from gateway.event import Availability, Reading, Value

INPUT = Message


Metrics = Annotated[
    dict[str, str], Meta(description='key or path -> metric: "bme.p" = "pressure"; lets text through; "" leaves it out')
]
Units = Annotated[dict[str, str], Meta(description='key or path -> its unit: "bme.p" = "kPa"')]
Paths = Annotated[list[str], Meta(description='keys or paths whose values name the device: ["model", "id"]')]


class Config(Binding, kw_only=True):
    """``{metric}`` in a topic pattern names a single value."""

    topics: list[str] = field(default_factory=lambda: ["plant/{area}/{device}", "plant/{area}/{device}/{metric}"])
    source: str = "{area}/{device}"
    metrics: Metrics = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    device: Paths = field(default_factory=list)


wrappers = frozenset(
    ("data", "payload", "object", "values", "value", "readings", "sensors", "measurements", "measures")
)
"""Keys that only hold things together: they don't become a channel."""
times = frozenset(("time", "timestamp", "ts", "datetime", "date", "last_seen", "lastseen"))
longest = 65_536  # bytes; the longest payload recorded has 9,000
most = 256  # values in a message; what is beyond isn't looked at
deepest = 8  # objects inside of objects

_json = msgspec.json.Decoder().decode


class Place(Struct, frozen=True):
    """What stands at one path of the payload. ``metric`` is "" where nobody wants to know."""

    metric: str
    unit: str | None = None
    known: bool = False
    text: bool = False


class Places(Struct):
    """What is known about the payloads of a binding. ``plain``: the keys whose numbers need no further thought."""

    plain: dict[str, str] = field(default_factory=dict)
    all: dict[str, Place] = field(default_factory=dict)


def decode(message: Message, context: Context) -> Iterable[Reading | Availability]:
    """One reading from an object, or from a single value where the topic names its metric."""
    payload = message.payload
    if len(payload) > longest:
        raise Undecodable("too_long", f"{len(payload)} bytes; {longest} is the most")
    try:
        data = _json(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        data = repaired(payload, str(problem))
    if type(data) is dict and len(data) > 1 and "metric" not in message.captures:
        reading = observe(data, context)
        return (reading,) if reading else ()
    return _unusual(data, message, context)


def _unusual(data: Any, message: Message, context: Context) -> Iterable[Reading | Availability]:
    online = presence(data)
    if online is not None:
        return (Availability(online),)
    if isinstance(data, str) and data[:1] == "{":
        raise Undecodable("not_json", f"an object inside of a text: {data[:60]}")
    metric = message.captures.get("metric")
    if type(data) is dict:
        reading = observe({metric: data} if metric and "value" in data else data, context)
    elif metric is None or type(data) is list or message.topic.startswith("$"):
        return ()  # values without a name; a broker's own statistics
    else:
        reading = _single(data, metric, context)
    return (reading,) if reading else ()


def repaired(payload: bytes, problem: str) -> Any:
    """What stands between a byte order mark and a closing NUL; text that isn't JSON as a text. Raises Undecodable."""
    try:
        text = payload.decode("utf-8-sig").strip("\0 \t\r\n")
    except UnicodeDecodeError:
        raise Undecodable("not_text", f"neither JSON nor UTF-8: {payload[:12].hex(' ')}") from None
    try:
        return _json(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if re.search(r'[][{}"]', text):
            raise Undecodable("not_json", f"{problem}: {text[:60]}") from None
    return text


def observe(data: dict[str, Any], context: Context) -> Reading | None:
    """A reading from the members of an object; None if nothing in it is a measurement. Raises Undecodable.

    The first loop is all there is to do for numbers under known names in canonical units: it is the fast path.
    """
    places = context.memory.get("places")
    if places is None:
        places = context.memory["places"] = Places()
    plainly = places.plain
    values: dict[str, Value] = {}
    rest = {}
    for key, value in data.items():
        if (type(value) is float or (type(value) is int and -(2**63) <= value < 2**63)) and key in plainly:
            values[plainly[key]] = value
        else:
            rest[key] = value
    reading = Reading(values)
    if rest:
        _carefully(reading, rest, places, context)
    if context.config.device:
        reading.source = _device(data, context.config.device)
    return reading if values else None


def _carefully(reading: Reading, rest: dict[str, Any], places: Places, context: Context) -> None:
    units: dict[str, str] = {}
    problem = None
    for path, value, written in islice(_members(rest, "", deepest), most):
        if path.lower() in times:
            reading.time = reading.time or instant(value)
            continue
        place = places.all.get(path) or _place(path, places, context.config)
        try:
            found = _measured(value, place)
        except Undecodable as error:
            problem = problem or error
            context.drops[error.reason] += 1
            continue
        unit = written or place.unit
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


def _single(value: object, metric: str, context: Context) -> Reading | None:
    places = context.memory.setdefault("places", Places())
    place = places.all.get(metric) or _place(metric, places, context.config)
    found = _measured(value, place)
    if found is None:
        return None
    written = quantity(value) if isinstance(value, str) and place.known else None
    unit = (written and written[1]) or place.unit
    return Reading({place.metric: found}, units={place.metric: unit} if unit else None)


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


def _place(path: str, places: Places, config: Any) -> Place:
    """What stands at a path, worked out once."""
    if len(places.all) >= 4 * most:  # keys that never come again: a device that sends ids as keys
        places.all.clear()
        places.plain.clear()
    place = places.all[path] = _understood(path, config)
    if place.metric and not place.unit and not place.text and "." not in path:
        places.plain[path] = place.metric
    return place


def _understood(path: str, config: Any) -> Place:
    if path in config.device and path not in config.metrics:
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
    metric = config.metrics.get(path, metric)
    unit = config.units.get(path) or (name.unit if name else None)
    return Place(metric, unit, named(metric.partition(".")[0]) is not None, text=path in config.metrics)


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


def twin(config: Config, rng: Random) -> Iterator[tuple[float, Message]]:
    """A room's air sensor with a battery, every 10 s."""
    topic = config.topics[0] if config.topics else "plant/{area}/{device}"
    topic = re.sub(r"\{area#?\}", "hall", topic)
    topic = re.sub(r"\{\w+#?\}|[+#]", "air-1", topic)
    temperature, humidity = slowly(rng, 21, 1.5, 0.02, 10), slowly(rng, 48, 6, 0.1, 10)
    pressure, charge = slowly(rng, 1013, 2, 0.05, 10), 97.0
    while True:
        charge = max(0.0, charge - 0.0005)
        data = {"temp": round(next(temperature), 2), "hum": round(next(humidity), 1)}
        data |= {"pressure": round(next(pressure), 1), "battery": int(charge)}
        yield 10.0, Message(topic, msgspec.json.encode(data), {"area": "hall", "device": "air-1"})
