"""Retained messages: what is shown, what is stored, what the bounds do. The statements run in a real SQLite."""

import sqlite3
from importlib.resources import files
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.hub.inlet import Publish, Statement
from gateway.hub.limits import Limits
from gateway.hub.properties import Property
from gateway.hub.retained import SELECT, Retained

SMALL = Limits(retained=3, retained_bytes=1000)


def say(topic: str, payload: bytes = b"x", **more: Any) -> Publish:
    return Publish(topic, payload, retain=True, **more)


def everything(retained: Retained) -> list[Publish]:
    return retained.match("#") + retained.match("$c") + retained.match("redcar/#")


class Table:
    """What is on the disk."""

    def __init__(self) -> None:
        self.base = sqlite3.connect(":memory:")
        self.base.executescript(files("gateway.store").joinpath("schema.sql").read_text())

    def commit(self, statements: list[Statement]) -> None:
        with self.base:
            for sql, parameters in statements:
                self.base.execute(sql, parameters)

    def topics(self) -> list[str]:
        return [topic for (topic,) in self.base.execute("SELECT topic FROM retained ORDER BY topic")]

    def reopened(self, limits: Limits = SMALL, now: float = 0.0) -> Retained:
        fresh = Retained(limits, lambda: now)
        fresh.load(self.base.execute(SELECT))
        return fresh


def topics(retained: Retained, filter: str = "#") -> list[str]:
    return sorted(one.topic for one in retained.match(filter))


def test_it_is_shown_only_once_it_is_stored() -> None:
    retained = Retained()
    message = say("a/b")
    assert retained.changes([message])
    assert topics(retained) == []
    retained.settle([message])
    assert topics(retained) == ["a/b"]
    assert len(retained) == 1


def test_what_was_stored_is_there_after_a_restart() -> None:
    table, retained = Table(), Retained()
    properties = {Property.content_type: "text/plain", Property.user_property: [("k", "v"), ("k", "w")]}
    messages = [
        say("a", b"\0\xff", qos=1, properties=properties),
        Publish("b", b"not retained"),
        say("c", b"old"),
        say("c", b"new"),
    ]
    table.commit(retained.changes(messages))
    (first,), (last,) = table.reopened().match("a"), table.reopened().match("c")
    assert (first.payload, first.qos, first.retain) == (b"\0\xff", 1, True)
    assert [tuple(pair) for pair in (first.properties or {})[Property.user_property]] == [("k", "v"), ("k", "w")]
    assert last.payload == b"new"
    assert table.topics() == ["a", "c"]


def test_an_empty_payload_clears_it() -> None:
    """[MQTT-3.3.1-6]"""
    table, retained = Table(), Retained()
    for message in (say("a"), say("a", b"")):
        table.commit(retained.changes([message]))
        retained.settle([message])
    assert topics(retained) == table.topics() == []
    assert retained.changes([say("never/there", b"")]) == []


def test_the_same_again_writes_nothing() -> None:
    retained = Retained()
    for want in (1, 0, 0):
        message = say("a", b"on")
        assert len(retained.changes([message])) == want
        retained.settle([message])


def test_back_and_forth_within_one_commit_ends_right() -> None:
    """The second change equals what is shown, not what is about to be stored."""
    table, retained = Table(), Retained()
    first = say("a", b"on")
    table.commit(retained.changes([first]))
    retained.settle([first])
    off, on = say("a", b"off"), say("a", b"on")
    statements = retained.changes([off]) + retained.changes([on])
    table.commit(statements)
    retained.settle([off])
    retained.settle([on])
    assert table.reopened().match("a")[0].payload == b"on" == retained.match("a")[0].payload


def test_a_commit_that_failed_is_tried_again() -> None:
    retained = Retained()
    message = say("a", b"on")
    retained.changes([message])
    retained.settle([message], stored=False)
    assert topics(retained) == []
    assert len(retained.changes([message])) == 1


