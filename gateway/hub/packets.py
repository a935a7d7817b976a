"""The control packets of MQTT 3.1.1 and 5.0 as structures. ``properties`` is None where there are none, and in 3.1.1.

``encode.py`` turns them into bytes, ``decode.py`` back; PUBLISH is an ``inlet.Publish`` inside a ``Delivery``.
"""

from msgspec import Struct, field

from gateway.hub.inlet import Publish
from gateway.hub.properties import Kind, Properties, Property

V311 = 4
V5 = 5


class Will(Struct):
    """What the server publishes when the client vanishes."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None

    @property
    def delay(self) -> int:
        """Seconds between that and its publication."""
        seconds: int = (self.properties or {}).get(Property.will_delay, 0)
        return seconds


class Connect(Struct):
    """The first packet. ``clean``: clean session in 3.1.1, clean start in 5.0."""

    client_id: str = ""
    version: int = V311
    clean: bool = True
    keep_alive: int = 60
    user: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties | None = None


class Connack(Struct):
    """The answer to CONNECT. ``reason``: a reason code in 5.0, a return code 0-5 in 3.1.1."""

    session_present: bool = False
    reason: int = 0
    properties: Properties | None = None


class Delivery(Struct):
    """One PUBLISH on the wire: the message, and what belongs to this hop only. ``id`` is 0 at QoS 0."""

    message: Publish
    id: int = 0
    dup: bool = False


class Ack(Struct):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    kind: Kind
    id: int
    reason: int = 0
    properties: Properties | None = None


class Filter(Struct):
    """One topic filter of a SUBSCRIBE with its options; 3.1.1 has only ``qos``.

    retain_handling  0 send retained messages, 1 only if the subscription is new, 2 don't
    """

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(Struct):
    """Asks for messages."""

    id: int
    filters: list[Filter]
    properties: Properties | None = None


class Suback(Struct):
    """The answer, one reason per filter, in order."""

    id: int
    reasons: list[int]
    properties: Properties | None = None


class Unsubscribe(Struct):
    """Gives subscriptions up."""

    id: int
    filters: list[str]
    properties: Properties | None = None


class Unsuback(Struct):
    """The answer, one reason per filter, in order; 3.1.1 has none."""

    id: int
    reasons: list[int] = []
    properties: Properties | None = None


class Ping(Struct):
    """PINGREQ."""


class Pong(Struct):
    """PINGRESP."""


class Disconnect(Struct):
    """The last packet; before 5.0 only clients send it."""

    reason: int = 0
    properties: Properties | None = None


class Auth(Struct):
    """A step of an enhanced authentication, 5.0 only."""

    reason: int = 0
    properties: Properties | None = None


class Batch(Struct):
    """A run of PUBLISHes and acknowledgements, in wire order.

    messages  QoS 0 and 1, not repeated, without properties or topic alias
    acks      the encoded answers they are owed, in order; none for QoS 0
    ids       packet ids they answer
    acked     packet ids the peer acknowledged
    received  packet ids of those at QoS 2; ``released``: of those that PUBREL ends
    """

    messages: list[Publish] = field(default_factory=list)
    acks: bytes = b""
    ids: list[bytes] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)


Packet = (
    Connect | Connack | Delivery | Ack | Subscribe | Suback | Unsubscribe | Unsuback | Ping | Pong | Disconnect | Auth
)
