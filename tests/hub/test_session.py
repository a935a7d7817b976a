"""Stories of one connection without sockets, and of several through a broker."""

import pytest

from gateway.hub import encode
from gateway.hub.broker import Broker
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Batch,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Filter,
    Packet,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import ProtocolError, Reason
from gateway.hub.retained import Retained
from gateway.hub.session import Declined, Event, Session
from tests.hub.table import open_stream, parse

both = pytest.mark.parametrize("version", [V311, V5])


def only_safe(topic: str) -> tuple[Reason, str] | None:
    return (Reason.NOT_AUTHORIZED, "secret") if topic.startswith("$") else None


class Client:
    """The other end: packets in, packets out, at a time we choose."""

    def __init__(self, version: int = V5, limits: Limits | None = None, **connect: object) -> None:
        self.version = version
        self.session = Session(limits or Limits(), now=0.0)
        self.stream = open_stream(version)
        self.asked = Connect(version=version, **{"client_id": "c", **connect})  # type: ignore[arg-type]

    def send(self, *packets: Packet, now: float = 0.0) -> list[Event]:
        data = b"".join(encode.encode(packet, self.version) for packet in packets)
        return self.session.receive(data, now)

    def got(self) -> list[Packet | ProtocolError]:
        return parse(self.stream, self.session.out.take())

    def come_in(self, *early: Packet, broker: Broker | None = None) -> "Client":
        """Connect, and be let in."""
        (event,) = self.send(self.asked, *early)
        assert event == self.asked
        if broker:
            broker.join(self.session, self.asked.client_id)
        self.session.accept(None, self.asked.client_id or "assigned", {}, only_safe, 0.0)
        assert isinstance(self.got()[0], Connack)
        return self


def say(
    topic: str = "a", payload: bytes = b"x", qos: int = 0, id: int = 0, dup: bool = False, **more: object
) -> Delivery:
    return Delivery(Publish(topic, payload, qos, **more), id, dup)  # type: ignore[arg-type]


def test_connack_tells_a_5_0_client_its_limits() -> None:
    client = Client(keep_alive=1000, properties={Property.session_expiry: 60}, client_id="")
    client.send(client.asked)
    client.session.accept(None, "assigned", {}, only_safe, 0.0)
    assert client.got() == [
        Connack(
            False,
            0,
            {
                Property.receive_maximum: 1000,
                Property.maximum_packet_size: 262_144,
                Property.topic_alias_maximum: 64,
                Property.shared_available: 0,
                Property.session_expiry: 0,
                Property.assigned_client_id: "assigned",
                Property.server_keep_alive: 300,
            },
        )
    ]


def test_connack_of_3_1_1_says_nothing_more() -> None:
    client = Client(V311)
    client.send(client.asked)
    client.session.accept(None, "c", {}, only_safe, 0.0)
    assert client.session.out.take() == b"\x20\x02\0\0"


@both
def test_what_comes_with_connect_waits_for_the_answer(version: int) -> None:
    """3.1.4: a client needn't wait for CONNACK."""
    client = Client(version)
    assert client.send(client.asked, say(qos=1, id=1), Ping()) == [client.asked]
    assert client.send(say(qos=1, id=2)) == []
    assert client.got() == []
    (batch,) = client.session.accept(None, "c", {}, only_safe, 0.0)
    assert isinstance(batch, Batch)
    assert len(batch.messages) == 2
    assert [type(one) for one in client.got()] == [Connack, Pong]


@pytest.mark.parametrize(
    ("version", "reason", "want"),
    [
        (V311, Reason.BAD_USER_OR_PASSWORD, [Connack(False, 4)]),
        (V311, Reason.CLIENT_ID_NOT_VALID, [Connack(False, 2)]),
        (V311, Reason.BAD_AUTHENTICATION_METHOD, []),
        (V5, Reason.NOT_AUTHORIZED, [Connack(False, 0x87, {Property.reason_string: "why"})]),
    ],
)
def test_refused(version: int, reason: Reason, want: list[Packet]) -> None:
    client = Client(version)
    client.send(client.asked)
    client.session.refuse(reason, "why")
    assert client.got() == want
    assert client.session.over


