"""Stories of one connection, without sockets."""

import pytest

from gateway.hub.happenings import Declined
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Batch,
    Connack,
    Disconnect,
    Packet,
    Ping,
    Pong,
)
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import ProtocolError, Reason
from gateway.hub.session import Session
from tests.hub.peers import both
from tests.hub.room import Client, only_safe, say
from tests.hub.table import open_stream, parse


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
        ("10 0D 0004 4D515454 03 02 003C 0001 63", "20 02 00 01"),  # an unknown version: 3.1.1's answer
        ("10 0F 0006 4D5149736470 03 02 003C 0001 63", "20 02 00 01"),  # MQTT 3.1
        ("10 0D 0004 4D515454 06 02 003C 0001 63", "20 02 00 01"),
        ("10 0E 0004 4D515454 06 02 003C 00 0001 63", "20 03 00 84 00"),  # a later one with the shape of 5.0
        ("10 0D 0004 4D515454 04 03 003C 0001 63", ""),  # malformed 3.1.1: not a word
        ("C0 00", ""),
    ],
)
def test_a_broken_first_packet(wire: str, want: str) -> None:
    """[MQTT-3.1.2-2]"""
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
        assert batch.messages == [Publish("a/b", b"1", 1, False, None, "c", "kitchen", packet_id=b"\0\1")]


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


def test_a_repeat_of_what_took_the_short_road_in_the_same_read() -> None:
    client = Client().come_in()
    client.send(say(qos=1, id=1))
    (batch,) = client.send(say(qos=1, id=2, dup=True), say(qos=1, id=3), say(qos=1, id=3, dup=True))
    assert isinstance(batch, Batch)
    assert len(batch.messages) == 2


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


def test_one_too_many_at_qos_2_with_a_release_behind_it() -> None:
    """[MQTT-3.3.4-7]: it was one too many when it came."""
    client = Client(limits=Limits(receive_maximum=2)).come_in()
    (batch,) = client.send(say(qos=2, id=1), say(qos=2, id=2))
    assert isinstance(batch, Batch)
    client.session.acknowledge(batch)
    client.got()
    (error,) = client.send(say(qos=2, id=3), Ack(Kind.PUBREL, 1))
    assert isinstance(error, ProtocolError)
    assert error.reason == Reason.RECEIVE_MAXIMUM_EXCEEDED


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


def test_a_session_that_ends_with_its_connection_can_not_be_prolonged() -> None:
    """3.14.2.2.2"""
    client = Client().come_in()
    (error,) = client.send(Disconnect(0, {Property.session_expiry: 60}))
    assert isinstance(error, ProtocolError)
    assert error.reason == Reason.PROTOCOL_ERROR


def test_a_refusal_fits_what_the_client_takes() -> None:
    """[MQTT-3.2.2-19]"""
    client = Client(properties={Property.maximum_packet_size: 30})
    client.send(client.asked)
    client.session.refuse(Reason.NOT_AUTHORIZED, "why, in more words than fit")
    assert client.got() == [Connack(False, 0x87)]


def test_ids_of_a_batch_that_was_never_handed_over_are_new_again() -> None:
    ids: dict[bytes, bool] = {}
    for _ in range(2):  # the session lasts, and its ids with it
        client = Client()
        client.send(client.asked)
        client.session.accept(None, "c", {}, only_safe, 0.0, qos2=ids)
        (batch,) = client.send(say(qos=2, id=5))
        assert isinstance(batch, Batch)
        assert batch.received == [5]
        client.session.undo(batch)
    assert ids == {}
