"""The demo's own parts: the count must be able to fail, or it proves nothing."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import envelope
from gateway.demo.cut import Cut
from gateway.demo.tally import Ranges, Report, Tally
from gateway.demo.upstream import Upstream
from gateway.errors import SinkUnavailable
from gateway.event import Event, event
from gateway.forward import Batch, Identity
from tests.sinks.receivers import open_sink, until
from tests.sinks.test_every_sink import tell

demo = Identity("demo", 7)


def numbered(offset: int, n: int | None = None, source: str = "coldstore/freezer-1") -> Event:
    made = event("reading", source, {"temperature": -18.0} | ({} if n is None else {"n": n}), time=1)
    made.offset = offset
    return made


def tallied(*messages: tuple[str, Iterable[Event]]) -> Report:
    tally = Tally()
    for lane, events in messages:
        tally.take(envelope.batch(list(events), demo, lane))
    return tally.report()


def test_all_is_well() -> None:
    live = [numbered(offset, offset) for offset in range(1, 11)]
    report = tallied(("live", live[:5]), ("live", live[5:]))
    assert report == Report(offsets=[(1, 10)], numbers={"coldstore/freezer-1": [(1, 10)]})
    assert report.events == 10


def test_missing() -> None:
    report = tallied(("live", [numbered(1, 1), numbered(2, 2), numbered(4, 4)]))
    assert report.offsets == [(1, 2), (4, 4)]
    assert report.numbers == {"coldstore/freezer-1": [(1, 2), (4, 4)]}


def test_the_same_event_again_is_a_repeat() -> None:
    report = tallied(("live", [numbered(1, 1), numbered(2, 2)]), ("backlog", [numbered(2, 2), numbered(3, 3)]))
    assert (report.repeats, report.duplicates, report.disorder, report.events) == (1, [], 0, 3)


def test_the_same_measurement_as_another_event_is_a_duplicate() -> None:
    report = tallied(("live", [numbered(1, 1), numbered(2, 1), numbered(3, 1, "coldstore/freezer-2")]))
    assert report.duplicates == [("coldstore/freezer-1", 1)]


def test_order_counts_within_a_lane() -> None:
    assert tallied(("live", [numbered(5)]), ("backlog", [numbered(1), numbered(2)])).disorder == 0
    assert tallied(("live", [numbered(5), numbered(4), numbered(6)])).disorder == 1


def test_noise_is_counted() -> None:
    tally = Tally()
    for payload in (b"", b"hello", b'{"a": 1}', b"[1]"):
        tally.take(payload)
    assert tally.report() == Report(unreadable=4)


@given(st.lists(st.integers(0, 60)))
def test_ranges_are_a_set(numbers: list[int]) -> None:
    ranges, known = Ranges(), set[int]()
    for number in numbers:
        assert ranges.add(number) == (number not in known)
        known.add(number)
    assert list(ranges) == sorted(known)
    assert len(ranges) == len(known)
    assert all(number in ranges for number in known)
    assert not any(number in ranges for number in range(-1, 62) if number not in known)
    pairs = ranges.pairs()
    assert all(hi + 1 < lo for (_, hi), (lo, _) in pairwise(pairs))
    assert Ranges(pairs).pairs() == pairs


def test_a_cable_that_is_pulled_and_plugged_in_again() -> None:
    async def story() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while some := await reader.read(100):
                writer.write(some)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        cut = Cut(server.sockets[0].getsockname()[1])
        await cut.plug_in()
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", cut.port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            cut.pull()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", cut.port)
            await cut.plug_in()
        assert cut.carried == 10
        cut.pull()
        server.close()
        await until(lambda: len(asyncio.all_tasks()) == 1, "no task left over")

    tell(story)


def test_upstream_is_cut_off_while_everything_is_under_way(tmp_path: Path) -> None:
    pytest.importorskip("amqtt", reason="amqtt isn't installed: pip install -e '.[demo]'")
    last = 3_000

    async def story() -> None:
        upstream = await Upstream.start()
        cut = Cut(upstream.port)
        await cut.plug_in()
        sink = open_sink("mqtt", host="127.0.0.1", port=cut.port, protocol="3.1.1", per_message="event")

        async def pull_and_plug() -> None:
            for events in (700, 1_500):
                while (await upstream.report()).events < events:
                    await asyncio.sleep(0.01)
                cut.pull()
                await cut.plug_in()

        async def deliver() -> None:
            lo = 1
            while lo <= last:
                try:
                    await sink.connect()
                    while lo <= last:
                        events = [numbered(offset, offset) for offset in range(lo, lo + 100)]
                        await sink.send(Batch("live", lo, lo + 99, events))
                        lo += 100
                except SinkUnavailable:
                    await asyncio.sleep(0.01)

        await asyncio.gather(deliver(), pull_and_plug())
        report = await upstream.report()
        assert report.offsets == [(1, last)]
        assert (report.duplicates, report.disorder, report.unreadable) == ([], 0, 0)
        assert report.repeats <= 2 * 100
        await sink.close()
        cut.pull()
        await upstream.close()

    tell(story)
