"""The gateway, put together: opened from the sea inwards (store, sinks, rules, hub, drivers), closed the other way round.

The one place that knows everyone. A task that fails is supervised and fails alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from msgspec import structs

from gateway import __version__, driver, sequence, sinks
from gateway.broadcast import Broadcast
from gateway.clock import Clock
from gateway.control import Action, serve
from gateway.devices import Device, Devices
from gateway.driver import Context
from gateway.errors import DeviceSilent, LinkLost
from gateway.event import event
from gateway.forward import Forwarder
from gateway.history import LogHistory
from gateway.hub import lasting
from gateway.hub.access import Access
from gateway.hub.doors import Door
from gateway.hub.listener import Hub
from gateway.hub.retained import SELECT, Retained
from gateway.ingest import Bound, Ingest
from gateway.links import open_link
from gateway.operate import Operator
from gateway.sequence import Sequences
from gateway.settings import Settings
from gateway.sink import Identity
from gateway.sources.mqtt import Config, Reader
from gateway.store.care import Care
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from gateway.store.reader import process
from gateway.store.retention import Limits
from gateway.store.salvage import salvage
from gateway.store.views import custom
from gateway.store.views.keep import Keeper
from gateway.supervise import supervise
from gateway.waiting import Sleep
from rules.engine import Engine
from rules.load import load as load_rules

log = logging.getLogger("redcar")

Start = Callable[[], Awaitable[None]]
"""Starts one try of a task."""

longest_frame = 65_536
"""Bytes of a stream that no decoder has taken: beyond it they are dropped, so that a mute decoder can't fill the memory."""


class Gateway:
    """A running gateway: its parts, for whoever shows or tests them."""

    def __init__(self, settings: Settings, log: Log, consumers: Consumers) -> None:
        self.settings = settings
        self.clock = log.clock
        self.log = log
        self.consumers = consumers
        wanted = settings.retention
        self.care = Care(log, Limits(wanted.cap, wanted.age, wanted.ages, wanted.thin))
        self.forwarders: list[Forwarder] = []
        self.readers: list[Reader] = []
        """Of brokers that already run."""
        self.devices: Devices
        self.ingest: Ingest
        self.hub: Hub
        self.views: Keeper
        self.actions: dict[str, Action] = {}
        """What can be asked through the control socket."""
        self.ports: list[int] = []
        """Ports the hub listens on, in the order of the configuration."""


@asynccontextmanager
async def open_gateway(
    settings: Settings, *, clock: Clock | None = None, seed: int | None = None
) -> AsyncIterator[Gateway]:
    """Open everything, give it, close it. Raises ConfigError, StoreLocked, StoreNewer before anything is accepted."""
    rng = Random(seed)
    rules = load_rules([Path(path) for path in settings.gateway.rules])
    own_views = custom.load([Path(path) for path in settings.gateway.views])
    bound = [_bind(binding) for binding in settings.binding]
    async with AsyncExitStack() as opened:
        gateway = await _open_store(settings, clock or Clock(trust=settings.gateway.trust_clock))
        opened.push_async_callback(_close_store, gateway)
        tasks = await opened.enter_async_context(_Tasks(rng))

        await _open_sinks(gateway, tasks)
        if rules.rules:
            consumer = await gateway.consumers.open("rules", start="now")
            tasks.keep("rules", lambda: process(gateway.log, consumer, Engine(rules)))

        tasks.keep("views", await _open_views(gateway))
        for view in own_views:
            tasks.keep(f"view {view.name}", partial(custom.follow, gateway.log, view))
        retained = Retained(settings.limits)
        retained.load(await gateway.log.query(SELECT))
        await _open_ingest(gateway, bound, retained)
        hub = await _open_hub(gateway, retained, tasks, opened)
        broadcast = Broadcast(
            hub, gateway.log, gateway.views, settings.gateway.name, [rule.name for rule in rules.rules]
        )
        opened.callback(broadcast.close)
        tasks.keep("broadcast", broadcast.run)
        gateway.ports = [await hub.listen(Door(**structs.asdict(listener))) for listener in settings.listener]

        if settings.source:
            _open_sources(gateway, tasks)
        tasks.keep("watch", lambda: _watch(gateway))
        tasks.keep("care", gateway.care.run)
        gateway.actions["status"] = lambda _: _status(gateway)
        if gateway.log.aside:
            tasks.keep("salvage", lambda: salvage(gateway.log, gateway.consumers, asyncio.sleep))
        for one in bound:
            if one.binding.link != "hub:":
                name = (
                    f"{one.binding.driver} on {one.binding.link}" if "{" in one.binding.source else one.binding.source
                )
                tasks.keep(name, _reader(gateway, one, rng))
        await opened.enter_async_context(serve(gateway.log.folder, gateway.actions))
        yield gateway


