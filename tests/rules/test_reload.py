"""A new process, perhaps with other rules: state follows the name of the rule."""

from gateway.event import SECOND
from rules.rule import RuleSet
from tests.rules.story import Log, at, begin, reading, rules, tick

HOT = '[rule.hot]\non = "boiler-*"\nwhen = "temperature > 80 °C for 30s"\nclear = "temperature < 75 °C for 2m"\n'
SILENT = '[rule.silent]\non = "*"\nwhen = "age() > 5m"\n'


def test_the_same_rules_again_change_nothing() -> None:
    log = Log(HOT + SILENT)
    log.feed(reading(0, "boiler-1", temperature=85), reading(0, "boiler-2", temperature=20))
    assert log.wait(30) == ["30s boiler-1 hot active"]
    state = log.engine.snapshot()
    log.restart()
    assert log.engine.snapshot() == state
    assert log.feed(tick(31)) == []


def test_a_timer_runs_on_before_anything_happens() -> None:
    """The runner can ask for the next tick at once: a log may stay silent after a start."""
    log = Log(HOT + SILENT)
    log.feed(reading(0, "boiler-1", temperature=85))
    log.restart()
    assert log.engine.due() == begin + 30 * SECOND
    assert log.wait(400) == ["30s boiler-1 hot active", "300s boiler-1 silent active"]


def test_a_removed_rule_closes_its_alarms() -> None:
    log = Log(HOT + SILENT)
    log.feed(reading(0, "boiler-1", temperature=85))
    log.wait(30)
    log.restart(SILENT)
    assert log.engine.due() == begin + 300 * SECOND
    assert log.feed(at(60, "gateway.started", "gateway")) == ["60s boiler-1 hot clear"]
    raised, cleared = log.alarms
    assert cleared.data == {
        "alarm": "hot",
        "occurrence": raised.data["occurrence"],
        "duration": 30.0,
        "reason": "rule_removed",
    }
    log.restart(HOT)
    assert log.feed(tick(61)) == []  # closed is closed


def test_closing_survives_a_second_restart() -> None:
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85))
    log.wait(30)
    log.restart(SILENT)
    log.restart(SILENT)
    assert log.feed(tick(60)) == ["60s boiler-1 hot clear"]


def test_a_rule_that_no_longer_looks_there_closes_its_alarms() -> None:
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85), reading(0, "boiler-2", temperature=85))
    log.wait(30)
    log.restart(HOT.replace("boiler-*", "boiler-2"))
    assert log.feed(tick(60)) == ["60s boiler-1 hot clear"]
    log.restart(RuleSet())
    assert log.feed(tick(61)) == ["61s boiler-2 hot clear"]


def test_an_edited_rule_keeps_its_alarm() -> None:
    """And judges it by what it says now."""
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85))
    log.wait(30)
    log.restart(HOT.replace("< 75 °C for 2m", "< 90 °C") + 'severity = "low"')
    assert log.feed(tick(60)) == []
    assert log.feed(reading(61, "boiler-1", temperature=88)) == ["61s boiler-1 hot clear"]
    assert log.alarms[1].data["occurrence"] == log.alarms[0].data["occurrence"]
    assert log.alarms[1].data["rule_hash"] != log.alarms[0].data["rule_hash"]


def test_an_edited_delay_counts_from_the_next_time() -> None:
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85))
    log.restart(HOT.replace("30s", "10s"))
    assert log.wait(60) == ["30s boiler-1 hot active"]


def test_a_new_rule_knows_what_others_have_seen() -> None:
    log = Log(HOT)
    log.feed(reading(0, "boiler-1", temperature=85), reading(10, "boiler-1", temperature=70))
    log.restart(HOT + SILENT + '[rule.warm]\non = "*"\nwhen = "temperature > 60 °C and humidity > 1 %"')
    assert log.feed(reading(20, "boiler-1", humidity=5)) == ["20s boiler-1 warm active"]
    assert log.wait(1000) == ["320s boiler-1 silent active"]


def test_an_alarm_of_an_alarm_after_a_restart() -> None:
    text = '[rule.a]\non = "x"\nwhen = "v > 1"\n[rule.b]\non = "y"\nwhen = "alarm(a) and v > 1"'
    log = Log(text)
    log.feed(reading(0, "y", v=2))
    log.restart()
    assert log.feed(reading(1, "x", v=2)) == ["1s x a active", "1s y b active"]
    log.restart()
    assert log.feed(reading(2, "x", v=0)) == ["2s x a clear", "2s y b clear"]


def test_with_other_devices() -> None:
    text = '[rule.apart]\nwith = {{ one = "a/v", two = "{}/v" }}\nwhen = "one > two"'
    log = Log(text.format("b"))
    assert log.feed(reading(0, "a", v=2), reading(0, "b", v=1)) == ["0s apart apart active"]
    log.restart(text.format("c"))
    assert log.feed(reading(1, "a", v=2), reading(1, "c", v=3)) == ["1s apart apart clear"]


def test_state_is_small() -> None:
    log = Log(rules(HOT + SILENT))
    log.feed(
        *(reading(second, f"boiler-{second % 100}", temperature=second % 90, note="x" * 1000) for second in range(1000))
    )
    assert len(log.engine.snapshot()) < 300 * 100
