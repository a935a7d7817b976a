"""How bytes get to a driver: ``serial:``, ``tcp:``, ``ble:``, and without a device ``sim:`` and ``replay:``.

    serial:/dev/serial/by-id/usb-FTDI_...?baud=115200&parity=E&bits=7&stop=2     8N1 and the driver's speed unless said
    tcp:192.168.1.20:2000            a serial server (ser2net, an ESP bridge)
    ble:   ble:hci1?scan=passive     every advertisement; all bindings of an adapter share its scanner
    sim:?speed=10&seed=7             the driver's twin, ten times faster; the same seed is the same run
    replay:file.jsonl?speed=max      recorded payloads (see tests/captures/README.md), or a file of raw bytes

A link that ends is an error: LinkLost says what happened and what to do, and whoever supervises opens it again. Only
``replay:`` comes to an end by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gateway.address import Address, parse
from gateway.driver import Binding, Driver, Item
from gateway.errors import DeviceRefused
from gateway.ports import serial_port, tcp_connection
from gateway.replay import replay, sim, without_device
from gateway.waiting import Sleep

if TYPE_CHECKING:
    from gateway.ble import Radio


def open_link(
    binding: Binding, driver: Driver, *, rng: Random, sleep: Sleep = asyncio.sleep
) -> AbstractAsyncContextManager[AsyncIterator[Item]]:
    """The items of a binding: chunks of bytes, advertisements or messages, as its driver reads them.

    Raises LinkLost and DeviceSilent (try again), DeviceRefused (somebody has to act); the iterator raises them, too.
    """
    address = parse(binding.link)
    match address.scheme:
        case "serial":
            return serial_port(address, getattr(binding, "baud", 9600), binding.silent_after, sleep)
        case "tcp":
            return tcp_connection(address, binding.silent_after)
        case "ble":
            return _radio(address).listen()
        case "sim":
            seed = address.options.get("seed") or rng.getrandbits(32)
            return without_device(sim(driver.twin(binding, Random(str(seed))), address.speed, sleep))
        case _:
            baud = getattr(binding, "baud", 9600)
            return without_device(replay(Path(address.target), driver, address.speed, baud, sleep))


_radios: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, "Radio"]] = WeakKeyDictionary()
"""bleak keeps one connection to BlueZ per event loop; a radio, which lives by it, can't outlast the loop either."""


def _radio(address: Address) -> "Radio":
    from gateway.ble import Radio  # bleak takes 10 MB, which a gateway without radio needn't pay

    scan = address.options.get("scan", "active")
    if scan not in ("active", "passive"):
        raise DeviceRefused(f"{address.name}: scan is active or passive")
    radios = _radios.setdefault(asyncio.get_running_loop(), {})
    return radios.setdefault(address.target, Radio(address.target or None, passive=scan == "passive"))
