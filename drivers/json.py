"""JSON objects and single values on any topic: what home-made devices and most bridges publish.

    plant/hall/air-1              {"temp": 21.5, "hum": "48.2", "bme": {"pressure": 1013.2}, "lamp": "on"}
    plant/hall/air-1/temperature  21.5          {metric} in the topic pattern names it
    plant/hall/air-1/status       online, offline: also as {"state": "online"}

How keys become metrics: ``gateway/vocabulary.py``. An array has no names, and text is kept where ``metrics`` names it only.

Source: RFC 8259 (JSON) and the payloads in tests/captures/json.
"""

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import msgspec
from msgspec import field

from gateway.driver import Binding, Context, Message, Metrics, Paths, Units, Vocabulary, presence, slowly
from gateway.errors import Undecodable
from gateway.event import Availability, Reading

INPUT = Message


class Config(Binding, kw_only=True):
    """Any topics will do; a pattern with ``{metric}`` takes single values."""

    topics: list[str] = field(default_factory=lambda: ["plant/{area}/{device}", "plant/{area}/{device}/{metric}"])
    source: str = "{area}/{device}"
    metrics: Metrics = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    device: Paths = field(default_factory=list)


longest = 65_536  # bytes; the longest payload recorded has 9,000

_json = msgspec.json.Decoder().decode


def decode(message: Message, context: Context) -> Iterable[Reading | Availability]:
    """One reading from an object, or from a single value where the topic names its metric."""
    payload = message.payload
    if len(payload) > longest:
        raise Undecodable("too_long", f"{len(payload)} bytes; {longest} is the most")
    try:
        data = _json(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        data = repaired(payload, str(problem))
    vocabulary = context.memory.get("vocabulary")
    if vocabulary is None:
        config = context.config
        vocabulary = Vocabulary(config.metrics, config.units, config.device, context.drops)
        context.memory["vocabulary"] = vocabulary
    if type(data) is dict and len(data) > 1 and "metric" not in message.captures:
        reading = vocabulary.observe(data)
        return (reading,) if reading else ()
    return _unusual(data, message, vocabulary)


def _unusual(data: Any, message: Message, vocabulary: Vocabulary) -> Iterable[Reading | Availability]:
    online = presence(data)
    if online is not None:
        return (Availability(online),)
    if isinstance(data, str) and data[:1] == "{":
        raise Undecodable("not_json", f"an object inside of a text: {data[:60]}")
    metric = message.captures.get("metric")
    if type(data) is dict:
        reading = vocabulary.observe({metric: data} if metric and "value" in data else data)
    elif metric is None or type(data) is list or message.topic.startswith("$"):
        return ()  # values without a name; a broker's own statistics
    else:
        reading = vocabulary.single(data, metric)
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
