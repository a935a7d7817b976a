"""Who is a member, with a connection or away, and who shares. No sockets, no clock. Who gets what is in ``routes.py``."""

from collections.abc import Callable, Iterable

from gateway.hub.access import Access
from gateway.hub.group import Group
from gateway.hub.history import History, Position
from gateway.hub.limits import Limits
from gateway.hub.members import Member, Subscription
from gateway.hub.reasons import Reason
from gateway.hub.routes import Router
from gateway.hub.session import Session
from gateway.hub.topics import split

_TAKEN_OVER = "another connection came with this client id: if it isn't the same device, give each an id of its own"


class Broker(Router):
    """Members by client id.

    history  the log; None: no session lasts
    hired    called with a member that has a feed and a connection: somebody must fetch for it; ``summoned``: with a group
    """

    def __init__(self, limits: Limits, access: Access, history: History | None = None) -> None:
        super().__init__(limits, access)
        self.members: dict[str, Member] = {}
        self.hired: Callable[[Member], object] = lambda member: None
        self.summoned: Callable[[Group], object] = lambda group: None
        self._history = history

    def join(self, session: Session, client_id: str, user: str | None = None) -> Member:
        """A client is let in, whose id nobody uses. If a session was kept for it, it goes on with that."""
        member = self.members.get(client_id)
        if member is None:
            member = self.members[client_id] = Member(client_id, user)
        member.session = session
        member.due = member.will_due = None
        session.member = member
        return member

    def take_over(self, member: Member) -> None:
        """Another connection comes with its client id: the one that has it is told and ends [MQTT-3.1.4-3]."""
        if session := member.session:
            session.end(Reason.SESSION_TAKEN_OVER, _TAKEN_OVER)
            self.part(member)
            session.flush()

    def part(self, member: Member) -> None:
        """Its connection is gone."""
        if member.feed:
            member.feed.detach(idle=member.feed.live)
        for group in self.groups.values():
            group.went(member)
        if member.session and member.lasting:
            member.left = member.session.out.unfinished()
        member.session = None

    def drop(self, member: Member) -> None:
        """A session is over."""
        for one in list(member.held.values()):
            self.forget(member, one)
        member.held.clear()
        for group in list(self.groups.values()):
            lost = group.left(member)
            if lost and self._history:
                self._history.gave_up("session_ended", lost)
            if group.over:
                group.ended()
        self.feeds.discard(member)
        member.feed = None
        if self.members.get(member.client_id) is member:
            del self.members[member.client_id]

    def restore(self, member: Member, subscriptions: Iterable[Subscription]) -> None:
        """A session that was kept when Redcar ended."""
        self.members[member.client_id] = member
        for one in subscriptions:
            self.hold(member, one)
        if member.feed:
            self.feeds.add(member)

    def admitted(self, member: Member) -> None:
        """It was told that it is connected: go on with what it is owed."""
        if member.left and member.session:
            member.session.out.go_on(member.left)
            member.left = []
        if member.feed and member.session:
            member.feed.attach(member.session.out)
            self.hired(member)
        for group in list(self.groups.values()):
            self._join(group, member)

    def hold(self, member: Member, granted: Subscription) -> None:
        """A member has this subscription from now on."""
        super().hold(member, granted)
        if group := self.groups.get(granted.filter):
            self._join(group, member)

    def gather(self, filter: str, position: Position) -> Group:
        """From now on those who share this filter get what is stored from the log."""
        group = self.groups[filter] = Group(filter, position, position.through, self._limits.waiting)
        group.ended = lambda: self._disband(group)
        name, pattern = split(filter)
        for (member, shares), subscription in (self._tree.get(pattern) or {}).items():
            if shares == name:
                group.members[member] = subscription
                self._join(group, member)
        return group

    def _join(self, group: Group, member: Member) -> None:
        """A member is connected, or has come to share its filter."""
        if member.session:
            group.came(member)
            if group.present and not group.served:
                self.summoned(group)

    def _disband(self, group: Group) -> None:
        if self.groups.pop(group.name, None) and self._history:
            self._history.keep(self._history.drop(group.name))
            self.lose_ways()