@pytest.mark.parametrize(
    ("wire", "want"),
    [
        ("10 0D 0004 4D515454 06 02 003C 0001 63", "20 02 00 01"),  # an unknown version: 3.1.1's answer
        ("10 0D 0004 4D515454 04 03 003C 0001 63", ""),  # malformed 3.1.1: not a word
        ("C0 00", ""),
    ],
)
def test_a_broken_first_packet(wire: str, want: str) -> None:
    session = Session(Limits(), 0.0)
    (event,) = session.receive(bytes.fromhex(wire), 0.0)
    assert isinstance(event, ProtocolError)
    assert session.over
    assert session.out.take() == bytes.fromhex(want)


def test_a_broken_5_0_connect_hears_why() -> None:
    session = Session(Limits(), 0.0)
    session.receive(bytes.fromhex("10 11 0004 4D515454 05 02 003C 03 21 0000 0001 63"), 0.0)
    (answer,) = parse(open_stream(V5), session.out.take())
    assert isinstance(answer, Connack)
    assert answer.reason == Reason.PROTOCOL_ERROR


@both
def test_acknowledgements_wait_for_the_disk_and_keep_their_order(version: int) -> None:
    client = Client(version).come_in()
    (first,) = client.send(say(qos=1, id=3), say(), say(qos=2, id=9))
    (second,) = client.send(say(qos=1, id=1))
    assert client.got() == []
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert [one.qos for one in first.messages] == [1, 0, 2]
    client.session.acknowledge(first)
    client.session.acknowledge(second)
    assert client.got() == [Ack(Kind.PUBACK, 3), Ack(Kind.PUBREC, 9), Ack(Kind.PUBACK, 1)]


@both
def test_messages_carry_who_sent_them(version: int) -> None:
    client = Client(version)
    client.send(client.asked)
    client.session.accept("kitchen", "c", {}, only_safe, 0.0)
    for _ in ("careful road", "short road"):
        (batch,) = client.send(say("a/b", b"1", 1, 1))
        assert isinstance(batch, Batch)
        assert batch.messages == [Publish("a/b", b"1", 1, False, None, "c", "kitchen")]


@both
def test_a_repeat_while_the_first_is_underway_is_taken_once(version: int) -> None:
    """esp-mqtt sends again on a timer, in the same connection."""
    client = Client(version).come_in()
    (batch,) = client.send(say(qos=1, id=1), say(qos=1, id=2), say(qos=1, id=1, dup=True))
    assert isinstance(batch, Batch)
    assert client.send(say(qos=1, id=2, dup=True)) == []
    (other,) = client.send(say(qos=1, id=3, dup=True), say(qos=1, id=3, dup=True))
    assert isinstance(other, Batch)
    assert (len(batch.messages), len(other.messages)) == (2, 1)
    client.session.acknowledge(batch)
    assert client.got() == [Ack(Kind.PUBACK, 1), Ack(Kind.PUBACK, 2)]
    (again,) = client.send(say(qos=1, id=1, dup=True))
    assert isinstance(again, Batch), "acknowledged already: nobody can tell it from a new one"


@both
def test_qos_2_is_taken_once(version: int) -> None:
    """[MQTT-4.3.3-8] to [MQTT-4.3.3-12]"""
    client = Client(version).come_in()
    (batch,) = client.send(say(qos=2, id=5))
    assert client.send(say(qos=2, id=5, dup=True)) == []
    assert client.got() == [], "not on the disk yet"
    assert isinstance(batch, Batch)
    client.session.acknowledge(batch)
    assert client.got() == [Ack(Kind.PUBREC, 5)]
    assert client.send(say(qos=2, id=5, dup=True)) == []
    assert client.got() == [Ack(Kind.PUBREC, 5)]
    client.send(Ack(Kind.PUBREL, 5))
    assert client.got() == [Ack(Kind.PUBCOMP, 5)]
    (fresh,) = client.send(say(qos=2, id=5))
    assert isinstance(fresh, Batch)


