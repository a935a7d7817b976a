"""A client asks for the past: stored messages first, then live ones, with no gap and no repeat at the seam.

MQTT 5.0     SUBSCRIBE with the user property ``from``
any version  PUBLISH to redcar/replay/<name>: {"filter": "redcar/events/#", "from": "1h", "qos": 1}; the answer comes on the
             same topic, to that client only: {"filter": ..., "qos": 1, "from": 4711, "head": 5012}, or {"problem": ...}

``from`` is an offset ("4711", "start"), a time (RFC 3339) or how long ago ("90s", "2h", "1d", as in ``redcar replay``, or "-2h").
What is stored: every event, below redcar/events/, and the messages that no driver claimed or that somebody was owed.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from gateway.event import SECOND
from gateway.hub.history import History
from gateway.hub.inlet import Publish
from gateway.hub.packets import Subscribe
from gateway.hub.properties import Property
from gateway.hub.reasons import ProtocolError, Reason
from gateway.hub.session import Session
from gateway.hub.subscriptions import Subscriptions
from gateway.hub.topics import check_filter

_AGO = re.compile(r"-?(\d{1,9})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Request(Struct, forbid_unknown_fields=True):
    """What a client publishes."""

    filter: str
    start: int | str = msgspec.field(name="from", default="start")
    qos: int = 0


_request = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.Encoder().encode


def asked(request: Subscribe) -> str | None:
    """From when a SUBSCRIBE wants messages; None: from now on."""
    own = (request.properties or {}).get(Property.user_property, ())
    return next((value for name, value in own if name == "from"), None)


class Replays:
    """Finds where to begin, and begins there. ``now``: µs since 1970."""

    def __init__(self, subscriptions: Subscriptions, history: History, now: Callable[[], int]) -> None:
        self._subscriptions = subscriptions
        self._history = history
        self._now = now

    async def subscribe(
        self, session: Session, request: Subscribe, start: str, tell: Callable[[str | None], None]
    ) -> None:
        """Answer a SUBSCRIBE with ``from``; tell the operator what may not be had."""
        try:
            since = await self._since(start)
        except ValueError as error:
            tell(f"asks for the past in a way that isn't understood: {error}")
            session.answer(request, [Reason.IMPLEMENTATION_SPECIFIC] * len(request.filters))
            session.flush()
        else:
            tell(self._subscriptions.subscribe(session, request, since))

    async def publish(self, session: Session, message: Publish) -> None:
        """Answer a message to redcar/replay/<name>."""

        def say(**answer: object) -> None:
            session.out.deliver(Publish(message.topic, _encode(answer)), 0)
            session.flush()

        try:
            request = _request(message.payload)
            check_filter(request.filter)
            since = await self._since(str(request.start))
        except (ValueError, msgspec.DecodeError, ProtocolError, RecursionError) as error:
            say(problem=str(error), example={"filter": "redcar/events/#", "from": "1h", "qos": 1})
            return
        if request.qos not in (0, 1, 2):
            say(problem="qos is 0, 1 or 2")
            return

        def told(reason: Reason) -> None:
            if reason >= Reason.UNSPECIFIED:
                say(problem=f"{request.filter} isn't granted: {reason.words}")
                return
            head = self._history.head
            say(**{"filter": request.filter, "qos": int(reason), "from": since + 1, "head": head})

        self._subscriptions.replay(session, request.filter, request.qos, since, told)

    async def _since(self, start: str) -> int:
        """The offset before the first that is wanted. Raises ValueError."""
        if start == "start":
            return 0
        if start.isascii() and start.isdigit() and len(start) < 19:
            return max(0, int(start) - 1)
        ago = _AGO.fullmatch(start)
        if ago:
            time = self._now() - int(ago[1]) * _SECONDS[ago[2]] * SECOND
        else:
            try:
                moment = datetime.fromisoformat(start)
            except ValueError:
                cure = 'write e.g. "4711", "start", "2h" or "2026-11-21T06:00Z"'
                raise ValueError(f"from = {start[:40]!r} is no offset and no time: {cure}") from None
            time = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND)
        return await self._history.offset_at(time) - 1
