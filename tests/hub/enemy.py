"""An enemy of the hub, on loopback: ``python -m tests.hub.enemy [--only slow,storm] [--folder FOLDER]``.

Each attack is made on a ``redcar run`` of its own, while a neighbour publishes at QoS 1 and waits for each PUBACK. Said of
each: resident memory before, at most and after, and how long the neighbour waited at worst.
"""

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, V311, Connect, Delivery, Filter, Packet, Subscribe, Unsubscribe, Will
from gateway.hub.properties import Properties, Property
from tests.bench import servers
from tests.bench.servers import Server

PATIENCE = 20.0


class Figures(Struct):
    """Of one attack. Memory in MB, waits in seconds."""

    before: float
    most: float
    after: float
    waited: float
    answered: int

    def __str__(self) -> str:
        memory = f"{self.before:6.1f} -> {self.most:6.1f} -> {self.after:6.1f} MB"
        return f"{memory}   neighbour: {self.answered:5} answers, longest wait {self.waited * 1000:6.0f} ms"


def dial(port: int, *packets: Packet, version: int = V5) -> socket.socket:
    """A connection, and what is said on it at once."""
    link = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    if packets:
        say(link, *packets, version=version)
    return link


def say(link: socket.socket, *packets: Packet, version: int = V5) -> bool:
    """False: the hub has closed."""
    try:
        link.sendall(b"".join(encode.encode(one, version) for one in packets))
    except OSError:
        return False
    return True


def heard(link: socket.socket, seconds: float = 0.2) -> int:
    """Read and forget what comes until it is quiet; bytes."""
    link.settimeout(seconds)
    count = 0
    with contextlib.suppress(OSError):
        while more := link.recv(1 << 20):
            count += len(more)
    link.settimeout(PATIENCE)
    return count


class Neighbour(threading.Thread):
    """A device that publishes and waits, over and over."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.link = dial(port, Connect("neighbour", V311), version=V311)
        self.link.recv(100)
        self.ending = False
        self.waited, self.answered = 0.0, 0
        self.problem: OSError | None = None

    def run(self) -> None:
        """Until told to end."""
        packet = encode.encode(Delivery(Publish("plant/hall/neighbour", b'{"temperature": 1}', 1), 7), V311)
        try:
            while not self.ending:
                began = time.monotonic()
                self.link.sendall(packet)
                if not self.link.recv(100):
                    raise ConnectionError("the hub closed the neighbour's connection")
                self.waited = max(self.waited, time.monotonic() - began)
                self.answered += 1
                time.sleep(0.005)
        except OSError as error:
            self.problem = error


class Scale(threading.Thread):
    """The most memory the server has had."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.ending = False
        self.most = 0.0

    def run(self) -> None:
        """Until told to end."""
        while not self.ending:
            self.most = max(self.most, self.server.resident())
            time.sleep(0.02)


def suffered(server: Server, attack: Callable[[int], object], settle: float = 2.0) -> Figures:
    """Make an attack, and what came of it. Raises AssertionError if the neighbour was put out."""
    neighbour = Neighbour(server.port)
    scale = Scale(server)
    neighbour.start()
    time.sleep(0.1)
    before = server.resident()
    scale.start()
    try:
        attack(server.port)
        time.sleep(settle)
        after = server.resident()
    finally:
        neighbour.ending = scale.ending = True
        neighbour.join()
        scale.join()
        neighbour.link.close()
    assert neighbour.problem is None, neighbour.problem
    return Figures(before, scale.most, after, neighbour.waited, neighbour.answered)


@contextmanager
def kept() -> Iterator[list[socket.socket]]:
    """Connections, closed in the end."""
    links: list[socket.socket] = []
    try:
        yield links
    finally:
        for one in links:
            one.close()


def sockets(port: int, count: int = 5_000) -> None:
    """Sockets that say nothing."""
    with kept() as links:
        for _ in range(count):
            links.append(dial(port))
        time.sleep(1)


def halves(port: int, count: int = 1_900) -> None:
    """Half a CONNECT of 64 kB each."""
    wire = b"\x10\x80\x80\x04\0\4MQTT\5\2\0\x3c\0" + bytes(60_000)
    with kept() as links:
        for _ in range(count):
            link = dial(port)
            links.append(link)
            with contextlib.suppress(OSError):
                link.sendall(wire)
        time.sleep(1)


