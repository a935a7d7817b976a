"""What a driver is, and where drivers are found.

A driver is one file in ``drivers/`` (or an entry point in the group ``redcar.drivers``); its file name is its kind. It holds

    INPUT     what it decodes: ``Message`` (MQTT), ``bytearray`` (a serial stream) or ``Advert`` (BLE)
    Config    a subclass of ``Binding``: its settings, typed, documented, with defaults
    decode    (item, context) -> readings; pure: no I/O, no clock. A stream decoder takes what it understood out of the
              buffer and leaves the rest for the next call. A frame that fails its check is counted in ``context.drops``;
              a whole payload that can't be read raises ``Undecodable``
    twin      (config, rng) -> what the device would put on the wire: (seconds to wait, item), for ever

Where readings carry the device's message number and that wraps, ``SEQUENCE_BITS`` says how wide it is.

It imports ``gateway.driver``, ``gateway.event`` and ``gateway.errors``, and nothing else of Redcar. What drivers share is
found here, too: ``named`` knows what devices call metrics; ``number``, ``switch``, ``presence`` and ``instant`` read values as
devices write them; a ``Vocabulary`` makes readings of objects; ``Lines`` cuts a stream; ``slowly`` moves the values of a twin.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import sin, tau
from random import Random
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.event import Availability, Reading
from gateway.framing import Lines as Lines
from gateway.kinds import find, known, summary
from gateway.naming import named as named
from gateway.naming import plain as plain
from gateway.values import instant as instant
from gateway.values import number as number
from gateway.values import presence as presence
from gateway.values import quantity as quantity
from gateway.values import switch as switch
from gateway.vocabulary import Metrics as Metrics
from gateway.vocabulary import Paths as Paths
from gateway.vocabulary import Units as Units
from gateway.vocabulary import Vocabulary as Vocabulary
from gateway.vocabulary import times as times


class Message(Struct):
    """One MQTT message as a driver sees it.

    captures  what the ``{name}`` parts of the binding's topic pattern matched: ``{"device": "air-1"}``
    retain    it was stored at the broker: its age is unknown
    """

    topic: str
    payload: bytes
    captures: dict[str, str] = {}
    retain: bool = False


class Advert(Struct):
    """One BLE advertisement. Keys are 16-bit ids as four hex digits, big-endian (``fcd2``); values without the id."""

    address: str
    name: str | None = None
    rssi: int | None = None
    service_data: dict[str, bytes] = {}
    manufacturer_data: dict[str, bytes] = {}


Item = Message | bytes | bytearray | Advert
Seconds = Annotated[float, Meta(gt=0, extra={"unit": "duration"})]
"""A duration. Files write it as text with its unit, "30s", "250ms", "5m"; settings hold seconds."""


class Binding(Struct, kw_only=True):
    """Which driver decodes what comes in where. Drivers subclass it as ``Config`` to add their own settings.

    driver        kind: the driver's file name
    link          where the bytes come from: ``hub:`` (what devices publish to Redcar), ``serial:/dev/serial/by-id/...``,
                  ``tcp:host:port``, ``ble:`` or ``ble:hci1``, ``sim:`` (the driver's twin), ``replay:file.jsonl``
    source        name of the device in the log; may use captures: ``cellar/{device}``
    topics        MQTT only: patterns, ``plant/{area}/{device}``; ``{name}`` is one level, ``+`` and ``#`` as in MQTT
    allow         globs of sources accepted without asking; others are offered for adoption
    names         address or name as the device gives it -> source; whatever is named here is accepted
    silent_after  so long without a reading: ``device.offline``
    keep_raw      store the payload beside the reading, as a ``message`` event
    """

    driver: str
    link: str = "hub:"
    source: str = "{device}"
    topics: list[str] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    silent_after: Seconds | None = None
    keep_raw: bool = False


class Context(Struct):
    """What decode() knows besides the item: its settings, its counters, and what it noted in earlier calls."""

    config: Any
    drops: Counter[str] = field(default_factory=Counter)
    memory: dict[str, Any] = field(default_factory=dict)


Decode = Callable[[Any, Context], Iterable[Reading | Availability]]
Twin = Callable[[Any, Random], Iterator[tuple[float, Item]]]


class Driver(Struct, frozen=True):
    """A driver as the core sees it."""

    kind: str
    input: type[Message] | type[bytearray] | type[Advert]
    config: type[Binding]
    decode: Decode
    twin: Twin
    summary: str
    """First line of the driver's docstring."""
    sequence_bits: int | None = None
    """How wide the counter is that its readings carry, where it wraps: ``SEQUENCE_BITS`` in the driver."""


def slowly(rng: Random, around: float, swing: float, noise: float, every: float) -> Iterator[float]:
    """A value as rooms and weather move it, for twins: a wave of 24 hours, a slow drift and noise; one per ``every`` seconds."""
    phase, drift = rng.random(), 0.0
    while True:
        drift = 0.95 * drift + rng.gauss(0, noise)
        yield around + swing * sin(tau * phase) + drift
        phase += every / 86400


def kinds() -> list[str]:
    """Every kind that can be named in a binding, in order."""
    return known("drivers")


def load(kind: str) -> Driver:
    """The driver of that kind. Raises KeyError if there is none."""
    module = find("drivers", kind)
    bits = getattr(module, "SEQUENCE_BITS", None)
    return Driver(kind, module.INPUT, module.Config, module.decode, module.twin, summary(module), bits)
