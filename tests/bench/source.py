"""How fast a broker is drained into the log, by paho and by our own client: ``python -m tests.bench.source``.

mosquitto holds the messages of a session; the gateway comes, reads, decodes and stores them, and acknowledges after the
commit. The clients take turns, so that both see the same machine.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from gateway.app import open_gateway
from gateway.clock import Clock
from gateway.driver import load
from gateway.settings import Gateway, Listener, Settings
from gateway.sources.mqtt import Config
from tests.bench import servers
from tests.bench.measures import drive

CLIENTS = ("paho", "own")


def drained(folder: Path, client: str, protocol: str, messages: int) -> tuple[float, float]:
    """Messages per second from the first to the last, and µs of the gateway's CPU for each."""
    with tempfile.TemporaryDirectory(dir=folder) as name, servers.mosquitto(Path(name) / "broker") as broker:
        own = {"name": "site", "host": "127.0.0.1", "port": broker.port, "topics": ["plant/#"]}
        here = msgspec.convert({**own, "client": client, "protocol": protocol}, Config)
        binding = load("json").config(
            driver="json", topics=["plant/{area}/{device}"], allow=["*"], source="{area}/{device}"
        )
        who = Gateway(name="bench", data=str(Path(name) / "data"))
        settings = Settings(gateway=who, listener=[Listener(port=0)], binding=[binding], source=[here])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_drain(settings, 0))  # from now on the broker keeps a session
            drive(broker, messages=messages)
            return runner.run(_drain(settings, messages))


async def _drain(settings: Settings, messages: int) -> tuple[float, float]:
    async with open_gateway(settings, clock=Clock(trust=True)) as gateway, asyncio.timeout(120):
        head = gateway.log.head
        while not (gateway.readers[0].received or gateway.readers[0].connected):
            await asyncio.sleep(0.002)
        began, cpu = time.perf_counter(), time.process_time()
        while gateway.log.head < head + messages:
            await asyncio.sleep(0.002)
        took, used = time.perf_counter() - began, time.process_time() - cpu
        return messages / took, used / max(1, messages) * 1e6


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.source", description=__doc__)
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--messages", metavar="N", type=int, default=30_000)
    parser.add_argument("--protocol", choices=("5.0", "3.1.1"), default="5.0")
    parser.add_argument("--folder", metavar="FOLDER", default=".", help="on the disk to be measured")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=args.folder) as name:
        folder = Path(name).resolve()
        print(f"data on {servers.file_system(folder)}; median of {args.rounds}; MQTT {args.protocol}\n")
        found: dict[str, list[tuple[float, float]]] = {client: [] for client in CLIENTS}
        for _ in range(args.rounds):
            for client in CLIENTS:
                found[client].append(drained(folder, client, args.protocol, args.messages))
        rate = {client: statistics.median(one[0] for one in found[client]) for client in CLIENTS}
        cpu = {client: statistics.median(one[1] for one in found[client]) for client in CLIENTS}
        for client in CLIENTS:
            print(f"{client:6}{rate[client]:10,.0f} messages/s{cpu[client]:8.1f} µs of CPU each")
        print(f"ratio {rate['own'] / rate['paho']:10.1f}{cpu['paho'] / cpu['own']:19.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
