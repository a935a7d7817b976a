"""What is to be written to one client: answers at once, messages as far as its window and its socket have room.

The rest waits in line. Live messages there count towards ``Limits.unsent``. Retained ones are shared with the store of
retained messages, so each counts for its place in line only.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import Ack
from gateway.hub.properties import Kind
from gateway.hub.reasons import Reason

if TYPE_CHECKING:
    from gateway.hub.feed import Feed
    from gateway.hub.group import Group

_PLACE = 20  # what a place in line counts
_OVERHEAD = 160  # bytes of memory for a message in line, beside what it says
_PORTION = 65_536  # bytes moved from the line at once; then others get their turn
_LOGGED = 0x8000  # packet ids from here on belong to messages of the log, by their offsets; the others are below


def logged_id(offset: int) -> int:
    """The packet id of a message of the log."""
    return _LOGGED | offset % _LOGGED


class Waiting(Struct, gc=False):
    """A message in line."""

    message: Publish
    qos: int
    retain: bool
    identifiers: Sequence[int]
    size: int


class Outbox:
    """Bytes for one client.

    version  of its protocol
    window   QoS 1 and 2 messages it takes without acknowledging
    feed     what the session is owed from the log, if it is owed anything
    largest  packet it takes, 0: any; larger messages are left out [MQTT-3.1.2-24]
    aliases  topics that may have a number instead of their name
    sent     messages sent so far
    """

    def __init__(self, limits: Limits) -> None:
        self.version = 0
        self.window = limits.window
        self.largest = 0
        self.aliases = 0
        self._aliases: dict[str, int] = {}
        self.sent = 0
        self._limit = limits.unsent
        self._out: list[bytes] = []
        self.feed: Feed | None = None
        self._flying: set[int] = set()
        self._logged: dict[int, int] = {}  # packet id -> offset
        self._shared: dict[int, Group] = {}  # packet id -> the group whose message that is
        self.groups: tuple[Group, ...] = ()  # that may have something for this client; few have any
        self._retained: dict[int, Waiting] = {}  # in flight, by packet id: no log has them to be sent again
        self._released: set[int] = set()  # packet ids between PUBREL and PUBCOMP
        self._id = 0
        self._line: deque[Waiting] = deque()
        self._size = 0  # of the line
        self._stalled = True  # until CONNACK, which comes first [MQTT-3.2.0-1]; then whenever the socket is full
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._out)

    def put(self, *frames: bytes) -> None:
        """Write these next."""
        self._out.extend(frames)

    def take(self) -> bytes:
        """What has to be written now, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def deliver(self, message: Publish, qos: int, retain: bool = False, identifiers: Sequence[int] = ()) -> bool:
        """Send a live message, now or in its turn. False: the line is too long, the client reads too slowly."""
        if self._closed:
            return True
        if not (self._line or self._stalled or (qos and self._full)):
            self._send(message, qos, retain, identifiers)
            return True
        return self._wait(message, qos, retain, identifiers, len(message.topic) + len(message.payload))

    def deliver_retained(self, messages: Iterable[Publish], qos: int, identifiers: Sequence[int]) -> bool:
        """Send what a new subscription gets, in portions. False as above."""
        for message in messages:
            if not self._wait(message, min(qos, message.qos), True, identifiers, 0):
                return False
        self.more()
        return True

    def deliver_logged(
        self,
        message: Publish,
        qos: int,
        retain: bool,
        identifiers: Sequence[int],
        offset: int,
        dup: bool,
        group: "Group | None" = None,
    ) -> bool:
        """Send a message of the log now. False: there is no room; it can be had from the log later."""
        if self._line or self._stalled or self._closed:
            return False
        if not qos:
            self._send(message, 0, retain, identifiers)
            return True
        id = logged_id(offset)
        if self._full or id in self._logged:
            return False
        frame = self._frame(message, qos, retain, id, identifiers)
        if frame is None:
            return True
        self.hold(id, offset, group)
        self.sent += 1
        self._out.append(encode.again(frame) if dup else frame)
        return True

    @property
    def weight(self) -> int:
        """Bytes of memory that the line occupies, about."""
        return self._size + _OVERHEAD * len(self._line)

    @property
    def free(self) -> bool:
        """A message would leave at once."""
        return not (self._line or self._stalled or self._closed or self._full)

    def has_room(self, offset: int) -> bool:
        """That message of the log would leave at once."""
        return self.free and logged_id(offset) not in self._logged

    def flies(self, offset: int) -> bool:
        """Whether that message of the log is in flight."""
        return self._logged.get(logged_id(offset)) == offset

    def land(self, ids: Iterable[int]) -> None:
        """The client acknowledged these: PUBACK, or a PUBREC that says no."""
        self._flying.difference_update(ids)
        if self._retained:
            for id in ids:
                self._retained.pop(id, None)
        if self._logged:
            landed = [(id, self._logged.pop(id)) for id in ids if id in self._logged]
            if self._shared:
                for id, offset in landed:
                    if group := self._shared.pop(id, None):
                        group.landed(offset)
            if landed and self.feed:
                self.feed.landed([offset for _, offset in landed])
        self.more()

    def receive(self, id: int) -> None:
        """PUBREC: the client has it; PUBREL is next, for a message of the log once that is on the disk."""
        if id in self._released:
            self.release(id)
        elif id in self._shared:
            self._shared[id].received(self._logged[id])
        elif id in self._logged and self.feed:
            self.feed.received(id, self._logged[id])
        elif id in self._flying:
            self.release(id)
        else:
            self._out.append(encode.encode(Ack(Kind.PUBREL, id, Reason.PACKET_ID_NOT_FOUND), self.version))

    def hold(self, id: int, offset: int, group: "Group | None" = None) -> None:
        """A message of the log is in flight, or is to be next."""
        self._logged[id] = offset
        if group:
            self._shared[id] = group

    def let_go(self, offset: int, group: "Group") -> None:
        """It won't be, for now."""
        id = logged_id(offset)
        if self._shared.get(id) is group and self.flies(offset):
            del self._shared[id], self._logged[id]

    def release(self, id: int) -> None:
        """Send PUBREL."""
        self._released.add(id)
        self._out.append(encode.PUBREL + encode.packet_id(id))

    def complete(self, id: int) -> None:
        """PUBCOMP: the id is free again."""
        self._released.discard(id)
        self._flying.discard(id)
        self._retained.pop(id, None)
        logged = self._logged.pop(id, None)
        if logged and (group := self._shared.pop(id, None)):
            group.landed(logged)
        elif logged and self.feed:
            self.feed.completed(id)
        self.more()

    def stall(self) -> None:
        """The socket is full."""
        self._stalled = True

    def resume(self) -> None:
        """The socket has room again."""
        self._stalled = False
        self.more()

    def more(self) -> None:
        """Move a portion of the line, as far as there is room."""
        size = 0
        while self._line and not self._stalled and not self._closed and size < _PORTION:
            first = self._line[0]
            if first.qos and self._full:
                return
            self._line.popleft()
            self._size -= first.size
            size += len(first.message.payload) + _PLACE
            id = self._send(first.message, first.qos, first.retain, first.identifiers)
            if id and first.retain:
                self._retained[id] = first
        if self.feed and not self.feed.live:
            self.feed.wake()
        for group in self.groups:
            group.wake()

    def close(self) -> None:
        """Nothing more is to be delivered, only what is put."""
        self._closed = True
        self._line = deque(one for one in self._line if one.retain and one.qos)
        self._size = sum(one.size for one in self._line)

    def unfinished(self) -> list[tuple[int, Waiting, bool]]:
        """Retained messages that a session which lasts is still owed: packet id, 0 if it wasn't sent; whether PUBREL was."""
        flying = [(id, one, id in self._released) for id, one in self._retained.items()]
        return [*flying, *((0, one, False) for one in self._line if one.retain and one.qos)]

    def go_on(self, unfinished: list[tuple[int, Waiting, bool]]) -> None:
        """With what the last connection left [MQTT-4.4.0-1]."""
        for id, one, released in unfinished:
            if released:
                self._flying.add(id)
                self.release(id)
            elif not id or self._full:
                self._wait(one.message, one.qos, True, one.identifiers, one.size - _PLACE)
            elif frame := self._frame(one.message, one.qos, True, id, one.identifiers):
                self._flying.add(id)
                self._retained[id] = one
                self._out.append(encode.again(frame))
        self.more()

    @property
    def _full(self) -> bool:
        return len(self._flying) + len(self._logged) >= self.window

    def _wait(self, message: Publish, qos: int, retain: bool, identifiers: Sequence[int], size: int) -> bool:
        self._line.append(Waiting(message, qos, retain, identifiers, size + _PLACE))
        self._size += size + _PLACE
        return self._size <= self._limit

    def _send(self, message: Publish, qos: int, retain: bool, identifiers: Sequence[int]) -> int:
        """Its packet id, if it has one."""
        id = self._next_id() if qos else 0
        frame = self._frame(message, qos, retain, id, identifiers)
        if frame is None:
            return 0
        if qos:
            self._flying.add(id)
        self.sent += 1
        self._out.append(frame)
        return id

    def _frame(self, message: Publish, qos: int, retain: bool, id: int, identifiers: Sequence[int]) -> bytes | None:
        """The packet; None if it is too large for the client: then we act as if it had been sent [MQTT-3.1.2-25]."""
        alias, bare = 0, False
        if self.aliases:
            known = self._aliases.get(message.topic)
            if known:
                alias, bare = known, True
            elif len(self._aliases) < self.aliases:
                alias = len(self._aliases) + 1
        frame = encode.publish(message, self.version, qos, retain, id, identifiers, alias, bare)
        if self.largest and len(frame) > self.largest:
            return None
        if alias and not bare:
            self._aliases[message.topic] = alias
        return frame

    def _next_id(self) -> int:
        id = self._id % (_LOGGED - 1) + 1
        while id in self._flying:
            id = id % (_LOGGED - 1) + 1
        self._id = id
        return id
