"""BLE advertisements: one scanner for all who listen, which notices when it has gone deaf.

bluetoothd, the adapter and the radio each stop without an error: what is watched is whether adverts come. After ``silence``
seconds without any (``patience`` if none ever came: there may be no device) everybody who listens gets LinkLost, and the next
who listens starts a new scanner; the second time the adapter is switched off and on first.

Faults and their cures: bleak 3.1 and BlueZ's D-Bus interfaces org.bluez.Adapter1 and org.bluez.Device1.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from bleak import BleakScanner
from bleak.args.bluez import BlueZScannerArgs, OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from gateway.bluez import explained, switch_off_and_on, trouble
from gateway.driver import Advert
from gateway.errors import LinkLost

answer = 10.0  # seconds for bluetoothd to answer: StartDiscovery can hang for ever
silence = 60.0
patience = 600.0
repeats = 5.0  # seconds in which the same bytes of a device count once: most send everything several times
remembered = 2_000  # devices whose newest bytes are kept; beyond it the memory starts afresh. Addresses rotate
waiting = 1_000  # adverts a listener may be behind; beyond it the oldest are lost

_SHORT = "-0000-1000-8000-00805f9b34fb"
_GENERAL = [OrPattern(0, AdvertisementDataType.FLAGS, bytes([flags])) for flags in (0x06, 0x1A, 0x02, 0x04)]
"""A passive scan needs a pattern: the flags with which nearly every device begins."""


class Radio:
    """One adapter. Runs while somebody listens."""

    def __init__(self, adapter: str | None = None, *, passive: bool = False) -> None:
        self.name = f"ble:{adapter}" if adapter else "ble"
        self._adapter = adapter
        self._passive = passive
        self._lock = asyncio.Lock()
        self._ears: set[_Ear] = set()
        self._scan: asyncio.Task[None] | None = None
        self._newest: dict[str, tuple[int, float]] = {}
        self._heard: float = 0
        self._ever_heard = False
        self._silences = 0  # one after the other

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[Advert]]:
        """Adverts of all devices. Raises LinkLost, also from the iterator; DeviceRefused if we may not."""
        ear = _Ear()
        try:
            async with self._lock:
                self._ears.add(ear)
                if self._scan is None or self._scan.done():
                    await self._start()
            async with aclosing(ear.adverts()) as adverts:
                yield adverts
        finally:
            self._ears.discard(ear)
            async with self._lock:
                if not self._ears:
                    await self._stop()

    async def _start(self) -> None:
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scan = asyncio.create_task(self._scanning(begun), name=self.name)
        self._scan.add_done_callback(self._over)
        await asyncio.wait([begun, self._scan], return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            raise self._problem(self._scan) or LinkLost(f"{self.name}: stopped")

    async def _stop(self) -> None:
        if self._scan:
            self._scan.cancel()
            await asyncio.wait([self._scan])
        self._scan = None

    async def _scanning(self, begun: asyncio.Future[None]) -> None:
        """Owns the scanner. Ends only by being cancelled, or by raising what is wrong."""
        possible = BlueZScannerArgs()
        if self._adapter:
            possible["adapter"] = self._adapter
        if self._passive:
            possible["or_patterns"] = [*_GENERAL]
        scanner = BleakScanner(self._found, None, "passive" if self._passive else "active", bluez=possible)
        async with asyncio.timeout(answer) as limit:
            if self._silences > 1:
                await switch_off_and_on(self._adapter)
            async with trouble(self._adapter) as news:
                await scanner.start()
                limit.reschedule(None)
                self._heard = asyncio.get_running_loop().time()
                begun.set_result(None)
                try:
                    await self._watch(news)
                finally:
                    # what can't be stopped is gone: the adapter, bluetoothd, the bus
                    with suppress(BleakError, OSError, EOFError, AssertionError):
                        async with asyncio.timeout(answer):
                            await scanner.stop()

    def _found(self, device: BLEDevice, data: AdvertisementData) -> None:
        if not data.service_data and not data.manufacturer_data:
            return
        now = asyncio.get_running_loop().time()
        self._heard, self._ever_heard, self._silences = now, True, 0
        said = hash((*data.service_data.values(), *data.manufacturer_data.values()))
        before, at = self._newest.get(device.address, (0, 0.0))
        if said == before and now - at < repeats:
            return
        if len(self._newest) >= remembered:
            self._newest.clear()
        self._newest[device.address] = said, now
        service = {uuid[4:8] if uuid.endswith(_SHORT) else uuid: value for uuid, value in data.service_data.items()}
        company = {f"{id:04x}": value for id, value in data.manufacturer_data.items()}
        rssi = data.rssi if data.rssi > -127 else None
        for ear in self._ears:
            ear.hear(Advert(device.address, data.local_name, rssi, service, company))

    async def _watch(self, news: asyncio.Queue[str]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            longest = silence if self._ever_heard else patience
            left = self._heard + longest - loop.time()
            if left <= 0:
                self._silences += 1
                more = ", although it was switched off and on: restart the machine, or use another adapter"
                what = f"no advertisement of any device for {longest:.0f} s{more if self._silences > 2 else ''}"
                raise LinkLost(f"{self.name}: {what}")
            with suppress(TimeoutError):
                what = await asyncio.wait_for(news.get(), min(left, silence))
                raise LinkLost(f"{self.name}: {what}")

    def _over(self, scan: asyncio.Task[None]) -> None:
        """Whoever listens learns why there is nothing more to hear."""
        problem = self._problem(scan)
        if problem:
            for ear in self._ears:
                ear.fail(problem)
            self._ears.clear()

    def _problem(self, scan: asyncio.Task[None]) -> BaseException | None:
        problem = None if scan.cancelled() else scan.exception()
        return explained(self.name, problem) if isinstance(problem, BleakError | OSError | EOFError) else problem


class _Ear:
    """One who listens."""

    def __init__(self) -> None:
        self._adverts: deque[Advert] = deque(maxlen=waiting)
        self._problem: BaseException | None = None
        self._news = asyncio.Event()

    def hear(self, advert: Advert) -> None:
        self._adverts.append(advert)
        self._news.set()

    def fail(self, problem: BaseException) -> None:
        self._problem = problem
        self._news.set()

    async def adverts(self) -> AsyncGenerator[Advert, None]:
        while True:
            while self._adverts:
                yield self._adverts.popleft()
            if self._problem:
                raise self._problem
            self._news.clear()
            await self._news.wait()
