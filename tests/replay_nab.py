"""A real machine's temperature through the whole gateway: ``make replay``, or ``python -m tests.replay_nab``.

11 weeks of readings are published over MQTT as fast as they are acknowledged; their time is in the message, so the rules
live through 11 weeks. Says which of the four labelled failures raised an alarm, when, and how many alarms there were beside.

A gateway doesn't believe times before 2020, so everything is moved by 520 whole weeks, and moved back to be shown.
"""

import argparse
import asyncio
import csv
import json
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway import config
from gateway.app import open_gateway
from gateway.event import SECOND, Event
from tests.bench import wire
from tests.store.logs import stored

here = Path(__file__).parent / "captures" / "nab"
moved = timedelta(weeks=520)
window = 500
"""Messages in flight."""

CONFIGURATION = """
[gateway]
name = "replay"
trust_clock = true
data = "data"
rules = [{rules}]
[[listener]]
port = 0
[[binding]]
driver = "json"
topics = ["plant/{{device}}"]
source = "plant/{{device}}"
allow = ["*"]
"""


class Failure(Struct):
    """A labelled failure, and from when to when an alarm is right about it."""

    at: datetime
    begin: datetime
    end: datetime


def readings(count: int | None = None) -> list[tuple[datetime, float]]:
    """The series, or its beginning."""
    with (here / "machine_temperature_system_failure.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [(moment(time), float(value)) for time, value in rows[:count]]


def failures() -> list[Failure]:
    """The four of them."""
    labels = json.loads((here / "windows.json").read_text())
    return [
        Failure(moment(at), moment(begin), moment(end))
        for at, (begin, end) in zip(labels["failures"], labels["windows"])
    ]


def moment(text: str) -> datetime:
    """A time of the series; it names no zone, so it is taken as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def replay(series: list[tuple[datetime, float]], folder: Path) -> float:
    """Publish it to a gateway of its own in that folder, and wait until its rules have seen it; seconds that took."""
    file = folder / "redcar.toml"
    file.write_text(CONFIGURATION.format(rules=json.dumps(str(here / "rules.toml"))))
    async with open_gateway(config.load(file)) as gateway:
        began = time.monotonic()
        await publish(gateway.ports[0], series)
        (rules,) = [consumer for consumer in gateway.consumers if consumer.name == "rules"]
        async with asyncio.timeout(60):
            while rules.lag:
                await asyncio.sleep(0.01)
        return time.monotonic() - began


async def publish(port: int, series: list[tuple[datetime, float]]) -> None:
    """All of it at QoS 1, a window at a time. Raises ConnectionError if something isn't acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire.connect("machine"))
    assert await reader.readexactly(4) == wire.CONNACK
    for start in range(0, len(series), window):
        part = series[start : start + window]
        for id, (at, value) in enumerate(part, 1):
            payload = msgspec.json.encode({"temperature": value, "time": at + moved})
            writer.write(wire.publish("plant/machine", payload, id))
        pubacks = b"".join(wire.puback(id) for id in range(1, len(part) + 1))
        if await reader.readexactly(len(pubacks)) != pubacks:
            raise ConnectionError(f"not acknowledged: some of the readings from {part[0][0]} on")
    writer.write(wire.DISCONNECT)
    writer.close()
    await writer.wait_closed()


def report(series: list[tuple[datetime, float]], events: list[Event], seconds: float) -> tuple[str, bool]:
    """What came of it, for people, and whether every reading was stored."""
    begin, end = series[0][0], series[-1][0]
    count = sum(event.type == "reading" for event in events)
    complete = count == len(series)
    said = "all stored" if complete else f"only {count:,} are stored"
    lines = [f"{len(series):,} readings, {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, in {seconds:.1f} s: {said}"]
    beside = [(event.data["alarm"], original(event.time)) for event in events if event.type == "alarm.raised"]
    total = len(beside)
    for failure in failures():
        if failure.begin > end:
            continue
        lines.append(f"failure {failure.at:%Y-%m-%d %H:%M}")
        first: dict[str, datetime] = {}
        for rule, at in beside:
            if failure.begin <= at <= failure.end:
                first.setdefault(rule, at)
        beside = [one for one in beside if not failure.begin <= one[1] <= failure.end]
        lines += [f"    {rule:10} {at:%Y-%m-%d %H:%M}, {apart(at - failure.at)}" for rule, at in first.items()]
        if not first:
            lines.append("    no alarm")
    rules = Counter(rule for rule, _ in beside)
    listed = ", ".join(f"{rule} {number}" for rule, number in sorted(rules.items())) or "none"
    lines.append(f"{total} alarms, {total - len(beside)} of them about these failures; beside: {listed}")
    return "\n".join(lines), complete


def original(time: int) -> datetime:
    """When that was in the series."""
    return datetime.fromtimestamp(time / SECOND, UTC) - moved


def apart(by: timedelta) -> str:
    """``23 h 05 min before``."""
    hours, rest = divmod(abs(by), timedelta(hours=1))
    return f"{hours} h {rest // timedelta(minutes=1):02d} min {'before' if by < timedelta() else 'after'}"


def main() -> int:
    """Replay it and say what came of it; 1 if a reading is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay_nab", description=__doc__)
    parser.add_argument("--readings", metavar="N", type=int, help="only the first N")
    series = readings(parser.parse_args().readings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = asyncio.run(replay(series, folder))
        text, complete = report(series, asyncio.run(stored(folder / "data")), seconds)
    print(text)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
