"""The path of a reading, top to bottom: claimed by a binding, decoded by its driver, named and converted by the catalogue,
stamped by the clock, appended to the log; the future that comes back is the acknowledgement.

    MQTT          publish(messages)    ─┐
    serial, BLE   take(bound, item)    ─┴─► decode ─► Reading ─► normalise ─► Event ─► log.append
"""

import logging
import re
import struct
import zlib
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from gateway import evidence, patterns
from gateway.catalogue import normalise
from gateway.clock import Clock
from gateway.devices import Device, Devices
from gateway.driver import Advert, Binding, Context, Driver, Message
from gateway.errors import Undecodable
from gateway.event import SECOND, Availability, Event, Quality, Reading, event
from gateway.hub.inlet import Publish, Read
from gateway.message import stored
from gateway.repeats import Repeats
from gateway.sequence import Sequences
from gateway.store.log import Log, Statement

log = logging.getLogger("redcar.ingest")

routes_kept = 10_000
"""Topics whose binding is remembered; beyond it the memory starts afresh. A device has a handful of topics."""

longest_name = 128
"""Letters of a name that a payload gives its device; what is longer is cut."""

ahead = 60 * SECOND
"""A device's clock may be this far ahead of ours; beyond it the time of arrival is used."""

behind = 2 * 3600 * SECOND
"""And so far behind, where nothing can lie about on its way: serial and radio. MQTT devices may have kept their readings."""

earliest = 1_262_304_000 * SECOND
"""2010: nothing was measured before. Devices that don't know the time begin in 1970 or 2000."""


_bugs: tuple[type[Exception], ...] = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NameError)
_bugs += (OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error)


class Bound(Struct):
    """A binding with its driver, ready to work."""

    binding: Binding
    driver: Driver
    context: Context

    @property
    def accepted(self) -> list[str]:
        """Globs of the sources that need no adoption: what is allowed, and what the operator has given a name."""
        named = [] if "{" in self.binding.source else [self.binding.source]
        return [*self.binding.allow, *self.binding.names.values(), *named]


class Route(Struct):
    """Where an item leads: who decodes it, and which device it is about unless the payload says otherwise."""

    bound: Bound
    captures: dict[str, str]
    source: str
    device: Device | None = None


