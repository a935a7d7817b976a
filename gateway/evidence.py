"""What came in, kept in an event as it was, and given back: so that a decoder that was mended can read it again.

Message   topic, payload                                        text where it is text, which people can read;
bytes     payload                                               else payload_base64
Advert    address, name, rssi, service_data, manufacturer_data  in hex
"""

import base64
from typing import Any

from gateway.driver import Advert, Item, Message

longest = 1_024
"""Bytes kept of a stream that can't be read: more than any frame has."""


def payload(payload: bytes | bytearray) -> dict[str, Any]:
    """Bytes in JSON."""
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}


def kept(item: Item) -> dict[str, Any]:
    """The fields that hold it."""
    if isinstance(item, Message):
        return {"topic": item.topic, **payload(item.payload), **({"retain": True} if item.retain else {})}
    if isinstance(item, Advert):
        said = {"name": item.name, "rssi": item.rssi}
        data = {"service_data": item.service_data, "manufacturer_data": item.manufacturer_data}
        return {
            "address": item.address,
            **{key: value for key, value in said.items() if value is not None},
            **{key: {id: value.hex() for id, value in values.items()} for key, values in data.items() if values},
        }
    return payload(item[-longest:])


def restored(data: dict[str, Any]) -> Message | Advert | bytearray:
    """What ``kept`` made these fields of. Raises KeyError or ValueError if they are of something else."""
    if "address" in data:
        parts = [
            {id: bytes.fromhex(value) for id, value in data.get(key, {}).items()}
            for key in ("service_data", "manufacturer_data")
        ]
        return Advert(data["address"], data.get("name"), data.get("rssi"), *parts)
    text = data.get("payload")
    taken = text.encode() if text is not None else base64.b64decode(data["payload_base64"], validate=True)
    if "topic" in data:
        return Message(data["topic"], taken, retain=data.get("retain", False))
    return bytearray(taken)
