"""Tasmota: plugs, switches and sensor boards with this firmware, every 300 s unless TelePeriod says otherwise.

    tele/<topic>/SENSOR  {"Time": "...", "DS18B20-1": {"Id": "...", "Temperature": 20.9}, "ENERGY": {"Total": 1.2, ...},
                          "TempUnit": "C", "PressureUnit": "hPa", "SpeedUnit": "km/h"}
    tele/<topic>/STATE   {"Wifi": {"RSSI": 86, "Signal": -57}, "POWER": "ON", ...}        RSSI is a quality in %
    tele/<topic>/LWT     Online | Offline, retained
    stat/<topic>/STATUS8, STATUS10  {"StatusSNS": {...}}   as SENSOR, when asked for

A block with a number behind its name is one of several: ``temperature.DS18B20_1``. Where two blocks measure the same, both
carry their names, and keep them. Bluetooth sensors (name-<end of address>) and Zigbee devices (ZbReceived) are sources
of their own. "Time" is local and without a zone: the time of arrival is used. Users change FullTopic: set ``topics`` then.

Source: Tasmota documentation, "MQTT", "JSON Status Responses", "Zigbee"; key names: tasmota/include/i18n.h, version 9.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from gateway.driver import Binding, Context, Message, number, presence, slowly, switch
from gateway.errors import Undecodable
from gateway.event import Availability, Reading, Value

INPUT = Message


class Config(Binding, kw_only=True):
    """A device is its topic; what it hears itself has a name of its own."""

    topics: list[str] = field(
        default_factory=lambda: [f"tele/{{device}}/{last}" for last in ("SENSOR", "STATE", "LWT")]
    )
    metrics: Annotated[
        dict[str, str], Meta(description='path in the payload -> metric: "OPENTHERM.TB" = "temperature.boiler"')
    ] = field(default_factory=dict)


UNITS = ("TempUnit", "PressureUnit", "SpeedUnit")
"""Keys that say the unit of others; without them, and for all other metrics, it is the catalogue's unless KEYS names it."""

KEYS = {
    "Temperature": ("temperature", "TempUnit"),
    "DewPoint": ("dew_point", "TempUnit"),
    "OBJTMP": ("temperature.OBJTMP", "TempUnit"),
    "AMBTMP": ("temperature.AMBTMP", "TempUnit"),
    "Pressure": ("pressure", "PressureUnit"),
    "SeaPressure": ("pressure.sea", "PressureUnit"),
    "Speed.Act": ("wind_speed", "SpeedUnit"),
    "TVOC": ("volatile_organic_compounds_parts", "ppb"),
    "Distance": ("distance", "cm"),
} | {
    key: (metric, "")
    for key, metric in {
        "Humidity": "humidity", "aHumidity": "absolute_humidity", "Illuminance": "illuminance", "UvIndex": "uv_index",
        "CarbonDioxide": "carbon_dioxide", "eCO2": "carbon_dioxide", "PM1": "pm1", "PM2.5": "pm25", "PM10": "pm10",
        "Moisture": "moisture", "Weight": "weight", "pH": "ph", "EC": "conductivity", "Dir.Deg": "wind_direction",
        "Battery": "battery", "BatteryPercentage": "battery", "Signal": "signal_strength", "Total": "energy",
        "ExportActive": "energy_returned", "Power": "power", "ApparentPower": "apparent_power", "Factor": "power_factor",
        "ReactivePower": "reactive_power", "Frequency": "frequency", "Voltage": "voltage", "Current": "current",
        "ActivePower": "power", "RMSVoltage": "voltage", "RMSCurrent": "current",
    }.items()
}  # fmt: skip

_json = msgspec.json.Decoder(dict[str, Any]).decode
_several = re.compile(r".*[-_]\d+").fullmatch
_heard = re.compile(r".+-[0-9a-fA-F]{6}").fullmatch

CHIP = "ESP32"  # measures itself, not the room: always named
topics_kept = 1000  # topics whose shared metrics are remembered; beyond it the memory starts afresh


