"""The hub: an MQTT server on the network.

    hub = Hub(inlet, retained, access)
    port = await hub.listen(Door(port=1883))
    hub.publish([...])                             # what Redcar itself says, below redcar/
    await hub.close()

An acknowledgement leaves after the future of ``inlet.publish`` is done, never before, on no path. What one turn of
the event loop brings together for a client leaves in one write.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from gateway.clock import Clock
from gateway.errors import CannotListen, StoreFailed
from gateway.hub.access import Access
from gateway.hub.broker import Broker
from gateway.hub.burden import Burden
from gateway.hub.connection import Connection
from gateway.hub.doors import Door
from gateway.hub.guests import Guests
from gateway.hub.history import History
from gateway.hub.inlet import Inlet, Publish, Read, Statement
from gateway.hub.intake import Intake
from gateway.hub.limits import Limits
from gateway.hub.members import Member
from gateway.hub.reasons import Reason
from gateway.hub.refusals import Refusals
from gateway.hub.replays import Replays
from gateway.hub.retained import Retained
from gateway.hub.sessions import Sessions
from gateway.hub.status import Status
from gateway.hub.subscriptions import Subscriptions
from gateway.hub.tail import Tail
from gateway.hub.turns import Turns

_KNOCKING = 1024  # sockets that wait until they are accepted: after a power cut all devices come at once
_SWEEP = 1.0  # seconds between looks at everybody's deadline
_SAID_EVERY = 60.0  # seconds between two events that say how many messages weren't retained


_CURES = {
    errno.EADDRINUSE: "stop the other broker (sudo systemctl disable --now mosquitto) or set another port",
    errno.EADDRNOTAVAIL: "this machine doesn't have that address (yet): correct it, or wait for the network",
    errno.EACCES: "ports below 1024 are for root: set another port",
}


class Hub:
    """Everything the connections share. Made inside the running event loop."""

    def __init__(
        self,
        inlet: Inlet,
        retained: Retained,
        access: Access,
        limits: Limits | None = None,
        history: History | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.inlet = inlet
        self.retained = retained
        self.access = access
        self.limits = limits or Limits()
        self._history = history
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._wall = (clock or Clock()).now

        self.doors: list[Door] = []
        self.connections: set[Connection] = set()
        self.paused = False
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: set[Connection] = set()
        self._empty = asyncio.Event()

        self.most = 0
        self.connects = self.received = self.declined = self.lost = 0
        self.bytes_received = self.bytes_sent = 0
        self._said_at = self.now()

        later = self._loop.call_soon
        self.refusals = Refusals(self.now)
        self.guests = Guests(self.limits, self.now)
        self.intake = Intake(self._take, self._unstored)
        self.broker = Broker(self.limits, access, history)
        self.subscriptions = Subscriptions(self.broker, retained, access, self.limits, later, history)
        self.tail = Tail(self.broker, history, self.start) if history else None
        self.replays = Replays(self.subscriptions, history, self._wall) if history else None
        say, note, hand_in = self._say_will, self.refusals.note, self.intake.hand_in
        self.sessions = Sessions(self.broker, self.limits, history, self.now, self._wall, say, note, hand_in)
        self.burden = Burden(self.limits, self.connections, self.sessions)
        self._handing: Turns[Connection, Publish] = Turns(self._hand_some, later)

        retained.note = partial(self.refusals.note, "retained")
        inlet.on_room = self._on_room
        self._timer = self._loop.call_later(_SWEEP, self._sweep)

    async def listen(self, door: Door) -> int:
        """Accept clients there; the port, which matters if 0 was asked for. Raises ConfigError, CannotListen."""
        address, port = door.address, door.port
        if not door.client_ca:
            self.access.check_address(address)
        door.prepare()
        try:
            server = await self._loop.create_server(partial(self._enter, door), address, port, backlog=_KNOCKING)
        except OSError as error:
            cure = _CURES.get(error.errno or 0, "name another address in [[listener]]")
            raise CannotListen(
                f"can't listen on {address} port {port} ({os.strerror(error.errno or 0).lower()}): {cure}"
            ) from error
        self._servers.append(server)
        self.doors.append(door)
        door.port = server.sockets[0].getsockname()[1]
        return door.port

    def _enter(self, door: Door) -> asyncio.Protocol:
        return door.dress(Connection(self, door), self.refusals.note)

    def publish(self, messages: list[Publish]) -> None:
        """Show these to everybody: what Redcar says itself, and what clients did. They are stored already, or needn't be."""
        self.retained.settle(messages)
        self.broker.route(messages)

    async def close(self) -> None:
        """Let what was taken be acknowledged, say goodbye, and let go of every socket."""
        self.sessions.closing = True
        self._own_up()
        for server in self._servers:
            server.close()
        self._timer.cancel()
        self.inlet.on_room = lambda: None
        self._pause(True)
        await self.intake.finish(self.limits.farewell)
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.end(Reason.SERVER_SHUTTING_DOWN, "the gateway is shutting down")
            connection.flush()
            if connection.parting:
                connection.abort()
        if self.connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), self.limits.farewell)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()
                await self._empty.wait()
        self.access.close()

    def status(self) -> Status:
        """The counters as they are now."""
        return Status(
            connections=len(self.connections),
            clients=len(self.broker.members) - len(self.sessions),
            most=self.most,
            away=len(self.sessions),
            subscriptions=self.broker.subscriptions,
            retained=len(self.retained),
            paused=self.paused,
            connects=self.connects,
            received=self.received,
            sent=self.broker.sent,
            declined=self.declined,
            refused=self.refusals.total,
            lost=self.lost,
            unretained=self.retained.refused,
            shared=sum(bool(one.group) for member in self.broker.members.values() for one in member.held.values()),
            bytes_received=self.bytes_received,
            bytes_sent=self.bytes_sent,
        )

    # for connections

    def enter(self, connection: Connection) -> None:
        """A socket was opened."""
        self.connections.add(connection)
        self.most = max(self.most, len(self.connections))
        why = self.guests.enter(connection.address)
        if len(self.connections) > self.limits.connections:
            cure = "if they are yours, raise connections under [limits]"
            why = f"{self.limits.connections} clients are connected already: {cure}"
        if why:
            self.refusals.note(connection.address, f"turned away: {why}")
            connection.abort()

    def exit(self, connection: Connection) -> None:
        """A socket was closed, for whatever reason."""
        self.guests.leave(connection.address, connection.session.accepted)
        self.connections.discard(connection)
        self.sessions.leave(connection.session)
        if not self.connections:
            self._empty.set()

    def later(self, connection: Connection) -> None:
        """Flush it once this turn of the loop is over."""
        if not self._due:
            self._loop.call_soon(self._flush)
        self._due.add(connection)

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run something for a connection and keep hold of it."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _take(self, reads: list[Read], also: Sequence[Statement] = ()) -> asyncio.Future[None] | None:
        """Hand messages to the inlet; stop reading sockets if that was the last that fits."""
        self.received += sum([len(read.messages) for read in reads])
        future = self.inlet.publish(reads, also)
        if self.inlet.full and not self.paused:
            self._pause(True)
        return future

    def hand_over(self, connection: Connection, messages: list[Publish]) -> None:
        """Publish what a client sent; while that isn't done nothing more is read from it."""
        self.retained.settle(messages)
        self._handing.begin(connection, messages)

    def _hand_some(self, connection: Connection, messages: list[Publish]) -> int:
        done = self.broker.portion(messages)
        behind = done < len(messages)
        if behind is not connection.behind:
            connection.behind = behind
            connection.regulate()
        return done

    def afterwards(
        self, failed: asyncio.Future[None], messages: list[Publish], stored: Callable[[], None] = lambda: None
    ) -> None:
        """These were refused: what the disk takes after all is shown then, before a client whose session lasts is back."""
        error = None if failed.cancelled() else failed.exception()
        if isinstance(error, StoreFailed) and error.later:
            self.inlet.refused(messages)
            error.later.add_done_callback(lambda _: stored())
            error.later.add_done_callback(lambda _: self.publish(messages))
        else:
            self.retained.settle(messages, stored=False)

    def _unstored(self, count: int, future: asyncio.Future[None]) -> None:
        """Messages that nobody waits for were taken; that they couldn't be stored is counted, their sender isn't told."""
        if not future.cancelled() and future.exception():
            self.lost += count

    def _recheck(self) -> None:
        """Rights have changed: what was allowed and isn't any more ends now."""
        for connection in list(self.connections):
            session = connection.session
            if not session.accepted:
                continue
            session.learn(self.access.known(session.user, session.client_id))
            if not connection.door.client_ca and session.user in self.access.outdated:
                text = f"user {session.user!r} was removed or has a new password"
                if session.user is None:
                    text = "there are users now: it needs a name, or anonymous = true under [access]"
                connection.end(Reason.ADMINISTRATIVE_ACTION, text)
        self.access.outdated.clear()
        for member, filter in self.subscriptions.recheck():
            self.refusals.note("acl", f"client {member.client_id!r} doesn't get {filter!r} any more")

    def _anew(self, door: Door) -> None:
        """Another CA, or other certificates are revoked: whom the listener still lets in is back in a moment."""
        for connection in list(self.connections):
            if connection.door is door:
                connection.end(Reason.ADMINISTRATIVE_ACTION, "who may come in has changed: it has to connect again")

    def _say_will(self, member: Member, will: Publish) -> None:
        """The client's last will, if it still may."""
        refused = self.access.may_publish(member.user, will.topic, member.client_id)
        if refused:
            self.declined += 1
            self.refusals.note("will", f"client {member.client_id!r} may not publish on {will.topic!r}: {refused[1]}")
            return
        future = self._take([Read([will])])
        if future is None:
            self.publish([will])
            return

        def settled(done: asyncio.Future[None]) -> None:
            if done.cancelled() or done.exception():
                self.afterwards(done, [will])
                self._unstored(1, done)
            else:
                self.publish([will])

        future.add_done_callback(settled)

    def _flush(self) -> None:
        due, self._due = self._due, set()
        for connection in due:
            connection.flush()

    def _on_room(self) -> None:
        if self.paused:
            self._pause(False)

    def _pause(self, paused: bool) -> None:
        self.paused = paused
        for connection in self.connections:
            connection.regulate()

    def _sweep(self) -> None:
        """One timer for everybody's keep-alive."""
        self._timer = self._loop.call_later(_SWEEP, self._sweep)
        now = self.now()
        for connection in list(self.connections):
            connection.check(now)
        self.sessions.sweep(now)
        self.burden.shed()
        for door in self.doors:
            if door.refresh(self._wall()):
                self._anew(door)
        if self.access.refresh():
            self._recheck()
        self.refusals.sweep()
        if now - self._said_at >= _SAID_EVERY:
            self._said_at = now
            self._own_up()

    def _own_up(self) -> None:
        """Say in the log what wasn't retained."""
        count = self.retained.owned_up()
        if count and self._history:
            self._history.gave_up("retained", count)
