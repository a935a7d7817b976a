"""Packets to bytes, for MQTT 3.1.1 and 5.0. ``publish`` and ``puback`` are the hot ones; ``encode`` does any packet."""

from collections.abc import Callable, Iterable
from struct import Struct as Format
from typing import Any

from gateway.hub import properties, wire
from gateway.hub.decode import FLAGS
from gateway.hub.inlet import Publish
from gateway.hub.packets import (
    V5,
    Ack,
    Auth,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Packet,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Property
from gateway.hub.wire import TWO

PINGREQ = b"\xc0\0"
PINGRESP = b"\xd0\0"
PUBACK = b"\x40\2"
"""Header of a PUBACK that says yes; the two bytes of the packet id follow."""
PUBREC = b"\x50\2"
PUBREL = b"\x62\2"
PUBCOMP = b"\x70\2"

packet_id = TWO.pack

_SHORT = Format(">BBH").pack  # header with one byte of length, and the length of the topic
_LONG = Format(">BBBH").pack  # with two bytes

_memo: tuple[Publish | None, int, int, bytes, bytes] = (None, 0, 0, b"", b"")


def publish(
    message: Publish,
    version: int,
    qos: int = 0,
    retain: bool = False,
    id: int = 0,
    identifiers: Iterable[int] = (),
    alias: int = 0,
    bare: bool = False,
) -> bytes:
    """A PUBLISH as it goes to one peer. ``identifiers``: of the subscriptions it matched there; ``alias``: what the topic is
    called there, ``bare``: the peer knows that.

    The last message is remembered: to the next subscriber it goes with another packet id only.
    """
    global _memo
    head = 0x30 | qos << 1 | retain
    last, last_version, last_head, before, after = _memo
    special = identifiers or alias
    if message is not last or version != last_version or head != last_head or special:
        topic = b"" if bare else message.topic.encode()
        after = message.payload
        if version == V5:
            own = message.properties
            if identifiers:
                own = {**(own or {}), Property.subscription_identifier: list(identifiers)}
            if alias:
                own = {**(own or {}), Property.topic_alias: alias}
            after = (properties.write(own) if own else b"\0") + after
        size = 2 + len(topic) + (2 if qos else 0) + len(after)
        if size < 0x80:
            before = _SHORT(head, size, len(topic)) + topic
        elif size < 0x4000:
            before = _LONG(head, size & 0x7F | 0x80, size >> 7, len(topic)) + topic
        else:
            before = wire.byte(head) + wire.varint(size) + TWO.pack(len(topic)) + topic
        if not qos:
            before, after = before + after, b""
        if not special:
            _memo = message, version, head, before, after
    return before + packet_id(id) + after if qos else before


def again(frame: bytes) -> bytes:
    """An encoded PUBLISH with DUP set, as it must be when it is sent again [MQTT-3.3.1-1]."""
    return wire.byte(frame[0] | 8) + frame[1:]


def encode(packet: Packet, version: int) -> bytes:
    """Any packet. Raises KeyError for what isn't one."""
    if isinstance(packet, Delivery):
        message = packet.message
        frame = publish(message, version, message.qos, message.retain, packet.id)
        return again(frame) if packet.dup else frame
    kind, body = _ENCODE[type(packet)](packet, version == V5)
    return wire.byte(kind << 4 | FLAGS.get(kind, 0)) + wire.varint(len(body)) + body


def _connect(packet: Connect, five: bool) -> tuple[Kind, bytes]:
    will = packet.will
    flags = packet.clean << 1 | (packet.user is not None) << 7 | (packet.password is not None) << 6
    parts = [properties.write(packet.properties) if five else b"", wire.text(packet.client_id)]
    if will:
        flags |= 4 | will.qos << 3 | will.retain << 5
        parts += [properties.write(will.properties) if five else b"", wire.text(will.topic), wire.binary(will.payload)]
    if packet.user is not None:
        parts.append(wire.text(packet.user))
    if packet.password is not None:
        parts.append(wire.binary(packet.password))
    start = b"\0\4MQTT" + bytes((packet.version, flags)) + TWO.pack(packet.keep_alive)
    return Kind.CONNECT, start + b"".join(parts)


def _connack(packet: Connack, five: bool) -> tuple[Kind, bytes]:
    return Kind.CONNACK, bytes((packet.session_present, packet.reason)) + _tail(packet, five)


def _ack(packet: Ack, five: bool) -> tuple[Kind, bytes]:
    return packet.kind, TWO.pack(packet.id) + _reason(packet, five)


def _subscribe(packet: Subscribe, five: bool) -> tuple[Kind, bytes]:
    parts = [TWO.pack(packet.id), _tail(packet, five)]
    for one in packet.filters:
        options = one.qos | one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4
        parts += [wire.text(one.filter), wire.byte(options if five else one.qos)]
    return Kind.SUBSCRIBE, b"".join(parts)


def _suback(packet: Suback, five: bool) -> tuple[Kind, bytes]:
    return Kind.SUBACK, TWO.pack(packet.id) + _tail(packet, five) + bytes(packet.reasons)


def _unsubscribe(packet: Unsubscribe, five: bool) -> tuple[Kind, bytes]:
    return Kind.UNSUBSCRIBE, TWO.pack(packet.id) + _tail(packet, five) + b"".join(map(wire.text, packet.filters))


def _unsuback(packet: Unsuback, five: bool) -> tuple[Kind, bytes]:
    return Kind.UNSUBACK, TWO.pack(packet.id) + _tail(packet, five) + (bytes(packet.reasons) if five else b"")


def _disconnect(packet: Disconnect, five: bool) -> tuple[Kind, bytes]:
    return Kind.DISCONNECT, _reason(packet, five)


def _auth(packet: Auth, five: bool) -> tuple[Kind, bytes]:
    return Kind.AUTH, _reason(packet, five)


def _tail(packet: Any, five: bool) -> bytes:
    return properties.write(packet.properties) if five else b""


def _reason(packet: Any, five: bool) -> bytes:
    """Reason code and properties, left out where nothing is lost (3.4.2.1, 3.14.2.1, 3.15.2.1)."""
    if not five or (not packet.reason and not packet.properties):
        return b""
    return wire.byte(packet.reason) + _tail(packet, five)


_ENCODE: dict[type, Callable[[Any, bool], tuple[Kind, bytes]]] = {
    Connect: _connect,
    Connack: _connack,
    Ack: _ack,
    Subscribe: _subscribe,
    Suback: _suback,
    Unsubscribe: _unsubscribe,
    Unsuback: _unsuback,
    Ping: lambda packet, five: (Kind.PINGREQ, b""),
    Pong: lambda packet, five: (Kind.PINGRESP, b""),
    Disconnect: _disconnect,
    Auth: _auth,
}
