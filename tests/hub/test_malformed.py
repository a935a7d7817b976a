"""What a client must not send: each row is closed with its reason code, and the message names the broken rule."""

import pytest

from gateway.hub.packets import V5, V311, Delivery
from gateway.hub.reasons import ProtocolError, Reason
from gateway.hub.stream import FIRST, FROM_CLIENT, Stream
from tests.hub.table import LIMITS

MALFORMED, VIOLATION = Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR
BAD_NAME, BAD_FILTER, LARGE = Reason.TOPIC_NAME_INVALID, Reason.TOPIC_FILTER_INVALID, Reason.PACKET_TOO_LARGE
OLD = Reason.UNSUPPORTED_VERSION

CONNECTS = [
    ("garbage", "47 45 54 20 2F 20", VIOLATION, "MQTT-3.1.0-1"),
    ("publish before connect", "30 03 0001 61", VIOLATION, "MQTT-3.1.0-1"),
    ("flags of the header", "11 0D 0004 4D515454 04 02 003C 0001 63", MALFORMED, "MQTT-2.1.3-1"),
    ("another protocol", "10 0D 0004 4D515458 04 02 003C 0001 63", VIOLATION, "MQTT-3.1.2-1"),
    ("MQTT 3.1", "10 0F 0006 4D5149736470 03 02 003C 0001 63", OLD, "MQTT-3.1.2-2"),
    ("MQTT 6", "10 0D 0004 4D515454 06 02 003C 0001 63", OLD, "MQTT-3.1.2-2"),
    ("reserved flag", "10 0D 0004 4D515454 04 03 003C 0001 63", MALFORMED, "MQTT-3.1.2-3"),
    ("will qos without will", "10 0D 0004 4D515454 04 0A 003C 0001 63", MALFORMED, "MQTT-3.1.2-11"),
    ("will retain without will", "10 0D 0004 4D515454 04 22 003C 0001 63", MALFORMED, "MQTT-3.1.2-13"),
    ("will qos 3", "10 13 0004 4D515454 04 1E 003C 0001 63 0001 77 0001 78", MALFORMED, "MQTT-3.1.2-12"),
    ("password without user, 3.1.1", "10 10 0004 4D515454 04 42 003C 0001 63 0001 70", MALFORMED, "MQTT-3.1.2-22"),
    ("wildcard in the will topic", "10 13 0004 4D515454 04 06 003C 0001 63 0001 23 0001 78", BAD_NAME, "MQTT-3.3.2-2"),
    ("client id not UTF-8", "10 0D 0004 4D515454 04 02 003C 0001 FF", MALFORMED, "MQTT-1.5.4-1"),
    ("no client id at all", "10 0A 0004 4D515454 04 02 003C", MALFORMED, "ends in the middle"),
    ("too many bytes", "10 0E 0004 4D515454 04 02 003C 0001 63 00", MALFORMED, "1 bytes too many in CONNECT"),
    ("receive maximum 0", "10 11 0004 4D515454 05 02 003C 03 21 0000 0001 63", VIOLATION, "receive_maximum can't be 0"),
    ("packet size 0", "10 13 0004 4D515454 05 02 003C 05 27 00000000 0001 63", VIOLATION, "can't be 0"),
    ("problem information 2", "10 10 0004 4D515454 05 02 003C 02 17 02 0001 63", VIOLATION, "can't be 2"),
    ("a property twice", "10 14 0004 4D515454 05 02 003C 06 21 0001 21 0001 0001 63", VIOLATION, "stands twice"),
    ("a property of others", "10 11 0004 4D515454 05 02 003C 03 23 0001 0001 63", MALFORMED, "0x23 can't stand in CONNECT"),
    ("an unknown property", "10 10 0004 4D515454 05 02 003C 02 7F 00 0001 63", MALFORMED, "0x7F can't stand"),
    ("will property outside", "10 13 0004 4D515454 05 02 003C 05 18 00000001 0001 63", MALFORMED, "0x18 can't stand"),
    ("user name flag, no user name", "10 0D 0004 4D515454 04 82 003C 0001 63", MALFORMED, "in the middle"),  # [MQTT-3.1.2-17]
    ("user name, no flag", "10 10 0004 4D515454 04 02 003C 0001 63 0001 75", MALFORMED, "too many"),  # [MQTT-3.1.2-16]
    ("password flag alone", "10 10 0004 4D515454 04 C2 003C 0001 63 0001 75", MALFORMED, "in the middle"),  # [MQTT-3.1.2-19]
    ("password, no flag", "10 13 0004 4D515454 04 82 003C 0001 63 0001 75 0001 70", MALFORMED, "too many"),  # [MQTT-3.1.2-18]
    ("will flag, no will", "10 0D 0004 4D515454 04 06 003C 0001 63", MALFORMED, "ends in the middle"),  # [MQTT-3.1.2-9]
    ("will topic, no will", "10 10 0004 4D515454 04 06 003C 0001 63 0001 77", MALFORMED, "in the middle"),  # [MQTT-3.1.2-9]
    ("NUL in the client id", "10 0D 0004 4D515454 04 02 003C 0001 00", MALFORMED, "MQTT-1.5.4-2"),  # [MQTT-3.1.3-4]
    ("will topic not UTF-8", "10 13 0004 4D515454 04 06 003C 0001 63 0001 FF 0001 78", MALFORMED, "1.5.4-1"),  # [MQTT-3.1.3-11]
    ("user name not UTF-8", "10 12 0004 4D515454 04 82 003C 0001 63 0003 EDA080", MALFORMED, "1.5.4-1"),  # [MQTT-3.1.3-12]
    ("longer than 16 KiB", "10 FFFF7F", LARGE, "at most 16384"),
]  # fmt: skip

