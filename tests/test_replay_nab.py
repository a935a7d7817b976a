"""The replay of a real machine: on its first 16 days, with the first two failures; and what it says when readings are missing."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from gateway.event import SECOND, Event, event
from tests import replay_nab

root = Path(__file__).parents[1]


def test_two_weeks_of_a_machine_raise_the_alarms_of_its_two_failures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.replay_nab", "--readings", "4500"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first.startswith("4,500 readings, 2013-12-02 21:15 to 2013-12-18 12:10, in ")
    assert first.endswith(" s: all stored")
    assert [line for line in lines if line.startswith(("failure", "    too_cold"))] == [
        "failure 2013-12-11 06:00",
        "    too_cold   2013-12-10 10:05, 19 h 55 min before",
        "failure 2013-12-16 17:25",
        "    too_cold   2013-12-16 08:35, 8 h 50 min before",
    ]


def raised(rule: str, at: str) -> Event:
    time = int((replay_nab.moment(at) + replay_nab.moved).timestamp()) * SECOND
    return event("alarm.raised", "plant/machine", {"alarm": rule}, time=time)


def test_the_report_says_which_failures_were_seen_and_what_was_raised_beside() -> None:
    series = replay_nab.readings(4500)
    events = [event("reading", "plant/machine", {}, time=0)] * 4499
    events += [
        raised("too_cold", "2013-12-09 12:00"),
        raised("odd", "2013-12-11 05:00"),
        raised("odd", "2013-12-11 07:30"),
        raised("too_cold", "2013-12-11 08:05"),
    ]
    text, complete = replay_nab.report(series, events, 1.25)
    assert not complete
    assert text.splitlines() == [
        "4,500 readings, 2013-12-02 21:15 to 2013-12-18 12:10, in 1.2 s: only 4,499 are stored",
        "failure 2013-12-11 06:00",
        "    odd        2013-12-11 05:00, 1 h 00 min before",
        "    too_cold   2013-12-11 08:05, 2 h 05 min after",
        "failure 2013-12-16 17:25",
        "    no alarm",
        "4 alarms, 3 of them about these failures; beside: too_cold 1",
    ]


def test_the_series_is_moved_by_whole_weeks() -> None:
    assert replay_nab.moved % timedelta(weeks=1) == timedelta()
    assert len(replay_nab.readings()) == 22_695
    assert len(replay_nab.failures()) == 4
