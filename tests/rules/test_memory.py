"""Windows and the value before, against their definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meaning import Spec
from rules.memory import Previous, Window, panes
from tests.rules.story import Log, reading

minute = 60_000_000
SPEC = Spec("window", "temperature", 10 * minute)
METHODS = ("avg", "min", "max", "sum", "count", "spread", "delta", "rate")


def filled(points: list[tuple[int, float]]) -> Window:
    window = Window(SPEC)
    for time, value in points:
        window.add(time, value)
    return window


def test_unknown_until_half_full() -> None:
    window = filled([(0, 1.0), (4 * minute, 3.0)])
    assert [getattr(window, method)(5 * minute - 1, 0) for method in METHODS] == [None] * 8
    assert [getattr(window, method)(5 * minute, 0) for method in METHODS] == [
        2.0,
        1.0,
        3.0,
        4.0,
        2,
        2.0,
        2.0,
        2.0 / 240,
    ]


def test_what_is_older_than_the_window_is_gone() -> None:
    window = filled([(0, 100.0), (8 * minute, 1.0), (15 * minute, 3.0)])
    assert (window.avg(15 * minute, 0), window.max(15 * minute, 0), window.delta(15 * minute, 0)) == (2.0, 3.0, 2.0)
    assert window.avg(30 * minute, 0) is None
    assert window.count(30 * minute, 0) == 0  # no value came: that is known


def test_a_value_counts_once_per_time() -> None:
    window = filled([(0, 1.0), (0, 9.0), (6 * minute, 1.0), (6 * minute, 9.0)])
    assert window.sum(6 * minute, 0) == 2.0


def test_rate_of_a_straight_line_with_noise_that_cancels() -> None:
    window = filled([(second * 1_000_000, second * 0.5 + (-1) ** second) for second in range(600)])
    assert window.rate(600 * 1_000_000, 0) == pytest.approx(0.5, abs=1e-3)


points = st.lists(st.tuples(st.integers(0, 2 * minute), st.floats(-1e6, 1e6)), min_size=1, max_size=80)


@given(points, st.integers(0, 5 * minute))
def test_against_all_values(steps: list[tuple[int, float]], wait: int) -> None:
    """A window of panes holds what lies in its panes; at their edge it is a 60th of its length coarse."""
    window, width, now, held = Window(SPEC), 10 * minute // panes, 0, []
    for step, value in steps:
        if step or not held:
            now += step
            held.append((now, value))
            window.add(now, value)
    now += wait
    inside = [(time, value) for time, value in held if time // width > now // width - panes]
    if not inside or now - inside[0][0] < 5 * minute:
        assert window.avg(now, 0) is None
        return
    values = [value for _, value in inside]
    assert window.count(now, 0) == len(values)
    assert window.min(now, 0) == min(values)
    assert window.max(now, 0) == max(values)
    assert window.spread(now, 0) == max(values) - min(values)
    assert window.delta(now, 0) == values[-1] - values[0]
    assert window.sum(now, 0) == pytest.approx(sum(values), abs=1e-6)
    assert window.avg(now, 0) == pytest.approx(sum(values) / len(values), abs=1e-6)
    window.rate(now, 0)
    again = Window(SPEC)
    again.restore(window.state())
    assert [getattr(again, method)(now, 0) for method in METHODS] == [
        getattr(window, method)(now, 0) for method in METHODS
    ]


def test_memory_is_bounded() -> None:
    window = filled([(time, 1.0) for time in range(0, 100 * minute, 1_000_000)])
    assert len(window.state()) == 2 + 9 * panes


def test_previous() -> None:
    previous = Previous(Spec("prev", "temperature"))
    found = []
    for time, value in [(0, 1.0), (0, 2.0), (1, 3.0), (1, 4.0), (2, 5.0)]:
        previous.add(time, value)
        found.append(previous.value(time, 0))
    assert found == [None, None, 2.0, 2.0, 4.0]


def test_rules_with_windows() -> None:
    log = Log("""
[rule.rising]
on = "*"
when = "rate(temperature, 10m) > 1 K/min and delta(temperature, 10m) > 5 K"
[rule.jump]
on = "*"
when = "abs(temperature - prev(temperature)) > 10 K"
""")
    assert log.feed(*(reading(60 * step, "a", temperature=20 + 2 * step) for step in range(8))) == [
        "300s a rising active"
    ]
    assert log.feed(reading(500, "a", temperature=60)) == ["500s a jump active"]
    assert log.feed(reading(501, "a", temperature=60)) == ["501s a jump clear"]
    log.restart()
    assert log.feed(*(reading(600 + 30 * step, "a", temperature=60) for step in range(20))) == ["1020s a rising clear"]
