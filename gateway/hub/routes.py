"""Who gets a message. What a topic leads to is looked up in the tree once and then remembered until a subscription changes.

A message reaches each client once, whatever number of its subscriptions match, at the highest QoS among them (3.3.4).
Messages reach members on two ways: as they arrive (``route``), or from the log, with their offsets (``tell``). A member
whose session lasts gets what is stored from the log only, so nothing comes twice.
"""

from collections.abc import Iterable

from gateway.hub import shared
from gateway.hub.access import Access
from gateway.hub.feed import Feed
from gateway.hub.group import Group
from gateway.hub.history import Told
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.members import Member, Route, Subscription, merge
from gateway.hub.reasons import Reason
from gateway.hub.session import Session
from gateway.hub.topics import APART, Tree, weight

_TURN = 10_000  # deliveries in one turn of the event loop, about 10 ms on a PC; a way that isn't known yet counts as 30 and more
_ROUTES = 20_000  # topics whose way is remembered, and subscriptions on these ways; then the memory starts afresh


class Router:
    """Subscriptions in a tree, and the ways through it."""

    def __init__(self, limits: Limits, access: Access) -> None:
        self.subscriptions = 0
        self.weight = 0  # of their filters
        self.sent = 0
        self.feeds: set[Member] = set()
        self.groups: dict[str, Group] = {}  # by their filter: those that get their messages from the log
        self.curious = 0  # subscriptions that may match what Redcar itself publishes
        self._access = access
        self._limits = limits
        self._tree: Tree[dict[tuple[Member, str], Subscription]] = Tree()
        self._routes: dict[str, list[Route]] = {}
        self._remembered = 0

    def route(self, messages: Iterable[Publish]) -> None:
        """Send messages to everyone who wants them as they arrive, in order."""
        messages = list(messages)
        while messages:
            messages = messages[self.portion(messages) :]

    def portion(self, messages: list[Publish]) -> int:
        """The same with as many as others can wait for; how many that were."""
        reached: set[Session] = set()
        routes = self._routes
        work = done = 0
        for message in messages:
            if work > _TURN:
                break
            done += 1
            found = routes.get(message.topic)
            if found is None:
                found = self._find(message.topic)
                work += 20 + 10 * sum([len(route.matched) for route in found])
            work += len(found)
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
                    self.too_slow(session)
                reached.add(session)
        for session in reached:
            session.flush()
        return done

    def owed(self, topic: str) -> bool:
        """Whether a message on this topic has to be stored, because somebody is to get it from the log."""
        return bool(self.feeds or self.groups) and any(route.logged for route in self._find_known(topic))

    def wanted(self, topic: str) -> bool:
        """Whether anybody subscribed to this topic."""
        return bool(self._find_known(topic))

    def tell(self, told: Iterable[Told], through: int) -> None:
        """Hand over what is new in the log."""
        reached: set[Session] = set()
        for one in told:
            if one.expired:
                continue
            for route in self._find_known(one.message.topic):
                if not route.logged and not one.own:
                    continue
                if route.group:
                    route.group.tell(one, route.shared or [])
                    continue
                if route.shared:
                    route = shared.turn(route)
                session = route.member.session
                if route.logged and route.member.feed:
                    if self._tell(route.member.feed, route, one) and session:
                        reached.add(session)
                elif session:
                    self.sent += 1
                    qos = min(one.message.qos, route.qos)
                    if not session.out.deliver(one.message, qos, False, route.identifiers):
                        self.too_slow(session)
                    reached.add(session)
        for member in self.feeds:
            if member.feed and (member.feed.live or member.feed.idle):
                member.feed.pass_by(through)
        for group in self.groups.values():
            if group.live or group.idle:
                group.pass_by(through)
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
            if not self._access.may_receive(member.user, one.message.topic, member.client_id):
                continue
            if (route is None or one.expired) and not begun:
                continue
            if not feed.offer(one, route):
                feed.seen = max(one.offset - 1, 0)
                session.flush()
                return False
            self.sent += 1
        session.flush()
        return True

    def handed(self, group: Group, told: Iterable[Told], through: int) -> bool:
        """Give a group what was fetched for it from the log. False: none of its members has room for more."""
        for one in told:
            if not group.hand(one, self._sharing(group, one.message.topic)):
                return False
        group.pass_by(through)
        return True

    def handed_again(self, group: Group, offset: int, told: list[Told]) -> bool:
        """The same for a message that was given out before; it may be gone."""
        one = told[0] if told else None
        return group.again(offset, one, self._sharing(group, one.message.topic) if one else [])

    def _sharing(self, group: Group, topic: str) -> list[Route]:
        """Those of a group who may have a topic."""
        return next((one.shared or [] for one in self._find_known(topic) if one.group is group), [])

    def _tell(self, feed: Feed, route: Route, one: Told) -> bool:
        """Whether it was sent."""
        if one.offset <= feed.seen:
            return False
        left = route.of(one.message, one.offset)
        if left is None:
            return False
        if feed.live:
            if feed.offer(one, left):
                self.sent += 1
                return True
            feed.live = False
            feed.seen = one.offset - 1
        elif feed.out is None and left.qos:
            if feed.idle:
                feed.seen = one.offset - 1
            feed.count(one.offset)
        return False

    def hold(self, member: Member, granted: Subscription) -> None:
        """A member has this subscription from now on."""
        subscribers = self._tree.get(granted.pattern)
        if subscribers is None:
            subscribers = {}
            self._tree.put(granted.pattern, subscribers)
        subscribers[member, granted.group] = granted
        new = granted.filter not in member.held
        self.subscriptions += new
        self.weight += new and weight(granted.pattern)
        self.curious += new and _curious(granted)
        member.held[granted.filter] = granted
        group = self.groups.get(granted.filter)
        if group:
            group.members[member] = granted
        member.routes.clear()
        self.lose_ways()

    def forget(self, member: Member, subscription: Subscription) -> None:
        """It has it no longer."""
        subscribers = self._tree.get(subscription.pattern)
        if subscribers and subscribers.pop((member, subscription.group), None):
            self.subscriptions -= 1
            self.weight -= weight(subscription.pattern)
            self.curious -= _curious(subscription)
            if not subscribers:
                self._tree.drop(subscription.pattern)
        group = self.groups.get(subscription.filter)
        if group:
            group.members.pop(member, None)
            if group.over:
                group.ended()
        member.routes.clear()
        self.lose_ways()

    def lose_ways(self) -> None:
        """Who may have what has changed: look it up anew."""
        self._routes.clear()
        self._remembered = 0

    def _find_known(self, topic: str) -> list[Route]:
        found = self._routes.get(topic)
        return self._find(topic) if found is None else found

    def _find(self, topic: str) -> list[Route]:
        matched: dict[Member, list[Subscription]] = {}
        groups: dict[str, list[Route]] = {}
        for subscribers in self._tree.filters(topic):
            for (member, group), subscription in subscribers.items():
                if not self._access.may_receive(member.user, topic, member.client_id):
                    continue
                if group:
                    groups.setdefault(subscription.filter, []).append(merge(member, [subscription]))
                else:
                    matched.setdefault(member, []).append(subscription)
        self._remembered += 1 + sum(map(len, matched.values()))
        if self._remembered >= _ROUTES:
            self.lose_ways()
        found = [merge(member, all) for member, all in matched.items()]
        found += [shared.route(routes, self.groups.get(filter)) for filter, routes in groups.items()]
        self._routes[topic] = found
        return found

    def too_slow(self, session: Session) -> None:
        """Put a client out for which too much waits."""
        session.end(Reason.QUOTA_EXCEEDED, f"more than {self._limits.unsent} bytes wait to be read by this client")


def _curious(subscription: Subscription) -> bool:
    return subscription.pattern.startswith(APART)
