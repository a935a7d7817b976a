"""What rules make of time: silence, late news, backlogs, ticks that come late, gateways that were down, clocks that are set."""

import pytest

from gateway.event import SECOND
from tests.rules.story import Log, at, begin, reading, tick

HOT = '[rule.hot]\non = "boiler-*"\nwhen = "temperature > 80 °C for 30s"\nclear = "temperature < 75 °C for 2m"\n'
SILENT = '[rule.silent]\non = "*"\nwhen = "age() > 5m"\n'
PLAIN = '[rule.hot]\non = "boiler-*"\nwhen = "temperature > 80 °C"\n'


def test_deadman_in_a_silent_log() -> None:
    log = Log(SILENT)
    log.feed(reading(0, "a", x=1), reading(60, "b", x=1))
    assert log.wait(1000) == ["300s a silent active", "360s b silent active"]
    assert log.feed(reading(1001, "a", y=2)) == ["1001s a silent clear"]


def test_deadman_of_a_device_that_never_spoke() -> None:
    """A source named without a * is missed from the start."""
    log = Log('[rule.silent]\non = "freezer"\nwhen = "age() > 5m"')
    log.feed(at(0, "gateway.started", "gateway"))
    assert log.wait(1000) == ["300s freezer silent active"]


def test_deadman_of_one_metric() -> None:
    log = Log('[rule.silent]\non = "*"\nwhen = "age(temperature) > 5m"')
    log.feed(reading(0, "a", temperature=1), reading(0, "b", humidity=1), reading(200, "a", humidity=1))
    log.feed(reading(250, "a", _quality={"temperature": "decode"}, humidity=2))
    assert log.wait(1000) == ["300s a silent active"]


def test_age_that_ends() -> None:
    """An alarm on what is new clears by time alone."""
    log = Log('[rule.heard]\non = "*"\nwhen = "age() < 1m and x == 1"')
    assert log.feed(reading(0, "a", x=1)) == ["0s a heard active"]
    assert log.wait(100) == ["60s a heard clear"]


def test_delay_after_age() -> None:
    log = Log('[rule.silent]\non = "*"\nwhen = "age() > 5m for 1m"')
    log.feed(reading(0, "a", x=1))
    assert log.wait(1000) == ["360s a silent active"]


def test_late_readings_change_nothing() -> None:
    log = Log(PLAIN + SILENT)
    assert log.feed(reading(100, "boiler-1", temperature=20, humidity=1)) == []
    assert log.feed(reading(90, "boiler-1", temperature=85)) == []
    assert log.feed(reading(100, "boiler-1", temperature=86)) == [
        "100s boiler-1 hot active"
    ]  # same time: the last one wins
    assert log.feed(reading(95, "boiler-1", temperature=20)) == []
    assert log.wait(1000) == ["400s boiler-1 silent active"]


def test_each_metric_has_its_own_newest_time() -> None:
    log = Log('[rule.x]\non = "*"\nwhen = "temperature > 1 and humidity > 1"')
    assert log.feed(reading(100, "a", temperature=2), reading(99, "a", humidity=2)) == ["100s a x active"]


def test_a_backlog_is_judged_in_its_own_time() -> None:
    """A device was cut off for an hour and now hands over what it measured: ticks of today don't touch it."""
    log = Log(HOT + SILENT)
    log.feed(reading(0, "boiler-1", temperature=20))
    backlog = [
        reading(second, "boiler-1", temperature=value) for second, value in [(10, 85), (20, 70), (100, 85), (200, 85)]
    ]
    for number, event in enumerate(backlog):
        event.recorded = begin + (3600 + number) * SECOND
    assert log.feed(*backlog[:1]) == ["300s boiler-1 silent active", "10s boiler-1 silent clear"]
    assert log.feed(at(3600, "tick", "gateway"), *backlog[1:]) == ["130s boiler-1 hot active"]
    assert log.wait(3603 + 299) == []
    assert log.wait(3603 + 300) == ["500s boiler-1 silent active"]


def test_the_next_tick_moves_with_how_far_behind_a_device_is() -> None:
    log = Log(HOT)
    hot, damp = reading(10, "boiler-1", temperature=85), reading(35, "boiler-1", humidity=50)
    hot.recorded, damp.recorded = begin + 3600 * SECOND, begin + 3601 * SECOND
    log.feed(hot)
    assert log.engine.due() == begin + 3630 * SECOND
    log.feed(damp)  # 25 s of its time came within a second
    assert log.engine.due() == begin + 3606 * SECOND