LATER = [
    ("packet type 0", V311, "00 00", MALFORMED, "type 0"),
    ("auth in 3.1.1", V311, "F0 00", MALFORMED, "type 15"),
    ("auth with a reason and no properties", V5, "F0 01 18", MALFORMED, "ends in the middle"),  # 3.15.2.1
    ("a second connect", V311, "10 0D 0004 4D515454 04 02 003C 0001 63", VIOLATION, "MQTT-3.1.0-2"),
    ("connack from a client", V311, "20 02 00 00", VIOLATION, "wrong side"),
    ("suback from a client", V5, "90 04 0002 00 01", VIOLATION, "wrong side"),
    ("unsuback from a client", V5, "B0 04 0002 00 01", VIOLATION, "wrong side"),
    ("pingresp from a client", V311, "D0 00", VIOLATION, "wrong side"),
    ("five bytes of length", V311, "30 FFFFFFFF01", MALFORMED, "more than four bytes"),
    ("length longer than needed", V311, "C0 8000", MALFORMED, "MQTT-1.5.5-1"),
    ("larger than 256 kB", V5, "30 FFFF7F", LARGE, "at most 262144"),
    ("qos 3", V311, "36 05 0001 61 0001", MALFORMED, "MQTT-3.3.1-4"),
    ("dup at qos 0", V311, "38 03 0001 61", MALFORMED, "MQTT-3.3.1-2"),
    ("packet id 0", V311, "32 05 0001 61 0000", MALFORMED, "MQTT-2.2.1-3"),
    ("packet id 0", V5, "32 06 0001 61 0000 00", MALFORMED, "MQTT-2.2.1-3"),
    ("no room for a packet id", V311, "32 04 0001 61 00", MALFORMED, "ends in the middle"),
    ("publish of nothing", V311, "30 00", MALFORMED, "ends in the middle"),
    ("publish of one byte", V311, "30 01 00", MALFORMED, "ends in the middle"),
    ("topic longer than its packet", V311, "30 03 0002 61", MALFORMED, "ends in the middle"),
    ("no properties in 5.0", V5, "30 03 0001 61", MALFORMED, "ends in the middle"),
    ("empty topic", V311, "30 02 0000", VIOLATION, "MQTT-4.7.3-1"),
    ("empty topic without alias", V5, "30 03 0000 00", VIOLATION, "MQTT-4.7.3-1"),
    ("+ in a topic", V311, "30 05 0003 612F2B", BAD_NAME, "MQTT-3.3.2-2"),  # [MQTT-4.7.0-1]
    ("# in a topic", V5, "30 04 0001 23 00", BAD_NAME, "MQTT-3.3.2-2"),
    ("NUL in a topic", V311, "30 03 0001 00", MALFORMED, "MQTT-1.5.4-2"),
    ("surrogate in a topic", V311, "30 05 0003 EDA080", MALFORMED, "MQTT-1.5.4-1"),  # [MQTT-3.3.2-1]
    ("overlong UTF-8", V311, "30 04 0002 C080", MALFORMED, "MQTT-1.5.4-1"),
    ("wildcard in a response topic", V5, "30 08 0001 61 04 08 0001 23", BAD_NAME, "MQTT-3.3.2-2"),
    ("response topic not UTF-8", V5, "30 08 0001 61 04 08 0001 FF", MALFORMED, "MQTT-1.5.4-1"),  # [MQTT-3.3.2-13]
    ("content type not UTF-8", V5, "30 08 0001 61 04 03 0001 FF", MALFORMED, "MQTT-1.5.4-1"),  # [MQTT-3.3.2-19]
    ("user property's name not UTF-8", V5, "30 0B 0001 61 07 26 0001 FF 0001 61", MALFORMED, "1.5.4-1"),  # [MQTT-1.5.7-1]
    ("NUL in a user property", V5, "30 0B 0001 61 07 26 0001 61 0001 00", MALFORMED, "1.5.4-2"),  # [MQTT-1.5.7-1]
    ("properties beyond the packet", V5, "30 04 0001 61 05", MALFORMED, "longer than their packet"),
    ("property cut off", V5, "30 06 0001 61 02 02 00", MALFORMED, "ends in the middle"),
    ("payload format 2", V5, "30 06 0001 61 02 01 02", VIOLATION, "payload_format can't be 2"),
    ("reason string in a publish", V5, "30 08 0001 61 04 1F 0001 61", MALFORMED, "0x1F can't stand in PUBLISH"),
    ("33 user properties", V5, "30 AA01 0001 61 A501" + "26 0000 0000" * 33, LARGE, "more than 32 user properties"),
    ("9 kB of properties", V5, "30 AC46 0001 61 A746 09 23A4" + "00" * 8996, LARGE, "8999 bytes of properties"),
    ("puback with flags", V311, "41 02 0001", MALFORMED, "MQTT-2.1.3-1"),
    ("puback of 0", V311, "40 02 0000", MALFORMED, "MQTT-2.2.1-3"),
    ("puback too long in 3.1.1", V311, "40 03 0001 00", MALFORMED, "1 bytes too many"),
    ("pubrel without its flags", V311, "60 02 0001", MALFORMED, "MQTT-2.1.3-1"),  # [MQTT-3.6.1-1]
    ("subscribe without its flags", V311, "80 06 0001 0001 61 00", MALFORMED, "MQTT-2.1.3-1"),  # [MQTT-3.8.1-1]
    ("subscribe to nothing", V311, "82 02 0001", VIOLATION, "MQTT-3.8.3-2"),
    ("subscribe with id 0", V311, "82 06 0000 0001 61 00", MALFORMED, "MQTT-2.2.1-3"),
    ("subscribe with qos 3", V311, "82 06 0001 0001 61 03", MALFORMED, "MQTT-3.8.3-5"),
    ("5.0 options in 3.1.1", V311, "82 06 0001 0001 61 05", MALFORMED, "MQTT-3.8.3-5"),
    ("reserved options", V5, "82 07 0001 00 0001 61 40", MALFORMED, "MQTT-3.8.3-5"),
    ("retain handling 3", V5, "82 07 0001 00 0001 61 30", VIOLATION, "retain handling 3"),
    ("subscription identifier 0", V5, "82 09 0001 02 0B00 0001 61 00", VIOLATION, "can't be 0"),
    ("two subscription identifiers", V5, "82 0B 0001 04 0B01 0B02 0001 61 00", VIOLATION, "stands twice"),
    ("no local on a shared one", V5, "82 10 0001 00 000A 2473686172652F612F62 04", VIOLATION, "MQTT-3.8.3-4"),
    ("filter not UTF-8", V311, "82 06 0001 0001 FF 00", MALFORMED, "MQTT-1.5.4-1"),  # [MQTT-3.8.3-1]
    ("NUL in a filter", V311, "82 06 0001 0001 00 00", MALFORMED, "MQTT-1.5.4-2"),  # [MQTT-4.7.3-2]
    ("group without a filter", V5, "82 0E 0001 00 0008 2473686172652F67 00", BAD_FILTER, "MQTT-4.8.2-2"),
    ("empty filter", V311, "82 05 0001 0000 00", VIOLATION, "MQTT-4.7.3-1"),
    ("# not last", V311, "82 08 0001 0003 232F61 00", BAD_FILTER, "MQTT-4.7.1-1"),
    ("# not alone", V311, "82 07 0001 0002 6123 00", BAD_FILTER, "MQTT-4.7.1-1"),
    ("+ not alone", V311, "82 07 0001 0002 612B 00", BAD_FILTER, "MQTT-4.7.1-2"),
    ("filter without options", V311, "82 05 0001 0001 61", MALFORMED, "ends in the middle"),
    ("1001 filters", V311, "82 A41F 0001" + "0001 61 00" * 1001, Reason.QUOTA_EXCEEDED, "more than 1000"),
    ("unsubscribe from nothing", V311, "A2 02 0001", VIOLATION, "MQTT-3.10.3-2"),
    ("unsubscribe without flags", V311, "A0 05 0001 0001 61", MALFORMED, "MQTT-2.1.3-1"),  # [MQTT-3.10.1-1]
    ("unsubscribe, not UTF-8", V311, "A2 05 0001 0001 FF", MALFORMED, "MQTT-1.5.4-1"),  # [MQTT-3.10.3-1]
    ("pingreq with a body", V311, "C0 01 00", MALFORMED, "too many"),
    ("disconnect with a body in 3.1.1", V311, "E0 01 00", MALFORMED, "too many"),
    ("disconnect, expiry twice", V5, "E0 0C 00 0A 11 00000001 11 00000001", VIOLATION, "stands twice"),
    ("auth without properties", V5, "F0 01 18", MALFORMED, "ends in the middle"),
]  # fmt: skip


