"""The engine is a function of the log: whatever happens to the process, the alarms are the same, byte for byte."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.event import Event, event
from rules import site
from rules.engine import Engine
from tests.rules.story import Log, at, begin, reading, rules, tick

RULES = rules("""
[rule.hot]
on = "a*"
when = "temperature > 50 °C for 20s"
clear = "temperature < 40 °C for 10s"
text = "{device} {temperature} {since} {why}"

[rule.mixed]
on = "*"
when = "temperature > 30 °C and not (humidity < 50 % or age(humidity) > 1m)"
on_unknown = "clear"

[rule.silent]
on = "*"
when = "age() > 1m for 5s"
unless = "alarm(uplink)"

[rule.uplink]
on = "b"
when = "temperature < 10 °C"

[rule.apart]
with = { one = "a1/temperature", two = "a2/temperature" }
when = "abs(one - two) > 20 K for 15s"
clear = "abs(one - two) < 10 K or age(two) > 2m"

[rule.moving]
on = "*"
when = "avg(temperature, 1m) > 45 °C and delta(temperature, 1m) > 0 K or temperature - prev(temperature) > 60 K"

[rule.odd]
on = "*"
detector = "envelope"
learn = "30s"
when = "anomaly(humidity, 10s) > 0.01 or anomaly(temperature) > 0.5"
text = "{why}"
""")

sources = st.sampled_from(["a1", "a2", "b"])
numbers = st.sampled_from([0, 5.5, 35, 45, 55, 99.25])
events = st.one_of(
    st.builds(lambda source, value: (source, {"temperature": value}), sources, numbers),
    st.builds(lambda source, value: (source, {"temperature": value, "humidity": value}), sources, numbers),
    st.builds(lambda source, value: (source, {"humidity": value}), sources, numbers),
    st.builds(lambda source: (source, {"_quality": {"temperature": "decode"}}), sources),
    st.builds(lambda source, value: (source, {"temperature": value, "late": 1}), sources, numbers),
    st.just(("gateway", {"type": "device.offline"})),
    st.just(("gateway", {"type": "gateway.started"})),
    st.just(("gateway", {"type": "clock.stepped"})),
)
logs = st.lists(st.tuples(st.sampled_from([0, 1, 3, 8, 20, 45, 100]), events), min_size=1, max_size=40)
Step = tuple[int, tuple[str, dict[str, object]]]


def history(steps: list[Step]) -> list[Event]:
    """Events at rising times, some of them late, some by way of a backlog."""
    found, now = [], 0.0
    for number, (wait, (source, data)) in enumerate(steps):
        now += wait + 0.001 * number
        match data.get("type"):
            case "device.offline":
                found.append(at(now, "device.offline", "a1"))
            case "gateway.started":
                found.append(at(now, "gateway.started", "gateway"))
            case "clock.stepped":
                found.append(at(now, "clock.stepped", "gateway", {"before": begin, "after": begin + 7_000_000}))
            case _:
                back = 30 if data.get("late") else 0
                found.append(reading(now - back, source, **data))
                found[-1].recorded = begin + round(now * 1_000_000)
    return found


def bodies(alarms: list[Event], offsets: bool = True) -> Sequence[object]:
    """All of an alarm; without offsets, what doesn't depend on which event brought the news."""
    if offsets:
        return [(one.time, one.source, one.type, one.body, one.cause) for one in alarms]
    return sorted((one.time, one.source, one.type, one.data["alarm"], one.data.get("text", "")) for one in alarms)


def replayed(log: list[Event], restarting: bool = False, together: int = 1) -> list[Event]:
    """What an engine makes of a log with its ticks in it."""
    running, made = Engine(RULES), []
    for first in range(0, len(log), together):
        made += running.handle(log[first : first + together])
        if restarting:
            state = running.snapshot()
            running = Engine(RULES)
            running.restore(state)
            assert running.snapshot() == state
    return made


def with_ticks(steps: list[Step]) -> tuple[list[Event], list[Event]]:
    """A log as it was written while it ran, and the alarms made then."""
    log = Log(RULES)
    log.feed(*history(steps))
    return log.written, log.alarms


@settings(max_examples=120, deadline=None)
@given(logs)
def test_restart_at_every_event(steps: list[Step]) -> None:
    written, alarms = with_ticks(steps)
    assert bodies(replayed(written, restarting=True)) == bodies(alarms)


