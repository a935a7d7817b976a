"""One client's socket: bytes to its session, its session's events to the hub, and back."""

import asyncio
import re
import secrets
import socket
from functools import partial
from typing import TYPE_CHECKING, cast

from gateway.hub import lasting, replays
from gateway.hub.access import Refused
from gateway.hub.doors import Door
from gateway.hub.happenings import Declined, Event, Replay
from gateway.hub.inlet import Statement
from gateway.hub.packets import Batch, Connect, Disconnect, Subscribe, Unsubscribe
from gateway.hub.properties import Property
from gateway.hub.reasons import Reason
from gateway.hub.session import Session

if TYPE_CHECKING:
    from gateway.hub.listener import Hub

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)  # two minutes; the system's own settings take two hours
_LINGER = 1.0  # seconds for a client to hear why it is cut off
_EXPLAINED = frozenset(Reason) - {Reason.SUCCESS, Reason.SERVER_SHUTTING_DOWN, Reason.SESSION_TAKEN_OVER}
_SLIGHT = 16_384  # bytes that a connection may make us hold without anybody looking at it
_SOCKET_BUFFER = 65_536  # bytes the transport may hold before we keep messages in line instead


class Connection(asyncio.Protocol):
    """A socket, its session, and how many batches of it wait for the disk."""

    def __init__(self, hub: "Hub", door: Door) -> None:
        self.door = door
        self.session = Session(hub.limits, hub.now())
        self.address = ""
        self.asking: asyncio.Task[None] | None = None
        self.waiting = 0
        self._hub = hub
        self._transport: asyncio.Transport
        self._reading = True
        self.behind = False
        self.parting = False  # all is said; it may say the rest
        self._told = False  # the operator, that this client publishes where it may not

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is at the door."""
        self._transport = cast(asyncio.Transport, transport)
        self.address = str((transport.get_extra_info("peername") or ["?"])[0])
        self._transport.set_write_buffer_limits(_SOCKET_BUFFER)
        # keep-alive 0 means that nothing else would ever notice a peer that lost its power
        own = transport.get_extra_info("socket")
        for level, option, value in _ALIVE:
            own.setsockopt(level, option, value)
        self.session.flush = lambda: self._hub.later(self)
        self._hub.enter(self)
        self.regulate()

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self._hub.bytes_received += len(data)
        self._follow(self.session.receive(data, self._hub.now()))
        if self.session.weight > _SLIGHT:
            self._hub.burden.add(len(data))
        self._soon()

    def pause_writing(self) -> None:
        """The socket buffer is full."""
        self.session.out.stall()

    def resume_writing(self) -> None:
        """The socket buffer has drained."""
        self.session.out.resume()
        self._hub.later(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone. What waits for the disk is still routed when it is there."""
        self.session.over = True
        self.session.flush = lambda: None  # a circle would keep it all in memory until the collector comes round
        self.session.out.close()
        if self.asking:
            self.asking.cancel()
        self._hub.exit(self)

    def flush(self) -> None:
        """Write what is due."""
        if self.parting or self._transport.is_closing():
            return
        out = self.session.out
        if out.feed:
            out.feed.collect(self._release)
        data = out.take()
        if data:
            self._hub.bytes_sent += len(data)
            self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._hub.limits.unsent:
            self.session.end(Reason.QUOTA_EXCEEDED, "it doesn't read the answers it asks for")
            self._transport.write(out.take())
        if self.session.over:
            self._part()
            return
        out.more()
        if out:
            self._hub.later(self)

    def _release(self, id: int) -> None:
        """It is on the disk that the client has that message: PUBREL."""
        self.session.out.release(id)
        self._hub.later(self)

    def _soon(self) -> None:
        """Flush, if there is anything to it: each flush is a turn of the loop."""
        out = self.session.out
        if out or self.session.over or out.feed:
            self._hub.later(self)

    def _part(self) -> None:
        """Close once everything is written, and say why if the operator should know."""
        reason, text = self.session.ended or (Reason.SUCCESS, "")
        self.session.deadline = self._hub.now() + self._hub.limits.farewell
        self._hub.sessions.leave(self.session)
        if self.session.five and reason in _EXPLAINED and self._transport.can_write_eof():
            # what it still sends would reset the connection, and with it take from the client's hands what we say
            self.parting = True
            self.session.deadline = self._hub.now() + _LINGER
            try:
                self._transport.write_eof()
                self._transport.resume_reading()
            except OSError:  # it has reset the connection, and we would hear of that next
                self._transport.abort()
        else:
            self._transport.close()
        if reason not in (Reason.SUCCESS, Reason.SERVER_SHUTTING_DOWN):
            self._hub.refusals.note(self.address, f"{self._name} is disconnected: {text}")

    def regulate(self) -> None:
        """Read only while there is room for what comes in, it is known who sends it, and all it sent is handed over."""
        reading = not (self.asking or self.behind or self._hub.paused)
        if reading != self._reading and not self.parting and not self._transport.is_closing():
            self._reading = reading
            self.session.patience(self._hub.now())
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def end(self, reason: Reason, text: str) -> None:
        """End it from our side."""
        self.session.end(reason, text)
        self._hub.later(self)

    def check(self, now: float) -> None:
        """Called every second: is the client still there? One that is to go and doesn't take its leave is cut off."""
        if now < self.session.deadline:
            return
        if self.parting or self._transport.is_closing():
            self._transport.abort()
        elif not self._reading:
            return  # we don't listen
        elif self.session.accepted:
            self.end(Reason.KEEP_ALIVE_TIMEOUT, "silent for one and a half times its keep-alive [MQTT-3.1.2-22]")
        else:
            text = f"no whole CONNECT came in time: this listener is for {self.door.spoken}"
            self.end(Reason.PROTOCOL_ERROR, text)

    def abort(self) -> None:
        """Cut it off."""
        self._transport.abort()

    @property
    def weight(self) -> int:
        """Bytes it makes us hold."""
        return self.session.weight + self._transport.get_write_buffer_size()

    @property
    def _name(self) -> str:
        return f"client {self.session.client_id!r}" if self.session.client_id else f"a client on {self.door.name}"

    def _follow(self, events: list[Event]) -> None:
        subscriptions = self._hub.subscriptions
        for event in events:
            if isinstance(event, Batch):
                self._hub.intake.bring(self, event)
                continue
            self._hub.intake.hand_in()  # what it asks for doesn't overtake what it published
            if isinstance(event, Subscribe):
                start = replays.asked(event) if self._hub.replays else None
                if start is None or self._hub.replays is None:
                    self._tell(subscriptions.subscribe(self.session, event))
                else:
                    self._hub.start(self._hub.replays.subscribe(self.session, event, start, self._tell))
            elif isinstance(event, Replay):
                if self._hub.replays:
                    self._hub.start(self._hub.replays.publish(self.session, event.message))
            elif isinstance(event, Unsubscribe):
                subscriptions.unsubscribe(self.session, event)
            elif isinstance(event, Connect):
                self.asking = self._hub.start(self._admit(event))
                self.regulate()
            elif isinstance(event, Declined):
                self._hub.declined += 1
                if self._told:
                    continue
                self._told = True
                text = f"{self._name} may not publish on {event.topic[:100]!r}: {event.why}"
                self._hub.refusals.note(self.address, text)
            elif isinstance(event, Disconnect):
                self._hub.sessions.leave(self.session, event)
            else:
                self._hub.sessions.leave(self.session)

    def _tell(self, refused: str | None) -> None:
        """The operator, what the client may not have."""
        if refused:
            self._hub.refusals.note(self.address, f"{self._name} {refused}")

    async def _admit(self, asked: Connect) -> None:
        """Find out who it is. Until that is known nothing changes for anybody."""
        hub = self._hub
        try:
            user = await hub.access.admit(
                asked.user, asked.password, self.address, anonymous=self.door.anonymous, certified=self._certified()
            )
            client_id = self._client_id(asked, user)
            self._check_will(asked, user, client_id)
        except Refused as refusal:
            who = f"client {asked.client_id[:100]!r}" if asked.client_id else "a client"
            hub.refusals.note(self.address, f"refused {who} on {self.door.name}: {refusal}")
            self.session.refuse(refusal.reason, refusal.reason.words)
        else:
            await self._let_in(asked, client_id, user)
        self.asking = None
        self.regulate()
        hub.later(self)

    def _certified(self) -> str | None:
        """The user that the client's certificate names; None where none is asked for."""
        if self.door.client_ca is None:
            return None
        found = self._transport.get_extra_info("peercert") or {}
        names = [value for part in found.get("subject", ()) for key, value in part if key == "commonName"]
        return str(names[-1]) if names else ""

    async def _let_in(self, asked: Connect, client_id: str, user: str | None) -> None:
        hub, session = self._hub, self.session
        member, present = await hub.sessions.enter(session, client_id, user, asked)
        if session.over:
            return  # another client with this id was faster
        hub.connects += 1
        hub.guests.known(self.address)
        events = session.accept(
            user,
            client_id,
            hub.access.known(user, client_id),
            partial(hub.access.may_publish, user, client=client_id),
            hub.now(),
            present=present,
            expiry=member.expiry,
            qos2=member.qos2 if member.stored else None,
        )
        hub.broker.admitted(member)
        self._follow(events)

    def _client_id(self, asked: Connect, user: str | None) -> str:
        """The id the client gets. Raises Refused."""
        id = asked.client_id
        if (asked.properties or {}).get(Property.authentication_method) is not None:
            raise Refused(Reason.BAD_AUTHENTICATION_METHOD, "enhanced authentication isn't offered: use a password")
        if not id:
            if not asked.clean and not self.session.five:
                text = "an empty client id needs a clean session [MQTT-3.1.3-8]: give it a client id"
                raise Refused(Reason.CLIENT_ID_NOT_VALID, text)
            return f"auto-{secrets.token_hex(8)}"
        if len(id.encode()) > self._hub.limits.client_id or _CONTROL.search(id):
            text = f"its id is longer than {self._hub.limits.client_id} bytes or contains control characters"
            raise Refused(Reason.CLIENT_ID_NOT_VALID, f"{text}: give it another")
        owner = self._hub.broker.members.get(id)
        if owner and owner.user != user and (owner.user is not None or owner.session):
            text = f"its id is in use by user {owner.user!r}: give it another"
            raise Refused(Reason.CLIENT_ID_NOT_VALID, text)
        return id

    def _check_will(self, asked: Connect, user: str | None, client_id: str) -> None:
        """Raises Refused if the client may not publish where its will is to go."""
        may_publish = self._hub.access.may_publish
        refused = may_publish(user, asked.will.topic, client_id) if asked.will else None
        if refused and asked.will:
            text = f"its will may not go to {asked.will.topic[:100]!r}: {refused[1]}"
            raise Refused(refused[0], text)

    def settle(self, batch: Batch, future: asyncio.Future[None] | None = None) -> None:
        """This batch, the oldest, is on the disk if ``future`` says so: acknowledge and route it."""
        failure = _look(future) if future else None
        if future and failure:
            self.end(Reason.QUOTA_EXCEEDED, f"its messages weren't stored, it has to send them again: {failure}")
            self.session.forget(batch)
            self._hub.afterwards(future, batch.messages, partial(self.session.stored, batch))
        else:
            self.session.acknowledge(batch)
            self._soon()
            self._hub.hand_over(self, batch.messages)

    def rows(self, batch: Batch) -> list[Statement]:
        """What has to be stored with a batch, if the session lasts: packet ids at QoS 2."""
        member = self.session.member
        if member is None or not member.stored:
            return []
        id = member.client_id
        return [
            *(lasting.received(id, one) for one in batch.received),
            *(lasting.released(id, one) for one in batch.released),
        ]


def _look(future: asyncio.Future[None]) -> str | None:
    """Why a future failed; None if it didn't."""
    if future.cancelled():
        return "the gateway is shutting down"
    error = future.exception()
    return str(error) or type(error).__name__ if error else None
