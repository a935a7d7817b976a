"""Whatever bytes come: packets or one ProtocolError, and never more kept than one packet."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hub.limits import Limits
from gateway.hub.packets import Connect
from gateway.hub.reasons import ProtocolError
from gateway.hub.session import Session
from gateway.hub.stream import Stream
from tests.hub.table import ANY, TABLE, open_stream, parse

WIRES = [row.wire for row in TABLE if len(row.wire) < 300]
SMALL = Limits(packet=2048, connect=1024)

anything = st.binary(max_size=400)
nearly = st.builds(
    lambda wire, cuts: _spoil(wire, cuts),
    st.sampled_from(WIRES),
    st.lists(st.tuples(st.integers(0, 299), st.integers(0, 255)), max_size=4),
)
streams = st.lists(st.one_of(anything, nearly, st.sampled_from(WIRES)), max_size=8)


def _spoil(wire: bytes, cuts: list[tuple[int, int]]) -> bytes:
    data = bytearray(wire)
    for place, value in cuts:
        data[place % len(data)] = value
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(streams, st.sampled_from((4, 5)))
def test_packets_or_one_error(chunks: list[bytes], version: int) -> None:
    stream = Stream(ANY, SMALL.packet, SMALL, version)
    stream.known = {b"a": "a", b"a/b": "a/b"}
    found = parse(stream, *chunks)
    errors = [one for one in found if isinstance(one, ProtocolError)]
    assert len(errors) <= 1
    assert not errors or found[-1] is errors[0]
    assert len(stream._rest) <= SMALL.packet + max(map(len, chunks), default=0)


@settings(max_examples=200, deadline=None)
@given(streams, st.sampled_from((4, 5)), st.integers(1, 7))
def test_the_pieces_in_which_it_comes_change_nothing(chunks: list[bytes], version: int, size: int) -> None:
    data = b"".join(chunks)
    whole = parse(open_stream(version), data)
    pieces = parse(open_stream(version, ["a", "a/b"]), *(data[at : at + size] for at in range(0, len(data), size)))
    assert [str(one) for one in whole if isinstance(one, ProtocolError)] == [
        str(one) for one in pieces if isinstance(one, ProtocolError)
    ]
    assert len(whole) == len(pieces)


@settings(max_examples=300, deadline=None)
@given(streams, st.sampled_from([row.wire for row in TABLE if isinstance(row.packet, Connect)]))
def test_a_session_answers_or_ends(chunks: list[bytes], connect: bytes) -> None:
    session = Session(SMALL, 0.0)
    events = session.receive(connect, 0.0)
    if events and isinstance(events[0], Connect):
        events = session.accept(None, "c", {}, lambda topic: None, 0.0)
    for chunk in chunks:
        for event in session.receive(chunk, 0.0):
            assert not isinstance(event, ProtocolError) or session.over
        session.out.take()
    assert not session.over or session.receive(b"\xc0\0", 0.0) == []
