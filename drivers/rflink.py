"""RFLink: a gateway that hears 433 and 868 MHz weather stations, switches and alarms, over USB (57600 8N1).

    20;9E;Oregon TempHygro;ID=000E;TEMP=00da;HUM=45;BAT=LOW;
    20 heard by the gateway; a counter; the protocol; fields

    hexadecimal  TEMP, WINCHL, WINTMP (0.1 °C, highest bit: below zero), BARO hPa, RAIN 0.1 mm, RAINRATE 0.1 mm/h, UV 0.1,
                 LUX lx, WINSP, AWINSP, WINGS (0.1 km/h), WATT W, KWATT kW
    decimal      HUM %, WINDIR (0-15, steps of 22.5°), CO2 ppm, SOUND dB, CURRENT A, VOLT V, DIST cm
    words        BAT OK or LOW, SMOKEALERT and PIR ON or OFF

A device is its protocol and ID, Oregon TempHygro/000E, unless ``device`` says otherwise: an ID often changes with the
battery. Switches and remote controls are no measurements.

Source: RFLink Gateway Protocol Reference, "Data Fields"; humidity is decimal in release 30 and later.
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.driver import Binding, Context, Lines, slowly
from gateway.event import Reading

INPUT = bytearray


class Config(Binding, kw_only=True):
    """``names`` gives a device its name: "Oregon TempHygro/000E" = "garden/air"."""

    baud: Annotated[int, Meta(gt=0)] = 57600
    device: Annotated[
        list[Literal["protocol", "ID"]],
        Meta(min_length=1, description='what names a device; ["protocol"] if you have one of a kind'),
    ] = field(default_factory=lambda: ["protocol", "ID"])


# field -> metric, base, factor as times/per, unit where it isn't the catalogue's
FIELDS = {
    "TEMP": ("temperature", 16, 10, None), "WINCHL": ("temperature.windchill", 16, 10, None),
    "WINTMP": ("temperature.wind", 16, 10, None), "BARO": ("pressure", 16, 1, None), "RAIN": ("precipitation", 16, 10, None),
    "RAINRATE": ("precipitation_intensity", 16, 10, None), "UV": ("uv_index", 16, 10, None), "LUX": ("illuminance", 16, 1, None),
    "WINSP": ("wind_speed", 16, 10, "km/h"), "AWINSP": ("wind_speed.average", 16, 10, "km/h"),
    "WINGS": ("wind_speed.gust", 16, 10, "km/h"), "WATT": ("power", 16, 1, None), "KWATT": ("power", 16, 1, "kW"),
    "HUM": ("humidity", 10, 1, None), "WINDIR": ("wind_direction", 10, 2 / 45, None), "CO2": ("carbon_dioxide", 10, 1, None),
    "SOUND": ("sound_pressure", 10, 1, None), "CURRENT": ("current", 10, 1, None), "VOLT": ("voltage", 10, 1, None),
    "DIST": ("distance", 10, 1, "cm"),
}  # fmt: skip
WORDS = {"BAT": ("battery_low", "LOW", "OK"), "SMOKEALERT": ("smoke", "ON", "OFF"), "PIR": ("motion", "ON", "OFF")}


def decode(buffer: bytearray, context: Context) -> Iterator[Reading]:
    """Takes whole lines out of the buffer. A line with a field that can't be read is damaged, and counted."""
    lines = context.memory.setdefault("lines", Lines(context.drops))
    for line in lines.take(buffer):
        code, _, rest = line.partition(";")
        protocol, *fields = rest.split(";")[1:] or [""]
        if code != "20" or not fields:
            context.drops["nothing_known"] += 1  # the end of a line, or what the gateway says about itself
            continue
        pairs = dict(field.split("=", 1) for field in fields if "=" in field)
        try:
            reading = _reading(pairs)
        except ValueError:
            context.drops["not_a_number"] += 1
            continue
        reading.source = "/".join(
            {"protocol": protocol, "ID": pairs.get("ID", "0")}[part] for part in context.config.device
        )
        if reading.values:
            yield reading


def _reading(pairs: dict[str, str]) -> Reading:
    reading = Reading({}, units={})
    for name, text in pairs.items():
        if name in WORDS:
            metric, yes, no = WORDS[name]
            if text in (yes, no):
                reading.values[metric] = text == yes
        elif name in FIELDS:
            metric, base, per, unit = FIELDS[name]
            raw = int(text, base)
            if metric.startswith("temperature") and raw & 0x8000:
                raw = -(raw & 0x7FFF)
            reading.values[metric] = raw if per == 1 else raw / per
            if unit and reading.units is not None:
                reading.units[metric] = unit
    reading.units = reading.units or None
    return reading


def twin(config: Config, rng: Random) -> Iterator[tuple[float, bytes]]:
    """A thermometer in the garden, every 40 s, and its neighbour's doorbell."""
    temperature, humidity, count = slowly(rng, -1, 4, 0.1, 40), slowly(rng, 75, 10, 0.5, 40), 0
    yield 0.0, b"20;00;Nodo RadioFrequencyLink - RFLink Gateway V1.1 - R48;\r\n"
    while True:
        count = count + 1 & 0xFF
        tenths = round(next(temperature) * 10)
        code = abs(tenths) | (0x8000 if tenths < 0 else 0)
        damp = min(99, max(1, round(next(humidity))))
        yield 40.0, f"20;{count:02X};Oregon TempHygro;ID=2D50;TEMP={code:04x};HUM={damp:02d};BAT=OK;\r\n".encode()
        if rng.random() < 0.02:
            count = count + 1 & 0xFF
            yield 3.0, f"20;{count:02X};Byron;ID=00f1;SWITCH=01;CMD=ON;CHIME=02;\r\n".encode()
