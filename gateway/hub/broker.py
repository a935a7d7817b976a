"""Who is connected, who wants what, and who gets it. No sockets, no clock.

A message reaches each client once, whatever number of its subscriptions match, at the highest QoS among them
(3.3.4). What a topic leads to is looked up in the tree once and then remembered until a subscription changes.
"""

from collections.abc import Iterable

from msgspec import Struct, field

from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import Filter, Subscribe, Unsubscribe
from gateway.hub.properties import Property
from gateway.hub.reasons import Reason
from gateway.hub.retained import Retained
from gateway.hub.session import Session
from gateway.hub.topics import Tree, excess

_ROUTES = 10_000  # topics whose way is remembered


class Subscription(Struct):
    """One filter of one session, as granted."""

    filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0


class Route(Struct):
    """All subscriptions of one session that match a topic, as one."""

    session: Session
    matched: list[Subscription]
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    identifiers: list[int] = field(default_factory=list)


class Broker:
    """Sessions by client id, subscriptions in a tree, retained messages beside it."""

    def __init__(self, retained: Retained, limits: Limits) -> None:
        self.retained = retained
        self.sessions: dict[str, Session] = {}
        self.subscriptions = 0
        self.sent = 0
        self._limits = limits
        self._tree: Tree[dict[Session, Subscription]] = Tree()
        self._held: dict[Session, dict[str, Subscription]] = {}
        self._routes: dict[str, list[Route]] = {}

    def owner(self, client_id: str) -> Session | None:
        """The session that has this client id now."""
        return self.sessions.get(client_id)

    def join(self, session: Session, client_id: str) -> None:
        """A client is let in; who had its id before is told and loses everything [MQTT-3.1.4-3]."""
        old = self.sessions.get(client_id)
        if old:
            old.end(Reason.SESSION_TAKEN_OVER, "another client connected with this client id")
            self.leave(old)
            old.flush()
        self.sessions[client_id] = session
        self._held[session] = {}

    def leave(self, session: Session) -> None:
        """A client is gone, and its subscriptions with it. Once is enough."""
        held = self._held.pop(session, None)
        if held is None:
            return
        for filter in held:
            self._forget(session, filter)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]

    def subscribe(self, session: Session, request: Subscribe) -> None:
        """Take on what may be had, answer, then send what is retained."""
        identifier = (request.properties or {}).get(Property.subscription_identifier, [0])[0]
        reasons = []
        wanted = []
        for one in request.filters:
            reason, new = self._grant(session, one, identifier)
            reasons.append(reason)
            if reason < Reason.UNSPECIFIED and (one.retain_handling == 0 or (one.retain_handling == 1 and new)):
                wanted.append((one.filter, int(reason)))
        session.answer(request, reasons)
        identifiers = [identifier] if identifier else []
        for filter, qos in wanted:
            if not session.out.deliver_retained(self.retained.match(filter), qos, identifiers):
                self._too_slow(session)
                break
        session.flush()

    def unsubscribe(self, session: Session, request: Unsubscribe) -> None:
        """Give up what was had, and answer."""
        reasons = []
        held = self._held.get(session, {})
        for filter in request.filters:
            if held.pop(filter, None):
                self._forget(session, filter)
                reasons.append(Reason.SUCCESS)
            else:
                reasons.append(Reason.NO_SUBSCRIPTION_EXISTED)
        session.answer(request, reasons)
        session.flush()

    def route(self, messages: Iterable[Publish]) -> None:
        """Send messages to everyone who wants them, in order."""
        reached: set[Session] = set()
        routes = self._routes
        for message in messages:
            found = routes.get(message.topic)
            if found is None:
                found = self._find(message.topic)
            for route in found:
                if route.no_local and message.client == route.session.client_id:
                    route = _merge(route.session, [one for one in route.matched if not one.no_local])
                    if not route.matched:
                        continue
                session = route.session
                qos = message.qos if message.qos < route.qos else route.qos
                retain = message.retain and route.retain_as_published
                self.sent += 1
                if not session.out.deliver(message, qos, retain, route.identifiers):
                    self._too_slow(session)
                reached.add(session)
        for session in reached:
            session.flush()

    def _grant(self, session: Session, one: Filter, identifier: int) -> tuple[Reason, bool]:
        """The answer to one filter, and whether it is new to this session."""
        held = self._held.get(session)
        if held is None:
            return Reason.UNSPECIFIED, False
        if one.filter.startswith("$share/"):
            return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, False
        if excess(one.filter, self._limits):
            return Reason.TOPIC_FILTER_INVALID, False
        new = one.filter not in held
        if new and len(held) >= self._limits.subscriptions:
            return Reason.QUOTA_EXCEEDED, False
        granted = Subscription(one.filter, min(one.qos, 1), one.no_local, one.retain_as_published, identifier)
        held[one.filter] = granted
        subscribers = self._tree.get(one.filter)
        if subscribers is None:
            subscribers = {}
            self._tree.put(one.filter, subscribers)
        subscribers[session] = granted
        self.subscriptions += new
        self._routes.clear()
        return Reason(granted.qos), new

    def _forget(self, session: Session, filter: str) -> None:
        subscribers = self._tree.get(filter)
        if subscribers and subscribers.pop(session, None):
            self.subscriptions -= 1
            if not subscribers:
                self._tree.drop(filter)
        self._routes.clear()

    def _find(self, topic: str) -> list[Route]:
        matched: dict[Session, list[Subscription]] = {}
        for subscribers in self._tree.filters(topic):
            for session, subscription in subscribers.items():
                matched.setdefault(session, []).append(subscription)
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        found = self._routes[topic] = [_merge(session, all) for session, all in matched.items()]
        return found

    def _too_slow(self, session: Session) -> None:
        session.end(Reason.QUOTA_EXCEEDED, f"more than {self._limits.unsent} bytes wait to be read by this client")


def _merge(session: Session, matched: list[Subscription]) -> Route:
    return Route(
        session,
        matched,
        max((one.qos for one in matched), default=0),
        any(one.no_local for one in matched),
        any(one.retain_as_published for one in matched),
        [one.identifier for one in matched if one.identifier],
    )
