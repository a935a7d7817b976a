"""Links on real ports: ptys that are unplugged, sockets that close, twins and recordings."""

import asyncio
import json
import logging
import os
import re
import tty
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import ports
from gateway import supervise as supervising
from gateway.address import parse
from gateway.driver import Advert, Binding, Context, Driver, Item, kinds, load
from gateway.errors import DeviceRefused, DeviceSilent, LinkLost
from gateway.event import Availability, Reading
from gateway.links import open_link
from gateway.supervise import supervise
from tests.drivers.records import captures, items, records
from tests.parts import free_port, stop

patient = 20.0  # seconds after which a story that should have gone on has failed


class Cable:
    """A serial device behind a name as in /dev/serial/by-id, which can be unplugged and plugged in again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "usb-FTDI_FT232R-if00-port0"
        self._spare = folder / "spare"
        self._device: int | None = None

    def plug(self) -> None:
        """Under a new number, as after a real unplugging."""
        self._device, port = os.openpty()
        tty.setraw(port)
        self._spare.symlink_to(os.ttyname(port))
        self._spare.rename(self.path)
        os.close(port)

    def send(self, data: bytes) -> None:
        assert self._device is not None
        os.write(self._device, data)

    def unplug(self) -> None:
        if self._device is not None:
            self.path.unlink()
            os.close(self._device)
        self._device = None


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    cable = Cable(tmp_path)
    cable.plug()
    yield cable
    cable.unplug()


def bound(kind: str, link: str, **settings: Any) -> tuple[Binding, Driver]:
    driver = load(kind)
    return driver.config(driver=kind, link=link, **settings), driver


def opened(kind: str, link: str, **settings: Any) -> Any:
    return open_link(*bound(kind, link, **settings), rng=Random(1))


def frames(count: int, kind: str = "pms5003") -> list[bytes]:
    driver = load(kind)
    twin = driver.twin(driver.config(driver=kind), Random(5))
    return [bytes(item) for _, item in islice(twin, count) if isinstance(item, bytes)]


async def until(count: int, chunks: Any, buffer: bytearray, kind: str = "pms5003") -> list[Reading]:
    """Readings from a link until there are that many."""
    driver = load(kind)
    found: list[Reading | Availability] = []
    context = Context(driver.config(driver=kind))
    async with asyncio.timeout(patient):
        async for chunk in chunks:
            buffer += chunk
            found += driver.decode(buffer, context)
            if len(found) >= count:
                return [one for one in found if isinstance(one, Reading)]
    raise AssertionError("the link came to an end")


# ---------------------------------------------------------------- serial


@pytest.mark.parametrize("baud", [9600, 115_200])
def test_a_port_delivers_what_the_device_sends(cable: Cable, baud: int) -> None:
    sent = frames(50)

    async def story() -> list[Reading]:
        async with opened("pms5003", f"serial:{cable.path}?baud={baud}") as chunks:
            for frame in sent:
                cable.send(frame)
            return await until(50, chunks, bytearray())

    assert len(asyncio.run(story())) == 50


def test_every_byte_value_comes_through_unchanged(cable: Cable) -> None:
    everything = bytes(range(256)) * 4

    async def story() -> bytes:
        got = b""
        async with asyncio.timeout(patient), opened("pms5003", f"serial:{cable.path}") as chunks:
            cable.send(everything)
            async for chunk in chunks:
                got += chunk
                if len(got) >= len(everything):
                    break
        return got

    assert asyncio.run(story()) == everything


def test_an_unplugged_port_says_so_and_works_again_under_its_name(cable: Cable) -> None:
    async def story() -> None:
        async with opened("pms5003", f"serial:{cable.path}") as chunks:
            cable.send(frames(1)[0])
            await until(1, chunks, bytearray())
            cable.unplug()
            with pytest.raises(
                LinkLost, match=rf"^serial:{re.escape(str(cable.path))}: unplugged.*: plug it in again$"
            ):
                await until(1, chunks, bytearray())
        with pytest.raises(
            LinkLost, match=r"there is no such port: plug it in; ls /dev/serial/by-id shows what is there$"
        ):
            async with opened("pms5003", f"serial:{cable.path}"):
                pass
        cable.plug()
        async with opened("pms5003", f"serial:{cable.path}") as chunks:
            cable.send(frames(1)[0])
            await until(1, chunks, bytearray())

    asyncio.run(story())


def test_supervised_it_comes_back_by_itself_and_is_mentioned_twice(
    cable: Cable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "steady", 0.0)
    caplog.set_level(logging.INFO, "redcar.supervise")
    heard = asyncio.Event()
    waits = 0

    async def read() -> None:
        async with opened("pms5003", f"serial:{cable.path}") as chunks:
            async for _ in chunks:
                heard.set()

    async def sleep(_: float) -> None:
        nonlocal waits
        waits += 1
        await asyncio.sleep(0)

    async def sending() -> None:
        heard.clear()
        async with asyncio.timeout(patient):
            while not heard.is_set():
                cable.send(b"BM")
                await asyncio.sleep(0.001)

    async def story() -> None:
        task = asyncio.create_task(supervise("cellar/dust", read, rng=Random(1), sleep=sleep))
        await sending()
        cable.unplug()
        async with asyncio.timeout(patient):
            while waits < 20:
                await asyncio.sleep(0.001)
        cable.plug()
        await sending()
        await stop(task)

    asyncio.run(story())
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith(f"cellar/dust: serial:{cable.path}: unplugged")
    assert said[1].startswith("cellar/dust: working again after")


def test_a_port_has_one_reader(cable: Cable) -> None:
    async def story() -> None:
        async with opened("pms5003", f"serial:{cable.path}"):
            with pytest.raises(LinkLost, match=r"another program has the port: sudo fuser -v \S+ shows which$"):
                async with opened("lines", f"serial:{cable.path}"):
                    pass
        async with opened("pms5003", f"serial:{cable.path}"):
            pass  # the first one has let go of it

    asyncio.run(story())


def test_a_reader_that_is_cancelled_lets_go_of_the_port(cable: Cable) -> None:
    async def read(ready: asyncio.Event) -> None:
        async with opened("pms5003", f"serial:{cable.path}") as chunks:
            ready.set()
            async for _ in chunks:
                pass

    async def story() -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(read(ready))
        await ready.wait()
        await stop(task)
        async with opened("pms5003", f"serial:{cable.path}"):
            pass

    asyncio.run(story())


def test_a_file_is_not_a_port(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")

    async def story() -> None:
        with pytest.raises(
            DeviceRefused, match=r"notes.txt isn't a serial port: ls /dev/serial/by-id shows which there are$"
        ):
            async with opened("pms5003", f"serial:{tmp_path}/notes.txt"):
                pass

    asyncio.run(story())


@pytest.mark.parametrize("option", ["baud=fast", "parity=X", "bits=9", "stop=7"])
def test_a_setting_that_no_port_has_is_refused(cable: Cable, option: str) -> None:
    async def story() -> None:
        with pytest.raises(DeviceRefused):
            async with opened("pms5003", f"serial:{cable.path}?{option}"):
                pass

    asyncio.run(story())


def test_a_port_that_is_not_ours_yet_is_asked_for_once_more(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may open anything, so the refusal is the one thing that isn't real here."""
    refusals, waits = [PermissionError(13, "Permission denied")] * 3, []
    real = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        if str(path) == str(cable.path) and refusals:
            raise refusals.pop()
        return real(path, **more)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def story() -> None:
        binding = bound("pms5003", f"serial:{cable.path}")
        with pytest.raises(
            DeviceRefused, match=r"this user may not open the port: sudo usermod -aG dialout \S+, then start again$"
        ):
            async with open_link(*binding, rng=Random(1), sleep=sleep):
                pass
        async with open_link(*binding, rng=Random(1), sleep=sleep):
            pass  # udev was slow: the second look succeeds

    monkeypatch.setattr(os, "stat", stat)
    asyncio.run(story())
    assert waits == [ports.just_plugged_in] * 2


