"""Stories of several clients around a broker, without sockets."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Delivery,
    Disconnect,
    Filter,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import Reason
from tests.hub.peers import both
from tests.hub.room import Room, say
from tests.hub.table import parse


@both
def test_subscribe_and_unsubscribe(version: int) -> None:
    room = Room()
    client = room.enter("c", version)
    room.ask(
        client,
        Subscribe(1, [Filter("a", 0), Filter("b/#", 1), Filter("c", 2), Filter("$share/g/x", 1), Filter("/" * 200)]),
    )
    five = version == V5
    assert client.got() == [Suback(1, [0, 1, 2, 1, 0x8F if five else 0x80])]
    assert room.broker.subscriptions == 4
    room.say(Publish("b/x", b"1"))
    assert client.got() == [say("b/x", b"1")]
    room.ask(client, Unsubscribe(2, ["b/#", "b/#"]))
    assert client.got() == [Unsuback(2, [0, 0x11] if five else [])]
    room.say(Publish("b/x", b"1"))
    assert client.got() == []


@pytest.mark.parametrize(
    ("published", "granted", "want"), [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 1, 1), (2, 2, 2)]
)
def test_qos_is_the_lower_one(published: int, granted: int, want: int) -> None:
    """[MQTT-3.8.4-8]"""
    room = Room()
    client = room.enter("c", V5, Filter("a", granted))
    room.say(Publish("a", b"x", published))
    assert client.got() == [say(qos=want, id=min(want, 1))]


def test_overlapping_subscriptions_bring_one_copy() -> None:
    """3.3.4: at the highest QoS, with all their identifiers."""
    room = Room()
    client = room.enter("c")
    for number, (filter, qos) in enumerate([("a/#", 0), ("a/+", 1), ("+/b", 0)], 1):
        room.ask(client, Subscribe(number, [Filter(filter, qos)], {Property.subscription_identifier: [number]}))
    client.got()
    room.say(Publish("a/b", b"x", 1))
    (one,) = client.got()
    assert isinstance(one, Delivery)
    assert one.message.qos == 1
    assert sorted((one.message.properties or {})[Property.subscription_identifier]) == [1, 2, 3]


def test_no_local() -> None:
    """[MQTT-3.8.3-3]; a second subscription without it still brings our own messages."""
    room = Room()
    client = room.enter("c", V5, Filter("a", 1, no_local=True))
    other = room.enter("d", V5, Filter("a", 1, no_local=True))
    room.say(Publish("a", b"x", client="c"))
    assert client.got() == []
    assert other.got() == [say()]
    room.ask(client, Subscribe(2, [Filter("#", 0)]))
    client.got()
    room.say(Publish("a", b"x", 1, client="c"))
    assert client.got() == [say()], "at the QoS of the one that brings it"


def test_retain_as_published() -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]"""
    room = Room()
    plain = room.enter("plain", V5, Filter("a"))
    kept = room.enter("kept", V5, Filter("a", retain_as_published=True))
    old = room.enter("old", V311, Filter("a"))
    room.say(Publish("a", b"x", retain=True))
    assert [client.got() for client in (plain, kept, old)] == [[say()], [say(retain=True)], [say()]]


