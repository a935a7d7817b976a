"""Who has subscriptions: a client with a connection, or one whose session outlasts it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gateway.hub.inlet import Publish
from gateway.hub.packets import Will
from gateway.hub.topics import matches

if TYPE_CHECKING:
    from gateway.hub.feed import Feed
    from gateway.hub.group import Group
    from gateway.hub.outbox import Waiting
    from gateway.hub.session import Session

_FOREVER = float("inf")

NEVER = 0xFFFF_FFFF
"""The session expiry that means: it doesn't [3.1.2.11.2]."""


class Subscription(Struct):
    """One filter of one member, as granted.

    filter  as asked for, with $share/<group>/ where it is shared; ``pattern`` without
    since   only events after this offset belong to it
    logged  messages that were stored come from the log, with their offsets; otherwise as they arrive
    """

    filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0
    since: int = 0
    logged: bool = False
    pattern: str = ""
    group: str = ""


class Member:
    """One client id's subscriptions and what belongs to its session.

    session  its connection; None while it is away
    feed     how it gets what it is owed from the log; None: it isn't owed anything
    expiry   seconds that the session outlasts its connection; ``stored``: there are rows of it
    due      when it ends, by the loop's clock; None: not while it is connected. ``will_due`` likewise
    left     retained messages that its last connection hadn't finished
    qos2     packet id -> PUBREC is due: messages at QoS 2 from PUBLISH to PUBREL
    """

    __slots__ = (
        "client_id",
        "due",
        "expiry",
        "feed",
        "held",
        "left",
        "qos2",
        "routes",
        "session",
        "stored",
        "user",
        "will",
        "will_due",
    )

    def __init__(self, client_id: str, user: str | None) -> None:
        self.client_id = client_id
        self.user = user
        self.session: Session | None = None
        self.feed: Feed | None = None
        self.expiry = 0
        self.stored = False
        self.due: float | None = None
        self.will: Will | None = None
        self.will_due: float | None = None
        self.left: list[tuple[int, Waiting, bool]] = []
        self.qos2: dict[bytes, bool] = {}
        self.held: dict[str, Subscription] = {}
        self.routes: dict[str, Route] = {}

    @property
    def lasting(self) -> bool:
        """Its session is kept when the connection ends, and when Redcar does."""
        return self.expiry > 0

    def leave(self, now: float) -> None:
        """Its connection ended: count from now."""
        self.due = now + self.expiry if self.expiry < NEVER else _FOREVER
        self.will_due = min(now + self.will.delay, self.due) if self.will else None

    def route(self, topic: str) -> "Route":
        """What of a topic comes to it from the log."""
        found = self.routes.get(topic)
        if found is None:
            matched = [one for one in self.held.values() if not one.group and matches(one.pattern, topic)]
            if len(self.routes) >= 1_000 or len(matched) > 100:  # many on each of many ways would be too many
                self.routes.clear()
            found = self.routes[topic] = merge(self, matched)
        return found


class Route(Struct):
    """All subscriptions of one member that match a topic, as one; or those of several that share one, by ``turn``.

    group  reads the log for those that share it; without, they get messages as they arrive
    """

    member: Member
    matched: list[Subscription]
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    identifiers: list[int] = field(default_factory=list)
    logged: bool = False
    since: int = 0
    shared: "list[Route] | None" = None
    group: "Group | None" = None
    turn: int = 0

    def of(self, message: Publish, offset: int = 0) -> "Route | None":
        """What of it counts for this message; None: nothing does."""
        if offset and offset <= self.since:
            return merge(self.member, [one for one in self.matched if one.since < offset]).of(message)
        if self.no_local and message.client == self.member.client_id:
            return merge(self.member, [one for one in self.matched if not one.no_local]).of(message)
        return self if self.matched else None


def merge(member: Member, matched: Iterable[Subscription]) -> Route:
    """A route for these subscriptions of a member."""
    matched = list(matched)
    return Route(
        member,
        matched,
        max((one.qos for one in matched), default=0),
        any(one.no_local for one in matched),
        any(one.retain_as_published for one in matched),
        [one.identifier for one in matched if one.identifier],
        any(one.logged for one in matched),
        max((one.since for one in matched), default=0),
    )
