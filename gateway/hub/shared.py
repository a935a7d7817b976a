"""Shared subscriptions, $share/<group>/<filter>: each message goes to one member of the group (4.8.2).

Members take turns. One that is away, or reads more slowly than messages come, is passed over as long as another isn't. Where
a member's session lasts, the group gets what is stored from the log: while all are away it waits for one of them.
"""

from gateway.hub.members import Route


def split(filter: str) -> tuple[str, str]:
    """Group and filter; the group is empty where the filter isn't shared."""
    if not filter.startswith("$share/"):
        return "", filter
    _, group, pattern = filter.split("/", 2)
    return group, pattern


def route(routes: list[Route]) -> Route:
    """The route of a group."""
    first = routes[0]
    logged = any(one.logged for one in routes)
    return Route(first.member, first.matched, first.qos, logged=logged, shared=routes)


def turn(group: Route) -> Route:
    """The member whose turn it is: one that has room, else one that is connected, else one whose session lasts."""
    routes = group.shared or [group]
    count = len(routes)
    best, worth = routes[group.turn % count], -1
    for step in range(count):
        one = routes[(group.turn + step) % count]
        session = one.member.session
        if session and session.out.free:
            group.turn += step + 1
            return one
        found = 2 if session else 1 if one.member.feed else 0
        if found > worth:
            best, worth = one, found
    group.turn += 1
    return best