def _error(stream: Stream, wire: str) -> ProtocolError:
    data = bytes.fromhex(wire)
    errors: list[ProtocolError] = []
    for pieces in ([data], [data[:3], data[3:]], [bytes((byte,)) for byte in data]):
        fresh = Stream(stream.expected, stream.limit, LIMITS, stream.version)
        fresh.known = dict(stream.known)
        (error,) = [one for piece in pieces for one in fresh.feed(piece)]
        assert isinstance(error, ProtocolError)
        assert fresh.feed(b"\xc0\0") == [], "nothing is read after an error"
        errors.append(error)
    return errors[0]


@pytest.mark.parametrize(("name", "wire", "reason", "text"), CONNECTS, ids=[row[0] for row in CONNECTS])
def test_first_packets(name: str, wire: str, reason: Reason, text: str) -> None:
    error = _error(Stream(FIRST, LIMITS.connect, LIMITS), wire)
    assert error.reason == reason
    assert text in error.text


@pytest.mark.parametrize(("name", "version", "wire", "reason", "text"), LATER, ids=[f"{r[0]} {r[1]}" for r in LATER])
def test_later_packets(name: str, version: int, wire: str, reason: Reason, text: str) -> None:
    stream = Stream(FROM_CLIENT, LIMITS.packet, LIMITS, version)
    stream.known = {b"a": "a"}
    error = _error(stream, wire)
    assert error.reason == reason
    assert text in error.text


