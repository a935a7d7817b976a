"""What each type of event holds: one typed struct per type, exported as JSON Schema by ``redcar schema``.

A type that isn't here passes through everything; fields that a struct doesn't name are kept. A struct's docstring is the
type's description. Times in data are µs since 1970 UTC, like those of the event.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from gateway import versions
from gateway.event import Event, Value

Said = Annotated[str, Meta(min_length=1)]
Ranges = Annotated[list[tuple[int, int, int]], Meta(description="(first offset, last offset, events that were there)")]

Reading = dict[str, Value | dict[str, str] | None]
"""One observation: metric -> value in the catalogue's unit. ``_quality``: metric -> why its value isn't good."""


class Message(Struct, kw_only=True):
    """An MQTT message as it came: nobody claims it, or somebody is to get it from the log."""

    topic: str
    qos: int
    payload: str | None = None
    payload_base64: Annotated[str | None, Meta(description="instead of payload, where that is no text")] = None
    retain: bool = False
    client: str | None = None
    user: str | None = None
    properties: dict[str, Any] = {}


class Rejected(Struct, kw_only=True):
    """A dead letter: an input that can't be read, with its bytes, or a delivery that a receiver refused."""

    stage: Annotated[str, Meta(description="decode or deliver")]
    reason: Said
    detail: str
    permanent: Annotated[bool, Meta(description="trying again as things are won't help")]
    attempts: int
    driver: str | None = None
    consumer: str | None = None
    offset: Annotated[int | None, Meta(description="deliver: the event that was refused")] = None


class Settled(Struct):
    """Somebody has dealt with a dead letter."""

    offset: int


class Gap(Struct, kw_only=True):
    """What had to be given up: the offsets and how many, or what never got one."""

    reason: Annotated[str, Meta(description="cap, age, damaged, memory, client_away, retained ...")]
    count: int
    ranges: Ranges = []
    step: str | None = None
    since: Annotated[int | None, Meta(description="time of the first")] = field(name="from", default=None)
    until: Annotated[int | None, Meta(description="time of the last")] = field(name="to", default=None)
    consumer: str | None = None
    sources: dict[str, int] = {}


class Raised(Struct, kw_only=True):
    """A rule's condition has held for its delay."""

    alarm: Said
    occurrence: Annotated[str, Meta(description="names this one: the same in everything that happens to it")]
    severity: str
    text: str
    values: dict[str, Value]
    why: str
    rule_hash: str
    runbook: str | None = None


class Cleared(Struct, kw_only=True):
    """The condition is over, or its rule is gone."""

    alarm: Said
    occurrence: str
    duration: Annotated[float, Meta(description="seconds it stood")]
    severity: str | None = None
    reason: str | None = None
    rule_hash: str | None = None


class Handled(Struct, kw_only=True):
    """Somebody has acknowledged an active alarm, or put it aside."""

    alarm: Said
    occurrence: str | None = None
    by: str | None = None
    until: Annotated[int | None, Meta(description="put aside until then")] = None


class Device(Struct, kw_only=True):
    """A device was discovered, adopted, ignored, came or went."""

    driver: str
    reason: str | None = None


class DeviceClock(Struct, kw_only=True):
    """A device's own clock can't be believed, or can again."""

    driver: str
    seconds: Annotated[float, Meta(description="how far it is ahead of ours")]


class ClockTurned(Struct, kw_only=True):
    """The wall clock was set by more than a second, or has won or lost trust."""

    boot: str
    monotonic: Annotated[int, Meta(description="µs since some moment of this boot")]
    before: Annotated[int, Meta(description="what it would have shown")]
    after: Annotated[int, Meta(description="what it shows")]
    seconds: float
    trusted: Annotated[bool, Meta(description="whether somebody confirms it")]


class Started(Struct, kw_only=True):
    """The gateway runs."""

    version: str
    boot: str
    epoch: str
    trusted: bool = True


class Empty(Struct):
    """Nothing more to say."""


class Checked(Struct, kw_only=True):
    """The log's file was looked over."""

    reason: str
    result: Annotated[str, Meta(description="sound, damaged or unfinished")]
    found: list[str]
    seconds: float


class Salvaged(Struct, kw_only=True):
    """What could be read of a damaged log is in this one now."""

    aside: str = field(name="from")
    events: int
    lost: int


class Moved(Struct, kw_only=True):
    """The log is on another machine than before: it goes on under an epoch of its own."""

    machine: str | None
    epoch: str
    now: str
    now_epoch: str


class Restored(Struct, kw_only=True):
    """The log was restored from a copy and has an epoch of its own."""

    copy: dict[str, Any]
    previous: dict[str, Any] | None


class Damaged(Struct, kw_only=True):
    """The log couldn't be opened and was put aside: this one begins beyond its offsets."""

    reason: str
    kept: str
    epoch: str | None
    first: int


class Forgotten(Struct, kw_only=True):
    """An operator has ended a consumer: nothing is kept for it any more."""

    consumer: str
    owed: int


types: dict[str, Any] = {
    "reading": Reading,
    "message": Message,
    "rejected": Rejected,
    "dlq.redriven": Settled,
    "dlq.dropped": Settled,
    "gap": Gap,
    "tick": Empty,
    "alarm.raised": Raised,
    "alarm.cleared": Cleared,
    "alarm.acknowledged": Handled,
    "alarm.shelved": Handled,
    "device.discovered": Device,
    "device.adopted": Device,
    "device.ignored": Device,
    "device.online": Device,
    "device.offline": Device,
    "device.clock_wrong": DeviceClock,
    "device.clock_right": DeviceClock,
    "clock.stepped": ClockTurned,
    "clock.synced": ClockTurned,
    "clock.unsynced": ClockTurned,
    "gateway.started": Started,
    "gateway.stopped": Empty,
    "consumer.forgotten": Forgotten,
    "log.checked": Checked,
    "log.salvaged": Salvaged,
    "log.moved": Moved,
    "log.restored": Restored,
    "log.damaged": Damaged,
}
"""Type -> what its data is, in its present version."""


def exported(type: str) -> dict[str, Any]:
    """A type's JSON Schema. Raises KeyError if it isn't known."""
    found = types[type]
    (made,), parts = msgspec.json.schema_components([found], ref_template="#/$defs/{name}")
    if "$ref" in made:
        made = parts.pop(made["$ref"].rpartition("/")[2])
    about = {} if "description" in made else {"description": summary(type)}
    name = versions.stored(type)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"redcar:{name}", **about}
    return {**head, **made, "title": name, **({"$defs": parts} if parts else {})}


def summary(type: str) -> str:
    """What a type is, in a sentence."""
    if types[type] is Reading:
        return "One observation: metric -> value in the catalogue's unit; _quality: metric -> why its value isn't good."
    return str(types[type].__doc__)


def fault(event: Event) -> str | None:
    """Why an event isn't what its type says; None if it is, or if nobody knows its type."""
    known = types.get(event.type)
    if known is None:
        return None
    try:
        msgspec.json.decode(event.body, type=known)
    except msgspec.ValidationError as error:
        return str(error)
    return None
