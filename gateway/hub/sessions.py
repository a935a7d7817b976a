"""Who comes and goes: sessions that outlast their connection, how they end, and wills.

What the client was promised is on the disk before it hears of it: a session before CONNACK, a subscription before
SUBACK, a QoS 2 packet id together with its message.
"""

from collections.abc import Callable, Iterator

from gateway.hub import lasting
from gateway.hub.broker import Broker
from gateway.hub.feed import Feed
from gateway.hub.history import History, Position
from gateway.hub.inlet import Publish, Statement
from gateway.hub.limits import Limits
from gateway.hub.members import NEVER, Member, Subscription
from gateway.hub.packets import Connect, Disconnect
from gateway.hub.properties import Property
from gateway.hub.reasons import Reason
from gateway.hub.session import Session
from gateway.hub.topics import SHARED


class Sessions:
    """history None: every session ends with its connection.

    now   the loop's clock, s; ``wall``: µs since 1970
    say   publishes a will, if its client may
    note  tells the operator

    hand_in  hands over what clients have sent so far: it belongs to their sessions as they were
    """

    def __init__(
        self,
        broker: Broker,
        limits: Limits,
        history: History | None,
        now: Callable[[], float],
        wall: Callable[[], int],
        say: Callable[[Member, Publish], None],
        note: Callable[[str, str], None],
        hand_in: Callable[[], None],
    ) -> None:
        self.closing = False
        self._broker = broker
        self._limits = limits
        self._history = history
        self._now = now
        self._wall = wall
        self._say = say
        self._note = note
        self._hand_in = hand_in
        self._away: set[Member] = set()

    async def load(self, stored: list[tuple[Member, list[Subscription]]]) -> None:
        """Go on with the sessions that were kept."""
        history = self._history
        assert history is not None
        shared: dict[str, list[Subscription]] = {}
        for member, subscriptions in stored:
            own = [one for one in subscriptions if one.logged and not one.group]
            position = await self._find(history, lasting.name(member), own)
            if position:
                member.feed = Feed(position, position.through, self._limits.waiting)
                member.feed.idle = position.through >= history.head
            self._broker.restore(member, subscriptions)
            self._away.add(member)
            for one in subscriptions:
                if one.logged and one.group:
                    shared.setdefault(one.filter, []).append(one)
        await self._regroup(history, shared)
        known = {lasting.name(member) for member, _ in stored} | shared.keys()
        for name in await history.names():
            if name.startswith((lasting.PREFIX, SHARED)) and name not in known:
                history.keep(history.drop(name))

    async def _regroup(self, history: History, shared: dict[str, list[Subscription]]) -> None:
        """Groups go on where they stopped; those whose members were here with their connections only are gone."""
        for filter, subscriptions in sorted(shared.items()):
            position = await self._find(history, filter, subscriptions)
            assert position is not None
            group = self._broker.gather(filter, position)
            lost = group.resume(self._broker.members)
            if lost:
                history.gave_up("session_ended", lost)
            group.idle = group.seen >= history.head

    async def _find(self, history: History, name: str, subscriptions: list[Subscription]) -> Position | None:
        """Where a session or group stopped. If damage has cost that, it gets everything since it subscribed once more."""
        position = await history.find(name)
        if position is None and subscriptions:
            position, statement = history.make(name, min(one.since for one in subscriptions))
            history.keep([statement])
            self._note("sessions", f"how far {name[:100]!r} had come is lost: all since it subscribed comes again")
        return position

    async def enter(self, session: Session, client_id: str, user: str | None, asked: Connect) -> tuple[Member, bool]:
        """A client is let in. Its membership, and whether its session was kept. Once that is on the disk."""
        self._hand_in()
        old = self._broker.members.get(client_id)
        present = old is not None and old.lasting and not asked.clean
        if old:
            if old.will and not (present and (old.session is None or old.will.delay)):
                self._publish_will(old)
            self._broker.take_over(old)
            if not present:
                self._end(old)
        member = self._broker.join(session, client_id, user)
        self._away.discard(member)
        member.user, member.will = user, asked.will
        member.expiry = self._expiry(asked, present)
        member.stored = member.stored or member.lasting
        if self._history and (member.stored or (old and old.stored)):
            # commits are in order: with this one everything an earlier connection left unfinished is finished, too
            await self._history.keep([lasting.kept(member)] if member.stored else [])
        return member, present

    def leave(self, session: Session, farewell: Disconnect | None = None) -> None:
        """A connection is gone, with a word or without. Once is enough."""
        member = session.member
        if member is None or member.session is not session:
            return
        self._hand_in()
        if farewell:
            if farewell.reason == Reason.SUCCESS:
                member.will = None  # [MQTT-3.14.4-3]; any other reason leaves it (3.1.2.5)
            expiry = (farewell.properties or {}).get(Property.session_expiry)
            if expiry is not None and member.lasting:
                member.expiry = min(expiry, self._limits.session_expiry)
        self._broker.part(member)
        member.leave(self._now())
        if not member.lasting:
            if member.will:
                self._publish_will(member)
            self._end(member)
            return
        if not self.closing and member.will_due is not None and member.will_due <= self._now():
            self._publish_will(member)
        self._away.add(member)
        if self._history:
            self._history.keep([lasting.kept(member, self._wall())])

    def sweep(self, now: float) -> None:
        """End sessions and publish wills that are due."""
        for member in list(self._away):
            if member.will_due is not None and member.will_due <= now:
                self._publish_will(member)
                if self._history and member.stored:
                    self._history.keep([lasting.kept(member, self._wall())])
            if member.due is not None and member.due <= now:
                self.expire(member)

    def expire(self, member: Member, why: str = "") -> None:
        """Its session ends without its client's doing: what it is still owed is given up, and that is said in the log."""
        if why:
            self._note("sessions", f"that of client {member.client_id[:100]!r} ends: {why}")
        if member.feed and self._history:
            member.feed.end(self._history.head)
        self._end(member)

    def __iter__(self) -> Iterator[Member]:
        """Those that are away."""
        return iter(self._away)

    def __len__(self) -> int:
        """Sessions kept for clients that are away."""
        return len(self._away)

    def _expiry(self, asked: Connect, present: bool) -> int:
        """Seconds for which its session is kept."""
        if self._history is None:
            return 0
        if asked.version == 5:
            wanted = (asked.properties or {}).get(Property.session_expiry, 0)
        else:
            wanted = 0 if asked.clean else NEVER
        wanted = min(wanted, self._limits.session_expiry)
        if (
            wanted
            and not present
            and sum(one.lasting for one in self._broker.members.values()) >= self._limits.sessions
        ):
            oldest = min(self._away, key=lambda one: one.due or 0.0, default=None)
            cure = "let clients ask for clean sessions, or raise sessions under [limits]"
            why = f"{self._limits.sessions} sessions are kept already: {cure}"
            if oldest is None:
                self._note("sessions", f"that of client {asked.client_id[:100]!r} isn't kept: {why}")
                return 0
            self.expire(oldest, why)
        return int(wanted)

    def _end(self, member: Member) -> None:
        """The session is over, and its will can't wait any longer."""
        self._away.discard(member)
        if member.will and member.will_due is not None:
            self._publish_will(member)
        had = member.feed is not None
        self._broker.drop(member)
        if member.stored and self._history:
            statements: list[Statement] = lasting.dropped(member.client_id)
            if had:
                statements += self._history.drop(lasting.name(member))
            self._history.keep(statements)

    def _publish_will(self, member: Member) -> None:
        will, member.will, member.will_due = member.will, None, None
        if will is None:
            return
        properties = {id: value for id, value in (will.properties or {}).items() if id != Property.will_delay}
        message = Publish(
            will.topic, will.payload, will.qos, will.retain, properties or None, member.client_id, member.user
        )
        self._say(member, message)
