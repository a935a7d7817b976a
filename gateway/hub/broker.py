"""Who is a member, who wants what, and who gets it. No sockets, no clock.

A message reaches each client once, whatever number of its subscriptions match, at the highest QoS among them
(3.3.4). What a topic leads to is looked up in the tree once and then remembered until a subscription changes.

Messages reach members on two ways: as they arrive (``route``), or from the log, with their offsets (``tell``). A
member whose session lasts gets what is stored from the log only, so nothing comes twice.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.hub import lasting, shared
from gateway.hub.feed import Feed
from gateway.hub.history import History, Told
from gateway.hub.inlet import Publish, Statement
from gateway.hub.limits import Limits
from gateway.hub.members import Member, Route, Subscription, merge
from gateway.hub.packets import Filter, Subscribe, Unsubscribe
from gateway.hub.properties import Property
from gateway.hub.reasons import Reason
from gateway.hub.retained import Retained
from gateway.hub.session import Session
from gateway.hub.topics import OWN, Tree, excess

_ROUTES = 10_000  # topics whose way is remembered


class Rights(Protocol):
    """What the broker asks before anybody gets anything; see ``access.py``."""

    def may_subscribe(self, user: str | None, filter: str, client: str = "") -> bool:
        """Whether a client may have everything that a filter matches."""

    def may_receive(self, user: str | None, topic: str, client: str = "") -> bool:
        """Whether a client may get a message on a topic."""

    def may_have_published(self, user: str | None, topic: str, client: str = "") -> bool:
        """Whether who published what is retained still may."""


class Everything:
    """Everybody may have everything."""

    def may_subscribe(self, user: str | None, filter: str, client: str = "") -> bool:
        """Yes."""
        return True

    may_receive = may_have_published = may_subscribe


class Broker:
    """Members by client id, subscriptions in a tree, retained messages beside it.

    history  the log; None: no session lasts
    hired    called with a member that has a feed and a connection: somebody must fetch for it
    """

    def __init__(
        self, retained: Retained, limits: Limits, history: History | None = None, rights: Rights | None = None
    ) -> None:
        self.retained = retained
        self.members: dict[str, Member] = {}
        self.subscriptions = 0
        self.sent = 0
        self.feeds: set[Member] = set()
        self.curious = 0  # subscriptions that may match what Redcar itself publishes
        self.hired: Callable[[Member], None] = lambda member: None
        self._history = history
        self._rights: Rights = rights or Everything()
        self._limits = limits
        self._tree: Tree[dict[tuple[Member, str], Subscription]] = Tree()
        self._routes: dict[str, list[Route]] = {}

    def owner(self, client_id: str) -> Session | None:
        """The connection that has this client id now."""
        member = self.members.get(client_id)
        return member.session if member else None

    def join(self, session: Session, client_id: str, user: str | None = None, resume: bool = False) -> bool:
        """A client is let in; who had its id before is told [MQTT-3.1.4-3]. Whether it goes on with a session that was
        kept."""
        member = self.members.get(client_id)
        if member and member.session:
            old = member.session
            old.end(Reason.SESSION_TAKEN_OVER, "another client connected with this client id")
            self.part(member)
            old.flush()
        if member and not (resume and member.lasting):
            self.drop(member)
            member = None
        present = member is not None
        if member is None:
            member = self.members[client_id] = Member(client_id, user)
        member.session = session
        member.due = member.will_due = None
        session.member = member
        return present

    def part(self, member: Member) -> None:
        """Its connection is gone."""
        if member.feed:
            member.feed.detach(idle=member.feed.live)
        member.session = None

    def leave(self, session: Session) -> None:
        """A connection is gone, and all that was bound to it. Once is enough."""
        member = session.member
        if member is None or member.session is not session:
            return
        self.part(member)
        if not member.lasting:
            self.drop(member)

    def drop(self, member: Member) -> None:
        """A session is over."""
        for one in list(member.held.values()):
            self._forget(member, one)
        member.held.clear()
        self.feeds.discard(member)
        member.feed = None
        if self.members.get(member.client_id) is member:
            del self.members[member.client_id]

    def subscribe(self, session: Session, request: Subscribe, since: int | None = None) -> None:
        """Take on what may be had; answer when what has to be kept is kept; then send what is retained.

        since  stored messages after this offset come first"""
        member = session.member
        if member is None:
            session.answer(request, [Reason.UNSPECIFIED] * len(request.filters))
            return
        properties = request.properties or {}
        identifier = properties.get(Property.subscription_identifier, [0])[0]
        reasons = []
        wanted = []
        statements: list[Statement] = []
        for one in request.filters:
            reason, new = self._grant(member, one, identifier, statements, since)
            reasons.append(reason)
            alone = not one.filter.startswith("$share/")
            if reason < Reason.UNSPECIFIED and alone and one.retain_handling < 1 + new:
                wanted.append((one.filter, int(reason)))

        def answer(_: object = None) -> None:
            session.answer(request, reasons)
            identifiers = [identifier] if identifier else []
            for filter, qos in wanted:
                if not session.out.deliver_retained(self._allowed(member, filter), qos, identifiers):
                    self._too_slow(session)
                    break
            session.flush()

        if statements and self._history:
            self._history.keep(statements).add_done_callback(answer)
        else:
            answer()

    def unsubscribe(self, session: Session, request: Unsubscribe) -> None:
        """Give up what was had, and answer."""
        member = session.member
        held = member.held if member else {}
        reasons = []
        statements = []
        for filter in request.filters:
            subscription = held.pop(filter, None)
            if member and subscription:
                self._forget(member, subscription)
                reasons.append(Reason.SUCCESS)
                if member.lasting:
                    statements.append(lasting.unsubscribed(member, filter))
            else:
                reasons.append(Reason.NO_SUBSCRIPTION_EXISTED)

        def answer(_: object = None) -> None:
            session.answer(request, reasons)
            session.flush()

        if statements and self._history:
            self._history.keep(statements).add_done_callback(answer)
        else:
            answer()

    def restore(self, member: Member, subscriptions: Iterable[Subscription]) -> None:
        """A session that was kept when Redcar ended."""
        self.members[member.client_id] = member
        for one in subscriptions:
            self._hold(member, one)
        if member.feed:
            self.feeds.add(member)

    def route(self, messages: Iterable[Publish]) -> None:
        """Send messages to everyone who wants them as they arrive, in order."""
        reached: set[Session] = set()
        routes = self._routes
        for message in messages:
            found = routes.get(message.topic)
            if found is None:
                found = self._find(message.topic)
            for route in found:
                if route.logged and message.qos:
                    continue
                if route.shared:
                    route = shared.turn(route)
                session = route.member.session
                if session is None:
                    continue
                if route.no_local and message.client == route.member.client_id:
                    left = route.of(message)
                    if left is None:
                        continue
                    route = left
                qos = message.qos if message.qos < route.qos else route.qos
                retain = message.retain and route.retain_as_published
                self.sent += 1
                if not session.out.deliver(message, qos, retain, route.identifiers):
                    self._too_slow(session)
                reached.add(session)
        for session in reached:
            session.flush()

    def owed(self, topic: str) -> bool:
        """Whether a message on this topic has to be stored, because somebody is to get it from the log."""
        return bool(self.feeds) and any(route.logged for route in self._find_known(topic))

    def wanted(self, topic: str) -> bool:
        """Whether anybody subscribed to this topic."""
        return bool(self._find_known(topic))

    def tell(self, told: Iterable[Told], through: int) -> None:
        """Hand over what is new in the log."""
        reached: set[Session] = set()
        for one in told:
            for route in self._find_known(one.message.topic):
                if not route.logged and not one.own:
                    continue
                if route.shared:
                    group, route = route, shared.turn(route)
                    if group.logged and route.member.feed and route.qos:
                        self._share(route.member.feed, route, one)
                        if route.member.session:
                            reached.add(route.member.session)
                        continue
                session = route.member.session
                if route.logged and route.member.feed:
                    if self._tell(route.member.feed, route, one) and session:
                        reached.add(session)
                elif session:
                    self.sent += 1
                    qos = min(one.message.qos, route.qos)
                    if not session.out.deliver(one.message, qos, False, route.identifiers):
                        self._too_slow(session)
                    reached.add(session)
        for member in self.feeds:
            if member.feed and (member.feed.live or member.feed.idle):
                member.feed.pass_by(through)
        for session in reached:
            session.flush()

    def fetched(self, member: Member, told: Iterable[Told]) -> bool:
        """Send a member what was fetched for it from the log. False: there is no room for more."""
        feed, session = member.feed, member.session
        if feed is None or session is None:
            return False
        for one in told:
            begun = feed.begun(one.offset)
            route = member.route(one.message.topic).of(one.message, one.offset)
            if not self._rights.may_receive(member.user, one.message.topic, member.client_id):
                continue
            if route is None and not begun:
                continue
            qos = min(one.message.qos, route.qos) if route else 0
            retain = bool(route and one.message.retain and route.retain_as_published)
            if not feed.offer(one.offset, one.message, qos, retain, route.identifiers if route else ()):
                feed.seen = max(one.offset - 1, 0)
                session.flush()
                return False
            self.sent += 1
        session.flush()
        return True

    def recheck(self) -> list[tuple[Member, str]]:
        """Rights have changed: give up subscriptions that aren't covered any more, and tell which."""
        gone = []
        for member in list(self.members.values()):
            for one in list(member.held.values()):
                if not self._rights.may_subscribe(member.user, one.pattern, member.client_id):
                    del member.held[one.filter]
                    self._forget(member, one)
                    gone.append((member, one.filter))
                    if member.stored and self._history:
                        self._history.keep([lasting.unsubscribed(member, one.filter)])
            member.routes.clear()
        self._routes.clear()
        return gone

    def _allowed(self, member: Member, filter: str) -> Iterable[Publish]:
        """What is retained and matches, if this member may have it and who published it still may."""
        rights = self._rights
        return (
            one
            for one in self.retained.match(filter)
            if rights.may_receive(member.user, one.topic, member.client_id)
            and rights.may_have_published(one.user, one.topic, one.client)
        )

    def _tell(self, feed: Feed, route: Route, one: Told) -> bool:
        """Whether it was sent."""
        if one.offset <= feed.seen:
            return False
        left = route.of(one.message, one.offset)
        if left is None:
            return False
        if feed.live:
            retain = one.message.retain and left.retain_as_published
            if feed.offer(one.offset, one.message, min(one.message.qos, left.qos), retain, left.identifiers):
                self.sent += 1
                return True
            feed.live = False
            feed.seen = one.offset - 1
        elif feed.out is None and left.qos:
            if feed.idle:
                feed.seen = one.offset - 1
            feed.count(one.offset)
        return False

    def _share(self, feed: Feed, route: Route, one: Told) -> None:
        """A message of a group, for one of its members."""
        qos = min(one.message.qos, route.qos)
        if feed.offer(one.offset, one.message, qos, False, route.identifiers):
            self.sent += 1
        else:
            feed.assign(one.offset, qos)

    def _grant(
        self, member: Member, one: Filter, identifier: int, statements: list[Statement], since: int | None = None
    ) -> tuple[Reason, bool]:
        """The answer to one filter, and whether it is new to this session."""
        group, pattern = shared.split(one.filter)
        if excess(pattern, self._limits):
            return Reason.TOPIC_FILTER_INVALID, False
        if not self._rights.may_subscribe(member.user, pattern, member.client_id):
            return Reason.NOT_AUTHORIZED, False
        old = member.held.get(one.filter)
        if old is None and len(member.held) >= self._limits.subscriptions:
            return Reason.QUOTA_EXCEEDED, False
        granted = Subscription(
            one.filter,
            one.qos,
            one.no_local,
            one.retain_as_published,
            identifier,
            pattern=pattern,
            group=group,
        )
        if self._history and group and member.lasting and granted.qos:
            granted.logged = True
            self._feed(member, self._history, statements)
        elif self._history and not group and (since is not None or (member.lasting and granted.qos)):
            granted.logged = True
            head = self._history.head
            self._feed(member, self._history, statements)
            granted.since = old.since if old and old.logged else head
            if since is not None:
                statements += self._rewind(member, min(since, head))
                granted.since = min(since, head)
        self._hold(member, granted)
        if member.lasting:
            statements.append(lasting.subscribed(member, granted))
        return Reason(granted.qos), old is None

    def _feed(self, member: Member, history: History, statements: list[Statement]) -> None:
        """From now on it gets messages from the log."""
        if member.feed is None:
            position = None
            if member.lasting:
                position, statement = history.make(lasting.name(member), history.head)
                statements.append(statement)
            self._hire(member, Feed(position, history.head, self._limits.waiting))

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

    def replay(self, session: Session, filter: str, qos: int, since: int, told: Callable[[Reason], None]) -> None:
        """The same for clients that can't say from when in SUBSCRIBE: 3.1.1."""
        member = session.member
        if member is None:
            return
        statements: list[Statement] = []
        reason, _ = self._grant(member, Filter(filter, qos), 0, statements, since)
        if statements and self._history:
            self._history.keep(statements).add_done_callback(lambda _: told(reason))
        else:
            told(reason)

    def admitted(self, member: Member) -> None:
        """It was told that it is connected: go on with what it is owed."""
        if member.feed and member.session:
            member.feed.attach(member.session.out)
            self.hired(member)

    def _hire(self, member: Member, feed: Feed) -> None:
        member.feed = feed
        self.feeds.add(member)
        self.admitted(member)

    def _hold(self, member: Member, granted: Subscription) -> None:
        subscribers = self._tree.get(granted.pattern)
        if subscribers is None:
            subscribers = {}
            self._tree.put(granted.pattern, subscribers)
        subscribers[member, granted.group] = granted
        new = granted.filter not in member.held
        self.subscriptions += new
        self.curious += new and _curious(granted)
        member.held[granted.filter] = granted
        member.routes.clear()
        self._routes.clear()

    def _forget(self, member: Member, subscription: Subscription) -> None:
        subscribers = self._tree.get(subscription.pattern)
        if subscribers and subscribers.pop((member, subscription.group), None):
            self.subscriptions -= 1
            self.curious -= _curious(subscription)
            if not subscribers:
                self._tree.drop(subscription.pattern)
        member.routes.clear()
        self._routes.clear()

    def _find_known(self, topic: str) -> list[Route]:
        found = self._routes.get(topic)
        return self._find(topic) if found is None else found

    def _find(self, topic: str) -> list[Route]:
        matched: dict[Member, list[Subscription]] = {}
        groups: dict[str, list[Route]] = {}
        for subscribers in self._tree.filters(topic):
            for (member, group), subscription in subscribers.items():
                if not self._rights.may_receive(member.user, topic, member.client_id):
                    continue
                if group:
                    groups.setdefault(subscription.filter, []).append(merge(member, [subscription]))
                else:
                    matched.setdefault(member, []).append(subscription)
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        found = [merge(member, all) for member, all in matched.items()]
        found += [shared.route(routes) for routes in groups.values()]
        self._routes[topic] = found
        return found

    def _too_slow(self, session: Session) -> None:
        session.end(Reason.QUOTA_EXCEEDED, f"more than {self._limits.unsent} bytes wait to be read by this client")


def _curious(subscription: Subscription) -> bool:
    return subscription.pattern.startswith((OWN, "+", "#", "$"))
