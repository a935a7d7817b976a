"""A broker read through our own codec, in the client's role: for one that is too busy for paho.

What one read of the socket brings is one batch; what one commit has stored is acknowledged by one write. Nothing else is
sent but CONNECT, SUBSCRIBE and pings, so nothing ever waits here for the broker.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from gateway.hub import encode
from gateway.hub.aliases import Aliases
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Batch,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Filter,
    Packet,
    Suback,
    Subscribe,
)
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import CONNACK_311, ProtocolError, Reason
from gateway.hub.stream import FROM_SERVER, Stream
from gateway.hub.wire import VARINT_MAX
from gateway.sinks._broker import Answer, HungUp, answer_within, broke_off, password, sent_away, silent, trust

if TYPE_CHECKING:
    from gateway.sources.mqtt import Config

dial_within = 5.0
"""Seconds for each address of the broker's name."""

known_topics = 10_000
"""Whose packets take the codec's short road; beyond it the memory starts afresh."""

aliases = 64
"""Topic aliases that the broker may use."""

_ROOMY = Limits(properties=VARINT_MAX, user_properties=VARINT_MAX)
"""What the broker took from others it can't take back: were we to refuse it, it would come again for ever."""

_LARGEST = VARINT_MAX + 5
_REASONS = {code: reason for reason, code in reversed(CONNACK_311.items())}


