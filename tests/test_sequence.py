"""Repeats at the entrance: by the device's counter, and by DUP flag and packet id. Nothing by guess."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import repeats, sequence
from gateway.clock import Clock
from gateway.devices import Devices
from gateway.driver import Advert
from gateway.event import SECOND, Event
from gateway.hub.inlet import Publish, Read
from gateway.ingest import Ingest
from gateway.repeats import Repeats
from gateway.sequence import Sequences
from gateway.store.log import Log
from tests.test_ingest import PLANT, bind, told


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
        log = await Log.open(tmp_path, Clock(trust=True))
        seen = Sequences()
        for number in range(100, 164):
            assert seen.is_new("a", number, bits, 0)
        assert seen.is_new("wide", 2**64 - 1, None, 0)
        stored = log.append([], also=seen.changes())
        assert stored is not None
        await stored
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

    async def session(log: Log, ids: list[int]) -> None:
        bound = bind("bthome", link="ble:", names={"A4:C1:38:8D:18:B2": "cellar/door"})
        marks = Sequences(await log.query(sequence.known))
        ingest = Ingest(log, log.clock, Devices(), [bound], sequences=marks)
        for id in ids:
            ingest.take(bound, advert(id))
        await log.close()

    async def story() -> list[Event]:
        for ids in ([254, 254, 255, 0], [0, 0, 1]):
            await session(await Log.open(tmp_path, Clock(trust=True)), ids)
        log = await Log.open(tmp_path, Clock(trust=True))
        events = await log.read(1)
        await log.close()
        return events

    events = asyncio.run(story())
    assert len([one for one in events if one.type == "reading"]) == 4


# ---------------------------------------------------------------------- MQTT


def message(n: int, id: int, *, dup: bool = False, client: str = "c1") -> Publish:
    return Publish("some/topic", b"%d" % n, 1, client=client, dup=dup, packet_id=id.to_bytes(2) if id else b"")


def test_a_redelivery_is_acknowledged_and_not_stored_again(tmp_path: Path) -> None:
    async def story(ingest: Ingest) -> None:
        for batch in (
            [message(1, 7), message(1, 8)],
            [message(1, 7, dup=True), message(1, 8, dup=True), message(2, 9)],
        ):
            stored = ingest.publish([Read(batch)])
            assert stored is not None
            await stored
        pending = ingest.publish([Read([message(3, 10)])])
        repeated = ingest.publish([Read([message(3, 10, dup=True)])])
        assert pending is not None
        assert repeated is not None
        assert not repeated.done()  # not before the first is on the disk
        await repeated
        assert pending.done()

    events = told(tmp_path, [], story)
    assert [one.data["payload"] for one in events] == ["1", "1", "2", "3"]


@pytest.mark.parametrize(
    "second",
    [
        message(1, 7),  # no flag: equal messages are two
        message(2, 7, dup=True),  # other content
        message(1, 8, dup=True),  # other id
        message(1, 7, dup=True, client="c2"),  # other client
        message(1, 0, dup=True),  # an id that nobody handed over
    ],
)
def test_nothing_is_taken_for_a_repeat_by_guess(second: Publish) -> None:
    known = Repeats()
    known.new(Read([message(1, 7)]))
    assert known.new(Read([second])) == [second]


def test_an_id_means_the_latest_message_that_bore_it() -> None:
    known = Repeats()
    known.new(Read([message(1, 7), message(2, 7)]))
    assert known.new(Read([message(2, 7, dup=True)])) == []
    assert len(known.new(Read([message(1, 7, dup=True)]))) == 1


@pytest.mark.parametrize(("flight", "least"), [(0, 100), (30, 100), (1000, 1000)])
def test_what_was_in_flight_and_the_rest_of_its_read_is_known(flight: int, least: int) -> None:
    known = Repeats()
    known.new(Read([message(0, 1)], flight))
    for start in range(0, 5000, 10):
        known.new(Read([message(n, n + 1) for n in range(start, start + 10)], 10))
    assert known.new(Read([message(n, n + 1, dup=True) for n in range(5000 - least, 5000)])) == []
    assert len(known.new(Read([message(n, n + 1, dup=True) for n in range(4990 - least)]))) == 4990 - least


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "most", 10_000)
    known = Repeats()
    for n in range(1_000):
        known.new(Read([message(n, 1, client=f"c{n}")]))
    assert known.new(Read([message(999, 1, dup=True, client="c999")])) == []
    assert len(known.new(Read([message(0, 1, dup=True, client="c0")]))) == 1
    assert known._size <= 10_000 + 300
    assert known._size == sum(one.size for one in known._clients.values())


# ---------------------------------------------------------------------- clocks of devices


def test_a_device_whose_clock_is_wrong_is_told_once_and_stored_at_its_arrival(tmp_path: Path) -> None:
    now = 1_790_000_000

    async def story() -> list[Event]:
        clock = Clock(lambda: now * 10**9, lambda: 10**9, trust=True)
        log = await Log.open(tmp_path, clock)
        bound = [bind("json", **PLANT, allow=["*"])]
        ingest = Ingest(log, clock, Devices(), bound)
        for time in (now - 86_400, now + 59, now + 61, now + 3600, now - 1):
            air = Publish("plant/cellar/air", b'{"temperature": 4.5, "timestamp": %d}' % time, 1)
            ingest.publish([Read([air])])
        await log.close()
        log = await Log.open(tmp_path, clock)
        events = await log.read(1)
        await log.close()
        return events

    events = asyncio.run(story())
    times = [one.time // SECOND - now for one in events if one.type == "reading"]
    assert times == [-86_400, 59, 0, 0, -1]
    marked = ["_quality" in one.data for one in events if one.type == "reading"]
    assert marked == [False, False, True, True, False]
    told = [(one.type, one.data["seconds"]) for one in events if "clock" in one.type]
    assert told == [("device.clock_wrong", 61.0), ("device.clock_right", -1.0)]