class Ingest:
    """Implements the hub's Inlet, and takes what links deliver."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        devices: Devices,
        bound: list[Bound],
        retained: Callable[[list[Publish]], list[Statement]] = lambda messages: [],
        sequences: Sequences | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._devices = devices
        self._retained = retained
        self._sequences = sequences or Sequences()
        self._repeats = Repeats()
        self.owed: Callable[[str], bool] = lambda topic: False
        """Whether a message on this topic is stored although it is claimed: somebody is to get it from the log."""
        self.bound = bound
        self._patterns = [(patterns.compiled(topic), one) for one in bound for topic in one.binding.topics]
        self._routes: dict[str, Route | None] = {}

    @property
    def full(self) -> bool:
        """So much waits for the disk that senders should wait."""
        return self._log.full

    @property
    def on_room(self) -> Callable[[], None]:
        """Called when there is room again."""
        return self._log.on_room

    @on_room.setter
    def on_room(self, call: Callable[[], None]) -> None:
        self._log.on_room = call

    def publish(self, reads: list[Read], also: Sequence[Statement] = ()) -> Future[None] | None:
        """What clients sent. See ``hub/inlet.py``."""
        try:
            return self._publish(reads, also)
        except BaseException:  # a mistake of ours
            self._repeats.forget(reads)
            raise

    def _publish(self, reads: list[Read], also: Sequence[Statement]) -> Future[None] | None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        events: list[Event] = []
        retained: list[Publish] = []
        wait = bool(also)
        routes = self._routes
        for read in reads:
            new = self._repeats.new(read)
            if len(new) < len(read.messages):
                wait = True  # what the client sends again may be on its way to the disk still
            for message in new:
                if message.retain:
                    retained.append(message)
                topic = message.topic
                route = routes[topic] if topic in routes else self._find(topic)
                claimed = False
                if route is not None:
                    item = Message(topic, message.payload, route.captures, message.retain)
                    claimed = self._decoded(route, item, now, monotonic, events) and not route.bound.binding.keep_raw
                if message.qos:
                    wait = True
                    if not claimed or self.owed(topic):
                        events.append(stored(message, now))
        rows = [*self._retained(retained), *also] if retained or also else []
        return self._append(events, rows, wait=wait)

    def refused(self, messages: list[Publish]) -> None:
        """See ``hub/inlet.py``."""
        self._repeats.refused(messages)

    def take(self, bound: Bound, item: bytearray | Advert | Message) -> None:
        """What a link delivered: a stream's buffer, an advertisement, a message. Stored with the next commit; nobody waits."""
        events: list[Event] = []
        route = self._route(item.topic) if isinstance(item, Message) else None
        if route is None:
            route = Route(bound, {}, _source(bound.binding, {}, None))
        elif isinstance(item, Message):
            item.captures = route.captures
        self._decoded(route, item, self._clock.now(), self._clock.monotonic(), events)
        self._append(events, [], wait=False)

    def again(self, letter: Event) -> list[Event]:
        """Readings that the present drivers make of an input that was rejected, at its time. Raises Undecodable."""
        item = evidence.restored(letter.data)
        route = self._leads(item, letter)
        if route is None:
            raise Undecodable("unknown_format", "no binding takes it any more: see redcar.toml")
        made = []
        for found in route.bound.driver.decode(item, Context(route.bound.binding)):
            device = self._device(route, found, self._clock.now())
            if isinstance(found, Reading) and device.adopted:
                values, flags, quality = normalise(found)
                time = found.time if found.time is not None and found.time <= letter.time + ahead else letter.time
                data = {**values, "_quality": flags} if flags else values
                made.append(event("reading", device.source, data, time=time, quality=quality, cause=letter.offset))
        return made

    def _leads(self, item: bytearray | Advert | Message, letter: Event) -> Route | None:
        """Where an input that was rejected leads now."""
        if isinstance(item, Message):
            route = self._route(item.topic)
            item.captures = route.captures if route else {}
            return route
        device = item.address if isinstance(item, Advert) else None
        routes = (Route(one, {}, _source(one.binding, {}, device)) for one in self.bound)
        return next(
            (one for one in routes if isinstance(item, one.bound.driver.input) and one.source == letter.source), None
        )

    async def store(self, events: list[Event], also: Sequence[Statement] = ()) -> None:
        """Append events, and what happened to devices meanwhile; return when they are on the disk. Raises StoreFailed."""
        stored = self._append(events, list(also), wait=True)
        assert stored is not None
        await stored

    def watch(self) -> None:
        """Notice who went silent."""
        self._devices.watch(self._clock.now(), self._clock.monotonic())
        self._append([], [], wait=False)

    def gone(self, source: str, reason: str) -> None:
        """A link was lost: its device is offline."""
        device = self._devices.known.get(source)
        if device:
            self._devices.gone(device, reason, self._clock.now())
            self._append([], [], wait=False)

    # ------------------------------------------------------------------

    def _append(self, events: list[Event], also: list[Statement], *, wait: bool) -> Future[None] | None:
        happened, rows = self._devices.changes()
        if happened:
            events = happened + events
            also = also + rows
        counted = self._sequences.changes()
        if counted:
            also = also + counted
        if not events and not also and not wait:
            return None
        return self._log.append(events, also=also, wait=wait)

    def _route(self, topic: str) -> Route | None:
        return self._routes[topic] if topic in self._routes else self._find(topic)

    def _find(self, topic: str) -> Route | None:
        """The route of a topic that wasn't seen before."""
        route = None
        for pattern, bound in self._patterns:
            found = pattern.fullmatch(topic)
            if found:
                captures = found.groupdict()
                route = Route(bound, captures, _source(bound.binding, captures, captures.get("device")))
                break
        if len(self._routes) >= routes_kept:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _decoded(
        self, route: Route, item: bytearray | Advert | Message, now: int, monotonic: int, events: list[Event]
    ) -> bool:
        """Let the driver read it. False: it is about a device that isn't accepted."""
        accepted = True
        try:
            for found in route.bound.driver.decode(item, route.bound.context):
                device = self._device(route, found, now)
                if not device.adopted:
                    accepted = accepted and device.ignored
                elif isinstance(found, Reading):
                    self._reading(route.bound.driver, device, found, now, monotonic, events)
                elif found.online:
                    self._devices.heard(device, now, monotonic)
                else:
                    self._devices.gone(device, "it said so", now)
        except Undecodable as error:
            events.append(_rejected(route, error, item, now))
        except _bugs as bug:
            events.append(_rejected(route, self._failed(route, bug), item, now))
            if isinstance(item, bytearray):
                item.clear()  # else it would fail at the same bytes for ever
        return accepted

    def _failed(self, route: Route, bug: Exception) -> Undecodable:
        """A driver's own fault costs the message it failed at, not the connection that brought it."""
        kind, what = route.bound.binding.driver, f"{type(bug).__name__}: {bug}"
        if route.bound.context.drops["driver_failed"] == 0:
            log.error(
                "%s: the driver %s fails at what it got, please report it: %s", route.source, kind, what, exc_info=bug
            )
        route.bound.context.drops["driver_failed"] += 1
        return Undecodable("driver_failed", what)

    def _device(self, route: Route, found: Reading | Availability, now: int) -> Device:
        device = route.device
        if device is None or not device.adopted or found.source is not None:
            binding = route.bound.binding
            source = route.source
            if found.source is not None:
                source = _source(binding, route.captures, found.source)
            device = self._devices.accept(source, binding.driver, route.bound.accepted, now)
            device.silent_after = binding.silent_after
            if found.source is None:
                route.device = device
        return device

    def _reading(
        self, driver: Driver, device: Device, reading: Reading, now: int, monotonic: int, events: list[Event]
    ) -> None:
        self._devices.heard(device, now, monotonic)
        number = reading.sequence
        if number is not None and not self._sequences.is_new(device.source, number, driver.sequence_bits, monotonic):
            return  # the same measurement again: sensors repeat an advertisement 3 to 20 times
        values, flags, quality = normalise(reading)
        data: dict[str, Any] = {**values, "_quality": flags} if flags else values
        if data:
            time = now
            if reading.time is not None and self._clock.trusted():
                right = _can_be(reading.time, now, live=driver.input is not Message)
                if right is device.clock_wrong:
                    self._devices.believe(device, reading.time - now, right, now)
                if right:
                    time = reading.time
                else:
                    data = {**values, "_quality": {**(flags or {}), "_time": Quality.clock_wrong.name}}
            events.append(event("reading", device.source, data, time=time, quality=quality))


def _can_be(time: int, now: int, *, live: bool) -> bool:
    """Whether a device's clock can be right, as far as ours knows."""
    return (now - behind if live else earliest) <= time <= now + ahead


class _Captures(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key


def _source(binding: Binding, captures: dict[str, str], device: str | None) -> str:
    """Name in the log: as the operator named the device, else by the binding's template."""
    if device is None:
        return binding.source.format_map(_Captures(captures))
    named = binding.names.get(device)
    return named or binding.source.format_map(_Captures(captures, device=_unfit.sub("_", device[:longest_name])))


_unfit = re.compile(r"[\x00-\x1f\x7f+#]")  # in a name that becomes part of topics upstream


def _rejected(route: Route, error: Undecodable, item: bytearray | Advert | Message, now: int) -> Event:
    """A dead letter: what couldn't be read, why, and the bytes themselves."""
    binding = route.bound.binding
    source = _source(binding, {}, item.address) if isinstance(item, Advert) else route.source
    said = {"stage": "decode", "driver": binding.driver, "reason": error.reason, "detail": error.detail}
    tried = {"permanent": True, "attempts": 1}
    return event("rejected", source, {**said, **tried, **evidence.kept(item)}, time=now, quality=Quality.decode)