def half_packets(port: int, count: int = 1_500) -> None:
    """Let in, then most of a packet of 256 kB each."""
    wire = b"\x30\xf0\xff\x0f\0\1a" + bytes(260_000)
    with kept() as links:
        for n in range(count):
            link = dial(port, Connect(f"half-{n}", V5))
            link.recv(100)
            links.append(link)
            with contextlib.suppress(OSError):
                link.sendall(wire)
        time.sleep(1)


def drip(port: int, count: int = 500, seconds: float = 8.0) -> None:
    """A byte a second of a CONNECT."""
    wire = encode.encode(Connect("drip" * 10, V5), V5)
    with kept() as links:
        links.extend(dial(port) for _ in range(count))
        for byte in wire[: int(seconds)]:
            for link in links:
                with contextlib.suppress(OSError):
                    link.send(bytes((byte,)))
            time.sleep(1)


def deaf(port: int, count: int = 300, messages: int = 40_000) -> None:
    """Subscribers that never read, while somebody publishes small messages at QoS 0."""
    with kept() as links:
        for n in range(count):
            link = socket.socket()
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            link.connect(("127.0.0.1", port))
            say(link, Connect(f"deaf-{n}", V5), Subscribe(1, [Filter("flood/#", 0)]))
            links.append(link)
        time.sleep(1)
        talker = dial(port, Connect("talker", V5))
        links.append(talker)
        for n in range(messages):
            say(talker, Delivery(Publish(f"flood/{n % 100}", b"%030d" % n)))
        time.sleep(1)


def filters(port: int, count: int = 5_000, topics: int = 3_000) -> None:
    """Thousands of filters with wildcards that all match, and topics they match on."""
    with kept() as links:
        link = dial(port, Connect("filters", V5))
        links.append(link)
        all = ["/".join("+" if n >> bit & 1 else "x" for bit in range(13)) + "/#" for n in range(count)]
        for at in range(0, count, 500):
            say(link, Subscribe(1, [Filter(one, 0) for one in all[at : at + 500]]))
            heard(link)
        talker = dial(port, Connect("talker", V5))
        links.append(talker)
        for n in range(topics):
            say(talker, Delivery(Publish("x/" * 13 + str(n), b"x")))
            if n % 100 == 0:
                heard(link, 0.05)
        heard(link)
        time.sleep(1)


def walks(port: int, rounds: int = 5, topics: int = 9_000) -> None:
    """Thousands of filters that each walk through everything that is retained, over and over."""
    with kept() as links:
        talker = dial(port, Connect("talker", V5))
        links.append(talker)
        for n in range(topics):
            say(talker, Delivery(Publish(f"a/{n % 10}/{n}/b/c", b"x", 0, True)))
        heard(talker)
        link = dial(port, Connect("walks", V5))
        links.append(link)
        request = Subscribe(1, [Filter(f"a/+/+/b/{n}", 0) for n in range(1_000)])
        for _ in range(rounds):
            say(link, request)
        heard(link, 3.0)


def storms(port: int, rounds: int = 2_000) -> None:
    """SUBSCRIBE and UNSUBSCRIBE without end."""
    with kept() as links:
        link = dial(port, Connect("storms", V5))
        links.append(link)
        for n in range(rounds):
            names = [f"s/{n % 50}/{m}/#" for m in range(20)]
            say(link, Subscribe(1, [Filter(one, 1) for one in names]), Unsubscribe(2, names))
            if n % 50 == 0:
                heard(link, 0.01)
        heard(link)


def retained(port: int, count: int = 100_000) -> None:
    """Retained messages on ever new topics, some large."""
    with kept() as links:
        link = dial(port, Connect("retained", V5))
        links.append(link)
        for n in range(count):
            say(link, Delivery(Publish(f"r/{n}", b"x" * (100 if n % 100 else 100_000), 0, True)))
        heard(link)


def wills(port: int, count: int = 1_500) -> None:
    """Wills of 16 kB each, in sessions that last."""
    with kept() as links:
        own: Properties = {Property.session_expiry: 3600}
        for n in range(count):
            will = Will(f"w/{n}", bytes(16_000), 1, False, {Property.will_delay: 3600})
            link = dial(port, Connect(f"will-{n}", V5, properties=own, will=will))
            link.recv(100)
            links.append(link)


