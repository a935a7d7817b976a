"""Names, units and kinds: what clauses mean, and every sentence about one that means nothing."""

import pytest

from gateway.catalogue import METRICS
from rules.check import Checker
from rules.meaning import (
    Active,
    Age,
    Arithmetic,
    Comparison,
    Constant,
    Function,
    Logic,
    Meaning,
    Memory,
    Metric,
    Not,
    Spec,
)
from rules.tokens import ClauseError
from tests.rules.story import sentences

minute = 60_000_000


def meaning(text: str) -> Meaning:
    return Checker(None, "extremes", 7).condition(text).meaning


def spelt(it: Meaning) -> str:
    """A meaning in short; numbers in canonical units, to 10 digits."""
    match it:
        case Constant(value):
            return f"{value:.10g}" if isinstance(value, float) else f"'{value}'"
        case Metric(place, name, text):
            return f"{'text ' if text else ''}{name}{f'@{place}' if place else ''}"
        case Memory(_, spec, method, learn):
            kept = f"{spec.detector or spec.kind} {spec.metric} {spec.span // 1_000_000}s"
            return f"{method} of {kept}{f' learn {learn}' if learn else ''}"
        case Age(_, metric, span):
            return f"age {metric or 'any'} {span // 1_000_000}s"
        case Active(rule, key):
            return f"active {rule} {key}"
        case Arithmetic(sign, left, right) | Comparison(sign, left, right):
            return f"({spelt(left)} {sign} {spelt(right)})"
        case Function(name, items, digits):
            return f"{name}{digits or ''}({', '.join(map(spelt, items))})"
        case Not(item):
            return f"not {spelt(item)}"
        case Logic(word, items):
            return f"{word}({', '.join(map(spelt, items))})"


@pytest.mark.parametrize(("text", "wanted"), sentences("meanings.txt"), ids=lambda text: text[:40])
def test_meaning(text: str, wanted: str) -> None:
    assert spelt(meaning(text)) == wanted


@pytest.mark.parametrize(("text", "sentence"), sentences("no_meaning.txt"), ids=lambda text: text[:40])
def test_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ClauseError) as caught:
        meaning(text)
    assert str(caught.value) == sentence


def test_names_of_with() -> None:
    inputs = {"supply": (0, "temperature"), "back": (1, "temperature.2")}
    checker = Checker(inputs, "extremes", 0)
    found = checker.condition("supply - back < 3 K").meaning
    assert found == Comparison(
        "<", Arithmetic("-", Metric(0, "temperature"), Metric(1, "temperature.2")), Constant(3.0)
    )
    assert list(checker.reads) == [(0, "temperature"), (1, "temperature.2")]
    for text, sentence in [
        ("supli > 3", "column 1: supli isn't one of the names in with: did you mean supply?"),
        ("temperature > 3", "column 1: temperature isn't one of the names in with: use one of supply, back"),
        ("age() > 5m", "column 1: age() doesn't say of what: write age(supply)"),
    ]:
        with pytest.raises(ClauseError) as caught:
            checker.condition(text)
        assert str(caught.value) == sentence


def test_what_a_rule_looks_at_is_noted() -> None:
    checker = Checker(None, "envelope", 0)
    checker.condition("temperature > 1 and age(humidity) > 5m or anomaly(power, 1m) > 0.1 and alarm(b) or age() > 1h")
    assert list(checker.reads) == [(0, "temperature"), (0, "humidity"), (0, "power")]
    assert list(checker.memories) == [(0, Spec("anomaly", "power", minute, "envelope"))]
    assert checker.ages == [(0, "humidity", 5 * minute), (0, "", 60 * minute)]
    assert [rule for rule, _ in checker.asks] == ["b"]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_compares_with_its_own_unit(metric: str) -> None:
    unit = METRICS[metric].unit
    assert spelt(meaning(f"{metric} > 3 {unit if unit != '1' else ''}")) == f"({metric} > 3)"
