"""Topic names, filters, and the two trees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.limits import Limits
from gateway.hub.reasons import ProtocolError
from gateway.hub.topics import Tree, check_filter, check_name, excess

MATCHES = [
    ("a/b", "a/b", True),
    ("a/b", "a/B", False),
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("sport/#", "sports", False),
    ("#", "a", True),
    ("#", "/", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("+/tennis/#", "x/tennis", True),
    ("#", "$SYS/uptime", False),
    ("+/uptime", "$SYS/uptime", False),
    ("$SYS/#", "$SYS/uptime", True),
    ("$SYS/+", "$SYS/uptime", True),
    ("$SYS/#", "$SYS", True),
    ("a/+/#", "a/$b/c", True),
    ("+/$b", "a/$b", True),
    ("a//b", "a//b", True),
    ("a/+/b", "a//b", True),
]


@pytest.mark.parametrize(("filter", "topic", "want"), MATCHES)
def test_matching_as_the_standard_tells_it(filter: str, topic: str, want: bool) -> None:
    """The examples of 4.7.1 and 4.7.2, both ways round."""
    filters: Tree[str] = Tree()
    filters.put(filter, filter)
    assert list(filters.filters(topic)) == [filter] * want
    topics: Tree[str] = Tree()
    topics.put(topic, topic)
    assert list(topics.topics(filter)) == [topic] * want


def brute(filter: str, topic: str) -> bool:
    """Level by level, straight from the words of 4.7."""
    wanted, levels = filter.split("/"), topic.split("/")
    if topic[0] == "$" and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return len(levels) >= place
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


level = st.sampled_from(["a", "b", "", "$x"])
some_topics = st.lists(level, min_size=1, max_size=4).map("/".join).filter(bool)
some_filters = (
    st.builds(
        lambda levels, hash: "/".join(levels + ["#"] * hash),
        st.lists(st.one_of(level, st.just("+")), max_size=4),
        st.booleans(),
    )
    .filter(bool)
)  # fmt: skip


@given(st.sets(some_filters), st.sets(some_topics))
def test_trees_agree_with_brute_force(filters: set[str], topics: set[str]) -> None:
    of_filters: Tree[str] = Tree()
    of_topics: Tree[str] = Tree()
    for one in filters:
        check_filter(one)
        of_filters.put(one, one)
    for one in topics:
        of_topics.put(one, one)
    for topic in topics:
        assert sorted(of_filters.filters(topic)) == sorted(one for one in filters if brute(one, topic))
    for filter in filters:
        assert sorted(of_topics.topics(filter)) == sorted(one for one in topics if brute(filter, one))


@given(st.lists(st.tuples(st.booleans(), some_filters)))
def test_a_tree_is_a_dict_and_leaves_nothing_behind(steps: list[tuple[bool, str]]) -> None:
    tree: Tree[str] = Tree()
    model: dict[str, str] = {}
    for put, path in steps:
        if put:
            tree.put(path, path)
            model[path] = path
        else:
            tree.drop(path)
            model.pop(path, None)
        assert all(tree.get(one) == model.get(one) for _, one in steps)
    for path in model:
        tree.drop(path)
    assert not tree.root.children


@pytest.mark.parametrize("topic", ["a", "/", "a/b", "$SYS/x", " ", "ä", "a" * 512, "\ufeffa\ufeff"])
def test_names_that_are_fine(topic: str) -> None:
    check_name(topic)
    assert excess(topic, Limits()) is None


@pytest.mark.parametrize("topic", ["", "#", "a/+", "a+b", "a/b#"])
def test_names_that_are_not(topic: str) -> None:
    with pytest.raises(ProtocolError):
        check_name(topic)


@pytest.mark.parametrize(
    "filter", ["#", "+", "a/#", "+/+/#", "/#", "/+/", "$share/g/a/#", "$share/g//", "$share", "$shared/a"]
)
def test_filters_that_are_fine(filter: str) -> None:
    check_filter(filter)


@pytest.mark.parametrize("filter", ["", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "##"])
def test_filters_that_are_not(filter: str) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]"""
    with pytest.raises(ProtocolError):
        check_filter(filter)


@pytest.mark.parametrize(
    "filter",
    ["$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a", "$share/g+h/a", "$share/g/a#"],
)
def test_shared_filters_that_are_not(filter: str) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2]"""
    with pytest.raises(ProtocolError):
        check_filter(filter)


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("a" * 513, "it is longer than 512 bytes"),
        ("ä" * 257, "it is longer than 512 bytes"),
        ("/" * 128, "it has more than 128 levels"),
        ("a\nb", "it contains control characters"),
        ("a\x7f", "it contains control characters"),
    ],
)
def test_too_much_of_a_name(topic: str, why: str) -> None:
    check_name(topic)
    assert excess(topic, Limits()) == why


def test_wildcards_stay_out_of_trees_that_stand_apart() -> None:
    """[MQTT-4.7.2-1], and Redcar's own tree likewise: # is what devices say."""
    tree: Tree[str] = Tree()
    for filter in ("#", "+/#", "+/status", "redcar/#", "redcar/+", "$SYS/#"):
        tree.put(filter, filter)
    assert set(tree.filters("redcar/status")) == {"redcar/#", "redcar/+"}
    assert set(tree.filters("$SYS/status")) == {"$SYS/#"}
    assert set(tree.filters("redcars/status")) == {"#", "+/#", "+/status"}
    topics: Tree[str] = Tree()
    for topic in ("redcar/status", "a/status", "$SYS/status"):
        topics.put(topic, topic)
    assert set(topics.topics("#")) == {"a/status"}
    assert set(topics.topics("+/status")) == {"a/status"}
    assert set(topics.topics("redcar/#")) == {"redcar/status"}
