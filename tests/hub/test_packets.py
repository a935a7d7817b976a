"""Every packet of the table: there and back, cut anywhere, byte by byte, in company."""

import pytest

from gateway.hub.decode import Body, decode
from gateway.hub.encode import encode
from gateway.hub.packets import Ack, Connect, Delivery
from gateway.hub.reasons import ProtocolError
from gateway.hub.wire import Reader, varint
from tests.hub.table import LIMITS, NAMES, TABLE, Row, open_stream, parse

rows = pytest.mark.parametrize("row", TABLE, ids=NAMES)
TOPICS = ["a", "a/b", "Küche/°C"]


@rows
def test_there(row: Row) -> None:
    assert encode(row.packet, row.version).hex(" ") == row.wire.hex(" ")


@rows
@pytest.mark.parametrize("known", [[], TOPICS], ids=["careful road", "short road"])
def test_back(row: Row, known: list[str]) -> None:
    assert parse(open_stream(row.version, known), row.wire) == [row.packet]


@rows
@pytest.mark.parametrize("known", [[], TOPICS], ids=["careful road", "short road"])
def test_byte_by_byte(row: Row, known: list[str]) -> None:
    assert parse(open_stream(row.version, known), *(bytes((byte,)) for byte in row.wire)) == [row.packet]


@rows
def test_in_two_pieces_wherever_it_is_cut(row: Row) -> None:
    for cut in range(1, min(len(row.wire), 300)):
        stream = open_stream(row.version, TOPICS)
        assert parse(stream, row.wire[:cut]) == []
        assert parse(stream, row.wire[cut:]) == [row.packet]


@rows
def test_three_in_a_row_and_half_a_fourth(row: Row) -> None:
    stream = open_stream(row.version, TOPICS)
    half = len(row.wire) // 2
    assert parse(stream, row.wire * 3 + row.wire[:half]) == [row.packet] * 3
    assert parse(stream, row.wire[half:]) == [row.packet]


@rows
def test_junk_after_it_is_an_error_of_its_own(row: Row) -> None:
    found = parse(open_stream(row.version, TOPICS), row.wire + b"\0\xff\xff\xff\xff\xff")
    assert found[0] == row.packet
    assert [type(one) for one in found[1:]] == [ProtocolError]


@rows
def test_a_body_that_ends_early_is_malformed_or_another_packet(row: Row) -> None:
    """The header tells the truth, the inside doesn't: never an exception of Python's, never the same packet."""
    size = Reader(row.wire, 1)
    size.varint()
    whole = row.wire[size.at :]
    for cut in range(min(len(whole), 100)):
        try:
            packet = decode(Body(row.wire[0], whole[:cut], 0, cut, row.version, LIMITS))
        except ProtocolError:
            continue
        # a reason without properties may leave out that there are none (3.4.2.2.1)
        assert packet != row.packet or (isinstance(packet, Ack) and cut == 3)


def test_both_roads_see_the_same_in_a_long_mixed_stream() -> None:
    for version in (4, 5):
        wires = [row.wire for row in TABLE if row.version == version and not isinstance(row.packet, Connect)]
        data = b"".join(wires * 3)
        slow, fast = parse(open_stream(version), data), parse(open_stream(version, TOPICS), data)
        assert sorted(map(repr, slow)) == sorted(map(repr, fast))
        assert len(slow) == 3 * len(wires)
        pick = [one for one in slow if isinstance(one, Delivery)]
        assert pick == [one for one in fast if isinstance(one, Delivery)]


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_variable_byte_integers(value: int, wire: str) -> None:
    """The limits of table 1-1."""
    assert varint(value).hex() == wire
    assert Reader(bytes.fromhex(wire)).varint() == value
