"""Repeats that the device's own counter shows."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sequence
from gateway.driver import Advert
from gateway.event import SECOND, Event
from gateway.ingest import Ingest
from gateway.sequence import Sequences
from tests.entrance import bind, told
from tests.store.logs import opened


def new(numbers: list[int], bits: int | None = None) -> list[int]:
    """Those that count as new, a second apart."""
    seen = Sequences()
    return [number for at, number in enumerate(numbers) if seen.is_new("a", number, bits, at * SECOND)]


@pytest.mark.parametrize(
    ("numbers", "bits", "want"),
    [
        ([5, 5, 5, 6, 6, 7], None, [5, 6, 7]),
        ([1, 2, 5, 3, 4, 3, 5], None, [1, 2, 5, 3, 4]),  # stragglers come late, once
        ([100, 37, 37, 36, 36], None, [100, 37, 36]),  # 63 behind is in the window, 64 is beyond it: a new mark
        ([5000, 0, 1, 2, 2], None, [5000, 0, 1, 2]),  # it has started again
        ([30, 31, 1, 2, 3, 2], None, [30, 31, 1, 2, 3]),  # even soon
        ([2**64 - 1, 2**64 - 1, 0, 1], None, [2**64 - 1, 0, 1]),
        ([254, 255, 255, 0, 0, 1, 255], 8, [254, 255, 0, 1]),  # it wraps
        ([10, 200, 10], 8, [10, 200, 10]),  # 66 behind: more likely once round than so late
        ([70_000, 70_001, 70_001], 8, [70_000, 70_001]),  # an encrypted device's counter, which is wider
    ],
)
def test_what_counts_as_new(numbers: list[int], bits: int | None, want: list[int]) -> None:
    assert new(numbers, bits) == want


@given(st.permutations(range(500, 560)), st.lists(st.integers(0, 59)))
def test_in_any_order_each_counts_once(order: list[int], again: list[int]) -> None:
    numbers = order + [order[n] for n in again]
    assert new(numbers) == order


def test_after_a_silence_a_narrow_counter_proves_nothing_but_the_number_still_sent() -> None:
    seen = Sequences()
    assert [seen.is_new("a", n, 8, 0) for n in (10, 11, 12)] == [True, True, True]
    later = sequence.silence + 1
    assert not seen.is_new("a", 12, 8, later)
    assert not seen.is_new("a", 11, 8, later)  # heard a moment ago: a repeat
    assert seen.is_new("a", 10, 8, 3 * later)


def test_each_source_counts_for_itself() -> None:
    seen = Sequences()
    assert seen.is_new("a", 7, None, 0)
    assert seen.is_new("b", 7, None, 0)


@pytest.mark.parametrize("bits", [None, 8])
def test_marks_survive_a_restart_with_the_readings(bits: int | None, tmp_path: Path) -> None:
    async def story() -> None:
        log = await opened(tmp_path)
        seen = Sequences()
        for number in range(100, 164):
            assert seen.is_new("a", number, bits, 0)
        assert seen.is_new("wide", 2**64 - 1, None, 0)
        await log.store([], also=seen.changes())
        assert seen.changes() == []
        again = Sequences(await log.query(sequence.known))
        await log.close()
        assert not again.is_new("a", 163, bits, 0)
        if bits is None:
            assert not again.is_new("a", 100, bits, 0)
            assert not again.is_new("wide", 2**64 - 1, None, 0)
        assert again.is_new("a", 164, bits, 0)

    asyncio.run(story())


def test_a_repeated_advertisement_is_known_after_a_restart(tmp_path: Path) -> None:
    def advert(id: int) -> Advert:
        return Advert("A4:C1:38:8D:18:B2", None, -60, {"fcd2": bytes([0x40, 0, id]) + bytes.fromhex("02ca0903bf13")})

    bound = bind("bthome", link="ble:", names={"A4:C1:38:8D:18:B2": "cellar/door"})

    def after(*ids: int) -> list[Event]:
        async def story(ingest: Ingest) -> None:
            for id in ids:
                ingest.take(bound, advert(id))

        return told(tmp_path, [bound], story)

    after(254, 254, 255, 0)
    assert len([one for one in after(0, 0, 1) if one.type == "reading"]) == 4
