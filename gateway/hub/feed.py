"""What one session is owed from the log: how far it has come, what is in flight, what is left for later.

Nothing is queued here: a message that finds no room stays in the log, and the session reads it from there when there
is. The packet id of a message follows from its offset, so a message sent again after a crash has the id it had before,
and a client that has it already knows it (QoS 2, 4.3.3).

    seen ─────────────┐  everything up to here was looked at
    through ──┐       │  everything up to here is done: this is the session's position in the store
    ..........f..d.f..│  f in flight, d done out of turn
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gateway.hub.backlog import Backlog
from gateway.hub.history import Position, Told, once_stored

if TYPE_CHECKING:
    from gateway.hub.members import Route
    from gateway.hub.outbox import Outbox

_SLACK = 1_000  # offsets that a session which is away, and owed nothing, may lag behind on the disk


class State(Struct, omit_defaults=True):
    """What is stored beside the position.

    sent       highest offset that was ever sent
    done       offsets beyond the position that the client has
    releasing  packet id -> offset: PUBREL is due or in flight
    waiting    messages counted since the client left, see ``backlog.py``
    """

    sent: int = 0
    done: list[int] = []
    releasing: dict[int, int] = {}
    waiting: list[tuple[int, int]] = []


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(State).decode


class Feed:
    """position None: a replay that ends with its connection.

    live  the tail of the log hands new messages over; otherwise they are fetched
    wake  called when there is something to fetch, or room to send it
    """

    def __init__(self, position: Position | None, through: int, most: int) -> None:
        self.seen = through
        self.live = False
        self.wake: Callable[[], None] = lambda: None
        self.out: Outbox | None = None
        self.idle = False  # away, and owed nothing so far
        self._position = position
        self._flying: dict[int, int] = {}  # offset -> QoS
        self._again: dict[int, int] = {}  # in flight when the connection was lost
        self._reach = 0  # up to here everything was sent once; what isn't in _again has arrived
        self._saved = through
        state = _unpack(position.state) if position and position.state else State()
        self._sent = state.sent
        self._done = set(state.done)
        self._releasing = state.releasing
        self.backlog = Backlog(most, state.waiting)  # since the client left
        self._ready: list[int] = []  # packet ids whose PUBREC arrived
        self._certain = set(state.releasing)  # those of which that is on the disk

    @property
    def through(self) -> int:
        """Everything up to here is done."""
        first = min(self._flying, default=self.seen + 1)
        return min(first, min(self._again, default=first), self.seen + 1) - 1

    @property
    def unfinished(self) -> bool:
        """Something that was in flight when the connection was lost is to be sent again."""
        return bool(self._again)

    def attach(self, out: "Outbox") -> None:
        """The client is back: what was in flight is sent again, in order [MQTT-4.4.0-1] [MQTT-4.6.0-1]."""
        self.out = out
        out.feed = self
        self.idle = self.live = False
        self._reach = self.seen
        self._again.update(self._flying)
        self._flying.clear()
        self.seen = self.through
        self.backlog.clear()
        for id, offset in self._releasing.items():
            out.hold(id, offset)
            if id in self._certain:
                out.release(id)
            else:
                self._ready.append(id)

    def detach(self, idle: bool) -> None:
        """The client is away. ``idle``: there is nothing for it in the log by now."""
        if self.out:
            self.out.feed = None
        self.out = None
        self.live = False
        self.idle = idle and not self._flying and not self._again
        self._ready.clear()
        self.save()
        self.wake()

    def rewind(self, through: int) -> None:
        """Look at everything after this offset once more. What was done since must not match again."""
        self.seen = min(self.seen, through)
        self._reach = 0
        self.live = False
        self.save()
        self.wake()

    def offer(self, one: Told, route: "Route | None") -> bool:
        """Send it, unless the client has it. False: there is no room, it stays in the log.

        route  by which it comes; None: by none any more, but it was in flight"""
        out, offset = self.out, one.offset
        if out is None:
            return False
        if offset in self._done or offset in self._flying:
            return True
        if offset in self._again:
            qos = self._again[offset]
        elif route is None or offset <= self._reach:
            return True
        else:
            qos = min(one.message.qos, route.qos)
        retain = route is not None and one.message.retain and route.retain_as_published
        identifiers = route.identifiers if route else ()
        if not out.deliver_logged(one.message, qos, retain, identifiers, offset, offset <= self._sent):
            return False
        self._again.pop(offset, None)
        if offset > self._sent:
            self._sent = offset
        if out.flies(offset):
            self._flying[offset] = qos
        return True

    def begun(self, offset: int) -> bool:
        """Whether it was in flight when the connection was lost: it is sent even if it matches nothing any more
        [MQTT-3.10.4-6]."""
        return offset in self._again

    def landed(self, offsets: Sequence[int]) -> None:
        """The client acknowledged these."""
        for offset in offsets:
            self._land(offset)
        self.save()

    def received(self, id: int, offset: int) -> None:
        """PUBREC: the client has it; PUBREL follows when that is on the disk. See ``collect``."""
        self._land(offset)
        self._releasing[id] = offset
        self._ready.append(id)

    def completed(self, id: int) -> None:
        """PUBCOMP."""
        self._releasing.pop(id, None)
        self._certain.discard(id)
        self._saved = -1
        self.save()

    def collect(self, send: Callable[[int], None]) -> None:
        """Send PUBREL for what arrived, once it is on the disk that it did."""
        if not self._ready:
            return
        ready, self._ready = self._ready, []
        if self._position is None:
            for id in ready:
                send(id)
            return
        through = self._prune()
        self._saved = through

        def release() -> None:
            self._certain.update(id for id in ready if id in self._releasing)
            for id in ready:
                send(id)

        once_stored(self._position.commit(through, self._state()), release)

    def pass_by(self, offset: int) -> None:
        """Nothing up to this offset is for this client, or it has been sent."""
        self.seen = offset
        if self._again:  # what was begun and can't be had any more: trimmed, or not allowed
            self._again = {one: qos for one, qos in self._again.items() if one > offset}
        if self._position and offset - self._saved >= (1 if self.out else _SLACK):
            self.save()

    def count(self, offset: int) -> None:
        """A message for a client that is away. Beyond the limit the oldest portion is given up."""
        self.idle = False
        given_up = self.backlog.add(offset)
        if given_up and self._position:
            through, count = given_up
            self._flying = {one: qos for one, qos in self._flying.items() if one > through}
            self._again = {one: qos for one, qos in self._again.items() if one > through}
            self.seen = max(self.seen, through)
            self._position.give_up(self._prune(), count, self._state())

    def end(self, head: int) -> None:
        """Its session is over, though the client may still come for the rest: that is given up."""
        if self._position and not self.idle and self.through < head:
            count = self.backlog.count + len(self._flying) + len(self._again)
            self._position.give_up(head, count, self._state())

    def save(self) -> None:
        """Note how far it is."""
        through = self._prune()
        if self._position and through != self._saved:
            self._saved = through
            self._position.advance(through, self._state())

    def _land(self, offset: int) -> None:
        if self._flying.pop(offset, None) is not None:
            self._done.add(offset)

    def _prune(self) -> int:
        through = self.through
        if self._done:
            self._done = {one for one in self._done if one > through}
        return through

    def _state(self) -> bytes:
        return _pack(State(self._sent, sorted(self._done), self._releasing, self.backlog.portions))
