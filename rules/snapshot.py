"""The engine's state as bytes and back. What it says follows names, not places in a file: rules may come, go and change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from rules.alarm import Orphan
from rules.meaning import Spec

if TYPE_CHECKING:
    from rules.engine import Engine


class SavedDevice(Struct, array_like=True):
    """See ``state.Device``."""

    source: str
    born: int
    now: int
    lag: int
    numbers: dict[str, int | float | bool]
    texts: dict[str, str]
    newest: dict[str, int]
    seen: dict[str, int]
    memories: list[tuple[Spec, list[int | float]]]


class SavedInstance(Struct, array_like=True):
    """See ``state.Instance``."""

    rule: str
    key: str
    active: bool
    since: int | None
    mark: int | None
    left: int
    raised: int
    occurrence: str
    ran: int


class Saved(Struct):
    """All of it."""

    position: int
    wall: int
    devices: list[SavedDevice]
    instances: list[SavedInstance]
    orphans: list[Orphan]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Saved).decode


def write(engine: Engine) -> bytes:
    """The state. The same state gives the same bytes."""
    devices = [
        SavedDevice(
            it.source,
            it.born,
            it.now,
            it.lag,
            it.numbers,
            it.texts,
            it.newest,
            it.seen,
            [(spec, it.memories[spec].state()) for spec in sorted(it.memories)],
        )
        for it in engine.site.devices.values()
    ]
    instances = [
        SavedInstance(it.rule.name, it.key, it.active, it.since, it.mark, it.left, it.raised, it.occurrence, it.ran)
        for it in engine.site.everyone()
    ]
    return _encode(Saved(engine.position, engine.wall, devices, instances, engine.orphans))


def read(engine: Engine, state: bytes) -> None:
    """Put it into a new engine. Whatever no rule asks for any more is left out; active alarms among it become orphans."""
    saved = _decode(state)
    engine.position, engine.wall = saved.position, saved.wall
    engine.orphans = saved.orphans
    for it in saved.devices:
        device = engine.site.meet(it.source, it.born)
        if device is not None:
            device.now, device.lag = it.now, it.lag
            device.numbers.update(it.numbers)
            device.texts.update(it.texts)
            device.newest.update(it.newest)
            device.seen.update(it.seen)
    ranks = {rule.name: rank for rank, rule in enumerate(engine.site.rules)}
    for one in saved.instances:
        rank = ranks.get(one.rule)
        instance = None if rank is None else engine.site.ensure(rank, one.key, saved.wall)
        if instance is not None:
            instance.active, instance.since, instance.mark, instance.left = one.active, one.since, one.mark, one.left
            instance.raised, instance.occurrence, instance.ran = one.raised, one.occurrence, one.ran
            instance.busy = one.active or one.since is not None
            if one.active:
                engine.site.alarms[one.rule].add(one.key)
        elif one.active:
            engine.orphans.append(Orphan(one.rule, one.key, one.raised, one.occurrence))
    for it in saved.devices:
        device = engine.site.devices.get(it.source)
        for spec, numbers in it.memories:
            if device is not None and spec in device.memories:
                device.memories[spec].restore(numbers)