def test_pubrel_of_nothing() -> None:
    client = Client().come_in()
    client.send(Ack(Kind.PUBREL, 5))
    assert client.got() == [Ack(Kind.PUBCOMP, 5, Reason.PACKET_ID_NOT_FOUND)]


@pytest.mark.parametrize(
    ("version", "qos", "want"),
    [
        (V311, 0, []),
        (V311, 1, [Ack(Kind.PUBACK, 1)]),
        (V311, 2, [Ack(Kind.PUBREC, 1)]),
        (V5, 0, []),
        (V5, 1, [Ack(Kind.PUBACK, 1, Reason.NOT_AUTHORIZED)]),
        (V5, 2, [Ack(Kind.PUBREC, 1, Reason.NOT_AUTHORIZED)]),
    ],
)
def test_a_topic_that_is_not_allowed(version: int, qos: int, want: list[Packet]) -> None:
    """5.0 hears no; 3.1.1 has no word for it (3.3.5) and would come back for ever if it were cut off."""
    client = Client(version).come_in()
    events = client.send(say("$SYS/x", qos=qos, id=min(qos, 1)))
    assert Declined("$SYS/x", "secret") in events
    for event in events:
        if isinstance(event, Batch):
            assert event.messages == []
            client.session.acknowledge(event)
    assert client.got() == want


def test_more_in_flight_than_was_said() -> None:
    """[MQTT-3.3.4-7]; what came is still owed to the disk."""
    client = Client(limits=Limits(receive_maximum=2)).come_in()
    (batch,) = client.send(say(qos=1, id=1), say(qos=1, id=2))
    assert isinstance(batch, Batch)
    client.session.acknowledge(batch)
    client.got()
    events = client.send(*(say(qos=1, id=id) for id in (3, 4, 5)))
    assert [type(one) for one in events] == [Batch, ProtocolError]
    (bye,) = client.got()
    assert isinstance(bye, Disconnect)
    assert bye.reason == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_topic_aliases() -> None:
    """3.3.2.3.4"""
    alias = {Property.topic_alias: 3}
    client = Client().come_in()
    (batch,) = client.send(
        say("a/b", properties={**alias, Property.content_type: "t"}),
        say("", properties=alias),
        say("c", properties=alias),
    )
    assert isinstance(batch, Batch)
    assert [(one.topic, one.properties) for one in batch.messages] == [
        ("a/b", {Property.content_type: "t"}),
        ("a/b", None),
        ("c", None),
    ]


@pytest.mark.parametrize(
    ("topic", "alias", "reason"),
    [
        ("a", 0, Reason.TOPIC_ALIAS_INVALID),
        ("a", 65, Reason.TOPIC_ALIAS_INVALID),
        ("", 5, Reason.PROTOCOL_ERROR),
    ],
)
def test_wrong_topic_aliases(topic: str, alias: int, reason: Reason) -> None:
    client = Client().come_in()
    (event,) = client.send(say(topic, properties={Property.topic_alias: alias}))
    assert isinstance(event, ProtocolError)
    assert event.reason == reason


def test_a_client_sends_no_subscription_identifiers() -> None:
    client = Client().come_in()
    (event,) = client.send(say(properties={Property.subscription_identifier: [1]}))
    assert isinstance(event, ProtocolError)
    assert "MQTT-3.3.4-6" in event.text


@pytest.mark.parametrize(
    ("version", "asked", "after"),
    [(V311, 10, 15.0), (V311, 0, float("inf")), (V311, 3600, 5400.0), (V5, 10, 15.0), (V5, 0, 450.0), (V5, 900, 450.0)],
)
def test_keep_alive(version: int, asked: int, after: float) -> None:
    """[MQTT-3.1.2-22], and the server's own for 5.0 (3.2.2.3.14)."""
    client = Client(version, keep_alive=asked)
    assert client.session.deadline == 5.0
    client.come_in()
    client.send(Ping(), now=100.0)
    assert client.session.deadline == 100.0 + after
    assert client.got() == [Pong()]


