"""Windows and the value before, against their definitions."""

from statistics import fmean, linear_regression

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meaning import Spec
from rules.memory import Previous
from rules.windows import WINDOWS, panes
from tests.rules.story import Log, reading

minute = 60_000_000
SPEC = Spec("any", "temperature", 10 * minute)


class Window:
    """All kinds of windows beside each other: ``ask("avg", now)``."""

    def __init__(self, points: list[tuple[int, float]] = []) -> None:  # noqa: B006
        self.kinds = {kind: kind(SPEC) for kind in WINDOWS.values()}
        for time, value in points:
            self.add(time, value)

    def add(self, time: int, value: float) -> None:
        for kind in self.kinds.values():
            kind.add(time, value)

    def ask(self, method: str, now: int) -> float | None:
        found: float | None = getattr(self.kinds[WINDOWS[method]], method)(now)
        return found

    def all(self, now: int) -> dict[str, float | None]:
        return {method: self.ask(method, now) for method in WINDOWS}

    def again(self) -> "Window":
        """The same after a restart."""
        window = Window()
        for kind, memory in self.kinds.items():
            window.kinds[kind].restore(memory.state())
        return window


def test_unknown_until_half_full() -> None:
    window = Window([(0, 1.0), (4 * minute, 3.0)])
    assert set(window.all(5 * minute - 1).values()) == {None}
    assert window.all(5 * minute) == {
        "avg": 2.0,
        "sum": 4.0,
        "count": 2,
        "min": 1.0,
        "max": 3.0,
        "spread": 2.0,
        "delta": 2.0,
        "rate": pytest.approx(2.0 / 240),
    }


def test_what_is_older_than_the_window_is_gone() -> None:
    window = Window([(0, 100.0), (8 * minute, 1.0), (15 * minute, 3.0)])
    assert [window.ask(method, 15 * minute) for method in ("avg", "max", "delta")] == [2.0, 3.0, 2.0]
    assert window.ask("avg", 30 * minute) is None
    assert window.ask("count", 30 * minute) == 0  # no value came: that is known


def test_a_value_counts_once_per_time() -> None:
    assert Window([(0, 1.0), (0, 9.0), (6 * minute, 1.0), (6 * minute, 9.0)]).ask("sum", 6 * minute) == 2.0


def test_rate_of_a_straight_line_with_noise_that_cancels() -> None:
    window = Window([(second * 1_000_000, second * 0.5 + (-1) ** second) for second in range(600)])
    assert window.ask("rate", 600 * 1_000_000) == pytest.approx(0.5, abs=1e-3)


points = st.lists(st.tuples(st.integers(0, 2 * minute), st.floats(-1e6, 1e6)), min_size=1, max_size=80)


@given(points, st.integers(0, 5 * minute))
def test_against_all_values(steps: list[tuple[int, float]], wait: int) -> None:
    """A window holds what lies in its panes; at their edge it is a 60th of its length coarse."""
    window, width, now = Window(), 10 * minute // panes, 0
    held: list[tuple[int, float]] = []
    for step, value in steps:
        if step or not held:
            now += step
            held.append((now, value))
            window.add(now, value)
            window.all(now)  # asking changes nothing
    now += wait
    inside = [(time, value) for time, value in held if time // width > now // width - panes]
    if not inside or now - inside[0][0] // width * width < 5 * minute:
        assert window.ask("avg", now) is None
        return
    values = [value for _, value in inside]
    assert window.all(now) == {
        "avg": pytest.approx(sum(values) / len(values), rel=1e-9, abs=1e-3),
        "sum": pytest.approx(sum(values), rel=1e-9, abs=1e-3),
        "count": len(values),
        "min": min(values),
        "max": max(values),
        "spread": max(values) - min(values),
        "delta": values[-1] - values[0],
        "rate": None if slope(inside, width) is None else pytest.approx(slope(inside, width), rel=1e-9, abs=1e-3),
    }
    assert window.again().all(now) == window.all(now)


def slope(inside: list[tuple[int, float]], width: int) -> float | None:
    """The definition: through the means of the panes."""
    within: dict[int, list[tuple[int, float]]] = {}
    for time, value in inside:
        within.setdefault(time // width, []).append((time, value))
    if len(within) < 2:
        return None
    means = [tuple(fmean(numbers) for numbers in zip(*pane)) for pane in within.values()]
    times = [(time - inside[0][0]) / 1e6 for time, _ in means]
    return linear_regression(times, [value for _, value in means]).slope


def test_windows_are_bounded() -> None:
    window = Window([(time, 1.0) for time in range(0, 100 * minute, 1_000_000)])
    assert {len(memory.state()) for memory in window.kinds.values()} == {2 + 3 * panes, 2 + 4 * panes}


def test_previous() -> None:
    previous = Previous(Spec("prev", "temperature"))
    found = []
    for time, value in [(0, 1.0), (0, 2.0), (1, 3.0), (1, 4.0), (2, 5.0)]:
        previous.add(time, value)
        found.append(previous.value(time))
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