def test_a_silent_device_is_opened_anew(cable: Cable) -> None:
    async def story() -> None:
        with pytest.raises(DeviceSilent, match=r": no byte for 0.05 s: is the device powered, is the speed right\?$"):
            async with opened("pms5003", f"serial:{cable.path}", silent_after=0.05) as chunks:
                await until(1, chunks, bytearray())

    asyncio.run(story())


# ---------------------------------------------------------------- tcp


def test_tcp_delivers_also_what_came_before_we_looked_and_says_when_it_ends() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(frames(3)))
        await writer.drain()
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, opened("pms5003", f"tcp:127.0.0.1:{port}") as chunks:
            buffer = bytearray()
            assert len(await until(3, chunks, buffer)) == 3
            with pytest.raises(LinkLost, match=rf"^tcp:127.0.0.1:{port}: the other side closed the connection$"):
                await until(1, chunks, buffer)

    asyncio.run(story())


def test_tcp_without_anybody_there() -> None:
    async def story() -> None:
        with pytest.raises(LinkLost, match=r": can't connect \(.*\): is it switched on, are host and port right\?$"):
            async with opened("pms5003", f"tcp:127.0.0.1:{free_port()}"):
                pass

    asyncio.run(story())


# ---------------------------------------------------------------- twins and recordings


