"""The clock of a gateway at work is set: 1970 at boot, NTP's answer, an hour back, ten years ahead. Real steps of the process's
wall clock (libfaketime); its monotonic clock goes on, as a machine's does."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from gateway.clock import Clock
from gateway.event import SECOND, Event
from gateway.store.log import Log
from tests.faults import gateway
from tests.faults.child import Child
from tests.faults.test_gateway_disk import Press, check_numbers, in_the_log, press, until
from tests.faults.test_kill import check_alarms, stored, victim
from tests.parts import need

RULES = """
[rule.hot]
on = "hall/*"
when = "temperature > 80 °C"
clear = "temperature < 70 °C"

[rule.damp]
on = "hall/*"
when = "humidity > 80 % for 2s"
clear = "humidity < 60 %"
"""

RETENTION = """
[retention]
age = "1h"
"""

care_looks = 2.0
"""Seconds in which the care of the log has looked at what is too old, once at least."""


class Wall:
    """The wall clock of a child, for it to be started with."""

    def __init__(self, folder: Path) -> None:
        need("faketime", "faketime")
        self._file = folder / "wall"
        self._mark = folder / "confirmed"
        self.environment = {
            "LD_PRELOAD": str(next(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "CONFIRMED": str(self._mark),
        }

    def set(self, apart: int) -> None:
        """To so many seconds from the true time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{apart:+d}\n")
        os.replace(fresh, self._file)

    def confirm(self) -> None:
        """From now on somebody says that it is right."""
        self._mark.touch()


def across(child: Child, device: Press, folder: Path, step: Callable[[], None]) -> None:
    """Set the clock while the timer of a rule runs: it fires, neither in an hour nor in ten years."""
    raised = in_the_log(folder, "alarm.raised")
    device.say(temperature=60, humidity=50)
    device.say(temperature=60, humidity=90)
    until(lambda: not device.unacknowledged, child.said)
    damp = sum(one.data["alarm"] == "damp" for one in raised())
    time.sleep(0.3)
    step()
    device.say(temperature=60, humidity=91)
    until(lambda: sum(one.data["alarm"] == "damp" for one in raised()) > damp, child.said, 30)
    device.send(80)
    until(lambda: not device.unacknowledged, child.said)


def test_a_clock_that_is_set_while_everything_runs(tmp_path: Path) -> None:
    wall = Wall(tmp_path)
    began = time.time()
    wall.set(100 - int(began))
    with victim(tmp_path, gateway.program) as child:
        (tmp_path / "rules.toml").write_text(RULES)
        with (tmp_path / "redcar.toml").open("a") as file:
            file.write(RETENTION)
        child.start(environment=wall.environment)
        assert child.listening(20)
        with press(child.port) as device:
            device.send(80)

            def ntp_answers() -> None:
                wall.set(0)
                wall.confirm()

            across(child, device, tmp_path, ntp_answers)
            until(in_the_log(tmp_path, "clock.synced"), child.said, 20)
            across(child, device, tmp_path, lambda: wall.set(-3_600))
            across(child, device, tmp_path, lambda: wall.set(10 * 365 * 86_400))
            time.sleep(care_looks)
        child.kill()
        child.start(environment=wall.environment)  # ten years ahead from its first moment, and confirmed
        assert child.listening(20)
        time.sleep(care_looks)
        child.stop()
        (rules,) = [lane for lane in child.owed() if lane["consumer"] == "rules"]
    events = asyncio.run(stored(tmp_path / "data"))
    assert [one.data for one in events if one.type == "gap"] == []  # nothing was taken for ten years old
    assert len([one for one in events if one.type == "clock.stepped"]) >= 3
    check_numbers(device, events)
    check_alarms(tmp_path, [one for one in events if one.offset < rules["lo"]], events)
    check_times(asyncio.run(restamped(tmp_path / "data")), began)


async def restamped(folder: Path) -> list[Event]:
    """Everything in the log, as sinks and people read it."""
    log = await Log.open(folder, Clock())
    events: list[Event] = []
    while page := await log.read(events[-1].offset + 1 if events else 1):
        events += page
    await log.close()
    return events


def check_times(events: list[Event], began: float) -> None:
    """What happened in 1970 has its true time for readers; what somebody had confirmed keeps the one it got."""
    synced = next(one.offset for one in events if one.type == "clock.synced")
    early = [one for one in events if one.offset < synced]
    assert early
    for one in early:
        assert abs(one.time / SECOND - began) < 300, one
    ahead = [one for one in events if one.time / SECOND > began + 9 * 365 * 86_400]
    back = [one for one in events if -4_000 < one.time / SECOND - began < -3_000]
    assert ahead
    assert back
