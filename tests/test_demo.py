"""The demo's own parts: the count must be able to fail, or it proves nothing."""

import asyncio
import os
from collections.abc import Iterable
from io import StringIO
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway import config, envelope
from gateway.cli import main
from gateway.demo import devices
from gateway.demo.child import Child, ChildDied
from gateway.demo.count import Count
from gateway.demo.cut import Cut
from gateway.demo.fleet import Sent
from gateway.demo.screen import Terminal, open_screen
from gateway.demo.site import Site
from gateway.demo.story import schedule
from gateway.demo.tally import Ranges, Report, Tally
from gateway.demo.upstream import Upstream
from gateway.demo.watch import Picture
from gateway.errors import SinkUnavailable
from gateway.event import Event, event
from gateway.sink import Batch, Identity
from tests.hub.peers import Desk, hub_at
from tests.parts import until
from tests.sinks.receivers import open_sink

demo = Identity("demo", 7)


def numbered(offset: int, n: int | None = None, source: str = "coldstore/freezer-1") -> Event:
    made = event("reading", source, {"temperature": -18.0} | ({} if n is None else {"n": n}), time=1)
    made.offset = offset
    return made


def tallied(*messages: tuple[str, Iterable[Event]]) -> Report:
    tally = Tally()
    for lane, events in messages:
        tally.take(envelope.join([envelope.structured(one, demo, lane) for one in events]))
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
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(story())


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

    asyncio.run(story())


def counted(**changed: Any) -> Count:
    sent = {"coldstore/freezer-1": 4, "workshop/plug": 2}
    arrived = Report(offsets=[(1, 9)], numbers={"coldstore/freezer-1": [(1, 4)]})
    usual: dict[str, Any] = {"stored": 8, "sent": Sent(sent, dict(sent), 3), "report": arrived}
    return Count(**usual | changed)


def test_the_count_is_right() -> None:
    count = counted()
    assert (count.right, count.missing, count.lost) == (True, 0, 0)
    assert count.lines() == [
        "sent                        9   6 MQTT messages, all acknowledged; 3 frames on serial lines",
        "stored                      8   events: readings, alarms, devices coming and going",
        "delivered upstream          8",
        "lost                        0",
        "duplicated                  0",
        "out of order                0",
    ]


whole = {"coldstore/freezer-1": [(1, 4)]}
wrongs = [
    {"report": Report(offsets=[(1, 7)], numbers=whole)},
    {"report": Report(offsets=[(1, 3), (5, 9)], numbers=whole)},
    {"report": Report(offsets=[(1, 9)], numbers={"coldstore/freezer-1": [(1, 2), (4, 4)]})},
    {"report": Report(offsets=[(1, 9)])},
    {"report": Report(offsets=[(1, 9)], numbers=whole, duplicates=[("coldstore/freezer-1", 3)])},
    {"report": Report(offsets=[(1, 9)], numbers=whole, disorder=1)},
    {"report": Report(offsets=[(1, 9)], numbers=whole, unreadable=1)},
    {"sent": Sent({"coldstore/freezer-1": 5}, {"coldstore/freezer-1": 4}, 0)},
    {"stored": 0, "report": Report()},
]


@pytest.mark.parametrize("changed", wrongs)
def test_the_count_is_wrong(changed: dict[str, object]) -> None:
    assert not counted(**changed).right


def test_a_repeat_is_not_wrong_but_told() -> None:
    count = counted(report=Report(offsets=[(1, 9)], numbers=whole, repeats=5))
    assert count.right
    told = "duplicated                  0   (5 came again with the id they had, as QoS 1 may; a receiver drops those)"
    assert told in count.lines()


def test_the_upstream_is_away_twice() -> None:
    assert [(round(at, 3), on) for at, on in islice(schedule(100), 4)] == [
        (20, False),
        (35, True),
        (55, False),
        (75, True),
    ]
    assert [round(at, 3) for at, _ in islice(schedule(0), 8)] == [6, 10.5, 16.5, 22.5, 36, 40.5, 46.5, 52.5]


