"""The server's side of one MQTT connection. Sans-IO: bytes and the time in, events and bytes out; no sockets, no clock.

receive(data, now) -> events    what the caller has to decide or do; all else is answered here
out.take() -> bytes             what has to be written
deadline                        when to give up on the peer

event                    what the caller does
Connect                  finds out who it is, then accept() or refuse()
Batch                    hands the messages over; acknowledge(batch) once they are safe, in order
Subscribe, Unsubscribe   changes the subscriptions, then answer()
Declined                 tells the operator
Replay                   sends what is stored
Disconnect               closes: the client is done
ProtocolError            closes: what there is to say to the client is in ``out``
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.hub import encode
from gateway.hub.aliases import Aliases
from gateway.hub.arrivals import QOS2_ID, Arrivals
from gateway.hub.happenings import Declined, Event, MayPublish, Replay
from gateway.hub.limits import Limits
from gateway.hub.outbox import Outbox
from gateway.hub.packets import (
    V5,
    Ack,
    Batch,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Packet,
    Ping,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import CONNACK_311, ProtocolError, Reason, violation
from gateway.hub.stream import FIRST, FROM_CLIENT, Stream
from gateway.hub.topics import REPLAYS

if TYPE_CHECKING:
    from gateway.hub.members import Member

_FOREVER = float("inf")
_KNOWN = 10_000  # topics in the shared memory of checked ones


class Session:
    """One connection, from its first byte to its last.

    flush  set by whoever holds the socket: something is in ``out``
    over   nothing more is read or delivered
    ended  why, if it wasn't the client's wish
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.out = Outbox(limits)
        self.client_id = ""
        self.user: str | None = None
        self.member: Member | None = None
        self.accepted = False
        self.over = False
        self.ended: tuple[Reason, str] | None = None
        self.deadline: float = now + limits.connect_within
        self.flush: Callable[[], None] = lambda: None
        self._may_publish: MayPublish = lambda topic: None
        self._stream = Stream(FIRST, limits.connect, limits)
        self._connect = Connect()
        self._silence = _FOREVER
        self._aliases = Aliases(limits.aliases)
        self._arrivals = Arrivals()

    @property
    def five(self) -> bool:
        """The client speaks 5.0, as far as we know by now."""
        return self._stream.version == V5

    @property
    def weight(self) -> int:
        """Bytes it makes us hold: half a packet, what its client doesn't read, QoS 2 messages it doesn't release."""
        return self._stream.unfinished + self.out.weight + QOS2_ID * len(self._arrivals.qos2)

    @property
    def flight(self) -> int:
        """Messages of the client that aren't acknowledged yet."""
        return self._arrivals.owed

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What these bytes mean, in order. PUBLISHes up to the next SUBSCRIBE or UNSUBSCRIBE are one Batch, before all else."""
        if self.over:
            return []
        if self.accepted:
            self.patience(now)
        batch, place = Batch(), 0
        events: list[Event] = []
        try:
            for packet in self._stream.feed(data):
                if isinstance(packet, Batch):
                    if packet.acked:
                        self.out.land(packet.acked)
                    batch = self._arrivals.merge(batch, packet)
                elif isinstance(packet, Delivery):
                    self._publish(packet, batch, events)
                elif isinstance(packet, ProtocolError):
                    raise packet
                else:
                    if isinstance(packet, Subscribe | Unsubscribe):
                        self._close(batch, events, place)
                        batch, place = Batch(), len(events) + 1
                    self._other(packet, batch, events)
                    if isinstance(packet, Disconnect):
                        break
            self._check_flight(self._arrivals.owed + len(batch.ids))
        except ProtocolError as error:
            self.end(error.reason, error.text)
            events.append(error.with_traceback(None))
        self._close(batch, events, place)
        self._arrivals.rest()
        return events

    def _close(self, batch: Batch, events: list[Event], place: int) -> None:
        """Nothing more belongs to a batch, which stands at that place."""
        if batch.messages or batch.acks:
            self._arrivals.wait(batch)
            events.insert(place, batch)

    def acknowledge(self, batch: Batch) -> None:
        """The oldest batch is safe: its acknowledgements go out."""
        self._arrivals.settle(batch)
        self._arrivals.stored(batch)
        if batch.acks and not self.over:
            self.out.put(batch.acks)

    def forget(self, batch: Batch) -> None:
        """The oldest batch isn't stored: the client will send it again. Should it be ``stored`` after all, that is known."""
        self._arrivals.settle(batch)

    def undo(self, batch: Batch) -> None:
        """It wasn't even handed over, and never will be: what comes with its packet ids is new."""
        self._arrivals.undo(batch)

    def stored(self, batch: Batch) -> None:
        """Its packet ids at QoS 2 are on the disk."""
        self._arrivals.stored(batch)

    def accept(
        self,
        user: str | None,
        client_id: str,
        known: dict[bytes, str],
        may_publish: MayPublish,
        now: float,
        *,
        present: bool = False,
        expiry: int = 0,
        qos2: dict[bytes, bool] | None = None,
    ) -> list[Event]:
        """Let the client in; then what it sent without waiting for the answer.

        known   topics that all clients with these rights have used, as in Stream
        expiry  seconds for which the session is kept; ``qos2``: its packet ids at QoS 2, where they are kept, too
        """
        asked = self._connect
        own: Properties = asked.properties or {}
        keep_alive = asked.keep_alive
        answer: Properties = {}
        if self.five:
            self.out.window = min(self.out.window, own.get(Property.receive_maximum, 65_535))
            self.out.aliases = min(own.get(Property.topic_alias_maximum, 0), self.limits.aliases)
            answer = {
                Property.receive_maximum: self.limits.receive_maximum,
                Property.maximum_packet_size: self.limits.packet,
                Property.topic_alias_maximum: self.limits.aliases,
            }
            if own.get(Property.session_expiry, 0) != expiry:
                answer[Property.session_expiry] = expiry
            if client_id != asked.client_id:
                answer[Property.assigned_client_id] = client_id
            if not 0 < keep_alive <= self.limits.keep_alive:
                keep_alive = answer[Property.server_keep_alive] = self.limits.keep_alive
        self._silence = 1.5 * keep_alive if keep_alive else _FOREVER  # [MQTT-3.1.2-22]
        self._may_publish = may_publish
        self.user = self._stream.user = user
        self.client_id = self._stream.client = client_id
        self._stream.known = known
        self._stream.expected = FROM_CLIENT
        self._stream.limit = self.limits.packet
        self._stream.held = False
        if qos2 is not None:
            self._arrivals.qos2, self._arrivals.kept = qos2, True
        self._send(Connack(present, 0, answer or None))
        self.accepted = not self.over
        self.out.resume()
        return self.receive(b"", now)

    def learn(self, known: dict[bytes, str]) -> None:
        """Rights have changed: these are the topics now that clients with such rights have used."""
        self._stream.known = known

    def refuse(self, reason: Reason, text: str) -> None:
        """Don't let the client in; say why, as far as its version can hear it."""
        self.over = True
        if self.five and reason == Reason.UNSUPPORTED_VERSION:
            self._send(Connack(False, reason))  # it may not know our words
        elif self.five:
            self._explain(Connack(False, reason), text)
        elif reason in CONNACK_311:
            self._send(Connack(False, CONNACK_311[reason]))

    def end(self, reason: Reason, text: str) -> None:
        """Say goodbye; once that is written the connection is to be closed."""
        if self.over:
            return
        self.ended = reason, text
        self._stream.drop()
        if not self.accepted:
            self.refuse(reason, text)
            return
        self.over = True
        self.out.close()
        if self.five:
            self._explain(Disconnect(reason), text)

    def answer(self, request: Subscribe | Unsubscribe, reasons: Sequence[Reason]) -> None:
        """SUBACK or UNSUBACK, one reason per filter. 3.1.1 knows one failure, 0x80 [MQTT-3.9.3-2]."""
        if self.over:
            return
        known: list[int] = [reason if self.five else min(reason, Reason.UNSPECIFIED) for reason in reasons]
        self._send((Unsuback if isinstance(request, Unsubscribe) else Suback)(request.id, known))

    def patience(self, now: float) -> None:
        """Count the client's silence from now: it spoke, or we didn't listen."""
        self.deadline = now + (self._silence if self.accepted else self.limits.connect_within)

    def _other(self, packet: Packet, batch: Batch, events: list[Event]) -> None:
        if isinstance(packet, Ping):
            self.out.put(encode.PINGRESP)
        elif isinstance(packet, Ack):
            self._ack(packet, batch)
        elif isinstance(packet, Subscribe | Unsubscribe):
            events.append(packet)
        elif isinstance(packet, Disconnect):
            asked = (self._connect.properties or {}).get(Property.session_expiry)
            if not asked and (packet.properties or {}).get(Property.session_expiry):
                raise violation("a session expiry with DISCONNECT, and none with CONNECT (3.14.2.2.2)")
            self.over = True
            events.append(packet)
        elif isinstance(packet, Connect):
            self._connect = packet
            self.out.version = packet.version
            self.out.largest = (packet.properties or {}).get(Property.maximum_packet_size, 0)
            events.append(packet)
        else:
            raise violation(f"{type(packet).__name__.upper()} wasn't asked for [MQTT-4.12.0-6]")

    def _ack(self, packet: Ack, batch: Batch) -> None:
        kind, id = packet.kind, packet.id
        if kind is Kind.PUBREL:
            key = encode.packet_id(id)
            if key not in self._arrivals.qos2:
                self._send(Ack(Kind.PUBCOMP, id, Reason.PACKET_ID_NOT_FOUND))
            elif self._arrivals.release(key, batch):
                self.out.put(encode.PUBCOMP + key)
        elif kind is Kind.PUBCOMP:
            self.out.complete(id)
        elif kind is Kind.PUBREC and packet.reason < Reason.UNSPECIFIED:
            self.out.receive(id)
        else:
            self.out.land((id,))

    def _publish(self, packet: Delivery, batch: Batch, events: list[Event]) -> None:
        """A PUBLISH that needs a second look."""
        message = packet.message
        if message.properties:
            self._aliases.unwrap(message)
        id = packet.id.to_bytes(2, "big")
        ack = (encode.PUBREC if message.qos == 2 else encode.PUBACK) + id
        if self._repeated(packet, id, batch):
            return
        if message.qos == 2:
            self._check_flight(len(self._arrivals.qos2) + 1)  # now: a PUBREL behind it in the same bytes would hide it
        if message.topic.startswith(REPLAYS):
            events.append(Replay(message))
            if message.qos:
                self._arrivals.take(id, batch, ack, once=message.qos == 2)
            return
        refused = self._may_publish(message.topic)
        if refused is None:
            if len(self._stream.known) >= _KNOWN:
                self._stream.known.clear()
            self._stream.known[message.topic.encode()] = message.topic
            batch.messages.append(message)
        else:
            reason, why = refused
            events.append(Declined(message.topic, why))
            if self.five:
                kind = Kind.PUBREC if message.qos == 2 else Kind.PUBACK
                ack = encode.encode(Ack(kind, packet.id, reason), V5)
        if message.qos:
            self._arrivals.take(id, batch, ack, once=message.qos == 2 and not (refused and self.five))

    def _repeated(self, packet: Delivery, id: bytes, batch: Batch) -> bool:
        """Whether the client sends again what we have."""
        if packet.message.qos < 2:
            return packet.dup and self._arrivals.again(id, batch)
        due = self._arrivals.qos2.get(id)
        if due:
            self.out.put(encode.PUBREC + id)
        return due is not None

    def _check_flight(self, count: int) -> None:
        if self.five and count > self.limits.receive_maximum:
            text = f"more than {self.limits.receive_maximum} messages in flight [MQTT-3.3.4-7]"
            raise ProtocolError(Reason.RECEIVE_MAXIMUM_EXCEEDED, text)

    def _explain(self, packet: Connack | Disconnect, text: str) -> None:
        """Send it with a reason in words, if that isn't more than the client takes [MQTT-3.2.2-19] [MQTT-3.14.2-3]."""
        self._send(replace(packet, properties={Property.reason_string: text}), packet)

    def _send(self, *ways: Packet) -> None:
        """Write the first of these that the client takes; one that takes none can't be served [MQTT-3.1.2-24]."""
        for packet in ways:
            frame = encode.encode(packet, self._stream.version)
            if not 0 < self.out.largest < len(frame):
                self.out.put(frame)
                return
        self.end(Reason.PACKET_TOO_LARGE, f"our answer is larger than the {self.out.largest} bytes that it takes")
