"""The scanner and bleak, for real, against a fake bluetoothd on a private D-Bus."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import ble
from gateway.driver import Advert, Context, load
from gateway.errors import DeviceRefused, LinkLost
from gateway.event import Reading
from gateway.links import open_link
from tests.fake_bluez import FakeBluez, private_bus
from tests.parts import need, stop, until

patient = 20.0
thermometer = "A4:C1:38:8D:18:B2"
measured = {"fcd2": bytes.fromhex("400009015d025d0903b718")}

Story = Callable[[FakeBluez], Awaitable[None]]


def on_air(folder: Path, story: Story, **adapter: Any) -> None:
    """Tell a story with a bus, a bluetoothd and a loop of its own."""
    program = need("dbus-daemon", "dbus-daemon")

    async def told() -> None:
        async with (
            asyncio.timeout(patient),
            private_bus(folder, program) as address,
            FakeBluez(address, **adapter) as bluez,
        ):
            await story(bluez)

    asyncio.run(told())


def listening(link: str = "ble:") -> Any:
    driver = load("bthome")
    return open_link(driver.config(driver="bthome", link=link), driver, rng=Random(1))


@asynccontextmanager
async def chattering(bluez: FakeBluez) -> AsyncIterator[None]:
    """A thermometer that never stops: a new packet every moment."""

    async def chatter() -> None:
        packet = 0
        while True:
            packet = (packet + 1) % 256
            data = bytes((0x40, 0, packet, 0x02, 0xCA, 0x09))
            await bluez.advertise(thermometer, {"fcd2": data}, rssi=-60 - packet % 5)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(chatter())
    try:
        yield
    finally:
        await stop(task)


@asynccontextmanager
async def reopened() -> AsyncIterator[AsyncIterator[Advert]]:
    """Listening again, as whoever supervises does: until it works."""
    while True:
        link = listening()
        try:
            adverts = await link.__aenter__()
            break
        except LinkLost:
            await asyncio.sleep(0.002)
    try:
        yield adverts
    finally:
        await link.__aexit__(None, None, None)


def test_an_advertisement_becomes_a_reading(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with listening() as adverts:
            await bluez.advertise(thermometer, measured, {"0499": b"\x05\x12"}, name="ATC_8D18B2", rssi=-71)
            advert = await anext(adverts)
        assert advert == Advert(thermometer, "ATC_8D18B2", -71, measured, {"0499": b"\x05\x12"})
        driver = load("bthome")
        (reading,) = driver.decode(advert, Context(driver.config(driver="bthome")))
        assert isinstance(reading, Reading)
        assert reading.values == {"battery": 93, "temperature": 23.97, "humidity": 63.27}
        await until(lambda: not bluez.scanning)

    on_air(tmp_path, story)


def test_repeats_count_once_and_empty_ones_not_at_all(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with listening() as adverts:
            for rssi in range(-80, -60):
                await bluez.advertise(thermometer, measured, rssi=rssi)
            await bluez.advertise("A4:C1:38:00:00:01", name="empty")
            await bluez.advertise(thermometer, {"fcd2": b"\x40\x01\x61"})
            first, second = await anext(adverts), await anext(adverts)
        assert (first.service_data, second.service_data) == (measured, {"fcd2": b"\x40\x01\x61"})

    on_air(tmp_path, story)


def test_all_who_listen_share_one_scanner(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with listening() as one:
            async with listening() as other:
                await bluez.advertise(thermometer, measured)
                assert await anext(one) == await anext(other)
            assert bluez.scanning
            await bluez.advertise(thermometer, {"fcd2": b"\x40\x01\x61"})
            await anext(one)
        assert bluez.calls.count("StartDiscovery") == 1
        await until(lambda: not bluez.scanning)

    on_air(tmp_path, story)


def test_a_flood_of_adverts_stays_within_bounds_and_the_newest_are_heard(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        count = ble.waiting + 500
        async with listening() as adverts:
            for number in range(count):
                address = f"C0:FF:EE:00:{number >> 8:02X}:{number & 255:02X}"
                await bluez.advertise(address, {"fcd2": b"\x40\x01" + bytes([number & 255])})
            heard = []
            async for advert in adverts:
                heard.append(advert.address)
                if advert.address == address:
                    break
        assert len(heard) <= count
        assert len(heard) == len(set(heard))

    on_air(tmp_path, story)


def test_a_passive_scan_registers_a_monitor_and_discovers_nothing(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with listening("ble:hci0?scan=passive") as adverts:
            await bluez.advertise(thermometer, measured)
            await anext(adverts)
        assert "RegisterMonitor" in bluez.calls
        assert "StartDiscovery" not in bluez.calls

    on_air(tmp_path, story)


async def lost(adverts: AsyncIterator[Advert]) -> str:
    """Why the adverts come to an end."""
    with pytest.raises(LinkLost) as problem:
        async for _ in adverts:
            pass
    return str(problem.value)


async def refused(kind: type[Exception] = LinkLost, link: str = "ble:") -> str:
    """Why listening can't begin."""
    with pytest.raises(kind) as problem:
        async with listening(link):
            pass
    return str(problem.value)


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [
        ({"powered": False}, "ble: the Bluetooth adapter is switched off: "
                             "bluetoothctl power on; if that fails: sudo rfkill unblock bluetooth"),
        ({"adapter": False}, "ble: there is no Bluetooth adapter: plug one in, or take dtoverlay=disable-bt out of config.txt"),
        ({"roles": ()}, "ble: the adapter is too old for BLE: use another one"),
    ],
)  # fmt: skip
def test_an_adapter_that_cannot_scan_is_explained(tmp_path: Path, adapter: dict[str, Any], problem: str) -> None:
    async def story(bluez: FakeBluez) -> None:
        assert await refused() == problem

    on_air(tmp_path, story, **adapter)


