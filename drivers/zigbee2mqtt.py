"""Zigbee2MQTT: every Zigbee device behind it, as flat JSON, with units from its own description of the devices.

    <base>/<name>                {"temperature": 27.3, "battery": 100, "voltage": 3015, "contact": true, "state": "ON", ...}
    <base>/<name>/<property>     27.3                        with output: attribute
    <base>/<name>/availability   {"state": "online"}         or just online, as legacy_availability_payload has it
    <base>/bridge/state          {"state": "offline"}        the bridge itself
    <base>/bridge/devices        [{"friendly_name": "...", "definition": {"exposes": [{"property", "unit", "type"}]}}]

Names may contain "/". A property that bridge/devices describes with a unit is a metric; one that it doesn't describe, only
if its name is known here. Settings, colours and switches aren't measurements; ``contact`` is true when closed: ``opening``.

Source: zigbee2mqtt.io, Guide, "MQTT topics and messages" and "Exposes"; version 2.
"""

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import msgspec
from msgspec import field

from gateway.driver import Binding, Context, Message, instant, named, number, plain, presence, slowly
from gateway.errors import Undecodable
from gateway.event import Availability, Reading

INPUT = Message


class Config(Binding, kw_only=True):
    """Device names are the friendly ones."""

    topics: list[str] = field(default_factory=lambda: ["zigbee2mqtt/#"])


YES_NO = {
    **dict.fromkeys(
        ("battery_low", "occupancy", "presence", "motion", "moving", "vibration", "tamper", "smoke", "sound")
    ),
    "water_leak": "moisture_detected",
    "gas": "gas_detected",
    "carbon_monoxide": "carbon_monoxide_detected",
}
"""Yes or no, and what to call it where a number has the same name; other true and false are settings."""
INVALID = frozenset(-(2**bits) / scale for bits in (15, 23, 31) for scale in (1, 10, 100, 1000))
"""What a Zigbee device without a value sends: the smallest number of its type (Zigbee Cluster Library 2.6.2)."""

_json = msgspec.json.Decoder().decode


def decode(message: Message, context: Context) -> Iterable[Reading | Availability]:
    """A reading, or what the bridge says about a device."""
    name = _name(message.topic, context.config.topics)
    if name.endswith(("/set", "/get")) or not message.payload:
        return ()
    try:
        data = _json(message.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        data = message.payload.decode("utf-8", "replace")
        if data[:1] in "{[":
            raise Undecodable("not_json", str(problem)) from None
    if name == "bridge/state" or name.endswith("/availability"):
        online = presence(data)
        return () if online is None else [Availability(online, name.rpartition("/")[0])]
    if name == "bridge/devices":
        context.memory["units"] = dict(_described(data))
    if name.startswith("bridge/"):
        return ()
    if not isinstance(data, dict):
        name, _, key = name.rpartition("/")
        data = {key: data}
    reading = _reading(name, data, context)
    return [reading] if reading.values else []


def _reading(name: str, data: dict[str, Any], context: Context) -> Reading:
    described: dict[str, str] = context.memory.get("units", {}).get(name, {})
    reading = Reading({}, name, {})
    for key, value in data.items():
        if key == "last_seen":
            reading.time = instant(value)
        elif isinstance(value, bool) and key == "contact":
            reading.values["opening"] = not value
        elif isinstance(value, bool) and key in YES_NO:
            reading.values[YES_NO[key] or key] = value
        elif not isinstance(value, dict | list) and not (key == "illuminance" and "illuminance_lux" in data):
            _number(reading, key, value, described.get(key), context)
    reading.units = reading.units or None
    return reading


def _number(reading: Reading, key: str, value: object, unit: str | None, context: Context) -> None:
    metric = _metric(key) or (plain(key) if unit else "")
    try:
        measured = number(value, metric) if metric else None
    except Undecodable as problem:
        context.drops[problem.reason] += 1
        return
    if measured is None or metric in reading.values:
        return
    if measured in INVALID:
        context.drops["sensor_fault"] += 1
        return
    if metric == "voltage" and measured >= 1000:
        unit = "mV"  # batteries; no mains has 1000 V
    if metric == "volatile_organic_compounds" and unit in ("ppb", "ppm"):
        metric = "volatile_organic_compounds_parts"
    reading.values[metric] = measured
    if unit and reading.units is not None:
        reading.units[metric] = unit


def _metric(key: str) -> str:
    known = named(key)
    if known:
        return known.metric
    if key.endswith("_summ_delivered"):
        return f"energy.{key}"
    return key if key.endswith("_temperature") else ""


def _name(topic: str, patterns: list[str]) -> str:
    for pattern in patterns:
        base = re.split(r"[#{+]", pattern)[0]
        if base and topic.startswith(base):
            return topic[len(base) :]
    return topic.partition("/")[2]


def _described(devices: object) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and property -> unit of every device in bridge/devices."""
    for device in devices if isinstance(devices, list) else []:
        match device:
            case {"friendly_name": str(name), "definition": {"exposes": list(exposes)}}:
                yield name, dict(_units(exposes))


def _units(exposes: list[Any]) -> Iterator[tuple[str, str]]:
    for expose in exposes:
        match expose:
            case {"property": str(key), "unit": str(unit), "type": "numeric"}:
                yield key, unit
            case {"features": list(features)}:
                yield from _units(features)


def twin(config: Config, rng: Random) -> Iterator[tuple[float, Message]]:
    """A bridge with a fridge thermometer and a contact on its door."""
    base = re.split(r"[#{+]", config.topics[0])[0] if config.topics else "zigbee2mqtt/"

    def message(name: str, data: object, retain: bool = False) -> Message:
        return Message(base + name, msgspec.json.encode(data), retain=retain)

    units = {"temperature": "°C", "humidity": "%", "battery": "%", "voltage": "mV"}
    exposes = [{"type": "numeric", "property": key, "unit": unit} for key, unit in units.items()]
    devices = [{"friendly_name": "kitchen/fridge", "type": "EndDevice", "definition": {"exposes": exposes}}]
    yield 0.0, message("bridge/state", {"state": "online"}, retain=True)
    yield 0.0, message("bridge/devices", devices, retain=True)
    yield 0.0, message("kitchen/fridge/availability", {"state": "online"}, retain=True)
    temperature, humidity = slowly(rng, 4, 0.3, 0.05, 60), slowly(rng, 55, 4, 0.3, 60)
    while True:
        data = {"temperature": round(next(temperature), 2), "humidity": round(next(humidity), 2)}
        yield (
            60.0,
            message("kitchen/fridge", {**data, "battery": 97, "voltage": 3015, "linkquality": rng.randrange(60, 140)}),
        )
        if rng.random() < 0.05:
            yield 12.0, message("kitchen/fridge door", {"contact": False, "linkquality": 90})
            yield 25.0, message("kitchen/fridge door", {"contact": True, "linkquality": 90})
