"""Topic aliases of a client: numbers that stand for topics on one connection (5.0, 3.3.2.3.4)."""

from gateway.hub.inlet import Publish
from gateway.hub.properties import Property
from gateway.hub.reasons import ProtocolError, Reason, violation


class Aliases:
    """``most``: how many the client was told it may use."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._topics: dict[int, str] = {}

    def unwrap(self, message: Publish) -> None:
        """Take from a message's properties what belongs to this hop, and give it its topic [MQTT-3.3.2-12]."""
        properties = message.properties or {}
        if Property.subscription_identifier in properties:
            raise violation("a subscription identifier from a client [MQTT-3.3.4-6]")
        alias = properties.pop(Property.topic_alias, None)
        if alias is None:
            return
        if not 0 < alias <= self._most:
            text = f"topic alias {alias}: 1 to {self._most} are accepted [MQTT-3.3.2-8] [MQTT-3.3.2-9]"
            raise ProtocolError(Reason.TOPIC_ALIAS_INVALID, text)
        if message.topic:
            self._topics[alias] = message.topic
        elif alias in self._topics:
            message.topic = self._topics[alias]
        else:
            raise violation(f"topic alias {alias} stands for nothing yet [MQTT-3.3.2-7]")
        message.properties = properties or None