def test_beyond_the_bounds_it_is_not_retained_and_its_row_goes() -> None:
    table, retained = Table(), Retained(SMALL)
    messages = [say(f"t{number}") for number in range(5)]
    table.commit(retained.changes(messages))
    retained.settle(messages)
    assert topics(retained) == ["t0", "t1", "t2"]
    assert retained.refused == 2
    table.commit(retained.changes([]))
    assert table.topics() == ["t0", "t1", "t2"]


def test_too_many_bytes_are_not_retained_either() -> None:
    table, retained = Table(), Retained(SMALL)
    small, large = say("a", b"x" * 600), say("a", b"x" * 1001)
    for message in (small, large):
        table.commit(retained.changes([message]))
        retained.settle([message])
    assert topics(retained) == [], "an old value would be wrong"
    table.commit(retained.changes([]))
    assert table.topics() == []


def test_deep_topics_count_for_more() -> None:
    deep = "/".join("x" * 100)
    retained = Retained(Limits(retained_bytes=60_000))
    retained.settle([say(deep), say(deep + "/y")])
    assert topics(retained, "#") == [deep]


def test_a_file_larger_than_the_bounds_is_cut_to_them() -> None:
    table, retained = Table(), Retained()
    table.commit(retained.changes([say(f"t{number}") for number in range(9)]))
    reopened = table.reopened(SMALL)
    assert len(reopened) == 3
    table.commit(reopened.changes([]))
    assert len(table.topics()) == 3


def test_our_own_tree_always_fits() -> None:
    retained = Retained(SMALL)
    retained.settle([say(f"t{number}") for number in range(5)])
    retained.settle([say("redcar/state/x")])
    assert topics(retained, "redcar/#") == ["redcar/state/x"]


def test_our_own_tree_takes_nobodys_room() -> None:
    retained = Retained(SMALL)
    retained.settle([say(f"redcar/state/{number}", b"x" * 400) for number in range(5)])
    retained.settle([say(f"t{number}") for number in range(3)])
    assert topics(retained) == ["t0", "t1", "t2"]
    retained.settle([say(f"redcar/state/{number}", b"") for number in range(5)])
    retained.settle([say("t3")])
    assert topics(retained) == ["t0", "t1", "t2"]
    assert len(retained) == 3


def test_an_expired_message_is_gone_also_after_a_restart() -> None:
    """[MQTT-3.3.2-5] and [MQTT-3.3.2-6]"""
    table, now = Table(), [1000.0]
    retained = Retained(SMALL, lambda: now[0])
    message = say("a", properties={Property.message_expiry: 60})
    table.commit(retained.changes([message]))
    retained.settle([message])
    now[0] += 0.3
    assert retained.match("a")[0].properties == {Property.message_expiry: 60}, "it hasn't waited for a second yet"
    now[0] += 19.7
    assert retained.match("a")[0].properties == {Property.message_expiry: 40}
    assert table.reopened(now=1050.0).match("a")[0].properties == {Property.message_expiry: 10}
    assert table.reopened(now=1061.0).match("a") == []
    now[0] += 41
    assert retained.match("#") == []
    table.commit(retained.changes([]))
    assert table.topics() == []


some = st.builds(
    say, st.sampled_from(["a", "a/b", "b", "$c", "redcar/x"]), st.sampled_from([b"", b"1", b"2", b"x" * 400])
)


@settings(deadline=None)
@example([([say("a"), say("a/b"), say("b"), say("$c")], True)])
@given(st.lists(st.tuples(st.lists(some, max_size=4), st.booleans()), max_size=12))
def test_memory_and_table_agree_after_every_commit(batches: list[tuple[list[Publish], bool]]) -> None:
    table, retained = Table(), Retained(SMALL)
    for messages, works in batches:
        statements = retained.changes(messages)
        if works:
            table.commit(statements)
        retained.settle(messages, stored=works)
        assert len(retained) == len(everything(retained))
    table.commit(retained.changes([]))
    shown = {one.topic: one.payload for one in everything(retained)}
    assert {one.topic: one.payload for one in everything(table.reopened())} == shown
