"""An alarm's life, told as stories."""

import pytest

from gateway.event import SECOND, Event, Quality
from rules.engine import Engine
from rules.rule import RuleSet
from tests.rules.story import Log, at, begin, reading, rules, tick

HOT = '[rule.hot]\non = "boiler-*"\nwhen = "temperature > 80 °C for 30s"\nclear = "temperature < 75 °C for 2m"\n'
SILENT = '[rule.silent]\non = "*"\nwhen = "age() > 5m"\n'
PLAIN = '[rule.hot]\non = "boiler-*"\nwhen = "temperature > 80 °C"\n'


def feed(log: Log, source: str, **values: float) -> list[str]:
    """Readings of one metric: ``feed(log, "b", t0=70, t10=85)`` at seconds 0 and 10."""
    return log.feed(*(reading(float(second[1:]), source, temperature=value) for second, value in values.items()))


def test_hysteresis() -> None:
    log = Log('[rule.hot]\non = "boiler-*"\nwhen = "temperature > 80 °C"\nclear = "temperature < 75 °C"\n')
    assert feed(log, "boiler-1", t0=79, t1=81, t2=79, t3=76, t4=81, t5=74, t6=79) == [
        "1s boiler-1 hot active",
        "5s boiler-1 hot clear",
    ]


def test_without_clear_it_clears_when_the_condition_ends() -> None:
    assert feed(Log(PLAIN), "boiler-1", t0=81, t1=80, t2=81) == [
        "0s boiler-1 hot active",
        "1s boiler-1 hot clear",
        "2s boiler-1 hot active",
    ]


def test_on_delay() -> None:
    log = Log(HOT)
    assert feed(log, "boiler-1", t0=85, t20=79, t25=85, t54=85) == []
    assert log.wait(60) == ["55s boiler-1 hot active"]


def test_a_reading_at_the_very_moment_counts() -> None:
    """The tick of second 30 isn't asked for before the reading of second 30 had its say."""
    log = Log(HOT)
    assert feed(log, "boiler-1", t0=85, t30=70) == []
    assert feed(log, "boiler-1", t100=85, t130=85) == ["130s boiler-1 hot active"]


def test_off_delay_starts_anew_when_interrupted() -> None:
    log = Log(HOT)
    assert feed(log, "boiler-1", t0=85, t60=74, t100=76, t110=74) == ["30s boiler-1 hot active"]
    assert log.wait(300) == ["230s boiler-1 hot clear"]


def test_unknown_stops_delays_and_keeps_states() -> None:
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85))
    log.feed(reading(20, "boiler-1", _quality={"temperature": "sensor_fault"}))
    assert log.wait(1000) == []
    assert log.feed(reading(1000, "boiler-1", temperature=85)) == []
    assert log.wait(1020) == ["1010s boiler-1 hot active"]  # 20 s before, 10 s after
    log.feed(reading(1100, "boiler-1", _quality={"temperature": "sensor_fault"}))
    assert log.wait(9000) == []


@pytest.mark.parametrize(
    ("on_unknown", "wanted"),
    [
        ("hold", []),
        ("alarm", ["10s boiler-1 hot active", "20s boiler-1 hot clear"]),
        ("clear", []),
    ],
)
def test_on_unknown_raises(on_unknown: str, wanted: list[str]) -> None:
    log = Log(PLAIN + f'on_unknown = "{on_unknown}"')
    log.feed(reading(0, "boiler-1", temperature=20))
    assert log.feed(at(10, "device.offline", "boiler-1"), reading(20, "boiler-1", temperature=20)) == wanted


def test_on_unknown_clears() -> None:
    log = Log(PLAIN + 'on_unknown = "clear"')
    assert feed(log, "boiler-1", t0=85) == ["0s boiler-1 hot active"]
    assert log.feed(at(10, "device.offline", "boiler-1")) == ["10s boiler-1 hot clear"]


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"temperature": 85.0}, True),
        ({"temperature": 85}, True),
        ({"temperature": 85.0, "_quality": {"temperature": "out_of_range"}}, True),
        ({"temperature": 85.0, "_quality": {"humidity": "decode"}}, True),
        ({"temperature": 85.0, "_quality": {"temperature": "decode"}}, False),
        ({"temperature": 85.0, "_quality": {"temperature": "nobody knows this word"}}, False),
        ({"temperature": "hot"}, False),
        ({"temperature": None}, False),
        ({"temperature": [85]}, False),
        ({"temperature": float("nan")}, False),
        ({"temperature": float("inf")}, False),
        ({"temperature": 10**400}, False),
        ({}, False),
    ],
)
def test_what_counts_as_a_value(given: dict[str, object], known: bool) -> None:
    engine = Engine(rules(PLAIN))
    assert bool(engine.handle([at(0, "reading", "boiler-1", {}), _event(given)])) is known
    engine.snapshot()


def _event(data: dict[str, object]) -> Event:
    event = at(1, "reading", "boiler-1", {})
    event.decoded = data
    return event


def test_a_bad_event_is_ignored() -> None:
    log = Log(PLAIN + '[rule.silent]\non = "*"\nwhen = "age() > 1m"')
    log.feed(reading(0, "boiler-1", temperature=20))
    assert log.feed(at(50, "reading", "boiler-1", {"temperature": 85}, quality=Quality.decode)) == []
    assert log.wait(60) == ["60s boiler-1 silent active"]
    assert log.feed(at(70, "reading", "boiler-1", {"temperature": 85}, quality=Quality.stale)) == [
        "70s boiler-1 hot active",
        "70s boiler-1 silent clear",
    ]


