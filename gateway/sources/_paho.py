"""A broker read through paho-mqtt, which holds acknowledgements back until it is told."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.hub import properties
from gateway.hub.inlet import Publish
from gateway.hub.properties import Properties, Property
from gateway.sinks._broker import Answer, HungUp
from gateway.sinks._paho import Connection, Packed

if TYPE_CHECKING:
    from gateway.sources.mqtt import Config

_TRAVELS = {
    "PayloadFormatIndicator": Property.payload_format,
    "MessageExpiryInterval": Property.message_expiry,
    "ContentType": Property.content_type,
    "ResponseTopic": Property.response_topic,
    "CorrelationData": Property.correlation_data,
    "UserProperty": Property.user_property,
}


class Paho(Connection):
    """See ``Link`` in ``mqtt.py``."""

    def __init__(
        self,
        config: "Config",
        client_id: str,
        arrived: Callable[[list[Publish]], None],
        ended: Callable[[object], None],
    ) -> None:
        super().__init__(config, client_id, 30.0, ended, lasting=True)
        self._config = config
        self._arrived = arrived
        self._batch: list[Publish] = []
        self._granted: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._client.manual_ack_set(True)
        self._client.on_message = self._message
        self._client.on_subscribe = self._subscribed

    async def enter(self) -> Answer:
        """See ``Link``."""
        config = self._config
        more: dict[str, Any] = {}
        if config.protocol == "5.0":
            session: Properties = {Property.session_expiry: config.expiry, Property.receive_maximum: config.window}
            more = {"clean_start": False, "properties": Packed(properties.write(session))}
        return await self.open(**more)

    async def subscribe(self) -> list[int]:
        """See ``Link``."""
        topics, qos = self._config.topics, self._config.qos
        if self._config.protocol == "5.0":
            # what is retained comes with a new subscription only, not with each connection of a session that is kept
            options = SubscribeOptions(qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._client.subscribe([(topic, options) for topic in topics])
        else:
            self._client.subscribe([(topic, qos) for topic in topics])
        self._client.loop_write()
        return [code.value for code in await self._granted]

    def acknowledge(self, messages: list[Publish]) -> None:
        """See ``Link``."""
        for message in messages:
            if message.qos:
                self._client.ack(int.from_bytes(message.packet_id), message.qos)

    def end(self, why: str, code: int = 0) -> None:
        """See ``Link``."""
        if not self._granted.done():
            self._granted.set_exception(HungUp(why))
            self._granted.exception()  # nobody may be waiting for it any more
        super().end(why, code)

    def _message(self, _: object, __: object, message: MQTTMessage) -> None:
        if not self._batch:
            self._loop.call_soon(self._hand_over)
        own = getattr(message, "properties", None)
        carried: dict[int, Any] = {id: getattr(own, name) for name, id in _TRAVELS.items() if hasattr(own, name)}
        self._batch.append(
            Publish(
                f"{self._config.prefix}{message.topic}",
                bytes(message.payload),
                message.qos,
                bool(message.retain),
                carried or None,
                self._config.sender,
                None,
                message.dup,
                message.mid.to_bytes(2) if message.qos else b"",
            )
        )

    def _hand_over(self) -> None:
        """Everything that one turn of the loop brought."""
        batch, self._batch = self._batch, []
        if self.over is None:
            self._arrived(batch)

    def _subscribed(self, _: object, __: object, ___: int, codes: list[ReasonCode], ____: object) -> None:
        if not self._granted.done():
            self._granted.set_result(codes)
