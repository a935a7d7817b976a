"""Shared subscriptions, $share/<group>/<filter>: each message goes to one member of the group (4.8.2).

Members take turns. One that is away, or reads more slowly than messages come, is passed over as long as another isn't. Where
a member's session lasts, the group gets what is stored from the log, see ``group.py``; else messages come as they arrive.
"""

from typing import TYPE_CHECKING

from gateway.hub.members import Route

if TYPE_CHECKING:
    from gateway.hub.group import Group


def route(routes: list[Route], group: "Group | None") -> Route:
    """The route of a group."""
    first = routes[0]
    return Route(first.member, first.matched, first.qos, logged=group is not None, shared=routes, group=group)


def turn(group: Route) -> Route:
    """The member whose turn it is: one that has room, else one that is connected, else anyone."""
    routes = group.shared or [group]
    count = len(routes)
    best = routes[group.turn % count]
    for step in range(count):
        one = routes[(group.turn + step) % count]
        session = one.member.session
        if session and session.out.free:
            group.turn += step + 1
            return one
        if session and not best.member.session:
            best = one
    group.turn += 1
    return best
