"""MySensors: home-made radio nodes behind a serial or network gateway (115200 8N1; port 5003).

    node ; child ; command ; ack ; type ; payload
    12;6;1;0;0;36.5        node 12, child 6, set (1), V_TEMP (0): 36.5 °C
    12;255;3;0;0;87        internal (3), I_BATTERY_LEVEL (0): the node's battery in %

A child is a device of its own, "12/6", unless ``device`` says otherwise; the node's battery belongs to "12". V_TRIPPED is
an alarm or a movement: ``tripped``. Other commands, log lines and switch states are no measurements.

Source: MySensors Serial Protocol 2.x, "set, req" and "internal".
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.driver import Binding, Context, Lines, quantity, slowly
from gateway.event import Reading, Value

INPUT = bytearray


class Config(Binding, kw_only=True):
    """A node doesn't say in which units it measures: metric is assumed, as MySensors' own sketches send."""

    baud: Annotated[int, Meta(gt=0)] = 115200
    device: Annotated[
        list[Literal["node", "child"]],
        Meta(min_length=1, description='what is one device: ["node"] joins its children'),
    ] = field(default_factory=lambda: ["node", "child"])


SET, INTERNAL = "1", "3"
BATTERY_LEVEL = "0"
TRIPPED = "16"
TYPES = {
    "0": "temperature", "1": "humidity", "4": "pressure", "6": "precipitation", "7": "precipitation_intensity",
    "8": "wind_speed", "9": "wind_speed.gust", "10": "wind_direction", "11": "uv_index", "12": "weight",
    "13": "distance", "17": "power", "18": "energy", "34": "volume_flow_rate", "35": "volume",
    "37": "level", "38": "voltage", "39": "current", "51": "ph", "53": "conductivity", "54": "reactive_power",
    "55": "apparent_power", "56": "power_factor", "23": "light_level",
}  # fmt: skip
UNITS = {"distance": "cm", "volume_flow_rate": "L/min"}
"""Where the sketches' unit isn't the catalogue's: sonar sketches send centimetres, pulse meters litres per minute."""


def decode(buffer: bytearray, context: Context) -> Iterator[Reading]:
    """Takes whole lines out of the buffer."""
    lines = context.memory.setdefault("lines", Lines(context.drops))
    for line in lines.take(buffer):
        parts = line.split(";", 5)
        if len(parts) < 6 or not all(part.isdecimal() for part in parts[:5]):
            context.drops["unknown_format"] += 1
            continue
        node, child, command, acknowledgement, kind, payload = parts
        source, metric = node, ""
        if command == SET and acknowledgement == "0":
            source = "/".join({"node": node, "child": child}[part] for part in context.config.device)
            metric = "tripped" if kind == TRIPPED else TYPES.get(kind, "")
        elif command == INTERNAL and kind == BATTERY_LEVEL:
            metric = "battery"
        if not metric:
            continue
        found = quantity(payload)
        if found is None:
            context.drops["not_a_number"] += 1
            continue
        value: Value = bool(found[0]) if metric == "tripped" else found[0]
        yield Reading({metric: value}, source, {metric: UNITS[metric]} if metric in UNITS else None)


def twin(config: Config, rng: Random) -> Iterator[tuple[float, bytes]]:
    """A gateway that starts, and a greenhouse node every 30 s."""
    temperature, humidity, count = slowly(rng, 24, 5, 0.1, 30), slowly(rng, 70, 12, 0.4, 30), 0
    yield 0.0, b"0;255;3;0;14;Gateway startup complete.\n"
    while True:
        yield 30.0, f"12;6;1;0;0;{next(temperature):.1f}\n".encode()
        yield 0.1, f"12;7;1;0;1;{min(100, next(humidity)):.1f}\n".encode()
        count += 1
        if count % 20 == 0:
            yield 0.1, f"12;255;3;0;0;{max(1, 98 - count // 500)}\n".encode()
