"""An MQTT message as the data of a ``message`` event, and back: nothing that subscribers see is lost on the way."""

import base64
from typing import Any

from gateway import evidence
from gateway.event import SECOND, Event
from gateway.hub.inlet import Publish
from gateway.hub.properties import Property

_NAMED = {
    int(Property.payload_format): "payload_format",
    int(Property.message_expiry): "message_expiry",
    int(Property.content_type): "content_type",
    int(Property.response_topic): "response_topic",
    int(Property.correlation_data): "correlation_data",
    int(Property.user_property): "user_properties",
}
_BY_NAME = {name: id for id, name in _NAMED.items()}


def described(message: Publish) -> dict[str, Any]:
    """A message as the data of a ``message`` event."""
    data = {"topic": message.topic, **evidence.payload(message.payload), "qos": message.qos}
    if message.retain:
        data["retain"] = True
    if message.client:
        data["client"] = message.client
    if message.user is not None:
        data["user"] = message.user
    if message.properties:
        own = {_NAMED[id]: value for id, value in message.properties.items() if id in _NAMED}
        if "correlation_data" in own:
            own["correlation_data"] = base64.b64encode(own["correlation_data"]).decode()
        if own:
            data["properties"] = own
    return data


def published(told: Event, now: int) -> Publish:
    """A ``message`` event as the message it was, with the expiry it has left [MQTT-3.3.2-6]: 0 if it has expired."""
    data = told.data
    properties: dict[int, Any] | None = None
    if "properties" in data:
        properties = {_BY_NAME[name]: value for name, value in data["properties"].items() if name in _BY_NAME}
        if Property.correlation_data in properties:
            properties[Property.correlation_data] = base64.b64decode(properties[Property.correlation_data])
        if Property.user_property in properties:
            properties[Property.user_property] = [(name, value) for name, value in properties[Property.user_property]]
        if Property.message_expiry in properties:
            left = properties[Property.message_expiry] - max(0, now - told.recorded) // SECOND
            properties[Property.message_expiry] = max(0, left)
    payload = data["payload"].encode() if "payload" in data else base64.b64decode(data["payload_base64"])
    return Publish(
        data["topic"],
        payload,
        data.get("qos", 0),
        data.get("retain", False),
        properties,
        data.get("client", ""),
        data.get("user"),
    )
