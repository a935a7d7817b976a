"""Shared subscriptions, $share/<group>/<filter>: each message goes to one member of the group (4.8.2).

Members take turns. One that is away, or reads more slowly than messages come, is passed over as long as another isn't.
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
    return Route(first.member, first.matched, first.qos, shared=routes)


def turn(group: Route) -> Route:
    """The member whose turn it is."""
    routes = group.shared or [group]
    best = routes[group.turn % len(routes)]
    for step in range(len(routes)):
        one = routes[(group.turn + step) % len(routes)]
        session = one.member.session
        if session is None:
            continue
        if session.out.free:
            group.turn += step + 1
            return one
        if best.member.session is None:
            best = one
    group.turn += 1
    return best
