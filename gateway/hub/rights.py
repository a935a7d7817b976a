"""Who may do what with which topics: the ACL file, reloaded when it changes.

    [[rule]]
    users = ["kitchen", "sensor-*"]          # globs; left out: every user. "" is a client without a name
    publish = ["plant/%u/#"]                 # %u is the user's name, %c the client id
    subscribe = ["plant/#", "redcar/#"]
    receive = ["plant/#"]                    # left out: whatever is subscribed to

A pattern with %c is none for a client whose id holds / + or #: that would be another pattern.
What no rule allows isn't allowed, except a user's own tree, ``<user>/#``. A filter is granted as a whole: what a rule
allows must cover all topics that the filter can match. ``$`` topics and publishing below ``redcar/`` are no matter of rules.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.errors import ConfigError
from gateway.hub.reasons import ProtocolError
from gateway.hub.topics import APART, OWN, check_filter, is_level, matches
from gateway.places import Document, Place, read, spoken
from gateway.typed import shown, table, unknown

OWN_TREE = "%u/#"


class Rule(Struct, kw_only=True):
    """One [[rule]]."""

    users: Annotated[list[str], Meta(description='globs of user names; "" is a client without a name')] = field(
        default_factory=lambda: ["*"]
    )
    publish: Annotated[list[str], Meta(description="filters of topics they may publish on")] = field(
        default_factory=list
    )
    subscribe: Annotated[list[str], Meta(description="filters that cover what they may subscribe to")] = field(
        default_factory=list
    )
    receive: Annotated[
        list[str] | None, Meta(description="filters of topics they may receive; whatever is subscribed to, if left out")
    ] = None


VERBS = ("publish", "subscribe", "receive")


class Grant(Struct, frozen=True):
    """One filter that a client was given, its names filled in, and which line of the file gives it."""

    verb: str
    filter: str
    where: str


class Granted(Struct, frozen=True):
    """What one client may do, its names filled in. ``receive`` None: whatever it may subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    receive: tuple[str, ...] | None

    def may_publish(self, topic: str) -> bool:
        """Whether it may publish there."""
        return any(matches(one, topic) for one in self.publish)

    def may_subscribe(self, filter: str) -> bool:
        """Whether all that the filter matches is granted."""
        return any(covers(one, filter) for one in self.subscribe)

    def may_receive(self, topic: str) -> bool:
        """Whether it may get a message on that topic, whatever it has subscribed to."""
        return any(matches(one, topic) for one in (self.subscribe if self.receive is None else self.receive))


class Rights:
    """The rules of a file. ``where`` names the line of a place."""

    def __init__(self, rules: list[Rule], where: Callable[[Place], str] = spoken) -> None:
        self._rules = rules
        self._where = where
        every = [one for rule in rules for one in (*rule.publish, *rule.subscribe, *(rule.receive or ()))]
        self.by_client = any("%c" in one for one in every)
        """Clients of one user may have different rights."""

    def grants(self, user: str | None, client: str) -> list[Grant]:
        """All that a client was given, in the order of the file. What stands under "receive" counts if ``narrow``."""
        found = [Grant(verb, OWN_TREE, "every user's own tree") for verb in VERBS if user]
        for index, rule in self._own(user):
            for verb in VERBS:
                source = "subscribe" if verb == "receive" and rule.receive is None else verb
                given = getattr(rule, source)
                found += [Grant(verb, one, self._where(("rule", index, source, n))) for n, one in enumerate(given)]
        return [
            Grant(one.verb, one.filter.replace("%u", user or "").replace("%c", client), one.where)
            for one in found
            if (user or "%u" not in one.filter) and (is_level(client) or "%c" not in one.filter)
        ]

    def narrow(self, user: str | None) -> bool:
        """Whether rules say what it may receive of that to which it may subscribe."""
        return any(rule.receive is not None for _, rule in self._own(user))

    def of(self, user: str | None, client: str) -> Granted:
        """What a client was given, for quick decisions."""
        found: dict[str, list[str]] = {verb: [] for verb in VERBS}
        for one in self.grants(user, client):
            found[one.verb].append(one.filter)
        publish, subscribe, receive = (tuple(found[verb]) for verb in VERBS)
        return Granted(publish, subscribe, receive if self.narrow(user) else None)

    def _own(self, user: str | None) -> list[tuple[int, Rule]]:
        """The rules that are meant for it."""
        return [
            (n, rule) for n, rule in enumerate(self._rules) if any(fnmatchcase(user or "", one) for one in rule.users)
        ]


def load(file: Path) -> Rights:
    """Read an ACL file. Raises ConfigError with all its faults; an empty one is a fault."""
    document = read(file)
    unknown(document.data, ["rule"], document, ())
    given = document.data.get("rule")
    rules: list[Rule] = []
    if not isinstance(given, list) or not given:
        document.fault(
            ("rule",), "there is no rule: nobody could do anything", "write [[rule]] and its settings below it"
        )
        given = []
    for index, one in enumerate(given):
        rule = table(Rule, one, document, ("rule", index))
        if rule:
            rules.append(rule)
            _check(rule, index, document)
    if document.faults:
        raise ConfigError(document.faults)
    return Rights(rules, lambda place: f"{document.file}:{document.line(place)}: {spoken(place)}")


def _check(rule: Rule, index: int, document: Document) -> None:
    """Note what is wrong with a rule."""
    for verb in VERBS:
        for number, filter in enumerate(getattr(rule, verb) or ()):
            place: Place = ("rule", index, verb, number)
            try:
                check_filter(filter)
            except ProtocolError as error:
                document.fault(place, str(error), "see the MQTT standard, 4.7: plant/+/x, plant/#")
            if verb == "publish" and filter.startswith(APART):
                problem = f"{shown(filter)} is Redcar's own: no rule lets others publish there"
                document.fault(place, problem, "delete it; asking for the past below redcar/replay/ needs none")
    if not rule.publish and not rule.subscribe and rule.receive is None:
        cure = "write publish, subscribe or receive = [...] in it, or delete it"
        document.fault(("rule", index), "this rule allows nothing", cure)


def covers(grant: str, asked: str) -> bool:
    """Whether every topic that ``asked`` matches is matched by ``grant``, too."""
    granted, wanted = grant.split("/"), asked.split("/")
    if (asked[:1] == "$" or wanted[0] == OWN[:-1]) and granted[0] in ("+", "#"):
        return False
    if granted == ["+", "#"] and wanted[0] in ("#", "+"):
        return True  # every topic has at least one level
    for index, want in enumerate(wanted):
        if index == len(granted):
            return False
        level = granted[index]
        if level == "#":
            return True
        if want == "#":
            return False
        if level != want and level != "+":
            return False
    return len(granted) == len(wanted) or granted[len(wanted) :] == ["#"]
