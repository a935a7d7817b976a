"""An MQTT broker that already runs (mosquitto, EMQX, Zigbee2MQTT's): read as a client, acknowledged after the commit.

PUBACK leaves when the message is on the disk, in the order the messages came. QoS 2 isn't offered: paho sends PUBREC at once,
and what is lost between PUBREC and the commit nobody sends again; QoS 1 with our memory of repeats is safer. The broker keeps
our session, so what comes while we are away comes when we are back; if it has lost the session, a ``gap`` event says that
something may be missing.
"""

import asyncio
import logging
from collections import deque
from typing import Annotated, Any

from msgspec import Meta
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import DeviceRefused, LinkLost, SinkRefused, SinkUnavailable
from gateway.event import event
from gateway.hub.inlet import Inlet, Publish
from gateway.hub.properties import Property
from gateway.sinks._broker import (
    Authority,
    Certificate,
    CertificateKey,
    Encrypt,
    Host,
    KeepAlive,
    PasswordFile,
    Port,
    User,
    Version,
    client,
    fits,
    unreached,
    unwelcome,
)
from gateway.sinks._paho import Connection
from gateway.source import Source
from gateway.store.log import Log

log = logging.getLogger("redcar.source")

taken_over = 0x8E
minute = 60.0
tolerated = 3
"""Connections lost to somebody of our name within a minute, before we leave the field to him."""

short = 5.0
"""Seconds. Not every broker says why it closes: when it lets us in and always closes so soon, somebody has our name."""

_TRAVELS = {
    "PayloadFormatIndicator": Property.payload_format,
    "ContentType": Property.content_type,
    "ResponseTopic": Property.response_topic,
    "CorrelationData": Property.correlation_data,
    "UserProperty": Property.user_property,
}


class Config(Source, kw_only=True):
    """A broker, who we are there, and what we want from it."""

    host: Host
    port: Port = 1883
    protocol: Version = "5.0"
    client_id: Annotated[str | None, Meta(description="left out: redcar-, the gateway's name and ours")] = None
    username: User = None
    password_file: PasswordFile = None
    tls: Encrypt = False
    ca: Authority = None
    certificate: Certificate = None
    key: CertificateKey = None
    keepalive: KeepAlive = 30

    def __post_init__(self) -> None:
        fits(self)

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.host}:{self.port}"


