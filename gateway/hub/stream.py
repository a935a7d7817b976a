"""Cuts a stream of bytes into packets. Sans-IO: bytes in, packets out, nothing else.

The rule of this file: what an ordinary device sends a thousand times a second, PUBLISH at QoS 0 or 1 and PUBACK, is
parsed in one tight loop into a Batch; whatever is unusual about a packet (a repeat, properties, QoS 2, a topic not
seen before, a length of more than two bytes, an error) sends it down the careful road through decode.py.
"""

from gateway.hub.decode import Body, connect_version, decode
from gateway.hub.encode import PUBACK, packet_id
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import V5, V311, Batch, Connect, Delivery, Packet
from gateway.hub.properties import Kind
from gateway.hub.reasons import ProtocolError, Reason, malformed, violation
from gateway.hub.strangers import stranger

FIRST = frozenset((Kind.CONNECT,))
_BOTH = frozenset((Kind.PUBLISH, Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.DISCONNECT, Kind.AUTH))
FROM_CLIENT = _BOTH | {Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PINGREQ}
FROM_SERVER = _BOTH | {Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP}

_SHORT_ROAD = 0x4003  # a packet with two bytes of length can't be larger


class Stream:
    """One direction of one connection.

    expected      packet types the peer may send now
    limit         largest packet, header included
    known         topic as bytes -> topic: checked and allowed before; only these take the short road
    version       of the protocol; a CONNECT sets it
    held          bytes are kept and not parsed, as after CONNECT until it is answered; feed(b"") goes on
    client, user  who sends: stands in every message
    """

    def __init__(self, expected: frozenset[Kind], limit: int, limits: Limits, version: int = V311) -> None:
        self.expected = expected
        self.limit = limit
        self.known: dict[bytes, str] = {}
        self.version = version
        self.held = False
        self.client = ""
        self.user: str | None = None
        self._limits = limits
        self._rest = bytearray()
        self._need = 0  # don't look before so many bytes are there
        self._broken = False

    @property
    def unfinished(self) -> int:
        """Bytes of a packet that isn't complete."""
        return len(self._rest)

    def drop(self) -> None:
        """Nothing more will be read."""
        self._broken = True
        self._rest.clear()

    def feed(self, data: bytes) -> list[Packet | Batch | ProtocolError]:
        """All packets that are complete now. A ProtocolError is the last item there will ever be."""
        if self._broken:
            return []
        if self._rest or self.held:
            self._rest += data
            if self.held or len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        found: list[Packet | Batch | ProtocolError] = []
        at = 0
        try:
            while not self.held:
                if self.limit >= _SHORT_ROAD and Kind.PUBLISH in self.expected:
                    at = self._run(data, at, found)
                    if at == len(data):
                        break
                after = self._packet(data, at, found)
                if after == at:
                    break
                at = after
        except ProtocolError as error:
            self._broken = True
            found.append(error.with_traceback(None))  # which holds this frame, and with it the data, in a circle
            return found
        if at < len(data):
            self._rest += data[at:]
        return found

    def _run(self, data: bytes, at: int, found: list[Packet | Batch | ProtocolError]) -> int:
        """The short road: parse from ``at`` while nothing is unusual; where it stopped."""
        messages: list[Publish] = []
        ids: list[bytes] = []
        acked: list[int] = []
        known, client, user = self.known, self.client, self.user
        five = self.version == V5
        end = len(data)
        last = end - 4
        while at <= last:
            head, size = data[at], data[at + 1]
            if 0x30 <= head < 0x34:
                start = at + 2
                if size > 0x7F:
                    more = data[start]
                    if more > 0x7F or not more:
                        break
                    size += (more << 7) - 0x80
                    start += 1
                stop = start + size
                if stop > end:
                    break
                body = start + 2 + (data[start] << 8 | data[start + 1])
                name = data[start + 2 : body]
                if name not in known:
                    break
                id = b""
                if head & 2:
                    id = data[body : body + 2]
                    body += 2
                if five:
                    if body >= stop or data[body]:
                        break
                    body += 1
                if body > stop or id == b"\0\0":
                    break
                if id:
                    ids.append(id)
                    messages.append(
                        Publish(known[name], data[body:stop], 1, head == 0x33, None, client, user, False, id)
                    )
                else:
                    messages.append(Publish(known[name], data[body:stop], 0, head == 0x31, None, client, user))
                at = stop
            elif head == 0x40 and size == 2:
                id = data[at + 2 : at + 4]
                if id == b"\0\0":
                    break
                acked.append(id[0] << 8 | id[1])
                at += 4
            else:
                break
        if messages or acked:
            found.append(Batch(messages, PUBACK + PUBACK.join(ids) if ids else b"", ids, acked))
        return at

    def _packet(self, data: bytes, at: int, found: list[Packet | Batch | ProtocolError]) -> int:
        """The careful road: one packet; where it ended, or ``at`` if it isn't complete."""
        if at == len(data):
            self._need = 0
            return at
        head = data[at]
        self._check_kind(head)
        size = 0
        start = at + 1
        while True:
            if start == len(data):
                self._need = start - at + 1
                return at
            byte = data[start]
            size |= (byte & 0x7F) << 7 * (start - at - 1)
            start += 1
            if byte < 0x80:
                break
            if start - at == 5:
                raise malformed("the remaining length has more than four bytes [2.1.4]")
        if not byte and start - at > 2:
            raise malformed("the remaining length has more bytes than it needs [MQTT-1.5.5-1]")
        stop = start + size
        if stop - at > self.limit:
            text = f"a packet of {stop - at} bytes: at most {self.limit} are accepted [MQTT-3.1.2-24]"
            raise ProtocolError(Reason.PACKET_TOO_LARGE, text)
        if stop > len(data):
            self._need = stop - at
            return at
        body = Body(head, data, start, stop, self.version, self._limits)
        if body.kind is Kind.CONNECT:
            self.version = body.version = connect_version(body)
            body.five = body.version == V5
        packet = decode(body)
        if isinstance(packet, Delivery):
            packet.message.client = self.client
            packet.message.user = self.user
            packet.message.packet_id = packet_id(packet.id) if packet.id else b""
            packet.message.dup = packet.dup
        elif isinstance(packet, Connect):
            self.held = True
        found.append(packet)
        self._need = 0
        return stop

    def _check_kind(self, head: int) -> None:
        kind = head >> 4
        if self.expected == FIRST and (why := stranger(head, "MQTT")):
            raise violation(f"{why} [MQTT-3.1.0-1]")
        if kind in self.expected:
            return
        if self.expected == FIRST:
            raise violation("the first packet isn't CONNECT [MQTT-3.1.0-1]")
        if kind == Kind.CONNECT:
            raise violation("a second CONNECT [MQTT-3.1.0-2]")
        if not kind:
            raise malformed("packet type 0 doesn't exist [2.1.2]")
        raise violation(f"{Kind(kind).name} comes from the wrong side [2.1.2]")
