"""Which devices are known, accepted and alive: a fold of the device.* events, kept beside the log.

device.discovered   somebody speaks whom no binding accepts: offered for adoption, once
device.adopted      accepted, by a binding or by an operator
device.online       readings come (again)
device.offline      none for ``silent_after``, or the device's last will says so
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from msgspec import Struct

from gateway.event import SECOND, Event, event
from gateway.store.log import Statement


class Device(Struct):
    """One source. ``seen`` is monotonic, so that a stepping clock silences nobody."""

    source: str
    driver: str
    adopted: bool = False
    online: bool = False
    since: int = 0
    seen: int = 0
    silent_after: float | None = None
    sequence: int | None = None
    """Number of its newest message, for devices that count and repeat them."""


class Devices:
    """The registry. Whatever changes is put into ``events`` and ``rows`` for the next append."""

    def __init__(self, known: Iterable[Device] = ()) -> None:
        self.known = {device.source: device for device in known}
        self.events: list[Event] = []
        self.rows: list[Statement] = []

    def accept(self, source: str, driver: str, allow: list[str], now: int) -> Device:
        """The device of that name, made known if it is new and adopted if ``allow`` has a glob for it."""
        device = self.known.get(source)
        if device is None:
            device = self.known[source] = Device(source, driver, since=now)
            if not _allowed(source, allow):
                self._happened("device.discovered", device, now)
        if not device.adopted and _allowed(source, allow):
            self.adopt(device, now)
        return device

    def adopt(self, device: Device, now: int) -> None:
        """From now on its readings are stored."""
        device.adopted = True
        self._happened("device.adopted", device, now)

    def heard(self, device: Device, now: int, monotonic: int) -> None:
        """It gave a sign of life."""
        device.seen = monotonic
        if not device.online:
            device.online = True
            self._happened("device.online", device, now)

    def gone(self, device: Device, reason: str, now: int) -> None:
        """It said goodbye, or went silent."""
        if device.online:
            device.online = False
            self._happened("device.offline", device, now, reason=reason)

    def watch(self, now: int, monotonic: int) -> None:
        """Look who has gone silent. Call it about once a second."""
        for device in self.known.values():
            if device.online and device.silent_after and monotonic - device.seen > device.silent_after * SECOND:
                self.gone(device, f"nothing for {device.silent_after:g} s", now)

    def changes(self) -> tuple[list[Event], list[Statement]]:
        """What happened since the last call."""
        changed = self.events, self.rows
        if self.events:
            self.events, self.rows = [], []
        return changed

    def _happened(self, type: str, device: Device, now: int, **more: str) -> None:
        self.events.append(event(type, device.source, {"driver": device.driver, **more}, time=now))
        self.rows.append(
            (
                "insert or replace into device (source, driver, adopted, online, since) values (?, ?, ?, ?, ?)",
                (device.source, device.driver, device.adopted, device.online, device.since),
            )
        )


def _allowed(source: str, allow: list[str]) -> bool:
    return any(source == glob or fnmatchcase(source, glob) for glob in allow)