async def some(kind: str, link: str, count: int, rng: Random | None = None) -> list[Item]:
    found: list[Item] = []
    async with asyncio.timeout(patient), open_link(*bound(kind, link), rng=rng or Random(1)) as given:
        async for item in given:
            found.append(item)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("kind", kinds())
def test_a_twin_repeats_its_run_for_the_same_seed(kind: str) -> None:
    first = asyncio.run(some(kind, "sim:?speed=max&seed=7", 50))
    assert len(first) == 50
    assert asyncio.run(some(kind, "sim:?speed=max&seed=7", 50, rng=Random(2))) == first
    assert asyncio.run(some(kind, "sim:?speed=max&seed=8", 50)) != first
    assert asyncio.run(some(kind, "sim:?speed=max", 50)) == asyncio.run(some(kind, "sim:?speed=max", 50))


def test_a_twin_waits_as_the_device_would_times_its_speed() -> None:
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def story() -> None:
        binding = bound("pms5003", "sim:?speed=10x")
        async with open_link(*binding, rng=Random(1), sleep=sleep) as given:
            async for _ in given:
                if len(waits) == 5:
                    break

    asyncio.run(story())
    assert waits == [0.1] * 5


@pytest.mark.parametrize("kind", kinds())
def test_a_recording_comes_as_it_was_and_ends(kind: str) -> None:
    files = sorted((captures / kind).glob("*.jsonl"))
    found = [item for file in files for item in asyncio.run(some(kind, f"replay:{file}?speed=max", 10_000))]
    want = [item for record in records(kind) for item in items(record)]
    for item in [*found, *want]:
        if hasattr(item, "captures"):
            item.captures = {}
    for item in want:
        if isinstance(item, Advert) and item.address == "A4:C1:38:00:00:01":
            item.address = ""  # the record names none
    assert found == want


def test_a_recording_keeps_its_pace(tmp_path: Path) -> None:
    times = [1_000_000, 3_500_000, None, 4_000_000]
    lines = [{"topic": "plant/a/b", "payload": "1"} | ({"time": at} if at else {}) for at in times]
    (tmp_path / "day.jsonl").write_text("\n".join(map(json.dumps, lines)))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def story() -> None:
        async with open_link(
            *bound("json", f"replay:{tmp_path}/day.jsonl?speed=5"), rng=Random(1), sleep=sleep
        ) as given:
            assert len([item async for item in given]) == 4

    asyncio.run(story())
    assert waits == [0.2, 0.5, 0.2, 0.2]


def test_raw_bytes_are_replayed_as_fast_as_the_port_is(tmp_path: Path) -> None:
    (tmp_path / "dust.bin").write_bytes(b"".join(frames(6)))
    found = asyncio.run(some("pms5003", f"replay:{tmp_path}/dust.bin?speed=max", 100))
    assert b"".join(one for one in found if isinstance(one, bytes | bytearray)) == b"".join(frames(6))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory: is the name right?"),
        ("{}", "not something that json reads"),
        ("[1]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"topic": "a", "payload_hex": "xy"}', "not something that json reads"),
    ],
)
def test_a_recording_that_is_none_is_refused(tmp_path: Path, content: str | None, problem: str) -> None:
    if content:
        (tmp_path / "day.jsonl").write_text(content)
    with pytest.raises(DeviceRefused, match=re.escape(problem)):
        asyncio.run(some("json", f"replay:{tmp_path}/day.jsonl?speed=max", 1))


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("hub:", "hub:: nothing to open: use one of serial:, tcp:, ble:, sim:, replay:"),
        ("/dev/ttyUSB0", "/dev/ttyUSB0: nothing to open: use one of serial:, tcp:, ble:, sim:, replay:"),
        ("serial:/dev/tty1?speed=1", "serial:/dev/tty1?speed=1: serial: has no option 'speed', only baud, parity, bits, stop"),
        ("tcp:host:1?x=1", "tcp:host:1?x=1: tcp: has no option 'x', only none"),
        ("sim:?speed=fast", "sim:?speed=fast: speed is a number like 10, or max"),
        ("sim:?speed=0", "sim:?speed=0: speed is a number like 10, or max"),
    ],
)  # fmt: skip
def test_a_link_that_is_none_is_refused_with_what_there_is(link: str, problem: str) -> None:
    with pytest.raises(DeviceRefused) as refused:
        print(parse(link).speed)
    assert str(refused.value) == problem
