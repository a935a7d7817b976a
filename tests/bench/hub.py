"""The hub beside mosquitto, in the same run: ``python -m tests.bench.hub [--only qos2,memory] [--rounds N]``.

Redcar stores every QoS 1 and 2 message and acknowledges after the commit; mosquitto, as Debian installs it but without
limits, keeps nothing. All packets are made before the measurement begins.
"""

import argparse
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import measures, servers, wire
from tests.bench.servers import Server

PAYLOAD = b'{"temperature":21.5,"humidity":48.2,"pressure":1013.4,"firmware":"1.14.2-esp32-20240312"}'


@contextmanager
def links(server: Server, count: int, name: str) -> Iterator[list[socket.socket]]:
    """Clients that are let in."""
    made: list[socket.socket] = []
    try:
        made.extend(wire.dial(server.port, f"{name}-{n}") for n in range(count))
        yield made
    finally:
        for link in made:
            link.close()


def qos2(server: Server) -> float:
    """Whole QoS 2 flows per second, 500 in flight on one connection."""
    window = 500
    first = b"".join(_qos2(wire.publish("plant/hall/air", PAYLOAD, id)) for id in range(1, window + 1))
    release = b"".join(b"\x62\x02" + id.to_bytes(2, "big") for id in range(1, window + 1))
    with links(server, 1, "qos2") as (link,):
        rounds = 0
        began = time.monotonic()
        while time.monotonic() - began < 4:
            link.sendall(first)
            wire.exactly(link, 4 * window)
            link.sendall(release)
            wire.exactly(link, 4 * window)
            rounds += 1
        return rounds * window / (time.monotonic() - began)


def _qos2(packet: bytes) -> bytes:
    return bytes((packet[0] + 2,)) + packet[1:]


def fan_out(server: Server) -> float:
    """Deliveries per second: one publisher at QoS 0, 100 subscribers; 50 messages at a time, until all have them."""
    one = wire.publish("fan", PAYLOAD, 1)
    one = bytes((0x30, one[1] - 2)) + one[2:7] + one[9:]  # QoS 0: no packet id
    burst, many = one * 50, 100
    with links(server, many, "sub") as subscribers, links(server, 1, "pub") as (publisher,):
        poll = select.epoll()
        left = dict.fromkeys((link.fileno() for link in subscribers), 0)
        by_number = {link.fileno(): link for link in subscribers}
        for link in subscribers:
            link.sendall(wire.subscribe("fan"))
            wire.exactly(link, 5)
            link.setblocking(False)
            poll.register(link, select.EPOLLIN)
        bursts = 0
        began = time.monotonic()
        while time.monotonic() - began < 4:
            publisher.sendall(burst)
            bursts += 1
            waiting = set(left)
            left = dict.fromkeys(left, len(burst))
            while waiting:
                for number, _ in poll.poll(10):
                    left[number] -= len(by_number[number].recv(65_536))
                    if left[number] <= 0:
                        waiting.discard(number)
        poll.close()
        return bursts * 50 * many / (time.monotonic() - began)


def idle(server: Server) -> float:
    """kB of resident memory per idle connection, of 1,000."""
    before = server.resident()
    with links(server, 1000, "idle"):
        time.sleep(1.5)
        return (server.resident() - before) * 1e6 / 1000 / 1000


def trickle(server: Server) -> float:
    """µs of CPU per message: 1,000 connections, each a QoS 1 message a second, for 10 s."""
    seconds = 10
    with links(server, 1000, "trickle") as made:
        packets = [wire.publish(f"plant/hall/air-{n:04d}", PAYLOAD, 1) for n in range(1000)]
        poll = select.epoll()
        for link in made:
            poll.register(link, select.EPOLLIN)
        by_number = {link.fileno(): link for link in made}
        answered = 0
        before, began = server.cost(), time.monotonic()
        for n in range(1000 * seconds):
            due = began + n / 1000
            while (rest := due - time.monotonic()) > 0:
                for number, _ in poll.poll(rest):
                    answered += len(by_number[number].recv(4096)) // 4
            made[n % 1000].sendall(packets[n % 1000])
        while answered < 1000 * seconds:
            for number, _ in poll.poll(5):
                answered += len(by_number[number].recv(4096)) // 4
        poll.close()
        return (server.cost() - before).cpu * 1e6 / answered


