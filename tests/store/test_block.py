"""Blocks: what goes in comes out, and nothing that wasn't written."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StoreDamaged
from gateway.event import Event, event
from gateway.store import block

names = st.text(min_size=1, max_size=12)
made = st.builds(
    lambda type, source, time, quality, cause, data: event(type, source, data, time=time, quality=quality, cause=cause),
    names,
    names,
    st.integers(0, 2**62),
    st.integers(0, 69),
    st.integers(0, 2**40),
    st.dictionaries(names, st.one_of(st.integers(-(2**53), 2**53), st.booleans(), names), max_size=4),
)


def stamped(events: list[Event], lo: int) -> list[Event]:
    for n, one in enumerate(events):
        one.offset, one.recorded = lo + n, 1_700_000_000_000_000
    return events


def plain(events: list[Event]) -> list[tuple[object, ...]]:
    return [(e.offset, e.recorded, e.time, e.source, e.type, e.body, e.quality, e.cause) for e in events]


@given(st.lists(made, min_size=1, max_size=20), st.integers(1, 2**40))
def test_what_goes_in_comes_out(events: list[Event], lo: int) -> None:
    row = block.encode(stamped(events, lo))
    assert plain(block.decode(row)) == plain(events)


@given(st.lists(made, min_size=1, max_size=10), st.integers(-5, 40), st.integers(-5, 40))
def test_a_part_of_a_block(events: list[Event], first: int, last: int) -> None:
    row = block.encode(stamped(events, 100))
    wanted = [one for one in events if 100 + first <= one.offset <= 100 + last]
    assert plain(block.decode(row, 100 + first, 100 + last)) == plain(wanted)


def test_large_blocks_shrink() -> None:
    events = [event("reading", f"plant/air-{n % 10}", {"temperature": 20 + n / 100}, time=n) for n in range(1_000)]
    row = block.encode(stamped(events, 1))
    assert row.codec == 1
    assert len(row.data) < sum(len(one.body) for one in events)
    assert plain(block.decode(row)) == plain(events)


@pytest.mark.parametrize("bit", [0, 77, -1])
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    row = block.encode(stamped([event("reading", "a", {"temperature": 1.5}, time=5)], 7))
    data = bytearray(row.data)
    data[bit] ^= 1
    with pytest.raises(StoreDamaged, match=r"events 7\.\.7 can't be read"):
        block.decode(msgspec.structs.replace(row, data=bytes(data)))
