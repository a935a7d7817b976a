"""An event as CloudEvents 1.0, without loss: what leaves Redcar, whatever the sink.

    Event                CloudEvents            form
    gateway + source     source                 URI reference: ``plant-7/greenhouse/air-1``
    epoch, offset        id                     ``1f3c0a9e5b7d2468-1042``; source + id name it for ever
    source               subject                as the log has it
    type                 type                   ``reading``
    time, recorded       time, recordedtime     RFC 3339, UTC, microseconds
    offset               sequence               19 digits: sorts as text
    body                 data                   application/json, byte for byte
    quality              quality                reason, only if it isn't good
    cause                causationid            id of the causing event, only if there is one
    (where it is owed)   lane                   live, backlog, ...
    severity of alarms   severitytext, -number  as OpenTelemetry counts: 13-16 warn, 17-20 error, 21-24 fatal

Sources: CloudEvents 1.0.2, its JSON format (3.2; 4 for batches) and its extensions correlation, recordedtime, sequence,
severity.
"""

import time as clock
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote, unquote

import msgspec
from msgspec import Raw, Struct

from gateway.event import SECOND, Event, Quality
from gateway.sink import Identity

content_type = "application/cloudevents+json"
batch_content_type = "application/cloudevents-batch+json"

severity_numbers = {"low": 13, "medium": 15, "high": 17, "critical": 21}

_encode = msgspec.json.Encoder().encode
_first_second = -62_135_596_800  # 0001-01-01, and the last second of 9999: RFC 3339 has four digits for the year
_last_second = 253_402_300_799


def attributes(event: Event, identity: Identity, lane: str) -> dict[str, str]:
    """Everything but the data, as text: MQTT 5 user properties, HTTP and NATS headers."""
    named = {
        "specversion": "1.0",
        "id": f"{identity.epoch:016x}-{event.offset}",
        "source": _source(identity.gateway, event.source),
        "type": event.type,
        "subject": event.source,
        "time": timestamp(event.time),
        "recordedtime": timestamp(event.recorded),
        "sequence": f"{event.offset:019d}",
        "datacontenttype": "application/json",
        "lane": lane,
    }
    if _has_extras(event):
        named.update((name, str(value)) for name, value in _extras(event, identity).items())
    return named


def structured(event: Event, identity: Identity, lane: str) -> bytes:
    """The whole event as one JSON object; the body goes in as it is."""
    seconds, micros = divmod(event.time, SECOND)
    recorded, recorded_micros = divmod(event.recorded, SECOND)
    more = b""
    if _has_extras(event) and (extras := _extras(event, identity)):
        more = b"," + _encode(extras)[1:-1]
    return b'%b%d","time":"%b.%06dZ","recordedtime":"%b.%06dZ","sequence":"%019d"%b,"data":%b}' % (
        _opening(identity.gateway, identity.epoch, event.source, event.type, lane),
        event.offset,
        _second(seconds),
        micros,
        _second(recorded),
        recorded_micros,
        event.offset,
        more,
        event.body,
    )


def join(structured: list[bytes]) -> bytes:
    """Several events that are written already, as one JSON array."""
    return b"[%b]" % b",".join(structured)


def timestamp(time: int) -> str:
    """RFC 3339 of microseconds since 1970."""
    seconds, micros = divmod(time, SECOND)
    return f"{_second(seconds).decode()}.{micros:06d}Z"


class CloudEvent(Struct, kw_only=True, omit_defaults=True):
    """What a receiver reads. ``event()`` and ``identity()`` give back what went in."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    recordedtime: str
    sequence: str
    datacontenttype: str
    lane: str
    data: Raw
    quality: str = "good"
    causationid: str = ""
    severitytext: str = ""
    severitynumber: int = 0

    def identity(self) -> Identity:
        """Which log it comes from."""
        gateway = unquote(self.source.split("/", 1)[0])
        return Identity(gateway, int(self.id.split("-")[0], 16))

    def event(self) -> Event:
        """As it stands in that log."""
        cause = int(self.causationid.split("-")[1]) if self.causationid else 0
        quality = int(self.quality) if self.quality.isdecimal() else Quality[self.quality]
        return Event(
            _micros(self.time),
            self.subject,
            self.type,
            bytes(self.data),
            int(quality),
            cause,
            int(self.sequence),
            _micros(self.recordedtime),
        )


_one = msgspec.json.Decoder(CloudEvent)
_many = msgspec.json.Decoder(list[CloudEvent])


def parse(payload: bytes) -> list[CloudEvent]:
    """Read a structured event or a batch of them. Raises msgspec.DecodeError."""
    return _many.decode(payload) if payload[:1] == b"[" else [_one.decode(payload)]


def _micros(timestamp: str) -> int:
    moment = datetime.fromisoformat(timestamp)
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + moment.microsecond


def _has_extras(event: Event) -> bool:
    return bool(event.quality or event.cause) or event.type.startswith("alarm.")


def _extras(event: Event, identity: Identity) -> dict[str, str | int]:
    """Attributes that few events have."""
    extras: dict[str, str | int] = {}
    if event.quality:
        extras["quality"] = _quality(event.quality)
    if event.cause:
        extras["causationid"] = f"{identity.epoch:016x}-{event.cause}"
    if event.type.startswith("alarm."):
        severity = event.data.get("severity")  # alarm.acknowledged has none
        if isinstance(severity, str) and severity in severity_numbers:
            extras["severitytext"] = severity.upper()
            extras["severitynumber"] = severity_numbers[severity]
    return extras


@lru_cache(256)
def _quality(quality: int) -> str:
    """The name; of a quality that a newer Redcar wrote, the number."""
    return Quality(quality).name if quality in Quality.__members__.values() else str(quality)


@lru_cache(4096)
def _source(gateway: str, source: str) -> str:
    """A URI reference; a colon in the first segment would make it a scheme (RFC 3986 4.2)."""
    return f"{quote(gateway, safe='')}/{quote(source, safe='/:@!$&()*+,;=')}"


@lru_cache(4096)
def _opening(gateway: str, epoch: int, source: str, type: str, lane: str) -> bytes:
    """The part that stays the same for a device, up to the epoch in the id."""
    same = {
        "specversion": "1.0",
        "source": _source(gateway, source),
        "type": type,
        "subject": source,
        "datacontenttype": "application/json",
        "lane": lane,
    }
    return _encode(same)[:-1] + b',"id":"%016x-' % epoch


@lru_cache(64)
def _second(seconds: int) -> bytes:
    """RFC 3339 down to the second; what no four-digit year can say becomes the nearest that it can."""
    moment = clock.gmtime(min(max(seconds, _first_second), _last_second))
    return b"%04d-%02d-%02dT%02d:%02d:%02d" % moment[:6]
