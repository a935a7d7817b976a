"""One control packet of MQTT 3.1.1 or 5.0 from its bytes. ``stream.py`` cuts the bytes into packets.

    byte 0    packet type in the high four bits, flags in the low four
    byte 1-4  remaining length, a variable byte integer
    then      variable header and payload, by type: the Body

Strict: what the standards call malformed raises ProtocolError with the reason code that goes into DISCONNECT.
"""

from collections.abc import Callable

from gateway.hub import properties, topics
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Auth,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Filter,
    Packet,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import ProtocolError, Reason, malformed, violation
from gateway.hub.wire import Reader

FLAGS = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
"""The flags each type must carry; 0 for the others, PUBLISH has its own [MQTT-2.1.3-1]."""


class Body(Reader):
    """What follows the fixed header, and all that is needed to read it."""

    __slots__ = ("five", "flags", "kind", "limits", "version")

    def __init__(self, head: int, data: bytes, at: int, end: int, version: int, limits: Limits) -> None:
        super().__init__(data, at, end)
        if not head >> 4:
            raise malformed("packet type 0 doesn't exist")
        self.kind = Kind(head >> 4)
        self.flags = head & 0x0F
        self.version = version
        self.five = version == V5
        self.limits = limits

    def id(self) -> int:
        """A packet identifier."""
        id = self.two()
        if not id:
            raise malformed(f"{self.kind.name} with packet identifier 0 [MQTT-2.2.1-3]")
        return id

    def properties(self, kind: Kind | None = None) -> Properties | None:
        """The block of properties every packet may have in 5.0."""
        return properties.read(self, kind or self.kind, self.limits) if self.five else None

    def filter(self, have: int) -> str:
        """A topic filter, if the packet doesn't hold too many already."""
        if have >= self.limits.filters:
            raise ProtocolError(Reason.QUOTA_EXCEEDED, f"more than {self.limits.filters} topic filters in one packet")
        filter = self.text()
        topics.check_filter(filter)
        return filter

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)


def decode(body: Body) -> Packet:
    """The packet, all of it understood."""
    kind = body.kind
    if kind is Kind.PUBLISH:
        return _publish(body)
    if body.flags != FLAGS.get(kind, 0):
        raise malformed(f"{kind.name} with flags {body.flags:04b} [MQTT-2.1.3-1]")
    packet = _DECODE[kind](body)
    if body.left:
        raise malformed(f"{body.left} bytes too many in {kind.name}")
    return packet


def connect_version(body: Body) -> int:
    """The version in which a CONNECT is answered, without taking anything. A later one understands 5.0 if it has its shape."""
    ahead = Body(body.kind << 4, body.data, body.at, body.end, V5, body.limits)
    name, level = ahead.binary(), ahead.byte()
    if name not in (b"MQTT", b"MQIsdp"):
        raise violation("CONNECT names another protocol than MQTT [MQTT-3.1.2-1]")
    if name != b"MQTT" or level < V5:
        return V311
    if level > V5:
        try:
            _asked(ahead)
        except ProtocolError:
            return V311
    return V5


def _connect(body: Body) -> Connect:
    name, level = body.binary(), body.byte()
    if name != b"MQTT" or level not in (V311, V5):
        text = f"protocol {name.decode()} level {level} isn't spoken here: use MQTT 3.1.1 or 5.0 [MQTT-3.1.2-2]"
        raise ProtocolError(Reason.UNSUPPORTED_VERSION, text)
    return _asked(body)


def _asked(body: Body) -> Connect:
    flags = body.byte()
    user, password, will, qos = flags & 0x80, flags & 0x40, flags & 4, flags >> 3 & 3
    if flags & 1:
        raise malformed("CONNECT with its reserved flag set [MQTT-3.1.2-3]")
    if qos == 3 or (not will and flags & 0x38):
        raise malformed("CONNECT with impossible will flags [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]")
    if not body.five and password and not user:
        raise malformed("CONNECT with a password and no user name [MQTT-3.1.2-22]")
    packet = Connect(version=body.version, clean=bool(flags & 2), keep_alive=body.two())
    packet.properties = body.properties()
    packet.client_id = body.text()
    if will:
        own = body.properties(Kind.WILL)
        topic = body.text()
        topics.check_name(topic)
        packet.will = Will(topic, body.binary(), qos, bool(flags & 0x20), own)
    if user:
        packet.user = body.text()
    if password:
        packet.password = body.binary()
    return packet