class Reader:
    """Reads one broker. ``run`` lasts as long as a connection; whoever supervises it starts it again."""

    def __init__(self, config: Config, inlet: Inlet, store: Log, gateway: str) -> None:
        self.config = config
        self.connected = False
        self.received = 0
        self._inlet = inlet
        self._store = store
        self._client_id = config.client_id or f"redcar-{gateway}-{config.name}"
        self._known = False  # we were there before, so there is a session to be lost
        self._lost: deque[float] = deque()
        self._arrived: list[tuple[Publish, int]] = []
        self._waiting: deque[tuple[list[tuple[Publish, int]], asyncio.Future[None] | None]] = deque()

    async def run(self) -> None:
        """Connect, subscribe, read until the connection ends. Raises LinkLost or DeviceRefused."""
        config = self.config
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            paho = client(config, self._client_id, lasting=True)
        except SinkRefused as error:
            raise DeviceRefused(str(error)) from error
        paho.manual_ack_set(True)
        self._arrived.clear()
        self._waiting.clear()

        def arrived(_: object, __: object, message: MQTTMessage) -> None:
            if not self._arrived:
                loop.call_soon(self._hand_over, connection)
            self._arrived.append((self._publish(message), message.mid))

        def subscribed(_: object, __: object, ___: int, codes: list[ReasonCode], ____: object) -> None:
            if not granted.done():
                granted.set_result(codes)

        connection = Connection(paho, 30.0, lambda _: ended.set())
        granted: asyncio.Future[list[ReasonCode]] = loop.create_future()
        paho.on_message = arrived
        paho.on_subscribe = subscribed
        began = loop.time()
        try:
            await self._enter(connection)
            began = loop.time()
            paho.subscribe([(topic, config.qos) for topic in config.topics])
            paho.loop_write()
            async with asyncio.timeout(10):
                waiting: asyncio.Future[Any] = asyncio.ensure_future(ended.wait())
                await asyncio.wait([granted, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            self._check(granted)
            await ended.wait()
            raise self._why(connection, loop.time() - began)
        except TimeoutError as error:
            raise LinkLost(f"{config.where}: no answer to SUBSCRIBE") from error
        finally:
            self.connected = False
            connection.close()

    async def _enter(self, connection: Connection) -> None:
        config = self.config
        more: dict[str, Any] = {}
        if config.protocol == "5.0":
            wanted: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            wanted.SessionExpiryInterval = config.expiry
            wanted.ReceiveMaximum = config.window
            more = {"clean_start": False, "properties": wanted}
        try:
            answer = await connection.open(config.host, config.port, config.keepalive, **more)
            if answer.code:
                raise unwelcome(config, self._client_id, answer.code, answer.text)
        except OSError as error:
            raise _as_link(unreached(config, error)) from error
        except (SinkUnavailable, SinkRefused) as error:
            raise _as_link(error) from error
        if self._known and not answer.present:
            log.warning("%s has lost our session: what came while we were away may be missing", config.where)
            data = {"reason": "session_lost", "count": 0, "consumer": config.name}
            self._store.append([event("gap", "gateway", data, time=self._store.clock.now())], wait=False)
        self._known = self.connected = True

    def _check(self, granted: "asyncio.Future[list[ReasonCode]]") -> None:
        """Whether the broker lets us have what we want."""
        if not granted.done():
            return
        for topic, code in zip(self.config.topics, granted.result()):
            if code.is_failure:
                raise DeviceRefused(
                    f"{self.config.where}: it doesn't let us subscribe to {topic}: check its access list"
                )

    def _why(self, connection: Connection, lasted: float) -> LinkLost | DeviceRefused:
        where, now = self.config.where, asyncio.get_running_loop().time()
        if connection.code == taken_over or lasted < short:
            self._lost.append(now)
            while now - self._lost[0] > minute:
                self._lost.popleft()
            if len(self._lost) > tolerated:
                self._lost.clear()
                text = f"{where}: somebody else is connected there as {self._client_id}, and we put each other out"
                text += ": give this source another client_id"
                log.error("%s", text)  # the supervisor said that the link is lost, and won't say more until it works
                return DeviceRefused(text)
        return LinkLost(f"{where}: {connection.over}")

    def _publish(self, message: MQTTMessage) -> Publish:
        self.received += 1
        own = getattr(message, "properties", None)
        properties: dict[int, Any] = {id: getattr(own, name) for name, id in _TRAVELS.items() if hasattr(own, name)}
        topic = f"{self.config.prefix}{message.topic}"
        name = f"{self.config.name}@{self.config.host}"
        payload = bytes(message.payload)
        return Publish(
            topic, payload, message.qos, bool(message.retain), properties or None, name, None, message.dup, message.mid
        )

    def _hand_over(self, connection: Connection) -> None:
        """Everything that one turn of the loop brought."""
        batch, self._arrived = self._arrived, []
        if not batch or connection.over is not None:
            return
        future = self._inlet.publish([message for message, _ in batch])
        self._waiting.append((batch, future))
        if future is None:
            self._settle(connection)
        else:
            future.add_done_callback(lambda _: self._settle(connection))

    def _settle(self, connection: Connection) -> None:
        """Acknowledge what is on the disk, oldest first."""
        while self._waiting and ((future := self._waiting[0][1]) is None or future.done()):
            batch, _ = self._waiting.popleft()
            if connection.over is not None:
                continue
            if future and (future.cancelled() or future.exception()):
                connection.end("its messages couldn't be stored: it has to send them again")
                return
            for message, id in batch:
                if message.qos:
                    connection.acknowledge(id, message.qos)


def _as_link(error: SinkUnavailable | SinkRefused) -> LinkLost | DeviceRefused:
    return LinkLost(str(error)) if isinstance(error, SinkUnavailable) else DeviceRefused(str(error))
