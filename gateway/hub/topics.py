"""Topic names and filters (4.7), and two trees of topic levels: one finds filters by topic, one topics by filter.

plant/+/temperature   + is exactly one level        plant/#   # is the level before it and everything below
Neither matches a first level that begins with $ [MQTT-4.7.2-1], nor Redcar's own tree: whoever subscribes to # wants what
devices say, and not every event a second time. redcar/# brings it.
"""

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

from gateway.hub.limits import Limits
from gateway.hub.reasons import ProtocolError, Reason

_WILDCARD = re.compile(r"[+#]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

OWN = "redcar/"
"""The tree only Redcar publishes on."""

REPLAYS = "redcar/replay/"
"""Where clients ask for the past."""

SHARED = "$share/"
"""What the filter of a shared subscription begins with; a group and its filter follow."""

APART = ("$", OWN)
"""What topics begin with on which no client publishes; a wildcard at the first level doesn't match them."""

T = TypeVar("T")


def check_name(topic: str) -> None:
    """Raise if it can't be a topic name."""
    if not topic:
        raise ProtocolError(Reason.PROTOCOL_ERROR, "an empty topic name [MQTT-4.7.3-1]")
    if _WILDCARD.search(topic):
        raise ProtocolError(Reason.TOPIC_NAME_INVALID, f"a wildcard in the topic name {topic!r} [MQTT-3.3.2-2]")


def check_filter(filter: str) -> None:
    """Raise if it can't be a topic filter."""
    if not filter:
        raise ProtocolError(Reason.PROTOCOL_ERROR, "an empty topic filter [MQTT-4.7.3-1]")
    group, pattern = split(filter)
    if filter.startswith(SHARED) and not (is_level(group) and pattern):
        text = f"{filter!r} isn't $share/<group>/<filter> [MQTT-4.8.2-1] [MQTT-4.8.2-2]"
        raise ProtocolError(Reason.TOPIC_FILTER_INVALID, text)
    if "#" not in filter and "+" not in filter:
        return
    levels = filter.split("/")
    for level in levels:
        if len(level) > 1 and _WILDCARD.search(level):
            raise ProtocolError(
                Reason.TOPIC_FILTER_INVALID, f"a wildcard shares its level in {filter!r} [MQTT-4.7.1-1] [MQTT-4.7.1-2]"
            )
    if "#" in levels[:-1]:
        raise ProtocolError(Reason.TOPIC_FILTER_INVALID, f"# isn't last in {filter!r} [MQTT-4.7.1-1]")


def split(filter: str) -> tuple[str, str]:
    """Group and filter; the group is empty where the filter isn't shared."""
    if not filter.startswith(SHARED):
        return "", filter
    group, _, pattern = filter[len(SHARED) :].partition("/")
    return group, pattern


def excess(topic: str, limits: Limits) -> str | None:
    """What is too much about a well-formed topic name or filter; None if nothing is."""
    if len(topic.encode()) > limits.topic:
        return f"it is longer than {limits.topic} bytes"
    if topic.count("/") >= limits.levels:
        return f"it has more than {limits.levels} levels"
    if _CONTROL.search(topic):
        return "it contains control characters"
    return None


def weight(path: str) -> int:
    """For how many a name or filter counts against bounds: each level of it is a node of a tree, up to 16 are one."""
    return 1 + path.count("/") // 16


def is_level(name: str) -> bool:
    """Whether a name put into a filter is one level of it, and no wildcard."""
    return bool(name) and "/" not in name and not _WILDCARD.search(name)


def matches(filter: str, topic: str) -> bool:
    """Whether a filter matches a topic; for one at a time: the tree finds many."""
    if topic.startswith(APART) and filter[:1] in ("+", "#"):
        return False
    if "+" not in filter and "#" not in filter:
        return filter == topic
    levels = topic.split("/")
    wanted = filter.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    return all(want in ("+", level) for want, level in zip(wanted, levels))


class Node(Generic[T]):
    """One level. ``value`` is what is kept for the path that ends here."""

    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.children: dict[str, Node[T]] = {}
        self.value: T | None = None


class Tree(Generic[T]):
    """Paths of levels with a value each: filters of subscriptions, or topics of retained messages."""

    def __init__(self) -> None:
        self.root: Node[T] = Node()

    def get(self, path: str) -> T | None:
        """The value of exactly that path."""
        node: Node[T] | None = self.root
        for level in path.split("/"):
            node = node.children.get(level) if node else None
        return node.value if node else None

    def put(self, path: str, value: T) -> None:
        """Set the value of a path."""
        node = self.root
        for level in path.split("/"):
            node = node.children.setdefault(level, Node())
        node.value = value

    def drop(self, path: str) -> None:
        """Forget a path, and the levels nobody needs any more."""
        way = [self.root]
        levels = path.split("/")
        for level in levels:
            below = way[-1].children.get(level)
            if below is None:
                return
            way.append(below)
        way[-1].value = None
        for level, parent, node in zip(reversed(levels), reversed(way[:-1]), reversed(way)):
            if node.children or node.value is not None:
                return
            del parent.children[level]

    def filters(self, topic: str) -> Iterator[T]:
        """The tree holds filters: values of those that match this topic."""
        levels = topic.split("/")
        nodes = [self.root]
        wild = not topic.startswith(APART)
        for level in levels:
            below = []
            for node in nodes:
                children = node.children
                if wild and (hash := children.get("#")) is not None and hash.value is not None:
                    yield hash.value
                if (exact := children.get(level)) is not None:
                    below.append(exact)
                if wild and (plus := children.get("+")) is not None:
                    below.append(plus)
            if not below:
                return
            nodes = below
            wild = True
        for node in nodes:
            if node.value is not None:
                yield node.value
            # sport/# matches sport too (4.7.1.2)
            if (hash := node.children.get("#")) is not None and hash.value is not None:
                yield hash.value

    def topics(self, filter: str) -> Iterator[T]:
        """The tree holds topics: values of those that this filter matches."""
        nodes = [self.root]
        first = True
        for level in filter.split("/"):
            if level == "#":
                for node in nodes:
                    if not first and node.value is not None:
                        yield node.value
                    yield from _below(node, first)
                return
            if level == "+":
                nodes = [
                    below for node in nodes for name, below in node.children.items() if not (first and _apart(name))
                ]
            else:
                nodes = [node.children[level] for node in nodes if level in node.children]
            first = False
        for node in nodes:
            if node.value is not None:
                yield node.value


def _below(node: Node[T], first: bool) -> Iterator[T]:
    """Everything under a node; from the root without the trees that stand apart."""
    waiting = [below for name, below in node.children.items() if not (first and _apart(name))]
    while waiting:
        node = waiting.pop()
        if node.value is not None:
            yield node.value
        waiting.extend(node.children.values())


def _apart(level: str) -> bool:
    return level[:1] == "$" or level + "/" == OWN
