"""What a session tells whoever holds its socket; ``session.py`` says what has to be done about each."""

from collections.abc import Callable

from msgspec import Struct

from gateway.hub.inlet import Publish
from gateway.hub.packets import Batch, Connect, Disconnect, Subscribe, Unsubscribe
from gateway.hub.reasons import ProtocolError, Reason


class Declined(Struct):
    """A message was not taken, because this client may not publish there."""

    topic: str
    why: str


class Replay(Struct):
    """The client asks for the past, see ``replays.py``."""

    message: Publish


Event = Connect | Batch | Subscribe | Unsubscribe | Declined | Replay | Disconnect | ProtocolError


MayPublish = Callable[[str], tuple[Reason, str] | None]
"""topic -> None if the client may publish there; else the reason, and why in words."""