@asynccontextmanager
async def open_for_operator(settings: Settings) -> AsyncIterator[dict[str, Action]]:
    """What can be done to the log of a gateway that doesn't run. Raises StoreLocked if it does."""
    log = await Log.open(Path(settings.gateway.data), Clock(trust=settings.gateway.trust_clock))
    try:
        gateway = Gateway(settings, log, await Consumers.load(log))
        await _open_views(gateway)
        await _open_ingest(gateway, [_bind(binding) for binding in settings.binding], Retained())
        yield gateway.actions
    finally:
        await log.close()


async def _open_views(gateway: Gateway) -> Start:
    """What keeps the views; an operator may ask for a rebuild."""
    keeper = gateway.views = Keeper(gateway.log, await gateway.consumers.open("views"))

    async def rebuild(_: dict[str, Any]) -> int:
        return await keeper.rebuild()

    gateway.actions["rebuild_views"] = rebuild
    return keeper.run


async def _open_ingest(gateway: Gateway, bound: list[Bound], retained: Retained) -> None:
    log, clock = gateway.log, gateway.clock
    known = [Device(*row) for row in await log.query(known_devices)]
    gateway.devices = Devices(known, gateway.settings.gateway.devices)
    sequences = Sequences(await log.query(sequence.known))
    gateway.ingest = Ingest(log, clock, gateway.devices, bound, retained.changes, sequences)
    names = [one.name for one in gateway.settings.subscription]
    operator = Operator(log, gateway.consumers, gateway.devices, gateway.ingest, gateway.forwarders, names)
    gateway.actions.update(operator.actions())


async def _open_hub(gateway: Gateway, retained: Retained, tasks: "_Tasks", opened: AsyncExitStack) -> Hub:
    """With the sessions of the last time; nobody can come in yet."""
    settings, access = gateway.settings, gateway.settings.access
    users = Path(access.users) if access.users else None
    acl = Path(access.acl) if access.acl else None
    doors = Access(users, access.anonymous, settings.limits, acl)
    history = LogHistory(gateway.log, gateway.consumers, Identity(settings.gateway.name, gateway.log.epoch))
    hub = gateway.hub = Hub(gateway.ingest, retained, doors, settings.limits, history, gateway.clock)
    gateway.ingest.owed = hub.broker.owed
    opened.push_async_callback(hub.close)
    await _open_sessions(gateway)
    if hub.tail:
        tasks.keep("subscribers", hub.tail.run)
    return hub


async def _open_sessions(gateway: Gateway) -> None:
    """The MQTT sessions that were kept when the gateway ended."""
    query = gateway.log.query
    sessions = await query(lasting.SESSIONS)
    subscriptions, received = await query(lasting.SUBSCRIPTIONS), await query(lasting.RECEIVED)
    wall = gateway.clock.now() if gateway.clock.trusted() else None
    stored = lasting.members(sessions, subscriptions, received, gateway.hub.now(), wall)
    await gateway.hub.sessions.load(stored)


known_devices = "select source, driver, adopted, 0, since, ignored from device"
"""Nobody is online before it has spoken."""


