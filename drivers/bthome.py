"""BTHome v2: an open advertisement format for thermometers, buttons, doors and meters (Shelly BLU, ATC firmware, ESPHome).

    service data FCD2:  info [address] object ... | info [address] ciphertext counter(4) check(4)
    info     bit 0 encrypted, bit 1 the device's address follows (6 bytes), bits 5-7 version = 2
    object   id u8, value little-endian; no length, so nothing behind an unknown id can be read

Measured values and states become metrics; the same one twice is ``temperature.2``. The packet id is the reading's sequence,
so repeats count once; of encrypted devices it is the counter. Buttons and dimmers are no measurements: set ``events``.

Source: bthome.io/format, BTHome v2; bthome.io/encryption (AES-CCM, nonce = address, D2 FC, info, counter).
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from random import Random
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.driver import Advert, Binding, Context, slowly
from gateway.errors import Undecodable
from gateway.event import Reading, Value

INPUT = Advert
SEQUENCE_BITS = 8  # the packet id; the counter of encrypted devices is wider, and soon seen to be
Key = Annotated[str, Meta(pattern="^[0-9a-fA-F]{32}$")]


class Config(Binding, kw_only=True):
    """``names`` gives addresses a name: "A4:C1:38:8D:18:B2" = "cellar/air"."""

    link: str = "ble:"
    keys: Annotated[
        dict[str, Key], Meta(description="address -> bind key, 32 hex digits; needs: pip install cryptography")
    ] = field(default_factory=dict)
    events: Annotated[bool, Meta(description='also report buttons and dimmers: button = "press", dimmer = -3')] = False


class Object(Struct, frozen=True):
    """One row of the table: the value is ``raw * times / per``."""

    size: int
    signed: bool
    times: int
    per: int
    metric: str
    unit: str | None


_TABLE = """
00 u8 packet_id          01 u8 battery             02 i16/100 temperature       03 u16/100 humidity
04 u24/100 pressure      05 u24/100 illuminance    06 u16/100 weight            07 u16/100 weight:lb
08 i16/100 dew_point     09 u8 count               0a u24/1000 energy           0b u24/100 power
0c u16/1000 voltage      0d u16 pm25               0e u16 pm10                  12 u16 carbon_dioxide
13 u16 volatile_organic_compounds                  14 u16/100 moisture          2e u8 humidity
2f u8 moisture           3d u16 count              3e u32 count                 3f i16/10 rotation
40 u16 distance:mm       41 u16/10 distance        42 u24/1000 duration         43 u16/1000 current
44 u16/100 speed         45 i16/10 temperature     46 u8/10 uv_index            47 u16/10 volume:L
48 u16 volume:mL         49 u16/1000 volume_flow_rate                           4a u16/10 voltage
4b u24/1000 gas          4c u32/1000 gas           4d u32/1000 energy           4e u32/1000 volume:L
4f u32/1000 water:L      50 u32 -                  51 u16/1000 acceleration     52 u16/1000 gyroscope:°/s
55 u32/1000 volume_storage:L                       56 u16 conductivity          57 i8 temperature
58 i8*35/100 temperature 59 i8 count               5a i16 count                 5b i32 count
5c i32/100 power         5d i16/1000 current       5e u16/100 direction:°       5f u16/10 precipitation
60 u8 -                  61 u16 rotational_speed   62 i32/1000000 speed         63 i32/1000000 acceleration
64 u8 light_level        65 u8 -                   3a u8 button                 3b u8 -
3c u16 dimmer            f0 u16 -                  f1 u32 -                     f2 u24 -
0f bool generic          10 bool power_on          11 bool opening              15 bool battery_low
16 bool battery_charging 17 bool carbon_monoxide_detected                       18 bool cold
19 bool connectivity     1a bool door              1b bool garage_door          1c bool gas_detected
1d bool heat             1e bool light             1f bool lock                 20 bool moisture_detected
21 bool motion           22 bool moving            23 bool occupancy            24 bool plug
25 bool presence         26 bool problem           27 bool running              28 bool safety
29 bool smoke            2a bool sound             2b bool tamper               2c bool vibration
2d bool window
"""
"""Id, type with its factor, metric and where it isn't the catalogue's its unit. ``-`` is read over: clocks and versions."""

PRESSES = {
    1: "press",
    2: "double_press",
    3: "triple_press",
    4: "long_press",
    5: "long_double_press",
    6: "long_triple_press",
}
PRESSES |= {0x80: "hold_press"}
TEXT = (0x53, 0x54)  # text and raw bytes: their length comes first


def _read(table: str) -> dict[int, Object]:
    words = table.split()
    objects = {}
    for id, kind, name in zip(words[0::3], words[1::3], words[2::3]):
        kind, _, per = kind.partition("/")
        kind, _, times = kind.partition("*")
        metric, _, unit = name.partition(":")
        size = 0 if kind == "bool" else int(kind[1:]) // 8
        objects[int(id, 16)] = Object(size, kind[0] == "i", int(times or 1), int(per or 1), metric, unit or None)
    return objects


OBJECTS = _read(_TABLE)


def decode(advert: Advert, context: Context) -> Iterable[Reading]:
    """At most one reading: what stands before the first object that can't be read."""
    data = advert.service_data.get("fcd2")
    if data is None:
        return ()
    if not data or data[0] >> 5 != 2:
        raise Undecodable("unknown_format", f"BTHome version {data[0] >> 5 if data else 0}; this driver reads 2")
    address = advert.address.upper()
    reading = Reading({}, address, {})
    at = 1
    if data[0] & 2:
        if len(data) < 7:
            raise Undecodable("truncated", "shorter than the address it should hold")
        at, reading.source = 7, data[6:0:-1].hex(":").upper()
    key = context.config.keys.get(address) or context.config.keys.get(reading.source)
    if data[0] & 1:
        data, reading.sequence = _decrypted(data, at, reading.source or address, key, context)
        at = 0
    elif key:
        raise Undecodable("encrypted", f"{address} has a key, but this isn't encrypted: somebody else may have sent it")
    _objects(data, at, reading, context)
    return (reading,) if reading.values else ()


