"""Why a client may or may not do something: the decisions that ``access.py`` takes, each with the line that decides."""

from msgspec import Struct

from gateway.hub.access import Access
from gateway.hub.rights import Grant, covers
from gateway.hub.topics import APART, OWN, check_filter, matches, split

_ALL = "clients without a name may do everything until access.acl names a file of rules"


class Decision(Struct, frozen=True):
    """``why`` is the line of the file that allows it, or what is missing."""

    verb: str
    allowed: bool
    why: str


def granted(access: Access, user: str | None, client: str) -> list[Grant]:
    """All that a client was given."""
    rules = access.in_force(user)
    if rules is None:
        everything = ("publish", "#"), ("subscribe", "#"), ("subscribe", f"{OWN}#"), ("subscribe", "$SYS/#")
        return [Grant(verb, filter, _ALL) for verb, filter in everything]
    narrow = rules.narrow(user)
    return [one for one in rules.grants(user, client) if narrow or one.verb != "receive"]


def decide(access: Access, user: str | None, client: str, topic: str) -> list[Decision]:
    """About one topic; about a filter only whether it may be subscribed to. Raises ProtocolError if it is neither."""
    check_filter(topic)
    group, filter = split(topic)
    grants = granted(access, user, client)
    rules = access.in_force(user)
    source = "receive" if rules and rules.narrow(user) else "subscribe"

    def first(verb: str) -> str:
        fits = covers if verb == "subscribe" else matches
        found = (one for one in grants if one.verb == verb and fits(one.filter, filter))
        return next((one.where if one.where == _ALL else f"{one.where}: {one.filter}" for one in found), _ALL)

    apart = f" (+ and # don't stand for {OWN} and $ topics: name them)" if filter.startswith(APART) else ""
    missing = f"no rule covers it{apart}: {access.cure(user)}"
    may = access.may_subscribe(user, filter, client)
    subscribe = Decision("subscribe", may, first("subscribe") if may else missing)
    if group or "+" in filter or "#" in filter:
        return [subscribe]
    refused = access.may_publish(user, filter, client)
    publish = Decision("publish", refused is None, refused[1] if refused else first("publish"))
    may = access.may_receive(user, filter, client)
    return [publish, subscribe, Decision("receive", may, first(source) if may else missing)]
