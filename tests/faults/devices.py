"""Devices that number their messages and remember which were acknowledged: what a fault test holds against the log.

Plain sockets, no client library: nothing is kept back and nothing sent again. What wasn't acknowledged when a connection
broke is given up, and the next message has the next number; so a number is in the log at most once, and numbers rise.
"""

import select
import socket
import time
from random import Random

import msgspec

from tests.bench import wire

flight = 200
"""Messages of a device in flight."""


class Device:
    """One device with a connection of its own: it sends bursts, and pauses between them.

    Its temperature crosses the limit of a rule every 40 messages; its humidity does so every 0.6 s, whether it sends or not.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.sent = 0
        self.acknowledged: set[int] = set()
        self._link: socket.socket | None = None
        self._due = 1  # number that has to be acknowledged next
        self._rest = b""
        self._pause = 0.0

    @property
    def connected(self) -> bool:
        """Whether it was let in, and nobody has told it yet that this is over."""
        return self._link is not None

    @property
    def link(self) -> socket.socket:
        """Its socket, while it is connected."""
        assert self._link is not None
        return self._link

    def connect(self, port: int) -> None:
        """With an empty window. Raises OSError."""
        self._link = wire.dial(port, self.source.replace("/", "-"))
        self._due, self._rest, self._pause = self.sent + 1, b"", 0.0

    def send(self, rng: Random, now: float) -> None:
        """A burst, if the last one is acknowledged by half and the pause is over. Raises OSError."""
        if now < self._pause or self.sent - self._due >= flight // 2:
            return
        self._pause = now + rng.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.3))
        packets = []
        for _ in range(rng.randint(1, flight // 2)):
            self.sent += 1
            data = {
                "n": self.sent,
                "temperature": 90 if self.sent % 80 < 40 else 60,
                "humidity": 90 if int(now / 0.6) % 2 else 40,
            }
            packets.append(wire.publish(f"plant/{self.source}", msgspec.json.encode(data), _id(self.sent)))
        self.link.sendall(b"".join(packets))

    def receive(self) -> bool:
        """Note what is acknowledged. False: the connection is over. Acknowledgements come in order [MQTT-4.6.0-2]."""
        try:
            data = self.link.recv(65_536)
        except ConnectionError:
            return False
        self._rest += data
        while len(self._rest) >= 4:
            assert self._rest[:4] == wire.puback(_id(self._due)), f"{self.source}: {self._rest[:4].hex(' ')}"
            assert self._due <= self.sent
            self.acknowledged.add(self._due)
            self._due += 1
            self._rest = self._rest[4:]
        return bool(data)

    def lost(self) -> None:
        """The other end is gone; what it said before still counts."""
        while self.receive():
            pass
        self.link.close()
        self._link = None


def _id(number: int) -> int:
    return number % 60_000 + 1


def play(devices: list[Device], rng: Random, seconds: float) -> None:
    """Let them send for so long. Raises OSError."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        for device in devices:
            device.send(rng, now)
        ready, _, _ = select.select([device.link for device in devices], [], [], 0.005)
        for device in devices:
            if device.link in ready and not device.receive():
                raise ConnectionError(f"{device.source}: the gateway ended the connection")
