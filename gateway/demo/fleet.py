"""The site's own process: its devices at work, as MQTT clients over TCP and as boards on serial lines (ptys).

It prints the paths of the serial lines, then answers every line on stdin with ``Sent`` as JSON: ``connect PORT``,
``report``, ``stop``.
"""

import asyncio
import os
import sys
import tty
from pathlib import Path

import msgspec
from msgspec import Struct, field

from gateway.demo import devices
from gateway.sinks._broker import Broker, Version
from gateway.sinks._paho import Connection
from gateway.waiting import within

most_unacknowledged = 1_000
"""Messages of a device under way; beyond it the device waits, as real ones do."""


class Sent(Struct):
    """What the devices have done. ``frames``: what was written to serial lines, which acknowledge nothing."""

    sent: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    frames: int = 0


class Fleet:
    """All devices."""

    def __init__(self, folder: Path, rate: float) -> None:
        self.sent = Sent()
        self.paths = {name: str(folder / name) for name in devices.lines()}
        self._lines = {name: _open_line(Path(path)) for name, path in self.paths.items()}
        self._rate = rate
        self._stopping = asyncio.Event()
        self._quiet = asyncio.Event()
        self._working: list[asyncio.Task[None]] = []
        self._connections: list[Connection] = []

    async def connect(self, port: int) -> None:
        """Begin."""
        for name, (protocol, messages) in devices.clients(self._rate).items():
            connection = await _dial(name, protocol, port)
            self._connections.append(connection)
            self._working.append(asyncio.create_task(self._publish(name, connection, messages)))
        for name, frames in devices.lines().items():
            self._working.append(asyncio.create_task(self._write(self._lines[name], frames)))

    async def stop(self) -> None:
        """Send no more, and wait until everything is acknowledged."""
        self._stopping.set()
        await asyncio.gather(*self._working)
        if self.sent.sent != self.sent.acknowledged:
            await self._quiet.wait()
        for connection in self._connections:
            connection.close()

    async def _publish(self, name: str, connection: Connection, messages: devices.Messages) -> None:
        room = asyncio.Semaphore(most_unacknowledged)
        counts = self.sent
        counts.sent[name] = counts.acknowledged[name] = 0

        def answered(code: int, text: str) -> None:
            counts.acknowledged[name] += 1
            room.release()
            if counts.sent == counts.acknowledged:
                self._quiet.set()

        due = asyncio.get_running_loop().time()
        for wait, message in messages:
            due += wait
            await self._until(due)
            if self._stopping.is_set():
                return
            if message is not devices.nothing:
                await room.acquire()
                self._quiet.clear()
                counts.sent[name] += 1
                connection.publish(message.topic, message.payload, None, answered)

    async def _write(self, line: int, frames: devices.Frames) -> None:
        due = asyncio.get_running_loop().time()
        for wait, frame in frames:
            due += wait
            await self._until(due)
            if self._stopping.is_set():
                return
            if frame:
                try:
                    os.write(line, frame)
                except BlockingIOError:  # nobody reads: as with a real line, what isn't read is gone
                    continue
                self.sent.frames += 1

    async def _until(self, due: float) -> None:
        """Wait, but not beyond the end."""
        rest = due - asyncio.get_running_loop().time()
        if rest > 0:
            await within(rest, self._stopping.wait())


def _open_line(path: Path) -> int:
    """A pty; what is written to the descriptor comes out at the path. Its other end stays open, or writing would fail."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    path.symlink_to(os.ttyname(theirs))
    return ours


async def _dial(name: str, protocol: Version, port: int) -> Connection:
    gateway = Broker(name=name, sink="mqtt", host="127.0.0.1", port=port, protocol=protocol)
    connection = Connection(gateway, name.replace("/", "-"), ack_timeout=60.0, ended=_broken)
    answer = await connection.open()
    assert not answer.code, answer.text
    return connection


def _broken(connection: Connection) -> None:
    """The gateway of the demo never goes away; if it does, the count would be wrong, so better none."""
    if connection.over != "closed":
        print(f"a device lost the gateway: {connection.over}", file=sys.stderr)
        os._exit(1)


async def serve(folder: Path, rate: float) -> None:
    """Until stdin ends."""
    fleet = Fleet(folder, rate)
    print(msgspec.json.encode(fleet.paths).decode(), flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while words := (await orders.readline()).split():
        if words[0] == b"connect":
            await fleet.connect(int(words[1]))
        elif words[0] == b"stop":
            await fleet.stop()
        print(msgspec.json.encode(fleet.sent).decode(), flush=True)


def main() -> None:
    """Called by ``site.py`` with the folder for the serial lines and the compressor's messages per second."""
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))
