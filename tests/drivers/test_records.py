"""Every recorded payload, through its driver and the catalogue, gives the values that stand beside it."""

import re
from typing import Any

import pytest

from gateway.catalogue import normalise
from gateway.driver import kinds, load
from gateway.event import Value
from tests.drivers.records import Outcome, Record, items, records

table = [(kind, record) for kind in kinds() for record in records(kind)]


def base(metric: str) -> str:
    return metric.partition(".")[0]


def same(metric: str, want: object, got: object) -> bool:
    if isinstance(want, bool) or isinstance(got, bool):
        return got == want
    if isinstance(want, str) or not isinstance(got, int | float):
        return got == want
    assert isinstance(want, int | float)
    return abs(got - want) <= (1e-6 if base(metric) in ("latitude", "longitude") else 0.01)


def all_there(want: dict[str, Any], got: list[tuple[str, Value]]) -> bool:
    """Whether every wanted value is there. Labels are a proposal: the values per metric count."""
    left = list(got)
    for metric, value in want.items():
        match = next((one for one in left if base(one[0]) == base(metric) and same(metric, value, one[1])), None)
        if match is None:
            return False
        left.remove(match)
    return True


def outcomes(record: Record, outcome: Outcome) -> set[str]:
    """What happened, in the words of the records."""
    good: list[tuple[str, Value]] = []
    marked: list[tuple[str, Value]] = []
    for reading in outcome.readings:
        values, flags, _ = normalise(reading)
        for metric, value in values.items():
            (marked if flags and metric in flags else good).append((metric, value))
    wanted = record["expect"]["readings"]
    happened = set()
    if any(base(metric) in map(base, record["expect"].get("absent", [])) for metric, _ in good):
        happened.add("absent ones")
    if outcome.rejected or (record["transport"] == "serial" and not outcome.readings and outcome.context.drops):
        happened.add("reject")
    if marked:
        happened.add("marked")
    if outcome.availabilities:
        happened |= {"online" if each.online else "offline" for each in outcome.availabilities}
    if wanted and all_there(wanted, good + marked):
        return happened - {"marked"} | {"readings"}  # a value beyond what is plausible is still the value
    if good and (not wanted or {base(metric) for metric, _ in good} & {base(metric) for metric in wanted}):
        happened.add("other readings")
    return happened or {"ignore"}


def allowed(record: Record) -> list[set[str]]:
    """Every outcome that is right for the record, best first."""
    expect = record["expect"]
    if "availability" in expect:
        right = [{expect["availability"]}]
    elif expect["readings"]:
        right = [{"readings"}]
    elif "reject" in expect:
        right = [{"reject"}]
    else:
        # a stream has no dead letters: what it leaves out is counted
        right = [{"ignore"}, {"reject"}] if record["transport"] == "serial" else [{"ignore"}]
    also = expect.get("also_ok", "")
    right += [{word} for word in ("reject", "ignore") if word in also]
    if "marked" in also:
        right += [{"marked"}, {"marked", "other readings"}]
    if re.search(r"\d|without", also):
        right.append({"other readings"})
    return right


@pytest.mark.parametrize(("kind", "record"), table, ids=[record["id"] for _, record in table])
def test_record(kind: str, record: Record) -> None:
    outcome = Outcome(load(kind), record.get("config", {}), items(record))
    if "key" in record.get("ble", {}) and record["expect"]["readings"]:
        pytest.importorskip("cryptography", reason="encrypted devices: pip install cryptography")
    happened = outcomes(record, outcome)
    seen = (happened, outcome.readings, outcome.rejected, dict(outcome.context.drops))
    assert happened in allowed(record), seen
    if "source" in record["expect"] and happened == {"readings"}:
        assert record["expect"]["source"] in {reading.source for reading in outcome.readings}, seen


named_later = [record for record in records("lines") if "values" in record["expect"].get("extra", {})]


@pytest.mark.parametrize("record", named_later, ids=[record["id"] for record in named_later])
def test_a_line_of_numbers_gets_its_names_from_the_columns(record: Record) -> None:
    values = record["expect"]["extra"]["values"]
    numbers = {f"value{at}": value for at, value in enumerate(values) if not isinstance(value, str)}
    columns = [f"value{at}" if f"value{at}" in numbers else "" for at in range(len(values))]
    outcome = Outcome(load("lines"), {"columns": columns}, [b"the first line may lack its head\n", *items(record)])
    if outcome.readings:
        assert outcome.readings[-1].values == pytest.approx(numbers)
    else:
        assert "reject" in record["expect"].get("also_ok", "")
        assert outcome.context.drops
