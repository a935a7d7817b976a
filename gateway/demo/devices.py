"""Devices that don't exist, as what they send and when: (seconds to wait, message or bytes), for ever.

    coldstore/freezer-1, -2   JSON              freezer-2 warms up while its door is open
    coldstore/door            Zigbee2MQTT       open for 12 s of every minute
    workshop/compressor       JSON              the busiest; its pressure goes up and down
    workshop/plug             Tasmota
    workshop/dust             serial, PMS5003
    workshop/lathe            serial, text      silent for 12 s of every minute

The BLE thermometer, office/air, is a twin inside of the gateway: there is no radio to send it with. Devices that speak
JSON number their messages with ``n``: what they were acknowledged is what must arrive upstream.
"""

import itertools
from collections.abc import Iterator
from math import sin, tau
from random import Random

import msgspec

from gateway import driver
from gateway.driver import Message, slowly
from gateway.sinks._broker import Version

Messages = Iterator[tuple[float, Message]]
Frames = Iterator[tuple[float, bytes]]


def clients(rate: float) -> dict[str, tuple[Version, Messages]]:
    """MQTT devices: source -> the protocol it speaks, its messages. ``rate``: the compressor's messages per second."""
    return {
        "coldstore/freezer-1": ("5.0", freezer(Random(1), opens=False)),
        "coldstore/freezer-2": ("5.0", freezer(Random(2), opens=True)),
        "coldstore/door": ("3.1.1", door(Random(3))),
        "workshop/compressor": ("5.0", compressor(Random(4), rate)),
        "workshop/plug": ("3.1.1", plug(Random(5))),
    }


numbered = ("coldstore/freezer-1", "coldstore/freezer-2", "workshop/compressor")
"""Those that count their messages, from 1."""


def lines() -> dict[str, Frames]:
    """Serial devices: name of the line -> what comes out of it."""
    return {"dust": dust(Random(6)), "lathe": lathe(Random(7))}


def freezer(rng: Random, opens: bool) -> Messages:
    """Two readings a second; -18 °C, up to -12 °C with an open door."""
    inside = slowly(rng, -18, 0.2, 0.03, 0.5)
    warm = 0.0
    for n in itertools.count(1):
        warm += 0.35 * (6 - warm) if opens and door_is_open(n / 2) else -0.15 * warm
        data = {"temperature": round(next(inside) + warm, 2), "power": 190 + rng.randrange(20), "n": n}
        yield 0.5, Message(f"coldstore/freezer-{1 + opens}", msgspec.json.encode(data))


def compressor(rng: Random, rate: float) -> Messages:
    """Pressure between 7 and 10 bar, a stroke of 20 s."""
    for n in itertools.count(1):
        pressure = 8.5 + 1.5 * sin(n / rate * tau / 20)
        vibration = 2.2 + rng.gauss(0, 0.15)
        data = {"pressure": round(pressure, 3), "vibration": round(vibration, 2), "temperature": 61.5, "n": n}
        yield 1 / rate, Message("workshop/compressor", msgspec.json.encode(data))


nothing = Message("", b"")
"""Not sent: time passes."""


def door_is_open(second: float) -> bool:
    """From the 10th to the 22nd second of every minute."""
    return 10 <= second % 60 < 22


def door(rng: Random) -> Messages:
    """Reports when it changes, and every 5 s."""
    for second in itertools.count(0, 2):
        data = {"contact": not door_is_open(second), "battery": 96, "linkquality": 80 + rng.randrange(40)}
        if second % 6 == 0 or second % 60 in (10, 22):
            yield 0, Message("zigbee2mqtt/door", msgspec.json.encode(data))
        yield 2, nothing


def plug(rng: Random) -> Messages:
    """A Tasmota device reports every minute; this one is in a hurry."""
    found = driver.load("tasmota")
    for wait, item in found.twin(found.config(driver="tasmota"), rng):
        assert isinstance(item, Message)
        item.topic = item.topic.replace("fridge", "plug")
        yield wait / 30, item


def dust(rng: Random) -> Frames:
    """Frames as the sensor sends them."""
    found = driver.load("pms5003")
    for wait, item in found.twin(found.config(driver="pms5003"), rng):
        assert isinstance(item, bytes)
        yield wait, item


def lathe(rng: Random) -> Frames:
    """Five lines a second, but for the time from the 30th to the 42nd second of every minute."""
    bearing = slowly(rng, 48, 2, 0.1, 0.2)
    for line in itertools.count():
        if not 30 <= line / 5 % 60 < 42:
            yield 0, f"temp={next(bearing):.2f}C speed={1.4 + rng.random() / 10:.2f}\n".encode()
        yield 0.2, b""