class Own(asyncio.Protocol):
    """See ``Link`` in ``mqtt.py``."""

    def __init__(
        self,
        config: "Config",
        client_id: str,
        arrived: Callable[[list[Publish]], None],
        ended: Callable[[object], None],
    ) -> None:
        self.over: str | None = None
        self.code = 0
        self._config = config
        self._client_id = client_id
        self._arrived = arrived
        self._ended = ended
        self._five = config.protocol == "5.0"
        self._version = V5 if self._five else V311
        self._stream = Stream(FROM_SERVER, _LARGEST, _ROOMY, self._version)
        self._stream.client = config.sender
        self._aliases = Aliases(aliases)
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Connack] = self._loop.create_future()
        self._granted: asyncio.Future[Suback] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._every = config.keepalive / 2
        self._silences = 0  # so often we looked and had heard nothing
        self._spoke = False  # since the last look
        self._paused = False

    async def enter(self) -> Answer:
        """See ``Link``."""
        config = self._config
        secret = password(config)
        context = await asyncio.to_thread(trust, config) if config.tls else None
        asked = Connect(self._client_id, self._version, clean=False, keep_alive=config.keepalive, user=config.username)
        asked.password = secret.encode() if secret is not None else None
        if self._five:
            asked.properties = {
                Property.session_expiry: config.expiry,
                Property.receive_maximum: config.window,
                Property.topic_alias_maximum: aliases,
            }
        try:
            async with asyncio.timeout(answer_within):
                await self._dial(context)
                self._send(asked)
                said = await self._answer
        except OSError as error:  # TimeoutError is one
            self.end(str(error))
            raise
        own: Properties = said.properties or {}
        self._every = own.get(Property.server_keep_alive, config.keepalive) / 2  # [MQTT-3.1.2-21]
        if self._every:
            self._timer = self._loop.call_later(self._every, self._tick)
        reason = said.reason if self._five else _REASONS.get(said.reason, said.reason)
        return Answer(reason, _words(reason, own), said.session_present)

    async def subscribe(self) -> list[int]:
        """See ``Link``."""
        # what is retained comes with a new subscription only, not with each connection of a session that is kept
        self._send(Subscribe(1, [Filter(topic, self._config.qos, retain_handling=1) for topic in self._config.topics]))
        return (await self._granted).reasons

    def acknowledge(self, messages: list[Publish]) -> None:
        """See ``Link``."""
        heads = b"", encode.PUBACK, encode.PUBREC
        self._write(b"".join([heads[one.qos] + one.packet_id for one in messages if one.qos]))

    def pause(self) -> None:
        """See ``Link``."""
        if self._transport and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """See ``Link``."""
        if self._transport and not self._transport.is_closing() and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """See ``Link``."""
        if self.over is None:
            self._send(Disconnect())
        self.end("closed")

    def end(self, why: str, code: int = 0, error: Exception | None = None) -> None:
        """See ``Link``. ``error``: what to tell whoever waits for an answer."""
        if self.over is not None:
            return
        self.over, self.code = why, code
        if self._timer:
            self._timer.cancel()
        if self._transport:
            self._transport.abort()
        for waiting in (self._answer, self._granted):
            if not waiting.done():
                waiting.set_exception(error or HungUp(why))
                waiting.exception()  # nobody may be waiting for it any more
        self._ended(self)

    async def _dial(self, context: ssl.SSLContext | None) -> None:
        """Try each address of the broker. Raises OSError, the last one's."""
        host, port, loop = self._config.host, self._config.port, self._loop
        problem = OSError("it has no address")
        for family, _, _, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            name = host if context else None
            try:
                async with asyncio.timeout(dial_within):
                    await loop.create_connection(
                        lambda: self, str(address[0]), port, family=family, ssl=context, server_hostname=name
                    )
                return
            except OSError as error:
                problem = error
        raise problem

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._socket = transport.get_extra_info("socket")

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._transport:
            self.end(broke_off, error=error if isinstance(error, ssl.SSLError) else None)

    def data_received(self, data: bytes) -> None:
        """Bytes came: hand over the messages among them, all at once, then look at the rest."""
        self._silences = 0
        # a broker with Nagle's algorithm on (mosquitto) holds back the end of a batch until our system has said it has the rest
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        messages: list[Publish] = []
        others: list[Packet] = []
        fault: ProtocolError | None = None
        try:
            for packet in self._stream.feed(data):
                if isinstance(packet, Batch):
                    messages += packet.messages
                elif isinstance(packet, Delivery):
                    messages.append(self._unusual(packet.message))
                elif isinstance(packet, ProtocolError):
                    raise packet
                else:
                    others.append(packet)
        except ProtocolError as error:
            fault = error
        if messages and self.over is None:
            self._arrived(messages)
        for other in others:
            self._other(other)
        if fault:
            self._send(Disconnect(fault.reason))
            self.end(f'it sent what our own client can\'t read ({fault}): write client = "paho"')

    def _unusual(self, message: Publish) -> Publish:
        """A PUBLISH that took the long road: because of what it carries, or because its topic is new here."""
        if message.properties:
            # we ask for none: an earlier owner of our session did
            message.properties.pop(Property.subscription_identifier, None)
            self._aliases.unwrap(message)
            message.properties = message.properties or None
        known = self._stream.known
        if len(known) >= known_topics:
            known.clear()
        raw = message.topic.encode()
        message.topic = known[raw] = self._config.prefix + message.topic
        return message

    def _other(self, packet: Packet) -> None:
        if isinstance(packet, Connack) and not self._answer.done():
            self._answer.set_result(packet)
        elif isinstance(packet, Suback) and not self._granted.done():
            self._granted.set_result(packet)
        elif isinstance(packet, Disconnect):
            self.end(sent_away.format(text=_words(packet.reason, packet.properties or {})), packet.reason)
        elif isinstance(packet, Ack) and packet.kind is Kind.PUBREL:
            self._write(encode.PUBCOMP + encode.packet_id(packet.id))

    def _send(self, packet: Packet) -> None:
        self._write(encode.encode(packet, self._version))

    def _write(self, data: bytes) -> None:
        if self._transport and data and not self._transport.is_closing():
            self._transport.write(data)
            self._spoke = True

    def _tick(self) -> None:
        """Twice per keep-alive: ping if we were silent [MQTT-3.1.2-20], or if the broker was; hang up if it stays so."""
        self._timer = self._loop.call_later(self._every, self._tick)
        self._silences = 0 if self._paused else self._silences + 1
        if self._silences > 3:
            self.end(silent)
        elif self._silences > 1 or not self._spoke:
            self._write(encode.PINGREQ)
        self._spoke = False


def _words(reason: int, properties: Properties) -> str:
    """The broker's own, or else what the standard calls it."""
    own: str | None = properties.get(Property.reason_string)
    if own:
        return own
    try:
        return Reason(reason).name.replace("_", " ").capitalize()
    except ValueError:
        return f"reason 0x{reason:02X}"