def latency(server: Server) -> float:
    """ms from publish to subscriber, the 99th of 100, at 1,000 separate QoS 1 messages a second."""
    count = 5000
    with links(server, 1, "sub") as (subscriber,), links(server, 1, "pub") as (publisher,):
        subscriber.sendall(wire.subscribe("plant/+/+"))
        wire.exactly(subscriber, 5)
        packet = wire.publish("plant/hall/air", b"%020d" % 0, 1)
        size = len(packet) - 2  # QoS 0 to the subscriber
        poll = select.epoll()
        poll.register(subscriber, select.EPOLLIN)
        poll.register(publisher, select.EPOLLIN)
        took: list[float] = []
        data = b""
        began = time.monotonic()

        def look(seconds: float) -> None:
            nonlocal data
            for number, _ in poll.poll(max(0.0, seconds)):
                if number == publisher.fileno():
                    publisher.recv(65_536)
                    continue
                data += subscriber.recv(65_536)
                now = time.monotonic_ns()
                while len(data) >= size:
                    took.append((now - int(data[size - 20 : size])) / 1e6)
                    data = data[size:]

        for n in range(count):
            while (rest := began + n / 1000 - time.monotonic()) > 0:
                look(rest)
            publisher.sendall(wire.publish("plant/hall/air", b"%020d" % time.monotonic_ns(), n % 60_000 + 1))
        while len(took) < count:
            look(5.0)
        poll.close()
        return statistics.quantiles(took, n=100)[98]


def steady(connections: int, window: int) -> Callable[[Server], float]:
    """QoS 1 messages acknowledged per second."""

    def measure(server: Server) -> float:
        measures.drive(server, connections=connections, window=window, messages=20_000)
        return measures.drive(server, connections=connections, window=window, messages=150_000).rate

    return measure


FIGURES: dict[str, tuple[str, Callable[[Server], float], str, float, bool]] = {
    "one": ("QoS 1 acknowledged, 1 x 1,000", steady(1, 1000), "messages/s", 2.0, True),
    "hundred": ("QoS 1 acknowledged, 100 x 20", steady(100, 20), "messages/s", 1.0, True),
    "trickle": ("1,000 connections x 1 message/s: CPU", trickle, "µs/message", 1.5, False),
    "fan": ("fan-out to 100 subscribers, QoS 0", fan_out, "deliveries/s", 1.0, True),
    "qos2": ("QoS 2 flows", qos2, "flows/s", 1.0, True),
    "memory": ("resident memory per idle connection", idle, "kB", 8.0, False),
    "latency": ("publish to subscriber, 1,000/s, p99", latency, "ms", 50.0, False),
}
"""name -> what, how, unit, aim, whether more is better. Aims are ratios to mosquitto, but kB and ms."""


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hub", description=__doc__)
    parser.add_argument("--only", metavar="NAMES", help=f"some of: {', '.join(FIGURES)}")
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--folder", metavar="FOLDER", default=".", help="on the disk to be measured")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else list(FIGURES)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=args.folder) as name:
        folder = Path(name).resolve()
        print(f"data on {servers.file_system(folder)}; median of {args.rounds}\n")
        print(f"{'':40}{'redcar':>12}{'mosquitto':>12}{'':14}{'ratio':>7}  aim")
        for one in wanted:
            what, measure, unit, aim, more = FIGURES[one]
            found: dict[str, list[float]] = {"redcar": [], "mosquitto": []}
            for _ in range(args.rounds):
                with servers.redcar(folder / "server", claimed=False) as server:
                    found["redcar"].append(measure(server))
                with servers.mosquitto(folder / "server") as server:
                    found["mosquitto"].append(measure(server))
            ours, theirs = (statistics.median(found[who]) for who in ("redcar", "mosquitto"))
            absolute = unit in ("kB", "ms")
            value = ours if absolute else ours / theirs
            met = value >= aim if more else value <= aim
            said = f"{'>=' if more else '<='} {aim:g} {unit if absolute else 'x'}{'' if met else ': missed'}"
            print(f"{what:40}{ours:12,.1f}{theirs:12,.1f}  {unit:12}{ours / theirs:7.2f}  {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
