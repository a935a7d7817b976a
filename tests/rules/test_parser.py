"""Clauses to trees, and every sentence said about a clause that isn't one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.parser import deepest, largest, parse
from rules.tokens import ClauseError, longest, tokens
from rules.tree import Call, Clause, Compare, Duration, Logic, Name, Node, Not, Number, Sign, Text
from tests.rules.story import sentences

temperature = Name("temperature", 1)

TREES: list[tuple[str, Node]] = [
    ("temperature > 80", Compare(">", temperature, Number(80, None, "80", 15), 13)),
    ("temperature > 80 °C", Compare(">", temperature, Number(80, "°C", "80 °C", 15), 13)),
    ("temperature>80°C", Compare(">", temperature, Number(80, "°C", "80°C", 13), 12)),
    ("temperature > -18 °C", Compare(">", temperature, Number(-18, "°C", "-18 °C", 15), 13)),
    ("temperature > 2 K/min", Compare(">", temperature, Number(2, "K/min", "2 K/min", 15), 13)),
    ("temperature > 5m", Compare(">", temperature, Duration(300_000_000, "5m", 15), 13)),
    ("temperature > 5 m", Compare(">", temperature, Number(5, "m", "5 m", 15), 13)),
    ("temperature > 5mm", Compare(">", temperature, Number(5, "mm", "5mm", 15), 13)),
    ("temperature > 1.5e3", Compare(">", temperature, Number(1500, None, "1.5e3", 15), 13)),
    ("temperature.2 > 1", Compare(">", Name("temperature.2", 1), Number(1, None, "1", 17), 15)),
    ("temperature == true", Compare("==", temperature, Number(1, None, "true", 16), 13)),
    ('temperature == "on"', Compare("==", temperature, Text("on", 16), 13)),
    ("not temperature > 1", Not(Compare(">", Name("temperature", 5), Number(1, None, "1", 19), 17), 1)),
    ("a > 1 and b", Logic("and", (Compare(">", Name("a", 1), Number(1, None, "1", 5), 3), Name("b", 11)), 1)),
    ("a or b and c", Logic("or", (Name("a", 1), Logic("and", (Name("b", 6), Name("c", 12)), 6)), 1)),
    ("(a or b) and c", Logic("and", (Logic("or", (Name("a", 2), Name("b", 7)), 2), Name("c", 14)), 1)),
    ("a and b and c", Logic("and", (Name("a", 1), Name("b", 7), Name("c", 13)), 1)),
    ("a + b * c", Sign("+", Name("a", 1), Sign("*", Name("b", 5), Name("c", 9), 7), 3)),
    ("a - b - c", Sign("-", Sign("-", Name("a", 1), Name("b", 5), 3), Name("c", 9), 7)),
    ("a / 2", Sign("/", Name("a", 1), Number(2, None, "2", 5), 3)),
    ("-a", Sign("-", Number(0, None, "0", 1), Name("a", 2), 1)),
    ("age()", Call("age", (), 1)),
    ("avg(a, 10m)", Call("avg", (Name("a", 5), Duration(600_000_000, "10m", 8)), 1)),
    ("min(a, b, 3)", Call("min", (Name("a", 5), Name("b", 8), Number(3, None, "3", 11)), 1)),
]


@pytest.mark.parametrize(("text", "tree"), TREES, ids=[text for text, _ in TREES])
def test_tree(text: str, tree: Node) -> None:
    assert parse(text) == Clause(tree, 0, text)


@pytest.mark.parametrize(
    ("text", "delay"), [("30s", 30.0), ("1.5h", 5400.0), ("250ms", 0.25), ("2m", 120.0), ("7d", 604_800.0)]
)
def test_delay(text: str, delay: float) -> None:
    assert parse(f"a > 1 for {text}").delay == delay * 1_000_000


SPLIT = "make it two rules; the second asks for the first with alarm(name)"
LIMITS = [
    ("", "column 1: expected a value, found the end: write a metric, a number or a function"),
    ("+".join("a" * 21), f"column 3: nested more than {deepest} deep: {SPLIT}"),
    ("not " * 21 + "a", f"column 85: nested more than {deepest} deep: {SPLIT}"),
    (" and ".join(["a"] * 251), f"more than {largest} words: {SPLIT}"),
    ("a" * (longest + 1), f"longer than {longest} bytes: make it several rules, joined by alarm(name)"),
]


@pytest.mark.parametrize(("text", "sentence"), [*sentences("no_clause.txt"), *LIMITS], ids=lambda text: text[:40])
def test_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ClauseError) as caught:
        parse(text)
    assert str(caught.value) == sentence


def test_limits_are_reached() -> None:
    """One less than what is refused is taken."""
    parse("(" * 20 + "a" + ")" * 20)
    parse("+".join("a" * 20))
    parse(" and ".join(["a"] * 250))


words = st.sampled_from(
    [
        "a",
        "temperature",
        "80",
        "°C",
        "30s",
        "(",
        ")",
        "and",
        "or",
        "not",
        "for",
        ">",
        "==",
        "-",
        "*",
        ",",
        '"x"',
        "avg",
        "no",
        "then",
    ]
)


@given(st.lists(words, max_size=40).map(" ".join) | st.text(max_size=80))
def test_never_anything_but_a_clause_error(text: str) -> None:
    try:
        parse(text)
    except ClauseError:
        pass


@given(st.text(max_size=60))
def test_columns_are_true(text: str) -> None:
    try:
        found = tokens(text)
    except ClauseError:
        return
    for token in found:
        assert text[token.column - 1 :].startswith(token.text)
