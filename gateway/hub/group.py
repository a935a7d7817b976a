"""What a group with a shared subscription is owed from the log, where a member's session lasts (4.8.2).

The group is the reader: what nobody has had yet waits behind its position, also while all members are away. What a member
was given and hasn't acknowledged stands in the state, which moves together with the position; so a crash forgets neither.

QoS 1   sent as it comes. A crash within the next second has it sent again, maybe to another member
QoS 2   sent when it is on the disk whose turn it is: that client gets it, however often it or we go away [MQTT-4.8.2-4]

When a member's session ends, others get what it had at QoS 1; at QoS 2 nobody does [MQTT-4.8.2-5], and that is said.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from gateway.hub.backlog import Backlog
from gateway.hub.history import Position, Told, once_stored
from gateway.hub.members import Member, Route, Subscription
from gateway.hub.outbox import logged_id
from gateway.hub.topics import matches, split

_SLACK = 1_000  # offsets that a group whose members are all away, and that is owed nothing, may lag behind on the disk


class State(Struct, omit_defaults=True):
    """What is stored beside the position.

    turns    offset -> client, QoS, and whether its PUBREC came: given and not acknowledged
    due      offsets that nobody has by now: their members are gone
    waiting  as in ``backlog.py``
    """

    turns: dict[int, tuple[str, int, bool]] = {}
    due: list[int] = []
    waiting: list[tuple[int, int]] = []


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(State).decode


class Turn(Struct):
    """A message that one member is to get.

    sent      on its present connection; ``again``: maybe on an earlier one, too
    certain   it is on the disk that it is this member's
    received  PUBREC came; ``released``: that is on the disk
    """

    member: Member
    qos: int
    sent: bool = False
    again: bool = False
    certain: bool = False
    received: bool = False
    released: bool = False


class Group:
    """Its name is the filter, $share/<group>/<filter>.

    seen     everything up to here was given to somebody; this is its position in the store
    live     the tail of the log hands new messages over; ``idle``: nobody takes any, and there is nothing for them so far
    wake     called when there is something to send again, or room for more
    ended    called when nobody is left
    served   a task fetches for it
    """

    def __init__(self, name: str, position: Position, through: int, most: int) -> None:
        self.name = name
        self.members: dict[Member, Subscription] = {}
        self.seen = self._saved = through
        self.live = self.idle = self.served = False
        self.wake: Callable[[], None] = lambda: None
        self.ended: Callable[[], None] = lambda: None
        self._pattern = split(name)[1]
        self._position = position
        state = _unpack(position.state) if position.state else State()
        self._stored = state.turns
        self._turns: dict[int, Turn] = {}
        self._due = set(state.due)
        self._backlog = Backlog(most, state.waiting)
        self._next = 0  # whose turn it is
        self._chosen: list[tuple[Told, Turn]] = []  # to be sent once it is on the disk whose they are
        self._ready: list[tuple[int, Turn]] = []  # to be released once it is on the disk that they arrived
        self._scheduled = False

    def resume(self, members: Mapping[str, Member]) -> int:
        """After a restart: give back what members had. How many messages were lost with sessions that didn't last."""
        lost = 0
        for offset, (client, qos, received) in self._stored.items():
            if client in members:
                turn = Turn(members[client], qos, again=True, certain=True, received=received, released=received)
                self._turns[offset] = turn
            elif qos == 1:
                self._due.add(offset)
            else:
                lost += not received
        self._stored = {}
        return lost

    @property
    def present(self) -> bool:
        """Somebody is connected who may be sent something."""
        return any(one.session for one in self.members) or any(one.member.session for one in self._turns.values())

    @property
    def over(self) -> bool:
        """Nobody is left."""
        return not self.members and not self._turns

    def wanted(self, topic: str) -> bool:
        """Whether a topic belongs to it."""
        return matches(self._pattern, topic)

    # who comes and goes

    def came(self, member: Member) -> None:
        """Somebody is connected. If it is a member, what it had is sent again."""
        had = self._had(member)
        if member.session is None or not (had or member in self.members):
            return
        out = member.session.out
        if self not in out.groups:
            out.groups = (*out.groups, self)
        for offset, turn in had:
            if out.flies(offset):
                continue
            if not turn.received:
                self._due.add(offset)
                continue
            out.hold(logged_id(offset), offset, self)
            if turn.released:
                out.release(logged_id(offset))
            else:
                self._ready.append((offset, turn))
                self._later()
        self._backlog.clear()
        self.idle = False
        self.wake()

    def went(self, member: Member) -> None:
        """A connection is gone, its client may come back. Called before ``member.session`` is."""
        for offset, turn in self._had(member):
            turn.sent = False
            self._due.discard(offset)
        if self.live and not any(one.session for one in self.members if one is not member):
            self.idle = not self._due
            self.live = False
        self.wake()

    def left(self, member: Member) -> int:
        """Its session is over: others get what it had, if they may. How many messages nobody gets."""
        lost = 0
        for offset, turn in self._had(member):
            del self._turns[offset]
            self._due.discard(offset)
            if turn.qos == 2 and turn.certain:
                lost += not turn.received
            else:
                self._due.add(offset)
            self._later()
        self.wake()
        return lost

    def _had(self, member: Member) -> list[tuple[int, Turn]]:
        return [(offset, turn) for offset, turn in self._turns.items() if turn.member is member]

    # what comes from the log

    def tell(self, one: Told, routes: list[Route]) -> None:
        """A new message."""
        if self.live:
            self.hand(one, routes)
        elif one.offset > self.seen:
            if self.idle:
                self.seen = one.offset - 1
                self.idle = False
            given_up = None if self.present else self._backlog.add(one.offset)
            if given_up:
                self.seen = max(self.seen, given_up[0])
                self._position.give_up(self.seen, given_up[1], self._state())

    def follow(self) -> None:
        """It has come to where the tail is."""
        self.live, self.idle = True, False

    def hand(self, one: Told, routes: list[Route]) -> bool:
        """The next message, for one of these. False: none has room, it stays in the log."""
        if one.offset <= self.seen:
            return True
        if not one.expired and not self._give(one, routes):
            self.live = False
            self.seen = one.offset - 1
            return False
        self.seen = one.offset
        return True

    def pass_by(self, offset: int) -> None:
        """Everything up to this offset was looked at."""
        self.seen = max(self.seen, offset)
        if self.seen - self._saved >= (1 if self.present else _SLACK):
            self._later()

    def due(self) -> int | None:
        """A message that can be sent again now."""
        for offset in sorted(self._due):
            turn = self._turns.get(offset)
            if turn and turn.qos == 2 and not turn.certain:
                continue
            takers = [turn.member] if turn else self.members
            if any(one.session and one.session.out.has_room(offset) for one in takers):
                return offset
        return None

    def again(self, offset: int, one: Told | None, routes: list[Route]) -> bool:
        """Send that message again; None: it can't be had any more. False: none of these has room."""
        turn = self._turns.get(offset)
        if one is None or (turn is None and one.expired):
            self.landed(offset)
        elif turn:
            self._send(one, turn)
        elif offset in self._due:
            if not self._give(one, routes):
                return False
            self._due.discard(offset)
            self._later()
        return True

    def _give(self, one: Told, routes: list[Route]) -> bool:
        """To whose turn it is, of those that have room. False: nobody has."""
        if not routes:
            return True  # nobody may have it
        for step in range(len(routes)):
            route = routes[(self._next + step) % len(routes)]
            session = route.member.session
            if session and session.out.has_room(one.offset):
                break
        else:
            return False
        self._next += step + 1
        qos = min(one.message.qos, route.qos)
        if not qos:
            retain = one.message.retain and route.retain_as_published
            session.out.deliver_logged(one.message, 0, retain, route.identifiers, one.offset, False)
            session.flush()
            return True
        turn = self._turns[one.offset] = Turn(route.member, qos)
        if qos == 2:
            session.out.hold(logged_id(one.offset), one.offset, self)
            self._chosen.append((one, turn))
        else:
            self._send(one, turn)
        self._later()
        return True

    def _send(self, one: Told, turn: Turn) -> None:
        session = turn.member.session
        if turn.sent or session is None:
            return  # else it would be sent twice; whoever comes back asks for it
        offset, out, own = one.offset, session.out, self.members.get(turn.member)
        out.let_go(offset, self)
        identifiers = [own.identifier] if own and own.identifier else []
        retain = one.message.retain and own is not None and own.retain_as_published
        if not out.deliver_logged(one.message, turn.qos, retain, identifiers, offset, turn.again, self):
            self._due.add(offset)
            return
        self._due.discard(offset)
        turn.sent = turn.again = True
        if not out.flies(offset):
            self.landed(offset)  # larger than it takes [MQTT-3.1.2-25]
        session.flush()

    # what members say

    def landed(self, offset: int) -> None:
        """PUBACK, PUBCOMP, or a reason why not [MQTT-4.8.2-6]."""
        self._turns.pop(offset, None)
        self._due.discard(offset)
        self._later()
        if self.over:
            self.ended()

    def received(self, offset: int) -> None:
        """PUBREC."""
        turn = self._turns.get(offset)
        if turn:
            turn.received = True
            self._ready.append((offset, turn))
            self._later()

    # what is written down

    def _later(self) -> None:
        """Write it down once this turn of the loop is over."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._save)

    def _save(self) -> None:
        self._scheduled = False
        if self.over:
            return
        self._saved = self.seen
        if not self._chosen and not self._ready:
            self._position.advance(self.seen, self._state())
            return
        chosen, self._chosen = self._chosen, []
        ready, self._ready = self._ready, []
        once_stored(self._position.commit(self.seen, self._state()), lambda: self._go_on(chosen, ready))

    def _go_on(self, chosen: list[tuple[Told, Turn]], ready: list[tuple[int, Turn]]) -> None:
        for one, turn in chosen:
            if self._turns.get(one.offset) is turn:
                turn.certain = True
                self._send(one, turn)
        for offset, turn in ready:
            turn.released = True
            session = turn.member.session
            if self._turns.get(offset) is turn and session and session.out.flies(offset):
                session.out.release(logged_id(offset))
                session.flush()

    def _state(self) -> bytes:
        turns = {offset: (one.member.client_id, one.qos, one.received) for offset, one in self._turns.items()}
        return _pack(State(turns, sorted(self._due - turns.keys()), self._backlog.portions))