AFTER_A_GAP: list[Step] = [
    (0, ("a2", {"temperature": 0})),
    (45, ("gateway", {"type": "gateway.started"})),
    (0, ("a2", {"temperature": 0, "late": 1})),
    (45, ("gateway", {"type": "device.offline"})),
]
"""A reading from before the gap, newer than what was known: it once made its device older than the gap allowed."""


@settings(max_examples=60, deadline=None)
@given(logs, st.integers(2, 9))
@example(AFTER_A_GAP, 2)
def test_pages_of_any_size(steps: list[Step], together: int) -> None:
    written, alarms = with_ticks(steps)
    assert bodies(replayed(written, together=together)) == bodies(alarms)


@settings(max_examples=60, deadline=None)
@given(logs, st.integers(0, 30), st.integers(0, 30))
def test_a_snapshot_may_be_older_than_what_was_emitted(steps: list[Step], kept: int, more: int) -> None:
    """It knows its position: what lies between is handled again and dropped."""
    written, alarms = with_ticks(steps)
    first = Engine(RULES)
    made = first.handle(written[:kept])
    state = first.snapshot()
    made += first.handle(written[kept : kept + more])
    second = Engine(RULES)
    second.restore(state)
    assert second.position == len(written[:kept])
    second.handle(written[second.position : kept + more])
    assert bodies(made + second.handle(written[kept + more :])) == bodies(alarms)


@settings(max_examples=60, deadline=None)
@given(logs)
def test_a_glance_sees_what_a_look_sees(steps: list[Step]) -> None:
    """Shapes compiled into one function from the first reading on, or never."""
    found = []
    for often in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(site, "often", often)
            found.append(bodies(with_ticks(steps)[1]))
    assert found[0] == found[1]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
metrics = st.sampled_from(["temperature", "humidity", "_quality", "", "x"])
anything = st.builds(
    event,
    st.sampled_from(["reading", "tick", "device.offline", "gateway.started", "clock.stepped", "gap", "message"]),
    st.sampled_from(["a1", "b", "", "é/*"]),
    st.dictionaries(metrics | st.sampled_from(["before", "after"]), json, max_size=4),
    time=st.integers(0, 2**53),
    quality=st.sampled_from([0, 1, 64, 255]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(anything, max_size=20))
def test_no_event_breaks_it(events: list[Event]) -> None:
    running = Engine(RULES)
    for number, one in enumerate(events, 1):
        one.offset = number
        running.handle([one])
        running.due()
    state = running.snapshot()
    running = Engine(RULES)
    running.restore(state)
    assert running.snapshot() == state
    assert len(state) < 200_000


quiet = st.one_of(
    st.builds(lambda source, value: (source, {"temperature": value}), sources, numbers),
    st.builds(lambda source, value: (source, {"temperature": value, "humidity": value}), sources, numbers),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 3, 8, 20, 45, 100]), quiet), min_size=1, max_size=30))
@example([(1, ("a1", {"temperature": 55})), (100, ("a2", {"temperature": 0})), (100, ("a1", {"temperature": 0}))])
def test_ticks_may_come_late(steps: list[Step]) -> None:
    """Without a tick every timer is noticed by the next event, and is as of its own time all the same."""
    events = history(steps)
    end = tick(100_000)
    found = []
    for ticking in (True, False):
        log = Log(RULES, ticking=ticking)
        log.feed(*events, end)
        found.append(bodies(log.alarms, offsets=False))
    assert found[0] == found[1]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), numbers), min_size=1, max_size=30))
def test_threshold_hysteresis_and_delays_against_seconds(steps: list[tuple[int, float]]) -> None:
    """The rule ``hot`` against its definition, looked at second by second."""
    log = Log(
        rules('[rule.hot]\non = "a"\nwhen = "temperature > 50 °C for 20s"\nclear = "temperature < 40 °C for 10s"')
    )
    values, second = {}, 0
    for wait, value in steps:
        second += wait
        values[second] = value
        log.feed(reading(second, "a", temperature=value))
    log.wait(second + 100)
    wanted, active, held, value = [], False, -1, 45.0
    for now in range(second + 101):
        value = values.get(now, value)
        wants = value < 40 if active else value > 50
        held = held + 1 if wants else -1
        if held >= (10 if active else 20):
            active, held = not active, -1
            wanted.append((begin + now * 1_000_000, active))
    assert [(one.time, one.type == "alarm.raised") for one in log.alarms] == wanted