def test_what_came_before_the_error_counts() -> None:
    stream = Stream(FROM_CLIENT, LIMITS.packet, LIMITS, V311)
    good, bad = stream.feed(bytes.fromhex("30 03 0001 61" + "36 05 0001 61 0001" + "30 03 0001 61"))
    assert isinstance(good, Delivery)
    assert good.message.topic == "a"
    assert isinstance(bad, ProtocolError)


def test_a_large_packet_is_refused_before_it_is_there() -> None:
    """[MQTT-3.1.2-24] from the length alone: not a byte of it is buffered."""
    stream = Stream(FROM_CLIENT, LIMITS.packet, LIMITS, V5)
    assert stream.feed(b"\x30\xff\xff") == []
    (error,) = stream.feed(b"\x7f")
    assert isinstance(error, ProtocolError)
    assert error.reason == Reason.PACKET_TOO_LARGE


def test_the_largest_packet_that_is_accepted() -> None:
    stream = Stream(FROM_CLIENT, LIMITS.packet, LIMITS, V311)
    size = LIMITS.packet - 4
    wire = b"\x30" + bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + b"\0\1a" + b"x" * (size - 3)
    (one,) = stream.feed(wire)
    assert isinstance(one, Delivery)
    assert len(one.message.payload) == size - 3
