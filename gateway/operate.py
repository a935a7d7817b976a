"""What an operator can do to a log, whether its gateway runs or not: the functions behind the commands that change something.

consumers   how everybody is doing              devices        who is known
replay      owe a range again                   adopt, ignore  decide about a device
redrive     deliver or decode dead letters again
drop        take dead letters off the list
"""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway import deadletters
from gateway.control import Action, Declined
from gateway.devices import Device, Devices
from gateway.errors import Undecodable
from gateway.event import Event, event
from gateway.forward import Forwarder
from gateway.ingest import Ingest
from gateway.selection import Globs
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Statement
from gateway.store.ranges import by_lane

S = TypeVar("S", bound=Struct)


class Replay(Struct):
    """Owe lo..hi again."""

    consumer: str
    lo: int
    hi: int
    types: list[str]
    sources: list[str]
    speed: Annotated[float, Meta(gt=0)] | None = None


class Forget(Struct):
    """A consumer that isn't in use any more."""

    consumer: str


class Letters(Struct):
    """Offsets of dead letters."""

    offsets: list[int]


class Named(Struct):
    """A device."""

    source: str


class Operator:
    """Holds what the actions work on."""

    def __init__(
        self,
        log: Log,
        consumers: Consumers,
        devices: Devices,
        ingest: Ingest,
        forwarders: list[Forwarder],
        subscriptions: Iterable[str],
    ) -> None:
        self._log = log
        self._clock = log.clock
        self._consumers = consumers
        self._devices = devices
        self._ingest = ingest
        self._forwarders = forwarders
        self._subscriptions = list(subscriptions)

    def actions(self) -> dict[str, Action]:
        """By name."""
        return {
            "consumers": self.consumers,
            "forget": self.forget,
            "replay": self.replay,
            "redrive": self.redrive,
            "drop": self.drop,
            "devices": self.devices,
            "adopt": self.adopt,
            "ignore": self.ignore,
        }

    async def consumers(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Per consumer and lane: what is owed, and how its forwarder is doing."""
        forwarders = {one.consumer.name: one for one in self._forwarders}
        opened = {one.name: one for one in self._consumers}
        told = []
        for name in sorted(opened.keys() | set(await self._consumers.names())):
            consumer = await self._consumers.find(name)
            assert consumer is not None
            forwarder = forwarders.get(name)
            for lane in by_lane(consumer.ranges, self._log.head):
                oldest = await self._log.read(lane.lo, lane.hi, 1) if lane.owed else []
                said = {
                    "consumer": name,
                    **msgspec.to_builtins(lane),
                    "oldest": oldest[0].recorded if oldest else None,
                    "in_use": name in opened,
                }
                told.append(said | (forwarder.shown(lane.lane) if forwarder else {}))
        return told

    async def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Owe it nothing any more: its subscription was taken out of the configuration, or has another name."""
        name = _read(request, Forget).consumer
        consumer = await self._consumers.find(name)
        if consumer is None:
            raise Declined(f"there is no consumer {name}: see redcar consumers")
        if name in self._subscriptions or any(name == one.name for one in self._consumers):
            raise Declined(f"{name} is in use: take its subscription out of the configuration first")
        lost = consumer.lag
        said = event("consumer.forgotten", "gateway", {"consumer": name, "owed": lost}, time=self._clock.now())
        await self._ingest.store([said], consumer.end())
        return {"consumer": name, "owed": lost}

    async def replay(self, request: dict[str, Any]) -> dict[str, Any]:
        """Insert a range in a lane of its own."""
        wanted = _read(request, Replay)
        consumer = await self._consumers.find(wanted.consumer)
        if consumer is None or wanted.consumer not in self._subscriptions:
            known = ", ".join(self._subscriptions) or "no subscription"
            raise Declined(f"there is no subscription {wanted.consumer}: there is {known}")
        lo, hi = max(1, wanted.lo), min(wanted.hi, self._log.head)
        if lo > hi:
            raise Declined("nothing was recorded then")
        globs = Globs(wanted.types, wanted.sources)
        made = await consumer.owe("replay-{id}", lo, hi, globs=globs, speed=wanted.speed)
        return {"lane": made.lane, "lo": lo, "hi": hi}

    async def redrive(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Deliver again what was refused; decode again what couldn't be read. Says for each what became of it."""
        letters = await self._letters(_read(request, Letters).offsets)
        events: list[Event] = []
        statements: list[Statement] = []
        told: list[dict[str, Any]] = []
        refused: dict[str, list[Event]] = {}
        now = self._clock.now()
        for letter in letters:
            if letter.data.get("stage") == "deliver":
                refused.setdefault(letter.data["consumer"], []).append(letter)
                continue
            said = self._decode(letter, events)
            told.append({"offset": letter.offset, "done": said is None, "said": said or "read"})
        for name, those in refused.items():
            consumer = await self._consumers.find(name)
            if consumer is None:
                said = f"there is no consumer {name} any more"
                told += [{"offset": one.offset, "done": False, "said": said} for one in those]
                continue
            again = consumer.again([one.data["offset"] for one in those], lane="redrive-{id}")
            statements += again
            events += [deadletters.settled(one, deadletters.redriven, now) for one in those]
            told += [{"offset": one.offset, "done": True, "said": f"owed to {name} again"} for one in those]
        await self._ingest.store(events, statements)
        return told

    def _decode(self, letter: Event, events: list[Event]) -> str | None:
        """Append what the present driver makes of it to ``events``. Otherwise say why not."""
        try:
            made = self._ingest.again(letter)
        except Undecodable as error:
            return f"still can't be read: {error}"
        except (KeyError, ValueError):
            return "holds nothing that could be read again"
        if not made:
            return (
                f"gives no reading of an adopted device: see redcar devices; {letter.source} may wait for redcar adopt"
            )
        events += [*made, deadletters.settled(letter, deadletters.redriven, self._clock.now())]
        return None

    async def drop(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Take them off the list; the log keeps them, and that they were dropped."""
        letters = await self._letters(_read(request, Letters).offsets)
        now = self._clock.now()
        await self._ingest.store([deadletters.settled(one, deadletters.dropped, now) for one in letters])
        return [{"offset": one.offset, "done": True, "said": "dropped"} for one in letters]

    async def _letters(self, offsets: list[int]) -> list[Event]:
        letters = [one for offset in sorted(set(offsets)) for one in await self._log.read(offset, offset, 1)]
        strangers = set(offsets) - {one.offset for one in letters if one.type == deadletters.rejected}
        if strangers:
            raise Declined(f"{min(strangers)} isn't a dead letter: see redcar dlq list")
        return letters

    async def devices(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Everybody who was ever heard, those who wait for adoption included."""
        back = self._clock.now() - self._clock.monotonic()
        return [
            {
                "source": one.source,
                "driver": one.driver,
                "state": "adopted" if one.adopted else "ignored" if one.ignored else "offered",
                "online": one.online,
                "since": one.since,
                "seen": one.seen + back if one.seen else None,
            }
            for one in sorted(self._devices.known.values(), key=lambda one: one.source)
        ]

    async def adopt(self, request: dict[str, Any]) -> None:
        """From now on its readings are stored."""
        device = self._device(request)
        if not device.adopted:
            self._devices.adopt(device, self._clock.now())
        await self._ingest.store([])

    async def ignore(self, request: dict[str, Any]) -> None:
        """From now on what it sends is dropped."""
        device = self._device(request)
        if not device.ignored:
            self._devices.ignore(device, self._clock.now())
        await self._ingest.store([])

    def _device(self, request: dict[str, Any]) -> Device:
        source = _read(request, Named).source
        device = self._devices.known.get(source)
        if device is None:
            raise Declined(f"nobody called {source} was ever heard: see redcar devices")
        return device


def _read(request: dict[str, Any], type: type[S]) -> S:
    return msgspec.convert(request, type)