def _objects(data: bytes, at: int, reading: Reading, context: Context) -> None:
    values: dict[str, Value] = reading.values
    stop = None
    while at < len(data):
        object = OBJECTS.get(data[at])
        if object is None and data[at] in TEXT and at + 1 < len(data):
            at += 2 + data[at + 1]
            continue
        if object is None:
            stop = Undecodable("unknown_format", f"object {data[at]:02x} is unknown, so is its length")
            break
        end = at + 1 + (object.size or 1)
        if end > len(data):
            stop = Undecodable("truncated", f"object {data[at]:02x} ({object.metric}) is cut off")
            break
        raw = int.from_bytes(data[at + 1 : end], "little", signed=object.signed)
        at = end
        value = _value(object, raw, context.config.events)
        if object.metric == "packet_id":
            reading.sequence = raw
        elif value is not None:
            metric, count = object.metric, 1
            while metric in values:
                count += 1
                metric = f"{object.metric}.{count}"
            values[metric] = value
            if object.unit and reading.units is not None:
                reading.units[metric] = object.unit
    reading.units = reading.units or None
    if stop:
        context.drops[stop.reason] += 1
        if not values:
            raise stop


def _value(object: Object, raw: int, events: bool) -> Value | None:
    if object.metric in ("button", "dimmer"):
        if not events or not raw:
            return None
        steps = raw >> 8
        return PRESSES.get(raw) if object.metric == "button" else (-steps if raw & 0xFF == 1 else steps)
    if object.metric in ("-", "packet_id"):
        return None
    if not object.size:
        return bool(raw)
    return raw if object.times == object.per else raw * object.times / object.per


def _decrypted(data: bytes, at: int, address: str, key: str | None, context: Context) -> tuple[bytes, int]:
    """The objects in clear, and the device's counter. Raises Undecodable."""
    if key is None:
        raise Undecodable("encrypted", f'no key for {address}: set keys = {{ "{address}" = "32 hex digits" }}')
    if len(data) < at + 9:
        raise Undecodable("truncated", "shorter than one object, counter and check")
    try:
        ciphers, invalid = (
            import_module("cryptography.hazmat.primitives.ciphers.aead"),
            import_module("cryptography.exceptions"),
        )
    except ImportError:
        raise Undecodable(
            "encrypted", "reading encrypted devices needs one more package: pip install cryptography"
        ) from None
    try:
        nonce = bytes.fromhex(address.replace(":", "")) + b"\xd2\xfc" + data[:1] + data[-8:-4]
        cipher = ciphers.AESCCM(bytes.fromhex(key), tag_length=4)
        clear: bytes = cipher.decrypt(nonce, data[at:-8] + data[-4:], None)
    except (ValueError, invalid.InvalidTag):
        raise Undecodable("encrypted", f"the key of {address} doesn't fit, or the data is damaged") from None
    counter = int.from_bytes(data[-8:-4], "little")
    newest = context.memory.get(address, 0)
    if 1000 < counter < newest:  # small after a change of battery; anything else was recorded and played again
        raise Undecodable("encrypted", f"counter {counter} of {address} comes after {newest}: a replay")
    context.memory[address] = counter
    return clear, counter


def twin(config: Config, rng: Random) -> Iterator[tuple[float, Advert]]:
    """A thermometer in the cellar: a measurement every 10 s, each sent three times."""
    temperature, humidity = slowly(rng, 12, 0.8, 0.02, 10), slowly(rng, 68, 5, 0.1, 10)
    packet = rng.randrange(256)
    while True:
        packet = (packet + 1) & 0xFF
        warmth, damp = round(next(temperature) * 100), round(next(humidity) * 100)
        data = bytes((0x40, 0x00, packet, 0x01, 97, 0x02)) + warmth.to_bytes(2, "little", signed=True)
        data += b"\x03" + damp.to_bytes(2, "little")
        for wait in (9.0, 0.5, 0.5):
            yield wait, Advert("A4:C1:38:8D:18:B2", "ATC_8D18B2", -60 + rng.randrange(-4, 5), {"fcd2": data})