def _connack(body: Body) -> Connack:
    flags = body.byte()
    if flags > 1:
        raise malformed("CONNACK with reserved flags [MQTT-3.2.2-1]")
    return Connack(bool(flags), body.byte(), body.properties())


def _publish(body: Body) -> Delivery:
    flags = body.flags
    qos, dup, retain = flags >> 1 & 3, bool(flags & 8), bool(flags & 1)
    if qos == 3:
        raise malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]")
    if dup and not qos:
        raise malformed("PUBLISH with DUP at QoS 0 [MQTT-3.3.1-2]")
    topic = body.text()
    id = body.id() if qos else 0
    found = body.properties()
    if topic or not found or Property.topic_alias not in found:
        topics.check_name(topic)
    if found and Property.response_topic in found:
        topics.check_name(found[Property.response_topic])
    return Delivery(Publish(topic, body.rest(), qos, retain, found), id, dup)


def _ack(body: Body) -> Ack:
    return Ack(body.kind, body.id(), *_reason(body))


def _subscribe(body: Body) -> Subscribe:
    packet = Subscribe(body.id(), [], body.properties())
    while body.left:
        filter, options = body.filter(len(packet.filters)), body.byte()
        if options & (0xC0 if body.five else 0xFC) or options & 3 == 3:
            raise malformed(f"subscription options {options:08b} [MQTT-3.8.3-5]")
        handling = options >> 4 & 3
        if handling == 3:
            raise violation("retain handling 3 [MQTT-3.8.3-5]")
        if options & 4 and filter.startswith(topics.SHARED):
            raise violation("no local on a shared subscription [MQTT-3.8.3-4]")
        packet.filters.append(Filter(filter, options & 3, bool(options & 4), bool(options & 8), handling))
    if not packet.filters:
        raise violation("SUBSCRIBE without a topic filter [MQTT-3.8.3-2]")
    return packet


def _unsubscribe(body: Body) -> Unsubscribe:
    packet = Unsubscribe(body.id(), [], body.properties())
    while body.left:
        packet.filters.append(body.filter(len(packet.filters)))
    if not packet.filters:
        raise violation("UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]")
    return packet


def _suback(body: Body) -> Suback:
    return Suback(body.id(), properties=body.properties(), reasons=list(body.rest()))


def _unsuback(body: Body) -> Unsuback:
    return Unsuback(body.id(), properties=body.properties(), reasons=list(body.rest()) if body.five else [])


def _disconnect(body: Body) -> Disconnect:
    return Disconnect(*_reason(body))


def _auth(body: Body) -> Auth:
    if not body.five:
        raise malformed("packet type 15 doesn't exist in MQTT 3.1.1")
    return Auth(body.byte(), body.properties()) if body.left else Auth()


def _reason(body: Body) -> tuple[int, Properties | None]:
    """Reason code and properties, each of which may be left out with all that follows (3.4.2.1, 3.14.2.1)."""
    if not (body.five and body.left):
        return 0, None
    return body.byte(), body.properties() if body.left else None


_DECODE: dict[Kind, Callable[[Body], Packet]] = {
    Kind.CONNECT: _connect,
    Kind.CONNACK: _connack,
    Kind.PUBACK: _ack,
    Kind.PUBREC: _ack,
    Kind.PUBREL: _ack,
    Kind.PUBCOMP: _ack,
    Kind.SUBSCRIBE: _subscribe,
    Kind.SUBACK: _suback,
    Kind.UNSUBSCRIBE: _unsubscribe,
    Kind.UNSUBACK: _unsuback,
    Kind.PINGREQ: lambda body: Ping(),
    Kind.PINGRESP: lambda body: Pong(),
    Kind.DISCONNECT: _disconnect,
    Kind.AUTH: _auth,
}