def giant_will(port: int) -> None:
    """A will of 256 MB."""
    link = dial(port)
    with contextlib.suppress(OSError):
        link.sendall(b"\x10\xff\xff\xff\x7f\0\4MQTT\5\4\0\x3c\0\0\1c\0\0\1w")
        for _ in range(256):
            link.sendall(bytes(1 << 20))
    link.close()


def unreleased(port: int, count: int = 20, ids: int = 65_535) -> None:
    """QoS 2 packet ids that are never released, of 3.1.1 clients."""
    with kept() as links:
        for n in range(count):
            link = dial(port, Connect(f"unreleased-{n}", V311, clean=False), version=V311)
            link.recv(100)
            links.append(link)
            for id in range(1, ids + 1):
                say(link, Delivery(Publish("q", b"x", 2), id), version=V311)
                if id % 5000 == 0:
                    heard(link, 0.05)
            heard(link, 0.05)


def thieves(port: int, rounds: int = 400) -> None:
    """Two clients that steal one id from each other."""
    with kept() as links:
        for _ in range(rounds):
            link = dial(port, Connect("stolen", V5, clean=False, properties={Property.session_expiry: 60}))
            link.recv(100)
            links.append(link)
            if len(links) > 2:
                links.pop(0).close()


def strangers(port: int, count: int = 30_000) -> None:
    """Readings of ever new devices."""
    with kept() as links:
        link = dial(port, Connect("strangers", V5))
        links.append(link)
        for n in range(count):
            say(link, Delivery(Publish(f"plant/hall/device-{n}", b'{"temperature": 1}')))
        heard(link)


def deep(port: int, count: int = 20) -> None:
    """Topics of tens of thousands of levels, a million in all; each costs its connection or is refused."""
    with kept() as links:
        for n in range(count):
            link = dial(port, Connect(f"deep-{n}", V5))
            links.append(link)
            say(link, Subscribe(1, [Filter("/" * 60_000, 0), Filter("+/" * 30_000 + "#", 0)]))
            say(link, Delivery(Publish("/" * 60_000, b"x", 1), 1))
            say(link, Delivery(Publish("/" * 65_000, b"x", 0, True)))
            heard(link)


def names(port: int, count: int = 20_000) -> None:
    """Ever new topics and client ids."""
    for n in range(count // 20):
        with dial(port, Connect(f"name-{n}", V5)) as link:
            for m in range(200):
                say(link, Delivery(Publish(f"n/{n}/{m}", b"x", 1), m + 1))
            heard(link, 0.01)


def sessions(port: int, count: int = 3_000) -> None:
    """Sessions that last a week, with subscriptions, one after another."""
    for n in range(count):
        with dial(port, Connect(f"session-{n}", V5, properties={Property.session_expiry: 604_800})) as link:
            say(link, Subscribe(1, [Filter(f"s/{n}/{m}/+/#", 1) for m in range(100)]))
            link.recv(100)
            heard(link, 0.002)


ATTACKS: dict[str, Callable[[int], None]] = {
    one.__name__: one
    for one in (
        sockets,
        halves,
        half_packets,
        drip,
        deaf,
        filters,
        walks,
        storms,
        retained,
        wills,
        giant_will,
        unreleased,
        thieves,
        strangers,
        deep,
        names,
        sessions,
    )
}


def main() -> int:
    """Attack; print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.hub.enemy", description=__doc__)
    parser.add_argument("--only", metavar="NAMES", help="some of: " + ", ".join(ATTACKS))
    parser.add_argument("--folder", default=".")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else list(ATTACKS)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=args.folder) as name:
        for one in wanted:
            with servers.redcar(Path(name).resolve() / one) as server:
                began = time.monotonic()
                try:
                    print(f"{one:14}{suffered(server, ATTACKS[one])}   ({time.monotonic() - began:.0f} s)", flush=True)
                except AssertionError as error:
                    print(f"{one:14}FAILED {error}", flush=True)
                said = (server.folder / "log").read_text(errors="replace").splitlines()
                print("".join(f"    {line[:220]}\n" for line in [*said[2:5], *said[-2:]]), end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