def test_the_adapter_is_switched_off_and_on_again(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with chattering(bluez):
            async with listening() as adverts:
                await anext(adverts)
                await bluez.power(False)
                assert (await lost(adverts)).startswith("ble: the Bluetooth adapter is switched off: ")
            assert (await refused()).startswith("ble: the Bluetooth adapter is switched off: ")
            await bluez.power(True)
            async with reopened() as adverts:
                await anext(adverts)

    on_air(tmp_path, story)


def test_the_adapter_is_unplugged_and_plugged_in_again(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with listening() as adverts:
            await bluez.unplug_adapter()
            assert await lost(adverts) == "ble: the adapter was unplugged: plug it in again"
        assert (await refused()).startswith("ble: there is no Bluetooth adapter: ")
        await bluez.plug_adapter()
        async with chattering(bluez), reopened() as adverts:
            await anext(adverts)

    on_air(tmp_path, story)


def test_bluetoothd_restarts_and_the_scanner_hears_again(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with chattering(bluez):
            async with listening() as one, listening() as other:
                await anext(one)
                await bluez.crash()
                said = {await lost(one), await lost(other)}
                assert said == {"ble: bluetoothd stopped: sudo systemctl start bluetooth"}
            assert await refused() == "ble: bluetoothd doesn't run: sudo systemctl start bluetooth"
            await bluez.come_back()
            async with reopened() as adverts:
                await anext(adverts)
                assert bluez.scanning

    on_air(tmp_path, story)


def test_one_listener_reopens_before_the_other_has_noticed(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        async with listening() as slow:
            async with listening() as quick:
                await bluez.crash()
                await lost(quick)
            await bluez.come_back()
            async with reopened() as again:
                await lost(slow)
                async with chattering(bluez):
                    await anext(again)

    on_air(tmp_path, story)


def test_a_deaf_scanner_is_started_anew_and_the_second_time_the_adapter_is_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ble, "silence", 0.3)

    async def story(bluez: FakeBluez) -> None:
        async with listening() as adverts:
            await bluez.advertise(thermometer, measured)
            await anext(adverts)
            assert await lost(adverts) == "ble: no advertisement of any device for 0 s"
        for switched in (0, 2, 4):
            async with listening() as adverts:
                assert bluez.calls.count("Set") == switched
                said = await lost(adverts)
        assert said.endswith("although it was switched off and on: restart the machine, or use another adapter")
        assert bluez.calls.count("StartDiscovery") == 4
        async with listening() as adverts:
            await bluez.advertise(thermometer, {"fcd2": b"\x40\x01\x61"})
            await anext(adverts)
            await lost(adverts)
        before = bluez.calls.count("Set")
        async with listening():
            assert bluez.calls.count("Set") == before  # it has heard something: begin with the small cure again

    on_air(tmp_path, story)


def test_silence_is_no_fault_where_nothing_was_ever_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "silence", 0.01)

    async def story(bluez: FakeBluez) -> None:
        async with listening() as adverts:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(adverts)

    on_air(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "error", "kind", "problem"),
    [
        ("StartDiscovery", "org.bluez.Error.InProgress", LinkLost,
         "another program is scanning, or bluetoothd is stuck: sudo systemctl restart bluetooth"),
        ("StartDiscovery", "org.freedesktop.DBus.Error.NoReply", LinkLost,
         "bluetoothd doesn't answer: sudo systemctl restart bluetooth"),
        ("StartDiscovery", "org.bluez.Error.Failed", LinkLost,
         "org.bluez.Error.Failed Software caused connection abort"),
        ("SetDiscoveryFilter", "org.freedesktop.DBus.Error.AccessDenied", DeviceRefused,
         "this user may not use Bluetooth: sudo usermod -aG bluetooth"),
    ],
)  # fmt: skip
def test_what_bluetoothd_answers_is_explained(
    tmp_path: Path, method: str, error: str, kind: type[Exception], problem: str
) -> None:
    async def story(bluez: FakeBluez) -> None:
        bluez.faults[method].append((error, "Software caused connection abort"))
        assert (await refused(kind)).startswith(f"ble: {problem}")
        async with listening() as adverts:
            await bluez.advertise(thermometer, measured)
            await anext(adverts)

    on_air(tmp_path, story)


def test_a_discovery_that_never_starts_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "answer", 0.1)

    async def story(bluez: FakeBluez) -> None:
        bluez.hangs.add("StartDiscovery")
        assert await refused() == "ble: bluetoothd doesn't answer: sudo systemctl restart bluetooth"
        bluez.hangs.clear()
        monkeypatch.setattr(ble, "answer", 10.0)
        async with listening() as adverts:
            await bluez.advertise(thermometer, measured)
            await anext(adverts)

    on_air(tmp_path, story)


def test_another_adapter_is_asked_for_by_name(tmp_path: Path) -> None:
    async def story(bluez: FakeBluez) -> None:
        assert await refused(link="ble:hci7") == "ble:hci7: adapter 'hci7' not found"

    on_air(tmp_path, story)


def test_without_a_bus_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    assert asyncio.run(refused()) == "ble: there is no D-Bus system bus: sudo systemctl start dbus"