def decode(message: Message, context: Context) -> Iterable[Reading | Availability]:
    """A reading of the board itself, and one of every device it hears."""
    if message.topic.endswith("/LWT"):
        online = presence(message.payload.decode("ascii", "replace"))
        if online is None:
            raise Undecodable("unknown_format", f"neither Online nor Offline: {message.payload[:20]!r}")
        return [Availability(online)]
    try:
        data = _json(message.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Undecodable("not_json", str(problem)) from None
    status = data.get("StatusSNS")
    if isinstance(status, dict):
        data = status
    units = {key: data[key] for key in UNITS if isinstance(data.get(key), str)}
    heard = data.pop("ZbReceived", None)
    parts: dict[str | None, Any] = {None: data}
    if isinstance(heard, dict):
        for device in heard.values():
            if isinstance(device, dict):
                device.pop("Power", None)  # of Zigbee devices it is on or off, not watts
        parts |= heard
    parts |= {name: data.pop(name) for name in [*data] if _heard(name)}
    if len(context.memory) > topics_kept:
        context.memory.clear()
    shared = context.memory.setdefault(message.topic, set())
    readings = [_reading(part, name, units, shared, context) for name, part in parts.items() if isinstance(part, dict)]
    return [reading for reading in readings if reading.values]


def _reading(
    part: dict[str, Any], source: str | None, units: dict[str, str], shared: set[str], context: Context
) -> Reading:
    found: dict[tuple[str, str], tuple[Value, str]] = {}  # metric and block -> value and unit
    for block, key, value in _leaves(part):
        head, _, tail = key.partition(".")
        metric, unit = KEYS.get(key) or KEYS.get(head) or ("", "")
        if tail and metric and key not in KEYS:
            metric = f"{metric}.{tail}"  # a list or an object where other devices have a number: one per phase
        chosen = context.config.metrics.get(f"{block}.{key}" if block else key)
        metric = chosen or metric
        if not metric or (metric, block) in found:  # eCO2 repeats CarbonDioxide
            continue
        try:
            on = switch(value) if chosen else None
            measured = number(value, metric) if on is None else on
        except Undecodable as problem:
            context.drops[problem.reason] += 1
            continue
        if measured is not None:
            if unit in UNITS:
                unit = str(part.get(unit) or units.get(unit, ""))
            found[metric, block] = measured, "mm" if unit == "cm" and block.startswith("VL53") else unit
    blocks = Counter(metric for metric, block in found if block != CHIP)
    shared |= {metric for metric in blocks if blocks[metric] > 1}
    values: dict[str, Value] = {}
    unlike: dict[str, str] = {}
    for (metric, block), (value, unit) in found.items():
        if block and (metric in shared or _several(block) or block == CHIP):
            metric += ("_" if "." in metric else ".") + re.sub(r"[^A-Za-z0-9]+", "_", block)
        values[metric] = value
        if unit:
            unlike[metric] = unit
    return Reading(values, source, unlike or None)


def _leaves(part: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Block, key and value; a value inside of something has a dot in its key."""
    for block, members in part.items():
        if not isinstance(members, dict):
            yield "", block, members
            continue
        for key, value in members.items():
            if isinstance(value, list):
                value = dict(enumerate(value, 1))
            if isinstance(value, dict):
                yield from ((block, f"{key}.{inner}", each) for inner, each in value.items())
            else:
                yield block, key, value


def twin(config: Config, rng: Random) -> Iterator[tuple[float, Message]]:
    """A plug with a probe in the fridge behind it: STATE, then SENSOR, as with TelePeriod 60."""
    every = 60.0
    base = re.sub(r"\{\w+#?\}", "fridge", config.topics[0] if config.topics else "tele/{device}/SENSOR").rpartition(
        "/"
    )[0]
    captures = {"device": "fridge"}
    inside, mains, total = slowly(rng, 4, 0.3, 0.05, every), slowly(rng, 231, 2, 0.2, every), 12.5
    yield 0.0, Message(f"{base}/LWT", b"Online", captures, retain=True)
    while True:
        running = rng.random() < 0.35
        power = round(rng.gauss(85, 2)) if running else 0
        total += power * every / 3.6e6
        energy = {"Total": round(total, 3), "Power": power, "Voltage": round(next(mains))}
        energy |= {"Current": round(power / 231, 3), "Factor": 0.62 if running else 0.0}
        state = {"POWER": "ON", "Wifi": {"RSSI": 84, "Signal": -58 + rng.randrange(-2, 3)}}
        sensor = {
            "DS18B20": {"Id": "030597946B04", "Temperature": round(next(inside), 1)},
            "ENERGY": energy,
            "TempUnit": "C",
        }
        yield every, Message(f"{base}/STATE", msgspec.json.encode(state), captures)
        yield 0.1, Message(f"{base}/SENSOR", msgspec.json.encode(sensor), captures)
