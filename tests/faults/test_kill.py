"""kill -9 at random moments, under load, again and again: nothing acknowledged is lost, nothing comes twice."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom

import pytest

from gateway import config, envelope
from gateway.clock import Clock
from gateway.event import Event
from gateway.selection import Selection
from gateway.store.log import Log
from rules.engine import Engine
from rules.load import load
from tests.faults.child import Child
from tests.faults.devices import Device, play
from tests.parts import free_port

kills = 20

RULES = """
[rule.hot]
on = "hall/*"
when = "temperature > 80 °C"
clear = "temperature < 70 °C"

[rule.damp]
on = "hall/*"
when = "humidity > 80 % for 200ms"
clear = "humidity < 60 % for 100ms"
"""

CONFIGURATION = """
[gateway]
name = "victim"
data = "data"
rules = ["rules.toml"]
[[listener]]
port = {port}
[[binding]]
driver = "json"
topics = ["plant/{{area}}/{{device}}"]
allow = ["*"]
[[subscription]]
name = "archive"
sink = "file"
folder = "{archive}"
"""


@contextmanager
def victim(folder: Path, program: list[str] | None = None) -> Iterator[Child]:
    """A gateway to be killed; it is gone in the end, whatever happens."""
    port = free_port()
    (folder / "archive").mkdir()
    (folder / "rules.toml").write_text(RULES)
    (folder / "redcar.toml").write_text(CONFIGURATION.format(port=port, archive=folder / "archive"))
    child = Child(folder, port, program)
    try:
        yield child
    finally:
        child.kill_if_alive()


@pytest.mark.timeout(240)
def test_kill_nine_loses_nothing_acknowledged_and_repeats_no_alarm(tmp_path: Path) -> None:
    seed = int(os.environ.get("REDCAR_SEED") or SystemRandom().randrange(1_000_000))
    print(f"REDCAR_SEED={seed} repeats the moments of this run")
    rng = Random(seed)
    devices = [Device(f"hall/d{number}") for number in range(6)]
    with victim(tmp_path) as child:
        for number in range(kills):
            child.start()
            in_the_start = number % 5 == 4
            if child.listening(rng.uniform(0.05, 0.7) if in_the_start else 20) and not in_the_start:
                for device in devices:
                    device.connect(child.port)
                play(devices, rng, rng.uniform(0.02, 1.2))
                child.kill()
                for device in devices:
                    device.lost()
            else:
                child.kill()
        child.start()
        assert child.listening(20), child.said()
        wait_until_nothing_is_owed(child)
        child.stop()
        (rules,) = [lane for lane in child.owed() if lane["consumer"] == "rules"]
    events = asyncio.run(stored(tmp_path / "data"))
    acknowledged = sum(len(device.acknowledged) for device in devices)
    print(f"{sum(device.sent for device in devices)} sent, {acknowledged} acknowledged, {len(events)} events stored")
    assert acknowledged > 1_000

    check_offsets(events)
    for device in devices:
        check_numbers(device, events)
    check_alarms(tmp_path, [event for event in events if event.offset < rules["lo"]], events)
    check_archive(tmp_path, [event for event in events if event.offset < rules["lo"]])


def wait_until_nothing_is_owed(child: Child) -> None:
    deadline = time.monotonic() + 30
    while any(lane["owed"] for lane in child.owed()):
        assert time.monotonic() < deadline, f"{child.owed()}\n{child.said()}"


async def stored(folder: Path) -> list[Event]:
    """Everything in the log, as the gateway reads it."""
    log = await Log.open(folder, Clock())
    events: list[Event] = []
    while page := await log.read_as_stored(events[-1].offset + 1 if events else 1):
        events += page
    await log.close()
    return events


def check_offsets(events: list[Event]) -> None:
    """They rise one by one: nobody has given anything up."""
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    assert sum(event.type == "gateway.started" for event in events) >= kills * 4 // 5


def check_numbers(device: Device, events: list[Event]) -> None:
    """What was acknowledged is there; in the order in which it was sent; and nothing that wasn't sent."""
    numbers = [event.data["n"] for event in events if event.type == "reading" and event.source == device.source]
    assert device.acknowledged - set(numbers) == set(), f"{device.source}: acknowledged and not in the log"
    assert numbers == sorted(set(numbers)), f"{device.source}: not in order, or twice"
    assert numbers[-1] <= device.sent


def check_alarms(folder: Path, seen: list[Event], events: list[Event]) -> None:
    """The alarms in the log are those that an engine finds which was never killed: none forgotten, none repeated."""
    engine = Engine(load([folder / "rules.toml"]))
    want = [(one.type, one.source, one.data, one.time, one.cause) for one in engine.handle(seen)]
    have = [(one.type, one.source, one.data, one.time, one.cause) for one in events if one.type.startswith("alarm.")]
    assert have == want
    assert {one[2]["alarm"] for one in have} == {"hot", "damp"}


def check_archive(folder: Path, events: list[Event]) -> None:
    """Every event that the subscription asks for arrived; what came again had the same identity and content."""
    (archive,) = config.load(folder / "redcar.toml").subscription
    owed = Selection(archive.types, archive.sources).of(events)
    arrived: dict[str, Event] = {}
    for file in sorted((folder / "archive").glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            (one,) = envelope.parse(line)
            event = one.event()
            first = arrived.setdefault(f"{one.source} {one.id}", event)
            assert (first.offset, first.source, first.type, first.body) == (
                event.offset,
                event.source,
                event.type,
                event.body,
            )
    content = {event.offset: (event.source, event.type, event.data) for event in arrived.values()}
    want = {event.offset: (event.source, event.type, event.data) for event in owed}
    assert len(content) == len(arrived)
    assert {offset: one for offset, one in content.items() if offset in want} == want
