"""MQTT 5.0 properties (2.2.2): one table says how each is written, where it may stand and what it may be.

Between codec and session a block of properties is a dict, property id -> value, or None where there is none.
``user_property`` holds a list of (name, value) and ``subscription_identifier`` a list of numbers: those may repeat.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from msgspec import Struct

from gateway.hub import wire
from gateway.hub.limits import Limits
from gateway.hub.reasons import ProtocolError, Reason, malformed, violation

Properties = dict[int, Any]


class Kind(IntEnum):
    """Control packet types (2.1.2). WILL isn't one: it has properties of its own inside CONNECT."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15
    WILL = 16


class Property(IntEnum):
    """Names of the property ids."""

    payload_format = 0x01
    message_expiry = 0x02
    content_type = 0x03
    response_topic = 0x08
    correlation_data = 0x09
    subscription_identifier = 0x0B
    session_expiry = 0x11
    assigned_client_id = 0x12
    server_keep_alive = 0x13
    authentication_method = 0x15
    authentication_data = 0x16
    request_problem_information = 0x17
    will_delay = 0x18
    request_response_information = 0x19
    response_information = 0x1A
    server_reference = 0x1C
    reason_string = 0x1F
    receive_maximum = 0x21
    topic_alias_maximum = 0x22
    topic_alias = 0x23
    maximum_qos = 0x24
    retain_available = 0x25
    user_property = 0x26
    maximum_packet_size = 0x27
    wildcards_available = 0x28
    subscription_identifiers_available = 0x29
    shared_available = 0x2A


class Rule(Struct, frozen=True):
    """How one property is read and written, in which packets it may stand, and its least and largest value."""

    read: Callable[[wire.Reader], Any]
    write: Callable[[Any], bytes]
    packets: frozenset[Kind]
    least: int = 0
    most: int | None = None


def _rule(type: str, *packets: Kind, least: int = 0, most: int | None = None) -> Rule:
    read, write = {
        "byte": (wire.Reader.byte, wire.byte),
        "two": (wire.Reader.two, wire.TWO.pack),
        "four": (wire.Reader.four, wire.FOUR.pack),
        "varint": (wire.Reader.varint, wire.varint),
        "text": (wire.Reader.text, wire.text),
        "pair": (wire.Reader.pair, wire.pair),
        "binary": (wire.Reader.binary, wire.binary),
    }[type]
    return Rule(read, write, frozenset(packets), least, most)


_K, _P = Kind, Property
_ACKS = (_K.PUBACK, _K.PUBREC, _K.PUBREL, _K.PUBCOMP)
_REPLIES = (_K.CONNACK, *_ACKS, _K.SUBACK, _K.UNSUBACK, _K.DISCONNECT, _K.AUTH)
_ALL = (*_REPLIES, _K.CONNECT, _K.PUBLISH, _K.WILL, _K.SUBSCRIBE, _K.UNSUBSCRIBE)

RULES: dict[int, Rule] = {
    _P.payload_format: _rule("byte", _K.PUBLISH, _K.WILL, most=1),
    _P.message_expiry: _rule("four", _K.PUBLISH, _K.WILL),
    _P.content_type: _rule("text", _K.PUBLISH, _K.WILL),
    _P.response_topic: _rule("text", _K.PUBLISH, _K.WILL),
    _P.correlation_data: _rule("binary", _K.PUBLISH, _K.WILL),
    _P.subscription_identifier: _rule("varint", _K.PUBLISH, _K.SUBSCRIBE, least=1),
    _P.session_expiry: _rule("four", _K.CONNECT, _K.CONNACK, _K.DISCONNECT),
    _P.assigned_client_id: _rule("text", _K.CONNACK),
    _P.server_keep_alive: _rule("two", _K.CONNACK),
    _P.authentication_method: _rule("text", _K.CONNECT, _K.CONNACK, _K.AUTH),
    _P.authentication_data: _rule("binary", _K.CONNECT, _K.CONNACK, _K.AUTH),
    _P.request_problem_information: _rule("byte", _K.CONNECT, most=1),
    _P.will_delay: _rule("four", _K.WILL),
    _P.request_response_information: _rule("byte", _K.CONNECT, most=1),
    _P.response_information: _rule("text", _K.CONNACK),
    _P.server_reference: _rule("text", _K.CONNACK, _K.DISCONNECT),
    _P.reason_string: _rule("text", *_REPLIES),
    _P.receive_maximum: _rule("two", _K.CONNECT, _K.CONNACK, least=1),
    _P.topic_alias_maximum: _rule("two", _K.CONNECT, _K.CONNACK),
    _P.topic_alias: _rule("two", _K.PUBLISH),
    _P.maximum_qos: _rule("byte", _K.CONNACK, most=1),
    _P.retain_available: _rule("byte", _K.CONNACK, most=1),
    _P.user_property: _rule("pair", *_ALL),
    _P.maximum_packet_size: _rule("four", _K.CONNECT, _K.CONNACK, least=1),
    _P.wildcards_available: _rule("byte", _K.CONNACK, most=1),
    _P.subscription_identifiers_available: _rule("byte", _K.CONNACK, most=1),
    _P.shared_available: _rule("byte", _K.CONNACK, most=1),
}

_LIMITS = Limits()


def read(reader: wire.Reader, packet: Kind, limits: Limits = _LIMITS) -> Properties | None:
    """Take a block of properties, with its length, as it may stand in that packet."""
    size = reader.varint()
    if not size:
        return None
    if size > reader.left:
        raise malformed("the properties are longer than their packet")
    if size > limits.properties:
        raise ProtocolError(
            Reason.PACKET_TOO_LARGE, f"{size} bytes of properties: at most {limits.properties} are accepted"
        )
    block = wire.Reader(reader.data, reader.at, reader.at + size)
    reader.at += size
    found: Properties = {}
    while block.left:
        id = block.varint()
        rule = RULES.get(id)
        if rule is None or packet not in rule.packets:
            raise malformed(f"property 0x{id:02X} can't stand in {packet.name} [2.2.2.2]")
        value = rule.read(block)
        name = Property(id).name
        if isinstance(value, int) and (value < rule.least or (rule.most is not None and value > rule.most)):
            raise violation(f"{name} can't be {value} [2.2.2.2]")
        if id == Property.user_property or (id == Property.subscription_identifier and packet is Kind.PUBLISH):
            found.setdefault(id, []).append(value)
        elif id in found:
            raise violation(f"{name} stands twice in {packet.name} [2.2.2.2]")
        else:
            found[id] = [value] if id == Property.subscription_identifier else value
    if len(found.get(Property.user_property, ())) > limits.user_properties:
        raise ProtocolError(
            Reason.PACKET_TOO_LARGE, f"more than {limits.user_properties} user properties in one packet"
        )
    return found


def write(properties: Properties | None) -> bytes:
    """A block of properties with its length."""
    if not properties:
        return b"\0"
    parts: list[bytes] = []
    for id, value in properties.items():
        put = RULES[id].write
        head = wire.byte(id)
        parts.extend(head + put(one) for one in (value if isinstance(value, list) else (value,)))
    block = b"".join(parts)
    return wire.varint(len(block)) + block
