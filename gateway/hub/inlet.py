"""Where the hub hands messages to, and what it needs from there. ``ingest.py`` implements it.

The hub knows nothing of the log; the log knows nothing of MQTT.
"""

from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

Statement = tuple[str, tuple[Any, ...]]
"""SQL that has to be on the disk together with the messages it came with, or not at all."""


class Publish(Struct, gc=False):
    """One application message, as it came in and as it goes out to subscribers.

    properties  MQTT 5 property id -> value of those that travel with the message (content type, user properties ...);
                None where there are none
    dup         the client says that it sends this again; ``packet_id`` as on the wire, empty where nobody needs it
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: dict[int, Any] | None = None
    client: str = ""
    user: str | None = None
    dup: bool = False
    packet_id: bytes = b""


class Read(Struct, gc=False):
    """What one client sent in one read of its socket, in order.

    flight  so many of its messages aren't acknowledged yet, these included: after a break it may send them again
    """

    messages: list[Publish]
    flight: int = 0


class Inlet(Protocol):
    """Takes what clients publish."""

    @property
    def full(self) -> bool:
        """So much is waiting for the disk that the hub stops reading sockets until ``on_room`` is called."""

    on_room: Callable[[], None]

    def publish(self, reads: list[Read], also: Sequence[Statement] = ()) -> Future[None] | None:
        """Take what one turn of the event loop brought, in order, and what must be stored with it.

        Returns a future that is done once every event made from them is on the disk: acknowledge then, and route
        QoS 1 and 2 messages to subscribers then. None: nothing of it is stored, go on at once. A future that fails
        (StoreFull) must not be acknowledged: close the connection, the client sends again.
        """

    def refused(self, messages: list[Publish]) -> None:
        """These failed so, and are stored after all: should the client send them again with DUP, they are known."""