def test_devices_do_what_the_rules_wait_for() -> None:
    def of_a_minute(messages: devices.Messages) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        passed = 0.0
        for wait, message in messages:
            passed += wait
            if passed > 60:
                return found
            if message is not devices.nothing and message.payload[:1] == b"{":
                found.append(msgspec.json.decode(message.payload))
        raise AssertionError("a device ended")

    clients = {source: of_a_minute(messages) for source, (_, messages) in devices.clients(rate=20).items()}
    assert len(clients["workshop/compressor"]) == pytest.approx(20 * 60, abs=2)
    assert max(one["pressure"] for one in clients["workshop/compressor"]) > 9.6
    assert max(one["temperature"] for one in clients["coldstore/freezer-1"]) < -17
    assert max(one["temperature"] for one in clients["coldstore/freezer-2"]) > -13
    assert {one["contact"] for one in clients["coldstore/door"]} == {True, False}
    for source in devices.numbered:
        assert [one["n"] for one in clients[source]] == list(range(1, len(clients[source]) + 1))


def test_the_rules_pass_their_own_tests() -> None:
    assert main(["rules", "test", str(Path(devices.__file__).with_name("rules.toml"))]) == 0


def test_site_at_a_hub(tmp_path: Path) -> None:
    """Its configuration is right, its devices number what they send, its serial lines can be read."""

    async def story() -> None:
        site = await Site.start(tmp_path, upstream=1, rate=200)
        settings = config.load(site.file)
        assert {binding.link.partition(":")[0] for binding in settings.binding} == {"hub", "serial", "sim"}
        desk = Desk()
        line = os.open(tmp_path / "lathe", os.O_RDONLY | os.O_NONBLOCK)
        async with hub_at(desk) as (_, port):
            try:
                await site.connect(port)
                await until(lambda: len(desk.messages) > 300)
                assert os.read(line, 1_000).startswith(b"temp=")
                sent = await site.stop()
            finally:
                await site.close()
        assert sent.sent == sent.acknowledged
        assert sum(sent.sent.values()) == len(desk.messages)
        assert len(sent.sent) == 5
        os.close(line)

    asyncio.run(story())


def pictured(**changed: Any) -> Picture:
    raised = event("alarm.raised", "coldstore/door", {"text": "coldstore/door: open", "severity": "low"}, time=0)
    usual: dict[str, Any] = {
        "seconds": 12.0,
        "stored": 1234,
        "rate": 98.4,
        "backlog": 50,
        "lanes": {"live": 20, "backlog": 30},
        "written": 341.2,
        "alarms": {"1": raised},
        "devices": {"coldstore/freezer-1": numbered(7)},
        "latest": [numbered(7), raised],
        "news": ["alarm: coldstore/door: open (low)"],
    }
    return Picture(**usual | changed)


def test_a_picture_for_people() -> None:
    page = StringIO()
    screen = Terminal(Console(file=page, force_terminal=True, width=120, height=40, color_system=None))
    screen.say("the upstream is cut off")
    screen.show(pictured(plugged_in=False))
    screen.close()
    for words in (
        "redcar demo   12 s",
        "cut off",
        "1,234",
        "20 live + 30 backlog",
        "341",
        "coldstore/freezer-1  temperature -18.0",
        "low  coldstore/door: open",
        "00:00:00  alarm.raised",
        "the upstream is cut off",
        "alarm: coldstore/door: open (low)",
    ):
        assert words in page.getvalue()


def test_a_picture_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = open_screen(plain=True)
    screen.show(pictured(connected=True))
    screen.show(pictured(written=None, news=[]))
    assert capsys.readouterr().out == (
        "         alarm: coldstore/door: open (low)\n"
        "   12 s  upstream connected      98 events/s  stored   1,234  backlog     50  alarms 1  341 B written per event\n"
        "   12 s  upstream away           98 events/s  stored   1,234  backlog     50  alarms 1  ? B written per event\n"
    )


def test_a_process_that_dies_is_told() -> None:
    async def story() -> None:
        child = await Child.start("fleet", "/nowhere", "50")
        with pytest.raises(ChildDied, match="a process of the demo ended unasked, with code 1"):
            await child.listen()
        await child.close()

    asyncio.run(story())


def test_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """As make demo runs it, in a hurry."""
    assert main(["demo", "--seconds", "8", "--rate", "200", "--plain"]) == 0
    text = capsys.readouterr().out
    assert "the upstream is cut off" in text
    assert "alarm: " in text
    assert "right: everything that was acknowledged is upstream, once and in order" in text
