"""The same spoiled packets as in ``fuzz.py``, into a whole gateway: real sockets, plain and WebSocket, sessions that last, a log.

Whatever comes, nothing is raised that nobody catches, a neighbour's messages are acknowledged, and at the end every
connection has been given back.
"""

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from gateway.app import Gateway, open_gateway
from gateway.clock import Clock
from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import V311, Ack, Connect, Delivery
from gateway.hub.properties import Kind
from gateway.settings import Gateway as Who
from gateway.settings import Listener, Settings
from tests.hub import fuzz
from tests.hub.peers import knock
from tests.parts import PATIENCE, until

SMALL = Limits(
    packet=4096, connect=2048, retained=50, unsent=50_000, subscriptions=20, sessions=5, waiting=100, held=200_000
)
_BROWSER = (
    "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


class Enemy:
    """One connection, and what it says next."""

    def __init__(self, room: fuzz.Room, writer: asyncio.StreamWriter, *, web: bool) -> None:
        self._room = room
        self._rng = room.rng
        self._web = web
        self.writer = writer
        if web:
            shake = _BROWSER.encode()
            writer.write(room.spoil(shake) if self._rng.random() < 0.05 else shake)
        wire = self._rng.choice(fuzz.CONNECTS)
        self.say(room.spoil(wire) if self._rng.random() < 0.2 else wire)

    def say(self, data: bytes) -> None:
        """As it is, or in frames: masked, in parts, sometimes spoiled."""
        if not self._web:
            self.writer.write(data)
            return
        while data:
            part, data = data[: (size := self._rng.randint(1, 200))], data[size:]
            head = bytes((0x82, 0x80 | min(len(part), 126)))
            head += len(part).to_bytes(2, "big") if len(part) >= 126 else b""
            mask = self._rng.randbytes(4)
            frame = head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(part))
            self.writer.write(self._room.spoil(frame) if self._rng.random() < 0.02 else frame)

    async def step(self) -> bool:
        """Say something; False: it has gone, or was put out."""
        self.say(self._room.chunk())
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                await self.writer.drain()
            return self._rng.random() > 0.02 and not self.writer.is_closing()
        return False


async def _deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read and forget, until the hub closes."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(65_536):
            pass
    writer.close()


async def lay(rng: Random, steps: int, end: float = float("inf")) -> int:
    """So many steps, or until then (monotonic); how many they were. Raises AssertionError."""
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
    with tempfile.TemporaryDirectory() as folder:
        listeners = [Listener(port=0), Listener(port=0, websocket=True)]
        settings = Settings(gateway=Who(name="siege", data=str(Path(folder))), listener=listeners, limits=SMALL)
        async with open_gateway(settings, clock=Clock(trust=True)) as gateway:
            done = await _besiege(gateway, rng, steps, end)
            for context in raised:
                error = context.get("exception")
                raise AssertionError(context["message"]) from (error if isinstance(error, Exception) else None)
    return done


async def _besiege(gateway: Gateway, rng: Random, steps: int, end: float) -> int:
    room = fuzz.Room(rng)
    neighbour = await knock(gateway.ports[0], V311)
    neighbour.send(Connect("neighbour", V311, keep_alive=0))
    await neighbour.got()
    enemies: list[Enemy] = []
    tasks: list[asyncio.Task[None]] = []
    step = 0
    while step < steps and time.monotonic() < end:
        step += 1
        if len(enemies) < fuzz.CLIENTS:
            web = rng.random() < 0.4
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports[web])
            tasks.append(asyncio.create_task(_deaf(reader, writer)))
            enemies.append(Enemy(room, writer, web=web))
        enemy = rng.choice(enemies)
        if not await enemy.step():
            enemies.remove(enemy)
            enemy.writer.close()
        if step % 500 == 0:
            neighbour.send(Delivery(Publish("neighbour", b"x", 1), 1))
            assert await neighbour.got() == Ack(Kind.PUBACK, 1)
            assert sum(one.weight for one in gateway.hub.connections) <= 2 * SMALL.held
            tasks = [one for one in tasks if not one.done()]
    for enemy in enemies:
        enemy.writer.close()
    await asyncio.gather(*tasks)
    await until(lambda: len(gateway.hub.connections) == 1)
    neighbour.writer.write(encode.PINGREQ)
    assert await neighbour.got()
    assert len(gateway.hub.sessions) <= SMALL.sessions
    await neighbour.close()
    return step
