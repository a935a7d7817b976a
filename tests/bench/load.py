"""The load: what many devices publish at QoS 1, and a count of what was acknowledged. A process of its own:

    python -m tests.bench.load '{"port": 1883, "connections": 1, "window": 1000, "messages": 100000}'

It must not be what is measured, so all packets are made beforehand, of equal length, in one buffer per connection that is
sent again and again; an acknowledgement is a comparison of bytes. Everything is counted in bytes: sent, answered.
"""

import contextlib
import math
import select
import sys
import time
from random import Random

import msgspec
from msgspec import Struct

from tests.bench import wire

devices = 20
"""That take turns on a single connection; where there are more connections, each is one device."""


class Order(Struct, kw_only=True):
    """What to send.

    window    messages in flight per connection; as many new ones are sent as were acknowledged
    messages  in all
    rate      messages/s, sent one by one at their time on one connection; None: as fast as they are acknowledged
    limit     seconds after which it ends in any case
    """

    port: int
    connections: int = 1
    window: int = 1000
    messages: int = 100_000
    rate: float | None = None
    limit: float = 60.0


class Result(Struct):
    """What happened. ``began`` and ``ended`` are CLOCK_MONOTONIC, which all processes share; ``cpu`` is the load's own."""

    acknowledged: int
    began: float
    ended: float
    cpu: float
    p50: float | None = None
    p99: float | None = None

    @property
    def rate(self) -> float:
        """Acknowledged messages per second."""
        return self.acknowledged / (self.ended - self.began)


def payload(device: int, turn: int, rng: Random) -> bytes:
    """What a sensor says, always 125 bytes: a wave through 200 turns, each device's at its own phase, and some noise."""
    angle = turn / 200 * math.tau + device
    return (
        b'{"device":"air-quality-sensor-v2","firmware":"1.14.2-esp32-20240312",'
        b'"temperature":%.2f,"humidity":%.2f,"pressure":%.2f}'
    ) % (
        25 + 4.5 * math.sin(angle) + rng.uniform(-0.2, 0.2),
        50 + 9 * math.cos(angle) + rng.uniform(-0.5, 0.5),
        1015 + 9 * math.sin(angle / 2) + rng.uniform(-0.1, 0.1),
    )


class Client:
    """One connection: a ring of packets, of which a window is on its way."""

    def __init__(self, order: Order, number: int) -> None:
        self.link = wire.dial(order.port, f"load-{number}")
        self.link.setblocking(False)
        spread = max(devices, order.connections)
        cycle = max(2 * order.window, 200 * spread // order.connections)
        rng = Random(number)
        packets = []
        for n in range(cycle):
            turn, device = divmod(number + n * order.connections, spread)
            packets.append(wire.publish(f"plant/hall/air-{device:04d}", payload(device, turn, rng), n + 1))
        self.size = len(packets[0])
        assert all(len(packet) == self.size for packet in packets)
        self.packets = memoryview(b"".join(packets))
        self.pubacks = b"".join(wire.puback(n % cycle + 1) for n in range(cycle + order.window))
        self.window = order.window
        self.total = order.messages // order.connections
        self.sent = self.answered = 0
        self.stalled = False

    @property
    def acknowledged(self) -> int:
        """Messages whose whole PUBACK is there."""
        return self.answered // 4

    def send(self, allowed: int, poll: select.epoll) -> None:
        """Write what isn't on its way of the first ``allowed`` messages, as far as the socket takes it now."""
        due = min(allowed, self.answered // 4 + self.window, self.total) * self.size
        stalled = False
        while self.sent < due and not stalled:
            at = self.sent % len(self.packets)
            try:
                self.sent += self.link.send(self.packets[at : at + due - self.sent])
            except BlockingIOError:
                stalled = True
        if stalled != self.stalled:
            self.stalled = stalled
            poll.modify(self.link, select.EPOLLIN | (select.EPOLLOUT if stalled else 0))

    def receive(self) -> int:
        """Read acknowledgements; how many are whole now. Raises ConnectionError if it isn't what has to come next."""
        before = self.acknowledged
        data = self.link.recv(65_536)
        at = self.answered % (len(self.packets) // self.size * 4)
        if (
            not data
            or data != self.pubacks[at : at + len(data)]
            or self.answered + len(data) > self.sent // self.size * 4
        ):
            raise ConnectionError(f"after {before} acknowledgements came {data[:16].hex(' ') or 'the end'}")
        self.answered += len(data)
        return self.acknowledged - before


def run(order: Order) -> Result:
    """Send it all. Raises ConnectionError or TimeoutError."""
    clients = {client.link.fileno(): client for client in (Client(order, n) for n in range(order.connections))}
    late: list[float] = []
    cpu = time.process_time()
    began = time.monotonic()
    try:
        with select.epoll() as poll:
            for number in clients:
                poll.register(number, select.EPOLLIN)
            if order.rate is None:
                _saturate(clients, poll, began + order.limit)
            else:
                (client,) = clients.values()
                _pace(client, poll, began, order.rate, began + order.limit, late)
        ended = time.monotonic()
    finally:
        for client in clients.values():
            with contextlib.suppress(OSError):
                client.link.send(wire.DISCONNECT)
            client.link.close()
    late.sort()
    p50, p99 = (late[len(late) // 2], late[len(late) * 99 // 100]) if late else (None, None)
    acknowledged = sum(client.acknowledged for client in clients.values())
    return Result(acknowledged, began, ended, time.process_time() - cpu, p50, p99)


def _saturate(clients: dict[int, Client], poll: select.epoll, deadline: float) -> None:
    for client in clients.values():
        client.send(client.total, poll)
    unfinished = len(clients)
    while unfinished:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{sum(one.acknowledged for one in clients.values())} messages were acknowledged in time"
            )
        for number, events in poll.poll(1.0):
            client = clients[number]
            if events != select.EPOLLOUT:
                client.receive()
                if client.acknowledged == client.total:
                    unfinished -= 1
            client.send(client.total, poll)


def _pace(client: Client, poll: select.epoll, began: float, rate: float, deadline: float, late: list[float]) -> None:
    """Send each at its time. Waiting counts from then, not from when we got round to it."""
    while client.acknowledged < client.total:
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError(f"{client.acknowledged} messages were acknowledged in time")
        due = int((now - began) * rate) + 1
        client.send(due, poll)
        rest = began + due / rate - time.monotonic()
        for _, events in poll.poll(max(0.0, rest) if due < client.total else 1.0):
            if events != select.EPOLLOUT:
                first = client.acknowledged
                count = client.receive()
                now = time.monotonic() - began
                late.extend(now - n / rate for n in range(first, first + count))


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Order))) + b"\n")
