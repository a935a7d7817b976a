"""Text lines over a serial port or a socket: what an Arduino prints. JSON, columns, or names with values.

    {"temp": 21.5, "hum": 40}              as driver ``json`` reads it; text in front of it doesn't matter
    24.5,60,850                            with columns = ["temperature", "humidity", "carbon_dioxide"]
    Temp=21.5C Hum=40% Pres=1013.25hPa     names that are known, or that ``metrics`` explains

Columns are separated by ; tab , or blanks; "" skips one. A line with another number of them, or with something that isn't
a number, is damaged: none of it counts. The first one after opening may lack its head ("4.5,60,850") and never counts.

Source: the shapes are those of the lines in tests/captures/lines.
"""

import re
from collections.abc import Iterator
from random import Random
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from gateway.driver import Binding, Context, Lines, Metrics, Paths, Units, Vocabulary, named, quantity, slowly, times
from gateway.errors import Undecodable
from gateway.event import Reading

INPUT = bytearray


class Config(Binding, kw_only=True):
    """Set ``source``: a serial line doesn't say who is talking, unless ``device`` names a key or column that does."""

    baud: Annotated[int, Meta(gt=0)] = 9600
    delimiter: Annotated[str, Meta(min_length=1, description="ends a line; a carriage return before it is cut off")] = (
        "\n"
    )
    columns: Annotated[list[str], Meta(description='metric of every column, "" to skip one')] = field(
        default_factory=list
    )
    separator: Annotated[str, Meta(description="between columns; empty: found out from the line")] = ""
    metrics: Metrics = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    device: Paths = field(default_factory=list)


PAIR = re.compile(
    r"([A-Za-z][\w. -]{0,39}?)\s*[=:]\s*([+-]?\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,3})?)"
    r"(?:[ ]?([^\s\d,;=:]{1,9})(?!\S*\s*[=:]))?"
)

_json = msgspec.json.Decoder(dict[str, Any]).decode


def decode(buffer: bytearray, context: Context) -> Iterator[Reading]:
    """Takes whole lines out of the buffer."""
    if "lines" not in context.memory:
        config = context.config
        context.memory["lines"] = Lines(context.drops, config.delimiter.encode())
        context.memory["vocabulary"] = Vocabulary(config.metrics, config.units, config.device, context.drops)
    for line in context.memory["lines"].take(buffer):
        data = _object(line, context)
        try:
            reading = context.memory["vocabulary"].observe(data) if data else None
        except Undecodable:  # counted already
            continue
        if reading:
            yield reading
        elif data is not None:
            context.drops["nothing_known"] += 1


def _object(line: str, context: Context) -> dict[str, Any] | None:
    """The line as an object; None if it is damaged, and counted."""
    start = line.find("{")
    if start >= 0:
        try:
            return _json(line[start:])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            context.drops["not_json"] += 1
            return None
    if context.config.columns:
        return _columns(line, context)
    found = ((pair[1], pair[2], pair[3]) for pair in PAIR.finditer(line))
    known = context.config.metrics
    return {key: {"value": value, "unit": unit} for key, value, unit in found if key in known or named(key)}


def _columns(line: str, context: Context) -> dict[str, Any] | None:
    config = context.config
    separator = config.separator or next((sign for sign in ";\t," if sign in line), None)
    texts = [text.strip() for text in line.split(separator)]
    if not context.memory.get("begun"):
        context.memory["begun"] = True
        return None
    if len(texts) != len(config.columns):
        context.drops["columns"] += 1
        return None
    data: dict[str, Any] = {}
    for name, text in zip(config.columns, texts):
        number = quantity(text)
        if not name:
            continue
        if name in config.metrics or name in config.device or name.lower() in times:
            data[name] = text
        elif number:
            data[name] = {"value": number[0], "unit": number[1]}
        elif text.lower() not in ("", "nan", "null", "none", "-"):
            context.drops["not_a_number"] += 1
            return None
    return data


def twin(config: Config, rng: Random) -> Iterator[tuple[float, bytes]]:
    """A board that measures a fridge every second: as columns if there are any, else as JSON."""
    temperature, humidity = slowly(rng, 4, 0.3, 0.01, 1), slowly(rng, 55, 4, 0.05, 1)
    end = config.delimiter.encode()
    yield 0.0, b"fridge board v1.2, ready\r" + end
    while True:
        data = {"temperature": round(next(temperature), 2), "humidity": round(next(humidity), 1)}
        if config.columns:
            values = [str(data.get(name, 1.0)) for name in config.columns]
            yield 1.0, (config.separator or ",").join(values).encode() + b"\r" + end
        else:
            yield 1.0, msgspec.json.encode(data) + b"\r" + end
