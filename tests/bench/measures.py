"""What is measured. Each function yields its measurements as they are made."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from tests.bench import rules, servers, wire
from tests.bench.load import Order, Result, payload

Started = Callable[[Path], AbstractContextManager[servers.Server]]


class Measurement(Struct, omit_defaults=True):
    """One number, as a line of JSON. ``load``: the share of one CPU that the load itself took; near 1 it is the limit."""

    what: str
    who: str
    value: float
    unit: str
    round: int = 0
    load: float = 0.0


def drive(server: servers.Server, **wanted: float | None) -> Result:
    """Run the load against a server, in a process of its own."""
    order = msgspec.convert({"port": server.port, **wanted}, Order)
    command = [sys.executable, "-m", "tests.bench.load", json.dumps(msgspec.to_builtins(order))]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=order.limit + 30, check=True)
    return msgspec.json.decode(done.stdout, type=Result)


def acknowledged(folder: Path, rounds: int, messages: int) -> Iterator[Measurement]:
    """QoS 1 messages acknowledged per second; the servers take turns, so that all see the same machine."""
    everybody: dict[str, Started] = {
        "redcar, readings": lambda folder: servers.redcar(folder),
        "redcar, messages": lambda folder: servers.redcar(folder, claimed=False),
        "mosquitto": servers.mosquitto,
        "nothing": servers.mirror,
    }
    for what, connections, window in (("1 connection x 1,000", 1, 1000), ("100 connections x 20", 100, 20)):
        for number in range(1, rounds + 1):
            for who, start in everybody.items():
                with start(folder / "server") as server:
                    drive(server, connections=connections, window=window, messages=messages // 10)
                    result = drive(server, connections=connections, window=window, messages=messages)
                assert result.acknowledged == messages
                share = result.cpu / (result.ended - result.began)
                yield Measurement(what, who, result.rate, "messages/s", number, share)


def waiting(folder: Path, rounds: int) -> Iterator[Measurement]:
    """Clients that go on only when they are acknowledged: 20 in flight is what paho and mosquitto's bridge do unless told
    otherwise, 1 is what small devices do. Commits are paced, so here the pace is what is measured."""
    for what, window, messages in (("1 connection x 20", 20, 4_000), ("1 connection x 1", 1, 200)):
        for number in range(1, rounds + 1):
            for who, start in (("redcar, readings", servers.redcar), ("mosquitto", servers.mosquitto)):
                with start(folder / "server") as server:
                    result = drive(server, window=window, messages=messages)
                yield Measurement(what, who, result.rate, "messages/s", number)


@contextmanager
def whole_job(folder: Path) -> Iterator[tuple[servers.Server, servers.Server]]:
    """A gateway with twenty rules that forwards everything to a broker; both."""
    file = folder / "rules.toml"
    file.write_text(rules.text())
    with (
        servers.mosquitto(folder / "upstream") as upstream,
        servers.redcar(folder / "server", upstream=upstream.port, rules=file) as server,
    ):
        yield server, upstream


@contextmanager
def far_end(upstream: servers.Server, readings: int) -> Iterator[Callable[[], float]]:
    """Count what arrives upstream; gives a function that waits for all of it and says when that was."""
    command = [sys.executable, "-m", "tests.bench.upstream", str(upstream.port), str(readings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as counter:
        assert counter.stdout is not None
        assert counter.stdout.readline() == "ready\n"

        def arrived() -> float:
            assert counter.stdout is not None
            when, seen = counter.stdout.readline().split()
            assert int(seen) == readings, f"{seen} of {readings} readings upstream"
            return float(when)

        try:
            yield arrived
        finally:
            counter.kill()


def saturated(folder: Path, rounds: int, messages: int) -> Iterator[Measurement]:
    """The whole job as fast as it goes, until the last reading has arrived upstream; what it costs."""
    what = "whole job, saturated"
    for number in range(1, rounds + 1):
        with whole_job(folder) as (server, upstream):
            with far_end(upstream, messages // 10) as arrived:
                drive(server, messages=messages // 10)
                arrived()
            settle()
            before = server.cost()
            with far_end(upstream, messages) as arrived:
                result = drive(server, messages=messages)
                ended = arrived()
            settle()
            cost = server.cost() - before
        yield Measurement(what, "acknowledged", result.rate, "messages/s", number)
        yield Measurement(what, "arrived upstream", messages / (ended - result.began), "messages/s", number)
        yield from _cost(what, cost, messages, number)


def paced(folder: Path, seconds: float) -> Iterator[Measurement]:
    """The whole job at the rates of ordinary days."""
    for rate in (10, 200, 1000):
        what = f"whole job, {rate:,} messages/s"
        with whole_job(folder) as (server, _):
            drive(server, rate=rate, messages=rate)
            settle()
            before = server.cost()
            result = drive(server, rate=rate, messages=int(rate * seconds), limit=seconds + 30)
            settle()
            cost = server.cost() - before
        assert result.p50 is not None
        assert result.p99 is not None
        yield from _cost(what, cost, result.acknowledged)
        yield Measurement(what, "publish to PUBACK, p50", result.p50 * 1e3, "ms")
        yield Measurement(what, "publish to PUBACK, p99", result.p99 * 1e3, "ms")


def memory(folder: Path, messages: int) -> Iterator[Measurement]:
    """Resident memory before and after a long day."""
    with whole_job(folder) as (server, upstream):
        settle()
        yield Measurement("memory", "idle", server.resident(), "MB")
        with far_end(upstream, messages) as arrived:
            drive(server, messages=messages)
            arrived()
        settle()
        yield Measurement("memory", f"after {messages:,} events", server.resident(), "MB")


def start(folder: Path, rounds: int) -> Iterator[Measurement]:
    """From the command to the first event that is acknowledged, with twenty rules."""
    rule_file = folder / "rules.toml"
    rule_file.write_text(rules.text())
    for number in range(1, rounds + 1):
        began = time.monotonic()
        with servers.redcar(folder / "server", rules=rule_file) as server, servers.first_answer(server) as link:
            link.sendall(wire.publish("plant/hall/air-0001", payload(1, 0, Random(1)), 1))
            wire.exactly(link, 4)
            yield Measurement("start", "to the first event acknowledged", time.monotonic() - began, "s", number)
            yield Measurement("start", "CPU until then", server.cost().cpu, "s", number)


def settle() -> None:
    """What is written lazily, positions above all, is on the disk a second later; it belongs to the cost."""
    time.sleep(1.5)


def _cost(what: str, cost: servers.Cost, events: int, number: int = 0) -> Iterator[Measurement]:
    yield Measurement(what, "CPU per event", cost.cpu / events * 1e6, "µs", number)
    yield Measurement(what, "written per event", cost.written / events, "bytes", number)


def room(folder: Path) -> None:
    """Raises OSError if what the measurements write doesn't fit: 300,000 events and more at about 100 bytes."""
    free = shutil.disk_usage(folder).free
    if free < 1_000_000_000:
        raise OSError(f"{folder}: {free / 1e6:.0f} MB free: the measurements need 1 GB")
