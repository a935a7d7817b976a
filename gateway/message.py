"""An MQTT message as the data of a ``message`` event, and back: nothing that subscribers see is lost on the way."""

import base64
from typing import Any

import msgspec
from msgspec import Struct

from gateway.event import SECOND, Event
from gateway.hub.inlet import Publish
from gateway.hub.properties import Property

longest_topic = 512
"""Letters; the hub takes no longer ones, another broker may."""


class Said(Struct, omit_defaults=True, gc=False):
    """The data of a ``message`` event. ``payload`` is text where it is text, which people can read; ``payload_base64`` else."""

    topic: str
    payload: str | None = None
    payload_base64: bytes | None = None
    qos: int = -1  # no message's, so that it always stands there
    retain: bool = False
    client: str = ""
    user: str | None = None
    properties: dict[str, Any] | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Said).decode

_NAMED = {
    int(Property.payload_format): "payload_format",
    int(Property.message_expiry): "message_expiry",
    int(Property.content_type): "content_type",
    int(Property.response_topic): "response_topic",
    int(Property.correlation_data): "correlation_data",
    int(Property.user_property): "user_properties",
}
_BY_NAME = {name: id for id, name in _NAMED.items()}


def stored(message: Publish, now: int) -> Event:
    """A message as it came, as an event. Its data has the whole topic; as a source, which travels in headers upstream, it is
    cut."""
    topic = message.topic
    said = Said(topic, None, None, message.qos, message.retain, message.client, message.user)
    try:
        said.payload = message.payload.decode()
    except UnicodeDecodeError:
        said.payload_base64 = message.payload
    if message.properties:
        said.properties = _named(message.properties)
    return Event(now, topic[:longest_topic], "message", _encode(said))


def published(told: Event, now: int) -> Publish:
    """A ``message`` event as the message it was, with the expiry it has left [MQTT-3.3.2-6]: 0 if it has expired."""
    said = _decode(told.body)
    properties = _numbered(said.properties) if said.properties else None
    if properties and Property.message_expiry in properties:
        left = properties[Property.message_expiry] - max(0, now - told.recorded) // SECOND
        properties[Property.message_expiry] = max(0, left)
    payload = said.payload.encode() if said.payload is not None else said.payload_base64 or b""
    return Publish(said.topic, payload, max(0, said.qos), said.retain, properties, said.client, said.user)


def as_topic(text: str) -> str:
    """With _ for what can't stand in a topic one publishes to: wildcards [MQTT-3.3.2-2] and NUL [MQTT-1.5.4-2]."""
    return text.translate(_NEVER)


_NEVER = str.maketrans("+#\0", "___")


def _named(properties: dict[int, Any]) -> dict[str, Any] | None:
    found = {_NAMED[id]: value for id, value in properties.items() if id in _NAMED}
    if "correlation_data" in found:
        found["correlation_data"] = base64.b64encode(found["correlation_data"]).decode()
    return found or None


def _numbered(properties: dict[str, Any]) -> dict[int, Any]:
    found = {_BY_NAME[name]: value for name, value in properties.items() if name in _BY_NAME}
    if Property.correlation_data in found:
        found[Property.correlation_data] = base64.b64decode(found[Property.correlation_data])
    if Property.user_property in found:
        found[Property.user_property] = [(name, value) for name, value in found[Property.user_property]]
    return found