def test_after_disconnect_nothing_is_read() -> None:
    """[MQTT-3.14.4-1]"""
    client = Client().come_in()
    events = client.send(say(), Disconnect(), say(), Ping())
    assert isinstance(events[0], Batch)
    assert len(events[0].messages) == 1
    assert events[1:] == [Disconnect()]
    assert client.got() == []
    assert client.send(Ping()) == []


def test_auth_was_not_asked_for() -> None:
    client = Client().come_in()
    assert client.session.receive(b"\xf0\0", 0.0)
    (bye,) = client.got()
    assert isinstance(bye, Disconnect)
    assert bye.reason == Reason.PROTOCOL_ERROR


def test_a_reason_string_that_is_too_long_for_the_client_is_left_out() -> None:
    """[MQTT-3.14.2-3]"""
    client = Client(properties={Property.maximum_packet_size: 20}).come_in()
    client.session.end(Reason.SERVER_SHUTTING_DOWN, "x" * 100)
    assert client.got() == [Disconnect(Reason.SERVER_SHUTTING_DOWN)]


# several clients


class Room:
    """Clients around one broker."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.retained = Retained(self.limits)
        self.broker = Broker(self.retained, self.limits)

    def enter(self, id: str, version: int = V5, *filters: Filter, **connect: object) -> Client:
        client = Client(version, self.limits, client_id=id, **connect).come_in(broker=self.broker)
        if filters:
            self.ask(client, Subscribe(1, list(filters)))
            client.got()
        return client

    def ask(self, client: Client, packet: Subscribe | Unsubscribe) -> None:
        for event in client.send(packet):
            if isinstance(event, Subscribe):
                self.broker.subscribe(client.session, event)
            else:
                assert isinstance(event, Unsubscribe)
                self.broker.unsubscribe(client.session, event)

    def say(self, *messages: Publish) -> None:
        self.retained.settle(messages)
        self.broker.route(messages)


@both
def test_subscribe_and_unsubscribe(version: int) -> None:
    room = Room()
    client = room.enter("c", version)
    room.ask(
        client,
        Subscribe(1, [Filter("a", 0), Filter("b/#", 1), Filter("c", 2), Filter("$share/g/x", 1), Filter("/" * 17)]),
    )
    five = version == V5
    assert client.got() == [Suback(1, [0, 1, 1, 0x9E if five else 0x80, 0x8F if five else 0x80])]
    assert room.broker.subscriptions == 3
    room.say(Publish("b/x", b"1"))
    assert client.got() == [say("b/x", b"1")]
    room.ask(client, Unsubscribe(2, ["b/#", "b/#"]))
    assert client.got() == [Unsuback(2, [0, 0x11] if five else [])]
    room.say(Publish("b/x", b"1"))
    assert client.got() == []


@pytest.mark.parametrize(
    ("published", "granted", "want"), [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 1, 1), (2, 2, 1)]
)
def test_qos_is_the_lower_one(published: int, granted: int, want: int) -> None:
    """[MQTT-3.8.4-8], and at most 1 so far."""
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
    properties = {Property.content_type: "t", Property.user_property: [("b", "1"), ("a", "2"), ("b", "1")]}
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
    room.broker.leave(old.session)
    assert room.broker.owner("c") is new.session


def test_after_goodbye_nothing_is_delivered() -> None:
    room = Room()
    client = room.enter("c", V5, Filter("a"))
    client.session.end(Reason.SERVER_SHUTTING_DOWN, "bye")
    room.say(Publish("a", b"x"))
    assert [type(one) for one in client.got()] == [Disconnect]


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
    room.broker.leave(second.session)
    room.say(Publish("t/1", b""))
    assert second.got() == []
