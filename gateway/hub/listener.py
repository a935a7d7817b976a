"""The hub: an MQTT server on the network.

    hub = Hub(inlet, retained, access)
    port = await hub.listen("127.0.0.1", 1883)
    hub.publish([...])                             # what Redcar itself says, below redcar/
    await hub.close()

An acknowledgement leaves after the future of ``inlet.publish`` is done, never before, on no path. What one turn of
the event loop brings together for a client leaves in one write.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial

from msgspec import Struct

from gateway.errors import ConfigError, Fault
from gateway.hub.access import Access
from gateway.hub.broker import Broker
from gateway.hub.connection import Connection
from gateway.hub.inlet import Inlet, Publish
from gateway.hub.limits import Limits
from gateway.hub.reasons import Reason
from gateway.hub.refusals import Refusals
from gateway.hub.retained import Retained
from gateway.hub.session import MayPublish

_SWEEP = 1.0  # seconds between looks at everybody's deadline


class Status(Struct, frozen=True):
    """What ``redcar status`` shows of the hub. Totals count from the start.

    paused      sockets aren't read, because the disk can't keep up
    connects    clients that were let in
    received    messages taken; sent: messages given to subscribers
    declined    messages not taken, because the client may not publish there
    refused     what was said in the journal or only counted: clients turned away, cut off or told no
    unretained  messages not retained, because there are too many topics or bytes
    """

    connections: int
    clients: int
    subscriptions: int
    retained: int
    paused: bool
    connects: int
    received: int
    sent: int
    declined: int
    refused: int
    unretained: int


class Hub:
    """Everything the connections share. Made inside the running event loop."""

    def __init__(self, inlet: Inlet, retained: Retained, access: Access, limits: Limits | None = None) -> None:
        self.inlet = inlet
        self.retained = retained
        self.access = access
        self.limits = limits or Limits()
        self.broker = Broker(retained, self.limits)
        self.connections: set[Connection] = set()
        self.paused = False
        self.connects = self.received = self.declined = 0
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.refusals = Refusals(self.now)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: set[Connection] = set()
        self._known: dict[str | None, dict[bytes, str]] = {}
        self._empty = asyncio.Event()
        self._timer = self._loop.call_later(_SWEEP, self._sweep)
        inlet.on_room = self._on_room

    async def listen(self, address: str, port: int) -> int:
        """Accept clients there; the port, which matters if 0 was asked for. Raises ConfigError."""
        self.access.check_address(address)
        try:
            server = await self._loop.create_server(partial(Connection, self), address, port)
        except OSError as error:
            problem = f"can't listen on {address} port {port} ({error.strerror or error})"
            cure = "stop the other broker (sudo systemctl disable --now mosquitto) or set another port"
            raise ConfigError([Fault("redcar.toml", 0, "listener", problem, cure)]) from error
        self._servers.append(server)
        actual: int = server.sockets[0].getsockname()[1]
        return actual

    def publish(self, messages: list[Publish]) -> None:
        """Say something ourselves. It isn't handed to the inlet: what has to survive is stored already."""
        self.route(messages)

    async def close(self) -> None:
        """Let what was taken be acknowledged, say goodbye, and let go of every socket."""
        for server in self._servers:
            server.close()
        self._timer.cancel()
        self.inlet.on_room = lambda: None
        self._pause(True)
        futures = {future for connection in self.connections for _, future in connection.waiting if future}
        if futures:
            await asyncio.wait(futures, timeout=self.limits.farewell)
            await asyncio.sleep(0)  # their callbacks acknowledge
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.end(Reason.SERVER_SHUTTING_DOWN, "the gateway is shutting down")
            connection.flush()
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
            clients=len(self.broker.sessions),
            subscriptions=self.broker.subscriptions,
            retained=len(self.retained),
            paused=self.paused,
            connects=self.connects,
            received=self.received,
            sent=self.broker.sent,
            declined=self.declined,
            refused=self.refusals.total,
            unretained=self.retained.refused,
        )

    # for connections

    def enter(self, connection: Connection) -> None:
        """A socket was opened."""
        self.connections.add(connection)
        if len(self.connections) > self.limits.connections:
            self.refusals.note(
                connection.address, f"turned away: {self.limits.connections} clients are connected already"
            )
            connection.abort()

    def exit(self, connection: Connection) -> None:
        """A socket was closed, for whatever reason."""
        self.connections.discard(connection)
        self.broker.leave(connection.session)
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

    def rights(self, user: str | None) -> tuple[dict[bytes, str], MayPublish]:
        """Topics that user is known to use rightly, and how to ask about others."""
        return self._known.setdefault(user, {}), partial(self.access.may_publish, user)

    def take(self, messages: list[Publish]) -> asyncio.Future[None] | None:
        """Hand messages to the inlet; stop reading sockets if that was the last that fits."""
        if not messages:
            return None
        self.received += len(messages)
        future = self.inlet.publish(messages)
        if self.inlet.full and not self.paused:
            self._pause(True)
        return future

    def route(self, messages: list[Publish]) -> None:
        """These are safe, or needn't be: show them to everybody."""
        self.retained.settle(messages)
        self.broker.route(messages)

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
        self.refusals.sweep()
