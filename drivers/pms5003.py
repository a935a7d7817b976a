"""PMS5003, PMS7003, PMS5003T and PMS3003 dust sensors: PM1, PM2.5 and PM10 about once a second over UART (9600 8N1).

    42 4D nn nn  f1 f1 f2 f2 f3 f3  p1 p1 p2 p2 p3 p3  ...  cs cs      all big-endian
    nn  bytes that follow: 28; 20 from a PMS3003
    f   PM1, PM2.5, PM10 in µg/m³ for the factory's particles (CF=1)     p  the same for air: these are reported
    ..  six particle counts; words 11 and 12 of a PMS5003T are temperature and humidity, 0.1 °C and 0.1 %
    cs  sum of all bytes before it, mod 65536

Source: Plantower PMS5003 series data manual, English V2.3, appendix I "transport protocol, active mode"; PMS5003T the same.
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from msgspec import Meta

from gateway.driver import Binding, Context, slowly
from gateway.event import Reading, Value

INPUT = bytearray


class Config(Binding, kw_only=True):
    """The frames of a PMS5003T look like a PMS5003's: only the operator knows."""

    source: str = "dust"
    baud: Annotated[int, Meta(gt=0)] = 9600
    model: Annotated[
        Literal["PMS5003", "PMS7003", "PMS3003", "PMS5003T"],
        Meta(description="PMS5003T also has temperature and humidity"),
    ] = "PMS5003"


HEAD = b"\x42\x4d"
LENGTHS = (28, 20)


def decode(buffer: bytearray, context: Context) -> Iterator[Reading]:
    """Takes whole frames out of the buffer; at most the beginning of one stays."""
    while frame := _frame(buffer, context):
        words = [int.from_bytes(frame[at : at + 2], "big") for at in range(4, len(frame), 2)]
        values: dict[str, Value] = dict(zip(("pm1", "pm25", "pm10"), words[3:6]))
        if context.config.model == "PMS5003T" and len(words) > 11:
            values["temperature"] = int.from_bytes(frame[24:26], "big", signed=True) / 10
            values["humidity"] = words[11] / 10
        yield Reading(values)


def _frame(buffer: bytearray, context: Context) -> bytes | None:
    """The next frame whose sum is right, or None if it isn't there yet."""
    while (start := buffer.find(HEAD)) >= 0:
        if start:
            context.drops["noise"] += 1
            del buffer[:start]
        if len(buffer) < 4:
            return None
        end = 4 + int.from_bytes(buffer[2:4], "big")
        if end - 4 in LENGTHS:
            if len(buffer) < end:
                return None
            if sum(buffer[: end - 2]) == int.from_bytes(buffer[end - 2 : end], "big"):
                frame = bytes(buffer[:end])
                del buffer[:end]
                return frame
            context.drops["checksum"] += 1
        else:
            context.drops["unknown_format"] += 1
        del buffer[:2]  # maybe that head was data: look for the next one
    del buffer[: -1 if buffer.endswith(HEAD[:1]) else None]
    return None


def twin(config: Config, rng: Random) -> Iterator[tuple[float, bytes]]:
    """A living room in which somebody fries something now and then."""
    dust, temperature, humidity = slowly(rng, 8, 3, 0.6, 1), slowly(rng, 21, 1, 0.01, 1), slowly(rng, 45, 5, 0.05, 1)
    smoke = 0.0
    while True:
        smoke = smoke * 0.997 + (120 if rng.random() < 1 / 7200 else 0)
        pm25 = max(0, round(next(dust) + smoke))
        air = [pm25 * 2 // 3, pm25, pm25 * 6 // 5]
        counts = [pm25 * 150, pm25 * 45, pm25 * 8, pm25 // 2, pm25 // 6, 0]
        if config.model == "PMS5003T":
            counts[4:] = [round(next(temperature) * 10), round(next(humidity) * 10)]
        words = [28, *air, *air, *(min(count, 0xFFFF) for count in counts), 0x9700]
        frame = HEAD + b"".join(word.to_bytes(2, "big") for word in words)
        yield 1.0, frame + sum(frame).to_bytes(2, "big")