class _Tasks:
    """The supervised tasks of a gateway; all are cancelled and awaited on the way out."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "_Tasks":
        return self

    def keep(self, name: str, start: Start, rest: Sleep = asyncio.sleep) -> None:
        """Keep this alive until the gateway closes; ``rest`` waits between tries."""
        self._running.append(asyncio.create_task(supervise(name, start, rng=self._rng, sleep=rest), name=name))

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _open_store(settings: Settings, clock: Clock) -> Gateway:
    wanted = settings.log
    store = await Log.open(
        Path(settings.gateway.data), clock, pace=Pace(wanted.pace, wanted.linger), ring=wanted.ring, queue=wanted.queue
    )
    gateway = Gateway(settings, store, await Consumers.load(store))
    started = {"version": __version__, "boot": clock.boot, "trusted": clock.trusted(), "epoch": f"{store.epoch:x}"}
    store.append([event("gateway.started", "gateway", started, time=clock.now())], wait=False)
    return gateway


async def _close_store(gateway: Gateway) -> None:
    gateway.log.append([event("gateway.stopped", "gateway", {}, time=gateway.clock.now())], wait=False)
    await gateway.log.close()


async def _open_sinks(gateway: Gateway, tasks: _Tasks) -> None:
    identity = Identity(gateway.settings.gateway.name, gateway.log.epoch)
    for subscription in gateway.settings.subscription:
        consumer = await gateway.consumers.open(subscription.name, start=subscription.start)
        sink = sinks.load(subscription.sink).sink(subscription, identity)
        forwarder = Forwarder(consumer, sink, subscription)
        gateway.forwarders.append(forwarder)
        tasks.keep(subscription.name, forwarder.run, forwarder.rest)


def _open_sources(gateway: Gateway, tasks: _Tasks) -> None:
    for source in gateway.settings.source:
        assert isinstance(source, Config)
        reader = Reader(source, gateway.ingest, gateway.log, gateway.settings.gateway.name)
        gateway.readers.append(reader)
        tasks.keep(source.name, reader.run)
    for_clients = gateway.ingest.on_room

    def room() -> None:
        for_clients()
        for reader in gateway.readers:
            reader.room()

    gateway.ingest.on_room = room


def _bind(binding: driver.Binding) -> Bound:
    return Bound(binding, driver.load(binding.driver), Context(binding))


def _reader(gateway: Gateway, bound: Bound, rng: Random) -> Start:
    """A task that takes what one link delivers. A stream's bytes collect in a buffer that its decoder empties."""

    async def read() -> None:
        buffer = bytearray()
        if bound.driver.input is bytearray:
            bound.context.memory.clear()  # half a line of the last connection isn't the beginning of this one's
        try:
            async with open_link(bound.binding, bound.driver, rng=rng) as items:
                async for item in items:
                    if isinstance(item, bytes | bytearray):
                        buffer += item
                        gateway.ingest.take(bound, buffer)
                        if len(buffer) > longest_frame:
                            bound.context.drops["too_long"] += 1
                            buffer.clear()
                    else:
                        gateway.ingest.take(bound, item)
        except (LinkLost, DeviceSilent) as error:
            gateway.ingest.gone(bound.binding.source, str(error))
            raise

    return read


async def _status(gateway: Gateway) -> dict[str, Any]:
    """What only a running gateway knows of itself."""
    sinks = [
        {"name": one.consumer.name, "connected": one.status.connected, "problem": one.status.problem}
        for one in gateway.forwarders
    ]
    sources = [{"name": one.config.name, "connected": one.connected, "problem": one.problem} for one in gateway.readers]
    links = [
        {"name": f"{one.binding.driver} on {one.binding.link}", "drops": dict(one.context.drops)}
        for one in gateway.ingest.bound
        if one.context.drops
    ]
    listeners = [f"{one.spoken} on {one.name}" for one in gateway.hub.doors]
    hub = {**structs.asdict(gateway.hub.status()), "listeners": listeners}
    return {**gateway.care.said(), "sinks": sinks, "sources": sources, "links": links, "hub": hub}


async def _watch(gateway: Gateway) -> None:
    """Once a second: who has gone silent, has the clock been set."""
    while True:
        await asyncio.sleep(1.0)
        gateway.ingest.watch()
        gateway.log.notice_time()
