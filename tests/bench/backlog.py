"""After a long outage: how fast the backlog drains, and what live events notice of it.

    python -m tests.bench.backlog [--events N] [--rate N] [--per-message event|batch] [--folder FOLDER]

A log with a million events that nobody has had yet; the upstream broker comes back, while devices go on sending. A live
event is timed from its PUBLISH to the gateway until the far end has it from the broker.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.clock import Clock
from gateway.event import event
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from tests.bench import servers, wire
from tests.bench.measures import Measurement
from tests.parts import free_port

SENT = re.compile(rb'"sent":(\d+)')
OLD = b'"old":'


def fill(folder: Path, count: int) -> None:
    """Readings of fifty devices, as they were stored during the outage."""

    async def append() -> None:
        log = await Log.open(folder, Clock(trust=True), pace=Pace(pace=0.0))
        now = log.clock.now()
        for lo in range(0, count, 10_000):
            stored = log.append(
                [
                    event("reading", f"hall/air-{n % 50:04}", {"temperature": 20 + n % 100 / 10, "old": n}, time=now)
                    for n in range(lo, min(lo + 10_000, count))
                ]
            )
            assert stored is not None
            await stored
        consumers = await Consumers.load(log)
        for name in ("views", "rules"):  # they had no outage
            await consumers.open(name, start="now")
        await log.close()

    asyncio.run(append())


class FarEnd(threading.Thread):
    """Hears everything at the broker; looks for two marks and parses nothing."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.old = 0
        self.latencies: list[float] = []
        self._link = wire.dial(port, "far-end")
        self._link.sendall(wire.subscribe("up/#"))
        wire.exactly(self._link, 5)
        self._link.settimeout(60)

    def run(self) -> None:
        tail = b""
        try:
            while data := self._link.recv(1 << 20):
                now = time.monotonic_ns() // 1000
                data = tail + data
                cut = max(0, len(data) - 40)  # a mark may be cut in two
                end = data.rfind(b"}", cut) + 1 or cut
                seen, tail = data[:end], data[end:]
                self.old += seen.count(OLD)
                self.latencies += [(now - int(sent)) / 1e6 for sent in SENT.findall(seen)]
        except OSError:
            pass


class Devices(threading.Thread):
    """Publish so many readings per second until told to stop."""

    def __init__(self, port: int, rate: int) -> None:
        super().__init__(daemon=True)
        self.stopping = False
        self.sent = 0
        self._link = wire.dial(port, "devices")
        self._rate = rate

    def run(self) -> None:
        began = time.monotonic()
        while not self.stopping:
            time.sleep(0.004)
            due = int((time.monotonic() - began) * self._rate)
            packets = b""
            while self.sent < due:
                self.sent += 1
                payload = b'{"temperature":21.5,"sent":%d}' % (time.monotonic_ns() // 1000)
                packets += wire.publish(f"plant/hall/air-{self.sent % 50:04}", payload, self.sent % 65_535 + 1)
            if packets:
                self._link.sendall(packets)
                self._link.recv(1 << 16)  # acknowledgements; the rest waits in the socket


def backlog(
    folder: Path, events: int = 1_000_000, rate: int = 500, per_message: str = "event"
) -> Iterator[Measurement]:
    """Drain ``events`` while ``rate`` per second come."""
    what = f"backlog of {events:,}, {rate}/s live, {per_message} per message"
    server_folder = folder / "server"
    fill(server_folder / "data", events)
    with servers.mosquitto(folder / "upstream") as upstream:
        text = servers.configuration(port := free_port(), upstream=upstream.port)
        text = text.replace(
            'per_message = "batch"', f'per_message = "{per_message}"\nprotocol = "3.1.1"\ntopic = "up/{{lane}}"'
        )
        text = text.replace('allow = ["*"]', 'allow = ["*"]\nsource = "hall/{device}"')
        (server_folder / "redcar.toml").write_text(text)
        far_end = FarEnd(upstream.port)
        far_end.start()
        with servers.running(
            "redcar", [*servers.program(), "run", "--config", str(server_folder / "redcar.toml")], port, server_folder
        ) as server:
            before, began = server.cost(), time.monotonic()
            devices = Devices(port, rate)
            devices.start()
            resident = 0.0
            while far_end.old < events:
                time.sleep(0.1)
                resident = max(resident, server.resident())
                if time.monotonic() - began > 600:
                    raise TimeoutError(f"{far_end.old} of {events} drained in ten minutes")
            took, cost = time.monotonic() - began, server.cost() - before
            devices.stopping = True
            devices.join()
            live = sorted(far_end.latencies)
            time.sleep(1.0)
            missing = devices.sent - len(far_end.latencies)
    yield Measurement(what, "drained", events / took, "events/s")
    yield Measurement(what, "times the live rate", events / took / rate, "")
    yield Measurement(what, "live, p50", live[len(live) // 2] * 1e3, "ms")
    yield Measurement(what, "live, p99", live[int(len(live) * 0.99)] * 1e3, "ms")
    yield Measurement(what, "live events not delivered", missing, "events")
    yield Measurement(what, "CPU per event", cost.cpu / (events + len(live)) * 1e6, "µs")
    yield Measurement(what, "most memory", resident, "MB")


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--per-message", choices=["event", "batch"], default="event")
    parser.add_argument("--folder", default=".")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=args.folder) as name:
        for one in backlog(Path(name).resolve(), args.events, args.rate, args.per_message):
            print(f"{one.what}: {one.who}: {one.value:,.1f} {one.unit}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