@pytest.mark.parametrize(("handling", "first", "second"), [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(handling: int, first: int, second: int) -> None:
    """[MQTT-3.3.1-9] to [MQTT-3.3.1-11]"""
    room = Room()
    room.say(Publish("a", b"x", 1, True))
    client = room.enter("c")
    for id, count in ((1, first), (2, second)):
        room.ask(
            client, Subscribe(id, [Filter("a", 1, retain_handling=handling)], {Property.subscription_identifier: [7]})
        )
        suback, *found = client.got()
        assert suback == Suback(id, [1])
        want = Publish("a", b"x", 1, True, {Property.subscription_identifier: [7]})
        assert [one.message for one in found if isinstance(one, Delivery)] == [want] * count


def test_properties_pass_through_to_5_0_only() -> None:
    """[MQTT-3.3.2-17] and its neighbours"""
    properties: dict[int, Any] = {
        Property.content_type: "t",
        Property.user_property: [("b", "1"), ("a", "2"), ("b", "1")],
    }
    room = Room()
    new, old = room.enter("new", V5, Filter("a")), room.enter("old", V311, Filter("a"))
    room.say(Publish("a", b"x", properties=properties))
    assert new.got() == [say(properties=properties)]
    assert old.got() == [say()]


def test_the_window_of_the_client() -> None:
    """[MQTT-3.3.4-9]"""
    room = Room()
    client = room.enter("c", V5, Filter("a", 1), properties={Property.receive_maximum: 2})
    room.say(*(Publish("a", bytes((number,)), 1) for number in range(5)))
    assert [one.id for one in client.got() if isinstance(one, Delivery)] == [1, 2]
    client.send(Ack(Kind.PUBACK, 2))
    assert client.got() == [say(payload=b"\2", qos=1, id=3)]
    client.send(Ack(Kind.PUBACK, 99), Ack(Kind.PUBACK, 1), Ack(Kind.PUBACK, 3, Reason.NO_MATCHING_SUBSCRIBERS))
    assert client.got() == [say(payload=b"\3", qos=1, id=4), say(payload=b"\4", qos=1, id=5)]


def test_nothing_overtakes_what_waits_for_the_window() -> None:
    """One order for all a client is sent, whatever the QoS."""
    room = Room()
    client = room.enter("c", V5, Filter("a", 1), properties={Property.receive_maximum: 1})
    room.say(Publish("a", b"1", 1), Publish("a", b"2", 1), Publish("a", b"3", 0))
    assert client.got() == [say(payload=b"1", qos=1, id=1)]
    client.send(Ack(Kind.PUBACK, 1))
    assert client.got() == [say(payload=b"2", qos=1, id=2), say(payload=b"3")]


def test_packet_ids_wrap_around_those_in_use() -> None:
    room = Room()
    client = room.enter("c", V5, Filter("a", 1))
    room.say(Publish("a", b"x", 1))
    for _ in range(70):
        room.say(*(Publish("a", b"x", 1) for _ in range(999)))
        ids = [one.id for one in client.got() if isinstance(one, Delivery)]
        assert 1 not in ids[1:]
        assert 0 not in ids
        client.send(*(Ack(Kind.PUBACK, id) for id in ids if id != 1))


def test_a_message_too_large_for_the_client_is_left_out() -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    room = Room()
    client = room.enter(
        "c", V5, Filter("a", 1), properties={Property.maximum_packet_size: 50, Property.receive_maximum: 1}
    )
    room.say(Publish("a", b"x" * 100, 1), Publish("a", b"y", 1))
    (one,) = client.got()
    assert isinstance(one, Delivery)
    assert one.message.payload == b"y"


@both
def test_a_reader_that_is_too_slow_is_let_go(version: int) -> None:
    room = Room(Limits(unsent=10_000))
    client = room.enter("c", version, Filter("a"))
    client.session.out.stall()
    room.say(*(Publish("a", b"x" * 1000) for _ in range(20)))
    assert client.session.over
    assert client.session.ended == (Reason.QUOTA_EXCEEDED, "more than 10000 bytes wait to be read by this client")
    assert [type(one) for one in client.got()] == ([Disconnect] if version == V5 else [])


def test_a_reader_that_catches_up_gets_everything_in_order() -> None:
    room = Room()
    client = room.enter("c", V5, Filter("a"))
    client.session.out.stall()
    room.say(*(Publish("a", str(number).encode()) for number in range(100)))
    client.session.out.resume()
    room.say(Publish("a", b"100"))
    payloads = [one.message.payload for one in client.got() if isinstance(one, Delivery)]
    assert payloads == [str(number).encode() for number in range(101)]


def test_retained_messages_come_in_portions_and_do_not_count_as_slow() -> None:
    """A dashboard subscribes to # on a gateway that retains more than it may hold for a slow reader."""
    room = Room()
    room.say(*(Publish(f"t/{number}", b"x" * 1000, retain=True) for number in range(3000)))
    client = room.enter("c")
    room.ask(client, Subscribe(1, [Filter("#")]))
    count, largest = 0, 0
    while data := client.session.out.take():
        largest = max(largest, len(data))
        count += len(parse(client.stream, data))
        client.session.out.more()
    assert count == 1 + 3000
    assert largest < 100_000
    assert not client.session.over


def test_asking_for_everything_again_and_again_without_reading() -> None:
    room = Room()
    room.say(*(Publish(f"t/{number}", b"x", retain=True) for number in range(2000)))
    client = room.enter("c")
    client.session.out.stall()
    room.ask(client, Subscribe(1, [Filter("#"), Filter("+/#"), Filter("t/#"), Filter("t/+"), Filter("+/+")] * 10))
    assert client.session.over


@both
def test_take_over(version: int) -> None:
    """[MQTT-3.1.4-3]: the newer one has the id, the older one hears it and loses its subscriptions."""
    room = Room()
    old = room.enter("c", version, Filter("a"))
    flushed = []
    old.session.flush = lambda: flushed.append(True)
    new = room.enter("c", version)
    assert flushed
    assert old.session.over
    assert [one.reason for one in old.got() if isinstance(one, Disconnect)] == ([0x8E] if version == V5 else [])
    assert room.broker.subscriptions == 0
    assert room.broker.members["c"].session is new.session


def test_after_goodbye_nothing_is_delivered() -> None:
    room = Room()
    client = room.enter("c", V5, Filter("a"))
    client.session.end(Reason.SERVER_SHUTTING_DOWN, "bye")
    room.say(Publish("a", b"x"))
    assert [type(one) for one in client.got()] == [Disconnect]


def test_a_deep_filter_counts_for_several() -> None:
    room = Room(Limits(all_subscriptions=8))
    client = room.enter("c")
    room.ask(client, Subscribe(1, [Filter("/" * 100), Filter("a"), Filter("b")]))
    assert client.got() == [Suback(1, [0, 0, 0x97])]
    room.ask(client, Unsubscribe(2, ["/" * 100]))
    room.ask(client, Subscribe(3, [Filter(str(number)) for number in range(8)]))
    assert client.got() == [Unsuback(2, [0]), Suback(3, [0] * 7 + [0x97])]


def test_subscriptions_are_bounded() -> None:
    room = Room(Limits(subscriptions=2))
    client = room.enter("c", V5, Filter("a"), Filter("b"))
    room.ask(client, Subscribe(2, [Filter("c"), Filter("a", 1)]))
    assert client.got() == [Suback(2, [0x97, 1])]


def test_routes_are_remembered_within_bounds_and_forgotten_when_subscriptions_change() -> None:
    room = Room()
    first = room.enter("c", V5, Filter("#"))
    room.say(*(Publish(f"t/{number}", b"") for number in range(10_500)))
    assert len(room.broker._routes) <= 10_000
    room.say(Publish("t/1", b""))
    first.got()
    second = room.enter("d", V5, Filter("t/1"))
    room.say(Publish("t/1", b""))
    assert len(first.got()) == len(second.got()) == 1
    room.leave(second)
    room.say(Publish("t/1", b""))
    assert second.got() == []


def test_ways_with_many_subscriptions_fill_the_memory_sooner() -> None:
    room = Room()
    room.enter(
        "c", V5, *(Filter("t/" + "+/" * n + "#") for n in range(10)), *(Filter("+/" * n + "#") for n in range(10))
    )
    for number in range(5_000):
        room.say(Publish("t" + "/x" * 12 + f"/{number}", b""))
    assert len(room.broker._routes) <= 20_000 // 20


def test_subscriptions_of_all_clients_are_bounded() -> None:
    room = Room(Limits(all_subscriptions=3))
    room.enter("c", V5, Filter("a"), Filter("b"))
    client = room.enter("d", V5)
    room.ask(client, Subscribe(2, [Filter("a"), Filter("b"), Filter("a", 1)]))
    assert client.got() == [Suback(2, [0, 0x97, 1])]
    room.ask(client, Unsubscribe(3, ["a"]))
    room.ask(client, Subscribe(4, [Filter("b")]))
    assert client.got()[-1] == Suback(4, [0])


def test_what_is_retained_is_shown_a_filter_at_a_time_and_others_get_their_turn() -> None:
    room = Room()
    room.say(*(Publish(f"r/{n}", b"x", 0, True) for n in range(3)))
    room.at_once = False
    turns: list[Callable[[], object]] = room.turns
    first, second = room.enter("first"), room.enter("second")
    room.ask(first, Subscribe(1, [Filter("r/+"), Filter("r/0"), Filter("+/1"), Filter("+/2")]))
    room.ask(second, Subscribe(1, [Filter("#"), Filter("+/+")]))
    found = first.got()
    assert [type(one) for one in found] == [Suback] + [Delivery] * 3
    assert len(second.got()) == 1 + 3
    assert len(turns) == 1, "they stand in one line"
    room.ask(first, Unsubscribe(2, ["+/1"]))
    first.got()

    def turn() -> tuple[list[str], ...]:
        turns.pop()()
        return tuple([one.message.topic for one in peer.got() if isinstance(one, Delivery)] for peer in (first, second))

    assert turn() == (["r/0"], [])  # +/1 isn't wanted any more
    room.say(Publish("r/2", b"newer", 0, True))
    assert [one.message.payload for one in first.got() if isinstance(one, Delivery)] == [b"newer"]
    second.got()
    assert turn() == ([], ["r/0", "r/1", "r/2"])
    turns.pop()()
    (late,) = (one for one in first.got() if isinstance(one, Delivery))
    assert late.message.payload == b"newer", "nothing old follows something newer"
    assert not turns


def test_whoever_is_gone_is_shown_nothing() -> None:
    room = Room()
    room.at_once = False
    turns = room.turns
    client = room.enter("c")
    room.ask(client, Subscribe(1, [Filter("a/+"), Filter("b/+")]))
    room.leave(client)
    client.session.over = True
    turns.pop()()
    assert not turns
