"""Which devices are known, accepted and alive: a fold of the device.* events, kept beside the log.

device.discovered   somebody speaks whom no binding accepts: offered for adoption, once
device.adopted      accepted, by a binding or by an operator
device.ignored      an operator doesn't want it: what it sends is dropped
device.online       readings come (again)
device.clock_wrong  its own clock can't be believed: the time of arrival is used; told once, until device.clock_right
device.offline      none for ``silent_after``, or the device's last will says so
"""

import logging
from collections.abc import Iterable
from fnmatch import fnmatchcase

from msgspec import Struct

from gateway.event import SECOND, Event, event
from gateway.store.log import Statement

most_offered = 1_000
"""Devices that wait for adoption; beyond it the one that was discovered first is forgotten, until it is heard again. Radios
hear neighbours, and phones change their address every quarter of an hour."""


log = logging.getLogger("redcar.devices")


class Device(Struct):
    """One source. ``seen`` is monotonic, so that a stepping clock silences nobody."""

    source: str
    driver: str
    adopted: bool = False
    online: bool = False
    since: int = 0
    ignored: bool = False
    seen: int = 0
    silent_after: float | None = None
    clock_wrong: bool = False
    """Its own clock can't be believed."""


class Devices:
    """The registry. Whatever changes is put into ``events`` and ``rows`` for the next append.

    most  devices that bindings may adopt: a client that makes up names mustn't fill memory and views
    """

    def __init__(self, known: Iterable[Device] = (), most: int = 5_000) -> None:
        self.known = {device.source: device for device in known}
        self._most = most
        self._complained = False
        self._adopted = sum(device.adopted for device in self.known.values())
        self.events: list[Event] = []
        self.rows: list[Statement] = []
        waiting = sorted(self.known.values(), key=lambda device: device.since)
        self._offered = {device.source: None for device in waiting if not device.adopted and not device.ignored}

    def accept(self, source: str, driver: str, allow: list[str], now: int) -> Device:
        """The device of that name, made known if it is new and adopted if ``allow`` has a glob for it."""
        device = self.known.get(source)
        if device is not None and (device.adopted or device.ignored):
            return device
        new = device is None
        device = device or self.known.setdefault(source, Device(source, driver, since=now))
        allowed = _allowed(source, allow)
        if allowed and self._adopted < self._most:
            self.adopt(device, now)
        elif new:
            self._offer(device, now)
            if allowed:
                self._complain(source)
        return device

    def adopt(self, device: Device, now: int) -> None:
        """From now on its readings are stored."""
        self._adopted += not device.adopted
        device.adopted, device.ignored = True, False
        self._offered.pop(device.source, None)
        self._happened("device.adopted", device, now)

    def ignore(self, device: Device, now: int) -> None:
        """From now on nothing of it is stored, whatever the bindings allow."""
        self._adopted -= device.adopted
        device.adopted, device.ignored, device.online = False, True, False
        self._offered.pop(device.source, None)
        self._happened("device.ignored", device, now)

    def heard(self, device: Device, now: int, monotonic: int) -> None:
        """It gave a sign of life."""
        device.seen = monotonic
        if not device.online:
            device.online = True
            self._happened("device.online", device, now)

    def believe(self, device: Device, ahead: int, right: bool, now: int) -> None:
        """Its clock is ``ahead`` of ours by so many µs, and that can be or not. Said when it changes."""
        if device.clock_wrong is right:
            device.clock_wrong = not right
            type = "device.clock_right" if right else "device.clock_wrong"
            self._happened(type, device, now, seconds=ahead / SECOND)

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

    def _complain(self, source: str) -> None:
        """Once: what there is to say is the same for all that follow."""
        if not self._complained:
            self._complained = True
            cure = 'redcar adopt takes it; if there are so many, raise devices under [gateway]; or narrow "allow"'
            log.warning(
                "%s waits for adoption, because %d devices are adopted already: %s", source, self._adopted, cure
            )

    def _offer(self, device: Device, now: int) -> None:
        self._happened("device.discovered", device, now)
        self._offered[device.source] = None
        if len(self._offered) > most_offered:
            oldest = next(iter(self._offered))
            del self._offered[oldest], self.known[oldest]
            self.rows.append(("delete from device where source = ?", (oldest,)))

    def _happened(self, type: str, device: Device, now: int, **more: str | float) -> None:
        self.events.append(event(type, device.source, {"driver": device.driver, **more}, time=now))
        self.rows.append(
            (
                "insert or replace into device (source, driver, adopted, online, since, ignored) values (?, ?, ?, ?, ?, ?)",
                (device.source, device.driver, device.adopted, device.online, device.since, device.ignored),
            )
        )


def _allowed(source: str, allow: list[str]) -> bool:
    return any(source == glob or fnmatchcase(source, glob) for glob in allow)
