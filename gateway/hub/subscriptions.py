"""What clients ask for with SUBSCRIBE and give up with UNSUBSCRIBE. Nobody is told of what a power cut could still take back."""

from collections.abc import Callable, Iterable

from gateway.hub import lasting
from gateway.hub.access import Access
from gateway.hub.broker import Broker
from gateway.hub.feed import Feed
from gateway.hub.history import History, once_stored
from gateway.hub.inlet import Publish, Statement
from gateway.hub.limits import Limits
from gateway.hub.members import Member, Subscription
from gateway.hub.packets import Filter, Subscribe, Unsubscribe
from gateway.hub.properties import Property
from gateway.hub.reasons import Reason
from gateway.hub.retained import Retained
from gateway.hub.session import Session
from gateway.hub.topics import SHARED, excess, split, weight
from gateway.hub.turns import Later, Turns


class Subscriptions:
    """history  the log; None: everything comes as it arrives"""

    def __init__(
        self,
        broker: Broker,
        retained: Retained,
        access: Access,
        limits: Limits,
        later: Later,
        history: History | None = None,
    ) -> None:
        self._broker = broker
        self._retained = retained
        self._access = access
        self._limits = limits
        self._history = history
        self._showing: Turns[Session, tuple[Filter, int]] = Turns(self._show, later)

    def subscribe(self, session: Session, request: Subscribe, since: int | None = None) -> str | None:
        """Take on what may be had; answer when what has to be kept is kept; then send what is retained. What the operator
        should know, if something may not be had.

        since  stored messages after this offset come first"""
        member = session.member
        if member is None:
            session.answer(request, [Reason.UNSPECIFIED] * len(request.filters))
            return None
        identifier = (request.properties or {}).get(Property.subscription_identifier, [0])[0]
        reasons: list[Reason] = []
        refused: list[tuple[str, str]] = []
        wanted: list[tuple[Filter, int]] = []
        statements: list[Statement] = []
        for one in request.filters:
            if denied := self._denied(member, one.filter, since):
                reasons.append(denied[0])
                refused.append((one.filter, denied[1]))
                continue
            new = self._grant(member, one, identifier, statements, since)
            reasons.append(Reason(one.qos))
            if not one.filter.startswith(SHARED) and one.retain_handling < 1 + new:
                wanted.append((one, identifier))

        def answer() -> None:
            session.answer(request, reasons)
            if self._showing.begin(session, wanted) > self._limits.subscriptions:
                session.end(Reason.QUOTA_EXCEEDED, "it subscribes faster than we find what is retained")
            session.flush()

        self._once_kept(statements, answer)
        return _said(refused)

    def unsubscribe(self, session: Session, request: Unsubscribe) -> None:
        """Give up what was had, and answer."""
        member = session.member
        held = member.held if member else {}
        reasons = []
        statements = []
        for filter in request.filters:
            subscription = held.pop(filter, None)
            if member and subscription:
                self._broker.forget(member, subscription)
                reasons.append(Reason.SUCCESS)
                if member.lasting:
                    statements.append(lasting.unsubscribed(member, filter))
            else:
                reasons.append(Reason.NO_SUBSCRIPTION_EXISTED)

        def answer() -> None:
            session.answer(request, reasons)
            session.flush()

        self._once_kept(statements, answer)

    def replay(self, session: Session, filter: str, qos: int, since: int, told: Callable[[Reason], None]) -> None:
        """Subscribe for clients that can't say from when in SUBSCRIBE: 3.1.1."""
        member = session.member
        if member is None:
            return
        if denied := self._denied(member, filter, since):
            told(denied[0])
            return
        statements: list[Statement] = []
        self._grant(member, Filter(filter, qos), 0, statements, since)
        self._once_kept(statements, lambda: told(Reason(qos)))

    def recheck(self) -> list[tuple[Member, str]]:
        """Rights have changed: give up subscriptions that aren't covered any more, and tell which."""
        gone = []
        for member in list(self._broker.members.values()):
            for one in list(member.held.values()):
                if not self._access.may_subscribe(member.user, one.pattern, member.client_id):
                    del member.held[one.filter]
                    self._broker.forget(member, one)
                    gone.append((member, one.filter))
                    if member.stored and self._history:
                        self._history.keep([lasting.unsubscribed(member, one.filter)])
            member.routes.clear()
        self._broker.lose_ways()
        return gone

    def _denied(self, member: Member, filter: str, since: int | None) -> tuple[Reason, str] | None:
        """Why a member may not have a filter, with what would help; None if it may."""
        _, pattern = split(filter)
        if much := excess(pattern, self._limits):
            return Reason.TOPIC_FILTER_INVALID, much
        if not self._access.may_subscribe(member.user, pattern, member.client_id):
            return Reason.NOT_AUTHORIZED, f"no rule covers it: {self._access.cure(member.user)}"
        if since is not None and filter.startswith(SHARED):
            return Reason.IMPLEMENTATION_SPECIFIC, "a group has no past: leave out from, or $share"
        if filter in member.held:
            return None
        if len(member.held) >= self._limits.subscriptions:
            return Reason.QUOTA_EXCEEDED, f"{len(member.held)} are held already: raise subscriptions under [limits]"
        if self._broker.weight + weight(pattern) > self._limits.all_subscriptions:
            text = f"all hold {self._broker.subscriptions} already: raise all_subscriptions under [limits]"
            return Reason.QUOTA_EXCEEDED, text
        return None

    def _grant(
        self, member: Member, one: Filter, identifier: int, statements: list[Statement], since: int | None
    ) -> bool:
        """Let it have a filter; whether that is new to its session."""
        group, pattern = split(one.filter)
        old = member.held.get(one.filter)
        granted = Subscription(
            one.filter, one.qos, one.no_local, one.retain_as_published, identifier, pattern=pattern, group=group
        )
        if self._history and ((member.lasting and granted.qos) or (since is not None and not group)):
            self._draw(member, granted, self._history, statements, since)
        self._broker.hold(member, granted)
        if member.lasting:
            statements.append(lasting.subscribed(member, granted))
        return old is None

    def _draw(
        self, member: Member, granted: Subscription, history: History, statements: list[Statement], since: int | None
    ) -> None:
        """What is stored comes to this subscription from the log: from now on, or from an earlier offset on."""
        old = member.held.get(granted.filter)
        granted.logged = True
        granted.since = old.since if old and old.logged else history.head
        if granted.group:
            if granted.filter not in self._broker.groups:
                position, statement = history.make(granted.filter, history.head)
                statements.append(statement)
                self._broker.gather(granted.filter, position)
            return
        self._feed(member, history, statements)
        if since is not None:
            granted.since = min(since, history.head)
            statements += self._rewind(member, granted.since)

    def _feed(self, member: Member, history: History, statements: list[Statement]) -> None:
        """From now on it gets messages from the log."""
        if member.feed is None:
            position = None
            if member.lasting:
                position, statement = history.make(lasting.name(member), history.head)
                statements.append(statement)
            member.feed = Feed(position, history.head, self._limits.waiting)
            self._broker.feeds.add(member)
            self._broker.admitted(member)

    def _rewind(self, member: Member, since: int) -> list[Statement]:
        """Look at the log from there on once more, for one subscription; what others had doesn't come again."""
        feed = member.feed
        assert feed is not None
        statements = []
        for other in member.held.values():
            if other.logged and other.since < feed.through:
                other.since = feed.through
                if member.lasting:
                    statements.append(lasting.subscribed(member, other))
        feed.rewind(since)
        return statements

    def _once_kept(self, statements: list[Statement], then: Callable[[], None]) -> None:
        """Nobody is told of what a power cut could still take back."""
        if statements and self._history:
            once_stored(self._history.keep(statements), then)
        else:
            then()

    def _show(self, session: Session, wanted: list[tuple[Filter, int]]) -> int:
        """Send a subscriber what is retained, as it is by now: for filters that name one topic, and for one that has to be
        held against all of them. How many filters are done with."""
        done = 0
        for one, identifier in wanted:
            done += 1
            member = session.member
            if member and one.filter in member.held:
                found = self._allowed(member, one.filter)
                if not session.out.deliver_retained(found, one.qos, [identifier] if identifier else []):
                    self._broker.too_slow(session)
            if session.over:
                done = len(wanted)
            if session.over or "+" in one.filter or "#" in one.filter:
                break
        session.flush()
        return done

    def _allowed(self, member: Member, filter: str) -> Iterable[Publish]:
        """What is retained and matches, if this member may have it and who published it still may."""
        access = self._access
        return (
            one
            for one in self._retained.match(filter)
            if access.may_receive(member.user, one.topic, member.client_id)
            and access.may_have_published(one.user, one.topic, one.client)
        )


def _said(refused: list[tuple[str, str]]) -> str | None:
    """What the operator should know of filters that may not be had: the first, and how many more there are."""
    if not refused:
        return None
    filter, why = refused[0]
    more = f", nor {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"may not subscribe to {filter[:100]!r}{more}: {why}"
