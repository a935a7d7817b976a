"""What every detector keeps to, found by file name; and what each finds."""

import random
from math import sin, tau

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.detectors import Detector, kinds, load
from tests import replay_nab
from tests.rules.story import Log, reading

minute = 60_000_000
Points = list[tuple[int, float]]


def scores(detector: Detector, points: Points) -> list[float]:
    found = []
    for time, value in points:
        found.append(detector.score(time, value))
        detector.learn(time, value)
    return found


def machine(seed: int = 1, days: int = 10, every: int = 10) -> Points:
    """A temperature with a daily swing and noise, sound until its last day; then it climbs."""
    rng = random.Random(seed)
    points = []
    for step in range(0, days * 1440, every):
        value = 60 + 5 * sin(step / 1440 * tau) + rng.gauss(0, 0.5) + max(0, step - (days - 1) * 1440) * 0.05
        points.append((1_700_000_000_000_000 + step * minute, value))
    return points


def alarms(found: list[float], limit: float = 0.05) -> list[int]:
    return [at for at, score in enumerate(found) if score > limit]


def test_kinds() -> None:
    assert kinds() == ["envelope", "extremes"]
    with pytest.raises(KeyError):
        load("gut_feeling")


@pytest.fixture(params=kinds())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_finds_what_never_was_before(kind: str) -> None:
    """Silent or nearly so on sound days, but not once the machine runs hot."""
    found = alarms(scores(load(kind)(), machine()))
    sound = [at for at in found if at < 9 * 144]
    assert len(sound) <= 3
    assert len(found) > len(sound)


def test_a_constant_that_changes(kind: str) -> None:
    detector = load(kind)()
    points = [(step * minute, 20.0) for step in range(200)]
    assert set(scores(detector, points)) == {0.0}
    assert detector.score(200 * minute, 21.0) > 0.5
    assert "21" in detector.why()
    assert "20" in detector.why()


def test_silent_at_first(kind: str) -> None:
    rng = random.Random(3)
    assert set(scores(load(kind)(), [(step * minute, rng.gauss(0, 1)) for step in range(100)])) == {0.0}


def test_same_alarms_in_any_unit(kind: str) -> None:
    """Multiplied, mirrored, a week later: what is odd stays odd."""
    points = machine(2)
    usual = alarms(scores(load(kind)(), points))
    for changed in (
        [(time, value * 4) for time, value in points],
        [(time, -value) for time, value in points],
        [(time + 7 * 1440 * minute, value) for time, value in points],
    ):
        assert alarms(scores(load(kind)(), changed)) == usual


def test_goes_on_after_a_restart_at_any_value(kind: str) -> None:
    points = machine(4, days=4)
    whole, parts = load(kind)(), load(kind)()
    for number, (time, value) in enumerate(points):
        wanted = whole.score(time, value)
        assert parts.score(time, value) == wanted, number
        whole.learn(time, value)
        parts.learn(time, value)
        state = parts.state()
        parts = load(kind)()
        parts.restore(state)
        assert parts.state() == state
        assert parts.why() == whole.why()


@given(
    st.sampled_from(kinds()),
    st.lists(st.tuples(st.integers(-minute, 1440 * minute), st.floats(-1e18, 1e18)), max_size=300),
)
def test_never_raises_never_hoards(kind: str, steps: list[tuple[int, float]]) -> None:
    detector, time = load(kind)(), 10 * 1440 * minute
    for step, value in steps:
        time = max(0, time + step)
        assert 0.0 <= detector.score(time, value) <= 1.0
        detector.learn(time, value)
        detector.why()
    assert len(detector.state()) < 200


def test_envelope_knows_the_hours() -> None:
    """A night's value at noon is odd, though it is within the range."""
    points = [(hour * 60 * minute, 100.0 if 6 <= hour % 24 < 18 else 10.0) for hour in range(24 * 14)]
    points[-12] = (points[-12][0], 12.0)
    extremes, envelope = (alarms(scores(load(kind)(), points)) for kind in ("extremes", "envelope"))
    assert extremes == []
    assert len(points) - 12 in envelope


def test_envelope_holds_for_sixty_values() -> None:
    """One episode, one alarm: within it only a larger score passes."""
    detector = load("envelope")()
    scores(detector, [(step * minute, 20.0 + step % 2) for step in range(300)])
    growing = [((300 + step) * minute, 30.0 * 1.15**step) for step in range(100)]
    assert alarms(scores(detector, growing), 0.0)[:2] == [0, 61]


def test_envelope_on_a_real_machine() -> None:
    """At the threshold that was chosen on other series: no alarm but about a failure."""
    series, detector = replay_nab.readings(), load("envelope")()
    found = scores(detector, [(int(time.timestamp()) * 1_000_000, value) for time, value in series])
    about = [
        [failure.begin <= series[at][0] <= failure.end for failure in replay_nab.failures()] for at in alarms(found)
    ]
    assert all(any(one) for one in about)
    assert sum(map(any, zip(*about))) >= 2


RULE = """
[rule.odd]
on = "*"
detector = "{}"
learn = "{}"
when = "anomaly(power{}) > 0.2"
clear = "anomaly(power) < 0.2 for 10m"
"""


def test_rule_with_a_detector(kind: str) -> None:
    log = Log(RULE.format(kind, "2h", "") + 'text = "{device}: {why}"')
    log.feed(*(reading(step * 60, "pump", power=100 + step % 3) for step in range(200)))
    assert log.alarms == []
    log.restart()
    assert log.feed(reading(12_000, "pump", power=180)) == ["12000s pump odd active"]
    assert log.alarms[0].data["why"].startswith("power ")
    assert log.alarms[0].data["text"] == f"pump: {log.alarms[0].data['why']}"
    assert log.feed(*(reading(12_000 + step * 60, "pump", power=100) for step in range(1, 20))) == [
        "12660s pump odd clear"
    ]


def test_learning_is_silent(kind: str) -> None:
    log = Log(RULE.format(kind, "1d", ""))
    log.feed(*(reading(step * 60, "pump", power=100 + step % 3) for step in range(200)))
    assert log.feed(reading(12_000, "pump", power=180)) == []


def test_bucket_means(kind: str) -> None:
    """``anomaly(power, 10m)``: one outlier among sixty readings is no anomaly of their mean."""
    log = Log(RULE.format(kind, "1h", ", 10m").replace("anomaly(power) <", "anomaly(power, 10m) <"))
    rng = random.Random(5)
    log.feed(*(reading(step * 10, "pump", power=100 + rng.gauss(0, 5)) for step in range(20_000)))
    before = len(log.alarms)
    log.feed(reading(200_000, "pump", power=140))
    assert log.feed(*(reading(200_000 + step * 10, "pump", power=100) for step in range(1, 130))) == []
    assert len(log.alarms) == before
    log.feed(*(reading(202_000 + step * 10, "pump", power=140) for step in range(60)))
    assert log.feed(reading(202_800, "pump", power=140))[-1].endswith("pump odd active")
