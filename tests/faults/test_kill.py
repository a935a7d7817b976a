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
from tests.faults.test_disk import strace
from tests.parts import free_port

kills = 12

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
folder = "{folder}/archive"
[[subscription]]
name = "alarms"
sink = "file"
types = ["alarm.*"]
folder = "{folder}/alarms"
"""

archives = ("archive", "alarms")
"""Where it delivers to: receivers that know a batch again by its name, and an event by its identity."""

calls = ("pwrite64", "fdatasync")


@contextmanager
def victim(folder: Path, program: list[str] | None = None) -> Iterator[Child]:
    """A gateway to be killed; it is gone in the end, whatever happens."""
    port = free_port()
    for name in archives:
        (folder / name).mkdir()
    (folder / "rules.toml").write_text(RULES)
    (folder / "redcar.toml").write_text(CONFIGURATION.format(port=port, folder=folder))
    child = Child(folder, port, program)
    try:
        yield child
    finally:
        child.kill_if_alive()


@pytest.mark.timeout(240)
def test_kill_nine_loses_nothing_acknowledged_and_repeats_no_alarm(tmp_path: Path) -> None:
    seed = int(os.environ.get("REDCAR_SEED") or SystemRandom().randrange(1_000_000))
    print(f"REDCAR_SEED={seed} repeats the moments of this run")
    assert killed(tmp_path, Random(seed), kills) > 1_000


def killed(folder: Path, rng: Random, times: int) -> int:
    """Kill it so many times, and hold what is left against what was promised; gives how much was acknowledged."""
    devices = [Device(f"hall/d{number}") for number in range(6)]
    with victim(folder) as child:
        for number in range(times):
            end(child, devices, rng, ("load", "load", "call", "load", "start")[number % 5])
        child.start()
        assert child.listening(20), child.said()
        wait_until_nothing_is_owed(child)
        child.stop()
        (rules,) = [lane for lane in child.owed() if lane["consumer"] == "rules"]
    events = asyncio.run(stored(folder / "data"))
    acknowledged = sum(len(device.acknowledged) for device in devices)
    check_offsets(events, times)
    for device in devices:
        check_numbers(device, events)
    seen = [event for event in events if event.offset < rules["lo"]]
    check_alarms(folder, seen, events)
    for name in archives:
        check_archive(folder, name, seen)
    return acknowledged


def end(child: Child, devices: list[Device], rng: Random, when: str) -> None:
    """One life. ``when`` it ends: under load, at a system call of its writer, or in the start."""
    child.start(under=strace(f"{rng.choice(calls)}:signal=KILL:when={rng.randint(1, 200)}") if when == "call" else None)
    if child.listening(rng.uniform(0.05, 0.7) if when == "start" else 20) and when != "start":
        try:
            for device in devices:
                device.connect(child.port)
            play(devices, rng, 5.0 if when == "call" else rng.uniform(0.02, 1.2))
        except OSError:
            assert when == "call", child.said()
        child.kill()
        for device in devices:
            if device.connected:
                device.lost()
    else:
        child.kill()


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


def check_offsets(events: list[Event], times: int) -> None:
    """They rise one by one: nobody has given anything up."""
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    assert sum(event.type == "gateway.started" for event in events) >= times * 3 // 5


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


def check_archive(folder: Path, name: str, events: list[Event]) -> None:
    """Every event that the subscription asks for arrived; what came again had the same identity and content."""
    (archive,) = [one for one in config.load(folder / "redcar.toml").subscription if one.name == name]
    owed = Selection(archive.types, archive.sources).of(events)
    arrived: dict[str, Event] = {}
    for file in sorted((folder / name).glob("*.jsonl")):
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
