"""A block: the events of one commit as columns, so that a thousand events cost one row and one pass of the encoder.

    {"sources": ["cellar/air-1", ...], "types": ["reading", ...],     the names that occur, once each
     "time": [0, -1200, ...],                                          happened, relative to the block's recorded
     "source": [0, 1, ...], "type": [0, 0, ...],                       indices into the names
     "quality": {"3": 2}, "cause": {"7": 4711},                        only where not 0
     "body": [{"temperature": 4.1}, ...]}

It names its own sources and types, so that one damaged block costs its own events and no others.
"""

import zlib

import msgspec
from msgspec import Raw, Struct

from gateway.errors import StoreDamaged
from gateway.event import Event

longest = 1_000
"""Events in one block at most: a reader decodes a whole block, so this bounds what one look at an event costs."""

worth_compressing = 4_096
"""Bytes. Below a page nothing is saved on the card; above, sensor readings shrink to a quarter or less at 0.2 µs per event."""


class Row(Struct):
    """A row of the table ``block``."""

    lo: int
    count: int
    recorded: int
    codec: int
    crc: int
    data: bytes


class Columns(Struct):
    """What ``data`` holds."""

    sources: list[str]
    types: list[str]
    time: list[int]
    source: list[int]
    type: list[int]
    quality: dict[int, int]
    cause: dict[int, int]
    body: list[Raw]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Columns).decode


def encode(events: list[Event]) -> Row:
    """A row for events that have their offsets, which follow each other, and one ``recorded`` for all."""
    recorded = events[0].recorded
    sources: dict[str, int] = {}
    types: dict[str, int] = {}
    columns = Columns(
        time=[event.time - recorded for event in events],
        source=[sources.setdefault(event.source, len(sources)) for event in events],
        type=[types.setdefault(event.type, len(types)) for event in events],
        quality={n: event.quality for n, event in enumerate(events) if event.quality},
        cause={n: event.cause for n, event in enumerate(events) if event.cause},
        body=[Raw(event.body) for event in events],
        sources=list(sources),
        types=list(types),
    )
    data = _encode(columns)
    codec = 0
    if len(data) > worth_compressing:
        data, codec = zlib.compress(data, 1), 1
    return Row(events[0].offset, len(events), recorded, codec, zlib.crc32(data), data)


def decode(row: Row, first: int = 0, last: int | None = None) -> list[Event]:
    """The events of a block, from offset ``first`` to ``last``. Raises StoreDamaged where the bytes aren't what was written."""
    if zlib.crc32(row.data) != row.crc:
        raise StoreDamaged(f"events {row.lo}..{row.lo + row.count - 1} can't be read: their checksum is wrong")
    columns = _decode(row.data if row.codec == 0 else zlib.decompress(row.data))
    sources, types, lo, recorded = columns.sources, columns.types, row.lo, row.recorded
    start = max(0, first - lo)
    stop = row.count if last is None else max(start, min(row.count, last - lo + 1))
    events = [
        Event(recorded + time, sources[source], types[type_], bytes(body), 0, 0, offset, recorded)
        for offset, (time, source, type_, body) in enumerate(
            zip(
                columns.time[start:stop],
                columns.source[start:stop],
                columns.type[start:stop],
                columns.body[start:stop],
            ),
            lo + start,
        )
    ]
    for n, quality in columns.quality.items():
        if start <= n < stop:
            events[n - start].quality = quality
    for n, cause in columns.cause.items():
        if start <= n < stop:
            events[n - start].cause = cause
    return events
