"""What is to be written to one client: answers at once, messages as far as its window and its socket have room.

The rest waits in line. Live messages there count towards ``Limits.unsent``. Retained ones are shared with the store of
retained messages, so each counts for its place in line only.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from msgspec import Struct

from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits

_PLACE = 20  # what a place in line counts
_PORTION = 65_536  # bytes moved from the line at once; then others get their turn


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
    window   QoS 1 messages it takes without acknowledging
    largest  packet it takes, 0: any; larger messages are left out [MQTT-3.1.2-24]
    sent     messages sent so far
    """

    def __init__(self, limits: Limits) -> None:
        self.version = 0
        self.window = limits.window
        self.largest = 0
        self.sent = 0
        self._limit = limits.unsent
        self._out: list[bytes] = []
        self._flying: set[int] = set()
        self._id = 0
        self._line: deque[Waiting] = deque()
        self._size = 0  # of the line
        self._stalled = False
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
        if not (self._line or self._stalled or (qos and len(self._flying) >= self.window)):
            self._send(message, qos, retain, identifiers)
            return True
        return self._wait(message, qos, retain, identifiers, len(message.topic) + len(message.payload))

    def deliver_retained(self, messages: Iterable[Publish], qos: int, identifiers: Sequence[int] = ()) -> bool:
        """Send what a new subscription gets, in portions. False as above."""
        for message in messages:
            if not self._wait(message, min(qos, message.qos), True, identifiers, 0):
                return False
        self.more()
        return True

    def land(self, ids: Iterable[int]) -> None:
        """The client acknowledged these."""
        self._flying.difference_update(ids)
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
        while self._line and not self._stalled and size < _PORTION:
            first = self._line[0]
            if first.qos and len(self._flying) >= self.window:
                return
            self._line.popleft()
            self._size -= first.size
            size += len(first.message.payload) + _PLACE
            self._send(first.message, first.qos, first.retain, first.identifiers)

    def close(self) -> None:
        """Nothing more is to be delivered, only what is put."""
        self._closed = True
        self._line.clear()

    def _wait(self, message: Publish, qos: int, retain: bool, identifiers: Sequence[int], size: int) -> bool:
        self._line.append(Waiting(message, qos, retain, identifiers, size + _PLACE))
        self._size += size + _PLACE
        return self._size <= self._limit

    def _send(self, message: Publish, qos: int, retain: bool, identifiers: Sequence[int]) -> None:
        id = self._next_id() if qos else 0
        frame = encode.publish(message, self.version, qos, retain, id, identifiers)
        if self.largest and len(frame) > self.largest:
            return  # and act as if it had been sent [MQTT-3.1.2-25]
        if qos:
            self._flying.add(id)
        self.sent += 1
        self._out.append(frame)

    def _next_id(self) -> int:
        id = self._id % 65_535 + 1
        while id in self._flying:
            id = id % 65_535 + 1
        self._id = id
        return id
