"""A block: events as columns, so that a thousand events cost one row and one pass of the encoder.

    {"sources": ["cellar/air-1", ...], "types": ["reading", ...],     the names that occur, once each
     "time": [0, -1200, ...],                                          happened, relative to the block's recorded
     "source": [0, 1, ...], "type": [0, 0, ...],                       indices into the names
     "body": [{"temperature": 4.1}, ...],
     "quality": {"3": 2}, "cause": {"7": 4711},                        only where not 0
     "skip": {"5": 30},                                                offsets missing before event 5: they were given up
     "later": {"17": 20000}}                                           from event 17 on, recorded so much later than the first

It names its own sources and types, so that one damaged block costs its own events and no others. A commit's block has
neither ``skip`` nor ``later``; blocks that retention made smaller, or that were merged from several commits, have.
"""

import zlib
from itertools import pairwise

import msgspec
from msgspec import Raw, Struct

from gateway import versions
from gateway.errors import StoreDamaged
from gateway.event import Event

longest = 1_000
"""Events in one block at most: a reader decodes a whole block, so this bounds what one look at an event costs."""

worth_compressing = 4_096
"""Bytes. Below a page nothing is saved on the card; above, sensor readings shrink to a quarter or less at 0.2 µs per event."""

quick, small = 1, 6
"""Levels of compression: for what is being committed, and for what is merged in the background."""


class Row(Struct):
    """A row of the table ``block``: ``count`` events with offsets from lo to hi."""

    lo: int
    hi: int
    count: int
    recorded: int
    codec: int
    crc: int
    data: bytes


class Columns(Struct, omit_defaults=True):
    """What ``data`` holds. ``body`` is the list of all bodies as it stands there: they are JSON already."""

    sources: list[str]
    types: list[str]
    time: list[int]
    source: list[int]
    type: list[int]
    body: Raw
    quality: dict[int, int] = {}
    cause: dict[int, int] = {}
    skip: dict[int, int] = {}
    later: dict[int, int] = {}


class Outline(Struct):
    """What tells whether a block is worth decoding."""

    types: list[str]
    cause: dict[int, int] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Columns).decode
_bodies = msgspec.json.Decoder(list[Raw]).decode
_outline = msgspec.json.Decoder(Outline).decode


def outline(row: Row) -> Outline:
    """The types and causes that occur in a block, at a tenth of the cost of its events."""
    found = _outline(_text(row))
    if not versions.plain(found.types):
        found.types = versions.read(found.types)[0]
    return found


def _text(row: Row) -> bytes:
    if zlib.crc32(row.data) != row.crc:
        raise StoreDamaged(f"events {row.lo}..{row.hi} can't be read: their checksum is wrong")
    return row.data if row.codec == 0 else zlib.decompress(row.data)


def encode(events: list[Event], level: int = quick, *, as_stored: bool = False) -> Row:
    """A row for events in the order of their offsets. ``as_stored``: they were read so, their types name their versions."""
    return packed(draft(events, as_stored=as_stored), level)


def packed(row: Row, level: int = quick) -> Row:
    """A draft as it is stored: compressed where that is worth it, with its checksum."""
    data, codec = row.data, 0
    if len(data) > worth_compressing:
        data, codec = zlib.compress(data, level), 1
    return Row(row.lo, row.hi, row.count, row.recorded, codec, zlib.crc32(data), data)


def draft(events: list[Event], *, as_stored: bool = False) -> Row:
    """The same before it is packed: that needs no lock of Python's, so that it can be left to another thread."""
    recorded = events[0].recorded
    source, sources = _indexed([event.source for event in events])
    type, types = _indexed([event.type for event in events])
    columns = Columns(
        sources=sources,
        types=types if as_stored else [versions.stored(type) for type in types],
        time=[event.time - recorded for event in events],
        source=source,
        type=type,
        body=Raw(b"[%b]" % b",".join([event.body for event in events])),
        quality=_rare([event.quality for event in events]),
        cause=_rare([event.cause for event in events]),
    )
    lo, hi = events[0].offset, events[-1].offset
    if hi - lo >= len(events):
        gaps = ((n, b.offset - a.offset - 1) for n, (a, b) in enumerate(pairwise(events), 1))
        columns.skip = {n: missing for n, missing in gaps if missing}
    if events[-1].recorded != recorded:
        columns.later = {
            n: b.recorded - recorded for n, (a, b) in enumerate(pairwise(events), 1) if b.recorded != a.recorded
        }
    return Row(lo, hi, len(events), recorded, 0, 0, _encode(columns))


def _indexed(names: list[str]) -> tuple[list[int], list[str]]:
    """Each name as an index, and what the indices stand for."""
    found = list(dict.fromkeys(names))
    index = {name: n for n, name in enumerate(found)}
    return [index[name] for name in names], found


def _rare(values: list[int]) -> dict[int, int]:
    """Those that aren't 0, by their place."""
    return {n: value for n, value in enumerate(values) if value} if any(values) else {}


def decode(row: Row, first: int = 0, last: int | None = None, *, as_stored: bool = False) -> list[Event]:
    """The events of a block, from offset ``first`` to ``last``. Raises StoreDamaged where the bytes aren't what was written.

    as_stored  to store them elsewhere: data in the version it was written in, which the types name"""
    columns = _decode(_text(row))
    lifted: dict[int, versions.Lift] = {}
    if not as_stored and not versions.plain(columns.types):
        columns.types, lifted = versions.read(columns.types)
    sources, types, lo, recorded = columns.sources, columns.types, row.lo, row.recorded
    whole = bool(columns.skip or columns.later)
    start = 0 if whole else max(0, first - lo)
    stop = row.count if last is None or whole else max(start, min(row.count, last - lo + 1))
    events = [
        Event(recorded + time, sources[source], types[type_], bytes(body), 0, 0, offset, recorded)
        for offset, (time, source, type_, body) in enumerate(
            zip(
                columns.time[start:stop],
                columns.source[start:stop],
                columns.type[start:stop],
                _bodies(columns.body)[start:stop],
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
    if lifted:
        _lift(events, columns.type[start:stop], lifted)
    if not whole:
        return events
    _shift(events, columns)
    return [event for event in events if event.offset >= first and (last is None or event.offset <= last)]


def _lift(events: list[Event], types: list[int], lifted: dict[int, versions.Lift]) -> None:
    """Bring data that was written in an old version to the present one."""
    for event, type in zip(events, types):
        if type in lifted:
            event.decoded = lifted[type](event.data)
            event.body = _encode(event.decoded)


def part(row: Row, events: list[Event], level: int = quick) -> Row:
    """A row of some of the events of this one, with their data as it was written."""
    if not versions.plain(_outline(_text(row)).types):
        kept = {event.offset for event in events}
        events = [event for event in decode(row, as_stored=True) if event.offset in kept]
        return encode(events, level, as_stored=True)
    return encode(events, level)


def _shift(events: list[Event], columns: Columns) -> None:
    """Set offsets and times of storing where they don't simply follow each other."""
    missing = later = 0
    for n, event in enumerate(events):
        missing += columns.skip.get(n, 0)
        later = columns.later.get(n, later)
        event.offset += missing
        event.recorded += later
