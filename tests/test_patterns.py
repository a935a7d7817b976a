"""Topic patterns: where two meet and which covers which, held against the matching that messages go through."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.patterns import captures, compiled, covers, fault, meet


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        ("plant/{area}/{device}", "plant/{a}/{b}", True),
        ("plant/{area}/{device}", "plant/#", True),
        ("plant/{area}/{device}", "plant/{area}", False),
        ("plant/{area}/x", "plant/kitchen/{device}", True),
        ("tele/{device}/SENSOR", "tele/{device}/STATE", False),
        ("tele/{device}/SENSOR", "tele/{device}_x/+", True),
        ("a/{x}_in", "a/{x}_out", False),
        ("a/in_{x}", "a/{x}_out", True),
        ("zigbee2mqtt/{device#}", "zigbee2mqtt/hall/lamp", True),
        ("zigbee2mqtt/{device#}/availability", "zigbee2mqtt/hall/lamp", False),
        ("zigbee2mqtt/{device#}/availability", "zigbee2mqtt/#", True),
        ("{device#}/x", "y/{device#}", True),
        ("#", "#", True),
        ("#", "a", True),
        ("/a", "a", False),
    ],
)
def test_where_patterns_meet(one: str, other: str, want: bool) -> None:
    assert meet(one, other) is want
    assert meet(other, one) is want


@pytest.mark.parametrize(
    ("wide", "narrow", "want"),
    [
        ("plant/#", "plant/{area}/{device}", True),
        ("plant/{area}/{device}", "plant/#", False),
        ("plant/{area}/{device}", "plant/{a}/{b}", True),
        ("{all#}", "a/{b#}", True),
        ("a/{b#}", "{all#}", False),
        ("a/{x}", "a/b_{x}", True),
        ("a/b_{x}", "a/{x}", False),
        ("a/b_{x}", "a/b_c", True),
        ("a/b_{x}", "a/c_c", False),
        ("+/+", "#", False),
        ("#/", "a", False),
    ],
)
def test_which_pattern_covers_which(wide: str, narrow: str, want: bool) -> None:
    assert covers(wide, narrow) is want


def test_names_in_braces() -> None:
    assert captures("plant/{area}/{device}_air/{rest#}") == ["area", "device", "rest"]
    assert captures("plant/+/#") == []


level = st.sampled_from(["a", "b", "{x}", "{y}", "{z#}", "+", "a_{v}", "{w}_b", "ab"])
pattern = st.builds(
    lambda levels, end: "/".join(levels + end), st.lists(level, min_size=1, max_size=4), st.sampled_from([[], ["#"]])
)
topic = st.lists(st.sampled_from(["a", "b", "ab", "a_b", "a_c", "c_b"]), min_size=1, max_size=5).map("/".join)


@given(pattern, pattern, topic)
@settings(max_examples=1000, deadline=None)
def test_what_both_match_is_where_they_meet(one: str, other: str, topic: str) -> None:
    assume(fault(one) is None and fault(other) is None)
    first, second = (bool(compiled(each).fullmatch(topic)) for each in (one, other))
    if first and second:
        assert meet(one, other)
    if first and covers(other, one):
        assert second
    assert not covers(one, other) or meet(one, other)


@given(st.text(alphabet="ab/{}#+_0é", max_size=20))
@settings(deadline=None)
def test_what_has_no_fault_is_understood_where_messages_come_in(text: str) -> None:
    if fault(text) is None:
        compiled(text)
        assert meet(text, text)
        assert covers(text, text)
