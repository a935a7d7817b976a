"""Shared subscriptions of clients that are there: each message to one of the group. The others: see ``test_group.py``."""

from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Delivery, Filter, Subscribe
from gateway.hub.properties import Property
from tests.hub.peers import both
from tests.hub.room import Room


@both
def test_members_take_turns_and_others_get_all(version: int) -> None:
    """4.8.2"""
    room = Room()
    group = [room.enter(f"m{n}", version, Filter("$share/g/a/+", 1)) for n in range(3)]
    alone = room.enter("alone", version, Filter("a/#", 0))
    other = room.enter("other", version, Filter("$share/h/a/b", 0))
    for n in range(9):
        room.say(Publish("a/b", str(n).encode(), 1))
    counts = [len(one.got()) for one in group]
    assert counts == [3, 3, 3]
    assert len(alone.got()) == 9
    assert len(other.got()) == 9


def test_no_retained_messages() -> None:
    """4.8.2: they belong to no group."""
    room = Room()
    room.say(Publish("a", b"x", 0, True))
    member = room.enter("m")
    room.ask(member, Subscribe(1, [Filter("$share/g/a", 1)]))
    assert len(member.got()) == 1


def test_a_member_whose_window_is_full_is_passed_over() -> None:
    room = Room()
    slow = room.enter("slow", V5, Filter("$share/g/a", 1), properties={Property.receive_maximum: 1})
    quick = room.enter("quick", V5, Filter("$share/g/a", 1))
    for n in range(10):
        room.say(Publish("a", str(n).encode(), 1))
    assert len(slow.got()) == 1
    assert len(quick.got()) == 9


def test_aliases_for_a_client_that_takes_them() -> None:
    """[MQTT-3.1.2-26] [MQTT-3.1.2-27]: as many as it allows, the name once."""
    room = Room()
    client = room.enter("c", V5, Filter("#", 0), properties={Property.topic_alias_maximum: 2})
    for topic in ("first/topic", "second/topic", "third/topic", "first/topic", "third/topic"):
        room.say(Publish(topic, b"x"))
    got = [one for one in client.got() if isinstance(one, Delivery)]
    assert [(one.message.topic, (one.message.properties or {}).get(Property.topic_alias)) for one in got] == [
        ("first/topic", 1),
        ("second/topic", 2),
        ("third/topic", None),
        ("", 1),
        ("third/topic", None),
    ]