def test_two_sources_are_independent() -> None:
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85), reading(10, "boiler-2", temperature=85))
    log.feed(reading(20, "boiler-1", temperature=20), reading(21, "pump-1", temperature=99))
    assert log.wait(60) == ["40s boiler-2 hot active"]


def test_event_of_an_alarm() -> None:
    text = 'severity = "high"\ntext = "{device} {rule} {severity} {temperature} {humidity} {since}: {why}"\nrunbook = "https://a.example"'
    log = Log(HOT + text)
    log.feed(reading(0, "boiler-1", temperature=85.25, humidity=40), reading(600, "boiler-1", temperature=20))
    log.wait(1000)
    raised, cleared = log.alarms
    hash = raised.data["rule_hash"]
    assert raised.data == {
        "alarm": "hot",
        "occurrence": "hot/boiler-1/2",
        "severity": "high",
        "text": "boiler-1 hot high 85.25 °C 40 % 2023-11-14 22:13:20 UTC: temperature > 80 °C for 30s",
        "values": {"temperature": 85.25, "humidity": 40},
        "why": "temperature > 80 °C for 30s",
        "rule_hash": hash,
        "runbook": "https://a.example",
    }
    assert (raised.cause, raised.source, raised.time) == (2, "boiler-1", begin + 30 * SECOND)
    assert cleared.data == {
        "alarm": "hot",
        "occurrence": "hot/boiler-1/2",
        "severity": "high",
        "duration": 690.0,
        "rule_hash": hash,
    }
    assert (cleared.cause, cleared.source, cleared.time) == (5, "boiler-1", begin + 720 * SECOND)


def test_unless_withholds_until_it_ends() -> None:
    log = Log(SILENT + 'unless = "alarm(uplink)"\n[rule.uplink]\non = "router"\nwhen = "online == 0"')
    log.feed(reading(0, "a", x=1), reading(1, "router", online=0))
    assert log.wait(250) == []
    log.feed(reading(250, "router", online=0))
    assert log.wait(400) == []
    assert log.feed(reading(500, "router", online=1)) == ["500s router uplink clear", "500s a silent active"]
    assert log.feed(reading(600, "router", online=0)) == ["600s router uplink active"]  # what is active stays so


def test_unless_of_its_own_device() -> None:
    log = Log(PLAIN + 'unless = "defrost == 1"')
    assert log.feed(reading(0, "boiler-1", temperature=85, defrost=1)) == []
    assert log.feed(reading(1, "boiler-1", defrost=0)) == ["1s boiler-1 hot active"]


def test_alarms_of_alarms() -> None:
    """Through three rules in one event, in order, and back again."""
    text = """
[rule.a]
on = "x"
when = "v > 1"
[rule.b]
on = "y"
when = "alarm(a)"
[rule.c]
with = { v = "z/v" }
when = 'alarm(b, "y") and not alarm(b, "z") and v == 1'
"""
    log = Log(text)
    assert log.feed(reading(0, "x", v=0), reading(0, "y", v=0), reading(0, "z", v=1)) == []
    assert log.feed(reading(1, "x", v=2)) == ["1s x a active", "1s y b active", "1s c c active"]
    assert log.feed(reading(2, "x", v=0)) == ["2s x a clear", "2s y b clear", "2s c c clear"]


def test_several_devices() -> None:
    text = """
[rule.fouled]
with = { supply = "hx-1/temperature", back = "hx-1/temperature.2", pump = "pump-3/running" }
when = "pump == 1 and supply - back < 3 K for 15m"
text = "{rule} {device}: {supply} {back} {pump}"
"""
    log = Log(text)
    log.feed(reading(0, "hx-1", temperature=40, temperature_2=39), reading(60, "pump-3", running=True))
    assert log.wait(2000) == ["960s fouled fouled active"]
    assert log.alarms[0].data["values"] == {"pump": True, "supply": 40, "back": 39}
    assert log.alarms[0].data["text"] == "fouled fouled: 40 °C 39 °C true"
    assert log.feed(reading(2000, "hx-1", temperature=50)) == ["2000s fouled fouled clear"]


def test_texts() -> None:
    log = Log('[rule.x]\non = "*"\nwhen = \'mode == "heat"\'')
    assert log.feed(reading(0, "a", mode="cool"), reading(1, "a", mode="heat"), reading(2, "a", mode=3)) == [
        "1s a x active"
    ]
    assert log.feed(reading(3, "a", mode="off")) == ["3s a x clear"]
    assert log.alarms[0].data["values"] == {"mode": "heat"}


def test_sources_that_no_rule_looks_at_cost_nothing() -> None:
    log = Log(PLAIN)
    log.feed(*(reading(second, f"x-{second % 7}", temperature=99) for second in range(100)))
    assert log.engine.site.devices == {}
    assert log.engine.due() is None


def test_no_rules() -> None:
    log = Log(RuleSet())
    assert log.feed(reading(0, "a", x=1), tick(1)) == []
    log.restart()
    assert log.feed(reading(2, "a", x=1)) == []


def test_any_number_of_metrics_is_bounded() -> None:
    log = Log('[rule.x]\non = "*"\nwhen = "age() > 5m"')
    log.feed(*(reading(second, "a", **{f"m{second}": 1}) for second in range(500)))
    device = log.engine.site.devices["a"]
    assert len(device.shapes) <= 64
    assert len(device.numbers) + len(device.newest) == 0  # nobody asked for any of them


def test_timers_are_few() -> None:
    """A deadman's timer isn't set anew with every reading."""
    log = Log('[rule.x]\non = "*"\nwhen = "age() > 5m or temperature > 3 for 10s"')
    for second in range(0, 4000, 3):
        log.feed(*(reading(second, f"d-{number}", temperature=second % 7) for number in range(5)))
    assert len(log.engine._timers) <= 10
