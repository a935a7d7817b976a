"""Three-valued logic: the compiled functions against the definition, by table and by chance."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.compile import compile_glance, compile_rule
from rules.meaning import Arithmetic, Comparison, Condition, Constant, Function, Logic, Meaning, Metric, Not
from tests.rules.story import Device

TRUTHS = (True, False, None)


class Instance:
    def __init__(self, busy: bool = False) -> None:
        self.busy = busy


def judge(meaning: Meaning, device: Device, active: bool = False, on_unknown: str = "hold") -> bool | None:
    condition = Condition(meaning, 0, "")
    found, _ = compile_rule(condition, condition, None, on_unknown)([device], {})
    return found(active, 0)


def glance(meaning: Meaning, device: Device, on_unknown: str = "hold", busy: bool = False) -> bool:
    bind = compile_glance([(Condition(meaning, 0, ""), on_unknown)])
    return len(bind([device], {}, [Instance(busy)])(0)) == 1


def device(**truths: bool | None) -> Device:
    """Metrics a, b ... that are 1, 0 or unknown."""
    return Device({name: float(truth) for name, truth in truths.items() if truth is not None})


def holds(name: str) -> Meaning:
    return Comparison("==", Metric(0, name), Constant(1.0))


AND = {(True, True): True, (True, None): None, (None, None): None}
OR = {(False, False): False, (False, None): None, (None, None): None}


@pytest.mark.parametrize(("a", "b"), list(product(TRUTHS, TRUTHS)))
def test_and_or(a: bool | None, b: bool | None) -> None:
    both, swapped = (a, b), (b, a)
    pair = holds("a"), holds("b")
    assert judge(Logic("and", pair), device(a=a, b=b)) is AND.get(both, AND.get(swapped, False))
    assert judge(Logic("or", pair), device(a=a, b=b)) is OR.get(both, OR.get(swapped, True))


@pytest.mark.parametrize(("a", "wanted"), [(True, False), (False, True), (None, None)])
def test_not(a: bool | None, wanted: bool | None) -> None:
    assert judge(Not(holds("a")), device(a=a)) is wanted


@pytest.mark.parametrize(
    ("meaning", "wanted"),
    [
        (Comparison(">", Arithmetic("/", Metric(0, "a"), Metric(0, "zero")), Constant(1.0)), None),
        (Comparison(">", Arithmetic("+", Metric(0, "a"), Metric(0, "unknown")), Constant(1.0)), None),
        (Comparison(">", Function("max", (Metric(0, "a"), Metric(0, "unknown"))), Constant(1.0)), None),
        (Comparison(">", Function("max", (Metric(0, "a"), Constant(9.0))), Constant(8.0)), True),
        (Comparison("==", Function("min", (Metric(0, "a"), Constant(9.0))), Constant(3.0)), True),
        (Comparison("==", Function("avg", (Metric(0, "a"), Constant(9.0))), Constant(6.0)), True),
        (Comparison("==", Function("abs", (Arithmetic("-", Metric(0, "zero"), Metric(0, "a")),)), Constant(3.0)), True),
        (
            Comparison("==", Function("round", (Arithmetic("/", Metric(0, "a"), Constant(7.0)),), 2), Constant(0.43)),
            True,
        ),
        (Comparison(">", Arithmetic("-", Metric(0, "a"), Constant(-1.0)), Constant(3.5)), True),
        (Comparison("==", Metric(0, "mode", True), Constant('it\'s "on"')), True),
        (Comparison("!=", Metric(0, "mode", True), Constant("off")), True),
        (Comparison("==", Metric(0, "a", True), Constant("off")), None),
        (Comparison(">", Metric(0, "mode"), Constant(1.0)), None),
    ],
)
def test_values(meaning: Meaning, wanted: bool | None) -> None:
    seen = Device({"a": 3.0, "zero": 0.0}, {"mode": 'it\'s "on"'})
    assert judge(meaning, seen) is wanted
    assert glance(meaning, seen) is (wanted is True)


def test_an_overflow_is_unknown_to_round() -> None:
    square = Arithmetic("*", Metric(0, "a"), Metric(0, "a"))
    assert judge(Comparison(">", Function("round", (square,)), Constant(1.0)), Device({"a": 1e200})) is None


@pytest.mark.parametrize(
    ("on_unknown", "active", "wanted"),
    [
        ("hold", False, None),
        ("hold", True, None),
        ("clear", False, False),
        ("clear", True, True),
        ("alarm", False, True),
        ("alarm", True, False),
    ],
)
def test_on_unknown(on_unknown: str, active: bool, wanted: bool | None) -> None:
    """``clear`` neither raises nor keeps an alarm nobody can see; ``alarm`` raises and keeps it."""
    assert judge(holds("a"), device(a=None), active, on_unknown) is wanted
    if not active:
        assert glance(holds("a"), device(a=None), on_unknown) is (wanted is True)


def test_a_busy_alarm_is_always_worth_a_look() -> None:
    assert glance(holds("a"), device(a=False), busy=True)


names = st.sampled_from("abc")
comparisons = st.builds(
    lambda name, sign: Comparison(sign, Metric(0, name), Constant(1.0)), names, st.sampled_from(["==", "<", ">="])
)
trees = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(Logic, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=12,
)


def defined(meaning: Meaning, values: dict[str, float]) -> bool | None:
    """Kleene's strong logic, as its tables are usually given: false < unknown < true."""
    match meaning:
        case Comparison(sign, Metric(_, name), _):
            value = values.get(name)
            return None if value is None else {"==": value == 1, "<": value < 1, ">=": value >= 1}[sign]
        case Not(item):
            inner = defined(item, values)
            return None if inner is None else not inner
        case Logic(word, items):
            order = {False: 0, None: 1, True: 2}
            found = [defined(item, values) for item in items]
            return (min if word == "and" else max)(found, key=lambda truth: order[truth])
    raise AssertionError(meaning)


@given(trees, st.dictionaries(names, st.sampled_from([0.0, 1.0, 2.0])))
def test_any_tree(tree: Meaning, values: dict[str, float]) -> None:
    wanted = defined(tree, values)
    assert judge(tree, Device(values)) is wanted
    assert glance(tree, Device(values)) is (wanted is True)
