"""Retained messages: the last one of each topic that asked for it, in memory, with the rows that let it survive.

A message passes twice. Before the commit ``changes()`` gives the SQL that belongs into its transaction; after it
``settle()`` makes it visible to subscribers, who must not see what a power cut could still take back.

``properties`` is msgpack, property id -> value; a message expiry is kept as the Unix time at which it falls due.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

import msgspec
from msgspec import Struct

from gateway.clock import Clock
from gateway.event import SECOND
from gateway.hub.inlet import Publish, Statement
from gateway.hub.limits import Limits
from gateway.hub.properties import Properties, Property
from gateway.hub.topics import APART, Tree, weight

SELECT = "select topic, payload, qos, properties, user, client from retained"
_PUT = "insert or replace into retained (topic, payload, qos, properties, user, client) values (?, ?, ?, ?, ?, ?)"
_DEEP = 5_000  # bytes of memory for 16 levels of a topic beyond the first 16
_DROP = "delete from retained where topic = ?"

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[int, Any]).decode


class Kept(Struct):
    """A retained message, and the Unix time at which it expires."""

    message: Publish
    due: float | None = None


class Retained:
    """All retained messages. At the bounds of ``limits`` a new topic isn't retained; Redcar's own tree always is."""

    def __init__(self, limits: Limits | None = None, now: Callable[[], float] | None = None) -> None:
        self.renew: Callable[[], None] = lambda: None
        """Called before somebody is shown what Redcar itself says: it is made when it is wanted."""
        self.refused = 0  # messages that weren't retained because of the bounds
        self._said = 0  # of them
        self.note: Callable[[str], None] = lambda sentence: None
        """Called with what the operator should know."""
        self._limits = limits or Limits()
        self._now = now or _wall(Clock())
        self._tree: Tree[Kept] = Tree()
        self._topics = 0
        self._ours = 0  # of them; they take nobody's room
        self._users: Counter[str] = Counter()  # topics of each user
        self._bytes = 0
        self._underway: Counter[str] = Counter()  # topic -> changes given out and not settled
        self._surplus: set[str] = set()  # topics whose row has to go with the next transaction
        self._leaving: set[str] = set()  # those given out, until it is clear that they are gone

    def __len__(self) -> int:
        return self._topics

    def load(self, rows: Iterable[tuple[str, bytes, int, bytes | None, str | None, str]]) -> None:
        """Fill from the table at start: the result of SELECT."""
        for topic, payload, qos, packed, user, client in rows:
            properties = _unpack(packed) if packed else None
            due = properties.pop(Property.message_expiry, None) if properties else None
            self._put(Kept(Publish(topic, payload, qos, True, properties or None, client, user), due))

    def changes(self, messages: Iterable[Publish]) -> list[Statement]:
        """The statements that keep what these messages change, for the transaction that holds the messages."""
        messages = list(messages)
        last = {message.topic: message for message in messages if message.retain}
        full = {topic for topic, message in last.items() if message.payload and not self._is_room(message)}
        for message in messages if full else ():
            if message.topic in full:
                message.retain = False
                self._refuse(message)
                last.pop(message.topic, None)
        if not last and not self._surplus:
            return []
        surplus, self._surplus = self._surplus, set()
        if len(self._leaving) > self._limits.retained:
            self._leaving.clear()  # should that commit fail, load() cuts them off at the next start
        self._leaving |= surplus
        statements: list[Statement] = [(_DROP, (topic,)) for topic in surplus if topic not in last]
        for topic, message in last.items():
            if topic in surplus or self._underway[topic] or not self._unchanged(message):
                statements.append(self._row(message) if message.payload else (_DROP, (topic,)))
            self._underway[topic] += 1
        return statements

    def settle(self, messages: Iterable[Publish], stored: bool = True) -> None:
        """The transaction is over: show what it stored, or forget that it was tried."""
        for topic, message in {one.topic: one for one in messages if one.retain}.items():
            if self._underway[topic] > 1:
                self._underway[topic] -= 1
            else:
                del self._underway[topic]
            if stored and message.payload:
                self._put(Kept(message, self._due(message)))
            elif stored:
                self._drop(topic)
        if not stored:
            self._surplus |= self._leaving
        if not self._underway:
            self._leaving.clear()

    def owned_up(self) -> int:
        """Messages that weren't retained since the last call."""
        count, self._said = self.refused - self._said, self.refused
        return count

    def match(self, filter: str) -> list[Publish]:
        """The messages a new subscription gets, each with the expiry it has left."""
        if filter.startswith(APART):
            self.renew()
        now = self._now()
        found = []
        for kept in list(self._tree.topics(filter)):
            if kept.due is None:
                found.append(kept.message)
            elif kept.due <= now:
                self._drop(kept.message.topic)
                self._surplus.add(kept.message.topic)
            else:
                left = {Property.message_expiry: ceil(kept.due - now)}
                found.append(
                    msgspec.structs.replace(kept.message, properties={**(kept.message.properties or {}), **left})
                )
        return found

    def _unchanged(self, message: Publish) -> bool:
        """Devices repeat themselves: the row needn't be written again."""
        kept = self._tree.get(message.topic)
        if kept is None:
            return not message.payload
        old = kept.message
        return (
            old.payload == message.payload
            and old.qos == message.qos
            and old.properties == message.properties
            and old.user == message.user
            and old.client == message.client
            and kept.due is None
        )

    def _row(self, message: Publish) -> Statement:
        properties: Properties = dict(message.properties or {})
        due = self._due(message)
        if due is not None:
            properties[Property.message_expiry] = due
        packed = _pack({int(id): value for id, value in properties.items()}) if properties else None
        return _PUT, (message.topic, message.payload, message.qos, packed, message.user, message.client)

    def _due(self, message: Publish) -> float | None:
        seconds = message.properties.get(Property.message_expiry) if message.properties else None
        return None if seconds is None else self._now() + seconds

    def _put(self, kept: Kept) -> None:
        message = kept.message
        self._drop(message.topic)
        if not self._is_room(message):
            self._refuse(message)
            self._surplus.add(message.topic)
            return
        self._tree.put(message.topic, kept)
        self._surplus.discard(message.topic)
        self._leaving.discard(message.topic)
        self._count(message, 1)

    def _is_room(self, message: Publish) -> bool:
        """Whether a topic that isn't kept may be."""
        limits, user = self._limits, message.user
        if message.topic.startswith(APART) or self._tree.get(message.topic) is not None:
            return True
        if self._topics - self._ours >= limits.retained or self._bytes + _size(message) > limits.retained_bytes:
            return False
        return user is None or self._users[user] < limits.retained_per_user

    def _refuse(self, message: Publish) -> None:
        self.refused += 1
        cure = "let it publish without retain, or raise retained, retained_per_user or retained_bytes under [limits]"
        self.note(
            f"the message of client {message.client!r} on {message.topic[:100]!r} isn't retained, there are too many: {cure}"
        )

    def _drop(self, topic: str) -> None:
        kept = self._tree.get(topic)
        if kept is not None:
            self._tree.drop(topic)
            self._count(kept.message, -1)

    def _count(self, message: Publish, by: int) -> None:
        """One more, or one less, towards the bounds."""
        self._topics += by
        if message.topic.startswith(APART):
            self._ours += by
        else:
            self._bytes += by * _size(message)
        if message.user is not None:
            self._users[message.user] += by
            if not self._users[message.user]:
                del self._users[message.user]


def _size(message: Publish) -> int:
    return len(message.topic) + len(message.payload) + _DEEP * (weight(message.topic) - 1)


def _wall(clock: Clock) -> Callable[[], float]:
    return lambda: clock.now() / SECOND
