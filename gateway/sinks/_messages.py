"""How events become MQTT messages: topic, CloudEvents in binary, structured or batch mode, and what is too large."""

from collections.abc import Callable, Iterator

from msgspec import Struct
from paho.mqtt.properties import Properties

from gateway import envelope
from gateway.event import Event
from gateway.message import as_topic
from gateway.sink import Batch, Identity, Outcome
from gateway.sinks._paho import described

overhead = 1_000
"""Bytes of a message to allow for what isn't payload: header, topic, properties."""


class Message(Struct):
    """What goes out in one PUBLISH, and the offsets of the events in it."""

    topic: str
    payload: bytes
    properties: Properties | None
    offsets: list[int]


class Topics:
    """Topics made from a template, remembered: there are few of them."""

    def __init__(self, template: str, gateway: str) -> None:
        self._template = template
        self._gateway = gateway
        self._known: dict[tuple[str, str, str], str] = {}

    def of(self, lane: str, source: str = "", type: str = "") -> str:
        """Where events of this lane, source and type are published."""
        key = lane, source, type
        topic = self._known.get(key)
        if topic is None:
            if len(self._known) > 10_000:
                self._known.clear()
            topic = self._template.format(gateway=self._gateway, lane=lane, source=source, type=type)
            topic = self._known[key] = as_topic(topic)
        return topic


Compose = Callable[[Batch, int], Iterator[Message]]
"""(batch, the largest payload wanted) -> its messages, each made when it is asked for."""


def binary(topics: Topics, identity: Identity) -> Compose:
    """An event per message, its body as payload and its attributes as user properties: MQTT 5.0."""

    def message(event: Event, lane: str) -> Message:
        attributes = envelope.attributes(event, identity, lane)
        properties = described(attributes.pop("datacontenttype"), attributes)
        return Message(topics.of(lane, event.source, event.type), event.body, properties, [event.offset])

    return lambda batch, _: (message(event, batch.lane) for event in batch.events)


def structured(topics: Topics, identity: Identity) -> Compose:
    """An event per message, all of it in the payload: MQTT 3.1.1."""

    def message(event: Event, lane: str) -> Message:
        payload = envelope.structured(event, identity, lane)
        return Message(topics.of(lane, event.source, event.type), payload, None, [event.offset])

    return lambda batch, _: (message(event, batch.lane) for event in batch.events)


def arrays(topics: Topics, identity: Identity, properties: Properties | None) -> Compose:
    """As many events per message as its size allows."""

    def compose(batch: Batch, limit: int) -> Iterator[Message]:
        topic = topics.of(batch.lane)
        parts: list[bytes] = []
        offsets: list[int] = []
        size = 2
        for event in batch.events:
            part = envelope.structured(event, identity, batch.lane)
            if parts and size + len(part) > limit:
                yield Message(topic, envelope.join(parts), properties, offsets)
                parts, offsets, size = [], [], 2
            parts.append(part)
            offsets.append(event.offset)
            size += len(part) + 1
        if parts:
            yield Message(topic, envelope.join(parts), properties, offsets)

    return compose


def fitting(messages: Iterator[Message], largest: int, outcome: Outcome) -> Iterator[Message]:
    """Those that the receiver can take; the others are refused."""
    for message in messages:
        if len(message.payload) + overhead > largest:
            text = f"{len(message.payload):,} bytes are too many for a message of {largest:,} (message_bytes, or the receiver)"
        elif len(message.topic) > 16_000:  # of at most 4 bytes each; MQTT 1.5.4 allows 65,535
            text = "its topic is too long for MQTT"
        else:
            yield message
            continue
        outcome.refused.update(dict.fromkeys(message.offsets, text))