def test_a_late_reading_puts_nobody_behind() -> None:
    log = Log(SILENT)
    now, late = reading(2000, "a", x=1), reading(100, "a", x=1)
    now.recorded, late.recorded = begin + 2000 * SECOND, begin + 2001 * SECOND
    log.feed(now, late)
    assert log.engine.due() == begin + 2300 * SECOND


def test_without_ticks_a_reading_at_the_very_moment_counts_too() -> None:
    log = Log(HOT, ticking=False)
    log.feed(reading(0, "boiler-1", temperature=85), reading(5, "boiler-2", temperature=85))
    assert log.feed(reading(35, "boiler-2", temperature=20)) == ["30s boiler-1 hot active"]


def test_time_of_the_wall_is_when_events_arrive() -> None:
    """One device with a clock ahead of time fires nobody else's timer."""
    log = Log('[rule.silent]\non = "a"\nwhen = "age() > 5m"')
    log.feed(reading(0, "a", x=1))
    ahead = reading(10_000, "b", x=1)
    ahead.recorded = begin + 10 * SECOND
    assert log.feed(ahead) == []
    assert log.wait(1000) == ["300s a silent active"]


def test_late_ticks_change_nothing() -> None:
    """Alarms carry the time for which their timer was set, whoever brought the news."""
    text = HOT + '[rule.silent]\non = "*"\nwhen = "age() > 5m for 1m"'
    log = Log(text, ticking=False)
    log.feed(reading(0, "boiler-1", temperature=85))
    assert log.feed(tick(10_000)) == ["30s boiler-1 hot active", "360s boiler-1 silent active"]
    log = Log(text, ticking=False)
    assert log.feed(reading(0, "boiler-1", temperature=85), reading(10_000, "boiler-1", temperature=20)) == [
        "30s boiler-1 hot active",
        "360s boiler-1 silent active",
        "10000s boiler-1 silent clear",
    ]


def test_down_time_doesnt_count() -> None:
    log = Log(HOT + SILENT, ticking=False)
    log.feed(reading(0, "boiler-1", temperature=85), tick(10), at(10_000, "gateway.started", "gateway"))
    log.ticking = True
    assert log.wait(11_000) == ["10020s boiler-1 hot active", "10290s boiler-1 silent active"]


def test_down_time_clears_nothing() -> None:
    log = Log(SILENT, ticking=False)
    log.feed(reading(0, "a", x=1), tick(400), at(9000, "gateway.started", "gateway"), reading(9001, "b", x=1))
    assert log.feed(tick(9200)) == []
    assert log.feed(reading(9300, "a", x=1)) == ["9300s a silent clear"]


def test_what_was_given_up_of_the_past_is_no_down_time() -> None:
    log = Log(HOT)
    gap = {"reason": "cap", "count": 2, "ranges": [[1, 2, 2]], "from": begin, "to": begin + 9 * SECOND}
    log.feed(reading(0, "boiler-1", temperature=85), at(10, "gap", "gateway", gap))
    assert log.wait(100) == ["30s boiler-1 hot active"]


@pytest.mark.parametrize("by", [3_600_000, -3_600_000, 86_400 * 365])
def test_a_set_clock_moves_everything_along(by: int) -> None:
    """A Pi without a clock gets the time: no delay is cut short, nobody falls silent, no reading is late."""
    log = Log(
        HOT
        + '[rule.silent]\non = "*"\nwhen = "age() > 5m"\n[rule.mean]\non = "*"\nwhen = "avg(temperature, 10m) > 1 °C"'
    )
    log.feed(reading(0, "boiler-1", temperature=85))
    log.ticking = False
    step = {"before": begin + 10 * SECOND, "after": begin + (10 + by) * SECOND}
    log.feed(at(10 + by, "clock.stepped", "gateway", step))
    log.ticking = True
    log.feed(reading(20 + by, "boiler-1", temperature=86))
    assert log.wait(by + 400) == [f"{by + 30}s boiler-1 hot active", f"{by + 320}s boiler-1 silent active"]


def test_a_reading_that_was_faster_than_the_news_of_the_clock() -> None:
    """Nobody's next reading is late because this one came between the setting of the clock and its event."""
    log = Log(PLAIN, ticking=False)
    step = {"before": begin + 10 * SECOND, "after": begin + 3610 * SECOND}
    log.feed(reading(9, "boiler-1", temperature=20), reading(3609, "boiler-1", temperature=20))
    log.feed(at(3610, "clock.stepped", "gateway", step))
    assert log.feed(reading(3611, "boiler-1", temperature=85)) == ["3611s boiler-1 hot active"]
